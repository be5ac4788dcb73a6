//! Uploads of blobs: begun on one node, continued on another, ended on a third.
//!
//! The blob store keeps an upload's bytes and where it stands; here is whose it is, how many a
//! project may have under way, and what became of one that ended: a client that did not hear
//! the answer to its last request sends it again and gets the same.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use bytes::Bytes;
use cairn_cluster::record::{decode, encode};
use cairn_cluster::{DigestSet, PutError, Scan, StoredBlob, Timestamp, Txn, UploadError, UploadId};
use futures::{Stream, StreamExt};

use super::error;
use super::incoming::Incoming;
use super::keys::{ProjectKeys, read_timed, timed};
use super::names::{Algorithm, Digest};
use super::path::ChunkRange;
use super::records::{FinishedUpload, UploadOwner};
use super::store::Change;
use crate::formats::Progress;
use crate::http::body::BodyError;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;

/// Uploads that one project may have under way.
const MAX_UPLOADS: u64 = 1000;

/// How old an upload is when it is first looked at again: as long as one lives without a request.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// How long a client may ask again for the end of an upload.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How many old uploads one new upload looks at: more than begin, so that they never pile up.
const SWEPT: usize = 8;

/// How many uploads of a deleted project one transaction forgets.
const FORGOTTEN: usize = 500;

/// What a refused client should wait.
const RETRY_SECONDS: u64 = 60;

/// The uploads of one image.
pub(super) struct Uploads<'a> {
    scope: &'a Scope,
    image: &'a str,
    keys: ProjectKeys,
}

/// An upload that is under way, and belongs to this image.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) id: UploadId,
    pub(super) offset: u64,
    begun_at: Timestamp,
}

impl<'a> Uploads<'a> {
    pub(super) fn new(scope: &'a Scope, image: &'a str) -> Self {
        let keys = ProjectKeys::new(scope.collection());
        Self { scope, image, keys }
    }

