//! Answers with a file: whole, in part, or not at all because the client has it.

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use cairn_cluster::{BlobId, BlobReadError, Digests, Timestamp};
use data_encoding::HEXLOWER;
use futures::StreamExt as _;

use crate::http::answers::Repeatable;
use crate::http::checksum::Algorithm;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::media;
use crate::http::range::{Reply, Validators, reply};
use crate::registry::project::Project;
use crate::registry::scope::Scope;
use crate::registry::time::http_date;

/// A file to answer with, apart from its bytes.
#[derive(Clone, Debug)]
pub struct Served {
    /// A strong entity tag, with its quotes. The same on every node.
    pub etag: String,
    /// When it was published; none leaves `Last-Modified` out.
    pub modified: Option<Timestamp>,
    /// What it is.
    pub content_type: HeaderValue,
    /// What else the answer says: caching, digests, disposition.
    pub headers: HeaderMap,
}

impl Served {
    /// A file of unknown type, known by a digest or revision of its bytes.
    pub fn new(tag: impl std::fmt::Display) -> Self {
        Self {
            etag: format!("\"{tag}\""),
            modified: None,
            content_type: HeaderValue::from_static("application/octet-stream"),
            headers: HeaderMap::new(),
        }
    }

    /// Says what it is.
    pub fn with_type(mut self, content_type: &'static str) -> Self {
        self.content_type = HeaderValue::from_static(content_type);
        self
    }

    /// Says when it was published.
    pub fn with_date(mut self, modified: Timestamp) -> Self {
        self.modified = Some(modified);
        self
    }

    /// Says the digests of the bytes, so that clients need not ask for them by themselves.
    pub(crate) fn with_digests(mut self, digests: &Digests) -> Self {
        for algorithm in Algorithm::ALL {
            let digest = algorithm
                .of(digests)
                .map(|digest| HeaderValue::from_str(&HEXLOWER.encode(digest)));
            if let Some(Ok(digest)) = digest {
                self.headers.insert(algorithm.header(), digest);
            }
        }
        self
    }

    /// Says what a file of this name is, and that no browser is to run it as one of our pages.
    pub(crate) fn downloaded_as(self, name: &str) -> Self {
        self.with_type(media::type_of(name))
            .with_header(header::CONTENT_DISPOSITION, &media::attachment(name))
            .with_header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
    }

    /// Says whether clients have to ask again, and whether caches may give it to others.
    pub(crate) fn kept_by_clients(self, project: &Project, immutable: bool) -> Self {
        let who = if project.is_open() { "public" } else { "private" };
        let how = match immutable {
            true => "max-age=31536000, immutable",
            false => "no-cache",
        };
        self.with_header(header::CACHE_CONTROL, &format!("{who}, {how}"))
    }

    /// Adds what the answer says besides; a value that no header can hold is left out.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// Answers a GET or HEAD with a blob of `scope`.
///
/// Conditions, one range, and HEAD are taken care of. The first bytes are read and verified
/// before the answer begins; if the rest cannot be read, the connection breaks, so that a
/// client never takes a part for the whole.
pub async fn serve_blob(
    scope: &Scope,
    method: &Method,
    headers: &HeaderMap,
    blob: &BlobId,
    size: u64,
    served: Served,
) -> Result<Response, ApiError> {
    let opening = match open(method, headers, size, served)? {
        Opened::Answered(response) => return Ok(response),
        Opened::Wanted(opening) => opening,
    };
    let room = scope.read_buffer(opening.len()).await;
    let read = scope
        .blobs()
        .read(scope.snapshot(), scope.space(), blob, opening.range.clone());
    let body = Body::from_stream(read.await?.inspect(move |_| {
        // Held until the body is dropped.
        let _ = &room;
    }));
    Ok(opening.answer(body))
}

/// What is to be done about a request for a file of a known length.
pub(crate) enum Opened {
    /// Nothing: its bytes are not wanted.
    Answered(Response),
    /// Its bytes, or some of them, are to be read.
    Wanted(Opening),
}

/// An answer that is to be given a body.
pub(crate) struct Opening {
    /// None for all.
    range: Option<Range<u64>>,
    size: u64,
    served: Served,
}

impl Opening {
    /// Which bytes the body has.
    pub(crate) fn range(&self) -> Range<u64> {
        self.range.clone().unwrap_or(0..self.size)
    }

    fn len(&self) -> u64 {
        let range = self.range();
        range.end - range.start
    }

