//! Repair: shards that are missing, corrupt or on nodes that are gone are built again.
//!
//! Each node heals by itself. It knows from the metadata which shards it should have, and finds out
//! which of them it does not ([`find`]); those are noted as missing in the records of their
//! segments, with a debt for the blob, which is the queue that all nodes work from and what
//! operators see. What was on a node that is gone goes to nodes that each can compute ([`plan`]),
//! and whoever is to hold a shard builds it.
//!
//! - The most endangered segments come first, over all that is to be done.
//! - A segment that cannot be repaired is noted as such and passed over.
//! - A shard counts only when it is durable, and the record says so after that ([`record`]).

mod find;
mod metrics;
mod plan;
mod protection;
mod record;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Blobs;
use super::candidates::{Candidates, Source};
use super::segments::SegmentError;
use super::upkeep::{Settled, Upkeep, View};
use super::walk::{Known, Owner};
use crate::seams::Timestamp;
use crate::tasks::{Next, Task, Work};

pub(super) use plan::Job;
use plan::{Assessment, assess};
pub use protection::{Protection, ProtectionError, UnderProtected, UnderProtectedPage};
pub(super) use record::{edit, forget_debt, note_missing, settle};

/// How many segments are built at a time.
const AT_ONCE: usize = 4;

/// How soon what could not be done is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(20);

/// While other nodes are at work, it is looked again whether they are done after so many times as
/// long as it took to look everywhere, but no later than after this.
const REST: u32 = 10;
const LONGEST_REST: Duration = Duration::from_secs(10 * 60);

/// The repair of one node.
pub(crate) struct RepairTask {
    upkeep: Upkeep,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the disks were last compared with the metadata.
    looked: Option<Timestamp>,
    /// How many disks had failed by then.
    losses: u64,
    /// When it was last seen that another one had.
    lost: Option<Timestamp>,
    settled: Option<Settled>,
}

/// What a round found that it could not do.
#[derive(Debug, Default)]
struct Left {
    /// For nodes that may come back.
    waiting: u64,
    /// For other nodes to do.
    elsewhere: u64,
    /// For want of a node to put a shard on.
    homeless: u64,
    failed: u64,
    unrecoverable: u64,
}

