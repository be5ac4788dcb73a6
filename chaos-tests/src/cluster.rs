//! A cluster of real processes, made as an operator makes one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::disk::Disk;
use crate::http::Http;
use crate::node::{BETWEEN_LOOKS, Node, WATCHDOG, say};

/// Held by a cluster on its first address, so that no other takes the same network.
const RESERVED_PORT: u16 = 7079;

/// A running cluster in a folder of its own, with the group `acme` and its project 1,
/// `acme/demo`. Dropping it kills its nodes, and keeps the folder for whoever looks into why;
/// [`Cluster::stop`] removes it.
pub struct Cluster {
    nodes: Vec<Node>,
    http: Http,
    program: PathBuf,
    folder: Option<TempDir>,
    _network: TcpListener,
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program `cairn`.
    pub program: PathBuf,
    /// The folder in which the cluster gets one of its own.
    pub parent: PathBuf,
    /// The size of a disk of its own for each node; without one its data lies in the folder.
    /// Disks need root.
    pub disk_bytes: Option<u64>,
}

impl Launch {
    /// The program that was built with these tests, below the system's folder for such things.
    fn of_tests() -> anyhow::Result<Self> {
        Ok(Self {
            program: program_beside(&std::env::current_exe()?)?,
            parent: std::env::temp_dir(),
            disk_bytes: None,
        })
    }
}

impl Cluster {
    /// Starts a new cluster of the program that was built with these tests.
    pub async fn start() -> anyhow::Result<Self> {
        Self::launch(Launch::of_tests()?).await
    }

    /// The same with a disk of its own for each node. Needs root.
    pub async fn on_disks(disk_bytes: u64) -> anyhow::Result<Self> {
        Self::launch(Launch {
            disk_bytes: Some(disk_bytes),
            ..Launch::of_tests()?
        })
        .await
    }

    /// Starts a new cluster of three nodes and waits until all vote.
    pub async fn launch(launch: Launch) -> anyhow::Result<Self> {
        let blank = Blank::prepare(launch, 3).await?;
        let founded = blank.nodes[0].run(&["cluster", "init", "--demo"], "").await?;
        let token = founded["token"].as_str().context("no token")?;
        blank.start(token).await
    }

    /// Waits until all nodes are up and vote.
    async fn settled(&self) -> anyhow::Result<()> {
        let settled = async {
            loop {
                let status = self.status(0).await?;
                let nodes = status["nodes"].as_array().context("the status lists no nodes")?;
                let votes = |node: &&Value| {
                    node["up"] == true && (node["role"] == "leader" || node["role"] == "voter")
                };
                if nodes.iter().filter(votes).count() == self.size() {
                    return anyhow::Ok(());
                }
                sleep(BETWEEN_LOOKS).await;
            }
        };
        timeout(WATCHDOG, settled)
            .await
            .context("not all nodes came to vote")?
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A node, by its place in the order of joining.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The base URL of a node, without a slash at the end.
    pub fn url(&self, node: usize) -> &str {
        self.nodes[node].url()
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        self.http.token()
    }

    /// The program that its nodes run.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What the administrator asks it with.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Waits until a node serves clients.
    pub async fn ready(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].ready(&self.http.client).await
    }

    /// Starts a node again and waits until it serves clients.
    pub async fn restart(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].start()?;
        self.ready(node).await
    }

    /// Starts all nodes again, which do not run, and waits until they serve clients.
    pub async fn restart_all(&self) -> anyhow::Result<()> {
        self.nodes.iter().try_for_each(Node::start)?;
        try_join_all((0..self.size()).map(|node| self.ready(node))).await?;
        Ok(())
    }

    /// Kills every node at once.
    pub async fn kill_all(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            node.signal(rustix::process::Signal::KILL)?;
        }
        try_join_all(self.nodes.iter().map(Node::ended)).await?;
        Ok(())
    }

    /// How the cluster is, as one node sees it.
    pub async fn status(&self, node: usize) -> anyhow::Result<Value> {
        let url = format!("{}/api/cairn/v1/cluster", self.url(node));
        let answer = self.http.expect(Method::GET, &url, StatusCode::OK).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Lets a background task do nothing, for tests of what holds without it.
    pub async fn pause(&self, task: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/cairn/v1/tasks/{task}?paused=true", self.url(0));
        self.http.expect(Method::POST, &url, StatusCode::OK).await?;
        Ok(())
    }

    /// Which node leads, by its place in the order of joining.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let running = self.nodes.iter().position(Node::runs);
        let status = self.status(running.context("no node runs")?).await?;
        let nodes = status["nodes"].as_array().context("the status lists no nodes")?;
        nodes
            .iter()
            .position(|node| node["node"] == status["leader"])
            .context("there is no leader")
    }

    /// Stops the nodes that run, which must go well, and removes all that the cluster kept.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for node in self.nodes.iter().filter(|node| node.runs()) {
            node.stop().await?;
        }
        self.nodes.iter().try_for_each(Node::check_log)?;
        // Disks first: their images lie in the folder.
        self.nodes.clear();
        match self.folder.take() {
            Some(folder) => Ok(folder.close()?),
            None => Ok(()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        if let Some(folder) = self.folder.take() {
            let kept = folder.keep();
            say(format_args!("data and logs are kept in {}", kept.display()));
        }
    }
}

