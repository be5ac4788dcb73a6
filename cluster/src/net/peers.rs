//! The client side: where the other nodes are, how to call them, and whether they are there.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use cairn_proto::v1;
use http::header::HeaderMap;
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::{Service, ServiceExt, service_fn};
use tracing::{info, warn};

use super::Net;
use super::connect::{ConnectError, Dialer};
use super::gate;
use super::lane::Lane;
use crate::identity::Instance;
use crate::level::Level;
use crate::node_id::NodeId;
use crate::trust::{NodeName, Tls};

/// A dead connection is noticed within twice this, also while a long call is under way.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A peer that missed this many probes in a row is down.
const MISSES_UNTIL_DOWN: u32 = 2;

/// A peer that answered anything within this is busy rather than down.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// However many calls fail, a peer is not asked more often than this.
const PROBE_AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// What [`Peers`] needs.
#[derive(Clone, Debug)]
pub struct PeersConfig {
    /// How connections are made.
    pub net: Arc<dyn Net>,
    /// This node's certificate.
    pub tls: Tls,
    /// Which start of this node this is.
    pub instance: Instance,
    /// What this node's build can read and write.
    pub level: Level,
}

/// Whether a peer is there, as far as this node can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Not heard of yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not, since then.
    Down {
        /// When this node noticed.
        since: Instant,
    },
}

/// The other nodes. Cheap to clone; all clones are one registry.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    tls: Tls,
    headers: HeaderMap,
    table: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    suspected: Notify,
    changes: watch::Sender<u64>,
    /// Whether another node has said that this one was removed.
    removed: watch::Sender<bool>,
    /// The levels of nodes that refuse this one because of them.
    apart: Mutex<BTreeMap<NodeId, Level>>,
}

struct Peer {
    node: NodeId,
    state: Mutex<State>,
}

struct State {
    address: String,
    channels: [Option<Channel>; Lane::ALL.len()],
    liveness: Liveness,
    misses: u32,
    latency: Option<Duration>,
    /// How many bytes it said that may still be written there.
    room: Option<u64>,
    /// It said that its disk is slow.
    slow_disk: bool,
    heard: Option<Instant>,
    probed: Option<Instant>,
    suspect: bool,
    being_probed: bool,
}

impl Peers {
    /// A registry that knows nobody yet.
    pub fn new(config: PeersConfig) -> Self {
        let shared = Shared {
            dialer: Dialer::new(config.net),
            tls: config.tls,
            headers: gate::caller_headers(config.instance, config.level),
            table: RwLock::default(),
            suspected: Notify::new(),
            changes: watch::Sender::new(0),
            removed: watch::Sender::new(false),
            apart: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.shared.tls.name().node
    }

    /// Tells when another node has said that this one was removed from the cluster. Whoever was
    /// away then cannot learn of it in any other way: nobody sends it the log any more.
    pub fn removed(&self) -> watch::Receiver<bool> {
        self.shared.removed.subscribe()
    }

    pub(super) fn note_removed(&self) {
        self.shared
            .removed
            .send_if_modified(|removed| !std::mem::replace(removed, true));
    }

    /// Notes that a node refuses this one because of its level, or does not.
    pub(super) fn note_apart(&self, node: NodeId, level: Option<Level>) {
        let mut apart = self.shared.apart.lock().expect("no panic while held");
        match level {
            Some(level) => apart.insert(node, level),
            None => apart.remove(&node),
        };
    }

    /// Whether a node refuses this one because of its level.
    #[cfg(test)]
    pub(super) fn is_apart(&self, node: NodeId) -> bool {
        self.shared.apart.lock().unwrap().contains_key(&node)
    }

    /// The level of the nodes that refuse this one because of its own, if they are so many that it
    /// can never take part. A single one may be the one that is wrong.
    pub fn level_of_those_apart(&self) -> Option<Level> {
        let nodes = self.nodes().len() + 1;
        let apart = self.shared.apart.lock().expect("no panic while held");
        apart.values().max().copied().filter(|_| 2 * apart.len() > nodes)
    }

    /// Notes where a node listens. A new address takes effect with the next call.
    pub fn learn(&self, node: NodeId, address: &str) {
        if let Some(known) = self.insert(node, address) {
            known.state().move_to(address);
        }
    }

    /// Notes where a node may listen, unless that is known: for sources that can be older than
    /// the records of the nodes.
    pub fn introduce(&self, node: NodeId, address: &str) {
        self.insert(node, address);
    }

    /// Adds a node, or gives the one that is known by that id.
    fn insert(&self, node: NodeId, address: &str) -> Option<Arc<Peer>> {
        if node == self.me() {
            return None;
        }
        let mut table = self.shared.table.write().expect("no panic while held");
        if let Some(known) = table.get(&node) {
            return Some(known.clone());
        }
        let state = Mutex::new(State::at(address));
        table.insert(node, Arc::new(Peer { node, state }));
        None
    }

    /// Forgets a node that left the cluster.
    pub fn forget(&self, node: NodeId) {
        self.shared
            .table
            .write()
            .expect("no panic while held")
            .remove(&node);
    }

    /// The nodes that are known, without this one.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.shared
            .table
            .read()
            .expect("no panic while held")
            .keys()
            .copied()
            .collect()
    }

