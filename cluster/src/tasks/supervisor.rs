//! Runs tasks: round after round, again after a failure or a panic, until the node stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::warn;

use super::kind::TaskKind;
use super::metrics;
use super::record::{self, Phase, SettingsError, TaskSettings, TaskStatus};
use super::work::Work;
use crate::kv::{Kv, ReadError, Snapshot};
use crate::node_id::NodeId;
use crate::seams::{Seams, Timestamp};

/// How long a task that failed rests at first, and at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(5 * 60);

/// One kind of background work.
#[async_trait]
pub(crate) trait Task: Send + Sync + 'static {
    /// Does one round, from the cursor of the work if it has one. May be dropped at any point,
    /// and may panic: then it is called again later.
    async fn round(&self, work: &Work) -> anyhow::Result<Next>;
}

/// When the next round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A period after this one began.
    Period,
    /// So long after this one ended, or when the period is over.
    Within(Duration),
}

/// How the supervisor goes about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TasksConfig {
    /// How often it looks whether settings have changed and a round is due.
    pub(crate) look_every: Duration,
}

impl Default for TasksConfig {
    fn default() -> Self {
        Self {
            look_every: Duration::from_millis(500),
        }
    }
}

/// The tasks of this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tasks {
    shared: Arc<Shared>,
}

struct Shared {
    config: TasksConfig,
    node: NodeId,
    kv: Kv,
    seams: Seams,
    running: Mutex<BTreeMap<TaskKind, Work>>,
    wake: BTreeMap<TaskKind, Notify>,
}

impl Tasks {
    pub(crate) fn new(config: TasksConfig, node: NodeId, kv: Kv, seams: Seams) -> Self {
        metrics::describe();
        let wake = TaskKind::ALL.into_iter().map(|kind| (kind, Notify::new()));
        Self {
            shared: Arc::new(Shared {
                config,
                node,
                kv,
                seams,
                running: Mutex::default(),
                wake: wake.collect(),
            }),
        }
    }

    /// Runs a task until `shutdown`.
    pub(crate) fn spawn(
        &self,
        kind: TaskKind,
        task: Arc<dyn Task>,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) {
        let shared = &self.shared;
        let (set, settings) = watch::channel(TaskSettings::default());
        let work = Work::new(
            kind,
            shared.node,
            shared.kv.clone(),
            shared.seams.clone(),
            settings.clone(),
        );
        shared
            .running
            .lock()
            .expect("no panic while held")
            .insert(kind, work.clone());
        let supervisor = Supervisor {
            kind,
            task,
            work,
            settings,
            tasks: self.clone(),
        };
        let follow = self.clone().follow(kind, set);
        tracker.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = follow => {}
                () = supervisor.run() => {}
            }
        });
    }

    /// Begins a round at once.
    pub(crate) fn wake(&self, kind: TaskKind) {
        self.shared.wake[&kind].notify_one();
    }

    /// What is set for a kind.
    pub(crate) async fn settings(
        &self,
        snapshot: &Snapshot,
        kind: TaskKind,
    ) -> Result<TaskSettings, ReadError> {
        record::settings(snapshot, kind).await
    }

    /// Changes what is set for a kind, on all nodes.
    pub(crate) async fn configure(
        &self,
        kind: TaskKind,
        change: impl Fn(&mut TaskSettings) + Sync,
    ) -> Result<TaskSettings, SettingsError> {
        record::configure(&self.shared.kv, kind, change).await
    }

    /// How the tasks stand on all nodes; of this one as it is now.
    pub(crate) async fn statuses(&self, snapshot: &Snapshot) -> Result<Vec<TaskStatus>, ReadError> {
        let node = self.shared.node;
        let mut statuses = record::statuses(snapshot).await?;
        statuses.retain(|status| status.node != node);
        let running = self.shared.running.lock().expect("no panic while held");
        statuses.extend(running.iter().map(|(task, work)| TaskStatus {
            task: *task,
            node,
            state: work.state(),
        }));
        statuses.sort_by_key(|status| (status.task, status.node));
        Ok(statuses)
    }

    /// Hands on what is set for a kind, whenever it changes.
    async fn follow(self, kind: TaskKind, set: watch::Sender<TaskSettings>) {
        let mut ticks = tokio::time::interval(self.shared.config.look_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            ticks.tick().await;
            let snapshot = self.shared.kv.local();
            let look = async {
                let revision = snapshot.revision(&record::all_settings()).await?;
                if seen == Some(revision) {
                    return Ok(None);
                }
                let settings = record::settings(&snapshot, kind).await?;
                Ok::<_, ReadError>(Some((revision, settings)))
            };
            match look.await {
                Ok(None) => {}
                Ok(Some((revision, settings))) => {
                    let first = seen.replace(revision).is_none();
                    set.send_if_modified(|current| {
                        let changed = std::mem::replace(current, settings.clone()) != settings;
                        changed || first
                    });
                }
                Err(error) => warn!(task = %kind, %error, "read the settings of a task"),
            }
        }
    }
}

