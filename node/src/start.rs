//! How a node is made, starts and stops. Each is one function that reads from top to bottom.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use cairn_cluster::membership::{ClusterStatus, ControllerConfig, Departed, FoundError, JoinPlan};
use cairn_cluster::net::Tcp;
use cairn_cluster::trust::{JoinToken, TokenError};
use cairn_cluster::{
    BackupId, BlobId, BlobReadError, BlobReader, Build, Cluster, ClusterConfig, ClusterId, Decision, DiskId,
    DiskList, EnterError, ExportError, FailStop, Hold, HoldError, Intent, Level, MetadataHash, NodeId,
    ProtectionError, RaftConfig, Retention, RetentionError, Seams, SettingsError, Space, TaskKind,
    TaskSettings, TaskStatus, UnderProtectedPage, Waste,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::admin::cluster::{Export, Issued, Operator};
use crate::admin::upkeep::TaskChange;
use crate::app::App;
use crate::backup::restore;
use crate::config::{Config, Log, LogFormat};
use crate::http::entrance::Entrance;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::metrics;
use crate::http::server::Server;
use crate::http::settings::HttpSettings;
use crate::registry::bootstrap::{Bootstrap, bootstrap};
use crate::registry::tasks;

/// `EX_IOERR` of sysexits.h, which a node ends with when its storage failed.
const STORAGE_FAILED: i32 = 74;

/// How many files stores, shards that are read and written, and other nodes need.
const FILES_OF_STORES: u64 = 2048;

/// The build that this program is of.
pub fn own_build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").into(),
        level: Level::OWN,
    }
}

/// A cluster that was founded.
pub struct Founded {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its first node.
    pub node: NodeId,
    /// The token of its administrator, `root`.
    pub token: String,
}

