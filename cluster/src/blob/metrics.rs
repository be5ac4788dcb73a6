//! What the blob store counts.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::record::Form;

const STORED_BYTES: &str = "cairn_blob_stored_bytes_total";
const STORED_SEGMENTS: &str = "cairn_blob_stored_segments_total";
const STORED_AGAIN: &str = "cairn_blob_segments_stored_again_total";
const DURABLE_SECONDS: &str = "cairn_blob_durable_seconds";
const READ_BYTES: &str = "cairn_blob_read_bytes_total";
const DECODED: &str = "cairn_blob_decoded_stripes_total";
const HEDGED: &str = "cairn_blob_hedged_reads_total";
const UNREADABLE: &str = "cairn_blob_unreadable_shards_total";
const CACHE_LOOKUPS: &str = "cairn_blob_cache_lookups_total";
const CORRUPT: &str = "cairn_blob_corrupt_shards_total";
const ROOM: &str = "cairn_blob_room_bytes";

/// Says what the metrics mean.
pub(super) fn describe() {
    describe_counter!(STORED_BYTES, "bytes of segments that this node had stored");
    describe_counter!(
        STORED_SEGMENTS,
        "segments that this node had stored, by form and redundancy"
    );
    describe_counter!(
        STORED_AGAIN,
        "segments that were stored a second time because nodes failed"
    );
    describe_histogram!(
        DURABLE_SECONDS,
        "time from the last byte of a segment until it was durable"
    );
    describe_counter!(READ_BYTES, "bytes that this node read from segments");
    describe_counter!(DECODED, "stripes that had to be decoded to be read");
    describe_counter!(HEDGED, "reads that asked another node because one was slow");
    describe_counter!(UNREADABLE, "shards that could not be read from their homes");
    describe_gauge!(ROOM, "bytes that blobs may still take on this node's disks");
    super::disks::describe();
    describe_counter!(
        CACHE_LOOKUPS,
        "cells and small segments of other zones that were looked for in the cache, by result"
    );
    describe_counter!(
        CORRUPT,
        "shards and small segments whose bytes were not those that were written"
    );
}

/// A segment is durable.
pub(super) fn stored(form: Form, bytes: u64, indebted: bool) {
    let form = match form {
        Form::Small => "small",
        Form::Shards => "shards",
    };
    let redundancy = if indebted { "reduced" } else { "full" };
    counter!(STORED_BYTES).increment(bytes);
    counter!(STORED_SEGMENTS, "form" => form, "redundancy" => redundancy).increment(1);
}

/// A segment is stored a second time.
pub(super) fn stored_again() {
    counter!(STORED_AGAIN).increment(1);
}

/// The shards of a segment were made durable, or given up.
pub(super) fn made_durable(took: Duration) {
    histogram!(DURABLE_SECONDS).record(took);
}

/// Bytes were read.
pub(super) fn read(bytes: u64) {
    counter!(READ_BYTES).increment(bytes);
}

/// Stripes had to be decoded.
pub(super) fn decoded(stripes: usize) {
    counter!(DECODED).increment(stripes as u64);
}

/// Another node was asked because one was slow.
pub(super) fn hedged() {
    counter!(HEDGED).increment(1);
}

/// How much room there is.
pub(super) fn room(bytes: u64) {
    gauge!(ROOM).set(bytes as f64);
}

/// A shard could not be read.
pub(super) fn unreadable() {
    counter!(UNREADABLE).increment(1);
}

/// Something of another zone was looked for in the cache.
pub(super) fn cached(found: bool) {
    let result = if found { "hit" } else { "miss" };
    counter!(CACHE_LOOKUPS, "result" => result).increment(1);
}

/// A shard was found corrupt.
pub(super) fn corrupt_shard() {
    counter!(CORRUPT).increment(1);
}
