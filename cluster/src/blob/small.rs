//! Small segments of this node: whole copies, values of a RocksDB with blob files.
//!
//! A new file costs four times what an append does, and coding a few kilobytes costs a sync on
//! every node of a group; so what is small is kept whole, on fewer nodes, in a log that many
//! share. One thread writes: it takes all that waits, writes it as one batch and syncs once
//! (group commit). A write that fails is fatal: what the log holds then is not known.
//!
//! ```text
//! family       key                       value
//! default      generation 16, number 8   the segment, as below
//! index        the same                  written at, in ms, 8; bytes in the value, 4
//! quarantine   the same                  since, in ms, 8; the segment
//!
//! segment 0    1  version of this layout, 1
//!         1    8  where the segment's bytes begin in their blob
//!         9   32  the segment's BLAKE3 chaining value
//!         41   4  bytes in the segment
//!         45   8  the xxh3-64 of bytes 0 to 45
//!         53      the bytes
//! ```
//!
//! Numbers in segments are little endian, those in keys and in the other families big endian.
//! Segments are verified whenever they are read. The index is there because listing the default
//! family would read every value.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, DBCompressionType, DBRecoveryMode,
    ErrorKind, IteratorMode, Options, WriteBatch, WriteOptions,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::id::Generation;
use super::metrics;
use super::record::SegmentId;
use super::shard_error::ShardError;
use super::shard_file::checksum;
use super::tree::SubtreeHasher;
use crate::seams::{Seams, Timestamp};
use crate::storage::{self, DiskWatch, FailStop, WriterThread};

/// The largest segment that is kept here; see [`super::coded`] for why.
pub(super) const SMALL_BYTES: usize = 1 << 20;

const VERSION: u8 = 1;
const CHECKSUM_AT: usize = 45;
pub(super) const HEADER_BYTES: usize = CHECKSUM_AT + 8;

/// The most that one batch writes; a larger one would only make the first in it wait.
const BATCH_BYTES: usize = 8 << 20;

/// How many writes may wait for the writing thread.
const WAITING_WRITES: usize = 64;

/// A small segment as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SmallSegment {
    /// Where its bytes begin in their blob.
    pub(super) offset: u64,
    pub(super) hash: [u8; 32],
    pub(super) bytes: Bytes,
}

impl SmallSegment {
    /// The stored form.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.bytes.len());
        out.put_u8(VERSION);
        out.put_u64_le(self.offset);
        out.put_slice(&self.hash);
        out.put_u32_le(self.bytes.len() as u32);
        let checksum = checksum(&out);
        out.put_u64_le(checksum);
        out.put_slice(&self.bytes);
        out.freeze()
    }

    /// Reads a stored form and verifies it.
    pub(super) fn decode(mut stored: Bytes) -> Result<Self, ShardError> {
        let corrupt = |what: &str| Err(ShardError::Corrupt(what.into()));
        if stored.len() <= HEADER_BYTES || stored.len() > HEADER_BYTES + SMALL_BYTES {
            return corrupt("a small segment has an impossible length");
        }
        let version = stored[0];
        if version > VERSION {
            let what = format!("a small segment has version {version}, which this cairn cannot read");
            return Err(ShardError::Io(what));
        }
        let mut header = stored.split_to(HEADER_BYTES);
        let expected = checksum(&header[..CHECKSUM_AT]);
        header.advance(1);
        let offset = header.get_u64_le();
        let mut hash = [0; 32];
        header.copy_to_slice(&mut hash);
        let len = header.get_u32_le() as usize;
        if header.get_u64_le() != expected || len != stored.len() {
            return corrupt("the header of a small segment is damaged");
        }
        let mut hasher = SubtreeHasher::at(offset);
        hasher.update(&stored);
        if hasher.finish().chaining != hash {
            return corrupt("a small segment does not have its hash");
        }
        Ok(Self {
            offset,
            hash,
            bytes: stored,
        })
    }
}

const INDEX: &str = "index";
const QUARANTINE: &str = "quarantine";

