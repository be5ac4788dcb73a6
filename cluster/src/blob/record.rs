//! The stored forms of the blob store's metadata.
//!
//! Field names are one letter: there is one blob record for each stored file, each on every
//! node, and the budget for one with a single segment is 200 bytes.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::{DigestSet, Digests, SavedDigests};
use super::id::{BlobId, Generation, UploadId};
use super::tree::{SEGMENT_BYTES, SubtreeHash, Tree};
use crate::node_id::NodeId;
use crate::record::{Record, byte_string};
use crate::seams::Timestamp;

/// How many segments a record holds itself; a blob with more (from 8 GiB on) keeps them as
/// items of their own, so that no transaction comes near its limit.
pub(crate) const INLINE_SEGMENTS: usize = 256;

/// What is known of a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    #[serde(rename = "n")]
    pub(crate) size: u64,
    #[serde(rename = "d")]
    pub(crate) digests: Digests,
    #[serde(rename = "g")]
    pub(crate) generation: Generation,
    #[serde(rename = "s")]
    pub(crate) segments: Segmentation,
    #[serde(rename = "z", default, skip_serializing_if = "BlobState::is_live")]
    pub(crate) state: BlobState,
}

impl Record for BlobRecord {}

/// Where a blob is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BlobState {
    /// Some record names it.
    #[default]
    #[serde(rename = "l")]
    Live,
    /// No record has named it since then. A new reference revives it.
    #[serde(rename = "o")]
    Orphan { since: Timestamp },
}

impl BlobState {
    fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

/// The segments of a blob, in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Segmentation {
    /// Here.
    #[serde(rename = "i")]
    Inline(Vec<SegmentRecord>),
    /// This many, as items below the blob's generation.
    #[serde(rename = "a")]
    Apart(u64),
}

/// One stored stretch of at most [`SEGMENT_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    #[serde(rename = "l")]
    pub(crate) len: u64,
    #[serde(rename = "h")]
    pub(crate) hash: SubtreeHash,
    /// The generation it was stored under, if it is not its blob's.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<Generation>,
    #[serde(rename = "p")]
    pub(crate) placement: Placement,
}

impl Record for SegmentRecord {}

/// How and where a segment is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    #[serde(rename = "c")]
    pub(crate) code: Code,
    #[serde(rename = "f")]
    pub(crate) form: Form,
    /// The placement group.
    #[serde(rename = "g")]
    pub(crate) group: u16,
    /// Which node holds which shard: by shard index.
    #[serde(rename = "o")]
    pub(crate) homes: Vec<NodeId>,
    /// Shard indexes that are not at their homes yet.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<u8>,
    /// Stored in another code than the cluster's, because too few nodes were there.
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) recode: bool,
}

impl Placement {
    /// Whether redundancy is still to be made.
    pub(crate) fn indebted(&self) -> bool {
        !self.missing.is_empty() || self.recode
    }

    /// Whether what a node keeps of the segment under an index belongs there. All copies of a small
    /// segment are under one name.
    pub(crate) fn is_kept_by(&self, node: NodeId, index: u8) -> bool {
        match self.form {
            Form::Shards => self.homes.get(usize::from(index)) == Some(&node),
            Form::Small => self.homes.contains(&node),
        }
    }
}

impl SegmentRecord {
    /// How many bytes of content one of its shards holds.
    pub(crate) fn shard_bytes(&self) -> u64 {
        self.len.div_ceil(u64::from(self.placement.code.data).max(1))
    }
}

/// How many shards hold data, and how many parity. With one data shard all are copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Code {
    /// Data shards.
    #[serde(rename = "k")]
    pub data: u8,
    /// Parity shards.
    #[serde(rename = "m")]
    pub parity: u8,
}

/// In what a shard is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    /// A value in the store of small segments; every shard is a copy.
    #[serde(rename = "s")]
    Small,
    /// A shard file.
    #[serde(rename = "f")]
    Shards,
}

/// What names one stored segment for ever, on disk too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    pub(crate) generation: Generation,
    /// Its place in the blob.
    pub(crate) number: u64,
}

impl SegmentId {
    /// No id is past this one.
    pub(crate) const MAX: Self = Self {
        generation: Generation([0xff; 16]),
        number: u64::MAX,
    };
}

/// A segment and its name: all that is needed to read or remove it.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) id: SegmentId,
    pub(crate) record: SegmentRecord,
}

impl SegmentRecord {
    /// Joins the segment with its place in a blob of that generation.
    pub(crate) fn locate(self, generation: Generation, number: u64) -> Located {
        let id = SegmentId {
            generation: self.generation.unwrap_or(generation),
            number,
        };
        Located { id, record: self }
    }
}

/// The numbers of the segments that a range of a blob lies in.
pub(crate) fn segments_of(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / SEGMENT_BYTES..(range.end - 1) / SEGMENT_BYTES + 1
}

/// Segments that are stored and recorded, but belong to no blob yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingRecord {
    /// They are garbage from then on.
    pub(crate) expires: Timestamp,
    /// The upload that they belong to; then they live as long as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<UploadId>,
}

