//! The Raft log and the vote, in a RocksDB of their own.
//!
//! One thread writes. It takes everything that is queued, writes it in one batch with one
//! fsync, and then completes all that waited: the fsync itself is the batching interval.
//! Votes, truncations and purges go through the same queue, so they keep their order with the
//! appends around them (openraft: docs/protocol/io_ordering.md).
//!
//! Appended entries are readable at once from a cache in memory, which also feeds
//! replication; an entry leaves the cache only after it is on disk.
//!
//! A log that has lost what it had confirmed is not opened: see [`super::floor`].

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use prost::Message;
use rocksdb::{DB, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use super::floor::Floor;
use super::types::{Entry, LogId, TypeConfig, Vote};
use super::wire;
use crate::storage::{self, FailStop};

/// Beside RocksDB's own files, which have other names.
const FLOOR: &str = "floor.json";

const ENTRIES: &str = "entries";
const META: &str = "meta";
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";

/// How many bytes of entries stay in memory for replication.
const CACHE_BYTES: usize = 32 << 20;

/// How many bytes of entries one replication request carries, or one entry if it is larger.
const REPLICATION_BYTES: usize = 1 << 20;

/// How many writes may wait for the disk before an append waits too.
const QUEUED_WRITES: usize = 8192;

/// The log of one node. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Write>,
    /// After the sender, which ends the thread with its last clone.
    _writer: Arc<WriterThread>,
}

/// Waits for the thread that writes when the last clone of a log goes. RocksDB has globals that go
/// when a process ends, and a thread that still closes a database then takes the process down.
struct WriterThread(Option<JoinHandle<()>>);

impl Drop for WriterThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // If it panicked, consensus has ended already, and said so.
            let _ = thread.join();
        }
    }
}

struct Shared {
    db: DB,
    recent: Mutex<Recent>,
}

/// What is known without reading the disk.
struct Recent {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The newest entries, without a gap, ending with `last`.
    entries: VecDeque<Cached>,
    cached_bytes: usize,
    /// Entries below this index are on disk.
    durable_end: u64,
    /// Bytes appended since this process started, and marks of where in the log they lie.
    appended_bytes: u64,
    marks: VecDeque<Mark>,
}

struct Cached {
    entry: Entry,
    encoded_len: usize,
}

/// "With the entry at `index`, this process had appended so many bytes."
struct Mark {
    index: u64,
    appended_bytes: u64,
}

enum Write {
    Append {
        entries: Vec<(u64, Bytes)>,
        done: IOFlushed<TypeConfig>,
    },
    Vote {
        vote: Vote,
        done: oneshot::Sender<()>,
    },
    Committed {
        encoded: Vec<u8>,
    },
    /// Drops the entries from this index on.
    Truncate {
        from: u64,
        done: oneshot::Sender<()>,
    },
    Purge {
        upto: u64,
        encoded: Vec<u8>,
        done: oneshot::Sender<()>,
    },
}

impl LogStore {
    /// Opens or creates the log in `path` and starts its writer thread, which ends when the
    /// last clone is dropped.
    pub(crate) fn open(path: &Path, fail_stop: FailStop) -> io::Result<Self> {
        let mut options = storage::options();
        options.set_write_buffer_size(32 << 20);
        options.set_max_background_jobs(2);
        let mut entries = Options::default();
        entries.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let families = [(ENTRIES, entries), (META, Options::default())];
        let db = storage::open(path, &options, families).map_err(io::Error::other)?;

        let meta = |name: &[u8]| db.get_cf(family(&db, META)?, name).map_err(io::Error::other);
        let vote = match meta(VOTE)? {
            Some(stored) => Some(wire::vote_from(Some(&decode(&stored)?))?),
            None => None,
        };
        let purged = match meta(PURGED)? {
            Some(stored) => Some(wire::log_id_from(&decode(&stored)?)),
            None => None,
        };
        let newest = db
            .iterator_cf(family(&db, ENTRIES)?, IteratorMode::End)
            .next()
            .transpose();
        let last = match newest.map_err(io::Error::other)? {
            Some((_, stored)) => Some(wire::entry_from(decode(&stored)?)?.log_id),
            None => purged,
        };
        let end = last.map_or(0, |id| id.index + 1);
        let floor = Floor::check(path.join(FLOOR), end, vote.as_ref())?;
        let recent = Recent {
            vote,
            purged,
            last,
            entries: VecDeque::new(),
            cached_bytes: 0,
            durable_end: end,
            appended_bytes: 0,
            marks: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            db,
            recent: Mutex::new(recent),
        });
        let (writes, queue) = mpsc::channel(QUEUED_WRITES);
        let writer = Writer {
            shared: shared.clone(),
            floor,
            queue,
            fail_stop,
        };
        let thread = std::thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            writes,
            _writer: Arc::new(WriterThread(Some(thread))),
        })
    }

    /// The newest log index behind which at least `bytes` bytes were appended, as far as this
    /// process has seen: entries up to it may go once a snapshot covers them.
    pub(crate) fn index_before_tail_of(&self, bytes: u64) -> Option<u64> {
        let recent = self.shared.lock();
        let past = recent.appended_bytes.checked_sub(bytes)?;
        recent
            .marks
            .iter()
            .rev()
            .find(|mark| mark.appended_bytes <= past)
            .map(|mark| mark.index)
    }

    /// Bytes appended since this process started.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.shared.lock().appended_bytes
    }

    /// The entries of `start..end`, up to about `max_bytes`, but at least one if there is one.
    async fn entries(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(found) = self.shared.lock().cached(start, end, max_bytes) {
            return Ok(found);
        }
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || shared.read(start, end, max_bytes));
        let (mut found, full) = read.await.map_err(io::Error::other)??;
        // The newest entries may not be on disk yet; they continue what the disk had.
        let next = found.last().map_or(start, |entry| entry.log_id.index + 1);
        if !full
            && next < end
            && let Some(more) = self.shared.lock().cached(next, end, max_bytes)
        {
            found.extend(more);
        }
        Ok(found)
    }

    async fn enqueue(&self, write: Write) -> io::Result<()> {
        self.writes.send(write).await.map_err(|_| stopped())
    }

    async fn enqueue_and_wait(&self, write: impl FnOnce(oneshot::Sender<()>) -> Write) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        self.enqueue(write(done)).await?;
        durable.await.map_err(|_| stopped())
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    floor: Floor,
    queue: mpsc::Receiver<Write>,
    fail_stop: FailStop,
}

