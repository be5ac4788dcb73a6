//! How a request fails: one error type for every handler.
//!
//! Handlers write `?`. What they return is put into the response's extensions; the layer around
//! a format's routes hands it to [`crate::formats::Format::render`], so that every client reads
//! errors in its own words. Outside of formats [`super::observe`] renders GitLab's
//! shape. The cause is logged there too, once, and never sent to the client.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cairn_cluster::{
    CommitError, DepartureError, DiskRequestError, PutError, ReadError, Refusal, Unavailable, UploadError,
    WriteError,
};
use hyper::ext::ReasonPhrase;

use crate::http::body::file_too_large;

/// What went wrong, as far as a client can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 400: the request is malformed.
    BadRequest,
    /// 401: credentials are missing or do not hold.
    Unauthorized,
    /// 403: the caller may not do this.
    Forbidden,
    /// 404: there is no such thing, or the caller may not know of it.
    NotFound,
    /// 405: not with this method.
    MethodNotAllowed,
    /// 408: the client was too slow.
    RequestTimeout,
    /// 409: what is there already does not allow it.
    Conflict,
    /// 410: it was there and is gone for good.
    Gone,
    /// 411: the length must be said in advance.
    LengthRequired,
    /// 412: a condition of the request does not hold.
    PreconditionFailed,
    /// 413: the body is over the limit.
    TooLarge,
    /// 414: the request target is over the limit.
    TargetTooLong,
    /// 415: the body is of a type or coding that is not taken here.
    UnsupportedMediaType,
    /// 416: no byte of the range exists.
    RangeNotSatisfiable,
    /// 421: this host is not served here.
    Misdirected,
    /// 422: well-formed, but its content is not acceptable.
    Unprocessable,
    /// 429: too many requests.
    TooManyRequests,
    /// 431: the headers are over the limit.
    HeadersTooLarge,
    /// 500: our fault.
    Internal,
    /// 501: Cairn does not do this.
    NotImplemented,
    /// 503: the cluster cannot answer now; try again.
    Unavailable,
    /// 507: a quota is used up, or the disks are full.
    InsufficientStorage,
}

impl ErrorKind {
    /// The status that says so.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Gone => StatusCode::GONE,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InsufficientStorage => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

/// A failed request: a kind, a sentence for the client, a cause for the log.
#[derive(Clone)]
pub struct ApiError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// A sentence for the client; it names the input and holds no secret.
    pub message: String,
    /// The word that a format's protocol has for it, where the kind does not tell enough.
    pub code: Option<&'static str>,
    /// What a format adds to the word.
    pub detail: Option<Box<serde_json::Value>>,
    /// Headers that the answer must carry.
    pub headers: Box<HeaderMap>,
    /// The cause, for the log alone.
    pub source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl ApiError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            detail: None,
            headers: Box::default(),
            source: None,
        }
    }

    /// 400 with this message.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// 400 for a parameter of the REST API that is missing or cannot be read.
    pub fn parameter(message: impl Into<String>) -> Self {
        Self::bad_request(message).with_code(PARAMETER)
    }

    /// 400 for a value that cannot be taken, as GitLab says it of a field.
    pub fn invalid_field(field: &str, reason: &str) -> Self {
        Self::bad_request(format!("{field} {reason}")).with_detail(serde_json::json!({ field: [reason] }))
    }

    /// 401; the challenge is added by the layer that knows the format.
    pub fn unauthorized() -> Self {
        Self::new(ErrorKind::Unauthorized, "401 Unauthorized")
    }

    /// 403 with this message.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    /// 404 with this message.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// 409 with this message.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// 422 with this message.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unprocessable, message)
    }

    /// 500; the cause goes to the log.
    pub fn internal(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Internal, "500 Internal Server Error").with_source(source)
    }

    /// 503 with `Retry-After`, or 507 if it is for want of room on the disks, where trying again
    /// soon is of no use; the cause goes to the log.
    pub fn unavailable(source: impl StdError + Send + Sync + 'static) -> Self {
        if is_for_want_of_room(&source) {
            return Self::new(
                ErrorKind::InsufficientStorage,
                "507 Insufficient Storage: the disks of the cluster are full",
            )
            .with_source(source);
        }
        Self::busy(
            "503 Service Unavailable: the cluster cannot answer now; try again",
            source,
        )
    }

    fn busy(message: &'static str, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Unavailable, message)
            .with_header(RETRY_AFTER, HeaderValue::from_static("2"))
            .with_source(source)
    }

    /// Adds the word of a format's protocol.
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds what a format says beside the word.
    pub fn with_detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// Adds a header to the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds the cause.
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The causes from the first to the last, for a log line.
    pub fn causes(&self) -> String {
        let mut text = String::new();
        let mut next = self.source.as_deref().map(|first| first as &dyn StdError);
        while let Some(cause) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

/// Whether bytes were not stored because too few nodes have room for them.
fn is_for_want_of_room(error: &(dyn StdError + 'static)) -> bool {
    let of_write = error.downcast_ref::<WriteError>();
    let of_upload = error.downcast_ref::<UploadError>();
    matches!(of_write, Some(WriteError::Full { .. })) || matches!(of_upload, Some(UploadError::Full { .. }))
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.status().as_u16(), self.message)?;
        match self.causes() {
            causes if causes.is_empty() => Ok(()),
            causes => write!(f, " ({causes})"),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for ApiError {}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(error)
    }
}

impl<E: Into<ApiError>> From<PutError<E>> for ApiError {
    fn from(error: PutError<E>) -> Self {
        match error {
            PutError::Body(error) => error.into(),
            PutError::TooLarge { limit_bytes } => file_too_large(limit_bytes),
            PutError::Write(error) => Self::unavailable(error),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::internal(error)
    }
}

impl From<DepartureError> for ApiError {
    fn from(error: DepartureError) -> Self {
        match error {
            DepartureError::Refused(refusal @ Refusal::Unknown { .. }) => {
                Self::not_found(refusal.to_string())
            }
            DepartureError::Refused(refusal) => Self::conflict(refusal.to_string()),
            DepartureError::Commit(error) => error.into(),
            DepartureError::Read(error) => error.into(),
            DepartureError::Count(_) => Self::unavailable(error),
        }
    }
}

impl From<DiskRequestError> for ApiError {
    fn from(error: DiskRequestError) -> Self {
        match error {
            DiskRequestError::UnknownNode(_) => {
                Self::not_found("404 Node Not Found: `cairn cluster status` lists those there are")
            }
            DiskRequestError::UnknownDisk(_) => {
                Self::not_found("404 Disk Not Found: `cairn disk list` shows those there are")
            }
            DiskRequestError::Refused(why) => Self::conflict(why),
            DiskRequestError::Unreachable { .. } => Self::unavailable(error),
            DiskRequestError::Read(error) => error.into(),
        }
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::TooLarge { .. } => {
                Self::new(ErrorKind::TooLarge, "the change is too large for one transaction")
                    .with_source(error)
            }
            CommitError::KeyTooLong { .. } => {
                Self::new(ErrorKind::Unprocessable, "a name in the request is too long").with_source(error)
            }
            // Contention past all retries is overload, not the client's mistake.
            CommitError::Conflict => Self::busy(
                "503 Service Unavailable: too many change this at the same time; nothing was changed by this \
                 request, send it again",
                error,
            ),
            CommitError::Unavailable(error) => error.into(),
            // Safe to repeat, because publishing the same bytes again is the same publish.
            CommitError::Unknown { .. } => Self::busy(
                "503 Service Unavailable: the cluster did not answer in time and may or may not have made the \
                 change; look, or send it again",
                error,
            ),
        }
    }
}

/// The error that a response stands for, for the layers that render and log it.
#[derive(Clone)]
pub(crate) struct Raised(pub(crate) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(Raised(Arc::new(self)));
        response
    }
}

