//! Scrub: everything that is kept is read and checked, in time.
//!
//! Over a period each node reads all shards of its own, cell by cell; and of each segment one node
//! reads all data, checks its hash, computes the parity again and compares it with what the other
//! shards say of themselves. So neither rot on a disk stays unnoticed, nor shards that are sound
//! each by itself but do not belong together. What is found is noted as missing, and repaired.

use async_trait::async_trait;
use metrics::{counter, describe_counter};
use tracing::{error, warn};

use super::coded::shard_of;
use super::record::Form;
use super::repair;
use super::segments::SegmentError;
use super::shard_error::ShardError;
use super::upkeep::{Upkeep, View};
use super::verify::is_of;
use super::walk::{Extent, Known, Position, Walk};
use crate::node_id::NodeId;
use crate::record::{decode, encode};
use crate::tasks::{Next, Task, Work};

const CHECKED: &str = "cairn_blob_scrubbed_shards_total";
const CHECKED_BYTES: &str = "cairn_blob_scrubbed_bytes_total";
const SEGMENTS: &str = "cairn_blob_scrubbed_segments_total";
const FOUND: &str = "cairn_blob_scrub_findings_total";

/// The most of [`Walk::progress`].
const WHOLE: u64 = 1 << 16;

/// The scrub of one node.
pub(crate) struct ScrubTask {
    upkeep: Upkeep,
}

impl ScrubTask {
    pub(crate) fn new(upkeep: Upkeep) -> Self {
        describe_counter!(
            CHECKED,
            "shards and small segments that were read to their end and checked"
        );
        describe_counter!(CHECKED_BYTES, "bytes that were read to be checked");
        describe_counter!(
            SEGMENTS,
            "segments that were checked against their hash, all shards together"
        );
        describe_counter!(
            FOUND,
            "shards that were missing or not what they should be, by kind"
        );
        Self { upkeep }
    }
}

#[async_trait]
impl Task for ScrubTask {
    async fn round(&self, work: &Work) -> anyhow::Result<Next> {
        let cursor = work.cursor();
        let position = match cursor.is_empty() {
            true => Position::default(),
            false => decode(&cursor)?,
        };
        let mut walk = Walk::from(Extent::Blobs, position);
        while let Some(page) = walk.next(&self.upkeep.blobs.kv().local()).await? {
            let view = self.upkeep.view().await?;
            for known in page {
                self.check(&view, &known, work).await?;
            }
            work.progress(walk.progress(), WHOLE);
            work.save(encode(walk.position())).await;
        }
        work.progress(WHOLE, WHOLE);
        Ok(Next::Period)
    }
}

impl ScrubTask {
    /// Checks what this node has of a segment, and the whole segment if it is its turn.
    async fn check(&self, view: &View, known: &Known, work: &Work) -> anyhow::Result<()> {
        let segment = &known.segment;
        let placement = &segment.record.placement;
        let homes = || (0..).zip(placement.homes.iter().copied());
        let kept = |index: u8| !placement.missing.contains(&index);
        for (index, _) in homes().filter(|(index, home)| *home == view.me && kept(*index)) {
            match self.upkeep.check_here(segment, index).await {
                Ok(bytes) => {
                    counter!(CHECKED).increment(1);
                    counter!(CHECKED_BYTES).increment(bytes);
                    work.moved(1, bytes).await;
                }
                Err(error @ (ShardError::Missing | ShardError::Corrupt(_))) => {
                    self.found(known, index, view.me, &error).await?;
                }
                Err(error) => work.failed(format!("check a shard: {error}")),
            }
        }
        // Copies are checked against the segment's hash where they are.
        let turn = homes().find(|(index, home)| kept(*index) && view.answers(*home));
        if placement.form == Form::Shards && turn.is_some_and(|(_, home)| home == view.me) {
            self.check_together(view, known, work).await?;
        }
        Ok(())
    }

    /// Checks the hash of a segment, and that its shards belong together.
    async fn check_together(&self, view: &View, known: &Known, work: &Work) -> anyhow::Result<()> {
        let segment = &known.segment;
        let computed = match self.upkeep.coded.checksums(segment, known.offset).await {
            Ok(computed) => computed,
            Err(SegmentError::Damaged(what)) => return self.untangle(known, &what, work).await,
            // Nodes are away: another time.
            Err(error) => {
                work.failed(format!("check a segment: {error}"));
                return Ok(());
            }
        };
        counter!(SEGMENTS).increment(1);
        work.moved(1, segment.record.len).await;
        let placement = &segment.record.placement;
        for (index, home) in (0..).zip(placement.homes.iter().copied()) {
            if placement.missing.contains(&index) || !view.answers(home) {
                continue;
            }
            let header = self.upkeep.coded.header(home, shard_of(segment, index)).await;
            let wrong = match header {
                Ok(header) => !is_of(&header, segment) || header.checksums != computed[usize::from(index)],
                Err(ShardError::Missing | ShardError::Corrupt(_)) => true,
                Err(_) => false,
            };
            if wrong {
                let what = ShardError::Corrupt("it does not belong to the others".into());
                self.found(known, index, home, &what).await?;
            }
        }
        Ok(())
    }

    /// Finds out which shard of a segment lies: the one without which the rest has its hash.
    async fn untangle(&self, known: &Known, what: &str, work: &Work) -> anyhow::Result<()> {
        let segment = &known.segment;
        error!(generation = %segment.id.generation, number = segment.id.number, what, "a segment does not have its hash");
        counter!(FOUND, "kind" => "segment").increment(1);
        let suspects = (0..).zip(segment.record.placement.homes.iter().copied());
        for (index, home) in suspects {
            if self
                .upkeep
                .coded
                .is_whole_without(segment, known.offset, index)
                .await
            {
                let lies = ShardError::Corrupt("without it the segment has its hash".into());
                self.found(known, index, home, &lies).await?;
                return Ok(());
            }
        }
        work.failed(format!(
            "segment {} of generation {} does not have its hash, whichever shard is left out",
            segment.id.number, segment.id.generation
        ));
        Ok(())
    }

