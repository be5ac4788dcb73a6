//! The replicated metadata store: snapshots to read, transactions to write.
//!
//! Domain logic runs on any node against a [`Snapshot`] and submits what it read and what it
//! wants to write as one log entry; applying it is the pure function in `apply`. So the log
//! stays small and stable, and every node computes the same state.

mod apply;
mod chain;
mod footprint;
mod hot;
mod key;
mod memory;
mod rocks;
mod snapshot;
#[cfg(test)]
pub(crate) mod suite;
mod turns;
mod txn;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_proto::v1;
use prost::Message;

use apply::MAX_ENTRY_BYTES;
#[cfg(test)]
pub(crate) use apply::Mutation;
pub(crate) use apply::{Outcome, apply, check_form};
pub use chain::{BrokenChain, Chain, Link};
pub use footprint::{Footprint, Seen};
pub use key::{Collection, Key, MAX_KEY_BYTES, Segment};
#[cfg(test)]
pub(crate) use memory::MemoryState;
pub(crate) use memory::MemoryStore;
pub(crate) use rocks::{APPLIED, MEMBERSHIP, Overlay, RocksView, StateDb};
pub use snapshot::{Entry, MAX_SCAN, ReadError, Scan, Snapshot};
pub use txn::{MAX_TRANSACTION_BYTES, Txn};
pub(crate) use view::View;
pub use view::{StoreError, Versioned};

use self::turns::{Turn, Turns};
use self::txn::Subject;
use crate::seams::Seams;

/// How often [`Kv::transact`] commits before it gives up on conflicts. Who conflicts over what it
/// changes itself competes with one transaction of each other node, and wins long before.
const MAX_ATTEMPTS: u32 = 64;

/// The metadata store of this node. Cheap to clone.
#[derive(Clone)]
pub struct Kv {
    store: Arc<dyn Store>,
    seams: Seams,
    turns: Turns,
}

/// The cluster cannot answer now; the same call may succeed later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the cluster is not available: {reason}")]
pub struct Unavailable {
    /// What was missing, in words for an operator.
    pub reason: String,
}

/// Why a transaction was not committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Something that was read has changed; nothing was written. Try again on a new view.
    #[error("metadata changed meanwhile")]
    Conflict,
    /// Nothing was written; it may be tried again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The deadline passed with the entry under way: it may or may not be committed.
    #[error("whether the change was committed is not known: {reason}")]
    Unknown {
        /// What happened last.
        reason: String,
    },
    /// The transaction writes or depends on more than one log entry may carry.
    #[error("a transaction of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes of keys and values that it writes, or of all that it is made of.
        bytes: usize,
        /// [`MAX_TRANSACTION_BYTES`], or the limit to all that it is made of.
        limit: usize,
    },
    /// A key that it writes is longer than a key may be.
    #[error("a key of {bytes} bytes is over the limit of {MAX_KEY_BYTES}")]
    KeyTooLong {
        /// Bytes of the encoded key.
        bytes: usize,
    },
}

/// What stands under [`Kv`]: the replicated store, or its in-memory twin.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// This node's own state.
    fn local(&self) -> Snapshot;

    /// How long ago this node last knew that it had everything that was committed.
    fn staleness(&self) -> Option<Duration>;

    /// A state that holds everything that was acknowledged before this call.
    async fn latest(&self) -> Result<Snapshot, Unavailable>;

    /// Commits a command, or repeats it safely, and waits until this node has applied it.
    async fn submit(&self, transaction: v1::Transaction) -> Result<Outcome, CommitError>;
}

impl Kv {
    pub(crate) fn new(store: Arc<dyn Store>, seams: Seams) -> Self {
        Self {
            store,
            seams,
            turns: Turns::default(),
        }
    }

    /// A store of this process alone, kept in memory: the twin for tests.
    pub fn in_memory(seams: Seams) -> Self {
        Self::new(Arc::new(MemoryStore::default()), seams)
    }

    /// Everything that was acknowledged before this call, on any node.
    ///
    /// Asks the leader which log index that is (callers share one round trip) and waits until
    /// this node has applied it. Fails within the read deadline if there is no majority.
    pub async fn latest(&self) -> Result<Snapshot, Unavailable> {
        self.store.latest().await
    }

    /// What this node has applied, without asking anybody.
    ///
    /// Right for what cannot change: a released file that is found here is correct. A miss, a
    /// list, a moving tag or a permission must be confirmed with [`Kv::latest`].
    pub fn local(&self) -> Snapshot {
        self.store.local()
    }

    /// [`Kv::latest`] if the cluster answers; otherwise this node's own state, if it is known
    /// to have been complete within `max_age`.
    pub async fn latest_or_recent(&self, max_age: Duration) -> Result<Snapshot, Unavailable> {
        match self.latest().await {
            Ok(snapshot) => Ok(snapshot),
            Err(unavailable) => match self.store.staleness() {
                Some(age) if age <= max_age => Ok(self.local()),
                _ => Err(unavailable),
            },
        }
    }

