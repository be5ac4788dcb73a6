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

#[cfg(test)]
mod stored {
    use bytes::Bytes;
    use cairn_proto::v1::check::Subject;
    use cairn_proto::v1::log_entry::Payload;
    use cairn_proto::v1::write::Op;
    use data_encoding::HEXLOWER;
    use prost::Message;
    use serde_json::{Value, json};

    use super::*;
    use crate::samples;

    fn id() -> v1::LogId {
        v1::LogId {
            term: 3,
            node: 5,
            index: 7,
        }
    }

    fn members() -> v1::MemberSet {
        v1::MemberSet {
            configs: vec![
                v1::VoterSet { nodes: vec![1, 5] },
                v1::VoterSet { nodes: vec![5] },
            ],
            addresses: [(1, "10.0.0.1:7081".into()), (5, "10.0.0.5:7081".into())].into(),
        }
    }

    fn shown_id(id: &LogId) -> Value {
        json!([id.leader_id.term, id.leader_id.node_id, id.index])
    }

    fn shown_members(members: &Membership) -> Value {
        let addresses: BTreeMap<String, &String> = members
            .nodes()
            .map(|(id, node)| (id.to_string(), &node.addr))
            .collect();
        json!({"voters": members.get_joint_config(), "addresses": addresses})
    }

    #[test]
    fn the_log_is_read() {
        let entry = |payload| v1::LogEntry {
            id: Some(id()),
            payload: Some(payload),
        };
        let entries = [
            Payload::Blank(true),
            Payload::Command(Bytes::from_static(b"command")),
            Payload::Membership(members()),
        ];
        // A map of one address has one form; its order among several does not matter.
        let written: Vec<_> = entries.map(|payload| entry(payload).encode_to_vec()).into();
        let written: Vec<_> = written.iter().map(|stored| rewritten(stored)).collect();
        samples::check_bytes("raft-log-entry", &written, |stored| {
            let entry = entry_from(v1::LogEntry::decode(stored).unwrap()).unwrap();
            let payload = match &entry.payload {
                EntryPayload::Blank => json!("blank"),
                EntryPayload::Normal(command) => json!({"command": HEXLOWER.encode(&command.0)}),
                EntryPayload::Membership(members) => shown_members(members),
            };
            json!({"id": shown_id(&entry.log_id), "payload": payload}).to_string()
        });
    }

    fn rewritten(stored: &[u8]) -> Vec<u8> {
        entry_to(&entry_from(v1::LogEntry::decode(stored).unwrap()).unwrap()).encode_to_vec()
    }

    #[test]
    fn what_lies_beside_the_log_is_read() {
        let vote = v1::Vote {
            term: 3,
            node: 5,
            committed: true,
        };
        samples::check_bytes("raft-vote", &[vote.encode_to_vec()], |stored| {
            let vote = vote_from(Some(&v1::Vote::decode(stored).unwrap())).unwrap();
            json!([vote.leader_id.term, vote.leader_id.node_id, vote.committed]).to_string()
        });
        samples::check_bytes("raft-log-id", &[id().encode_to_vec()], |stored| {
            shown_id(&log_id_from(&v1::LogId::decode(stored).unwrap())).to_string()
        });
        let membership = v1::StoredMembership {
            id: Some(id()),
            membership: Some(members()),
        };
        samples::check_bytes("raft-membership", &[membership.encode_to_vec()], |stored| {
            let stored = v1::StoredMembership::decode(stored).unwrap();
            let stored = stored_membership_from(Some(&stored)).unwrap();
            let id = stored.log_id().as_ref().map(shown_id);
            json!({"id": id, "members": shown_members(stored.membership())}).to_string()
        });
    }

    fn transaction() -> v1::Transaction {
        let check = |subject| v1::Check {
            subject: Some(subject),
            version: 9,
        };
        let write = |op| v1::Write {
            key: Bytes::from_static(b"key"),
            op: Some(op),
        };
        v1::Transaction {
            id: vec![1; 16].into(),
            checks: vec![
                check(Subject::Key(Bytes::from_static(b"read"))),
                check(Subject::Collection(Bytes::from_static(b"scanned"))),
                check(Subject::AtMost(v1::AtMost {
                    key: Bytes::from_static(b"counter"),
                    most: -5,
                })),
            ],
            writes: vec![
                write(Op::Put(Bytes::from_static(b"value"))),
                write(Op::Delete(true)),
                write(Op::Add(-2)),
                write(Op::Raise(3)),
                write(Op::Append(v1::Append {
                    content: Bytes::from_static(b"what happened"),
                    listed_in: vec![Bytes::from_static(b"list")],
                })),
            ],
        }
    }

    #[test]
    fn commands_are_read() {
        let command = v1::Command {
            kind: Some(v1::command::Kind::Transaction(transaction())),
        };
        let hex = |bytes: &Bytes| HEXLOWER.encode(bytes);
        samples::check_bytes("kv-command", &[command.encode_to_vec()], |stored| {
            let command = v1::Command::decode(stored).unwrap();
            let Some(v1::command::Kind::Transaction(transaction)) = command.kind else {
                panic!("a kind of command is not known any more");
            };
            let checks = transaction.checks.iter().map(|check| match &check.subject {
                Some(Subject::Key(key)) => json!({"key": hex(key), "version": check.version}),
                Some(Subject::Collection(name)) => json!({"collection": hex(name), "version": check.version}),
                Some(Subject::AtMost(bound)) => json!({"counter": hex(&bound.key), "most": bound.most}),
                None => panic!("a kind of check is not known any more"),
            });
            let writes = transaction.writes.iter().map(|write| match &write.op {
                Some(Op::Put(value)) => json!({"key": hex(&write.key), "put": hex(value)}),
                Some(Op::Delete(_)) => json!({"key": hex(&write.key), "delete": true}),
                Some(Op::Add(delta)) => json!({"key": hex(&write.key), "add": delta}),
                Some(Op::Raise(least)) => json!({"key": hex(&write.key), "raise": least}),
                Some(Op::Append(append)) => {
                    let listed_in: Vec<_> = append.listed_in.iter().map(hex).collect();
                    json!({"key": hex(&write.key), "append": hex(&append.content), "listed_in": listed_in})
                }
                None => panic!("a kind of write is not known any more"),
            });
            let (checks, writes): (Value, Value) = (checks.collect(), writes.collect());
            json!({"id": hex(&transaction.id), "checks": checks, "writes": writes}).to_string()
        });
    }
}
