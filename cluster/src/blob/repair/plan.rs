//! What is wrong with a segment, and who does what about it. Pure: every node that sees the same
//! comes to the same conclusion.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::blob::record::Located;
use crate::blob::upkeep::View;
use crate::node_id::NodeId;

/// A shard that this node is to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blob) struct Job {
    pub(in crate::blob) index: u8,
    /// Its home as it is recorded: this node, or one that is gone.
    pub(in crate::blob) from: NodeId,
}

/// How a segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assessment {
    /// All its shards are where they should be, as far as is known.
    Whole,
    /// Some are not, and can be built.
    Repairable {
        /// How many more may be lost before it cannot be read.
        spare: usize,
        /// What this node does.
        jobs: Vec<Job>,
        /// Shards that other nodes build.
        elsewhere: u64,
        /// Shards that there is no node for.
        homeless: u64,
    },
    /// It can be repaired when nodes come back that are expected to.
    Waiting,
    /// Too little is left of it on all nodes together.
    Unrecoverable,
}

/// Looks at a segment as a node sees it.
pub(super) fn assess(view: &View, segment: &Located) -> Assessment {
    let placement = &segment.record.placement;
    let data = usize::from(placement.code.data);
    let shards = || (0..).zip(placement.homes.iter().copied());
    let kept = |index: u8| !placement.missing.contains(&index);
    let lacking: Vec<(u8, NodeId)> = shards()
        .filter(|(index, home)| !kept(*index) || !view.is_home(*home))
        .collect();
    if lacking.is_empty() {
        return Assessment::Whole;
    }
    let count =
        |is: &dyn Fn(NodeId) -> bool| shards().filter(|(index, home)| kept(*index) && is(*home)).count();
    let available = count(&|home| view.answers(home));
    if available < data {
        // A node that is not waited for any more may still come back with what it has.
        let somewhere = count(&|home| view.layout.zone(home).is_some());
        return match somewhere < data {
            true => Assessment::Unrecoverable,
            false => Assessment::Waiting,
        };
    }
    let mut taken: BTreeSet<NodeId> = shards()
        .filter(|(_, home)| view.is_home(*home))
        .map(|(_, home)| home)
        .collect();
    let (mut jobs, mut elsewhere, mut homeless) = (Vec::new(), 0, 0);
    for (index, from) in lacking {
        // One that is leaving gives back what it has, and gets nothing new; one that is full gets it
        // back only if there is no other.
        let to = match view.stays(from) {
            true if view.full.contains(&from) => substitute(view, segment, index, &taken).or(Some(from)),
            true => Some(from),
            false => substitute(view, segment, index, &taken),
        };
        taken.extend(to);
        match to {
            Some(to) if to == view.me => jobs.push(Job { index, from }),
            Some(_) => elsewhere += 1,
            None => homeless += 1,
        }
    }
    Assessment::Repairable {
        spare: available - data,
        jobs,
        elsewhere,
        homeless,
    }
}

