//! Disks that lose power: what was not synced is gone.

use anyhow::ensure;
use futures::future::try_join_all;
use tokio::time::sleep;

use super::Strike;
use crate::driver::Run;
use crate::node::{Node, STORAGE_FAILED};

/// F5. The node must end by itself: the others give it work.
pub(super) async fn cut_one(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let node = run.cluster.node(victim);
    // Both faults of two that overlap may want the same node.
    ensure!(node.runs(), "node {} does not run", victim + 1);
    let cut = node.cut_power().await?;
    let status = node.ended().await?;
    ensure!(
        status.code() == Some(STORAGE_FAILED),
        "node {}, whose disk has no power, ended with {status}",
        victim + 1
    );
    sleep(strike.hold).await;
    node.disk()?.restore_power(cut).await?;
    node.start()?;
    Ok(format!("the disk of node {} lost power", victim + 1))
}

/// F6. Some may not come to touch their disk any more before the others are gone.
pub(super) async fn cut_all(run: &Run, _strike: &Strike) -> anyhow::Result<String> {
    let all = || (0..run.cluster.size()).map(|node| run.cluster.node(node));
    let cuts = try_join_all(all().map(Node::cut_power)).await?;
    try_join_all(all().map(Node::kill)).await?;
    for (node, cut) in all().zip(cuts) {
        node.disk()?.restore_power(cut).await?;
    }
    all().try_for_each(Node::start)?;
    Ok("all disks lost power at once".into())
}
