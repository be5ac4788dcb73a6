//! Storing bytes of any length in bounded memory: cutting them into segments and cells,
//! hashing them on the way, and remembering what was stored until it is named.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::digest::{DigestSet, DigestState, Digests};
use super::error::WriteError;
use super::id::{BlobId, Generation, Space};
use super::naming::note_space;
use super::pipeline::{Pipeline, Stage};
use super::pool::Pool;
use super::record::{Located, PendingRecord, SegmentId, SegmentRecord, Segmentation};
use super::segments::{CELL_BYTES, SegmentError, SegmentSink, Segments, Stored};
use super::tree::{SEGMENT_BYTES, SubtreeHash, SubtreeHasher, Tree};
use super::{Blobs, keys};
use crate::kv::Txn;
use crate::seams::Timestamp;

/// How long stored bytes wait to be named. Longer than any request, far shorter than the age
/// below which unknown shards are left alone.
pub(super) const NAMING_TIME: Duration = Duration::from_secs(24 * 3600);

/// How long segments may lie on disks before their writer records them. Together with
/// [`NAMING_TIME`] it stays below the age at which unknown shards are taken for garbage.
const UNRECORDED_TIME: Duration = Duration::from_secs(12 * 3600);

/// Fewer bytes than this are hashed where they are: handing them over would cost more.
const HASHED_IN_PLACE: usize = 16 << 10;

/// How many cells wait for the hashing at most, before the writer does.
const UNHASHED_CELLS: usize = 4;

/// How many segments of one blob may be on their way to disk while the next one streams in.
const CLOSING_SEGMENTS: usize = 2;

/// Bytes that are durable but that no record names yet. They are garbage unless
/// [`Blobs::reference`] names them in time.
#[derive(Clone, Debug)]
pub struct StoredBlob {
    pub(super) inner: Arc<Nameable>,
}

#[derive(Debug)]
pub(super) struct Nameable {
    pub(super) space: Space,
    pub(super) id: BlobId,
    pub(super) size: u64,
    pub(super) digests: Digests,
    pub(super) generation: Generation,
    pub(super) segments: Segmentation,
    pub(super) indebted: bool,
    pub(super) expires: Timestamp,
}

impl StoredBlob {
    /// The BLAKE3 of the content.
    pub fn id(&self) -> BlobId {
        self.inner.id
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// The digests that were asked for.
    pub fn digests(&self) -> &Digests {
        &self.inner.digests
    }
}

/// Cuts bytes into cells, copying only what comes in smaller parts.
#[derive(Default)]
pub(super) struct Cutter {
    /// A lone part is kept as it came.
    lone: Bytes,
    joined: BytesMut,
}

impl Cutter {
    /// Takes from the front of `bytes`; gives a cell when one is full.
    pub(super) fn push(&mut self, bytes: &mut Bytes) -> Option<Bytes> {
        if self.joined.is_empty() && self.lone.is_empty() {
            if bytes.len() >= CELL_BYTES {
                return Some(bytes.split_to(CELL_BYTES));
            }
            self.lone = std::mem::take(bytes);
            return None;
        }
        if self.joined.is_empty() {
            self.joined.reserve(CELL_BYTES);
            self.joined.extend_from_slice(&std::mem::take(&mut self.lone));
        }
        let taken = bytes.split_to(bytes.len().min(CELL_BYTES - self.joined.len()));
        self.joined.extend_from_slice(&taken);
        (self.joined.len() == CELL_BYTES).then(|| std::mem::take(&mut self.joined).freeze())
    }

    /// The last cell, if there is anything in it.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        let rest = if self.joined.is_empty() {
            std::mem::take(&mut self.lone)
        } else {
            std::mem::take(&mut self.joined).freeze()
        };
        (!rest.is_empty()).then_some(rest)
    }
}

/// What is being computed over the bytes.
struct Hashes {
    /// None where only a segment is rewritten.
    digests: Option<DigestState>,
    subtree: SubtreeHasher,
}

impl Stage for Hashes {
    type Item = Bytes;

