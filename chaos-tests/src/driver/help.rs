//! What faults ask of a run: to store, to read, to wait until nodes serve, and to do what operators do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::FutureExt as _;
use futures::future::select_all;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{Run, zones_of};
use crate::invariants::{Invariant, Violation, durable, lively, redundant};
use crate::node::STORAGE_FAILED;
use crate::payload::Payload;

/// Within which time a majority that reaches itself serves.
const SERVES_WITHIN: Duration = Duration::from_secs(30);

/// Within which time what an operator asks for is done, of as little as a run holds.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// How many files are read, besides others, when nodes are away.
const READ: usize = 40;

/// How many blobs are stored so that there is something to hurt.
const STORED: usize = 6;

impl Run {
    /// Where there is room for what a run keeps.
    pub fn folder(&self) -> &std::path::Path {
        &self.options.folder
    }

    /// Which node leads, as soon as one does.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let within = self.patience(SERVES_WITHIN);
        let leader = async {
            loop {
                if let Ok(leader) = self.cluster.leader().await {
                    return leader;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(within, leader)
            .await
            .with_context(|| format!("there is no leader within {within:?}"))
    }

    /// Publishes through these nodes until one of them acknowledges. Gives how long that took.
    pub async fn serves(&self, nodes: &[usize]) -> anyhow::Result<Duration> {
        let (begun, within) = (Instant::now(), self.patience(SERVES_WITHIN));
        let through = |node: usize| {
            let serves = async move {
                while !self
                    .oracle
                    .publish(&self.cluster, node, self.number(), 1000)
                    .await
                {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            serves.boxed()
        };
        let any = select_all(nodes.iter().copied().map(through));
        match timeout(within, any).await {
            Ok(_) => Ok(begun.elapsed()),
            Err(_) => {
                let nodes: Vec<_> = nodes.iter().map(|node| node + 1).collect();
                let what = format!("nodes {nodes:?} reach each other, and none serves within {within:?}");
                Err(Invariant::Lively.violated(what).into())
            }
        }
    }

    /// Stores some blobs of a size that all nodes hold now. Gives what they are.
    pub async fn store(&self, size_bytes: usize) -> anyhow::Result<Vec<Payload>> {
        let nodes: Vec<_> = (0..self.cluster.size()).collect();
        let stored = self.store_through(&nodes, STORED, size_bytes).await?;
        redundant::regained(&self.cluster, self.patience(redundant::WITHIN)).await?;
        Ok(stored)
    }

    /// Has so many files of a size acknowledged, through these nodes in turn. Gives what they are.
    pub async fn store_through(
        &self,
        nodes: &[usize],
        count: usize,
        size_bytes: usize,
    ) -> anyhow::Result<Vec<Payload>> {
        let within = self.patience(SERVES_WITHIN);
        let store = async {
            let mut stored = Vec::new();
            for node in nodes.iter().copied().cycle() {
                if stored.len() == count {
                    break;
                }
                let number = self.number();
                if self.oracle.publish(&self.cluster, node, number, size_bytes).await {
                    stored.push(Payload {
                        number,
                        size_bytes: size_bytes as u64,
                    });
                }
            }
            stored
        };
        let stored = timeout(within, store).await;
        stored.with_context(|| format!("{count} files cannot be stored within {within:?}"))
    }

    /// Reads files that are acknowledged through these nodes, which must serve them: these, and some
    /// of all others, those that are coded first. Nobody may be at work.
    pub async fn reads_through(&self, nodes: &[usize], files: &[Payload]) -> Result<u64, Violation> {
        // Clients may have deleted some.
        let (mut files, mut others): (Vec<_>, Vec<_>) = self
            .oracle
            .files()
            .into_iter()
            .partition(|file| files.contains(file));
        others.sort_by_key(|file| std::cmp::Reverse(file.size_bytes));
        files.extend(others.into_iter().take(READ));
        self.reads_from(nodes, &files).await
    }

    /// Reads files through nodes that must serve them.
    pub async fn reads_from(&self, nodes: &[usize], files: &[Payload]) -> Result<u64, Violation> {
        durable::check_through(&self.cluster, nodes, files, self.patience(SERVES_WITHIN)).await
    }

    /// The nodes of each zone; each node by itself, if there are no zones.
    pub fn zones(&self) -> Vec<Vec<usize>> {
        let size = self.cluster.size();
        let zones = match zones_of(self.options.nodes) {
            0 => size,
            zones => zones,
        };
        let of = |zone: usize| (zone..size).step_by(zones).collect();
        (0..zones).map(of).collect()
    }

    /// Waits until any node may be lost: there is full redundancy, and all nodes vote.
    pub async fn calm_again(&self) -> Result<(), Violation> {
        lively::converged(&self.cluster, self.patience(lively::CONVERGED_WITHIN)).await?;
        redundant::regained(&self.cluster, self.patience(redundant::WITHIN)).await?;
        Ok(())
    }

    /// The ids of all nodes.
    pub async fn ids(&self) -> anyhow::Result<Vec<u64>> {
        let mut ids = Vec::new();
        for node in 0..self.cluster.size() {
            ids.push(self.cluster.id(node, 0).await?);
        }
        Ok(ids)
    }

    /// The id of a node that has just joined, as soon as another one knows it.
    pub async fn insist_on_id(&self, node: usize, through: usize) -> anyhow::Result<u64> {
        let id = async {
            loop {
                match self.cluster.id(node, through).await {
                    Ok(id) => return id,
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let within = self.patience(SERVES_WITHIN);
        timeout(within, id)
            .await
            .with_context(|| format!("nobody knows the id of node {} within {within:?}", node + 1))
    }

    /// Lets a node whose disk is blank join under a new id, through whichever node admits it, and
    /// waits until it serves.
    pub async fn join_anew(&self, node: usize) -> anyhow::Result<()> {
        let (begun, within) = (Instant::now(), self.patience(SERVES_WITHIN));
        for through in self.cluster.others(&[node]).into_iter().cycle() {
            match self.cluster.join(node, through).await {
                Ok(()) => break,
                Err(error) if begun.elapsed() > within || self.cluster.node(node).runs() => {
                    let what = format!("node {} cannot join within {within:?}: {error:#}", node + 1);
                    return Err(Invariant::Lively.violated(what).into());
                }
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
        }
        Ok(())
    }

    /// Has an operator's command done, however often that must be asked for. Gives what it prints.
    pub async fn insist(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let (begun, within) = (Instant::now(), self.patience(DONE_WITHIN));
        loop {
            match self.cluster.cairn_anywhere(arguments).await? {
                Ok(answer) => return Ok(answer),
                Err(said) if begun.elapsed() > within => {
                    let what = format!("{arguments:?} is not done within {within:?}: {said}");
                    return Err(Invariant::Lively.violated(what).into());
                }
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
        }
    }

    /// Starts a node again if it has ended because of its storage.
    pub async fn revive(&self, node: usize) -> anyhow::Result<()> {
        let node = self.cluster.node(node);
        if node.has_ended()?.is_some() {
            let status = node.ended().await?;
            ensure!(
                status.code() == Some(STORAGE_FAILED),
                "node {} ended with {status}",
                node.number()
            );
            node.start()?;
        }
        Ok(())
    }
}
