//! A running node of a cluster: what it opens, in which order, and how it stops.

mod follow;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join3};
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::backup::{self, Begin, Restore, RestoreError};
use crate::blob::{
    BackupId, BlobConfig, BlobId, BlobOpenError, BlobService, Blobs, CollectionTask, DiskId, DiskOwner,
    DisksConfig, Folder, Leads, ProtectionError, RebalanceTask, RecodeTask, RepairTask, Retention,
    RetentionError, ScrubTask, Space, UnderProtectedPage, Upkeep,
};
use crate::departure::{Decision, DepartureError, Departures, Intent, motion};
use crate::disks::{DiskControl, DiskList, DiskRequestError};
use crate::identity::{self, DataDir, DirError, RegisterError};
use crate::kv::{Kv, ReadError, Store, Unavailable};
use crate::level::{Build, FollowLevels, Level, LevelError};
use crate::membership::{
    Announcement, ClusterStatus, Coding, Controller, ControllerConfig, Departed, Directory, FoundError,
    JoinService, NodeAddress, NodeInfo, RaftControl, Reporter, Zone, announce, cluster_status, found,
};
use crate::net::{DiskGauge, Lane, Net, Peers, PeersConfig, Roster, Server, ServerConfig, Tcp};
use crate::node_id::{ClusterId, NodeId};
use crate::raft::{MetadataHash, RaftConfig, Replica, Service};
use crate::seams::Seams;
use crate::storage::FailStop;
use crate::tasks::{SettingsError, Task, TaskKind, TaskSettings, TaskStatus, Tasks, TasksConfig};
use crate::trust::{CertificateError, JoinToken, JoinTokens, Tls, TokenError};

use follow::FollowLayout;

/// The files without which a node that has run cannot go on. Not folders: one in which a disk is
/// mounted is there, and empty, when the disk is not.
const STORES: &[&str] = &["raft-log/CURRENT", "state/current", "blobs/small/CURRENT"];

/// How long a leader that stops waits for another to take over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);

/// How long a node that enters waits before it asks again whether there is a majority.
const WAIT_FOR_MAJORITY: Duration = Duration::from_millis(200);

/// How long it waits before it asks again whether the cluster may be used.
const WAIT_FOR_RESTORE: Duration = Duration::from_millis(500);

