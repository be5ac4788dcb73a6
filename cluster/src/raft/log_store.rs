//! The Raft log and the vote: what openraft asks for, over a [`LogDisk`].
//!
//! One thread writes. It takes everything that is queued, writes it in one batch with one
//! fsync, and then completes all that waited: the fsync itself is the batching interval.
//! Votes, truncations and purges go through the same queue, so they keep their order with the
//! appends around them (openraft: docs/protocol/io_ordering.md).
//!
//! Appended entries are readable at once from a cache in memory, which also feeds
//! replication; an entry leaves the cache only after it is on disk.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::rocks_log::RocksLog;
use super::types::{Entry, LogId, TypeConfig, Vote};
use super::wire;
use crate::off_thread::off_thread;
use crate::storage::{DiskWatch, FailStop, WriterThread};

/// How many bytes of entries stay in memory for replication.
const CACHE_BYTES: usize = 32 << 20;

/// How many bytes of entries one replication request carries, or one entry if it is larger.
const REPLICATION_BYTES: usize = 1 << 20;

/// How many writes may wait for the disk before an append waits too.
const QUEUED_WRITES: usize = 8192;

/// One change of what is stored.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Entries by index, encoded.
    Append(Vec<(u64, Bytes)>),
    Vote(Vote),
    /// Only a hint that shortens recovery. Recovery reads entries up to there.
    Committed(LogId),
    /// Drops the entries from this index on.
    Truncate {
        from: u64,
    },
    /// Drops the entries up to this one.
    Purge(LogId),
}

/// What a log holds when it is opened.
pub(super) struct Found {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    /// The last entry, or the last that was purged.
    pub(super) last: Option<LogId>,
}

impl Found {
    /// The log index after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }
}

/// Where a log is kept: RocksDB, or the memory of a simulation. Calls block.
pub(super) trait LogDisk: Send + Sync {
    /// Makes the changes in their order. A crash after this has returned takes none of them back.
    fn write(&self, changes: &[Change]) -> io::Result<()>;

    /// Does what nobody waits for, after whoever waited for a write was told.
    fn settle(&self) -> io::Result<()> {
        Ok(())
    }

    /// The entries of `start..end` that were written, and whether `max_bytes` cut them short.
    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<(Vec<Entry>, bool)>;

    /// The last hint of what was committed.
    fn committed(&self) -> io::Result<Option<LogId>>;
}

/// The log of one node. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    writer: Arc<WriterThread<Write>>,
}

struct Shared {
    disk: Arc<dyn LogDisk>,
    watch: DiskWatch,
    recent: Mutex<Recent>,
    /// Up to where the log is committed: a hint that goes to the disk with the next write rather
    /// than cause one.
    committed: Mutex<Option<LogId>>,
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

/// A change, and who waits until it is durable.
struct Write {
    change: Change,
    waiter: Waiter,
}

enum Waiter {
    Append(IOFlushed<TypeConfig>),
    Other(oneshot::Sender<()>),
}

impl LogStore {
    /// Opens or creates the log in `path` and starts its writer thread, which ends when the
    /// last clone is dropped, and the log is closed then.
    pub(crate) fn open(path: &Path, fail_stop: FailStop) -> io::Result<Self> {
        let (disk, found) = RocksLog::open(path)?;
        let writer = Writer::over(Arc::new(disk), found, fail_stop);
        let shared = writer.shared.clone();
        let writer = WriterThread::start("raft-log", QUEUED_WRITES, |queue| writer.run(queue))?;
        Ok(Self {
            shared,
            writer: Arc::new(writer),
        })
    }

    /// The log on `disk`, and what writes it, which is to be run as a task: `delay` is told what
    /// is about to be written, and waits.
    #[cfg(test)]
    pub(super) fn simulated<F: Future<Output = ()>>(
        disk: Arc<dyn LogDisk>,
        found: Found,
        fail_stop: FailStop,
        delay: impl Fn(Vec<Change>) -> F,
    ) -> (Self, impl Future<Output = ()>) {
        let writer = Writer::over(disk, found, fail_stop);
        let shared = writer.shared.clone();
        let (sender, queue) = WriterThread::without_thread(QUEUED_WRITES);
        let log = Self {
            shared,
            writer: Arc::new(sender),
        };
        (log, writer.run_on_task(queue, delay))
    }

    /// How its disk does.
    pub(crate) fn disk(&self) -> &DiskWatch {
        &self.shared.watch
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
        let disk = self.shared.disk.clone();
        let (mut found, full) = off_thread(move || disk.read(start, end, max_bytes)).await??;
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

    async fn enqueue(&self, change: Change, waiter: Waiter) -> io::Result<()> {
        let write = Write { change, waiter };
        self.writer.send(write).await.map_err(|_| stopped())
    }

    async fn enqueue_and_wait(&self, change: Change) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        self.enqueue(change, Waiter::Other(done)).await?;
        durable.await.map_err(|_| stopped())
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}

/// What writes; on a thread of its own, unless time is simulated.
struct Writer {
    shared: Arc<Shared>,
    /// Taken from the queue, to be written.
    taken: Vec<Write>,
    fail_stop: FailStop,
}

impl Writer {
    fn over(disk: Arc<dyn LogDisk>, found: Found, fail_stop: FailStop) -> Self {
        let recent = Recent {
            durable_end: found.end(),
            vote: found.vote,
            purged: found.purged,
            last: found.last,
            entries: VecDeque::new(),
            cached_bytes: 0,
            appended_bytes: 0,
            marks: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            disk,
            watch: DiskWatch::new("the raft log"),
            recent: Mutex::new(recent),
            committed: Mutex::new(None),
        });
        Self {
            shared,
            taken: Vec::new(),
            fail_stop,
        }
    }

