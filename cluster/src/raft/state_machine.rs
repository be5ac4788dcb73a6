//! What openraft drives: applying entries to the state, and snapshots of it.
//!
//! ```text
//! <dir>/current         the name of the folder that holds the state
//! <dir>/state-<n>/      the state; a new one for each installed snapshot
//! <dir>/checkpoint-<n>/ checkpoints, gone at the next start
//! <dir>/incoming-<id>/  a checkpoint that is being received from that node
//! <dir>/received-<n>/   one that was received whole and waits to be installed
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cairn_proto::v1;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use prost::Message;
use tokio::sync::watch;

use super::snapshot::{Checkpoint, Checkpoints, sync_directory};
use super::types::{
    Answer, Entry, EntryPayload, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};
use super::wire;
use crate::kv::{self, APPLIED, MEMBERSHIP, Overlay, RocksView, StateDb, StoreError};
use crate::storage::FailStop;

/// The most entries, and about the most bytes, that one write batch takes in.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 4 << 20;

/// The state machine of one node. Clones share it.
#[derive(Clone)]
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    cache_bytes: usize,
    fail_stop: FailStop,
    current: Mutex<Current>,
    applied: watch::Sender<u64>,
    checkpoints: Checkpoints,
    next_number: AtomicU64,
}

/// The state as of the last batch.
struct Current {
    db: Arc<StateDb>,
    view: Arc<RocksView>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        io::Error::other(error)
    }
}

impl Current {
    fn load(db: StateDb) -> io::Result<Self> {
        let (applied, membership) = read_meta(&db)?;
        let db = Arc::new(db);
        let view = Arc::new(RocksView::new(db.clone(), applied.map_or(0, |id| id.index)));
        Ok(Self {
            db,
            view,
            applied,
            membership,
        })
    }
}

/// What a state database says of itself: how far it is applied, and who the members are.
fn read_meta(db: &StateDb) -> io::Result<(Option<LogId>, StoredMembership)> {
    let decode_error = |error: prost::DecodeError| io::Error::new(io::ErrorKind::InvalidData, error);
    let applied = match db.meta(APPLIED)? {
        Some(stored) => Some(wire::log_id_from(
            &v1::LogId::decode(stored.as_slice()).map_err(decode_error)?,
        )),
        None => None,
    };
    let membership = match db.meta(MEMBERSHIP)? {
        Some(stored) => {
            let stored = v1::StoredMembership::decode(stored.as_slice()).map_err(decode_error)?;
            wire::stored_membership_from(Some(&stored))?
        }
        None => StoredMembership::default(),
    };
    Ok((applied, membership))
}

impl StateMachine {
    /// Opens or creates the state below `dir`.
    pub(crate) fn open(dir: &Path, cache_bytes: usize, fail_stop: FailStop) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let pointer = dir.join("current");
        let name = match std::fs::read_to_string(&pointer) {
            Ok(name) => name.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The name comes last: what it names is there, whenever the power fails.
                drop(StateDb::open(&dir.join("state-0"), cache_bytes)?);
                point_to(dir, "state-0")?;
                "state-0".to_owned()
            }
            Err(error) => return Err(error),
        };
        if !dir.join(&name).join("CURRENT").exists() {
            // An empty state would pass for one that has applied nothing yet.
            return Err(io::Error::other(format!(
                "the state {name} is gone from {}",
                dir.display()
            )));
        }
        // Whatever else lies here is a checkpoint of the last run or a state that was replaced.
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name() != name.as_str() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        let number = name
            .strip_prefix("state-")
            .and_then(|number| number.parse::<u64>().ok());
        let number =
            number.ok_or_else(|| io::Error::other(format!("{} names no state", pointer.display())))?;
        let current = Current::load(StateDb::open(&dir.join(&name), cache_bytes)?)?;
        let (applied, _) = watch::channel(current.view_index());
        Ok(Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                cache_bytes,
                fail_stop,
                current: Mutex::new(current),
                applied,
                checkpoints: Checkpoints::default(),
                next_number: AtomicU64::new(number + 1),
            }),
        })
    }

    /// The state as of the last applied batch.
    pub(crate) fn view(&self) -> Arc<RocksView> {
        self.shared.lock().view.clone()
    }

    /// The log index up to which this node has applied, as it moves.
    pub(crate) fn watch_applied(&self) -> watch::Receiver<u64> {
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
        let db = self.shared.lock().db.clone();
        tokio::task::spawn_blocking(move || db.sync())
            .await
            .map_err(io::Error::other)??;
        Ok(())
    }

    /// Reads what a checkpoint holds.
    fn inspect(path: &Path) -> io::Result<SnapshotMeta> {
        let (last_log_id, last_membership) = read_meta(&StateDb::open_read_only(path)?)?;
        Ok(SnapshotMeta {
            last_log_id,
            last_membership,
        })
    }
}

