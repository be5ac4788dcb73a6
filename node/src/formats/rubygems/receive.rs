//! Receives a gem: as the body itself, or in a form, which may have attestations beside it.

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use cairn_cluster::{DigestSet, StoredBlob};
use futures::{Stream, TryStreamExt};

use super::artifact::{self, ArtifactError};
use super::attestations::{AttestationError, Attestations};
use super::gemspec::Spec;
use super::store::Received;
use crate::archive;
use crate::auth::Access;
use crate::formats::inspected;
use crate::http::body::{self, BodyError};
use crate::http::error::ApiError;
use crate::http::multipart::{Multipart, MultipartError};
use crate::registry::Scope;

/// What a form may have besides the gem.
const FORM_BYTES: u64 = 1 << 20;

/// The longest list of attestations.
const MAX_ATTESTATIONS_BYTES: usize = 512 << 10;

/// The field that has the gem.
const GEM: &str = "gem";

/// The field that has its attestations.
const ATTESTATIONS: &str = "attestations";

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
        let stored = Box::pin(store(access, scope, pieces.map_err(ApiError::from))).await;
        let (spec, blob) = stored?;
        return Ok(Received {
            spec,
            blob,
            attestations: None,
        });
    }
    read(access, scope, Multipart::new(headers, pieces, form_bytes)?).await
}

async fn read<S: Stream<Item = Result<Bytes, BodyError>> + Unpin>(
    access: &Access,
    scope: &Scope,
    mut form: Multipart<S>,
) -> Result<Received, ApiError> {
    let (mut gem, mut attestations) = (None, None);
    while let Some(part) = form.next().await? {
        match part.name.as_str() {
            GEM if gem.is_none() => {
                gem = Some(Box::pin(store(access, scope, form.pieces())).await?);
            }
            ATTESTATIONS if attestations.is_none() => {
                let text = form.text(ATTESTATIONS, MAX_ATTESTATIONS_BYTES).await;
                attestations = Some(text.map_err(too_large)?);
            }
            name @ (GEM | ATTESTATIONS) => {
                return Err(ApiError::unprocessable(format!(
                    "the form has the field {name} twice"
                )));
            }
            _ => {}
        }
    }
    let (spec, blob) = gem.ok_or_else(|| ApiError::unprocessable("the form has no field gem"))?;
    let attestations = match attestations {
        Some(text) => Attestations::read(text, &spec.file_name(), &blob.digests().sha256)?,
        None => None,
    };
    Ok(Received {
        spec,
        blob,
        attestations,
    })
}

/// Attestations that are too large are none: it is not the gem that is.
fn too_large(error: MultipartError) -> ApiError {
    match error {
        MultipartError::FieldTooLarge { .. } => ApiError::unprocessable(error.to_string()),
        error => error.into(),
    }
}

/// Stores a gem, and looks into it on its way.
async fn store(
    access: &Access,
    scope: &Scope,
    pieces: impl Stream<Item = Result<Bytes, ApiError>> + Unpin,
) -> Result<(Spec, StoredBlob), ApiError> {
    let look = |fed| artifact::inspect(fed, &archive::Limits::default());
    let (digests, limit_bytes) = (DigestSet::default(), scope.limits().file_bytes);
    inspected::store((access, scope), digests, limit_bytes, pieces, look).await
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::unprocessable(error.to_string())
    }
}

impl From<AttestationError> for ApiError {
    fn from(error: AttestationError) -> Self {
        Self::unprocessable(error.to_string())
    }
}
