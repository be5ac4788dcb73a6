//! One of the disks that hold shards.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::health::{Health, TAKEN_OUT};
use super::id::DiskId;
use crate::blob::disk::Disk;
use crate::blob::pool::Pool;
use crate::blob::shard_error::ShardError;
use crate::blob::shard_store::ShardStore;
use crate::storage::DiskWatch;

/// One of the disks.
pub(in crate::blob) struct ShardDisk {
    pub(super) id: DiskId,
    pub(super) path: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) store: Arc<ShardStore>,
    pub(super) pool: Pool,
    pub(super) health: Health,
    pub(super) watch: DiskWatch,
    /// Whether new shards are put on it.
    pub(super) accepts: AtomicBool,
    /// What it shares its room with.
    pub(super) device: u64,
    pub(super) total_bytes: AtomicU64,
    pub(super) used_bytes: AtomicU64,
    /// Room for shards, as it was measured last.
    pub(super) room_bytes: AtomicU64,
    /// What shards may take that were begun since then: without it, all that come until it is
    /// measured again would go to one disk.
    pub(super) begun_bytes: AtomicU64,
}

/// A disk with what is opened on it: the one under the data directory, or one beside it.
pub(in crate::blob) struct OpenedDisk {
    pub(in crate::blob) path: PathBuf,
    pub(in crate::blob) disk: Arc<dyn Disk>,
    pub(in crate::blob) store: Arc<ShardStore>,
    pub(in crate::blob) pool: Pool,
    pub(in crate::blob) watch: DiskWatch,
}

impl ShardDisk {
    pub(super) fn new(id: DiskId, disk: OpenedDisk, accepts: bool, health: Health) -> io::Result<Self> {
        let OpenedDisk {
            path,
            disk,
            store,
            pool,
            watch,
        } = disk;
        let opened = Self {
            id,
            path,
            device: disk.device()?,
            disk,
            store,
            pool,
            health,
            watch,
            accepts: accepts.into(),
            total_bytes: 0.into(),
            used_bytes: 0.into(),
            room_bytes: 0.into(),
            begun_bytes: 0.into(),
        };
        opened
            .measure()
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(opened)
    }

    pub(super) fn accepts(&self) -> bool {
        self.accepts.load(Ordering::SeqCst) && !self.health.has_failed()
    }

    /// Does something with the shards of this disk, off the async threads. Whoever waits for a disk
    /// that is taken out meanwhile waits no longer.
    pub(in crate::blob) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<ShardStore>) -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        let store = self.store.clone();
        self.unless_failed(self.pool.run(move || work(&store))).await
    }

    /// Waits for something on this disk, unless it is taken out.
    pub(in crate::blob) async fn unless_failed<T>(
        &self,
        work: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<T, ShardError> {
        tokio::select! {
            biased;
            () = self.health.failed() => Err(ShardError::Io(TAKEN_OUT.into())),
            result = work => result,
        }
    }

    /// Where what takes long is done.
    pub(in crate::blob) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Finds out how much room there is. Waits for the disk.
    pub(super) fn measure(&self) -> Result<(), ShardError> {
        let room = self.disk.room()?;
        self.total_bytes.store(room.total, Ordering::Relaxed);
        self.used_bytes
            .store(room.total.saturating_sub(room.free), Ordering::Relaxed);
        self.room_bytes.store(self.store.room()?, Ordering::Relaxed);
        self.begun_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }
}