    fn take(&mut self, cell: Bytes) {
        if let Some(digests) = &mut self.digests {
            digests.update(&cell);
        }
        self.subtree.update(&cell);
    }
}

/// Hashes cells in their order, beside the one who brings them.
pub(super) struct Hashing {
    hashes: Pipeline<Hashes>,
}

impl Hashing {
    /// Of bytes from `offset` on.
    pub(super) fn new(pool: Pool, digests: Option<DigestState>, offset: u64) -> Self {
        let hashes = Hashes {
            digests,
            subtree: SubtreeHasher::at(offset),
        };
        Self {
            hashes: Pipeline::new(pool, hashes, UNHASHED_CELLS),
        }
    }

    async fn update(&mut self, cell: Bytes) {
        if cell.len() <= HASHED_IN_PLACE
            && let Some(hashes) = self.hashes.idle()
        {
            hashes.take(cell);
        } else {
            self.hashes.push(cell).await;
        }
    }

    /// The hash of the segment so far; what follows is hashed as beginning at `next`.
    async fn end_subtree(&mut self, next: u64) -> SubtreeHash {
        let hashes = self.hashes.caught_up().await;
        let hash = hashes.subtree.finish();
        hashes.subtree = SubtreeHasher::at(next);
        hash
    }

    /// The digests so far.
    pub(super) async fn digests(&mut self) -> Option<&DigestState> {
        self.hashes.caught_up().await.digests.as_ref()
    }
}

/// A segment, or the rest of one, that bytes stream into.
pub(super) struct OpenSegment {
    sink: Box<dyn SegmentSink>,
    cutter: Cutter,
    offset: u64,
    len: u64,
    room: u64,
}

/// A segment that has all its bytes.
pub(super) struct FullSegment {
    sink: Box<dyn SegmentSink>,
    pub(super) len: u64,
    pub(super) hash: SubtreeHash,
}

impl OpenSegment {
    /// For bytes from `offset` of the blob to the end of the segment that it lies in.
    pub(super) fn at(segments: &dyn Segments, generation: Generation, offset: u64) -> Self {
        let number = offset / SEGMENT_BYTES;
        Self {
            sink: segments.create(SegmentId { generation, number }, offset),
            cutter: Cutter::default(),
            offset,
            len: 0,
            room: (number + 1) * SEGMENT_BYTES - offset,
        }
    }

    /// Whether the segment takes no more bytes.
    pub(super) fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Takes as much from the front of `bytes` as there is room for.
    pub(super) async fn write(
        &mut self,
        hashing: &mut Hashing,
        bytes: &mut Bytes,
    ) -> Result<(), SegmentError> {
        let mut part = bytes.split_to(self.room.min(bytes.len() as u64) as usize);
        self.room -= part.len() as u64;
        self.len += part.len() as u64;
        while !part.is_empty() {
            if let Some(cell) = self.cutter.push(&mut part) {
                self.pass_on(hashing, cell).await?;
            }
        }
        Ok(())
    }

    async fn pass_on(&mut self, hashing: &mut Hashing, cell: Bytes) -> Result<(), SegmentError> {
        hashing.update(cell.clone()).await;
        self.sink.write(cell).await
    }

    /// Ends the segment.
    pub(super) async fn close(mut self, hashing: &mut Hashing) -> Result<FullSegment, SegmentError> {
        if let Some(rest) = self.cutter.rest() {
            self.pass_on(hashing, rest).await?;
        }
        let hash = hashing.end_subtree(self.offset + self.len).await;
        Ok(FullSegment {
            sink: self.sink,
            len: self.len,
            hash,
        })
    }
}

impl FullSegment {
    /// Waits until the segment is durable.
    pub(super) async fn store(self, blob: Option<BlobId>) -> Result<Located, SegmentError> {
        let Stored { id, placement } = self.sink.finish(self.hash, blob).await?;
        Ok(Located {
            id,
            record: SegmentRecord {
                len: self.len,
                hash: self.hash,
                generation: Some(id.generation),
                placement,
            },
        })
    }
}

