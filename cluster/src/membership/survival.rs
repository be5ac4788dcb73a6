//! What the cluster survives now, in one sentence for an operator: a pure function.
//!
//! Two things can run out: voters, without a majority of which nothing is read or written, and
//! shards, without enough of which a blob is gone. The sentence names the tighter of the two.

use std::collections::BTreeMap;

use super::record::Zone;
use crate::node_id::NodeId;

/// How blobs are spread at present: any `data` of `data + parity` shards give a blob back.
/// Plain copies have one data shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coding {
    /// Shards that are needed.
    pub data: usize,
    /// Shards that may be lost.
    pub parity: usize,
}

/// What is known of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its id.
    pub id: NodeId,
    /// What it fails together with.
    pub zone: Zone,
    /// It answers.
    pub up: bool,
    /// It votes.
    pub voter: bool,
    /// What a disk of it held that has failed may lack redundancy.
    pub rebuilding: bool,
}

/// What the answer depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The members.
    pub nodes: Vec<NodeFacts>,
    /// How blobs are spread.
    pub coding: Coding,
    /// Blob segments that do not have all their shards yet. Each has one to spare at least.
    pub shard_debt: u64,
}

impl Facts {
    fn voters(&self) -> impl Iterator<Item = &NodeFacts> {
        self.nodes.iter().filter(|node| node.voter)
    }