/// Values below this lie beside their keys, the others in blob files.
const BLOB_FILE_VALUE: u64 = 1 << 10;

/// Space is given back when more than this share of the blob files is garbage, and more than so
/// much: all that is not has to be written again for it.
const GARBAGE_RATIO: f64 = 0.3;
const LEAST_GARBAGE: u64 = 8 << 20;

/// What came of giving space back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reclaim {
    /// There was not enough of it.
    Nothing,
    /// Everything was rewritten, but for these, which were rotten and are gone.
    Done(Vec<SegmentId>),
}

/// The small segments of this node. Dropping it ends the writing thread.
pub(super) struct SmallStore {
    db: Arc<DB>,
    seams: Seams,
    fail_stop: FailStop,
    watch: DiskWatch,
    writer: WriterThread<Write>,
    /// Something was removed since space was last given back.
    wasteful: AtomicBool,
}

struct Write {
    key: [u8; 24],
    /// None to remove.
    value: Option<Bytes>,
    done: oneshot::Sender<()>,
}

/// A small segment in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: SegmentId,
    pub(super) written: Timestamp,
    /// Bytes of its stored form.
    pub(super) bytes: u64,
}

fn key(id: &SegmentId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&id.generation.0);
    key[16..].copy_from_slice(&id.number.to_be_bytes());
    key
}

fn id(key: &[u8]) -> Option<SegmentId> {
    let (generation, number) = key.split_first_chunk::<16>()?;
    Some(SegmentId {
        generation: Generation(*generation),
        number: u64::from_be_bytes(number.try_into().ok()?),
    })
}

fn index_value(written: Timestamp, bytes: usize) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&written.0.to_be_bytes());
    value[8..].copy_from_slice(&(bytes as u32).to_be_bytes());
    value
}

fn listed(key: &[u8], value: &[u8]) -> Option<Listed> {
    let (written, bytes) = value.split_first_chunk::<8>()?;
    Some(Listed {
        id: id(key)?,
        written: Timestamp(u64::from_be_bytes(*written)),
        bytes: u32::from_be_bytes(bytes.try_into().ok()?).into(),
    })
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_FILE_VALUE);
    options.set_blob_file_size(64 << 20);
    // Packages are compressed already.
    options.set_blob_compression_type(DBCompressionType::None);
    // All blob files may be rewritten: one live value keeps a whole file. But only after they were
    // verified: a compaction that meets a rotten value fails, and RocksDB writes nothing after that.
    options.set_enable_blob_gc(false);
    options.set_blob_gc_age_cutoff(1.0);
    options.set_write_buffer_size(32 << 20);
    options.set_max_write_buffer_number(3);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_keep_log_file_num(4);
    options
}

fn durable() -> WriteOptions {
    let mut durable = WriteOptions::default();
    durable.set_sync(true);
    durable
}

impl SmallStore {
    /// Opens the store in a folder of its own.
    pub(super) fn open(
        path: &Path,
        seams: Seams,
        fail_stop: FailStop,
        watch: DiskWatch,
    ) -> Result<Self, rocksdb::Error> {
        let families = [
            ("default", options()),
            (INDEX, Options::default()),
            (QUARANTINE, options()),
        ];
        let db = Arc::new(storage::open(path, &options(), families)?);
        complete_index(&db, &seams)?;
        let (writing, stop, clock) = (db.clone(), fail_stop.clone(), seams.clone());
        let disk = watch.clone();
        let write = move |waiting| write_all(&writing, waiting, &clock, &stop, &disk);
        let writer =
            WriterThread::start("small-writer", WAITING_WRITES, write).expect("a thread can be started");
        Ok(Self {
            db,
            seams,
            fail_stop,
            watch,
            writer,
            // What was removed before the node stopped may still be there.
            wasteful: AtomicBool::new(true),
        })
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("it was opened with the store")
    }

    /// Stores a segment; when this returns it is durable.
    pub(super) async fn put(&self, id: &SegmentId, value: Bytes) -> Result<(), ShardError> {
        self.write(key(id), Some(value)).await
    }