    /// Begins an upload.
    pub(super) async fn begin(&self, algorithm: Option<Algorithm>) -> Result<Upload, ApiError> {
        let under_way = self.scope.snapshot().number(&self.keys.upload_count()).await?;
        self.sweep().await?;
        if under_way >= MAX_UPLOADS {
            let message = format!("the project has {under_way} uploads under way; end some of them first");
            return Err(ApiError::new(ErrorKind::TooManyRequests, message)
                .with_header(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS)));
        }
        let owner = UploadOwner {
            project: self.scope.project().id,
            image: self.image.to_owned(),
            begun_at: self.scope.now(),
        };
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        let id = blobs
            .begin_upload(space, wanted(algorithm), &encode(&owner))
            .await
            .map_err(not_now)?;
        let upload = Upload {
            id,
            offset: 0,
            begun_at: owner.begun_at,
        };
        let counted = self.scope.transact(async |mut txn: Txn| {
            txn.put(&self.item(&upload), "");
            txn.add(&self.keys.upload_count(), 1);
            Ok((txn, ()))
        });
        counted.await?;
        Ok(upload)
    }

    fn item(&self, upload: &Upload) -> cairn_cluster::Key {
        self.keys.uploading().key(timed(upload.begun_at, &upload.id))
    }

    /// Finds an upload of this image; one of another image is as unknown as none.
    pub(super) async fn find(&self, id: &str) -> Result<Upload, ApiError> {
        let id: UploadId = id.parse().map_err(|_| error::upload_unknown())?;
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        let status = match blobs.upload_status(space, &id).await {
            Ok(status) => status,
            Err(UploadError::Unknown) => return Err(error::upload_unknown()),
            Err(other) => return Err(not_now(other)),
        };
        let owner: UploadOwner = decode(&status.owner).map_err(ApiError::internal)?;
        if owner.project != self.scope.project().id || owner.image != self.image {
            return Err(error::upload_unknown());
        }
        Ok(Upload {
            id,
            offset: status.offset,
            begun_at: owner.begun_at,
        })
    }

    /// Adds a chunk and answers what is there then. Without a range it is added wherever the
    /// upload stands when the request begins.
    pub(super) async fn append(
        &self,
        upload: &Upload,
        range: Option<ChunkRange>,
        limit_bytes: u64,
        body: &mut Incoming,
    ) -> Result<u64, AppendError> {
        let at = range.map(|range| range.start);
        let chunk = exactly(range.map(|range| range.len()), body);
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        let appended = blobs.append(space, &upload.id, at, limit_bytes, chunk).await;
        appended.map_err(|error| match error {
            UploadError::Unknown => error::upload_unknown().into(),
            UploadError::WrongOffset { actual } => AppendError::Elsewhere { offset: actual },
            UploadError::Finished => AppendError::Finished,
            UploadError::TooLarge { limit_bytes } => error::too_large("the blob", limit_bytes).into(),
            UploadError::Body(ChunkError::Body(error)) => ApiError::from(error).into(),
            UploadError::Body(ChunkError::Length) => error::chunk_length().into(),
            UploadError::Unavailable { .. } | UploadError::Full { .. } => ApiError::unavailable(error).into(),
            UploadError::Metadata(error) => ApiError::from(error).into(),
        })
    }

    /// Ends an upload: the repository holds the blob when this returns. Bytes that are not what
    /// the digest says are thrown away.
    pub(super) async fn finish(&self, upload: &Upload, digest: &Digest) -> Result<(), ApiError> {
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        let stored = match blobs.finish_upload(space, &upload.id).await {
            Ok(stored) => stored,
            // Somebody else ended it a moment ago.
            Err(UploadError::Unknown) => return self.finished_before(&upload.id, digest).await,
            Err(other) => return Err(not_now(other)),
        };
        if !self.has_digest(&upload.id, &stored, digest).await? {
            self.abort(upload).await?;
            return Err(error::digest_differs(digest));
        }
        let work = async |mut txn: Txn| {
            let mut change = Change::new(self.scope, &mut txn);
            let repository = change.claim(self.image).await?;
            change.link(&repository, digest, &stored).await?;
            blobs.complete_upload(&mut txn, space, &upload.id);
            self.forget(&mut txn, upload).await?;
            self.remember(&mut txn, &upload.id, digest);
            Ok((txn, ()))
        };
        self.scope.transact(work).await
    }

    /// Whether an upload with this id ended as this blob, not long ago.
    pub(super) async fn finished_before(&self, id: &UploadId, digest: &Digest) -> Result<(), ApiError> {
        let latest = self.scope.latest().await?;
        match latest.record::<FinishedUpload>(&self.keys.finished(id)).await? {
            Some(finished) if finished.image == self.image && finished.digest == *digest => Ok(()),
            _ => Err(error::upload_unknown()),
        }
    }

    async fn has_digest(
        &self,
        id: &UploadId,
        stored: &StoredBlob,
        digest: &Digest,
    ) -> Result<bool, ApiError> {
        Ok(match digest {
            Digest::Sha256(hash) => stored.digests().sha256 == *hash,
            Digest::Sha512(hash) => match stored.digests().sha512 {
                Some(found) => found == *hash,
                // Clients name the algorithm only now, and it is rare: what nobody asks for is
                // not computed for everybody.
                None => {
                    let (blobs, space) = (self.scope.blobs(), self.scope.space());
                    let wanted = wanted(Some(Algorithm::Sha512));
                    let again = blobs.digest_upload(space, id, wanted).await.map_err(not_now)?;
                    again.sha512 == Some(*hash)
                }
            },
        })
    }

    /// Stores a blob that comes in one request.
    pub(super) async fn put(
        &self,
        digest: &Digest,
        limit_bytes: u64,
        body: &mut Incoming,
    ) -> Result<(), ApiError> {
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        let wanted = wanted(Some(digest.algorithm()));
        let stored = blobs.put(space, wanted, limit_bytes, body.stream()).await;
        let stored = stored.map_err(|error| match error {
            PutError::Body(error) => ApiError::from(error),
            PutError::TooLarge { limit_bytes } => error::too_large("the blob", limit_bytes),
            PutError::Write(error) => ApiError::unavailable(error),
        })?;
        let found = stored.digests();
        let is_right = match digest {
            Digest::Sha256(hash) => found.sha256 == *hash,
            Digest::Sha512(hash) => found.sha512 == Some(*hash),
        };
        if !is_right {
            return Err(error::digest_differs(digest));
        }
        let work = async |mut txn: Txn| {
            let mut change = Change::new(self.scope, &mut txn);
            let repository = change.claim(self.image).await?;
            change.link(&repository, digest, &stored).await?;
            Ok((txn, ()))
        };
        self.scope.transact(work).await
    }

    /// Throws an upload away.
    pub(super) async fn abort(&self, upload: &Upload) -> Result<(), ApiError> {
        self.discard(upload).await?;
        let work = async |mut txn: Txn| {
            self.forget(&mut txn, upload).await?;
            Ok((txn, ()))
        };
        self.scope.transact(work).await
    }

    async fn discard(&self, upload: &Upload) -> Result<(), ApiError> {
        match self
            .scope
            .blobs()
            .abort_upload(self.scope.space(), &upload.id)
            .await
        {
            Ok(()) | Err(UploadError::Unknown) => Ok(()),
            Err(other) => Err(not_now(other)),
        }
    }

    /// Takes an upload off the list of those under way, if it is still there.
    async fn forget(&self, txn: &mut Txn, upload: &Upload) -> Result<(), ApiError> {
        let item = self.item(upload);
        if txn.get(&item).await?.is_some() {
            txn.delete(&item);
            txn.add(&self.keys.upload_count(), -1);
        }
        Ok(())
    }

    fn remember(&self, txn: &mut Txn, id: &UploadId, digest: &Digest) {
        let finished = FinishedUpload {
            image: self.image.to_owned(),
            digest: *digest,
        };
        txn.put_record(&self.keys.finished(id), &finished);
        txn.put(&self.keys.finished_at().key(timed(self.scope.now(), id)), "");
    }

    /// Looks at some uploads that were begun or ended long ago. Every new one does it, so that
    /// abandoned ones give back their space and their place without anybody waiting for them.
    async fn sweep(&self) -> Result<(), ApiError> {
        let old = self.older_than(&self.keys.uploading(), EXPIRY).await?;
        for (begun_at, id) in old {
            let abandoned = Upload {
                id,
                offset: 0,
                begun_at,
            };
            let status = self.scope.blobs().upload_status(self.scope.space(), &id).await;
            match status {
                Err(UploadError::Unknown) => self.abort(&abandoned).await?,
                Ok(_) => self.look_again_later(&abandoned).await?,
                Err(other) => return Err(not_now(other)),
            }
        }
        let ended = self.older_than(&self.keys.finished_at(), REMEMBERED).await?;
        if ended.is_empty() {
            return Ok(());
        }
        let work = async |mut txn: Txn| {
            for (at, id) in &ended {
                txn.delete(&self.keys.finished(id));
                txn.delete(&self.keys.finished_at().key(timed(*at, id)));
            }
            Ok((txn, ()))
        };
        self.scope.transact(work).await
    }

    /// Puts an upload that is slow, but not abandoned, behind those that are not looked at yet.
    async fn look_again_later(&self, upload: &Upload) -> Result<(), ApiError> {
        let later = Upload {
            begun_at: self.scope.now(),
            ..upload.clone()
        };
        let work = async |mut txn: Txn| {
            if txn.get(&self.item(upload)).await?.is_some() {
                txn.delete(&self.item(upload));
                txn.put(&self.item(&later), "");
            }
            Ok((txn, ()))
        };
        self.scope.transact(work).await
    }

    async fn older_than(
        &self,
        timed: &cairn_cluster::Collection,
        age: Duration,
    ) -> Result<Vec<(Timestamp, UploadId)>, ApiError> {
        let oldest = self.scope.snapshot().scan(Scan::of(timed).limit(SWEPT)).await?;
        let now = self.scope.now();
        let items = oldest.iter().filter_map(|entry| read_timed(&entry.item));
        Ok(items.filter(|(at, _)| now.since(*at) >= age).collect())
    }
}

