//! Making nodes, and what is stored on them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::membership::{ControllerConfig, JoinPlan, Zone, join};
use cairn_cluster::net::Tcp;
use cairn_cluster::{
    BlobId, Build, Cluster, ClusterConfig, CommitError, DigestSet, FailStop, Level, RaftConfig, Seams, Space,
};
use futures::TryStreamExt as _;
use tempfile::TempDir;

const SPACE: Space = Space(1);

pub(crate) fn config(data: &Path, listen: &str) -> ClusterConfig {
    ClusterConfig {
        data: data.to_owned(),
        listen: listen.to_owned(),
        advertise: None,
        zone: None,
        build: build(),
        raft: RaftConfig {
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_millis(500),
            cache_bytes: 8 << 20,
            ..RaftConfig::default()
        },
        disks: Vec::new(),
        without_disks: Vec::new(),
        reserve_bytes: 0,
        cache_bytes: 0,
        controller: ControllerConfig {
            look_every: Duration::from_millis(100),
            settle: Duration::from_millis(200),
            ..ControllerConfig::default()
        },
    }
}

/// The build that these tests are of.
pub(crate) fn build() -> Build {
    Build {
        version: "test".into(),
        level: Level::OWN,
    }
}

pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

pub(crate) async fn start(config: ClusterConfig) -> Cluster {
    let fail_stop = FailStop::new(|reason| panic!("{reason}"));
    let cluster = Cluster::start(config, Seams::system(), fail_stop).await.unwrap();
    let follower = cluster.clone();
    tokio::spawn(async move { follower.follow().await });
    cluster
}

/// Lets a node join through another one, and starts it.
pub(crate) async fn join_through(member: &Cluster, config: &ClusterConfig) -> Cluster {
    let token = member.join_token(Duration::from_secs(60)).await.unwrap();
    let plan = JoinPlan {
        path: config.data.clone(),
        token,
        address: config.listen.parse().unwrap(),
        zone: Zone::default(),
        build: config.build.clone(),
        capacity_bytes: 1 << 40,
    };
    join(plan, Arc::new(Tcp), &Seams::system()).await.unwrap();
    let node = start(config.clone()).await;
    node.enter().await.unwrap();
    node
}

/// Three nodes that vote.
pub(crate) struct Three {
    pub(crate) dir: TempDir,
    pub(crate) configs: Vec<ClusterConfig>,
    pub(crate) nodes: Vec<Cluster>,
}

pub(crate) async fn three() -> Three {
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
        let node = join_through(&nodes[0], config).await;
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
    Three { dir, configs, nodes }
}

pub(crate) fn content(size: usize) -> Bytes {
    (0..size)
        .map(|at| (at * 7 + at / 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

/// Stores a blob through a node and names it.
pub(crate) async fn put(node: &Cluster, bytes: &Bytes) -> BlobId {
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

pub(crate) async fn get(node: &Cluster, id: &BlobId) -> Bytes {
    let snapshot = node.kv().latest().await.unwrap();
    let reader = node.blobs().read(&snapshot, SPACE, id, None).await.unwrap();
    let parts: Vec<Bytes> = reader.try_collect().await.unwrap();
    parts.concat().into()
}

/// Waits until a node that was stopped has closed all of its files. A process that ends does that
/// at once; within one, what reads and writes them may end a little later than `stop`.
pub(crate) async fn closed(data: &Path) {
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

/// Starts a node on its data again, which was stopped, and waits until it takes part.
pub(crate) async fn restart(config: &ClusterConfig) -> Cluster {
    let node = reopen(config).await;
    node.enter().await.unwrap();
    node
}

/// The same without waiting.
pub(crate) async fn reopen(config: &ClusterConfig) -> Cluster {
    closed(&config.data).await;
    start(config.clone()).await
}
