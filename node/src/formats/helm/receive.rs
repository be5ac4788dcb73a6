//! Receives an upload: a chart as the body itself, or a form with a chart, its provenance, or both.

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use cairn_cluster::{DigestSet, StoredBlob};
use data_encoding::HEXLOWER;
use futures::{Stream, TryStreamExt};

use super::artifact::{self, ArtifactError, Limits};
use super::metadata::Metadata;
use super::provenance::{self, Provenance, ProvenanceError};
use crate::auth::Access;
use crate::formats::inspected;
use crate::http::body::{self, BodyError};
use crate::http::error::ApiError;
use crate::http::multipart::Multipart;
use crate::registry::Scope;

/// A chart that was received.
pub(super) struct Chart {
    pub(super) metadata: Metadata,
    /// Durable, and not yet named by any record.
    pub(super) blob: StoredBlob,
}

impl Chart {
    /// The digest, in lower-case hexadecimal.
    pub(super) fn sha256(&self) -> String {
        HEXLOWER.encode(&self.blob.digests().sha256)
    }
}

/// What a client sent: at least one of them.
#[derive(Default)]
pub(super) struct Upload {
    pub(super) chart: Option<Chart>,
    pub(super) provenance: Option<Provenance>,
}

/// Receives an upload for the project of `scope`.
pub(super) async fn receive(
    access: &Access,
    scope: &Scope,
    headers: &HeaderMap,
    body: Body,
) -> Result<Upload, ApiError> {
    let form_bytes = scope.limits().file_bytes + 2 * provenance::MAX_BYTES as u64;
    body::refuse_file(headers, form_bytes)?;
    let pieces = body::stream(body);
    if body::media_type(headers).as_deref() == Some("multipart/form-data") {
        return read(access, scope, Multipart::new(headers, pieces, form_bytes)?).await;
    }
    let chart = Box::pin(store(access, scope, pieces.map_err(ApiError::from))).await?;
    Ok(Upload {
        chart: Some(chart),
        provenance: None,
    })
}

/// Receives a provenance file as the body itself.
pub(super) async fn receive_provenance(headers: &HeaderMap, body: Body) -> Result<Provenance, ApiError> {
    body::refuse_coding(headers)?;
    let text = body::whole(body, provenance::MAX_BYTES).await?;
    let text = String::from_utf8(text.into());
    let text = text.map_err(|_| ApiError::bad_request("the provenance file is not UTF-8"))?;
    Ok(Provenance::read(text)?)
}

async fn read<S: Stream<Item = Result<Bytes, BodyError>> + Unpin>(
    access: &Access,
    scope: &Scope,
    mut form: Multipart<S>,
) -> Result<Upload, ApiError> {
    let mut upload = Upload::default();
    while let Some(part) = form.next().await? {
        let is_second = match part.name.as_str() {
            "chart" => {
                let chart = Box::pin(store(access, scope, form.pieces())).await?;
                upload.chart.replace(chart).is_some()
            }
            "prov" => {
                let text = form.text("prov", provenance::MAX_BYTES).await?;
                upload.provenance.replace(Provenance::read(text)?).is_some()
            }
            _ => continue,
        };
        if is_second {
            let name = part.name;
            return Err(ApiError::bad_request(format!(
                "the form has the field {name} twice"
            )));
        }
    }
    match upload.chart.is_some() || upload.provenance.is_some() {
        true => Ok(upload),
        false => Err(ApiError::bad_request(
            "the form has neither a field chart nor a field prov",
        )),
    }
}

/// Stores a chart, and looks into it on its way.
async fn store(
    access: &Access,
    scope: &Scope,
    pieces: impl Stream<Item = Result<Bytes, ApiError>> + Unpin,
) -> Result<Chart, ApiError> {
    let look = |fed| artifact::inspect(fed, &Limits::default());
    let (digests, limit_bytes) = (DigestSet::default(), scope.limits().file_bytes);
    let stored = inspected::store((access, scope), digests, limit_bytes, pieces, look).await;
    let (metadata, blob) = stored?;
    Ok(Chart { metadata, blob })
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<ProvenanceError> for ApiError {
    fn from(error: ProvenanceError) -> Self {
        Self::bad_request(error.to_string())
    }
}
