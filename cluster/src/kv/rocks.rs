//! The metadata in RocksDB: the state that a node applies and the views that requests read.
//!
//! ```text
//! data        encoded key        -> version (8 bytes, big endian), value
//! revisions   encoded collection -> log index of its last write (8 bytes, big endian)
//! outcomes    transaction id     -> see `Outcome::to_stored` (8 bytes, big endian)
//! meta        "applied", "membership"
//! ```
//!
//! One write batch per apply holds the data, the applied log id and the membership, so they
//! can never part ways.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, Direction, ErrorKind, IteratorMode, Options, ReadOptions,
    ReadTier, WriteBatch,
};
use self_cell::self_cell;

use super::apply::{Mutation, TransactionId};
use super::hot::Hot;
use super::view::{KeyRange, State, StoreError, Versioned, View};
use crate::storage;

const DATA: &str = "data";
const REVISIONS: &str = "revisions";
const OUTCOMES: &str = "outcomes";
const META: &str = "meta";

/// Names of the single values in `meta`.
pub(crate) const APPLIED: &str = "applied";
/// See [`APPLIED`].
pub(crate) const MEMBERSHIP: &str = "membership";

/// An open state database.
pub(crate) struct StateDb {
    db: DB,
    hot_data: Hot,
    hot_revisions: Hot,
    /// After the database, which is closed by the time that this is dropped.
    folder: StateFolder,
}

/// Where a state lies.
struct StateFolder {
    path: PathBuf,
    replaced: AtomicBool,
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        if self.replaced.load(Ordering::Relaxed)
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            // The next start tries again.
            tracing::warn!(path = %self.path.display(), %error, "a replaced state was not removed");
        }
    }
}

impl StateFolder {
    fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            replaced: AtomicBool::new(false),
        }
    }
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        Self(error.to_string())
    }
}

impl StateDb {
    /// Opens or creates the state in `path`, with a block cache of `cache_bytes`.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let mut options = storage::options();
        options.set_write_buffer_size(64 << 20);
        options.set_max_background_jobs(2);
        Ok(Self {
            db: storage::open(path, &options, families(cache_bytes))?,
            hot_data: Hot::new(cache_bytes / 8),
            hot_revisions: Hot::new(cache_bytes / 32),
            folder: StateFolder::at(path),
        })
    }

    /// Another state has taken the place of this one: its folder goes with the last view of it.
    pub(crate) fn remove_when_unused(&self) {
        self.folder.replaced.store(true, Ordering::Relaxed);
    }

    /// Opens a checkpoint to look at it.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let names = [DATA, REVISIONS, OUTCOMES, META];
        Ok(Self {
            db: DB::open_cf_for_read_only(&storage::options(), path, names, false)?,
            hot_data: Hot::new(0),
            hot_revisions: Hot::new(0),
            folder: StateFolder::at(path),
        })
    }

    /// Makes `path` a copy of this state that shares its files.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        // Without a flush of the memtables: their log is copied, which takes milliseconds.
        Ok(
            rocksdb::checkpoint::Checkpoint::new(&self.db)?
                .create_checkpoint_with_log_size(path, u64::MAX)?,
        )
    }

    /// A single value of the node's own, as the last batch left it.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get_cf(self.family(META), name)?)
    }

    /// Writes one batch, which leads to the state at `index`; views of that come after. It
    /// survives the process; [`StateDb::sync`] makes it survive the power.
    pub(crate) fn write(
        &self,
        index: u64,
        mutations: &[Mutation],
        meta: &[(&str, Vec<u8>)],
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for mutation in mutations {
            match mutation {
                Mutation::Put { key, version, value } => {
                    let mut stored = Vec::with_capacity(8 + value.len());
                    stored.extend_from_slice(&version.to_be_bytes());
                    stored.extend_from_slice(value);
                    batch.put_cf(self.family(DATA), key, stored);
                }
                Mutation::Delete { key } => batch.delete_cf(self.family(DATA), key),
                Mutation::Revise { collection, revision } => {
                    batch.put_cf(self.family(REVISIONS), collection, revision.to_be_bytes());
                }
                Mutation::Remember { id, stored } => {
                    batch.put_cf(self.family(OUTCOMES), id, stored.to_be_bytes());
                }
                Mutation::Forget { below } => {
                    batch.delete_range_cf(self.family(OUTCOMES), [0; 16], bound(*below));
                }
            }
        }
        for (name, value) in meta {
            batch.put_cf(self.family(META), name, value);
        }
        self.db.write(batch)?;
        for mutation in mutations {
            match mutation {
                Mutation::Put { key, version, value } => {
                    self.hot_data.change(key, index, *version, Some(value));
                }
                Mutation::Delete { key } => self.hot_data.change(key, index, index, None),
                Mutation::Revise { collection, revision } => {
                    self.hot_revisions.change(collection, index, *revision, Some(&[]));
                }
                Mutation::Remember { .. } | Mutation::Forget { .. } => {}
            }
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        Ok(self.db.flush_wal(true)?)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db
            .cf_handle(name)
            .expect("the database was opened with all of its column families")
    }
}

