//! Storing a segment: coded while it streams, acknowledged when enough of it is durable.
//!
//! What happens when a node fails on the way:
//! - Shards are lost one by one; as long as enough are left for the acknowledgement, the segment
//!   goes on without them, and they are debt.
//! - With fewer left, but enough to read it, the segment is finished all the same, then read
//!   back and stored a second time on the nodes that work. So nothing has to be kept in memory,
//!   and the client notices nothing.
//! - With too few left to read it, the write fails.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future};
use tokio::time::{Instant, interval, sleep_until, timeout};
use tracing::{info, warn};

use super::CodedSegments;
use super::plan::Plan;
use crate::blob::checked::Checked;
use crate::blob::erasure::Coder;
use crate::blob::id::{BlobId, Generation};
use crate::blob::metrics;
use crate::blob::record::{Form, Located, Placement, SegmentId, SegmentRecord};
use crate::blob::segments::{SegmentError, SegmentSink, Segments, Stored};
use crate::blob::shard_error::ShardError;
use crate::blob::shard_file::{Seal, ShardName, checksum};
use crate::blob::small::{SMALL_BYTES, SmallSegment};
use crate::blob::transfer::{ShardWriter, Transfer};
use crate::blob::tree::SubtreeHash;
use crate::blob::writer::Cutter;
use crate::node_id::NodeId;

/// How long a node may hold up a segment before it goes on without it.
const STALL: Duration = Duration::from_secs(5);

/// How long the nodes may take to make a segment durable.
const DURABLE_WITHIN: Duration = Duration::from_secs(30);

/// How long the last shards are waited for when enough are durable. Longer than a sync takes on
/// a busy disk; a node that is slower than that is repaired later rather than waited for.
const GRACE: Duration = Duration::from_millis(500);

/// How often it is looked whether the nodes that are waited for are still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often a segment is stored, all in all.
const ATTEMPTS: u32 = 3;

/// A segment being stored.
pub(super) struct CodedSink {
    segments: CodedSegments,
    id: SegmentId,
    offset: u64,
    len: u64,
    attempt: u32,
    /// Nodes that failed in an earlier attempt.
    avoid: BTreeSet<NodeId>,
    /// Some of them because they are full.
    full: bool,
    state: State,
}

enum State {
    /// It may be a small one.
    Buffered(Vec<Bytes>),
    Striped(Box<Striped>),
}

/// A coded segment being stored.
struct Striped {
    plan: Plan,
    coder: std::sync::Arc<Coder>,
    /// The data cells of the stripe that is being filled.
    stripe: Vec<Bytes>,
    /// By shard index; none if the node is not there, or failed.
    writers: Vec<Option<ShardWriter>>,
    failed: BTreeSet<NodeId>,
    /// Some failed because they are full.
    full: bool,
}

/// Which shards became durable.
#[derive(Default)]
struct Durable {
    indexes: BTreeSet<u8>,
    failed: BTreeSet<NodeId>,
    /// Some failed because they are full.
    full: bool,
}

impl CodedSink {
    pub(super) fn new(segments: CodedSegments, id: SegmentId, offset: u64) -> Self {
        Self {
            segments,
            id,
            offset,
            len: 0,
            attempt: 1,
            avoid: BTreeSet::new(),
            full: false,
            state: State::Buffered(Vec::new()),
        }
    }

    /// The same segment once more, under a new generation and without the nodes that failed.
    fn again(&self, durable: &Durable) -> Result<Self, SegmentError> {
        let full = self.full || durable.full;
        if self.attempt >= ATTEMPTS {
            return Err(not_now(full, "nodes fail one after the other".into()));
        }
        metrics::stored_again();
        let generation = Generation(self.segments.shared.seams.random());
        let number = self.id.number;
        Ok(Self {
            segments: self.segments.clone(),
            id: SegmentId { generation, number },
            offset: self.offset,
            len: 0,
            attempt: self.attempt + 1,
            avoid: self.avoid.union(&durable.failed).copied().collect(),
            full,
            state: State::Buffered(Vec::new()),
        })
    }

