//! Clusters of several nodes in one process: one metadata store, a disk and a server each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::{Endpoint, Server};
use tower::ServiceExt;

use super::collect::Collector;
use super::disk::testing::{TestBays, TestDisk};
use super::disk::{Disk, Folder};
use super::record::{BlobRecord, DebtRecord, Placement, Segmentation};
use super::stores::Stores;
use super::suite::{SPACE, Stage};
use super::upkeep::Upkeep;
use super::{
    BlobConfig, BlobId, BlobPeers, Blobs, DiskOwner, DisksConfig, LayOutError, Layout, Member, Succession,
    Wire, keys,
};
use crate::FailStop;
use crate::kv::{CommitError, Kv, Scan};
use crate::node_id::{ClusterId, NodeId};
use crate::seams::testing::MovedClock;
use crate::tasks::{TaskKind, Work};

/// What the nodes know of each other.
#[derive(Default)]
pub(super) struct Network {
    pub(super) addresses: Mutex<BTreeMap<NodeId, SocketAddr>>,
    pub(super) down: Mutex<BTreeSet<NodeId>>,
    /// Some of those that are down, for so long that nobody waits for them.
    pub(super) lost: Mutex<BTreeSet<NodeId>>,
    /// What nodes say of the room that they have.
    pub(super) rooms: Mutex<BTreeMap<NodeId, u64>>,
    pub(super) suspected: Mutex<Vec<NodeId>>,
    /// How many calls the nodes have made to each other.
    pub(super) calls: AtomicUsize,
}

pub(super) struct TestPeers {
    pub(super) me: NodeId,
    pub(super) network: Arc<Network>,
    pub(super) wires: Mutex<BTreeMap<NodeId, Wire>>,
}

impl BlobPeers for TestPeers {
    fn me(&self) -> NodeId {
        self.me
    }

    fn wire(&self, node: NodeId) -> Wire {
        assert_ne!(node, self.me, "a node does not call itself");
        self.network.calls.fetch_add(1, Ordering::SeqCst);
        let mut wires = self.wires.lock().unwrap();
        let connect = || {
            let address = self.network.addresses.lock().unwrap()[&node];
            let channel = Endpoint::from_shared(format!("http://{address}"))
                .unwrap()
                .connect_lazy();
            Wire::new(channel.map_err(|error| Status::unavailable(error.to_string())))
        };
        wires.entry(node).or_insert_with(connect).clone()
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.network.down.lock().unwrap().contains(&node)
    }

    fn down_for(&self, node: NodeId) -> Option<Duration> {
        let lost = self.network.lost.lock().unwrap().contains(&node);
        match lost {
            true => Some(Duration::MAX),
            false => self.is_down(node).then_some(Duration::ZERO),
        }
    }

    fn room(&self, node: NodeId) -> Option<u64> {
        self.network.rooms.lock().unwrap().get(&node).copied()
    }

    fn suspect(&self, node: NodeId) {
        self.network.suspected.lock().unwrap().push(node);
    }
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) blobs: Blobs,
    /// Where the node serves its peers; gone when it was killed.
    pub(super) server: Arc<Mutex<Option<Runtime>>>,
    pub(super) disk: TestDisk,
    /// The disks beside that one.
    pub(super) bays: TestBays,
    pub(super) stores: Stores,
    pub(super) upkeep: Upkeep,
    pub(super) _folder: TempDir,
}

pub(super) struct Cluster {
    pub(super) kv: Kv,
    pub(super) clock: Arc<MovedClock>,
    pub(super) network: Arc<Network>,
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum TestError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    LayOut(#[from] LayOutError),
}

/// Shards on a disk in memory, on so many disks in memory beside that one, or in folders of this
/// machine.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Disks {
    Memory,
    Several(u32),
    Machine,
}

impl Disks {
    fn beside(self) -> u32 {
        match self {
            Self::Several(number) => number,
            Self::Memory | Self::Machine => 0,
        }
    }
}

/// Where the disk of a number is put in.
pub(super) fn bay(number: u32) -> String {
    format!("/bays/{number}")
}

impl Cluster {
    pub(super) async fn of(count: u64) -> Self {
        Self::with(count, Disks::Memory).await
    }

    pub(super) async fn with(count: u64, disks: Disks) -> Self {
        Self::caching(count, disks, 0).await
    }

    /// Each with a cache of so many bytes.
    pub(super) async fn caching(count: u64, disks: Disks, cache_bytes: u64) -> Self {
        let cluster = Self::without_layout(count, disks, cache_bytes);
        cluster.lay_out(count).await;
        cluster
    }

    /// Of which only the first `members` nodes hold shards.
    pub(super) async fn laid_out(count: u64, members: u64) -> Self {
        let cluster = Self::without_layout(count, Disks::Memory, 0);
        cluster.lay_out(members).await;
        cluster
    }

