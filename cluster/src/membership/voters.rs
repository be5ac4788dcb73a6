//! Who should vote: a pure decision over what the leader sees, one step at a time.
//!
//! - 1 voter below three members, 3 below five, 5 below seven, 7 from seven on; never an even
//!   number. Two voters survive nothing that one does not, and stop when either is away, so a
//!   cluster grows from one voter to three at once.
//! - A learner votes once it is up and has kept up for a while.
//! - Voters are spread over zones; a voter that is merely away keeps its vote for a while, and
//!   is replaced when a learner can take its place.
//! - A change that an earlier leader left half done is ended before anything else: until then a
//!   majority of the old voters is needed as well, however many new ones there are.
//! - A node that is leaving does not vote. If it leads, it first hands over to another voter.
//! - A leader with a slow disk hands over to a voter whose disk is not slow.
//! - Nothing is changed unless a majority of the old and of the new voters is up, so that the
//!   change cannot leave the cluster waiting.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::record::{NodeAddress, Zone};
use crate::node_id::NodeId;

/// A member as the leader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) address: NodeAddress,
    pub(crate) zone: Zone,
    /// It answers now.
    pub(crate) up: bool,
    /// It has been away for so long that another should vote in its place.
    pub(crate) lost: bool,
    /// It has been up and close behind the log for a while.
    pub(crate) ready: bool,
    /// It gives up its vote.
    pub(crate) leaving: bool,
    /// It takes long to make its log durable.
    pub(crate) slow: bool,
}

/// What the leader sees.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) leader: NodeId,
    pub(crate) voters: BTreeSet<NodeId>,
    /// `voters` are those of a change that is half done.
    pub(crate) changing_voters: bool,
    pub(crate) learners: BTreeSet<NodeId>,
    /// Who belongs to the cluster.
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// Who was removed so long ago that it has had the time to learn of it.
    pub(crate) removed: BTreeSet<NodeId>,
}

/// The next change to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AddLearner(NodeId, NodeAddress),
    ChangeVoters(BTreeSet<NodeId>),
    /// Hand the leadership to this voter.
    HandOver(NodeId),
    /// This node was removed, and is not sent the log any more.
    Forget(NodeId),
}

/// The next change, if there is one to make now.
pub(crate) fn decide(seen: &Observation) -> Option<Step> {
    let outside = |node: &NodeId| !seen.voters.contains(node) && !seen.learners.contains(node);
    // A node that is away would only hold up the next one.
    let newcomer = seen
        .members
        .iter()
        .find(|(node, member)| outside(node) && member.up);
    if let Some((&node, member)) = newcomer.filter(|_| !seen.changing_voters) {
        return Some(Step::AddLearner(node, member.address.clone()));
    }
    let gone = seen.removed.iter().find(|node| seen.learners.contains(node));
    if let Some(&node) = gone.filter(|_| !seen.changing_voters) {
        return Some(Step::Forget(node));
    }
    if let Some(successor) = successor(seen).filter(|_| !seen.changing_voters) {
        return Some(Step::HandOver(successor));
    }
    let chosen = choose(seen);
    let wanted = chosen != seen.voters || seen.changing_voters;
    let possible = wanted && has_majority(seen, &seen.voters) && has_majority(seen, &chosen);
    possible.then_some(Step::ChangeVoters(chosen))
}

/// The voter that takes over the leadership from a leader that gives up its vote, or holds up
/// everybody by its disk. Where a leader gives up its vote and there is none, the voters are changed
/// under it, which costs an election.
fn successor(seen: &Observation) -> Option<NodeId> {
    let leader = seen.members.get(&seen.leader)?;
    let others = seen.voters.iter().filter(|node| **node != seen.leader);
    let fit = others
        .filter_map(|node| Some((*node, seen.members.get(node)?)))
        .filter(|(_, member)| member.up && !member.leaving);
    let (next, member) = fit.min_by_key(|(node, member)| (member.slow, *node))?;
    let gives_up = leader.leaving && seen.voters.contains(&seen.leader);
    // Among slow disks it is no use to hand the leadership about.
    let holds_up = leader.slow && !member.slow;
    (gives_up || holds_up).then_some(next)
}

