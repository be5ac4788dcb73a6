//! The shards on one disk of this node: files on a [`Disk`].
//!
//! ```text
//! shards/<group>/<generation>-<number>-<index>     a shard; group and number hexadecimal
//! shards/incoming/<random>                         being written; removed at start
//! shards/quarantine/<group>-<shard>-<time>         what was found corrupt or unknown, for a human
//!                                                  to look at; time in milliseconds, hexadecimal
//! ```
//!
//! A shard appears under its name only when all of it is durable: cells, then the header, then
//! fdatasync, rename, and fsync of the folder, and of its parent if the folder is new. A sync
//! that fails is fatal: what the disk holds then is not known, so the process ends and finds out
//! when it starts.
//!
//! All calls wait for the disk; they are made on threads that may wait.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use tracing::{error, warn};

use super::disk::{Disk, DiskFile};
use super::metrics;
use super::record::{Code, SegmentId};
use super::segments::CELL_BYTES;
use super::shard_error::ShardError;
use super::shard_file::{HEADER_BYTES, MAX_CELLS, Seal, ShardHeader, ShardName, checksum};
use super::tree::SEGMENT_BYTES;
use crate::seams::{Seams, Timestamp};
use crate::storage::{DiskWatch, FailStop};

/// The shards on one disk.
pub(super) struct ShardStore {
    disk: Arc<dyn Disk>,
    seams: Seams,
    fail_stop: FailStop,
    watch: DiskWatch,
    /// Room that is left free for what has to be written when the disk is full.
    reserve_bytes: u64,
    /// What shards that are being written may still take.
    promised: AtomicU64,
    /// How many shards are being written.
    being_written: AtomicU64,
    /// Groups whose folder is there and durable.
    folders: Mutex<HashSet<u16>>,
    /// How many shards there were when they were counted, and have come and gone by now.
    counted: OnceLock<i64>,
    come_and_gone: AtomicI64,
}

/// A shard being written. Dropping it removes what there is.
pub(super) struct IncomingShard {
    store: Arc<ShardStore>,
    promise: Promise,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    name: ShardName,
    code: Code,
    offset: u64,
    checksums: Vec<u64>,
    last_cell_bytes: usize,
    finished: bool,
}

/// Room that is kept for a shard being written. Dropping it gives back what was not used.
struct Promise {
    store: Arc<ShardStore>,
    bytes: u64,
}

impl Promise {
    /// So much was written: it is missing on the disk now.
    fn used(&mut self, bytes: usize) {
        let bytes = self.bytes.min(bytes as u64);
        self.bytes -= bytes;
        self.store.promised.fetch_sub(bytes, Ordering::SeqCst);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.store.promised.fetch_sub(self.bytes, Ordering::SeqCst);
        self.store.being_written.fetch_sub(1, Ordering::SeqCst);
    }
}

fn root() -> PathBuf {
    PathBuf::from("shards")
}

fn incoming() -> PathBuf {
    root().join("incoming")
}

fn quarantine() -> PathBuf {
    root().join("quarantine")
}

fn folder(group: u16) -> PathBuf {
    root().join(format!("{group:03x}"))
}

fn file_name(name: &ShardName) -> String {
    format!("{}-{:x}-{}", name.id.generation, name.id.number, name.index)
}

fn parse(group: u16, file: &str) -> Option<ShardName> {
    let mut parts = file.split('-');
    let name = ShardName {
        group,
        id: SegmentId {
            generation: parts.next()?.parse().ok()?,
            number: u64::from_str_radix(parts.next()?, 16).ok()?,
        },
        index: parts.next()?.parse().ok()?,
    };
    (file_name(&name) == file).then_some(name)
}

fn path(name: &ShardName) -> PathBuf {
    folder(name.group).join(file_name(name))
}

