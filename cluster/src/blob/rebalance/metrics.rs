//! What rebalancing counts.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const MOVED: &str = "cairn_blob_moved_shards_total";
const MOVED_BYTES: &str = "cairn_blob_moved_bytes_total";
const WAITING: &str = "cairn_blob_moves_waiting";

/// Says what the metrics mean.
pub(super) fn describe() {
    describe_counter!(
        MOVED,
        "shards that this node took over because the layout changed"
    );
    describe_counter!(MOVED_BYTES, "bytes of the shards that this node took over");
    describe_gauge!(WAITING, "shards that this node should take over and cannot yet");
}

/// A shard was taken over.
pub(super) fn moved(bytes: u64) {
    counter!(MOVED).increment(1);
    counter!(MOVED_BYTES).increment(bytes);
}

/// Shards that a round had to leave where they are.
pub(super) fn waiting(shards: u64) {
    gauge!(WAITING).set(shards as f64);
}
