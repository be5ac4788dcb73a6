//! What the collection counts.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::waste::WasteSum;

const WASTE_BYTES: &str = "cairn_blob_waste_bytes";
const WASTE_ITEMS: &str = "cairn_blob_waste_items";
const REMOVED_BYTES: &str = "cairn_blob_removed_bytes_total";
const UNKNOWN: &str = "cairn_blob_unknown_shards";
const UNKNOWN_REMOVED: &str = "cairn_blob_unknown_shards_removed_total";
const COMPACTIONS: &str = "cairn_blob_small_compactions_total";

/// Says what the metrics mean.
pub(super) fn describe() {
    describe_gauge!(
        WASTE_BYTES,
        "bytes of blobs that nothing names and that wait to be removed"
    );
    describe_gauge!(
        WASTE_ITEMS,
        "things that nothing names and that wait to be removed"
    );
    describe_counter!(REMOVED_BYTES, "bytes of blobs that were removed");
    describe_gauge!(
        UNKNOWN,
        "shards and small segments of this node that the metadata does not know"
    );
    describe_counter!(
        UNKNOWN_REMOVED,
        "shards and small segments that were removed because the metadata did not know them"
    );
    describe_counter!(
        COMPACTIONS,
        "rewrites of the store of small segments that gave space back"
    );
}

/// What waits to be removed.
pub(super) fn waste(sum: &WasteSum) {
    gauge!(WASTE_BYTES).set(sum.bytes as f64);
    gauge!(WASTE_ITEMS).set(sum.items as f64);
}

/// Garbage was removed.
pub(super) fn removed(bytes: u64) {
    counter!(REMOVED_BYTES).increment(bytes);
}

/// What was found on this node's disk that nobody knows.
pub(super) fn unknown(items: u64) {
    gauge!(UNKNOWN).set(items as f64);
}

/// What nobody knows was removed.
pub(super) fn unknown_removed(items: u64) {
    counter!(UNKNOWN_REMOVED).increment(items);
}

/// Space of small segments was given back.
pub(super) fn compacted() {
    counter!(COMPACTIONS).increment(1);
}