fn families(cache_bytes: usize) -> [(&'static str, Options); 4] {
    let cache = Cache::new_lru_cache(cache_bytes);
    let family = || {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_bottommost_compression_type(rocksdb::DBCompressionType::Zstd);
        options
    };
    [
        (DATA, family()),
        (REVISIONS, family()),
        (OUTCOMES, family()),
        (META, family()),
    ]
}

/// The first transaction id that begins with this index.
fn bound(index: u64) -> TransactionId {
    let mut bound = [0; 16];
    bound[..8].copy_from_slice(&index.to_be_bytes());
    bound
}

fn split(stored: &[u8]) -> Result<(u64, &[u8]), StoreError> {
    match stored.split_first_chunk::<8>() {
        Some((version, value)) => Ok((u64::from_be_bytes(*version), value)),
        None => Err(StoreError("a stored value is shorter than its version".into())),
    }
}

fn number(stored: &[u8]) -> Result<u64, StoreError> {
    stored
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError("a stored number is not 8 bytes".into()))
}

self_cell!(
    /// A RocksDB snapshot together with the database that it belongs to.
    struct Pinned {
        owner: Arc<StateDb>,
        #[covariant]
        dependent: DbSnapshot,
    }
);

type DbSnapshot<'db> = rocksdb::Snapshot<'db>;

/// The state at one log index.
pub(crate) struct RocksView {
    pinned: Pinned,
    applied_index: u64,
}

impl RocksView {
    /// Pins what has been written so far, which must be the state at `applied_index`.
    pub(crate) fn new(db: Arc<StateDb>, applied_index: u64) -> Self {
        Self {
            pinned: Pinned::new(db, |db| db.db.snapshot()),
            applied_index,
        }
    }

    /// A hash over all that was applied up to the index of this view. Reads everything.
    pub(crate) fn hash(&self) -> Result<blake3::Hash, StoreError> {
        let mut hasher = blake3::Hasher::new();
        for name in [DATA, REVISIONS, OUTCOMES, META] {
            let mut options = ReadOptions::default();
            // What requests need stays in the cache.
            options.fill_cache(false);
            let family = self.pinned.borrow_owner().family(name);
            let entries =
                self.pinned
                    .borrow_dependent()
                    .iterator_cf_opt(family, options, IteratorMode::Start);
            let mut count = 0_u64;
            for entry in entries {
                let (key, stored) = entry?;
                for part in [key, stored] {
                    hasher.update(&(part.len() as u64).to_be_bytes());
                    hasher.update(&part);
                }
                count += 1;
            }
            hasher.update(&count.to_be_bytes());
        }
        Ok(hasher.finalize())
    }

    /// Reads by way of `tier`; `None` if that cannot tell.
    fn read(&self, family: &str, key: &[u8], tier: ReadTier) -> Option<Result<Option<Vec<u8>>, StoreError>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(tier);
        let family = self.pinned.borrow_owner().family(family);
        match self.pinned.borrow_dependent().get_cf_opt(family, key, options) {
            Err(error) if error.kind() == ErrorKind::Incomplete => None,
            found => Some(found.map_err(StoreError::from)),
        }
    }
}

fn versioned(stored: Option<Vec<u8>>) -> Result<Option<Versioned>, StoreError> {
    let Some(stored) = stored else { return Ok(None) };
    let version = split(&stored)?.0;
    Ok(Some(Versioned {
        version,
        value: Bytes::from(stored).slice(8..),
    }))
}

/// A revision as [`Hot`] has it.
fn revised(stored: Option<Vec<u8>>) -> Result<Option<Versioned>, StoreError> {
    let Some(stored) = stored else { return Ok(None) };
    Ok(Some(Versioned {
        version: number(&stored)?,
        value: Bytes::new(),
    }))
}

fn revision(revised: Option<Versioned>) -> u64 {
    revised.map_or(0, |revised| revised.version)
}

impl RocksView {
    /// Looks in memory, and then by `read`, whose answer is remembered.
    fn through(
        &self,
        hot: &Hot,
        key: &[u8],
        read: impl FnOnce() -> Option<Result<Option<Versioned>, StoreError>>,
    ) -> Option<Result<Option<Versioned>, StoreError>> {
        if let Some(found) = hot.look(key, self.applied_index) {
            return Some(Ok(found));
        }
        let found = read()?;
        if let Ok(found) = &found {
            hot.learn(key, self.applied_index, found);
        }
        Some(found)
    }