/// How a node takes part in its cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The folder that holds all that the node keeps.
    pub data: PathBuf,
    /// Where it listens for the other nodes: `host:port`.
    pub listen: String,
    /// Where the other nodes reach it; the address that it listens on if that is not set.
    pub advertise: Option<NodeAddress>,
    /// What it fails together with; `None` keeps what is recorded.
    pub zone: Option<Zone>,
    /// The version of cairn that it runs, and what that can read and write.
    pub build: Build,
    /// Consensus.
    pub raft: RaftConfig,
    /// The folders, a disk each, over which shards are spread; the data directory may be one of
    /// them, and is the only one if there are none.
    pub disks: Vec<PathBuf>,
    /// Disks that are given up, though they were in use.
    pub without_disks: Vec<DiskId>,
    /// Room on each disk that blobs leave free, in bytes.
    pub reserve_bytes: u64,
    /// Room on the disk for what is fetched from other zones, in bytes.
    pub cache_bytes: u64,
    /// How the leader brings the group in step with its members.
    pub controller: ControllerConfig,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Its certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Its address for other nodes cannot be listened on.
    #[error("listen for other nodes on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Its stores cannot be opened.
    #[error("open the metadata: {0}")]
    Metadata(std::io::Error),
    /// See [`BlobOpenError`].
    #[error(transparent)]
    Blobs(#[from] BlobOpenError),
    /// Its own state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its build does not fit the cluster.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Its first records could not be written.
    #[error("write the first records of the cluster: {0}")]
    Found(#[from] FoundError),
    /// It was told to stop while it started.
    #[error("interrupted")]
    Interrupted,
}

/// Why a node that runs may not serve clients.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Its data directory is a copy of one that is in use.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// It is not a member, or no longer.
    #[error("announce this node")]
    Announce(#[from] FoundError),
    /// Its build is levels apart from the other nodes'.
    #[error(transparent)]
    Level(#[from] LevelError),
}

/// Why no export was begun.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExportError {
    /// The latest state is not known.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// One node of a cluster, running. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    kv: Kv,
    blobs: Blobs,
    dir: Arc<DataDir>,
    peers: Peers,
    replica: Arc<Replica>,
    reporter: Reporter,
    directory: Directory,
    config: ClusterConfig,
    advertised: NodeAddress,
    seams: Seams,
    shutdown: CancellationToken,
    server_shutdown: CancellationToken,
    /// All that runs beside the calls.
    running: TaskTracker,
    upkeep: Upkeep,
    tasks: Tasks,
}

impl Cluster {
    /// Makes the data directory of the first node of a new cluster.
    pub fn init(data: &Path, seams: &Seams) -> Result<(ClusterId, NodeId), DirError> {
        let dir = DataDir::init(data, seams)?;
        Ok((dir.cluster(), dir.node()))
    }

    /// Opens the node in its data directory and takes part in consensus. The founder of a new
    /// cluster writes its first records.
    ///
    /// Returns before the node has caught up: see [`Cluster::enter`].
    pub async fn start(config: ClusterConfig, seams: Seams, fail_stop: FailStop) -> Result<Self, StartError> {
        let dir = {
            let (path, seams, level) = (config.data.clone(), seams.clone(), config.build.level);
            let open = move || {
                identity::check_level(&path, level)?;
                let dir = DataDir::open(&path, STORES, &seams)?;
                let blobs = path.join("blobs");
                std::fs::create_dir_all(&blobs).map_err(StartError::Metadata)?;
                Ok::<_, StartError>(Arc::new(dir))
            };
            tokio::task::spawn_blocking(open)
                .await
                .map_err(|_| StartError::Interrupted)??
        };
        let credentials = dir.credentials()?;
        let tls = Tls::new(&credentials, &seams)?;
        let net: Arc<dyn Net> = Arc::new(Tcp);
        let peers = Peers::new(PeersConfig {
            net: net.clone(),
            tls: tls.clone(),
            instance: dir.instance(),
            level: config.build.level,
        });
        let listen_error = |error| StartError::Listen {
            address: config.listen.clone(),
            error,
        };
        let listener = net.listen(&config.listen).await.map_err(listen_error)?;
        let listening_on = listener.address().map_err(listen_error)?;
        let advertised = match &config.advertise {
            Some(address) => address.clone(),
            None => listening_on
                .to_string()
                .parse()
                .expect("a socket address is a node address"),
        };

        let dial: Arc<Peers> = Arc::new(peers.clone());
        let replica = Replica::open(
            &config.data,
            dir.node().0,
            &config.raft,
            dial.clone(),
            fail_stop.clone(),
        )
        .await
        .map_err(StartError::Metadata)?;
        let kv = Kv::new(replica.clone() as Arc<dyn Store>, seams.clone());
        // The directory is told of a new level a moment after the metadata.
        config.build.level.check_reads(Level::of(&kv.local()).await?)?;
        let (blobs, blob_service, upkeep) = {
            let config = blob_config(&config, &dir, fail_stop.clone());
            let (kv, seams) = (kv.clone(), seams.clone());
            let open = move || Blobs::open(config, kv, dial, seams);
            tokio::task::spawn_blocking(open)
                .await
                .map_err(|_| StartError::Interrupted)??
        };

        let tasks = Tasks::new(TasksConfig::default(), dir.node(), kv.clone(), seams.clone());
        let upkeep = upkeep.with_loss_after(config.controller.lost_after);

        let roster = Roster::default();
        let directory = || Directory {
            kv: kv.clone(),
            dir: dir.clone(),
            peers: peers.clone(),
            roster: roster.clone(),
            tls: tls.clone(),
            seams: seams.clone(),
            level: config.build.level,
        };
        directory().refresh().await?;
        let control: Arc<dyn RaftControl> = replica.clone();
        let reporter = Reporter::new(config.build.clone(), Arc::new(upkeep.clone()), control);

        let (shutdown, server_shutdown, running) = (
            CancellationToken::new(),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let raft_service = Service::server(replica.clone(), Arc::new(peers.clone()));
        let disk = DiskGauge::default();
        let server_config = ServerConfig {
            level: config.build.level,
            ..ServerConfig::default()
        };
        let server = Server::new(server_config, tls.clone(), roster.clone())
            .telling(&disk)
            .lane(Lane::Raft, Routes::new(raft_service.clone()))
            .lane(
                Lane::Requests,
                Routes::new(raft_service.clone())
                    .add_service(reporter.clone().service())
                    .add_service(DiskControl::service(upkeep.clone())),
            )
            .lane(Lane::Bulk, bulk_routes(raft_service, blob_service))
            .join(JoinService::new(kv.clone(), seams.clone()).routes());
        running.spawn(server.serve(listener, server_shutdown.clone()));
        running.spawn(peers.clone().probe(shutdown.clone()));
        let watches = join3(
            upkeep.clone().tell_room(disk.clone()),
            upkeep.clone().watch_disks(fail_stop.clone()),
            replica
                .log_disk()
                .run(fail_stop, move |is_slow| disk.set_slow(is_slow)),
        );
        let stopped = shutdown.clone();
        running.spawn(async move {
            stopped.run_until_cancelled(watches).await;
        });

        let shared = Shared {
            kv: kv.clone(),
            blobs,
            dir: dir.clone(),
            peers: peers.clone(),
            replica,
            reporter,
            directory: directory(),
            config,
            advertised,
            seams: seams.clone(),
            shutdown,
            server_shutdown,
            running,
            upkeep,
            tasks,
        };
        let cluster = Self {
            shared: Arc::new(shared),
        };
        cluster.found_if_new().await?;
        Ok(cluster)
    }

    /// The founder's first start: a group of one, and the cluster's first records.
    async fn found_if_new(&self) -> Result<(), StartError> {
        let shared = &self.shared;
        if shared.dir.authority()?.is_none() {
            return Ok(());
        }
        if !shared
            .replica
            .is_initialized()
            .await
            .map_err(StartError::Metadata)?
        {
            shared
                .replica
                .initialize(shared.advertised.as_str())
                .await
                .map_err(StartError::Metadata)?;
        }
        // A founder that starts again among others has nothing to write, and need not wait for
        // them to find that out.
        if !crate::membership::nodes(&shared.kv.local()).await?.is_empty() {
            return Ok(());
        }
        let own = NodeInfo {
            id: shared.dir.node(),
            address: shared.advertised.clone(),
            zone: shared.config.zone.clone().unwrap_or_default(),
            build: shared.config.build.clone(),
            capacity_bytes: shared.upkeep.capacity(),
            leaving: None,
        };
        Ok(found(&shared.kv, &shared.dir, &own, &shared.seams).await?)
    }

    /// Waits until the cluster knows this start of the node, then keeps in step with it. Client
    /// traffic may be served once this and [`Cluster::usable`] have returned.
    ///
    /// Waits for a majority as long as it takes; fails only if the node may not take part.
    pub async fn enter(&self) -> Result<(), EnterError> {
        let shared = &self.shared;
        // A node whose address has changed cannot be reached before it is announced, and is
        // announced through the peers that it can reach.
        let removed = shared.peers.removed();
        loop {
            if *removed.borrow() {
                let node = self.node();
                return Err(FoundError::Removed { node }.into());
            }
            match self.make_known().await {
                Ok(()) => break,
                Err(
                    EnterError::Register(RegisterError::Commit(error))
                    | EnterError::Announce(FoundError::Commit(error)),
                ) => {
                    // Whoever most others refuse would wait for ever.
                    if let Some(theirs) = shared.peers.level_of_those_apart() {
                        shared.config.build.level.check(theirs)?;
                    }
                    tracing::info!(%error, "waiting for the cluster");
                    tokio::time::sleep(WAIT_FOR_MAJORITY).await;
                }
                Err(error) => return Err(error),
            }
        }
        let control: Arc<dyn RaftControl> = shared.replica.clone();
        let layout = Arc::new(FollowLayout {
            kv: shared.kv.clone(),
        });
        let level = Arc::new(FollowLevels {
            kv: shared.kv.clone(),
            seams: shared.seams.clone(),
        });
        let controller = Controller::new(
            shared.config.controller,
            shared.kv.clone(),
            shared.peers.clone(),
            control,
        )
        .tell(layout)
        .tell(level);
        shared.running.spawn(controller.run(shared.shutdown.clone()));
        // Blobs can be stored once there is a layout; the leader makes it at once.
        while !matches!(Blobs::layout(&shared.kv.local()).await, Ok(Some(_))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.begin_tasks();
        Ok(())
    }

    /// Waits until the cluster may be used: one that is being made from a backup may not.
    pub async fn usable(&self) {
        let mut said = false;
        loop {
            match backup::is_under_way(&self.shared.kv.local()).await {
                Ok(false) => return,
                Ok(true) if said => {}
                Ok(true) => {
                    said = true;
                    tracing::info!("waiting until `cairn restore` has made this cluster from its backup");
                }
                Err(error) => tracing::warn!(%error, "read whether the cluster is being restored"),
            }
            tokio::time::sleep(WAIT_FOR_RESTORE).await;
        }
    }

    /// Makes this start of the node, and what has changed about it, known to the cluster.
    async fn make_known(&self) -> Result<(), EnterError> {
        self.shared.dir.register(&self.shared.kv).await?;
        Ok(self.announce().await?)
    }

    async fn announce(&self) -> Result<(), FoundError> {
        let shared = &self.shared;
        let news = Announcement {
            address: Some(shared.advertised.clone()),
            zone: shared.config.zone.clone(),
            build: shared.config.build.clone(),
            capacity_bytes: shared.upkeep.capacity(),
        };
        announce(&shared.kv, shared.dir.node(), &news).await
    }

    /// Begins the background work of this node.
    fn begin_tasks(&self) {
        let shared = &self.shared;
        let replica = shared.replica.clone();
        let leads: Leads = Arc::new(move || replica.view().is_leader());
        let upkeep = &shared.upkeep;
        let tasks: [(TaskKind, Arc<dyn Task>); 5] = [
            (
                TaskKind::Collection,
                Arc::new(CollectionTask::new(upkeep.clone(), leads)),
            ),
            (TaskKind::Rebalance, Arc::new(RebalanceTask::new(upkeep.clone()))),
            (TaskKind::Recoding, Arc::new(RecodeTask::new(upkeep.clone()))),
            (TaskKind::Repair, Arc::new(RepairTask::new(upkeep.clone()))),
            (TaskKind::Scrub, Arc::new(ScrubTask::new(upkeep.clone()))),
        ];
        for (kind, task) in tasks {
            shared
                .tasks
                .spawn(kind, task, &shared.running, shared.shutdown.clone());
        }
        let following = join(self.clone().follow_layout(), self.clone().follow_disks());
        let stopped = shared.shutdown.clone();
        shared.running.spawn(async move {
            stopped.run_until_cancelled(following).await;
        });
        shared
            .running
            .spawn(self.departures().watch(shared.shutdown.clone()));
        let (tasks, upkeep, shutdown) = (shared.tasks.clone(), upkeep.clone(), shared.shutdown.clone());
        shared.running.spawn(async move {
            let stopped = shutdown.cancelled();
            tokio::pin!(stopped);
            loop {
                tokio::select! {
                    () = &mut stopped => return,
                    () = RepairTask::alarms(&upkeep) => tasks.wake(TaskKind::Repair),
                }
            }
        });
    }

    /// Keeps in step with the records of the nodes until this node stops, or must.
    pub async fn follow(&self) -> Option<Departed> {
        self.shared
            .directory
            .clone()
            .follow(self.shared.shutdown.clone())
            .await
    }

    /// The metadata.
    pub fn kv(&self) -> &Kv {
        &self.shared.kv
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.shared.blobs
    }

    /// The cluster that this node belongs to.
    pub fn id(&self) -> ClusterId {
        self.shared.dir.cluster()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.dir.node()
    }

    /// The level of the cluster: what may be written that not every version can read.
    pub async fn level(&self) -> Result<Level, ReadError> {
        Level::of(&self.shared.kv.local()).await
    }

    /// Makes a token with which one node can join, once.
    pub async fn join_token(&self, lifetime: Duration) -> Result<JoinToken, TokenError> {
        let members = crate::membership::nodes(&self.shared.kv.local()).await?;
        let seeds = members
            .iter()
            .map(|member| member.address.as_str().to_owned())
            .collect();
        JoinTokens::new(self.shared.kv.clone(), self.shared.seams.clone())
            .issue(lifetime, seeds)
            .await
    }

    /// How the nodes are, and what the cluster survives now.
    pub async fn status(&self) -> Result<ClusterStatus, ReadError> {
        let shared = &self.shared;
        let snapshot = shared.kv.local();
        let layout = Blobs::layout(&snapshot).await?;
        let coding = layout.map_or(Coding { data: 1, parity: 0 }, |layout| Coding {
            data: layout.code.data.into(),
            parity: layout.code.parity.into(),
        });
        let debt = Blobs::debt(&snapshot).await?;
        let mut status = cluster_status(&shared.kv, &shared.peers, &shared.reporter, coding, debt).await?;
        status.moving = motion(&self.tasks().await?);
        Ok(status)
    }

    fn departures(&self) -> Departures {
        let shared = &self.shared;
        Departures {
            kv: shared.kv.clone(),
            seams: shared.seams.clone(),
            peers: shared.peers.clone(),
            control: shared.replica.clone(),
            upkeep: shared.upkeep.clone(),
        }
    }

    /// Lets a node give up its leadership, its vote and its shards. It goes on to serve everything.
    pub async fn drain(&self, node: NodeId, intent: Intent) -> Result<Decision, DepartureError> {
        self.departures().drain(node, intent).await
    }

    /// Lets a node that was drained hold shards and vote again.
    pub async fn undrain(&self, node: NodeId) -> Result<Decision, DepartureError> {
        self.departures().undrain(node).await
    }

    /// Lets a node take the places of one that is dead, which is removed when nothing counts on it
    /// any more: `with`, or the one that joined last.
    pub async fn replace(
        &self,
        node: NodeId,
        with: Option<NodeId>,
        intent: Intent,
    ) -> Result<Decision, DepartureError> {
        self.departures().replace(node, with, intent).await
    }

    /// Takes a node that has nothing any more out of the cluster, for ever.
    pub async fn remove(&self, node: NodeId, intent: Intent) -> Result<Decision, DepartureError> {
        self.departures().remove(node, intent).await
    }

    fn disk_control(&self) -> DiskControl {
        let shared = &self.shared;
        DiskControl {
            kv: shared.kv.clone(),
            peers: shared.peers.clone(),
            upkeep: shared.upkeep.clone(),
        }
    }

    /// The disks of one node, or of all.
    pub async fn disks(&self, node: Option<NodeId>) -> Result<DiskList, DiskRequestError> {
        self.disk_control().list(node).await
    }

    /// Puts an empty disk in the place of one of a node that has failed or was emptied: at the
    /// absolute path `with` of that node, or where the old one was. A sound disk is emptied first.
    /// Gives the disks of that node.
    pub async fn replace_disk(
        &self,
        node: NodeId,
        disk: DiskId,
        with: Option<String>,
    ) -> Result<DiskList, DiskRequestError> {
        self.disk_control().replace(node, disk, with).await
    }

    /// What this node has made of the metadata so far, to hold against the other nodes. Reads all
    /// of it.
    pub async fn metadata_hash(&self) -> Result<MetadataHash, ReadError> {
        Ok(self.shared.replica.metadata_hash().await?)
    }

    /// Exports the latest state for a backup, whose [`crate::Hold`] should stand: see [`crate::Part`].
    pub async fn export(
        &self,
        backup: BackupId,
    ) -> Result<BoxStream<'static, Result<Bytes, ReadError>>, ExportError> {
        let snapshot = self.shared.kv.latest().await?;
        let taken_at = self.shared.seams.clock.now();
        let begin = Begin::of(&snapshot, backup, self.id(), taken_at).await?;
        Ok(backup::export(snapshot, begin))
    }

    /// Begins to make this cluster, which must keep nothing yet, from a backup; or goes on.
    pub async fn begin_restore(&self, begin: &Begin) -> Result<Restore, RestoreError> {
        let shared = &self.shared;
        Restore::begin(
            shared.kv.clone(),
            shared.blobs.clone(),
            shared.seams.clone(),
            begin,
        )
        .await
    }

    /// How the background work of all nodes stands.
    pub async fn tasks(&self) -> Result<Vec<TaskStatus>, ReadError> {
        self.shared.tasks.statuses(&self.shared.kv.local()).await
    }

    /// What is set for a kind of background work.
    pub async fn task_settings(&self, kind: TaskKind) -> Result<TaskSettings, ReadError> {
        self.shared.tasks.settings(&self.shared.kv.local(), kind).await
    }

    /// Changes what is set for a kind of background work, on all nodes. May call `change` again.
    pub async fn configure_task(
        &self,
        kind: TaskKind,
        change: impl Fn(&mut TaskSettings) + Sync,
    ) -> Result<TaskSettings, SettingsError> {
        self.shared.tasks.configure(kind, change).await
    }

    /// Has every node begin a round of a kind of background work, unless one is under way.
    pub async fn run_task(&self, kind: TaskKind) -> Result<(), SettingsError> {
        let now = self.shared.seams.clock.now();
        let ask = |settings: &mut TaskSettings| settings.run_at = Some(now);
        self.configure_task(kind, ask).await.map(drop)
    }

    /// Up to `limit` blobs that have less redundancy than they should, after one. A page may hold
    /// fewer than there are, or none: the last is the one without a next.
    pub async fn under_protected(
        &self,
        after: Option<(Space, BlobId)>,
        limit: usize,
    ) -> Result<UnderProtectedPage, ProtectionError> {
        self.shared.upkeep.under_protected(after, limit).await
    }

    /// How long what nothing names any more is kept.
    pub async fn retention(&self) -> Result<Retention, ReadError> {
        Retention::load(&self.shared.kv.local()).await
    }

    /// Sets how long what nothing names any more is kept.
    pub async fn set_retention(&self, retention: &Retention) -> Result<(), RetentionError> {
        retention.store(&self.shared.kv).await
    }

    /// Stops: hands over the leadership, lets requests of other nodes finish, ends consensus.
    pub async fn stop(&self) {
        let shared = &self.shared;
        shared.shutdown.cancel();
        let handed_over = tokio::time::timeout(HAND_OVER_WITHIN, shared.replica.hand_over()).await;
        if handed_over.is_err() {
            tracing::warn!("no other node took over the leadership in time");
        }
        shared.replica.shutdown().await;
        shared.server_shutdown.cancel();
        shared.running.close();
        shared.running.wait().await;
    }
}

fn bulk_routes(
    raft_service: cairn_proto::v1::raft_server::RaftServer<Service>,
    blob_service: BlobService,
) -> Routes {
    Routes::new(raft_service).add_service(blob_service.server())
}

/// In what a node keeps blobs.
fn blob_config(config: &ClusterConfig, dir: &DataDir, fail_stop: FailStop) -> BlobConfig {
    let owner = DiskOwner {
        cluster: dir.cluster(),
        node: dir.node(),
    };
    let folder = config.data.join("blobs");
    BlobConfig {
        disk: Arc::new(Folder::new(&folder)),
        folder,
        reserve_bytes: config.reserve_bytes,
        cache_bytes: config.cache_bytes,
        disks: DisksConfig::new(owner, &config.data, &config.disks, config.without_disks.clone()),
        fail_stop,
    }
}
