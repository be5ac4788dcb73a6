//! Reads one segment, or a part of it, and checks what comes: its length, and its hash if it
//! is read whole. The last piece is given out only after the hash was found to be right.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt;

use super::pool::Pool;
use super::record::Located;
use super::segments::{SegmentError, SegmentStream, Segments};
use super::tree::SubtreeHasher;

/// Pieces up to this are hashed where they are: handing them over would cost more.
const HASHED_IN_PLACE: usize = 64 << 10;

/// A segment that is being read.
pub(super) struct Checked {
    pool: Pool,
    pieces: SegmentStream,
    left: u64,
    check: Option<Check>,
}

struct Check {
    hasher: SubtreeHasher,
    expected: [u8; 32],
}

impl Checked {
    /// Opens `range` of a segment that begins at `offset` of its blob.
    pub(super) async fn open(
        segments: &dyn Segments,
        pool: &Pool,
        segment: &Located,
        offset: u64,
        range: Range<u64>,
    ) -> Result<Self, SegmentError> {
        if range == (0..segment.record.len) {
            let pieces = segments.open(segment, range).await?;
            return Ok(Self::whole(pieces, pool, segment, offset));
        }
        Ok(Self {
            pool: pool.clone(),
            left: range.end - range.start,
            pieces: segments.open(segment, range).await?,
            check: None,
        })
    }

    /// Checks pieces that are those of a whole segment.
    pub(super) fn whole(pieces: SegmentStream, pool: &Pool, segment: &Located, offset: u64) -> Self {
        Self {
            pool: pool.clone(),
            left: segment.record.len,
            pieces,
            check: Some(Check {
                hasher: SubtreeHasher::at(offset),
                expected: segment.record.hash.chaining,
            }),
        }
    }

    /// The next bytes; none when all were given.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SegmentError> {
        while self.left > 0 {
            let piece = match self.pieces.next().await {
                Some(piece) => piece?,
                None => return Err(damaged("a segment is shorter than its record says")),
            };
            if piece.is_empty() {
                continue;
            }
            self.left = match self.left.checked_sub(piece.len() as u64) {
                Some(left) => left,
                None => return Err(damaged("a segment is longer than its record says")),
            };
            self.verify(&piece).await?;
            return Ok(Some(piece));
        }
        Ok(None)
    }

    async fn verify(&mut self, piece: &Bytes) -> Result<(), SegmentError> {
        let Some(mut check) = self.check.take() else {
            return Ok(());
        };
        if piece.len() <= HASHED_IN_PLACE {
            check.hasher.update(piece);
        } else {
            let piece = piece.clone();
            let hash = move || {
                check.hasher.update(&piece);
                check
            };
            check = self.pool.run(hash).await;
        }
        if self.left > 0 {
            self.check = Some(check);
        } else if check.hasher.finish().chaining != check.expected {
            return Err(damaged("a segment does not have the hash that its record says"));
        }
        Ok(())
    }
}

fn damaged(reason: &str) -> SegmentError {
    SegmentError::Damaged(reason.into())
}
