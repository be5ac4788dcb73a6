//! What `cairn cluster status` shows: gathered from every node, with patience for none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_proto::v1;
use cairn_proto::v1::membership_client::MembershipClient;
use cairn_proto::v1::membership_server::{Membership, MembershipServer};
use futures::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::control::{RaftControl, RaftView};
use super::record::{NodeInfo, Zone, nodes};
use super::survival::{Coding, Facts, NodeFacts, survival};
use super::upgrade::Upgrade;
use crate::blob::DiskSummary;
use crate::departure::{Departure, Motion, departures};
use crate::kv::{Kv, ReadError};
use crate::level::{Build, Level};
use crate::net::{Lane, Peers};
use crate::node_id::NodeId;

/// How long a node may take to tell of itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a node does for consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "NodeRole")]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes.
    Voter,
    /// It receives the log.
    Learner,
    /// It was admitted and does not receive the log yet.
    Joining,
}

/// One node, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// Where it listens for the others.
    pub address: String,
    /// What it fails together with.
    #[schemars(with = "String")]
    pub zone: Zone,
    /// What it does for consensus.
    pub role: Role,
    /// Whether it answers. What only it can tell is absent if not.
    pub up: bool,
    /// The version that it runs, or ran when it was last heard of.
    pub version: String,
    /// What that can read and write.
    pub level: Level,
    /// The last log index that it has applied.
    pub applied_index: Option<u64>,
    /// How many log entries it is behind the newest that any node tells of.
    pub lag: Option<u64>,
    /// What is used of its disks.
    pub disk_used_bytes: Option<u64>,
    /// The size of its disks.
    pub disk_total_bytes: Option<u64>,
    /// How many of its disks have failed.
    pub failed_disks: Option<u32>,
    /// How far it is with leaving, if it is.
    pub departure: Option<Departure>,
}

/// The cluster, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClusterStatus {
    /// What the cluster survives now.
    pub survives: String,
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// The members, by id.
    pub nodes: Vec<NodeStatus>,
    /// What is on its way to the nodes that are to have it.
    pub moving: Option<Motion>,
    /// How far an upgrade is.
    pub upgrade: Upgrade,
}

/// Tells how the disks of this node are, without waiting for them.
#[async_trait]
pub trait TellDisks: Send + Sync {
    /// How they are now.
    async fn summary(&self) -> DiskSummary;
}

/// Tells what only this node knows of itself. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    build: Arc<Build>,
    disks: Arc<dyn TellDisks>,
    control: Arc<dyn RaftControl>,
}

impl Reporter {
    /// A reporter for a node with these disks.
    pub fn new(build: Build, disks: Arc<dyn TellDisks>, control: Arc<dyn RaftControl>) -> Self {
        Self {
            build: Arc::new(build),
            disks,
            control,
        }
    }

    /// The service for the lane [`Lane::Requests`].
    pub fn service(self) -> MembershipServer<impl Membership> {
        MembershipServer::new(self).max_decoding_message_size(1024)
    }

    async fn report(&self) -> v1::StatusResponse {
        let view = self.control.view();
        let disks = self.disks.summary().await;
        v1::StatusResponse {
            node: view.me.0,
            version: self.build.version.clone(),
            level: self.build.level.0,
            applied_index: view.applied,
            disk_used_bytes: disks.used_bytes,
            disk_total_bytes: disks.total_bytes,
            failed_disks: disks.failed,
            rebuilding: disks.rebuilding,
        }
    }
}

#[tonic::async_trait]
impl Membership for Reporter {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(self.report().await))
    }
}

/// Asks every node how it is. Any node can do this, with or without a leader; a node that does
/// not answer within two seconds is shown as down.
pub async fn cluster_status(
    kv: &Kv,
    peers: &Peers,
    own: &Reporter,
    coding: Coding,
    shard_debt: u64,
) -> Result<ClusterStatus, ReadError> {
    let snapshot = kv.local();
    let members = nodes(&snapshot).await?;
    let level = Level::of(&snapshot).await?;
    let view = own.control.view();
    let departures = departures(&snapshot, &view).await?;
    let asked = members.iter().map(async |member| {
        let report = match member.id == peers.me() {
            true => Some(own.report().await),
            false => ask(peers, member.id).await,
        };
        (member.id, report)
    });
    let reports: BTreeMap<NodeId, v1::StatusResponse> = join_all(asked)
        .await
        .into_iter()
        .filter_map(|(node, report)| Some((node, report?)))
        .collect();
    Ok(assemble(
        &members, level, &view, &reports, departures, coding, shard_debt,
    ))
}

async fn ask(peers: &Peers, node: NodeId) -> Option<v1::StatusResponse> {
    if peers.is_down(node) {
        return None;
    }
    let mut client = MembershipClient::new(peers.channel(node, Lane::Requests));
    let answer = timeout(ANSWER_WITHIN, client.status(v1::StatusRequest {})).await;
    Some(answer.ok()?.ok()?.into_inner())
}

fn assemble(
    members: &[NodeInfo],
    level: Level,
    view: &RaftView,
    reports: &BTreeMap<NodeId, v1::StatusResponse>,
    mut departures: BTreeMap<NodeId, Departure>,
    coding: Coding,
    shard_debt: u64,
) -> ClusterStatus {
    let told = reports.values().map(|report| report.applied_index);
    let newest = told.max().unwrap_or(0).max(view.applied);
    let role = |node: NodeId| match node {
        _ if view.leader == Some(node) => Role::Leader,
        _ if view.voters.contains(&node) => Role::Voter,
        _ if view.learners.contains(&node) => Role::Learner,
        _ => Role::Joining,
    };
    let is_gone = |node: &NodeId| {
        departures
            .get(node)
            .is_some_and(|departure| departure.safe_to_stop)
    };
    let facts = Facts {
        // One that has given up everything may be lost as well as not.
        nodes: members
            .iter()
            .filter(|member| !is_gone(&member.id))
            .map(|member| NodeFacts {
                id: member.id,
                zone: member.zone.clone(),
                up: reports.contains_key(&member.id),
                rebuilding: reports.get(&member.id).is_some_and(|report| report.rebuilding),
                voter: view.voters.contains(&member.id),
            })
            .collect(),
        coding,
        shard_debt,
    };
    let nodes = members.iter().map(|member| {
        let report = reports.get(&member.id);
        let applied_index = report.map(|report| report.applied_index);
        NodeStatus {
            node: member.id,
            address: member.address.to_string(),
            zone: member.zone.clone(),
            role: role(member.id),
            up: report.is_some(),
            version: report.map_or_else(|| member.build.version.clone(), |report| report.version.clone()),
            level: report.map_or(member.build.level, |report| Level(report.level).max(Level::FIRST)),
            applied_index,
            lag: applied_index.map(|applied| newest - applied),
            disk_used_bytes: report.map(|report| report.disk_used_bytes),
            disk_total_bytes: report.map(|report| report.disk_total_bytes),
            failed_disks: report.map(|report| report.failed_disks),
            departure: departures.remove(&member.id),
        }
    });
    let nodes: Vec<NodeStatus> = nodes.collect();
    let leader = view.leader.filter(|leader| reports.contains_key(leader));
    ClusterStatus {
        survives: survival(&facts),
        upgrade: Upgrade::plan(level, shard_debt, &nodes),
        leader,
        nodes,
        moving: None,
    }
}
