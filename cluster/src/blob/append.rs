//! One request that adds bytes to an upload.

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::Blobs;
use super::digest::{DigestState, SavedDigests};
use super::error::UploadError;
use super::id::{Generation, Space, UploadId};
use super::record::{SegmentRecord, UploadRecord};
use super::tree::SEGMENT_BYTES;
use super::writer::{FullSegment, Hashing, OpenSegment, Unrecorded};

/// Below this many pieces of one segment they are left alone.
const UNMERGED_PIECES: usize = 8;

/// A request under way.
///
/// While bytes stream into one segment, the one before it is made durable and committed; so
/// there are at most two, and what is recorded is always a beginning of what was sent.
pub(super) struct Append {
    session: Session,
    /// As it is recorded, or will be when the commit under way is done.
    recorded: Recorded,
    /// Bytes of the upload that were taken, durable or not.
    taken: u64,
    hashing: Hashing,
    open: Option<OpenSegment>,
}

/// Which session, and where.
#[derive(Clone)]
struct Session {
    blobs: Blobs,
    space: Space,
    id: UploadId,
}

enum Recorded {
    Now(Box<UploadRecord>),
    /// This ends even if the request is dropped: what it stores is recorded, or removed.
    Soon(JoinHandle<Result<UploadRecord, UploadError>>),
    /// A commit failed, and so does the request.
    Failed,
}

impl Append {
    /// Looks up the session and makes sure that bytes can be added to it.
    pub(super) async fn begin(
        blobs: &Blobs,
        space: Space,
        id: UploadId,
        at: Option<u64>,
    ) -> Result<Self, UploadError> {
        let record = blobs.session(space, &id).await?;
        if record.finished.is_some() {
            return Err(UploadError::Finished);
        }
        let offset = record.offset;
        if at.is_some_and(|at| at != offset) {
            return Err(UploadError::WrongOffset { actual: offset });
        }
        let digests = match DigestState::restore(&record.digests, record.want) {
            Some(digests) => digests,
            None => blobs.hash_again(space, &record).await?,
        };
        let blobs = blobs.clone();
        Ok(Self {
            hashing: Hashing::new(blobs.pool().clone(), Some(digests), offset),
            session: Session { blobs, space, id },
            recorded: Recorded::Now(Box::new(record)),
            taken: offset,
            open: None,
        })
    }

    /// Where the upload would stand if everything taken were durable.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next bytes.
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), UploadError> {
        while !bytes.is_empty() {
            if self.open.as_ref().is_some_and(OpenSegment::is_full) {
                self.commit_open().await?;
            }
            let blobs = &self.session.blobs;
            let open = self.open.get_or_insert_with(|| {
                let generation = Generation(blobs.seams().random());
                OpenSegment::at(blobs.segments().as_ref(), generation, self.taken)
            });
            let before = bytes.len();
            open.write(&mut self.hashing, &mut bytes).await?;
            self.taken += (before - bytes.len()) as u64;
        }
        Ok(())
    }

    /// Makes everything that was taken durable, and gives the offset after it.
    pub(super) async fn end(mut self) -> Result<u64, UploadError> {
        self.commit_open().await?;
        Ok(self.settle().await?.offset)
    }

    /// Waits for the commit that is under way.
    pub(super) async fn settle(&mut self) -> Result<&mut UploadRecord, UploadError> {
        if let Recorded::Soon(commit) = &mut self.recorded {
            let result = commit.await;
            self.recorded = Recorded::Failed;
            let record = result.map_err(|gone| UploadError::Unavailable {
                reason: gone.to_string(),
            })?;
            self.recorded = Recorded::Now(Box::new(record?));
        }
        match &mut self.recorded {
            Recorded::Now(record) => Ok(record),
            Recorded::Soon(_) | Recorded::Failed => Err(UploadError::Unavailable {
                reason: "an earlier segment of the same request failed".into(),
            }),
        }
    }

    /// Begins to commit what streamed in last, after what was before it.
    async fn commit_open(&mut self) -> Result<(), UploadError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let full = open.close(&mut self.hashing).await?;
        let digests = self
            .hashing
            .digests()
            .await
            .expect("an upload has digests")
            .save();
        let before = self.settle().await?.clone();
        let commit = self.session.clone().commit(before, full, digests);
        self.recorded = Recorded::Soon(tokio::spawn(commit));
        Ok(())
    }
}

impl Session {
    /// Stores what was added and records it. What it replaces is removed afterwards.
    async fn commit(
        self,
        before: UploadRecord,
        added: FullSegment,
        digests: SavedDigests,
    ) -> Result<UploadRecord, UploadError> {
        let Self { blobs, space, id } = &self;
        let created = Unrecorded::new(blobs.segments());
        let mut after = before.clone();
        let piece = added.store(None).await?;
        created.push(piece.clone());
        after.offset += piece.record.len;
        after.digests = digests;
        after.pieces.push(piece.record);

        let full = after.offset.is_multiple_of(SEGMENT_BYTES);
        let first = if full { Some(0) } else { merge_from(&after.pieces) };
        let mut replaced = Vec::new();
        if let Some(first) = first.filter(|first| first + 1 < after.pieces.len()) {
            let merged = blobs.merge(*space, id, &after, first, before.offset).await?;
            created.push(merged.clone());
            replaced = after.located_pieces().split_off(first);
            after.pieces.truncate(first);
            after.pieces.push(merged.record);
        }
        if full {
            let whole = after.pieces.pop().expect("it was added above");
            after.add_segment(whole);
        }
        blobs
            .advance(*space, id, before.offset, &mut after, created)
            .await?;
        Unrecorded::new(blobs.segments()).extend(replaced);
        Ok(after)
    }
}

/// From which piece on pieces should become one, so that very many small chunks leave few
/// pieces: each is merged with those before it that are not larger than all after them, so a
/// byte is rewritten once for each doubling of the piece that it lies in.
fn merge_from(pieces: &[SegmentRecord]) -> Option<usize> {
    if pieces.len() <= UNMERGED_PIECES {
        return None;
    }
    let mut after = 0;
    let mut first = pieces.len();
    while first > 0 && (after == 0 || pieces[first - 1].len <= after) {
        first -= 1;
        after += pieces[first].len;
    }
    Some(first)
}
