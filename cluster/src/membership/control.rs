//! What membership asks of consensus, and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::node_id::NodeId;

/// What one node knows of the consensus group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftView {
    /// The node that tells.
    pub me: NodeId,
    /// The leader, as far as it knows.
    pub leader: Option<NodeId>,
    /// Who votes; while the voters are being changed, the old ones and the new.
    pub voters: BTreeSet<NodeId>,
    /// The voters are being changed: both the old and the new must agree to everything. A
    /// leader that stops half way leaves this behind.
    pub changing_voters: bool,
    /// Who receives the log without voting.
    pub learners: BTreeSet<NodeId>,
    /// On the leader: up to which log index each node has the log.
    pub matched: BTreeMap<NodeId, u64>,
    /// The last log index of this node.
    pub last_log: u64,
    /// The last log index that this node has applied.
    pub applied: u64,
    /// It takes this node long to make its log durable.
    pub slow_disk: bool,
}

impl RaftView {
    /// Whether the node that tells is the leader.
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.me)
    }
}

/// Why a change of the group was not made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ControlError {
    /// What consensus said.
    pub reason: String,
}

/// Changes the consensus group. Only the leader can.
#[async_trait]
pub trait RaftControl: Send + Sync {
    /// What this node knows of the group.
    fn view(&self) -> RaftView;

    /// Begins to send the log to a node, without waiting until it has caught up.
    async fn add_learner(&self, node: NodeId, address: &str) -> Result<(), ControlError>;

    /// Makes exactly these nodes voters, in one joint change; who no longer votes stays as a
    /// learner. Returns when the change is committed.
    async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ControlError>;

    /// Ends to send the log to a node that does not vote.
    async fn forget(&self, node: NodeId) -> Result<(), ControlError>;

    /// Hands leadership to a voter that has caught up.
    async fn transfer_leader(&self, to: NodeId) -> Result<(), ControlError>;
}
