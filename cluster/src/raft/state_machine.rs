//! What openraft drives: applying entries to the state, and snapshots of it.
//!
//! Beside what a [`StateStore`] keeps:
//!
//! ```text
//! <dir>/checkpoint-<n>/ checkpoints, gone at the next start
//! <dir>/incoming-<id>/  a checkpoint that is being received from that node
//! <dir>/received-<n>/   one that was received whole and waits to be installed
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt};
use openraft::alias::{WatchReceiverOf, WatchSenderOf};
use openraft::async_runtime::watch::WatchSender;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, RaftSnapshotBuilder};

use super::rocks_state::RocksState;
use super::snapshot::{Checkpoint, Checkpoints, sync_directory};
use super::types::{
    Answer, Entry, EntryPayload, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::kv::{StoreError, View};
use crate::off_thread::off_thread;
use crate::storage::FailStop;

/// The most entries, and about the most bytes, that one write batch takes in.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 4 << 20;

/// Where a state is kept: RocksDB, or the memory of a simulation. Calls block.
pub(super) trait StateStore: Send + Sync {
    /// Up to where the log is applied, and who the members are.
    fn applied(&self) -> (Option<LogId>, StoredMembership);

    /// The state as of the last batch.
    fn view(&self) -> Arc<dyn View>;

    /// Applies one batch, all of it or nothing, and answers its entries in order. It need not
    /// survive a crash before [`StateStore::sync`].
    fn apply(&self, entries: &[Entry]) -> io::Result<Vec<Answer>>;

    /// Up to where the log is applied, and the hash of everything that this led to.
    fn hash(&self) -> Result<(u64, blake3::Hash), StoreError>;

    /// Makes everything applied durable.
    fn sync(&self) -> io::Result<()>;

    /// Copies the state into the new folder `path`, and says what the copy holds.
    fn checkpoint(&self, path: &Path) -> io::Result<SnapshotMeta>;

    /// Makes a checkpoint the state, durably, if it ends at `expected`; it may be moved to `path`.
    fn install(&self, checkpoint: &Path, path: &Path, expected: Option<LogId>) -> io::Result<()>;
}

/// The state machine of one node. Clones share it.
#[derive(Clone)]
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    store: Arc<dyn StateStore>,
    fail_stop: FailStop,
    applied: WatchSenderOf<TypeConfig, u64>,
    checkpoints: Checkpoints,
    next_number: AtomicU64,
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        io::Error::other(error)
    }
}

impl StateMachine {
    /// Opens or creates the state below `dir`.
    pub(crate) fn open(dir: &Path, cache_bytes: usize, fail_stop: FailStop) -> io::Result<Self> {
        let (store, number) = RocksState::open(dir, cache_bytes)?;
        Ok(Self::over(Arc::new(store), dir, number, fail_stop))
    }