    /// Begins a transaction on the latest state.
    pub async fn begin(&self) -> Result<Txn, Unavailable> {
        Ok(Txn::new(self.clone(), self.latest().await?))
    }

    /// Runs `work` in a transaction and commits it; on a conflict runs it again on a new view. Of
    /// those on this node who conflict over what they change, one runs at a time.
    ///
    /// `work` is given the transaction and hands it back with its result; an error of `work`
    /// ends it with nothing written. It may run several times, so its only effect should be on
    /// the transaction:
    ///
    /// ```
    /// # use cairn_cluster::{CommitError, Key, Kv};
    /// # async fn example(kv: Kv, key: Key) -> Result<(), CommitError> {
    /// kv.transact(async |mut txn| {
    ///     txn.put(&key, "value");
    ///     Ok::<_, CommitError>((txn, ()))
    /// })
    /// .await
    /// # }
    /// ```
    pub async fn transact<T, E, F>(&self, work: impl Fn(Txn) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<(Txn, T), E>>,
        E: From<CommitError>,
    {
        let first = self.begin().await.map_err(CommitError::from)?;
        self.run(first, work).await
    }

    /// [`Kv::transact`] for a request that took `seen` from [`Kv::latest`] when it began: it runs
    /// first on what this node has by now, without asking the leader once more.
    ///
    /// That is no older than `seen`, so it holds everything that was acknowledged before the
    /// request, and the commit finds out what was changed since.
    pub async fn transact_after<T, E, F>(&self, seen: &Snapshot, work: impl Fn(Txn) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<(Txn, T), E>>,
        E: From<CommitError>,
    {
        let local = self.local();
        let newer = match local.applied_index() >= seen.applied_index() {
            true => local,
            false => seen.clone(),
        };
        self.run(Txn::new(self.clone(), newer), work).await
    }

    async fn run<T, E, F>(&self, first: Txn, work: impl Fn(Txn) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<(Txn, T), E>>,
        E: From<CommitError>,
    {
        let mut attempt = 0;
        let mut txn = first;
        let mut turn: Option<Turn> = None;
        loop {
            let (worked, value) = work(txn).await?;
            let contended = match &turn {
                None => self.turns.taken(&worked),
                Some(_) => None,
            };
            let lost_over = match contended {
                // Others are before it, and its view is of no use by then.
                Some(subject) => {
                    drop(worked);
                    Some(subject)
                }
                None => {
                    let seen: Vec<_> = worked.subjects().collect();
                    match worked.commit().await {
                        Ok(_) => return Ok(value),
                        Err(CommitError::Conflict) if attempt + 1 < MAX_ATTEMPTS => {
                            attempt += 1;
                            Box::pin(self.changed(seen)).await
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            };
            match lost_over {
                Some(subject) if turn.as_ref().is_none_or(|turn| *turn.subject() != subject) => {
                    // Never two turns at once: others could have them the other way round.
                    drop(turn.take());
                    let mine = Box::pin(self.turns.wait(subject)).await;
                    turn = Some(mine.ok_or(CommitError::Conflict)?);
                }
                // Spread the contenders; the first retry is almost immediate.
                _ => {
                    // Those who wait for the turn wait for this too.
                    let doublings = attempt.min(if turn.is_some() { 4 } else { 7 });
                    let spread = u64::from(self.seams.random::<1>()[0]) * (1 << doublings) / 128;
                    tokio::time::sleep(Duration::from_millis(spread)).await;
                }
            }
            txn = self.begin().await.map_err(CommitError::from)?;
        }
    }

    /// The first of what a transaction has seen that is different now, as far as can be told.
    async fn changed(&self, seen: Vec<(Subject, u64)>) -> Option<Subject> {
        let now = self.local();
        for (subject, version) in seen {
            match now.version(&subject).await {
                Ok(same) if same == version => {}
                Ok(_) => return Some(subject),
                // The next attempt meets the error and tells of it.
                Err(_) => return None,
            }
        }
        None
    }

    async fn submit(
        &self,
        applied_index: u64,
        checks: Vec<v1::Check>,
        writes: Vec<v1::Write>,
    ) -> Result<u64, CommitError> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&applied_index.to_be_bytes());
        id[8..].copy_from_slice(&self.seams.random::<8>());
        let transaction = v1::Transaction {
            id: id.to_vec().into(),
            checks,
            writes,
        };
        let bytes = transaction.encoded_len();
        if bytes > MAX_ENTRY_BYTES {
            return Err(CommitError::TooLarge {
                bytes,
                limit: MAX_ENTRY_BYTES,
            });
        }
        match self.store.submit(transaction).await? {
            Outcome::Applied(index) => Ok(index),
            Outcome::Conflict => Err(CommitError::Conflict),
            Outcome::Forgotten => Err(CommitError::Unknown {
                reason: "the answer came too late to tell".into(),
            }),
        }
    }
}
