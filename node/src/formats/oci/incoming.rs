//! The body of a request: a stream, or a document with a limit.

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http_body::Body as _;

use super::error;
use crate::http::body::{self, BodyError};
use crate::http::error::ApiError;

/// The body of a request.
pub(super) struct Incoming {
    stream: BoxStream<'static, Result<Bytes, BodyError>>,
    is_empty: bool,
}

impl Incoming {
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        Self {
            is_empty: body.is_end_stream() || body::content_length(headers) == Some(0),
            stream: body::stream(body).boxed(),
        }
    }

    /// Whether it was clear from the beginning that there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// What comes, as it comes.
    pub(super) fn stream(&mut self) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {
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
    async fn a_document_is_bounded() {
        let (body, taken) = body(100);
        let mut incoming = Incoming::new(&HeaderMap::new(), body);
        let error = incoming.whole("it", 3 << 20).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        assert_eq!(taken.load(Ordering::SeqCst), 4);
    }
}