    /// The state in `store`, with the checkpoints below `dir`, which are numbered on from `number`.
    pub(super) fn over(store: Arc<dyn StateStore>, dir: &Path, number: u64, fail_stop: FailStop) -> Self {
        let (applied, _) = TypeConfig::watch_channel(index_of(store.applied().0));
        let shared = Shared {
            dir: dir.to_owned(),
            store,
            fail_stop,
            applied,
            checkpoints: Checkpoints::default(),
            next_number: AtomicU64::new(number + 1),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The state as of the last applied batch.
    pub(crate) fn view(&self) -> Arc<dyn View> {
        self.shared.store.view()
    }

    /// Up to where the log is applied, and the hash of everything that this led to.
    pub(crate) async fn hash(&self) -> Result<(u64, blake3::Hash), StoreError> {
        let store = self.shared.store.clone();
        let hash = off_thread(move || store.hash()).await;
        hash.map_err(|error| StoreError(error.to_string()))?
    }

    /// The log index up to which this node has applied, as it moves.
    pub(crate) fn watch_applied(&self) -> WatchReceiverOf<TypeConfig, u64> {
        self.shared.applied.subscribe()
    }

    /// A checkpoint that a receiver was offered.
    pub(crate) fn checkpoint(&self, name: &str) -> Option<Checkpoint> {
        self.shared.checkpoints.by_name(name)
    }

    /// A folder for a checkpoint that is being received, beside the state so that it can be
    /// renamed into place.
    pub(crate) fn incoming_dir(&self, source: u64) -> PathBuf {
        self.shared.dir.join(format!("incoming-{source}"))
    }

    /// Takes charge of a checkpoint that was received whole into [`Self::incoming_dir`]. Blocks.
    ///
    /// The folder gets a name of its own: if the sender offers again before this one is
    /// installed, the next transfer begins anew rather than in the files of this one.
    pub(crate) fn received(&self, source: u64) -> io::Result<Checkpoint> {
        let incoming = self.incoming_dir(source);
        sync_directory(&incoming)?;
        let path = self.shared.next_path("received");
        std::fs::rename(incoming, &path)?;
        sync_directory(&self.shared.dir)?;
        Checkpoint::adopt(path)
    }

    /// Makes everything applied durable, so that the log before it may go.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let store = self.shared.store.clone();
        off_thread(move || store.sync()).await?
    }
}

fn index_of(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index)
}

impl Shared {
    fn next_path(&self, kind: &str) -> PathBuf {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{kind}-{number}"))
    }

    /// Applies entries in batches of bounded size; answers them in order. Blocks.
    fn apply(&self, entries: &[Entry]) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |entry: &&Entry| {
                bytes += match &entry.payload {
                    EntryPayload::Normal(command) => command.0.len(),
                    _ => 0,
                };
                bytes <= BATCH_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, later) = rest.split_at(count);
            answers.extend(self.store.apply(batch)?);
            if let Some(last) = batch.last() {
                self.applied.send_if_different(last.log_id.index);
            }
            rest = later;
        }
        Ok(answers)
    }

    /// Makes a received checkpoint the state of this node, if it ends at `expected`. Blocks.
    fn install(&self, checkpoint: &Checkpoint, expected: Option<LogId>) -> io::Result<()> {
        let path = self.next_path("state");
        self.store.install(checkpoint.path(), &path, expected)?;
        self.applied.send_if_different(index_of(expected));
        self.checkpoints.clear();
        self.take_checkpoint()?;
        Ok(())
    }

    /// Takes a checkpoint of the state as it is. Blocks.
    fn take_checkpoint(&self) -> io::Result<Snapshot> {
        let path = self.next_path("checkpoint");
        let meta = self.store.checkpoint(&path)?;
        let snapshot = Snapshot {
            meta,
            snapshot: Checkpoint::adopt(path)?,
        };
        self.checkpoints.add(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.shared.store.applied())
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(BATCH_ENTRIES);
        while let Some(chunk) = chunks.next().await {
            let mut entries = Vec::with_capacity(chunk.len());
            let mut responders = Vec::with_capacity(chunk.len());
            for item in chunk {
                let (entry, responder) = item?;
                entries.push(entry);
                responders.push(responder);
            }
            let shared = self.shared.clone();
            let applied = off_thread(move || shared.apply(&entries)).await;
            let answers = match applied.and_then(|answers| answers) {
                Ok(answers) => answers,
                Err(error) => {
                    self.shared
                        .fail_stop
                        .stop(&format!("apply the raft log: {error}"));
                    return Err(error);
                }
            };
            for (responder, answer) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(answer);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Checkpoint) -> io::Result<()> {
        let shared = self.shared.clone();
        let expected = meta.last_log_id;
        off_thread(move || shared.install(&snapshot, expected)).await?
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.shared.checkpoints.newest())
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let shared = self.shared.clone();
        off_thread(move || shared.take_checkpoint()).await?
    }
}