    async fn found(&self, known: &Known, index: u8, home: NodeId, what: &ShardError) -> anyhow::Result<()> {
        let kind = match what {
            ShardError::Missing => "missing",
            _ => "corrupt",
        };
        counter!(FOUND, "kind" => kind).increment(1);
        warn!(%home, index, generation = %known.segment.id.generation, %what, "scrub found a shard to repair");
        repair::note_missing(&self.upkeep.blobs, &[(known.clone(), index)], home).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::disk::testing::TestDisk;
    use crate::blob::record::SegmentId;
    use crate::blob::repair::tests::{forge, round as repair, settle, shards};
    use crate::blob::suite::{content, keep, read};
    use crate::blob::testing::Cluster;
    use crate::tasks::TaskKind;

    const MIB: usize = 1 << 20;

    async fn round(cluster: &Cluster) {
        for (at, node) in cluster.nodes.iter().enumerate() {
            let task = ScrubTask::new(node.upkeep.clone());
            task.round(&cluster.work(TaskKind::Scrub, at)).await.unwrap();
        }
    }

    fn all(cluster: &Cluster) -> Vec<impl PartialEq + use<>> {
        cluster.nodes.iter().map(|node| shards(&node.disk)).collect()
    }

    fn flip(disk: &TestDisk, at: usize) {
        let file = shards(disk).into_keys().next().unwrap();
        disk.damage(&file, |bytes| bytes[at] ^= 0x40);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_shard_on_a_bad_sector_is_found_and_rebuilt_on_the_same_disk() {
        let cluster = Cluster::of(6).await;
        let id = keep(cluster.blobs(0), &content(9 * MIB)).await;
        settle(&cluster).await;
        let before = all(&cluster);
        let home = cluster.placement(&id).await.homes[4];
        let disk = &cluster.node(home).disk;
        disk.spoil(shards(disk).keys().next().unwrap());
        round(&cluster).await;
        assert_eq!(cluster.placement(&id).await.missing, [4]);
        repair(&cluster, 0..6).await;
        assert!(all(&cluster) == before);
        assert_eq!(cluster.debts().await, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rot_that_nobody_would_have_read_is_found_and_repaired() {
        let cluster = Cluster::of(6).await;
        let id = keep(cluster.blobs(0), &content(9 * MIB)).await;
        settle(&cluster).await;
        let before = all(&cluster);
        let homes = cluster.placement(&id).await.homes;
        // In parity, which no healthy read touches; at the end, and in a header.
        flip(&cluster.node(homes[4]).disk, 4096 + 2 * MIB);
        flip(&cluster.node(homes[5]).disk, 200);
        round(&cluster).await;
        assert_eq!(cluster.debts().await, 1);
        assert_eq!(cluster.placement(&id).await.missing, [4, 5]);
        repair(&cluster, 0..6).await;
        assert!(all(&cluster) == before);
        assert_eq!(cluster.debts().await, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_copy_that_rots_is_found_and_repaired() {
        let cluster = Cluster::of(3).await;
        let id = keep(cluster.blobs(0), &content(50_000)).await;
        settle(&cluster).await;
        let segment = SegmentId {
            generation: cluster.record(&id).await.generation,
            number: 0,
        };
        let homes = cluster.placement(&id).await.homes;
        let stores = &cluster.node(homes[1]).stores;
        let (stored, _) = stores.read_small(segment).await.unwrap();
        let mut rotten = stored.to_vec();
        rotten[30_000] ^= 1;
        stores.small.put(&segment, rotten.into()).await.unwrap();
        round(&cluster).await;
        assert_eq!(cluster.placement(&id).await.missing, [1]);
        repair(&cluster, 0..3).await;
        assert_eq!(stores.read_small(segment).await.unwrap().0, stored);
        assert_eq!(cluster.debts().await, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn shards_that_are_sound_but_do_not_belong_together_are_found() {
        for liar in [0, 5] {
            let cluster = Cluster::of(6).await;
            let id = keep(cluster.blobs(0), &content(9 * MIB)).await;
            settle(&cluster).await;
            let before = all(&cluster);
            let home = cluster.placement(&id).await.homes[liar];
            let disk = &cluster.node(home).disk;
            forge(disk, shards(disk).keys().next().unwrap());
            round(&cluster).await;
            assert_eq!(cluster.placement(&id).await.missing, [liar as u8]);
            repair(&cluster, 0..6).await;
            assert!(all(&cluster) == before, "shard {liar}");
            assert!(read(cluster.blobs(1), &id, None).await.unwrap() == content(9 * MIB));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_shard_is_read_and_the_round_says_so() {
        let cluster = Cluster::of(3).await;
        for turn in 0..10 {
            keep(cluster.blobs(0), &content(2 * MIB + turn)).await;
            keep(cluster.blobs(0), &content(1000 + turn)).await;
        }
        settle(&cluster).await;
        let mut items = 0;
        for node in 0..3 {
            let work = cluster.work(TaskKind::Scrub, node);
            ScrubTask::new(cluster.nodes[node].upkeep.clone())
                .round(&work)
                .await
                .unwrap();
            let state = work.state();
            assert_eq!(state.done, state.total);
            items += state.items;
        }
        // Shards, copies, and each coded segment once as a whole.
        assert_eq!(items, 10 * 3 + 10 * 2 + 10);
    }
}
