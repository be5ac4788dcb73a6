//! Emptying a disk that is not to be used any more: its shards go to the other disks of the node.
//!
//! A shard is copied, made durable, read back to the last byte, and only then removed where it was.
//! Whoever looks for it meanwhile finds one of the two, or looks again. A crash in between leaves
//! two, of which the next round removes the old one. That the shard is on this node does not change,
//! so nothing is written into the metadata.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use super::id::DiskId;
use super::table::{EntryState, Table};
use super::{ShardDisk, ShardDisks, nothing_if_missing};
use crate::blob::incoming::Incoming;
use crate::blob::shard_error::ShardError;
use crate::blob::shard_file::{ShardHeader, ShardName};
use crate::blob::shard_store::ShardStore;
use crate::blob::upkeep::Upkeep;
use crate::tasks::Work;

impl ShardDisks {
    /// Those that are to be emptied.
    fn retiring(&self) -> Vec<Arc<ShardDisk>> {
        let mut disks = self.in_service();
        disks.retain(|disk| !disk.accepts());
        disks
    }

    /// Notes that a disk holds nothing any more, and uses it no more.
    async fn retire(&self, disk: &ShardDisk) {
        if disk.id == DiskId::DATA {
            return;
        }
        let id = disk.id;
        let retire = move |table: &mut Table| {
            if let Some(entry) = table.entry_mut(id)
                && entry.state == EntryState::Retiring
            {
                entry.state = EntryState::Retired;
            }
        };
        self.change_table_soon(retire).await;
        self.take_out_of_service(id);
        info!(disk = %id, path = %disk.path.display(), "a disk is empty and may be taken out");
    }
}

impl Upkeep {
    /// Brings what is on disks that are to be emptied to others of this node; tells whether something
    /// is left on them.
    pub(in crate::blob) async fn empty_disks(&self, work: &Work) -> anyhow::Result<bool> {
        let mut is_left = false;
        for disk in self.stores.shards.retiring() {
            if disk.id == DiskId::DATA && disk.store.shards() == Some(0) {
                continue;
            }
            match self.empty(&disk, work).await {
                Ok(true) => self.stores.shards.retire(&disk).await,
                Ok(false) => is_left = true,
                // What it held is lost with it, and is rebuilt.
                Err(_) if disk.health.has_failed() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(is_left)
    }

    /// Brings what is on one disk to others, as far as that is possible now; tells whether nothing is
    /// left.
    async fn empty(&self, disk: &Arc<ShardDisk>, work: &Work) -> Result<bool, ShardError> {
        for group in disk.run(|store| store.groups()).await? {
            let list = move |store: &Arc<ShardStore>| nothing_if_missing(store.list(group));
            for name in disk.run(list).await? {
                // Somebody is building it, or removing it.
                let Some(_claim) = self.claims.take(name.id) else {
                    continue;
                };
                self.precedence.give_way().await;
                match self.stores.shards.move_away(disk, name).await {
                    Ok(bytes) => work.moved(1, bytes).await,
                    // It was removed meanwhile.
                    Err(ShardError::Missing) => {}
                    Err(ShardError::Corrupt(_)) => self.suspects.add(name.id),
                    Err(error) => {
                        work.failed(format!("move a shard from disk {}: {error}", disk.id));
                        if matches!(error, ShardError::Full) || disk.health.has_failed() {
                            // All that is left would meet the same.
                            return Ok(false);
                        }
                    }
                }
            }
        }
        if disk.id != DiskId::DATA {
            // What is not mounted any more looks empty.
            disk.look(self.stores.shards.inner.owner).await;
        }
        // Somebody was at work on a shard, or it could not be moved, or it was on its way here when the
        // disk was to take no more.
        disk.run(|store| store.is_empty()).await
    }
}

impl ShardDisks {
    /// Moves a shard from a disk to another one; gives its bytes.
    async fn move_away(&self, from: &Arc<ShardDisk>, name: ShardName) -> Result<u64, ShardError> {
        let header = from.run(move |store| store.header(&name)).await?;
        let is_there = self.has_elsewhere(from, name, &header).await?;
        if !is_there {
            let mut copy = Incoming::begin(self, name, header.code, header.offset)
                .await
                .map_err(of_the_target)?;
            for some in header.chunks() {
                let cells = some.clone();
                let (_, content) = from.run(move |store| store.read(&name, cells)).await?;
                for (cell, checksum) in content.into_iter().zip(header.checksums_of(&some)) {
                    copy.write(cell, *checksum).await.map_err(of_the_target)?;
                }
            }
            copy.finish(header.seal).await.map_err(of_the_target)?;
            if !self.has_elsewhere(from, name, &header).await? {
                return Err(ShardError::Io(
                    "a shard that was moved cannot be read back".into(),
                ));
            }
        }
        // Before it is removed: whoever has missed the copy looks again.
        self.inner.moved.fetch_add(1, Ordering::SeqCst);
        from.run(move |store| store.remove(&name)).await?;
        Ok(header.file_bytes())
    }

    /// Whether another disk has the same shard, to the last byte.
    async fn has_elsewhere(
        &self,
        from: &ShardDisk,
        name: ShardName,
        header: &ShardHeader,
    ) -> Result<bool, ShardError> {
        for disk in self.accepting().into_iter().filter(|disk| disk.id != from.id) {
            match disk.has(name, header).await {
                Ok(true) => return Ok(true),
                Ok(false) | Err(ShardError::Missing | ShardError::Corrupt(_)) => {}
                Err(_) if disk.health.has_failed() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl ShardDisk {
    async fn has(&self, name: ShardName, header: &ShardHeader) -> Result<bool, ShardError> {
        if self.run(move |store| store.header(&name)).await? != *header {
            return Ok(false);
        }
        for some in header.chunks() {
            self.run(move |store| store.read(&name, some)).await?;
        }
        Ok(true)
    }
}

/// What is missing where a shard is to go says nothing of the shard.
fn of_the_target(error: ShardError) -> ShardError {
    match error {
        ShardError::Missing => ShardError::Io("the disk that a shard was to go to is not there".into()),
        error => error,
    }
}
