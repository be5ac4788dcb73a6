//! Receives a publish: the metadata is parsed, then the crate goes to the blob store piece by
//! piece, while a thread looks into it. Memory does not depend on the size of the crate.

use axum::body::Body;
use bytes::Bytes;
use cairn_cluster::{DigestSet, StoredBlob};
use futures::stream;

use super::artifact::{self, ArtifactError};
use super::document::{self, Publication};
use super::frames::Frames;
use super::store;
use crate::auth::Access;
use crate::formats::inspected;
use crate::http::body;
use crate::http::error::ApiError;
use crate::registry::Scope;

/// What a client sent: checked, durable, and not yet named by any record.
pub(super) struct Received {
    pub(super) publication: Publication,
    pub(super) artifact: StoredBlob,
}

/// Receives the body of a publish. `is_own` says whether a registry's URL is that of `scope`.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    body: Body,
    is_own: impl Fn(&str) -> bool + Send + 'static,
) -> Result<Received, ApiError> {
    let limits = document::Limits::default();
    let mut frames = Frames::new(body::stream(body));
    let length = frames.length("metadata", limits.document_bytes as u64).await?;
    let json = frames.whole("metadata", length).await?;
    let length = frames.length("crate", scope.limits().file_bytes).await?;

    let publication = off_thread(move || document::read(&json, &limits, is_own)).await?;
    let checked = match publication {
        Ok(publication) => store::refuse_early(scope, &publication)
            .await
            .map(|()| publication),
        Err(error) => Err(error.into()),
    };
    let publication = match checked {
        Ok(publication) => publication,
        Err(error) => {
            skip(&mut frames, length).await?;
            return Err(error);
        }
    };
    let artifact = store_checked(access, scope, &publication, &mut frames, length).await?;
    Ok(Received {
        publication,
        artifact,
    })
}

/// Clients read an answer only when they have sent everything.
async fn skip<S>(frames: &mut Frames<S>, mut left: u32) -> Result<(), ApiError>
where
    S: futures::Stream<Item = Result<Bytes, body::BodyError>> + Unpin,
{
    while left > 0 {
        frames.some("crate", &mut left).await?;
    }
    Ok(())
}

/// Stores the crate while it is looked into.
async fn store_checked<S>(
    access: &Access,
    scope: &Scope,
    publication: &Publication,
    frames: &mut Frames<S>,
    length: u32,
) -> Result<StoredBlob, ApiError>
where
    S: futures::Stream<Item = Result<Bytes, body::BodyError>> + Unpin,
{
    let (name, version) = (publication.name.clone(), publication.version.clone());
    let look = move |fed| artifact::inspect(fed, &artifact::Limits::default(), &name, &version);
    let pieces = stream::try_unfold((&mut *frames, length), async |(frames, mut left)| {
        if left == 0 {
            return Ok(None);
        }
        let piece = frames.some("crate", &mut left).await?;
        Ok::<_, ApiError>(Some((piece, (frames, left))))
    });
    let pieces = Box::pin(pieces);
    let ((), artifact) =
        inspected::store((access, scope), DigestSet::default(), length.into(), pieces, look).await?;
    frames.end().await?;
    Ok(artifact)
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(ApiError::internal)
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        ApiError::unprocessable(error.to_string())
    }
}
