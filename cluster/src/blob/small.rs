//! Small segments of this node: whole copies, values of a RocksDB with blob files.
//!
//! A new file costs four times what an append does, and coding a few kilobytes costs a sync on
//! every node of a group; so what is small is kept whole, on fewer nodes, in a log that many
//! share. One thread writes: it takes all that waits, writes it as one batch and syncs once
//! (group commit). A write that fails is fatal: what the log holds then is not known.
//!
//! ```text
//! key     generation 16, number 8 (big endian)
//! value   0    1  version of this layout, 1
//!         1    8  where the segment's bytes begin in their blob
//!         9   32  the segment's BLAKE3 chaining value
//!         41   4  bytes in the segment
//!         45   8  the xxh3-64 of bytes 0 to 45
//!         53      the bytes
//! ```
//!
//! Numbers in values are little endian. Values are verified whenever they are read.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rocksdb::{DB, DBCompressionType, DBRecoveryMode, ErrorKind, Options, WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::metrics;
use super::record::SegmentId;
use super::shard_error::ShardError;
use super::shard_file::checksum;
use super::tree::SubtreeHasher;
use crate::storage::FailStop;

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

/// The small segments of this node. Dropping it ends the writing thread.
pub(super) struct SmallStore {
    db: Arc<DB>,
    writes: Mutex<Option<mpsc::Sender<Write>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Write {
    key: [u8; 24],
    /// None to remove.
    value: Option<Bytes>,
    done: oneshot::Sender<()>,
}

fn key(id: &SegmentId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&id.generation.0);
    key[16..].copy_from_slice(&id.number.to_be_bytes());
    key
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(1 << 10);
    options.set_blob_file_size(64 << 20);
    // Packages are compressed already.
    options.set_blob_compression_type(DBCompressionType::None);
    // All blob files may be rewritten, and must be when a third of them is garbage: without
    // that, one live value keeps a whole file.
    options.set_enable_blob_gc(true);
    options.set_blob_gc_age_cutoff(1.0);
    options.set_blob_gc_force_threshold(0.3);
    options.set_write_buffer_size(32 << 20);
    options.set_max_write_buffer_number(3);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_keep_log_file_num(4);
    options
}

impl SmallStore {
    /// Opens the store in a folder of its own.
    pub(super) fn open(path: &Path, fail_stop: FailStop) -> Result<Self, rocksdb::Error> {
        let db = Arc::new(DB::open(&options(), path)?);
        let (writes, waiting) = mpsc::channel(WAITING_WRITES);
        let writing = db.clone();
        let writer = std::thread::Builder::new()
            .name("small-writer".into())
            .spawn(move || write_all(&writing, waiting, &fail_stop))
            .expect("a thread can be started");
        Ok(Self {
            db,
            writes: Mutex::new(Some(writes)),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Stores a segment; when this returns it is durable.
    pub(super) async fn put(&self, id: &SegmentId, value: Bytes) -> Result<(), ShardError> {
        self.write(key(id), Some(value)).await
    }

    /// Removes a segment; one that is not there is no error.
    pub(super) async fn remove(&self, id: &SegmentId) -> Result<(), ShardError> {
        self.write(key(id), None).await
    }

    async fn write(&self, key: [u8; 24], value: Option<Bytes>) -> Result<(), ShardError> {
        let stopped = || ShardError::Io("the store of small segments has stopped".into());
        let writes = self.writes.lock().expect("no panic while held").clone();
        let (done, written) = oneshot::channel();
        let write = Write { key, value, done };
        writes
            .ok_or_else(stopped)?
            .send(write)
            .await
            .map_err(|_| stopped())?;
        written.await.map_err(|_| stopped())
    }

    /// The stored form of a segment, verified. Waits for the disk.
    pub(super) fn get(&self, id: &SegmentId) -> Result<(Bytes, SmallSegment), ShardError> {
        let stored = self.db.get(key(id)).map_err(|error| match error.kind() {
            ErrorKind::Corruption => ShardError::Corrupt(error.to_string()),
            _ => ShardError::Io(error.to_string()),
        });
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
}

impl Drop for SmallStore {
    fn drop(&mut self) {
        // Without a sender the thread writes what waits and ends.
        self.writes.lock().expect("no panic while held").take();
        if let Some(writer) = self.writer.lock().expect("no panic while held").take() {
            let _ = writer.join();
        }
    }
}

/// Writes whatever waits, together, until nobody can send any more.
fn write_all(db: &DB, mut waiting: mpsc::Receiver<Write>, fail_stop: &FailStop) {
    let mut durable = WriteOptions::default();
    durable.set_sync(true);
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = WriteBatch::default();
        let mut done = Vec::new();
        let mut next = Some(first);
        while let Some(write) = next {
            match write.value {
                Some(value) => batch.put(write.key, value),
                None => batch.delete(write.key),
            }
            done.push(write.done);
            next = if batch.size_in_bytes() < BATCH_BYTES {
                waiting.try_recv().ok()
            } else {
                None
            };
        }
        if let Err(error) = db.write_opt(batch, &durable) {
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
    use crate::blob::id::Generation;
    use crate::blob::suite::content;

    fn open(path: &Path) -> SmallStore {
        let fail_stop = FailStop::new(|what| panic!("{what}"));
        SmallStore::open(path, fail_stop).unwrap()
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
