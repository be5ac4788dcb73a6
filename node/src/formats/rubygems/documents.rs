//! Answers with package indexes: with their digests, in part, from memory, or not at all because
//! the client has them.
//!
//! A client of the compact index keeps the documents, asks for what was added to them, and makes sure
//! of the whole by a digest. So a document is read through once, for its length and its digests; a
//! small one is kept in memory then, and a large one is made again, piece by piece, for those who
//! want it.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::response::Response;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures::stream;
use md5::{Digest, Md5};
use moka::future::Cache;
use sha2::Sha256;

use crate::http::error::{ApiError, ErrorKind};
use crate::http::serve::{self, Opened, Served};

/// Larger documents are not kept.
const MAX_KEPT_BYTES: usize = 8 << 20;

/// A document in the making.
pub(super) trait Pieces: Send + 'static {
    /// Makes the next piece of it; none after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ApiError>> + Send;
}

/// What clients know a document by.
#[derive(Clone)]
pub(super) struct Facts {
    hashes: (Md5, Sha256),
    pub(super) length: u64,
}

impl Facts {
    /// Of nothing yet.
    pub(super) fn new() -> Self {
        Self {
            hashes: (Md5::new(), Sha256::new()),
            length: 0,
        }
    }

    /// Takes what comes next in.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hashes.0.update(bytes);
        self.hashes.1.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// What an answer says of the document. Old clients compare the entity tag with the MD5 of what they
    /// have; newer ones the digest, which is always that of the whole.
    pub(super) fn served(&self, content_type: &'static str) -> Served {
        let (md5, sha256) = self.hashes.clone();
        let digest = BASE64.encode(&sha256.finalize());
        Served::new(HEXLOWER.encode(&md5.finalize()))
            .with_type(content_type)
            .with_header(
                HeaderName::from_static("repr-digest"),
                &format!("sha-256=:{digest}:"),
            )
            .with_header(HeaderName::from_static("digest"), &format!("sha-256={digest}"))
            .with_header(header::CACHE_CONTROL, "private, no-cache")
    }
}

/// The documents that are kept in memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct Documents {
    kept: Cache<String, Arc<Kept>>,
}

struct Kept {
    facts: Facts,
    /// None if there are too many.
    bytes: Option<Bytes>,
}

impl Documents {
    /// Keeps about `capacity_bytes` of what was asked for.
    pub(super) fn new(capacity_bytes: u64) -> Self {
        let weigh = |state: &String, kept: &Arc<Kept>| {
            let bytes = state.len() + 256 + kept.bytes.as_ref().map_or(0, Bytes::len);
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            kept: Cache::builder()
                .max_capacity(capacity_bytes)
                .weigher(weigh)
                .build(),
        }
    }

