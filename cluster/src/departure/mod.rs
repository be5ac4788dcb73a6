//! How a node leaves: drained, replaced, removed.
//!
//! - *Drained*: its record says that it is leaving. From then on it gets no new shards and no vote;
//!   the controller moves its leadership and its vote, and the layout, which does not count on it any
//!   more, its shards. It goes on to serve everything, and may stay so for as long as the operator
//!   likes.
//! - *Replaced*: the same for a node that is dead, with another node in its places; it is removed by
//!   itself as soon as that can be.
//! - *Removed*: its record says so, for ever. Nobody talks to it any more, and it stops.
//!
//! What was decided is in the record, so that any leader carries it on. What a node that is leaving
//! still has is counted by the leader again and again ([`watch`]), and what would lose data, or the
//! majority, is refused ([`refuse`]).
//!
//! ```text
//! collection           item   value
//! cluster/departures   node   Tally: what the node still has
//! ```

mod progress;
mod refuse;
mod tally;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tracing::info;

use crate::blob::{Blobs, Code, Holding, Upkeep};
use crate::kv::{CommitError, Kv, ReadError, Snapshot, Txn, Unavailable};
use crate::membership::{Leaving, NodeRecord, RaftControl};
use crate::net::{Liveness, Peers};
use crate::node_id::NodeId;
use crate::seams::Seams;

pub use progress::{Departure, Motion};
pub(crate) use progress::{departures, motion};
pub use refuse::Refusal;
use refuse::{Facts, Member};

/// Lets nodes leave. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Departures {
    pub(crate) kv: Kv,
    pub(crate) seams: Seams,
    pub(crate) peers: Peers,
    pub(crate) control: Arc<dyn RaftControl>,
    pub(crate) upkeep: Upkeep,
}

/// Whether something is done, or only looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It is done.
    Do,
    /// It is found out whether it would be done.
    Ask,
}

/// What was decided, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "DepartureDecision")]
pub struct Decision {
    /// The node that leaves, or stays after all.
    pub node: NodeId,
    /// Who takes its places.
    pub successor: Option<NodeId>,
    /// Whether it was done.
    pub done: bool,
    /// Shards that it has.
    pub shards: u64,
    /// Bytes of content in them.
    pub bytes: u64,
}

/// Why a node does not leave.
#[derive(Debug, thiserror::Error)]
pub enum DepartureError {
    /// Something would be lost, or nothing would come of it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What the node has could not be counted.
    #[error("count what the node has: {0:#}")]
    Count(anyhow::Error),
    /// The metadata could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The metadata could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Unavailable> for DepartureError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Commit(unavailable.into())
    }
}

impl Departures {
    /// Lets a node give up its vote and its shards.
    pub(crate) async fn drain(&self, node: NodeId, intent: Intent) -> Result<Decision, DepartureError> {
        let snapshot = self.kv.latest().await?;
        let facts = self.facts(&snapshot).await?;
        refuse::drain(&facts, node)?;
        let holding = self.count(&snapshot, node).await?;
        refuse::without_room(&facts, node, &holding)?;
        self.begin(node, None, holding, intent, refuse::drain).await
    }

    /// Lets another node take the places of one that is dead: `with`, or the one that joined last.
    pub(crate) async fn replace(
        &self,
        node: NodeId,
        with: Option<NodeId>,
        intent: Intent,
    ) -> Result<Decision, DepartureError> {
        let snapshot = self.kv.latest().await?;
        let facts = self.facts(&snapshot).await?;
        let successor = refuse::replace(&facts, node, with)?;
        let holding = self.count(&snapshot, node).await?;
        let check = |facts: &Facts, node| refuse::replace(facts, node, Some(successor)).map(drop);
        self.begin(node, Some(successor), holding, intent, check).await
    }

    /// Notes that a node is leaving, if a check still says that it may.
    async fn begin(
        &self,
        node: NodeId,
        successor: Option<NodeId>,
        holding: Holding,
        intent: Intent,
        check: impl Fn(&Facts, NodeId) -> Result<(), Refusal>,
    ) -> Result<Decision, DepartureError> {
        let mut decision = Decision {
            node,
            successor,
            done: false,
            shards: holding.shards,
            bytes: holding.bytes,
        };
        if intent == Intent::Ask {
            return Ok(decision);
        }
        let now = self.seams.clock.now();
        let begin = async |mut txn: Txn| {
            // Of two nodes that leave at a time, the second is seen with the first gone.
            txn.depend_on(&NodeRecord::collection()).await?;
            check(&self.facts(txn.snapshot()).await?, node)?;
            let stored: Option<NodeRecord> = txn.record(&NodeRecord::key(node)).await?;
            let stored = stored.ok_or(Refusal::Unknown { node })?;
            let before = stored.leaving.filter(|leaving| leaving.successor == successor);
            if before.is_none() {
                let leaving = Some(Leaving {
                    since: now,
                    successor,
                });
                txn.put_record(&NodeRecord::key(node), &NodeRecord { leaving, ..stored });
            }
            Ok::<_, DepartureError>((txn, ()))
        };
        self.kv.transact(begin).await?;
        info!(%node, ?successor, "node {node} is leaving");
        decision.done = true;
        Ok(decision)
    }

