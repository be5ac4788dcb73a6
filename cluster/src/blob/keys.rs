//! Where the blob store keeps what in the metadata. Everything of one space lies below one
//! collection, so that the keyspace can be split by space.
//!
//! ```text
//! collection                               item          value
//! blobs                                    space         empty: the space holds blobs
//! blobs/<space>/records                    blob id       BlobRecord
//! blobs/<space>/segments/<generation>      number        SegmentRecord, of a blob with very many
//! blobs/<space>/references/<blob id>       referrer      empty: that record names the blob
//! blobs/<space>/leases                     blob id       number: kept until, in ms
//! blobs/<space>/pending                    generation    PendingRecord: segments without a record yet
//! blobs/<space>/debt                       blob id       DebtRecord: redundancy that is still to be made
//! blobs/<space>/uploads                    upload id     UploadRecord
//! cluster                                  "layout"      Layout
//! ```

use super::id::{BlobId, Generation, Space, UploadId};
use crate::kv::{Collection, Key};

fn blobs() -> Collection {
    Collection::new("blobs")
}

fn below(space: Space, what: &str) -> Collection {
    blobs().at(space).at(what)
}

/// That a space holds blobs, for work that goes over all of them.
pub(super) fn space(space: Space) -> Key {
    blobs().key(space)
}

pub(super) fn record(space: Space, id: &BlobId) -> Key {
    below(space, "records").key(id)
}

pub(super) fn segments(space: Space, generation: &Generation) -> Collection {
    below(space, "segments").at(generation)
}

pub(super) fn segment(space: Space, generation: &Generation, number: u64) -> Key {
    segments(space, generation).key(number)
}

pub(super) fn references(space: Space, id: &BlobId) -> Collection {
    below(space, "references").at(id)
}

pub(super) fn lease(space: Space, id: &BlobId) -> Key {
    below(space, "leases").key(id)
}

pub(super) fn pending(space: Space, generation: &Generation) -> Key {
    below(space, "pending").key(generation)
}

/// The spaces that hold blobs.
pub(super) fn spaces() -> Collection {
    blobs()
}

pub(super) fn debts(space: Space) -> Collection {
    below(space, "debt")
}

pub(super) fn debt(space: Space, id: &BlobId) -> Key {
    debts(space).key(id)
}

pub(super) fn upload(space: Space, id: &UploadId) -> Key {
    below(space, "uploads").key(id)
}

/// The [`super::Layout`] of the cluster.
pub(super) fn layout() -> Key {
    Collection::new("cluster").key("layout")
}
