//! What a node needs to look after the shards of the cluster: its own, and what it can see of the
//! others'.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::Blobs;
use super::coded::CodedSegments;
use super::metrics;
use super::peers::BlobPeers;
use super::placement::Layout;
use super::segments::SegmentError;
use super::stores::Stores;
use super::suspects::Suspects;
use crate::net::DiskGauge;
use crate::node_id::NodeId;
use crate::storage::{DiskWatch, FailStop};

/// How long a node may be away before its shards are built elsewhere: longer than a reboot or an
/// upgrade takes.
pub(crate) const USUAL_LOSS: Duration = Duration::from_secs(15 * 60);

/// How often it is measured how much room there is.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// The means of background work on blobs. Cheap to clone.
#[derive(Clone)]
pub struct Upkeep {
    pub(super) blobs: Blobs,
    pub(super) coded: CodedSegments,
    pub(super) stores: Stores,
    pub(super) peers: Arc<dyn BlobPeers>,
    pub(super) suspects: Suspects,
    pub(super) disk: DiskWatch,
    /// How long a node may be away before it counts as lost.
    pub(super) lost_after: Duration,
}

/// Who holds shards, as this node sees it at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) me: NodeId,
    pub(super) layout: Arc<Layout>,
    /// Nodes that do not answer, but may come back with what they have.
    pub(super) down: BTreeSet<NodeId>,
    /// Nodes that are not waited for any more.
    pub(super) lost: BTreeSet<NodeId>,
    /// Nodes without room.
    pub(super) full: BTreeSet<NodeId>,
}

impl View {
    /// Whether a node that is named as a home still counts as one: it belongs to the cluster, and
    /// is expected back if it is away.
    pub(super) fn is_home(&self, node: NodeId) -> bool {
        self.layout.zone(node).is_some() && !self.lost.contains(&node)
    }

    /// Whether what a node holds can be had now.
    pub(super) fn answers(&self, node: NodeId) -> bool {
        self.is_home(node) && !self.down.contains(&node)
    }

    /// Whether something new can be put on a node.
    pub(super) fn takes(&self, node: NodeId) -> bool {
        self.answers(node) && !self.full.contains(&node)
    }
}

impl Upkeep {
    /// Counts a node as lost that was away for so long.
    pub(crate) fn with_loss_after(mut self, lost_after: Duration) -> Self {
        self.lost_after = lost_after;
        self
    }

    /// Keeps telling how much room there is, for as long as it is polled.
    pub(crate) async fn tell_room(self, gauge: DiskGauge) {
        let mut ticks = tokio::time::interval(MEASURE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let shards = self.stores.shards.clone();
            match self.stores.disk.run(move || shards.room()).await {
                Ok(bytes) => {
                    metrics::room(bytes);
                    gauge.set_room(bytes);
                }
                Err(error) => warn!(%error, "find out how much room there is"),
            }
        }
    }

    /// Stops the node when the disk of its blobs has stalled; for as long as it is polled.
    pub(crate) async fn watch_disk(self, fail_stop: FailStop) {
        self.disk.run(fail_stop, |_| {}).await;
    }

    /// This node.
    pub(super) fn me(&self) -> NodeId {
        self.peers.me()
    }

    /// Who is there.
    pub(super) async fn view(&self) -> Result<View, SegmentError> {
        let layout = self.coded.layout().await?;
        let nodes: Vec<NodeId> = layout.members.iter().map(|member| member.node).collect();
        let away = |node: &NodeId| self.peers.down_for(*node);
        let lost = |node: &NodeId| away(node).is_some_and(|time| time >= self.lost_after);
        Ok(View {
            me: self.me(),
            down: nodes
                .iter()
                .copied()
                .filter(|node| away(node).is_some())
                .collect(),
            lost: nodes.iter().copied().filter(lost).collect(),
            full: nodes
                .iter()
                .copied()
                .filter(|node| self.coded.is_full(*node))
                .collect(),
            layout,
        })
    }
}
