//! The boundary between what a blob is and how its bytes are kept: above it hashes, records
//! and sessions, below it codes, shards and peers.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tracing::debug;

use super::id::BlobId;
use super::placement::Layout;
use super::record::{Located, Placement, SegmentId};
use super::tree::SubtreeHash;

/// Bytes in a cell: the unit of coding, of checksums and of transfer.
pub(crate) const CELL_BYTES: usize = 256 << 10;

/// The bytes of a segment or a part of it, in order.
pub(crate) type SegmentStream = BoxStream<'static, Result<Bytes, SegmentError>>;

/// Why a segment could not be stored or read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    /// Too few nodes take or give it now.
    #[error("{0}")]
    Unavailable(String),
    /// Too few nodes have room for it.
    #[error("{0}")]
    Full(String),
    /// It is there, but what is left of it is not enough to tell its bytes.
    #[error("{0}")]
    Damaged(String),
}

/// Keeps segments.
#[async_trait]
pub(crate) trait Segments: Send + Sync {
    /// Begins to store a segment, or a piece of one, whose bytes begin at `offset` of their blob.
    fn create(&self, id: SegmentId, offset: u64) -> Box<dyn SegmentSink>;

    /// Reads a part of a segment. Every piece is verified before it is given out.
    async fn open(&self, segment: &Located, range: Range<u64>) -> Result<SegmentStream, SegmentError>;

    /// The layout by which segments are placed now; none if that is not known, or there is nothing
    /// to place.
    async fn layout(&self) -> Option<Arc<Layout>> {
        None
    }

    /// Removes segments that no record names any more; when this returns they are gone from all
    /// their homes. Those that are not there are no error.
    async fn remove(&self, segments: &[Located]) -> Result<(), SegmentError>;

    /// Removes segments that no record names, as far as their homes can be reached; what is
    /// left behind is found by the collection.
    async fn delete(&self, segments: Vec<Located>) {
        if let Err(error) = self.remove(&segments).await {
            debug!(%error, "segments that nobody names stay for the collection");
        }
    }
}

/// A segment being stored. Dropping it abandons what was written.
#[async_trait]
pub(crate) trait SegmentSink: Send {
    /// Takes the next cell: [`CELL_BYTES`], or fewer if it is the last.
    async fn write(&mut self, cell: Bytes) -> Result<(), SegmentError>;

    /// Ends the segment; when this returns it is durable as far as promise P1 asks. `blob` is
    /// its blob if that is known by now. May store it under another generation than it was
    /// created with, if it had to be written a second time.
    async fn finish(self: Box<Self>, hash: SubtreeHash, blob: Option<BlobId>)
    -> Result<Stored, SegmentError>;
}

/// A segment that is durable.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: SegmentId,
    pub(crate) placement: Placement,
}
