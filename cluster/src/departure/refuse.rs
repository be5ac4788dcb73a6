//! What would lose data or the majority, or come to no end: a pure decision, with the reason in
//! words for an operator.

use std::collections::{BTreeMap, BTreeSet};

use bytesize::ByteSize;

use crate::blob::Holding;
use crate::membership::wanted_voters;
use crate::node_id::NodeId;

/// A member as the node that decides sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// It answers.
    pub(super) up: bool,
    /// It is to give up what it has.
    pub(super) leaving: bool,
    /// It is dead, and another one takes its places.
    pub(super) replaced: bool,
    pub(super) votes: bool,
    pub(super) leads: bool,
    /// New shards are put on it.
    pub(super) holds: bool,
    /// Bytes that it has room for, if it has said so.
    pub(super) room: Option<u64>,
}

/// What there is to be judged.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) removed: BTreeSet<NodeId>,
    /// How many shards a segment has, with so many nodes.
    pub(super) code: fn(usize) -> usize,
}

/// Why a node does not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such node.
    #[error("there is no node {node}: `cairn cluster status` lists those there are")]
    Unknown {
        /// The node.
        node: NodeId,
    },
    /// It is gone already.
    #[error("node {node} was removed already; ids are not used again")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// Nobody would be left.
    #[error("node {node} is the last that is to stay: all data would be lost")]
    Last {
        /// The node.
        node: NodeId,
    },
    /// Nothing would have any redundancy.
    #[error("node {remaining} alone would hold everything and survive no loss: let another node join first")]
    Alone {
        /// The node that would be left.
        remaining: NodeId,
    },
    /// What it has could not be put anywhere.
    #[error(
        "{staying} nodes would stay, but only {up} of them answer, and a segment has {shards} shards: \
         bring nodes back first, or let others join"
    )]
    TooFewForTheCode {
        /// Nodes that would hold shards.
        staying: usize,
        /// Those of them that answer.
        up: usize,
        /// Nodes that a segment needs.
        shards: usize,
    },
    /// There would be no majority.
    #[error(
        "{up} of the {voters} voters that would be left answer, {needed} are needed: bring nodes back first"
    )]
    BelowQuorum {
        /// Voters that would be left.
        voters: usize,
        /// Those of them that answer.
        up: usize,
        /// A majority.
        needed: usize,
    },
    /// The others are too full.
    #[error(
        "node {node} has {} and the nodes that would stay have room for {}: give them more disk, or let \
         another node join first",
        size(.bytes),
        size(.room)
    )]
    NoRoom {
        /// The node.
        node: NodeId,
        /// What it has.
        bytes: u64,
        /// What there is room for.
        room: u64,
    },
    /// It is in use.
    #[error("node {node} is in use: drain it first, with `cairn cluster drain {node}`")]
    NotDrained {
        /// The node.
        node: NodeId,
    },
    /// Things would be lost, or have less redundancy.
    #[error(
        "{shards} shards ({}) still count on node {node}{}: they are moved or rebuilt while enough other nodes \
         are there; `cairn cluster status` shows how far that is",
        size(.bytes),
        and_uploads(.uploads)
    )]
    Holds {
        /// The node.
        node: NodeId,
        /// Shards for which it is the home.
        shards: u64,
        /// Bytes in them.
        bytes: u64,
        /// Segments of uploads under way that cannot be read without it.
        uploads: u64,
    },
    /// The layout still names it.
    #[error("new shards are still put on node {node}: try again in a moment")]
    InUse {
        /// The node.
        node: NodeId,
    },
    /// Its vote counts.
    #[error("node {node} still votes: another node takes its vote as soon as one can; try again shortly")]
    Votes {
        /// The node.
        node: NodeId,
    },
    /// It is not dead.
    #[error("node {node} answers: drain it with `cairn cluster drain {node}`, then remove it")]
    Alive {
        /// The node.
        node: NodeId,
    },
    /// Nobody can take its place.
    #[error(
        "no node that answers has joined since node {node}: let one join with `cairn cluster join`, or name \
         one with --with"
    )]
    NoSuccessor {
        /// The node.
        node: NodeId,
    },
    /// That one cannot take its place.
    #[error("node {successor} cannot take the place of node {node}: {reason}")]
    UnfitSuccessor {
        /// The node that is to be replaced.
        node: NodeId,
        /// The one that was named.
        successor: NodeId,
        /// Why not.
        reason: &'static str,
    },
}