impl Current {
    fn view_index(&self) -> u64 {
        self.applied.map_or(0, |id| id.index)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().expect("no panic while held")
    }

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
            answers.extend(self.apply_batch(batch)?);
            rest = later;
        }
        Ok(answers)
    }

    fn apply_batch(&self, entries: &[Entry]) -> io::Result<Vec<Answer>> {
        let (db, base, mut membership) = {
            let current = self.lock();
            (
                current.db.clone(),
                current.view.clone(),
                current.membership.clone(),
            )
        };
        let mut overlay = Overlay::new(base);
        let mut written = Vec::new();
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.log_id.index;
            answers.push(match &entry.payload {
                EntryPayload::Blank => Answer::None,
                EntryPayload::Membership(changed) => {
                    membership = StoredMembership::new(Some(entry.log_id), changed.clone());
                    Answer::None
                }
                EntryPayload::Normal(command) => {
                    let command = v1::Command::decode(command.0.clone())
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    let (outcome, mutations) =
                        kv::apply(&overlay, index, &command).map_err(io::Error::other)?;
                    overlay.add(&mutations);
                    written.extend(mutations);
                    outcome.into()
                }
            });
        }
        let Some(last) = entries.last().map(|entry| entry.log_id) else {
            return Ok(answers);
        };
        let meta = [
            (APPLIED, wire::log_id_to(&last).encode_to_vec()),
            (
                MEMBERSHIP,
                wire::stored_membership_to(&membership).encode_to_vec(),
            ),
        ];
        db.write(last.index, &written, &meta)?;
        let view = Arc::new(RocksView::new(db.clone(), last.index));
        *self.lock() = Current {
            db,
            view,
            applied: Some(last),
            membership,
        };
        self.applied.send_replace(last.index);
        Ok(answers)
    }

    /// Makes a received checkpoint the state of this node, if it ends at `expected`. Blocks.
    fn install(&self, checkpoint: &Checkpoint, expected: Option<LogId>) -> io::Result<()> {
        let path = self.next_path("state");
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("it was made of text")
            .to_owned();
        std::fs::rename(checkpoint.path(), &path)?;
        sync_directory(&self.dir)?;
        let installed = Current::load(StateDb::open(&path, self.cache_bytes)?)?;
        // Looked up in the very database that is used from here on.
        if installed.applied != expected {
            return Err(io::Error::other(format!(
                "the snapshot ends at {:?}, not {expected:?}",
                installed.applied
            )));
        }
        point_to(&self.dir, &name)?;
        let applied = installed.view_index();
        let before = std::mem::replace(&mut *self.lock(), installed);
        before.db.remove_when_unused();
        drop(before);
        self.applied.send_replace(applied);
        self.checkpoints.clear();
        self.take_checkpoint()?;
        Ok(())
    }

    /// Takes a checkpoint of the state as it is. Blocks.
    fn take_checkpoint(&self) -> io::Result<Snapshot> {
        let db = self.lock().db.clone();
        let path = self.next_path("checkpoint");
        db.checkpoint(&path)?;
        // Read from the copy itself, so that the id fits the data exactly.
        let meta = StateMachine::inspect(&path)?;
        let snapshot = Snapshot {
            meta,
            snapshot: Checkpoint::adopt(path)?,
        };
        self.checkpoints.add(snapshot.clone());
        Ok(snapshot)
    }
}

/// Makes `name` the folder of the state, durably.
fn point_to(dir: &Path, name: &str) -> io::Result<()> {
    use std::io::Write;
    let draft = dir.join("current.new");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, dir.join("current"))?;
    sync_directory(dir)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let current = self.shared.lock();
        Ok((current.applied, current.membership.clone()))
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
            let applied = tokio::task::spawn_blocking(move || shared.apply(&entries)).await;
            let answers = match applied.map_err(io::Error::other).and_then(|answers| answers) {
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
        tokio::task::spawn_blocking(move || shared.install(&snapshot, expected))
            .await
            .map_err(io::Error::other)?
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.shared.checkpoints.newest())
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.take_checkpoint())
            .await
            .map_err(io::Error::other)?
    }
}
