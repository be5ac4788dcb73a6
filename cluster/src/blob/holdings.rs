//! What nodes still have that counts: what has to be elsewhere before they may leave.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::upkeep::Upkeep;
use super::walk::{Extent, Known, Owner, Walk};
use crate::kv::Snapshot;
use crate::node_id::NodeId;

/// What a node has that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Shards of blobs, and copies of small ones, for which it is still the home.
    pub shards: u64,
    /// Bytes of content in them.
    pub bytes: u64,
    /// Segments of uploads under way that could not be read without it.
    pub uploads: u64,
}

impl Holding {
    /// Whether nothing would be lost, nor have less redundancy, without the node.
    pub fn is_nothing(&self) -> bool {
        self.shards == 0 && self.uploads == 0
    }
}

impl Upkeep {
    /// What some nodes have, by a snapshot: goes over everything that the metadata knows.
    pub(crate) async fn holdings(
        &self,
        snapshot: &Snapshot,
        nodes: &BTreeSet<NodeId>,
    ) -> anyhow::Result<BTreeMap<NodeId, Holding>> {
        let mut holdings: BTreeMap<NodeId, Holding> =
            nodes.iter().map(|node| (*node, Holding::default())).collect();
        let mut walk = Walk::new(Extent::Everything);
        while let Some(page) = walk.next(snapshot).await? {
            let view = self.view().await?;
            for known in page {
                let without = |home: NodeId| !nodes.contains(&home) && view.answers(home);
                count(&known, without, &mut holdings);
            }
        }
        Ok(holdings)
    }
}

/// Adds what nodes have of a segment; `without` says which homes remain if they all leave.
fn count(known: &Known, without: impl Fn(NodeId) -> bool, holdings: &mut BTreeMap<NodeId, Holding>) {
    let record = &known.segment.record;
    let placement = &record.placement;
    let remaining = (0..)
        .zip(&placement.homes)
        .filter(|(index, home)| !placement.missing.contains(index) && without(**home))
        .count();
    for home in &placement.homes {
        let Some(holding) = holdings.get_mut(home) else {
            continue;
        };
        match known.owner {
            Owner::Blob(_) => {
                holding.shards += 1;
                holding.bytes += record.shard_bytes();
            }
            Owner::Unfinished if remaining < usize::from(placement.code.data) => holding.uploads += 1,
            Owner::Unfinished | Owner::Garbage => {}
        }
    }
}
