//! What all nodes of one simulated cluster share with its observer: the trace, what was found
//! to be wrong, and what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::history::History;
use crate::raft::simulated::{Digest, Observed};
use crate::seams::{Clock, Entropy, Seams, Timestamp};

/// When every simulation begins: 2026-01-01, so that certificates can be made beforehand.
pub(super) const EPOCH_MS: u64 = 1_767_225_600_000;

/// See the module.
pub(super) struct World {
    pub(super) seed: u64,
    elapsed_ms: AtomicU64,
    stopping: AtomicBool,
    trace: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    /// What any node applied at each log index, and which did first.
    applied: Mutex<BTreeMap<u64, (Digest, u64)>>,
    /// Who led, and in which term. Here a term can have several leaders, one after the other: the
    /// greater node id wins.
    leaders: Mutex<BTreeSet<(u64, u64)>>,
    history: Mutex<History>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            elapsed_ms: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            trace: Mutex::default(),
            wrong: Mutex::default(),
            applied: Mutex::default(),
            leaders: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// A source of its own for each purpose, so that one more draw here changes nothing there.
    pub(super) fn rng(&self, purpose: &str) -> StdRng {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_be_bytes());
        hasher.update(purpose.as_bytes());
        StdRng::from_seed(*hasher.finalize().as_bytes())
    }

    pub(super) fn set_elapsed(&self, elapsed: Duration) {
        self.elapsed_ms
            .store(elapsed.as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms.load(Ordering::Relaxed)
    }

    /// Asks the clients to begin nothing more.
    pub(super) fn stop_clients(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, what: impl fmt::Display) {
        let line = format!("{:>6} {what}", self.elapsed_ms());
        lock(&self.trace).push(line);
    }

    /// Notes that a promise was broken.
    pub(super) fn wrong(&self, what: impl fmt::Display) {
        self.note(format_args!("WRONG: {what}"));
        lock(&self.wrong).push(what.to_string());
    }

    /// The first thing that was found to be wrong.
    pub(super) fn first_wrong(&self) -> Option<String> {
        lock(&self.wrong).first().cloned()
    }

    pub(super) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.trace))
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// A node has applied an entry: all nodes must have the same at the same log index.
    pub(super) fn node_applied(&self, node: u64, index: u64, digest: Digest) {
        let (first, by) = *lock(&self.applied).entry(index).or_insert((digest, node));
        if first != digest {
            self.wrong(format_args!(
                "nodes {by} and {node} have different states at log index {index}"
            ));
        }
    }

    /// A node was looked at.
    pub(super) fn node_observed(&self, node: u64, seen: &Observed) {
        self.note(format_args!("node {node}: {seen:?}"));
        if seen.leads {
            lock(&self.leaders).insert((seen.term, node));
        }
    }

    /// How often the leadership changed hands.
    pub(super) fn leaders(&self) -> usize {
        lock(&self.leaders).len()
    }

    /// The last log index that any node applied.
    pub(super) fn last_applied(&self) -> u64 {
        lock(&self.applied)
            .last_key_value()
            .map_or(0, |(index, _)| *index)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while held")
}

/// The wall clock of one node, which can be moved.
pub(super) struct NodeClock {
    world: Arc<World>,
    ahead_ms: Mutex<i64>,
}

impl NodeClock {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self {
            world,
            ahead_ms: Mutex::new(0),
        }
    }

    /// Moves the clock forward or back.
    pub(super) fn jump(&self, by_ms: i64) {
        *lock(&self.ahead_ms) += by_ms;
    }
}

impl fmt::Debug for NodeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeClock")
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let now_ms = EPOCH_MS + self.world.elapsed_ms();
        Timestamp(now_ms.saturating_add_signed(*lock(&self.ahead_ms)))
    }
}

/// Random bytes from a seed.
pub(super) struct SeededEntropy(Mutex<StdRng>);

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy")
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        lock(&self.0).fill_bytes(out);
    }
}

/// The seams of one node.
pub(super) fn seams(clock: &Arc<NodeClock>, rng: StdRng) -> Seams {
    Seams {
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy(Mutex::new(rng))),
    }
}
