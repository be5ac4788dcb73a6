//! Where a segment goes: chosen from the layout and from who is there. Pure.
//!
//! What promise P1 asks comes before how the layout would have it: with nodes missing a segment
//! gets fewer shards, then copies, and what it lacks is noted as debt. Below that it is not
//! stored at all.

use std::collections::BTreeSet;

use crate::blob::placement::Layout;
use crate::blob::record::Code;
use crate::node_id::NodeId;

/// Groups that are looked at before the best of them is taken, and how far apart they are:
/// groups next to each other tend to have the same nodes. Prime to the number of groups.
const GROUPS_TRIED: usize = 16;
const STRIDE: usize = 389;

/// Where the shards of a segment go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) group: u16,
    pub(super) code: Code,
    /// By shard index.
    pub(super) homes: Vec<NodeId>,
    /// Shard indexes whose homes are not there.
    pub(super) absent: Vec<u8>,
    /// The code is not the layout's.
    pub(super) recode: bool,
}

impl Plan {
    /// How many shards must be durable before the write is acknowledged.
    pub(super) fn required(&self) -> usize {
        self.code.acknowledged_at()
    }

    /// The plan for a coded segment; none if too few nodes are there for promise P1.
    /// `first_group` is random.
    pub(super) fn for_shards(
        layout: &Layout,
        first_group: u16,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Option<Self> {
        let (group, nodes) = best_group(layout, first_group, &is_up)?;
        let code = layout.code;
        let absent = absent(nodes, &is_up);
        let there = nodes.len() - absent.len();
        if there >= code.acknowledged_at() {
            return Some(Self {
                group,
                code,
                homes: nodes.to_vec(),
                absent,
                recode: false,
            });
        }
        // Too few for this code, but two copies survive the loss of one node as well.
        let homes = spread(layout, nodes, &is_up, 2);
        let copies = Code { data: 1, parity: 1 };
        (code.shards() > 2 && homes.len() == 2).then_some(Self {
            group,
            code: copies,
            homes,
            absent: Vec::new(),
            recode: true,
        })
    }

    /// The plan for a small segment: copies on as many nodes as may be lost, and one more.
    pub(super) fn for_small(
        layout: &Layout,
        first_group: u16,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Option<Self> {
        let (group, nodes) = best_group(layout, first_group, &is_up)?;
        let code = layout.code.of_copies();
        let nodes = turned(group, nodes);
        let mut homes = spread(layout, &nodes, &is_up, code.shards());
        // Those that are not there get theirs when they are.
        let others = nodes.iter().filter(|node| !homes.contains(node)).copied();
        let others: Vec<NodeId> = others.take(code.shards() - homes.len()).collect();
        homes.extend(others);
        let absent = absent(&homes, &is_up);
        (homes.len() - absent.len() >= code.acknowledged_at()).then_some(Self {
            group,
            code,
            homes,
            absent,
            recode: false,
        })
    }
}

/// The nodes of a group in the order in which they get copies: its first nodes hold its data shards,
/// and copies go to all of its nodes alike.
fn turned(group: u16, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    let turn = usize::from(group) % nodes.len().max(1);
    nodes.rotate_left(turn);
    nodes
}

/// The nodes that hold the copies of a small segment of a group, if all are there.
pub(in crate::blob) fn homes_of_copies(layout: &Layout, group: u16) -> Vec<NodeId> {
    let nodes = layout.groups.get(usize::from(group));
    let nodes = turned(group, nodes.map_or(&[], Vec::as_slice));
    spread(layout, &nodes, |_| true, layout.code.of_copies().shards())
}

fn absent(nodes: &[NodeId], is_up: impl Fn(NodeId) -> bool) -> Vec<u8> {
    (0..)
        .zip(nodes)
        .filter(|(_, node)| !is_up(**node))
        .map(|(index, _)| index)
        .collect()
}

/// The first of some groups that is all there, or the one of which most is.
fn best_group(layout: &Layout, first: u16, is_up: impl Fn(NodeId) -> bool) -> Option<(u16, &[NodeId])> {
    let groups = layout.groups.len();
    let tried = (0..groups.min(GROUPS_TRIED)).map(|step| (usize::from(first) + step * STRIDE) % groups);
    let tried = tried.map(|group| (group, layout.groups[group].as_slice()));
    let absent = |nodes: &[NodeId]| nodes.iter().filter(|node| !is_up(**node)).count();
    tried
        .min_by_key(|(_, nodes)| absent(nodes))
        .map(|(group, nodes)| (group as u16, nodes))
}

/// Up to `count` of the nodes that are there, from as many zones as possible.
fn spread(layout: &Layout, nodes: &[NodeId], is_up: impl Fn(NodeId) -> bool, count: usize) -> Vec<NodeId> {
    let mut left: Vec<NodeId> = nodes.iter().copied().filter(|node| is_up(*node)).collect();
    let mut chosen = Vec::new();
    let mut zones = BTreeSet::new();
    while chosen.len() < count && !left.is_empty() {
        let fresh = left.iter().position(|node| !zones.contains(&layout.zone(*node)));
        let node = left.remove(fresh.unwrap_or(0));
        zones.insert(layout.zone(node));
        chosen.push(node);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::placement::{Member, compute};

    fn layout(zones: &[&str]) -> Layout {
        let members: Vec<Member> = zones
            .iter()
            .zip(1..)
            .map(|(zone, node)| Member {
                node: NodeId(node),
                zone: (*zone).into(),
                capacity: 1,
            })
            .collect();
        compute(&members, Code::for_nodes(members.len()), None).unwrap()
    }

    fn nodes(count: usize) -> Layout {
        let zones: Vec<String> = (0..count).map(|zone| zone.to_string()).collect();
        layout(&zones.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Code, shards that are written, and whether it is to be coded again, with the first nodes
    /// being down.
    fn shards(nodes_there: usize, down: u64) -> Option<((u8, u8), usize, bool)> {
        let plan = Plan::for_shards(&nodes(nodes_there), 7, |node| node.0 > down)?;
        let written = plan.homes.len() - plan.absent.len();
        assert!(written >= plan.required());
        assert!(
            (0..)
                .zip(&plan.homes)
                .all(|(index, node)| plan.absent.contains(&index) == (node.0 <= down))
        );
        Some(((plan.code.data, plan.code.parity), written, plan.recode))
    }

    #[test]
    fn the_code_follows_who_is_there() {
        assert_eq!(shards(1, 0), Some(((1, 0), 1, false)));
        assert_eq!(shards(2, 0), Some(((1, 1), 2, false)));
        assert_eq!(shards(2, 1), None);
        assert_eq!(shards(3, 0), Some(((2, 1), 3, false)));
        assert_eq!(shards(3, 1), Some(((1, 1), 2, true)));
        assert_eq!(shards(3, 2), None);
        assert_eq!(shards(4, 1), Some(((2, 2), 3, false)));
        assert_eq!(shards(4, 2), Some(((1, 1), 2, true)));
        assert_eq!(shards(6, 1), Some(((4, 2), 5, false)));
        assert_eq!(shards(6, 2), Some(((1, 1), 2, true)));
        assert_eq!(shards(6, 5), None);
    }

    #[test]
    fn a_group_without_the_missing_node_is_preferred() {
        for first in 0..20 {
            let plan = Plan::for_shards(&nodes(9), first * 50, |node| node.0 != 4).unwrap();
            assert_eq!((plan.absent.len(), plan.homes.len()), (0, 6));
        }
    }

    #[test]
    fn small_segments_get_as_many_copies_as_may_be_lost_and_one_more() {
        let copies = |count, down: u64| {
            let plan = Plan::for_small(&nodes(count), 3, |node| node.0 > down)?;
            Some((plan.homes.len(), plan.absent.len()))
        };
        assert_eq!(copies(1, 0), Some((1, 0)));
        assert_eq!(copies(2, 0), Some((2, 0)));
        assert_eq!(copies(2, 1), None);
        assert_eq!(copies(3, 0), Some((2, 0)));
        assert_eq!(copies(3, 1), Some((2, 0)));
        assert_eq!(copies(3, 2), None);
        assert_eq!(copies(4, 0), Some((3, 0)));
        assert_eq!(copies(4, 2), Some((3, 1)));
        assert_eq!(copies(6, 0), Some((3, 0)));
    }

    #[test]
    fn every_node_takes_its_share_of_small_segments() {
        let member = |node: u64| Member {
            node: NodeId(node),
            zone: node.to_string(),
            capacity: 1,
        };
        // As clusters come to be: the nodes join one after the other.
        let mut layout = None;
        for count in 1..=3 {
            let members: Vec<_> = (1..=count).map(member).collect();
            layout = Some(compute(&members, Code::for_nodes(members.len()), layout.as_ref()).unwrap());
        }
        let layout = layout.unwrap();
        for node in 1..=3 {
            let takes = |group: &u16| {
                let plan = Plan::for_small(&layout, *group, |_| true).unwrap();
                plan.homes.contains(&NodeId(node))
            };
            let taken = (0..300).filter(takes).count();
            assert!(
                (195..=205).contains(&taken),
                "node {node} has {taken} of 600 copies"
            );
        }
    }

    #[test]
    fn copies_lie_in_different_zones() {
        let layout = layout(&["a", "a", "b", "b"]);
        for group in 0..50 {
            let plan = Plan::for_small(&layout, group, |node| node != NodeId(1)).unwrap();
            let zones: BTreeSet<_> = plan.homes[..2].iter().map(|node| layout.zone(*node)).collect();
            assert_eq!(zones.len(), 2);
        }
    }
}
