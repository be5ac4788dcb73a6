//! Receiving bodies: whole and small, or as a stream; never more than is allowed.
//!
//! A client that sent `Expect: 100-continue` is told to go on when the body is first polled.
//! So a handler decides before it reads: `Authorised` comes before the body in its signature.

use std::error::Error as StdError;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, header};
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form;
use crate::http::pace::TooSlow;

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It came too slowly.
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    /// The connection broke, or what came was not a body.
    #[error("the body ended early: {0}")]
    Broken(String),
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooSlow(_) => ApiError::new(ErrorKind::RequestTimeout, "the body arrives too slowly")
                .with_header(header::CONNECTION, HeaderValue::from_static("close")),
            BodyError::Broken(_) => ApiError::bad_request("the body ended early"),
        }
    }
}

impl From<axum::Error> for BodyError {
    fn from(error: axum::Error) -> Self {
        if is_caused_by::<TooSlow>(&error) {
            Self::TooSlow(TooSlow)
        } else {
            Self::Broken(error.to_string())
        }
    }
}

fn is_caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<E>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// The body as a stream, as [`cairn_cluster::Blobs::put`] takes it.
pub fn stream(body: Body) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {
    TryStreamExt::map_err(body.into_data_stream(), BodyError::from).boxed()
}

/// The whole body, if it is no longer than this.
pub async fn whole(body: Body, limit_bytes: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is_caused_by::<LengthLimitError>(error.as_ref()) => Err(ApiError::new(
            ErrorKind::TooLarge,
            format!("the body is over the limit of {limit_bytes} bytes"),
        )),
        Err(error) if is_caused_by::<TooSlow>(error.as_ref()) => Err(BodyError::TooSlow(TooSlow).into()),
        Err(error) => Err(BodyError::Broken(error.to_string()).into()),
    }
}

/// The length that a request says its body has.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Refuses a body in a coding: what is published is stored as it is sent.
pub fn refuse_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let coded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| coding != "identity");
    if coded {
        return Err(ApiError::new(
            ErrorKind::UnsupportedMediaType,
            "a body with a Content-Encoding is not taken here",
        ));
    }
    Ok(())
}

/// Refuses a file for what is said of it before its first byte.
pub(crate) fn refuse_file(headers: &HeaderMap, limit_bytes: u64) -> Result<(), ApiError> {
    refuse_coding(headers)?;
    match content_length(headers) {
        Some(length) if length > limit_bytes => Err(file_too_large(limit_bytes)),
        _ => Ok(()),
    }
}

/// The answer to a file that has more bytes than are allowed.
pub(crate) fn file_too_large(limit_bytes: u64) -> ApiError {
    ApiError::new(
        ErrorKind::TooLarge,
        format!("the file is over the limit of {limit_bytes} bytes"),
    )
}

/// A JSON body of the REST API, or the same as a form, as GitLab takes both.
///
/// Parameters may stand in the query as well, or instead; of one in both, the body's counts. Fields
/// that are not known are refused by the types, which all say so.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let limits = &app.http().limits;
        let (parts, body) = request.into_parts();
        refuse_coding(&parts.headers)?;
        let form = media_type(&parts.headers).as_deref() == Some("application/x-www-form-urlencoded");
        let bytes = whole(body, limits.json_bytes).await?;
        let mut all = form::object(parts.uri.query().unwrap_or_default().as_bytes());
        if let Some(secret) = SECRET_PARAMETERS.iter().find(|name| all.contains_key(**name)) {
            return Err(ApiError::parameter(format!(
                "{secret} is not taken from the query string; send it in the body"
            )));
        }
        if all.is_empty() && !form && !bytes.is_empty() {
            return json(&bytes, limits.json_depth).map(Params);
        }
        all.extend(match form || bytes.is_empty() {
            true => form::object(&bytes),
            false => json(&bytes, limits.json_depth)?,
        });
        form::read(all).map(Params)
    }
}

/// What must not stand where proxies and browsers remember it.
const SECRET_PARAMETERS: [&str; 2] = ["password", "new_password"];

/// A JSON body, and nothing else: for what a form on another site must not be able to send, and what
/// must not stand in a query.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let limits = &app.http().limits;
        let (parts, body) = request.into_parts();
        refuse_coding(&parts.headers)?;
        if media_type(&parts.headers).as_deref() != Some("application/json") {
            return Err(ApiError::new(
                ErrorKind::UnsupportedMediaType,
                "the body must be application/json",
            ));
        }
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(ApiError::bad_request(
                "nothing is taken from the query string here; send it in the body",
            ));
        }
        let bytes = whole(body, limits.json_bytes).await?;
        json(&bytes, limits.json_depth).map(Self)
    }
}

/// Parses JSON of bounded depth.
pub fn json<T: DeserializeOwned>(bytes: &[u8], max_depth: usize) -> Result<T, ApiError> {
    if depth(bytes) > max_depth {
        return Err(ApiError::bad_request(format!(
            "the JSON is nested deeper than {max_depth}"
        )));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("the JSON is not as expected: {error}")))
}

/// How deep brackets and braces nest.
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The media type without its parameters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (json, expected) in [
            ("", 0),
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[{"b":1}]}"#, 3),
            (r#"{"a":"[[[[\"[["}"#, 1),
            ("[[[[", 4),
            ("]]]][", 1),
        ] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let body = || {
            Body::from_stream(futures::stream::iter([
                Ok::<_, std::io::Error>("12345"),
                Ok("678"),
            ]))
        };
        assert_eq!(whole(body(), 8).await.unwrap(), "12345678");
        assert_eq!(whole(body(), 7).await.unwrap_err().kind, ErrorKind::TooLarge);
    }
}
