//! Nodes are restarted with the next release one by one, as `cairn cluster upgrade` says, while
//! clients read and publish; and what does not fit any more is refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::{Cluster, Oracle, next_release};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};

/// Large enough for erasure coding, small enough for a quick test.
const LARGE: usize = 3 << 20;

/// Between two looks at something that takes a while, and how long it may take.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const WATCHDOG: Duration = Duration::from_secs(180);

/// How many nodes have joined.
const NODES: usize = 3;

/// The clients, and what stands between them and the nodes.
struct Clients<'a> {
    cluster: &'a Cluster,
    oracle: Oracle,
    /// The node that gets no requests, as a load balancer sees it.
    away: RwLock<Option<usize>>,
    stop: AtomicBool,
    reads: AtomicU64,
}

impl Clients<'_> {
    /// Does something through a node that is not away, which stays until it is done.
    async fn through<T>(&self, turn: usize, what: impl AsyncFnOnce(usize) -> T) -> T {
        let away = self.away.read().await;
        let mut nodes = (0..NODES).cycle().skip(turn % NODES);
        let node = nodes.find(|node| Some(*node) != *away).expect("two are there");
        what(node).await
    }

    /// Reads all that was published again and again. Every read must succeed.
    async fn read_on(&self) -> anyhow::Result<()> {
        for turn in 0.. {
            for file in self.oracle.files() {
                self.through(turn, async |node| {
                    self.oracle.expect(self.cluster, node, file.number).await
                })
                .await?;
                self.reads.fetch_add(1, Ordering::SeqCst);
            }
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Publishes until it is told to stop. What is acknowledged is held against the nodes at the end.
    async fn publish_on(&self) -> anyhow::Result<()> {
        for number in 0.. {
            let size_bytes = if number % 8 == 0 { LARGE } else { 2000 };
            let turn = number as usize;
            self.through(turn, async |node| {
                self.oracle.publish(self.cluster, node, number, size_bytes).await
            })
            .await;
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Restarts a node with a program, between its last request and the next.
    async fn restart(&self, node: usize, program: &Path) -> anyhow::Result<()> {
        *self.away.write().await = Some(node);
        self.cluster.node(node).install(program);
        self.cluster.node(node).stop().await?;
        self.cluster.restart(node).await?;
        *self.away.write().await = None;
        Ok(())
    }

    /// Waits until so many more files are acknowledged and reads are done.
    async fn see_work(&self) -> anyhow::Result<()> {
        let done = || (self.oracle.acknowledged(), self.reads.load(Ordering::SeqCst));
        let (files, reads) = done();
        until("clients get on", async || {
            Ok((done().0 >= files + 5 && done().1 >= reads + 20).then_some(()))
        })
        .await
    }
}

/// Looks until there is an answer.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
            sleep(BETWEEN_LOOKS).await;
        }
    };
    timeout(WATCHDOG, looking)
        .await
        .with_context(|| what.to_owned())?
}

/// What `cairn cluster upgrade` says.
async fn upgrade(cluster: &Cluster) -> anyhow::Result<Value> {
    let said = cluster.cairn(0, &["cluster", "upgrade"]).await?;
    said.map_err(anyhow::Error::msg)
}

/// Which node to restart next, by its place in the order of joining, once nothing speaks against it.
async fn next(cluster: &Cluster) -> anyhow::Result<usize> {
    until("a node may be restarted", async || {
        let upgrade = upgrade(cluster).await?;
        let nodes = upgrade["nodes"].as_array().context("no nodes")?;
        let next = &upgrade["restart_next"];
        Ok(nodes.iter().position(|node| node["node"] == *next))
    })
    .await
}

async fn operate(clients: &Clients<'_>, old: &Path, new: &Path) -> anyhow::Result<()> {
    let cluster = clients.cluster;
    let mut restarted = Vec::new();
    for done in 0..NODES {
        let node = next(cluster).await?;
        ensure!(!restarted.contains(&node), "node {node} is to be restarted again");
        if done == NODES - 1 {
            ensure!(node == cluster.leader().await?, "the leader comes last");
        }
        let before = upgrade(cluster).await?;
        ensure!(before["level"] == 1, "raised too early: {before}");
        clients.restart(node, new).await?;
        clients.see_work().await?;
        if done == 0 {
            // Until all have been upgraded, each may go back.
            clients.restart(node, old).await?;
            let back = upgrade(cluster).await?;
            ensure!(back["outdated"] == serde_json::json!([]), "{back}");
            clients.restart(node, new).await?;
        }
        restarted.push(node);
        // What was written without the node is made whole within a minute; no need to wait for that.
        let asked = cluster.cairn(0, &["tasks", "run", "repair"]).await?;
        asked.map_err(anyhow::Error::msg)?;
    }
    until("the level is raised", async || {
        let upgrade = upgrade(cluster).await?;
        Ok((upgrade["level"] == 2 && upgrade["outdated"] == serde_json::json!([])).then_some(()))
    })
    .await?;
    clients.see_work().await?;

    // Now nobody goes back ...
    let node = restarted[0];
    *clients.away.write().await = Some(node);
    cluster.node(node).stop().await?;
    cluster.node(node).install(old);
    let said = cluster.node(node).fails_to_start().await?;
    ensure!(said.contains("cannot go back to a cluster of level 2"), "{said}");
    cluster.node(node).install(new);
    cluster.restart(node).await?;
    *clients.away.write().await = None;
    // ... and nobody joins who cannot read what is there.
    let refused = cluster
        .join(NODES, 0)
        .await
        .err()
        .context("an old version joined")?;
    ensure!(format!("{refused:#}").contains("cannot go back"), "{refused:#}");
    cluster.node(NODES).install(new);
    cluster.join(NODES, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_upgraded_node_by_node_without_a_failed_read() -> anyhow::Result<()> {
    let cluster = Cluster::with_spares(1).await?;
    let (old, new): (PathBuf, PathBuf) = (cluster.program().to_owned(), next_release()?);
    let clients = Clients {
        cluster: &cluster,
        oracle: Oracle::default(),
        away: RwLock::default(),
        stop: AtomicBool::new(false),
        reads: AtomicU64::new(0),
    };
    let operating = async {
        let outcome = operate(&clients, &old, &new).await;
        clients.stop.store(true, Ordering::SeqCst);
        outcome
    };
    tokio::try_join!(operating, clients.read_on(), clients.publish_on())?;
    clients.oracle.check(&cluster).await?;
    cluster.stop().await
}
