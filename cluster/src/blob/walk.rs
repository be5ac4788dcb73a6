//! Goes over the segments that the metadata knows of, a page at a time, and can stop anywhere and
//! go on from there.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::id::{BlobId, Generation, Space};
use super::keys;
use super::record::{
    BlobRecord, GarbageRecord, Located, SegmentId, SegmentRecord, Segmentation, UploadRecord,
};
use super::tree::SEGMENT_BYTES;
use crate::kv::{Collection, Entry, ReadError, Scan, Snapshot, Txn};
use crate::record::{DecodeError, Record, byte_string, number};

/// How many records one page holds.
pub(super) const PAGE: usize = 128;

/// Who a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A blob that is kept.
    Blob(BlobId),
    /// An upload or a writer that is under way.
    Unfinished,
    /// Nobody: it is to be removed.
    Garbage,
}

/// A segment that the metadata knows of.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) space: Space,
    pub(super) owner: Owner,
    pub(super) segment: Located,
    /// Where its bytes begin in its blob.
    pub(super) offset: u64,
}

/// What a walk goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The segments of blobs.
    Blobs,
    /// All segments that may lie on a disk.
    Everything,
}

/// Where a walk stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// None before the first space.
    space: Option<Space>,
    part: Part,
    /// The last item that was dealt with.
    #[serde(with = "byte_string")]
    item: Bytes,
    /// Segments that are items of their own, and the next of them.
    apart: Option<Apart>,
}

impl Record for Position {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    #[default]
    Records,
    Uploads,
    Pending,
    Garbage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Apart {
    generation: Generation,
    /// The blob, if they are one's.
    blob: Option<BlobId>,
    next: u64,
}

/// A walk under way.
pub(super) struct Walk {
    extent: Extent,
    position: Position,
}

impl Walk {
    /// From the first segment on.
    pub(super) fn new(extent: Extent) -> Self {
        Self::from(extent, Position::default())
    }

    /// From where another walk stood.
    pub(super) fn from(extent: Extent, position: Position) -> Self {
        Self { extent, position }
    }

    /// Where it stands: everything before this was given out.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// How far it is, of 65536. Blob ids are as good as random, so their first bytes tell; only
    /// of the first of several spaces that is wrong.
    pub(super) fn progress(&self) -> u64 {
        match (self.position.part, &self.position.item[..]) {
            (Part::Records, [high, low, ..]) => u64::from(u16::from_be_bytes([*high, *low])),
            (Part::Records, _) => 0,
            _ => 1 << 16,
        }
    }

    /// The next segments; none at the end. A page may be empty before that.
    pub(super) async fn next(&mut self, snapshot: &Snapshot) -> Result<Option<Vec<Known>>, ReadError> {
        let space = match self.position.space {
            Some(space) => space,
            None => match self.next_space(snapshot).await? {
                Some(space) => space,
                None => return Ok(None),
            },
        };
        if let Some(apart) = self.position.apart.clone() {
            return Ok(Some(self.page_apart(snapshot, space, apart).await?));
        }
        let mut scan = Scan::of(&self.collection(space)).limit(PAGE);
        if !self.position.item.is_empty() {
            scan = scan.after(&self.position.item);
        }
        let entries = snapshot.scan(scan).await?;
        if entries.is_empty() {
            self.leave_part();
            if self.position.part == Part::Records {
                return Ok(self.next_space(snapshot).await?.map(|_| Vec::new()));
            }
            return Ok(Some(Vec::new()));
        }
        let mut page = Vec::new();
        for entry in entries {
            self.take(space, &entry, &mut page)?;
            self.position.item = entry.item;
            if self.position.apart.is_some() {
                break;
            }
        }
        Ok(Some(page))
    }

    fn collection(&self, space: Space) -> Collection {
        match self.position.part {
            Part::Records => keys::records(space),
            Part::Uploads => keys::uploads(space),
            Part::Pending => keys::all_pending(space),
            Part::Garbage => keys::all_garbage(space),
        }
    }

    /// On to the next part of the space; after the last, the part is the first again.
    fn leave_part(&mut self) {
        self.position.item = Bytes::new();
        self.position.part = match (self.extent, self.position.part) {
            (Extent::Blobs, _) | (_, Part::Garbage) => Part::Records,
            (_, Part::Records) => Part::Uploads,
            (_, Part::Uploads) => Part::Pending,
            (_, Part::Pending) => Part::Garbage,
        };
    }

    async fn next_space(&mut self, snapshot: &Snapshot) -> Result<Option<Space>, ReadError> {
        let mut scan = Scan::of(&keys::spaces()).limit(1);
        if let Some(space) = self.position.space {
            scan = scan.after(space.0.to_be_bytes());
        }
        let Some(entry) = snapshot.scan(scan).await?.pop() else {
            return Ok(None);
        };
        let space = Space(number(&entry.item)?);
        self.position.space = Some(space);
        Ok(Some(space))
    }