/// Segments that are stored but that nothing durable knows of: when the last clone is dropped,
/// they are removed.
#[derive(Clone)]
pub(super) struct Unrecorded {
    inner: Arc<UnrecordedInner>,
}

struct UnrecordedInner {
    segments: Arc<dyn Segments>,
    located: Mutex<Vec<Located>>,
}

impl Unrecorded {
    pub(super) fn new(segments: &Arc<dyn Segments>) -> Self {
        let inner = UnrecordedInner {
            segments: segments.clone(),
            located: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn located(&self) -> MutexGuard<'_, Vec<Located>> {
        self.inner.located.lock().expect("no panic while held")
    }

    pub(super) fn push(&self, located: Located) {
        self.located().push(located);
    }

    pub(super) fn extend(&self, located: Vec<Located>) {
        self.located().extend(located);
    }

    /// They are recorded, or about to be: they are not removed any more.
    pub(super) fn keep(&self) -> Vec<Located> {
        std::mem::take(&mut *self.located())
    }

    /// As `keep`, for the segments before one.
    fn keep_below(&self, number: u64) {
        self.located().retain(|segment| segment.id.number >= number);
    }
}

impl Drop for UnrecordedInner {
    fn drop(&mut self) {
        let located = std::mem::take(self.located.get_mut().expect("no panic while held"));
        if located.is_empty() {
            return;
        }
        // Without a runtime the process ends, and the collection finds them.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let segments = self.segments.clone();
            runtime.spawn(async move { segments.delete(located).await });
        }
    }
}

/// Stores a blob whose bytes are pushed into it. Dropping it abandons them.
pub struct BlobWriter {
    blobs: Blobs,
    space: Space,
    generation: Generation,
    hashing: Hashing,
    tree: Tree,
    size: u64,
    /// A write was begun and not ended: what was stored and what was hashed may differ.
    broken: bool,
    open: Option<OpenSegment>,
    /// These end even if the writer is dropped: what is stored can be removed without a doubt,
    /// what is half stored cannot.
    closing: VecDeque<JoinHandle<Result<Located, SegmentError>>>,
    stored: SegmentList,
    unrecorded: Unrecorded,
}

/// The segments stored so far; very many of them move to items of their own.
#[derive(Default)]
struct SegmentList {
    spilled: u64,
    recent: Vec<SegmentRecord>,
    /// When the first of these became durable.
    recent_since: Option<Timestamp>,
    indebted: bool,
}

impl BlobWriter {
    pub(super) fn new(blobs: Blobs, space: Space, want: DigestSet) -> Self {
        Self {
            space,
            generation: Generation(blobs.seams().random()),
            hashing: Hashing::new(blobs.pool().clone(), Some(DigestState::new(want)), 0),
            tree: Tree::default(),
            size: 0,
            broken: false,
            open: None,
            closing: VecDeque::new(),
            stored: SegmentList::default(),
            unrecorded: Unrecorded::new(blobs.segments()),
            blobs,
        }
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes; waits while too many are under way.
    /// A writer whose write failed or was not awaited to its end cannot be finished.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        self.check_whole()?;
        self.broken = true;
        self.write_through(bytes).await?;
        self.broken = false;
        Ok(())
    }

    fn check_whole(&self) -> Result<(), WriteError> {
        if self.broken {
            return Err(WriteError::unavailable("an earlier write was broken off"));
        }
        Ok(())
    }

