//! The end of a run: faults are over, everything must come right in time, and then everything is
//! read.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use super::options::Workload;
use super::{Run, report::Checked};
use crate::invariants::{
    Invariant, Violation, calm, covered, durable, lively, reclaimed, redundant, same_state,
};
use crate::node::say;
use crate::oracle::{Known, Told};

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How many of the files that were deleted are looked for.
const DELETED: usize = 300;

/// How many files are read with each node away in turn.
const WITHOUT: usize = 60;

impl Run {
    /// Clients are still at work. Writes succeed in time, and the nodes converge.
    pub(super) async fn come_right(&self) -> Result<(), Violation> {
        say(format_args!("no more faults"));
        let within = self.patience(lively::WRITES_WITHIN);
        let took = lively::writes_again(&self.cluster, &self.oracle, || self.number(), within).await?;
        say(format_args!("writes succeed through every node after {took:?}"));
        let within = self.patience(lively::CONVERGED_WITHIN);
        let took = lively::converged(&self.cluster, within).await?;
        say(format_args!("all nodes are up and vote after {took:?}"));
        self.every_request().await
    }

    /// Nobody is at work any more.
    pub(super) async fn check_all(&self) -> Result<(), Violation> {
        let took = redundant::regained(&self.cluster, self.patience(redundant::WITHIN)).await?;
        say(format_args!("there is full redundancy after {took:?}"));
        if self.workloads().include(Workload::Delete) {
            let took = reclaimed::check(&self.cluster, self.patience(reclaimed::WITHIN)).await?;
            say(format_args!("what nothing names is gone after {took:?}"));
        }
        let within = self.patience(lively::CONVERGED_WITHIN);
        let compared = same_state::check(&self.cluster, within).await?;
        let judged = self.judge_tags().await?;
        {
            let mut seen = self.seen();
            seen.compared_states += compared;
            seen.judged_tag_requests += judged;
        }
        let checked = self.read_all().await?;
        say(format_args!("{checked}"));
        self.seen().evidence.push(checked.to_string());
        self.without_each().await?;
        let peak = calm::judge_memory(&self.cluster)?;
        {
            let mut seen = self.seen();
            seen.peak_memory_bytes = seen.peak_memory_bytes.max(peak);
        }
        self.stop_all().await?;
        let happened = self.seen().happened.clone();
        covered::judge_faults(&self.options.faults.0, &happened)
    }

    /// Lets clients go on until every kind of request has succeeded a few times, which a short run
    /// may not have come to.
    async fn every_request(&self) -> Result<(), Violation> {
        let (begun, within) = (Instant::now(), self.patience(lively::CONVERGED_WITHIN));
        let wanted = super::clients::wanted(self.workloads());
        loop {
            let requests = self.seen().requests.clone();
            match covered::judge_requests(&wanted, &requests) {
                Err(_) if begun.elapsed() < within => sleep(BETWEEN_LOOKS).await,
                judged => return judged,
            }
        }
    }

    /// Each node reads the tags that are in use once more; then all histories are judged.
    async fn judge_tags(&self) -> Result<u64, Violation> {
        let mut client = super::clients::Client::new(self, u64::MAX / 2);
        for node in 0..self.cluster.size() {
            client.read_tags_through(node).await?;
        }
        Ok(self.image_tags.check()? + self.npm_tags.check()?)
    }

    async fn read_all(&self) -> Result<Checked, Violation> {
        let mut dice = StdRng::seed_from_u64(self.seed);
        let (mut deleted, files): (Vec<Known>, Vec<Known>) = self
            .oracle
            .all()
            .into_iter()
            .partition(|known| known.told == Told::Deleted);
        deleted.shuffle(&mut dice);
        deleted.truncate(DELETED);
        let is = |told| move |known: &&Known| known.told == told;
        let acknowledged = files.iter().filter(is(Told::Acknowledged)).count();
        let unknown = files.iter().filter(is(Told::Unknown)).count();
        let gone = deleted.len();
        let mut reads = durable::check(&self.cluster, files).await?;
        reads += durable::check(&self.cluster, deleted).await?;
        reads += self.check_contests().await?;
        let blobs = std::mem::take(&mut *self.blobs.lock().expect("no panic while held"));
        reads += blobs.check(self).await?;
        Ok(Checked {
            acknowledged,
            unknown,
            deleted: gone,
            reads,
        })
    }

    /// With each node away in turn the others serve everything.
    async fn without_each(&self) -> Result<(), Violation> {
        let mut dice = StdRng::seed_from_u64(self.seed);
        let mut files = self.oracle.files();
        files.shuffle(&mut dice);
        // What is coded is what may lack shards.
        files.sort_by_key(|file| std::cmp::Reverse(file.size_bytes));
        let large = WITHOUT.min(files.len());
        let chosen = &files[..dice.random_range(large / 2..=large)];
        for away in 0..self.cluster.size() {
            let broken = |error: anyhow::Error| Invariant::Calm.violated(format!("{error:#}"));
            self.cluster.node(away).stop().await.map_err(broken)?;
            redundant::check_without(&self.cluster, away, chosen).await?;
            self.cluster.restart(away).await.map_err(broken)?;
        }
        say(format_args!(
            "with each node away in turn the others serve everything"
        ));
        Ok(())
    }

    /// Whether a node has ever caught up by a snapshot: each becomes a state with another number.
    fn has_installed(&self, node: usize) -> anyhow::Result<bool> {
        let current = self.cluster.node(node).data()?.join("state/current");
        Ok(std::fs::read_to_string(current)?.trim() != "state-0")
    }

    /// Stops all nodes, and reads what they have logged.
    async fn stop_all(&self) -> Result<(), Violation> {
        let broken = |error: anyhow::Error| Invariant::Calm.violated(format!("{error:#}"));
        self.cluster.stop_nodes().await.map_err(broken)?;
        for node in 0..self.cluster.size() {
            let log = std::fs::read_to_string(self.cluster.node(node).log());
            let log = log.map_err(|error| broken(error.into()))?;
            calm::judge_log(node, &log, |kind| self.has_happened(kind))?;
            let by_snapshot = self.has_installed(node).map_err(broken)?;
            self.seen().by_snapshot += u64::from(by_snapshot);
        }
        Ok(())
    }
}
