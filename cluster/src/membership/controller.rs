//! Carries out on the leader what the records of the nodes ask for: members become learners,
//! learners become voters, and whoever keeps data on the members is told of them. One change
//! at a time; between changes it only looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::control::{ControlError, RaftControl, RaftView};
use super::record::{NodeInfo, nodes};
use super::voters::{Member, Observation, Step, decide};
use crate::kv::{Kv, ReadError};
use crate::net::{Liveness, Peers};
use crate::node_id::NodeId;

/// How long a node that was removed is still sent the log, so that it learns of it.
const FAREWELL: Duration = Duration::from_secs(5);

/// How patient the controller is.
#[derive(Clone, Copy, Debug)]
pub struct ControllerConfig {
    /// How often it looks.
    pub look_every: Duration,
    /// How long a learner must have kept up before it votes.
    pub settle: Duration,
    /// How many log entries a learner that keeps up may be behind.
    pub lag_entries: u64,
    /// How long a voter may be away before another votes in its place.
    pub lost_after: Duration,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            look_every: Duration::from_millis(500),
            settle: Duration::from_secs(3),
            lag_entries: 1000,
            // A reboot or an upgrade should not move votes.
            lost_after: Duration::from_secs(15 * 60),
        }
    }
}

/// Is told on the leader who the members are, whenever that has changed: places data on them.
#[async_trait]
pub trait FollowMembers: Send + Sync {
    /// Takes these members into account. They receive the log already. Called again until it
    /// succeeds, and once after each change of leader, so it does nothing if nothing has changed.
    async fn follow(&self, members: &[NodeInfo]) -> anyhow::Result<()>;
}

/// Runs on every node and acts while its node leads.
pub struct Controller {
    config: ControllerConfig,
    kv: Kv,
    peers: Peers,
    control: Arc<dyn RaftControl>,
    followers: Vec<Arc<dyn FollowMembers>>,
    /// Since when each learner has kept up.
    keeping_up: BTreeMap<NodeId, Instant>,
    /// Since when learners are known to be removed.
    removed: BTreeMap<NodeId, Instant>,
    /// The members that the followers were told of.
    told: Vec<NodeInfo>,
}

/// Why a look led to nothing; the next one may.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("read the records of the nodes: {0}")]
    Read(#[from] ReadError),
    #[error("change the consensus group: {0}")]
    Control(#[from] ControlError),
    #[error("tell of the members: {0:#}")]
    Follow(anyhow::Error),
}

impl Controller {
    /// A controller over this node's view of the cluster.
    pub fn new(config: ControllerConfig, kv: Kv, peers: Peers, control: Arc<dyn RaftControl>) -> Self {
        Self {
            config,
            kv,
            peers,
            control,
            followers: Vec::new(),
            keeping_up: BTreeMap::new(),
            removed: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// Tells `follower` of the members, too.
    pub fn tell(mut self, follower: Arc<dyn FollowMembers>) -> Self {
        self.followers.push(follower);
        self
    }

    /// Runs until `shutdown`. A change under way is not interrupted by a loss of leadership:
    /// it then fails by itself.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.look_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let view = self.control.view();
            if !view.is_leader() {
                self.keeping_up.clear();
                self.told.clear();
                continue;
            }
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                step = self.step(view) => step,
            };
            if let Err(error) = step {
                warn!(%error, "bring the cluster in step with its members");
            }
        }
    }

    async fn step(&mut self, view: RaftView) -> Result<(), StepError> {
        let records = nodes(&self.kv.local()).await?;
        self.note_who_keeps_up(&view);
        let removed = self.note_the_removed(&view, &records);
        let seen = self.observe(&view, &records, removed);
        match decide(&seen) {
            None => debug!("the consensus group is as it should be"),
            Some(Step::AddLearner(node, address)) => {
                info!(%node, "adding node {node} as a learner");
                self.control.add_learner(node, address.as_str()).await?;
            }
            Some(Step::ChangeVoters(voters)) => {
                info!(before = ?seen.voters, after = ?voters, "changing the voters");
                self.control.change_voters(voters).await?;
            }
            Some(Step::HandOver(to)) => {
                info!(%to, "this node is leaving or has a slow disk: it hands over the leadership to node {to}");
                self.control.transfer_leader(to).await?;
            }
            Some(Step::Forget(node)) => {
                info!(%node, "node {node} was removed and is not sent the log any more");
                self.control.forget(node).await?;
            }
        }
        self.tell_followers(&view, records).await
    }

    /// Learners that were removed, once they have had the time to learn of it.
    fn note_the_removed(&mut self, view: &RaftView, records: &[NodeInfo]) -> BTreeSet<NodeId> {
        let is_member = |node: &NodeId| records.iter().any(|record| record.id == *node);
        let removed = view.learners.iter().copied().filter(|node| !is_member(node));
        let removed: BTreeSet<NodeId> = removed.collect();
        self.removed.retain(|node, _| removed.contains(node));
        for node in removed {
            self.removed.entry(node).or_insert_with(Instant::now);
        }
        let told = self
            .removed
            .iter()
            .filter(|(_, since)| since.elapsed() >= FAREWELL);
        told.map(|(node, _)| *node).collect()
    }

    fn observe(&self, view: &RaftView, records: &[NodeInfo], removed: BTreeSet<NodeId>) -> Observation {
        let members = records.iter().map(|record| {
            let liveness = self.peers.liveness(record.id);
            let kept_up = self.keeping_up.get(&record.id).map(Instant::elapsed);
            let member = Member {
                up: liveness == Liveness::Up,
                lost: matches!(liveness, Liveness::Down { since } if since.elapsed() >= self.config.lost_after),
                leaving: record.leaving.is_some(),
                slow: match record.id == view.me {
                    true => view.slow_disk,
                    false => self.peers.has_slow_disk(record.id),
                },
                ready: kept_up.is_some_and(|time| time >= self.config.settle),
                address: record.address.clone(),
                zone: record.zone.clone(),
            };
            (record.id, member)
        });
        Observation {
            leader: view.me,
            members: members.collect(),
            voters: view.voters.clone(),
            changing_voters: view.changing_voters,
            learners: view.learners.clone(),
            removed,
        }
    }

    async fn tell_followers(&mut self, view: &RaftView, mut members: Vec<NodeInfo>) -> Result<(), StepError> {
        members.retain(|member| view.voters.contains(&member.id) || view.learners.contains(&member.id));
        if self.told == members {
            return Ok(());
        }
        for follower in &self.followers {
            follower.follow(&members).await.map_err(StepError::Follow)?;
        }
        self.told = members;
        Ok(())
    }

    fn note_who_keeps_up(&mut self, view: &RaftView) {
        let keeps_up = |node: &NodeId| {
            let behind = |matched: &u64| view.last_log.saturating_sub(*matched);
            self.peers.liveness(*node) == Liveness::Up
                && view
                    .matched
                    .get(node)
                    .is_some_and(|matched| behind(matched) <= self.config.lag_entries)
        };
        let now: BTreeSet<NodeId> = view.learners.iter().copied().filter(keeps_up).collect();
        self.keeping_up.retain(|node, _| now.contains(node));
        for node in now {
            self.keeping_up.entry(node).or_insert_with(Instant::now);
        }
    }
}