/// Marks an error about a parameter.
const PARAMETER: &str = "parameter";

/// The error as GitLab's REST API words it: `{"message": "404 Project Not Found"}`; about a
/// parameter `{"error": "name is missing"}`, about a field `{"message": {"path": ["is taken"]}}`.
pub fn render_gitlab(error: &ApiError) -> Response {
    let body = match (&error.code, &error.detail) {
        (Some(PARAMETER), _) => serde_json::json!({ "error": error.message }),
        (_, Some(detail)) => serde_json::json!({ "message": detail }),
        _ => serde_json::json!({ "message": error.message }),
    };
    (error.kind.status(), axum::Json(body)).into_response()
}

/// The longest reason phrase; a status line is not the place for more.
const MAX_REASON_BYTES: usize = 200;

/// The error as text, and the same as the reason phrase: some clients print only that.
pub(crate) fn render_reason(error: &ApiError) -> Response {
    let status = error.kind.status();
    let text = error.message.trim_start_matches(status.as_str()).trim_start();
    let mut response = (status, format!("{text}\n")).into_response();
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
    let reason: Vec<u8> = text.bytes().filter(is_plain).take(MAX_REASON_BYTES).collect();
    if let Ok(reason) = ReasonPhrase::try_from(reason) {
        response.extensions_mut().insert(reason);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_are_told_apart_from_nodes_that_are_away() {
        let reason = || "2 of 3 nodes".to_owned();
        let status = |error: ApiError| {
            (
                error.kind.status().as_u16(),
                error.headers.contains_key(RETRY_AFTER),
            )
        };
        let full = WriteError::Full { reason: reason() };
        assert_eq!(status(ApiError::unavailable(full)), (507, false));
        let full = UploadError::<std::convert::Infallible>::Full { reason: reason() };
        assert_eq!(status(ApiError::unavailable(full)), (507, false));
        let away = WriteError::Unavailable { reason: reason() };
        assert_eq!(status(ApiError::unavailable(away)), (503, true));
    }

    #[test]
    fn who_lost_to_others_is_told_so_and_when_to_come_back() {
        let error = ApiError::from(CommitError::Conflict);
        assert_eq!(error.kind.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(error.headers.contains_key(RETRY_AFTER));
        assert!(error.to_string().contains("at the same time"), "{error}");
    }
}
