//! Looking after the disks: each is looked at now and then, and what has failed is noted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tracing::warn;

use super::id::DiskId;
use super::{ShardDisk, ShardDisks, label, status};
use crate::storage::FailStop;

/// How often a disk is looked at: whether it is still the same one, and can be written to. A disk
/// from which nobody reads would fail unnoticed otherwise.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl ShardDisks {
    /// Looks after the disks beside the one of the data directory, for as long as it is polled.
    pub(in crate::blob) async fn keep(self) {
        let mut changes = self.changes();
        let (mut kept, mut keeping) = (BTreeSet::new(), FuturesUnordered::new());
        loop {
            for disk in self.in_service() {
                if kept.insert(disk.id) {
                    keeping.push(disk.keep(self.inner.owner));
                }
            }
            self.note_failures().await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                Some(()) = keeping.next() => {}
            }
        }
    }

    /// Writes into the record which disks have failed, and uses them no more.
    pub(in crate::blob) async fn note_failures(&self) {
        for disk in self.with_failed() {
            let Some(failure) = disk.health.failure() else {
                continue;
            };
            let id = disk.id;
            self.change_table_soon(move |table| table.fail(id, &failure.reason, failure.at))
                .await;
            self.take_out_of_service(id);
        }
        for entry in self.statuses().iter().filter(|entry| entry.has_failed()) {
            status::tell_failed(entry.disk);
        }
    }
}

impl ShardDisk {
    /// Looks after this disk until it fails.
    async fn keep(self: Arc<Self>, owner: label::DiskOwner) {
        // How many shards there are is kept in step from then on.
        if let Err(error) = self.run(|store| store.count()).await {
            warn!(disk = %self.id, %error, "count the shards of a disk");
        }
        if self.id == DiskId::DATA {
            return;
        }
        let health = self.health.clone();
        let stalled = FailStop::new(move |reason| health.fail(reason));
        tokio::select! {
            () = self.health.failed() => {}
            () = self.watch.clone().run(stalled, |_| {}) => {}
            () = self.keep_looking(owner) => {}
        }
    }

    async fn keep_looking(&self, owner: label::DiskOwner) {
        loop {
            tokio::select! {
                () = self.health.suspected() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // If it hangs, the watch notices.
            self.look(owner).await;
        }
    }

    /// Takes the disk out unless it is still the same one and can be written to.
    pub(super) async fn look(&self, owner: label::DiskOwner) {
        let (id, disk, health) = (self.id, self.disk.clone(), self.health.clone());
        let looked = self.run(move |store| {
            match label::look(disk.as_ref()) {
                label::Found::Labelled(label) if label.disk == id && label.owner == owner => {}
                // Whatever else it is, the probe finds out whether it can be used.
                label::Found::Unreadable(_) => {}
                _ => health.fail("it is not mounted any more"),
            }
            store.probe()
        });
        if let Err(error) = looked.await
            && !self.health.has_failed()
        {
            warn!(disk = %self.id, %error, "a disk could not be probed");
        }
    }
}
