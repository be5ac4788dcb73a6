//! How far nodes are with leaving, and how much moves to those that have joined: what operators
//! see.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::tally;
use crate::blob::Blobs;
use crate::kv::{ReadError, Snapshot};
use crate::membership::{NodeRecord, RaftView};
use crate::node_id::NodeId;
use crate::tasks::{Phase, TaskKind, TaskStatus};

/// How far a node is with leaving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Departure {
    /// Who takes its places; it is then removed by itself.
    pub successor: Option<NodeId>,
    /// Nothing is lost, nothing waits and nothing has less redundancy when it is stopped.
    pub safe_to_stop: bool,
    /// What it still has to give up, in words.
    pub waits_for: Vec<String>,
    /// Shards for which it is still the home, when it was counted last.
    pub shards: u64,
    /// Bytes of content in them.
    pub bytes: u64,
    /// Bytes of content that it had when it was counted first.
    pub bytes_at_first: u64,
    /// How fast it gives them up.
    pub bytes_per_second: u64,
    /// How long it goes on like that.
    pub eta_seconds: Option<u64>,
}

/// What is on its way to the nodes that are to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Motion {
    /// Nodes that take over shards.
    pub nodes: usize,
    /// Bytes that they have still to take over in their present rounds.
    pub bytes: u64,
    /// How fast they do, all together.
    pub bytes_per_second: u64,
    /// How long it goes on like that.
    pub eta_seconds: Option<u64>,
}

/// How far the nodes are that are leaving.
pub(crate) async fn departures(
    snapshot: &Snapshot,
    view: &RaftView,
) -> Result<BTreeMap<NodeId, Departure>, ReadError> {
    let mut departures = BTreeMap::new();
    let records = NodeRecord::all(snapshot).await?;
    if records.values().all(|record| record.leaving.is_none()) {
        return Ok(departures);
    }
    let layout = Blobs::layout(snapshot).await?;
    let tallies = tally::all(snapshot).await?;
    for (node, record) in records {
        let Some(leaving) = record.leaving.filter(|_| record.removed.is_none()) else {
            continue;
        };
        let tally = tallies.get(&node).filter(|tally| tally.since == leaving.since);
        let is_new = |version: u64| layout.as_ref().is_none_or(|layout| layout.version == version);
        let holds = layout
            .as_ref()
            .is_some_and(|layout| layout.leaving.iter().all(|left| left.node != node));
        let mut waits_for = Vec::new();
        let mut wait = |what: String| waits_for.push(what);
        if view.leader == Some(node) {
            wait("its leadership".into());
        }
        if view.voters.contains(&node) {
            wait("its vote".into());
        }
        match tally {
            _ if holds => wait("a layout without it".into()),
            Some(tally) if is_new(tally.layout) => {
                if tally.holding.shards > 0 {
                    wait(format!("{} shards", tally.holding.shards));
                }
                // Those that need a dead node are lost.
                if tally.holding.uploads > 0 && leaving.successor.is_none() {
                    wait(format!("{} segments of uploads under way", tally.holding.uploads));
                }
            }
            _ => wait("its shards to be counted".into()),
        }
        let departure = Departure {
            successor: leaving.successor,
            safe_to_stop: waits_for.is_empty(),
            waits_for,
            shards: tally.map_or(0, |tally| tally.holding.shards),
            bytes: tally.map_or(0, |tally| tally.holding.bytes),
            bytes_at_first: tally.map_or(0, |tally| tally.first.bytes),
            bytes_per_second: tally.map_or(0, |tally| tally.bytes_per_second),
            eta_seconds: tally.and_then(|tally| tally.eta_seconds()),
        };
        departures.insert(node, departure);
    }
    Ok(departures)
}

/// What the rounds of the rebalancing are about at present; none if nothing moves.
pub(crate) fn motion(tasks: &[TaskStatus]) -> Option<Motion> {
    let moving = tasks.iter().filter(|status| {
        let state = &status.state;
        status.task == TaskKind::Rebalance
            && matches!(state.phase, Phase::Running | Phase::Paused)
            && state.total > state.done
    });
    let mut motion = Motion {
        nodes: 0,
        bytes: 0,
        bytes_per_second: 0,
        eta_seconds: None,
    };
    // Each takes over by itself, so the slowest tells when all is done.
    let mut slowest = Some(0);
    for TaskStatus { state, .. } in moving {
        let left = state.total - state.done;
        motion.nodes += 1;
        motion.bytes += left;
        motion.bytes_per_second += state.bytes_per_second;
        let eta = (state.bytes_per_second > 0).then(|| left.div_ceil(state.bytes_per_second));
        slowest = slowest.zip(eta).map(|(slowest, eta)| slowest.max(eta));
    }
    motion.eta_seconds = slowest;
    (motion.nodes > 0).then_some(motion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::TaskState;

    #[test]
    fn what_moves_ends_when_the_slowest_node_is_done() {
        let status = |node, done, total, bytes_per_second| TaskStatus {
            task: TaskKind::Rebalance,
            node: NodeId(node),
            state: TaskState {
                phase: Phase::Running,
                done,
                total,
                bytes_per_second,
                ..TaskState::default()
            },
        };
        assert_eq!(motion(&[status(1, 5, 5, 0)]), None);
        let moving = [
            status(1, 0, 1000, 100),
            status(2, 500, 600, 1),
            status(3, 7, 7, 0),
        ];
        let expected = Motion {
            nodes: 2,
            bytes: 1100,
            bytes_per_second: 101,
            eta_seconds: Some(100),
        };
        assert_eq!(motion(&moving), Some(expected));
        // One that has not moved anything yet cannot be told about.
        let stalled = motion(&[status(1, 0, 1000, 100), status(2, 0, 600, 0)]).unwrap();
        assert_eq!(stalled.eta_seconds, None);
    }
}
