//! Answers with documents that are made from records, such as package indexes: from memory if
//! they are asked for often, in pieces if they are large, and not at all if the client has them.
//!
//! What is kept in memory is kept under the revision of everything it was made from, so it is
//! never stale: a request first reads that revision on the latest state, and only then looks.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cairn_cluster::{Digests, Timestamp};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use moka::future::Cache;
use tokio::sync::OnceCell;

use crate::http::answers::Repeatable;
use crate::http::checksum;
use crate::http::error::ApiError;
use crate::registry::time::http_date;

/// Documents larger than this are sent in pieces and not kept.
const MAX_KEPT_BYTES: usize = 8 << 20;

/// Smaller ones are not worth compressing.
const MIN_COMPRESSED_BYTES: usize = 1 << 10;

/// A document in the making.
pub(crate) trait Assemble: Send + 'static {
    /// Makes the next piece of it; none after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<String>, ApiError>> + Send;
}

/// What is asked for, and what the answer says of it.
pub(crate) struct Wanted<'a> {
    /// Names the state of everything that the document is made from, without quotes: see
    /// [`state_tag`].
    pub(crate) etag: String,
    /// What the document depends on besides: the URL that is written into it.
    pub(crate) base: &'a str,
    /// Its media type.
    pub(crate) content_type: &'static str,
    /// The headers of the request that it depends on.
    pub(crate) vary: &'static str,
}

/// Names the state that a document about `name` is made from: projects, each with a revision.
pub(crate) fn state_tag(name: &str, state: impl IntoIterator<Item = (u64, u64)>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes());
    for (project, revision) in state {
        hasher.update(&project.to_be_bytes());
        hasher.update(&revision.to_be_bytes());
    }
    hasher.finalize().to_hex()[..32].into()
}

/// The documents that are kept in memory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Assembled {
    kept: Cache<Key, Entry>,
}

/// A document, or nothing if it is too large to be kept.
type Entry = Option<Arc<Kept>>;

/// All that a document depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    etag: String,
    base: String,
}

struct Kept {
    text: Bytes,
    compressed: OnceCell<Bytes>,
    digests: OnceCell<Digests>,
}

impl Assembled {
    /// Keeps about `capacity_bytes` of what was asked for.
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let weigh = |key: &Key, entry: &Entry| {
            // The compressed form comes later; it is about a quarter.
            let text_bytes = entry.as_ref().map_or(0, |kept| kept.text.len());
            let bytes = text_bytes + text_bytes / 4 + key.etag.len() + key.base.len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            kept: Cache::builder()
                .max_capacity(capacity_bytes)
                .weigher(weigh)
                .build(),
        }
    }

    /// Answers with a document; `begin` begins to make it, if it has to be made.
    pub(crate) async fn answer<A: Assemble, F>(
        &self,
        wanted: Wanted<'_>,
        request: &HeaderMap,
        begin: impl Fn() -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<A, ApiError>>,
    {
        let etag = tag(&wanted);
        if has_already(request, &etag) {
            return Ok(not_modified(&wanted));
        }
        let compress = accepts_gzip(request);
        let response = match self.entry(&wanted, &etag, &begin).await? {
            Some(kept) => kept.answer(compress).await?,
            None => in_pieces(begin().await?, compress),
        };
        Ok(decorate(response, &wanted, &etag))
    }

    /// The same for clients that know a document by a date alone, with which `modified` is compared as it is:
    /// it changes with every change of the document, and may be ahead of the clock.
    pub(crate) async fn answer_dated<A: Assemble, F>(
        &self,
        wanted: Wanted<'_>,
        modified: Timestamp,
        request: &HeaderMap,
        begin: impl Fn() -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<A, ApiError>>,
    {
        let date = http_date(modified);
        let since = request.get(header::IF_MODIFIED_SINCE);
        // Whoever sends a tag has it looked at alone.
        let is_known =
            !request.contains_key(header::IF_NONE_MATCH) && since.is_some_and(|since| *since == date);
        let mut response = match is_known {
            true => not_modified(&wanted),
            false => self.answer(wanted, request, begin).await?,
        };
        if let Ok(date) = HeaderValue::from_str(&date) {
            response.headers_mut().insert(header::LAST_MODIFIED, date);
        }
        Ok(response)
    }

    /// The digests of what [`Assembled::answer`] gives to those who do not take it compressed.
    pub(crate) async fn digests<A: Assemble, F>(
        &self,
        wanted: &Wanted<'_>,
        begin: impl Fn() -> F,
    ) -> Result<Digests, ApiError>
    where
        F: Future<Output = Result<A, ApiError>>,
    {
        match self.entry(wanted, &tag(wanted), &begin).await? {
            Some(kept) => kept.digests().await,
            None => {
                let (mut assembly, mut hasher) = (begin().await?, checksum::Hasher::default());
                while let Some(piece) = assembly.next().await? {
                    hasher.update(piece.as_bytes());
                }
                Ok(hasher.finish())
            }
        }
    }

    async fn entry<A: Assemble, F>(
        &self,
        wanted: &Wanted<'_>,
        etag: &str,
        begin: &impl Fn() -> F,
    ) -> Result<Entry, ApiError>
    where
        F: Future<Output = Result<A, ApiError>>,
    {
        let key = Key {
            etag: etag.into(),
            base: wanted.base.into(),
        };
        // Many who ask at once wait for one of them.
        let entry = self
            .kept
            .try_get_with(key, async { build(begin().await?).await })
            .await;
        entry.map_err(|error: Arc<ApiError>| ApiError::clone(&error))
    }
}

fn not_modified(wanted: &Wanted<'_>) -> Response {
    let mut response = decorate(StatusCode::NOT_MODIFIED.into_response(), wanted, &tag(wanted));
    response.extensions_mut().insert(Repeatable(Bytes::new()));
    response
}

/// It is a weak tag, because it is the same for the compressed form.
fn tag(wanted: &Wanted<'_>) -> String {
    format!("W/\"{}\"", wanted.etag)
}

async fn build(mut assembly: impl Assemble) -> Result<Entry, ApiError> {
    let mut text = String::new();
    while let Some(piece) = assembly.next().await? {
        text.push_str(&piece);
        if text.len() > MAX_KEPT_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(Arc::new(Kept {
        text: text.into(),
        compressed: OnceCell::new(),
        digests: OnceCell::new(),
    })))
}

impl Kept {
    async fn digests(&self) -> Result<Digests, ApiError> {
        let digests = self.digests.get_or_try_init(async || {
            let text = self.text.clone();
            tokio::task::spawn_blocking(move || checksum::of(&text))
                .await
                .map_err(ApiError::internal)
        });
        Ok(digests.await?.clone())
    }

    async fn answer(&self, compress: bool) -> Result<Response, ApiError> {
        if !compress || self.text.len() < MIN_COMPRESSED_BYTES {
            return Ok(repeatable(self.text.clone()));
        }
        let compressed = self.compressed.get_or_try_init(async || {
            let text = self.text.clone();
            tokio::task::spawn_blocking(move || gzip(&text))
                .await
                .map_err(ApiError::internal)?
                .map_err(ApiError::internal)
        });
        let mut response = repeatable(compressed.await?.clone());
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        Ok(response)
    }
}

fn repeatable(body: Bytes) -> Response {
    let mut response = Body::from(body.clone()).into_response();
    response.extensions_mut().insert(Repeatable(body));
    response
}

fn gzip(text: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text)?;
    Ok(encoder.finish()?.into())
}

