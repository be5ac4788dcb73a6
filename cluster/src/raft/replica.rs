//! One node's part in the replicated metadata: the store that `Kv` stands on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_proto::v1;
use futures::FutureExt;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::{BasicNode, Config, ReadPolicy, SnapshotPolicy};
use prost::Message;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::log_store::LogStore;
use super::network::{Client, Dial, Network};
use super::rounds::Rounds;
use super::state_machine::StateMachine;
use super::types::{Answer, EncodedCommand, Raft, TypeConfig};
use crate::kv::{CommitError, Outcome, Snapshot, Store, Unavailable, check_form};
use crate::net::Lane;
use crate::off_thread::off_thread;
use crate::storage::FailStop;

/// How long a caller waits for the cluster to answer, an election included.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait before asking again when nothing told that the leader has changed.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Why a question was not waited for.
const OTHER_LEADER: &str = "the leader has changed meanwhile";

/// How many rounds of questions to the leader may be under way at once.
const CONCURRENT_ROUNDS: usize = 2;

/// How often an idle node makes sure that it still hears the majority.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// Timings and sizes of the replicated metadata.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// How often the leader shows that it lives.
    pub heartbeat: Duration,
    /// After how much silence an election begins; drawn anew each time from up to twice this.
    pub election_timeout: Duration,
    /// How many bytes of log lie between two snapshots.
    pub snapshot_every_bytes: u64,
    /// How many bytes of log are kept behind the newest entry, for followers that lag.
    pub log_retention_bytes: u64,
    /// RocksDB's block cache for the metadata.
    pub cache_bytes: usize,
    /// How many bytes of transactions of this node may be under way; others wait for their turn.
    pub proposed_bytes: usize,
}

impl Default for RaftConfig {
    fn default() -> Self {
        Self {
            // A loaded machine may stall for a while; an election for that would stall everybody.
            heartbeat: Duration::from_millis(200),
            election_timeout: Duration::from_millis(1000),
            snapshot_every_bytes: 512 << 20,
            log_retention_bytes: 2 << 30,
            cache_bytes: 256 << 20,
            // Each is in memory several times on the leader, until it is replicated.
            proposed_bytes: 32 << 20,
        }
    }
}

/// What this node knows of the group.
#[derive(Clone, Debug)]
pub(crate) struct GroupState {
    pub(crate) leader: Option<u64>,
    /// Of both configurations, while one is being replaced by the other.
    pub(crate) voters: BTreeSet<u64>,
    /// A change of the voters is under way, or was broken off half way.
    pub(crate) changing_voters: bool,
    pub(crate) addresses: BTreeMap<u64, String>,
    /// On the leader: the log index up to which each member has confirmed the log.
    pub(crate) matched: BTreeMap<u64, u64>,
    pub(crate) last_log_index: u64,
    pub(crate) applied_index: u64,
}

type Metrics = openraft::RaftMetrics<TypeConfig>;

/// The replicated metadata store of one node.
pub(crate) struct Replica {
    id: u64,
    raft: Raft,
    log: LogStore,
    state_machine: StateMachine,
    dial: Arc<dyn Dial>,
    applied: WatchReceiverOf<TypeConfig, u64>,
    /// The read index, confirmed by a majority; asked of this node as leader.
    leader_rounds: Rounds<Result<u64, String>>,
    /// Brings this node up to date with the leader, whoever that is.
    latest_rounds: Rounds<Result<(), String>>,
    confirmed_at: Mutex<Option<Instant>>,
    snapshot_transfer: tokio::sync::Mutex<()>,
    /// Bytes that may still be proposed, and their number.
    proposals: Semaphore,
    proposed_bytes: usize,
    stopping: CancellationToken,
}

impl Replica {
    /// Opens the stores below `dir` and starts consensus.
    pub(crate) async fn open(
        dir: &Path,
        id: u64,
        config: &RaftConfig,
        dial: Arc<dyn Dial>,
        fail_stop: FailStop,
    ) -> io::Result<Arc<Self>> {
        let (log, state_machine) = {
            let (dir, cache_bytes, fail_stop) = (dir.to_owned(), config.cache_bytes, fail_stop.clone());
            let open = move || {
                let log = LogStore::open(&dir.join("raft-log"), fail_stop.clone())?;
                let state = StateMachine::open(&dir.join("state"), cache_bytes, fail_stop)?;
                Ok::<_, io::Error>((log, state))
            };
            off_thread(open).await??
        };
        Self::start(id, config, log, state_machine, dial, fail_stop).await
    }

