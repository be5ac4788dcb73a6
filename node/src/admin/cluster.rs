//! What operators ask of the cluster: how it is, a token with which a node can join, and to let a node
//! leave.
//!
//! GitLab has nothing like it, so it lies below `/api/cairn/v1`.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with};
use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use cairn_cluster::membership::ClusterStatus;
use cairn_cluster::{
    BackupId, BlobId, BlobReadError, BlobReader, Decision, DiskId, DiskList, Hold, Intent, MetadataHash,
    NodeId, ReadError, Retention, Space, TaskKind, TaskSettings, TaskStatus, Timestamp, UnderProtectedPage,
    Waste,
};
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::upkeep::TaskChange;
use crate::app::App;
use crate::auth::{Authorised, Instance, Own};
use crate::http::body::Params;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::rest::{Path, about};
use crate::registry::audit::Act;
use crate::registry::time::iso;

/// A join token that is not used at once was probably forgotten somewhere.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60 * 60);
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// No system has longer ones.
const LONGEST_PATH: usize = 4096;

/// The cluster, as far as operators reach it through HTTP.
#[async_trait]
pub trait Operator: Send + Sync {
    /// How the nodes are, and what the cluster survives now.
    async fn status(&self) -> Result<ClusterStatus, ApiError>;

    /// Makes a token with which one node can join, once.
    async fn join_token(&self, lifetime: Duration) -> Result<Issued, ApiError>;

    /// Lets a node give up its vote and its shards.
    async fn drain(&self, node: NodeId, intent: Intent) -> Result<Decision, ApiError>;

    /// Lets a node that was drained hold shards and vote again.
    async fn undrain(&self, node: NodeId) -> Result<Decision, ApiError>;

    /// Lets another node take the places of one that is dead: the one that joined last, if none is
    /// named.
    async fn replace(&self, node: NodeId, with: Option<NodeId>, intent: Intent)
    -> Result<Decision, ApiError>;

    /// Takes a node that has nothing any more out of the cluster.
    async fn remove(&self, node: NodeId, intent: Intent) -> Result<Decision, ApiError>;

    /// The disks of one node, or of all.
    async fn disks(&self, node: Option<NodeId>) -> Result<DiskList, ApiError>;

    /// Puts another disk in the place of one of a node, or has one emptied.
    async fn replace_disk(
        &self,
        node: NodeId,
        disk: DiskId,
        with: Option<String>,
    ) -> Result<DiskList, ApiError>;

    /// How the background work of all nodes stands.
    async fn tasks(&self) -> Result<Vec<TaskStatus>, ApiError>;

    /// What is set for a kind of background work.
    async fn task_settings(&self, task: TaskKind) -> Result<TaskSettings, ApiError>;

    /// Changes what is set for a kind of background work, on all nodes.
    async fn set_task(&self, task: TaskKind, change: TaskChange) -> Result<TaskSettings, ApiError>;

    /// Some blobs that have less redundancy than they should, after one.
    async fn under_protected(
        &self,
        after: Option<(Space, BlobId)>,
        limit: usize,
    ) -> Result<UnderProtectedPage, ApiError>;

    /// Some of what nothing names any more.
    async fn waste(&self, limit: usize) -> Result<Vec<Waste>, ApiError>;

    /// How long what nothing names any more is kept.
    async fn retention(&self) -> Result<Retention, ApiError>;

    /// Sets how long what nothing names any more is kept.
    async fn set_retention(&self, retention: &Retention) -> Result<(), ApiError>;

    /// What this node has made of the metadata so far.
    async fn metadata_hash(&self) -> Result<MetadataHash, ApiError>;

    /// The backups that are being taken.
    async fn backups(&self) -> Result<Vec<Hold>, ApiError>;

    /// Begins a backup for somebody: nothing that is there is collected meanwhile.
    async fn begin_backup(&self, by: &str) -> Result<Hold, ApiError>;

    /// Keeps a backup going.
    async fn renew_backup(&self, backup: BackupId) -> Result<Hold, ApiError>;

    /// Ends a backup.
    async fn end_backup(&self, backup: BackupId) -> Result<(), ApiError>;

    /// All that is kept in the metadata, as one consistent stream.
    async fn export(&self, backup: BackupId) -> Result<Export, ApiError>;

