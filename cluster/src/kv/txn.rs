//! An optimistic transaction: reads are remembered with their versions, writes are kept back,
//! and the commit submits both as one log entry.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_proto::v1;
use prost::Message as _;

use super::chain::Chain;
use super::key::{Collection, Key, MAX_KEY_BYTES};
use super::snapshot::{Entry, ReadError, Scan, Snapshot};
use super::{CommitError, Kv};
use crate::record::{self, Record};

/// The most bytes of keys and values that one transaction may write.
pub const MAX_TRANSACTION_BYTES: usize = 1 << 20;

/// A transaction in the making. Dropping it changes nothing.
///
/// Every `get` and `scan` is checked again at commit: if what it saw has changed by then, the
/// commit answers [`CommitError::Conflict`] and nothing is written. The same if a counter would
/// leave its [bound](Txn::bound). What is read through
/// [`Txn::snapshot`] is not checked.
pub struct Txn {
    kv: Kv,
    snapshot: Snapshot,
    key_checks: BTreeMap<Key, u64>,
    collection_checks: BTreeMap<Collection, u64>,
    bounds: BTreeMap<Bytes, i64>,
    writes: Vec<v1::Write>,
    written_bytes: usize,
}

/// What transactions conflict over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Key(Key),
    Collection(Collection),
}

impl Txn {
    pub(crate) fn new(kv: Kv, snapshot: Snapshot) -> Self {
        Self {
            kv,
            snapshot,
            key_checks: BTreeMap::new(),
            collection_checks: BTreeMap::new(),
            bounds: BTreeMap::new(),
            writes: Vec::new(),
            written_bytes: 0,
        }
    }

    /// The view that this transaction reads. Reads through it are not checked at commit and do
    /// not see the transaction's own writes.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The value under `key`, as this transaction would leave it.
    pub async fn get(&mut self, key: &Key) -> Result<Option<Bytes>, ReadError> {
        let own = self.writes.iter().rev().find(|write| write.key == key.as_bytes());
        match own.and_then(|write| write.op.as_ref()) {
            Some(v1::write::Op::Put(value)) => return Ok(Some(value.clone())),
            Some(v1::write::Op::Delete(_)) => return Ok(None),
            // A counter's result is only known when it is applied.
            _ => {}
        }
        let found = self.snapshot.get(key).await?;
        let version = found.as_ref().map_or(0, |found| found.version);
        self.key_checks.insert(key.clone(), version);
        Ok(found.map(|found| found.value))
    }

    /// The record under `key`.
    pub async fn record<R: Record>(&mut self, key: &Key) -> Result<Option<R>, ReadError> {
        match self.get(key).await? {
            Some(value) => Ok(Some(record::decode(&value)?)),
            None => Ok(None),
        }
    }

    /// The committed items of a collection. The transaction then depends on the whole
    /// collection, so nothing may appear in or vanish from it; its own writes are not included.
    pub async fn scan(&mut self, scan: Scan) -> Result<Vec<Entry>, ReadError> {
        self.depend_on(scan.collection()).await?;
        self.snapshot.scan(scan).await
    }

    /// Makes the commit fail if anything in `collection` changes, without reading its items.
    pub async fn depend_on(&mut self, collection: &Collection) -> Result<(), ReadError> {
        let revision = self.snapshot.revision(collection).await?;
        self.collection_checks.insert(collection.clone(), revision);
        Ok(())
    }

    /// The items of a collection that this transaction has written so far, each with whether
    /// it is there afterwards.
    pub(crate) fn written(&self, collection: &Collection) -> BTreeMap<Bytes, bool> {
        let prefix = collection.items_prefix();
        self.writes
            .iter()
            .filter(|write| write.key.starts_with(&prefix))
            .map(|write| {
                let deleted = matches!(write.op, Some(v1::write::Op::Delete(_)));
                (write.key.slice(prefix.len()..), !deleted)
            })
            .collect()
    }

    /// Writes a value.
    pub fn put(&mut self, key: &Key, value: impl Into<Bytes>) {
        self.write(key, v1::write::Op::Put(value.into()));
    }

    /// Writes a record.
    pub fn put_record<R: Record>(&mut self, key: &Key, record: &R) {
        self.put(key, record::encode(record));
    }

    /// Removes a value; removing one that is absent changes nothing.
    pub fn delete(&mut self, key: &Key) {
        self.write(key, v1::write::Op::Delete(true));
    }

    /// Adds to a counter. Never conflicts with other additions.
    pub fn add(&mut self, key: &Key, delta: i64) {
        self.write(key, v1::write::Op::Add(delta));
    }

