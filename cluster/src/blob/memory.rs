//! The in-memory twin of the coded segments.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::id::BlobId;
use super::record::{Code, Form, Located, Placement, SegmentId};
use super::segments::{SegmentError, SegmentSink, SegmentStream, Segments, Stored};
use super::tree::SubtreeHash;

type Kept = Arc<Mutex<BTreeMap<SegmentId, Vec<Bytes>>>>;

/// Segments of this process alone.
#[derive(Default)]
pub(crate) struct MemorySegments {
    kept: Kept,
}

struct MemorySink {
    kept: Kept,
    id: SegmentId,
    cells: Vec<Bytes>,
}

#[async_trait]
impl Segments for MemorySegments {
    fn create(&self, id: SegmentId, _offset: u64) -> Box<dyn SegmentSink> {
        Box::new(MemorySink {
            kept: self.kept.clone(),
            id,
            cells: Vec::new(),
        })
    }

    async fn open(&self, segment: &Located, range: Range<u64>) -> Result<SegmentStream, SegmentError> {
        let kept = self.kept.lock().expect("no panic while held");
        let Some(cells) = kept.get(&segment.id) else {
            return Err(SegmentError::Damaged("the segment is not there".into()));
        };
        let mut start = 0;
        let mut parts = Vec::new();
        for cell in cells {
            let end = start + cell.len() as u64;
            let wanted = range.start.max(start)..range.end.min(end);
            if !wanted.is_empty() {
                parts.push(cell.slice((wanted.start - start) as usize..(wanted.end - start) as usize));
            }
            start = end;
        }
        Ok(stream::iter(parts.into_iter().map(Ok)).boxed())
    }

    async fn remove(&self, segments: &[Located]) -> Result<(), SegmentError> {
        let mut kept = self.kept.lock().expect("no panic while held");
        for segment in segments {
            kept.remove(&segment.id);
        }
        Ok(())
    }
}

#[async_trait]
impl SegmentSink for MemorySink {
    async fn write(&mut self, cell: Bytes) -> Result<(), SegmentError> {
        self.cells.push(cell);
        Ok(())
    }

    async fn finish(
        self: Box<Self>,
        _hash: SubtreeHash,
        _blob: Option<BlobId>,
    ) -> Result<Stored, SegmentError> {
        self.kept
            .lock()
            .expect("no panic while held")
            .insert(self.id, self.cells);
        Ok(Stored {
            id: self.id,
            placement: Placement {
                code: Code { data: 1, parity: 0 },
                form: Form::Small,
                group: 0,
                homes: Vec::new(),
                missing: Vec::new(),
                recode: false,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::blob::Blobs;
    use crate::blob::suite::{Stage, run_suite};
    use crate::kv::Kv;
    use crate::seams::testing::MovedClock;

    async fn stage() -> Stage {
        let (seams, clock) = MovedClock::seams();
        let blobs = Blobs::in_memory(Kv::in_memory(seams.clone()), seams);
        Stage {
            nodes: vec![blobs.clone(), blobs],
            clock,
            _running: Box::new(()),
        }
    }

    run_suite!(stage());
}
