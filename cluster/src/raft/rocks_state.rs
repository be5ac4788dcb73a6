//! The state of a node in RocksDB.
//!
//! ```text
//! <dir>/current      the name of the folder that holds the state
//! <dir>/state-<n>/   the state; a new one for each installed snapshot
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cairn_proto::v1;
use prost::Message;

use super::snapshot::sync_directory;
use super::state_machine::StateStore;
use super::types::{Answer, Entry, EntryPayload, LogId, SnapshotMeta, StoredMembership};
use super::wire;
use crate::kv::{self, APPLIED, MEMBERSHIP, Overlay, RocksView, StateDb, StoreError, View};

/// An open state.
pub(super) struct RocksState {
    dir: PathBuf,
    cache_bytes: usize,
    current: Mutex<Current>,
}

/// The state as of the last batch.
struct Current {
    db: Arc<StateDb>,
    view: Arc<RocksView>,
    applied: Option<LogId>,
    membership: StoredMembership,
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

impl RocksState {
    /// Opens or creates the state below `dir`, with the number in its name. Removes whatever
    /// else lies there.
    pub(super) fn open(dir: &Path, cache_bytes: usize) -> io::Result<(Self, u64)> {
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
        let state = Self {
            dir: dir.to_owned(),
            cache_bytes,
            current: Mutex::new(current),
        };
        Ok((state, number))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().expect("no panic while held")
    }
}

impl StateStore for RocksState {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        let current = self.lock();
        (current.applied, current.membership.clone())
    }

    fn view(&self) -> Arc<dyn View> {
        self.lock().view.clone()
    }

    fn apply(&self, entries: &[Entry]) -> io::Result<Vec<Answer>> {
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
        Ok(answers)
    }

    fn hash(&self) -> Result<(u64, blake3::Hash), StoreError> {
        let view = self.lock().view.clone();
        Ok((view.applied_index(), view.hash()?))
    }

    fn sync(&self) -> io::Result<()> {
        let db = self.lock().db.clone();
        Ok(db.sync()?)
    }

    fn checkpoint(&self, path: &Path) -> io::Result<SnapshotMeta> {
        let db = self.lock().db.clone();
        db.checkpoint(path)?;
        // Read from the copy itself, so that the id fits the data exactly.
        let (last_log_id, last_membership) = read_meta(&StateDb::open_read_only(path)?)?;
        Ok(SnapshotMeta {
            last_log_id,
            last_membership,
        })
    }

    fn install(&self, checkpoint: &Path, path: &Path, expected: Option<LogId>) -> io::Result<()> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("it was made of text");
        std::fs::rename(checkpoint, path)?;
        sync_directory(&self.dir)?;
        let installed = Current::load(StateDb::open(path, self.cache_bytes)?)?;
        // Looked up in the very database that is used from here on.
        if installed.applied != expected {
            return Err(io::Error::other(format!(
                "the snapshot ends at {:?}, not {expected:?}",
                installed.applied
            )));
        }
        point_to(&self.dir, name)?;
        let before = std::mem::replace(&mut *self.lock(), installed);
        before.db.remove_when_unused();
        Ok(())
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