    /// Opens a blob.
    async fn read_blob(&self, space: Space, blob: BlobId) -> Result<BlobReader, BlobReadError>;
}

/// An export, in its written form.
pub type Export = BoxStream<'static, Result<Bytes, ReadError>>;

/// A join token that was made now. It has no debug form, because it is a secret.
pub struct Issued {
    /// The line of text that the new node is given.
    pub token: String,
    /// Until when it may be used.
    pub expires_at: Timestamp,
}

/// A node that runs by itself, without a cluster behind it: those of tests do.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCluster;

#[async_trait]
impl Operator for NoCluster {
    async fn status(&self) -> Result<ClusterStatus, ApiError> {
        Err(alone())
    }

    async fn join_token(&self, _: Duration) -> Result<Issued, ApiError> {
        Err(alone())
    }

    async fn drain(&self, _: NodeId, _: Intent) -> Result<Decision, ApiError> {
        Err(alone())
    }

    async fn undrain(&self, _: NodeId) -> Result<Decision, ApiError> {
        Err(alone())
    }

    async fn replace(&self, _: NodeId, _: Option<NodeId>, _: Intent) -> Result<Decision, ApiError> {
        Err(alone())
    }

    async fn remove(&self, _: NodeId, _: Intent) -> Result<Decision, ApiError> {
        Err(alone())
    }

    async fn disks(&self, _: Option<NodeId>) -> Result<DiskList, ApiError> {
        Err(alone())
    }

    async fn replace_disk(&self, _: NodeId, _: DiskId, _: Option<String>) -> Result<DiskList, ApiError> {
        Err(alone())
    }

    async fn tasks(&self) -> Result<Vec<TaskStatus>, ApiError> {
        Err(alone())
    }

    async fn task_settings(&self, _: TaskKind) -> Result<TaskSettings, ApiError> {
        Err(alone())
    }

    async fn set_task(&self, _: TaskKind, _: TaskChange) -> Result<TaskSettings, ApiError> {
        Err(alone())
    }

    async fn under_protected(
        &self,
        _: Option<(Space, BlobId)>,
        _: usize,
    ) -> Result<UnderProtectedPage, ApiError> {
        Err(alone())
    }

    async fn waste(&self, _: usize) -> Result<Vec<Waste>, ApiError> {
        Err(alone())
    }

    async fn retention(&self) -> Result<Retention, ApiError> {
        Err(alone())
    }

    async fn set_retention(&self, _: &Retention) -> Result<(), ApiError> {
        Err(alone())
    }

    async fn metadata_hash(&self) -> Result<MetadataHash, ApiError> {
        Err(alone())
    }

    async fn backups(&self) -> Result<Vec<Hold>, ApiError> {
        Err(alone())
    }

    async fn begin_backup(&self, _: &str) -> Result<Hold, ApiError> {
        Err(alone())
    }

    async fn renew_backup(&self, _: BackupId) -> Result<Hold, ApiError> {
        Err(alone())
    }

    async fn end_backup(&self, _: BackupId) -> Result<(), ApiError> {
        Err(alone())
    }

    async fn export(&self, _: BackupId) -> Result<Export, ApiError> {
        Err(alone())
    }

    async fn read_blob(&self, _: Space, id: BlobId) -> Result<BlobReader, BlobReadError> {
        Err(BlobReadError::Unknown { id })
    }
}

fn alone() -> ApiError {
    ApiError::new(ErrorKind::NotImplemented, "this node is not part of a cluster")
}

