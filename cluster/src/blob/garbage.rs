//! How something becomes garbage: in the transaction that takes away the last that kept it.
//!
//! What is garbage is named by no record any more, and is read by nobody who begins now. It stays
//! on its disks for a time ([`super::Retention::quarantine`]), for those who began before, and is
//! then removed by the collection.

use super::id::{Generation, Space, UploadId};
use super::record::{BlobRecord, GarbageRecord, Located, NumberedSegment, Segmentation, UploadRecord};
use super::writer::Nameable;
use super::{BlobId, Blobs, keys};
use crate::kv::{ReadError, Txn};
use crate::seams::Timestamp;

impl Nameable {
    /// What remains of this if it is not named.
    pub(super) fn garbage(&self, now: Timestamp) -> GarbageRecord {
        GarbageRecord {
            unread: true,
            ..garbage(Some(self.id), self.size, self.generation, &self.segments, now)
        }
    }
}

impl BlobRecord {
    /// What remains of a blob that is not named any more.
    pub(super) fn garbage(&self, id: BlobId, now: Timestamp) -> GarbageRecord {
        garbage(Some(id), self.size, self.generation, &self.segments, now)
    }
}

fn garbage(
    blob: Option<BlobId>,
    bytes: u64,
    generation: Generation,
    segments: &Segmentation,
    since: Timestamp,
) -> GarbageRecord {
    let (segments, apart) = match segments {
        Segmentation::Apart(_) => (Vec::new(), true),
        Segmentation::Inline(segments) => {
            let numbered = (0..).zip(segments.iter().cloned());
            let numbered = numbered.map(|(number, record)| NumberedSegment { number, record });
            (numbered.collect(), false)
        }
    };
    GarbageRecord {
        blob,
        bytes,
        since,
        generation,
        segments,
        apart,
        unread: false,
        removed: false,
    }
}

impl GarbageRecord {
    /// Single segments that something else took the place of.
    pub(super) fn of_segments(blob: BlobId, segments: Vec<Located>, since: Timestamp) -> Self {
        Self {
            blob: Some(blob),
            bytes: segments.iter().map(|segment| segment.record.len).sum(),
            since,
            // Not used: each of them says its own.
            generation: Generation([0; 16]),
            segments: segments.into_iter().map(NumberedSegment::from).collect(),
            apart: false,
            unread: false,
            removed: false,
        }
    }

    /// Segments of nobody that have items of their own.
    pub(super) fn of_pending(generation: Generation, bytes: u64, since: Timestamp) -> Self {
        Self {
            blob: None,
            bytes,
            since,
            generation,
            segments: Vec::new(),
            apart: true,
            unread: true,
            removed: false,
        }
    }

    /// The segments that the record holds itself.
    pub(super) fn located(&self) -> Vec<Located> {
        let locate = |segment: &NumberedSegment| {
            let NumberedSegment { number, record } = segment.clone();
            record.locate(self.generation, number)
        };
        self.segments.iter().map(locate).collect()
    }
}

impl Blobs {
    /// Makes what was stored under a generation garbage, unless it is already.
    pub(super) async fn discard(
        &self,
        txn: &mut Txn,
        space: Space,
        garbage: GarbageRecord,
    ) -> Result<(), ReadError> {
        let key = keys::garbage(space, &garbage.generation);
        if garbage.apart {
            txn.delete(&keys::pending(space, &garbage.generation));
        }
        if txn.get(&key).await?.is_none() {
            txn.put_record(&key, &garbage);
        }
        Ok(())
    }

    /// Makes single segments garbage.
    pub(super) fn discard_segments(&self, txn: &mut Txn, space: Space, garbage: &GarbageRecord) {
        let name = Generation(self.seams().random());
        txn.put_record(&keys::garbage(space, &name), garbage);
    }

    /// Ends an upload. What it holds is garbage, unless a blob was made of it.
    pub(super) async fn retire_upload(
        &self,
        txn: &mut Txn,
        space: Space,
        id: &UploadId,
        session: &UploadRecord,
    ) -> Result<(), ReadError> {
        txn.delete(&keys::upload(space, id));
        let blob = session.finished.as_ref().map(|finished| finished.id);
        if let Some(blob) = blob {
            let record = txn.record::<BlobRecord>(&keys::record(space, &blob)).await?;
            if record.is_some_and(|record| record.generation == session.generation) {
                return Ok(());
            }
        }
        let segments = session.located_segments().into_iter();
        let segments = segments.chain(session.located_pieces());
        let garbage = GarbageRecord {
            blob,
            bytes: session.offset,
            since: self.seams().clock.now(),
            generation: session.generation,
            segments: segments.map(NumberedSegment::from).collect(),
            apart: session.spilled > 0,
            unread: true,
            removed: false,
        };
        if garbage.segments.is_empty() && !garbage.apart {
            return Ok(());
        }
        self.discard(txn, space, garbage).await
    }
}
