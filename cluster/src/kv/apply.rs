//! What a committed transaction does to the state: a pure function, the same on every node.
//!
//! Nothing here reads a clock, draws a random number or depends on the order of a map, so two
//! nodes that apply the same log hold the same bytes. The caller writes the returned
//! mutations, the applied log id and the membership in one batch.

use bytes::Bytes;
use cairn_proto::v1;
use prost::Message;

use super::chain::Head;
use super::key::{Collection, Key};
use super::view::{State, StoreError, Versioned};
use crate::net::MAX_MESSAGE_BYTES;

/// The largest transaction that becomes a log entry, in bytes as it is encoded: half of the
/// largest message between nodes, since an entry that does not fit in one is never replicated.
pub(crate) const MAX_ENTRY_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// How many log indexes a transaction's outcome is remembered for. A repetition that arrives
/// later is answered [`Outcome::Forgotten`] and never applied.
pub(crate) const REMEMBERED_LOG_INDEXES: u64 = 1 << 20;

/// How often, in log indexes, outcomes past the window are dropped.
const FORGET_EVERY: u64 = 1 << 14;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All writes took effect at this log index.
    Applied(u64),
    /// Something it had read was changed meanwhile; nothing was written.
    Conflict,
    /// Its id is older than the window in which outcomes are remembered; nothing was written
    /// now, and whether it was before is not known.
    Forgotten,
}

impl Outcome {
    /// The form that is stored under the transaction's id: the log index, 0 for a conflict.
    pub(crate) fn to_stored(self) -> u64 {
        match self {
            Self::Applied(index) => index,
            Self::Conflict | Self::Forgotten => 0,
        }
    }

    /// The inverse of [`Outcome::to_stored`].
    pub(crate) fn from_stored(stored: u64) -> Self {
        if stored == 0 {
            Self::Conflict
        } else {
            Self::Applied(stored)
        }
    }
}

/// One change to the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    Put {
        key: Bytes,
        version: u64,
        value: Bytes,
    },
    Delete {
        key: Bytes,
    },
    Revise {
        collection: Bytes,
        revision: u64,
    },
    Remember {
        id: TransactionId,
        stored: u64,
    },
    /// Drops every remembered outcome whose id begins with an index below this.
    Forget {
        below: u64,
    },
}

/// The proposer's applied log index and a nonce; see `kv.proto`.
pub(crate) type TransactionId = [u8; 16];

/// An entry that this version of Cairn cannot apply. The node must stop: skipping it would
/// fork its state from the others'.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("log entry {0} has a command that this version does not know; upgrade this node")]
    UnknownCommand(u64),
    #[error("log entry {0} is malformed: {1}")]
    Malformed(u64, &'static str),
    #[error("read state")]
    Store(#[from] StoreError),
}

/// Whether [`apply`] knows what to do with a transaction, whatever the state is.
///
/// Asked before one becomes a log entry: what is in the log and cannot be applied stops every
/// node, and does so again after every start.
pub(crate) fn check_form(transaction: &v1::Transaction) -> Result<(), &'static str> {
    if transaction.id.len() != size_of::<TransactionId>() {
        return Err("a transaction id has 16 bytes");
    }
    for check in &transaction.checks {
        if check.subject.is_none() {
            return Err("a check is of a kind that this version does not know");
        }
    }
    for write in &transaction.writes {
        if write.op.is_none() {
            return Err("a write is of a kind that this version does not know");
        }
        let Some(key) = Key::decode(write.key.clone()) else {
            return Err("a key does not decode");
        };
        if let Some(v1::write::Op::Append(append)) = &write.op {
            if !key.item().is_empty() {
                return Err("a link is added to something that is not the head of a chain");
            }
            if append
                .listed_in
                .iter()
                .any(|name| Collection::decode(name.clone()).is_none())
            {
                return Err("a collection does not decode");
            }
        }
    }
    if transaction.encoded_len() > MAX_ENTRY_BYTES {
        return Err("a transaction does not fit in a log entry");
    }
    Ok(())
}

