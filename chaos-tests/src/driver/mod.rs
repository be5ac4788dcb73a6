//! A run: a cluster, clients at work, faults one after the other, and then a phase without faults
//! in which everything must come right in time.

mod clients;
mod finish;
mod help;
pub mod options;
pub mod plan;
mod pusher;
mod report;
mod tags;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use futures::{FutureExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use tokio::sync::{RwLock, RwLockWriteGuard, watch};
use tokio::time::{sleep, timeout};

use crate::clock::Clocks;
use crate::cluster::{Cluster, Launch, program_beside};
use crate::faults::{Kind, Need, Strike};
use crate::invariants::covered::Count;
use crate::invariants::one_winner::Contest;
use crate::invariants::{Invariant, Violation, calm, lively, same_state};
use crate::node::say;
use crate::oracle::Oracle;
use crate::payload::Payload;
use crate::probe::probe;
use crate::workloads::{generic, npm, oci};

use clients::Client;
use options::{Options, Workload, Workloads};
use pusher::{Kept, Pushed, Pusher};
pub use report::Report;
use tags::Tags;

/// Files of so many bytes are coded, rather than copied.
pub const CODED_BYTES: usize = 1_500_000;

/// In how many zones nodes are, from so many nodes on.
const ZONES: usize = 3;
const ZONES_FROM: u8 = 5;

/// In how many zones so many nodes are; in none, if they are few.
fn zones_of(nodes: u8) -> usize {
    if nodes < ZONES_FROM { 0 } else { ZONES }
}

/// The size of each node's disk. Only what is written takes room.
const DISK_BYTES: u64 = 6 << 30;

/// How long a client waits for an answer: longer than a node tries to get a write through.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);

/// So little of the log is kept that who was away for seconds needs a snapshot.
const SNAPSHOTS: &str = "snapshot_every = \"64 KiB\"\nlog_retention = \"16 KiB\"\n";

/// What nothing names goes in seconds.
const RETENTION: &str = "blobs/retention?orphan_seconds=2&quarantine_seconds=2";
const PERIODS: [&str; 3] = [
    "tasks/collection?period_seconds=5",
    "tasks/repair?period_seconds=5",
    "tasks/recoding?period_seconds=10",
];

/// A run, as faults and clients see it.
pub struct Run {
    /// The cluster.
    pub cluster: Cluster,
    /// What clients were told of files.
    pub oracle: Oracle,
    seed: u64,
    options: Options,
    numbers: AtomicU64,
    /// Held by each client while it does something, and by who wants nothing to be done.
    gate: RwLock<()>,
    image_tags: Tags,
    npm_tags: Tags,
    contests: Mutex<Vec<(Contest, [Payload; 2])>>,
    blobs: Mutex<Kept>,
    over: watch::Sender<bool>,
    seen: Mutex<Seen>,
}

/// What a run has seen so far.
#[derive(Clone, Debug, Default)]
struct Seen {
    happened: BTreeMap<Kind, u64>,
    evidence: Vec<String>,
    requests: BTreeMap<&'static str, Count>,
    failovers: Vec<Duration>,
    recoveries: Vec<Duration>,
    compared_states: u64,
    judged_tag_requests: u64,
    peak_memory_bytes: u64,
    by_snapshot: u64,
}

/// Does what the options ask for. An error says why the run could not be made; what the run found
/// is in the report.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    let seed = options.seed.unwrap_or_else(rand::random);
    say(format_args!("replay: {}", options.replay(seed)));
    can_inject(&options).await?;
    let launch = Launch {
        nodes: options.nodes.into(),
        spares: 1,
        zones: zones_of(options.nodes),
        clocks: match options.faults.0.contains(&Kind::Clocks) {
            true => Some(Clocks::new(&options.folder).await?),
            false => None,
        },
        disk_bytes: Some(DISK_BYTES),
        networks: true,
        cluster_settings: match options.workloads.include(Workload::Snapshots) {
            true => SNAPSHOTS.into(),
            false => String::new(),
        },
        patience: CLIENT_PATIENCE,
        ..Launch::new(
            match &options.program {
                Some(program) => program.clone(),
                None => program_beside(&std::env::current_exe()?)?,
            },
            options.folder.clone(),
        )
    };
    let cluster = Cluster::launch(launch).await?;
    let run = Run {
        cluster,
        oracle: Oracle::default(),
        seed,
        options,
        numbers: AtomicU64::new(1),
        gate: RwLock::default(),
        image_tags: Tags::new("image"),
        npm_tags: Tags::new("npm"),
        contests: Mutex::default(),
        blobs: Mutex::default(),
        over: watch::channel(false).0,
        seen: Mutex::default(),
    };
    run.prepare().await.context("prepare the cluster")?;
    let begun = Instant::now();
    let outcome = run.all().await;
    let report = run.report(begun.elapsed(), outcome);
    match report.violation.is_none() {
        true => run.cluster.stop().await?,
        // Its data and logs are kept.
        false => drop(run),
    }
    Ok(report)
}

