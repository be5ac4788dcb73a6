//! What repair counts.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::Left;

const REBUILT: &str = "cairn_blob_rebuilt_shards_total";
const REBUILT_BYTES: &str = "cairn_blob_rebuilt_bytes_total";
const WAITING: &str = "cairn_blob_repairs_waiting";
const HOMELESS: &str = "cairn_blob_homeless_shards";
const UNRECOVERABLE: &str = "cairn_blob_unrecoverable_segments";

/// Says what the metrics mean.
pub(super) fn describe() {
    describe_counter!(REBUILT, "shards that this node rebuilt");
    describe_counter!(
        REBUILT_BYTES,
        "bytes of the segments whose shards this node rebuilt"
    );
    describe_gauge!(
        WAITING,
        "segments whose repair failed or waits for nodes that may come back"
    );
    describe_gauge!(
        HOMELESS,
        "shards that are lost and that there is no node to put on"
    );
    describe_gauge!(UNRECOVERABLE, "segments of which too little is left");
}

/// A shard was rebuilt.
pub(super) fn rebuilt(bytes: u64) {
    counter!(REBUILT).increment(1);
    counter!(REBUILT_BYTES).increment(bytes);
}

/// What a round could not do.
pub(super) fn left(left: &Left) {
    gauge!(WAITING).set((left.waiting + left.failed) as f64);
    gauge!(HOMELESS).set(left.homeless as f64);
    gauge!(UNRECOVERABLE).set(left.unrecoverable as f64);
}
