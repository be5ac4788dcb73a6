//! openraft's own storage suite on our stores, and groups of real replicas in one process, which
//! pass the suite of all metadata stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{RaftSnapshotBuilder, StorageError};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tower::ServiceExt;

use super::log_store::LogStore;
use super::network::{Dial, Link};
use super::snapshot::Checkpoint;
use super::state_machine::StateMachine;
use super::types::{
    Entry, EntryPayload, LeaderId, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, Vote,
};
use super::{RaftConfig, Replica, Service};
use crate::kv::{Collection, CommitError, Kv, Outcome, Scan, Store, Txn};
use crate::net::Lane;
use crate::seams::Seams;
use crate::storage::FailStop;

fn fail_test() -> FailStop {
    FailStop::new(|reason| panic!("storage failed: {reason}"))
}

struct Stores;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let log = LogStore::open(&dir.path().join("log"), fail_test()).unwrap();
        let state = StateMachine::open(&dir.path().join("state"), 8 << 20, fail_test()).unwrap();
        Ok((dir, log, state))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_stores_pass_openrafts_suite() {
    Suite::test_all(Stores).await.unwrap();
}

/// Nodes that are cut off: calls to them and by them are neither answered nor refused.
type CutOff = Arc<Mutex<BTreeSet<u64>>>;

/// Plain channels on loopback.
#[derive(Default)]
struct Loopback {
    me: u64,
    cut_off: CutOff,
    /// How often each node was asked for by any other.
    asked: Arc<Mutex<BTreeMap<u64, usize>>>,
    channels: Mutex<HashMap<String, Channel>>,
}

/// What is said on a stream, as long as it is not cut off.
struct Stalling {
    body: Body,
    is_cut_off: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl hyper::body::Body for Stalling {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, tonic::Status>>> {
        match (self.is_cut_off)() {
            true => Poll::Pending,
            false => Pin::new(&mut self.body).poll_frame(context),
        }
    }
}

impl Dial for Loopback {
    fn link(&self, node: u64, address: &str, _lane: Lane) -> Link {
        *self.asked.lock().unwrap().entry(node).or_default() += 1;
        let (cut_off, me) = (self.cut_off.clone(), self.me);
        let is_cut_off = Arc::new(move || {
            let cut_off = cut_off.lock().unwrap();
            cut_off.contains(&node) || cut_off.contains(&me)
        });
        if is_cut_off() {
            return Link::new(tower::service_fn(|_| std::future::pending()));
        }
        let stalling = move |body: Body| {
            let is_cut_off = is_cut_off.clone();
            Body::new(Stalling { body, is_cut_off })
        };
        let answers = stalling.clone();
        let mut channels = self.channels.lock().unwrap();
        let channel = channels.entry(address.to_owned()).or_insert_with(|| {
            Endpoint::from_shared(format!("http://{address}"))
                .unwrap()
                .connect_timeout(Duration::from_secs(1))
                .connect_lazy()
        });
        Link::new(
            channel
                .clone()
                .map_request(move |request: http::Request<Body>| request.map(&stalling))
                .map_response(move |response: http::Response<Body>| response.map(&answers))
                .map_err(|error| tonic::Status::unavailable(error.to_string())),
        )
    }
}

struct Node {
    replica: Arc<Replica>,
    kv: Kv,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

struct Group {
    dir: TempDir,
    config: RaftConfig,
    addresses: BTreeMap<u64, String>,
    nodes: BTreeMap<u64, Node>,
    cut_off: CutOff,
    asked: Arc<Mutex<BTreeMap<u64, usize>>>,
}

fn test_config() -> RaftConfig {
    RaftConfig {
        heartbeat: Duration::from_millis(50),
        election_timeout: Duration::from_millis(300),
        cache_bytes: 8 << 20,
        ..RaftConfig::default()
    }
}

impl Group {
    /// A group of this many voters.
    async fn start(size: u64, config: RaftConfig) -> Self {
        let group = Self::of_learners(size, config).await;
        group.nodes[&1]
            .replica
            .change_voters((1..=size).collect())
            .await
            .unwrap();
        group
    }