/// Who waits for a batch to be durable.
enum Waiter {
    Append(IOFlushed<TypeConfig>),
    Other(oneshot::Sender<()>),
}

impl Writer {
    fn run(mut self) {
        let mut taken = Vec::new();
        while self.queue.blocking_recv_many(&mut taken, QUEUED_WRITES) > 0 {
            if let Err(error) = self.write(&mut taken) {
                self.fail_stop.stop(&format!("write the raft log: {error}"));
                return;
            }
        }
    }

    /// Makes everything taken durable with one fsync, then tells all who wait.
    fn write(&mut self, taken: &mut Vec<Write>) -> io::Result<()> {
        let entries = family(&self.shared.db, ENTRIES)?;
        let meta = family(&self.shared.db, META)?;
        let mut batch = WriteBatch::default();
        let mut waiters = Vec::with_capacity(taken.len());
        let mut durable_end = None;
        let mut voted = None;
        for write in taken.drain(..) {
            match write {
                Write::Append {
                    entries: appended,
                    done,
                } => {
                    for (index, encoded) in &appended {
                        batch.put_cf(entries, index.to_be_bytes(), encoded);
                        durable_end = Some(index + 1);
                    }
                    waiters.push(Waiter::Append(done));
                }
                Write::Vote { vote, done } => {
                    batch.put_cf(meta, VOTE, wire::vote_to(&vote).encode_to_vec());
                    voted = Some(vote);
                    waiters.push(Waiter::Other(done));
                }
                // Only a hint that shortens recovery; it rides along with the next fsync.
                Write::Committed { encoded } => batch.put_cf(meta, COMMITTED, encoded),
                Write::Truncate { from, done } => {
                    self.floor.lower(from)?;
                    batch.delete_range_cf(entries, from.to_be_bytes(), u64::MAX.to_be_bytes());
                    durable_end = Some(from);
                    waiters.push(Waiter::Other(done));
                }
                Write::Purge { upto, encoded, done } => {
                    batch.put_cf(meta, PURGED, encoded);
                    batch.delete_range_cf(entries, 0u64.to_be_bytes(), (upto + 1).to_be_bytes());
                    waiters.push(Waiter::Other(done));
                }
            }
        }
        let is_awaited = !waiters.is_empty();
        let mut options = WriteOptions::default();
        options.set_sync(is_awaited);
        self.shared
            .db
            .write_opt(batch, &options)
            .map_err(io::Error::other)?;
        if let Some(end) = durable_end {
            self.floor.reached(end);
        }
        if let Some(vote) = voted {
            self.floor.note_vote(&vote)?;
        }
        if let Some(end) = durable_end {
            let mut recent = self.shared.lock();
            recent.durable_end = end;
            recent.shrink();
        }
        if is_awaited {
            metrics::histogram!("cairn_raft_log_fsync_writes").record(waiters.len() as f64);
        }
        for waiter in waiters {
            match waiter {
                Waiter::Append(done) => done.io_completed(Ok(())),
                Waiter::Other(done) => {
                    // Nobody waits any more if the caller is gone; the write stands.
                    let _ = done.send(());
                }
            }
        }
        // Nobody waits for this one.
        self.floor.note_if_due()
    }
}

