//! Re-coding: segments whose code is not the cluster's are stored again in the one that is.
//!
//! Such segments were written while nodes were missing, or before the cluster grew or shrank. Of
//! each, one node reads all of it, checked against its hash, stores it as a new segment by the
//! layout of now, and puts that into the record in the place of the old one, which becomes garbage.
//! Whoever is reading the old one goes on.

use std::sync::Mutex;

use async_trait::async_trait;
use metrics::{counter, describe_counter};

use super::candidates::{Candidates, Source};
use super::checked::Checked;
use super::collect::DecideError;
use super::id::{BlobId, Generation};
use super::placement::Layout;
use super::record::{
    DebtRecord, Form, GarbageRecord, Located, Placement, SegmentId, SegmentRecord, Segmentation,
};
use super::segments::{SegmentError, Segments};
use super::sweep::Sweep;
use super::upkeep::{Upkeep, View};
use super::walk::{Known, Owner};
use super::writer::{Cutter, Unrecorded};
use super::{keys, repair};
use crate::kv::Txn;
use crate::tasks::{Next, Task, Work};

const RECODED: &str = "cairn_blob_recoded_segments_total";
const RECODED_BYTES: &str = "cairn_blob_recoded_bytes_total";

/// The re-coding of one node.
pub(crate) struct RecodeTask {
    upkeep: Upkeep,
    /// The version of the layout that all segments were last found to be coded by.
    settled: Mutex<Option<u64>>,
}

impl RecodeTask {
    pub(crate) fn new(upkeep: Upkeep) -> Self {
        describe_counter!(RECODED, "segments that were stored again in the cluster's code");
        describe_counter!(RECODED_BYTES, "bytes of the segments that were stored again");
        Self {
            upkeep,
            settled: Mutex::default(),
        }
    }

    fn settled(&self) -> Option<u64> {
        *self.settled.lock().expect("no panic while held")
    }
}

#[async_trait]
impl Task for RecodeTask {
    async fn round(&self, work: &Work) -> anyhow::Result<Next> {
        let view = self.upkeep.view().await?;
        // With nodes missing, what is stored again would have too little redundancy again.
        if !view.is_complete() {
            return Ok(Next::Period);
        }
        let everywhere = self.settled() != Some(view.layout.version);
        let done = match everywhere {
            true => self.go_over_all(&view, work).await?,
            false => {
                self.go_over(Source::Debts, &view, work).await?
                    & self.go_over(Source::Strays, &view, work).await?
            }
        };
        if done && everywhere {
            *self.settled.lock().expect("no panic while held") = Some(view.layout.version);
        }
        Ok(Next::Period)
    }
}

impl RecodeTask {
    async fn go_over_all(&self, view: &View, work: &Work) -> anyhow::Result<bool> {
        let mut sweep = Sweep::resume(&self.upkeep, view, work);
        let mut done = true;
        while let Some(page) = sweep.next().await? {
            for known in page {
                done &= self.recode_if_due(view, &known, work).await;
            }
            work.progress(sweep.progress(), Sweep::WHOLE);
            // What is left is met again from the beginning on.
            if done {
                sweep.save(work).await;
            }
        }
        Ok(done && !sweep.is_outdated())
    }

    async fn go_over(&self, source: Source, view: &View, work: &Work) -> anyhow::Result<bool> {
        let mut done = true;
        let mut candidates = Candidates::of(&self.upkeep, source);
        while let Some(page) = candidates.next().await? {
            for known in page {
                done &= self.recode_if_due(view, &known, work).await;
            }
        }
        Ok(done)
    }

    /// Stores a segment again, if it should be and this node is the one to do it. False if it still
    /// should be: that failed, or is left to another node, whose turn may come to be this one's.
    async fn recode_if_due(&self, view: &View, known: &Known, work: &Work) -> bool {
        let Owner::Blob(blob) = known.owner else {
            return true;
        };
        if !is_due(&view.layout, &known.segment.record.placement) {
            return true;
        }
        if !is_turn(view, &known.segment) {
            return false;
        }
        match self.recode(view, known, blob).await {
            Ok(()) => {
                let bytes = known.segment.record.len;
                counter!(RECODED).increment(1);
                counter!(RECODED_BYTES).increment(bytes);
                work.moved(1, bytes).await;
                true
            }
            Err(error) => {
                let generation = known.segment.id.generation;
                work.failed(format!("store segment {generation} again: {error:#}"));
                false
            }
        }
    }

    async fn recode(&self, view: &View, known: &Known, blob: BlobId) -> anyhow::Result<()> {
        let blobs = &self.upkeep.blobs;
        let created = Unrecorded::new(blobs.segments());
        let fresh = self.store_again(known, blob).await?;
        created.push(fresh.clone());
        if is_due(&view.layout, &fresh.record.placement) {
            // Nodes failed meanwhile: what is there already is no worse.
            anyhow::bail!("too few nodes take it in the cluster's code");
        }
        let replace = async |mut txn: Txn| {
            let replaced = self.replace(&mut txn, known, &blob, &fresh).await?;
            Ok::<_, DecideError>((txn, replaced))
        };
        // From here on the commit may succeed without us learning of it.
        created.keep();
        if !blobs.kv().transact(replace).await? {
            created.push(fresh);
        }
        Ok(())
    }