    /// Removes a segment; one that is not there is no error.
    pub(super) async fn remove(&self, id: &SegmentId) -> Result<(), ShardError> {
        self.write(key(id), None).await?;
        self.wasteful.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn write(&self, key: [u8; 24], value: Option<Bytes>) -> Result<(), ShardError> {
        let stopped = || ShardError::Io("the store of small segments has stopped".into());
        let (done, written) = oneshot::channel();
        let write = Write { key, value, done };
        self.writer.send(write).await.map_err(|_| stopped())?;
        written.await.map_err(|_| stopped())
    }

    /// The stored form of a segment, verified. Waits for the disk.
    pub(super) fn get(&self, id: &SegmentId) -> Result<(Bytes, SmallSegment), ShardError> {
        let stored = self.db.get(key(id)).map_err(failed);
        let result = stored.and_then(|stored| {
            let stored = Bytes::from(stored.ok_or(ShardError::Missing)?);
            let segment = SmallSegment::decode(stored.clone())?;
            Ok((stored, segment))
        });
        if let Err(ShardError::Corrupt(what)) = &result {
            metrics::corrupt_shard();
            error!(generation = %id.generation, number = id.number, what, "a small segment is corrupt");
        }
        result
    }

    /// Up to `limit` segments after one, in the order of their ids. Waits for the disk.
    pub(super) fn list(&self, after: Option<SegmentId>, limit: usize) -> Result<Vec<Listed>, ShardError> {
        let start = after.map(|after| {
            let mut start = key(&after).to_vec();
            start.push(0);
            start
        });
        let mode = start.as_ref().map_or(IteratorMode::Start, |start| {
            IteratorMode::From(start, rocksdb::Direction::Forward)
        });
        let entries = self.db.iterator_cf(self.family(INDEX), mode);
        let entries = entries.map(|entry| entry.map_err(failed));
        let segments = entries.filter_map(|entry| match entry {
            Ok((key, value)) => listed(&key, &value).map(Ok),
            Err(error) => Some(Err(error)),
        });
        segments.take(limit).collect()
    }

    /// Moves a segment to quarantine, where nobody reads it; a rotten one just goes. Waits for the
    /// disk.
    pub(super) fn set_aside(&self, id: &SegmentId) -> Result<(), ShardError> {
        let key = key(id);
        let mut batch = WriteBatch::default();
        match self.db.get(key).map_err(failed) {
            Ok(Some(value)) => {
                let since = self.seams.clock.now().0.to_be_bytes();
                batch.put_cf(self.family(QUARANTINE), key, [&since[..], &value].concat());
            }
            Ok(None) | Err(ShardError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        batch.delete(key);
        batch.delete_cf(self.family(INDEX), key);
        self.write_now(batch)
    }

    /// Removes what has been in quarantine since before a time; says how many segments that were.
    /// Waits for the disk.
    pub(super) fn empty_quarantine(&self, before: Timestamp) -> Result<u64, ShardError> {
        let mut batch = WriteBatch::default();
        let mut removed = 0;
        for entry in self.db.iterator_cf(self.family(QUARANTINE), IteratorMode::Start) {
            let (key, value) = entry.map_err(failed)?;
            let since = value
                .split_first_chunk::<8>()
                .map(|(since, _)| u64::from_be_bytes(*since));
            if since.is_none_or(|since| since < before.0) {
                batch.delete_cf(self.family(QUARANTINE), key);
                removed += 1;
            }
        }
        if removed > 0 {
            self.write_now(batch)?;
        }
        Ok(removed)
    }

    fn write_now(&self, batch: WriteBatch) -> Result<(), ShardError> {
        self.wasteful.store(true, Ordering::SeqCst);
        let _waiting = self.watch.wait();
        self.db.write_opt(batch, &durable()).map_err(|error| {
            self.fail_stop.stop(&format!("write small segments: {error}"));
            failed(error)
        })
    }

    /// Gives space back if much of what is on the disk was removed. Waits for the disk, possibly
    /// long.
    pub(super) fn reclaim(&self) -> Result<Reclaim, ShardError> {
        if !self.wasteful.swap(false, Ordering::SeqCst) {
            return Ok(Reclaim::Nothing);
        }
        // What waits in memory is in no file yet and would not count.
        self.db.flush().map_err(failed)?;
        let all = self.list(None, usize::MAX)?;
        let in_files = all
            .iter()
            .map(|segment| segment.bytes)
            .filter(|bytes| *bytes >= BLOB_FILE_VALUE);
        let live: u64 = in_files.sum();
        let total = self.blob_file_bytes()?;
        let garbage = total.saturating_sub(live);
        if garbage <= Self::tolerated_garbage(total) {
            return Ok(Reclaim::Nothing);
        }
        let mut rotten = Vec::new();
        for segment in &all {
            // At once: while the others are read, a sound copy may come in its place.
            if matches!(self.get(&segment.id), Err(ShardError::Corrupt(_))) {
                self.set_aside(&segment.id)?;
                rotten.push(segment.id);
            }
        }
        info!(garbage, total, "rewriting the small segments to give space back");
        let mut compact = CompactOptions::default();
        compact.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.rewrite_blob_files(true)?;
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &compact);
        self.rewrite_blob_files(false)?;
        // All that was there goes at the same time.
        self.db
            .compact_range_cf_opt(self.family(QUARANTINE), None::<&[u8]>, None::<&[u8]>, &compact);
        Ok(Reclaim::Done(rotten))
    }

    /// Whether compactions write what lives in blob files to new ones.
    fn rewrite_blob_files(&self, rewrite: bool) -> Result<(), ShardError> {
        let value = if rewrite { "true" } else { "false" };
        self.db
            .set_options(&[("enable_blob_garbage_collection", value)])
            .map_err(failed)
    }

    /// How many bytes of blob files may be garbage, of so many in all.
    pub(super) fn tolerated_garbage(total: u64) -> u64 {
        LEAST_GARBAGE.max((GARBAGE_RATIO * total as f64) as u64)
    }

    /// Bytes in all blob files.
    pub(super) fn blob_file_bytes(&self) -> Result<u64, ShardError> {
        let bytes = self.db.property_int_value("rocksdb.total-blob-file-size");
        Ok(bytes.map_err(failed)?.unwrap_or(0))
    }
}

/// Makes the index of a store that was written before there was one.
fn complete_index(db: &DB, seams: &Seams) -> Result<(), rocksdb::Error> {
    let index = db.cf_handle(INDEX).expect("it was opened with the store");
    if db.iterator_cf(index, IteratorMode::Start).next().is_some() {
        return Ok(());
    }
    for entry in db.iterator(IteratorMode::Start) {
        let (key, value) = entry?;
        db.put_cf(index, key, index_value(seams.clock.now(), value.len()))?;
    }
    Ok(())
}

fn failed(error: rocksdb::Error) -> ShardError {
    match error.kind() {
        ErrorKind::Corruption => ShardError::Corrupt(error.to_string()),
        _ => ShardError::Io(error.to_string()),
    }
}

/// Writes whatever waits, together, until nobody can send any more.
fn write_all(
    db: &DB,
    mut waiting: mpsc::Receiver<Write>,
    seams: &Seams,
    fail_stop: &FailStop,
    watch: &DiskWatch,
) {
    let durable = durable();
    let index = db.cf_handle(INDEX).expect("it was opened with the store");
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = WriteBatch::default();
        let mut done = Vec::new();
        let mut next = Some(first);
        while let Some(write) = next {
            match write.value {
                Some(value) => {
                    batch.put_cf(index, write.key, index_value(seams.clock.now(), value.len()));
                    batch.put(write.key, value);
                }
                None => {
                    batch.delete_cf(index, write.key);
                    batch.delete(write.key);
                }
            }
            done.push(write.done);
            next = if batch.size_in_bytes() < BATCH_BYTES {
                waiting.try_recv().ok()
            } else {
                None
            };
        }
        let written = {
            let _waiting = watch.wait();
            db.write_opt(batch, &durable)
        };
        if let Err(error) = written {
            fail_stop.stop(&format!("write small segments: {error}"));
            // Whoever waits learns that the store has stopped.
            return;
        }
        for done in done {
            // Who does not wait any more does not need to know.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::suite::content;

    fn open(path: &Path) -> SmallStore {
        let fail_stop = FailStop::new(|what| panic!("{what}"));
        SmallStore::open(path, Seams::system(), fail_stop, DiskWatch::new("a test")).unwrap()
    }

    fn id(number: u64) -> SegmentId {
        SegmentId {
            generation: Generation([4; 16]),
            number,
        }
    }

    fn segment(len: usize) -> SmallSegment {
        let bytes = content(len);
        let mut hasher = SubtreeHasher::at(0);
        hasher.update(&bytes);
        SmallSegment {
            offset: 0,
            hash: hasher.finish().chaining,
            bytes,
        }
    }

    #[tokio::test]
    async fn what_was_put_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = [1, 1000, 100_000, SMALL_BYTES];
        let store = open(folder.path());
        let puts = sizes.iter().zip(0..).map(|(size, number)| {
            let (store, value) = (&store, segment(*size).encode());
            async move { store.put(&id(number), value).await }
        });
        futures::future::try_join_all(puts).await.unwrap();
        store.remove(&id(1)).await.unwrap();
        store.remove(&id(99)).await.unwrap();
        drop(store);
        let store = open(folder.path());
        for (size, number) in sizes.iter().zip(0..) {
            match store.get(&id(number)) {
                Ok((stored, found)) => {
                    assert_eq!(found, segment(*size));
                    assert_eq!(stored, found.encode());
                }
                Err(error) => assert!(matches!(error, ShardError::Missing) && number == 1, "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_value_that_is_not_what_was_written_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let stored = segment(1000).encode();
        for at in [0, 1, 9, 40, 41, 45, 53, 1052] {
            let mut damaged = stored.to_vec();
            // A version of 0, which there never was.
            damaged[at] ^= 1;
            store.put(&id(1), damaged.into()).await.unwrap();
            let refused = store.get(&id(1));
            assert!(
                matches!(refused, Err(ShardError::Corrupt(_))),
                "{at}: {refused:?}"
            );
        }
        store.put(&id(1), stored.slice(..stored.len() - 1)).await.unwrap();
        assert!(matches!(store.get(&id(1)), Err(ShardError::Corrupt(_))));
        store.put(&id(1), stored.slice(..HEADER_BYTES)).await.unwrap();
        assert!(matches!(store.get(&id(1)), Err(ShardError::Corrupt(_))));
    }

    #[tokio::test]
    async fn what_is_there_is_listed_a_page_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for number in 0..5 {
            store.put(&id(number), segment(2000).encode()).await.unwrap();
        }
        store.remove(&id(3)).await.unwrap();
        let page = store.list(None, 2).unwrap();
        let numbers = |page: &[Listed]| page.iter().map(|listed| listed.id.number).collect::<Vec<_>>();
        assert_eq!(numbers(&page), [0, 1]);
        assert_eq!(page[0].bytes, 2000 + HEADER_BYTES as u64);
        assert_eq!(numbers(&store.list(Some(id(1)), 9).unwrap()), [2, 4]);
    }

    #[test]
    fn a_store_from_before_there_was_an_index_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let older = DB::open(&options(), folder.path()).unwrap();
        older.put(key(&id(7)), segment(3000).encode()).unwrap();
        drop(older);
        let listed = open(folder.path()).list(None, 9).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].id, listed[0].bytes),
            (id(7), 3000 + HEADER_BYTES as u64)
        );
    }