/// The node that takes over a shard: the one that the layout names, or else one in the zone with
/// the fewest shards of the segment.
fn substitute(view: &View, segment: &Located, index: u8, taken: &BTreeSet<NodeId>) -> Option<NodeId> {
    let layout = &view.layout;
    let placement = &segment.record.placement;
    let free = |node: &NodeId| view.takes(*node) && !taken.contains(node);
    let group = layout.groups.get(usize::from(placement.group));
    let named = group.and_then(|nodes| nodes.get(usize::from(index)));
    if let Some(named) = named.copied().filter(free) {
        return Some(named);
    }
    let crowd = |node: NodeId| {
        let zone = layout.zone(node);
        taken.iter().filter(|other| layout.zone(**other) == zone).count()
    };
    // Spread by what is as good as random, so that no node takes over everything.
    let turn = |node: NodeId| {
        let seed = [
            &segment.id.generation.0[..],
            &segment.id.number.to_be_bytes(),
            &node.0.to_be_bytes(),
        ];
        xxh3_64(&seed.concat())
    };
    let nodes = layout.members.iter().map(|member| member.node).filter(free);
    nodes.min_by_key(|node| (crowd(*node), turn(*node)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;
    use crate::blob::id::Generation;
    use crate::blob::placement::{Layout, Member, compute};
    use crate::blob::record::{Code, Form, Placement, SegmentId, SegmentRecord};
    use crate::blob::tree::SubtreeHash;

    /// A cluster of so many nodes, two in each zone, as one of them sees it.
    fn view(nodes: u64, me: u64, down: &[u64], lost: &[u64]) -> View {
        static LAYOUTS: Mutex<BTreeMap<u64, Arc<Layout>>> = Mutex::new(BTreeMap::new());
        let layout = || {
            let members = (1..=nodes).map(|node| Member {
                node: NodeId(node),
                zone: format!("zone {}", node / 2),
                capacity: 1,
            });
            let members: Vec<Member> = members.collect();
            Arc::new(compute(&members, Code::for_nodes(members.len()), None).unwrap())
        };
        let layout = LAYOUTS
            .lock()
            .unwrap()
            .entry(nodes)
            .or_insert_with(layout)
            .clone();
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        View {
            me: NodeId(me),
            layout,
            down: ids(&[down, lost].concat()),
            lost: ids(lost),
            full: BTreeSet::new(),
        }
    }

    fn segment(number: u64, code: Code, homes: &[u64], missing: &[u8]) -> Located {
        Located {
            id: SegmentId {
                generation: Generation([3; 16]),
                number,
            },
            record: SegmentRecord {
                len: 1000,
                hash: SubtreeHash {
                    chaining: [0; 32],
                    root: None,
                },
                generation: None,
                placement: Placement {
                    code,
                    form: Form::Shards,
                    group: 5,
                    homes: homes.iter().copied().map(NodeId).collect(),
                    missing: missing.to_vec(),
                    recode: false,
                },
            },
        }
    }

    const FOUR_TWO: Code = Code { data: 4, parity: 2 };

    fn repairable(view: &View, segment: &Located) -> (usize, Vec<Job>, u64) {
        match assess(view, segment) {
            Assessment::Repairable {
                spare,
                jobs,
                homeless,
                ..
            } => (spare, jobs, homeless),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_builds_what_it_should_have() {
        let segment = segment(0, FOUR_TWO, &[1, 2, 3, 4, 5, 6], &[2]);
        let job = Job {
            index: 2,
            from: NodeId(3),
        };
        assert_eq!(repairable(&view(8, 3, &[], &[]), &segment), (1, vec![job], 0));
        assert_eq!(repairable(&view(8, 1, &[], &[]), &segment), (1, vec![], 0));
        // A node that is only away keeps its shards, but they do not count for the moment.
        assert_eq!(repairable(&view(8, 3, &[1], &[]), &segment), (0, vec![job], 0));
        assert_eq!(assess(&view(8, 3, &[1, 2], &[]), &segment), Assessment::Waiting);
        let whole = self::segment(0, FOUR_TWO, &[1, 2, 3, 4, 5, 6], &[]);
        assert_eq!(assess(&view(8, 3, &[1], &[]), &whole), Assessment::Whole);
    }

    #[test]
    fn what_can_come_back_is_not_given_up() {
        let homes = [1, 2, 3, 4, 5, 6];
        let segment = |missing: &[u8]| segment(0, FOUR_TWO, &homes, missing);
        assert_eq!(
            assess(&view(8, 3, &[], &[1, 2, 4]), &segment(&[])),
            Assessment::Waiting
        );
        assert_eq!(
            assess(&view(8, 3, &[], &[]), &segment(&[0, 1, 2])),
            Assessment::Unrecoverable
        );
        // Nodes that have left the cluster do not.
        let left = self::segment(0, FOUR_TWO, &[1, 2, 3, 91, 92, 93], &[]);
        assert_eq!(assess(&view(8, 3, &[], &[]), &left), Assessment::Unrecoverable);
    }

    #[test]
    fn without_a_node_to_put_it_on_a_shard_waits() {
        let segment = segment(0, Code { data: 2, parity: 1 }, &[1, 2, 3], &[]);
        for me in [1, 2] {
            assert_eq!(repairable(&view(3, me, &[], &[3]), &segment), (0, vec![], 1));
        }
    }

    #[test]
    fn what_a_full_node_lacks_is_built_on_another_if_there_is_one() {
        let segment = segment(0, FOUR_TWO, &[1, 2, 3, 4, 5, 6], &[2]);
        let full = |nodes, me| View {
            full: BTreeSet::from([NodeId(3)]),
            ..view(nodes, me, &[], &[])
        };
        assert_eq!(repairable(&full(7, 3), &segment), (1, vec![], 0));
        let job = Job {
            index: 2,
            from: NodeId(3),
        };
        assert_eq!(repairable(&full(7, 7), &segment), (1, vec![job], 0));
        assert_eq!(repairable(&full(6, 3), &segment), (1, vec![job], 0));
    }

    proptest! {
        #[test]
        fn each_lost_shard_is_taken_over_by_one_node_that_has_none(
            number in any::<u64>(),
            lost in prop::collection::btree_set(1..=6u64, 1..=2),
        ) {
            let segment = segment(number, FOUR_TWO, &[1, 2, 3, 4, 5, 6], &[]);
            let lost: Vec<u64> = lost.into_iter().collect();
            let mut taken = Vec::new();
            for me in (1..=9).filter(|me| !lost.contains(me)) {
                let (spare, jobs, homeless) = repairable(&view(9, me, &[], &lost), &segment);
                prop_assert_eq!((spare, homeless), (2 - lost.len(), 0));
                prop_assert!(jobs.is_empty() || me > 6, "node {} has one already", me);
                taken.extend(jobs.iter().map(|job| job.index));
            }
            taken.sort_unstable();
            let expected: Vec<u8> = lost.iter().map(|node| *node as u8 - 1).collect();
            prop_assert_eq!(taken, expected);
        }
    }
}