/// Says what this machine can do to a cluster. Fails if something is wanted that it cannot: what
/// was left out would pass for something that was tested.
async fn can_inject(options: &Options) -> anyhow::Result<()> {
    let probed = probe(&options.folder).await;
    for (need, can) in &probed {
        match can {
            Ok(()) => say(format_args!("this machine can do: {need:?}")),
            Err(error) => say(format_args!("this machine cannot do: {need:?}: {error:#}")),
        }
    }
    let cannot = |need: &Need| probed.iter().any(|(probed, can)| probed == need && can.is_err());
    let impossible: Vec<_> = options
        .faults
        .0
        .iter()
        .filter(|kind| kind.needs().iter().any(cannot))
        .map(|kind| kind.name())
        .collect();
    ensure!(
        impossible.is_empty() && !cannot(&Need::Disks) && !cannot(&Need::Networks),
        "this machine cannot do what is asked for: {}",
        impossible.join(", ")
    );
    Ok(())
}

impl Run {
    /// A number that nothing has yet.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// How many numbers were given out, and one more.
    fn numbers(&self) -> u64 {
        self.numbers.load(Ordering::Relaxed)
    }

    fn workloads(&self) -> &Workloads {
        &self.options.workloads
    }

    /// How long something may take on this machine.
    pub fn patience(&self, promised: Duration) -> Duration {
        promised * self.options.patience
    }

    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic while held")
    }

    /// A kind of request was made.
    fn count(&self, request: &'static str, acknowledged: bool) {
        let mut seen = self.seen();
        let count = seen.requests.entry(request).or_default();
        count.asked += 1;
        count.acknowledged += u64::from(acknowledged);
    }

    /// A fault has taken effect.
    pub fn happened(&self, kind: Kind) {
        *self.seen().happened.entry(kind).or_default() += 1;
    }

    /// After a loss of the leader, writes went on after this time.
    pub fn failed_over(&self, took: Duration) {
        self.seen().failovers.push(took);
    }

    fn pushed(&self, pushed: Pushed) -> Option<Pushed> {
        self.blobs.lock().expect("no panic while held").add(pushed)
    }

    /// Has no client do anything for as long as this is held.
    pub async fn quiet(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    async fn set(&self, what: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/cairn/v1/{what}", self.cluster.url(0));
        self.cluster
            .http()
            .expect(Method::POST, &url, StatusCode::OK)
            .await?;
        Ok(())
    }

    /// Makes what clients need, and has the cluster do in seconds what it usually does in hours.
    async fn prepare(&self) -> anyhow::Result<()> {
        self.set(RETENTION).await?;
        for period in PERIODS {
            self.set(period).await?;
        }
        generic::refuse_duplicates(&self.cluster).await?;
        generic::delete_finally(&self.cluster).await?;
        oci::push_config(&self.cluster, 0).await?;
        for version in 0..clients::VERSIONS {
            npm::publish(&self.cluster, 0, &format!("1.0.{version}")).await?;
        }
        Ok(())
    }

    /// Faults with clients at work, then none.
    async fn all(&self) -> Result<(), Violation> {
        let clients = async {
            let small = (0..self.options.clients).map(|number| Client::new(self, number).work().boxed());
            let large = self.workloads().include(Workload::Push);
            let large = large.then(|| Pusher::new(self).work().boxed());
            try_join_all(small.chain(large)).await
        };
        let faults = async {
            let done = self.strike_all().await;
            let done = match done {
                Ok(()) => self.come_right().await,
                failed => failed,
            };
            self.over.send_replace(true);
            done
        };
        // Whoever sees a broken promise ends it all.
        futures::try_join!(clients, faults)?;
        self.check_all().await
    }

    async fn strike_all(&self) -> Result<(), Violation> {
        let begun = Instant::now();
        let faults = &self.options.faults.0;
        for (done, step) in plan::steps(self.seed, faults).enumerate() {
            // Each happens, and all rounds are whole.
            if begun.elapsed() >= self.options.duration && done % faults.len() == 0 {
                return Ok(());
            }
            sleep(step.calm).await;
            self.strike(&step.strike).await?;
            self.recover().await?;
        }
        Ok(())
    }

    async fn strike(&self, strike: &Strike) -> Result<(), Violation> {
        say(format_args!("{}", strike.kind));
        let evidence = match strike.happen(self).await {
            Ok(evidence) => evidence,
            Err(error) => {
                return Err(error.downcast::<Violation>().unwrap_or_else(|error| {
                    Invariant::Covered.violated(format!("{} did not go as planned: {error:#}", strike.kind))
                }));
            }
        };
        say(format_args!("{}: {evidence}", strike.kind));
        self.happened(strike.kind);
        self.seen().evidence.push(format!("{}: {evidence}", strike.kind));
        Ok(())
    }

    /// After each fault: all nodes serve again, and have the same state.
    async fn recover(&self) -> Result<(), Violation> {
        let begun = Instant::now();
        let within = self.patience(lively::CONVERGED_WITHIN);
        let ready = (0..self.cluster.size()).map(|node| self.cluster.ready(node));
        match timeout(within, try_join_all(ready)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Invariant::Calm.violated(format!("{error:#}"))),
            Err(_) => {
                return Err(
                    Invariant::Lively.violated(format!("not all nodes serve again within {within:?}"))
                );
            }
        }
        self.seen().recoveries.push(begun.elapsed());
        let peak = calm::judge_memory(&self.cluster)?;
        let _quiet = self.quiet().await;
        let compared = same_state::check(&self.cluster, within).await?;
        let judged = self.image_tags.check()? + self.npm_tags.check()?;
        let mut seen = self.seen();
        seen.peak_memory_bytes = seen.peak_memory_bytes.max(peak);
        seen.compared_states += compared;
        seen.judged_tag_requests += judged;
        Ok(())
    }

    /// Whether a kind of fault has happened.
    fn has_happened(&self, kind: Kind) -> bool {
        self.seen().happened.contains_key(&kind)
    }

    /// The contests, to be judged at the end.
    fn all_contests(&self) -> Vec<(Contest, [Payload; 2])> {
        self.contests.lock().expect("no panic while held").clone()
    }

    /// Judges what is served under the names for which several contended. Gives how many reads
    /// that took.
    async fn check_contests(&self) -> Result<u64, Violation> {
        let contests = futures::stream::iter(self.all_contests());
        let checks = contests.map(async |(mut contest, contents)| {
            for node in 0..self.cluster.size() {
                let served = generic::winner(&self.cluster, node, contest.name, &contents).await?;
                let served = served.with_context(|| format!("node {} does not tell", node + 1));
                let served = served.map_err(|error| Invariant::OneWinner.violated(error.to_string()))?;
                contest.judge_served(node, served.map(|content| content.number))?;
            }
            Ok::<_, Violation>(self.cluster.size() as u64)
        });
        let mut checks = Box::pin(checks.buffer_unordered(8));
        let mut reads = 0;
        while let Some(done) = checks.next().await {
            reads += done?;
        }
        Ok(reads)
    }
}