    /// Answers with a document, of which `state` names all that it is made from, and which `begin` begins
    /// to make. `decorate` adds what the answer says besides.
    pub(super) async fn answer<P: Pieces, F>(
        &self,
        state: String,
        (method, headers): (&Method, &HeaderMap),
        decorate: impl FnOnce(&Facts) -> Served,
        begin: impl Fn() -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<P, ApiError>>,
    {
        // Many who ask at once wait for one of them.
        let kept = self
            .kept
            .try_get_with(state, async { build(begin().await?).await });
        let kept = kept
            .await
            .map_err(|error: Arc<ApiError>| ApiError::clone(&error))?;
        let served = decorate(&kept.facts);
        let opening = match open(method, headers, kept.facts.length, served)? {
            Opened::Answered(response) => return Ok(response),
            Opened::Wanted(opening) => opening,
        };
        let range = opening.range();
        let body = match &kept.bytes {
            // The range lies inside of the bytes, so it fits their length.
            Some(bytes) => Body::from(bytes.slice(range.start as usize..range.end as usize)),
            None => in_pieces(begin().await?, range),
        };
        Ok(opening.answer(body))
    }
}

/// Decides on a request. Who has more than there is gets all of it: the document was written anew.
pub(super) fn open(
    method: &Method,
    headers: &HeaderMap,
    length: u64,
    served: Served,
) -> Result<Opened, ApiError> {
    match serve::open(method, headers, length, served.clone()) {
        Err(error) if error.kind == ErrorKind::RangeNotSatisfiable => {
            let mut whole = headers.clone();
            whole.remove(header::RANGE);
            serve::open(method, &whole, length, served)
        }
        opened => opened,
    }
}

async fn build(mut pieces: impl Pieces) -> Result<Arc<Kept>, ApiError> {
    let (mut facts, mut bytes) = (Facts::new(), Some(Vec::new()));
    while let Some(piece) = pieces.next().await? {
        facts.add(&piece);
        bytes = bytes.filter(|bytes| bytes.len() + piece.len() <= MAX_KEPT_BYTES);
        if let Some(bytes) = &mut bytes {
            bytes.extend_from_slice(&piece);
        }
    }
    Ok(Arc::new(Kept {
        facts,
        bytes: bytes.map(Bytes::from),
    }))
}

/// A part of a document that is made piece by piece.
pub(super) fn in_pieces<P: Pieces>(pieces: P, range: Range<u64>) -> Body {
    struct At<P> {
        pieces: P,
        offset: u64,
        range: Range<u64>,
    }
    let at = At {
        pieces,
        offset: 0,
        range,
    };
    Body::from_stream(stream::try_unfold(at, async |mut at| {
        while at.offset < at.range.end {
            let Some(piece) = at.pieces.next().await? else {
                let short = std::io::Error::other("a package index ended before its length");
                return Err(ApiError::internal(short));
            };
            let begin = at.offset;
            at.offset += piece.len() as u64;
            let from = at.range.start.clamp(begin, at.offset) - begin;
            let to = at.range.end.clamp(begin, at.offset) - begin;
            if from < to {
                return Ok(Some((piece.slice(from as usize..to as usize), at)));
            }
        }
        Ok(None)
    }))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, StatusCode};
    use http_body_util::BodyExt;

    use super::*;

    /// So many pieces of a length.
    struct Parts(usize, usize);

    impl Pieces for Parts {
        async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
            let Some(left) = self.0.checked_sub(1) else {
                return Ok(None);
            };
            self.0 = left;
            Ok(Some(vec![b'a' + (left % 26) as u8; self.1].into()))
        }
    }

    async fn answer(documents: &Documents, parts: (usize, usize), range: &str) -> Response {
        let mut headers = HeaderMap::new();
        if !range.is_empty() {
            headers.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        }
        let request = (&Method::GET, &headers);
        let state = format!("{parts:?}");
        let begin = async || Ok(Parts(parts.0, parts.1));
        let answered = documents.answer(state, request, |facts| facts.served("text/plain"), begin);
        answered.await.unwrap()
    }

    async fn body(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn small_and_large_documents_are_answered_alike() {
        let documents = Documents::new(64 << 20);
        for parts in [(26, 10), (26, MAX_KEPT_BYTES / 20)] {
            let response = answer(&documents, parts, "").await;
            assert_eq!(response.status(), StatusCode::OK);
            let etag = response.headers()[header::ETAG].clone();
            let digest = response.headers()["repr-digest"].clone();
            let whole = body(response).await;
            assert_eq!(whole.len(), parts.0 * parts.1);
            assert_eq!(etag, format!("\"{}\"", HEXLOWER.encode(&Md5::digest(&whole))));
            let sha256 = BASE64.encode(&Sha256::digest(&whole));
            assert_eq!(digest, format!("sha-256=:{sha256}:"));
            // Across pieces, the last byte, and one that is no more.
            let middle = parts.1 * 3 - 5;
            for (from, status) in [
                (middle, StatusCode::PARTIAL_CONTENT),
                (whole.len() - 1, StatusCode::PARTIAL_CONTENT),
                (whole.len(), StatusCode::OK),
            ] {
                let response = answer(&documents, parts, &format!("bytes={from}-")).await;
                assert_eq!(response.status(), status);
                assert_eq!(response.headers()["repr-digest"], digest);
                let from = if status == StatusCode::OK { 0 } else { from };
                assert_eq!(body(response).await, whole.slice(from..));
            }
        }
    }
}
