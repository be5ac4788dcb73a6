//! What clients were told of each file, and whether the nodes stand by it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context as _, ensure};

use crate::Cluster;
use crate::invariants::{Violation, durable};
use crate::payload::Payload;
use crate::workloads::generic::{self, Deletion, Read};

/// What clients know of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its publish was answered with success: it must be there.
    Acknowledged,
    /// A publish or a deletion was not answered with success, or not yet: it may be there, whole.
    Unknown,
    /// Its deletion was answered with success: it must not be there.
    Deleted,
}

/// A file, and what clients know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its content.
    pub file: Payload,
    /// What clients were told last.
    pub told: Told,
    /// Grows with everything that is done about it: if it is the same before and after a read,
    /// nothing was under way meanwhile.
    pub changes: u64,
    /// Whether what became of a publish was ever unknown. It may still take effect at any time, so
    /// that a deletion afterwards says nothing.
    pub doubtful: bool,
}

/// Publishes files of known content and remembers what became of each.
#[derive(Default)]
pub struct Oracle {
    files: Mutex<BTreeMap<u64, Known>>,
}

impl Oracle {
    /// Publishes file `number` through a node, or publishes it again. Returns whether it was
    /// acknowledged.
    pub async fn publish(&self, cluster: &Cluster, node: usize, number: u64, size_bytes: usize) -> bool {
        let file = Payload {
            number,
            size_bytes: size_bytes as u64,
        };
        // Before it is sent: whoever never comes to hear the answer does not know it.
        self.remember(file, Told::Unknown, false);
        let acknowledged = generic::publish(cluster, node, file).await;
        match acknowledged {
            true => self.remember(file, Told::Acknowledged, false),
            false => self.remember(file, Told::Unknown, true),
        }
        acknowledged
    }

    /// Takes a file that is acknowledged for a deletion, as long as nobody else has.
    pub fn take(&self, number: u64) -> Option<Payload> {
        let mut files = self.lock();
        let known = files.get_mut(&number)?;
        let free = known.told == Told::Acknowledged && !known.doubtful;
        if free {
            known.told = Told::Unknown;
            known.changes += 1;
        }
        free.then_some(known.file)
    }

    /// Deletes a file that was taken through a node. Returns whether that was acknowledged.
    pub async fn delete(&self, cluster: &Cluster, node: usize, file: Payload) -> Result<bool, Violation> {
        let deletion = generic::delete(cluster, node, file).await;
        match deletion {
            Deletion::Done => self.remember(file, Told::Deleted, false),
            Deletion::Unknown => self.remember(file, Told::Unknown, true),
            Deletion::Absent => return Err(durable::denied(file.number, node)),
        }
        Ok(deletion == Deletion::Done)
    }

    fn remember(&self, file: Payload, told: Told, doubtful: bool) {
        let mut files = self.lock();
        let known = files.entry(file.number).or_insert(Known {
            file,
            told,
            changes: 0,
            doubtful,
        });
        known.told = told;
        known.changes += 1;
        known.doubtful |= doubtful;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Known>> {
        self.files.lock().expect("no panic while held")
    }

    /// What clients know of a file.
    pub fn known(&self, number: u64) -> Option<Known> {
        self.lock().get(&number).copied()
    }

    /// What clients know of the first file from a number on.
    pub fn next_known(&self, number: u64) -> Option<Known> {
        self.lock().range(number..).next().map(|(_, known)| *known)
    }

    /// How many bytes the files that are acknowledged have.
    pub fn acknowledged_bytes(&self) -> u64 {
        let files = self.lock();
        let acknowledged = files.values().filter(|known| known.told == Told::Acknowledged);
        acknowledged.map(|known| known.file.size_bytes).sum()
    }

    /// What clients know of all files.
    pub fn all(&self) -> Vec<Known> {
        self.lock().values().copied().collect()
    }

    /// How many files are acknowledged.
    pub fn acknowledged(&self) -> usize {
        let files = self.lock();
        let acknowledged = files.values().filter(|known| known.told == Told::Acknowledged);
        acknowledged.count()
    }

    /// Every file that is acknowledged.
    pub fn files(&self) -> Vec<Payload> {
        let files = self.lock();
        let acknowledged = files.values().filter(|known| known.told == Told::Acknowledged);
        acknowledged.map(|known| known.file).collect()
    }

    /// Reads a file that was acknowledged through a node.
    pub async fn expect(&self, cluster: &Cluster, node: usize, number: u64) -> anyhow::Result<()> {
        let known = self.known(number).context("never published")?;
        let read = generic::read(cluster, node, known.file).await?;
        ensure!(
            read == Read::Whole,
            "file {number} was acknowledged, and node {} says: {read:?}",
            node + 1
        );
        Ok(())
    }

    /// Reads everything from every node: what was acknowledged is there, what was not is absent
    /// or whole, and all nodes agree.
    pub async fn check(&self, cluster: &Cluster) -> anyhow::Result<()> {
        durable::check(cluster, self.all()).await?;
        Ok(())
    }
}
