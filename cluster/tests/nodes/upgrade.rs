//! Nodes of neighbouring levels run together, and the cluster follows the slowest.

use std::time::Duration;

use cairn_cluster::membership::ClusterStatus;
use cairn_cluster::{Build, Cluster, ClusterConfig, FailStop, Level, Seams, StartError};

use crate::support::{closed, content, get, put, reopen, restart, three};

const FIRST: Level = Level::OWN;
const NEXT: Level = FIRST.next();

/// The same node with another build.
fn of_level(config: &ClusterConfig, level: Level) -> ClusterConfig {
    ClusterConfig {
        build: Build {
            version: format!("0.{level}.0"),
            level,
        },
        ..config.clone()
    }
}

/// Waits until the status shows something.
async fn until(node: &Cluster, what: impl Fn(&ClusterStatus) -> bool) -> ClusterStatus {
    loop {
        let status = node.status().await.unwrap();
        if what(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn refused(config: &ClusterConfig) -> String {
    closed(&config.data).await;
    let fail_stop = FailStop::new(|reason| panic!("{reason}"));
    match Cluster::start(config.clone(), Seams::system(), fail_stop).await {
        Err(error @ (StartError::Dir(_) | StartError::Level(_))) => error.to_string(),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_goes_to_the_next_level_after_its_last_node() {
    let mut three = three().await;
    let bytes = content(300_000);
    let id = put(&three.nodes[0], &bytes).await;
    for at in 0..3 {
        let observer = three.nodes[(at + 1) % 3].clone();
        assert_eq!(observer.level().await.unwrap(), FIRST);
        let stopped = three.nodes.remove(at);
        stopped.stop().await;
        drop(stopped);
        three
            .nodes
            .insert(at, restart(&of_level(&three.configs[at], NEXT)).await);
        // Old and new read what the other writes.
        let written = content(200_000 + at);
        let other = put(&three.nodes[at], &written).await;
        for node in &three.nodes {
            assert_eq!(get(node, &id).await, bytes);
            assert_eq!(get(node, &other).await, written);
        }
        let upgraded = move |status: &ClusterStatus| {
            let levels = status.nodes.iter().filter(|node| node.up && node.level == NEXT);
            levels.count() == at + 1
        };
        let status = until(&observer, upgraded).await;
        assert_eq!(status.upgrade.next_level, NEXT);
        assert_eq!(status.upgrade.outdated.len(), 2 - at);
    }
    until(&three.nodes[0], |status| status.upgrade.level == NEXT).await;

    // A node that all have left behind does not start, and its directory says why.
    let stopped = three.nodes.remove(2);
    while stopped.level().await.unwrap() != NEXT {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stopped.stop().await;
    drop(stopped);
    let reason = refused(&three.configs[2]).await;
    assert!(reason.contains("cannot go back"), "{reason}");
    let too_new = reopen(&of_level(&three.configs[2], NEXT.next().next())).await;
    let reason = too_new.enter().await.unwrap_err().to_string();
    assert!(reason.contains("no level is left out"), "{reason}");
    too_new.stop().await;
    drop(too_new);
    let node = restart(&of_level(&three.configs[2], NEXT)).await;
    assert_eq!(get(&node, &id).await, bytes);
}
