//! Load: so many connections of HTTP/1.1, on each one request after the other, by the client of
//! the `hyper` library with nothing around it. The same load is put on Cairn and on what it is
//! compared with.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How much of an answer that was not expected is shown.
const SHOWN_BYTES: usize = 1000;

/// The body of a request.
pub(crate) type Payload = BoxBody<Bytes, Infallible>;

/// No body.
pub(crate) fn nothing() -> Payload {
    Empty::new().boxed()
}

/// A body that is at hand.
pub(crate) fn whole(bytes: Bytes) -> Payload {
    Full::new(bytes).boxed()
}

/// A request in the making, without its body.
pub(crate) fn request(
    method: Method,
    target: &str,
    authorization: Option<&str>,
) -> hyper::http::request::Builder {
    let builder = Request::builder().method(method).uri(target);
    match authorization {
        Some(value) => builder.header(AUTHORIZATION, value),
        None => builder,
    }
}

/// What is sent for one number: a request, or several, each after the answer to the one before.
pub(crate) trait Sequence: Send {
    fn requests(self) -> impl Iterator<Item = Request<Payload>> + Send;
}

impl Sequence for Request<Payload> {
    fn requests(self) -> impl Iterator<Item = Request<Payload>> + Send {
        std::iter::once(self)
    }
}

impl Sequence for Vec<Request<Payload>> {
    fn requests(self) -> impl Iterator<Item = Request<Payload>> + Send {
        self.into_iter()
    }
}

/// A load. Where several requests are sent for each number, they count as one.
pub(crate) struct Load<'a> {
    /// Hosts with ports; connections are spread evenly over them.
    pub(crate) hosts: &'a [String],
    /// Connections, and so requests under way at a time.
    pub(crate) connections: usize,
    /// No request begins after this.
    pub(crate) window: Duration,
    /// At most this many are sent.
    pub(crate) requests: u64,
    /// How each is answered.
    pub(crate) expected: StatusCode,
}

/// What came of a load.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Bytes in the bodies of answers.
    pub(crate) received_bytes: u64,
    /// How long each request took, in order.
    latencies: Vec<Duration>,
}

impl Outcome {
    /// How many requests were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// Requests in a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// How long all but the slowest took: 0.99 for the time that one in a hundred exceeds.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

impl Load<'_> {
    /// Sends the requests that `make` makes, from number 0 on. Any answer but the expected one
    /// ends it with an error.
    pub(crate) async fn run<S: Sequence>(
        &self,
        make: impl Fn(u64) -> hyper::http::Result<S> + Send + Sync + 'static,
    ) -> anyhow::Result<Outcome> {
        let make = Arc::new(make);
        let next = Arc::new(AtomicU64::new(0));
        let mut opened = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let host = &self.hosts[number % self.hosts.len()];
            opened.push((host.clone(), open(host).await?));
        }
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for (host, (sender, connection)) in opened {
            let worker = Worker {
                sender,
                host: host.parse()?,
                make: make.clone(),
                next: next.clone(),
                deadline: begun + self.window,
                requests: self.requests,
                expected: self.expected,
            };
            // In one task, so that an answer wakes nobody but the one who reads it.
            workers.spawn(async move {
                let work = worker.run();
                tokio::pin!(work);
                tokio::select! {
                    done = &mut work => done,
                    ended = connection => {
                        ended?;
                        // A server that closes the connection after its answer has answered.
                        work.await
                    }
                }
            });
        }
        let (mut latencies, mut received_bytes) = (Vec::new(), 0);
        while let Some(done) = workers.join_next().await {
            let (took, bytes) = done??;
            latencies.extend(took);
            received_bytes += bytes;
        }
        let elapsed = begun.elapsed();
        ensure!(!latencies.is_empty(), "the window was too short for a request");
        latencies.sort_unstable();
        Ok(Outcome {
            elapsed,
            received_bytes,
            latencies,
        })
    }
}

type Connection = http1::Connection<TokioIo<TcpStream>, Payload>;

async fn open(host: &str) -> anyhow::Result<(SendRequest<Payload>, Connection)> {
    let stream = TcpStream::connect(host)
        .await
        .with_context(|| format!("connect to {host}"))?;
    stream.set_nodelay(true)?;
    Ok(http1::handshake(TokioIo::new(stream)).await?)
}

struct Worker<F> {
    sender: SendRequest<Payload>,
    host: hyper::header::HeaderValue,
    make: Arc<F>,
    next: Arc<AtomicU64>,
    deadline: Instant,
    requests: u64,
    expected: StatusCode,
}

impl<F> Worker<F> {
    /// Gives how long each request took, and how many bytes came.
    async fn run<S: Sequence>(mut self) -> anyhow::Result<(Vec<Duration>, u64)>
    where
        F: Fn(u64) -> hyper::http::Result<S>,
    {
        let (mut latencies, mut received_bytes) = (Vec::new(), 0);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests || Instant::now() >= self.deadline {
                return Ok((latencies, received_bytes));
            }
            let requests = (self.make)(number)?.requests();
            let begun = Instant::now();
            for request in requests {
                received_bytes += self.send(request).await?;
            }
            latencies.push(begun.elapsed());
        }
    }

    /// Sends one request; gives how many bytes came.
    async fn send(&mut self, mut request: Request<Payload>) -> anyhow::Result<u64> {
        request.headers_mut().insert(HOST, self.host.clone());
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        if answer.status() != self.expected {
            let status = answer.status();
            let said = Limited::new(answer.into_body(), SHOWN_BYTES).collect().await;
            let said = said.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
            bail!(
                "{status} instead of {}: {}",
                self.expected,
                said.unwrap_or_default()
            );
        }
        let (mut body, mut received_bytes) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            received_bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(received_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let outcome = Outcome {
            elapsed: Duration::from_secs(2),
            received_bytes: 0,
            latencies: (1..=101).map(Duration::from_millis).collect(),
        };
        assert_eq!(outcome.percentile(0.5), Duration::from_millis(51));
        assert_eq!(outcome.percentile(0.99), Duration::from_millis(100));
        assert_eq!(outcome.percentile(1.0), Duration::from_millis(101));
        assert!((outcome.per_second() - 50.5).abs() < 1e-9);
    }
}
