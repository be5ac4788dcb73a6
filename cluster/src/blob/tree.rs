//! BLAKE3 as a tree: each segment is hashed on its own, and the blob's id is merged from the
//! values of its segments.
//!
//! A segment is 2^25 bytes, so every whole one is a complete subtree. The tree is left-balanced
//! (BLAKE3 paper, section 2.1): the left side of every node holds the largest power of two of
//! segments that leaves something for the right side. What is kept while segments come in is
//! therefore one value for each bit set in their number.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use super::id::{BlobId, fixed_bytes};

/// Bytes in a whole segment. Part of the stored form of every blob.
pub(crate) const SEGMENT_BYTES: u64 = 1 << 25;

/// A stretch of at most one segment, being hashed.
#[derive(Clone)]
pub(crate) struct SubtreeHasher {
    hasher: blake3::Hasher,
    at_start: bool,
}

/// The hash of one segment or piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubtreeHash {
    /// Its value as a part of a larger tree.
    #[serde(rename = "c", with = "fixed_bytes")]
    pub(crate) chaining: ChainingValue,
    /// Its value if there is nothing else; known only for what begins at offset 0 of a blob.
    #[serde(
        rename = "r",
        default,
        with = "fixed_bytes::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) root: Option<[u8; 32]>,
}

impl SubtreeHasher {
    /// Hashes what begins at `offset` of a blob. Only what begins on the boundary of a segment
    /// has a place in the blob's tree; anything else is hashed as if it stood alone.
    pub(crate) fn at(offset: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        if offset.is_multiple_of(SEGMENT_BYTES) {
            hasher.set_input_offset(offset);
        }
        Self {
            hasher,
            at_start: offset == 0,
        }
    }

    /// Takes more bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The hash of all bytes so far, of which there must be some.
    pub(crate) fn finish(&self) -> SubtreeHash {
        SubtreeHash {
            chaining: self.hasher.finalize_non_root(),
            root: self.at_start.then(|| *self.hasher.finalize().as_bytes()),
        }
    }
}

/// Merges the values of a blob's segments, in their order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tree {
    segments: u64,
    /// The values of complete subtrees, the largest first, each smaller than the one before.
    /// The last is not merged with its equal before it is known that more follows, since the
    /// root is merged differently.
    stack: Vec<Node>,
    #[serde(
        default,
        with = "fixed_bytes::option",
        skip_serializing_if = "Option::is_none"
    )]
    sole: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Node(#[serde(with = "fixed_bytes")] ChainingValue);

impl Tree {
    /// Adds the next segment.
    pub(crate) fn push(&mut self, hash: &SubtreeHash) {
        // One merge for each complete pair among the segments before this one; see the
        // reference implementation's `add_chunk_chaining_value`, one segment later.
        let merges = if self.segments == 0 {
            0
        } else {
            self.segments.trailing_zeros()
        };
        for _ in 0..merges {
            let right = self.stack.pop().expect("a pair to merge");
            let left = self.stack.pop().expect("a pair to merge");
            self.stack
                .push(Node(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash)));
        }
        self.sole = if self.segments == 0 { hash.root } else { None };
        self.stack.push(Node(hash.chaining));
        self.segments += 1;
    }

    /// The id of the blob whose segments were added.
    pub(crate) fn root(&self) -> BlobId {
        let mut stack = self.stack.clone();
        let Some(mut right) = stack.pop() else {
            return BlobId(*blake3::hash(b"").as_bytes());
        };
        while let Some(left) = stack.pop() {
            if stack.is_empty() {
                return BlobId(*merge_subtrees_root(&left.0, &right.0, Mode::Hash).as_bytes());
            }
            right = Node(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash));
        }
        BlobId(self.sole.expect("the first segment begins at offset 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id of `bytes`, hashed segment by segment.
    fn segmented(bytes: &[u8]) -> BlobId {
        let mut tree = Tree::default();
        for (number, segment) in bytes.chunks(SEGMENT_BYTES as usize).enumerate() {
            let mut hasher = SubtreeHasher::at(number as u64 * SEGMENT_BYTES);
            hasher.update(segment);
            tree.push(&hasher.finish());
            // What an upload session does between two segments.
            let saved = rmp_serde::to_vec_named(&tree).unwrap();
            tree = rmp_serde::from_slice(&saved).unwrap();
        }
        tree.root()
    }

    #[test]
    fn the_merged_id_is_the_plain_blake3_of_the_content() {
        let segment = SEGMENT_BYTES as usize;
        let sizes = [0, 1, 1024, 1025, segment - 1, segment, segment + 1];
        let multiples = (2..=9).flat_map(|n| [n * segment, n * segment + 5000]);
        let largest: Vec<u8> = (0..9 * segment + 5000).map(|n| (n / 997 + n) as u8).collect();
        for size in sizes.into_iter().chain(multiples) {
            let bytes = &largest[..size];
            assert_eq!(
                segmented(bytes).0,
                *blake3::hash(bytes).as_bytes(),
                "{size} bytes"
            );
        }
    }
}
