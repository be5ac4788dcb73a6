//! Which node to restart next with a new version, as an operator is told. Pure.
//!
//! A node is restarted only while all others are there and have caught up, and while everything has
//! its full redundancy: then nothing is out of reach meanwhile. The leader comes last, so that the
//! leadership moves once.

use schemars::JsonSchema;
use serde::Serialize;

use super::status::{NodeStatus, Role};
use crate::level::Level;
use crate::node_id::NodeId;

/// How many log entries a node may be behind and count as caught up.
const MAX_LAG: u64 = 1000;

/// Voters without which a restart of one of them stops writes for that time.
const SPARE_VOTERS: usize = 3;

/// How far an upgrade is, and how it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Upgrade {
    /// The level of the cluster: what its nodes write.
    pub level: Level,
    /// The version that all nodes run, or are to run.
    pub version: String,
    /// What that can read and write; the cluster's level when all nodes run it.
    pub next_level: Level,
    /// The nodes that run another version.
    pub outdated: Vec<NodeId>,
    /// The node that can be restarted now. Without an upgrade under way, the first to begin with.
    pub restart_next: Option<NodeId>,
    /// What has to be awaited before any node is restarted.
    pub waits_for: Vec<String>,
    /// Whether writes wait while a node is restarted.
    pub writes_wait: bool,
}

/// What newer builds have more of.
fn age(node: &NodeStatus) -> (Level, Vec<u64>) {
    let parts = node.version.split(|c: char| !c.is_ascii_digit());
    (node.level, parts.map_while(|part| part.parse().ok()).collect())
}

impl Upgrade {
    /// How a cluster of this level goes on, with so many blobs that have less redundancy than they
    /// should.
    pub(super) fn plan(level: Level, debt: u64, nodes: &[NodeStatus]) -> Self {
        let newest = nodes.iter().max_by_key(|node| age(node));
        let (version, next_level) =
            newest.map_or((String::new(), level), |node| (node.version.clone(), node.level));
        let is_outdated = |node: &&NodeStatus| (&node.version, node.level) != (&version, next_level);
        let outdated: Vec<&NodeStatus> = nodes.iter().filter(is_outdated).collect();
        let mut waits_for = Vec::new();
        for node in nodes {
            if !node.up {
                waits_for.push(format!("node {} does not answer", node.node));
            } else if node.role == Role::Joining || node.lag.is_some_and(|lag| lag > MAX_LAG) {
                waits_for.push(format!("node {} is catching up", node.node));
            }
        }
        if !nodes.iter().any(|node| node.up && node.role == Role::Leader) {
            waits_for.push("there is no leader".into());
        }
        if debt > 0 {
            waits_for.push(format!("{debt} blobs have less redundancy than they should"));
        }
        let candidates = match outdated.is_empty() {
            true => nodes.iter().collect(),
            false => outdated.clone(),
        };
        let order = |node: &&NodeStatus| match node.role {
            Role::Joining | Role::Learner => (0, node.node),
            Role::Voter => (1, node.node),
            Role::Leader => (2, node.node),
        };
        let first = candidates.into_iter().min_by_key(order);
        let votes = |node: &&NodeStatus| matches!(node.role, Role::Leader | Role::Voter);
        Self {
            level,
            next_level: next_level.max(level),
            outdated: outdated.iter().map(|node| node.node).collect(),
            restart_next: first.filter(|_| waits_for.is_empty()).map(|node| node.node),
            waits_for,
            writes_wait: nodes.iter().filter(votes).count() < SPARE_VOTERS,
            version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Zone;

    fn node(node: u64, version: &str, level: u32, role: Role) -> NodeStatus {
        NodeStatus {
            node: NodeId(node),
            address: format!("10.0.0.{node}:4000"),
            zone: Zone::default(),
            role,
            up: true,
            version: version.into(),
            level: Level(level),
            applied_index: Some(100),
            lag: Some(0),
            disk_used_bytes: None,
            disk_total_bytes: None,
            failed_disks: None,
            departure: None,
        }
    }

    fn plan(nodes: &[NodeStatus]) -> Upgrade {
        Upgrade::plan(Level(1), 0, nodes)
    }

    #[test]
    fn nodes_are_restarted_one_by_one_and_the_leader_last() {
        use Role::{Leader, Learner, Voter};
        let mut nodes = [
            node(1, "0.9.0", 1, Leader),
            node(5, "0.9.0", 1, Voter),
            node(9, "0.9.0", 1, Voter),
            node(12, "0.9.0", 1, Learner),
        ];
        let mut order = Vec::new();
        for _ in 0..nodes.len() {
            let plan = plan(&nodes);
            let next = plan.restart_next.unwrap();
            order.push(next.0);
            let restarted = nodes.iter_mut().find(|node| node.node == next).unwrap();
            (restarted.version, restarted.level) = ("0.10.0".into(), Level(2));
        }
        assert_eq!(order, [12, 5, 9, 1]);
        let done = plan(&nodes);
        assert!(done.outdated.is_empty());
        assert_eq!((done.version.as_str(), done.next_level), ("0.10.0", Level(2)));
    }

    #[test]
    fn a_version_of_the_same_level_is_an_upgrade_too() {
        let nodes = [
            node(1, "0.9.0", 1, Role::Leader),
            node(2, "0.9.1", 1, Role::Voter),
            node(3, "0.9.0", 1, Role::Voter),
        ];
        let plan = plan(&nodes);
        assert_eq!(plan.version, "0.9.1");
        assert_eq!(plan.outdated, [NodeId(1), NodeId(3)]);
        assert_eq!(plan.restart_next, Some(NodeId(3)));
        assert!(!plan.writes_wait);
    }

    #[test]
    fn nothing_is_restarted_while_something_is_missing() {
        let good = [
            node(1, "0.9.0", 1, Role::Leader),
            node(2, "0.9.0", 1, Role::Voter),
            node(3, "0.9.0", 1, Role::Voter),
        ];
        let check = |spoil: &dyn Fn(&mut [NodeStatus; 3]), reason: &str| {
            let mut nodes = good.clone();
            spoil(&mut nodes);
            let plan = plan(&nodes);
            assert_eq!(plan.restart_next, None);
            assert!(plan.waits_for[0].contains(reason), "{:?}", plan.waits_for);
        };
        check(&|nodes| nodes[2].up = false, "node 3 does not answer");
        check(&|nodes| nodes[1].lag = Some(5000), "node 2 is catching up");
        check(&|nodes| nodes[1].role = Role::Joining, "node 2 is catching up");
        check(&|nodes| nodes[0].role = Role::Voter, "no leader");
        check(&|nodes| nodes[0].up = false, "node 1 does not answer");
        let owing = Upgrade::plan(Level(1), 7, &good);
        assert_eq!(owing.restart_next, None);
        assert!(owing.waits_for[0].starts_with("7 blobs"), "{:?}", owing.waits_for);
    }

    #[test]
    fn writes_wait_where_two_voters_or_fewer_are() {
        assert!(plan(&[node(1, "0.9.0", 1, Role::Leader)]).writes_wait);
        let two = [
            node(1, "0.9.0", 1, Role::Leader),
            node(2, "0.9.0", 1, Role::Voter),
        ];
        assert!(plan(&two).writes_wait);
    }
}