    /// A group in which only the first node votes.
    async fn of_learners(size: u64, config: RaftConfig) -> Self {
        let mut group = Self {
            dir: TempDir::new().unwrap(),
            config,
            addresses: BTreeMap::new(),
            nodes: BTreeMap::new(),
            cut_off: CutOff::default(),
            asked: Arc::default(),
        };
        for id in 1..=size {
            group.run(id).await;
        }
        group.nodes[&1]
            .replica
            .initialize(&group.addresses[&1])
            .await
            .unwrap();
        group.nodes[&1].kv.latest().await.unwrap();
        for id in 2..=size {
            group.nodes[&1]
                .replica
                .add_learner(id, &group.addresses[&id])
                .await
                .unwrap();
        }
        group
    }

    /// Starts a node, or starts it again on its data.
    async fn run(&mut self, id: u64) {
        let address = self
            .addresses
            .get(&id)
            .cloned()
            .unwrap_or_else(|| "127.0.0.1:0".into());
        let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
        self.addresses
            .insert(id, listener.local_addr().unwrap().to_string());
        let dial: Arc<dyn Dial> = Arc::new(Loopback {
            me: id,
            cut_off: self.cut_off.clone(),
            asked: self.asked.clone(),
            ..Loopback::default()
        });
        let dir = self.dir.path().join(id.to_string());
        let replica = Replica::open(&dir, id, &self.config, dial.clone(), fail_test())
            .await
            .unwrap();
        let service = Service::server(replica.clone(), dial);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let server = tokio::spawn(async move {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener).map(|stream| {
                let stream = stream?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(stream)
            });
            let server = Server::builder().add_service(service);
            server
                .serve_with_incoming_shutdown(incoming, stopped.cancelled_owned())
                .await
                .unwrap();
        });
        let kv = Kv::new(replica.clone(), Seams::system());
        self.nodes.insert(
            id,
            Node {
                replica,
                kv,
                stop,
                server,
            },
        );
    }

    /// Ends a node and waits until its stores are closed.
    async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        node.replica.shutdown().await;
        node.stop.cancel();
        node.server.await.unwrap();
        let replica = Arc::downgrade(&node.replica);
        drop((node.kv, node.replica));
        while replica.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while self.is_locked(id) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether a node's stores are still open: RocksDB locks them.
    fn is_locked(&self, id: u64) -> bool {
        let dir = self.dir.path().join(id.to_string());
        let current = std::fs::read_to_string(dir.join("state/current")).unwrap();
        let log = rocksdb::DB::open_cf(
            &crate::storage::options(),
            dir.join("raft-log"),
            ["entries", "meta"],
        );
        log.is_err() || crate::kv::StateDb::open(&dir.join("state").join(current), 1 << 20).is_err()
    }

    fn kv(&self, id: u64) -> &Kv {
        &self.nodes[&id].kv
    }

    fn leader(&self) -> u64 {
        let any = self.nodes.values().next().unwrap();
        any.replica.group_state().leader.expect("there is a leader")
    }
}

mod suite {
    use super::*;
    use crate::kv::suite::{Stage, run_suite};

    /// Two nodes of three that do not lead.
    async fn stage() -> Stage {
        let group = Group::start(3, test_config()).await;
        let leader = group.leader();
        let mut others = (1..=3).filter(|node| *node != leader);
        let mut other = || group.kv(others.next().unwrap()).clone();
        Stage {
            one: other(),
            other: other(),
            _running: Box::new(group),
        }
    }

