//! One node's part in the replicated metadata: the store that `Kv` stands on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_proto::v1;
use cairn_proto::v1::read_index_response::Result as Answered;
use cairn_proto::v1::submitted::Outcome;
use futures::{FutureExt, StreamExt};
use openraft::alias::{WatchReceiverOf, WatchSenderOf};
use openraft::async_runtime::watch::{WatchReceiver, WatchSender};
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::raft::WriteResponse;
use openraft::type_config::TypeConfigExt;
use openraft::{BasicNode, ChangeMembers, Config, ReadPolicy, SnapshotPolicy};
use prost::Message;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::exchange::{Exchange, Protocol, Questions, Submissions};
use super::forward;
use super::log_store::LogStore;
use super::network::{Client, Dial, Network};
use super::rounds::{Pace, Rounds};
use super::state_machine::StateMachine;
use super::types::{Answer, EncodedCommand, Raft, TypeConfig};
use crate::kv::{self, CommitError, Snapshot, Store, StoreError, Unavailable, check_form};
use crate::net::Lane;
use crate::off_thread::off_thread;
use crate::storage::{DiskWatch, FailStop};

/// How long a caller waits for the cluster to answer, an election included.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait before asking again when nothing told that the leader has changed.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Why a question was not waited for.
const OTHER_LEADER: &str = "the leader has changed meanwhile";

/// When questions to the leader, and its own to the majority, are asked.
///
/// What a round costs is the same however many share it, and on a loaded machine it is most of
/// what a read costs. On a network on which a round takes longer than the patience, it adds that
/// at most.
const QUESTIONS: Pace = Pace {
    patience: Duration::from_millis(10),
    concurrent: 64,
    // However many ask, it is one question.
    full: usize::MAX,
};

/// When the leader proposes transactions: those that came while the ones before were on their
/// way share one append, one fsync on each node, and one round of messages.
const PROPOSALS: Pace = Pace {
    patience: Duration::from_millis(25),
    concurrent: 64,
    // Of bytes; as much as is sent to a follower at once.
    full: 1 << 20,
};

/// How often an idle node makes sure that it still hears the majority.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// Timings and sizes of the replicated metadata.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// How often the leader shows that it lives.
    pub heartbeat: Duration,
    /// How patient followers are with a silent leader. They owe it their vote for twice this; then
    /// whoever first has waited for one to two times this, drawn anew each time, asks for theirs. So
    /// a leader that died is replaced after three to four times this.
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
            // A loaded machine may stall for a while; an election for that would stall everybody. But
            // nobody waits for more than three seconds because a leader died.
            heartbeat: Duration::from_millis(200),
            election_timeout: Duration::from_millis(650),
            snapshot_every_bytes: 512 << 20,
            log_retention_bytes: 2 << 30,
            cache_bytes: 256 << 20,
            // Each is in memory several times on the leader, until it is replicated.
            proposed_bytes: 32 << 20,
        }
    }
}

