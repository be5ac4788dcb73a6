//! The disks of this node, and which shard lies on which.
//!
//! One disk is under the data directory, with the log, the metadata and the small segments: if it
//! fails, the process ends. The others hold nothing but shards: if one fails, it is taken out
//! ([`health`]), the node goes on, and repair builds what it held on other disks, here or on other
//! nodes. Two disks of one node are never two places for the shards of one segment: they share a
//! power supply, a kernel and an operator.
//!
//! - Each of the others has a label ([`label`]), and the node a record of them all ([`table`]).
//! - Where a shard lies is computed rather than kept ([`order`]).
//! - A disk that is not to be used any more is emptied first ([`empty`]).

mod empty;
mod health;
mod id;
mod keep;
mod label;
mod open;
mod order;
mod replace;
mod shard_disk;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use tokio::sync::watch;
use tracing::warn;

use super::disk::Bays;
use super::record::Code;
use super::shard_error::ShardError;
use super::shard_file::ShardName;
use super::shard_store::{IncomingShard, ShardStore};
use super::tree::SEGMENT_BYTES;
use crate::seams::{Seams, Timestamp};
use crate::storage::FailStop;

pub use id::{DiskId, ParseDiskIdError};
pub use label::DiskOwner;
pub use open::DisksConfig;
use open::RECORD;
pub use replace::ReplaceError;
pub(super) use shard_disk::{OpenedDisk, ShardDisk};
pub(super) use status::describe;
pub use status::{DiskState, DiskStatus, DiskSummary};
pub use table::DiskError;
use table::Table;

/// How many requests may wait for a disk at a time; the rest wait for them.
pub(super) const REQUESTS: usize = 32;

/// What changes about the disks, for those who act on it. Cheap to clone.
#[derive(Clone, Debug)]
struct Signals {
    seams: Seams,
    changes: watch::Sender<()>,
    losses: Arc<AtomicU64>,
}

impl Signals {
    fn new(seams: &Seams) -> Self {
        Self {
            seams: seams.clone(),
            changes: watch::Sender::new(()),
            losses: Arc::default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.seams.clock.now()
    }

    fn changed(&self) {
        self.changes.send_replace(());
    }

    fn lost(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
        self.changed();
    }
}

/// The disks of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct ShardDisks {
    inner: Arc<Inner>,
}

struct Inner {
    owner: DiskOwner,
    bays: Arc<dyn Bays>,
    seams: Seams,
    fail_stop: FailStop,
    reserve_bytes: u64,
    /// Of the blobs, in the data directory.
    folder: PathBuf,
    signals: Signals,
    /// Those that hold shards. The one under the data directory is always among them, and first.
    in_service: RwLock<Vec<Arc<ShardDisk>>>,
    table: Mutex<Table>,
    /// Held by whoever is putting in a disk.
    replacing: Arc<tokio::sync::Mutex<()>>,
    /// How many shards were moved from one disk to another: whoever looks for one meanwhile looks
    /// again.
    moved: AtomicU64,
}

impl ShardDisks {
    fn put_in_service(&self, disk: ShardDisk) {
        let mut in_service = self.inner.in_service.write().expect("no panic while held");
        in_service.push(Arc::new(disk));
        drop(in_service);
        self.inner.signals.changed();
    }

    fn take_out_of_service(&self, disk: DiskId) {
        let mut in_service = self.inner.in_service.write().expect("no panic while held");
        in_service.retain(|other| other.id != disk);
        drop(in_service);
        self.inner.signals.changed();
    }

    /// Those that hold shards, and those that have failed but are not taken out yet.
    fn with_failed(&self) -> Vec<Arc<ShardDisk>> {
        let in_service = self.inner.in_service.read();
        in_service.expect("no panic while held").clone()
    }

    /// Those that hold shards and have not failed.
    fn in_service(&self) -> Vec<Arc<ShardDisk>> {
        let mut disks = self.with_failed();
        disks.retain(|disk| !disk.health.has_failed());
        disks
    }

    fn accepting(&self) -> Vec<Arc<ShardDisk>> {
        let mut disks = self.in_service();
        disks.retain(|disk| disk.accepts());
        disks
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().expect("no panic while held")
    }

