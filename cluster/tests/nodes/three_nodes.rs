//! Three nodes: founding, joining, and what they keep between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_cluster::{Cluster, Collection, FailStop, Seams, TaskKind};
use tempfile::TempDir;

use crate::support::{closed, config, content, free_address, get, put, restart, start, three};

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_metadata_survive_any_one_node() {
    let mut three = three().await;
    let small = content(10_000);
    let large = content(5_000_000);
    let ids = [
        put(&three.nodes[1], &small).await,
        put(&three.nodes[2], &large).await,
    ];
    for node in &three.nodes {
        assert_eq!(get(node, &ids[0]).await, small);
        assert_eq!(get(node, &ids[1]).await, large);
    }
    for gone in 0..3 {
        let stopped = three.nodes.remove(gone);
        stopped.stop().await;
        drop(stopped);
        for node in &three.nodes {
            assert_eq!(get(node, &ids[0]).await, small);
            assert_eq!(get(node, &ids[1]).await, large);
        }

        // Writes go on too, with as much redundancy as before.
        let meanwhile = content(2_000_000 + gone);
        let id = put(&three.nodes[0], &meanwhile).await;
        assert_eq!(get(&three.nodes[1], &id).await, meanwhile);

        three.nodes.insert(gone, restart(&three.configs[gone]).await);
        assert_eq!(get(&three.nodes[gone], &id).await, meanwhile);
    }
    let key = Collection::new("test").key("x");
    assert!(
        three.nodes[0]
            .kv()
            .latest()
            .await
            .unwrap()
            .get(&key)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_when_a_disk_of_it_is_not_mounted() {
    let dir = TempDir::new().unwrap();
    let config = config(&dir.path().join("node"), &free_address());
    Cluster::init(&config.data, &Seams::system()).unwrap();
    let node = start(config.clone()).await;
    node.enter().await.unwrap();
    node.stop().await;
    drop(node);
    closed(&config.data).await;
    for store in ["raft-log", "state", "blobs"] {
        let (mounted, away) = (config.data.join(store), dir.path().join(store));
        std::fs::rename(&mounted, &away).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let fail_stop = FailStop::new(|reason| panic!("{reason}"));
        match Cluster::start(config.clone(), Seams::system(), fail_stop).await {
            Ok(_) => panic!("it started without {store}"),
            Err(error) => assert!(error.to_string().contains("has lost"), "{error}"),
        }
        std::fs::remove_dir(&mounted).unwrap();
        std::fs::rename(&away, &mounted).unwrap();
    }
    restart(&config).await.stop().await;
}

/// The shard files of a node, with what is in them.
fn shard_files(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let shards = data.join("blobs").join("shards");
    let groups = std::fs::read_dir(shards)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let groups = groups.filter(|group| !group.ends_with("quarantine") && !group.ends_with("incoming"));
    let files = groups.flat_map(|group| std::fs::read_dir(group).unwrap());
    files
        .map(|entry| entry.unwrap().path())
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_are_lost_under_a_running_node_come_back_unattended() {
    let three = three().await;
    for turn in 0..3 {
        put(&three.nodes[0], &content(3_000_000 + turn)).await;
    }
    // Those that were too slow to be waited for come first.
    while !three.nodes[0]
        .under_protected(None, 10)
        .await
        .unwrap()
        .blobs
        .is_empty()
    {
        three.nodes[0].run_task(TaskKind::Repair).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let data = &three.configs[1].data;
    let before = shard_files(data);
    assert_eq!(before.len(), 3);
    for file in before.keys() {
        std::fs::remove_file(file).unwrap();
    }
    three.nodes[2].run_task(TaskKind::Repair).await.unwrap();
    while shard_files(data) != before {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tasks = three.nodes[0].tasks().await.unwrap();
    let kinds: BTreeSet<TaskKind> = tasks.iter().map(|task| task.task).collect();
    assert!(kinds.contains(&TaskKind::Repair), "{tasks:?}");
}