/// What a node has made of the log so far. Nodes that have applied as much have the same hash; if
/// they do not, their states have parted ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MetadataHash {
    /// The last log index that it has applied.
    pub applied_index: u64,
    /// BLAKE3 over everything in its state, in hexadecimal.
    pub hash: String,
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
    /// Who leads, as far as this node knows. openraft's own metrics change with every entry.
    leader: WatchReceiverOf<TypeConfig, Option<u64>>,
    /// The read index, confirmed by a majority; asked of this node as leader.
    leader_rounds: Rounds<(), Result<u64, String>>,
    /// Brings this node up to date with the leader, whoever that is.
    latest_rounds: Rounds<(), Result<(), String>>,
    /// Commits transactions; asked of this node as leader.
    proposals: Rounds<EncodedCommand, Result<v1::Submitted, Status>>,
    /// The ways to another leader.
    submissions: Mutex<Option<Exchange<Submissions>>>,
    questions: Mutex<Option<Exchange<Questions>>>,
    confirmed_at: Mutex<Option<Instant>>,
    snapshot_transfer: tokio::sync::Mutex<()>,
    /// Bytes that may still be proposed, and their number.
    room: Semaphore,
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
        let (leader, leader_known) = TypeConfig::watch_channel(None);
        tokio::spawn(follow_leader(raft.metrics(), leader));
        let replica = Arc::new_cyclic(|this: &Weak<Self>| Self {
            id,
            raft,
            log,
            state_machine,
            dial,
            applied,
            leader: leader_known,
            leader_rounds: questions(this, |this| async move { this.confirm_as_leader().await }),
            latest_rounds: questions(this, |this| async move { this.catch_up().await }),
            proposals: proposals(this),
            submissions: Mutex::new(None),
            questions: Mutex::new(None),
            confirmed_at: Mutex::new(None),
            snapshot_transfer: tokio::sync::Mutex::new(()),
            room: Semaphore::new(config.proposed_bytes),
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

    /// How the disk of the log does.
    pub(crate) fn log_disk(&self) -> DiskWatch {
        self.log.disk().clone()
    }

    /// The hash over the state that this node has applied; see [`MetadataHash`].
    pub(crate) async fn metadata_hash(&self) -> Result<MetadataHash, StoreError> {
        let (applied_index, hash) = self.state_machine.hash().await?;
        Ok(MetadataHash {
            applied_index,
            hash: hash.to_string(),
        })
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

    /// Takes a member that does not vote out of the group.
    pub(crate) async fn forget(&self, node: u64) -> io::Result<()> {
        self.raft
            .change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node])), false)
            .await
            .map(|_| ())
            .map_err(io::Error::other)
    }

    /// Asks another voter to take over the leadership.
    ///
    /// A leader that was told to hand over takes nothing on any more, for ever: it waits to be
    /// replaced by an election. If it handed over to a node that does not vote, and nobody else
    /// did, there would be none.
    pub(crate) async fn transfer_leader(&self, to: u64) -> io::Result<()> {
        if to == self.id || !self.group_state().voters.contains(&to) {
            return Err(io::Error::other(format!(
                "node {to} is no other voter, and cannot take over"
            )));
        }
        self.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(io::Error::other)
    }

    /// The read index, if this node leads and a majority confirms it.
    pub(crate) async fn confirm_read_index_as_leader(&self) -> Result<u64, String> {
        let confirmed = self.leader_rounds.join(()).await;
        confirmed.unwrap_or_else(|| Err("this node is stopping".into()))
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

    /// Commits a transaction, if this node leads, together with others that come at the time.
    ///
    /// `FailedPrecondition` says that it was surely not taken on, `InvalidArgument` that it never
    /// will be; any other failure leaves open whether it will be applied.
    pub(crate) async fn submit_as_leader(
        &self,
        transaction: v1::Transaction,
    ) -> Result<v1::Submitted, Status> {
        check_form(&transaction).map_err(Status::invalid_argument)?;
        let command = v1::Command {
            kind: Some(v1::command::Kind::Transaction(transaction)),
        };
        let encoded = EncodedCommand(Bytes::from(command.encode_to_vec()));
        match self.proposals.join(encoded).await {
            Some(submitted) => submitted,
            None => Err(Status::unavailable("this node is stopping")),
        }
    }

    /// Proposes commands side by side in the log, and waits until all are applied or refused.
    async fn propose(&self, commands: Vec<EncodedCommand>) -> Vec<Result<v1::Submitted, Status>> {
        let count = commands.len();
        let mut answers = Vec::with_capacity(count);
        let unanswered = match self.raft.client_write_many(commands).await {
            Ok(mut written) => loop {
                match written.next().await {
                    Some(Ok(written)) => answers.push(written.map_err(refusal).and_then(submitted)),
                    Some(Err(fatal)) => break Status::unavailable(fatal.to_string()),
                    None => break Status::unavailable("consensus has stopped"),
                }
            },
            Err(fatal) => Status::unavailable(fatal.to_string()),
        };
        answers.resize_with(count, || Err(unanswered.clone()));
        answers
    }

    /// Room for one more transaction among those that are under way, or none in time.
    pub(super) async fn room_to_propose(
        &self,
        transaction: &v1::Transaction,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Unavailable> {
        let bytes = transaction.encoded_len().min(self.proposed_bytes);
        let room = self.room.acquire_many(bytes as u32);
        match tokio::time::timeout_at(deadline, room).await {
            Ok(room) => Ok(room.expect("never closed")),
            Err(_) => Err(Unavailable {
                reason: "too many changes are under way on this node".into(),
            }),
        }
    }

    /// One try to commit, here or at the leader.
    async fn submit_once(&self, transaction: &v1::Transaction) -> Result<v1::Submitted, Status> {
        let Some(leader) = self.leader() else {
            return Err(Status::failed_precondition("no leader is known"));
        };
        let submit = async {
            if leader == self.id {
                return self.submit_as_leader(transaction.clone()).await;
            }
            let answer = self.ask(&self.submissions, leader, transaction.clone());
            forward::accepted(answer.map_err(Status::failed_precondition)?.await?)
        };
        let answer = self.while_leading(leader, submit).await;
        answer.unwrap_or_else(|| Err(Status::unavailable(OTHER_LEADER)))
    }

    /// Asks another node that leads; its answer comes by what is returned.
    fn ask<P: Protocol>(
        &self,
        exchange: &Mutex<Option<Exchange<P>>>,
        leader: u64,
        request: P::Request,
    ) -> Result<impl Future<Output = Result<P::Answer, Status>> + Send + use<P>, String> {
        let mut exchange = exchange.lock().expect("no panic while held");
        let open = match exchange.take().filter(|exchange| exchange.leads_to(leader)) {
            Some(open) => open,
            None => Exchange::open(leader, self.client_of(leader)?),
        };
        Ok(exchange.insert(open).send(request))
    }

    /// What a leader answers; none if it is not known as the leader any more before it does.
    ///
    /// A leader that has lost its power or its network answers nothing and refuses nothing, and
    /// whoever waits for it would miss that there is another one by now.
    async fn while_leading<T>(&self, leader: u64, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            _ = self.wait_for_leadership(|now| now != Some(leader)) => None,
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
                return self.confirm_read_index_as_leader().await;
            }
            let answer = self.ask(&self.questions, leader, v1::ReadIndexRequest {})?.await;
            match answer.map_err(|status| status.message().to_owned())?.result {
                Some(Answered::Index(index)) => Ok(index),
                Some(Answered::Refusal(refusal)) => Err(refusal),
                None => Err("the leader gave no answer".into()),
            }
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
        *self.leader.borrow_watched()
    }

    /// Waits until somebody leads of whom this holds, or nobody; false if consensus has stopped.
    async fn wait_for_leadership(&self, holds: impl Fn(Option<u64>) -> bool + Send) -> bool {
        let mut leader = self.leader.clone();
        leader.wait_until(move |leader| holds(*leader)).await.is_ok()
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
        let shown = self.wait_for_leadership(|leader| leader.is_some());
        matches!(tokio::time::timeout_at(deadline, shown).await, Ok(true))
    }
}