/// Removes some of what is known of the uploads of a deleted project. Their bytes expire by
/// themselves, because nobody can come to them any more.
pub(super) async fn forget_all(txn: &mut Txn, keys: &ProjectKeys) -> Result<Progress, ApiError> {
    let under_way = txn.scan(Scan::of(&keys.uploading()).limit(FORGOTTEN)).await?;
    for entry in &under_way {
        txn.delete(&keys.uploading().key(&entry.item));
    }
    let finished = txn.scan(Scan::of(&keys.finished_at()).limit(FORGOTTEN)).await?;
    for entry in &finished {
        if let Some((_, id)) = read_timed(&entry.item) {
            txn.delete(&keys.finished(&id));
        }
        txn.delete(&keys.finished_at().key(&entry.item));
    }
    if under_way.is_empty() && finished.is_empty() {
        txn.delete(&keys.upload_count());
        return Ok(Progress::Done);
    }
    Ok(Progress::More)
}

/// Why a chunk was not added.
pub(super) enum AppendError {
    /// The upload stands elsewhere; another request may have been faster.
    Elsewhere {
        /// What is there.
        offset: u64,
    },
    /// It has ended, and waits to be given to its repository.
    Finished,
    /// Something else.
    Other(ApiError),
}

impl From<ApiError> for AppendError {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

/// What a chunk fails with.
#[derive(Debug, thiserror::Error)]
enum ChunkError {
    #[error(transparent)]
    Body(BodyError),
    /// It is longer or shorter than its range.
    #[error("the chunk does not have the length of its range")]
    Length,
}

/// The body, held to the length that its range announced.
fn exactly(
    length: Option<u64>,
    body: &mut Incoming,
) -> impl Stream<Item = Result<Bytes, ChunkError>> + Send + Unpin {
    let bytes = body.stream().map(Some).chain(futures::stream::iter([None]));
    let mut left = length;
    let checked = bytes.filter_map(move |item| {
        let checked = match (item, &mut left) {
            (Some(Err(error)), _) => Some(Err(ChunkError::Body(error))),
            (Some(Ok(bytes)), Some(left)) if bytes.len() as u64 > *left => Some(Err(ChunkError::Length)),
            (Some(Ok(bytes)), left) => {
                *left = left.map(|left| left - bytes.len() as u64);
                Some(Ok(bytes))
            }
            (None, Some(1..)) => Some(Err(ChunkError::Length)),
            (None, _) => None,
        };
        futures::future::ready(checked)
    });
    checked.boxed()
}

/// The digests to compute while bytes come in.
fn wanted(algorithm: Option<Algorithm>) -> DigestSet {
    DigestSet {
        sha512: algorithm == Some(Algorithm::Sha512),
        ..DigestSet::default()
    }
}

fn not_now(error: UploadError) -> ApiError {
    match error {
        UploadError::Unknown => error::upload_unknown(),
        UploadError::Metadata(error) => error.into(),
        other => ApiError::unavailable(other),
    }
}