/// A node that was admitted.
#[derive(Debug)]
pub struct Joined {
    /// The cluster that it belongs to now.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// Founds a cluster with this node as its first, and makes what `first` says, which must have
/// an administrator.
pub async fn found(config: &Config, build: Build, first: &Bootstrap) -> anyhow::Result<Founded> {
    let (data, seams) = (config.node.data.clone(), Seams::system());
    let making = seams.clone();
    let made = tokio::task::spawn_blocking(move || Cluster::init(&data, &making));
    let (cluster, node) = made.await??;
    let settings = cluster_config(config, build);
    let running = Cluster::start(settings, seams.clone(), FailStop::new(say_and_exit))
        .await
        .context("start the first node")?;
    let token = fill(&running, seams, first).await;
    running.stop().await;
    Ok(Founded {
        cluster,
        node,
        token: token?,
    })
}

/// Ends the process as [`FailStop::exit_process`] does, where nobody reads a log.
pub(crate) fn say_and_exit(reason: &str) {
    // If even this cannot be written, the exit code still tells.
    let _ = writeln!(std::io::stderr(), "error: storage failed: {reason}");
    std::process::exit(STORAGE_FAILED);
}

/// Makes the first records of the registry; gives the administrator's token.
async fn fill(running: &Cluster, seams: Seams, first: &Bootstrap) -> anyhow::Result<String> {
    running.enter().await?;
    let (kv, blobs) = (running.kv().clone(), running.blobs().clone());
    let app = App::new(kv, blobs, seams, HttpSettings::default());
    let made = bootstrap(&app, first)
        .await
        .map_err(|error| anyhow!("make the administrator: {} {}", error.message, error.causes()))?;
    made.token.context("the administrator is there already")
}

/// Makes this node a member of the cluster that the token names.
pub async fn join(config: &Config, build: Build, token: &str) -> anyhow::Result<Joined> {
    let token: JoinToken = token.parse()?;
    let plan = JoinPlan {
        path: config.node.data.clone(),
        token,
        address: config.cluster.advertised(),
        zone: config.node.zone.clone(),
        build,
        capacity_bytes: match config.node.disks.as_slice() {
            [] => capacity_bytes(&config.node.data),
            // What is one file system after all is found out when the node starts.
            disks => disks.iter().map(|disk| capacity_bytes(disk)).sum(),
        },
    };
    let joined = cairn_cluster::membership::join(plan, Arc::new(Tcp), &Seams::system()).await?;
    Ok(Joined {
        cluster: joined.dir.cluster(),
        node: joined.dir.node(),
    })
}

/// The size of the disk that will hold a folder, which need not be there yet; 0 if it does not
/// tell.
fn capacity_bytes(folder: &Path) -> u64 {
    let disk = folder
        .ancestors()
        .map(|folder| {
            if folder == Path::new("") {
                Path::new(".")
            } else {
                folder
            }
        })
        .find_map(|folder| rustix::fs::statvfs(folder).ok());
    disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// Runs a node until it is told to stop, or must.
///
/// It does without some disks that were in use.
pub async fn serve(config: Config, without_disks: Vec<DiskId>, build: Build) -> anyhow::Result<()> {
    log_to_standard_error(&config.log);
    metrics::install().context("record metrics")?;
    let open_files = raise_open_files();
    if open_files < wanted_open_files(&config) {
        warn!(
            open_files,
            "this process may open {open_files} files, which {} connections can use up; a node that can \
             open none for its stores stops",
            config.http.max_connections
        );
    }
    let mut signals = StopSignals::listen()?;
    let seams = Seams::system();

    restore::check_finished(&config.node.data)?;
    let entrance = Entrance::load(&config.http, seams.clock.clone()).await?;
    let _following = AbortOnDropHandle::new(tokio::spawn(entrance.clone().follow()));
    let node = ClusterConfig {
        without_disks,
        ..cluster_config(&config, build)
    };
    let cluster = Cluster::start(node, seams.clone(), FailStop::exit_process()).await?;
    let (id, node) = (cluster.id(), cluster.node());
    info!(cluster = %id, node = %node, "node {node} takes part in cluster {id}");
    let outcome = tokio::select! {
        entered = cluster.enter() => match entered {
            Ok(()) => serve_clients(&config, entrance, &cluster, seams, &mut signals).await,
            Err(error) => Err(error.into()),
        },
        // Until a majority is there, there is nobody to drain.
        () = signals.stop() => Ok(()),
    };
    tokio::select! {
        () = cluster.stop() => {}
        () = signals.stop() => bail!("told to stop a second time: stopped at once"),
    }
    info!("stopped");
    outcome
}

/// Has this process open as many files as the system allows at all: the usual limit is for programs
/// that do not expect any better. Gives how many that are.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        // Whoever may open fewer goes on with fewer.
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// How many files a node has open with as many clients as it serves at once.
fn wanted_open_files(config: &Config) -> u64 {
    config.http.max_connections as u64 + FILES_OF_STORES
}

/// Whether a node ended because it was removed from its cluster.
pub(crate) fn was_removed(error: &anyhow::Error) -> bool {
    let at_start = matches!(
        error.downcast_ref(),
        Some(EnterError::Announce(FoundError::Removed { .. }))
    );
    at_start || matches!(error.downcast_ref(), Some(Departed::Removed))
}

/// Serves clients until the node is told to stop, or must; then lets them finish.
async fn serve_clients(
    config: &Config,
    entrance: Entrance,
    cluster: &Cluster,
    seams: Seams,
    signals: &mut StopSignals,
) -> anyhow::Result<()> {
    tokio::select! {
        () = cluster.usable() => {}
        Some(departed) = cluster.follow() => return Err(departed.into()),
        () = signals.stop() => return Ok(()),
    }
    let serving = Serving::begin(config, entrance, cluster, seams).await?;
    let departed = tokio::select! {
        departed = cluster.follow() => departed,
        () = signals.stop() => None,
    };

    serving.app.drain();
    let drain = config.node.drain;
    info!("letting requests finish, for {drain:?} at most");
    tokio::select! {
        all = serving.server.stop(drain) => if !all {
            warn!("cut off requests that took longer than {drain:?}");
        },
        () = signals.stop() => warn!("told to stop a second time: cutting requests off"),
    }
    serving.tasks_stop.cancel();
    serving.tasks.await.context("a task of the registry failed")?;
    match departed {
        Some(departed) => Err(departed.into()),
        None => Ok(()),
    }
}

/// What of a node serves clients. Dropping it leaves it running.
pub(crate) struct Serving {
    pub(crate) app: App,
    pub(crate) server: Server,
    tasks: JoinHandle<()>,
    tasks_stop: CancellationToken,
}

impl Serving {
    /// Listens for clients of a node that takes part in its cluster.
    pub(crate) async fn begin(
        config: &Config,
        entrance: Entrance,
        cluster: &Cluster,
        seams: Seams,
    ) -> anyhow::Result<Self> {
        let settings = HttpSettings::of(config);
        let limits = settings.limits.clone();
        let operator = Running {
            cluster: cluster.clone(),
            seams: seams.clone(),
        };
        let (kv, blobs) = (cluster.kv().clone(), cluster.blobs().clone());
        let app = App::with_operator(kv, blobs, seams, settings, Arc::new(operator));
        let listener = TcpListener::bind(config.http.listen)
            .await
            .with_context(|| format!("listen for clients on {}", config.http.listen))?;
        let scheme = entrance.scheme();
        let server = Server::start(listener, entrance, Front::new(app.clone()), &limits)?;
        let tasks_stop = CancellationToken::new();
        let tasks = tokio::spawn(tasks::run(app.clone(), tasks_stop.clone()));
        info!(address = %server.address(), "serving clients on {scheme}://{}", server.address());
        Ok(Self {
            app,
            server,
            tasks,
            tasks_stop,
        })
    }
}

pub(crate) fn cluster_config(config: &Config, build: Build) -> ClusterConfig {
    ClusterConfig {
        data: config.node.data.clone(),
        listen: config.cluster.listen.to_string(),
        advertise: Some(config.cluster.advertised()),
        zone: Some(config.node.zone.clone()),
        build,
        raft: RaftConfig {
            snapshot_every_bytes: config.cluster.snapshot_every.as_u64(),
            log_retention_bytes: config.cluster.log_retention.as_u64(),
            ..RaftConfig::default()
        },
        disks: config.node.disks.clone(),
        without_disks: Vec::new(),
        reserve_bytes: config.node.reserve.as_u64(),
        cache_bytes: config.node.cache.as_u64(),
        controller: ControllerConfig::default(),
    }
}

/// What operators reach of the cluster.
struct Running {
    cluster: Cluster,
    seams: Seams,
}

#[async_trait]
impl Operator for Running {
    async fn status(&self) -> Result<ClusterStatus, ApiError> {
        Ok(self.cluster.status().await?)
    }

    async fn join_token(&self, lifetime: Duration) -> Result<Issued, ApiError> {
        let expires_at = self.seams.clock.now().plus(lifetime);
        let token = self
            .cluster
            .join_token(lifetime)
            .await
            .map_err(|error| match error {
                TokenError::Commit(error) => error.into(),
                TokenError::Read(error) => error.into(),
                other => ApiError::internal(other),
            })?;
        Ok(Issued {
            token: token.to_string(),
            expires_at,
        })
    }

    async fn drain(&self, node: NodeId, intent: Intent) -> Result<Decision, ApiError> {
        Ok(self.cluster.drain(node, intent).await?)
    }

    async fn undrain(&self, node: NodeId) -> Result<Decision, ApiError> {
        Ok(self.cluster.undrain(node).await?)
    }

    async fn replace(
        &self,
        node: NodeId,
        with: Option<NodeId>,
        intent: Intent,
    ) -> Result<Decision, ApiError> {
        Ok(self.cluster.replace(node, with, intent).await?)
    }

    async fn remove(&self, node: NodeId, intent: Intent) -> Result<Decision, ApiError> {
        Ok(self.cluster.remove(node, intent).await?)
    }

    async fn disks(&self, node: Option<NodeId>) -> Result<DiskList, ApiError> {
        Ok(self.cluster.disks(node).await?)
    }

    async fn replace_disk(
        &self,
        node: NodeId,
        disk: DiskId,
        with: Option<String>,
    ) -> Result<DiskList, ApiError> {
        Ok(self.cluster.replace_disk(node, disk, with).await?)
    }

    async fn tasks(&self) -> Result<Vec<TaskStatus>, ApiError> {
        Ok(self.cluster.tasks().await?)
    }

    async fn task_settings(&self, task: TaskKind) -> Result<TaskSettings, ApiError> {
        Ok(self.cluster.task_settings(task).await?)
    }

    async fn set_task(&self, task: TaskKind, change: TaskChange) -> Result<TaskSettings, ApiError> {
        let now = self.seams.clock.now();
        let changed = self
            .cluster
            .configure_task(task, |settings| change.apply(settings, now));
        changed.await.map_err(|error| match error {
            SettingsError::Commit(error) => error.into(),
            SettingsError::NoRate | SettingsError::NoPeriod => ApiError::bad_request(error.to_string()),
        })
    }

    async fn under_protected(
        &self,
        after: Option<(Space, BlobId)>,
        limit: usize,
    ) -> Result<UnderProtectedPage, ApiError> {
        let page = self.cluster.under_protected(after, limit).await;
        page.map_err(|error| match error {
            ProtectionError::Metadata(error) => error.into(),
            unavailable => ApiError::unavailable(unavailable),
        })
    }

    async fn waste(&self, limit: usize) -> Result<Vec<Waste>, ApiError> {
        Ok(self.cluster.blobs().waste(limit).await?)
    }

    async fn retention(&self) -> Result<Retention, ApiError> {
        Ok(self.cluster.retention().await?)
    }

    async fn set_retention(&self, retention: &Retention) -> Result<(), ApiError> {
        let set = self.cluster.set_retention(retention).await;
        set.map_err(|error| match error {
            RetentionError::Commit(error) => error.into(),
            RetentionError::TooShort => ApiError::bad_request(error.to_string()),
        })
    }

    async fn metadata_hash(&self) -> Result<MetadataHash, ApiError> {
        Ok(self.cluster.metadata_hash().await?)
    }

    async fn backups(&self) -> Result<Vec<Hold>, ApiError> {
        Ok(self.cluster.blobs().holds().await?)
    }

    async fn begin_backup(&self, by: &str) -> Result<Hold, ApiError> {
        self.cluster.blobs().hold(by).await.map_err(hold_error)
    }

    async fn renew_backup(&self, backup: BackupId) -> Result<Hold, ApiError> {
        let renewed = self.cluster.blobs().renew_hold(&backup).await;
        renewed.map_err(hold_error)
    }

    async fn end_backup(&self, backup: BackupId) -> Result<(), ApiError> {
        Ok(self.cluster.blobs().end_hold(&backup).await?)
    }

    async fn export(&self, backup: BackupId) -> Result<Export, ApiError> {
        let export = self.cluster.export(backup).await;
        export.map_err(|error| match error {
            ExportError::Unavailable(error) => ApiError::unavailable(error),
            ExportError::Read(error) => error.into(),
        })
    }

    async fn read_blob(&self, space: Space, blob: BlobId) -> Result<BlobReader, BlobReadError> {
        let (kv, blobs) = (self.cluster.kv(), self.cluster.blobs());
        // The request was let in on the latest state, which is no older than what the backup names.
        blobs.read(&kv.local(), space, &blob, None).await
    }
}

fn hold_error(error: HoldError) -> ApiError {
    match error {
        HoldError::TooMany => ApiError::conflict(error.to_string()),
        HoldError::Over { .. } => ApiError::not_found(error.to_string()),
        HoldError::Commit(error) => error.into(),
        HoldError::Read(error) => error.into(),
    }
}

/// What asks a node to stop: SIGTERM, or Ctrl-C.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Waits for the next one.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn log_to_standard_error(log: &Log) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(log.filter.to_env_filter())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_open_as_many_files_as_the_system_allows() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.maximum.unwrap_or(u64::MAX), raised);
    }

    #[test]
    fn the_disk_of_a_folder_that_is_not_there_yet_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let there = capacity_bytes(folder.path());
        assert!(there > 0);
        assert_eq!(capacity_bytes(&folder.path().join("a/b/c")), there);
        assert!(capacity_bytes(Path::new("not-there-yet")) > 0);
    }
}