impl RepairTask {
    pub(crate) fn new(upkeep: Upkeep) -> Self {
        metrics::describe();
        Self {
            upkeep,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    /// Waits until somebody met a shard of this node that was not as it should be.
    pub(crate) fn alarms(upkeep: &Upkeep) -> impl Future<Output = ()> + Send + use<> {
        let suspects = upkeep.suspects.clone();
        async move { suspects.added().await }
    }
}

#[async_trait]
impl Task for RepairTask {
    async fn round(&self, work: &Work) -> anyhow::Result<Next> {
        self.find(work).await?;
        let view = self.upkeep.view().await?;
        let now = self.upkeep.blobs.seams().clock.now();
        let settled = |state: &State| {
            state
                .settled
                .as_ref()
                .is_some_and(|settled| settled.holds(&view, now))
        };
        let everywhere = !settled(&self.state());
        let began = Instant::now();
        let left = self.repair(&view, everywhere, work).await?;
        metrics::left(&left);
        self.note_recovery().await?;
        if left.waiting + left.failed > 0 {
            return Ok(Next::Within(TRY_AGAIN));
        }
        if everywhere && left.elsewhere > 0 {
            // Who builds a shard depends on where the others lie, and that may change before it is
            // built: then it would be for a node that has gone over everything already.
            let rest = (began.elapsed() * REST).clamp(TRY_AGAIN, LONGEST_REST);
            return Ok(Next::Within(rest));
        }
        if everywhere {
            self.state().settled = Some(Settled::new(&view, now));
        }
        Ok(Next::Period)
    }
}

impl RepairTask {
    /// Repairs what this node is to repair, the most endangered first.
    async fn repair(&self, view: &View, everywhere: bool, work: &Work) -> anyhow::Result<Left> {
        let mut left = Left::default();
        let mut levels = BTreeMap::<usize, u64>::new();
        let source = match everywhere {
            true => Source::Everywhere,
            false => Source::Debts,
        };
        let mut candidates = Candidates::of(&self.upkeep, source);
        while let Some(page) = candidates.next().await? {
            for known in page {
                match assess(view, &known.segment) {
                    Assessment::Repairable {
                        spare,
                        jobs,
                        elsewhere,
                        homeless,
                    } => {
                        left.elsewhere += elsewhere;
                        left.homeless += homeless;
                        if !jobs.is_empty() {
                            *levels.entry(spare).or_default() += 1;
                        }
                    }
                    Assessment::Waiting => left.waiting += 1,
                    Assessment::Unrecoverable => {
                        left.unrecoverable += 1;
                        self.give_up(&known, "too few of its shards are left").await;
                    }
                    Assessment::Whole => {}
                }
            }
            work.moved(0, 0).await;
        }
        let total = levels.values().sum();
        let mut done = 0;
        let _urgent = (!levels.is_empty()).then(|| self.upkeep.precedence.begin());
        work.progress(done, total);
        for level in levels.into_keys() {
            let mut candidates = Candidates::of(&self.upkeep, source);
            while let Some(page) = candidates.next().await? {
                let due = page
                    .into_iter()
                    .filter_map(|known| match assess(view, &known.segment) {
                        Assessment::Repairable { spare, jobs, .. } if spare == level && !jobs.is_empty() => {
                            Some((known, jobs))
                        }
                        _ => None,
                    });
                let repairs = due.map(|(known, jobs)| self.repair_segment(view, known, jobs, work));
                let mut repairs = stream::iter(repairs).buffer_unordered(AT_ONCE);
                while let Some(repaired) = repairs.next().await {
                    done += 1;
                    work.progress(done, total.max(done));
                    left.failed += u64::from(!repaired);
                }
            }
        }
        if everywhere {
            // Debts that are paid by now are forgotten where they are gone over.
            let mut debts = Candidates::of(&self.upkeep, Source::Debts);
            while debts.next().await?.is_some() {}
        }
        Ok(left)
    }

    /// Notes that what failed disks held is in full redundancy again, if it is.
    async fn note_recovery(&self) -> anyhow::Result<()> {
        if !self.upkeep.is_rebuilding().await {
            return Ok(());
        }
        let compared = self.state().losses;
        if Blobs::debt(&self.upkeep.blobs.kv().local()).await? == 0 {
            info!("everything that was lost with a disk is in full redundancy again");
            self.upkeep.stores.shards.rebuilt(compared).await;
        }
        Ok(())
    }

    /// Builds the shards of a segment that this node is to hold; says whether that worked.
    async fn repair_segment(&self, view: &View, known: Known, jobs: Vec<Job>, work: &Work) -> bool {
        let mut all = true;
        for job in jobs {
            let result = self.repair_shard(view, &known, job).await;
            match result {
                Ok(bytes) => {
                    metrics::rebuilt(bytes);
                    work.moved(1, bytes).await;
                }
                Err(SegmentError::Damaged(what)) => {
                    all = false;
                    self.give_up(&known, &what).await;
                }
                Err(error) => {
                    all = false;
                    let generation = known.segment.id.generation;
                    work.failed(format!(
                        "rebuild shard {} of segment {generation}: {error}",
                        job.index
                    ));
                }
            }
        }
        all
    }

    /// Gives the bytes that were read for it.
    async fn repair_shard(&self, view: &View, known: &Known, job: Job) -> Result<u64, SegmentError> {
        let Upkeep { coded, stores, .. } = &self.upkeep;
        let Owner::Blob(blob) = known.owner else {
            return Ok(0);
        };
        let segment = &known.segment;
        let Some(_claim) = self.upkeep.claims.take(segment.id) else {
            let busy = "this node is at work on another shard of it";
            return Err(SegmentError::Unavailable(busy.into()));
        };
        let built = coded
            .rebuild(stores, segment, known.offset, Some(blob), job.index)
            .await;
        let liars = match built {
            Ok(liars) => liars,
            // What is here is all there is: it is as good as it ever was.
            Err(error) if job.from == view.me => match self.upkeep.check_here(segment, job.index).await {
                Ok(_) => BTreeSet::new(),
                Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        if !liars.is_empty() {
            warn!(%blob, ?liars, "shards of a segment have their checksums, but not its content");
        }
        let settled = record::settle(&self.upkeep.blobs, known, &blob, job, view.me, &liars).await;
        let settled = settled.map_err(|error| SegmentError::Unavailable(error.to_string()))?;
        if !settled && job.from != view.me {
            // Another node was faster, or the blob is gone.
            info!(%blob, index = job.index, "a shard that was rebuilt is not needed any more");
            self.upkeep.drop_unneeded(known, &blob, job.index).await?;
        }
        Ok(segment.record.len)
    }

    /// Notes that a blob cannot be repaired.
    async fn give_up(&self, known: &Known, problem: &str) {
        let Owner::Blob(blob) = known.owner else {
            return;
        };
        let noted = record::note_problem(&self.upkeep.blobs, known.space, &blob, problem).await;
        if let Err(error) = noted {
            warn!(%blob, %error, problem, "that a blob cannot be repaired was not noted");
        }
    }
}
