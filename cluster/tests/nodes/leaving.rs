//! Nodes leave: drained, replaced and removed, with others starting again in the middle.

use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::membership::{Departed, NodeStatus, Role};
use cairn_cluster::{
    BlobId, Blobs, Cluster, DepartureError, EnterError, FailStop, Intent, NodeId, Refusal, Seams,
};

use crate::support::{config, content, free_address, get, join_through, put, restart, three};

/// How a node is, as another one sees it; none if it is not listed.
async fn status_of(seen_by: &Cluster, node: NodeId) -> Option<NodeStatus> {
    let status = seen_by.status().await.unwrap();
    status.nodes.into_iter().find(|status| status.node == node)
}

/// Looks until something is so.
async fn until<F: Future<Output = bool>>(mut look: impl FnMut() -> F) {
    while !look().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_safe_to_stop(seen_by: &Cluster, node: NodeId) {
    until(async || {
        let status = status_of(seen_by, node).await.unwrap();
        status.departure.is_some_and(|departure| departure.safe_to_stop)
    })
    .await;
}

async fn until_up(seen_by: &Cluster, nodes: usize) {
    until(async || {
        let status = seen_by.status().await.unwrap();
        status.nodes.iter().filter(|node| node.up).count() == nodes
    })
    .await;
}

fn refusal(outcome: Result<impl std::fmt::Debug, DepartureError>) -> Refusal {
    match outcome {
        Err(DepartureError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn check_all(node: &Cluster, kept: &[(BlobId, Bytes)]) {
    for (id, bytes) in kept {
        assert_eq!(get(node, id).await, *bytes);
    }
}

async fn keep(node: &Cluster, sizes: &[usize]) -> Vec<(BlobId, Bytes)> {
    let mut kept = Vec::new();
    for size in sizes {
        let bytes = content(*size);
        kept.push((put(node, &bytes).await, bytes));
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_drained_and_removed_while_it_is_used_and_stops() {
    let mut three = three().await;
    let fourth = config(&three.dir.path().join("4"), &free_address());
    let joined = join_through(&three.nodes[0], &fourth).await;
    three.nodes.push(joined);
    let mut kept = keep(&three.nodes[1], &[10_000, 2_000_000, 3_000_001]).await;
    until_up(&three.nodes[1], 4).await;
    let leader = three.nodes[1].status().await.unwrap().leader.unwrap();
    let at = three.nodes.iter().position(|node| node.node() == leader).unwrap();
    let (going, other) = (three.nodes[at].clone(), three.nodes[(at + 1) % 4].clone());
    let followed = tokio::spawn({
        let going = going.clone();
        async move { going.follow().await }
    });

    let refused = refusal(other.remove(leader, Intent::Do).await);
    assert_eq!(refused, Refusal::NotDrained { node: leader });
    let asked = other.drain(leader, Intent::Ask).await.unwrap();
    assert!(!asked.done && asked.shards > 0);
    assert!(status_of(&other, leader).await.unwrap().departure.is_none());

    // Any node takes the order, the one that it is about as well.
    assert!(going.drain(leader, Intent::Do).await.unwrap().done);
    kept.extend(keep(&going, &[20_000, 2_500_000]).await);
    until_safe_to_stop(&other, leader).await;
    let status = other.status().await.unwrap();
    assert_ne!(status.leader, Some(leader));
    let drained = status_of(&other, leader).await.unwrap();
    assert_eq!((drained.role, drained.up), (Role::Learner, true));
    check_all(&going, &kept).await;

    // Those that would be left are three: with two of them there would still be two.
    assert!(other.remove(leader, Intent::Ask).await.is_ok());
    until(async || other.remove(leader, Intent::Do).await.is_ok()).await;
    assert_eq!(followed.await.unwrap(), Some(Departed::Removed));
    assert!(status_of(&other, leader).await.is_none());
    assert_eq!(
        refusal(other.drain(leader, Intent::Do).await),
        Refusal::Removed { node: leader }
    );
    going.stop().await;
    for node in three.nodes.iter().filter(|node| node.node() != leader) {
        check_all(node, &kept).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_goes_on_after_nodes_start_again_and_can_be_taken_back() {
    let mut three = three().await;
    let fourth = config(&three.dir.path().join("4"), &free_address());
    let joined = join_through(&three.nodes[0], &fourth).await;
    three.nodes.push(joined);
    three.configs.push(fourth);
    let kept = keep(&three.nodes[0], &[10_000, 2_000_000, 3_000_001]).await;
    until_up(&three.nodes[1], 4).await;
    let going = three.nodes[3].node();
    three.nodes[1].drain(going, Intent::Do).await.unwrap();
    // The one that goes and the one that may be counting start again.
    for at in [3, 0] {
        let stopped = three.nodes.remove(at);
        stopped.stop().await;
        drop(stopped);
        three.nodes.insert(at, restart(&three.configs[at]).await);
    }
    until_safe_to_stop(&three.nodes[1], going).await;
    check_all(&three.nodes[3], &kept).await;

    assert!(three.nodes[2].undrain(going).await.unwrap().done);
    until(async || {
        let layout = Blobs::layout(&three.nodes[2].kv().local()).await;
        layout.unwrap().unwrap().members.len() == 4
    })
    .await;
    assert!(
        status_of(&three.nodes[2], going)
            .await
            .unwrap()
            .departure
            .is_none()
    );
    check_all(&three.nodes[2], &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_replaced_at_once_and_removed_by_itself() {
    let mut three = three().await;
    let kept = keep(&three.nodes[0], &[10_000, 2_000_000, 3_000_001]).await;
    let dead = three.nodes[2].node();
    assert_eq!(
        refusal(three.nodes[0].replace(dead, None, Intent::Do).await),
        Refusal::Alive { node: dead }
    );
    let stopped = three.nodes.remove(2);
    stopped.stop().await;
    drop(stopped);
    until_up(&three.nodes[0], 2).await;
    until(async || {
        let refused = refusal(three.nodes[0].replace(dead, None, Intent::Do).await);
        refused == Refusal::NoSuccessor { node: dead }
    })
    .await;
    let refused = refusal(three.nodes[0].remove(dead, Intent::Do).await);
    assert!(matches!(refused, Refusal::Holds { shards: 1.., .. }), "{refused}");

    let fourth = config(&three.dir.path().join("4"), &free_address());
    let joined = join_through(&three.nodes[0], &fourth).await;
    let successor = joined.node();
    three.nodes.push(joined);
    until(
        async || match three.nodes[1].replace(dead, None, Intent::Ask).await {
            Ok(asked) => asked.successor == Some(successor),
            Err(_) => false,
        },
    )
    .await;
    three.nodes[1].replace(dead, None, Intent::Do).await.unwrap();
    // Who carried it on may die as well.
    let stopped = three.nodes.remove(0);
    stopped.stop().await;
    drop(stopped);
    three.nodes.insert(0, restart(&three.configs[0]).await);
    until(async || status_of(&three.nodes[1], dead).await.is_none()).await;
    until(async || {
        let status = three.nodes[1].status().await.unwrap();
        let votes = |node: &&NodeStatus| matches!(node.role, Role::Leader | Role::Voter);
        status.nodes.iter().filter(votes).count() == 3
    })
    .await;
    // The old one comes back, and is told that it is not a member any more.
    let fail_stop = FailStop::new(|reason| panic!("{reason}"));
    let old = Cluster::start(three.configs[2].clone(), Seams::system(), fail_stop)
        .await
        .unwrap();
    let refused = old.enter().await;
    assert!(matches!(refused, Err(EnterError::Announce(_))), "{refused:?}");
    old.stop().await;
    // Any one of those there may be lost.
    let stopped = three.nodes.remove(1);
    stopped.stop().await;
    check_all(&three.nodes[0], &kept).await;
    check_all(&three.nodes[1], &kept).await;
}
