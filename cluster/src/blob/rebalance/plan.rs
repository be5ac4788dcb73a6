//! Which shards of a segment are to be on other nodes than they are. Pure: every node that knows
//! the same layout comes to the same conclusion.
//!
//! A segment lies right when the nodes that have it are those of its group, whichever of them has
//! which shard: repair may have put a shard somewhere else than the layout names for its index, and
//! to exchange two shards would move them for nothing.

use crate::blob::coded::homes_of_copies;
use crate::blob::placement::Layout;
use crate::blob::recode;
use crate::blob::record::{Form, Placement};
use crate::node_id::NodeId;

/// A shard that is to be on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blob) struct Move {
    pub(in crate::blob) index: u8,
    pub(in crate::blob) from: NodeId,
    pub(in crate::blob) to: NodeId,
}

/// What is to be moved of a segment. Nothing, if it is to be coded again: that moves all of it.
pub(in crate::blob) fn moves(layout: &Layout, placement: &Placement) -> Vec<Move> {
    let group = layout.groups.get(usize::from(placement.group));
    let Some(group) = group.filter(|_| !recode::is_due(layout, placement)) else {
        return Vec::new();
    };
    let mut open: Vec<NodeId> = match placement.form {
        Form::Shards => group.clone(),
        // Any node of the group may have a copy; those that need one go where new ones would.
        Form::Small => homes_of_copies(layout, placement.group),
    };
    open.retain(|node| !placement.homes.contains(node));
    let shards = || (0..).zip(placement.homes.iter().copied());
    let astray: Vec<(u8, NodeId)> = shards().filter(|(_, home)| !group.contains(home)).collect();
    let mut moves = Vec::with_capacity(astray.len());
    // Those for whose index the layout names a node that is free go there, the others to the rest.
    let mut others = Vec::new();
    for (index, from) in astray {
        let named = group.get(usize::from(index));
        let at = open.iter().position(|node| Some(node) == named);
        match at.filter(|_| placement.form == Form::Shards) {
            Some(at) => moves.push(Move {
                index,
                from,
                to: open.remove(at),
            }),
            None => others.push((index, from)),
        }
    }
    moves.extend(
        others
            .into_iter()
            .zip(open)
            .map(|((index, from), to)| Move { index, from, to }),
    );
    moves.sort_by_key(|shard| shard.index);
    moves
}
