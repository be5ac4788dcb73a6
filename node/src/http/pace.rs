//! A body must arrive at a least pace, or its request ends with 408.
//!
//! Only the time in which we wait for the client counts: a slow disk of ours is not its fault.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::http::settings::Limits;

/// The client sends its body too slowly.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body arrives too slowly")]
pub struct TooSlow;

/// The same body, held to the least pace.
pub(crate) fn paced(body: Body, limits: &Limits) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(Paced {
        body,
        least_bytes: limits.body_bytes,
        window: limits.body_window,
        waited: Duration::ZERO,
        received: 0,
        waiting: None,
    })
}

struct Paced {
    body: Body,
    least_bytes: u64,
    window: Duration,
    /// How long we have waited in this window, before the wait that is going on.
    waited: Duration,
    received: u64,
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl Paced {
    fn stop_waiting(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.waited += waiting.since.elapsed();
        }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
                this.stop_waiting();
                if let Some(Ok(frame)) = &frame {
                    this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            let left = this.window.saturating_sub(this.waited);
            let waiting = this.waiting.get_or_insert_with(|| Waiting {
                since: Instant::now(),
                deadline: Box::pin(tokio::time::sleep(left)),
            });
            ready!(waiting.deadline.as_mut().poll(context));
            if this.received < this.least_bytes {
                return Poll::Ready(Some(Err(Box::new(TooSlow))));
            }
            this.waiting = None;
            this.waited = Duration::ZERO;
            this.received = 0;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    fn trickle(bytes_per_second: usize, seconds: usize) -> Body {
        Body::from_stream(stream::unfold(0, move |second| async move {
            if second == seconds {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((
                Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes_per_second])),
                second + 1,
            ))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_ends_after_one_window() {
        let begun = Instant::now();
        let error = paced(trickle(1, 3600), &Limits::default())
            .collect()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("too slowly"));
        assert_eq!(begun.elapsed().as_secs(), Limits::default().body_window.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_the_least_pace_arrives() {
        let received = paced(trickle(1100, 100), &Limits::default())
            .collect()
            .await
            .unwrap();
        assert_eq!(received.to_bytes().len(), 110_000);
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_slowness_does_not_count() {
        let mut body = paced(trickle(1, 25), &Limits::default());
        for _ in 0..25 {
            body.frame().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert!(body.frame().await.is_none());
    }
}
