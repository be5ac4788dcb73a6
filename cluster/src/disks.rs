//! What operators ask of the disks of all nodes, through any node: whoever is asked asks the node
//! that they are in.

use std::path::PathBuf;
use std::time::Duration;

use cairn_proto::v1;
use cairn_proto::v1::disks_client::DisksClient;
use cairn_proto::v1::disks_server::{Disks, DisksServer};
use futures::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use crate::blob::{DiskId, DiskStatus, ReplaceError, Upkeep};
use crate::kv::{Kv, ReadError};
use crate::membership;
use crate::net::{Lane, PeerChannel, Peers};
use crate::node_id::NodeId;

/// How long a node may take to tell of its disks.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a node may take to put in a disk.
const REPLACE_WITHIN: Duration = Duration::from_secs(25);

/// A disk of some node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeDisk {
    /// The node that it is in.
    pub node: NodeId,
    /// How it is.
    #[serde(flatten)]
    pub disk: DiskStatus,
}

/// The disks of some nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiskList {
    /// By node, the one of the data directory first.
    pub disks: Vec<NodeDisk>,
    /// Nodes that did not tell.
    pub silent: Vec<NodeId>,
}

/// Why nothing was done with a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskRequestError {
    /// There is no such node.
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    /// The node has no such disk.
    #[error("the node has no disk {0}")]
    UnknownDisk(DiskId),
    /// It would be of no use, or do harm.
    #[error("{0}")]
    Refused(String),
    /// The node does not answer.
    #[error("node {node} does not answer: {reason}")]
    Unreachable {
        /// Which one.
        node: NodeId,
        /// What was heard instead.
        reason: String,
    },
    /// The members are not known.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The disks of all nodes, as one node reaches them.
#[derive(Clone)]
pub(crate) struct DiskControl {
    pub(crate) kv: Kv,
    pub(crate) peers: Peers,
    pub(crate) upkeep: Upkeep,
}

impl DiskControl {
    /// What this node does for the others, for the lane [`Lane::Requests`].
    pub(crate) fn service(upkeep: Upkeep) -> DisksServer<impl Disks> {
        DisksServer::new(DiskService { upkeep }).max_decoding_message_size(64 << 10)
    }

    /// The disks of one node, or of all.
    pub(crate) async fn list(&self, node: Option<NodeId>) -> Result<DiskList, DiskRequestError> {
        let members = membership::nodes(&self.kv.local()).await?.into_iter();
        let asked: Vec<NodeId> = members
            .map(|member| member.id)
            .filter(|member| node.is_none_or(|node| node == *member))
            .collect();
        if let Some(node) = node.filter(|_| asked.is_empty()) {
            return Err(DiskRequestError::UnknownNode(node));
        }
        let answers = asked.iter().map(async |node| (*node, self.disks_of(*node).await));
        let mut list = DiskList::default();
        for (node, answer) in join_all(answers).await {
            match answer {
                Ok(disks) => list.disks.extend(disks),
                Err(_) => list.silent.push(node),
            }
        }
        Ok(list)
    }

    async fn disks_of(&self, node: NodeId) -> Result<Vec<NodeDisk>, DiskRequestError> {
        let request = Request::new(v1::ListDisksRequest {});
        let answer = match node == self.peers.me() {
            true => self.own().list(request).await,
            false if self.peers.is_down(node) => return Err(unreachable(node, "it is down")),
            false => within(ANSWER_WITHIN, self.client(node).list(request)).await,
        };
        let answer = answer.map_err(|status| unreachable(node, status.message()))?;
        read(node, answer.into_inner())
    }

