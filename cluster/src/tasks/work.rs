//! What a round of a task is given: its cursor, and ways to tell how far it is, which is where it
//! is slowed down and held.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::kind::TaskKind;
use super::metrics;
use super::record::{self, Phase, StoredState, TaskFailure, TaskSettings, TaskState};
use super::throttle::Throttle;
use crate::kv::{CommitError, Kv, ReadError, Txn};
use crate::node_id::NodeId;
use crate::seams::Seams;

/// How often what has changed is written to the metadata.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// The longest reason that is kept of a failure.
const MAX_REASON: usize = 1000;

/// One task of this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Work {
    shared: Arc<Shared>,
}

struct Shared {
    kind: TaskKind,
    node: NodeId,
    kv: Kv,
    seams: Seams,
    settings: watch::Receiver<TaskSettings>,
    throttle: Throttle,
    state: Mutex<Live>,
}

struct Live {
    state: TaskState,
    cursor: Bytes,
    /// Something has changed since it was written.
    changed: bool,
    written: Instant,
    /// Where the rate is counted from.
    measured: (Instant, u64),
}

impl Work {
    pub(super) fn new(
        kind: TaskKind,
        node: NodeId,
        kv: Kv,
        seams: Seams,
        settings: watch::Receiver<TaskSettings>,
    ) -> Self {
        let now = Instant::now();
        let live = Live {
            state: TaskState::default(),
            cursor: Bytes::new(),
            changed: false,
            written: now,
            measured: (now, 0),
        };
        Self {
            shared: Arc::new(Shared {
                kind,
                node,
                kv,
                seams,
                settings,
                throttle: Throttle::new(),
                state: Mutex::new(live),
            }),
        }
    }

    /// One that nobody supervises, and that nothing is set for.
    #[cfg(test)]
    pub(crate) fn for_tests(kind: TaskKind, node: NodeId, kv: Kv, seams: Seams) -> Self {
        let (_, settings) = watch::channel(TaskSettings {
            bytes_per_second: Some(u64::MAX),
            ..TaskSettings::default()
        });
        Self::new(kind, node, kv, seams, settings)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.shared.state.lock().expect("no panic while held")
    }

    /// What is set for the task now.
    pub(crate) fn settings(&self) -> TaskSettings {
        self.shared.settings.borrow().clone()
    }

    /// Where the last round was when it ended early; empty if it came to its end.
    pub(crate) fn cursor(&self) -> Bytes {
        self.live().cursor.clone()
    }

    /// Notes where a later round would go on, if this one were to end now.
    pub(crate) async fn save(&self, cursor: impl Into<Bytes>) {
        {
            let mut live = self.live();
            live.cursor = cursor.into();
            live.changed = true;
        }
        self.write_if_due().await;
    }

    /// Notes how far the round is.
    pub(crate) fn progress(&self, done: u64, total: u64) {
        let mut live = self.live();
        if (live.state.done, live.state.total) != (done, total) {
            live.state.done = done;
            live.state.total = total;
            live.changed = true;
        }
    }

    /// Counts what was dealt with, and waits as long as the task is paused or over its rate.
    pub(crate) async fn moved(&self, items: u64, bytes: u64) {
        metrics::moved(self.shared.kind, items, bytes);
        {
            let mut live = self.live();
            live.state.items += items;
            live.state.bytes += bytes;
            live.changed |= items > 0 || bytes > 0;
            live.measure();
        }
        self.write_if_due().await;
        self.hold(bytes).await;
    }

    /// Notes that something went wrong that does not end the round.
    pub(crate) fn failed(&self, reason: impl ToString) {
        let reason: String = reason.to_string().chars().take(MAX_REASON).collect();
        warn!(task = %self.shared.kind, reason, "a background task met a failure");
        let at = self.shared.seams.clock.now();
        let mut live = self.live();
        live.state.last_failure = Some(TaskFailure { at, reason });
        live.changed = true;
    }