    /// Reads a segment and stores it by the layout of now.
    async fn store_again(&self, known: &Known, blob: BlobId) -> Result<Located, SegmentError> {
        let (blobs, segment) = (&self.upkeep.blobs, &known.segment);
        let id = SegmentId {
            generation: Generation(blobs.seams().random()),
            number: segment.id.number,
        };
        let mut sink = blobs.segments().create(id, known.offset);
        let whole = 0..segment.record.len;
        let segments: &dyn Segments = blobs.segments().as_ref();
        let mut content = Checked::open(segments, blobs.pool(), segment, known.offset, whole).await?;
        let mut cutter = Cutter::default();
        while let Some(mut piece) = content.next().await? {
            while !piece.is_empty() {
                if let Some(cell) = cutter.push(&mut piece) {
                    sink.write(cell).await?;
                }
            }
        }
        if let Some(rest) = cutter.rest() {
            sink.write(rest).await?;
        }
        let stored = sink.finish(segment.record.hash, Some(blob)).await?;
        let record = SegmentRecord {
            generation: Some(stored.id.generation),
            placement: stored.placement,
            ..segment.record.clone()
        };
        Ok(record.locate(stored.id.generation, stored.id.number))
    }

    /// Puts the fresh segment into the record, if the old one is still there as it was; the old one
    /// is garbage then.
    async fn replace(
        &self,
        txn: &mut Txn,
        known: &Known,
        blob: &BlobId,
        fresh: &Located,
    ) -> Result<bool, DecideError> {
        let blobs = &self.upkeep.blobs;
        let mut old = None;
        let edited = repair::edit(txn, known, blob, |segment| {
            let same_place = segment.placement == known.segment.record.placement;
            if same_place {
                old = Some(std::mem::replace(segment, fresh.record.clone()));
            }
            same_place
        });
        let (Some(record), Some(old)) = (edited.await?, old) else {
            return Ok(false);
        };
        let now = blobs.seams().clock.now();
        let old = Located {
            id: known.segment.id,
            record: old,
        };
        blobs.discard_segments(
            txn,
            known.space,
            &GarbageRecord::of_segments(*blob, vec![old], now),
        );
        let debt = keys::debt(known.space, blob);
        if let Segmentation::Inline(segments) = &record.segments {
            let indebted = segments.iter().any(|segment| segment.placement.indebted());
            if !indebted {
                txn.delete(&debt);
                return Ok(true);
            }
        }
        if fresh.record.placement.indebted() && txn.get(&debt).await?.is_none() {
            txn.put_record(&debt, &DebtRecord::new(record.generation, now));
        }
        Ok(true)
    }
}

/// Whether a segment is coded otherwise than a new one would be.
pub(super) fn is_due(layout: &Layout, placement: &Placement) -> bool {
    let wanted = match placement.form {
        Form::Shards => layout.code,
        Form::Small => layout.code.of_copies(),
    };
    placement.recode || placement.code != wanted
}

