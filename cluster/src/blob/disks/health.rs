//! Whether a disk can be relied on: a disk that stands between the shards and the real one, and
//! takes it out for good when it fails.
//!
//! What cannot be written, or not be made durable, takes the disk out at once: what it holds then is
//! not known. A read that fails may be of one bad sector on a disk that is sound otherwise, so it
//! has the disk looked at, and takes it out only when there were many. Once a disk is out, nothing
//! is asked of it any more: whoever waits is told, and a disk that hangs holds nobody up.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};
use tracing::error;

use super::Signals;
use super::id::DiskId;
use crate::blob::disk::{Disk, DiskFile, Room};
use crate::seams::Timestamp;

/// So many reads may fail before a disk is taken out, though it can still be written to.
const READ_ERRORS: u64 = 16;

/// What whoever asks something of a disk that was taken out is told.
pub(super) const TAKEN_OUT: &str = "the disk has failed and was taken out";

/// How a disk is. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: DiskId,
    signals: Signals,
    failure: watch::Sender<Option<Failure>>,
    read_errors: AtomicU64,
    suspected: Notify,
}

/// Why a disk was taken out, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) at: Timestamp,
}

impl Health {
    pub(super) fn new(disk: DiskId, signals: Signals) -> Self {
        Self(Arc::new(Inner {
            disk,
            signals,
            failure: watch::Sender::new(None),
            read_errors: AtomicU64::new(0),
            suspected: Notify::new(),
        }))
    }

    /// Takes the disk out, for good.
    pub(super) fn fail(&self, reason: &str) {
        let failure = Failure {
            reason: reason.to_owned(),
            at: self.0.signals.now(),
        };
        let is_first = self.0.failure.send_if_modified(|known| match known {
            Some(_) => false,
            None => {
                *known = Some(failure);
                true
            }
        });
        if is_first {
            error!(disk = %self.0.disk, reason, "a disk has failed and is taken out; its shards are rebuilt");
            self.0.signals.lost();
        }
    }

    /// Why it was taken out, if it was.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.failure.borrow().clone()
    }

    /// Whether it was taken out.
    pub(super) fn has_failed(&self) -> bool {
        self.0.failure.borrow().is_some()
    }

    /// Waits until it is taken out.
    pub(super) async fn failed(&self) {
        let mut failure = self.0.failure.subscribe();
        // The sender lives as long as this.
        let _ = failure.wait_for(Option::is_some).await;
    }

    /// Waits until something went wrong for which the disk should be looked at.
    pub(super) async fn suspected(&self) {
        self.0.suspected.notified().await;
    }

    /// Has the disk looked at.
    #[cfg(test)]
    pub(super) fn suspect(&self) {
        self.0.suspected.notify_one();
    }

    fn ask<T>(&self, ask: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.has_failed() {
            true => Err(io::Error::other(TAKEN_OUT)),
            false => ask(),
        }
    }

    /// Changes something on the disk.
    fn write<T>(&self, write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let result = self.ask(write);
        match &result {
            Err(error) if is_of_the_disk(error) => self.fail(&error.to_string()),
            _ => {}
        }
        result
    }

    /// Writes where there must be something: otherwise the disk may not be mounted any more.
    fn write_there<T>(&self, write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let result = self.write(write);
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::NotFound
        {
            self.0.suspected.notify_one();
        }
        result
    }

    /// Reads something from the disk.
    fn read<T>(&self, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let result = self.ask(read);
        if let Err(error) = &result
            && is_of_the_disk(error)
        {
            self.0.suspected.notify_one();
            if self.0.read_errors.fetch_add(1, Ordering::Relaxed) + 1 >= READ_ERRORS {
                self.fail(&format!("{READ_ERRORS} reads have failed, the last: {error}"));
            }
        }
        result
    }
}

