//! The disk under the shards: the seam through which a test can make it fail.
//!
//! Calls may take long and are made on threads that may wait. Paths are relative to the disk.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::seams::Timestamp;

/// A file system with a folder for the shards.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file that does not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to read it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, replacing what has it. Durable once both folders are synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder; one that is there already is no error.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// When a file was last written to.
    fn modified(&self, path: &Path) -> io::Result<Timestamp>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// How much room there is.
    fn room(&self) -> io::Result<Room>;

    /// What two folders have in common that share their room.
    fn device(&self) -> io::Result<u64>;
}

/// Gives the disk that is mounted in a folder: the seam at which a test puts in disks of its own.
pub trait Bays: Send + Sync + fmt::Debug {
    /// The disk at a path, which need not be there.
    fn disk(&self, path: &Path) -> Arc<dyn Disk>;
}

/// The folders of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Folders;

impl Bays for Folders {
    fn disk(&self, path: &Path) -> Arc<dyn Disk> {
        Arc::new(Folder::new(path))
    }
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills the buffer from an offset; an error of kind `UnexpectedEof` if the file ends first.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
}

/// The room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What can be written now.
    pub free: u64,
    /// What the disk holds in all.
    pub total: u64,
}

/// A folder of this machine.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, which exists.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Disk for Folder {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.root.join(path))?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(self.root.join(path))?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.root.join(path))?
            .map(|entry| Ok(entry?.file_name().into_string().ok()))
            .collect::<io::Result<Vec<Option<String>>>>()?;
        // All names are ours and plain; what is not was put there by somebody else.
        Ok(names.into_iter().flatten().collect())
    }

    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        let modified = fs::metadata(self.root.join(path))?.modified()?;
        let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Timestamp(since_epoch.as_millis() as u64))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }

    fn room(&self) -> io::Result<Room> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(Room {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn device(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.root)?.dev())
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! A disk in memory that keeps apart what is written and what is durable, and fails when
    //! it is told to.

    use std::collections::BTreeMap;
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::seams::Seams;

    /// What a fault can hit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Operation {
        Create,
        Open,
        Read,
        Write,
        Sync,
        Rename,
        SyncFolder,
    }

    #[derive(Clone, Debug, Default)]
    pub(crate) struct TestDisk {
        state: Arc<Mutex<State>>,
        healed: Arc<Condvar>,
    }

    #[derive(Debug, Default)]
    struct State {
        now: Names,
        durable: Names,
        faults: Vec<(Operation, io::ErrorKind)>,
        held: Vec<Operation>,
        room: Option<Room>,
    }

    type Names = BTreeMap<PathBuf, Entry>;

    #[derive(Clone, Debug)]
    enum Entry {
        Folder,
        File(Arc<Mutex<Content>>),
    }

    #[derive(Debug, Default)]
    struct Content {
        now: Vec<u8>,
        durable: Vec<u8>,
        modified: Timestamp,
        unreadable: bool,
    }

    struct TestFile {
        disk: TestDisk,
        content: Arc<Mutex<Content>>,
    }

    fn missing() -> io::Error {
        io::ErrorKind::NotFound.into()
    }

    impl TestDisk {
        /// Makes every such operation fail from now on.
        pub(crate) fn fail(&self, operation: Operation, kind: io::ErrorKind) {
            self.state.lock().unwrap().faults.push((operation, kind));
        }

        /// Makes every such operation wait from now on.
        pub(crate) fn hold(&self, operation: Operation) {
            self.state.lock().unwrap().held.push(operation);
        }

        /// Ends all faults.
        pub(crate) fn heal(&self) {
            let mut state = self.state.lock().unwrap();
            state.faults.clear();
            state.held.clear();
            self.healed.notify_all();
        }

        /// Sets what `room` answers.
        pub(crate) fn set_room(&self, room: Room) {
            self.state.lock().unwrap().room = Some(room);
        }

        /// Loses everything that was not made durable.
        pub(crate) fn cut_power(&self) {
            let state = &mut *self.state.lock().unwrap();
            let durable = state.durable.clone();
            state.now = durable
                .iter()
                .filter(|(path, _)| {
                    path.ancestors()
                        .skip(1)
                        .all(|folder| folder == Path::new("") || durable.contains_key(folder))
                })
                .map(|(path, entry)| (path.clone(), entry.clone()))
                .collect();
            for entry in state.now.values() {
                if let Entry::File(content) = entry {
                    let content = &mut *content.lock().unwrap();
                    content.now = content.durable.clone();
                }
            }
            state.durable = state.now.clone();
        }

        /// The paths of all files.
        pub(crate) fn files(&self) -> Vec<PathBuf> {
            let state = self.state.lock().unwrap();
            let is_file = |entry: &Entry| matches!(entry, Entry::File(_));
            state
                .now
                .iter()
                .filter(|(_, entry)| is_file(entry))
                .map(|(path, _)| path.clone())
                .collect()
        }

        /// Changes the bytes of a file behind everybody's back.
        pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
            let content = self.content(path).unwrap();
            let content = &mut *content.lock().unwrap();
            change(&mut content.now);
            content.durable = content.now.clone();
        }

        /// Lets a bad sector come up below a file.
        pub(crate) fn spoil(&self, path: &Path) {
            self.content(path).unwrap().lock().unwrap().unreadable = true;
        }

        fn content(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
            match self.state.lock().unwrap().now.get(path) {
                Some(Entry::File(content)) => Ok(content.clone()),
                _ => Err(missing()),
            }
        }

        fn check(&self, operation: Operation) -> io::Result<()> {
            let state = self.state.lock().unwrap();
            let held = |state: &mut State| state.held.contains(&operation);
            let state = self.healed.wait_while(state, held).unwrap();
            match state.faults.iter().find(|(faulty, _)| *faulty == operation) {
                Some((_, kind)) => Err((*kind).into()),
                None => Ok(()),
            }
        }

        fn enter(&self, path: &Path, entry: Entry) -> io::Result<()> {
            let state = &mut *self.state.lock().unwrap();
            let parent = path.parent().unwrap_or(Path::new(""));
            if parent != Path::new("") && !state.now.contains_key(parent) {
                return Err(missing());
            }
            state.now.insert(path.into(), entry);
            Ok(())
        }
    }

    impl Disk for TestDisk {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.check(Operation::Create)?;
            if self.content(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let content = Arc::<Mutex<Content>>::default();
            self.enter(path, Entry::File(content.clone()))?;
            let disk = self.clone();
            Ok(Box::new(TestFile { disk, content }))
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.check(Operation::Open)?;
            let (disk, content) = (self.clone(), self.content(path)?);
            Ok(Box::new(TestFile { disk, content }))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.check(Operation::Rename)?;
            let content = self.content(from)?;
            self.enter(to, Entry::File(content))?;
            self.remove(from)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            let removed = self.state.lock().unwrap().now.remove(path);
            removed.map(drop).ok_or_else(missing)
        }

        fn create_folder(&self, path: &Path) -> io::Result<()> {
            self.enter(path, Entry::Folder)
        }

        fn list(&self, path: &Path) -> io::Result<Vec<String>> {
            let state = self.state.lock().unwrap();
            let inside = state.now.keys().filter(|name| name.parent() == Some(path));
            Ok(inside
                .map(|name| name.file_name().unwrap().to_str().unwrap().into())
                .collect())
        }

        fn modified(&self, path: &Path) -> io::Result<Timestamp> {
            Ok(self.content(path)?.lock().unwrap().modified)
        }

        fn sync_folder(&self, path: &Path) -> io::Result<()> {
            self.check(Operation::SyncFolder)?;
            let state = &mut *self.state.lock().unwrap();
            let inside = |name: &PathBuf| name.parent() == Some(path);
            state.durable.retain(|name, _| !inside(name));
            let names = state.now.iter().filter(|(name, _)| inside(name));
            state
                .durable
                .extend(names.map(|(name, entry)| (name.clone(), entry.clone())));
            Ok(())
        }

        fn room(&self) -> io::Result<Room> {
            let plenty = Room {
                free: 1 << 40,
                total: 1 << 40,
            };
            Ok(self.state.lock().unwrap().room.unwrap_or(plenty))
        }

        fn device(&self) -> io::Result<u64> {
            Ok(Arc::as_ptr(&self.state).addr() as u64)
        }
    }

    /// Disks in memory by the paths at which they are; where none was put in, there is nothing.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct TestBays(Arc<Mutex<BTreeMap<PathBuf, TestDisk>>>);

    impl TestBays {
        /// Puts in a new disk, whatever was there before.
        pub(crate) fn put_in(&self, path: &str) -> TestDisk {
            let disk = TestDisk::default();
            self.0.lock().unwrap().insert(path.into(), disk.clone());
            disk
        }

        /// The disk at a path.
        pub(crate) fn at(&self, path: &str) -> TestDisk {
            self.0.lock().unwrap()[Path::new(path)].clone()
        }

        /// Ends all faults of all disks.
        pub(crate) fn heal(&self) {
            self.0.lock().unwrap().values().for_each(TestDisk::heal);
        }
    }

    impl Bays for TestBays {
        fn disk(&self, path: &Path) -> Arc<dyn Disk> {
            match self.0.lock().unwrap().get(path) {
                Some(disk) => Arc::new(disk.clone()),
                None => Arc::new(Folder::new("/nonexistent")),
            }
        }
    }

    impl DiskFile for TestFile {
        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.disk.check(Operation::Write)?;
            let content = &mut *self.content.lock().unwrap();
            content.modified = Seams::system().clock.now();
            let content = &mut content.now;
            let end = offset as usize + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[offset as usize..end].copy_from_slice(bytes);
            Ok(())
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.disk.check(Operation::Read)?;
            let content = &self.content.lock().unwrap();
            if content.unreadable {
                return Err(rustix::io::Errno::IO.into());
            }
            let found = content.now.get(offset as usize..offset as usize + buffer.len());
            buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.disk.check(Operation::Sync)?;
            let content = &mut *self.content.lock().unwrap();
            content.durable = content.now.clone();
            Ok(())
        }
    }
}