/// Runs one task.
struct Supervisor {
    kind: TaskKind,
    task: Arc<dyn Task>,
    work: Work,
    settings: watch::Receiver<TaskSettings>,
    tasks: Tasks,
}

impl Supervisor {
    async fn run(mut self) {
        // It may be paused: nothing begins before that is known.
        if self.settings.changed().await.is_err() {
            return;
        }
        // Without its state a task only begins at the beginning.
        if let Err(error) = self.work.recall().await {
            warn!(task = %self.kind, %error, "read how a task stood");
        }
        let mut failures = 0;
        let mut next = Next::Period;
        let mut ended = Timestamp::default();
        loop {
            self.wait(next, ended).await;
            self.work.begin();
            let (task, work) = (self.task.clone(), self.work.clone());
            // In a task of its own, so that a panic ends there.
            let round = AbortOnDropHandle::new(tokio::spawn(async move { task.round(&work).await }));
            let failure = match round.await {
                Ok(Ok(when)) => {
                    failures = 0;
                    next = when;
                    self.work.complete().await;
                    ended = self.now();
                    continue;
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(gone) => format!("panicked: {}", panic_message(gone)),
            };
            self.work.retry(&failure).await;
            tokio::time::sleep(self.rest(failures)).await;
            failures += 1;
            next = Next::Within(Duration::ZERO);
            ended = self.now();
        }
    }

    fn now(&self) -> Timestamp {
        self.tasks.shared.seams.clock.now()
    }

    /// Doubles with each failure; spread, so that nodes which failed together do not try together.
    fn rest(&self, failures: u32) -> Duration {
        let rest = (FIRST_REST * (1 << failures.min(16))).min(LONGEST_REST);
        let spread = self.tasks.shared.seams.random::<1>()[0];
        rest.mul_f64(0.75 + f64::from(spread) / 512.0)
    }

    /// Waits until a round is due and may begin.
    async fn wait(&mut self, next: Next, ended: Timestamp) {
        let tasks = self.tasks.clone();
        let wake = &tasks.shared.wake[&self.kind];
        let mut woken = false;
        loop {
            let settings = self.settings.borrow_and_update().clone();
            if settings.paused {
                self.work.enter(Phase::Paused).await;
            } else if woken || self.is_due(&settings, next, ended) {
                return;
            } else if self.work.state().phase == Phase::Paused {
                self.work.enter(Phase::Idle).await;
            }
            tokio::select! {
                () = wake.notified() => woken = true,
                () = tokio::time::sleep(tasks.shared.config.look_every) => {}
                changed = self.settings.changed() => if changed.is_err() {
                    // Nobody follows the settings any more: the node stops.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    fn is_due(&self, settings: &TaskSettings, next: Next, ended: Timestamp) -> bool {
        let now = self.now();
        let state = self.work.state();
        let Some(started) = state.started else {
            return true;
        };
        let unfinished = !self.work.cursor().is_empty();
        let asked = settings.run_at.is_some_and(|at| at > started && at <= now);
        let within = match next {
            Next::Period => false,
            Next::Within(time) => now >= ended.plus(time),
        };
        unfinished || asked || within || now >= started.plus(settings.period(self.kind))
    }
}

fn panic_message(gone: tokio::task::JoinError) -> String {
    let Ok(panic) = gone.try_into_panic() else {
        return "the round was cancelled".into();
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