    run_suite!(stage());
}

async fn put(kv: &Kv, item: &str, value: &str) -> Result<(), CommitError> {
    let key = Collection::new("test").key(item);
    kv.transact(async |mut txn| {
        txn.put(&key, value.to_owned());
        Ok::<_, CommitError>((txn, ()))
    })
    .await
}

async fn read(kv: &Kv, item: &str) -> Option<String> {
    let key = Collection::new("test").key(item);
    let found = kv.latest().await.unwrap().get(&key).await.unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_through_any_node_is_seen_through_every_other_at_once() {
    let group = Group::start(3, test_config()).await;
    for round in 0..100 {
        let (item, writer) = (format!("item-{round}"), round % 3 + 1);
        put(group.kv(writer), &item, "here").await.unwrap();
        for reader in 1..=3 {
            assert_eq!(read(group.kv(reader), &item).await.as_deref(), Some("here"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_increments_through_all_nodes_are_all_counted() {
    let group = Arc::new(Group::start(3, test_config()).await);
    let key = Collection::new("test").key("sum");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..12u64 {
        let (group, key) = (group.clone(), key.clone());
        tasks.spawn(async move {
            for _ in 0..5 {
                // Read and write back, so that lost conflicts would show.
                loop {
                    let mut txn = group.kv(task % 3 + 1).begin().await.unwrap();
                    let before = txn.get(&key).await.unwrap();
                    let sum: u64 = before.map_or(0, |text| String::from_utf8_lossy(&text).parse().unwrap());
                    txn.put(&key, (sum + 1).to_string());
                    match txn.commit().await {
                        Ok(_) => break,
                        Err(CommitError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(read(group.kv(2), "sum").await.as_deref(), Some("60"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_change_one_record_each_has_its_turn() {
    const WRITERS: u64 = 48;
    let group = Arc::new(Group::start(3, test_config()).await);
    let key = Collection::new("test").key("sum");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..WRITERS {
        let (group, key) = (group.clone(), key.clone());
        tasks.spawn(async move {
            for _ in 0..4 {
                let add = async |mut txn: Txn| {
                    let before = txn.get(&key).await.unwrap();
                    let sum: u64 = before.map_or(0, |text| String::from_utf8_lossy(&text).parse().unwrap());
                    txn.put(&key, (sum + 1).to_string());
                    Ok::<_, CommitError>((txn, ()))
                };
                group.kv(task % 3 + 1).transact(add).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let sum = (4 * WRITERS).to_string();
    assert_eq!(read(group.kv(2), "sum").await, Some(sum));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_goes_on_when_the_leader_is_gone() {
    let mut group = Group::start(3, test_config()).await;
    put(group.kv(1), "before", "kept").await.unwrap();
    let leader = group.leader();
    group.stop(leader).await;
    let survivor = *group.nodes.keys().next().unwrap();
    put(group.kv(survivor), "after", "written").await.unwrap();
    assert_eq!(read(group.kv(survivor), "before").await.as_deref(), Some("kept"));

    group.run(leader).await;
    assert_eq!(read(group.kv(leader), "after").await.as_deref(), Some("written"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_refuses_to_read_and_write() {
    let mut group = Group::start(3, test_config()).await;
    put(group.kv(3), "before", "kept").await.unwrap();
    group.stop(1).await;
    group.stop(2).await;
    assert!(group.kv(3).latest().await.is_err());
    assert!(put(group.kv(3), "alone", "never").await.is_err());
    // What it has is still there to look at, and its age is known.
    let key = Collection::new("test").key("before");
    assert!(group.kv(3).local().get(&key).await.unwrap().is_some());
    assert!(
        group
            .kv(3)
            .latest_or_recent(Duration::from_secs(600))
            .await
            .is_ok()
    );
    assert!(
        group
            .kv(3)
            .latest_or_recent(Duration::from_millis(1))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_all_nodes_were_stopped() {
    let mut group = Group::start(3, test_config()).await;
    for item in 0..50 {
        put(group.kv(item % 3 + 1), &item.to_string(), "kept")
            .await
            .unwrap();
    }
    for id in 1..=3 {
        group.stop(id).await;
    }
    for id in 1..=3 {
        group.run(id).await;
    }
    for id in 1..=3 {
        let snapshot = group.kv(id).latest().await.unwrap();
        assert_eq!(
            snapshot
                .scan(Scan::of(&Collection::new("test")))
                .await
                .unwrap()
                .len(),
            50
        );
    }
}

/// Its log may lack what the others have committed, and in its old term it would use the same
/// log ids again.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_starts_again_leads_only_by_election() {
    let mut group = Group::start(1, test_config()).await;
    let term = |group: &Group| {
        let metrics = group.nodes[&1].replica.raft().metrics();
        metrics.borrow_watched().current_term
    };
    let before = term(&group);
    group.stop(1).await;
    group.run(1).await;
    put(group.kv(1), "a", "b").await.unwrap();
    assert!(term(&group) > before, "it leads on in term {before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_catches_up_by_snapshot() {
    let config = RaftConfig {
        snapshot_every_bytes: 64 << 10,
        log_retention_bytes: 64 << 10,
        ..test_config()
    };
    let mut group = Group::start(3, config).await;
    let away = if group.leader() == 3 { 2 } else { 3 };
    let writer = group.leader();
    group.stop(away).await;
    let value = "x".repeat(4096);
    let mut item = 0;
    let reached = group.nodes[&writer].replica.group_state().last_log_index;
    while group.nodes[&writer].replica.purged_index() < reached {
        put(group.kv(writer), &item.to_string(), &value).await.unwrap();
        item += 1;
    }
    group.run(away).await;
    let snapshot = group.kv(away).latest().await.unwrap();
    assert_eq!(
        snapshot
            .scan(Scan::of(&Collection::new("test")))
            .await
            .unwrap()
            .len(),
        item
    );
    // A view keeps its store open.
    drop(snapshot);
    let received = std::fs::read_to_string(group.dir.path().join(format!("{away}/state/current"))).unwrap();
    assert_ne!(received, "state-0", "the state was installed from a snapshot");
    // The one before it is gone, once nobody reads it any more.
    while group.dir.path().join(format!("{away}/state/state-0")).exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // And it takes part again, also after a restart on the installed state.
    group.stop(away).await;
    put(group.kv(writer), "later", "seen").await.unwrap();
    group.run(away).await;
    assert_eq!(read(group.kv(away), "later").await.as_deref(), Some("seen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_transaction_is_applied_once() {
    let group = Group::start(1, test_config()).await;
    let key = Collection::new("test").key("count");
    let add = cairn_proto::v1::Write {
        key: key.as_bytes().clone(),
        op: Some(cairn_proto::v1::write::Op::Add(1)),
    };
    let transaction = cairn_proto::v1::Transaction {
        id: vec![0; 16].into(),
        checks: Vec::new(),
        writes: vec![add],
    };
    let replica = &group.nodes[&1].replica;
    let first = replica.submit(transaction.clone()).await.unwrap();
    let second = replica.submit(transaction).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(group.kv(1).latest().await.unwrap().number(&key).await.unwrap(), 1);
}

/// They travel to the leader on one stream, and become entries side by side.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_come_together_have_each_its_own_outcome() {
    let group = Group::start(3, test_config()).await;
    let leader = group.leader();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let claim = |item: u64, nonce: u64| {
        let key = Collection::new("claims").key(item.to_be_bytes());
        let never_written = cairn_proto::v1::Check {
            subject: Some(cairn_proto::v1::check::Subject::Key(key.as_bytes().clone())),
            version: 0,
        };
        let write = cairn_proto::v1::Write {
            key: key.as_bytes().clone(),
            op: Some(cairn_proto::v1::write::Op::Put(nonce.to_string().into())),
        };
        cairn_proto::v1::Transaction {
            id: [[0; 8], nonce.to_be_bytes()].concat().into(),
            checks: vec![never_written],
            writes: vec![write],
        }
    };
    let claims = (0..150).map(|nonce| {
        let replica = &group.nodes[&if nonce % 3 == 0 { leader } else { follower }].replica;
        replica.submit(claim(nonce / 3, nonce))
    });
    let outcomes = futures::future::try_join_all(claims).await.unwrap();
    let snapshot = group.kv(follower).latest().await.unwrap();
    for (item, outcomes) in (0u64..).zip(outcomes.chunks(3)) {
        let key = Collection::new("claims").key(item.to_be_bytes());
        let found = snapshot
            .get(&key)
            .await
            .unwrap()
            .expect("one of them was applied");
        for (nonce, outcome) in (item * 3..).zip(outcomes) {
            let is_there = found.value == nonce.to_string().as_bytes();
            let expected = match is_there {
                true => Outcome::Applied(found.version),
                false => Outcome::Conflict,
            };
            assert_eq!(*outcome, expected, "claim {nonce} of {item}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_on_request() {
    let group = Group::start(3, test_config()).await;
    let (from, to) = (group.leader(), if group.leader() == 1 { 2 } else { 1 });
    group.nodes[&from].replica.transfer_leader(to).await.unwrap();
    while group.nodes[&to].replica.group_state().leader != Some(to) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    put(group.kv(from), "after", "transfer").await.unwrap();
    let voters: BTreeSet<u64> = (1..=3).collect();
    assert_eq!(group.nodes[&to].replica.group_state().voters, voters);
}

/// The controller asks for it when it sees it: see `membership::voters`.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_voters_that_was_broken_off_is_seen_and_can_be_ended() {
    let mut group = Group::of_learners(3, test_config()).await;
    // It cannot be agreed to while the others are away, and its caller does not wait for it.
    group.stop(2).await;
    group.stop(3).await;
    let replica = group.nodes[&1].replica.clone();
    let all: BTreeSet<u64> = (1..=3).collect();
    tokio::select! {
        _ = replica.change_voters(all.clone()) => panic!("nobody was there to agree"),
        () = async {
            while !replica.group_state().changing_voters {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    group.run(2).await;
    group.run(3).await;
    put(group.kv(1), "after", "agreed").await.unwrap();
    let state = replica.group_state();
    assert_eq!((state.voters, state.changing_voters), (all.clone(), true));

    replica.change_voters(all.clone()).await.unwrap();
    let state = replica.group_state();
    assert_eq!((state.voters, state.changing_voters), (all, false));
    // Only now can any of them be lost, the first one too.
    drop(replica);
    group.stop(1).await;
    put(group.kv(2), "later", "agreed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_consensus_ended_by_itself_does_not_go_on() {
    let dir = TempDir::new().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let fail_stop = FailStop::new(move |reason| {
        // The test may have seen enough.
        let _ = tell.send(reason.to_owned());
    });
    let dial = Arc::new(Loopback::default());
    let replica = Replica::open(&dir.path().join("node"), 1, &test_config(), dial, fail_stop)
        .await
        .unwrap();
    replica.initialize("127.0.0.1:1").await.unwrap();
    // A snapshot that is not what it says it is.
    let empty = dir.path().join("empty");
    drop(crate::kv::StateDb::open(&empty, 1 << 20).unwrap());
    let leader_id = LeaderId {
        term: 1000,
        node_id: 2,
    };
    let vote = Vote {
        leader_id,
        committed: true,
    };
    let last_log_id = Some(LogId {
        leader_id,
        index: 1000,
    });
    let snapshot = Snapshot {
        meta: SnapshotMeta {
            last_log_id,
            last_membership: StoredMembership::default(),
        },
        snapshot: Checkpoint::adopt(empty).unwrap(),
    };
    replica
        .raft()
        .install_full_snapshot(vote, snapshot)
        .await
        .unwrap_err();
    // Nobody is left to tell anything if it was not told by now.
    replica.shutdown().await;
    drop(replica);
    let reason = told.recv().await.expect("the process is ended");
    assert!(reason.contains("consensus ended"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_leader_that_went_silent_is_answered_by_the_next() {
    let group = Group::start(3, test_config()).await;
    let leader = group.leader();
    let mut others = (1..=3).filter(|id| *id != leader);
    let (one, other) = (others.next().unwrap(), others.next().unwrap());
    put(group.kv(one), "before", "kept").await.unwrap();
    group.cut_off.lock().unwrap().insert(leader);
    // Both ask while nobody but the silent one leads.
    let (written, seen) = tokio::join!(
        put(group.kv(one), "after", "written"),
        read(group.kv(other), "before")
    );
    written.unwrap();
    assert_eq!(seen.as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_never_gets_into_the_log() {
    let group = Group::start(1, test_config()).await;
    let too_long = cairn_proto::v1::Write {
        key: Collection::new("test").key("x".repeat(5000)).as_bytes().clone(),
        op: Some(cairn_proto::v1::write::Op::Put("y".into())),
    };
    let unknown = cairn_proto::v1::Write {
        key: Collection::new("test").key("x").as_bytes().clone(),
        op: None,
    };
    for write in [too_long, unknown] {
        let transaction = cairn_proto::v1::Transaction {
            id: vec![0; 16].into(),
            checks: Vec::new(),
            writes: vec![write],
        };
        // As a peer sends it that checks nothing.
        let refused = group.nodes[&1].replica.submit_as_leader(transaction).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
    put(group.kv(1), "after", "written").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_begins_anew_leaves_alone_what_was_received() {
    let dir = TempDir::new().unwrap();
    let open = |name: &str| StateMachine::open(&dir.path().join(name), 8 << 20, fail_test()).unwrap();
    let (mut from, mut to) = (open("from"), open("to"));
    let leader_id = LeaderId { term: 1, node_id: 1 };
    let log_id = LogId { leader_id, index: 7 };
    let entry = Entry {
        log_id,
        payload: EntryPayload::Blank,
    };
    from.apply(futures::stream::iter([Ok((entry, None))]))
        .await
        .unwrap();
    let sent = from.build_snapshot().await.unwrap();
    let receive = |to: &StateMachine| {
        std::fs::create_dir_all(to.incoming_dir(1)).unwrap();
        for (name, _) in sent.snapshot.files() {
            let file = sent.snapshot.path().join(name);
            std::fs::copy(file, to.incoming_dir(1).join(name)).unwrap();
        }
    };
    receive(&to);
    let received = to.received(1).unwrap();
    // The sender lost patience and begins once more; what is not a table begins at its start.
    receive(&to);
    for (name, _) in sent.snapshot.files() {
        std::fs::write(to.incoming_dir(1).join(name), "").unwrap();
    }
    to.install_snapshot(&sent.meta, received).await.unwrap();
    assert_eq!(to.applied_state().await.unwrap().0, Some(log_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_what_it_had_confirmed_is_not_opened() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let open = || LogStore::open(&path, fail_test());
    let leader_id = LeaderId { term: 1, node_id: 1 };
    let mut log = open().unwrap();
    for index in 0..100 {
        let entry = Entry {
            log_id: LogId { leader_id, index },
            payload: EntryPayload::Blank,
        };
        log.blocking_append([entry]).await.unwrap();
    }
    let vote = Vote {
        leader_id,
        committed: true,
    };
    log.save_vote(&vote).await.unwrap();
    drop(log);
    let mut log = open().unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id.unwrap().index, 99);
    for index in 100..200 {
        let entry = Entry {
            log_id: LogId { leader_id, index },
            payload: EntryPayload::Blank,
        };
        log.blocking_append([entry]).await.unwrap();
    }
    log.save_vote(&vote).await.unwrap();
    drop(log);

    let wal = std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
    let wal = wal.filter(|file| file.extension().is_some_and(|name| name == "log"));
    let wal = wal.max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&wal, bytes).unwrap();
    let refused = open().err().expect("half of the log is gone").to_string();
    assert!(refused.contains("damaged"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_closed_when_it_is_dropped() {
    let dir = TempDir::new().unwrap();
    let leader_id = LeaderId { term: 1, node_id: 1 };
    // What is under way when a process ends would meet a library that is gone already.
    for index in 0..20 {
        let mut log = LogStore::open(dir.path(), fail_test()).expect("the one before is closed");
        let log_id = LogId { leader_id, index };
        let payload = EntryPayload::Blank;
        log.blocking_append([Entry { log_id, payload }]).await.unwrap();
        log.save_committed(Some(log_id)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_offered_again_without_opening_it() {
    let dir = TempDir::new().unwrap();
    let mut state = StateMachine::open(dir.path(), 8 << 20, fail_test()).unwrap();
    let taken = state.build_snapshot().await.unwrap();
    for (name, _) in taken.snapshot.files() {
        std::fs::write(taken.snapshot.path().join(name), "not to be read").unwrap();
    }
    let offered = state.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(offered.meta, taken.meta);
    assert_eq!(offered.snapshot.name(), taken.snapshot.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_changes_waits_at_the_node_that_takes_it() {
    let config = RaftConfig {
        proposed_bytes: 1000,
        ..test_config()
    };
    let group = Group::start(1, config).await;
    let kv = group.kv(1);
    let big = "x".repeat(900);
    let writes = (0..20).map(|item: u64| {
        let big = &big;
        async move { put(kv, &item.to_string(), big).await }
    });
    futures::future::try_join_all(writes).await.unwrap();

    let stuck = cairn_proto::v1::Transaction {
        id: vec![0; 1000].into(),
        ..Default::default()
    };
    let long = tokio::time::Instant::now() + Duration::from_secs(600);
    let room = group.nodes[&1]
        .replica
        .room_to_propose(&stuck, long)
        .await
        .unwrap();
    match put(kv, "waits", &big).await {
        Err(CommitError::Unavailable(unavailable)) => {
            assert!(unavailable.reason.contains("too many"), "{unavailable}");
        }
        other => panic!("{other:?}"),
    }
    drop(room);
    put(kv, "goes on", &big).await.unwrap();
}

/// Slow machines ask less often, so this fails only where somebody asks without a pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_connections_is_asked_with_pauses() {
    let mut group = Group::start(3, test_config()).await;
    let leader = group.leader();
    let victim = (1..=3).find(|id| *id != leader).unwrap();
    group.stop(victim).await;
    put(group.kv(leader), "key", "value").await.unwrap();
    let asked = || group.asked.lock().unwrap()[&victim];
    let before = asked();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let times = asked() - before;
    assert!((1..200).contains(&times), "{times} times in two seconds");
}