/// Answers piece by piece, with a few of them in memory at a time.
fn in_pieces(assembly: impl Assemble, compress: bool) -> Response {
    let mut response = if compress {
        Body::from_stream(compressed_pieces(assembly)).into_response()
    } else {
        Body::from_stream(pieces(assembly)).into_response()
    };
    if compress {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn pieces<A: Assemble>(assembly: A) -> impl Stream<Item = Result<Bytes, ApiError>> {
    futures::stream::try_unfold(assembly, async |mut assembly| {
        let piece = assembly.next().await?;
        Ok(piece.map(|piece| (Bytes::from(piece), assembly)))
    })
}

fn compressed_pieces<A: Assemble>(assembly: A) -> impl Stream<Item = Result<Bytes, ApiError>> {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    futures::stream::try_unfold(Some((assembly, encoder)), async |state| {
        let Some((mut assembly, encoder)) = state else {
            return Ok(None);
        };
        let piece = assembly.next().await?;
        let compressed = tokio::task::spawn_blocking(move || compress(encoder, piece)).await;
        let (bytes, encoder) = compressed
            .map_err(ApiError::internal)?
            .map_err(ApiError::internal)?;
        Ok(Some((bytes, encoder.map(|encoder| (assembly, encoder)))))
    })
}

type Encoder = GzEncoder<Vec<u8>>;

/// Compresses one more piece; after the last, ends the stream.
fn compress(mut encoder: Encoder, piece: Option<String>) -> io::Result<(Bytes, Option<Encoder>)> {
    match piece {
        Some(piece) => {
            encoder.write_all(piece.as_bytes())?;
            let written = std::mem::take(encoder.get_mut());
            Ok((written.into(), Some(encoder)))
        }
        None => Ok((encoder.finish()?.into(), None)),
    }
}

fn has_already(request: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
            let quality = quality
                .trim()
                .strip_prefix("q=")
                .and_then(|quality| quality.parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case("gzip") && quality != Some(0.0)
        })
}

fn decorate(mut response: Response, wanted: &Wanted<'_>, etag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(wanted.content_type),
    );
    headers.insert(header::VARY, HeaderValue::from_static(wanted.vary));
    // Kept by the client, and asked about each time: a publish is seen at once.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_tag_is_compared_weakly() {
        let check = |sent: &str, expected: bool| {
            assert_eq!(
                has_already(&headers(header::IF_NONE_MATCH, sent), "W/\"a-1\""),
                expected,
                "{sent}"
            );
        };
        check("W/\"a-1\"", true);
        check("\"a-1\"", true);
        check("\"x\", W/\"a-1\"", true);
        check("*", true);
        check("W/\"f-1\"", false);
        check("", false);
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let check = |sent: &str, expected: bool| {
            assert_eq!(
                accepts_gzip(&headers(header::ACCEPT_ENCODING, sent)),
                expected,
                "{sent}"
            );
        };
        check("gzip", true);
        check("br, GZIP;q=0.5", true);
        check("deflate, gzip;q=1.0, *;q=0.5", true);
        check("gzip;q=0", false);
        check("identity", false);
        check("", false);
    }
}
