//! openraft's types as protocol messages and back, checked.

use std::collections::{BTreeMap, BTreeSet};

use cairn_proto::v1;
use openraft::BasicNode;

use super::types::{
    EncodedCommand, Entry, EntryPayload, LeaderId, LogId, Membership, StoredMembership, Vote,
};

/// A message from a peer or a log that lacks what it must have.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        tonic::Status::invalid_argument(malformed.to_string())
    }
}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, malformed)
    }
}

pub(crate) fn log_id_to(id: &LogId) -> v1::LogId {
    v1::LogId {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: id.index,
    }
}

pub(crate) fn log_id_from(id: &v1::LogId) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: id.term,
            node_id: id.node,
        },
        index: id.index,
    }
}

pub(crate) fn vote_to(vote: &Vote) -> v1::Vote {
    v1::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from(vote: Option<&v1::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("a vote is missing"))?;
    Ok(Vote {
        leader_id: LeaderId {
            term: vote.term,
            node_id: vote.node,
        },
        committed: vote.committed,
    })
}

pub(crate) fn membership_to(membership: &Membership) -> v1::MemberSet {
    v1::MemberSet {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| v1::VoterSet {
                nodes: voters.iter().copied().collect(),
            })
            .collect(),
        addresses: membership
            .nodes()
            .map(|(id, node)| (*id, node.addr.clone()))
            .collect(),
    }
}

pub(crate) fn membership_from(membership: &v1::MemberSet) -> Result<Membership, Malformed> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .iter()
        .map(|voters| voters.nodes.iter().copied().collect())
        .collect();
    let nodes: BTreeMap<u64, BasicNode> = membership
        .addresses
        .iter()
        .map(|(id, address)| (*id, BasicNode::new(address)))
        .collect();
    Membership::new(configs, nodes).map_err(|_| Malformed("a voter has no address"))
}

pub(crate) fn stored_membership_to(stored: &StoredMembership) -> v1::StoredMembership {
    v1::StoredMembership {
        id: stored.log_id().as_ref().map(log_id_to),
        membership: Some(membership_to(stored.membership())),
    }
}

pub(crate) fn stored_membership_from(
    stored: Option<&v1::StoredMembership>,
) -> Result<StoredMembership, Malformed> {
    let stored = stored.ok_or(Malformed("a membership is missing"))?;
    let membership = stored
        .membership
        .as_ref()
        .ok_or(Malformed("a membership is empty"))?;
    // The state of a node that has applied nothing yet names no members.
    if stored.id.is_none() && membership.configs.is_empty() {
        return Ok(StoredMembership::default());
    }
    Ok(StoredMembership::new(
        stored.id.as_ref().map(log_id_from),
        membership_from(membership)?,
    ))
}

pub(crate) fn entry_to(entry: &Entry) -> v1::LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => v1::log_entry::Payload::Blank(true),
        EntryPayload::Normal(command) => v1::log_entry::Payload::Command(command.0.clone()),
        EntryPayload::Membership(membership) => v1::log_entry::Payload::Membership(membership_to(membership)),
    };
    v1::LogEntry {
        id: Some(log_id_to(&entry.log_id)),
        payload: Some(payload),
    }
}

pub(crate) fn entry_from(entry: v1::LogEntry) -> Result<Entry, Malformed> {
    let id = entry.id.as_ref().ok_or(Malformed("a log entry has no id"))?;
    let payload = match entry.payload {
        Some(v1::log_entry::Payload::Blank(_)) => EntryPayload::Blank,
        Some(v1::log_entry::Payload::Command(command)) => EntryPayload::Normal(EncodedCommand(command)),
        Some(v1::log_entry::Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from(&membership)?)
        }
        None => {
            return Err(Malformed(
                "a log entry is of a kind that this version does not know",
            ));
        }
    };
    Ok(Entry {
        log_id: log_id_from(id),
        payload,
    })
}
