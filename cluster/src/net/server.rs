//! The server side: accepts connections, proves them, and serves each on its lane.
//!
//! Everything a stranger can use up is bounded, and the newest connection wins: at a limit the
//! oldest of the same kind is dropped, so that half-open connections cannot keep nodes out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
use tracing::{debug, warn};

use super::gate::{self, PeerIdentity, Roster, Standing};
use super::lane::{JOIN_ALPN, JOIN_SHAPE, Lane, Shape};
use super::probe::{DiskGauge, LivenessService};
use super::{Listener, Stream};
use crate::level::Level;
use crate::trust::{NodeName, Tls};

/// How long a stranger may take to prove itself.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection that asks to join may stay.
const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// Dead connections are noticed within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Headers between nodes are few and short.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// What a server takes on; the defaults suit a cluster of some tens of nodes.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Connections that have not finished their handshake.
    pub handshakes: usize,
    /// Connections of nodes that ask to join.
    pub joins: usize,
    /// Connections of one peer on one lane.
    pub connections_per_peer: usize,
    /// How long requests under way may take to finish when the server stops.
    pub grace: Duration,
    /// What this node's build can read and write.
    pub level: Level,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            handshakes: 256,
            joins: 32,
            connections_per_peer: 8,
            grace: Duration::from_secs(10),
            level: Level::OWN,
        }
    }
}

/// The inter-node server of a node.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    config: ServerConfig,
    tls: Tls,
    roster: Roster,
    lanes: HashMap<Lane, Routes>,
    join: Option<Routes>,
    slots: Slots,
    /// What pings are answered.
    disk: DiskGauge,
}

