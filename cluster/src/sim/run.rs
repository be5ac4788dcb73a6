//! Runs one seed: a cluster comes into being, is used and hurt, is left in peace, and must then
//! be whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use turmoil::Sim;

use super::faults::{Fault, links_of};
use super::node::{Command, MOST_NODES, Node, host};
use super::panics;
use super::world::{EPOCH_MS, World};
use crate::off_thread;
use crate::raft::RaftConfig;
use crate::raft::simulated::{self, Defect, Observed, Stores};

/// How much virtual time passes at a step. Messages arrive between steps.
const TICK: Duration = Duration::from_millis(2);

/// How long a cluster may take to come into being; the faults begin then in any case.
const FORMS_WITHIN_MS: u64 = 6000;

/// How long a cluster is hurt.
const HURT_FOR_MS: u64 = 9000;

/// How long after the last fault every call must have ended: a transaction that reads and then
/// commits may take two deadlines.
const CALLS_END_WITHIN_MS: u64 = 30_000;

/// How long after that every node must read, write and agree with all others. Connections that
/// lost a message are only found to be dead by their keep-alive.
const HEALS_WITHIN_MS: u64 = 30_000;

/// The usual latency of a link.
const LATENCY_MS: u64 = 2;

/// What came of one seed.
pub(super) struct Report {
    pub(super) trace: Vec<String>,
    /// The first broken promise.
    pub(super) wrong: Option<String>,
    pub(super) figures: Figures,
}

/// Sums over seeds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) virtual_ms: u64,
    pub(super) calls: usize,
    pub(super) acknowledged: usize,
    pub(super) entries: u64,
    pub(super) leaders: usize,
    pub(super) snapshots_installed: u64,
    pub(super) faults: BTreeMap<String, usize>,
}

impl Figures {
    pub(super) fn add(&mut self, other: Self) {
        self.virtual_ms += other.virtual_ms;
        self.calls += other.calls;
        self.acknowledged += other.acknowledged;
        self.entries += other.entries;
        self.leaders += other.leaders;
        self.snapshots_installed += other.snapshots_installed;
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }
}

/// Runs a seed, with a fault of Cairn's own if there is to be one. Two runs in one process can
/// differ: the order in which tokio drops the tasks of a crashed node follows from how many tasks
/// the process ever had.
pub(super) fn run(seed: u64, defect: Option<Defect>) -> Report {
    let run = move || {
        off_thread::testing::work_inline();
        simulated::seed_draws(seed);
        panics::begin();
        let folder = folder();
        let mut simulation = Simulation::new(seed, defect, folder.path());
        if let Err(wrong) = simulation.run() {
            simulation.world.wrong(wrong);
        }
        simulation.report()
    };
    std::thread::Builder::new()
        .name(format!("seed-{seed}"))
        .stack_size(16 << 20)
        .spawn(run)
        .expect("start a thread")
        .join()
        .expect("the observer does not panic")
}

/// Where snapshots lie in transit: in memory, if there is a place.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("make a folder")
}

/// What is to be done when a fault is over.
enum Undo {
    Start(Vec<u64>),
    Heal(Vec<(u64, u64)>),
    Lossless(Vec<(u64, u64)>),
    Fast(Vec<(u64, u64)>),
    FastDisk(u64),
    Wake { node: u64, after_ms: u64 },
}

struct Simulation {
    sim: Sim<'static>,
    world: Arc<World>,
    size: u64,
    nodes: Vec<Arc<Node>>,
    rng: StdRng,
    seen: BTreeMap<u64, Observed>,
    /// What is to be undone, and when.
    harms: Vec<(u64, Undo)>,
    faults: BTreeMap<&'static str, usize>,
    /// Of the messages that were on their way at each step.
    traffic: u64,
}

