//! What a simulated node has instead of disks and chance: a log and a state in memory, of which
//! a crash leaves what was flushed and perhaps a little more, and a seeded source for openraft.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::v1;
use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft::{AsyncRuntime, OptionalSend, OptionalSync, TokioRuntime};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng, TryRng};
use tokio::sync::{Notify, watch};
use tonic::service::Routes;

use super::log_store::{Change, Found, LogDisk, LogStore};
use super::network::Dial;
use super::state_machine::{StateMachine, StateStore};
use super::types::{Answer, Entry, EntryPayload, LogId, SnapshotMeta, StoredMembership, Vote};
use super::{RaftConfig, Replica, Service, wire};
use crate::kv::{self, MemoryState, Mutation, StoreError, View};
use crate::net::Peers;
use crate::storage::FailStop;

/// A fault of Cairn itself, put in to see whether the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Entries and votes are acknowledged before they are flushed.
    AcknowledgedBeforeFlush,
    /// What was applied is taken for durable before it is, and the log before it dropped.
    PurgedBeforeSync,
    /// Nothing notices that something appeared in a collection that was scanned.
    PhantomsPass,
    /// A transaction that is submitted again is applied again.
    OutcomesForgotten,
    /// Reads are answered without asking the leader.
    StaleReads,
}

impl Defect {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::AcknowledgedBeforeFlush,
        Self::PurgedBeforeSync,
        Self::PhantomsPass,
        Self::OutcomesForgotten,
        Self::StaleReads,
    ];
}

/// Is told of every entry that a node applies: its log index, and a digest of all that the node
/// has applied up to it.
pub(crate) type OnApply = Arc<dyn Fn(u64, Digest) + Send + Sync>;

pub(crate) type Digest = [u8; 32];

/// What one node has stored. Outlives the node's crashes.
pub(crate) struct Stores {
    log: Arc<MemoryLog>,
    state: Arc<MemoryStates>,
    /// Snapshots in transit lie here.
    dir: PathBuf,
}

impl Stores {
    /// Those of a new node.
    pub(crate) fn new(dir: PathBuf, defect: Option<Defect>, on_apply: OnApply) -> Self {
        Self {
            log: Arc::new(MemoryLog {
                defect,
                stored: Mutex::default(),
            }),
            state: Arc::new(MemoryStates {
                defect,
                on_apply,
                versions: Mutex::new(vec![Version::default()]),
                installed: Mutex::new(0),
            }),
            dir,
        }
    }

    /// Starts consensus on them. `flush` tells how long the next flush of the log takes.
    pub(crate) async fn open(
        &self,
        id: u64,
        config: &RaftConfig,
        peers: &Peers,
        fail_stop: FailStop,
        flush: impl Fn() -> Duration + Send + 'static,
    ) -> io::Result<Arc<Replica>> {
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir)?;
        }
        std::fs::create_dir_all(&self.dir)?;
        let disk = self.log.clone();
        let delay = move |changes| {
            disk.lock().in_flight = changes;
            tokio::time::sleep(flush())
        };
        let (log, writer) =
            LogStore::simulated(self.log.clone(), self.log.found()?, fail_stop.clone(), delay);
        tokio::spawn(writer);
        let state = StateMachine::over(self.state.clone(), &self.dir, 0, fail_stop.clone());
        Replica::start(id, config, log, state, Arc::new(peers.clone()), fail_stop).await
    }

    /// Takes back what a crash may take back.
    pub(crate) fn crash(&self, rng: &mut StdRng) {
        self.log.crash(rng);
        self.state.crash(rng);
    }

    /// How many snapshots of others were installed.
    pub(crate) fn installed(&self) -> u64 {
        *self.state.installed.lock().expect("no panic while held")
    }

    /// Up to where everything is applied, a digest of how it came about, and what is there.
    pub(crate) fn contents(&self) -> (u64, Digest, Vec<u8>) {
        let version = self.state.newest();
        let index = version.applied.map_or(0, |id| id.index);
        (index, version.digest, version.state.encode())
    }
}

/// The consensus service of a node.
pub(crate) fn service(replica: &Arc<Replica>, peers: &Peers) -> Routes {
    let dial: Arc<dyn Dial> = Arc::new(peers.clone());
    Routes::new(Service::server(replica.clone(), dial))
}

