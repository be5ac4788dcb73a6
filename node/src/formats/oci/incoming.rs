//! The body of a request, which outlives whoever reads from it: what is left after a refusal
//! is read and thrown away, within limits.
//!
//! A client that still sends when it is answered and cut off sees a broken connection rather
//! than the answer, and does not come back with the token that it was asked for.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http_body::Body as _;

use super::error;
use crate::http::body::{self, BodyError};
use crate::http::error::ApiError;

/// The most that is read after a refusal.
const MAX_DRAINED_BYTES: usize = 8 << 20;

/// The body of a request.
pub(super) struct Incoming {
    stream: BoxStream<'static, Result<Bytes, BodyError>>,
    is_empty: bool,
    /// Whether the client waits for a word before it sends: then nothing is under way.
    is_waiting: bool,
}

impl Incoming {
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        Self {
            is_empty: body.is_end_stream() || body::content_length(headers) == Some(0),
            is_waiting: headers.contains_key(header::EXPECT),
            stream: body::stream(body).boxed(),
        }
    }

    /// Whether it was clear from the beginning that there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// What comes, as it comes.
    pub(super) fn stream(&mut self) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {
        self.is_waiting = false;
        &mut self.stream
    }

    /// All of it, if it is no longer than this.
    pub(super) async fn whole(&mut self, what: &str, limit_bytes: usize) -> Result<Bytes, ApiError> {
        let mut whole = Vec::new();
        let mut stream = self.stream();
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            if bytes.len() > limit_bytes - whole.len() {
                return Err(error::too_large(what, limit_bytes as u64));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.into())
    }

    /// Reads what is left of it, up to a limit.
    pub(super) async fn drain(mut self) {
        let mut left = MAX_DRAINED_BYTES;
        while !self.is_waiting
            && let Some(Ok(bytes)) = self.stream.next().await
        {
            match left.checked_sub(bytes.len()) {
                Some(less) => left = less,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::http::error::ErrorKind;

    /// A body of so many pieces of 1 MiB that counts how many were taken.
    fn body(pieces: usize) -> (Body, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let pieces = futures::stream::iter(0..pieces).map(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1 << 20]))
        });
        (Body::from_stream(pieces), taken)
    }

    #[tokio::test]
    async fn what_is_left_is_read_up_to_a_limit() {
        for (pieces, expected) in [(0, 0), (3, 3), (8, 8), (100, 9)] {
            let (body, taken) = body(pieces);
            Incoming::new(&HeaderMap::new(), body).drain().await;
            assert_eq!(taken.load(Ordering::SeqCst), expected, "of {pieces}");
        }
    }

    #[tokio::test]
    async fn a_client_that_waits_is_not_asked_to_send() {
        let mut headers = HeaderMap::new();
        headers.insert(header::EXPECT, header::HeaderValue::from_static("100-continue"));
        let (body, taken) = body(3);
        Incoming::new(&headers, body).drain().await;
        assert_eq!(taken.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_document_is_bounded() {
        let (body, taken) = body(100);
        let mut incoming = Incoming::new(&HeaderMap::new(), body);
        let error = incoming.whole("it", 3 << 20).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        assert_eq!(taken.load(Ordering::SeqCst), 4);
    }
}