    fn without_layout(count: u64, disks: Disks, cache_bytes: u64) -> Self {
        let (seams, clock) = MovedClock::seams();
        let kv = Kv::in_memory(seams.clone());
        let network = Arc::<Network>::default();
        let id_of_all = ClusterId::random(&seams);
        let mut nodes = Vec::new();
        for id in (1..=count).map(NodeId) {
            let folder = tempfile::tempdir().unwrap();
            let disk = TestDisk::default();
            let bays = TestBays::default();
            for number in 1..=disks.beside() {
                bays.put_in(&bay(number));
            }
            let config = BlobConfig {
                folder: folder.path().into(),
                disk: match disks {
                    Disks::Memory | Disks::Several(_) => Arc::new(disk.clone()),
                    Disks::Machine => Arc::new(Folder::new(folder.path())) as Arc<dyn Disk>,
                },
                reserve_bytes: 1000,
                cache_bytes,
                disks: DisksConfig {
                    owner: DiskOwner {
                        cluster: id_of_all,
                        node: id,
                    },
                    data: folder.path().into(),
                    listed: (1..=disks.beside()).map(|number| bay(number).into()).collect(),
                    in_data: disks.beside() == 0,
                    without: Vec::new(),
                    bays: Arc::new(bays.clone()),
                },
                fail_stop: FailStop::new(|what| panic!("{what}")),
            };
            let peers = TestPeers {
                me: id,
                network: network.clone(),
                wires: Mutex::default(),
            };
            let (blobs, service, upkeep) =
                Blobs::open(config, kv.clone(), Arc::new(peers), seams.clone()).unwrap();
            let stores = service.stores().clone();
            let server = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            network
                .addresses
                .lock()
                .unwrap()
                .insert(id, listener.local_addr().unwrap());
            server.spawn(async move {
                let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
                Server::builder()
                    .add_service(service.server())
                    .serve_with_incoming(incoming)
                    .await
            });
            nodes.push(Node {
                id,
                blobs,
                server: Arc::new(Mutex::new(Some(server))),
                disk,
                bays,
                stores,
                upkeep,
                _folder: folder,
            });
        }
        Self {
            kv,
            clock,
            network,
            nodes,
        }
    }

    /// Makes the first `members` nodes those that hold shards.
    pub(super) async fn lay_out(&self, members: u64) {
        self.lay_out_leaving(members, &[], &[]).await;
    }

    /// Of the first `members` nodes some are to hold nothing any more, and others take their places.
    pub(super) async fn lay_out_leaving(
        &self,
        members: u64,
        leaving: &[u64],
        successions: &[Succession],
    ) -> Layout {
        let members: Vec<Member> = (1..=members)
            .map(|node| Member {
                node: NodeId(node),
                zone: format!("zone {node}"),
                capacity: u64::from(!leaving.contains(&node)),
            })
            .collect();
        let lay_out = async |mut txn| {
            let layout = Blobs::lay_out(&mut txn, &members, successions, None).await?;
            Ok::<_, TestError>((txn, layout))
        };
        self.kv.transact(lay_out).await.unwrap()
    }

    /// Decides what is garbage, and removes what is due.
    pub(super) async fn collect_garbage(&self) {
        let collector = Collector::begin(self.blobs(0)).await.unwrap();
        let work = self.work(TaskKind::Collection, 0);
        collector.decide(SPACE, &work).await.unwrap();
        collector.remove(SPACE, &work).await.unwrap();
    }

    pub(super) fn stage(self) -> Stage {
        Stage {
            nodes: self.nodes.iter().map(|node| node.blobs.clone()).collect(),
            clock: self.clock.clone(),
            _running: Box::new(self),
        }
    }

    pub(super) fn blobs(&self, node: usize) -> &Blobs {
        &self.nodes[node].blobs
    }

    /// Ends a node's connections; the others do not know it yet.
    pub(super) fn kill(&self, node: usize) {
        self.nodes[node].kill();
    }

    /// Tells all nodes that one is down.
    pub(super) fn notice(&self, node: usize) {
        self.network.down.lock().unwrap().insert(self.nodes[node].id);
    }

    /// Tells all nodes that one will not come back.
    pub(super) fn give_up(&self, node: usize) {
        self.notice(node);
        self.network.lost.lock().unwrap().insert(self.nodes[node].id);
    }

    /// The node with an id.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.iter().find(|node| node.id == id).unwrap()
    }

    /// What a node's task is given.
    pub(super) fn work(&self, kind: TaskKind, node: usize) -> Work {
        let blobs = self.blobs(node);
        Work::for_tests(kind, self.nodes[node].id, self.kv.clone(), blobs.seams().clone())
    }

    /// The record of a blob.
    pub(super) async fn record(&self, id: &BlobId) -> BlobRecord {
        let found = self.kv.local().record(&keys::record(SPACE, id)).await.unwrap();
        found.unwrap()
    }

    /// How the only segment of a blob is stored.
    pub(super) async fn placement(&self, id: &BlobId) -> Placement {
        let record: BlobRecord = self
            .kv
            .local()
            .record(&keys::record(SPACE, id))
            .await
            .unwrap()
            .unwrap();
        let Segmentation::Inline(segments) = record.segments else {
            panic!("few segments")
        };
        segments[0].placement.clone()
    }

    pub(super) async fn debts(&self) -> usize {
        let key = keys::debt(SPACE, &BlobId([0; 32]));
        let debts = self.kv.local().scan(Scan::of(&key.collection())).await.unwrap();
        for debt in &debts {
            debt.record::<DebtRecord>().unwrap();
        }
        debts.len()
    }
}

impl Node {
    pub(super) fn kill(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A runtime must not be dropped where async code runs.
        self.disk.heal();
        self.bays.heal();
        self.kill();
    }
}
