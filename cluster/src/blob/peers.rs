//! What the blob store needs of the network: a way to call each node, and whether it is there.

use std::time::Duration;

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

use crate::net::{self, Lane};
use crate::node_id::NodeId;

/// A way to call one node; cheap to clone.
pub type Wire = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// The nodes of the cluster. Who they are is proven below: a wire leads to the node that was
/// asked for, or nowhere.
pub trait BlobPeers: Send + Sync {
    /// This node.
    fn me(&self) -> NodeId;

    /// A way to call another node.
    fn wire(&self, node: NodeId) -> Wire;

    /// Whether a node is known not to be there, so that calling it would be a waste.
    fn is_down(&self, node: NodeId) -> bool;

    /// How long a node is known not to have been there; none if it is there.
    fn down_for(&self, node: NodeId) -> Option<Duration>;

    /// How many bytes blobs may still take on another node, as it said last.
    fn room(&self, node: NodeId) -> Option<u64>;

    /// Notes that a node did not do what it should have, so that it is asked how it is.
    fn suspect(&self, node: NodeId);
}

impl BlobPeers for net::Peers {
    fn me(&self) -> NodeId {
        self.me()
    }

    fn wire(&self, node: NodeId) -> Wire {
        Wire::new(self.channel(node, Lane::Bulk))
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.is_down(node)
    }

    fn down_for(&self, node: NodeId) -> Option<Duration> {
        match self.liveness(node) {
            net::Liveness::Down { since } => Some(since.elapsed()),
            net::Liveness::Up | net::Liveness::Unknown => None,
        }
    }

    fn room(&self, node: NodeId) -> Option<u64> {
        self.room(node)
    }

    fn suspect(&self, node: NodeId) {
        self.suspect(node);
    }
}
