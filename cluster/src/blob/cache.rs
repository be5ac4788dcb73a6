//! What was fetched from other zones, kept on a bounded part of this node's disk: a far site
//! pays for a blob once.
//!
//! What comes from this node's own zone is not kept: its home answers about as soon as the disk
//! here does. Nothing in here is needed: a file that is missing, cut off or rotten is a miss, so
//! nothing is synced either. What is given out was verified, like what a shard file holds.
//!
//! One file holds one cell of a shard, or one small segment:
//!
//! ```text
//! path    cache/<first byte of the name's hash>/<generation>-<segment>-<what>
//! what    s for a small segment, <shard>-<cell> for a cell; numbers in hexadecimal
//! bytes   0   1  version of this layout, 1
//!         1   8  the xxh3-64 of the file's name and the bytes
//!         9      the bytes
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data_encoding::HEXLOWER;
use moka::sync;
use tracing::{debug, warn};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::disk::Disk;
use super::id::Generation;
use super::metrics;
use super::pool::Pool;
use super::record::SegmentId;
use super::segments::CELL_BYTES;
use super::small::SMALL_BYTES;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8;

/// No file is larger.
const MAX_FILE_BYTES: u64 = (HEADER_BYTES + MAX_BYTES) as u64;

/// No cell is larger, nor the stored form of a small segment.
const MAX_BYTES: usize = {
    let small = super::small::HEADER_BYTES + SMALL_BYTES;
    if small > CELL_BYTES { small } else { CELL_BYTES }
};

/// What nobody has asked for in so long goes: a blob that was removed is not kept here for ever.
const KEPT_UNUSED: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How many files are written or read at a time; what comes while as many are being written is
/// not kept.
const AT_A_TIME: usize = 8;

/// Which bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CachedName {
    pub(super) id: SegmentId,
    pub(super) part: CachedPart,
}

/// What of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CachedPart {
    /// The stored form of a small one.
    Small,
    /// A cell of a shard.
    Cell { shard: u8, cell: u32 },
}

impl fmt::Display for CachedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = HEXLOWER.encode(&self.id.generation.0);
        write!(f, "{generation}-{:x}-", self.id.number)?;
        match self.part {
            CachedPart::Small => f.write_str("s"),
            CachedPart::Cell { shard, cell } => write!(f, "{shard:x}-{cell:x}"),
        }
    }
}

impl CachedName {
    /// Reads the name of a file; none if it is not one of ours.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let generation = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?;
        let number = u64::from_str_radix(parts.next()?, 16).ok()?;
        let part = match parts.next()? {
            "s" => CachedPart::Small,
            shard => CachedPart::Cell {
                shard: u8::from_str_radix(shard, 16).ok()?,
                cell: u32::from_str_radix(parts.next()?, 16).ok()?,
            },
        };
        let parsed = Self {
            id: SegmentId {
                generation: Generation(generation.try_into().ok()?),
                number,
            },
            part,
        };
        (parsed.to_string() == name).then_some(parsed)
    }

    fn path(&self) -> PathBuf {
        let name = self.to_string();
        let folder = HEXLOWER.encode(&[xxh3_64(name.as_bytes()) as u8]);
        Path::new(&folder).join(name)
    }

    fn checksum(&self, bytes: &[u8]) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(self.to_string().as_bytes());
        hash.update(bytes);
        hash.digest()
    }
}

/// The files, and the order in which they go. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    /// The disk that the files share with the shards.
    disk: Arc<dyn Disk>,
    /// Room that is left free on it.
    reserve_bytes: u64,
    /// The sizes of the files.
    sizes: sync::Cache<CachedName, u32>,
    pool: Pool,
}

impl Cache {
    /// Keeps at most so many bytes below `folder`, which is created, and leaves so many free on
    /// the disk. What is there from an earlier run is found in the background.
    pub(super) fn open(
        folder: PathBuf,
        disk: Arc<dyn Disk>,
        capacity_bytes: u64,
        reserve_bytes: u64,
    ) -> io::Result<Self> {
        for byte in 0..=u8::MAX {
            fs::create_dir_all(folder.join(HEXLOWER.encode(&[byte])))?;
        }
        let removed_from = folder.clone();
        let sizes = sync::Cache::builder()
            .max_capacity(capacity_bytes)
            .weigher(|_, size| *size)
            .time_to_idle(KEPT_UNUSED)
            .eviction_listener(move |name: Arc<CachedName>, _, cause| {
                // A file that was written again is the same file.
                if cause != moka::notification::RemovalCause::Replaced {
                    remove(&removed_from.join(name.path()));
                }
            })
            .build();
        let inner = Arc::new(Inner {
            folder,
            disk,
            reserve_bytes,
            sizes,
            pool: Pool::of(AT_A_TIME),
        });
        let found = Arc::downgrade(&inner);
        std::thread::Builder::new()
            .name("cairn-cache".into())
            .spawn(move || find_files(&found))?;
        Ok(Self { inner })
    }

    /// The bytes of a name, verified; none if they are not here.
    pub(super) async fn get(&self, name: CachedName) -> Option<Bytes> {
        let inner = self.inner.clone();
        let found = self.inner.pool.run(move || inner.get(&name)).await;
        metrics::cached(found.is_some());
        found
    }

    /// Keeps bytes that were verified, if the disk has time and room. Does not wait.
    pub(super) fn keep(&self, name: CachedName, bytes: Bytes) {
        let inner = self.inner.clone();
        self.inner.pool.run_if_free(move || {
            if let Err(error) = inner.keep(&name, &bytes) {
                debug!(%name, %error, "bytes from another zone are not kept");
            }
        });
    }
}

