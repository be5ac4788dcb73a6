//! What membership asks of consensus, answered by this node's replica.

use std::collections::BTreeSet;
use std::io;

use async_trait::async_trait;

use super::replica::Replica;
use crate::membership::{ControlError, RaftControl, RaftView};
use crate::node_id::NodeId;

fn control_error(error: io::Error) -> ControlError {
    ControlError {
        reason: error.to_string(),
    }
}

#[async_trait]
impl RaftControl for Replica {
    fn view(&self) -> RaftView {
        let state = self.group_state();
        let members = state.addresses.keys();
        RaftView {
            me: NodeId(self.id()),
            leader: state.leader.map(NodeId),
            learners: members
                .filter(|id| !state.voters.contains(id))
                .map(|id| NodeId(*id))
                .collect(),
            voters: state.voters.iter().map(|id| NodeId(*id)).collect(),
            changing_voters: state.changing_voters,
            matched: state
                .matched
                .iter()
                .map(|(id, index)| (NodeId(*id), *index))
                .collect(),
            last_log: state.last_log_index,
            applied: state.applied_index,
            slow_disk: self.log_disk().is_slow(),
        }
    }

    async fn add_learner(&self, node: NodeId, address: &str) -> Result<(), ControlError> {
        Replica::add_learner(self, node.0, address)
            .await
            .map_err(control_error)
    }

    async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ControlError> {
        let voters = voters.into_iter().map(|node| node.0).collect();
        Replica::change_voters(self, voters).await.map_err(control_error)
    }

    async fn forget(&self, node: NodeId) -> Result<(), ControlError> {
        Replica::forget(self, node.0).await.map_err(control_error)
    }

    async fn transfer_leader(&self, to: NodeId) -> Result<(), ControlError> {
        Replica::transfer_leader(self, to.0).await.map_err(control_error)
    }
}