    async fn plan(&self, form: Form) -> Result<Plan, SegmentError> {
        let shared = &self.segments.shared;
        let layout = shared.layout().await?;
        let first_group = u16::from_be_bytes(shared.seams.random());
        let is_full = |node: NodeId| shared.transfer.is_full(node);
        let is_up =
            |node: NodeId| shared.transfer.is_up(node) && !is_full(node) && !self.avoid.contains(&node);
        let plan = match form {
            Form::Small => Plan::for_small(&layout, first_group, is_up),
            Form::Shards => Plan::for_shards(&layout, first_group, is_up),
        };
        plan.ok_or_else(|| {
            let nodes = layout.members.iter().map(|member| member.node);
            let full = self.full || nodes.clone().any(is_full);
            let (all, usable) = (layout.members.len(), nodes.filter(|node| is_up(*node)).count());
            not_now(
                full,
                format!("{usable} of {all} nodes can be used, too few to store anything safely"),
            )
        })
    }

    /// Begins to code, now that the segment is known not to be a small one.
    async fn begin_stripes(&self) -> Result<Striped, SegmentError> {
        let plan = self.plan(Form::Shards).await?;
        let transfer = &self.segments.shared.transfer;
        let writers = (0..).zip(&plan.homes).map(|(index, node)| {
            let name = ShardName {
                group: plan.group,
                id: self.id,
                index,
            };
            (!plan.absent.contains(&index)).then(|| transfer.put_shard(*node, name, plan.code, self.offset))
        });
        Ok(Striped {
            coder: std::sync::Arc::new(Coder::new(plan.code)),
            stripe: Vec::new(),
            writers: writers.collect(),
            failed: BTreeSet::new(),
            full: false,
            plan,
        })
    }

    async fn finish_small(
        &self,
        content: Vec<Bytes>,
        hash: SubtreeHash,
        blob: Option<BlobId>,
    ) -> Result<Stored, SegmentError> {
        let plan = self.plan(Form::Small).await?;
        let transfer = &self.segments.shared.transfer;
        let segment = SmallSegment {
            offset: self.offset,
            hash: hash.chaining,
            bytes: join(&content),
        };
        let value = segment.encode();
        let leftovers = self.leftovers(&plan, Form::Small, hash);
        let puts = (0..)
            .zip(&plan.homes)
            .filter(|(index, _)| !plan.absent.contains(index));
        let puts: FuturesUnordered<_> = puts
            .map(|(index, node)| {
                let put = transfer.put_small(*node, self.id, value.clone());
                put.map(move |result| (index, result))
            })
            .collect();
        let durable = wait_for(transfer, &plan, puts).await;
        if durable.indexes.len() >= plan.required() {
            leftovers.keep();
            return Ok(self.stored(plan, Form::Small, &durable));
        }
        let mut again = self.again(&durable)?;
        for cell in content {
            again.write(cell).await?;
        }
        Box::new(again).finish(hash, blob).await
    }

    async fn finish_striped(
        &self,
        mut striped: Striped,
        hash: SubtreeHash,
        blob: Option<BlobId>,
    ) -> Result<Stored, SegmentError> {
        if !striped.stripe.is_empty() {
            striped.send_stripe(self).await?;
        }
        let seal = Seal {
            len: self.len,
            hash: hash.chaining,
            blob,
        };
        let Striped {
            plan,
            writers,
            failed,
            full,
            ..
        } = striped;
        let leftovers = self.leftovers(&plan, Form::Shards, hash);
        let finishing: FuturesUnordered<_> = (0..)
            .zip(writers)
            .filter_map(|(index, writer)| {
                let finish = writer?.finish(seal);
                Some(finish.map(move |result| (index, result)))
            })
            .collect();
        let mut durable = wait_for(&self.segments.shared.transfer, &plan, finishing).await;
        durable.failed.extend(failed);
        durable.full |= full;
        if durable.indexes.len() >= plan.required() {
            leftovers.keep();
            return Ok(self.stored(plan, Form::Shards, &durable));
        }
        if durable.indexes.len() < usize::from(plan.code.data) {
            let (stored, homes) = (durable.indexes.len(), plan.homes.len());
            let what = format!("{stored} of {homes} nodes stored a segment, too few to read it");
            return Err(not_now(self.full || durable.full, what));
        }
        self.store_again(plan, &durable, hash, blob).await
    }

