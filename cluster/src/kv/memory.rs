//! The in-memory twin of the replicated store: the same transactions and the same `apply`, on
//! a persistent map, so that a snapshot is a clone.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_proto::v1;
use imbl::OrdMap;

use super::apply::{self, Mutation, Outcome, TransactionId};
use super::snapshot::Snapshot;
use super::view::{KeyRange, State, StoreError, Versioned, View};
use super::{CommitError, Store, Unavailable};

/// A whole state in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryState {
    applied_index: u64,
    data: OrdMap<Bytes, Versioned>,
    revisions: OrdMap<Bytes, u64>,
    outcomes: OrdMap<TransactionId, u64>,
}

impl MemoryState {
    /// Makes the mutations of the entry at `index` visible.
    pub(crate) fn mutate(&mut self, index: u64, mutations: Vec<Mutation>) {
        self.applied_index = index;
        for mutation in mutations {
            match mutation {
                Mutation::Put { key, version, value } => {
                    self.data.insert(key, Versioned { version, value });
                }
                Mutation::Delete { key } => {
                    self.data.remove(&key);
                }
                Mutation::Revise { collection, revision } => {
                    self.revisions.insert(collection, revision);
                }
                Mutation::Remember { id, stored } => {
                    self.outcomes.insert(id, stored);
                }
                Mutation::Forget { below } => {
                    let mut bound = [0; 16];
                    bound[..8].copy_from_slice(&below.to_be_bytes());
                    let (_, kept) = self.outcomes.split(&bound);
                    self.outcomes = kept;
                }
            }
        }
    }
}

#[cfg(test)]
mod encoding {
    //! A whole state as bytes: what a simulated snapshot carries.

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Encoded {
        applied_index: u64,
        data: Vec<(Bytes, u64, Bytes)>,
        revisions: Vec<(Bytes, u64)>,
        outcomes: Vec<(TransactionId, u64)>,
    }

    impl MemoryState {
        pub(crate) fn encode(&self) -> Vec<u8> {
            let data = self.data.iter();
            let encoded = Encoded {
                applied_index: self.applied_index,
                data: data
                    .map(|(key, found)| (key.clone(), found.version, found.value.clone()))
                    .collect(),
                revisions: self
                    .revisions
                    .iter()
                    .map(|(name, at)| (name.clone(), *at))
                    .collect(),
                outcomes: self.outcomes.iter().map(|(id, stored)| (*id, *stored)).collect(),
            };
            rmp_serde::to_vec(&encoded).expect("it is made of numbers and bytes")
        }

        pub(crate) fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
            let encoded: Encoded = rmp_serde::from_slice(bytes)?;
            let data = encoded.data.into_iter();
            Ok(Self {
                applied_index: encoded.applied_index,
                data: data
                    .map(|(key, version, value)| (key, Versioned { version, value }))
                    .collect(),
                revisions: encoded.revisions.into_iter().collect(),
                outcomes: encoded.outcomes.into_iter().collect(),
            })
        }
    }
}

impl State for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        Ok(self.data.get(key).cloned())
    }

    fn revision(&self, collection: &[u8]) -> Result<u64, StoreError> {
        Ok(self.revisions.get(collection).copied().unwrap_or(0))
    }

    fn outcome(&self, id: &TransactionId) -> Result<Option<u64>, StoreError> {
        Ok(self.outcomes.get(id).copied())
    }
}

impl View for MemoryState {
    fn applied_index(&self) -> u64 {
        self.applied_index
    }

    fn get_cached(&self, key: &[u8]) -> Option<Result<Option<Versioned>, StoreError>> {
        Some(self.get(key))
    }

    fn revision_cached(&self, collection: &[u8]) -> Option<Result<u64, StoreError>> {
        Some(self.revision(collection))
    }

    fn scan(&self, range: &KeyRange) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        let bounds = Bytes::copy_from_slice(&range.start)..Bytes::copy_from_slice(&range.end);
        let entries = self.data.range(bounds);
        let owned = |(key, value): (&Bytes, &Versioned)| Ok((key.clone(), value.clone()));
        if range.backwards {
            range.take(entries.rev().map(owned))
        } else {
            range.take(entries.map(owned))
        }
    }
}

/// A store that commits at once.
#[derive(Default)]
pub(crate) struct MemoryStore {
    state: Mutex<Arc<MemoryState>>,
}

#[async_trait]
impl Store for MemoryStore {
    fn local(&self) -> Snapshot {
        Snapshot::new(self.state.lock().expect("no panic while held").clone())
    }

    fn staleness(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    async fn latest(&self) -> Result<Snapshot, Unavailable> {
        Ok(self.local())
    }

    async fn submit(&self, transaction: v1::Transaction) -> Result<Outcome, CommitError> {
        let mut state = self.state.lock().expect("no panic while held");
        let index = state.applied_index + 1;
        let command = v1::Command {
            kind: Some(v1::command::Kind::Transaction(transaction)),
        };
        let (outcome, mutations) =
            apply::apply(state.as_ref(), index, &command).map_err(|error| CommitError::Unknown {
                reason: error.to_string(),
            })?;
        Arc::make_mut(&mut state).mutate(index, mutations);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use crate::kv::Kv;
    use crate::kv::suite::{Stage, run_suite};
    use crate::seams::Seams;

    async fn stage() -> Stage {
        let kv = Kv::in_memory(Seams::system());
        Stage {
            one: kv.clone(),
            other: kv,
            _running: Box::new(()),
        }
    }

    run_suite!(stage());
}
