//! A consistent, read-only view of the metadata at one log index.

use std::sync::Arc;

use bytes::Bytes;

use super::footprint::{Footprint, Seen};
use super::key::{Collection, Key, MAX_KEY_BYTES};
use super::txn::Subject;
use super::view::{KeyRange, StoreError, Versioned, View};
use crate::off_thread::off_thread;
use crate::record::{self, Record};
use crate::seams::Timestamp;

/// The most entries that one scan returns.
pub const MAX_SCAN: usize = 10_000;

/// A consistent view at one log index. Cheap to clone; holding one for long keeps old
/// versions of records on disk, so it lives as long as a request.
#[derive(Clone)]
pub struct Snapshot {
    view: Arc<dyn View>,
    footprint: Option<Footprint>,
}

/// Which items of a collection to read, and in which order.
#[derive(Clone, Debug)]
pub struct Scan {
    collection: Collection,
    prefix: Bytes,
    after: Option<Bytes>,
    limit: usize,
    backwards: bool,
}

/// An item that a scan found.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The item's own bytes, without its collection.
    pub item: Bytes,
    /// The log index of its last write.
    pub version: u64,
    /// Its value.
    pub value: Bytes,
}

impl Entry {
    /// Decodes the value.
    pub fn record<R: Record>(&self) -> Result<R, ReadError> {
        Ok(record::decode(&self.value)?)
    }
}

/// Why something could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed; the node is about to stop.
    #[error("read metadata: {0}")]
    Store(#[from] StoreError),
    /// A record is not of a form that this version knows.
    #[error(transparent)]
    Record(#[from] record::DecodeError),
}

impl Scan {
    /// All items of a collection, in the order of their bytes, up to [`MAX_SCAN`].
    pub fn of(collection: &Collection) -> Self {
        Self {
            collection: collection.clone(),
            prefix: Bytes::new(),
            after: None,
            limit: MAX_SCAN,
            backwards: false,
        }
    }

    /// Only items that begin with these bytes.
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> Self {
        self.prefix = Bytes::copy_from_slice(prefix.as_ref());
        self
    }

    /// Only items past this one, in the direction of the scan.
    pub fn after(mut self, item: impl AsRef<[u8]>) -> Self {
        self.after = Some(Bytes::copy_from_slice(item.as_ref()));
        self
    }

    /// At most this many; never more than [`MAX_SCAN`].
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.min(MAX_SCAN);
        self
    }

    /// From the last item to the first.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// The collection that is scanned.
    pub(crate) fn collection(&self) -> &Collection {
        &self.collection
    }

    fn range(&self) -> KeyRange {
        let items = self.collection.items_prefix();
        let mut start = [items.as_slice(), &self.prefix].concat();
        let mut end = successor(&start);
        if let Some(after) = &self.after {
            let mut bound = [items.as_slice(), after].concat();
            if self.backwards {
                end = end.min(bound);
            } else {
                bound.push(0);
                start = start.max(bound);
            }
        }
        KeyRange {
            start,
            end,
            limit: self.limit,
            limit_bytes: usize::MAX,
            backwards: self.backwards,
        }
    }
}

fn with_decoded_key((key, found): (Bytes, Versioned)) -> Result<(Key, Versioned), ReadError> {
    match Key::decode(key) {
        Some(key) => Ok((key, found)),
        None => Err(StoreError("a key does not decode".into()).into()),
    }
}

/// The first key past all that begin with `prefix`. A collection's prefix holds a 00 that can
/// be raised, so there always is one.
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    unreachable!("a collection's prefix contains a zero byte")
}

impl Snapshot {
    pub(crate) fn new(view: Arc<dyn View>) -> Self {
        Self {
            view,
            footprint: None,
        }
    }

    /// The same view; what is read through it, and through its clones, is noted in `footprint`.
    pub fn traced(&self, footprint: &Footprint) -> Self {
        Self {
            view: self.view.clone(),
            footprint: Some(footprint.clone()),
        }
    }

    /// This view; what is read through it is noted where what is read through `other` is.
    pub fn traced_like(self, other: &Self) -> Self {
        Self {
            view: self.view,
            footprint: other.footprint.clone(),
        }
    }

    /// Whether nothing that was seen is different here. It may say no where a disk would have to
    /// be asked. Time is not looked at: see [`Seen::until`].
    pub fn still_shows(&self, seen: &Seen) -> bool {
        seen.is_unchanged_in(self.view.as_ref())
    }

    /// Notes that what is made of this view changes by itself at `end`, such as a permission.
    pub fn holds_until(&self, end: Timestamp) {
        if let Some(footprint) = &self.footprint {
            footprint.until(end);
        }
    }