impl Server {
    /// A server that answers pings and nothing else yet.
    pub fn new(config: ServerConfig, tls: Tls, roster: Roster) -> Self {
        let lanes = Lane::ALL.map(|lane| (lane, Routes::default()));
        let shared = Shared {
            config,
            tls,
            roster,
            lanes: lanes.into(),
            join: None,
            disk: DiskGauge::default(),
            slots: Slots::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
        .lane(Lane::Raft, Routes::default())
    }

    /// Tells in answers to pings how the disk does. Comes before the lanes.
    pub fn telling(mut self, disk: &DiskGauge) -> Self {
        Arc::make_mut(&mut self.shared).disk = disk.clone();
        self.lane(Lane::Raft, Routes::default())
    }

    /// Serves `routes` on a lane, to nodes only.
    pub fn lane(mut self, lane: Lane, routes: Routes) -> Self {
        let routes = match lane {
            Lane::Raft => routes.add_service(LivenessService::server(self.shared.disk.clone())),
            Lane::Requests | Lane::Bulk => routes,
        };
        Arc::make_mut(&mut self.shared).lanes.insert(lane, routes);
        self
    }

    /// Serves `routes` to those who have no certificate yet.
    pub fn join(mut self, routes: Routes) -> Self {
        Arc::make_mut(&mut self.shared).join = Some(routes);
        self
    }

    /// Serves until `shutdown`; then lets requests under way finish, within the grace period.
    pub async fn serve(self, listener: Box<dyn Listener>, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    connections.spawn(self.shared.clone().connection(stream, remote, shutdown.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: waiting lets some be freed.
                    warn!(%error, "accept inter-node connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        let drained = timeout(self.shared.config.grace, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            debug!(
                left = connections.len(),
                "closing inter-node connections that did not finish"
            );
        }
    }
}

/// What a connection proved to be.
enum Caller {
    Peer(Lane, PeerIdentity),
    Joining,
}

impl Shared {
    async fn connection(
        self: Arc<Self>,
        stream: Box<dyn Stream>,
        remote: SocketAddr,
        shutdown: CancellationToken,
    ) {
        let (caller, stream) = {
            let slot = self.slots.take(Kind::Handshake, self.config.handshakes);
            let proven = tokio::select! {
                biased;
                proven = timeout(HANDSHAKE_WITHIN, self.handshake(stream)) => proven,
                () = slot.evicted() => return debug!(%remote, "dropped an unfinished handshake for a newer one"),
                () = shutdown.cancelled() => return,
            };
            match proven {
                Ok(Ok(proven)) => proven,
                Ok(Err(error)) => return debug!(%remote, %error, "refused inter-node connection"),
                Err(_) => return debug!(%remote, "inter-node handshake took too long"),
            }
        };
        match caller {
            Caller::Peer(lane, peer) => {
                let slot = self
                    .slots
                    .take(Kind::Peer(lane, peer), self.config.connections_per_peer);
                let routes = self.lanes[&lane].clone();
                let answer = Answer {
                    routes,
                    peer: Some(peer),
                    level: self.config.level,
                    roster: self.roster.clone(),
                };
                tokio::select! {
                    biased;
                    () = answer.serve(stream, lane.shape(), shutdown) => {}
                    () = slot.evicted() => debug!(node = %peer.node, ?lane, "closed the oldest connection for a newer one"),
                }
            }
            Caller::Joining => {
                let Some(routes) = self.join.clone() else { return };
                let slot = self.slots.take(Kind::Joining, self.config.joins);
                let answer = Answer {
                    routes,
                    peer: None,
                    level: self.config.level,
                    roster: self.roster.clone(),
                };
                tokio::select! {
                    biased;
                    _ = timeout(JOIN_WITHIN, answer.serve(stream, JOIN_SHAPE, shutdown)) => {}
                    () = slot.evicted() => {}
                }
            }
        }
    }

    async fn handshake(&self, stream: Box<dyn Stream>) -> io::Result<(Caller, TlsStream<Box<dyn Stream>>)> {
        let refuse = |reason: &str| io::Error::new(io::ErrorKind::PermissionDenied, reason.to_owned());
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let wanted = hello
            .client_hello()
            .alpn()
            .and_then(|mut names| names.next().map(<[u8]>::to_vec));
        let wanted = wanted.ok_or_else(|| refuse("it names no protocol"))?;
        if wanted == JOIN_ALPN {
            return Ok((Caller::Joining, hello.into_stream(self.tls.join_server()).await?));
        }
        let lane = Lane::ALL.into_iter().find(|lane| lane.alpn() == wanted);
        let lane = lane.ok_or_else(|| refuse("it names a protocol that is not known here"))?;
        let stream = hello.into_stream(self.tls.server(lane)).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let name = shown.and_then(NodeName::of_certificate);
        let NodeName { node, cluster } = name.ok_or_else(|| refuse("its certificate names no node"))?;
        if cluster != self.tls.name().cluster {
            return Err(refuse("its certificate is for another cluster"));
        }
        // On one lane it gets as far as to be told: see `gate::check_caller`.
        if lane != Lane::Raft && self.roster.verdict(node, None) == gate::Verdict::Removed {
            return Err(refuse(&format!("node {node} was removed")));
        }
        Ok((Caller::Peer(lane, PeerIdentity { node, cluster }), stream))
    }
}

/// Answers the requests of one connection.
#[derive(Clone)]
struct Answer {
    routes: Routes,
    peer: Option<PeerIdentity>,
    level: Level,
    roster: Roster,
}

impl Answer {
    async fn serve(self, stream: TlsStream<Box<dyn Stream>>, shape: Shape, shutdown: CancellationToken) {
        let service = hyper::service::service_fn(move |request| self.clone().answer(request));
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(shape.stream_window_bytes)
            .initial_connection_window_size(shape.connection_window_bytes)
            .max_frame_size(shape.frame_bytes)
            .max_concurrent_streams(shape.streams_per_connection)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            debug!(%error, "inter-node connection ended");
        }
    }

    async fn answer(
        mut self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Body>, std::convert::Infallible> {
        let mut request = request.map(Body::new);
        if let Err(refused) = self.check(&mut request) {
            return Ok(refused.into_http());
        }
        let mut response = self.routes.call(request).await?;
        correct_size_error(&mut response);
        Ok(response)
    }

    fn check(&self, request: &mut http::Request<Body>) -> Result<(), Status> {
        gate::check_protocol(request.headers())?;
        if let Some(peer) = self.peer {
            let standing = Standing::new(peer, request.headers(), self.level, &self.roster)?;
            standing.check()?;
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(standing);
        }
        Ok(())
    }
}

/// A message over the limit is "resource exhausted" in gRPC's words; the library that refuses
/// it says "out of range".
fn correct_size_error(response: &mut http::Response<Body>) {
    const OUT_OF_RANGE: &str = "11";
    let headers = response.headers_mut();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let too_large = text("grpc-status") == Some(OUT_OF_RANGE)
        && text("grpc-message").is_some_and(|message| message.contains("length%20too%20large"));
    if too_large {
        let code = Code::ResourceExhausted as i32;
        headers.insert("grpc-status", code.into());
    }
}

/// What a connection counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Handshake,
    Joining,
    Peer(Lane, PeerIdentity),
}

/// Who holds connections, oldest first, by kind.
#[derive(Clone, Default)]
struct Slots {
    held: Arc<Mutex<HashMap<Kind, VecDeque<CancellationToken>>>>,
}

/// A place among the connections of a kind; dropping it gives the place back.
struct Slot {
    slots: Slots,
    kind: Kind,
    evicted: CancellationToken,
}

impl Slots {
    /// Takes a place; beyond `limit`, the oldest holder of the kind is evicted.
    fn take(&self, kind: Kind, limit: usize) -> Slot {
        let evicted = CancellationToken::new();
        let mut held = self.held.lock().expect("no panic while held");
        let queue = held.entry(kind).or_default();
        while queue.len() >= limit.max(1) {
            match queue.pop_front() {
                Some(oldest) => oldest.cancel(),
                None => break,
            }
        }
        queue.push_back(evicted.clone());
        Slot {
            slots: self.clone(),
            kind,
            evicted,
        }
    }
}

impl Slot {
    async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // An evicted slot has left the queue already; cancelling marks ours for removal too.
        self.evicted.cancel();
        let mut held = self.slots.held.lock().expect("no panic while held");
        if let Some(queue) = held.get_mut(&self.kind) {
            queue.retain(|token| !token.is_cancelled());
            if queue.is_empty() {
                held.remove(&self.kind);
            }
        }
    }
}
