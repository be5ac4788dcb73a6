//! Errors in the words of the distribution-spec ("Error Codes").
//!
//! Each function is one way for a request to fail; the code tells a client what it was, the
//! message tells a human what about.

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::manifest::ManifestError;
use super::names::{Digest, NameError, Reference, RepositoryName};
use super::path::{PageError, PathError, RangeError};
use super::scope::ScopeError;
use crate::http::error::{ApiError, ErrorKind};

/// What every answer below `/v2/` says.
pub(super) const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");

/// An error as clients expect it.
pub(super) fn render(error: &ApiError) -> Response {
    let mut body = json!({
        "code": error.code.unwrap_or_else(|| code_of(error.kind)),
        "message": error.message,
    });
    if let Some(detail) = &error.detail {
        body["detail"] = detail.as_ref().clone();
    }
    let status: StatusCode = error.kind.status();
    let mut response = (status, axum::Json(json!({ "errors": [body] }))).into_response();
    let (name, value) = API_VERSION;
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    response
}

/// The code where nothing more exact is known.
fn code_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthorized => "UNAUTHORIZED",
        ErrorKind::Forbidden | ErrorKind::InsufficientStorage => "DENIED",
        ErrorKind::NotFound => "NAME_UNKNOWN",
        ErrorKind::MethodNotAllowed | ErrorKind::NotImplemented => "UNSUPPORTED",
        ErrorKind::TooLarge => "SIZE_INVALID",
        ErrorKind::RangeNotSatisfiable => "RANGE_INVALID",
        ErrorKind::TooManyRequests => "TOOMANYREQUESTS",
        ErrorKind::Unavailable => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

pub(super) fn name_unknown(name: &RepositoryName) -> ApiError {
    ApiError::not_found(format!("repository {name} is not known"))
        .with_code("NAME_UNKNOWN")
        .with_detail(json!({ "name": name.as_str() }))
}

pub(super) fn manifest_unknown(reference: &Reference) -> ApiError {
    ApiError::not_found(format!("manifest {reference} is not known"))
        .with_code("MANIFEST_UNKNOWN")
        .with_detail(json!({ "reference": reference.to_string() }))
}

pub(super) fn blob_unknown(digest: &Digest) -> ApiError {
    ApiError::not_found(format!("blob {digest} is not known in this repository"))
        .with_code("BLOB_UNKNOWN")
        .with_detail(json!({ "digest": digest.to_string() }))
}

/// A manifest names something that is not in its repository.
pub(super) fn manifest_blob_unknown(missing: &[Digest]) -> ApiError {
    let digests: Vec<String> = missing.iter().take(20).map(ToString::to_string).collect();
    ApiError::not_found(format!(
        "the manifest names {}, which is not in this repository",
        digests.join(", ")
    ))
    .with_code("MANIFEST_BLOB_UNKNOWN")
    .with_detail(json!({ "digests": digests }))
}

pub(super) fn upload_unknown() -> ApiError {
    ApiError::not_found("the upload is not known; it may have expired").with_code("BLOB_UPLOAD_UNKNOWN")
}

/// What was sent is not what its digest says.
pub(super) fn digest_differs(claimed: &Digest) -> ApiError {
    ApiError::bad_request(format!("the content does not have the digest {claimed}"))
        .with_code("DIGEST_INVALID")
        .with_detail(json!({ "digest": claimed.to_string() }))
}

pub(super) fn digest_missing() -> ApiError {
    ApiError::bad_request("the query does not say the digest of the blob").with_code("DIGEST_INVALID")
}

pub(super) fn chunk_length() -> ApiError {
    ApiError::bad_request("the chunk does not have the length of its range").with_code("SIZE_INVALID")
}

pub(super) fn too_large(what: &str, limit_bytes: u64) -> ApiError {
    ApiError::new(
        ErrorKind::TooLarge,
        format!("{what} is over the limit of {limit_bytes} bytes"),
    )
    .with_code("SIZE_INVALID")
}

pub(super) fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, "the operation is not supported here").with_code("UNSUPPORTED")
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        let code = match error {
            NameError::Repository(_) | NameError::RepositoryTooLong(_) => "NAME_INVALID",
            NameError::Tag(_) => "TAG_INVALID",
            NameError::Digest(_) => "DIGEST_INVALID",
        };
        Self::bad_request(error.to_string()).with_code(code)
    }
}

impl From<PathError> for ApiError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Unknown => Self::not_found(error.to_string()).with_code("UNSUPPORTED"),
            PathError::Encoding => Self::bad_request(error.to_string()).with_code("NAME_INVALID"),
            PathError::Name(error) => error.into(),
        }
    }
}

impl From<PageError> for ApiError {
    fn from(error: PageError) -> Self {
        Self::bad_request(error.to_string()).with_code("PAGINATION_NUMBER_INVALID")
    }
}

impl From<RangeError> for ApiError {
    fn from(error: RangeError) -> Self {
        Self::bad_request(error.to_string()).with_code("BLOB_UPLOAD_INVALID")
    }
}

impl From<ScopeError> for ApiError {
    fn from(error: ScopeError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<ManifestError> for ApiError {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::TooLarge(_) | ManifestError::TooManyReferences(_) => {
                Self::new(ErrorKind::TooLarge, error.to_string()).with_code("SIZE_INVALID")
            }
            _ => Self::bad_request(error.to_string()).with_code("MANIFEST_INVALID"),
        }
    }
}