    /// Lets a node that was drained hold shards and vote again.
    pub(crate) async fn undrain(&self, node: NodeId) -> Result<Decision, DepartureError> {
        let stay = async |mut txn: Txn| {
            let facts = self.facts(txn.snapshot()).await?;
            facts.member(node)?;
            let stored: Option<NodeRecord> = txn.record(&NodeRecord::key(node)).await?;
            if let Some(stored) = stored.filter(|stored| stored.leaving.is_some()) {
                let leaving = None;
                txn.put_record(&NodeRecord::key(node), &NodeRecord { leaving, ..stored });
                txn.delete(&tally::key(node));
            }
            Ok::<_, DepartureError>((txn, ()))
        };
        self.kv.transact(stay).await?;
        info!(%node, "node {node} stays");
        let holding = self.count(&self.kv.local(), node).await?;
        Ok(Decision {
            node,
            successor: None,
            done: true,
            shards: holding.shards,
            bytes: holding.bytes,
        })
    }

    /// Takes a node out of the cluster for ever.
    pub(crate) async fn remove(&self, node: NodeId, intent: Intent) -> Result<Decision, DepartureError> {
        let snapshot = self.kv.latest().await?;
        let facts = self.facts(&snapshot).await?;
        // What is refused without going over everything need not wait for that.
        refuse::remove(&facts, node, &Holding::default())?;
        let holding = self.count(&snapshot, node).await?;
        refuse::remove(&facts, node, &holding)?;
        let mut decision = Decision {
            node,
            successor: None,
            done: false,
            shards: holding.shards,
            bytes: holding.bytes,
        };
        if intent == Intent::Ask {
            return Ok(decision);
        }
        let now = self.seams.clock.now();
        let remove = async |mut txn: Txn| {
            txn.depend_on(&NodeRecord::collection()).await?;
            refuse::remove(&self.facts(txn.snapshot()).await?, node, &holding)?;
            let stored: Option<NodeRecord> = txn.record(&NodeRecord::key(node)).await?;
            let stored = stored.ok_or(Refusal::Unknown { node })?;
            let removed = Some(now);
            txn.put_record(&NodeRecord::key(node), &NodeRecord { removed, ..stored });
            txn.delete(&tally::key(node));
            Ok::<_, DepartureError>((txn, ()))
        };
        self.kv.transact(remove).await?;
        info!(%node, "node {node} was removed from the cluster");
        decision.done = true;
        Ok(decision)
    }

    async fn count(&self, snapshot: &Snapshot, node: NodeId) -> Result<Holding, DepartureError> {
        let counted = self.upkeep.holdings(snapshot, &BTreeSet::from([node])).await;
        let counted = counted.map_err(DepartureError::Count)?;
        Ok(counted.get(&node).copied().unwrap_or_default())
    }

    /// What there is to be judged.
    async fn facts(&self, snapshot: &Snapshot) -> Result<Facts, ReadError> {
        let records = NodeRecord::all(snapshot).await?;
        let layout = Blobs::layout(snapshot).await?;
        let view = self.control.view();
        let mut members = BTreeMap::new();
        let mut removed = BTreeSet::new();
        for (node, record) in records {
            if record.removed.is_some() {
                removed.insert(node);
                continue;
            }
            let member = Member {
                up: self.peers.liveness(node) == Liveness::Up,
                leaving: record.leaving.is_some(),
                replaced: record.leaving.is_some_and(|leaving| leaving.successor.is_some()),
                votes: view.voters.contains(&node),
                leads: view.leader == Some(node),
                holds: layout
                    .as_ref()
                    .is_some_and(|layout| layout.members.iter().any(|member| member.node == node)),
                room: match node == self.peers.me() {
                    true => Some(self.upkeep.room().await),
                    false => self.peers.room(node),
                },
            };
            members.insert(node, member);
        }
        Ok(Facts {
            members,
            removed,
            code: |nodes| Code::for_nodes(nodes).shards(),
        })
    }
}