/// Nodes that hold nothing yet, for tests that found a cluster in a way of their own.
pub struct Blank {
    nodes: Vec<Node>,
    program: PathBuf,
    folder: TempDir,
    network: TcpListener,
}

impl Blank {
    /// Up to three nodes of the program that was built with these tests.
    pub async fn nodes(count: usize) -> anyhow::Result<Self> {
        Self::prepare(Launch::of_tests()?, count).await
    }

    async fn prepare(launch: Launch, count: usize) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix_in("cairn-chaos-", &launch.parent)?;
        let (network, addresses) = reserve_network()?;
        let mut nodes = Vec::new();
        for (number, address) in (1..).zip(addresses).take(count) {
            let folder = folder.path().join(format!("node-{number}"));
            std::fs::create_dir(&folder)?;
            let disk = match launch.disk_bytes {
                Some(size_bytes) => Some(Disk::new(&folder, size_bytes).await?),
                None => None,
            };
            nodes.push(Node::new(number, &launch.program, folder, address, disk)?);
        }
        Ok(Self {
            nodes,
            program: launch.program,
            folder,
            network,
        })
    }

    /// A node, by its place in the order of joining.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// Once the first node has been founded: starts all that do not run, those that are new after
    /// they have joined, and waits until all vote. The token is an administrator's.
    pub async fn start(self, token: &str) -> anyhow::Result<Cluster> {
        let cluster = Cluster {
            http: Http::new(token)?,
            nodes: self.nodes,
            program: self.program,
            folder: Some(self.folder),
            _network: self.network,
        };
        let (founder, others) = cluster.nodes.split_first().context("no nodes")?;
        founder.start()?;
        founder.ready(&cluster.http.client).await?;
        for node in others {
            if !node.runs() {
                let url = format!("{}/api/cairn/v1/cluster/join_tokens", founder.url());
                let answer = cluster.http.expect(Method::POST, &url, StatusCode::OK).await?;
                let made: Value = serde_json::from_slice(&answer.body)?;
                node.join(made["token"].as_str().context("no join token")?)
                    .await?;
            }
            node.ready(&cluster.http.client).await?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }
}

/// The program `cairn` that was built with another one: a test, or one that lies beside it.
pub fn program_beside(other: &Path) -> anyhow::Result<PathBuf> {
    let folders = other.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join("cairn"))
        .find(|program| program.is_file());
    found.with_context(|| {
        let other = other.display();
        format!("there is no program `cairn` beside {other}: run `cargo build -p cairn` first")
    })
}

/// Finds addresses of this machine that nothing else uses, each node having its own, so that
/// ports stay the same and are never taken by an outgoing connection.
fn reserve_network() -> anyhow::Result<(TcpListener, [Ipv4Addr; 3])> {
    for _ in 0..100 {
        let [second, third]: [u8; 2] = rand::random();
        // The rest of 127.0.0.0/16 is what everybody uses.
        let address = |last| Ipv4Addr::new(127, second.max(1), third, last);
        if let Ok(held) = TcpListener::bind((address(1), RESERVED_PORT)) {
            return Ok((held, [1, 2, 3].map(address)));
        }
    }
    anyhow::bail!("no free network in 127.0.0.0/8")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn two_clusters_never_share_a_network() {
        let held: Vec<_> = (0..50).map(|_| reserve_network().unwrap()).collect();
        let mut first: Vec<_> = held.iter().map(|(_, addresses)| addresses[0]).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 50);
    }
}
