//! Receives a file. A JAR is looked into on its way to the blob store.

use std::io;

use axum::body::Body;
use cairn_cluster::{DigestSet, StoredBlob};
use futures::TryStreamExt;

use super::jar::{self, Nature};
use super::names::Coordinates;
use crate::archive::Fed;
use crate::auth::Access;
use crate::formats::inspected;
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
    if !coordinates.is_main_jar() {
        return Ok((scope.put_file(DIGESTS, body).await?, Nature::default()));
    }
    let pieces = TryStreamExt::map_err(body::stream(body), ApiError::from);
    let look = |mut jar: Fed| {
        let nature = jar::nature(&mut jar);
        // Everything that is stored passes by here, also what need not be looked into.
        io::copy(&mut jar, &mut io::sink()).map_err(ApiError::internal)?;
        Ok::<_, ApiError>(nature)
    };
    let limit_bytes = scope.limits().file_bytes;
    let (nature, blob) = inspected::store((access, scope), DIGESTS, limit_bytes, pieces, look).await?;
    Ok((blob, nature))
}