/// What a node thinks of itself and of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) leader: Option<u64>,
    pub(crate) last_log_index: u64,
    pub(crate) applied_index: u64,
}

/// Looks at a node from outside.
pub(crate) fn observe(replica: &Replica) -> Observed {
    let metrics = replica.raft().metrics();
    let metrics = metrics.borrow_watched();
    Observed {
        term: metrics.current_term,
        leads: metrics.state.is_leader(),
        leader: metrics.current_leader,
        last_log_index: metrics.last_log_index.unwrap_or(0),
        applied_index: metrics.last_applied.map_or(0, |id| id.index),
    }
}

/// A log in memory.
struct MemoryLog {
    defect: Option<Defect>,
    stored: Mutex<Stored>,
}

#[derive(Default)]
struct Stored {
    /// What a crash leaves.
    durable: Contents,
    /// What is read.
    written: Contents,
    /// The batches that `written` has before `durable`.
    unflushed: Vec<Vec<Change>>,
    /// The batch that is about to be written.
    in_flight: Vec<Change>,
}

#[derive(Clone, Default)]
struct Contents {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Bytes>,
}

impl Contents {
    fn make(&mut self, change: &Change) {
        match change {
            Change::Append(appended) => self.entries.extend(appended.iter().cloned()),
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Committed(id) => self.committed = Some(*id),
            Change::Truncate { from } => drop(self.entries.split_off(from)),
            Change::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(*upto);
            }
        }
    }
}

impl MemoryLog {
    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().expect("no panic while held")
    }

    fn found(&self) -> io::Result<Found> {
        let stored = self.lock();
        let Contents {
            vote,
            purged,
            ref entries,
            ..
        } = stored.written;
        let last = match entries.last_key_value() {
            Some((_, encoded)) => Some(decode(encoded)?.log_id),
            None => purged,
        };
        Ok(Found { vote, purged, last })
    }

    /// Of what was not flushed, the disk may have the first batches; of a batch, all or nothing.
    fn crash(&self, rng: &mut StdRng) {
        let mut stored = self.lock();
        let mut lost = std::mem::take(&mut stored.unflushed);
        lost.push(std::mem::take(&mut stored.in_flight));
        let kept = rng.random_range(0..=lost.len());
        for change in lost[..kept].iter().flatten() {
            stored.durable.make(change);
        }
        stored.written = stored.durable.clone();
    }
}

impl LogDisk for MemoryLog {
    fn write(&self, changes: &[Change]) -> io::Result<()> {
        let mut stored = self.lock();
        stored.in_flight.clear();
        if self.defect == Some(Defect::AcknowledgedBeforeFlush) {
            // Durable with the next flush.
            flush(&mut stored);
        }
        for change in changes {
            stored.written.make(change);
        }
        stored.unflushed.push(changes.to_vec());
        if self.defect != Some(Defect::AcknowledgedBeforeFlush) {
            flush(&mut stored);
        }
        Ok(())
    }

    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<(Vec<Entry>, bool)> {
        let stored = self.lock();
        let mut bytes = 0;
        let mut found = Vec::new();
        for encoded in stored
            .written
            .entries
            .range(start..end)
            .map(|(_, encoded)| encoded)
        {
            if bytes > 0 && bytes + encoded.len() > max_bytes {
                return Ok((found, true));
            }
            bytes += encoded.len();
            found.push(decode(encoded)?);
        }
        Ok((found, false))
    }

    fn committed(&self) -> io::Result<Option<LogId>> {
        Ok(self.lock().written.committed)
    }
}

fn flush(stored: &mut Stored) {
    for change in std::mem::take(&mut stored.unflushed).iter().flatten() {
        stored.durable.make(change);
    }
}

fn decode(encoded: &[u8]) -> io::Result<Entry> {
    let entry = v1::LogEntry::decode(encoded).map_err(io::Error::other)?;
    Ok(wire::entry_from(entry)?)
}

/// The states in memory that a node may find after a crash: the one that is durable, and all
/// since, the newest last.
struct MemoryStates {
    defect: Option<Defect>,
    on_apply: OnApply,
    versions: Mutex<Vec<Version>>,
    installed: Mutex<u64>,
}

#[derive(Clone, Default)]
struct Version {
    applied: Option<LogId>,
    membership: StoredMembership,
    state: Arc<MemoryState>,
    /// Of every entry that led here and what it did.
    digest: Digest,
}

