//! What clients were told, and whether the nodes stand by it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use reqwest::StatusCode;

use crate::Cluster;

/// What a client knows of one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It was answered with success: it must be there.
    Acknowledged,
    /// It was not answered: it may be there, whole.
    Unknown,
}

/// Publishes files of known content and remembers what became of each.
#[derive(Default)]
pub struct Oracle {
    files: Mutex<BTreeMap<u64, (usize, Told)>>,
}

/// The content of a file: its number decides every byte.
pub fn payload(number: u64, size_bytes: usize) -> Bytes {
    let mut out = vec![0; size_bytes];
    blake3::Hasher::new()
        .update(&number.to_be_bytes())
        .finalize_xof()
        .fill(&mut out);
    out.into()
}

fn url(cluster: &Cluster, node: usize, number: u64) -> String {
    format!(
        "{}/api/v4/projects/1/packages/generic/chaos/1.0.{number}/file.bin",
        cluster.url(node)
    )
}

impl Oracle {
    /// Publishes file `number` through a node. Returns whether it was acknowledged.
    pub async fn publish(&self, cluster: &Cluster, node: usize, number: u64, size_bytes: usize) -> bool {
        let request = reqwest::Client::new()
            .put(url(cluster, node, number))
            .bearer_auth(cluster.token())
            .body(payload(number, size_bytes));
        let told = match request.send().await {
            Ok(answer) if answer.status() == StatusCode::CREATED => Told::Acknowledged,
            // Also a refusal may hide a commit whose answer was lost.
            _ => Told::Unknown,
        };
        self.files
            .lock()
            .expect("no panic while held")
            .insert(number, (size_bytes, told));
        told == Told::Acknowledged
    }

    /// How many publishes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let files = self.files.lock().expect("no panic while held");
        files
            .values()
            .filter(|(_, told)| *told == Told::Acknowledged)
            .count()
    }

    /// Reads a file that was acknowledged through a node.
    pub async fn expect(&self, cluster: &Cluster, node: usize, number: u64) -> anyhow::Result<()> {
        let size_bytes = {
            let files = self.files.lock().expect("no panic while held");
            files.get(&number).context("never published")?.0
        };
        let body = read(cluster, node, number).await?;
        let body = body.with_context(|| format!("file {number} is missing on node {}", node + 1))?;
        ensure!(
            body == payload(number, size_bytes),
            "file {number} differs on node {}",
            node + 1
        );
        Ok(())
    }

    /// Reads everything from every node: what was acknowledged is there, what was not is absent
    /// or whole, and all nodes agree.
    pub async fn check(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let files = self.files.lock().expect("no panic while held").clone();
        for (number, (size_bytes, told)) in files {
            let mut seen = None;
            for node in 0..cluster.size() {
                let body = read(cluster, node, number).await?;
                if let Some(body) = &body {
                    let right = *body == payload(number, size_bytes);
                    ensure!(right, "file {number} differs on node {}", node + 1);
                }
                ensure!(
                    told == Told::Unknown || body.is_some(),
                    "file {number} was acknowledged and is missing on node {}",
                    node + 1
                );
                let there = *seen.get_or_insert(body.is_some());
                ensure!(there == body.is_some(), "the nodes do not agree on file {number}");
            }
        }
        Ok(())
    }
}

/// The content of a file as a node serves it; `None` if the node says that there is none.
async fn read(cluster: &Cluster, node: usize, number: u64) -> anyhow::Result<Option<Bytes>> {
    let request = reqwest::Client::new()
        .get(url(cluster, node, number))
        .bearer_auth(cluster.token());
    let answer = request.send().await?;
    match answer.status() {
        StatusCode::OK => Ok(Some(answer.bytes().await?)),
        StatusCode::NOT_FOUND => Ok(None),
        status => anyhow::bail!("node {} answered {status} for file {number}", node + 1),
    }
}