    /// Where a node listens.
    pub fn address(&self, node: NodeId) -> Option<String> {
        Some(self.peer(node)?.state().address.clone())
    }

    /// A channel for a generated client. It connects when it is first used and again after
    /// failures, and may be kept.
    pub fn channel(&self, node: NodeId, lane: Lane) -> PeerChannel {
        PeerChannel {
            peers: self.clone(),
            node,
            lane,
        }
    }

    /// Whether a node is there. This node always is.
    pub fn liveness(&self, node: NodeId) -> Liveness {
        match self.peer(node) {
            _ if node == self.me() => Liveness::Up,
            Some(peer) => peer.state().liveness,
            None => Liveness::Unknown,
        }
    }

    /// Whether a node is known not to be there, so that calling it would be a waste.
    pub fn is_down(&self, node: NodeId) -> bool {
        matches!(self.liveness(node), Liveness::Down { .. })
    }

    /// How long a node takes to answer, smoothed; zero for this node.
    pub fn latency(&self, node: NodeId) -> Option<Duration> {
        match self.peer(node) {
            _ if node == self.me() => Some(Duration::ZERO),
            Some(peer) => peer.state().latency,
            None => None,
        }
    }

    /// How many bytes may still be written on another node, as it said last.
    pub fn room(&self, node: NodeId) -> Option<u64> {
        self.peer(node)?.state().room
    }

    /// Whether a node's disk is slow, as it said when it was last asked.
    pub fn has_slow_disk(&self, node: NodeId) -> bool {
        self.peer(node).is_some_and(|peer| peer.state().slow_disk)
    }

    /// Tells whenever a node comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Notes that a call found something wrong, so that the peer is asked at once.
    pub fn suspect(&self, node: NodeId) {
        if let Some(peer) = self.peer(node) {
            peer.state().suspect = true;
            self.shared.suspected.notify_one();
        }
    }

    pub(super) fn suspected(&self) -> &Notify {
        &self.shared.suspected
    }

    pub(super) fn take_suspects(&self) -> Vec<NodeId> {
        let table = self.shared.table.read().expect("no panic while held");
        let suspects = table.values().filter(|peer| mem::take(&mut peer.state().suspect));
        suspects.map(|peer| peer.node).collect()
    }

    /// Claims the right to probe a node; `None` if it is unknown, being probed, or was just now.
    pub(super) fn begin_probe(&self, node: NodeId) -> Option<Probing> {
        let peer = self.peer(node)?;
        {
            let mut state = peer.state();
            let now = Instant::now();
            if !may_probe(state.probed, now) || mem::replace(&mut state.being_probed, true) {
                return None;
            }
            state.probed = Some(now);
        }
        Some(Probing(peer))
    }

    /// Notes the answer to a probe.
    pub(super) fn answered(&self, node: NodeId, took: Duration, answer: &v1::PingResponse) {
        let Some(peer) = self.peer(node) else { return };
        {
            let mut state = peer.state();
            state.room = answer.room_bytes;
            state.slow_disk = answer.slow_disk;
            // The first answer includes making the connection.
            if state.liveness == Liveness::Up {
                let before = state.latency.unwrap_or(took);
                state.latency = Some(before.mul_f32(0.8) + took.mul_f32(0.2));
            }
        }
        self.heard(&peer);
    }

    /// Notes that a probe was not answered.
    pub(super) fn missed(&self, node: NodeId, reason: &str) {
        let Some(peer) = self.peer(node) else { return };
        let misses = {
            let mut state = peer.state();
            if state.heard.is_none_or(|heard| heard.elapsed() > HEARD_WITHIN) {
                state.misses += 1;
            }
            state.misses
        };
        if misses >= MISSES_UNTIL_DOWN {
            self.lost(&peer, reason);
        }
    }

    /// Pretends to have heard from a node, or to have lost it.
    #[cfg(test)]
    pub(crate) fn assume(&self, node: NodeId, up: bool) {
        let peer = self.peer(node).unwrap();
        match up {
            true => self.heard(&peer),
            false => self.lost(&peer, "the test says so"),
        }
    }

    fn heard(&self, peer: &Peer) {
        let mut state = peer.state();
        state.misses = 0;
        state.heard = Some(Instant::now());
        let before = mem::replace(&mut state.liveness, Liveness::Up);
        drop(state);
        if before != Liveness::Up {
            info!(node = %peer.node, "node {} answers", peer.node);
            self.shared.changes.send_modify(|change| *change += 1);
        }
    }