impl Record for PendingRecord {}

/// That segments of a blob have less redundancy than they should; which, their records say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DebtRecord {
    pub(crate) generation: Generation,
    pub(crate) since: Timestamp,
    /// Why it is not paid, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// Too little is left to tell its bytes.
    #[serde(default)]
    pub(crate) unrecoverable: bool,
}

impl DebtRecord {
    pub(crate) fn new(generation: Generation, since: Timestamp) -> Self {
        Self {
            generation,
            since,
            problem: None,
            unrecoverable: false,
        }
    }
}

impl Record for DebtRecord {}

/// Segments that were decided to be removed, and are when they have been in quarantine.
///
/// While this is there, its generation is never named: bytes that were stored once, named,
/// released and collected could otherwise be named again by whoever still holds them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GarbageRecord {
    /// The blob that they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<BlobId>,
    /// How much they hold.
    pub(crate) bytes: u64,
    pub(crate) since: Timestamp,
    /// The generation of segments that do not have one of their own.
    pub(crate) generation: Generation,
    pub(crate) segments: Vec<NumberedSegment>,
    /// Whether all items below the generation belong to it too.
    #[serde(default)]
    pub(crate) apart: bool,
    /// They were never a blob that could be read, so nobody reads them and they need not wait.
    #[serde(default)]
    pub(crate) unread: bool,
    /// They are removed; only the generation is still remembered.
    #[serde(default)]
    pub(crate) removed: bool,
}

impl Record for GarbageRecord {}

/// A segment, and its place in its blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NumberedSegment {
    #[serde(rename = "n")]
    pub(crate) number: u64,
    #[serde(rename = "s")]
    pub(crate) record: SegmentRecord,
}

impl From<Located> for NumberedSegment {
    fn from(located: Located) -> Self {
        let generation = Some(located.id.generation);
        Self {
            number: located.id.number,
            record: SegmentRecord {
                generation,
                ..located.record
            },
        }
    }
}

impl BlobRecord {
    /// The segments that the record holds itself.
    pub(crate) fn located(&self) -> Vec<Located> {
        let Segmentation::Inline(segments) = &self.segments else {
            return Vec::new();
        };
        (0..)
            .zip(segments)
            .map(|(number, segment)| segment.clone().locate(self.generation, number))
            .collect()
    }
}

/// A resumable upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    #[serde(with = "byte_string")]
    pub(crate) owner: Bytes,
    pub(crate) want: DigestSet,
    pub(crate) generation: Generation,
    pub(crate) expires: Timestamp,
    /// Bytes that are durable; never goes back.
    pub(crate) offset: u64,
    /// Whole segments that were moved to items of their own, from the first on.
    pub(crate) spilled: u64,
    /// Whole segments after those.
    pub(crate) segments: Vec<SegmentRecord>,
    /// What is there of the segment after those, in pieces.
    pub(crate) pieces: Vec<SegmentRecord>,
    /// Whether any whole segment is in debt.
    #[serde(default)]
    pub(crate) indebted: bool,
    /// The hashes of the whole segments.
    pub(crate) tree: Tree,
    /// The digests up to `offset`.
    pub(crate) digests: SavedDigests,
    /// The blob, once the upload is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<FinishedUpload>,
}

impl Record for UploadRecord {}

impl UploadRecord {
    /// Whole segments.
    pub(crate) fn whole(&self) -> u64 {
        self.spilled + self.segments.len() as u64
    }
}

/// What became of an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FinishedUpload {
    pub(crate) id: BlobId,
    pub(crate) digests: Digests,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{decode, encode};

    #[test]
    fn the_record_of_a_blob_with_one_segment_is_below_its_budget() {
        let segment = SegmentRecord {
            len: SEGMENT_BYTES,
            hash: SubtreeHash {
                chaining: [200; 32],
                root: None,
            },
            generation: None,
            placement: Placement {
                code: Code { data: 4, parity: 2 },
                form: Form::Shards,
                group: 1023,
                homes: (0..6).map(|n| NodeId(n + 100_000)).collect(),
                missing: Vec::new(),
                recode: false,
            },
        };
        let record = BlobRecord {
            size: SEGMENT_BYTES,
            digests: Digests {
                sha256: [200; 32],
                sha1: None,
                sha512: None,
                md5: None,
            },
            generation: Generation([200; 16]),
            segments: Segmentation::Inline(vec![segment]),
            state: BlobState::Live,
        };
        let stored = encode(&record);
        assert!(stored.len() < 200, "{} bytes", stored.len());
        assert_eq!(decode::<BlobRecord>(&stored).unwrap().state, BlobState::Live);
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::BlobRecord>("blob");
        samples::check::<super::SegmentRecord>("segment");
        samples::check::<super::PendingRecord>("pending");
        samples::check::<super::DebtRecord>("debt");
        samples::check::<super::GarbageRecord>("garbage");
        samples::check::<super::UploadRecord>("upload");
    }
}
