//! Rebalancing: after a change of the layout, shards go to the nodes that are to have them.
//!
//! Each node takes over what the layout gives to it. A shard is copied from its home (or built from
//! the others, if that is quicker to be had), made durable, read back from the disk, and only then
//! named as being here in the record of its segment. Until then its home is where it was, and for a
//! while after that it is still there ([`super::leftover`]). Whatever crashes in between leaves a
//! shard that nothing names, and the move is done again.
//!
//! - Everything is gone over once for each layout. The round goes on where it was when the process
//!   ended; a layout that changes meanwhile begins it anew.
//! - Blobs that were named too late to be met on that way are listed ([`super::stray`]).
//! - Disks of the node that are to be emptied are emptied before that ([`super::disks`]).
//! - Repair goes first.

mod metrics;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use tracing::{debug, info};

use super::candidates::{Candidates, Source};
use super::collect::DecideError;
use super::id::BlobId;
use super::record::{Form, Located};
use super::repair::{self, Job};
use super::segments::SegmentError;
use super::sweep::Sweep;
use super::upkeep::{Settled, Upkeep, View};
use super::walk::{Known, Owner, current};
use crate::kv::Txn;
use crate::tasks::{Next, Task, Work};

pub(super) use plan::{Move, moves};

/// How many shards are taken over at a time.
const AT_ONCE: usize = 4;

/// How soon what could not be done is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The rebalancing of one node.
pub(crate) struct RebalanceTask {
    upkeep: Upkeep,
    settled: Mutex<Option<Settled>>,
}

/// What a round could not do.
#[derive(Debug, Default)]
struct Left {
    /// Shards whose homes are away, but expected back; or for which there is no room.
    waiting: u64,
    failed: u64,
    /// There is another layout.
    outdated: bool,
}

/// What became of a shard that was to be taken over.
enum Outcome {
    /// It is here, or not to be here any more.
    Done,
    Waiting,
    Failed,
}

/// How much of a round is done, in bytes.
#[derive(Default)]
struct Progress {
    done: u64,
    total: u64,
}

impl RebalanceTask {
    pub(crate) fn new(upkeep: Upkeep) -> Self {
        metrics::describe();
        Self {
            upkeep,
            settled: Mutex::default(),
        }
    }

    fn settled(&self) -> MutexGuard<'_, Option<Settled>> {
        self.settled.lock().expect("no panic while held")
    }
}

#[async_trait]
impl Task for RebalanceTask {
    async fn round(&self, work: &Work) -> anyhow::Result<Next> {
        let is_left_on_disks = self.upkeep.empty_disks(work).await?;
        let view = self.upkeep.view().await?;
        let now = self.upkeep.blobs.seams().clock.now();
        let everywhere = !self
            .settled()
            .as_ref()
            .is_some_and(|settled| settled.holds(&view, now));
        let left = match everywhere {
            true => self.go_over_all(&view, work).await?,
            false => self.go_over_strays(work).await?,
        };
        metrics::waiting(left.waiting + left.failed);
        if left.outdated {
            return Ok(Next::Within(Duration::ZERO));
        }
        if left.waiting + left.failed > 0 || is_left_on_disks {
            return Ok(Next::Within(TRY_AGAIN));
        }
        if everywhere {
            *self.settled() = Some(Settled::new(&view, now));
        }
        Ok(Next::Period)
    }
}

impl RebalanceTask {
    async fn go_over_all(&self, view: &View, work: &Work) -> anyhow::Result<Left> {
        let mut progress = Progress::default();
        let mut ahead = Sweep::resume(&self.upkeep, view, work);
        while let Some(page) = ahead.next().await? {
            let due = page.iter().flat_map(|known| {
                let here = moves_here(view, &known.segment);
                here.map(|_| known.segment.record.shard_bytes())
            });
            progress.total += due.sum::<u64>();
            // Here it is held, if it is paused.
            work.moved(0, 0).await;
        }
        work.progress(progress.done, progress.total);
        let mut left = Left::default();
        let mut sweep = Sweep::resume(&self.upkeep, view, work);
        while let Some(page) = sweep.next().await? {
            self.take_over_all(page, &mut progress, &mut left, work).await?;
            // What has to wait is met again from the beginning on.
            if left.waiting + left.failed == 0 {
                sweep.save(work).await;
            }
        }
        left.outdated = sweep.is_outdated();
        Ok(left)
    }

    async fn go_over_strays(&self, work: &Work) -> anyhow::Result<Left> {
        let (mut progress, mut left) = (Progress::default(), Left::default());
        let mut strays = Candidates::of(&self.upkeep, Source::Strays);
        while let Some(page) = strays.next().await? {
            self.note_unreachable(&page).await?;
            self.take_over_all(page, &mut progress, &mut left, work).await?;
        }
        Ok(left)
    }