    /// The log index up to which this view is complete.
    pub fn applied_index(&self) -> u64 {
        self.view.applied_index()
    }

    /// The value under `key` with its version.
    pub async fn get(&self, key: &Key) -> Result<Option<Versioned>, ReadError> {
        let found = match self.view.get_cached(key.as_bytes()) {
            Some(found) => found?,
            None => {
                let key = key.clone();
                self.read(move |view| view.get(key.as_bytes())).await?
            }
        };
        if let Some(footprint) = &self.footprint {
            let version = found.as_ref().map_or(0, |found| found.version);
            footprint.key(key.as_bytes(), version);
        }
        Ok(found)
    }

    /// The record under `key`.
    pub async fn record<R: Record>(&self, key: &Key) -> Result<Option<R>, ReadError> {
        match self.get(key).await? {
            Some(found) => Ok(Some(record::decode(&found.value)?)),
            None => Ok(None),
        }
    }

    /// The version of a key, or the revision of a collection; 0 if there is nothing.
    pub(super) async fn version(&self, subject: &Subject) -> Result<u64, ReadError> {
        match subject {
            Subject::Key(key) => Ok(self.get(key).await?.map_or(0, |found| found.version)),
            Subject::Collection(collection) => self.revision(collection).await,
        }
    }

    /// The number under `key`, as [`super::Txn::add`] and [`super::Txn::raise`] keep it; 0 if absent.
    pub async fn number(&self, key: &Key) -> Result<u64, ReadError> {
        match self.get(key).await? {
            Some(found) => Ok(record::number(&found.value)?),
            None => Ok(0),
        }
    }

    /// The log index of the last write to any item of `collection`; 0 if there was none.
    ///
    /// Whatever is computed from the items alone stays right as long as this does not change.
    pub async fn revision(&self, collection: &Collection) -> Result<u64, ReadError> {
        let revision = match self.view.revision_cached(collection.as_bytes()) {
            Some(found) => found?,
            None => {
                let collection = collection.clone();
                self.read(move |view| view.revision(collection.as_bytes()))
                    .await?
            }
        };
        if let Some(footprint) = &self.footprint {
            footprint.collection(collection.as_bytes(), revision);
        }
        Ok(revision)
    }

    /// What callers that hand out revisions must add to them: a cluster that was restored from a
    /// backup counts on from what it counted to before, so that nobody who remembers a revision
    /// from then takes another state for the one he knows. 0 in all other clusters.
    pub async fn earlier_revisions(&self) -> Result<u64, ReadError> {
        crate::backup::earlier_revisions(self).await
    }

    /// The items that `scan` asks for, in its order.
    pub async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, ReadError> {
        let range = scan.range();
        if range.start >= range.end || range.limit == 0 {
            return Ok(Vec::new());
        }
        if self.footprint.is_some() {
            self.revision(&scan.collection).await?;
        }
        let skip = scan.collection.items_prefix().len();
        let found = self.read(move |view| view.scan(&range)).await?;
        Ok(found
            .into_iter()
            .map(|(key, Versioned { version, value })| Entry {
                item: key.slice(skip..),
                version,
                value,
            })
            .collect())
    }

    /// The next entries of the whole state after a key, in the order of their encoded keys; about
    /// `limit_bytes` of them at most, and none at the end only. Those at and below the collections
    /// `without`, which are in order too, are passed over.
    pub(crate) async fn page(
        &self,
        after: Option<&Key>,
        without: &[Collection],
        limit_bytes: usize,
    ) -> Result<Vec<(Key, Versioned)>, ReadError> {
        if let Some(footprint) = &self.footprint {
            footprint.give_up();
        }
        let mut start = after.map_or_else(Vec::new, |after| [&after.as_bytes()[..], &[0]].concat());
        let mut ranges = Vec::new();
        for passed in without {
            let past = successor(passed.as_bytes());
            if start[..] < passed.as_bytes()[..] {
                ranges.push((start, passed.as_bytes().to_vec()));
                start = past;
            } else {
                start = start.max(past);
            }
        }
        // No key is as long.
        ranges.push((start, vec![0xff; MAX_KEY_BYTES + 1]));
        for (start, end) in ranges {
            let range = KeyRange {
                start,
                end,
                limit: MAX_SCAN,
                limit_bytes,
                backwards: false,
            };
            let found = self.read(move |view| view.scan(&range)).await?;
            if !found.is_empty() {
                return found.into_iter().map(with_decoded_key).collect();
            }
        }
        Ok(Vec::new())
    }

    /// Reads that may touch a disk wait on a thread that is made for waiting.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let view = self.view.clone();
        let read = off_thread(move || read(view.as_ref())).await;
        Ok(read.map_err(|gone| StoreError(gone.to_string()))??)
    }
}
