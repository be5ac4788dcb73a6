//! The server: accepts connections, no more than allowed, has them pass the [`Entrance`], speaks
//! HTTP/1.1 and HTTP/2 on them, and lets requests under way finish when it is told to stop.
//!
//! Whoever opens connections and says little on them does not hold them for long: see
//! [`super::watch`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

use crate::http::entrance::{Entrance, NotAdmitted, Spoken};
use crate::http::host::Connection;
use crate::http::linger;
use crate::http::metrics;
use crate::http::settings::Limits;
use crate::http::watch::{Activity, Watched};

/// When no connection can be accepted, most often for want of file descriptors, others must
/// close first.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;

/// What a client may send ahead on one stream and on one connection of HTTP/2.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Room for a head of HTTP/1.1 that is over the limits: then the guard says by what, rather
/// than the connection ending without a word.
const HEAD_BUFFER_BYTES: usize = 128 << 10;

/// A server that runs. Dropping it leaves it running; see [`Server::stop`].
pub struct Server {
    address: SocketAddr,
    no_more: CancellationToken,
    cut_off: CancellationToken,
    accepting: JoinHandle<GracefulShutdown>,
    connections: TaskTracker,
}

impl Server {
    /// Serves `site` to whoever connects to `listener` and passes `entrance`.
    pub fn start<S: Site>(
        listener: TcpListener,
        entrance: Entrance,
        site: S,
        limits: &Limits,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (no_more, cut_off) = (CancellationToken::new(), CancellationToken::new());
        let connections = TaskTracker::new();
        let acceptor = Acceptor {
            listener,
            entrance,
            site,
            http: builder(limits),
            limits: limits.clone(),
            room: Arc::new(Semaphore::new(limits.connections)),
            open: Arc::default(),
            no_more: no_more.clone(),
            cut_off: cut_off.clone(),
            connections: connections.clone(),
        };
        Ok(Self {
            address,
            accepting: tokio::spawn(acceptor.run()),
            no_more,
            cut_off,
            connections,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, lets requests under way finish, and cuts off after `within`
    /// what is left. Tells whether all could finish.
    pub async fn stop(self, within: Duration) -> bool {
        self.no_more.cancel();
        let Ok(graceful) = self.accepting.await else {
            // Its runtime is gone, and all connections with it.
            return false;
        };
        self.connections.close();
        let finished = tokio::time::timeout(within, async {
            graceful.shutdown().await;
            self.connections.wait().await;
        });
        let all = finished.await.is_ok();
        self.cut_off.cancel();
        self.connections.wait().await;
        all
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Its own timeout for heads would also end connections that are kept alive.
        .header_read_timeout(None)
        .max_headers(limits.headers)
        .max_buf_size(HEAD_BUFFER_BYTES.max(2 * (limits.header_bytes + limits.target_bytes)));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

/// What answers requests.
pub trait Site:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Site for S where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

struct Acceptor<S> {
    listener: TcpListener,
    entrance: Entrance,
    site: S,
    http: Builder<TokioExecutor>,
    limits: Limits,
    room: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
    no_more: CancellationToken,
    cut_off: CancellationToken,
    connections: TaskTracker,
}

impl<S: Site> Acceptor<S> {
    /// Accepts until it is told to stop; gives what then lets the connections finish.
    async fn run(self) -> GracefulShutdown {
        let graceful = GracefulShutdown::new();
        loop {
            // Those beyond the limit wait in the backlog of the system.
            let accepted = self.no_more.run_until_cancelled(async {
                let room = self.room.clone().acquire_owned().await;
                (
                    room.expect("the semaphore is never closed"),
                    self.listener.accept().await,
                )
            });
            match accepted.await {
                None => return graceful,
                Some((room, Ok((stream, peer)))) => {
                    let served = self.serve(&graceful, stream, peer);
                    let open = Open::new(self.open.clone());
                    let cut_off = self.cut_off.clone();
                    self.connections.spawn(async move {
                        let _held = (room, open);
                        cut_off.run_until_cancelled(served).await;
                    });
                }
                Some((_, Err(error))) => {
                    metrics::dropped("accept");
                    warn!(%error, "could not accept a connection");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                }
            }
        }
    }

    fn serve(
        &self,
        graceful: &GracefulShutdown,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + Send + use<S> {
        // Small answers must not wait for more bytes to join them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "could not set TCP_NODELAY");
        }
        let (entrance, site, http) = (self.entrance.clone(), self.site.clone(), self.http.clone());
        let (limits, no_more, graceful) = (self.limits.clone(), self.no_more.clone(), graceful.watcher());
        async move {
            let admitted = entrance.admit(stream, peer.ip(), limits.head_timeout);
            let admitted = match no_more.run_until_cancelled(admitted).await {
                Some(Ok(admitted)) => admitted,
                Some(Err(why)) => return not_admitted(peer, &why),
                None => return,
            };
            let connection = Connection {
                peer: admitted.peer,
                tls: admitted.spoken == Spoken::Https,
            };
            let activity = Activity::begin();
            let io = TokioIo::new(Watched::new(admitted.stream, activity.clone(), &limits));
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(connection);
                let under_way = activity.request(request.version());
                let (request, rest) = linger::lend(request.map(Body::new));
                let answered = match admitted.spoken {
                    Spoken::HttpInPlaceOfHttps => None,
                    Spoken::Http | Spoken::Https => Some(site.clone().call(request)),
                };
                async move {
                    let response = match answered {
                        Some(answered) => answered.await.unwrap_or_else(|never| match never {}),
                        None => only_https(),
                    };
                    if let Some(rest) = rest {
                        rest.read(response.status()).await;
                    }
                    Ok::<_, Infallible>(response.map(|body| under_way.until_the_end_of(body)))
                }
            });
            // The builder lends itself to the connection.
            let served = graceful.watch(http.serve_connection(io, service).into_owned());
            if let Err(error) = served.await {
                // Clients go away in many ways; none is our fault.
                debug!(%peer, %error, "a connection ended early");
            }
        }
    }
}

/// Notes that HTTP was never spoken on a connection.
fn not_admitted(peer: SocketAddr, why: &NotAdmitted) {
    if let Some(reason) = why.reason() {
        metrics::dropped(reason);
    }
    match why {
        // Only proxies that the configuration names come here, and none of their clients is served.
        NotAdmitted::ProxyHeader(_) => warn!(%peer, "a connection from {peer} was closed: {why}"),
        _ => debug!(%peer, "a connection from {peer} was closed: {why}"),
    }
}

/// What is answered where TLS is to be spoken and was not: what was sent has been seen on its way.
fn only_https() -> Response {
    let close = (header::CONNECTION, HeaderValue::from_static("close"));
    let why = "this port speaks HTTPS: begin the URL with https://\n";
    (StatusCode::BAD_REQUEST, [close], why).into_response()
}

/// Counts a connection while it is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(open: Arc<AtomicUsize>) -> Self {
        metrics::connections(open.fetch_add(1, Ordering::Relaxed) + 1);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::connections(self.0.fetch_sub(1, Ordering::Relaxed) - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::Router;
    use axum::extract::Extension;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn start(router: Router, limits: &Limits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::start(listener, Entrance::default(), router, limits).unwrap()
    }

    async fn connect(server: &Server) -> TcpStream {
        TcpStream::connect(server.address()).await.unwrap()
    }

    const NO_TIME: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn both_versions_of_http_are_spoken_and_the_peer_is_known() {
        let peer = async |Extension(connection): Extension<Connection>| connection.peer.to_string();
        let server = start(Router::new().route("/", get(peer)), &Limits::default()).await;
        let url = format!("http://{}/", server.address());
        for client in [
            reqwest::Client::builder().no_proxy().http1_only(),
            reqwest::Client::builder().no_proxy().http2_prior_knowledge(),
        ] {
            let answer = client.build().unwrap().get(&url).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "127.0.0.1");
        }
        assert!(server.stop(LONG).await);
    }

    #[tokio::test]
    async fn who_is_refused_while_they_send_hears_why_and_may_go_on() {
        let router = Router::new().route("/", post(async || (StatusCode::UNAUTHORIZED, "who are you?")));
        let server = start(router, &Limits::default()).await;
        for length in [1, 64 << 10, 32 << 20] {
            let mut client = connect(&server).await;
            // Twice: the connection is still good.
            for _ in 0..2 {
                let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
                client.write_all(head.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                client.write_all(&vec![0; length]).await.unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"who are you?") {
                    assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
                }
                assert!(answer.starts_with(b"HTTP/1.1 401 "));
            }
        }
        assert!(server.stop(LONG).await);
    }

    #[tokio::test]
    async fn requests_under_way_finish_before_it_stops() {
        let echo = async |body: String| body;
        let server = start(Router::new().route("/", post(echo)), &Limits::default()).await;
        let address = server.address();
        let mut slow = connect(&server).await;
        slow.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        // The handler asks for the body, so the request is under way.
        let mut go_on = [0; 25];
        slow.read_exact(&mut go_on).await.unwrap();
        let stopping = tokio::spawn(server.stop(LONG));
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        slow.write_all(b"ok").await.unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
            "{answer}"
        );
        assert!(stopping.await.unwrap());
    }

    #[tokio::test]
    async fn what_does_not_finish_is_cut_off() {
        let never = async || pending::<String>().await;
        let server = start(Router::new().route("/", get(never)), &Limits::default()).await;
        let mut stuck = connect(&server).await;
        stuck
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        // It has been accepted once the next one has.
        drop(connect(&server).await);
        assert!(!server.stop(NO_TIME).await);
        let mut answer = Vec::new();
        let _ = stuck.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn more_connections_than_allowed_wait() {
        let limits = Limits {
            connections: 1,
            ..Limits::default()
        };
        let server = start(Router::new().route("/", get(async || "ok")), &limits).await;
        let first = connect(&server).await;
        let mut second = connect(&server).await;
        second
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        drop(first);
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(server.stop(LONG).await);
    }
}