    /// Starts consensus over its stores.
    pub(super) async fn start(
        id: u64,
        config: &RaftConfig,
        log: LogStore,
        state_machine: StateMachine,
        dial: Arc<dyn Dial>,
        fail_stop: FailStop,
    ) -> io::Result<Arc<Self>> {
        let openraft_config = Config {
            cluster_name: "cairn".into(),
            heartbeat_interval: config.heartbeat.as_millis() as u64,
            election_timeout_min: config.election_timeout.as_millis() as u64,
            election_timeout_max: config.election_timeout.as_millis() as u64 * 2,
            enable_pre_vote: Some(true),
            // A leader replicates entries before they are on its own disk, and a majority of
            // the others can commit them. If it lost those in a crash and led on in the same
            // term, it would give their log ids to other entries, and the states of the nodes
            // would part ways. In an election, who has less than was committed cannot win.
            enable_leader_restore: Some(false),
            // Snapshots and purges are driven by `maintain`, by bytes.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..Config::default()
        };
        let openraft_config = Arc::new(openraft_config.validate().map_err(io::Error::other)?);
        let network = Network {
            id,
            dial: dial.clone(),
        };
        let raft = Raft::new(id, openraft_config, network, log.clone(), state_machine.clone())
            .await
            .map_err(io::Error::other)?;
        let applied = state_machine.watch_applied();
        let replica = Arc::new_cyclic(|this: &Weak<Self>| Self {
            id,
            raft,
            log,
            state_machine,
            dial,
            applied,
            leader_rounds: rounds(this, |this| async move { this.confirm_as_leader().await }),
            latest_rounds: rounds(this, |this| async move { this.catch_up().await }),
            confirmed_at: Mutex::new(None),
            snapshot_transfer: tokio::sync::Mutex::new(()),
            proposals: Semaphore::new(config.proposed_bytes),
            proposed_bytes: config.proposed_bytes,
            stopping: CancellationToken::new(),
        });
        tokio::spawn(end_with_consensus(
            replica.raft.metrics(),
            replica.stopping(),
            fail_stop,
        ));
        tokio::spawn(refresh(Arc::downgrade(&replica)));
        tokio::spawn(maintain(Arc::downgrade(&replica), config.clone()));
        Ok(replica)
    }

    /// This node.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether this node has ever been in a group.
    pub(crate) async fn is_initialized(&self) -> io::Result<bool> {
        self.raft.is_initialized().await.map_err(io::Error::other)
    }

    /// Makes this node the first and only member of a new group.
    pub(crate) async fn initialize(&self, address: &str) -> io::Result<()> {
        let members = BTreeMap::from([(self.id, BasicNode::new(address))]);
        self.raft.initialize(members).await.map_err(io::Error::other)
    }

    /// If this node leads others, has the one that is nearest take over, and waits for it.
    pub(crate) async fn hand_over(&self) {
        let state = self.group_state();
        let others = state.voters.iter().filter(|voter| **voter != self.id);
        let nearest = others
            .max_by_key(|voter| state.matched.get(voter).copied().unwrap_or(0))
            .copied();
        let Some(nearest) = nearest.filter(|_| state.leader == Some(self.id)) else {
            return;
        };
        if let Err(error) = Replica::transfer_leader(self, nearest).await {
            tracing::warn!(%error, "hand over the leadership");
            return;
        }
        self.wait_for_metrics(|metrics| metrics.current_leader != Some(self.id))
            .await;
    }

    /// Stops consensus. What was acknowledged is on disk already.
    pub(crate) async fn shutdown(&self) {
        self.stopping.cancel();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
        if let Err(error) = self.state_machine.sync().await {
            tracing::warn!(%error, "the metadata was not synced at shutdown; the log covers it");
        }
    }

    /// Resolves when this node begins to stop.
    pub(crate) fn stopping(&self) -> tokio_util::sync::WaitForCancellationFutureOwned {
        self.stopping.clone().cancelled_owned()
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn state_machine(&self) -> &StateMachine {
        &self.state_machine
    }

    /// Waits for the turn to receive a snapshot; one is received at a time.
    pub(crate) async fn snapshot_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.snapshot_transfer.lock().await
    }

