//! Reading a blob: segment after segment, every piece verified before it is given out.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};

use super::checked::Checked;
use super::error::BlobReadError;
use super::id::{BlobId, Generation, Space};
use super::record::{BlobRecord, Located, SegmentRecord, Segmentation, segments_of};
use super::tree::SEGMENT_BYTES;
use super::{Blobs, keys};
use crate::kv::Scan;

/// How many segment records are looked up at once.
const LOOKED_UP: usize = 256;

/// The bytes of a blob, or of a range of it. Dropping it stops all work for it.
pub struct BlobReader {
    size: u64,
    range: Range<u64>,
    first: Option<Bytes>,
    rest: BoxStream<'static, Result<Bytes, BlobReadError>>,
}

impl BlobReader {
    /// The size of the whole blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of it that this reads.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// How many bytes this gives in all.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether there is nothing to give.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

impl Stream for BlobReader {
    type Item = Result<Bytes, BlobReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.rest.poll_next_unpin(context),
        }
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// Opens a blob whose record was found; its first piece is verified when this returns.
pub(super) async fn open(
    blobs: Blobs,
    space: Space,
    id: BlobId,
    record: BlobRecord,
    range: Range<u64>,
) -> Result<BlobReader, BlobReadError> {
    let size = record.size;
    let reading = Reading {
        blobs,
        space,
        id,
        generation: record.generation,
        apart: matches!(record.segments, Segmentation::Apart(_)),
        next: segments_of(&range),
        range: range.clone(),
        located: match record.segments {
            Segmentation::Inline(segments) => locate(segments, record.generation, &range),
            Segmentation::Apart(_) => VecDeque::new(),
        },
        current: None,
    };
    let mut rest = stream::try_unfold(reading, |mut reading| async move {
        let piece = reading.next_piece().await?;
        Ok(piece.map(|piece| (piece, reading)))
    })
    .boxed();
    let first = rest.next().await.transpose()?;
    Ok(BlobReader {
        size,
        range,
        first,
        rest,
    })
}

fn locate(segments: Vec<SegmentRecord>, generation: Generation, range: &Range<u64>) -> VecDeque<Located> {
    let wanted = segments_of(range);
    (0..)
        .zip(segments)
        .filter(|(number, _)| wanted.contains(number))
        .map(|(number, segment)| segment.locate(generation, number))
        .collect()
}

/// A read under way.
struct Reading {
    blobs: Blobs,
    space: Space,
    id: BlobId,
    generation: Generation,
    /// Segments are items of their own and are looked up as they are needed.
    apart: bool,
    /// The numbers of the segments that are still to be read.
    next: Range<u64>,
    range: Range<u64>,
    located: VecDeque<Located>,
    current: Option<Checked>,
}

impl Reading {
    async fn next_piece(&mut self) -> Result<Option<Bytes>, BlobReadError> {
        loop {
            if let Some(current) = &mut self.current {
                let piece = current.next().await;
                if let Some(piece) = piece.map_err(|error| BlobReadError::of(self.id, error))? {
                    return Ok(Some(piece));
                }
            }
            if self.next.is_empty() {
                return Ok(None);
            }
            self.current = Some(self.open_next().await?);
        }
    }

    async fn open_next(&mut self) -> Result<Checked, BlobReadError> {
        if self.located.is_empty() && self.apart {
            self.look_up().await?;
        }
        let number = self.next.start;
        let Some(segment) = self
            .located
            .pop_front()
            .filter(|segment| segment.id.number == number)
        else {
            return Err(self.damaged("the record of a segment is missing"));
        };
        self.next.start += 1;
        let start = number * SEGMENT_BYTES;
        let end = start + segment.record.len;
        let wanted = self.range.start.max(start)..self.range.end.min(end);
        if wanted.is_empty() {
            return Err(self.damaged("the segments do not add up to the blob"));
        }
        let part = wanted.start - start..wanted.end - start;
        Checked::open(
            self.blobs.segments().as_ref(),
            self.blobs.pool(),
            &segment,
            start,
            part,
        )
        .await
        .map_err(|error| BlobReadError::of(self.id, error))
    }

    /// Finds the next segments of a blob with very many. They are read from the node's own
    /// state as it is now: holding the request's view for hours would keep old records on disk.
    async fn look_up(&mut self) -> Result<(), BlobReadError> {
        let mut scan = Scan::of(&keys::segments(self.space, &self.generation)).limit(LOOKED_UP);
        if let Some(before) = self.next.start.checked_sub(1) {
            scan = scan.after(before.to_be_bytes());
        }
        for (number, entry) in (self.next.start..).zip(self.blobs.kv().local().scan(scan).await?) {
            if entry.item.as_ref() != number.to_be_bytes() {
                return Err(self.damaged("the record of a segment is missing"));
            }
            let segment = entry.record::<SegmentRecord>()?;
            self.located.push_back(segment.locate(self.generation, number));
        }
        Ok(())
    }

    fn damaged(&self, reason: &str) -> BlobReadError {
        BlobReadError::Damaged {
            id: self.id,
            reason: reason.into(),
        }
    }
}
