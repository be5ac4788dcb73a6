//! How long a connection may take over what, so that nobody holds one for nothing.
//!
//! - The head of the first request must be there within the head timeout; so must any other
//!   head of HTTP/1.1, once it has begun.
//! - A connection on which no request is under way is closed after the idle timeout.
//! - A client that takes nothing of an answer for the idle timeout is cut off; on HTTP/2, where
//!   a client can refuse one answer and take another, that holds for each of them.
//!
//! While a request is worked on, it may take its time; how fast a body must come is
//! [`super::pace`]'s business. The library has timers of its own for some of this, but none
//! before it knows the version of HTTP, and none that tells a slow head from a connection kept alive.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Version;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep};

use crate::http::metrics;
use crate::http::settings::Limits;

/// What is going on on a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    under_way: usize,
    /// When the last request ended, or the connection began.
    quiet_since: Instant,
    /// When the first byte of the next head came.
    head_since: Option<Instant>,
    seen: Option<Version>,
    /// Since when the client has been offered the next piece of an answer, by the answer's number.
    offered_since: BTreeMap<u64, Instant>,
    last_answer: u64,
}

impl Activity {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            under_way: 0,
            quiet_since: now,
            head_since: None,
            seen: None,
            offered_since: BTreeMap::new(),
            last_answer: 0,
        })))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().expect("no panic while held"))
    }

    /// A request has begun; it is under way until the returned value is dropped.
    pub(super) fn request(&self, version: Version) -> UnderWay {
        self.with(|state| {
            state.under_way += 1;
            state.head_since = None;
            state.seen = Some(version);
        });
        UnderWay(self.clone())
    }

    fn received(&self) {
        self.with(|state| {
            if state.under_way == 0 {
                state.head_since.get_or_insert_with(Instant::now);
            }
        });
    }

    /// Until when something must come; no matter when, if a request is under way.
    fn deadline(&self, head_timeout: Duration, idle_timeout: Duration) -> Option<Instant> {
        self.with(|state| match (state.under_way, state.seen, state.head_since) {
            // Of HTTP/1.1 the socket tells.
            (1.., Some(version), _) if version < Version::HTTP_2 => None,
            (1.., _, _) => {
                let longest = state.offered_since.values().min();
                longest.map(|since| *since + idle_timeout)
            }
            (0, None, _) => Some(state.quiet_since + head_timeout),
            // What comes between the requests of HTTP/2 need not be a head.
            (0, Some(version), Some(begun)) if version < Version::HTTP_2 => Some(begun + head_timeout),
            (0, Some(_), _) => Some(state.quiet_since + idle_timeout),
        })
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay(Activity);

impl UnderWay {
    /// Ends with this body.
    pub(super) fn until_the_end_of(self, body: Body) -> Body {
        let number = self.0.with(|state| {
            state.last_answer += 1;
            // A client without any room does not even let the first piece be asked for.
            state.offered_since.insert(state.last_answer, Instant::now());
            state.last_answer
        });
        Body::new(Answer {
            body,
            number,
            under_way: self,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.under_way -= 1;
            state.quiet_since = Instant::now();
        });
    }
}

struct Answer {
    body: Body,
    number: u64,
    under_way: UnderWay,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let activity = &self.under_way.0;
        activity.with(|state| state.offered_since.remove(&self.number));
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // The next piece is asked for when the client has room for more than the last one; until
        // it is there, nobody waits for the client.
        let outcome = Pin::new(&mut self.body).poll_frame(context);
        let activity = &self.under_way.0;
        activity.with(|state| match outcome {
            Poll::Ready(Some(_)) => state.offered_since.insert(self.number, Instant::now()),
            _ => state.offered_since.remove(&self.number),
        });
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when its connection takes too long over something.
pub(super) struct Watched<S> {
    stream: S,
    activity: Activity,
    head_timeout: Duration,
    idle_timeout: Duration,
    reading: Alarm,
    writing: Alarm,
    /// Since when the other end takes nothing.
    stuck_since: Option<Instant>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Activity, limits: &Limits) -> Self {
        Self {
            stream,
            activity,
            head_timeout: limits.head_timeout,
            idle_timeout: limits.idle_timeout,
            reading: Alarm::default(),
            writing: Alarm::default(),
            stuck_since: None,
        }
    }

    fn judge_write<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck_since = None;
            return outcome;
        }
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        match self.writing.rings(context, since + self.idle_timeout) {
            true => Poll::Ready(Err(too_long("stuck"))),
            false => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                this.activity.received();
            }
            return Poll::Ready(outcome);
        }
        loop {
            // While a request is under way, the end of it may still be followed by silence.
            let asked = this.activity.deadline(this.head_timeout, this.idle_timeout);
            let deadline = asked.unwrap_or_else(|| Instant::now() + this.head_timeout.min(this.idle_timeout));
            match (this.reading.rings(context, deadline), asked) {
                (false, _) => return Poll::Pending,
                (true, Some(_)) => return Poll::Ready(Err(too_long("silent"))),
                (true, None) => {}
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge_write(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge_write(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.judge_write(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge_write(context, outcome)
    }
}

fn too_long(reason: &'static str) -> io::Error {
    metrics::dropped(reason);
    io::Error::new(io::ErrorKind::TimedOut, "the client takes too long")
}

/// A timer that is only set anew when it rings too early: most of the time that is never.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `deadline` has passed; if not, the task is woken when it does.
    fn rings(&mut self, context: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if deadline <= Instant::now() {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    fn connection(buffer: usize) -> (Watched<DuplexStream>, Activity, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(buffer);
        let activity = Activity::begin();
        let limits = Limits {
            head_timeout: HEAD,
            idle_timeout: IDLE,
            ..Limits::default()
        };
        (Watched::new(ours, activity.clone(), &limits), activity, theirs)
    }

    /// Reads until the connection is given up; says after how many seconds.
    async fn given_up(watched: &mut Watched<DuplexStream>) -> u64 {
        let begun = Instant::now();
        let mut byte = [0];
        while watched.read(&mut byte).await.is_ok() {}
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_before_the_first_request_ends_a_connection() {
        let (mut watched, _, _theirs) = connection(64);
        assert_eq!(given_up(&mut watched).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_in_ends_a_connection() {
        let (mut watched, activity, mut theirs) = connection(64);
        let trickle = tokio::spawn(async move {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(given_up(&mut watched).await, 10);
        // So does a later one, whose time begins with its first byte.
        drop(activity.request(Version::HTTP_11));
        assert_eq!(given_up(&mut watched).await, 10);
        // Between the requests of HTTP/2, what comes may be of other streams.
        drop(activity.request(Version::HTTP_2));
        assert_eq!(given_up(&mut watched).await, 60);
        drop(watched);
        trickle.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_alive_and_a_request_takes_its_time() {
        let (mut watched, activity, _theirs) = connection(64);
        let request = activity.request(Version::HTTP_11);
        let ends = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(500)).await;
            drop(request);
        });
        assert_eq!(given_up(&mut watched).await, 560);
        ends.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_http_2_that_is_not_taken_ends_a_connection() {
        let (mut watched, activity, _theirs) = connection(64);
        let answer = || {
            let pieces = stream::iter(["a"; 9]).map(Ok::<_, io::Error>);
            activity
                .request(Version::HTTP_2)
                .until_the_end_of(Body::from_stream(pieces))
        };
        let (mut taken, ignored) = (answer(), answer());
        let takes = tokio::spawn(async move {
            // What is taken of one does not make up for the other.
            while let Some(piece) = taken.frame().await {
                piece.unwrap();
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        });
        assert_eq!(given_up(&mut watched).await, 60);
        drop(ignored);
        // The one that is taken goes on to its end: nine pieces, after the first 60 seconds.
        assert_eq!(given_up(&mut watched).await, 9 * 20 - 60 + 60);
        takes.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_does_not_answer_for_how_slow_we_are() {
        let (mut watched, activity, _theirs) = connection(64);
        let slow = stream::once(async {
            tokio::time::sleep(Duration::from_secs(500)).await;
            Ok::<_, io::Error>("late")
        });
        let mut answer = activity
            .request(Version::HTTP_2)
            .until_the_end_of(Body::from_stream(slow));
        let takes = tokio::spawn(async move { while answer.frame().await.is_some() {} });
        assert_eq!(given_up(&mut watched).await, 560);
        takes.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (mut watched, activity, mut theirs) = connection(4);
        let _request = activity.request(Version::HTTP_11);
        watched.write_all(b"1234").await.unwrap();
        let begun = Instant::now();
        let taken = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(50)).await;
            let mut byte = [0];
            theirs.read_exact(&mut byte).await.unwrap();
            theirs
        });
        assert!(watched.write_all(b"5678").await.is_err());
        assert_eq!(begun.elapsed().as_secs(), 110);
        drop(taken.await.unwrap());
    }
}