impl Recent {
    fn push(&mut self, entry: Entry, encoded_len: usize) {
        let index = entry.log_id.index;
        self.last = Some(entry.log_id);
        self.cached_bytes += encoded_len;
        self.appended_bytes += encoded_len as u64;
        // A mark per 64 KiB keeps the list short whatever the entries' sizes.
        if self
            .marks
            .back()
            .is_none_or(|mark| self.appended_bytes - mark.appended_bytes >= 64 << 10)
        {
            self.marks.push_back(Mark {
                index,
                appended_bytes: self.appended_bytes,
            });
        }
        self.entries.push_back(Cached { entry, encoded_len });
    }

    /// Forgets the oldest entries past the cache's size, if they are on disk.
    fn shrink(&mut self) {
        while self.cached_bytes > CACHE_BYTES
            && let Some(oldest) = self.entries.front()
            && oldest.entry.log_id.index < self.durable_end
        {
            self.cached_bytes -= oldest.encoded_len;
            self.entries.pop_front();
        }
    }

    /// The cached entries of `start..end`, unless `start` is older than the cache.
    fn cached(&self, start: u64, end: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.entry.log_id.index;
        let skip = usize::try_from(start.checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let mut found = Vec::new();
        for cached in self
            .entries
            .iter()
            .skip(skip)
            .take_while(|cached| cached.entry.log_id.index < end)
        {
            if bytes > 0 && bytes + cached.encoded_len > max_bytes {
                break;
            }
            bytes += cached.encoded_len;
            found.push(cached.entry.clone());
        }
        Some(found)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().expect("no panic while held")
    }

    /// The entries of `start..end` that are on disk, and whether `max_bytes` cut them short.
    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<(Vec<Entry>, bool)> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end.to_be_bytes());
        let from = start.to_be_bytes();
        let mode = IteratorMode::From(&from, rocksdb::Direction::Forward);
        let mut bytes = 0;
        let mut found: Vec<Entry> = Vec::new();
        for item in self.db.iterator_cf_opt(family(&self.db, ENTRIES)?, options, mode) {
            let (_, stored) = item.map_err(io::Error::other)?;
            if bytes > 0 && bytes + stored.len() > max_bytes {
                return Ok((found, true));
            }
            bytes += stored.len();
            found.push(wire::entry_from(decode(&stored)?)?);
        }
        Ok((found, false))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.entries(start, end, REPLICATION_BYTES).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let recent = self.shared.lock();
        Ok(LogState {
            last_purged_log_id: recent.purged,
            last_log_id: recent.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.enqueue_and_wait(|done| Write::Vote { vote: *vote, done })
            .await?;
        self.shared.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed {
            Some(id) => {
                self.enqueue(Write::Committed {
                    encoded: wire::log_id_to(&id).encode_to_vec(),
                })
                .await
            }
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let shared = self.shared.clone();
        let read = move || {
            shared
                .db
                .get_cf(family(&shared.db, META)?, COMMITTED)
                .map_err(io::Error::other)
        };
        match tokio::task::spawn_blocking(read)
            .await
            .map_err(io::Error::other)??
        {
            Some(stored) => Ok(Some(wire::log_id_from(&decode(&stored)?))),
            None => Ok(None),
        }
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        {
            let mut recent = self.shared.lock();
            for entry in entries {
                let bytes: Bytes = wire::entry_to(&entry).encode_to_vec().into();
                encoded.push((entry.log_id.index, bytes.clone()));
                recent.push(entry, bytes.len());
            }
        }
        self.enqueue(Write::Append {
            entries: encoded,
            done,
        })
        .await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index + 1);
        {
            let mut recent = self.shared.lock();
            while recent
                .entries
                .back()
                .is_some_and(|cached| cached.entry.log_id.index >= from)
            {
                let dropped = recent.entries.pop_back().expect("it was just looked at");
                recent.cached_bytes -= dropped.encoded_len;
            }
            recent.marks.retain(|mark| mark.index < from);
            if recent.last.is_some_and(|newest| newest.index >= from) {
                recent.last = last.or(recent.purged);
            }
        }
        self.enqueue_and_wait(|done| Write::Truncate { from, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let encoded = wire::log_id_to(&upto).encode_to_vec();
        self.enqueue_and_wait(|done| Write::Purge {
            upto: upto.index,
            encoded,
            done,
        })
        .await?;
        let mut recent = self.shared.lock();
        while recent
            .entries
            .front()
            .is_some_and(|cached| cached.entry.log_id.index <= upto.index)
        {
            let dropped = recent.entries.pop_front().expect("it was just looked at");
            recent.cached_bytes -= dropped.encoded_len;
        }
        while recent.marks.front().is_some_and(|mark| mark.index <= upto.index) {
            recent.marks.pop_front();
        }
        recent.purged = Some(upto);
        if recent.last.is_none_or(|last| last.index < upto.index) {
            recent.last = Some(upto);
        }
        Ok(())
    }
}

fn family<'db>(db: &'db DB, name: &str) -> io::Result<&'db rocksdb::ColumnFamily> {
    db.cf_handle(name)
        .ok_or_else(|| io::Error::other(format!("the log lacks the column family {name}")))
}

fn decode<M: Message + Default>(stored: &[u8]) -> io::Result<M> {
    M::decode(stored).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
