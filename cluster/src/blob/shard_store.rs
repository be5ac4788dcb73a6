//! The shards of this node: files on a [`Disk`].
//!
//! ```text
//! shards/<group>/<generation>-<number>-<index>     a shard; group and number hexadecimal
//! shards/incoming/<random>                         being written; removed at start
//! shards/quarantine/<group>-<shard>-<random>       what was found corrupt, for a human to look at
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
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tracing::{error, warn};

use super::disk::{Disk, DiskFile};
use super::metrics;
use super::record::Code;
use super::segments::CELL_BYTES;
use super::shard_error::ShardError;
use super::shard_file::{HEADER_BYTES, MAX_CELLS, Seal, ShardHeader, ShardName, checksum};
use crate::seams::Seams;
use crate::storage::FailStop;

/// The shards of this node.
pub(super) struct ShardStore {
    disk: Arc<dyn Disk>,
    seams: Seams,
    fail_stop: FailStop,
    /// Room that is left free for what has to be written when the disk is full.
    reserve_bytes: u64,
    /// Groups whose folder is there and durable.
    folders: Mutex<HashSet<u16>>,
}

/// A shard being written. Dropping it removes what there is.
pub(super) struct IncomingShard {
    store: Arc<ShardStore>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    name: ShardName,
    code: Code,
    offset: u64,
    checksums: Vec<u64>,
    last_cell_bytes: usize,
    finished: bool,
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

fn path(name: &ShardName) -> PathBuf {
    folder(name.group).join(file_name(name))
}

impl ShardStore {
    /// Opens the store; removes what was being written when the node stopped.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        seams: Seams,
        fail_stop: FailStop,
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
            reserve_bytes,
            folders: Mutex::default(),
        })
    }

    /// Whether there is room for something new, beyond what is kept in reserve.
    pub(super) fn check_room(&self) -> Result<(), ShardError> {
        let room = self.disk.room()?;
        if room.free <= self.reserve_bytes {
            return Err(ShardError::Full);
        }
        Ok(())
    }

    /// Begins to write a shard.
    pub(super) fn begin(
        self: &Arc<Self>,
        name: ShardName,
        code: Code,
        offset: u64,
    ) -> Result<IncomingShard, ShardError> {
        if !code.is_valid() || usize::from(name.index) >= code.shards() {
            return Err(ShardError::Refused("there is no such shard".into()));
        }
        self.check_room()?;
        if self.disk.open(&path(&name)).is_ok() {
            return Err(ShardError::Refused("the shard is there already".into()));
        }
        let path = incoming().join(data_encoding::HEXLOWER.encode(&self.seams.random::<16>()));
        Ok(IncomingShard {
            file: self.disk.create(&path)?,
            store: self.clone(),
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => Ok(result?),
        }
    }

    /// Puts a corrupt file out of the way, so that it is never read again.
    fn quarantine(&self, name: &ShardName, what: &str) {
        metrics::corrupt_shard();
        let (group, file) = (name.group, file_name(name));
        error!(
            group,
            shard = file,
            what,
            "a shard is corrupt and goes to quarantine"
        );
        let nonce = data_encoding::HEXLOWER.encode(&self.seams.random::<4>());
        let to = quarantine().join(format!("{group:03x}-{file}-{nonce}"));
        if let Err(error) = self.disk.rename(&path(name), &to) {
            // It is found corrupt again by whoever reads it next.
            warn!(shard = file, %error, "a corrupt shard could not be moved");
        }
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
        self.certain("sync a folder of shards", self.disk.sync_folder(path))
    }

    /// Ends the process if a sync failed: it would be wrong to try again, as the pages in
    /// question may be gone and look clean.
    fn certain(&self, what: &str, result: io::Result<()>) -> Result<(), ShardError> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::StorageFull
        {
            self.fail_stop.stop(&format!("{what}: {error}"));
        }
        Ok(result?)
    }
}

fn read_exact(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> Result<(), ShardError> {
    file.read_at(buffer, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ShardError::Corrupt("it is cut off".into()),
        _ => error.into(),
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
        store.certain("sync a shard", self.file.sync())?;
        store.ensure_folder(self.name.group)?;
        store.disk.rename(&self.path, &path(&self.name))?;
        self.finished = true;
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
        let store = ShardStore::open(Arc::new(disk.clone()), Seams::system(), fail_stop, 1000).unwrap();
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
        stage.disk.set_room(Room {
            free: 1000,
            total: 1 << 30,
        });
        assert!(matches!(write(&stage.store, 0, LEN), Err(ShardError::Full)));
        stage.disk.set_room(Room {
            free: 1001,
            total: 1 << 30,
        });
        write(&stage.store, 0, LEN).unwrap();
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
    fn a_removed_shard_is_gone_and_may_be_removed_again() {
        let stage = open(&TestDisk::default());
        write(&stage.store, 0, LEN).unwrap();
        stage.store.remove(&name(0)).unwrap();
        stage.store.remove(&name(0)).unwrap();
        assert!(stage.disk.files().is_empty());
    }
}