fn has_majority(seen: &Observation, voters: &BTreeSet<NodeId>) -> bool {
    let up = voters.iter().filter(|node| seen.is_up(**node)).count();
    up * 2 > voters.len()
}

impl Observation {
    fn is_up(&self, node: NodeId) -> bool {
        node == self.leader || self.members.get(&node).is_some_and(|member| member.up)
    }
}

/// How many of so many members should vote.
pub(crate) fn wanted_voters(members: usize) -> usize {
    match members {
        7.. => 7,
        5.. => 5,
        3.. => 3,
        _ => 1,
    }
}

/// Who should vote, whatever it takes to get there.
fn choose(seen: &Observation) -> BTreeSet<NodeId> {
    let may_vote = |(node, member): &(&NodeId, &Member)| seen.voters.contains(node) || member.ready;
    let staying = || seen.members.iter().filter(|(_, member)| !member.leaving);
    let candidates: BTreeMap<NodeId, &Member> = staying()
        .filter(may_vote)
        .map(|(&node, member)| (node, member))
        .collect();
    let sound = staying().filter(|(_, member)| !member.lost).count();
    // Below five, one that is lost keeps its vote until there is another: of three, two go on.
    let wanted = wanted_voters(sound).max(wanted_voters(staying().count()).min(3));
    let odd_at_most = |count: usize| {
        if count.is_multiple_of(2) {
            count.saturating_sub(1)
        } else {
            count
        }
    };
    let size = odd_at_most(wanted.min(candidates.len()));

    let mut chosen = BTreeSet::new();
    let mut per_zone = BTreeMap::<&Zone, usize>::new();
    while chosen.len() < size {
        let best = candidates
            .iter()
            .filter(|(node, _)| !chosen.contains(*node))
            .min_by_key(|&(&node, member)| {
                (
                    // The leader stays, so that no change costs an election.
                    node != seen.leader,
                    member.lost,
                    per_zone.get(&member.zone).copied().unwrap_or(0),
                    Reverse(seen.voters.contains(&node)),
                    node,
                )
            });
        let Some((&node, member)) = best else { break };
        *per_zone.entry(&member.zone).or_default() += 1;
        chosen.insert(node);
    }
    // Without any candidate there is nothing better than what is.
    if chosen.is_empty() {
        seen.voters.clone()
    } else {
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Members are described by words: an id, then `V`oter, `L`earner or `-` for neither, then
    /// what differs: `down`, `lost`, `behind`, `slow`, `leaving`, `removed`, `@zone`. The leader is the
    /// first voter. A voter that is `new` votes by a change that is half done.
    fn observe(description: &str) -> Observation {
        let mut seen = Observation {
            leader: NodeId(0),
            voters: BTreeSet::new(),
            changing_voters: description.contains("new"),
            learners: BTreeSet::new(),
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
        };
        for part in description.split(',') {
            let words: Vec<&str> = part.split_whitespace().collect();
            let node = NodeId(words[0].parse().unwrap());
            match words[1] {
                "V" => {
                    if seen.voters.is_empty() {
                        seen.leader = node;
                    }
                    seen.voters.insert(node);
                }
                "L" => {
                    seen.learners.insert(node);
                }
                _ => {}
            }
            let has = |word: &str| words.contains(&word);
            let zone = words
                .iter()
                .find_map(|word| word.strip_prefix('@'))
                .unwrap_or("default");
            let up = !has("down") && !has("lost");
            let member = Member {
                address: format!("node-{node}:1").parse().unwrap(),
                zone: zone.parse().unwrap(),
                up,
                lost: has("lost"),
                ready: up && !has("behind"),
                leaving: has("leaving"),
                slow: has("slow"),
            };
            match has("removed") {
                true => seen.removed.insert(node),
                false => seen.members.insert(node, member).is_none(),
            };
        }
        seen
    }

    /// `expected` is "+4" for a new learner, "-4" for one that is forgotten, ">4" for the next leader,
    /// "1 2 3" for new voters, "" for nothing.
    fn check(description: &str, expected: &str) {
        let text = match decide(&observe(description)) {
            None => String::new(),
            Some(Step::AddLearner(node, _)) => format!("+{node}"),
            Some(Step::Forget(node)) => format!("-{node}"),
            Some(Step::HandOver(node)) => format!(">{node}"),
            Some(Step::ChangeVoters(voters)) => {
                let voters: Vec<String> = voters.iter().map(NodeId::to_string).collect();
                voters.join(" ")
            }
        };
        assert_eq!(text, expected, "{description}");
    }

    #[test]
    fn a_cluster_grows_from_one_voter_to_three_at_once() {
        check("1 V", "");
        check("1 V, 2 -", "+2");
        check("1 V, 2 L", "");
        check("1 V, 2 L, 3 -", "+3");
        check("1 V, 2 L, 3 L behind", "");
        check("1 V, 2 L, 3 L", "1 2 3");
    }

    #[test]
    fn five_vote_from_five_members_on() {
        check("1 V, 2 V, 3 V, 4 L", "");
        check("1 V, 2 V, 3 V, 4 L, 5 L behind", "");
        check("1 V, 2 V, 3 V, 4 L, 5 L", "1 2 3 4 5");
        check("1 V, 2 V, 3 V, 4 V, 5 V, 6 L, 7 L behind", "");
    }

    #[test]
    fn seven_vote_from_seven_members_on() {
        check("1 V, 2 V, 3 V, 4 V, 5 V, 6 L, 7 L", "1 2 3 4 5 6 7");
        check("1 V, 2 V, 3 V, 4 V, 5 V, 6 V, 7 V, 8 L, 9 L", "");
        check("1 V, 2 V, 3 V, 4 V, 5 V, 6 V, 7 V lost, 8 L", "1 2 3 4 5 6 8");
        check("1 V, 2 V, 3 V, 4 V, 5 V, 6 V, 7 V leaving", "1 2 3 4 5");
    }

    #[test]
    fn a_voter_that_is_lost_is_replaced_and_one_that_is_away_is_not() {
        check("1 V, 2 V, 3 V down, 4 L", "");
        check("1 V, 2 V, 3 V lost, 4 L", "1 2 4");
        check("1 V, 2 V, 3 V lost, 4 L behind", "");
        check("1 V, 2 V, 3 V lost", "");
        check("1 V, 2 V, 3 V, 4 V, 5 V lost", "1 2 3");
    }

    #[test]
    fn a_removed_voter_is_replaced() {
        check("1 V, 2 V, 3 V removed, 4 L, 5 L", "1 2 4");
        check("1 V, 2 V, 3 V removed", "1");
    }

    #[test]
    fn a_removed_learner_is_forgotten() {
        check("1 V, 2 V, 3 V, 4 L removed", "-4");
        check("1 V, 2 V, 3 V removed, 4 L removed", "-4");
        check("1 V, 2 V new, 3 V new, 4 L removed", "1 2 3");
    }

    #[test]
    fn a_node_that_is_leaving_does_not_vote() {
        check("1 V, 2 V, 3 V leaving, 4 L", "1 2 4");
        check("1 V, 2 V, 3 V leaving", "1");
        check("1 V, 2 V, 3 V leaving down, 4 L", "1 2 4");
        check("1 V, 2 V, 3 V, 4 V, 5 V leaving", "1 2 3");
        check("1 V, 2 V, 3 V, 4 L leaving", "");
        check("1 V, 2 V, 3 V leaving, 4 L behind", "1");
    }

    #[test]
    fn a_leader_that_is_leaving_hands_over_first() {
        check("1 V leaving, 2 V, 3 V, 4 L", ">2");
        check("1 V leaving, 2 V down, 3 V, 4 L", ">3");
        check("1 V leaving, 2 V leaving, 3 V, 4 L", ">3");
        // There is no other voter to hand over to.
        check("1 V leaving, 2 L", "2");
        check("1 V leaving, 2 L behind", "");
        check("1 V leaving, 2 L leaving", "");
        // Half a change is ended first.
        check("1 V leaving, 2 V new, 3 V new, 4 L", "2 3 4");
    }

    #[test]
    fn a_leader_with_a_slow_disk_hands_over() {
        check("1 V slow, 2 V, 3 V", ">2");
        check("1 V slow, 2 V slow, 3 V", ">3");
        check("1 V slow, 2 V down, 3 V", ">3");
        check("1 V slow, 2 V leaving, 3 V, 4 L", ">3");
        check("1 V leaving, 2 V slow, 3 V, 4 L", ">3");
        // Nobody would do better.
        check("1 V slow, 2 V slow, 3 V slow", "");
        check("1 V slow", "");
        check("1 V, 2 V slow, 3 V", "");
    }

    #[test]
    fn a_change_that_was_left_half_done_is_ended() {
        check("1 V, 2 V new, 3 V new", "1 2 3");
        check("1 V, 2 V new, 3 V new, 4 -", "1 2 3");
        check("1 V, 2 V, 3 V, 4 V new, 5 V new", "1 2 3 4 5");
        check("1 V, 2 V new down, 3 V new down", "");
    }

    #[test]
    fn voters_are_spread_over_zones() {
        check("1 V @a, 2 L @a, 3 L @b, 4 L @c", "1 3 4");
        check("1 V @a, 2 V @a, 3 V @b, 4 L @c", "1 3 4");
        check("1 V @a, 2 V @b, 3 V @c, 4 L @a", "");
    }

    #[test]
    fn nothing_is_changed_without_a_majority() {
        check("1 V, 2 V down, 3 V down, 4 L, 5 L", "");
        check("1 V, 2 V lost, 3 V lost, 4 L, 5 L", "");
    }

    #[test]
    fn a_newcomer_that_is_away_holds_up_nobody() {
        check("1 V, 2 - down, 3 L, 4 L", "1 3 4");
    }

    prop_compose! {
        fn any_member()(role in 0..3usize, zone in 0..3, state in 0..7usize) -> String {
            let role_text = ["V", "L", "-"][role];
            let state = ["", "down", "lost", "behind", "slow", "leaving", "leaving down"][state];
            format!("{role_text} @{zone} {state}")
        }
    }

    proptest! {
        #[test]
        fn every_decision_is_safe_and_the_last(
            leader in prop::sample::select(vec!["1 V", "1 V leaving", "1 V slow"]),
            members in prop::collection::vec(any_member(), 0..9),
        ) {
            let parts = std::iter::once(leader.to_owned())
                .chain(members.iter().enumerate().map(|(at, text)| format!("{} {text}", at + 2)));
            let mut seen = observe(&parts.collect::<Vec<_>>().join(","));
            let had_majority = has_majority(&seen, &seen.voters);
            // Carrying out what is decided comes to rest after a few steps.
            for _ in 0..20 {
                match decide(&seen) {
                    None => return Ok(()),
                    Some(Step::AddLearner(node, _)) => {
                        prop_assert!(seen.members[&node].up);
                        prop_assert!(!seen.voters.contains(&node));
                        prop_assert!(seen.learners.insert(node));
                        seen.members.get_mut(&node).unwrap().ready = true;
                    }
                    Some(Step::ChangeVoters(voters)) => {
                        prop_assert!(had_majority);
                        prop_assert_eq!(voters.len() % 2, 1);
                        prop_assert!(voters.len() <= 7);
                        let leaves = seen.members[&seen.leader].leaving;
                        prop_assert!(leaves || voters.contains(&seen.leader));
                        prop_assert!(has_majority(&seen, &voters));
                        for node in &voters {
                            prop_assert!(seen.voters.contains(node) || seen.members[node].ready);
                        }
                        let retired: Vec<_> = seen.voters.difference(&voters).copied().collect();
                        seen.learners.extend(retired);
                        seen.learners.retain(|node| !voters.contains(node));
                        prop_assert!(voters.iter().all(|node| !seen.members[node].leaving));
                        seen.voters = voters;
                        seen.changing_voters = false;
                        if !seen.voters.contains(&seen.leader) {
                            // It steps down, and those that are up elect another.
                            return Ok(());
                        }
                    }
                    Some(Step::HandOver(node)) => {
                        let leader = &seen.members[&seen.leader];
                        prop_assert!(leader.leaving || leader.slow && !seen.members[&node].slow);
                        prop_assert!(seen.voters.contains(&node) && seen.members[&node].up);
                        seen.leader = node;
                    }
                    Some(Step::Forget(node)) => prop_assert!(false, "{node} was not removed"),
                }
            }
            prop_assert!(false, "it goes on for ever: {:?}", seen);
        }
    }
}
