//! Receives a file that is looked into: it goes to the blob store piece by piece, while a thread of
//! its own reads it. Memory does not depend on its size.

use bytes::Bytes;
use cairn_cluster::{DigestSet, StoredBlob};
use futures::{Stream, TryStreamExt};

use crate::archive::{Fed, feed};
use crate::auth::Access;
use crate::http::body;
use crate::http::error::ApiError;
use crate::registry::Scope;

/// Stores a file of at most `limit_bytes`; gives what `look` found in it, and the file: durable, and
/// not yet named by any record.
pub(crate) async fn store<T, E>(
    (access, scope): (&Access, &Scope),
    digests: DigestSet,
    limit_bytes: u64,
    mut pieces: impl Stream<Item = Result<Bytes, ApiError>> + Unpin,
    look: impl FnOnce(Fed) -> Result<T, E> + Send + 'static,
) -> Result<(T, StoredBlob), ApiError>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    let (feeder, fed) = feed();
    let looking = access
        .app()
        .parser_threads()
        .start(access.caller(), move || look(fed))
        .await;
    let mut writer = scope.blobs().writer(scope.space(), digests);
    let (mut bytes, mut has_seen_enough) = (0, false);
    while let Some(piece) = pieces.try_next().await? {
        bytes += piece.len() as u64;
        if bytes > limit_bytes {
            return Err(body::file_too_large(limit_bytes));
        }
        // Clients read an answer only when they have sent everything.
        has_seen_enough = has_seen_enough || !feeder.push(piece.clone()).await;
        if !has_seen_enough {
            writer.write(piece).await.map_err(ApiError::unavailable)?;
        }
    }
    drop(feeder);
    let found = looking.await.map_err(ApiError::internal)?.map_err(E::into)?;
    let blob = writer.finish().await.map_err(ApiError::unavailable)?;
    Ok((found, blob))
}
