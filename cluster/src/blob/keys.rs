//! Where the blob store keeps what in the metadata. Everything of one space lies below one
//! collection, so that the keyspace can be split by space.
//!
//! ```text
//! collection                               item          value
//! blobs                                    space         empty: the space holds blobs
//! blobs/<space>/records                    blob id       BlobRecord
//! blobs/<space>/segments/<generation>      number        SegmentRecord, of a blob with very many
//! blobs/<space>/references/<blob id>       referrer      empty: that record names the blob
//! blobs/<space>/kept                      class         number: bytes of all blobs that are named (added)
//! blobs/<space>/leases                     blob id       number: kept until, in ms
//! blobs/<space>/pending                    generation    PendingRecord: segments without a record yet
//! blobs/<space>/debt                       blob id       DebtRecord: redundancy that is still to be made
//! blobs/<space>/uploads                    upload id     UploadRecord
//! blobs/<space>/orphans                    blob id       number: nothing has named it since, in ms
//! blobs/<space>/garbage                    generation    GarbageRecord: what is to be removed
//! blobs/<space>/strays                     blob id       empty: some of it was not where it should be
//! blobs/<space>/leftovers                  see leftover  LeftoverRecord: what was moved away from a node
//! cluster                                  "layout"      Layout
//! cluster/holds                            backup id     HoldRecord: the collection is held back
//! cluster                                  "retention"   Retention
//! ```

use super::id::{BackupId, BlobId, Generation, Space, UploadId};
use super::kept::Class;
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

pub(super) fn records(space: Space) -> Collection {
    below(space, "records")
}

pub(super) fn record(space: Space, id: &BlobId) -> Key {
    records(space).key(id)
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

/// How many bytes the named blobs of a class have.
pub(super) fn kept(space: Space, class: Class) -> Key {
    below(space, "kept").key(class.name())
}

pub(super) fn leases(space: Space) -> Collection {
    below(space, "leases")
}

pub(super) fn lease(space: Space, id: &BlobId) -> Key {
    leases(space).key(id)
}

/// Segments without a record, of every upload and writer.
pub(super) fn all_pending(space: Space) -> Collection {
    below(space, "pending")
}

pub(super) fn pending(space: Space, generation: &Generation) -> Key {
    all_pending(space).key(generation)
}

/// Blobs that nothing names.
pub(super) fn orphans(space: Space) -> Collection {
    below(space, "orphans")
}

pub(super) fn orphan(space: Space, id: &BlobId) -> Key {
    orphans(space).key(id)
}

/// What is to be removed. The garbage of a whole blob or upload lies under its generation, which
/// is thereby never named again; that of single segments under a random one.
pub(super) fn all_garbage(space: Space) -> Collection {
    below(space, "garbage")
}

pub(super) fn garbage(space: Space, generation: &Generation) -> Key {
    all_garbage(space).key(generation)
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

/// Blobs that were named with segments stored by an older layout.
pub(super) fn strays(space: Space) -> Collection {
    below(space, "strays")
}

pub(super) fn stray(space: Space, id: &BlobId) -> Key {
    strays(space).key(id)
}

/// Shards that were moved away from nodes and still lie there, by node.
pub(super) fn leftovers(space: Space) -> Collection {
    below(space, "leftovers")
}

pub(super) fn uploads(space: Space) -> Collection {
    below(space, "uploads")
}

pub(super) fn upload(space: Space, id: &UploadId) -> Key {
    uploads(space).key(id)
}

/// What holds the collection back.
pub(super) fn holds() -> Collection {
    Collection::new("cluster").at("holds")
}

pub(super) fn hold(id: &BackupId) -> Key {
    holds().key(id)
}

/// The [`super::Layout`] of the cluster.
pub(super) fn layout() -> Key {
    Collection::new("cluster").key("layout")
}

/// The [`super::Retention`] of the cluster.
pub(super) fn retention() -> Key {
    Collection::new("cluster").key("retention")
}