impl ShardStore {
    /// Opens the store; removes what was being written when the node stopped.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        seams: Seams,
        fail_stop: FailStop,
        watch: DiskWatch,
        reserve_bytes: u64,
    ) -> io::Result<Self> {
        for folder in [root(), incoming(), quarantine()] {
            disk.create_folder(&folder)?;
        }
        disk.sync_folder(Path::new(""))?;
        disk.sync_folder(&root())?;
        for name in disk.list(&incoming())? {
            disk.remove(&incoming().join(name))?;
        }
        Ok(Self {
            disk,
            seams,
            fail_stop,
            watch,
            reserve_bytes,
            promised: AtomicU64::new(0),
            being_written: AtomicU64::new(0),
            folders: Mutex::default(),
            counted: OnceLock::new(),
            come_and_gone: AtomicI64::new(0),
        })
    }

    /// How many shards there are; none before they were counted.
    pub(super) fn shards(&self) -> Option<u64> {
        let counted = self.counted.get()?;
        let now = counted + self.come_and_gone.load(Ordering::Relaxed);
        Some(now.max(0) as u64)
    }

    /// Counts the shards, by their names.
    pub(super) fn count(&self) -> Result<(), ShardError> {
        let mut shards = 0;
        for group in self.groups()? {
            shards += self.list(group)?.len() as i64;
        }
        let _ = self
            .counted
            .set(shards - self.come_and_gone.load(Ordering::Relaxed));
        Ok(())
    }

    /// Writes something, makes it durable and removes it again, to see whether that is possible.
    pub(super) fn probe(&self) -> Result<(), ShardError> {
        let path = incoming().join(data_encoding::HEXLOWER.encode(&self.seams.random::<16>()));
        let file = match self.disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            file => file?,
        };
        let written = file.write_at(&[0; 512], 0);
        let synced = written
            .map_err(ShardError::from)
            .and_then(|()| self.certain("sync a probe", || file.sync()));
        self.disk.remove(&path)?;
        match synced {
            Err(ShardError::Full) => Ok(()),
            synced => synced,
        }
    }

    /// Whether there is no shard here, nor one that is being written. Once nobody begins one here
    /// any more, it stays so.
    pub(super) fn is_empty(&self) -> Result<bool, ShardError> {
        // In this order: whoever finishes in between is in the lists.
        if self.being_written.load(Ordering::SeqCst) > 0 {
            return Ok(false);
        }
        for group in self.groups()? {
            if !self.list(group)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How much more may be written without touching the reserve.
    pub(super) fn room(&self) -> Result<u64, ShardError> {
        let free = self.disk.room()?.free;
        let spoken_for = self
            .reserve_bytes
            .saturating_add(self.promised.load(Ordering::SeqCst));
        Ok(free.saturating_sub(spoken_for))
    }

    /// Whether there is room for so many bytes, beyond what is kept in reserve.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), ShardError> {
        if self.room()? < bytes {
            return Err(ShardError::Full);
        }
        Ok(())
    }

    /// Keeps room for a shard that is about to be written.
    fn promise(self: &Arc<Self>, bytes: u64) -> Result<Promise, ShardError> {
        // Taken before it is looked at, so that of two at the same time one sees the other.
        let promise = Promise {
            store: self.clone(),
            bytes,
        };
        self.promised.fetch_add(bytes, Ordering::SeqCst);
        self.being_written.fetch_add(1, Ordering::SeqCst);
        let spoken_for = self
            .reserve_bytes
            .saturating_add(self.promised.load(Ordering::SeqCst));
        match self.disk.room()?.free < spoken_for {
            true => Err(ShardError::Full),
            false => Ok(promise),
        }
    }

    /// Begins to write a shard, which is not there yet.
    pub(super) fn begin(
        self: &Arc<Self>,
        name: ShardName,
        code: Code,
        offset: u64,
    ) -> Result<IncomingShard, ShardError> {
        if self.disk.open(&path(&name)).is_ok() {
            return Err(ShardError::Refused("the shard is there already".into()));
        }
        self.begin_anew(name, code, offset)
    }

    /// Begins to write a shard. If it is there already, what is there goes to quarantine when the
    /// new one is complete.
    pub(super) fn begin_anew(
        self: &Arc<Self>,
        name: ShardName,
        code: Code,
        offset: u64,
    ) -> Result<IncomingShard, ShardError> {
        if !code.is_valid() || usize::from(name.index) >= code.shards() {
            return Err(ShardError::Refused("there is no such shard".into()));
        }
        let largest = SEGMENT_BYTES.div_ceil(code.data.into()) + HEADER_BYTES as u64;
        let promise = self.promise(largest)?;
        let path = incoming().join(data_encoding::HEXLOWER.encode(&self.seams.random::<16>()));
        Ok(IncomingShard {
            file: self.disk.create(&path)?,
            store: self.clone(),
            promise,
            path,
            name,
            code,
            offset,
            checksums: Vec::new(),
            last_cell_bytes: CELL_BYTES,
            finished: false,
        })
    }

    /// Reads some cells of a shard, each verified, and what the shard says of itself.
    pub(super) fn read(
        &self,
        name: &ShardName,
        cells: Range<u32>,
    ) -> Result<(ShardHeader, Vec<Bytes>), ShardError> {
        let result = self.read_verified(name, cells);
        if let Err(ShardError::Corrupt(what)) = &result {
            self.quarantine(name, what);
        }
        result
    }

    /// What a shard says of itself.
    pub(super) fn header(&self, name: &ShardName) -> Result<ShardHeader, ShardError> {
        let result = self.open_verified(name).map(|(_, header)| header);
        if let Err(ShardError::Corrupt(what)) = &result {
            self.quarantine(name, what);
        }
        result
    }

    fn open_verified(&self, name: &ShardName) -> Result<(Box<dyn DiskFile>, ShardHeader), ShardError> {
        let file = self.disk.open(&path(name))?;
        let mut page = [0; HEADER_BYTES];
        read_exact(file.as_ref(), &mut page, 0)?;
        let header = ShardHeader::decode(&page)?;
        if header.name != *name {
            return Err(ShardError::Corrupt(
                "it is another shard than its name says".into(),
            ));
        }
        Ok((file, header))
    }

    fn read_verified(
        &self,
        name: &ShardName,
        cells: Range<u32>,
    ) -> Result<(ShardHeader, Vec<Bytes>), ShardError> {
        let (file, header) = self.open_verified(name)?;
        let geometry = header.geometry().expect("checked when it was decoded");
        if cells.is_empty() || cells.end > geometry.stripes() {
            return Err(ShardError::Refused("there are no such cells".into()));
        }
        let mut buffer = BytesMut::zeroed(geometry.cells_bytes(cells.clone()) as usize);
        let start = HEADER_BYTES as u64 + u64::from(cells.start) * CELL_BYTES as u64;
        read_exact(file.as_ref(), &mut buffer, start)?;
        let mut rest = buffer.freeze();
        let mut out = Vec::with_capacity(cells.len());
        for cell in cells {
            let bytes = rest.split_to(geometry.cell_bytes(cell));
            if checksum(&bytes) != header.checksums[cell as usize] {
                return Err(ShardError::Corrupt(format!(
                    "cell {cell} does not have its checksum"
                )));
            }
            out.push(bytes);
        }
        Ok((header, out))
    }

    /// Removes a shard; one that is not there is no error.
    pub(super) fn remove(&self, name: &ShardName) -> Result<(), ShardError> {
        match self.disk.remove(&path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result?,
        }
        self.come_and_gone.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts a corrupt file out of the way, so that it is never read again.
    fn quarantine(&self, name: &ShardName, what: &str) {
        metrics::corrupt_shard();
        let (group, shard) = (name.group, file_name(name));
        error!(group, shard, what, "a shard is corrupt and goes to quarantine");
        if let Err(error) = self.set_aside(name) {
            // It is found corrupt again by whoever reads it next.
            warn!(shard, %error, "a corrupt shard could not be moved");
        }
    }

    /// Moves a shard to quarantine, where nobody reads it.
    pub(super) fn set_aside(&self, name: &ShardName) -> Result<(), ShardError> {
        let now = self.seams.clock.now().0;
        let to = format!("{:03x}-{}-{now:x}", name.group, file_name(name));
        self.disk.rename(&path(name), &quarantine().join(to))?;
        self.come_and_gone.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes what has been in quarantine since before a time; says how many shards that were.
    pub(super) fn empty_quarantine(&self, before: Timestamp) -> Result<u64, ShardError> {
        let mut removed = 0;
        for name in self.disk.list(&quarantine())? {
            let since = name
                .rsplit('-')
                .next()
                .and_then(|since| u64::from_str_radix(since, 16).ok());
            if since.is_some_and(|since| since < before.0) {
                self.disk.remove(&quarantine().join(name))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The groups that have a folder, in their order.
    pub(super) fn groups(&self) -> Result<Vec<u16>, ShardError> {
        let names = self.disk.list(&root())?;
        let groups = names.iter().filter(|name| name.len() == 3);
        let mut groups: Vec<u16> = groups
            .filter_map(|name| u16::from_str_radix(name, 16).ok())
            .collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// The shards of a group, in no order. What is not named like one was put there by somebody
    /// else and is left alone.
    pub(super) fn list(&self, group: u16) -> Result<Vec<ShardName>, ShardError> {
        let names = self.disk.list(&folder(group))?;
        Ok(names.iter().filter_map(|name| parse(group, name)).collect())
    }

    /// When a shard was written.
    pub(super) fn written(&self, name: &ShardName) -> Result<Timestamp, ShardError> {
        Ok(self.disk.modified(&path(name))?)
    }

    /// Makes sure that the folder of a group is there, for ever.
    fn ensure_folder(&self, group: u16) -> Result<(), ShardError> {
        let known =
            |folders: &Mutex<HashSet<u16>>| folders.lock().expect("no panic while held").contains(&group);
        if known(&self.folders) {
            return Ok(());
        }
        self.disk.create_folder(&folder(group))?;
        self.sync_folder(&root())?;
        self.folders.lock().expect("no panic while held").insert(group);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> Result<(), ShardError> {
        self.certain("sync a folder of shards", || self.disk.sync_folder(path))
    }

    /// Ends the process if a sync failed: it would be wrong to try again, as the pages in
    /// question may be gone and look clean.
    fn certain(&self, what: &str, sync: impl FnOnce() -> io::Result<()>) -> Result<(), ShardError> {
        let result = {
            let _waiting = self.watch.wait();
            sync()
        };
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::StorageFull
        {
            self.fail_stop.stop(&format!("{what}: {error}"));
        }
        Ok(result?)
    }
}

/// Reads all that is asked for. What cannot be read though the file is there, as behind a bad
/// sector, is as lost as what has changed.
fn read_exact(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> Result<(), ShardError> {
    file.read_at(buffer, offset).map_err(|error| {
        let raw = error.raw_os_error().map(Errno::from_raw_os_error);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ShardError::Corrupt("it is cut off".into()),
            _ if raw == Some(Errno::IO) => ShardError::Corrupt(format!("it cannot be read: {error}")),
            _ => error.into(),
        }
    })
}

impl IncomingShard {
    /// Writes the next cell, whose checksum was computed by whoever made it.
    pub(super) fn write(&mut self, cell: &[u8], expected: u64) -> Result<(), ShardError> {
        let refused = |what: &str| Err(ShardError::Refused(what.into()));
        if self.last_cell_bytes != CELL_BYTES || self.checksums.len() >= MAX_CELLS {
            return refused("there are too many cells");
        }
        if cell.is_empty() || cell.len() > CELL_BYTES {
            return refused("a cell is too long, or empty");
        }
        if checksum(cell) != expected {
            return refused("a cell changed on its way");
        }
        let offset = HEADER_BYTES as u64 + self.checksums.len() as u64 * CELL_BYTES as u64;
        self.file.write_at(cell, offset)?;
        self.promise.used(cell.len());
        self.checksums.push(expected);
        self.last_cell_bytes = cell.len();
        Ok(())
    }

    /// Makes the shard durable under its name.
    pub(super) fn finish(mut self, seal: Seal) -> Result<(), ShardError> {
        let header = ShardHeader {
            name: self.name,
            code: self.code,
            offset: self.offset,
            seal,
            checksums: std::mem::take(&mut self.checksums),
        };
        let last = header
            .geometry()
            .map(|geometry| geometry.cell_bytes(geometry.stripes() - 1));
        if last != Some(self.last_cell_bytes) {
            return Err(ShardError::Refused(
                "the cells are not those of such a segment".into(),
            ));
        }
        let store = self.store.clone();
        self.file.write_at(&header.encode(), 0)?;
        store.certain("sync a shard", || self.file.sync())?;
        store.ensure_folder(self.name.group)?;
        if store.disk.open(&path(&self.name)).is_ok() {
            store.set_aside(&self.name)?;
        }
        store.disk.rename(&self.path, &path(&self.name))?;
        self.finished = true;
        store.come_and_gone.fetch_add(1, Ordering::Relaxed);
        store.sync_folder(&folder(self.name.group))
    }
}

impl Drop for IncomingShard {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, the next start removes it.
            let _ = self.store.disk.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::blob::disk::Room;
    use crate::blob::disk::testing::{Operation, TestDisk};
    use crate::blob::id::Generation;
    use crate::blob::record::SegmentId;
    use crate::blob::suite::content;

    struct Stage {
        disk: TestDisk,
        store: Arc<ShardStore>,
        stops: Arc<AtomicUsize>,
    }

    fn open(disk: &TestDisk) -> Stage {
        let stops = Arc::<AtomicUsize>::default();
        let count = stops.clone();
        let fail_stop = FailStop::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let store = ShardStore::open(
            Arc::new(disk.clone()),
            Seams::system(),
            fail_stop,
            DiskWatch::new("a test"),
            1000,
        )
        .unwrap();
        Stage {
            disk: disk.clone(),
            store: Arc::new(store),
            stops,
        }
    }

    fn name(index: u8) -> ShardName {
        ShardName {
            group: 5,
            id: SegmentId {
                generation: Generation([1; 16]),
                number: 0,
            },
            index,
        }
    }

    const COPIES: Code = Code { data: 1, parity: 1 };

    fn cells(len: usize) -> Vec<Bytes> {
        let bytes = content(len);
        bytes
            .chunks(CELL_BYTES)
            .map(|cell| bytes.slice_ref(cell))
            .collect()
    }

    fn seal(len: usize) -> Seal {
        Seal {
            len: len as u64,
            hash: [3; 32],
            blob: None,
        }
    }

    fn write(store: &Arc<ShardStore>, index: u8, len: usize) -> Result<(), ShardError> {
        let mut shard = store.begin(name(index), COPIES, 0)?;
        for cell in cells(len) {
            shard.write(&cell, checksum(&cell))?;
        }
        shard.finish(seal(len))
    }

    const LEN: usize = 3 * CELL_BYTES - 64;

    #[test]
    fn cells_are_read_back_singly_and_together() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        let cells = cells(LEN);
        for start in 0..3 {
            for end in start + 1..=3 {
                let (_, got) = stage.store.read(&name(0), start..end).unwrap();
                assert_eq!(got, cells[start as usize..end as usize]);
            }
        }
        assert!(matches!(
            stage.store.read(&name(0), 1..1),
            Err(ShardError::Refused(_))
        ));
        assert!(matches!(
            stage.store.read(&name(0), 0..4),
            Err(ShardError::Refused(_))
        ));
        assert!(matches!(
            stage.store.read(&name(1), 0..1),
            Err(ShardError::Missing)
        ));
        assert_eq!(stage.store.header(&name(0)).unwrap().seal, seal(LEN));
    }

    #[test]
    fn a_finished_shard_survives_a_power_cut_and_an_unfinished_one_leaves_nothing() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        let mut unfinished = stage.store.begin(name(1), COPIES, 0).unwrap();
        unfinished
            .write(&cells(LEN)[0], checksum(&cells(LEN)[0]))
            .unwrap();
        stage.disk.cut_power();
        let again = open(&stage.disk);
        assert_eq!(again.store.read(&name(0), 0..3).unwrap().1, cells(LEN));
        assert!(matches!(
            again.store.read(&name(1), 0..1),
            Err(ShardError::Missing)
        ));
        assert_eq!(stage.disk.files().len(), 1);
    }

    #[test]
    fn what_was_being_written_is_removed_at_start() {
        let stage = open(&TestDisk::default());
        let unfinished = stage.store.begin(name(1), COPIES, 0).unwrap();
        std::mem::forget(unfinished);
        assert_eq!(stage.disk.files().len(), 1);
        open(&stage.disk);
        assert!(stage.disk.files().is_empty());
    }

    #[test]
    fn a_dropped_shard_is_removed() {
        let stage = open(&TestDisk::default());
        drop(stage.store.begin(name(1), COPIES, 0).unwrap());
        assert!(stage.disk.files().is_empty());
    }

    #[test]
    fn a_changed_byte_anywhere_is_found_and_the_file_is_quarantined() {
        for at in [0, 20, 200, 4095, 4096, HEADER_BYTES + 2 * CELL_BYTES + 7] {
            let stage = open(&TestDisk::default());
            write(&stage.store, 0, LEN).unwrap();
            stage.disk.damage(&path(&name(0)), |bytes| bytes[at] ^= 1);
            assert!(
                matches!(stage.store.read(&name(0), 0..3), Err(ShardError::Corrupt(_))),
                "{at}"
            );
            assert!(
                matches!(stage.store.read(&name(0), 0..3), Err(ShardError::Missing)),
                "{at}"
            );
            let files = stage.disk.files();
            assert!(
                files.len() == 1 && files[0].starts_with(quarantine()),
                "{files:?}"
            );
        }
    }

    #[test]
    fn damage_elsewhere_does_not_keep_a_cell_from_being_read() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        stage
            .disk
            .damage(&path(&name(0)), |bytes| bytes[HEADER_BYTES + CELL_BYTES] ^= 1);
        assert_eq!(stage.store.read(&name(0), 2..3).unwrap().1, cells(LEN)[2..]);
    }

    #[test]
    fn a_file_that_is_cut_off_is_corrupt() {
        for len in [0, 100, HEADER_BYTES, HEADER_BYTES + 2 * CELL_BYTES] {
            let stage = open(&TestDisk::default());
            write(&stage.store, 0, LEN).unwrap();
            stage.disk.damage(&path(&name(0)), |bytes| bytes.truncate(len));
            assert!(
                matches!(stage.store.read(&name(0), 2..3), Err(ShardError::Corrupt(_))),
                "{len}"
            );
        }
    }

    #[test]
    fn a_shard_under_the_name_of_another_is_corrupt() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        stage.disk.rename(&path(&name(0)), &path(&name(1))).unwrap();
        assert!(matches!(
            stage.store.read(&name(1), 0..1),
            Err(ShardError::Corrupt(_))
        ));
    }

    #[test]
    fn an_error_of_the_disk_is_neither_corruption_nor_absence() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        stage.disk.fail(Operation::Read, io::ErrorKind::Other);
        assert!(matches!(stage.store.read(&name(0), 0..1), Err(ShardError::Io(_))));
        stage.disk.heal();
        assert!(stage.store.read(&name(0), 0..1).is_ok());
    }

    #[test]
    fn a_failed_sync_stops_the_node() {
        for operation in [Operation::Sync, Operation::SyncFolder] {
            let stage = open(&TestDisk::default());
            stage.disk.fail(operation, io::ErrorKind::Other);
            assert!(write(&stage.store, 0, LEN).is_err());
            assert_eq!(stage.stops.load(Ordering::SeqCst), 1, "{operation:?}");
        }
    }

    #[test]
    fn other_failures_leave_no_shard_and_do_not_stop_the_node() {
        for operation in [Operation::Create, Operation::Write, Operation::Rename] {
            let stage = open(&TestDisk::default());
            stage.disk.fail(operation, io::ErrorKind::Other);
            assert!(write(&stage.store, 0, LEN).is_err());
            stage.disk.heal();
            assert_eq!(stage.stops.load(Ordering::SeqCst), 0, "{operation:?}");
            assert!(stage.disk.files().is_empty(), "{operation:?}");
            write(&stage.store, 0, LEN).unwrap();
        }
    }

    #[test]
    fn the_reserve_of_a_full_disk_is_not_touched() {
        let stage = open(&TestDisk::default());
        let room = |beyond_reserve: u64| {
            let free = 1000 + beyond_reserve;
            stage.disk.set_room(Room { free, total: 1 << 30 });
        };
        let largest = SEGMENT_BYTES + HEADER_BYTES as u64;
        room(largest - 1);
        assert!(matches!(write(&stage.store, 0, LEN), Err(ShardError::Full)));
        room(2 * largest - 1);
        // What is being written counts as far as it is not written yet.
        let first = stage.store.begin(name(1), COPIES, 0).unwrap();
        assert!(matches!(write(&stage.store, 0, LEN), Err(ShardError::Full)));
        assert_eq!(stage.store.room().unwrap(), largest - 1);
        drop(first);
        write(&stage.store, 0, LEN).unwrap();
        assert_eq!(
            stage.store.room().unwrap(),
            2 * largest - 1,
            "a promise ends with its shard"
        );
    }

    #[test]
    fn cells_that_do_not_fit_are_refused() {
        let stage = open(&TestDisk::default());
        let begin = || stage.store.begin(name(0), COPIES, 0).unwrap();
        let refused = |result: Result<(), ShardError>| assert!(matches!(result, Err(ShardError::Refused(_))));
        let whole = cells(CELL_BYTES).remove(0);
        let mut shard = begin();
        refused(shard.write(&whole, checksum(&whole) ^ 1));
        refused(shard.write(&[], checksum(&[])));
        refused(shard.write(&[0; CELL_BYTES + 1], checksum(&[0; CELL_BYTES + 1])));
        shard.write(&whole[..64], checksum(&whole[..64])).unwrap();
        refused(shard.write(&whole, checksum(&whole)));
        refused(shard.finish(seal(CELL_BYTES)));
        refused(begin().finish(seal(64)));
        assert!(stage.store.begin(name(2), COPIES, 0).is_err());
        write(&stage.store, 0, LEN).unwrap();
        assert!(
            stage.store.begin(name(0), COPIES, 0).is_err(),
            "it is there already"
        );
        assert_eq!(stage.disk.files().len(), 1);
    }

    #[test]
    fn shards_are_listed_and_other_files_are_not() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        write(&stage.store, 1, LEN).unwrap();
        for other in ["notes.txt", "01-0-0", "-", ""] {
            drop(stage.disk.create(&folder(5).join(other)).unwrap());
        }
        assert_eq!(stage.store.groups().unwrap(), [5]);
        let mut listed = stage.store.list(5).unwrap();
        listed.sort_unstable();
        assert_eq!(listed, [name(0), name(1)]);
    }

    #[test]
    fn quarantine_is_emptied_of_what_has_been_there_for_long() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        stage.store.set_aside(&name(0)).unwrap();
        assert!(stage.store.list(5).unwrap().is_empty());
        let now = Seams::system().clock.now();
        assert_eq!(
            stage.store.empty_quarantine(Timestamp(now.0 - 60_000)).unwrap(),
            0
        );
        assert_eq!(stage.disk.files().len(), 1);
        assert_eq!(
            stage.store.empty_quarantine(Timestamp(now.0 + 60_000)).unwrap(),
            1
        );
        assert!(stage.disk.files().is_empty());
    }

    #[test]
    fn shards_are_counted_while_they_come_and_go() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        assert_eq!(stage.store.shards(), None);
        stage.store.count().unwrap();
        assert_eq!(stage.store.shards(), Some(1));
        write(&stage.store, 1, LEN).unwrap();
        let mut again = stage.store.begin_anew(name(1), COPIES, 0).unwrap();
        for cell in cells(LEN) {
            again.write(&cell, checksum(&cell)).unwrap();
        }
        again.finish(seal(LEN)).unwrap();
        assert_eq!(stage.store.shards(), Some(2));
        stage.store.remove(&name(0)).unwrap();
        stage.store.remove(&name(0)).unwrap();
        stage.store.set_aside(&name(1)).unwrap();
        assert_eq!(stage.store.shards(), Some(0));
    }

    #[test]
    fn a_probe_leaves_nothing_and_finds_a_disk_that_cannot_be_written() {
        let stage = open(&TestDisk::default());
        stage.store.probe().unwrap();
        assert!(stage.disk.files().is_empty());
        stage.disk.fail(Operation::Create, io::ErrorKind::StorageFull);
        stage.store.probe().unwrap();
        stage.disk.heal();
        stage.disk.fail(Operation::Sync, io::ErrorKind::Other);
        assert!(stage.store.probe().is_err());
        assert_eq!(stage.stops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_removed_shard_is_gone_and_may_be_removed_again() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        stage.store.remove(&name(0)).unwrap();
        stage.store.remove(&name(0)).unwrap();
        assert!(stage.disk.files().is_empty());
    }
}
