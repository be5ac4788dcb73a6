//! Nodes are killed with SIGKILL while clients publish.

use cairn_chaos_tests::{Cluster, Oracle};

/// Large enough for erasure coding, small enough for a quick test.
const LARGE: usize = 3 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_go_on_with_any_one_node_dead() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let oracle = Oracle::default();
    assert!(oracle.publish(&cluster, 0, 0, LARGE).await);
    assert!(oracle.publish(&cluster, 0, 1, 2000).await);
    let mut number = 2;
    for dead in 0..cluster.size() {
        cluster.node(dead).kill().await?;
        for node in (0..cluster.size()).filter(|node| *node != dead) {
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
        cluster.restart(dead).await?;
    }
    oracle.check(&cluster).await?;
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_all_nodes_are_killed_at_once() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
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
        cluster.kill_all().await?;
        cluster.restart_all().await?;
        oracle.check(&cluster).await?;
    }
    cluster.stop().await
}