    fn run(mut self, mut queue: mpsc::Receiver<Write>) {
        let disk = self.shared.watch.clone();
        while queue.blocking_recv_many(&mut self.taken, QUEUED_WRITES) > 0 {
            let _waiting = disk.wait();
            if !self.write() {
                return;
            }
        }
    }

    #[cfg(test)]
    async fn run_on_task<F: Future<Output = ()>>(
        mut self,
        mut queue: mpsc::Receiver<Write>,
        delay: impl Fn(Vec<Change>) -> F,
    ) {
        while queue.recv_many(&mut self.taken, QUEUED_WRITES).await > 0 {
            delay(self.taken.iter().map(|write| write.change.clone()).collect()).await;
            if !self.write() {
                return;
            }
        }
    }

    /// Makes everything taken durable with one fsync, then tells all who wait; false if that
    /// failed, and this node with it.
    fn write(&mut self) -> bool {
        let mut changes = Vec::with_capacity(self.taken.len());
        let mut waiters = Vec::with_capacity(self.taken.len());
        let mut durable_end = None;
        for Write { change, waiter } in self.taken.drain(..) {
            match &change {
                Change::Append(entries) => {
                    durable_end = entries.last().map(|(index, _)| index + 1).or(durable_end);
                }
                Change::Truncate { from } => durable_end = Some(*from),
                Change::Vote(_) | Change::Committed(_) | Change::Purge(_) => {}
            }
            changes.push(change);
            waiters.push(waiter);
        }
        let end = durable_end.unwrap_or(self.shared.lock().durable_end);
        let committed = self.shared.committed().filter(|id| id.index < end);
        changes.extend(committed.map(Change::Committed));
        // Whoever waits learns of it after the node has stopped, for whatever they said would hide
        // the cause.
        if self.failed(self.shared.disk.write(&changes)) {
            return false;
        }
        if let Some(end) = durable_end {
            let mut recent = self.shared.lock();
            recent.durable_end = end;
            recent.shrink();
        }
        metrics::histogram!("cairn_raft_log_fsync_writes").record(waiters.len() as f64);
        for waiter in waiters {
            match waiter {
                Waiter::Append(done) => done.io_completed(Ok(())),
                Waiter::Other(done) => {
                    // Nobody waits any more if the caller is gone; the write stands.
                    let _ = done.send(());
                }
            }
        }
        !self.failed(self.shared.disk.settle())
    }

    /// Whether the disk failed, which stops this node.
    fn failed(&self, done: io::Result<()>) -> bool {
        if let Err(error) = &done {
            self.fail_stop.stop(&format!("write the raft log: {error}"));
        }
        done.is_err()
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

    fn committed(&self) -> std::sync::MutexGuard<'_, Option<LogId>> {
        self.committed.lock().expect("no panic while held")
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
        self.enqueue_and_wait(Change::Vote(*vote)).await?;
        self.shared.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if committed.is_some() {
            *self.shared.committed() = committed;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        if let Some(id) = *self.shared.committed() {
            return Ok(Some(id));
        }
        let disk = self.shared.disk.clone();
        off_thread(move || disk.committed()).await?
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
        self.enqueue(Change::Append(encoded), Waiter::Append(done)).await
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
        self.enqueue_and_wait(Change::Truncate { from }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.enqueue_and_wait(Change::Purge(upto)).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails whatever is written.
    struct Failing;

    impl LogDisk for Failing {
        fn write(&self, _: &[Change]) -> io::Result<()> {
            Err(io::Error::other("no power"))
        }

        fn read(&self, _: u64, _: u64, _: usize) -> io::Result<(Vec<Entry>, bool)> {
            Ok((Vec::new(), false))
        }

        fn committed(&self) -> io::Result<Option<LogId>> {
            Ok(None)
        }
    }

    #[test]
    fn a_failing_disk_stops_the_node_before_whoever_waits_hears_of_it() {
        let (done, durable) = oneshot::channel();
        let durable = Mutex::new(durable);
        let (tell, told) = std::sync::mpsc::channel();
        let fail_stop = FailStop::new(move |reason| {
            let waits = durable.lock().unwrap().try_recv() == Err(oneshot::error::TryRecvError::Empty);
            tell.send((reason.to_owned(), waits)).unwrap();
        });
        let nothing = Found {
            vote: None,
            purged: None,
            last: None,
        };
        let mut writer = Writer::over(Arc::new(Failing), nothing, fail_stop);
        writer.taken.push(Write {
            change: Change::Truncate { from: 0 },
            waiter: Waiter::Other(done),
        });
        assert!(!writer.write());
        let expected = ("write the raft log: no power".to_owned(), true);
        assert_eq!(told.try_recv(), Ok(expected));
    }
}
