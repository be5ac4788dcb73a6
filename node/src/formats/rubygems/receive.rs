//! Receives a gem: as the body itself, or in a form.

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use cairn_cluster::DigestSet;
use futures::{Stream, TryStreamExt};

use super::artifact::{self, ArtifactError};
use super::store::Received;
use crate::archive;
use crate::auth::Access;
use crate::formats::inspected;
use crate::http::body::{self, BodyError};
use crate::http::error::ApiError;
use crate::http::multipart::Multipart;
use crate::registry::Scope;

/// What a form may have besides the gem.
const FORM_BYTES: u64 = 1 << 20;

/// Receives a gem for the project of `scope`.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, ApiError> {
    let form_bytes = scope.limits().file_bytes + FORM_BYTES;
    body::refuse_file(headers, form_bytes)?;
    let pieces = body::stream(body);
    if body::media_type(headers).as_deref() != Some("multipart/form-data") {
        return Box::pin(store(access, scope, pieces.map_err(ApiError::from))).await;
    }
    read(access, scope, Multipart::new(headers, pieces, form_bytes)?).await
}

async fn read<S: Stream<Item = Result<Bytes, BodyError>> + Unpin>(
    access: &Access,
    scope: &Scope,
    mut form: Multipart<S>,
) -> Result<Received, ApiError> {
    let mut gem = None;
    while let Some(part) = form.next().await? {
        match part.name.as_str() {
            "gem" if gem.is_none() => {
                gem = Some(Box::pin(store(access, scope, form.pieces())).await?);
            }
            "gem" => return Err(ApiError::unprocessable("the form has the field gem twice")),
            // To take what nobody checks or gets again would be a promise that is not kept.
            "attestations" => {
                return Err(ApiError::unprocessable(
                    "attestations are not kept here; push without --attestation",
                ));
            }
            _ => {}
        }
    }
    gem.ok_or_else(|| ApiError::unprocessable("the form has no field gem"))
}

/// Stores a gem, and looks into it on its way.
async fn store(
    access: &Access,
    scope: &Scope,
    pieces: impl Stream<Item = Result<Bytes, ApiError>> + Unpin,
) -> Result<Received, ApiError> {
    let look = |fed| artifact::inspect(fed, &archive::Limits::default());
    let (digests, limit_bytes) = (DigestSet::default(), scope.limits().file_bytes);
    let stored = inspected::store((access, scope), digests, limit_bytes, pieces, look).await;
    let (spec, blob) = stored?;
    Ok(Received { spec, blob })
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::unprocessable(error.to_string())
    }
}
