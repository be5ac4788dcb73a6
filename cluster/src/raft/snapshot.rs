//! Snapshots of the metadata: checkpoints that share files with the live state.
//!
//! A checkpoint takes milliseconds whatever the size of the state. A receiver pulls its files
//! one by one, goes on where it broke off, and checks each against its BLAKE3 before the
//! checkpoint is installed.

use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::types::Snapshot;

/// How long a checkpoint that is not the newest is kept after a receiver last asked for it.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// How many checkpoints are kept at the most, since old files are held on disk by them: the
/// newest, and one for each node that may be receiving.
const KEPT: usize = 8;

/// A checkpoint on this node's disk, complete. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint(Arc<Files>);

#[derive(Debug)]
struct Files {
    name: String,
    path: PathBuf,
    /// Name and size of each file, sorted.
    files: Vec<(String, u64)>,
    hashes: Mutex<HashMap<String, blake3::Hash>>,
    /// When a receiver last asked for it.
    last_asked: Mutex<Option<Instant>>,
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays behind here is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Checkpoint {
    /// Takes charge of the finished checkpoint in `path`; its files go when the last clone does.
    pub(crate) fn adopt(path: PathBuf) -> io::Result<Self> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&path)? {
            let entry = entry?;
            let file = entry
                .file_name()
                .into_string()
                .map_err(|_| io::Error::other("a file name is not text"))?;
            files.push((file, entry.metadata()?.len()));
        }
        files.sort();
        Ok(Self(Arc::new(Files {
            name,
            path,
            files,
            hashes: Mutex::new(HashMap::new()),
            last_asked: Mutex::default(),
        })))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn files(&self) -> &[(String, u64)] {
        &self.0.files
    }

    /// Up to `max_bytes` of one of its files from `offset` on; fewer only at its end. Blocks.
    pub(crate) fn read(&self, name: &str, offset: u64, max_bytes: usize) -> io::Result<Vec<u8>> {
        let path = self.file(name).ok_or(io::ErrorKind::NotFound)?;
        let mut file = std::fs::File::open(path)?;
        file.seek(io::SeekFrom::Start(offset))?;
        let mut data = Vec::with_capacity(max_bytes);
        file.take(max_bytes as u64).read_to_end(&mut data)?;
        Ok(data)
    }

    /// The path of one of its files; only names that it lists exist.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        *self.0.last_asked.lock().expect("no panic while held") = Some(Instant::now());
        self.0
            .files
            .iter()
            .any(|(listed, _)| listed == name)
            .then(|| self.0.path.join(name))
    }

    /// The BLAKE3 of one of its files, computed at the first call. Blocks.
    pub(crate) fn hash(&self, name: &str) -> io::Result<blake3::Hash> {
        if let Some(hash) = self.0.hashes.lock().expect("no panic while held").get(name) {
            return Ok(*hash);
        }
        let path = self.file(name).ok_or(io::ErrorKind::NotFound)?;
        let hash = hash_file(&path)?;
        self.0
            .hashes
            .lock()
            .expect("no panic while held")
            .insert(name.to_owned(), hash);
        Ok(hash)
    }

    fn in_use(&self) -> bool {
        let last_asked = *self.0.last_asked.lock().expect("no panic while held");
        last_asked.is_some_and(|asked| asked.elapsed() < KEPT_FOR)
    }
}

/// The BLAKE3 of a file, read in pieces. Blocks.
fn hash_file(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize())
}

/// A file of a checkpoint that is being received. All that it does blocks.
pub(super) struct Incoming {
    path: PathBuf,
    file: std::fs::File,
    len: u64,
}

impl Incoming {
    /// Goes on with what an interrupted transfer left in `path`, if there can be anything to go
    /// on with in a file of `size_bytes`.
    pub(super) fn open(path: PathBuf, size_bytes: u64) -> io::Result<Self> {
        // Table files never change, so what is there of one is its beginning. The others are
        // small and begin anew.
        let resumable = path.extension().is_some_and(|kind| kind == "sst");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        let mut len = file.metadata()?.len();
        if !resumable || len > size_bytes {
            file.set_len(0)?;
            len = 0;
        }
        Ok(Self { path, file, len })
    }

    /// How many bytes are there.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.len += data.len() as u64;
        Ok(())
    }

    /// Makes the file durable if it has this hash; removes it and says false if it has not.
    pub(super) fn finish(self, expected: Option<&[u8]>) -> io::Result<bool> {
        self.file.sync_all()?;
        let is_right = expected == Some(hash_file(&self.path)?.as_bytes().as_slice());
        if !is_right {
            std::fs::remove_file(&self.path)?;
        }
        Ok(is_right)
    }
}

/// Makes `dir` a folder in which nothing lies but what `is_wanted`. Blocks.
pub(super) fn clear_but(dir: &Path, is_wanted: impl Fn(&std::ffi::OsStr) -> bool) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !is_wanted(&entry.file_name()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The checkpoints of one node with what they hold, newest last.
#[derive(Default)]
pub(crate) struct Checkpoints(Mutex<Vec<Snapshot>>);

impl Checkpoints {
    /// Adds the newest. Of the others, those stay that somebody is receiving.
    pub(crate) fn add(&self, newest: Snapshot) {
        let mut kept = self.0.lock().expect("no panic while held");
        kept.retain(|kept| kept.snapshot.in_use());
        kept.push(newest);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }

    /// Lets go of all: they are of a state that was replaced.
    pub(crate) fn clear(&self) {
        self.0.lock().expect("no panic while held").clear();
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Checkpoint> {
        self.0
            .lock()
            .expect("no panic while held")
            .iter()
            .find(|kept| kept.snapshot.name() == name)
            .map(|kept| kept.snapshot.clone())
    }

    /// The newest. Asked for again and again while it cannot be delivered, so this costs nothing.
    pub(crate) fn newest(&self) -> Option<Snapshot> {
        self.0.lock().expect("no panic while held").last().cloned()
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::types::{SnapshotMeta, StoredMembership};
    use super::*;

    #[test]
    fn a_checkpoint_stays_while_it_is_received() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("CURRENT"), name).unwrap();
            Snapshot {
                meta: SnapshotMeta {
                    last_log_id: None,
                    last_membership: StoredMembership::default(),
                },
                snapshot: Checkpoint::adopt(path).unwrap(),
            }
        };
        let checkpoints = Checkpoints::default();
        checkpoints.add(make("received"));
        checkpoints.by_name("received").unwrap().file("CURRENT").unwrap();
        for newer in ["one", "two", "three", "four"] {
            checkpoints.add(make(newer));
        }
        assert!(checkpoints.by_name("received").is_some());
        assert_eq!(checkpoints.newest().unwrap().snapshot.name(), "four");
        assert!(checkpoints.by_name("three").is_none(), "nobody wants it");
        assert!(!dir.path().join("three").exists());
    }
}
