//! Resumable uploads: the session is a record in the metadata, so that any node can go on.
//!
//! ```text
//! segments   whole segments, in order            0 .. n * 2^25
//! pieces     of the segment after those          n * 2^25 .. offset
//! ```
//!
//! - The offset is what is durable and recorded; it is the same on every node and never goes
//!   back. A request commits each segment that it fills, and a piece at its end ([`Append`]).
//! - Every commit requires that the session still stands where the request began, so of two
//!   writers at one offset one wins, and the other learns where the upload stands.
//! - A piece that holds all there is of its segment becomes the segment as it is; only several
//!   pieces are rewritten, when their segment is full or the upload ends. So bytes are written
//!   at most twice, unless a client sends very many small chunks.
//! - What a request stored but did not commit is removed, and so is what its commit replaced.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::append::Append;
use super::checked::Checked;
use super::digest::{DigestSet, DigestState, Digests};
use super::error::UploadError;
use super::id::{Generation, Space, UploadId};
use super::naming::note_space;
use super::record::{
    FinishedUpload, INLINE_SEGMENTS, Located, PendingRecord, SegmentRecord, Segmentation, UploadRecord,
};
use super::segments::SegmentError;
use super::tree::{SEGMENT_BYTES, Tree};
use super::writer::{Hashing, Nameable, OpenSegment, StoredBlob, Unrecorded, put_segments};
use super::{Blobs, keys};
use crate::kv::{Scan, Txn};

/// How long an upload waits for its next request.
const IDLE_TIME: Duration = Duration::from_secs(24 * 3600);

/// Where an upload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadStatus {
    /// Bytes that are durable, on every node.
    pub offset: u64,
    /// Whose it is, in the terms of who began it.
    pub owner: Bytes,
}

impl Blobs {
    /// Begins an upload. `owner` is handed back with its status, so that a caller can check
    /// whose it is.
    pub async fn begin_upload(
        &self,
        space: Space,
        want: DigestSet,
        owner: &[u8],
    ) -> Result<UploadId, UploadError> {
        let id = UploadId(self.seams().random());
        let session = UploadRecord {
            owner: Bytes::copy_from_slice(owner),
            want,
            generation: Generation(self.seams().random()),
            expires: self.seams().clock.now().plus(IDLE_TIME),
            offset: 0,
            spilled: 0,
            segments: Vec::new(),
            pieces: Vec::new(),
            indebted: false,
            tree: Tree::default(),
            digests: DigestState::new(want).save(),
            finished: None,
        };
        let work = async |mut txn: Txn| {
            note_space(&mut txn, space).await?;
            txn.put_record(&keys::upload(space, &id), &session);
            Ok::<_, UploadError>((txn, ()))
        };
        self.kv().transact(work).await?;
        Ok(id)
    }

    /// Where an upload stands now.
    pub async fn upload_status(&self, space: Space, id: &UploadId) -> Result<UploadStatus, UploadError> {
        let session = self.session(space, id).await?;
        Ok(UploadStatus {
            offset: session.offset,
            owner: session.owner,
        })
    }