    async fn hold(&self, bytes: u64) {
        let mut settings = self.shared.settings.clone();
        let rate = |settings: &TaskSettings| settings.rate(self.shared.kind);
        let mut current = settings.borrow_and_update().clone();
        let mut until = self.shared.throttle.take(Instant::now(), bytes, rate(&current));
        loop {
            if current.paused {
                self.enter(Phase::Paused).await;
                if settings.changed().await.is_err() {
                    return;
                }
            } else {
                tokio::select! {
                    () = sleep_until(until) => break,
                    changed = settings.changed() => if changed.is_err() { return },
                }
            }
            let before = rate(&current);
            current = settings.borrow_and_update().clone();
            if rate(&current) != before {
                // What is owed at the old rate is let go.
                until = self.shared.throttle.take(Instant::now(), 0, None);
            }
        }
        if self.state().phase == Phase::Paused {
            self.enter(Phase::Running).await;
        }
    }

    /// How the task stands now.
    pub(crate) fn state(&self) -> TaskState {
        self.live().state.clone()
    }

    /// Takes over what was written before the process ended.
    pub(super) async fn recall(&self) -> Result<(), ReadError> {
        let key = record::state(self.shared.kind, self.shared.node);
        let snapshot = self.shared.kv.local();
        if let Some(StoredState { state, cursor }) = snapshot.record(&key).await? {
            let mut live = self.live();
            live.state = TaskState {
                phase: Phase::Idle,
                bytes_per_second: 0,
                ..state
            };
            live.cursor = cursor;
        }
        Ok(())
    }

    /// A round begins: a new one, or the rest of the one before.
    pub(super) fn begin(&self) {
        let now = self.shared.seams.clock.now();
        let mut live = self.live();
        live.state.phase = Phase::Running;
        if live.cursor.is_empty() || live.state.started.is_none() {
            live.state.started = Some(now);
            (live.state.done, live.state.total) = (0, 0);
            (live.state.items, live.state.bytes) = (0, 0);
        }
        live.measured = (Instant::now(), live.state.bytes);
        metrics::state(self.shared.kind, &live.state);
    }

    /// The round came to its end.
    pub(super) async fn complete(&self) {
        {
            let mut live = self.live();
            live.state.phase = Phase::Idle;
            live.state.completed = Some(self.shared.seams.clock.now());
            live.state.bytes_per_second = 0;
            live.changed |= !live.cursor.is_empty();
            live.cursor = Bytes::new();
            metrics::round(self.shared.kind);
            metrics::state(self.shared.kind, &live.state);
        }
        self.write().await;
    }

    /// The round failed, and is tried again.
    pub(super) async fn retry(&self, reason: &str) {
        metrics::restart(self.shared.kind);
        self.failed(reason);
        self.live().state.restarts += 1;
        self.enter(Phase::Failed).await;
    }

    pub(super) async fn enter(&self, phase: Phase) {
        {
            let mut live = self.live();
            live.changed |= live.state.phase != phase;
            live.state.phase = phase;
            if phase != Phase::Running {
                live.state.bytes_per_second = 0;
            }
            metrics::state(self.shared.kind, &live.state);
        }
        self.write().await;
    }

    async fn write_if_due(&self) {
        if self.live().written.elapsed() >= WRITE_EVERY {
            self.write().await;
        }
    }

    /// Writes how the task stands, if that has changed. Nothing depends on it being written.
    async fn write(&self) {
        let stored = {
            let mut live = self.live();
            if !std::mem::take(&mut live.changed) {
                return;
            }
            live.written = Instant::now();
            metrics::state(self.shared.kind, &live.state);
            StoredState {
                state: live.state.clone(),
                cursor: live.cursor.clone(),
            }
        };
        let key = record::state(self.shared.kind, self.shared.node);
        let put = async |mut txn: Txn| {
            txn.put_record(&key, &stored);
            Ok::<_, CommitError>((txn, ()))
        };
        if let Err(error) = self.shared.kv.transact(put).await {
            debug!(task = %self.shared.kind, %error, "how a task stands was not written");
            self.live().changed = true;
        }
    }
}

impl Live {
    fn measure(&mut self) {
        let (since, bytes) = self.measured;
        let time = since.elapsed();
        if time >= WRITE_EVERY {
            self.state.bytes_per_second = ((self.state.bytes - bytes) as f64 / time.as_secs_f64()) as u64;
            self.measured = (Instant::now(), self.state.bytes);
        }
    }
}
