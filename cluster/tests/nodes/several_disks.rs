//! Nodes with several disks: where shards go, a disk that goes away, and another in its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_cluster::{Cluster, DiskId, DiskRequestError, DiskState, DiskStatus, FailStop, NodeId, Seams};

use crate::support::{closed, content, get, put, restart, three};

async fn disks_of(seen_by: &Cluster, node: NodeId) -> Vec<DiskStatus> {
    let list = seen_by.disks(Some(node)).await.unwrap();
    list.disks.into_iter().map(|of_node| of_node.disk).collect()
}

/// Waits until a disk is as it should be, as another node sees it.
async fn until(seen_by: &Cluster, node: NodeId, path: &Path, is: impl Fn(&DiskStatus) -> bool) -> DiskStatus {
    loop {
        let disks = disks_of(seen_by, node).await;
        let found = disks.into_iter().find(|disk| Path::new(&disk.path) == path);
        if let Some(disk) = found.filter(|disk| is(disk)) {
            return disk;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_goes_away_and_another_takes_its_place() {
    let mut three = three().await;
    let mut kept = Vec::new();
    for size in 0..12 {
        let bytes = content(2_000_000 + size);
        kept.push((put(&three.nodes[0], &bytes).await, bytes));
    }

    // What the data directory holds goes to the disks when there are some.
    let node = three.nodes[2].node();
    three.nodes.remove(2).stop().await;
    let disks = ["disk-a", "disk-b"].map(|name| three.dir.path().join(name));
    disks.iter().for_each(|disk| std::fs::create_dir(disk).unwrap());
    three.configs[2].disks = disks.to_vec();
    three.nodes.push(restart(&three.configs[2]).await);
    let data = three.configs[2].data.clone();
    let emptied = |disk: &DiskStatus| disk.shards == Some(0);
    let of_data = until(&three.nodes[0], node, &data, emptied).await;
    assert_eq!((of_data.disk, of_data.state), (DiskId::DATA, DiskState::Retired));
    let filled = |disk: &DiskStatus| disk.shards.is_some_and(|shards| shards > 0);
    let a = until(&three.nodes[0], node, &disks[0], filled).await;
    until(&three.nodes[0], node, &disks[1], filled).await;

    // One of them is unmounted, and what it held is built on the other.
    let away = three.dir.path().join("away");
    std::fs::rename(&disks[0], &away).unwrap();
    std::fs::create_dir(&disks[0]).unwrap();
    let rebuilt = |disk: &DiskStatus| disk.state == DiskState::Failed;
    let lost = until(&three.nodes[1], node, &disks[0], rebuilt).await;
    assert_eq!(lost.disk, a.disk);
    assert!(lost.reason.unwrap().contains("not mounted"));
    until(&three.nodes[0], node, &disks[1], |disk| disk.shards == Some(12)).await;
    let status = three.nodes[0].status().await.unwrap();
    let failed: Vec<_> = status.nodes.iter().map(|node| node.failed_disks).collect();
    assert_eq!(failed, [Some(0), Some(0), Some(1)]);
    assert!(
        status.survives.starts_with("survives the loss of any 1 of 3"),
        "{}",
        status.survives
    );

    // The node starts again without it, and another disk is put in through another node.
    three.nodes.remove(2).stop().await;
    three.nodes.push(restart(&three.configs[2]).await);
    let nothing = "00000001".parse().unwrap();
    assert!(matches!(
        three.nodes[0].replace_disk(node, nothing, None).await,
        Err(DiskRequestError::UnknownDisk(_))
    ));
    assert!(matches!(
        three.nodes[0].replace_disk(node, DiskId::DATA, None).await,
        Err(DiskRequestError::Refused(_))
    ));
    let put_in = three.nodes[0].replace_disk(node, a.disk, None).await.unwrap();
    let mut put_in = put_in.disks.iter().map(|of_node| &of_node.disk);
    let new = put_in.find(|disk| Path::new(&disk.path) == disks[0]).unwrap();
    assert_eq!(new.state, DiskState::InUse);
    assert_ne!(new.disk, a.disk);

    // With one of the others gone, each of the shards here is needed.
    three.nodes.remove(0).stop().await;
    for (id, bytes) in &kept {
        assert_eq!(get(&three.nodes[1], id).await, *bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_when_one_of_its_disks_is_not_mounted_unless_it_is_given_up() {
    let mut three = three().await;
    three.nodes.remove(2).stop().await;
    let disk: PathBuf = three.dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    three.configs[2].disks = vec![three.configs[2].data.clone(), disk.clone()];
    let node = restart(&three.configs[2]).await;
    let id = disks_of(&three.nodes[0], node.node()).await[1].disk;
    node.stop().await;
    drop(node);
    closed(&three.configs[2].data).await;
    std::fs::remove_dir_all(&disk).unwrap();
    std::fs::create_dir(&disk).unwrap();
    let fail_stop = || FailStop::new(|reason| panic!("{reason}"));
    match Cluster::start(three.configs[2].clone(), Seams::system(), fail_stop()).await {
        Ok(_) => panic!("it started without a disk"),
        Err(error) => {
            let expected = format!("start once with --without-disk {id}");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }
    three.configs[2].without_disks = vec![id];
    restart(&three.configs[2]).await.stop().await;
    three.configs[2].without_disks.clear();
    let node = restart(&three.configs[2]).await;
    let disks = disks_of(&three.nodes[0], node.node()).await;
    assert!(
        disks[1].reason.as_ref().unwrap().contains("given up"),
        "{disks:?}"
    );
}