    /// Takes over what some segments have for this node.
    async fn take_over_all(
        &self,
        page: Vec<Known>,
        progress: &mut Progress,
        left: &mut Left,
        work: &Work,
    ) -> anyhow::Result<()> {
        let view = self.upkeep.view().await?;
        let mut due: Vec<(Known, Move)> = Vec::new();
        for known in page {
            due.extend(moves_here(&view, &known.segment).map(|shard| (known.clone(), shard)));
        }
        let moves = due
            .into_iter()
            .map(|(known, shard)| self.take_over_or_tell(&view, known, shard, work));
        let mut moves = stream::iter(moves).buffer_unordered(AT_ONCE);
        while let Some((outcome, bytes)) = moves.next().await {
            match outcome {
                Outcome::Done => {
                    progress.done += bytes;
                    work.progress(progress.done, progress.total.max(progress.done));
                }
                Outcome::Waiting => left.waiting += 1,
                Outcome::Failed => left.failed += 1,
            }
        }
        Ok(())
    }

    /// Takes over a shard, and says how that went and how many bytes it was about.
    async fn take_over_or_tell(&self, view: &View, known: Known, shard: Move, work: &Work) -> (Outcome, u64) {
        let bytes = known.segment.record.shard_bytes();
        let Owner::Blob(blob) = known.owner else {
            return (Outcome::Done, bytes);
        };
        if !view.answers(shard.from) || !view.takes(view.me) {
            return (Outcome::Waiting, bytes);
        }
        self.upkeep.precedence.give_way().await;
        match self.take_over(&known, &blob, shard).await {
            Ok(true) => {
                metrics::moved(bytes);
                work.moved(1, bytes).await;
                (Outcome::Done, bytes)
            }
            Ok(false) => (Outcome::Done, bytes),
            Err(error) => {
                let generation = known.segment.id.generation;
                let (index, from) = (shard.index, shard.from);
                work.failed(format!(
                    "take over shard {index} of segment {generation} from node {from}: {error:#}"
                ));
                (Outcome::Failed, bytes)
            }
        }
    }

    /// Takes over a shard; false if it is not to be here any more.
    async fn take_over(&self, known: &Known, blob: &BlobId, shard: Move) -> anyhow::Result<bool> {
        let Some(_claim) = self.upkeep.claims.take(known.segment.id) else {
            anyhow::bail!("this node is at work on another shard of it");
        };
        let Some(known) = self.is_still_due(known, blob, shard).await? else {
            return Ok(false);
        };
        if !self.upkeep.has_here(&known.segment, shard.index).await? {
            self.bring(&known, blob, shard).await?;
        }
        // From the disk, to the last byte.
        self.upkeep.check_here(&known.segment, shard.index).await?;
        let job = Job {
            index: shard.index,
            from: shard.from,
        };
        let liars = Default::default();
        let settled = repair::settle(&self.upkeep.blobs, &known, blob, job, shard.to, &liars).await?;
        if !settled {
            info!(%blob, index = shard.index, "a shard that was taken over has another home by now");
            self.upkeep.drop_unneeded(&known, blob, shard.index).await?;
        }
        Ok(settled)
    }

    /// The segment as it is now, if a shard of it is still to be moved so.
    async fn is_still_due(&self, known: &Known, blob: &BlobId, shard: Move) -> anyhow::Result<Option<Known>> {
        let layout = self.upkeep.coded.layout().await?;
        let look = async |mut txn: Txn| {
            let now = current(&mut txn, known.space, blob, known.segment.id).await?;
            Ok::<_, DecideError>((txn, now))
        };
        let now = self.upkeep.blobs.kv().transact(look).await?;
        let due = now.filter(|now| moves(&layout, &now.placement).contains(&shard));
        Ok(due.map(|record| Known {
            segment: Located {
                id: known.segment.id,
                record,
            },
            ..known.clone()
        }))
    }

    /// Brings a shard to this node.
    async fn bring(&self, known: &Known, blob: &BlobId, shard: Move) -> Result<(), SegmentError> {
        let Upkeep { coded, stores, .. } = &self.upkeep;
        let segment = &known.segment;
        if segment.record.placement.form == Form::Shards {
            match coded.copy(stores, segment, shard.index, shard.from).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    debug!(%error, from = %shard.from, "a shard is built from the others instead of copied");
                }
            }
        }
        coded
            .rebuild(stores, segment, known.offset, Some(*blob), shard.index)
            .await
            .map(drop)
    }

    /// Notes what lies on nodes that have left as missing: nobody went over these blobs when they
    /// did.
    async fn note_unreachable(&self, page: &[Known]) -> anyhow::Result<()> {
        let view = self.upkeep.view().await?;
        for known in page {
            let placement = &known.segment.record.placement;
            let shards = || (0..).zip(placement.homes.iter().copied());
            // One of those that have some of it does this.
            if shards().map(|(_, home)| home).find(|home| view.answers(*home)) != Some(view.me) {
                continue;
            }
            for (index, home) in shards().filter(|(_, home)| !view.is_home(*home)) {
                if !placement.missing.contains(&index) {
                    repair::note_missing(&self.upkeep.blobs, &[(known.clone(), index)], home).await?;
                }
            }
        }
        Ok(())
    }
}

/// What this node takes over of a segment. What is missing is for repair, and so is what was lost.
fn moves_here<'a>(view: &'a View, segment: &'a Located) -> impl Iterator<Item = Move> + 'a {
    let placement = &segment.record.placement;
    let here = moves(&view.layout, placement)
        .into_iter()
        .filter(|shard| shard.to == view.me);
    here.filter(|shard| view.is_home(shard.from) && !placement.missing.contains(&shard.index))
}
