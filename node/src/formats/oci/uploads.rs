//! Uploads of blobs. What a client that speaks this protocol is told of them; the rest is
//! [`crate::registry::sessions`].

use bytes::Bytes;
use cairn_cluster::{DigestSet, PutError, StoredBlob, Txn, UploadError, UploadId};
use futures::{Stream, StreamExt};

use super::error;
use super::incoming::Incoming;
use super::names::{Algorithm, Digest};
use super::path::ChunkRange;
use super::records::FinishedUpload;
use super::store::{self, Change};
use crate::http::body::BodyError;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::sessions::{self, Session, Sessions};

/// The uploads of one image.
pub(super) struct Uploads<'a> {
    scope: &'a Scope,
    image: &'a str,
    sessions: Sessions<'a>,
}

/// An upload that is under way, and belongs to the image of this path.
pub(super) type Upload = Session<String>;

impl<'a> Uploads<'a> {
    pub(super) fn new(scope: &'a Scope, image: &'a str) -> Self {
        let sessions = Sessions::of(scope);
        Self {
            scope,
            image,
            sessions,
        }
    }

    /// Begins an upload.
    pub(super) async fn begin(&self, algorithm: Option<Algorithm>) -> Result<Upload, ApiError> {
        self.sessions
            .begin(wanted(algorithm), self.image.to_owned())
            .await
    }

    /// Finds an upload of this image; one of another image is as unknown as none.
    pub(super) async fn find(&self, id: &str) -> Result<Upload, ApiError> {
        let id: UploadId = id.parse().map_err(|_| error::upload_unknown())?;
        let found: Option<Upload> = self.sessions.find(&id).await?;
        found
            .filter(|upload| upload.of == self.image)
            .ok_or_else(error::upload_unknown)
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
            let mut change = Change::new(self.scope, &mut txn, self.image);
            let repository = change.claim().await?;
            change.link(&repository, digest, &stored).await?;
            blobs.complete_upload(&mut txn, space, &upload.id);
            self.sessions.forget(&mut txn, upload).await?;
            let finished = FinishedUpload {
                image: self.image.to_owned(),
                digest: *digest,
            };
            self.sessions.remember(&mut txn, &upload.id, &finished);
            Ok((txn, ()))
        };
        self.scope.prepare(work).await
    }

    /// Whether an upload with this id ended as this blob, not long ago.
    pub(super) async fn finished_before(&self, id: &UploadId, digest: &Digest) -> Result<(), ApiError> {
        match self.sessions.remembered::<FinishedUpload>(id).await? {
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

    /// Refuses a blob of this length for which a quota leaves no room, unless the repository has it.
    pub(super) async fn refuse_over_quota(
        &self,
        digest: &Digest,
        length: Option<u64>,
    ) -> Result<(), ApiError> {
        let (Some(length), snapshot) = (length, self.scope.snapshot()) else {
            return Ok(());
        };
        if let Some(keys) = store::repository(self.scope, self.image).await?
            && snapshot.get(&keys.blob(digest)).await?.is_some()
        {
            return Ok(());
        }
        self.scope.refuse_over_quota(length).await
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
            let mut change = Change::new(self.scope, &mut txn, self.image);
            let repository = change.claim().await?;
            change.link(&repository, digest, &stored).await?;
            Ok((txn, ()))
        };
        self.scope.prepare(work).await
    }

    /// Throws an upload away.
    pub(super) async fn abort(&self, upload: &Upload) -> Result<(), ApiError> {
        self.sessions.abort(upload).await
    }
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
        other => sessions::not_now(other),
    }
}