    /// Where a member listens.
    pub(crate) fn address_of(&self, node: u64) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .membership()
            .get_node(&node)
            .map(|node| node.addr.clone())
    }

    /// What this node knows of the group.
    pub(crate) fn group_state(&self) -> GroupState {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        GroupState {
            leader: metrics.current_leader,
            voters: membership.voter_ids().collect(),
            changing_voters: membership.get_joint_config().len() > 1,
            addresses: membership
                .nodes()
                .map(|(id, node)| (*id, node.addr.clone()))
                .collect(),
            matched: metrics
                .replication
                .iter()
                .flatten()
                .map(|(id, matched)| (*id, matched.as_ref().map_or(0, |id| id.index)))
                .collect(),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: *self.applied.borrow_watched(),
        }
    }

    /// Adds a member that does not vote, or corrects the address of one.
    pub(crate) async fn add_learner(&self, node: u64, address: &str) -> io::Result<()> {
        self.raft
            .add_learner(node, BasicNode::new(address), false)
            .await
            .map(|_| ())
            .map_err(io::Error::other)
    }

    /// Makes exactly these members the voters; the others stay as learners. Also ends a change
    /// that was broken off half way.
    pub(crate) async fn change_voters(&self, voters: BTreeSet<u64>) -> io::Result<()> {
        self.raft
            .change_membership(voters, true)
            .await
            .map(|_| ())
            .map_err(io::Error::other)
    }

    /// Asks another voter to take over the leadership.
    pub(crate) async fn transfer_leader(&self, to: u64) -> io::Result<()> {
        self.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(io::Error::other)
    }

    /// The read index, if this node leads and a majority confirms it.
    pub(crate) async fn confirm_read_index_as_leader(&self) -> Result<u64, Status> {
        match self.leader_rounds.join().await {
            Some(Ok(index)) => Ok(index),
            Some(Err(reason)) => Err(Status::unavailable(reason)),
            None => Err(Status::unavailable("this node is stopping")),
        }
    }

    async fn confirm_as_leader(&self) -> Result<u64, String> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read_log_id, _)) => Ok(read_log_id.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                Err("this node does not lead".into())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Commits a transaction, if this node leads.
    ///
    /// `FailedPrecondition` says that it was surely not taken on, `InvalidArgument` that it never
    /// will be; any other failure leaves open whether it will be applied.
    pub(crate) async fn submit_as_leader(
        &self,
        transaction: v1::Transaction,
    ) -> Result<v1::SubmitResponse, Status> {
        check_form(&transaction).map_err(Status::invalid_argument)?;
        let command = v1::Command {
            kind: Some(v1::command::Kind::Transaction(transaction)),
        };
        let encoded = EncodedCommand(Bytes::from(command.encode_to_vec()));
        let written = self
            .raft
            .client_write(encoded)
            .await
            .map_err(|error| match error {
                RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
                    Status::failed_precondition("this node does not lead")
                }
                error => Status::unavailable(error.to_string()),
            })?;
        let (outcome, index) = match written.data {
            Answer::Applied(index) => (v1::submit_response::Outcome::Applied, index),
            Answer::Conflict => (v1::submit_response::Outcome::Conflict, written.log_id.index),
            Answer::Forgotten => (v1::submit_response::Outcome::Forgotten, written.log_id.index),
            Answer::None => return Err(Status::internal("a transaction was answered like a blank entry")),
        };
        Ok(v1::SubmitResponse {
            outcome: outcome.into(),
            index,
        })
    }

    /// Room for one more transaction among those that are under way, or none in time.
    pub(super) async fn room_to_propose(
        &self,
        transaction: &v1::Transaction,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Unavailable> {
        let bytes = transaction.encoded_len().min(self.proposed_bytes);
        let room = self.proposals.acquire_many(bytes as u32);
        match tokio::time::timeout_at(deadline, room).await {
            Ok(room) => Ok(room.expect("never closed")),
            Err(_) => Err(Unavailable {
                reason: "too many changes are under way on this node".into(),
            }),
        }
    }

    /// One try to commit, here or at the leader.
    async fn submit_once(&self, transaction: &v1::Transaction) -> Result<v1::SubmitResponse, Status> {
        let Some(leader) = self.leader() else {
            return Err(Status::failed_precondition("no leader is known"));
        };
        let submit = async {
            if leader == self.id {
                return self.submit_as_leader(transaction.clone()).await;
            }
            let mut client = self.client_of(leader).map_err(Status::failed_precondition)?;
            let request = v1::SubmitRequest {
                transaction: Some(transaction.clone()),
            };
            Ok(client.submit(request).await?.into_inner())
        };
        let answer = self.while_leading(leader, submit).await;
        answer.unwrap_or_else(|| Err(Status::unavailable(OTHER_LEADER)))
    }

    /// What a leader answers; none if it is not known as the leader any more before it does.
    ///
    /// A leader that has lost its power or its network answers nothing and refuses nothing, and
    /// whoever waits for it would miss that there is another one by now.
    async fn while_leading<T>(&self, leader: u64, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            _ = self.wait_for_metrics(|metrics| metrics.current_leader != Some(leader)) => None,
        }
    }

    /// Asks the leader up to where everything is committed and waits until it is applied here.
    async fn catch_up(&self) -> Result<(), String> {
        let began = Instant::now();
        let deadline = began + DEADLINE;
        loop {
            let reason = match tokio::time::timeout_at(deadline, self.catch_up_once()).await {
                Ok(Ok(())) => {
                    *self.confirmed_at.lock().expect("no panic while held") = Some(began);
                    return Ok(());
                }
                Ok(Err(reason)) => reason,
                Err(_) => return Err("no answer from the leader in time".into()),
            };
            if !self.wait_for_leader(deadline).await {
                return Err(reason);
            }
        }
    }

    async fn catch_up_once(&self) -> Result<(), String> {
        let leader = self.leader().ok_or("no leader is known")?;
        let read_index = async {
            if leader == self.id {
                let confirmed = self.leader_rounds.join().await;
                return confirmed.unwrap_or_else(|| Err("this node is stopping".into()));
            }
            let answer = self.client_of(leader)?.read_index(v1::ReadIndexRequest {}).await;
            let answer = answer.map_err(|status| status.message().to_owned())?;
            Ok(answer.into_inner().index)
        };
        let index = self.while_leading(leader, read_index).await;
        self.wait_applied(index.ok_or(OTHER_LEADER)??).await;
        Ok(())
    }

    async fn wait_applied(&self, index: u64) {
        // Fails only when the state machine is gone, and this node with it.
        let _ = self.applied.clone().wait_until_ge(&index).await;
    }

    /// Waits until openraft's metrics show something; false if consensus has stopped.
    async fn wait_for_metrics(&self, shows: impl Fn(&Metrics) -> bool) -> bool {
        let mut metrics = self.raft.metrics();
        loop {
            if shows(&metrics.borrow_watched()) {
                return true;
            }
            if metrics.changed().await.is_err() {
                return false;
            }
        }
    }

    /// The newest log index that is no longer in the log; 0 if all of it is.
    #[cfg(test)]
    pub(crate) fn purged_index(&self) -> u64 {
        self.raft
            .metrics()
            .borrow_watched()
            .purged
            .map_or(0, |id| id.index)
    }

    fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().current_leader
    }

    fn client_of(&self, node: u64) -> Result<Client, String> {
        let address = self
            .address_of(node)
            .ok_or_else(|| format!("node {node} is not a member"))?;
        Ok(self.dial.client(node, &address, Lane::Requests))
    }

    /// Waits a moment, or until a leader shows itself; false if the deadline has passed.
    async fn wait_for_leader(&self, deadline: Instant) -> bool {
        if Instant::now() + RETRY_AFTER >= deadline {
            return false;
        }
        tokio::time::sleep(RETRY_AFTER).await;
        let shown = self.wait_for_metrics(|metrics| metrics.current_leader.is_some());
        matches!(tokio::time::timeout_at(deadline, shown).await, Ok(true))
    }
}