    async fn page_apart(
        &mut self,
        snapshot: &Snapshot,
        space: Space,
        apart: Apart,
    ) -> Result<Vec<Known>, ReadError> {
        let mut scan = Scan::of(&keys::segments(space, &apart.generation)).limit(PAGE);
        if apart.next > 0 {
            scan = scan.after((apart.next - 1).to_be_bytes());
        }
        let mut page = Vec::new();
        for entry in snapshot.scan(scan).await? {
            let at = number(&entry.item)?;
            let segment = entry.record::<SegmentRecord>()?.locate(apart.generation, at);
            let owner = match apart.blob {
                Some(blob) => Owner::Blob(blob),
                None if self.position.part == Part::Garbage => Owner::Garbage,
                None => Owner::Unfinished,
            };
            let next = at + 1;
            page.push(known(space, owner, segment));
            self.position.apart = Some(Apart {
                next,
                ..apart.clone()
            });
        }
        if page.is_empty() {
            self.position.apart = None;
        }
        Ok(page)
    }

    fn take(&mut self, space: Space, entry: &Entry, page: &mut Vec<Known>) -> Result<(), ReadError> {
        let mut apart = |generation, blob| {
            let next = 0;
            self.position.apart = Some(Apart {
                generation,
                blob,
                next,
            });
        };
        match self.position.part {
            Part::Records => {
                let id = BlobId(fixed(&entry.item)?);
                let record: BlobRecord = entry.record()?;
                if let Segmentation::Apart(_) = record.segments {
                    apart(record.generation, Some(id));
                }
                let segments = record.located().into_iter();
                page.extend(segments.map(|segment| known(space, Owner::Blob(id), segment)));
            }
            // What an upload has spilled is found by its pending record.
            Part::Uploads => {
                let session: UploadRecord = entry.record()?;
                let segments = session.located_segments().into_iter();
                page.extend(segments.map(|segment| known(space, Owner::Unfinished, segment)));
                let mut offset = session.whole() * SEGMENT_BYTES;
                for segment in session.located_pieces() {
                    let len = segment.record.len;
                    page.push(Known {
                        space,
                        owner: Owner::Unfinished,
                        segment,
                        offset,
                    });
                    offset += len;
                }
            }
            Part::Pending => apart(Generation(fixed(&entry.item)?), None),
            Part::Garbage => {
                let garbage: GarbageRecord = entry.record()?;
                if garbage.apart && !garbage.removed {
                    apart(garbage.generation, None);
                }
                let segments = garbage.located().into_iter();
                page.extend(segments.map(|segment| known(space, Owner::Garbage, segment)));
            }
        }
        Ok(())
    }
}

/// A segment that begins where its number says.
fn known(space: Space, owner: Owner, segment: Located) -> Known {
    Known {
        space,
        owner,
        offset: segment.id.number * SEGMENT_BYTES,
        segment,
    }
}

/// Those segments of a blob that are wanted.
pub(super) async fn of_blob(
    snapshot: &Snapshot,
    space: Space,
    blob: BlobId,
    wanted: impl Fn(&Located) -> bool,
) -> Result<Vec<Known>, ReadError> {
    let Some(record) = snapshot.record::<BlobRecord>(&keys::record(space, &blob)).await? else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    let mut take = |segment: Located| {
        if wanted(&segment) {
            out.push(known(space, Owner::Blob(blob), segment));
        }
    };
    record.located().into_iter().for_each(&mut take);
    if let Segmentation::Apart(_) = record.segments {
        let collection = keys::segments(space, &record.generation);
        let mut scan = Scan::of(&collection);
        loop {
            let page = snapshot.scan(scan).await?;
            let Some(last) = page.last() else { break };
            scan = Scan::of(&collection).after(&last.item);
            for entry in &page {
                let segment: SegmentRecord = entry.record()?;
                take(segment.locate(record.generation, number(&entry.item)?));
            }
        }
    }
    Ok(out)
}

/// The record of a segment of a blob as a transaction sees it, which then depends on it; none if it
/// is not the blob's any more.
pub(super) async fn current(
    txn: &mut Txn,
    space: Space,
    blob: &BlobId,
    id: SegmentId,
) -> Result<Option<SegmentRecord>, ReadError> {
    let Some(record) = txn.record::<BlobRecord>(&keys::record(space, blob)).await? else {
        return Ok(None);
    };
    let generation = record.generation;
    let found = match record.segments {
        Segmentation::Inline(mut segments) => {
            let at = id.number as usize;
            (at < segments.len()).then(|| segments.swap_remove(at))
        }
        Segmentation::Apart(_) => {
            txn.record::<SegmentRecord>(&keys::segment(space, &generation, id.number))
                .await?
        }
    };
    Ok(found.filter(|segment| segment.generation.unwrap_or(generation) == id.generation))
}

/// The bytes of an id.
pub(super) fn fixed<const N: usize>(item: &[u8]) -> Result<[u8; N], DecodeError> {
    item.try_into().map_err(|_| DecodeError::Malformed {
        kind: "id",
        reason: format!("it has {} bytes, not {N}", item.len()),
    })
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Position>("position");
    }
}
