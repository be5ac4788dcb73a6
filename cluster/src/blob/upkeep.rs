//! What a node needs to look after the shards of the cluster: its own, and what it can see of the
//! others'.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Blobs;
use super::claims::Claims;
use super::coded::CodedSegments;
use super::disks::{DiskId, DiskStatus, DiskSummary, ReplaceError, ShardDisks};
use super::metrics;
use super::peers::BlobPeers;
use super::placement::Layout;
use super::precedence::Precedence;
use super::segments::SegmentError;
use super::stores::Stores;
use super::suspects::Suspects;
use crate::net::DiskGauge;
use crate::node_id::NodeId;
use crate::seams::Timestamp;
use crate::storage::{DiskWatch, FailStop};

/// How long a node may be away before its shards are built elsewhere: longer than a reboot or an
/// upgrade takes.
pub(crate) const USUAL_LOSS: Duration = Duration::from_secs(15 * 60);

/// How long what was found everywhere stays true, if nobody comes or goes. There may be room by
/// then for what there was none for.
const SETTLED_FOR: Duration = Duration::from_secs(3600);

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
    /// Segments that this node is at work on.
    pub(super) claims: Claims,
    /// Whether repair has something to do.
    pub(super) precedence: Precedence,
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
    /// Nodes that are not waited for any more. One that is leaving is not waited for at all.
    pub(super) lost: BTreeSet<NodeId>,
    /// Nodes without room.
    pub(super) full: BTreeSet<NodeId>,
}

/// That all segments were found to be as they should, as far as they can be.
pub(super) struct Settled {
    at: Timestamp,
    /// Who was gone.
    lost: BTreeSet<NodeId>,
    /// The version of the layout.
    layout: u64,
}

impl Settled {
    /// All was found to be so in this view, at a time.
    pub(super) fn new(view: &View, at: Timestamp) -> Self {
        Self {
            at,
            lost: view.lost.clone(),
            layout: view.layout.version,
        }
    }

    /// Whether that still tells anything.
    pub(super) fn holds(&self, view: &View, now: Timestamp) -> bool {
        self.lost == view.lost && self.layout == view.layout.version && now < self.at.plus(SETTLED_FOR)
    }
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

    /// Whether a node is to keep what it has.
    pub(super) fn stays(&self, node: NodeId) -> bool {
        self.layout.is_member(node) && !self.lost.contains(&node)
    }

    /// Whether something new can be put on a node.
    pub(super) fn takes(&self, node: NodeId) -> bool {
        self.stays(node) && !self.down.contains(&node) && !self.full.contains(&node)
    }

    /// Whether all that are to hold shards are there.
    pub(super) fn is_complete(&self) -> bool {
        !self.down.iter().any(|node| self.layout.is_member(*node))
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
            let bytes = self.stores.shards.measure().await;
            metrics::room(bytes);
            gauge.set_room(bytes);
        }
    }

    /// Stops the node when the disk of its data directory has stalled, and takes out each other disk
    /// that fails; for as long as it is polled.
    pub(crate) async fn watch_disks(self, fail_stop: FailStop) {
        let data = self.disk.run(fail_stop, |_| {});
        tokio::join!(data, self.stores.shards.keep());
    }

    /// How many bytes may still be written on this node.
    pub(crate) async fn room(&self) -> u64 {
        self.stores.shards.measure().await
    }

    /// What the disks of this node hold in all.
    pub(crate) fn capacity(&self) -> u64 {
        self.stores.shards.capacity()
    }

    /// Tells whenever a disk of this node comes, goes or fails.
    pub(crate) fn disk_changes(&self) -> watch::Receiver<()> {
        self.stores.shards.changes()
    }

    /// How the disks of this node are.
    pub(crate) async fn disks(&self) -> Vec<DiskStatus> {
        self.of_disks(|disks| disks.statuses()).await
    }

    /// How they are as a whole.
    pub(crate) async fn disk_summary(&self) -> DiskSummary {
        self.of_disks(|disks| disks.summary()).await
    }

    /// Whether what one of them held may still lack redundancy.
    pub(super) async fn is_rebuilding(&self) -> bool {
        self.of_disks(|disks| disks.is_rebuilding()).await
    }

    /// Asks what may wait for the record of the disks.
    async fn of_disks<T: Send + 'static>(&self, ask: impl FnOnce(&ShardDisks) -> T + Send + 'static) -> T {
        let disks = self.stores.shards.clone();
        self.stores.disk.run(move || ask(&disks)).await
    }

    /// Puts another disk in the place of one of this node, or empties it: see [`ReplaceError`] for
    /// what is refused.
    pub(crate) async fn replace_disk(&self, disk: DiskId, with: Option<PathBuf>) -> Result<(), ReplaceError> {
        self.stores.shards.replace(disk, with).await
    }

    /// This node.
    pub(super) fn me(&self) -> NodeId {
        self.peers.me()
    }

    /// Who is there.
    pub(super) async fn view(&self) -> Result<View, SegmentError> {
        let layout = self.coded.layout().await?;
        let nodes: Vec<NodeId> = layout.nodes().collect();
        let away = |node: &NodeId| self.peers.down_for(*node);
        let lost = |node: &NodeId| {
            away(node).is_some_and(|time| time >= self.lost_after || !layout.is_member(*node))
        };
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