    /// Reads the segment back from what is durable of it, and stores it on nodes that work. What
    /// it was read from goes when that is done.
    async fn store_again(
        &self,
        plan: Plan,
        durable: &Durable,
        hash: SubtreeHash,
        blob: Option<BlobId>,
    ) -> Result<Stored, SegmentError> {
        info!(generation = %self.id.generation, failed = ?durable.failed, "a segment lost nodes and is stored again");
        let mut again = self.again(durable)?;
        let first = self.located(placement(plan, Form::Shards, durable), hash);
        let pool = &self.segments.shared.pool;
        let mut from = Checked::open(&self.segments, pool, &first, self.offset, 0..self.len).await?;
        let mut cutter = Cutter::default();
        while let Some(mut piece) = from.next().await? {
            while !piece.is_empty() {
                if let Some(cell) = cutter.push(&mut piece) {
                    again.write(cell).await?;
                }
            }
        }
        if let Some(cell) = cutter.rest() {
            again.write(cell).await?;
        }
        Box::new(again).finish(hash, blob).await
    }

    fn stored(&self, plan: Plan, form: Form, durable: &Durable) -> Stored {
        let placement = placement(plan, form, durable);
        metrics::stored(form, self.len, placement.indebted());
        Stored {
            id: self.id,
            placement,
        }
    }

    fn located(&self, placement: Placement, hash: SubtreeHash) -> Located {
        Located {
            id: self.id,
            record: SegmentRecord {
                len: self.len,
                hash,
                generation: Some(self.id.generation),
                placement,
            },
        }
    }

    /// Removes what this attempt leaves on the nodes, unless told otherwise.
    fn leftovers(&self, plan: &Plan, form: Form, hash: SubtreeHash) -> Leftovers {
        let placement = placement(plan.clone(), form, &Durable::default());
        let segment = self.located(placement, hash);
        Leftovers {
            segments: self.segments.clone(),
            segment: Some(segment),
        }
    }
}

/// What a failed attempt leaves on the nodes; dropping this removes it.
struct Leftovers {
    segments: CodedSegments,
    segment: Option<Located>,
}

impl Leftovers {
    /// It was not a failure.
    fn keep(mut self) {
        self.segment = None;
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let (Some(segment), Ok(runtime)) = (self.segment.take(), tokio::runtime::Handle::try_current()) {
            let segments = self.segments.clone();
            runtime.spawn(async move { segments.delete(vec![segment]).await });
        }
    }
}

fn placement(plan: Plan, form: Form, durable: &Durable) -> Placement {
    let missing = (0..plan.homes.len() as u8).filter(|index| !durable.indexes.contains(index));
    Placement {
        code: plan.code,
        form,
        group: plan.group,
        missing: missing.collect(),
        homes: plan.homes,
        recode: plan.recode,
    }
}

#[async_trait]
impl SegmentSink for CodedSink {
    async fn write(&mut self, cell: Bytes) -> Result<(), SegmentError> {
        self.len += cell.len() as u64;
        if let State::Buffered(cells) = &mut self.state {
            cells.push(cell);
            if self.len <= SMALL_BYTES as u64 {
                return Ok(());
            }
            let cells = std::mem::take(cells);
            let mut striped = Box::new(self.begin_stripes().await?);
            for cell in cells {
                striped.push(self, cell).await?;
            }
            self.state = State::Striped(striped);
            return Ok(());
        }
        let State::Striped(mut striped) = std::mem::replace(&mut self.state, State::Buffered(Vec::new()))
        else {
            unreachable!("the other state was dealt with above");
        };
        striped.push(self, cell).await?;
        self.state = State::Striped(striped);
        Ok(())
    }

    async fn finish(
        mut self: Box<Self>,
        hash: SubtreeHash,
        blob: Option<BlobId>,
    ) -> Result<Stored, SegmentError> {
        match std::mem::replace(&mut self.state, State::Buffered(Vec::new())) {
            State::Buffered(content) => self.finish_small(content, hash, blob).await,
            State::Striped(striped) => self.finish_striped(*striped, hash, blob).await,
        }
    }
}

impl Striped {
    async fn push(&mut self, sink: &CodedSink, cell: Bytes) -> Result<(), SegmentError> {
        self.stripe.push(cell);
        if self.stripe.len() == usize::from(self.plan.code.data) {
            self.send_stripe(sink).await?;
        }
        Ok(())
    }

