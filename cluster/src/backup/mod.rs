//! Taking all that a cluster keeps for its callers out of it, and putting it into another one.
//!
//! An *export* is the state at one log index, as a stream of [`Part`]s: the blobs that something
//! names, with those names, and the records. It says nothing of the cluster that it comes from
//! but its name, so that it fits into a cluster of any size:
//!
//! - carried over: the callers' records, which blobs there are and who names them, and what was
//!   set for background work and retention;
//! - left behind: nodes, their starts, the authority, join tokens, the layout, where shards lie
//!   and which are missing, leases, garbage, and uploads under way.
//!
//! The bytes of blobs are not part of it. They are read one by one, under their names, while a
//! [`crate::Hold`] keeps the collection from them.
//!
//! A [`Restore`] puts both into a cluster that keeps nothing yet. Until it is finished, no node
//! of that cluster gets past [`crate::Cluster::usable`], so nobody sees a part of it.

mod export;
mod part;
mod restore;
#[cfg(test)]
mod tests;

use crate::kv::Collection;

pub(crate) use export::export;
pub use part::{Begin, ExportedBlob, Part, PartError, Parts, Totals};
pub use restore::{Restore, RestoreError, StoreBlobError};
pub(crate) use restore::{earlier_revisions, is_under_way};

/// What a cluster keeps for itself: everything else in its metadata is its callers'.
fn own_records() -> [Collection; 2] {
    ["blobs", "cluster"].map(Collection::new)
}
