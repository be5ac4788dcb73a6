//! What a client still sends when its request is answered is read and thrown away, within limits.
//!
//! A server that stops reading closes the connection, and what then arrives at it makes its system break the
//! connection off: the client loses the answer that was on its way, and reports a broken connection instead of what it
//! was told, or does not come back with the token that it was asked for. Some clients look at an answer only when they
//! have sent everything, so a little is read before the answer is given, and more while it is.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{Request, StatusCode, header};
use futures::StreamExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

/// The most that is read before the answer is given.
const MAX_BYTES_BEFORE: usize = 8 << 20;

/// The longest that is waited for it then.
const LONGEST_BEFORE: Duration = Duration::from_secs(5);

/// The most that is read while and after the answer is given: most packages, and no work without end for those who have
/// no right to any.
const MAX_BYTES_AFTER: usize = 1 << 30;

/// The longest that is waited for it.
const LONGEST_AFTER: Duration = Duration::from_secs(30);

/// Lends out the body of a request; what is left of it comes back when the borrower drops it.
///
/// Nothing comes back of a body that is empty, and of one that the client holds back until it is asked for.
pub(super) fn lend(request: Request<Body>) -> (Request<Body>, Option<Rest>) {
    if request.body().is_end_stream() {
        return (request, None);
    }
    let (parts, body) = request.into_parts();
    let (sender, rest) = oneshot::channel();
    let lent = Lent {
        body,
        back: Some(sender),
        is_waited_for: parts.headers.contains_key(header::EXPECT),
    };
    (Request::from_parts(parts, Body::new(lent)), Some(Rest(rest)))
}

/// What may come back.
pub(super) struct Rest(oneshot::Receiver<Body>);

impl Rest {
    /// Reads what is left, when it is known that this will be answered: some of it now, the others in the background.
    pub(super) async fn read(mut self, status: StatusCode) {
        // Who was too slow has been waited for.
        if status == StatusCode::REQUEST_TIMEOUT {
            return;
        }
        let Ok(body) = self.0.try_recv() else {
            return;
        };
        let mut pieces = body.into_data_stream();
        let before = read_up_to(MAX_BYTES_BEFORE, &mut pieces);
        if tokio::time::timeout(LONGEST_BEFORE, before).await != Ok(true) {
            tokio::spawn(tokio::time::timeout(LONGEST_AFTER, async move {
                read_up_to(MAX_BYTES_AFTER, &mut pieces).await;
            }));
        }
    }
}

/// Reads so much and throws it away; whether that was all.
async fn read_up_to(max_bytes: usize, pieces: &mut BodyDataStream) -> bool {
    let mut left = max_bytes;
    while left > 0 {
        let Some(Ok(piece)) = pieces.next().await else {
            return true;
        };
        left = left.saturating_sub(piece.len());
    }
    false
}

struct Lent {
    body: Body,
    /// Where it goes back to, until it has ended.
    back: Option<oneshot::Sender<Body>>,
    /// Whether nothing is under way, since the client was not asked yet.
    is_waited_for: bool,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_waited_for = false;
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.back = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !self.is_waited_for
            && !self.body.is_end_stream()
        {
            // Nobody is there any more who would answer: then nobody reads either.
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    const PIECE_BYTES: usize = 1 << 20;

    /// A request of so many pieces that counts how many were taken.
    fn request(pieces: usize) -> (Request<Body>, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let pieces = stream::iter(0..pieces).map(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; PIECE_BYTES]))
        });
        (Request::new(Body::from_stream(pieces)), taken)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_read() {
        let all = (MAX_BYTES_BEFORE + MAX_BYTES_AFTER) / PIECE_BYTES;
        for pieces in [1, 3, 100, all, all + 100] {
            let (request, taken) = request(pieces);
            let (request, rest) = lend(request);
            drop(request);
            rest.unwrap().read(StatusCode::UNAUTHORIZED).await;
            assert_eq!(
                taken.load(Ordering::SeqCst),
                pieces.min(MAX_BYTES_BEFORE / PIECE_BYTES)
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(taken.load(Ordering::SeqCst), pieces.min(all));
        }
    }

    #[tokio::test]
    async fn what_was_read_to_its_end_does_not_come_back() {
        let (request, taken) = request(3);
        let (request, rest) = lend(request);
        request.into_body().collect().await.unwrap();
        assert_eq!(taken.load(Ordering::SeqCst), 3);
        assert!(rest.unwrap().0.try_recv().is_err());
        assert!(lend(Request::new(Body::empty())).1.is_none());
    }

    #[tokio::test]
    async fn a_client_that_waits_is_not_asked_to_send() {
        for (is_read, expected) in [(false, 0), (true, 3)] {
            let (mut request, taken) = request(3);
            let waits = "100-continue".parse().unwrap();
            request.headers_mut().insert(header::EXPECT, waits);
            let (mut request, rest) = lend(request);
            if is_read {
                request.body_mut().frame().await.unwrap().unwrap();
            }
            drop(request);
            rest.unwrap().read(StatusCode::UNAUTHORIZED).await;
            assert_eq!(taken.load(Ordering::SeqCst), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_without_end() {
        for (status, seconds) in [(StatusCode::UNAUTHORIZED, 5), (StatusCode::REQUEST_TIMEOUT, 0)] {
            let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            let (request, rest) = lend(Request::new(silent));
            drop(request);
            let begun = tokio::time::Instant::now();
            rest.unwrap().read(status).await;
            assert_eq!(begun.elapsed().as_secs(), seconds);
        }
    }
}