    fn data(&self, key: &[u8], tier: ReadTier) -> Option<Result<Option<Versioned>, StoreError>> {
        let hot = &self.pinned.borrow_owner().hot_data;
        self.through(hot, key, || Some(self.read(DATA, key, tier)?.and_then(versioned)))
    }

    fn revised(&self, collection: &[u8], tier: ReadTier) -> Option<Result<u64, StoreError>> {
        let hot = &self.pinned.borrow_owner().hot_revisions;
        let read = || Some(self.read(REVISIONS, collection, tier)?.and_then(revised));
        Some(self.through(hot, collection, read)?.map(revision))
    }
}

/// [`ReadTier::All`] always can tell.
fn told<T>(found: Option<Result<T, StoreError>>) -> Result<T, StoreError> {
    found.unwrap_or_else(|| Err(StoreError("a read of all tiers was incomplete".into())))
}

impl State for RocksView {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        told(self.data(key, ReadTier::All))
    }

    fn revision(&self, collection: &[u8]) -> Result<u64, StoreError> {
        told(self.revised(collection, ReadTier::All))
    }

    fn outcome(&self, id: &TransactionId) -> Result<Option<u64>, StoreError> {
        told(self.read(OUTCOMES, id, ReadTier::All))?
            .map(|stored| number(&stored))
            .transpose()
    }
}

impl View for RocksView {
    fn applied_index(&self) -> u64 {
        self.applied_index
    }

    fn get_cached(&self, key: &[u8]) -> Option<Result<Option<Versioned>, StoreError>> {
        self.data(key, ReadTier::BlockCache)
    }

    fn revision_cached(&self, collection: &[u8]) -> Option<Result<u64, StoreError>> {
        self.revised(collection, ReadTier::BlockCache)
    }

    fn scan(&self, range: &KeyRange) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.start.clone());
        options.set_iterate_upper_bound(range.end.clone());
        let mode = if range.backwards {
            IteratorMode::From(&range.end, Direction::Reverse)
        } else {
            IteratorMode::From(&range.start, Direction::Forward)
        };
        let family = self.pinned.borrow_owner().family(DATA);
        let entries = self
            .pinned
            .borrow_dependent()
            .iterator_cf_opt(family, options, mode);
        range.take(entries.map(|item| -> Result<_, StoreError> {
            let (key, stored) = item?;
            let version = split(&stored)?.0;
            let value = Bytes::from(stored.into_vec()).slice(8..);
            Ok((Bytes::from(key.into_vec()), Versioned { version, value }))
        }))
    }
}

/// A state with the mutations of earlier entries of the same batch on top.
pub(crate) struct Overlay {
    base: Arc<RocksView>,
    data: HashMap<Bytes, Option<Versioned>>,
    revisions: HashMap<Bytes, u64>,
    outcomes: HashMap<TransactionId, u64>,
}

impl Overlay {
    pub(crate) fn new(base: Arc<RocksView>) -> Self {
        Self {
            base,
            data: HashMap::new(),
            revisions: HashMap::new(),
            outcomes: HashMap::new(),
        }
    }

    /// Makes mutations visible to the entries that follow.
    pub(crate) fn add(&mut self, mutations: &[Mutation]) {
        for mutation in mutations {
            match mutation.clone() {
                Mutation::Put { key, version, value } => {
                    self.data.insert(key, Some(Versioned { version, value }));
                }
                Mutation::Delete { key } => {
                    self.data.insert(key, None);
                }
                Mutation::Revise { collection, revision } => {
                    self.revisions.insert(collection, revision);
                }
                Mutation::Remember { id, stored } => {
                    self.outcomes.insert(id, stored);
                }
                // An id that old is refused before its outcome is looked up.
                Mutation::Forget { .. } => {}
            }
        }
    }
}

impl State for Overlay {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        match self.data.get(key) {
            Some(found) => Ok(found.clone()),
            None => self.base.get(key),
        }
    }

    fn revision(&self, collection: &[u8]) -> Result<u64, StoreError> {
        match self.revisions.get(collection) {
            Some(revision) => Ok(*revision),
            None => self.base.revision(collection),
        }
    }

    fn outcome(&self, id: &TransactionId) -> Result<Option<u64>, StoreError> {
        match self.outcomes.get(id) {
            Some(stored) => Ok(Some(*stored)),
            None => self.base.outcome(id),
        }
    }
}