/// How many files a simulated snapshot has.
const SNAPSHOT_FILES: usize = 3;

impl MemoryStates {
    fn lock(&self) -> MutexGuard<'_, Vec<Version>> {
        self.versions.lock().expect("no panic while held")
    }

    fn newest(&self) -> Version {
        self.lock().last().expect("there always is one").clone()
    }

    fn crash(&self, rng: &mut StdRng) {
        let mut versions = self.lock();
        let kept = rng.random_range(0..versions.len());
        *versions = vec![versions.swap_remove(kept)];
    }

    /// The command as this node understands it.
    fn command(&self, encoded: &Bytes) -> io::Result<v1::Command> {
        let mut command = v1::Command::decode(encoded.clone()).map_err(io::Error::other)?;
        if self.defect == Some(Defect::PhantomsPass)
            && let Some(v1::command::Kind::Transaction(transaction)) = &mut command.kind
        {
            transaction
                .checks
                .retain(|check| !matches!(check.subject, Some(v1::check::Subject::Collection(_))));
        }
        Ok(command)
    }
}

impl Version {
    fn index(&self) -> u64 {
        self.applied.map_or(0, |id| id.index)
    }

    fn note(&mut self, entry: &Entry, answer: Answer, mutations: &[Mutation]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest);
        hasher.update(format!("{:?}", entry.log_id).as_bytes());
        // Encoded, the members come in any order.
        match &entry.payload {
            EntryPayload::Normal(command) => hasher.update(&command.0),
            other => hasher.update(format!("{other:?}").as_bytes()),
        };
        hasher.update(format!("{answer:?} {mutations:?}").as_bytes());
        self.digest = *hasher.finalize().as_bytes();
        self.applied = Some(entry.log_id);
    }
}

impl StateStore for MemoryStates {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        let newest = self.newest();
        (newest.applied, newest.membership)
    }

    fn view(&self) -> Arc<dyn View> {
        self.newest().state
    }

    fn apply(&self, entries: &[Entry]) -> io::Result<Vec<Answer>> {
        let mut version = self.newest();
        let mut state = (*version.state).clone();
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.log_id.index;
            let expected = version.applied.map_or(0, |id| id.index + 1);
            if index != expected {
                return Err(io::Error::other(format!(
                    "entry {index} comes where {expected} should"
                )));
            }
            let (answer, mut mutations) = match &entry.payload {
                EntryPayload::Blank => (Answer::None, Vec::new()),
                EntryPayload::Membership(changed) => {
                    version.membership = StoredMembership::new(Some(entry.log_id), changed.clone());
                    (Answer::None, Vec::new())
                }
                EntryPayload::Normal(command) => {
                    let command = self.command(&command.0)?;
                    let (outcome, mutations) =
                        kv::apply(&state, index, &command).map_err(io::Error::other)?;
                    (outcome.into(), mutations)
                }
            };
            if self.defect == Some(Defect::OutcomesForgotten) {
                mutations.retain(|mutation| !matches!(mutation, Mutation::Remember { .. }));
            }
            version.note(entry, answer, &mutations);
            state.mutate(index, mutations);
            (self.on_apply)(index, version.digest);
            answers.push(answer);
        }
        version.state = Arc::new(state);
        self.lock().push(version);
        Ok(answers)
    }

    fn hash(&self) -> Result<(u64, blake3::Hash), StoreError> {
        let newest = self.newest();
        Ok((newest.index(), blake3::hash(&newest.state.encode())))
    }

    fn sync(&self) -> io::Result<()> {
        if self.defect != Some(Defect::PurgedBeforeSync) {
            let mut versions = self.lock();
            let newest = versions.len() - 1;
            versions.drain(..newest);
        }
        Ok(())
    }

    fn checkpoint(&self, path: &Path) -> io::Result<SnapshotMeta> {
        let version = self.newest();
        let meta = SnapshotMeta {
            last_log_id: version.applied,
            last_membership: version.membership,
        };
        let offer = v1::SnapshotOffer {
            last: meta.last_log_id.as_ref().map(wire::log_id_to),
            membership: Some(wire::stored_membership_to(&meta.last_membership)),
            ..Default::default()
        };
        std::fs::create_dir(path)?;
        std::fs::write(path.join("META"), offer.encode_to_vec())?;
        std::fs::write(path.join("DIGEST"), version.digest)?;
        let state = version.state.encode();
        let piece = state.len().div_ceil(SNAPSHOT_FILES);
        for (number, data) in state.chunks(piece).enumerate() {
            std::fs::write(path.join(format!("{number}.sst")), data)?;
        }
        Ok(meta)
    }

    fn install(&self, checkpoint: &Path, _path: &Path, expected: Option<LogId>) -> io::Result<()> {
        let offer = v1::SnapshotOffer::decode(std::fs::read(checkpoint.join("META"))?.as_slice())
            .map_err(io::Error::other)?;
        let mut state = Vec::new();
        for number in 0..SNAPSHOT_FILES {
            state.extend(std::fs::read(checkpoint.join(format!("{number}.sst")))?);
        }
        let digest = std::fs::read(checkpoint.join("DIGEST"))?;
        let installed = Version {
            applied: offer.last.as_ref().map(wire::log_id_from),
            membership: wire::stored_membership_from(offer.membership.as_ref())?,
            state: Arc::new(MemoryState::decode(&state).map_err(io::Error::other)?),
            digest: digest.try_into().map_err(|_| io::ErrorKind::InvalidData)?,
        };
        if installed.applied != expected {
            return Err(io::Error::other(
                "the snapshot ends elsewhere than it was said to",
            ));
        }
        (self.on_apply)(installed.index(), installed.digest);
        *self.installed.lock().expect("no panic while held") += 1;
        *self.lock() = vec![installed];
        Ok(())
    }
}