    /// Puts another disk in the place of one of a node, or has one emptied; gives the disks of the
    /// node.
    pub(crate) async fn replace(
        &self,
        node: NodeId,
        disk: DiskId,
        with: Option<String>,
    ) -> Result<DiskList, DiskRequestError> {
        let members = membership::nodes(&self.kv.local()).await?;
        if !members.iter().any(|member| member.id == node) {
            return Err(DiskRequestError::UnknownNode(node));
        }
        let request = Request::new(v1::ReplaceDiskRequest {
            disk: disk.to_string(),
            with,
        });
        let answer = match node == self.peers.me() {
            true => self.own().replace(request).await,
            false => within(REPLACE_WITHIN, self.client(node).replace(request)).await,
        };
        let answer = answer.map_err(|status| match status.code() {
            Code::NotFound => DiskRequestError::UnknownDisk(disk),
            Code::FailedPrecondition => DiskRequestError::Refused(status.message().into()),
            _ => unreachable(node, status.message()),
        })?;
        let (disks, silent) = (read(node, answer.into_inner())?, Vec::new());
        Ok(DiskList { disks, silent })
    }

    /// This node, asked as the others are.
    fn own(&self) -> DiskService {
        DiskService {
            upkeep: self.upkeep.clone(),
        }
    }

    fn client(&self, node: NodeId) -> DisksClient<PeerChannel> {
        DisksClient::new(self.peers.channel(node, Lane::Requests))
    }
}

fn unreachable(node: NodeId, reason: &str) -> DiskRequestError {
    DiskRequestError::Unreachable {
        node,
        reason: reason.to_owned(),
    }
}

async fn within<T>(time: Duration, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let answer = timeout(time, answer).await;
    answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("it takes too long")))
}

fn read(node: NodeId, answer: v1::ListDisksResponse) -> Result<Vec<NodeDisk>, DiskRequestError> {
    let newer = || unreachable(node, "it is of a version that says what this one does not know");
    let disks = answer
        .disks
        .into_iter()
        .map(|disk| from_wire(disk).ok_or_else(newer));
    disks.map(|disk| Ok(NodeDisk { node, disk: disk? })).collect()
}

fn to_wire(disk: DiskStatus) -> v1::Disk {
    v1::Disk {
        disk: disk.disk.to_string(),
        path: disk.path,
        state: disk.state.to_string(),
        reason: disk.reason,
        total_bytes: disk.total_bytes,
        used_bytes: disk.used_bytes,
        shards: disk.shards,
    }
}

/// None if a newer version says what this one does not know.
fn from_wire(disk: v1::Disk) -> Option<DiskStatus> {
    Some(DiskStatus {
        disk: disk.disk.parse().ok()?,
        path: disk.path,
        state: disk.state.parse().ok()?,
        reason: disk.reason,
        total_bytes: disk.total_bytes,
        used_bytes: disk.used_bytes,
        shards: disk.shards,
    })
}

/// What this node does for the others.
#[derive(Clone)]
struct DiskService {
    upkeep: Upkeep,
}

impl DiskService {
    async fn answer(&self) -> Response<v1::ListDisksResponse> {
        let disks = self.upkeep.disks().await.into_iter().map(to_wire).collect();
        Response::new(v1::ListDisksResponse { disks })
    }
}

#[tonic::async_trait]
impl Disks for DiskService {
    async fn list(
        &self,
        _: Request<v1::ListDisksRequest>,
    ) -> Result<Response<v1::ListDisksResponse>, Status> {
        Ok(self.answer().await)
    }

    async fn replace(
        &self,
        request: Request<v1::ReplaceDiskRequest>,
    ) -> Result<Response<v1::ListDisksResponse>, Status> {
        let v1::ReplaceDiskRequest { disk, with } = request.into_inner();
        let disk = disk.parse::<DiskId>();
        let disk = disk.map_err(|error| Status::not_found(error.to_string()))?;
        let replaced = self.upkeep.replace_disk(disk, with.map(PathBuf::from)).await;
        replaced.map_err(|error| match error {
            ReplaceError::Unknown(_) => Status::not_found(error.to_string()),
            ReplaceError::Refused(_) | ReplaceError::Disk(_) => {
                Status::failed_precondition(error.to_string())
            }
            ReplaceError::Stopping => Status::unavailable("it is stopping"),
        })?;
        Ok(self.answer().await)
    }
}
