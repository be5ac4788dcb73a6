//! The folder of a backup on disk: finding, making and completing it. All of this blocks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_cluster::BlobId;

use super::manifest::{MAX_BYTES, Manifest, ManifestError};
use crate::lock::{Holder, LockError, PidLock};

const MANIFEST: &str = "manifest.json";
const METADATA: &str = "metadata";
const BLOBS: &str = "blobs";
const PARTIAL: &str = "partial";
const LOCK: &str = "lock";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("{} holds no complete backup: it has no {MANIFEST}", .0.display())]
    NoBackup(PathBuf),
    #[error("{} holds a complete backup already", .0.display())]
    Complete(PathBuf),
    #[error("{} holds something else than a backup: {found:?}", .path.display())]
    Foreign { path: PathBuf, found: String },
    #[error("process {pid} writes to {}", .path.display())]
    InUse { path: PathBuf, pid: Holder },
    #[error("{}: {error}", .path.display())]
    Manifest { path: PathBuf, error: ManifestError },
    #[error("{verb} {}: {error}", .path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |error| FolderError::Io { verb, path, error }
}

/// The folder of a backup. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: Arc<Path>,
}

impl Folder {
    /// Opens a complete backup.
    pub(crate) fn open(path: &Path) -> Result<(Self, Manifest), FolderError> {
        let folder = Self { path: path.into() };
        let file = path.join(MANIFEST);
        let mut text = String::new();
        let opened = match File::open(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::NoBackup(path.into()));
            }
            opened => opened.map_err(io_error("open", &file))?,
        };
        let manifest = match opened.take(MAX_BYTES).read_to_string(&mut text) {
            Ok(_) => Manifest::open(&text),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ManifestError::Damaged("it is no text".into()))
            }
            Err(error) => return Err(io_error("read", &file)(error)),
        };
        match manifest {
            Ok(manifest) => Ok((folder, manifest)),
            Err(error) => Err(FolderError::Manifest { path: file, error }),
        }
    }

    /// Where the content of a blob lies.
    pub(crate) fn blob(&self, id: &BlobId) -> PathBuf {
        let name = id.to_string();
        self.path.join(BLOBS).join(&name[..2]).join(name)
    }

    /// Where the metadata lie.
    pub(crate) fn metadata(&self) -> PathBuf {
        self.path.join(METADATA)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A folder in which a backup is being taken, by this process alone.
#[derive(Debug)]
pub(crate) struct Growing {
    folder: Folder,
    written: AtomicU64,
    _lock: PidLock,
}

impl Growing {
    /// Begins a backup in a folder that is empty or not there yet, or goes on with one.
    pub(crate) fn begin(path: &Path) -> Result<Self, FolderError> {
        create(path)?;
        for entry in fs::read_dir(path).map_err(io_error("list", path))? {
            let found = entry.map_err(io_error("list", path))?.file_name();
            let found = found.to_string_lossy();
            match found.as_ref() {
                MANIFEST => return Err(FolderError::Complete(path.into())),
                METADATA | BLOBS | PARTIAL | LOCK | "lost+found" => {}
                _ => {
                    return Err(FolderError::Foreign {
                        path: path.into(),
                        found: found.into_owned(),
                    });
                }
            }
        }
        let lock = path.join(LOCK);
        let lock = PidLock::take(&lock).map_err(|error| match error {
            LockError::Held { pid } => FolderError::InUse {
                path: path.into(),
                pid,
            },
            LockError::Io(error) => io_error("lock", &lock)(error),
        })?;
        let folder = Folder { path: path.into() };
        let partial = path.join(PARTIAL);
        if let Err(error) = fs::remove_dir_all(&partial)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(io_error("empty", &partial)(error));
        }
        create(&partial)?;
        create(&path.join(BLOBS))?;
        for first in 0..=u8::MAX {
            create(&path.join(BLOBS).join(format!("{first:02x}")))?;
        }
        sync(&path.join(BLOBS))?;
        Ok(Self {
            folder,
            written: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// The folder as it will be.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    fn new_path(&self) -> PathBuf {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        self.folder.path.join(PARTIAL).join(number.to_string())
    }

    /// A new file, which [`NewFile::keep`] puts where it belongs.
    pub(crate) fn new_file(&self) -> Result<NewFile, FolderError> {
        let path = self.new_path();
        let file = private(&path).map_err(io_error("create", &path))?;
        Ok(NewFile { file, path })
    }

    /// Whether a file is there with this size: it was written whole, or it would be elsewhere.
    pub(crate) fn has(&self, path: &Path, size: u64) -> Result<bool, FolderError> {
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(found.is_file() && found.len() == size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error("look at", path)(error)),
        }
    }

    /// Shares a file of an earlier backup, or copies it if it lies on another disk.
    pub(crate) fn share(&self, from: &Path, to: &Path) -> Result<(), FolderError> {
        let link = self.new_path();
        match fs::hard_link(from, &link) {
            // In two steps, because it takes the place of what is there.
            Ok(()) => fs::rename(&link, to).map_err(io_error("rename", &link)),
            Err(error)
                if [io::ErrorKind::CrossesDevices, io::ErrorKind::TooManyLinks].contains(&error.kind()) =>
            {
                let mut source = File::open(from).map_err(io_error("open", from))?;
                let mut copy = self.new_file()?;
                io::copy(&mut source, &mut copy.file).map_err(io_error("copy", from))?;
                copy.keep(to)
            }
            Err(error) => Err(io_error("link", from)(error)),
        }
    }

    /// Makes the folder a backup.
    pub(crate) fn complete(self, manifest: &Manifest) -> Result<(), FolderError> {
        let path = &self.folder.path;
        // The names of all blobs first: the manifest vouches for them.
        for first in 0..=u8::MAX {
            sync(&path.join(BLOBS).join(format!("{first:02x}")))?;
        }
        let mut file = self.new_file()?;
        file.write(manifest.seal().as_bytes())?;
        file.keep(&path.join(MANIFEST))?;
        sync(path)?;
        let partial = path.join(PARTIAL);
        fs::remove_dir_all(&partial).map_err(io_error("remove", &partial))?;
        let lock = path.join(LOCK);
        fs::remove_file(&lock).map_err(io_error("remove", &lock))
    }
}

/// A file in the making.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    path: PathBuf,
}

