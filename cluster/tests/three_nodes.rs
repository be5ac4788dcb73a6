//! Three nodes in one process, over loopback and mutual TLS: founding, joining, and what they
//! keep between them.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::membership::{ControllerConfig, JoinPlan, Zone, join};
use cairn_cluster::net::Tcp;
use cairn_cluster::{
    BlobId, Cluster, ClusterConfig, Collection, CommitError, DigestSet, FailStop, RaftConfig, Seams, Space,
    TaskKind,
};
use futures::TryStreamExt as _;
use tempfile::TempDir;

const SPACE: Space = Space(1);

fn config(data: &Path, listen: &str) -> ClusterConfig {
    ClusterConfig {
        data: data.to_owned(),
        listen: listen.to_owned(),
        advertise: None,
        zone: None,
        version: "test".into(),
        raft: RaftConfig {
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_millis(500),
            cache_bytes: 8 << 20,
            ..RaftConfig::default()
        },
        reserve_bytes: 0,
        cache_bytes: 0,
        controller: ControllerConfig {
            look_every: Duration::from_millis(100),
            settle: Duration::from_millis(200),
            ..ControllerConfig::default()
        },
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn start(config: ClusterConfig) -> Cluster {
    let fail_stop = FailStop::new(|reason| panic!("{reason}"));
    let cluster = Cluster::start(config, Seams::system(), fail_stop).await.unwrap();
    let follower = cluster.clone();
    tokio::spawn(async move { follower.follow().await });
    cluster
}

struct Three {
    _dir: TempDir,
    configs: Vec<ClusterConfig>,
    nodes: Vec<Cluster>,
}

async fn three() -> Three {
    let dir = TempDir::new().unwrap();
    let seams = Seams::system();
    let configs: Vec<_> = (1..=3)
        .map(|node| config(&dir.path().join(node.to_string()), &free_address()))
        .collect();
    Cluster::init(&configs[0].data, &seams).unwrap();
    let founder = start(configs[0].clone()).await;
    founder.enter().await.unwrap();
    let mut nodes = vec![founder];
    for config in &configs[1..] {
        let token = nodes[0].join_token(Duration::from_secs(60)).await.unwrap();
        let plan = JoinPlan {
            path: config.data.clone(),
            token,
            address: config.listen.parse().unwrap(),
            zone: Zone::default(),
            version: "test".into(),
            capacity_bytes: 1 << 40,
        };
        join(plan, Arc::new(Tcp), &seams).await.unwrap();
        let node = start(config.clone()).await;
        node.enter().await.unwrap();
        nodes.push(node);
    }
    // Two voters survive nothing, so the founder alone votes until all three can.
    loop {
        let status = nodes[0].status().await.unwrap();
        if status
            .nodes
            .iter()
            .filter(|node| format!("{:?}", node.role) != "Learner")
            .count()
            == 3
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Three {
        _dir: dir,
        configs,
        nodes,
    }
}

fn content(size: usize) -> Bytes {
    (0..size)
        .map(|at| (at * 7 + at / 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

/// Stores a blob through a node and names it.
async fn put(node: &Cluster, bytes: &Bytes) -> BlobId {
    let chunks: Vec<_> = bytes
        .chunks(100_000)
        .map(|chunk| Ok::<_, std::io::Error>(bytes.slice_ref(chunk)))
        .collect();
    let body = futures::stream::iter(chunks);
    let stored = node
        .blobs()
        .put(SPACE, DigestSet::default(), u64::MAX, body)
        .await
        .unwrap();
    node.kv()
        .transact(async |mut txn| {
            node.blobs()
                .reference(&mut txn, &stored, b"test")
                .await
                .map_err(|_| CommitError::Conflict)?;
            Ok::<_, CommitError>((txn, ()))
        })
        .await
        .unwrap();
    stored.id()
}

async fn get(node: &Cluster, id: &BlobId) -> Bytes {
    let snapshot = node.kv().latest().await.unwrap();
    let reader = node.blobs().read(&snapshot, SPACE, id, None).await.unwrap();
    let parts: Vec<Bytes> = reader.try_collect().await.unwrap();
    parts.concat().into()
}

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

/// Waits until a node that was stopped has closed all of its files. A process that ends does that
/// at once; within one, what reads and writes them may end a little later than `stop`.
async fn closed(data: &Path) {
    let is_below = |file: PathBuf| file.starts_with(data);
    let open = || {
        let mut files = std::fs::read_dir("/proc/self/fd").unwrap();
        // One that was closed meanwhile has no link.
        files.any(|fd| std::fs::read_link(fd.unwrap().path()).is_ok_and(is_below))
    };
    while open() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a node on its data again, which was stopped.
async fn restart(config: &ClusterConfig) -> Cluster {
    closed(&config.data).await;
    let node = start(config.clone()).await;
    node.enter().await.unwrap();
    node
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