    async fn write_through(&mut self, mut bytes: Bytes) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            if self.open.as_ref().is_some_and(OpenSegment::is_full) {
                self.close_segment().await?;
            }
            let open = self.open.get_or_insert_with(|| {
                OpenSegment::at(self.blobs.segments().as_ref(), self.generation, self.size)
            });
            let before = bytes.len();
            open.write(&mut self.hashing, &mut bytes).await?;
            self.size += (before - bytes.len()) as u64;
        }
        Ok(())
    }

    /// Ends the blob; when this returns, its bytes are durable as far as promise P1 asks.
    pub async fn finish(mut self) -> Result<StoredBlob, WriteError> {
        self.check_whole()?;
        // The last segment is closed only now, when it is known to be the last.
        let last = match self.open.take() {
            Some(open) => Some(open.close(&mut self.hashing).await?),
            None => None,
        };
        if let Some(last) = &last {
            self.tree.push(&last.hash);
        }
        let id = self.tree.root();
        if let Some(last) = last {
            self.close_full(last, Some(id)).await?;
        }
        while !self.closing.is_empty() {
            self.settle_oldest().await?;
        }
        let segments = if self.stored.spilled == 0 {
            Segmentation::Inline(std::mem::take(&mut self.stored.recent))
        } else {
            self.spill().await?;
            Segmentation::Apart(self.stored.spilled)
        };
        self.unrecorded.keep();
        let digests = self.hashing.digests().await.expect("a writer computes digests");
        Ok(StoredBlob {
            inner: Arc::new(Nameable {
                space: self.space,
                id,
                size: self.size,
                digests: digests.clone().finish(),
                generation: self.generation,
                segments,
                indebted: self.stored.indebted,
                expires: self.blobs.seams().clock.now().plus(NAMING_TIME),
            }),
        })
    }

    async fn close_segment(&mut self) -> Result<(), WriteError> {
        if let Some(open) = self.open.take() {
            let full = open.close(&mut self.hashing).await?;
            self.tree.push(&full.hash);
            self.close_full(full, None).await?;
        }
        Ok(())
    }

    /// Makes a segment durable beside what follows.
    async fn close_full(&mut self, full: FullSegment, blob: Option<BlobId>) -> Result<(), WriteError> {
        if self.closing.len() >= CLOSING_SEGMENTS {
            self.settle_oldest().await?;
        }
        let unrecorded = self.unrecorded.clone();
        let job = tokio::spawn(async move {
            let located = full.store(blob).await?;
            unrecorded.push(located.clone());
            Ok(located)
        });
        self.closing.push_back(job);
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Result<(), WriteError> {
        let Some(job) = self.closing.pop_front() else {
            return Ok(());
        };
        let located = job.await.map_err(WriteError::unavailable)??;
        let mut record = located.record;
        record.hash.root = None;
        record.generation = record
            .generation
            .filter(|generation| *generation != self.generation);
        self.stored.indebted |= record.placement.indebted();
        self.stored.recent.push(record);
        let now = self.blobs.seams().clock.now();
        let since = *self.stored.recent_since.get_or_insert(now);
        // Nobody knows of what is not recorded, so a slow writer may not keep it to itself for long.
        if self.stored.recent.len() > self.blobs.inline_segments() || now.since(since) > UNRECORDED_TIME {
            self.spill().await?;
        }
        Ok(())
    }

    /// Moves the list of segments into the metadata.
    async fn spill(&mut self) -> Result<(), WriteError> {
        let (space, generation) = (self.space, self.generation);
        let expires = self.blobs.seams().clock.now().plus(NAMING_TIME);
        let pending = PendingRecord {
            expires,
            upload: None,
        };
        let (first, recent) = (self.stored.spilled, &self.stored.recent);
        let work = async |mut txn: Txn| {
            note_space(&mut txn, space).await?;
            let key = keys::pending(space, &generation);
            if first > 0 && txn.get(&key).await?.is_none() {
                return Err(WriteError::unavailable(
                    "it took too long and was collected meanwhile",
                ));
            }
            txn.put_record(&key, &pending);
            put_segments(&mut txn, space, &generation, first, recent);
            Ok((txn, ()))
        };
        self.blobs.kv().transact(work).await?;
        self.stored.spilled += self.stored.recent.len() as u64;
        self.stored.recent.clear();
        self.stored.recent_since = None;
        self.unrecorded.keep_below(self.stored.spilled);
        Ok(())
    }
}

/// Writes segments as items of their own, numbered from `first` on.
pub(super) fn put_segments(
    txn: &mut Txn,
    space: Space,
    generation: &Generation,
    first: u64,
    segments: &[SegmentRecord],
) {
    for (number, segment) in (first..).zip(segments) {
        txn.put_record(&keys::segment(space, generation, number), segment);
    }
}