    fn majority(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    fn voters_up(&self) -> usize {
        self.voters().filter(|node| node.up).count()
    }

    fn down(&self) -> Vec<NodeId> {
        self.nodes
            .iter()
            .filter(|node| !node.up)
            .map(|node| node.id)
            .collect()
    }

    /// Nodes that answer, but have not rebuilt what a disk held.
    fn rebuilding(&self) -> Vec<NodeId> {
        let rebuilding = self.nodes.iter().filter(|node| node.up && node.rebuilding);
        rebuilding.map(|node| node.id).collect()
    }

    /// How many more nodes any blob can lose. A node that has lost a disk may lack a shard of any.
    fn shards_to_spare(&self) -> usize {
        let intact = match self.shard_debt {
            0 => self.coding.parity,
            _ => self.coding.parity.min(1),
        };
        intact.saturating_sub(self.down().len() + self.rebuilding().len())
    }

    /// Which nodes are not as they should be, as the end of a sentence.
    fn troubles(&self) -> String {
        let (down, rebuilding) = (self.down(), self.rebuilding());
        let mut troubles = String::new();
        if !down.is_empty() {
            troubles += &format!("; down: {}", list(&down));
        }
        if !rebuilding.is_empty() {
            troubles += &format!("; rebuilding what a failed disk held: {}", list(&rebuilding));
        }
        troubles
    }

    /// Whether all nodes are there with all that they should have.
    fn is_whole(&self) -> bool {
        self.troubles().is_empty() && self.shard_debt == 0
    }

    /// Whether the loss of any one zone leaves a majority of voters and enough of every blob.
    fn survives_a_zone(&self) -> bool {
        let mut zones = BTreeMap::<&Zone, (usize, usize)>::new();
        for node in &self.nodes {
            let (nodes, voters) = zones.entry(&node.zone).or_default();
            *nodes += 1;
            *voters += usize::from(node.voter);
        }
        let voters_stay = zones
            .values()
            .all(|(_, voters)| self.voters_up() - voters >= self.majority());
        // Shards go to the emptiest zone first, one per node.
        let mut placed = vec![0; zones.len()];
        let sizes: Vec<usize> = zones.values().map(|(nodes, _)| *nodes).collect();
        for _ in 0..self.coding.data + self.coding.parity {
            let room = (0..sizes.len()).filter(|&zone| placed[zone] < sizes[zone]);
            if let Some(zone) = room.min_by_key(|&zone| placed[zone]) {
                placed[zone] += 1;
            }
        }
        voters_stay && placed.iter().all(|&shards| shards <= self.coding.parity)
    }
}

/// What the cluster survives now, in one sentence.
pub fn survival(facts: &Facts) -> String {
    let total = facts.nodes.len();
    let majority = facts.majority();
    let voters_up = facts.voters_up();
    let down = facts.down();
    if total <= 1 {
        return "survives no loss: one node holds everything; add two more to survive the loss of any one"
            .into();
    }
    if voters_up < majority {
        let missing = majority - voters_up;
        return format!(
            "stopped: {voters_up} of {} voters answer, and {} more must return before anything \
             can be written; down: {}",
            facts.voters().count(),
            missing,
            list(&down)
        );
    }
    if let [only] = facts.voters().collect::<Vec<_>>().as_slice() {
        return one_voter(facts, only.id, &down);
    }
    let votes_to_spare = voters_up - majority;
    let shards_to_spare = facts.shards_to_spare();
    match votes_to_spare.min(shards_to_spare) {
        0 => nothing_to_spare(votes_to_spare, shards_to_spare, facts),
        losses => {
            let biggest_zone = facts.nodes.iter().fold(BTreeMap::new(), |mut sizes, node| {
                *sizes.entry(&node.zone).or_insert(0) += 1;
                sizes
            });
            let zone_says_more = biggest_zone.len() > 1 && biggest_zone.values().any(|&size| size > losses);
            let or_a_zone = match facts.is_whole() && zone_says_more && facts.survives_a_zone() {
                true => ", or of any one zone",
                false => "",
            };
            let though = facts.troubles();
            let more = if though.is_empty() { "" } else { "more " };
            format!(
                "survives the loss of any {losses} {more}of {total} nodes{or_a_zone}: nothing is lost, \
                 reads and writes go on{though}"
            )
        }
    }
}

/// One voter among several nodes: while a cluster grows, or for as long as it has two.
fn one_voter(facts: &Facts, voter: NodeId, down: &[NodeId]) -> String {
    let advice = match facts.nodes.len() {
        2 => "add a third node to survive the loss of any one",
        _ => "other nodes will vote as soon as they have caught up",
    };
    let others = match down.is_empty() && facts.shards_to_spare() > 0 {
        true => "survives the loss of any other node",
        false => "survives no further loss",
    };
    let though = facts.troubles();
    format!(
        "{others}; the loss of node {voter}, the only voter, would stop the cluster and may lose the \
         latest changes{though}; {advice}"
    )
}

fn nothing_to_spare(votes: usize, shards: usize, facts: &Facts) -> String {
    let consequence = match (votes, shards) {
        (0, 0) => "one more would stop writes and may make blobs unreadable",
        (0, _) => "one more would stop writes until a node returns",
        _ => "one more may make blobs unreadable until a node returns",
    };
    let troubles = facts.troubles();
    let cause = match facts.shard_debt {
        debt if debt > 0 && troubles.is_empty() => {
            format!("; {debt} blob segments wait for their last shards")
        }
        _ => troubles,
    };
    format!("reads and writes go on, but no loss is survived: {consequence}{cause}")
}

fn list(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "none".into(),
        [one] => format!("node {one}"),
        more => {
            let ids: Vec<String> = more.iter().map(NodeId::to_string).collect();
            format!("nodes {}", ids.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The coding that a cluster of this size uses.
    fn coding(nodes: usize) -> Coding {
        let (data, parity) = match nodes {
            0 | 1 => (1, 0),
            2 => (1, 1),
            3 => (2, 1),
            4 | 5 => (2, 2),
            _ => (4, 2),
        };
        Coding { data, parity }
    }

    /// One letter per node, upper case if it is up: `V`oter or `L`earner; zones by digit.
    fn facts(description: &str) -> Facts {
        let nodes: Vec<NodeFacts> = description
            .split(' ')
            .enumerate()
            .map(|(at, word)| {
                let letter = word.chars().next().unwrap();
                NodeFacts {
                    id: NodeId(at as u64 + 1),
                    zone: format!("z{}", &word[1..]).parse().unwrap(),
                    up: letter.is_ascii_uppercase(),
                    voter: letter.eq_ignore_ascii_case(&'v'),
                    rebuilding: false,
                }
            })
            .collect();
        Facts {
            coding: coding(nodes.len()),
            nodes,
            shard_debt: 0,
        }
    }

    fn check(description: &str, expected: &str) {
        assert_eq!(survival(&facts(description)), expected, "{description}");
    }

    #[test]
    fn one_node() {
        check(
            "V",
            "survives no loss: one node holds everything; add two more to survive the loss of any one",
        );
    }

    #[test]
    fn two_nodes() {
        check(
            "V L",
            "survives the loss of any other node; the loss of node 1, the only voter, would stop the cluster \
             and may lose the latest changes; add a third node to survive the loss of any one",
        );
        check(
            "V l",
            "survives no further loss; the loss of node 1, the only voter, would stop the cluster and may lose \
             the latest changes; down: node 2; add a third node to survive the loss of any one",
        );
        check(
            "v L",
            "stopped: 0 of 1 voters answer, and 1 more must return before anything can be written; down: node 1",
        );
    }

    #[test]
    fn three_nodes() {
        check(
            "V V V",
            "survives the loss of any 1 of 3 nodes: nothing is lost, reads and writes go on",
        );
        check(
            "V V v",
            "reads and writes go on, but no loss is survived: one more would stop writes and may make blobs \
             unreadable; down: node 3",
        );
        check(
            "V v v",
            "stopped: 1 of 3 voters answer, and 1 more must return before anything can be written; down: nodes \
             2, 3",
        );
        check(
            "V L L",
            "survives the loss of any other node; the loss of node 1, the only voter, would stop the cluster \
             and may lose the latest changes; other nodes will vote as soon as they have caught up",
        );
    }

    #[test]
    fn six_nodes() {
        check(
            "V V V V V L",
            "survives the loss of any 2 of 6 nodes: nothing is lost, reads and writes go on",
        );
        check(
            "V V V V v L",
            "survives the loss of any 1 more of 6 nodes: nothing is lost, reads and writes go on; down: node 5",
        );
        check(
            "V V V V V l",
            "survives the loss of any 1 more of 6 nodes: nothing is lost, reads and writes go on; down: node 6",
        );
        check(
            "V V V V v l",
            "reads and writes go on, but no loss is survived: one more may make blobs unreadable until a node \
             returns; down: nodes 5, 6",
        );
    }

    #[test]
    fn zones() {
        check(
            "V1 V2 V3 L1 L2 L3",
            "survives the loss of any 1 of 6 nodes, or of any one zone: nothing is lost, reads and writes go on",
        );
        // Two of three voters share a zone.
        check(
            "V1 V1 V3 L1 L2 L3",
            "survives the loss of any 1 of 6 nodes: nothing is lost, reads and writes go on",
        );
    }

    #[test]
    fn segments_that_wait_for_shards_count() {
        let mut facts = facts("V V V V V L");
        facts.shard_debt = 12;
        assert!(survival(&facts).starts_with("survives the loss of any 1 of 6 nodes"));
        facts.coding.parity = 0;
        assert!(survival(&facts).ends_with("12 blob segments wait for their last shards"));
    }

    #[test]
    fn a_disk_that_has_failed_counts_until_what_it_held_is_rebuilt() {
        let mut facts = facts("V V V V V L");
        facts.nodes[2].rebuilding = true;
        assert_eq!(
            survival(&facts),
            "survives the loss of any 1 more of 6 nodes: nothing is lost, reads and writes go on; \
             rebuilding what a failed disk held: node 3"
        );
        facts.nodes[4].up = false;
        assert_eq!(
            survival(&facts),
            "reads and writes go on, but no loss is survived: one more may make blobs unreadable until a node \
             returns; down: node 5; rebuilding what a failed disk held: node 3"
        );
    }

    proptest! {
        #[test]
        fn a_promise_is_never_more_than_votes_or_shards_allow(
            nodes in prop::collection::vec("[VvLl][1-3]", 1..10),
            shard_debt in 0..3u64,
        ) {
            let mut facts = facts(&nodes.join(" "));
            facts.shard_debt = shard_debt;
            let sentence = survival(&facts);
            prop_assert!(!sentence.contains('\n'));
            if let Some(rest) = sentence.strip_prefix("survives the loss of any ") {
                let losses = rest.split(' ').next().unwrap().parse::<usize>().unwrap_or(1);
                prop_assert!(facts.shards_to_spare() >= losses);
                prop_assert!(facts.voters_up() >= facts.majority());
                if !sentence.contains("only voter") {
                    prop_assert!(facts.voters_up() - losses >= facts.majority());
                }
            }
        }
    }
}
