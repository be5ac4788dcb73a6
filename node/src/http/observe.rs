//! What an operator sees of each request: an id, one log line, metrics; and what a client sees
//! of a failure, in the words of its protocol.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::time::Instant;
use tracing::{Instrument, error, info, info_span, warn};

use crate::formats::{self, Format, RequestHead};
use crate::http::error::{ApiError, ErrorKind, Raised, render_gitlab};
use crate::http::host::{BaseUrl, ClientAddress};
use crate::http::metrics;
use crate::registry::door::Surface;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a request that is taken over from a proxy.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// Marks an answer whose error has been put into the words of a format.
#[derive(Clone, Copy)]
struct Rendered;

/// The format that answered, for metrics.
#[derive(Clone, Copy)]
pub(super) struct AnsweredBy(&'static str);

/// How a request is told apart in the log. An extension of the request.
#[derive(Clone)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Around everything: the request's id, its log line and metrics, and a 500 in place of a panic.
pub(super) async fn observe<F>(mut request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let begun = Instant::now();
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    // Without its query: a query can carry a token.
    let path = shown_path(request.uri().path());
    let answered = AssertUnwindSafe(next(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|panic| {
        let what = panic_message(panic.as_ref());
        ApiError::new(ErrorKind::Internal, "500 Internal Server Error")
            .with_source(Panicked(what))
            .into_response()
    });
    let raised = response.extensions_mut().remove::<Raised>();
    if let Some(Raised(error)) = &raised
        && response.extensions().get::<Rendered>().is_none()
    {
        response = rendered(render_gitlab(error), error, response);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    // What browsers make of an answer is for its type to say, also where nobody thought of them.
    response
        .headers_mut()
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    let format = response
        .extensions()
        .get::<AnsweredBy>()
        .map_or("none", |format| format.0);
    let took = begun.elapsed();
    metrics::answered(format, &method, response.status(), took);
    log(&id, &method, &path, &response, raised.as_ref(), format, took);
    response
}

/// Around the routes: what they log says for which request.
pub(super) async fn routed<F>(request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let id = request.extensions().get::<RequestId>();
    let span = info_span!("request", id = id.map_or("", RequestId::as_str));
    next(request).instrument(span).await
}

/// Around the routes of one format: errors in its words.
pub(crate) async fn speak(format: &'static dyn Format, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Surface::Packages(format.name()));
    let (parts, body) = request.into_parts();
    // The challenge may name what was asked for.
    let head = parts.clone();
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(Raised(error)) = response.extensions().get::<Raised>().cloned() {
        let base_url = head.extensions.get::<BaseUrl>().cloned().unwrap_or_default();
        let head = RequestHead {
            parts: &head,
            base_url: &base_url,
        };
        response = rendered(format.render_for(&error, &head), &error, response);
        if error.kind == ErrorKind::Unauthorized {
            formats::add_challenge(&mut response, format.challenge(&head));
        }
        response.extensions_mut().insert(Raised(error));
        response.extensions_mut().insert(Rendered);
    }
    response.extensions_mut().insert(AnsweredBy(format.name()));
    response
}

/// Whom the request came from, for logs.
fn client(response: &Response) -> Option<String> {
    response
        .extensions()
        .get::<ClientAddress>()
        .map(|address| address.0.to_string())
}

/// Puts the words of `new` in place of those of `old`, with the headers that either carries.
fn rendered(mut new: Response, error: &Arc<ApiError>, old: Response) -> Response {
    for (name, value) in old.headers() {
        let about_the_body = [header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name);
        if !about_the_body && !new.headers().contains_key(name) {
            new.headers_mut().insert(name.clone(), value.clone());
        }
    }
    for (name, value) in error.headers.iter() {
        new.headers_mut().insert(name.clone(), value.clone());
    }
    // Of the words, the reason phrase is one.
    let own = std::mem::replace(new.extensions_mut(), old.extensions().clone());
    new.extensions_mut().extend(own);
    new
}

fn log(
    id: &str,
    method: &Method,
    path: &str,
    response: &Response,
    raised: Option<&Raised>,
    format: &'static str,
    took: Duration,
) {
    let status = response.status().as_u16();
    let duration_ms = took.as_millis() as u64;
    let client = client(response).unwrap_or_default();
    let causes = raised.map(|raised| raised.0.causes()).unwrap_or_default();
    match status {
        503 => {
            warn!(id, %method, path, status, duration_ms, format, client, causes, "{method} {path} {status}")
        }
        500.. => {
            error!(id, %method, path, status, duration_ms, format, client, causes, "{method} {path} {status}")
        }
        _ => info!(id, %method, path, status, duration_ms, format, client, "{method} {path} {status}"),
    }
}

/// What comes before a token in paths that clients make: a first segment of its own, and how npm
/// signs out and revokes.
const BEFORE_TOKENS: [&str; 2] = ["/-/user/token/", "/-/npm/v1/tokens/token/"];

/// No longer path is logged whole.
const MAX_SHOWN_BYTES: usize = 1024;

/// The path as a log line may hold it: without tokens.
pub(crate) fn shown_path(path: &str) -> String {
    let begin = match path.strip_prefix("/t/") {
        Some(_) => Some("/t/".len()),
        None => BEFORE_TOKENS
            .iter()
            .find_map(|mark| path.find(mark).map(|at| at + mark.len())),
    };
    match begin {
        Some(begin) => match path[begin..].split_once('/') {
            Some((_, rest)) => format!("{}…/{rest}", &path[..begin]),
            None => format!("{}…", &path[..begin]),
        },
        None => path[..path.floor_char_boundary(MAX_SHOWN_BYTES)].into(),
    }
}

fn request_id(request: &Request) -> Arc<str> {
    let given = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let clean = |id: &&str| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match given.filter(clean) {
        Some(id) => id.into(),
        None => {
            let mut text = uuid::Uuid::encode_buffer();
            (*uuid::Uuid::new_v4().simple().encode_lower(&mut text)).into()
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panicked(String);

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_in_the_log_holds_a_token() {
        for (path, shown) in [
            ("/api/v4/projects/1", "/api/v4/projects/1"),
            ("/t/cnp-secret/x/y", "/t/…/x/y"),
            ("/t/cnp-secret", "/t/…"),
            (
                "/api/v4/packages/npm/-/user/token/cnp-secret",
                "/api/v4/packages/npm/-/user/token/…",
            ),
            (
                "/api/v4/packages/npm/-/npm/v1/tokens/token/cnp-secret",
                "/api/v4/packages/npm/-/npm/v1/tokens/token/…",
            ),
        ] {
            assert_eq!(shown_path(path), shown);
        }
    }
}