fn size(bytes: &u64) -> ByteSize {
    ByteSize(*bytes)
}

fn and_uploads(segments: &u64) -> String {
    match segments {
        0 => String::new(),
        _ => format!(", and {segments} segments of uploads under way need it"),
    }
}

impl Facts {
    /// A node that belongs to the cluster.
    pub(super) fn member(&self, node: NodeId) -> Result<&Member, Refusal> {
        match self.members.get(&node) {
            Some(member) => Ok(member),
            None if self.removed.contains(&node) => Err(Refusal::Removed { node }),
            None => Err(Refusal::Unknown { node }),
        }
    }

    /// Those that would hold shards and vote without a node.
    fn staying(&self, without: NodeId) -> BTreeMap<NodeId, &Member> {
        let staying = self.members.iter().filter(|(_, member)| !member.leaving);
        let staying = staying.map(|(node, member)| (*node, member));
        staying.filter(|(node, _)| *node != without).collect()
    }

    /// Refuses what would leave too few.
    fn check_those_staying(&self, without: NodeId) -> Result<(), Refusal> {
        let staying = self.staying(without);
        match staying.keys().collect::<Vec<_>>()[..] {
            [] => return Err(Refusal::Last { node: without }),
            [remaining] => {
                return Err(Refusal::Alone {
                    remaining: *remaining,
                });
            }
            _ => {}
        }
        let up = staying.values().filter(|member| member.up).count();
        let voters = wanted_voters(staying.len());
        let needed = voters / 2 + 1;
        if up.min(voters) < needed {
            return Err(Refusal::BelowQuorum { voters, up, needed });
        }
        let shards = (self.code)(staying.len());
        if up < shards {
            let staying = staying.len();
            return Err(Refusal::TooFewForTheCode { staying, up, shards });
        }
        Ok(())
    }
}

/// Whether a node may be drained.
pub(super) fn drain(facts: &Facts, node: NodeId) -> Result<(), Refusal> {
    let member = facts.member(node)?;
    // To say it once more changes nothing.
    if member.leaving {
        return Ok(());
    }
    facts.check_those_staying(node)
}

/// Whether there is room elsewhere for what a node has, as far as the others have told.
pub(super) fn without_room(facts: &Facts, node: NodeId, holding: &Holding) -> Result<(), Refusal> {
    let staying = facts.staying(node);
    let rooms: Option<Vec<u64>> = staying.values().map(|member| member.room).collect();
    let room = rooms.map(|rooms| rooms.iter().fold(0u64, |sum, room| sum.saturating_add(*room)));
    let bytes = holding.bytes;
    match room {
        Some(room) if room < bytes => Err(Refusal::NoRoom { node, bytes, room }),
        _ => Ok(()),
    }
}

/// Who takes the places of a node that is dead.
pub(super) fn replace(facts: &Facts, node: NodeId, with: Option<NodeId>) -> Result<NodeId, Refusal> {
    let member = facts.member(node)?;
    if member.up {
        return Err(Refusal::Alive { node });
    }
    let successor = match with {
        Some(successor) => {
            let unfit = |reason| Refusal::UnfitSuccessor {
                node,
                successor,
                reason,
            };
            let member = facts.member(successor)?;
            if successor == node {
                return Err(unfit("it is the same node"));
            }
            if member.leaving {
                return Err(unfit("it is leaving itself"));
            }
            if !member.up {
                return Err(unfit("it does not answer"));
            }
            successor
        }
        None => {
            let staying = facts.staying(node);
            let mut joined = staying
                .iter()
                .filter(|(other, member)| **other > node && member.up);
            let (newest, _) = joined.next_back().ok_or(Refusal::NoSuccessor { node })?;
            *newest
        }
    };
    facts.check_those_staying(node)?;
    Ok(successor)
}