thread_local! {
    static DRAWS: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// From now on, what openraft draws on this thread comes from `seed`.
pub(crate) fn seed_draws(seed: u64) {
    DRAWS.set(Some(StdRng::seed_from_u64(seed)));
}

/// Tokio, and draws that a seed can decide.
pub(crate) struct Runtime(TokioRuntime);

/// The thread's own source, unless it is seeded.
pub(crate) struct Draws;

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        DRAWS.with_borrow_mut(|seeded| match seeded {
            Some(seeded) => seeded.try_next_u32(),
            None => Ok(rand::rng().next_u32()),
        })
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        DRAWS.with_borrow_mut(|seeded| match seeded {
            Some(seeded) => seeded.try_next_u64(),
            None => Ok(rand::rng().next_u64()),
        })
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        DRAWS.with_borrow_mut(|seeded| match seeded {
            Some(seeded) => seeded.try_fill_bytes(out),
            None => {
                rand::rng().fill_bytes(out);
                Ok(())
            }
        })
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

type Tokio = TokioRuntime;

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Draws;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = InOrder;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Draws
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// Tokio's channels for one value, whose receivers wake in the order in which they began to
/// wait. Tokio's own wake in an order that is drawn, and what from cannot be seeded.
pub(crate) struct InOrder;

pub(crate) struct Sender<T>(Arc<Sending<T>>);

struct Sending<T> {
    value: watch::Sender<T>,
    changed: Arc<Notify>,
}

pub(crate) struct Receiver<T> {
    value: watch::Receiver<T>,
    changed: Arc<Notify>,
}

impl<T> Drop for Sending<T> {
    fn drop(&mut self) {
        // Who waits finds the channel closed when it looks.
        self.changed.notify_waiters();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            changed: self.changed.clone(),
        }
    }
}

impl Watch for InOrder {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let (sender, value) = watch::channel(init);
        let changed = Arc::new(Notify::new());
        let sending = Sending {
            value: sender,
            changed: changed.clone(),
        };
        (Sender(Arc::new(sending)), Receiver { value, changed })
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<InOrder, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        let sent = self.0.value.send(value).map_err(|unsent| SendError(unsent.0));
        self.0.changed.notify_waiters();
        sent
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = self.0.value.send_if_modified(modify);
        if modified {
            self.0.changed.notify_waiters();
        }
        modified
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.0.value.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver {
            value: self.0.value.subscribe(),
            changed: self.0.changed.clone(),
        }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<InOrder, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.value.borrow().has_changed() {
                self.value.mark_unchanged();
                return Ok(());
            }
            if self.value.has_changed().is_err() {
                return Err(RecvError(()));
            }
            changed.await;
        }
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.value.borrow_and_update()
    }
}