    fn lost(&self, peer: &Peer, reason: &str) {
        let mut state = peer.state();
        // Whatever these connections wait for, new ones will find out sooner.
        state.channels = Default::default();
        if matches!(state.liveness, Liveness::Down { .. }) {
            return;
        }
        state.liveness = Liveness::Down {
            since: Instant::now(),
        };
        drop(state);
        warn!(node = %peer.node, reason, "node {} is down", peer.node);
        self.shared.changes.send_modify(|change| *change += 1);
    }

    fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.shared
            .table
            .read()
            .expect("no panic while held")
            .get(&node)
            .cloned()
    }

    fn open(&self, peer: &Peer, lane: Lane) -> Channel {
        let mut state = peer.state();
        let address = state.address.clone();
        let slot = &mut state.channels[lane as usize];
        slot.get_or_insert_with(|| self.connect(peer.node, lane, address))
            .clone()
    }

    /// A channel that dials when it is used.
    fn connect(&self, node: NodeId, lane: Lane, address: String) -> Channel {
        let shape = lane.shape();
        let name = NodeName {
            node,
            cluster: self.shared.tls.name().cluster,
        };
        let mut endpoint = Endpoint::from_shared(format!("http://{name}"))
            .expect("a node name is an authority")
            .initial_stream_window_size(shape.stream_window_bytes)
            .initial_connection_window_size(shape.connection_window_bytes)
            .max_frame_size(shape.frame_bytes)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        if let Some(limit) = shape.answer_within {
            endpoint = endpoint.timeout(limit);
        }
        let (dialer, tls) = (self.shared.dialer.clone(), self.shared.tls.clone());
        endpoint.connect_with_connector_lazy(service_fn(move |_| {
            let (dialer, tls, address) = (dialer.clone(), tls.clone(), address.clone());
            async move {
                let stream = dialer
                    .dial(&address, name.server_name(), tls.client(lane))
                    .await?;
                Ok::<_, ConnectError>(TokioIo::new(stream))
            }
        }))
    }

    /// Turns a failed call into a status, and draws conclusions about the peer.
    fn failed(&self, peer: &Peer, error: &(dyn std::error::Error + 'static)) -> Status {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(connect) = error.downcast_ref::<ConnectError>() {
                if connect.is_conclusive() {
                    self.lost(peer, &connect.to_string());
                } else {
                    self.suspect(peer.node);
                }
                let code = match connect {
                    ConnectError::WrongPeer { .. } => Code::FailedPrecondition,
                    _ => Code::Unavailable,
                };
                return Status::new(code, format!("node {}: {connect}", peer.node));
            }
            if error.is::<tonic::TimeoutExpired>() {
                self.suspect(peer.node);
                return Status::deadline_exceeded(format!("node {} does not answer in time", peer.node));
            }
            cause = error.source();
        }
        self.suspect(peer.node);
        Status::unavailable(format!("node {}: {}", peer.node, chain(error)))
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("me", &self.me())
            .field("nodes", &self.nodes())
            .finish()
    }
}

impl Peer {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

impl State {
    fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            channels: Default::default(),
            liveness: Liveness::Unknown,
            misses: 0,
            latency: None,
            room: None,
            slow_disk: false,
            heard: None,
            probed: None,
            suspect: false,
            being_probed: false,
        }
    }

    fn move_to(&mut self, address: &str) {
        if self.address != address {
            self.address = address.to_owned();
            self.channels = Default::default();
        }
    }
}

/// A failed probe makes its peer suspect, and a suspect is probed at once: this keeps the two
/// from chasing each other.
fn may_probe(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= PROBE_AT_MOST_EVERY)
}

/// The right to probe a peer, until it is dropped.
pub(super) struct Probing(Arc<Peer>);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.state().being_probed = false;
    }
}

/// An error with all its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A way to call one node on one lane, for generated clients. Cheap to clone.
///
/// Adds what the other side asks of every caller, and notes whether the peer is there.
#[derive(Clone, Debug)]
pub struct PeerChannel {
    peers: Peers,
    node: NodeId,
    lane: Lane,
}

impl Service<http::Request<Body>> for PeerChannel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Self { peers, node, lane } = self.clone();
        Box::pin(async move {
            let peer = peers
                .peer(node)
                .ok_or_else(|| Status::unavailable(format!("no address is known for node {node}")))?;
            let headers = peers.shared.headers.iter();
            request
                .headers_mut()
                .extend(headers.map(|(name, value)| (name.clone(), value.clone())));
            let answer = peers.open(&peer, lane).oneshot(request).await;
            match answer {
                Ok(response) => {
                    peers.heard(&peer);
                    Ok(response)
                }
                Err(error) => Err(peers.failed(&peer, &error)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_do_not_become_a_storm_of_probes() {
        let now = Instant::now();
        assert!(may_probe(None, now));
        assert!(!may_probe(Some(now), now));
        assert!(!may_probe(Some(now), now + PROBE_AT_MOST_EVERY / 2));
        assert!(may_probe(Some(now), now + PROBE_AT_MOST_EVERY));
    }
}