impl NewFile {
    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), FolderError> {
        self.file.write_all(bytes).map_err(io_error("write", &self.path))
    }

    /// Makes the file durable, under this name.
    pub(crate) fn keep(self, name: &Path) -> Result<(), FolderError> {
        self.file.sync_data().map_err(io_error("sync", &self.path))?;
        fs::rename(&self.path, name).map_err(io_error("rename", &self.path))
    }
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

fn create(path: &Path) -> Result<(), FolderError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(io_error("create", path))
}

fn sync(path: &Path) -> Result<(), FolderError> {
    let folder = File::open(path).and_then(|folder| folder.sync_all());
    folder.map_err(io_error("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::tests::manifest;

    #[test]
    fn a_folder_is_a_backup_once_its_manifest_is_there() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("backups/one");
        let growing = Growing::begin(&path).unwrap();
        assert!(matches!(Folder::open(&path), Err(FolderError::NoBackup(_))));
        assert!(matches!(Growing::begin(&path), Err(FolderError::InUse { .. })));
        let id = BlobId(*blake3::hash(b"content").as_bytes());
        let mut file = growing.new_file().unwrap();
        file.write(b"content").unwrap();
        file.keep(&growing.folder().blob(&id)).unwrap();
        drop(growing);

        // Interrupted; it goes on with what is there.
        let growing = Growing::begin(&path).unwrap();
        let blob = growing.folder().blob(&id);
        assert!(growing.has(&blob, 7).unwrap());
        assert!(!growing.has(&blob, 8).unwrap());
        growing.complete(&manifest()).unwrap();
        let (folder, found) = Folder::open(&path).unwrap();
        assert_eq!(found, manifest());
        assert_eq!(fs::read(folder.blob(&id)).unwrap(), b"content");
        assert!(matches!(Growing::begin(&path), Err(FolderError::Complete(_))));

        // Another one shares the file, and outlives it.
        let next = Growing::begin(&parent.path().join("backups/two")).unwrap();
        next.share(&folder.blob(&id), &next.folder().blob(&id)).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(fs::read(next.folder().blob(&id)).unwrap(), b"content");
    }

    #[test]
    fn nothing_is_written_where_something_else_lies() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.tex"), "all of it").unwrap();
        let error = Growing::begin(parent.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_manifest_is_no_missing_one() {
        let parent = tempfile::tempdir().unwrap();
        for damaged in [&b"{"[..], b"\xff", b""] {
            fs::write(parent.path().join(MANIFEST), damaged).unwrap();
            assert!(matches!(
                Folder::open(parent.path()),
                Err(FolderError::Manifest { .. })
            ));
        }
    }
}
