//! Opening the disks when the node starts, or when one is put in.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use tracing::{info, warn};

use super::health::{Guarded, Health};
use super::id::DiskId;
use super::label::{self, DiskOwner};
use super::table::{DiskError, EntryState, Slot, Table};
use super::{Inner, OpenedDisk, REQUESTS, ShardDisk, ShardDisks, Signals};
use crate::blob::disk::{Bays, Disk, Folders};
use crate::blob::pool::Pool;
use crate::blob::shard_store::ShardStore;
use crate::seams::Seams;
use crate::storage::{DiskWatch, FailStop};

/// The node's own record, in the folder of its blobs.
pub(super) const RECORD: &str = "disks.json";

/// Which disks a node has.
#[derive(Clone, Debug)]
pub struct DisksConfig {
    /// Whose they are.
    pub owner: DiskOwner,
    /// The data directory, as it is shown beside the others.
    pub data: PathBuf,
    /// Folders, a disk each, over which shards are spread.
    pub listed: Vec<PathBuf>,
    /// Whether the data directory takes shards too. One that does not gives those that it has to
    /// the disks.
    pub in_data: bool,
    /// Disks that are given up, though the record says that they are in use.
    pub without: Vec<DiskId>,
    /// Where disks are.
    pub bays: Arc<dyn Bays>,
}

impl DisksConfig {
    /// Folders of this machine, as an operator lists them. The data directory takes shards if it is
    /// one of them, or if there are none.
    pub fn new(owner: DiskOwner, data: &Path, disks: &[PathBuf], without: Vec<DiskId>) -> Self {
        // Disks are named by absolute paths, the data directory need not be.
        let own = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        let is_own = |disk: &PathBuf| std::path::absolute(disk).is_ok_and(|disk| disk == own);
        let (data, listed): (Vec<_>, Vec<_>) = disks.iter().cloned().partition(is_own);
        Self {
            owner,
            data: own,
            in_data: listed.is_empty() || !data.is_empty(),
            listed,
            without,
            bays: Arc::new(Folders),
        }
    }
}

impl ShardDisks {
    /// Opens the disks beside the one under the data directory; refuses them if one is missing
    /// that should be there, or is another one. Waits for all of them.
    pub(in crate::blob) fn open(
        config: DisksConfig,
        data: OpenedDisk,
        folder: &Path,
        seams: Seams,
        fail_stop: FailStop,
        reserve_bytes: u64,
    ) -> Result<Self, DiskError> {
        let DisksConfig {
            owner,
            data: _,
            listed,
            in_data,
            without,
            bays,
        } = config;
        let record = folder.join(RECORD);
        let stored = Table::load(&record)?;
        let mut table = stored.clone();
        for disk in without {
            if table.entry(disk).is_none() {
                return Err(DiskError::Unknown { disk });
            }
            table.fail(disk, "it was given up by the operator", seams.clock.now());
        }
        let places = table.places(&listed).into_iter();
        let found = places.map(|place| {
            let found = label::look(bays.disk(&place).as_ref());
            (place, found)
        });
        let found: BTreeMap<PathBuf, label::Found> = found.collect();
        let slots = table.settle(owner, &listed, &found, || DiskId::draw(&seams))?;
        for entry in &table.disks {
            if let EntryState::Failed { reason, .. } = &entry.state {
                warn!(disk = %entry.disk, path = %entry.path.display(), reason,
                    "this node runs without a disk that has failed: `cairn disk replace` puts in another one");
            }
        }
        let signals = Signals::new(&seams);
        let path = data.path.clone();
        let unusable = |why: io::Error| DiskError::Unusable {
            path,
            why: why.to_string(),
        };
        let health = Health::new(DiskId::DATA, signals.clone());
        let data = ShardDisk::new(DiskId::DATA, data, in_data, health).map_err(unusable)?;
        let inner = Inner {
            owner,
            bays,
            seams,
            fail_stop,
            reserve_bytes,
            folder: folder.to_owned(),
            signals,
            in_service: RwLock::new(vec![Arc::new(data)]),
            table: Mutex::new(table.clone()),
            replacing: Arc::default(),
            moved: AtomicU64::new(0),
        };
        let disks = Self {
            inner: Arc::new(inner),
        };
        for slot in slots {
            if !listed.contains(&slot.path) {
                warn!(disk = %slot.disk, path = %slot.path.display(),
                    "a disk is in use that node.disks does not list");
            }
            let accepts = table
                .entry(slot.disk)
                .is_some_and(|entry| entry.state == EntryState::InUse);
            let opened = disks.open_slot(&slot, accepts)?;
            disks.put_in_service(opened);
        }
        // Labels first: a disk with one is known again without the record.
        if table != stored {
            let path = record;
            let stored = table.store(&path);
            stored.map_err(|source| DiskError::Record { path, source })?;
        }
        Ok(disks)
    }

    /// Opens one disk, and labels it if it is new.
    pub(super) fn open_slot(&self, slot: &Slot, accepts: bool) -> Result<ShardDisk, DiskError> {
        let Inner {
            owner,
            bays,
            seams,
            reserve_bytes,
            signals,
            ..
        } = self.inner.as_ref();
        let Slot {
            disk: id,
            path,
            is_new,
        } = slot;
        let health = Health::new(*id, signals.clone());
        let disk: Arc<dyn Disk> = Arc::new(Guarded {
            disk: bays.disk(path),
            health: health.clone(),
        });
        let watch = DiskWatch::new(format!("the shards on {}", path.display()));
        let fail_stop = {
            let health = health.clone();
            FailStop::new(move |reason| health.fail(reason))
        };
        let open = || {
            if *is_new {
                label::write(disk.as_ref(), *owner, *id)?;
                info!(disk = %id, path = %path.display(), "a new disk was put in");
            }
            let store = ShardStore::open(
                disk.clone(),
                seams.clone(),
                fail_stop,
                watch.clone(),
                *reserve_bytes,
            )?;
            let opened = OpenedDisk {
                path: path.clone(),
                disk: disk.clone(),
                store: Arc::new(store),
                pool: Pool::of(REQUESTS),
                watch: watch.clone(),
            };
            ShardDisk::new(*id, opened, accepts, health.clone())
        };
        let opened = open().map_err(|error| match is_new {
            true => DiskError::Unusable {
                path: path.clone(),
                why: error.to_string(),
            },
            false => DiskError::NotThere {
                disk: *id,
                path: path.clone(),
                why: error.to_string(),
            },
        })?;
        for other in self.in_service() {
            if other.device == opened.device && (other.id != DiskId::DATA || other.accepts()) {
                warn!(path = %path.display(), other = %other.path.display(),
                    "two disks of this node are one file system: its room counts once");
            } else if other.device == opened.device {
                warn!(path = %path.display(),
                    "a disk of this node is on the file system of the data directory: is it mounted?");
            }
        }
        Ok(opened)
    }
}