/// Whether a node may be removed, with what it has.
pub(super) fn remove(facts: &Facts, node: NodeId, holding: &Holding) -> Result<(), Refusal> {
    let member = facts.member(node)?;
    facts.check_those_staying(node)?;
    if !member.leaving && member.up {
        return Err(Refusal::NotDrained { node });
    }
    // One that leads says so itself; it votes, too.
    if member.leads || (member.votes && member.leaving) {
        return Err(Refusal::Votes { node });
    }
    if member.leaving && member.holds {
        return Err(Refusal::InUse { node });
    }
    // What is under way and cannot be read without a dead node would be waited for in vain.
    let waits = holding.shards > 0 || (holding.uploads > 0 && !member.replaced);
    if waits {
        return Err(Refusal::Holds {
            node,
            shards: holding.shards,
            bytes: holding.bytes,
            uploads: holding.uploads,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes are described by words: an id, then `down`, `leaving`, `replaced`, `votes`, `leads`,
    /// `holds` or `roomN`.
    fn facts(description: &str) -> Facts {
        let mut facts = Facts {
            members: BTreeMap::new(),
            removed: BTreeSet::from([NodeId(99)]),
            code: |nodes| crate::blob::Code::for_nodes(nodes).shards(),
        };
        for part in description.split(',') {
            let words: Vec<&str> = part.split_whitespace().collect();
            let has = |word: &str| words.contains(&word);
            let room = words.iter().find_map(|word| word.strip_prefix("room"));
            let member = Member {
                up: !has("down"),
                leaving: has("leaving") || has("replaced"),
                replaced: has("replaced"),
                votes: has("votes"),
                leads: has("leads"),
                holds: has("holds"),
                room: room.map(|room| room.parse().unwrap()),
            };
            facts.members.insert(NodeId(words[0].parse().unwrap()), member);
        }
        facts
    }

    fn told(outcome: Result<impl std::fmt::Debug, Refusal>) -> String {
        match outcome {
            Ok(_) => String::new(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn what_may_not_be_drained() {
        let check = |description: &str, node: u64, expected: &str| {
            let text = told(drain(&facts(description), NodeId(node)));
            assert!(
                text.starts_with(expected) && text.is_empty() == expected.is_empty(),
                "{description}: {text}"
            );
        };
        check("1, 2, 3, 4", 4, "");
        check("1, 2, 3", 3, "");
        check("1, 2, 3 down", 3, "");
        check("1, 2, 3 leaving", 3, "");
        check("1, 2, 3", 7, "there is no node 7");
        check("1, 2, 3", 99, "node 99 was removed already");
        check("1", 1, "node 1 is the last");
        check("1, 2 leaving", 1, "node 1 is the last");
        check("1, 2", 2, "node 1 alone would hold everything");
        check("1, 2, 3 leaving", 2, "node 1 alone would hold everything");
        check(
            "1, 2, 3 down, 4",
            4,
            "3 nodes would stay, but only 2 of them answer, and a segment has 3 shards",
        );
        check(
            "1, 2 down, 3 down, 4",
            4,
            "1 of the 3 voters that would be left answer, 2 are needed",
        );
    }

    #[test]
    fn what_there_is_no_room_for_is_not_drained() {
        let check = |description: &str, bytes: u64| {
            let holding = Holding {
                shards: 1,
                bytes,
                uploads: 0,
            };
            told(without_room(&facts(description), NodeId(3), &holding))
        };
        let text = check("1 room1000, 2 room1000, 3 room9999", 2001);
        assert!(text.starts_with("node 3 has 2.0 KiB and"), "{text}");
        assert_eq!(check("1 room1000, 2 room1000, 3", 2000), "");
        // Who has not said how much room it has does not hold anything up.
        assert_eq!(check("1 room1000, 2, 3", 1 << 40), "");
        let text = check("1 room1000, 2 leaving room1000000, 3", 1001);
        assert!(!text.is_empty(), "what is leaving takes nothing");
    }

    #[test]
    fn what_may_not_be_replaced() {
        let check = |description: &str, with: Option<u64>, expected: Result<u64, &str>| {
            let found = replace(&facts(description), NodeId(3), with.map(NodeId));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, NodeId(expected), "{description}"),
                (Err(refusal), Err(expected)) => {
                    let text = refusal.to_string();
                    assert!(text.starts_with(expected), "{description}: {text}");
                }
                (found, _) => panic!("{description}: {found:?}"),
            }
        };
        check("1, 2, 3 down, 8", None, Ok(8));
        check("1, 2, 3 down, 7, 8, 9 down", None, Ok(8));
        check("1, 2, 3 down leaving, 8", None, Ok(8));
        check("1, 2, 3 down, 8, 9", Some(8), Ok(8));
        check("1, 2, 3, 8", None, Err("node 3 answers"));
        check(
            "1, 2, 3 down",
            None,
            Err("no node that answers has joined since node 3"),
        );
        check(
            "1, 2, 3 down, 8 leaving",
            None,
            Err("no node that answers has joined since node 3"),
        );
        check(
            "1, 2, 3 down, 8 down",
            Some(8),
            Err("node 8 cannot take the place of node 3: it does not"),
        );
        check(
            "1, 2, 3 down, 8 leaving",
            Some(8),
            Err("node 8 cannot take the place of node 3: it is leaving"),
        );
        check(
            "1, 2, 3 down",
            Some(3),
            Err("node 3 cannot take the place of node 3"),
        );
        check("1, 2, 3 down", Some(7), Err("there is no node 7"));
        check(
            "1 down, 2, 3 down, 8",
            None,
            Err("3 nodes would stay, but only 2 of them answer"),
        );
    }

    #[test]
    fn what_may_not_be_removed() {
        let nothing = Holding::default();
        let some = Holding {
            shards: 5,
            bytes: 2048,
            uploads: 0,
        };
        let uploads = Holding {
            uploads: 2,
            ..nothing
        };
        let check = |description: &str, holding: &Holding, expected: &str| {
            let text = told(remove(&facts(description), NodeId(4), holding));
            assert!(
                text.starts_with(expected) && text.is_empty() == expected.is_empty(),
                "{description}: {text}"
            );
        };
        check("1, 2, 3, 4 leaving", &nothing, "");
        check("1, 2, 3, 4 leaving down", &nothing, "");
        check("1, 2, 3, 4 down holds", &nothing, "");
        check("1, 2, 3, 4", &nothing, "node 4 is in use: drain it first");
        check(
            "1, 2, 3, 4 leaving",
            &some,
            "5 shards (2.0 KiB) still count on node 4: they are moved",
        );
        check(
            "1, 2, 3, 4 down",
            &some,
            "5 shards (2.0 KiB) still count on node 4: they are moved",
        );
        check(
            "1, 2, 3, 4 leaving",
            &uploads,
            "0 shards (0 B) still count on node 4, and 2 segments of uploads under way need it",
        );
        check("1, 2, 3, 4 replaced down", &uploads, "");
        check(
            "1, 2, 3, 4 replaced down",
            &some,
            "5 shards (2.0 KiB) still count on node 4",
        );
        check("1, 2, 3, 4 leaving votes", &nothing, "node 4 still votes");
        check("1, 2, 3, 4 leaving leads votes", &nothing, "node 4 still votes");
        check(
            "1, 2, 3, 4 leaving holds",
            &nothing,
            "new shards are still put on node 4",
        );
        check(
            "1 down, 2 down, 3, 4 leaving",
            &nothing,
            "1 of the 3 voters that would be left answer",
        );
        check("1, 4 leaving", &nothing, "node 1 alone would hold everything");
        check("4 leaving", &nothing, "node 4 is the last");
        check("1, 2, 3", &nothing, "there is no node 4");
    }
}