    /// The answer with its body.
    pub(crate) fn answer(self, body: Body) -> Response {
        answer(body, self.range, self.size, self.served)
    }
}

/// Decides on a GET or HEAD. Conditions, one range, and HEAD are taken care of.
pub(crate) fn open(
    method: &Method,
    headers: &HeaderMap,
    size: u64,
    served: Served,
) -> Result<Opened, ApiError> {
    let range = match decide(method, headers, &served, size) {
        Ok(range) => range,
        Err(answered) => return answered.map(Opened::Answered),
    };
    let opening = Opening { range, size, served };
    Ok(match *method == Method::HEAD {
        true => Opened::Answered(opening.answer(Body::empty())),
        false => Opened::Wanted(opening),
    })
}

/// Answers a GET or HEAD with bytes that are at hand: a package index, a generated file.
///
/// Conditions, one range, and HEAD are taken care of.
pub fn serve_bytes(
    method: &Method,
    headers: &HeaderMap,
    bytes: Bytes,
    served: Served,
) -> Result<Response, ApiError> {
    Ok(in_memory(method, headers, bytes, served)?.0)
}

/// [`serve_bytes`] for an answer that is [`Repeatable`].
pub(crate) fn serve_repeatable(
    method: &Method,
    headers: &HeaderMap,
    bytes: Bytes,
    served: Served,
) -> Result<Response, ApiError> {
    let (mut response, body) = in_memory(method, headers, bytes, served)?;
    // A part would keep the whole in memory, and there are many parts.
    if response.status() != StatusCode::PARTIAL_CONTENT {
        response.extensions_mut().insert(Repeatable(body));
    }
    Ok(response)
}

fn in_memory(
    method: &Method,
    headers: &HeaderMap,
    bytes: Bytes,
    served: Served,
) -> Result<(Response, Bytes), ApiError> {
    let size = bytes.len() as u64;
    let range = match decide(method, headers, &served, size) {
        Ok(range) => range,
        Err(answered) => return Ok((answered?, Bytes::new())),
    };
    let body = match &range {
        _ if *method == Method::HEAD => Bytes::new(),
        // A range lies inside of the bytes, so it fits their length.
        Some(range) => bytes.slice(range.start as usize..range.end as usize),
        None => bytes,
    };
    Ok((answer(Body::from(body.clone()), range, size, served), body))
}

/// Which bytes to answer with; or the answer, if there are none.
#[allow(
    clippy::result_large_err,
    reason = "the other outcome is an answer, not an error"
)]
fn decide(
    method: &Method,
    headers: &HeaderMap,
    served: &Served,
    size: u64,
) -> Result<Option<Range<u64>>, Result<Response, ApiError>> {
    let validators = Validators {
        etag: &served.etag,
        modified: served.modified,
    };
    match reply(method, headers, validators, size) {
        Reply::Whole => Ok(None),
        Reply::Part(range) => Ok(Some(range)),
        Reply::NotModified => Err(Ok(decorate(StatusCode::NOT_MODIFIED.into_response(), served))),
        Reply::PreconditionFailed => Err(Err(ApiError::new(
            ErrorKind::PreconditionFailed,
            "412 Precondition Failed",
        ))),
        Reply::NotSatisfiable => {
            let error = ApiError::new(ErrorKind::RangeNotSatisfiable, "416 Range Not Satisfiable");
            Err(Err(error.with_header(
                header::CONTENT_RANGE,
                text(&format!("bytes */{size}")),
            )))
        }
    }
}

fn answer(body: Body, range: Option<Range<u64>>, size: u64, served: Served) -> Response {
    let mut response = decorate(Response::new(body), &served);
    let length = range.as_ref().map_or(size, |range| range.end - range.start);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, served.content_type);
    if let Some(range) = range {
        let content_range = text(&format!("bytes {}-{}/{size}", range.start, range.end - 1));
        response
            .headers_mut()
            .insert(header::CONTENT_RANGE, content_range);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// What 200, 206 and 304 say alike.
fn decorate(mut response: Response, served: &Served) -> Response {
    let headers = response.headers_mut();
    headers.extend(served.headers.clone());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::ETAG, text(&served.etag));
    if let Some(modified) = served.modified {
        headers.insert(header::LAST_MODIFIED, text(&http_date(modified)));
    }
    response
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("digests, numbers and dates are visible ASCII")
}

impl From<BlobReadError> for ApiError {
    fn from(error: BlobReadError) -> Self {
        match error {
            BlobReadError::Unavailable { .. } => Self::unavailable(error),
            // A record named it, so it should be there.
            BlobReadError::Unknown { .. }
            | BlobReadError::Range { .. }
            | BlobReadError::Damaged { .. }
            | BlobReadError::Metadata(_) => Self::internal(error),
        }
    }
}
