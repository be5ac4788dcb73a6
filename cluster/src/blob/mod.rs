//! Content-addressed blobs: immutable bytes under the name of their BLAKE3.
//!
//! A blob is cut into segments of 32 MiB. Each is hashed as a subtree of the blob's BLAKE3 tree,
//! and stored on its own ([`segments`] is the boundary to how). What a blob consists of, who
//! names it and which uploads are under way is kept in the metadata ([`keys`] draws where).
//!
//! What holds here:
//! - bytes are durable before a record names them, and are named in the transaction that makes
//!   them visible: a failed upload leaves nothing that a reader can see;
//! - every piece is verified before it is given out, and a segment that is read whole is checked
//!   against its hash before its last piece is;
//! - memory per upload and per download does not depend on the size of the blob.

mod append;
mod cache;
mod candidates;
pub(crate) mod census;
mod checked;
mod claims;
mod coded;
mod collect;
mod digest;
mod disk;
mod disks;
mod erasure;
mod error;
mod garbage;
mod hold;
mod holdings;
mod id;
mod incoming;
mod inventory;
mod kept;
mod keys;
mod leftover;
mod memory;
mod metrics;
mod naming;
mod open;
mod peers;
mod pipeline;
mod placement;
mod pool;
mod precedence;
mod reader;
mod rebalance;
mod recode;
mod record;
mod repair;
mod retention;
mod scrub;
mod segments;
mod service;
mod shard_error;
mod shard_file;
mod shard_store;
mod small;
mod stores;
mod stray;
#[cfg(test)]
mod suite;
mod suspects;
mod sweep;
#[cfg(test)]
mod testing;
mod transfer;
mod tree;
mod upkeep;
mod upload;
mod verify;
mod walk;
mod wire;
mod writer;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};

pub(crate) use collect::{CollectionTask, Leads};
pub use collect::{Waste, WasteStage};
pub use digest::{DigestSet, Digests};
pub use disk::{Bays, Disk, DiskFile, Folder, Folders, Room};
pub use disks::{
    DiskError, DiskId, DiskOwner, DiskState, DiskStatus, DiskSummary, DisksConfig, ParseDiskIdError,
    ReplaceError,
};
pub use error::{BlobReadError, BlobTxnError, LeaseError, PutError, UploadError, WriteError};
pub use hold::{Hold, HoldError};
pub use holdings::Holding;
pub use id::{BackupId, BlobId, ParseIdError, Space, UploadId};
pub use kept::{Kept, KeptError};
pub use open::{BlobConfig, BlobOpenError, LayOutError};
pub use peers::{BlobPeers, Wire};
pub use placement::{Layout, LayoutError, Member, Succession};
pub use reader::BlobReader;
pub(crate) use rebalance::RebalanceTask;
pub(crate) use recode::RecodeTask;
pub use record::Code;
pub(crate) use repair::RepairTask;
pub use repair::{Protection, ProtectionError, UnderProtected, UnderProtectedPage};
pub use retention::{Retention, RetentionError};
pub(crate) use scrub::ScrubTask;
pub use service::BlobService;
pub use upkeep::Upkeep;
pub use upload::UploadStatus;
pub use writer::{BlobWriter, StoredBlob};

use memory::MemorySegments;
use pool::Pool;
use record::{BlobRecord, INLINE_SEGMENTS};
use segments::Segments;

use crate::kv::{Kv, ReadError, Snapshot};
use crate::seams::Seams;

/// The blob store of this node. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    kv: Kv,
    seams: Seams,
    segments: Arc<dyn Segments>,
    pool: Pool,
    inline_segments: usize,
}

/// What is known of a blob without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its size in bytes.
    pub size: u64,
    /// The digests that were asked for when it was stored.
    pub digests: Digests,
}

impl Blobs {
    /// A store of this process alone, kept in memory: the twin for tests.
    pub fn in_memory(kv: Kv, seams: Seams) -> Self {
        Self::new(
            kv,
            seams,
            Arc::new(MemorySegments::default()),
            Pool::of_all_cores(),
        )
    }