    /// Codes a stripe and hands each node its cell.
    async fn send_stripe(&mut self, sink: &CodedSink) -> Result<(), SegmentError> {
        let (content, coder) = (std::mem::take(&mut self.stripe), self.coder.clone());
        let encode = move || {
            let cells = coder.encode(coder.cut(content)).into_iter();
            cells
                .map(|cell| {
                    let checksum = checksum(&cell);
                    (cell, checksum)
                })
                .collect::<Vec<_>>()
        };
        let cells = sink.segments.shared.pool.run(encode).await;
        let sends = self
            .writers
            .iter_mut()
            .zip(cells)
            .map(|(writer, (cell, checksum))| async move {
                match writer {
                    Some(writer) => match timeout(STALL, writer.write(cell, checksum)).await {
                        Ok(result) => result,
                        Err(_) => Err(ShardError::Timeout),
                    },
                    None => Ok(()),
                }
            });
        let results = future::join_all(sends).await;
        for (index, result) in results.into_iter().enumerate() {
            if let Err(error) = result {
                let node = self.plan.homes[index];
                warn!(%node, %error, "a node fails while a segment is stored");
                self.writers[index] = None;
                self.failed.insert(node);
                self.full |= note(&sink.segments.shared.transfer, node, &error);
            }
        }
        let left = self.writers.iter().flatten().count();
        if left < usize::from(self.plan.code.data) {
            let homes = self.plan.homes.len();
            let what = format!("{left} of {homes} nodes are left, too few to store a segment");
            return Err(not_now(self.full || sink.full, what));
        }
        Ok(())
    }
}

/// Waits until enough shards are durable, then a little for the others; not for nodes that are
/// known to be gone.
async fn wait_for(
    transfer: &Transfer,
    plan: &Plan,
    mut shards: FuturesUnordered<impl Future<Output = (u8, Result<(), ShardError>)>>,
) -> Durable {
    let mut durable = Durable::default();
    let began = Instant::now();
    let mut deadline = began + DURABLE_WITHIN;
    let mut look = interval(LOOK_EVERY);
    loop {
        let answer = tokio::select! {
            answer = shards.next() => answer,
            () = sleep_until(deadline) => None,
            _ = look.tick() => {
                let waited_for = (0..).zip(&plan.homes).filter(|(index, node)| {
                    !durable.indexes.contains(index) && !plan.absent.contains(index) && !durable.failed.contains(node)
                });
                if waited_for.into_iter().any(|(_, node)| transfer.is_up(*node)) {
                    continue;
                }
                None
            }
        };
        match answer {
            Some((index, Ok(()))) => {
                durable.indexes.insert(index);
            }
            Some((index, Err(error))) => {
                let node = plan.homes[usize::from(index)];
                warn!(%node, %error, "a node does not store a segment");
                durable.failed.insert(node);
                durable.full |= note(transfer, node, &error);
            }
            None => break,
        }
        if durable.indexes.len() == plan.required() {
            deadline = deadline.min(Instant::now() + GRACE);
        }
    }
    // Whoever has not answered by now has failed as far as this segment is concerned.
    for (index, node) in (0..).zip(&plan.homes) {
        if !durable.indexes.contains(&index) && !plan.absent.contains(&index) {
            durable.failed.insert(*node);
        }
    }
    metrics::made_durable(began.elapsed());
    durable
}

/// Learns from a failure; says whether it was for want of room.
fn note(transfer: &Transfer, node: NodeId, error: &ShardError) -> bool {
    let full = matches!(error, ShardError::Full);
    if full {
        transfer.note_full(node);
    }
    full
}

/// Nothing can be stored now: because nodes are full, or because they are not there.
fn not_now(full: bool, what: String) -> SegmentError {
    if full {
        SegmentError::Full(what)
    } else {
        SegmentError::Unavailable(what)
    }
}

/// The parts as one, copied only if there are several.
fn join(parts: &[Bytes]) -> Bytes {
    match parts {
        [whole] => whole.clone(),
        parts => {
            let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| joined.extend_from_slice(part));
            joined.freeze()
        }
    }
}