/// Decides the outcome of the command at `index` and what it changes.
///
/// `view` shows the state after every earlier entry.
pub(crate) fn apply(
    view: &dyn State,
    index: u64,
    command: &v1::Command,
) -> Result<(Outcome, Vec<Mutation>), ApplyError> {
    match &command.kind {
        Some(v1::command::Kind::Transaction(transaction)) => apply_transaction(view, index, transaction),
        None => Err(ApplyError::UnknownCommand(index)),
    }
}

fn apply_transaction(
    view: &dyn State,
    index: u64,
    transaction: &v1::Transaction,
) -> Result<(Outcome, Vec<Mutation>), ApplyError> {
    let id: TransactionId = transaction
        .id
        .as_ref()
        .try_into()
        .map_err(|_| ApplyError::Malformed(index, "a transaction id has 16 bytes"))?;
    let begun_at = u64::from_be_bytes(id[..8].try_into().expect("eight bytes"));
    let window_start = index.saturating_sub(REMEMBERED_LOG_INDEXES);
    if begun_at < window_start {
        return Ok((Outcome::Forgotten, Vec::new()));
    }
    if let Some(stored) = view.outcome(&id)? {
        return Ok((Outcome::from_stored(stored), Vec::new()));
    }

    let mut mutations = Vec::with_capacity(transaction.writes.len() * 2 + 2);
    let outcome = if checks_hold(view, index, &transaction.checks)? {
        write_all(view, index, &transaction.writes, &mut mutations)?;
        Outcome::Applied(index)
    } else {
        Outcome::Conflict
    };
    mutations.push(Mutation::Remember {
        id,
        stored: outcome.to_stored(),
    });
    if index.is_multiple_of(FORGET_EVERY) && window_start > 0 {
        mutations.push(Mutation::Forget { below: window_start });
    }
    Ok((outcome, mutations))
}

