//! `cairn cluster upgrade`: how far an upgrade is, and which node to restart next.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cluster::{NodeStatus, Status};
use super::table::Table;

/// How far an upgrade is, as the API shows it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Upgrade {
    /// What the nodes write: the least that all of them can read.
    level: u32,
    /// The version that all nodes run, or are to run.
    pub(super) version: String,
    /// The cluster's level when all nodes run it.
    next_level: u32,
    /// The nodes that run another version.
    pub(super) outdated: Vec<u64>,
    restart_next: Option<u64>,
    waits_for: Vec<String>,
    /// Whether writes wait while a node is restarted.
    writes_wait: bool,
}

/// The same with the versions of all nodes.
#[derive(Serialize)]
pub(super) struct UpgradeStatus {
    #[serde(flatten)]
    upgrade: Upgrade,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    node: u64,
    version: String,
    level: u32,
    role: String,
    up: bool,
}

impl UpgradeStatus {
    pub(super) fn of(status: Status) -> Self {
        let node = |node: NodeStatus| Node {
            node: node.node,
            role: node.role.to_string(),
            version: node.version,
            level: node.level,
            up: node.up,
        };
        Self {
            nodes: status.nodes.into_iter().map(node).collect(),
            upgrade: status.upgrade,
        }
    }
}

impl fmt::Display for UpgradeStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["NODE", "VERSION", "LEVEL", "ROLE", "STATE"]);
        for node in &self.nodes {
            let state = match (node.up, self.upgrade.outdated.contains(&node.node)) {
                (false, _) => "down",
                (true, true) => "to be restarted",
                (true, false) => "up",
            };
            table.row([
                node.node.to_string(),
                node.version.clone(),
                node.level.to_string(),
                node.role.clone(),
                state.to_owned(),
            ]);
        }
        table.fmt(out)?;
        write!(out, "\n\n{}", self.upgrade)
    }
}

impl fmt::Display for Upgrade {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_under_way = !self.outdated.is_empty();
        match (is_under_way, self.level < self.next_level) {
            (false, false) => writeln!(
                out,
                "all nodes run {}, and the cluster is of level {}",
                self.version, self.level
            )?,
            (false, true) => writeln!(
                out,
                "all nodes run {}; the cluster goes from level {} to {} in a moment",
                self.version, self.level, self.next_level
            )?,
            (true, true) => writeln!(
                out,
                "the cluster is of level {}, and goes to level {} when all nodes run {}; until then every node \
                 can go back",
                self.level, self.next_level, self.version
            )?,
            (true, false) => writeln!(
                out,
                "the cluster is of level {}, which {} has too",
                self.level, self.version
            )?,
        }
        match self.restart_next {
            None => return write!(out, "wait: {}", self.waits_for.join("; ")),
            Some(node) if is_under_way => write!(out, "restart next: node {node}, with {}", self.version)?,
            Some(node) => write!(out, "to upgrade, begin with node {node}")?,
        }
        match self.writes_wait {
            true => write!(out, "; writes wait until it is back"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade() -> Upgrade {
        Upgrade {
            level: 1,
            version: "0.2.0".into(),
            next_level: 2,
            outdated: vec![1, 5],
            restart_next: Some(5),
            ..Upgrade::default()
        }
    }

    fn node(node: u64, version: &str, level: u32, role: &str) -> Node {
        Node {
            node,
            version: version.into(),
            level,
            role: role.into(),
            up: true,
        }
    }

    #[test]
    fn it_shows_every_node_and_which_comes_next() {
        let nodes = vec![
            node(1, "0.1.0", 1, "leader"),
            node(5, "0.1.0", 1, "voter"),
            node(9, "0.2.0", 2, "voter"),
        ];
        let shown = UpgradeStatus {
            upgrade: upgrade(),
            nodes,
        };
        assert_eq!(
            shown.to_string(),
            "NODE  VERSION  LEVEL  ROLE    STATE\n\
             1     0.1.0    1      leader  to be restarted\n\
             5     0.1.0    1      voter   to be restarted\n\
             9     0.2.0    2      voter   up\n\n\
             the cluster is of level 1, and goes to level 2 when all nodes run 0.2.0; until then every node \
             can go back\n\
             restart next: node 5, with 0.2.0"
        );
    }

    #[test]
    fn it_says_what_to_wait_for_and_when_it_is_done() {
        let check = |upgrade: Upgrade, expected: &str| {
            let text = upgrade.to_string();
            assert!(text.ends_with(expected), "{text}");
        };
        let waiting = Upgrade {
            restart_next: None,
            waits_for: vec!["node 9 does not answer".into(), "there is no leader".into()],
            ..upgrade()
        };
        check(waiting, "wait: node 9 does not answer; there is no leader");
        let done = || Upgrade {
            outdated: Vec::new(),
            ..upgrade()
        };
        check(
            done(),
            "from level 1 to 2 in a moment\nto upgrade, begin with node 5",
        );
        let idle = Upgrade {
            next_level: 1,
            writes_wait: true,
            ..done()
        };
        check(
            idle,
            "all nodes run 0.2.0, and the cluster is of level 1\n\
             to upgrade, begin with node 5; writes wait until it is back",
        );
    }
}