/// Whether this node is the one to store a segment again: the first that has some of it, turned by
/// the segment so that all get their share. It is another one when that changes.
fn is_turn(view: &View, segment: &Located) -> bool {
    let placement = &segment.record.placement;
    let homes = (0..).zip(placement.homes.iter().copied());
    let have: Vec<_> = homes
        .filter(|(index, home)| !placement.missing.contains(index) && view.answers(*home))
        .map(|(_, home)| home)
        .collect();
    let turn = usize::from(segment.id.generation.0[0]) + segment.id.number as usize;
    !have.is_empty() && have[turn % have.len()] == view.me
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::blob::record::Code;
    use crate::blob::suite::{content, keep, read};
    use crate::blob::testing::Cluster;
    use crate::tasks::TaskKind;

    const MIB: usize = 1 << 20;
    const SIZES: [usize; 3] = [10_000, 3 * MIB + 5, 40 * MIB];

    async fn round(cluster: &Cluster) {
        for (at, node) in cluster.nodes.iter().enumerate() {
            let task = RecodeTask::new(node.upkeep.clone());
            task.round(&cluster.work(TaskKind::Recoding, at)).await.unwrap();
        }
    }

    async fn codes(cluster: &Cluster, id: &BlobId) -> Vec<Code> {
        let segments = cluster.record(id).await.located();
        segments
            .into_iter()
            .map(|segment| segment.record.placement.code)
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_written_in_a_smaller_cluster_reaches_the_code_of_the_larger() {
        let cluster = Cluster::laid_out(6, 3).await;
        let mut ids = Vec::new();
        for size in SIZES {
            ids.push((size, keep(cluster.blobs(0), &content(size)).await));
        }
        let two_one = Code { data: 2, parity: 1 };
        assert_eq!(codes(&cluster, &ids[2].1).await, [two_one, two_one]);
        cluster.lay_out(6).await;
        round(&cluster).await;
        // Nodes that were slow get theirs.
        repair::tests::round(&cluster, 0..6).await;
        let four_two = Code { data: 4, parity: 2 };
        assert_eq!(codes(&cluster, &ids[0].1).await, [four_two.of_copies()]);
        assert_eq!(codes(&cluster, &ids[1].1).await, [four_two]);
        assert_eq!(codes(&cluster, &ids[2].1).await, [four_two, four_two]);
        assert_eq!(cluster.debts().await, 0);
        // What took their place goes when it may, and nothing else.
        assert_eq!(cluster.blobs(0).waste(10).await.unwrap().len(), 4);
        cluster.clock.advance(Duration::from_secs(25 * 3600));
        cluster.collect_garbage().await;
        assert!(cluster.blobs(0).waste(10).await.unwrap().is_empty());
        let files = cluster
            .nodes
            .iter()
            .map(|node| node.disk.files().len())
            .sum::<usize>();
        assert_eq!(files, 3 * 6, "a shard of each of three segments on each node");
        cluster.kill(0);
        cluster.kill(1);
        for (size, id) in &ids {
            assert!(read(cluster.blobs(3), id, None).await.unwrap() == content(*size));
        }
        let before = cluster.record(&ids[1].1).await.located()[0].id;
        let work = cluster.work(TaskKind::Recoding, 4);
        RecodeTask::new(cluster.nodes[4].upkeep.clone())
            .round(&work)
            .await
            .unwrap();
        assert_eq!(
            cluster.record(&ids[1].1).await.located()[0].id,
            before,
            "once is enough"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_written_degraded_waits_for_the_node_and_is_then_coded_as_it_should() {
        let cluster = Cluster::of(3).await;
        cluster.notice(2);
        let size = 3 * MIB;
        let id = keep(cluster.blobs(0), &content(size)).await;
        assert!(cluster.placement(&id).await.recode);
        round(&cluster).await;
        assert!(
            cluster.placement(&id).await.recode,
            "there is nobody to put it on"
        );
        cluster.network.down.lock().unwrap().clear();
        round(&cluster).await;
        repair::tests::round(&cluster, 0..3).await;
        let placement = cluster.placement(&id).await;
        assert_eq!(
            (placement.code, placement.recode),
            (Code { data: 2, parity: 1 }, false)
        );
        assert_eq!(cluster.debts().await, 0);
        cluster.kill(0);
        assert!(read(cluster.blobs(1), &id, None).await.unwrap() == content(size));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_segment_is_stored_again_though_the_turn_passes_to_a_node_that_has_looked() {
        let cluster = Cluster::of(6).await;
        let mut views = Vec::new();
        for node in &cluster.nodes {
            views.push(node.upkeep.view().await.unwrap());
        }
        let turn = |segment: &Located| views.iter().position(|view| is_turn(view, segment));
        let mut size = 3 * MIB;
        let (id, segment) = loop {
            cluster.notice(2);
            let id = keep(cluster.blobs(0), &content(size)).await;
            cluster.network.down.lock().unwrap().clear();
            let segment = cluster.record(&id).await.located().remove(0);
            let mut repaired = segment.clone();
            repaired.record.placement.missing.clear();
            if turn(&segment) != turn(&repaired) {
                break (id, segment);
            }
            size += 1;
        };
        cluster.lay_out_leaving(6, &[1], &[]).await;
        let tasks: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| RecodeTask::new(node.upkeep.clone()))
            .collect();
        // All but the one whose turn it is now.
        for at in (0..6).filter(|at| Some(*at) != turn(&segment)) {
            let work = cluster.work(TaskKind::Recoding, at);
            tasks[at].round(&work).await.unwrap();
        }
        repair::tests::round(&cluster, 0..6).await;
        for (at, task) in tasks.iter().enumerate() {
            task.round(&cluster.work(TaskKind::Recoding, at)).await.unwrap();
        }
        assert_eq!(codes(&cluster, &id).await, [Code { data: 2, parity: 2 }]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_blob_that_goes_while_it_is_stored_again_leaves_nothing() {
        let cluster = Cluster::laid_out(6, 3).await;
        let id = keep(cluster.blobs(0), &content(3 * MIB)).await;
        let segment = cluster.record(&id).await.located().remove(0);
        cluster.lay_out(6).await;
        let known = Known {
            space: crate::blob::suite::SPACE,
            owner: Owner::Blob(id),
            segment: segment.clone(),
            offset: 0,
        };
        let forget = async |mut txn: Txn| {
            txn.delete(&keys::record(known.space, &id));
            Ok::<_, crate::kv::CommitError>((txn, ()))
        };
        cluster.kv.transact(forget).await.unwrap();
        let upkeep = &cluster.nodes[0].upkeep;
        let task = RecodeTask::new(upkeep.clone());
        task.recode(&upkeep.view().await.unwrap(), &known, id)
            .await
            .unwrap();
        let files = || {
            cluster
                .nodes
                .iter()
                .map(|node| node.disk.files().len())
                .sum::<usize>()
        };
        while files() > 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