impl Simulation {
    fn new(seed: u64, defect: Option<Defect>, folder: &std::path::Path) -> Self {
        let world = Arc::new(World::new(seed));
        let mut rng = world.rng("observer");
        let size = rng.random_range(3..=MOST_NODES);
        let config = RaftConfig {
            heartbeat: Duration::from_millis(60),
            election_timeout: Duration::from_millis(300),
            snapshot_every_bytes: rng.random_range(1 << 10..16 << 10),
            log_retention_bytes: rng.random_range(0..4 << 10),
            ..RaftConfig::default()
        };
        let mut sim = turmoil::Builder::new()
            .rng_seed(rng.random())
            .tick_duration(TICK)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(rng.random_range(3..30)))
            .tcp_capacity(1 << 14)
            .enable_random_order()
            .build();
        let nodes: Vec<Arc<Node>> = (1..=size)
            .map(|id| {
                let told = world.clone();
                let on_apply = move |index, digest| told.node_applied(id, index, digest);
                let stores = Stores::new(folder.join(host(id)), defect, Arc::new(on_apply));
                Arc::new(Node::new(id, &world, stores, config.clone(), defect))
            })
            .collect();
        for node in &nodes {
            let node = node.clone();
            sim.host(host(node.id), move || {
                let node = node.clone();
                async move { Ok(node.run().await?) }
            });
        }
        Self {
            sim,
            world,
            size,
            nodes,
            rng,
            seen: BTreeMap::new(),
            harms: Vec::new(),
            faults: BTreeMap::new(),
            traffic: 0,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        self.form()?;
        self.hurt()?;
        self.leave_in_peace()?;
        self.check_whole()
    }

    /// Has the first node make the others members.
    fn form(&mut self) -> Result<(), String> {
        // In larger clusters one comes late.
        let late = self.late_comer();
        self.step_until(FORMS_WITHIN_MS, |this| this.nodes[0].running().is_some())?;
        for node in (1..=self.size).filter(|node| Some(*node) != late) {
            self.nodes[0].command(Command::Admit(node));
        }
        self.step_until(FORMS_WITHIN_MS, |this| {
            this.voters().is_some_and(|voters| voters.len() == 3)
        })
        .map(drop)
    }

    fn late_comer(&self) -> Option<u64> {
        (self.size > 3).then_some(self.size)
    }

    fn hurt(&mut self) -> Result<(), String> {
        let begin = self.world.elapsed_ms();
        let mut next = begin;
        let mut late = self.late_comer();
        while self.world.elapsed_ms() < begin + HURT_FOR_MS {
            let now = self.world.elapsed_ms();
            if now >= next {
                next = now + self.rng.random_range(50..900);
                let (fault, lasts_ms) = Fault::draw(&mut self.rng, self.size);
                self.inflict(fault, now + lasts_ms);
            }
            if now >= begin + HURT_FOR_MS / 2
                && let Some(late) = late.take()
            {
                self.admit(late);
            }
            self.step()?;
        }
        Ok(())
    }

    /// Makes a node a member, through any that runs.
    fn admit(&mut self, newcomer: u64) {
        for node in &self.nodes {
            node.command(Command::Admit(newcomer));
        }
    }