    fn new(kv: Kv, seams: Seams, segments: Arc<dyn Segments>, pool: Pool) -> Self {
        let inner = Inner {
            kv,
            seams,
            segments,
            pool,
            inline_segments: INLINE_SEGMENTS,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same store with another limit to the segments in a record.
    #[cfg(test)]
    fn with_inline_segments(&self, inline_segments: usize) -> Self {
        let inner = Inner {
            kv: self.kv().clone(),
            seams: self.seams().clone(),
            segments: self.segments().clone(),
            pool: self.pool().clone(),
            inline_segments,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn kv(&self) -> &Kv {
        &self.inner.kv
    }

    fn seams(&self) -> &Seams {
        &self.inner.seams
    }

    fn segments(&self) -> &Arc<dyn Segments> {
        &self.inner.segments
    }

    fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    fn inline_segments(&self) -> usize {
        self.inner.inline_segments
    }

    /// Stores a stream of bytes; when this returns they are durable as far as promise P1 asks,
    /// and wait to be named by [`Blobs::reference`].
    pub async fn put<E>(
        &self,
        space: Space,
        want: DigestSet,
        limit_bytes: u64,
        mut body: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<StoredBlob, PutError<E>> {
        let mut writer = self.writer(space, want);
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(PutError::Body)?;
            if bytes.len() as u64 > limit_bytes - writer.size() {
                return Err(PutError::TooLarge { limit_bytes });
            }
            writer.write(bytes).await?;
        }
        Ok(writer.finish().await?)
    }

    /// Begins to store bytes that are pushed rather than pulled. The caller keeps the limit.
    pub fn writer(&self, space: Space, want: DigestSet) -> BlobWriter {
        BlobWriter::new(self.clone(), space, want)
    }

    /// What is known of a blob; `None` if it is not kept, or being removed.
    pub async fn stat(
        &self,
        snapshot: &Snapshot,
        space: Space,
        id: &BlobId,
    ) -> Result<Option<BlobInfo>, ReadError> {
        let record = find(snapshot, space, id).await?;
        Ok(record.map(|record| BlobInfo {
            size: record.size,
            digests: record.digests,
        }))
    }

    /// Opens a blob, or a range of it. When this returns, the first bytes are there and
    /// verified, so that an answer can begin.
    pub async fn read(
        &self,
        snapshot: &Snapshot,
        space: Space,
        id: &BlobId,
        range: Option<Range<u64>>,
    ) -> Result<BlobReader, BlobReadError> {
        let Some(record) = find(snapshot, space, id).await? else {
            return Err(BlobReadError::Unknown { id: *id });
        };
        let size = record.size;
        let range = range.unwrap_or(0..size);
        if range.start > range.end || range.end > size {
            return Err(BlobReadError::Range { range, size });
        }
        reader::open(self.clone(), space, *id, record, range).await
    }
}

/// The record of a blob that can be read.
async fn find(snapshot: &Snapshot, space: Space, id: &BlobId) -> Result<Option<BlobRecord>, ReadError> {
    snapshot.record(&keys::record(space, id)).await
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    fn assert_send<T: Send>(_: T) {}

    #[tokio::test]
    async fn every_call_may_move_between_threads() {
        let seams = Seams::system();
        let blobs = Blobs::in_memory(Kv::in_memory(seams.clone()), seams);
        let (space, want, id) = (Space(1), DigestSet::default(), BlobId([0; 32]));
        let upload = UploadId([0; 16]);
        let body = || futures::stream::empty::<Result<Bytes, Infallible>>();
        let snapshot = blobs.kv().local();
        assert_send(blobs.put(space, want, 0, body()));
        assert_send(blobs.writer(space, want).finish());
        assert_send(blobs.read(&snapshot, space, &id, None));
        assert_send(blobs.lease(space, &id, Duration::ZERO));
        assert_send(blobs.begin_upload(space, want, b""));
        assert_send(blobs.append(space, &upload, None, 0, body()));
        assert_send(blobs.finish_upload(space, &upload));
        assert_send(blobs.abort_upload(space, &upload));
        let stored = blobs.put(space, want, 0, body()).await.unwrap();
        assert_send(blobs.kv().transact(async |mut txn| {
            blobs
                .release(&mut txn, space, &id, b"referrer")
                .await
                .map_err(|_| crate::kv::CommitError::Conflict)?;
            blobs
                .reference(&mut txn, &stored, b"referrer")
                .await
                .map_err(|_| crate::kv::CommitError::Conflict)?;
            blobs.complete_upload(&mut txn, space, &upload);
            Ok::<_, crate::kv::CommitError>((txn, ()))
        }));
    }
}