/// Rounds whose task does not keep the replica alive.
fn rounds<T, F>(
    this: &Weak<Replica>,
    round: impl Fn(Arc<Replica>) -> F + Clone + Send + 'static,
) -> Rounds<Result<T, String>>
where
    T: Clone + Send + 'static,
    F: Future<Output = Result<T, String>> + Send,
{
    let this = this.clone();
    Rounds::start(CONCURRENT_ROUNDS, move || {
        let (this, round) = (this.upgrade(), round.clone());
        async move {
            match this {
                Some(this) => round(this).await,
                None => Err("this node is stopping".into()),
            }
        }
    })
}

/// Ends the process if consensus ended by itself: on a store that failed, or a panic.
///
/// A node without it would still answer its peers and hold its vote, so nobody would take its
/// place; a new start may find everything in order.
async fn end_with_consensus(
    mut metrics: WatchReceiverOf<TypeConfig, Metrics>,
    stopping: impl Future<Output = ()>,
    fail_stop: FailStop,
) {
    let ended = async {
        loop {
            if let Err(fatal) = metrics.borrow_watched().running_state.clone() {
                return fatal;
            }
            if metrics.changed().await.is_err() {
                // It tells why it ends, unless it cannot.
                let last = metrics.borrow_watched().running_state.clone();
                return last.err().unwrap_or(Fatal::Panicked);
            }
        }
    };
    match ended.await {
        Fatal::Stopped => {}
        Fatal::Panicked if stopping.now_or_never().is_some() => {}
        fatal => fail_stop.stop(&format!("consensus ended: {fatal}")),
    }
}

