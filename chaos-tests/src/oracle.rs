//! What clients were told, and whether the nodes stand by it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::Cluster;
use crate::payload::Payload;
use crate::workloads::generic::{self, Read};

/// How many files are checked at a time.
const CHECKS: usize = 8;

/// What a client knows of one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It was answered with success: it must be there.
    Acknowledged,
    /// It was not, or not yet: it may be there, whole.
    Unknown,
}

/// Publishes files of known content and remembers what became of each.
#[derive(Default)]
pub struct Oracle {
    files: Mutex<BTreeMap<u64, (Payload, Told)>>,
}

impl Oracle {
    /// Publishes file `number` through a node. Returns whether it was acknowledged.
    pub async fn publish(&self, cluster: &Cluster, node: usize, number: u64, size_bytes: usize) -> bool {
        let file = Payload {
            number,
            size_bytes: size_bytes as u64,
        };
        // Before it is sent: whoever never comes to hear the answer does not know it.
        self.remember(file, Told::Unknown);
        let acknowledged = generic::publish(cluster, node, file).await;
        if acknowledged {
            self.remember(file, Told::Acknowledged);
        }
        acknowledged
    }

    fn remember(&self, file: Payload, told: Told) {
        let mut files = self.files.lock().expect("no panic while held");
        files.insert(file.number, (file, told));
    }

    /// How many publishes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let files = self.files.lock().expect("no panic while held");
        files
            .values()
            .filter(|(_, told)| *told == Told::Acknowledged)
            .count()
    }

    /// Every file that was acknowledged.
    pub fn files(&self) -> Vec<Payload> {
        let files = self.files.lock().expect("no panic while held");
        let acknowledged = files.values().filter(|(_, told)| *told == Told::Acknowledged);
        acknowledged.map(|(file, _)| *file).collect()
    }

    /// Reads a file that was acknowledged through a node.
    pub async fn expect(&self, cluster: &Cluster, node: usize, number: u64) -> anyhow::Result<()> {
        let file = {
            let files = self.files.lock().expect("no panic while held");
            files.get(&number).context("never published")?.0
        };
        let read = generic::read(cluster, node, file).await?;
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
        let files = self.files.lock().expect("no panic while held").clone();
        let checks = files.into_values().map(|(file, told)| async move {
            let mut seen = None;
            for node in 0..cluster.size() {
                let (number, place) = (file.number, node + 1);
                let there = match generic::read(cluster, node, file).await? {
                    Read::Whole => true,
                    Read::Absent => false,
                    Read::Failed(why) => anyhow::bail!("file {number} on node {place}: {why}"),
                };
                ensure!(
                    told == Told::Unknown || there,
                    "file {number} was acknowledged and is missing on node {place}"
                );
                let agreed = *seen.get_or_insert(there);
                ensure!(agreed == there, "the nodes do not agree on file {number}");
            }
            Ok(())
        });
        futures::stream::iter(checks)
            .buffer_unordered(CHECKS)
            .try_collect()
            .await
    }
}