/// Whether an error tells of the disk rather than of a file, or of this process.
fn is_of_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    use rustix::io::Errno;
    let of_the_process = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    let raw = error.raw_os_error().map(Errno::from_raw_os_error);
    let of_a_file = matches!(
        error.kind(),
        NotFound
            | AlreadyExists
            | PermissionDenied
            | StorageFull
            | QuotaExceeded
            | UnexpectedEof
            | InvalidInput
            | InvalidData
            | Interrupted
            | WouldBlock
            | OutOfMemory
    );
    !of_a_file && !raw.is_some_and(|raw| of_the_process.contains(&raw))
}

/// A disk that is taken out when it fails.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) health: Health,
}

struct GuardedFile {
    file: Box<dyn DiskFile>,
    health: Health,
}

impl Guarded {
    fn guarded(&self, file: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
        let health = self.health.clone();
        file.map(|file| Box::new(GuardedFile { file, health }) as Box<dyn DiskFile>)
    }
}

impl Disk for Guarded {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.guarded(self.health.write_there(|| self.disk.create(path)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.guarded(self.health.read(|| self.disk.open(path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.health.write(|| self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.health.write(|| self.disk.remove(path))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.health.write_there(|| self.disk.create_folder(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.health.read(|| self.disk.list(path))
    }

    fn modified(&self, path: &Path) -> io::Result<Timestamp> {
        self.health.read(|| self.disk.modified(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.health.write_there(|| self.disk.sync_folder(path))
    }

    fn room(&self) -> io::Result<Room> {
        self.health.read(|| self.disk.room())
    }

    fn device(&self) -> io::Result<u64> {
        self.health.read(|| self.disk.device())
    }
}

impl DiskFile for GuardedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.health.write(|| self.file.write_at(bytes, offset))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.health.read(|| self.file.read_at(buffer, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.health.write(|| self.file.sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::disk::testing::{Operation, TestDisk};
    use crate::seams::Seams;

    fn guarded(disk: &TestDisk) -> Guarded {
        let signals = Signals::new(&Seams::system());
        Guarded {
            disk: Arc::new(disk.clone()),
            health: Health::new("7f3a09c1".parse().unwrap(), signals),
        }
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_taken_out_and_not_asked_again() {
        for operation in [
            Operation::Create,
            Operation::Write,
            Operation::Sync,
            Operation::Rename,
            Operation::SyncFolder,
        ] {
            let disk = TestDisk::default();
            let guarded = guarded(&disk);
            let work = || {
                let file = guarded.create(Path::new("a"))?;
                file.write_at(b"x", 0)?;
                file.sync()?;
                guarded.rename(Path::new("a"), Path::new("b"))?;
                guarded.sync_folder(Path::new(""))
            };
            disk.fail(operation, io::ErrorKind::ReadOnlyFilesystem);
            assert!(work().is_err());
            assert!(guarded.health.has_failed(), "{operation:?}");
            disk.heal();
            assert!(work().is_err(), "{operation:?}: it may not be used again");
        }
    }

    #[test]
    fn what_is_not_the_fault_of_the_disk_does_not_take_it_out() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied] {
            let disk = TestDisk::default();
            let guarded = guarded(&disk);
            disk.fail(Operation::Create, kind);
            assert!(guarded.create(Path::new("a")).is_err());
            assert!(!guarded.health.has_failed(), "{kind:?}");
        }
        let guarded = guarded(&TestDisk::default());
        assert!(guarded.open(Path::new("a")).is_err());
        assert!(!guarded.health.has_failed());
        for raw in [23, 24] {
            assert!(!is_of_the_disk(&io::Error::from_raw_os_error(raw)), "{raw}");
        }
        assert!(is_of_the_disk(&io::Error::from_raw_os_error(5)));
    }

    #[test]
    fn some_bad_sectors_do_not_take_a_disk_out_and_many_do() {
        let disk = TestDisk::default();
        let guarded = guarded(&disk);
        let file = guarded.create(Path::new("a")).unwrap();
        disk.fail(Operation::Read, io::ErrorKind::Other);
        for _ in 1..READ_ERRORS {
            assert!(file.read_at(&mut [0], 0).is_err());
            assert!(!guarded.health.has_failed());
        }
        assert!(file.read_at(&mut [0], 0).is_err());
        assert!(guarded.health.has_failed());
    }
}