impl Inner {
    fn get(&self, name: &CachedName) -> Option<Bytes> {
        self.sizes.get(name)?;
        let path = self.folder.join(name.path());
        let bytes = match fs::read(&path) {
            Ok(stored) => decode(name, stored.into()),
            Err(_) => None,
        };
        if bytes.is_none() {
            // Rotten, or cut off by a loss of power.
            self.sizes.invalidate(name);
        }
        bytes
    }

    fn keep(&self, name: &CachedName, bytes: &[u8]) -> io::Result<()> {
        if self.disk.room()?.free <= self.reserve_bytes {
            // A cache is the first to give way.
            self.sizes.invalidate_all();
            self.sizes.run_pending_tasks();
            return Ok(());
        }
        let mut stored = BytesMut::with_capacity(HEADER_BYTES + bytes.len());
        stored.put_u8(VERSION);
        stored.put_u64_le(name.checksum(bytes));
        stored.put_slice(bytes);
        fs::write(self.folder.join(name.path()), &stored)?;
        self.sizes.insert(*name, stored.len() as u32);
        Ok(())
    }
}

/// The bytes in a file of that name; none if they are not what was written.
fn decode(name: &CachedName, mut stored: Bytes) -> Option<Bytes> {
    if stored.len() < HEADER_BYTES || stored.get_u8() != VERSION {
        return None;
    }
    let checksum = stored.get_u64_le();
    (name.checksum(&stored) == checksum).then_some(stored)
}

/// Finds what an earlier run has left, as long as the cache is in use.
fn find_files(inner: &Weak<Inner>) {
    let Some(folder) = inner.upgrade().map(|inner| inner.folder.clone()) else {
        return;
    };
    for byte in 0..=u8::MAX {
        let Ok(entries) = fs::read_dir(folder.join(HEXLOWER.encode(&[byte]))) else {
            continue;
        };
        for entry in entries.flatten() {
            let Some(inner) = inner.upgrade() else { return };
            let name = entry.file_name().to_str().and_then(CachedName::parse);
            let size = entry.metadata().map_or(0, |metadata| metadata.len());
            match name {
                Some(name) if size <= MAX_FILE_BYTES => {
                    // One that was written meanwhile is known already.
                    inner.sizes.entry(name).or_insert(size as u32);
                }
                _ => remove(&entry.path()),
            }
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "a cached file cannot be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blob::disk::testing::TestDisk;
    use crate::blob::disk::{Folder, Room};

    fn name(number: u64) -> CachedName {
        CachedName {
            id: SegmentId {
                generation: Generation([7; 16]),
                number,
            },
            part: CachedPart::Cell { shard: 1, cell: 2 },
        }
    }

    fn open(folder: &Path, capacity_bytes: u64) -> Cache {
        let disk = Arc::new(Folder::new(folder));
        Cache::open(folder.join("cache"), disk, capacity_bytes, 0).unwrap()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let folders = fs::read_dir(folder.join("cache")).unwrap();
        folders
            .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[test]
    fn what_was_kept_is_found_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 1 << 20);
        cache.inner.keep(&name(1), b"one").unwrap();
        assert_eq!(cache.inner.get(&name(1)).unwrap(), "one");
        assert_eq!(cache.inner.get(&name(2)), None);
        drop(cache);
        let cache = open(folder.path(), 1 << 20);
        find_files(&Arc::downgrade(&cache.inner));
        assert_eq!(cache.inner.get(&name(1)).unwrap(), "one");
    }

    #[test]
    fn bytes_that_changed_are_a_miss_and_go() {
        for at in 0..12 {
            let folder = tempfile::tempdir().unwrap();
            let cache = open(folder.path(), 1 << 20);
            cache.inner.keep(&name(1), b"one").unwrap();
            let path = files(folder.path()).remove(0);
            let mut stored = fs::read(&path).unwrap();
            stored[at] ^= 1;
            fs::write(&path, stored).unwrap();
            assert_eq!(cache.inner.get(&name(1)), None);
            cache.inner.sizes.run_pending_tasks();
            assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn bytes_under_a_name_that_is_not_theirs_are_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 1 << 20);
        cache.inner.keep(&name(1), b"one").unwrap();
        cache.inner.keep(&name(2), b"two").unwrap();
        let path = |name: CachedName| folder.path().join("cache").join(name.path());
        fs::copy(path(name(2)), path(name(1))).unwrap();
        assert_eq!(cache.inner.get(&name(1)), None);
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 10_000);
        for number in 0..100 {
            cache.inner.keep(&name(number), &[1; 1000]).unwrap();
        }
        cache.inner.sizes.run_pending_tasks();
        let files = files(folder.path());
        let bytes: u64 = files.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!((1000..=10_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_full_disk_gets_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let disk = TestDisk::default();
        let cache = Cache::open(folder.path().join("cache"), Arc::new(disk.clone()), 1 << 20, 1000).unwrap();
        cache.inner.keep(&name(1), b"one").unwrap();
        disk.set_room(Room {
            free: 1000,
            total: 2000,
        });
        cache.inner.keep(&name(2), b"two").unwrap();
        assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
    }

    proptest! {
        #[test]
        fn names_are_read_back(
            generation: [u8; 16],
            number: u64,
            cell in proptest::option::of((any::<u8>(), any::<u32>())),
        ) {
            let part = cell.map_or(CachedPart::Small, |(shard, cell)| CachedPart::Cell { shard, cell });
            let id = SegmentId { generation: Generation(generation), number };
            let name = CachedName { id, part };
            prop_assert_eq!(CachedName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn other_names_are_not_ours(name in "[0-9a-fs-]{0,60}") {
            if let Some(parsed) = CachedName::parse(&name) {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }
}