fn checks_hold(view: &dyn State, index: u64, checks: &[v1::Check]) -> Result<bool, ApplyError> {
    for check in checks {
        let current = match &check.subject {
            Some(v1::check::Subject::Key(key)) => view.get(key)?.map_or(0, |found| found.version),
            Some(v1::check::Subject::Collection(collection)) => view.revision(collection)?,
            Some(v1::check::Subject::AtMost(bound)) => {
                let current = view.get(&bound.key)?.map(|found| found.value);
                if number(index, current)?.cast_signed() > bound.most {
                    return Ok(false);
                }
                continue;
            }
            None => return Err(ApplyError::UnknownCommand(index)),
        };
        if current != check.version {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_all(
    view: &dyn State,
    index: u64,
    writes: &[v1::Write],
    mutations: &mut Vec<Mutation>,
) -> Result<(), ApplyError> {
    let mut revised: Vec<Bytes> = Vec::new();
    let mut revise = |collection: Collection, mutations: &mut Vec<Mutation>| {
        let collection = collection.as_bytes().clone();
        if !revised.contains(&collection) {
            revised.push(collection.clone());
            mutations.push(Mutation::Revise {
                collection,
                revision: index,
            });
        }
    };
    for (position, write) in writes.iter().enumerate() {
        let key =
            Key::decode(write.key.clone()).ok_or(ApplyError::Malformed(index, "a key does not decode"))?;
        // A later write of the same transaction must see an earlier one.
        let current = || -> Result<Option<Bytes>, StoreError> {
            if writes[..position].iter().any(|earlier| earlier.key == write.key) {
                for mutation in mutations.iter().rev() {
                    match mutation {
                        Mutation::Put { key, value, .. } if *key == write.key => {
                            return Ok(Some(value.clone()));
                        }
                        Mutation::Delete { key } if *key == write.key => return Ok(None),
                        _ => {}
                    }
                }
            }
            Ok(view.get(&write.key)?.map(|Versioned { value, .. }| value))
        };
        let mutation = match &write.op {
            Some(v1::write::Op::Put(value)) => Mutation::Put {
                key: write.key.clone(),
                version: index,
                value: value.clone(),
            },
            Some(v1::write::Op::Delete(_)) => Mutation::Delete {
                key: write.key.clone(),
            },
            Some(v1::write::Op::Add(delta)) => {
                let sum = number(index, current()?)?.wrapping_add_signed(*delta);
                Mutation::Put {
                    key: write.key.clone(),
                    version: index,
                    value: number_value(sum),
                }
            }
            Some(v1::write::Op::Raise(least)) => {
                let raised = number(index, current()?)?.max(*least);
                Mutation::Put {
                    key: write.key.clone(),
                    version: index,
                    value: number_value(raised),
                }
            }
            Some(v1::write::Op::Append(append)) => {
                let head = Head::read(current()?).map_err(|what| ApplyError::Malformed(index, what))?;
                let (head, link) = head.followed_by(&append.content);
                let number = head.links;
                mutations.push(Mutation::Put {
                    key: key.collection().key(number).as_bytes().clone(),
                    version: index,
                    value: link,
                });
                for name in &append.listed_in {
                    let collection = Collection::decode(name.clone())
                        .ok_or(ApplyError::Malformed(index, "a collection does not decode"))?;
                    mutations.push(Mutation::Put {
                        key: collection.key(number).as_bytes().clone(),
                        version: index,
                        value: Bytes::new(),
                    });
                    revise(collection, mutations);
                }
                Mutation::Put {
                    key: write.key.clone(),
                    version: index,
                    value: head.stored(),
                }
            }
            None => return Err(ApplyError::UnknownCommand(index)),
        };
        mutations.push(mutation);
        revise(key.collection(), mutations);
    }
    Ok(())
}

/// Reads what `Add` and `Raise` keep: eight bytes, big endian, two's complement for `Add`.
fn number(index: u64, value: Option<Bytes>) -> Result<u64, ApplyError> {
    match value {
        None => Ok(0),
        Some(value) => value
            .as_ref()
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| ApplyError::Malformed(index, "a counter has eight bytes")),
    }
}

fn number_value(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Collection, MemoryState};

    /// A log entry of a newer version: a field of a number that is not in `kv.proto`.
    const NEWER: &[u8] = &[0xf8, 0x01, 0x01];

    fn put(key: &Key, value: &'static [u8]) -> v1::Write {
        v1::Write {
            key: key.as_bytes().clone(),
            op: Some(v1::write::Op::Put(Bytes::from_static(value))),
        }
    }

    fn command(begun_at: u64, checks: Vec<v1::Check>, writes: Vec<v1::Write>) -> v1::Command {
        let mut id = vec![0; 16];
        id[..8].copy_from_slice(&begun_at.to_be_bytes());
        let transaction = v1::Transaction {
            id: id.into(),
            checks,
            writes,
        };
        v1::Command {
            kind: Some(v1::command::Kind::Transaction(transaction)),
        }
    }

    #[test]
    fn what_only_a_newer_version_knows_stops_the_node_and_is_never_passed_over() {
        let key = Collection::new("tests").key("a");
        let newer_write = v1::Write {
            key: key.as_bytes().clone(),
            op: None,
        };
        let newer_check = v1::Check {
            subject: None,
            version: 0,
        };
        for command in [
            v1::Command::decode(NEWER).unwrap(),
            // What this version knows of it must not take effect either.
            command(1, Vec::new(), vec![put(&key, b"1"), newer_write]),
            command(2, vec![newer_check], vec![put(&key, b"1")]),
        ] {
            let refused = apply(&MemoryState::default(), 7, &command);
            assert!(
                matches!(refused, Err(ApplyError::UnknownCommand(7))),
                "{refused:?}"
            );
        }
    }
}