    /// Makes the commit fail if what this transaction adds to a counter brings it above `most`,
    /// whatever it was when the transaction began. So those who add to it at the same time do not
    /// conflict as long as there is room for all of them. Nothing is asked of a transaction that
    /// leaves the counter as it is, or lowers it.
    pub fn bound(&mut self, key: &Key, most: i64) {
        self.bounds.insert(key.as_bytes().clone(), most);
    }

    /// What it adds to a counter so far.
    pub fn added(&self, key: &Key) -> i64 {
        self.added_to(key.as_bytes())
    }

    fn added_to(&self, key: &[u8]) -> i64 {
        let additions = self.writes.iter().filter(|write| write.key == key);
        let additions = additions.filter_map(|write| match write.op {
            Some(v1::write::Op::Add(delta)) => Some(delta),
            _ => None,
        });
        additions.fold(0, i64::saturating_add)
    }

    /// Raises a number to at least `least`. Never conflicts with other raises.
    pub fn raise(&mut self, key: &Key, least: u64) {
        self.write(key, v1::write::Op::Raise(least));
    }

    /// Adds a link to a chain, and its number to each of these collections. Never conflicts with
    /// other links.
    pub fn append(&mut self, chain: &Chain, content: impl Into<Bytes>, listed_in: &[Collection]) {
        let content = content.into();
        let listed_in = listed_in.iter().map(|collection| collection.as_bytes().clone());
        let listed_in = listed_in.collect();
        self.write(
            &chain.head(),
            v1::write::Op::Append(v1::Append { content, listed_in }),
        );
    }

    /// Whether it adds a link to this chain.
    pub fn appends_to(&self, chain: &Chain) -> bool {
        let head = chain.head();
        self.writes.iter().any(|write| write.key == head.as_bytes())
    }

    /// What it both depends on and changes, with the versions it has seen: two transactions with one
    /// of these in common cannot both be committed, unless one begins after the other has ended.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (Subject, u64)> {
        let is_written = |key: &Key| self.writes.iter().any(|write| write.key == key.as_bytes());
        let keys = self.key_checks.iter().filter(move |(key, _)| is_written(key));
        let keys = keys.map(|(key, version)| (Subject::Key(key.clone()), *version));
        let is_written_to = |collection: &Collection| {
            let items = collection.items_prefix();
            self.writes.iter().any(|write| write.key.starts_with(&items))
        };
        let collections = self.collection_checks.iter();
        let collections = collections.filter(move |(collection, _)| is_written_to(collection));
        let collections =
            collections.map(|(collection, revision)| (Subject::Collection(collection.clone()), *revision));
        keys.chain(collections)
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Submits the transaction and waits until this node has applied it. Returns its log
    /// index. A transaction that writes nothing is not submitted: it read one consistent view.
    pub async fn commit(self) -> Result<u64, CommitError> {
        if self.writes.is_empty() {
            return Ok(self.snapshot.applied_index());
        }
        if self.written_bytes > MAX_TRANSACTION_BYTES {
            return Err(CommitError::TooLarge {
                bytes: self.written_bytes,
                limit: MAX_TRANSACTION_BYTES,
            });
        }
        let longest = self.writes.iter().map(|write| write.key.len()).max();
        if let Some(bytes) = longest.filter(|bytes| *bytes > MAX_KEY_BYTES) {
            return Err(CommitError::KeyTooLong { bytes });
        }
        let bounds: Vec<_> = self
            .bounds
            .iter()
            .filter_map(|(key, most)| {
                let added = self.added_to(key);
                let most = most.saturating_sub(added);
                let bound = v1::AtMost {
                    key: key.clone(),
                    most,
                };
                (added > 0).then_some(v1::Check {
                    subject: Some(v1::check::Subject::AtMost(bound)),
                    version: 0,
                })
            })
            .collect();
        let check = |subject, version| v1::Check {
            subject: Some(subject),
            version,
        };
        let keys = self.key_checks.iter();
        let keys =
            keys.map(|(key, version)| check(v1::check::Subject::Key(key.as_bytes().clone()), *version));
        let collections = self.collection_checks.iter().map(|(collection, revision)| {
            check(
                v1::check::Subject::Collection(collection.as_bytes().clone()),
                *revision,
            )
        });
        let checks = keys.chain(collections).chain(bounds).collect();
        self.kv
            .submit(self.snapshot.applied_index(), checks, self.writes)
            .await
    }

    fn write(&mut self, key: &Key, op: v1::write::Op) {
        self.written_bytes += key.as_bytes().len();
        self.written_bytes += match &op {
            v1::write::Op::Put(value) => value.len(),
            v1::write::Op::Append(append) => append.encoded_len(),
            _ => 0,
        };
        self.writes.push(v1::Write {
            key: key.as_bytes().clone(),
            op: Some(op),
        });
    }
}