/// Keeps the time of the last confirmation recent while nobody asks.
async fn refresh(replica: Weak<Replica>) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        let Some(replica) = replica.upgrade() else { return };
        if replica.staleness().is_none_or(|age| age >= REFRESH_EVERY) {
            // An unreachable majority shows as a growing age.
            let _ = replica.latest_rounds.join().await;
        }
    }
}

/// Takes snapshots and drops the log that they cover.
async fn maintain(replica: Weak<Replica>, config: RaftConfig) {
    let mut snapshot_at_bytes = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(replica) = replica.upgrade() else { return };
        let appended = replica.log.appended_bytes();
        if appended - snapshot_at_bytes < config.snapshot_every_bytes {
            continue;
        }
        snapshot_at_bytes = appended;
        if let Err(error) = snapshot_and_purge(&replica, config.log_retention_bytes).await {
            tracing::warn!(%error, "no snapshot was taken; the log is kept");
        }
    }
}

async fn snapshot_and_purge(replica: &Replica, retention_bytes: u64) -> io::Result<()> {
    let wanted = *replica.applied.borrow_watched();
    replica
        .raft
        .trigger()
        .snapshot()
        .await
        .map_err(io::Error::other)?;
    let taken = replica.wait_for_metrics(|metrics| metrics.snapshot.is_some_and(|id| id.index >= wanted));
    if !tokio::time::timeout(DEADLINE, taken)
        .await
        .map_err(io::Error::other)?
    {
        return Err(io::Error::other("consensus has stopped"));
    }
    // The log may only go once the state that it led to is durable by itself.
    replica.state_machine.sync().await?;
    if let Some(upto) = replica.log.index_before_tail_of(retention_bytes) {
        replica
            .raft
            .trigger()
            .purge_log(upto.min(wanted))
            .await
            .map_err(io::Error::other)?;
    }
    Ok(())
}

#[async_trait]
impl Store for Replica {
    fn local(&self) -> Snapshot {
        Snapshot::new(self.state_machine.view())
    }

    fn staleness(&self) -> Option<Duration> {
        self.confirmed_at
            .lock()
            .expect("no panic while held")
            .map(|at| at.elapsed())
    }

    async fn latest(&self) -> Result<Snapshot, Unavailable> {
        match self.latest_rounds.join().await {
            Some(Ok(())) => Ok(self.local()),
            Some(Err(reason)) => Err(Unavailable { reason }),
            None => Err(Unavailable {
                reason: "this node is stopping".into(),
            }),
        }
    }

    /// Tries again until the deadline: the transaction's id makes a repetition harmless.
    async fn submit(&self, transaction: v1::Transaction) -> Result<Outcome, CommitError> {
        let deadline = Instant::now() + DEADLINE;
        let _room = self.room_to_propose(&transaction, deadline).await?;
        let mut in_doubt = None;
        loop {
            let failure = match tokio::time::timeout_at(deadline, self.submit_once(&transaction)).await {
                Ok(Ok(answer)) => {
                    // The outcome stands even if this node is too far behind to show it in time.
                    let _ = tokio::time::timeout_at(deadline, self.wait_applied(answer.index)).await;
                    return Ok(match answer.outcome() {
                        v1::submit_response::Outcome::Applied => Outcome::Applied(answer.index),
                        v1::submit_response::Outcome::Conflict => Outcome::Conflict,
                        _ => Outcome::Forgotten,
                    });
                }
                Ok(Err(status)) => {
                    let not_taken_on = [tonic::Code::FailedPrecondition, tonic::Code::InvalidArgument];
                    if !not_taken_on.contains(&status.code()) {
                        in_doubt = Some(status.message().to_owned());
                    }
                    status.message().to_owned()
                }
                Err(_) => {
                    in_doubt = Some("no answer from the leader in time".into());
                    String::new()
                }
            };
            if !self.wait_for_leader(deadline).await {
                return Err(match in_doubt {
                    Some(reason) => CommitError::Unknown { reason },
                    None => Unavailable { reason: failure }.into(),
                });
            }
        }
    }
}
