//! The power is cut: what was not synced is lost, on one node and on all of them at once.
//!
//! Each node has an ext4 disk of its own. A cut makes each later access to it fail, and forgets
//! what was not written to its journal or blocks; a node must end by itself then, rather than go
//! on with what it only believes to have stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::{Cluster, Node, Oracle, PowerCut};
use futures::future::try_join_all;
use tokio::task::JoinSet;

const DISK_BYTES: u64 = 2 << 30;

/// How a node says that its storage failed: `EX_IOERR` of sysexits.h.
const STORAGE_FAILED: i32 = 74;

/// Publishes that are acknowledged before each cut, with more of them under way.
const BEFORE_CUT: usize = 20;

/// Clients that publish all the time.
const WRITERS: u64 = 6;

/// Clients that publish through all nodes until they are told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Writers {
    fn start(cluster: &Arc<Cluster>, oracle: &Arc<Oracle>, numbers: &Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..WRITERS {
            let (cluster, oracle) = (cluster.clone(), oracle.clone());
            let (numbers, stop) = (numbers.clone(), stop.clone());
            clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    // Inside the metadata's log, in the store of small blobs, in shard files.
                    let size_bytes = [100, 30_000, 1_500_000][number as usize % 3];
                    let node = number as usize / 3 % cluster.size();
                    if !oracle.publish(&cluster, node, number, size_bytes).await {
                        // A dead node refuses at once; the others need their turn on the cores.
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                }
            });
        }
        Self { stop, clients }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}

/// Waits until this many more publishes are acknowledged.
async fn acknowledge(oracle: &Oracle, more: usize) {
    let enough = oracle.acknowledged() + more;
    while oracle.acknowledged() < enough {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// Cuts the power of one node, which must end by itself: the others give it work.
async fn cut_one(cluster: &Cluster, node: usize) -> anyhow::Result<PowerCut> {
    let node = cluster.node(node);
    let cut = node.cut_power().await?;
    let status = node.ended().await?;
    ensure!(
        status.code() == Some(STORAGE_FAILED),
        "a node whose disk failed ended with {status}: {}",
        node.log().display()
    );
    Ok(cut)
}

/// Cuts the power of all nodes. Some may not come to touch their disk any more before the
/// others are gone; of them too the processes end.
async fn cut_all(cluster: &Cluster) -> anyhow::Result<Vec<PowerCut>> {
    let all = || (0..cluster.size()).map(|node| cluster.node(node));
    let cuts = try_join_all(all().map(Node::cut_power)).await?;
    try_join_all(all().map(Node::kill)).await?;
    Ok(cuts)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_power_cut() -> anyhow::Result<()> {
    let cluster = Arc::new(Cluster::on_disks(DISK_BYTES).await?);
    let (oracle, numbers) = (Arc::new(Oracle::default()), Arc::new(AtomicU64::new(0)));

    // One node after the other: the rest goes on.
    let writers = Writers::start(&cluster, &oracle, &numbers);
    for node in 0..cluster.size() {
        acknowledge(&oracle, BEFORE_CUT).await;
        let cut = cut_one(&cluster, node).await?;
        acknowledge(&oracle, BEFORE_CUT).await;
        cluster.node(node).disk()?.restore_power(cut).await?;
        cluster.restart(node).await?;
    }
    writers.stop().await;
    oracle.check(&cluster).await?;

    // All at once.
    for _ in 0..3 {
        let writers = Writers::start(&cluster, &oracle, &numbers);
        acknowledge(&oracle, BEFORE_CUT).await;
        let cuts = cut_all(&cluster).await?;
        writers.stop().await;
        for (node, cut) in cuts.into_iter().enumerate() {
            cluster.node(node).disk()?.restore_power(cut).await?;
        }
        cluster.restart_all().await?;
        oracle.check(&cluster).await?;
    }
    let cluster = Arc::into_inner(cluster).context("a client still runs")?;
    cluster.stop().await
}
