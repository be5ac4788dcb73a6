//! Receives a file: its bytes go to the blob store piece by piece, while a JAR is looked into on a thread of its own.

use axum::body::Body;
use cairn_cluster::{DigestSet, StoredBlob};
use futures::StreamExt;

use super::jar::{self, Nature};
use super::names::Coordinates;
use crate::archive::feed;
use crate::auth::Access;
use crate::http::body;
use crate::http::error::ApiError;
use crate::registry::Scope;

/// Clients ask for any of them, and compare with what they sent.
const DIGESTS: DigestSet = DigestSet {
    sha1: true,
    sha512: true,
    md5: true,
};

/// Stores the body of a request; durable, and not yet named by any record.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    coordinates: &Coordinates,
    body: Body,
) -> Result<(StoredBlob, Nature), ApiError> {
    let (feeder, fed) = feed();
    let mut feeder = coordinates.is_main_jar().then_some(feeder);
    let looking = match &feeder {
        Some(_) => {
            let look = move || jar::nature(fed);
            Some(access.app().parser_threads().start(access.caller(), look).await)
        }
        None => None,
    };
    let limit_bytes = scope.limits().file_bytes;
    let mut writer = scope.blobs().writer(scope.space(), DIGESTS);
    let (mut pieces, mut bytes) = (body::stream(body), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        if bytes > limit_bytes {
            return Err(body::file_too_large(limit_bytes));
        }
        // It may have seen enough.
        if let Some(open) = &feeder
            && !open.push(piece.clone()).await
        {
            feeder = None;
        }
        writer.write(piece).await.map_err(ApiError::unavailable)?;
    }
    drop(feeder);
    let nature = match looking {
        Some(looking) => looking.await.map_err(ApiError::internal)?,
        None => Nature::default(),
    };
    let blob = writer.finish().await.map_err(ApiError::unavailable)?;
    Ok((blob, nature))
}