/// The routes below `/api/cairn/v1/cluster`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/cluster",
            get_with(
                status,
                about(
                    "getCluster",
                    "Shows how the nodes are, and what the cluster survives now",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/join_tokens",
            post_with(
                join_token,
                about(
                    "createJoinToken",
                    "Makes a token with which one node can join, once",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/metadata_hash",
            get_with(
                metadata_hash,
                about(
                    "getMetadataHash",
                    "Shows what the node that is asked has made of the metadata so far",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/nodes/{node}",
            delete_with(
                remove,
                about(
                    "removeNode",
                    "Takes a node that has nothing any more out of the cluster",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/nodes/{node}/drain",
            post_with(
                drain,
                about("drainNode", "Lets a node give up its vote and its shards"),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/nodes/{node}/undrain",
            post_with(
                undrain,
                about(
                    "undrainNode",
                    "Lets a node that was drained hold shards and vote again",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/nodes/{node}/replace",
            post_with(
                replace,
                about(
                    "replaceNode",
                    "Lets another node take the places of one that is dead",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/disks",
            get_with(
                disks,
                about("listDisks", "Lists the disks of one node, or of all"),
            ),
        )
        .api_route(
            "/api/cairn/v1/cluster/nodes/{node}/disks/{disk}/replace",
            post_with(
                replace_disk,
                about(
                    "replaceDisk",
                    "Puts another disk in the place of one of a node, or has one emptied",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Cluster"))
}

async fn status(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
) -> Result<Json<ClusterStatus>, ApiError> {
    Ok(Json(app.operator().status().await?))
}

/// What the node that is asked has made of the metadata; another node is asked by itself.
async fn metadata_hash(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
) -> Result<Json<MetadataHash>, ApiError> {
    Ok(Json(app.operator().metadata_hash().await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewJoinToken {
    #[serde(default, deserialize_with = "crate::http::form::number")]
    lifetime_seconds: Option<u64>,
}

/// A join token, shown once.
#[derive(Serialize, JsonSchema)]
struct JoinToken {
    token: String,
    expires_at: String,
}

async fn join_token(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Params(new): Params<NewJoinToken>,
) -> Result<Json<JoinToken>, ApiError> {
    let lifetime = new.lifetime_seconds.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    if lifetime.is_zero() || lifetime > LONGEST_LIFETIME {
        return Err(ApiError::bad_request(format!(
            "lifetime_seconds must be from 1 to {}",
            LONGEST_LIFETIME.as_secs()
        )));
    }
    let act = Act::new("cluster.join_token_made").with("lifetime seconds", lifetime.as_secs());
    instance.announce(act).await?;
    let issued = app.operator().join_token(lifetime).await?;
    Ok(Json(JoinToken {
        token: issued.token,
        expires_at: iso(issued.expires_at),
    }))
}

/// How a node is to leave.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Leave {
    /// Only finds out whether it may.
    #[serde(default, deserialize_with = "crate::http::form::boolean")]
    dry_run: Option<bool>,
    /// The node that takes its places.
    #[serde(default, deserialize_with = "crate::http::form::number")]
    with: Option<u64>,
}

impl Leave {
    fn intent(&self) -> Intent {
        match self.dry_run {
            Some(true) => Intent::Ask,
            Some(false) | None => Intent::Do,
        }
    }

    /// Tells the audit log of it, unless it is only asked for.
    async fn announce(
        &self,
        instance: &Authorised<Instance, Own>,
        what: &'static str,
        node: NodeId,
    ) -> Result<(), ApiError> {
        match self.intent() {
            Intent::Ask => Ok(()),
            Intent::Do => instance.announce(Act::new(what).to(format!("node {node}"))).await,
        }
    }

    /// Only a replacement is by somebody.
    fn alone(self) -> Result<Self, ApiError> {
        match self.with {
            Some(_) => Err(ApiError::parameter("with is of no use here")),
            None => Ok(self),
        }
    }
}

fn node(id: &str) -> Result<NodeId, ApiError> {
    let parsed = id.parse::<NodeId>();
    parsed.map_err(|_| ApiError::not_found("404 Node Not Found"))
}

async fn drain(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Path(id): Path<String>,
    Params(leave): Params<Leave>,
) -> Result<Json<Decision>, ApiError> {
    let leave = leave.alone()?;
    let node = node(&id)?;
    leave.announce(&instance, "cluster.node_drained", node).await?;
    Ok(Json(app.operator().drain(node, leave.intent()).await?))
}

async fn undrain(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Path(id): Path<String>,
) -> Result<Json<Decision>, ApiError> {
    let node = node(&id)?;
    let act = Act::new("cluster.node_undrained").to(format!("node {node}"));
    instance.announce(act).await?;
    Ok(Json(app.operator().undrain(node).await?))
}

async fn replace(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Path(id): Path<String>,
    Params(leave): Params<Leave>,
) -> Result<Json<Decision>, ApiError> {
    let (node, with) = (node(&id)?, leave.with.map(NodeId));
    leave.announce(&instance, "cluster.node_replaced", node).await?;
    let replaced = app.operator().replace(node, with, leave.intent());
    Ok(Json(replaced.await?))
}

async fn remove(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Path(id): Path<String>,
    Params(leave): Params<Leave>,
) -> Result<Json<Decision>, ApiError> {
    let leave = leave.alone()?;
    let node = node(&id)?;
    leave.announce(&instance, "cluster.node_removed", node).await?;
    Ok(Json(app.operator().remove(node, leave.intent()).await?))
}

/// Of which node.
#[derive(Deserialize, JsonSchema)]
struct OfNode {
    #[serde(default, deserialize_with = "crate::http::form::number")]
    node: Option<u64>,
}

async fn disks(
    State(app): State<App>,
    _instance: Authorised<Instance, Own>,
    Params(of): Params<OfNode>,
) -> Result<Json<DiskList>, ApiError> {
    Ok(Json(app.operator().disks(of.node.map(NodeId)).await?))
}

/// What comes in the place of a disk.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replacement {
    /// Where it is, on the node; without it, where the old one was.
    #[serde(default)]
    with: Option<String>,
}

async fn replace_disk(
    State(app): State<App>,
    instance: Authorised<Instance, Own>,
    Path((id, disk)): Path<(String, String)>,
    Params(Replacement { with }): Params<Replacement>,
) -> Result<Json<DiskList>, ApiError> {
    let disk = disk.parse::<DiskId>();
    let disk = disk.map_err(|_| ApiError::not_found("404 Disk Not Found"))?;
    let with = with.filter(|path| !path.is_empty());
    if with.as_ref().is_some_and(|path| path.len() > LONGEST_PATH) {
        return Err(ApiError::parameter("with is too long"));
    }
    let node = node(&id)?;
    let act = Act::new("cluster.disk_replaced").to(format!("disk {disk} of node {node}"));
    instance.announce(act).await?;
    let replaced = app.operator().replace_disk(node, disk, with);
    Ok(Json(replaced.await?))
}

#[cfg(test)]
mod tests {
    use crate::testing::TestNode;

    #[tokio::test]
    async fn only_administrators_reach_the_cluster() {
        let node = TestNode::start().await;
        for (caller, expected) in [
            ("anonymous", 401),
            ("owner", 403),
            ("deploy-write", 401),
            ("root", 501),
        ] {
            let status = node.get("/api/cairn/v1/cluster").by(caller).send().await;
            assert_eq!(status.status, expected, "{caller}");
            let token = node
                .post("/api/cairn/v1/cluster/join_tokens")
                .by(caller)
                .send()
                .await;
            assert_eq!(token.status, expected, "{caller}");
        }
    }

    #[tokio::test]
    async fn join_tokens_do_not_live_for_ever() {
        let node = TestNode::start().await;
        for seconds in ["0", "86401", "x"] {
            let target = format!("/api/cairn/v1/cluster/join_tokens?lifetime_seconds={seconds}");
            let answer = node.post(&target).by("root").send().await;
            assert_eq!(answer.status, 400, "{seconds}");
        }
    }

    #[tokio::test]
    async fn what_lets_a_node_leave_is_read_strictly() {
        let node = TestNode::start().await;
        for (target, expected) in [
            ("3/drain", 501),
            ("3/drain?dry_run=true", 501),
            ("3/drain?dry_run=perhaps", 400),
            ("3/drain?with=4", 400),
            ("3/replace?with=4", 501),
            ("3/replace?with=x", 400),
            ("3/undrain", 501),
            ("three/drain", 404),
            ("-1/drain", 404),
            ("3/disks/7f3a09c1/replace", 501),
            ("3/disks/7f3a09c1/replace?with=/srv/disk2", 501),
            ("3/disks/7f3a09c1/replace?without=/srv/disk2", 400),
            ("3/disks/7F3A09C1/replace", 404),
            ("three/disks/7f3a09c1/replace", 404),
        ] {
            let target = format!("/api/cairn/v1/cluster/nodes/{target}");
            let answer = node.post(&target).by("root").send().await;
            assert_eq!(answer.status, expected, "{target}");
        }
    }
}