    fn inflict(&mut self, fault: Fault, until: u64) {
        self.world.note(format_args!("{fault:?} until {until}"));
        *self.faults.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::Crash(nodes) => {
                for node in &nodes {
                    self.crash(*node);
                }
                self.harms.push((until, Undo::Start(nodes)));
            }
            Fault::Partition(group) => {
                let links: Vec<(u64, u64)> = (1..=self.size)
                    .flat_map(|node| links_of(node, self.size))
                    .filter(|(a, b)| group.contains(a) && !group.contains(b))
                    .collect();
                for (a, b) in &links {
                    self.sim.partition(host(*a), host(*b));
                }
                self.harms.push((until, Undo::Heal(links)));
            }
            Fault::Mute { from, to } => {
                self.sim.partition_oneway(host(from), host(to));
                self.harms.push((until, Undo::Heal(vec![(from, to)])));
            }
            Fault::Hold(links) => {
                for (a, b) in &links {
                    self.sim.hold(host(*a), host(*b));
                }
                self.harms.push((until, Undo::Heal(links)));
            }
            Fault::Loss(links) => {
                for (a, b) in &links {
                    self.sim.set_link_fail_rate(host(*a), host(*b), 0.1);
                }
                self.harms.push((until, Undo::Lossless(links)));
            }
            Fault::Slow(links) => {
                for (a, b) in &links {
                    let latency = Duration::from_millis(self.rng.random_range(40..400));
                    self.sim.set_link_latency(host(*a), host(*b), latency);
                }
                self.harms.push((until, Undo::Fast(links)));
            }
            Fault::SlowDisk { node, by_ms } => {
                self.node(node).slow_down_disk(by_ms);
                self.harms.push((until, Undo::FastDisk(node)));
            }
            Fault::Clock { node, by_ms } => self.node(node).clock.jump(by_ms),
            Fault::Pause { node, ms } => {
                for (a, b) in links_of(node, self.size) {
                    self.sim.hold(host(a), host(b));
                }
                let now = self.world.elapsed_ms();
                // Others go on for a part of the time; for the rest, the node's clock jumps.
                let others_ms = ms / 2;
                let after_ms = ms - others_ms;
                self.harms.push((now + others_ms, Undo::Wake { node, after_ms }));
            }
            Fault::Transfer { by, to } => self.node(by).command(Command::TransferLeader(to)),
            Fault::Voters { by, voters } => self.node(by).command(Command::ChangeVoters(voters)),
        }
    }

    fn undo(&mut self, harm: Undo) {
        match harm {
            Undo::Start(nodes) => {
                for node in nodes {
                    // It may have been started after another crash.
                    if !self.sim.is_host_running(host(node)) {
                        self.world.note(format_args!("node {node} starts"));
                        self.sim.bounce(host(node));
                    }
                }
            }
            Undo::Heal(links) => {
                for (a, b) in links {
                    self.sim.release(host(a), host(b));
                }
            }
            Undo::Lossless(links) => {
                for (a, b) in links {
                    self.sim.set_link_fail_rate(host(a), host(b), 0.0);
                    self.sim.release(host(a), host(b));
                }
            }
            Undo::Fast(links) => {
                for (a, b) in links {
                    let latency = Duration::from_millis(LATENCY_MS);
                    self.sim.set_link_latency(host(a), host(b), latency);
                }
            }
            Undo::FastDisk(node) => self.node(node).slow_down_disk(0),
            Undo::Wake { node, after_ms } => {
                self.node(node)
                    .command(Command::Sleep(Duration::from_millis(after_ms)));
                for (a, b) in links_of(node, self.size) {
                    self.sim.release(host(a), host(b));
                }
            }
        }
    }

    fn crash(&mut self, node: u64) {
        let node = self.node(node).clone();
        if !self.sim.is_host_running(host(node.id)) {
            return;
        }
        node.ended();
        self.seen.remove(&node.id);
        self.sim.crash(host(node.id));
        node.stores.crash(&mut self.rng);
    }

    /// Ends all faults and lets calls end.
    fn leave_in_peace(&mut self) -> Result<(), String> {
        self.world.note("the faults end");
        for (_, harm) in std::mem::take(&mut self.harms) {
            self.undo(harm);
        }
        self.world.stop_clients();
        let ended = self.step_until(CALLS_END_WITHIN_MS, |this| {
            let mut running = this.nodes.iter().map(|node| node.running());
            running.all(|node| node.is_some_and(|node| !node.has_clients()))
        })?;
        if !ended {
            return Err("a call did not end within its deadlines".into());
        }
        self.world.note("the calls have ended");
        Ok(())
    }

    /// Checks that the cluster is what it was before, and that nothing is lost.
    fn check_whole(&mut self) -> Result<(), String> {
        if let Some(late) = self.late_comer() {
            self.admit(late);
        }
        for node in &self.nodes {
            node.command(Command::Settle);
        }
        let healed = self.step_until(HEALS_WITHIN_MS, |this| {
            this.nodes.iter().all(|node| node.is_settled()) && this.is_complete() && this.is_even()
        })?;
        if !healed {
            let settled: Vec<u64> = self
                .nodes
                .iter()
                .filter(|node| node.is_settled())
                .map(|node| node.id)
                .collect();
            return Err(format!(
                "the cluster did not heal: nodes {settled:?} read and write, the voters are {:?}",
                self.voters()
            ));
        }
        let (index, digest, contents) = self.nodes[0].stores.contents();
        for node in &self.nodes[1..] {
            if node.stores.contents() != (index, digest, contents.clone()) {
                return Err(format!("nodes 1 and {} have different states", node.id));
            }
        }
        self.world.history().check_registers()
    }

    /// Whether as many vote as should, and all are members.
    fn is_complete(&self) -> bool {
        let wanted = if self.size < 5 { 3 } else { 5 };
        let state = self.nodes[0].running().map(|node| node.replica.group_state());
        state.is_some_and(|state| {
            state.voters.len() == wanted
                && !state.changing_voters
                && state.addresses.len() as u64 == self.size
        })
    }

    /// Whether all nodes have applied the same.
    fn is_even(&self) -> bool {
        let indexes: BTreeSet<u64> = self.nodes.iter().map(|node| node.stores.contents().0).collect();
        indexes.len() == 1
    }

    fn voters(&self) -> Option<BTreeSet<u64>> {
        let running = self.nodes[0].running()?;
        Some(running.replica.group_state().voters)
    }

    fn node(&self, node: u64) -> &Arc<Node> {
        &self.nodes[node as usize - 1]
    }

    /// Goes on until something is so, at most for this long; says whether it is.
    fn step_until(&mut self, within_ms: u64, is_so: impl Fn(&Self) -> bool) -> Result<bool, String> {
        let deadline = self.world.elapsed_ms() + within_ms;
        while !is_so(self) {
            if self.world.elapsed_ms() >= deadline {
                return Ok(false);
            }
            self.step()?;
        }
        Ok(true)
    }

    fn step(&mut self) -> Result<(), String> {
        let now = self.world.elapsed_ms();
        let (over, lasting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.harms)
            .into_iter()
            .partition(|(until, _)| *until <= now);
        self.harms = lasting;
        for (_, harm) in over {
            self.undo(harm);
        }
        self.sim
            .step()
            .map_err(|error| format!("a node did not start: {error}"))?;
        self.world.set_elapsed(self.sim.elapsed());
        self.look();
        match self.world.first_wrong().or_else(panics::seen) {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }

    /// Looks at all nodes and at the network.
    fn look(&mut self) {
        for node in &self.nodes {
            let Some(running) = node.running() else { continue };
            let seen = running.observe();
            if self.seen.get(&node.id) != Some(&seen) {
                self.world.node_observed(node.id, &seen);
                self.seen.insert(node.id, seen);
            }
        }
        let mut traffic = self.traffic;
        self.sim.links(|links| {
            for link in links {
                traffic = traffic.rotate_left(5) ^ link.count() as u64;
            }
        });
        self.traffic = traffic;
        if self.world.elapsed_ms().is_multiple_of(100) {
            self.world.note(format_args!("traffic {traffic:016x}"));
        }
    }

    fn report(self) -> Report {
        let installed = self.nodes.iter().map(|node| node.stores.installed()).sum();
        let history = self.world.history();
        let figures = Figures {
            virtual_ms: self.world.elapsed_ms(),
            calls: history.len(),
            acknowledged: history.acknowledged(),
            entries: self.world.last_applied(),
            leaders: self.world.leaders(),
            snapshots_installed: installed,
            faults: self
                .faults
                .into_iter()
                .map(|(fault, count)| (fault.to_owned(), count))
                .collect(),
        };
        drop(history);
        Report {
            wrong: self.world.first_wrong(),
            trace: self.world.take_trace(),
            figures,
        }
    }
}
