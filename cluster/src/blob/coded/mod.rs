//! Segments as shards on the nodes of the cluster.
//!
//! - A segment up to [`SMALL_BYTES`] is kept whole, on as many nodes as may be lost and one
//!   more: a megabyte is where a sync on every node of a group begins to cost less than writing
//!   whole copies does, and what fits the log of small segments without holding others up.
//! - Anything larger is coded while it streams ([`write`]), and read from whichever shards are
//!   nearest ([`read`]).
//! - What is missing or corrupt is built again from the rest ([`rebuild`]), and what is to be
//!   elsewhere is copied ([`copy`]).
//! - Where it goes is chosen when it begins, from the layout and from who is there ([`plan`]).

mod copy;
mod plan;
mod read;
mod rebuild;
#[cfg(test)]
mod tests;
mod write;

pub(super) use plan::homes_of_copies;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future;

use super::cache::Cache;
use super::keys;
use super::placement::Layout;
use super::pool::Pool;
use super::record::{Form, Located, SegmentId};
use super::segments::{SegmentError, SegmentSink, SegmentStream, Segments};
use super::shard_file::ShardName;
use super::transfer::Transfer;
use crate::kv::Kv;
use crate::node_id::NodeId;
use crate::record::decode;
use crate::seams::Seams;

/// The erasure-coded segments of the cluster. Cheap to clone.
#[derive(Clone)]
pub(super) struct CodedSegments {
    shared: Arc<Shared>,
}

struct Shared {
    transfer: Transfer,
    /// What was fetched from other zones.
    cache: Option<Cache>,
    kv: Kv,
    seams: Seams,
    pool: Pool,
    /// The layout as it was read last, with the version of its key.
    layout: Mutex<Option<(u64, Arc<Layout>)>>,
}

impl CodedSegments {
    pub(super) fn new(transfer: Transfer, cache: Option<Cache>, kv: Kv, seams: Seams, pool: Pool) -> Self {
        let shared = Shared {
            transfer,
            cache,
            kv,
            seams,
            pool,
            layout: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The layout as this node knows it.
    pub(super) async fn layout(&self) -> Result<Arc<Layout>, SegmentError> {
        self.shared.layout().await
    }

    /// Whether a node has no room.
    pub(super) fn is_full(&self, node: NodeId) -> bool {
        self.shared.transfer.is_full(node)
    }
}

impl Shared {
    /// The layout as this node knows it.
    async fn layout(&self) -> Result<Arc<Layout>, SegmentError> {
        let unavailable = |what: String| SegmentError::Unavailable(what);
        let stored = self.kv.local().get(&keys::layout()).await;
        let stored = stored.map_err(|error| unavailable(error.to_string()))?;
        let Some(stored) = stored else {
            return Err(unavailable("the cluster has no layout yet".into()));
        };
        let mut known = self.layout.lock().expect("no panic while held");
        match &*known {
            Some((version, layout)) if *version == stored.version => Ok(layout.clone()),
            _ => {
                let layout =
                    decode::<Layout>(&stored.value).map_err(|error| unavailable(error.to_string()))?;
                let layout = Arc::new(layout);
                *known = Some((stored.version, layout.clone()));
                Ok(layout)
            }
        }
    }

    /// How near a node is: itself, its zone, then by how fast it answers; those that are not
    /// there come last.
    fn distance(&self, layout: Option<&Layout>, node: NodeId) -> (bool, bool, bool, std::time::Duration) {
        let me = self.transfer.me();
        let expected = self.transfer.expected(node).unwrap_or_default();
        (
            !self.transfer.is_up(node),
            node != me,
            self.is_far(layout, node),
            expected,
        )
    }

    /// Whether a node is not in this node's zone.
    fn is_far(&self, layout: Option<&Layout>, node: NodeId) -> bool {
        let zone = |node: NodeId| layout.and_then(|layout| layout.zone(node));
        node != self.transfer.me() && (zone(node).is_none() || zone(node) != zone(self.transfer.me()))
    }

    /// The cache, for what a node holds that is far away.
    fn cache_for(&self, layout: Option<&Layout>, node: NodeId) -> Option<&Cache> {
        self.cache.as_ref().filter(|_| self.is_far(layout, node))
    }
}

/// The shard of a segment with an index.
pub(super) fn shard_of(segment: &Located, index: u8) -> ShardName {
    ShardName {
        group: segment.record.placement.group,
        id: segment.id,
        index,
    }
}

#[async_trait]
impl Segments for CodedSegments {
    fn create(&self, id: SegmentId, offset: u64) -> Box<dyn SegmentSink> {
        Box::new(write::CodedSink::new(self.clone(), id, offset))
    }

    async fn open(&self, segment: &Located, range: Range<u64>) -> Result<SegmentStream, SegmentError> {
        match segment.record.placement.form {
            Form::Small => read::open_small(&self.shared, segment, range).await,
            Form::Shards => read::open_shards(&self.shared, segment, range, read::Reader::Client).await,
        }
    }

    async fn layout(&self) -> Option<Arc<Layout>> {
        self.shared.layout().await.ok()
    }

    async fn remove(&self, segments: &[Located]) -> Result<(), SegmentError> {
        let layout = self.shared.layout().await?;
        let mut by_node: BTreeMap<NodeId, (Vec<ShardName>, Vec<SegmentId>)> = BTreeMap::new();
        for segment in segments {
            let homes = (0..).zip(&segment.record.placement.homes);
            // A node that has left took with it what it had.
            for (index, node) in homes.filter(|(_, node)| layout.zone(**node).is_some()) {
                let (shards, small) = by_node.entry(*node).or_default();
                match segment.record.placement.form {
                    Form::Small => small.push(segment.id),
                    Form::Shards => shards.push(shard_of(segment, index)),
                }
            }
        }
        let transfer = &self.shared.transfer;
        let removals = by_node.into_iter().map(|(node, (shards, small))| async move {
            let unavailable = |what: &dyn std::fmt::Display| {
                SegmentError::Unavailable(format!("node {node} does not remove its shards: {what}"))
            };
            if !transfer.is_up(node) {
                return Err(unavailable(&"it is down"));
            }
            let removed = transfer.delete(node, shards, small).await;
            removed.map_err(|error| unavailable(&error))
        });
        future::join_all(removals).await.into_iter().collect()
    }
}