    /// Changes the record, durably. Waits for the disk of the data directory, and ends the process
    /// if that fails.
    fn change_table<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table();
        let result = change(&mut table);
        if let Err(error) = table.store(&self.inner.folder.join(RECORD)) {
            self.inner
                .fail_stop
                .stop(&format!("write the record of the disks: {error}"));
        }
        result
    }

    /// The same off the async threads.
    async fn change_table_soon(&self, change: impl FnOnce(&mut Table) + Send + 'static) {
        let this = self.clone();
        let changed = tokio::task::spawn_blocking(move || this.change_table(change)).await;
        if let Err(gone) = changed
            && gone.is_panic()
        {
            std::panic::resume_unwind(gone.into_panic());
        }
    }

    /// Tells whenever a disk comes, goes or fails.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.inner.signals.changes.subscribe()
    }

    /// How many disks have failed since the node was started.
    pub(super) fn losses(&self) -> u64 {
        self.inner.signals.losses.load(Ordering::SeqCst)
    }

    /// Whether what a disk held may still lack redundancy.
    pub(super) fn is_rebuilding(&self) -> bool {
        let has_failed = |disk: &Arc<ShardDisk>| disk.health.has_failed();
        self.table().rebuilding || self.with_failed().iter().any(has_failed)
    }

    /// Notes that everything that was lost with so many disks is in full redundancy again.
    pub(super) async fn rebuilt(&self, losses: u64) {
        let this = self.clone();
        let forget = move |table: &mut Table| {
            // Another may have failed in the meantime.
            if this.losses() == losses {
                table.rebuilding = false;
            }
        };
        self.change_table_soon(forget).await;
        self.inner.signals.changed();
    }

    /// What the disks hold in all, as it is told to the cluster.
    pub(super) fn capacity(&self) -> u64 {
        sum_of(&self.accepting(), |disk| disk.total_bytes.load(Ordering::Relaxed))
    }

    /// Finds out how much more may be written without touching the reserves.
    pub(super) async fn measure(&self) -> u64 {
        for disk in self.in_service() {
            let measured = disk.clone();
            if let Err(error) = disk.run(move |_| measured.measure()).await {
                warn!(disk = %disk.id, %error, "find out how much room there is");
            }
            status::tell_room(&disk);
        }
        self.room()
    }

    /// How much more may be written, as it was found last.
    pub(super) fn room(&self) -> u64 {
        // What is left of a disk that cannot take a segment is of no use.
        let usable = |disk: &ShardDisk| match disk.room_bytes.load(Ordering::Relaxed) {
            room if room >= SEGMENT_BYTES => room,
            _ => 0,
        };
        sum_of(&self.accepting(), usable)
    }

    /// Those that hold shards in the order in which this one is looked for.
    fn in_order(&self, name: &ShardName) -> Vec<Arc<ShardDisk>> {
        let disks = self.in_service();
        if disks.len() < 2 {
            return disks;
        }
        let order = order::order(name, &numbers(&disks));
        order.into_iter().map(|at| disks[at].clone()).collect()
    }

    /// Begins to write a shard on one of the disks.
    pub(super) async fn begin(
        &self,
        name: ShardName,
        code: Code,
        offset: u64,
        manner: Manner,
    ) -> Result<(Arc<ShardDisk>, IncomingShard), ShardError> {
        let disks = self.accepting();
        let numbers = numbers(&disks);
        let order = order::order(&name, &numbers);
        let room = |at: usize| {
            let measured = disks[at].room_bytes.load(Ordering::Relaxed);
            measured.saturating_sub(disks[at].begun_bytes.load(Ordering::Relaxed))
        };
        let preference = order::preference(order, &numbers, room);
        let mut refused = ShardError::Full;
        for at in preference {
            let begun = disks[at].run(move |store| match manner {
                Manner::New => store.begin(name, code, offset),
                Manner::Anew => store.begin_anew(name, code, offset),
            });
            match begun.await {
                // Whoever empties it has not seen this one, or waits for it.
                Ok(shard) if !disks[at].accepts() => {
                    let dropped = disks[at].run(move |_| {
                        drop(shard);
                        Ok(())
                    });
                    dropped.await?;
                }
                Ok(shard) => {
                    let most = SEGMENT_BYTES / u64::from(code.data.max(1));
                    disks[at].begun_bytes.fetch_add(most, Ordering::Relaxed);
                    return Ok((disks[at].clone(), shard));
                }
                Err(ShardError::Full) => {}
                Err(error @ ShardError::Refused(_)) => return Err(error),
                // Another one may do.
                Err(error) if disks.len() == 1 => return Err(error),
                Err(error) => {
                    warn!(disk = %disks[at].id, %error, "a shard cannot be put on a disk");
                    refused = error;
                }
            }
        }
        Err(refused)
    }

    /// Looks for a shard on one disk after the other.
    pub(super) async fn find<T: Send + 'static>(
        &self,
        name: &ShardName,
        look: impl Fn(&ShardStore) -> Result<T, ShardError> + Clone + Send + 'static,
    ) -> Result<T, ShardError> {
        loop {
            let moved = self.inner.moved.load(Ordering::SeqCst);
            let mut problem = ShardError::Missing;
            for disk in self.in_order(name) {
                let look = look.clone();
                match disk.run(move |store| look(store)).await {
                    Ok(found) => return Ok(found),
                    Err(ShardError::Missing) => {}
                    // It is lost with the disk.
                    Err(_) if disk.health.has_failed() => {}
                    Err(error) => problem = error,
                }
            }
            if moved == self.inner.moved.load(Ordering::SeqCst) {
                return Err(problem);
            }
        }
    }

    /// Asks each disk, but for those that fail: what they held is lost with them.
    async fn ask_each<T: Send + 'static>(
        &self,
        ask: impl Fn(&ShardStore) -> Result<T, ShardError> + Clone + Send + 'static,
    ) -> Result<Vec<T>, ShardError> {
        let mut answers = Vec::new();
        for disk in self.in_service() {
            let ask = ask.clone();
            match disk.run(move |store| ask(store)).await {
                Ok(answer) => answers.push(answer),
                Err(_) if disk.health.has_failed() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    /// Does something with a shard wherever it is; those disks that do not have it are no error.
    pub(super) async fn everywhere(
        &self,
        work: impl Fn(&ShardStore) -> Result<(), ShardError> + Clone + Send + 'static,
    ) -> Result<(), ShardError> {
        let done = self.ask_each(move |store| nothing_if_missing(work(store))).await;
        done.map(drop)
    }

    /// Puts out of the way what there is of a shard on other disks than one.
    pub(super) async fn set_aside_elsewhere(&self, here: &ShardDisk, name: ShardName) {
        for disk in self.in_service().into_iter().filter(|disk| disk.id != here.id) {
            match disk.run(move |store| store.set_aside(&name)).await {
                Ok(()) | Err(ShardError::Missing) => {}
                Err(error) => {
                    warn!(disk = %disk.id, %error, "a shard that was built again could not be moved")
                }
            }
        }
    }

    /// The groups that have a folder on a disk.
    pub(super) async fn groups(&self) -> Result<BTreeSet<u16>, ShardError> {
        let groups = self.ask_each(ShardStore::groups).await?;
        Ok(groups.into_iter().flatten().collect())
    }

    /// The shards of a group.
    pub(super) async fn list(&self, group: u16) -> Result<Vec<ShardName>, ShardError> {
        let list = move |store: &ShardStore| nothing_if_missing(store.list(group));
        Ok(self.ask_each(list).await?.concat())
    }

    /// Removes what has been in quarantine since before a time; says how many shards that were.
    pub(super) async fn empty_quarantine(&self, before: Timestamp) -> Result<u64, ShardError> {
        let removed = self.ask_each(move |store| store.empty_quarantine(before));
        Ok(removed.await?.into_iter().sum())
    }
}

/// What is not on a disk is no error where that may be.
fn nothing_if_missing<T: Default>(answer: Result<T, ShardError>) -> Result<T, ShardError> {
    match answer {
        Err(ShardError::Missing) => Ok(T::default()),
        answer => answer,
    }
}

/// Whether a shard may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It may not.
    New,
    /// It takes the place of what is there.
    Anew,
}

/// Ids and sizes, by which the order is computed.
fn numbers(disks: &[Arc<ShardDisk>]) -> Vec<(u32, u64)> {
    let number = |disk: &Arc<ShardDisk>| (disk.id.number(), disk.total_bytes.load(Ordering::Relaxed));
    disks.iter().map(number).collect()
}

/// Adds up, but counts what is one file system once.
fn sum_of(disks: &[Arc<ShardDisk>], bytes: impl Fn(&ShardDisk) -> u64) -> u64 {
    let by_device: BTreeMap<u64, u64> = disks.iter().map(|disk| (disk.device, bytes(disk))).collect();
    by_device.into_values().fold(0, u64::saturating_add)
}
