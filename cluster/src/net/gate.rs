//! What every request between nodes must show before a service sees it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};
use crate::identity::Instance;
use crate::level::Level;
use crate::node_id::{ClusterId, NodeId};

/// The protocol version that the caller speaks.
const PROTOCOL_HEADER: HeaderName = HeaderName::from_static("cairn-protocol");

/// Which start of the calling node this is; see [`Instance`].
const INSTANCE_HEADER: HeaderName = HeaderName::from_static("cairn-instance");

/// What the calling node's build can read and write; of one that does not say so, the first level.
const LEVEL: &str = "cairn-level";
const LEVEL_HEADER: HeaderName = HeaderName::from_static(LEVEL);

/// Told to a caller that was removed from the cluster: it may not have heard of it.
pub(crate) const REMOVED_HEADER: &str = "cairn-removed";

/// Who is calling, as its certificate says: an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// The calling node.
    pub node: NodeId,
    /// Its cluster, which is this one.
    pub cluster: ClusterId,
}

impl PeerIdentity {
    /// The caller of a request that came through the server.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        request
            .extensions()
            .get()
            .copied()
            .ok_or_else(|| Status::unauthenticated("a node certificate is needed"))
    }

    /// Refuses a message that claims to come from another node.
    pub fn require(&self, claimed: NodeId) -> Result<(), Status> {
        if claimed == self.node {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "the message claims to be from node {claimed}, the certificate is node {}'s",
            self.node
        )))
    }
}

/// What is known of a node that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing speaks against it.
    Welcome,
    /// It was removed from the cluster.
    Removed,
    /// Its data directory was copied and the copy, or the original, has been started since.
    Superseded,
}

/// What the metadata says of the nodes that may call. Cheap to clone; all clones agree.
///
/// A node that is not in it is welcome: its certificate proves that the cluster admitted it,
/// and a node that was away may have to hear of it from the very node that it does not know.
/// Removal is a record that stays, so it cannot be confused with not having heard.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    known: Arc<RwLock<BTreeMap<NodeId, Known>>>,
    /// The level of the cluster.
    level: Arc<AtomicU32>,
}

/// What is known of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) removed: bool,
    pub(crate) instance: Option<Instance>,
}

impl Roster {
    pub(crate) fn replace(&self, known: BTreeMap<NodeId, Known>) {
        *self.known.write().expect("no panic while held") = known;
    }

    /// Refuses from now on whoever cannot read what a cluster of this level writes.
    pub(crate) fn require(&self, cluster: Level) {
        self.level.fetch_max(cluster.0, Ordering::Relaxed);
    }

    fn required(&self) -> Level {
        Level(self.level.load(Ordering::Relaxed))
    }

    /// Whether this start of `node` may call.
    pub(crate) fn verdict(&self, node: NodeId, instance: Option<Instance>) -> Verdict {
        let known = self.known.read().expect("no panic while held");
        match known.get(&node) {
            Some(Known { removed: true, .. }) => Verdict::Removed,
            Some(Known {
                instance: Some(registered),
                ..
            }) if instance.is_some_and(|instance| instance.is_superseded_by(*registered)) => {
                Verdict::Superseded
            }
            _ => Verdict::Welcome,
        }
    }
}

/// The headers that a caller adds to every request.
pub(crate) fn caller_headers(instance: Instance, level: Level) -> HeaderMap {
    let mut headers = protocol_header();
    let text = HeaderValue::try_from(instance.to_string()).expect("digits are a header value");
    headers.insert(INSTANCE_HEADER, text);
    headers.insert(LEVEL_HEADER, HeaderValue::from(level.0));
    headers
}

/// The header that even a caller without a certificate adds.
pub(crate) fn protocol_header() -> HeaderMap {
    HeaderMap::from_iter([(PROTOCOL_HEADER, HeaderValue::from(PROTOCOL_VERSION))])
}

/// Refuses a caller of another protocol, whoever it is.
pub(crate) fn check_protocol(headers: &HeaderMap) -> Result<(), Status> {
    let theirs: Option<u32> = headers
        .get(PROTOCOL_HEADER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    match theirs {
        Some(OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION) => Ok(()),
        Some(theirs) => Err(Status::failed_precondition(format!(
            "the caller speaks protocol version {theirs}, this node speaks \
             {OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}"
        ))),
        None => Err(Status::failed_precondition(format!(
            "the caller does not name its protocol version, this node speaks \
             {OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}"
        ))),
    }
}

/// Refuses a caller that does not understand this node, and tells it the level that it should have.
fn apart(level: Level, reason: String) -> Status {
    let mut refused = Status::failed_precondition(reason);
    let told = MetadataValue::from(level.0);
    refused.metadata_mut().insert(LEVEL, told);
    refused
}

/// The level that a node which refused this one has, if that was why.
pub(crate) fn told_level(refused: &Status) -> Option<Level> {
    let told = refused.metadata().get(LEVEL)?;
    told.to_str().ok()?.parse().ok().map(Level)
}

/// What a caller's certificate counts for. A request is let through by it, and on a stream that stays
/// open each message is.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    peer: PeerIdentity,
    instance: Instance,
    level: Level,
    roster: Roster,
}

impl Standing {
    /// Of the caller with these headers, in front of a node of level `own`.
    pub(crate) fn new(
        peer: PeerIdentity,
        headers: &HeaderMap,
        own: Level,
        roster: &Roster,
    ) -> Result<Self, Status> {
        let level = headers
            .get(LEVEL_HEADER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let level = level.map_or(Level::FIRST, Level);
        if !level.understands(own) {
            let reason = format!(
                "node {} is of level {level}, this node of level {own}: only neighbouring levels \
                 understand each other",
                peer.node
            );
            return Err(apart(own, reason));
        }
        let instance = headers
            .get(INSTANCE_HEADER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .ok_or_else(|| Status::invalid_argument("the caller does not name its instance"))?;
        Ok(Self {
            peer,
            instance,
            level,
            roster: roster.clone(),
        })
    }

    /// Of the caller of a request; none if it did not come through the server, as in tests.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get().cloned()
    }

    /// Refuses a caller whose certificate no longer counts.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let (peer, required) = (self.peer, self.roster.required());
        if self.level < required {
            let reason = format!(
                "node {} is of level {}, and the cluster is of level {required}",
                peer.node, self.level
            );
            return Err(apart(required, reason));
        }
        match self.roster.verdict(peer.node, Some(self.instance)) {
            Verdict::Welcome => Ok(()),
            Verdict::Removed => {
                let mut refused = Status::permission_denied(format!(
                    "node {} was removed from cluster {}",
                    peer.node, peer.cluster
                ));
                let told = MetadataValue::from_static("true");
                refused.metadata_mut().insert(REMOVED_HEADER, told);
                Err(refused)
            }
            Verdict::Superseded => Err(Status::failed_precondition(format!(
                "another copy of node {}'s data directory has been started since",
                peer.node
            ))),
        }
    }
}
