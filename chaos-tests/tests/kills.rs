//! Nodes are killed with SIGKILL while clients publish.

use std::sync::Arc;

use cairn_chaos_tests::{Cluster, Oracle};
use futures::StreamExt as _;

/// Large enough for erasure coding, small enough for a quick test.
const LARGE: usize = 3 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_publish_is_on_every_node_at_once() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let oracle = Oracle::default();
    for number in 0..1000 {
        assert!(
            oracle.publish(&cluster, 0, number, 100).await,
            "publish {number} was refused"
        );
        oracle.expect(&cluster, 1, number).await?;
        oracle.expect(&cluster, 2, number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies_in_the_middle_of_publishes() -> anyhow::Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    let oracle = Arc::new(Oracle::default());
    let leader = cluster.leader().await?;
    let (others, publishes) = ((0..3).filter(|node| *node != leader).collect::<Vec<_>>(), 100);
    let killer = {
        let (cluster, oracle) = (cluster.clone(), oracle.clone());
        tokio::spawn(async move {
            while oracle.acknowledged() < 20 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            cluster.kill(leader)
        })
    };
    let work = futures::stream::iter(0..publishes).map(|number| {
        let (cluster, oracle, node) = (cluster.clone(), oracle.clone(), others[number as usize % 2]);
        let size_bytes = if number % 10 == 0 { LARGE } else { 2000 };
        async move { oracle.publish(&cluster, node, number, size_bytes).await }
    });
    let outcomes: Vec<bool> = work.buffer_unordered(8).collect().await;
    killer.await??;
    assert!(outcomes.iter().filter(|acknowledged| **acknowledged).count() > 20);
    cluster.wait_ready(leader).await?;
    oracle.check(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_go_on_with_any_one_node_dead() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let oracle = Oracle::default();
    assert!(oracle.publish(&cluster, 0, 0, LARGE).await);
    assert!(oracle.publish(&cluster, 0, 1, 2000).await);
    let mut number = 2;
    for dead in 0..3 {
        cluster.kill(dead)?;
        for node in (0..3).filter(|node| *node != dead) {
            for size_bytes in [2000, LARGE] {
                assert!(
                    oracle.publish(&cluster, node, number, size_bytes).await,
                    "publish {number} failed"
                );
                number += 1;
            }
            for old in 0..number {
                oracle.expect(&cluster, node, old).await?;
            }
        }
        cluster.wait_ready(dead).await?;
    }
    oracle.check(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_all_nodes_are_killed_at_once() -> anyhow::Result<()> {
    let mut cluster = Cluster::start().await?;
    let oracle = Oracle::default();
    for round in 0..3 {
        for number in 0..10 {
            let size_bytes = if number == 0 { LARGE } else { 2000 };
            let node = number as usize % 3;
            assert!(
                oracle
                    .publish(&cluster, node, round * 10 + number, size_bytes)
                    .await
            );
        }
        cluster = cluster.kill_all_and_restart().await?;
        oracle.check(&cluster).await?;
    }
    Ok(())
}
