//! Nodes come and go by the commands that an operator has for it, while clients read and publish.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::{Cluster, Oracle};

/// Large enough for erasure coding, small enough for a quick test.
const LARGE: usize = 3 << 20;

/// The nodes that readers ask: those that stay all the time.
const ASKED: [usize; 2] = [1, 2];

/// Reads all that was published again and again through nodes that stay, until it is told to stop.
/// Every read must succeed.
async fn read_on(
    cluster: &Cluster,
    oracle: &Oracle,
    stop: &AtomicBool,
    reads: &AtomicU64,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::SeqCst) {
        for file in oracle.files() {
            for node in ASKED {
                oracle.expect(cluster, node, file.number).await?;
                reads.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    Ok(())
}

async fn refused(cluster: &Cluster, arguments: &[&str], with: &str) -> anyhow::Result<()> {
    let said = cluster.cairn(1, arguments).await?.err();
    let said = said.with_context(|| format!("{arguments:?} was not refused"))?;
    ensure!(said.contains(with), "{arguments:?}: {said}");
    Ok(())
}

async fn done(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
    let answer = cluster.cairn(1, arguments).await?;
    answer.map_err(|said| anyhow::anyhow!("{arguments:?}: {said}"))
}

async fn operate(cluster: &Cluster, oracle: &Oracle) -> anyhow::Result<()> {
    let first = cluster.id(0, 1).await?;
    refused(cluster, &["cluster", "remove", &first], "drain it first").await?;
    refused(cluster, &["cluster", "drain", "77777"], "there is no node 77777").await?;
    refused(cluster, &["cluster", "replace", &first], "answers").await?;

    // The fourth joins, and the founder, which may lead, goes.
    cluster.join(3, 1).await?;
    let asked = done(cluster, &["cluster", "drain", "--dry-run", &first]).await?;
    ensure!(asked["done"] == false, "{asked}");
    let drained = done(cluster, &["cluster", "drain", &first]).await?;
    ensure!(drained["safe_to_stop"] == true, "{drained}");
    let status = cluster.status(1).await?;
    let nodes = status["nodes"].as_array().context("no nodes")?;
    let founder = nodes.iter().find(|node| node["node"].to_string() == first);
    ensure!(founder.context("it is listed")?["role"] == "learner", "{status}");
    // It serves on, until it is removed.
    for file in oracle.files() {
        oracle.expect(cluster, 0, file.number).await?;
    }
    ensure!(
        oracle.publish(cluster, 0, 100, LARGE).await,
        "it takes what clients publish"
    );
    // What was published just now may have reached it before it was known to leave.
    done(cluster, &["cluster", "drain", &first]).await?;
    let removed = done(cluster, &["cluster", "remove", &first]).await?;
    ensure!(removed["done"] == true, "{removed}");
    cluster.node(0).ended().await?;
    refused(cluster, &["cluster", "remove", &first], "was removed already").await?;

    // The fourth dies, and the fifth takes its place without waiting for a quarter of an hour.
    let fourth = cluster.id(3, 1).await?;
    ensure!(
        oracle.publish(cluster, 3, 101, LARGE).await,
        "a node that joined takes part"
    );
    cluster.join(4, 1).await?;
    cluster.node(3).kill().await?;
    let replaced = loop {
        match cluster.cairn(1, &["cluster", "replace", &fourth]).await? {
            Ok(replaced) => break replaced,
            // It takes a moment until it is known to be dead.
            Err(said) => ensure!(said.contains("answers"), "{said}"),
        }
    };
    ensure!(replaced["removed"] == true, "{replaced}");
    ensure!(
        replaced["successor"].to_string() == cluster.id(4, 1).await?,
        "{replaced}"
    );
    ensure!(
        oracle.publish(cluster, 4, 102, LARGE).await,
        "the successor takes part"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_drained_removed_and_replaced_while_clients_read_on() -> anyhow::Result<()> {
    let cluster = Cluster::with_spares(2).await?;
    let oracle = Oracle::default();
    for number in 0..8 {
        let size_bytes = if number % 2 == 0 { LARGE } else { 2000 };
        let node = number as usize % 3;
        ensure!(
            oracle.publish(&cluster, node, number, size_bytes).await,
            "publish {number} failed"
        );
    }
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let operating = async {
        let outcome = operate(&cluster, &oracle).await;
        stop.store(true, Ordering::SeqCst);
        outcome
    };
    let reading = read_on(&cluster, &oracle, &stop, &reads);
    tokio::try_join!(operating, reading)?;
    ensure!(reads.load(Ordering::SeqCst) > 0, "nobody read anything");
    for file in oracle.files() {
        for node in [1, 2, 4] {
            oracle.expect(&cluster, node, file.number).await?;
        }
    }
    cluster.stop().await
}