    #[tokio::test]
    async fn what_is_set_aside_is_not_read_and_gone_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.put(&id(1), segment(2000).encode()).await.unwrap();
        store.set_aside(&id(1)).unwrap();
        assert!(matches!(store.get(&id(1)), Err(ShardError::Missing)));
        assert!(store.list(None, 9).unwrap().is_empty());
        let now = Seams::system().clock.now();
        assert_eq!(store.empty_quarantine(Timestamp(now.0 - 60_000)).unwrap(), 0);
        assert_eq!(store.empty_quarantine(Timestamp(now.0 + 60_000)).unwrap(), 1);
        assert_eq!(store.empty_quarantine(Timestamp(now.0 + 60_000)).unwrap(), 0);
    }

    async fn fill(store: &SmallStore, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let id = id(number);
            store.put(&id, segment(SMALL_BYTES).encode()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn space_comes_back_when_much_was_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store, 0..40).await;
        assert_eq!(store.reclaim().unwrap(), Reclaim::Nothing);
        let before = store.blob_file_bytes().unwrap();
        assert!(before >= 40 << 20);
        for number in 0..20 {
            store.remove(&id(number)).await.unwrap();
        }
        assert_eq!(store.reclaim().unwrap(), Reclaim::Done(Vec::new()));
        let after = store.blob_file_bytes().unwrap();
        assert!(after < before * 6 / 10, "{after} of {before} bytes are left");
        for number in 20..40 {
            assert_eq!(store.get(&id(number)).unwrap().1, segment(SMALL_BYTES));
        }
        assert_eq!(store.reclaim().unwrap(), Reclaim::Nothing, "once is enough");
    }

    #[tokio::test]
    async fn a_rotten_value_hinders_neither_later_writes_nor_giving_space_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store, 0..40).await;
        store.db.flush().unwrap();
        drop(store);
        // In the middle of some value of each file.
        let mut files = 0;
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "blob") {
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&path, bytes).unwrap();
                files += 1;
            }
        }
        assert!(files > 0);
        let store = open(folder.path());
        let is_rotten = |number: &u64| matches!(store.get(&id(*number)), Err(ShardError::Corrupt(_)));
        let rotten: Vec<_> = (0..40).filter(is_rotten).collect();
        assert_eq!(rotten.len(), files);
        for number in (0..30).filter(|number| !rotten.contains(number)) {
            store.remove(&id(number)).await.unwrap();
        }
        let ids = rotten.iter().map(|number| id(*number)).collect();
        assert_eq!(store.reclaim().unwrap(), Reclaim::Done(ids));
        store.put(&id(50), segment(2000).encode()).await.unwrap();
        for number in &rotten {
            let read = store.get(&id(*number));
            assert!(matches!(read, Err(ShardError::Missing)), "repair builds it again");
        }
        for number in (30..40).filter(|number| !rotten.contains(number)) {
            assert_eq!(store.get(&id(number)).unwrap().1, segment(SMALL_BYTES));
        }
    }

    #[test]
    fn the_value_is_a_stored_format() {
        let stored = SmallSegment {
            offset: 0x0102_0304,
            hash: [9; 32],
            bytes: Bytes::from_static(b"abc"),
        };
        let expected = [
            "01",
            "0403020100000000",
            &"09".repeat(32),
            "03000000",
            "b684073cebf057c6",
            "616263",
        ]
        .concat();
        assert_eq!(data_encoding::HEXLOWER.encode(&stored.encode()), expected);
    }
}

#[cfg(test)]
mod stored {
    use data_encoding::HEXLOWER;
    use serde_json::json;

    use super::*;
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        let mut hasher = SubtreeHasher::at(0);
        hasher.update(b"content");
        let segment = SmallSegment {
            offset: 0,
            hash: hasher.finish().chaining,
            bytes: Bytes::from_static(b"content"),
        };
        samples::check_bytes("small-segment", &[segment.encode().to_vec()], |stored| {
            let segment = SmallSegment::decode(Bytes::copy_from_slice(stored)).unwrap();
            let (hash, bytes) = (HEXLOWER.encode(&segment.hash), HEXLOWER.encode(&segment.bytes));
            json!({"offset": segment.offset, "hash": hash, "bytes": bytes}).to_string()
        });
    }
}