    /// Adds bytes to an upload and answers the new offset when they are durable.
    ///
    /// With `at` the bytes must begin where the upload stands. `limit_bytes` bounds the upload
    /// as a whole. If the body breaks, whole segments of it are kept and the rest is not; the
    /// status tells.
    pub async fn append<E>(
        &self,
        space: Space,
        id: &UploadId,
        at: Option<u64>,
        limit_bytes: u64,
        mut body: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<u64, UploadError<E>> {
        let begun = Append::begin(self, space, *id, at).await;
        let mut append = begun.map_err(UploadError::widen)?;
        loop {
            let broken = match body.next().await {
                None => return append.end().await.map_err(UploadError::widen),
                Some(Err(error)) => UploadError::Body(error),
                Some(Ok(bytes)) if bytes.len() as u64 > limit_bytes.saturating_sub(append.taken()) => {
                    UploadError::TooLarge { limit_bytes }
                }
                Some(Ok(bytes)) => match append.write(bytes).await {
                    Ok(()) => continue,
                    Err(error) => error.widen(),
                },
            };
            // Whole segments that are on their way get there first, so that the offset which
            // the client asks for next is the last word.
            append.settle().await.map_err(UploadError::widen)?;
            return Err(broken);
        }
    }

    /// Ends an upload and gives the blob, to be named in the transaction that also calls
    /// [`Blobs::complete_upload`]. May be called again, on any node, with the same result.
    pub async fn finish_upload(&self, space: Space, id: &UploadId) -> Result<StoredBlob, UploadError> {
        loop {
            let session = self.session(space, id).await?;
            if let Some(finished) = session.finished.clone() {
                return Ok(stored(space, session, finished));
            }
            match self.try_finish(space, id, session).await {
                // Somebody else added to it or finished it meanwhile: look again.
                Ok(()) | Err(UploadError::WrongOffset { .. } | UploadError::Finished) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Computes further digests of what an upload holds, by reading it again: for a protocol
    /// whose clients say only at the end by which digest they mean it.
    pub async fn digest_upload(
        &self,
        space: Space,
        id: &UploadId,
        want: DigestSet,
    ) -> Result<Digests, UploadError> {
        let session = self.session(space, id).await?;
        let session = UploadRecord { want, ..session };
        Ok(self.hash_again(space, &session).await?.finish())
    }

    /// Ends the session in the transaction that names its blob.
    pub fn complete_upload(&self, txn: &mut Txn, space: Space, id: &UploadId) {
        txn.delete(&keys::upload(space, id));
    }

    /// Throws an upload away.
    pub async fn abort_upload(&self, space: Space, id: &UploadId) -> Result<(), UploadError> {
        let key = keys::upload(space, id);
        let work = async |mut txn: Txn| {
            let Some(session) = txn.record::<UploadRecord>(&key).await? else {
                return Err(UploadError::Unknown);
            };
            self.retire_upload(&mut txn, space, id, &session).await?;
            Ok((txn, ()))
        };
        self.kv().transact(work).await
    }

    /// The session as everybody sees it now.
    pub(super) async fn session(&self, space: Space, id: &UploadId) -> Result<UploadRecord, UploadError> {
        let snapshot = self.kv().latest().await?;
        let session = snapshot.record::<UploadRecord>(&keys::upload(space, id)).await?;
        session
            .filter(|session| self.seams().clock.now() <= session.expires)
            .ok_or(UploadError::Unknown)
    }

    /// Makes `after` the session, if it still stands at `before_offset`.
    ///
    /// `created` is what `after` stands on and nothing else does yet; it is removed if it is
    /// certain that `after` was not recorded.
    pub(super) async fn advance(
        &self,
        space: Space,
        id: &UploadId,
        before_offset: u64,
        after: &mut UploadRecord,
        created: Unrecorded,
    ) -> Result<(), UploadError> {
        after.expires = self.seams().clock.now().plus(IDLE_TIME);
        let key = keys::upload(space, id);
        let spilling = spill(after, self.inline_segments());
        let after = &*after;
        let work = async |mut txn: Txn| {
            let Some(found) = txn.record::<UploadRecord>(&key).await? else {
                return Err(UploadError::Unknown);
            };
            if found.finished.is_some() {
                return Err(UploadError::Finished);
            }
            if found.offset != before_offset {
                return Err(UploadError::WrongOffset { actual: found.offset });
            }
            if let Some((first, segments)) = &spilling {
                let pending = PendingRecord {
                    expires: after.expires,
                    upload: Some(*id),
                };
                txn.put_record(&keys::pending(space, &after.generation), &pending);
                put_segments(&mut txn, space, &after.generation, *first, segments);
            }
            txn.put_record(&key, after);
            Ok((txn, ()))
        };
        // From here on the commit may succeed without us learning of it.
        let created_here = created.keep();
        let committed = self.kv().transact(work).await;
        if let Err(UploadError::Unknown | UploadError::Finished | UploadError::WrongOffset { .. }) = committed
        {
            created.extend(created_here);
        }
        committed
    }

    async fn try_finish(&self, space: Space, id: &UploadId, before: UploadRecord) -> Result<(), UploadError> {
        let mut after = before.clone();
        let created = Unrecorded::new(self.segments());
        let mut replaced = Vec::new();
        if before.pieces.len() > 1 {
            replaced = before.located_pieces();
            let whole = self.merge(space, id, &before, 0, before.offset).await?;
            created.push(whole.clone());
            after.pieces = vec![whole.record];
        }
        for last in std::mem::take(&mut after.pieces) {
            after.add_segment(last);
        }
        let digests = match DigestState::restore(&before.digests, before.want) {
            Some(digests) => digests,
            None => self.hash_again(space, &before).await?,
        };
        after.finished = Some(FinishedUpload {
            id: after.tree.root(),
            digests: digests.finish(),
        });
        self.advance(space, id, before.offset, &mut after, created)
            .await?;
        Unrecorded::new(self.segments()).extend(replaced);
        Ok(())
    }

    /// Stores the pieces of a session from the one at `first` on as one. The session may be a
    /// piece ahead of the recorded one, which stands at `recorded_offset`.
    pub(super) async fn merge(
        &self,
        space: Space,
        id: &UploadId,
        session: &UploadRecord,
        first: usize,
        recorded_offset: u64,
    ) -> Result<Located, UploadError> {
        let error = match self.rewrite(session, first).await {
            Ok(merged) => return Ok(merged),
            Err(error) => error,
        };
        // Another request may have merged them before us, and removed them.
        let now = self.session(space, id).await?;
        if now.finished.is_some() {
            return Err(UploadError::Finished);
        }
        if now.offset != recorded_offset {
            return Err(UploadError::WrongOffset { actual: now.offset });
        }
        Err(error.into())
    }

    async fn rewrite(&self, session: &UploadRecord, first: usize) -> Result<Located, SegmentError> {
        let pieces = session.located_pieces();
        let lens = |pieces: &[Located]| pieces.iter().map(|piece| piece.record.len).sum::<u64>();
        let mut offset = session.whole() * SEGMENT_BYTES + lens(&pieces[..first]);
        let mut hashing = Hashing::new(self.pool().clone(), None, offset);
        let generation = Generation(self.seams().random());
        let mut merged = OpenSegment::at(self.segments().as_ref(), generation, offset);
        for piece in &pieces[first..] {
            let mut reading = self.open_whole(piece, offset).await?;
            while let Some(mut bytes) = reading.next().await? {
                merged.write(&mut hashing, &mut bytes).await?;
            }
            offset += piece.record.len;
        }
        merged.close(&mut hashing).await?.store(None).await
    }

    /// Computes the digests of everything that is durable, for a session whose saved states
    /// are of another version of the hash functions.
    pub(super) async fn hash_again(
        &self,
        space: Space,
        session: &UploadRecord,
    ) -> Result<DigestState, UploadError> {
        let mut digests = DigestState::new(session.want);
        let mut offset = 0;
        let mut number = 0;
        while number < session.spilled {
            let mut scan = Scan::of(&keys::segments(space, &session.generation)).limit(INLINE_SEGMENTS);
            if number > 0 {
                scan = scan.after((number - 1).to_be_bytes());
            }
            let entries = self.kv().local().scan(scan).await?;
            if entries.is_empty() {
                let reason = "the record of a segment is missing".into();
                return Err(SegmentError::Damaged(reason).into());
            }
            for entry in entries {
                let segment = entry
                    .record::<SegmentRecord>()?
                    .locate(session.generation, number);
                digests = self.hash_on(digests, &segment, offset).await?;
                offset += segment.record.len;
                number += 1;
            }
        }
        for segment in session.located_segments().iter().chain(&session.located_pieces()) {
            digests = self.hash_on(digests, segment, offset).await?;
            offset += segment.record.len;
        }
        Ok(digests)
    }

    async fn hash_on(
        &self,
        mut digests: DigestState,
        segment: &Located,
        offset: u64,
    ) -> Result<DigestState, SegmentError> {
        let mut reading = self.open_whole(segment, offset).await?;
        while let Some(bytes) = reading.next().await? {
            let hash = move || {
                digests.update(&bytes);
                digests
            };
            digests = self.pool().run(hash).await;
        }
        Ok(digests)
    }

    async fn open_whole(&self, segment: &Located, offset: u64) -> Result<Checked, SegmentError> {
        let segments = self.segments().as_ref();
        Checked::open(segments, self.pool(), segment, offset, 0..segment.record.len).await
    }
}

impl UploadRecord {
    /// Adds a whole segment, or the last one.
    pub(super) fn add_segment(&mut self, mut segment: SegmentRecord) {
        self.tree.push(&segment.hash);
        segment.hash.root = None;
        self.indebted |= segment.placement.indebted();
        self.segments.push(segment);
    }

    /// The segments that the record holds itself.
    pub(super) fn located_segments(&self) -> Vec<Located> {
        (self.spilled..)
            .zip(&self.segments)
            .map(|(number, segment)| segment.clone().locate(self.generation, number))
            .collect()
    }

    /// The pieces of the segment after those.
    pub(super) fn located_pieces(&self) -> Vec<Located> {
        let number = self.whole();
        self.pieces
            .iter()
            .map(|piece| piece.clone().locate(self.generation, number))
            .collect()
    }
}

/// Takes out the segments that are to become items of their own, with the number of the first:
/// when there are too many for one record, and when the last of very many is there.
fn spill(session: &mut UploadRecord, inline_segments: usize) -> Option<(u64, Vec<SegmentRecord>)> {
    let complete = session.finished.is_some() && session.spilled > 0;
    if session.segments.len() <= inline_segments && !complete {
        return None;
    }
    let first = session.spilled;
    let segments = std::mem::take(&mut session.segments);
    session.spilled += segments.len() as u64;
    Some((first, segments))
}

/// The blob of a finished session.
fn stored(space: Space, session: UploadRecord, finished: FinishedUpload) -> StoredBlob {
    let segments = if session.spilled == 0 {
        Segmentation::Inline(session.segments)
    } else {
        Segmentation::Apart(session.spilled)
    };
    StoredBlob {
        inner: Arc::new(Nameable {
            space,
            id: finished.id,
            size: session.offset,
            digests: finished.digests,
            generation: session.generation,
            segments,
            indebted: session.indebted,
            expires: session.expires,
        }),
    }
}