/// Rounds of a question whose answer is the same for all who ask. Their task does not keep the
/// replica alive.
fn questions<T, F>(
    this: &Weak<Replica>,
    ask: impl Fn(Arc<Replica>) -> F + Clone + Send + 'static,
) -> Rounds<(), Result<T, String>>
where
    T: Clone + Send + 'static,
    F: Future<Output = Result<T, String>> + Send,
{
    let this = this.clone();
    let round = move |askers: Vec<()>| {
        let (this, ask) = (this.upgrade(), ask.clone());
        async move {
            let answer = match this {
                Some(this) => ask(this).await,
                None => Err("this node is stopping".into()),
            };
            vec![answer; askers.len()]
        }
    };
    Rounds::start(QUESTIONS, |()| 0, round)
}

/// Rounds of transactions that are proposed together. Their task does not keep the replica alive.
fn proposals(this: &Weak<Replica>) -> Rounds<EncodedCommand, Result<v1::Submitted, Status>> {
    let this = this.clone();
    let round = move |commands: Vec<EncodedCommand>| {
        let this = this.upgrade();
        async move {
            let count = commands.len();
            let proposed = match this {
                // Who waits does so no longer either.
                Some(this) => tokio::time::timeout(DEADLINE, this.propose(commands)).await,
                None => Ok(vec![Err(Status::unavailable("this node is stopping")); count]),
            };
            let late = || vec![Err(Status::unavailable("no majority answers in time")); count];
            proposed.unwrap_or_else(|_| late())
        }
    };
    Rounds::start(PROPOSALS, |command| command.0.len(), round)
}

/// What became of a proposal that was taken on.
fn submitted(written: WriteResponse<TypeConfig>) -> Result<v1::Submitted, Status> {
    let (outcome, index) = match written.response {
        Answer::Applied(index) => (Outcome::Applied, index),
        Answer::Conflict => (Outcome::Conflict, written.log_id.index),
        Answer::Forgotten => (Outcome::Forgotten, written.log_id.index),
        Answer::None => return Err(Status::internal("a transaction was answered like a blank entry")),
    };
    Ok(v1::Submitted {
        outcome: outcome.into(),
        index,
        reason: String::new(),
    })
}

/// Why a proposal was not taken on, or was dropped from the log again.
fn refusal(error: ClientWriteError<TypeConfig>) -> Status {
    match error {
        ClientWriteError::ForwardToLeader(_) => Status::failed_precondition("this node does not lead"),
        error => Status::unavailable(error.to_string()),
    }
}

/// Tells who leads whenever that changes.
async fn follow_leader(
    mut metrics: WatchReceiverOf<TypeConfig, Metrics>,
    leader: WatchSenderOf<TypeConfig, Option<u64>>,
) {
    loop {
        let now = metrics.borrow_watched().current_leader;
        leader.send_if_different(now);
        if metrics.changed().await.is_err() {
            return;
        }
    }
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
            let _ = replica.latest_rounds.join(()).await;
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
        match self.latest_rounds.join(()).await {
            Some(Ok(())) => Ok(self.local()),
            Some(Err(reason)) => Err(Unavailable { reason }),
            None => Err(Unavailable {
                reason: "this node is stopping".into(),
            }),
        }
    }

    /// Tries again until the deadline: the transaction's id makes a repetition harmless.
    async fn submit(&self, transaction: v1::Transaction) -> Result<kv::Outcome, CommitError> {
        let deadline = Instant::now() + DEADLINE;
        let _room = self.room_to_propose(&transaction, deadline).await?;
        let mut in_doubt = None;
        loop {
            let failure = match tokio::time::timeout_at(deadline, self.submit_once(&transaction)).await {
                Ok(Ok(answer)) => {
                    // The outcome stands even if this node is too far behind to show it in time.
                    let _ = tokio::time::timeout_at(deadline, self.wait_applied(answer.index)).await;
                    return Ok(match answer.outcome() {
                        Outcome::Applied => kv::Outcome::Applied(answer.index),
                        Outcome::Conflict => kv::Outcome::Conflict,
                        _ => kv::Outcome::Forgotten,
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
