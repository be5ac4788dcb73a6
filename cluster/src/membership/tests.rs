//! Joining, following and controlling, on the in-memory metadata and over loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cairn_proto::v1;
use cairn_proto::v1::admission_server::Admission;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request};

use super::record::NodeRecord;
use super::*;
use crate::blob::DiskSummary;
use crate::identity::{DataDir, DirError};
use crate::kv::Kv;
use crate::level::{self, Build, Level};
use crate::net::{Lane, Listener, Net, Peers, PeersConfig, Roster, Server, ServerConfig, Tcp};
use crate::node_id::NodeId;
use crate::seams::{Clock, Seams, Timestamp};
use crate::trust::{DEFAULT_TOKEN_LIFETIME, JoinToken, JoinTokens, NodeKey, Tls};

const VERSION: &str = "1.2.3";

/// The machine's clock, moved forward.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Seams::system().clock.now().plus(self.0)
    }
}

/// A cluster of one node that admits others.
struct Founder {
    seams: Seams,
    folder: tempfile::TempDir,
    kv: Kv,
    dir: Arc<DataDir>,
    address: NodeAddress,
    shutdown: CancellationToken,
}

impl Drop for Founder {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn build() -> Build {
    Build {
        version: VERSION.into(),
        level: Level::OWN,
    }
}

fn info(id: NodeId, address: &NodeAddress) -> NodeInfo {
    NodeInfo {
        id,
        address: address.clone(),
        zone: Zone::default(),
        build: build(),
        capacity_bytes: 1 << 30,
        leaving: None,
    }
}

impl Founder {
    async fn start() -> Self {
        let seams = Seams::system();
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(DataDir::init(&folder.path().join("1"), &seams).unwrap());
        let kv = Kv::in_memory(seams.clone());
        let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
        let address: NodeAddress = listener.address().unwrap().to_string().parse().unwrap();
        found(&kv, &dir, &info(dir.node(), &address), &seams)
            .await
            .unwrap();
        let founder = Self {
            seams,
            folder,
            kv,
            dir,
            address,
            shutdown: CancellationToken::new(),
        };
        founder.serve(listener);
        founder
    }

    fn serve(&self, listener: Box<dyn Listener>) {
        let tls = Tls::new(&self.dir.credentials().unwrap(), &self.seams).unwrap();
        let server =
            Server::new(ServerConfig::default(), tls, Roster::default()).join(self.service().routes());
        tokio::spawn(server.serve(listener, self.shutdown.clone()));
    }

    fn service(&self) -> JoinService {
        JoinService::new(self.kv.clone(), self.seams.clone())
    }

    async fn token(&self) -> JoinToken {
        JoinTokens::new(self.kv.clone(), self.seams.clone())
            .issue(DEFAULT_TOKEN_LIFETIME, vec![self.address.to_string()])
            .await
            .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn join(&self, name: &str, token: &JoinToken) -> Result<Joined, JoinError> {
        let plan = JoinPlan {
            path: self.path(name),
            token: token.clone(),
            address: "127.0.0.1:9".parse().unwrap(),
            zone: "b".parse().unwrap(),
            build: build(),
            capacity_bytes: 2 << 30,
        };
        join(plan, Arc::new(Tcp), &self.seams).await
    }

    async fn remove(&self, node: NodeId) {
        let mut txn = self.kv.begin().await.unwrap();
        let mut record: NodeRecord = txn.record(&NodeRecord::key(node)).await.unwrap().unwrap();
        record.removed = Some(Timestamp(1));
        txn.put_record(&NodeRecord::key(node), &record);
        txn.commit().await.unwrap();
    }
}

fn refused(outcome: Result<Joined, JoinError>) -> String {
    match outcome {
        Err(JoinError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_joins_with_a_token_and_is_known() {
    let founder = Founder::start().await;
    let second = founder.join("2", &founder.token().await).await.unwrap();
    let third = founder.join("3", &founder.token().await).await.unwrap();
    assert_eq!(second.dir.cluster(), founder.dir.cluster());
    let ids = [founder.dir.node(), second.dir.node(), third.dir.node()];
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    assert_eq!(second.peers, [(NodeId::FOUNDER, founder.address.clone())]);
    assert_eq!(third.peers.len(), 2);

    let known = nodes(&founder.kv.local()).await.unwrap();
    assert_eq!(known.iter().map(|node| node.id).collect::<Vec<_>>(), ids);
    assert_eq!(known[1].zone.as_str(), "b");
    assert_eq!(known[1].capacity_bytes, 2 << 30);

    // What it was given is enough to talk to the cluster.
    let tls = Tls::new(&second.dir.credentials().unwrap(), &founder.seams).unwrap();
    let peers = Peers::new(PeersConfig {
        net: Arc::new(Tcp),
        tls,
        instance: second.dir.instance(),
        level: Level::OWN,
    });
    peers.learn(NodeId::FOUNDER, founder.address.as_str());
    let mut client = v1::liveness_client::LivenessClient::new(peers.channel(NodeId::FOUNDER, Lane::Raft));
    client.ping(v1::PingRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_token_admits_one_node() {
    let founder = Founder::start().await;
    let token = founder.token().await;
    founder.join("2", &token).await.unwrap();
    let reason = refused(founder.join("3", &token).await);
    assert!(reason.contains("used by another node"), "{reason}");
    assert_eq!(nodes(&founder.kv.local()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again() {
    let founder = Founder::start().await;
    let token = founder.token().await;
    // The node made its key and was interrupted; in one world its answer arrived.
    drop(
        crate::identity::EmptyDir::prepare(&founder.path("2"))
            .unwrap()
            .joining_key()
            .unwrap(),
    );
    std::fs::create_dir(founder.path("again")).unwrap();
    std::fs::copy(
        founder.path("2").join("joining.pem"),
        founder.path("again").join("joining.pem"),
    )
    .unwrap();
    let first = founder.join("2", &token).await.unwrap();
    let again = founder.join("again", &token).await.unwrap();
    assert_eq!(first.dir.node(), again.dir.node());
    assert_eq!(nodes(&founder.kv.local()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_join_that_nobody_answers_leaves_a_directory_that_can_try_again() {
    let founder = Founder::start().await;
    let mut token = founder.token().await;
    let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
    token.seeds = vec![listener.address().unwrap().to_string()];
    drop(listener);
    assert!(matches!(
        founder.join("2", &token).await,
        Err(JoinError::Unreachable { .. })
    ));
    token.seeds.push(founder.address.to_string());
    founder.join("2", &token).await.unwrap();
    assert!(matches!(
        founder.join("2", &token).await,
        Err(JoinError::Dir(DirError::Taken { .. }))
    ));
}

#[tokio::test]
async fn a_token_of_another_cluster_leads_nowhere() {
    let (here, there) = (Founder::start().await, Founder::start().await);
    let mut token = there.token().await;
    token.seeds = vec![here.address.to_string()];
    // The handshake tells.
    match here.join("2", &token).await {
        Err(JoinError::Unreachable { reasons }) => {
            assert!(reasons.contains(&here.dir.cluster().to_string()), "{reasons}");
            assert!(reasons.contains(&there.dir.cluster().to_string()), "{reasons}");
        }
        other => panic!("{other:?}"),
    }
    // So does another authority that claims the same cluster.
    let mut forged = here.token().await;
    forged.authority = token.authority;
    match here.join("3", &forged).await {
        Err(JoinError::Unreachable { reasons }) => {
            assert!(
                reasons.contains("does not show the certificate authority"),
                "{reasons}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(nodes(&here.kv.local()).await.unwrap().len(), 1);
}

/// A request that would be granted.
async fn good_request(founder: &Founder) -> v1::JoinRequest {
    let token = founder.token().await;
    v1::JoinRequest {
        cluster: token.cluster.to_string(),
        token_secret: token.secret.0.to_vec().into(),
        signing_request: NodeKey::generate()
            .unwrap()
            .request()
            .unwrap()
            .der()
            .to_vec()
            .into(),
        address: "127.0.0.1:9".into(),
        zone: "default".into(),
        version: VERSION.into(),
        capacity_bytes: 1,
        level: 0,
    }
}

#[tokio::test]
async fn wrong_requests_to_join_are_told_what_is_wrong() {
    use Code::{InvalidArgument, PermissionDenied};
    let founder = Founder::start().await;
    type Spoil = fn(&mut v1::JoinRequest);
    let cases: &[(Code, &str, Spoil)] = &[
        (PermissionDenied, "is for cluster", |request| {
            request.cluster = "00000000-0000-4000-8000-000000000000".into();
        }),
        (PermissionDenied, "not known", |request| {
            request.token_secret = vec![7; 32].into()
        }),
        (InvalidArgument, "32 bytes", |request| {
            request.token_secret = vec![7; 31].into()
        }),
        (InvalidArgument, "signing request", |request| {
            request.signing_request = vec![0x30; 40].into();
        }),
        (InvalidArgument, "not an address", |request| {
            request.address = "nowhere".into()
        }),
        (InvalidArgument, "not a zone", |request| {
            request.zone = "A B".into()
        }),
        (InvalidArgument, "version", |request| {
            request.version = "x\n".into()
        }),
        (InvalidArgument, "version", |request| {
            request.version = "x".repeat(65)
        }),
    ];
    for (code, says, spoil) in cases {
        let mut request = good_request(&founder).await;
        let good = request.clone();
        spoil(&mut request);
        let status = founder.service().join(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), *code, "{status}");
        assert!(status.message().contains(says), "{status}");
        // The token was not used up by it.
        founder.service().join(Request::new(good)).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_expires() {
    let founder = Founder::start().await;
    let request = good_request(&founder).await;
    let at = |ahead: Duration| {
        let seams = Seams {
            clock: Arc::new(Ahead(ahead)),
            entropy: founder.seams.entropy.clone(),
        };
        JoinService::new(founder.kv.clone(), seams)
    };
    let late = at(DEFAULT_TOKEN_LIFETIME + Duration::from_secs(1));
    let status = late.join(Request::new(request.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("expired"), "{status}");
    let early = at(DEFAULT_TOKEN_LIFETIME - Duration::from_secs(60));
    early.join(Request::new(request)).await.unwrap();
}

#[tokio::test]
async fn a_removed_node_does_not_come_back_by_its_old_token() {
    let founder = Founder::start().await;
    let request = good_request(&founder).await;
    let joined = founder
        .service()
        .join(Request::new(request.clone()))
        .await
        .unwrap()
        .into_inner();
    founder.remove(NodeId(joined.node)).await;
    let status = founder.service().join(Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("was removed"), "{status}");
    assert_eq!(nodes(&founder.kv.local()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_cluster_is_founded_once_and_a_node_tells_its_news() {
    let founder = Founder::start().await;
    let own = info(NodeId::FOUNDER, &founder.address);
    let index = founder.kv.local().applied_index();
    found(&founder.kv, &founder.dir, &own, &founder.seams)
        .await
        .unwrap();
    assert_eq!(founder.kv.local().applied_index(), index);

    let news = Announcement {
        address: None,
        zone: Some("c".parse().unwrap()),
        build: Build {
            version: "1.3.0".into(),
            level: Level::OWN,
        },
        capacity_bytes: 1 << 30,
    };
    announce(&founder.kv, NodeId::FOUNDER, &news).await.unwrap();
    let told = nodes(&founder.kv.local()).await.unwrap().remove(0);
    assert_eq!((told.build.version.as_str(), told.zone.as_str()), ("1.3.0", "c"));
    assert_eq!(told.address, founder.address);
    let index = founder.kv.local().applied_index();
    announce(&founder.kv, NodeId::FOUNDER, &news).await.unwrap();
    assert_eq!(founder.kv.local().applied_index(), index);

    let unknown = announce(&founder.kv, NodeId(99), &news).await;
    assert!(matches!(unknown, Err(FoundError::Unknown { node: NodeId(99) })));
    founder.remove(NodeId::FOUNDER).await;
    let removed = announce(&founder.kv, NodeId::FOUNDER, &news).await;
    assert!(matches!(removed, Err(FoundError::Removed { .. })));
}

impl Founder {
    async fn announce(&self, node: NodeId, level: u32) -> Result<(), FoundError> {
        let news = Announcement {
            address: None,
            zone: None,
            build: Build {
                version: format!("0.{level}.0"),
                level: Level(level),
            },
            capacity_bytes: 1 << 30,
        };
        announce(&self.kv, node, &news).await
    }

    async fn raise(&self) -> Option<u32> {
        let raised = level::raise(&self.kv, &self.seams).await.unwrap();
        raised.map(|level| level.0)
    }

    async fn level(&self) -> u32 {
        Level::of(&self.kv.local()).await.unwrap().0
    }
}

#[tokio::test]
async fn the_level_is_raised_when_all_nodes_can_and_never_lowered() {
    let founder = Founder::start().await;
    let second = founder
        .join("2", &founder.token().await)
        .await
        .unwrap()
        .dir
        .node();
    let third = founder
        .join("3", &founder.token().await)
        .await
        .unwrap()
        .dir
        .node();
    assert_eq!((founder.level().await, founder.raise().await), (1, None));
    for node in [NodeId::FOUNDER, second] {
        founder.announce(node, 2).await.unwrap();
        assert_eq!(founder.raise().await, None);
    }
    // Until then every node may go back.
    founder.announce(second, 1).await.unwrap();
    founder.announce(second, 2).await.unwrap();
    founder.announce(third, 2).await.unwrap();
    assert_eq!((founder.raise().await, founder.level().await), (Some(2), 2));
    assert_eq!(founder.raise().await, None);

    let too_old = founder.announce(third, 1).await.unwrap_err().to_string();
    assert!(too_old.contains("of level 1 and cannot go back"), "{too_old}");
    let too_new = founder.announce(third, 4).await.unwrap_err().to_string();
    assert!(too_new.contains("to a version of level 3 first"), "{too_new}");
    founder.announce(third, 3).await.unwrap();
    assert_eq!((founder.raise().await, founder.level().await), (None, 2));
    // A node that is gone for ever holds nobody up.
    founder.announce(NodeId::FOUNDER, 3).await.unwrap();
    founder.remove(second).await;
    assert_eq!(founder.raise().await, Some(3));
}

#[tokio::test]
async fn a_node_of_a_level_that_does_not_fit_is_not_admitted_and_keeps_its_token() {
    let founder = Founder::start().await;
    founder.announce(NodeId::FOUNDER, 2).await.unwrap();
    assert_eq!(founder.raise().await, Some(2));
    let token = founder.token().await;
    let join = async |level: u32| {
        let plan = JoinPlan {
            path: founder.path("2"),
            token: token.clone(),
            address: "127.0.0.1:9".parse().unwrap(),
            zone: Zone::default(),
            build: Build {
                version: VERSION.into(),
                level: Level(level),
            },
            capacity_bytes: 1,
        };
        join(plan, Arc::new(Tcp), &founder.seams).await
    };
    for (level, reason) in [(0, "cannot go back"), (1, "cannot go back"), (4, "level 3 first")] {
        let refused = refused(join(level).await);
        assert!(refused.contains(reason), "{level}: {refused}");
    }
    assert_eq!(nodes(&founder.kv.local()).await.unwrap().len(), 1);
    join(3).await.unwrap();
    assert_eq!(nodes(&founder.kv.local()).await.unwrap()[1].build.level, Level(3));
}

#[tokio::test]
async fn a_directory_remembers_the_level_of_its_cluster() {
    let founder = Founder::start().await;
    let (directory, ..) = directory(&founder, founder.dir.clone(), founder.seams.clone());
    let path = founder.path("1");
    let fits =
        |level: u32| crate::identity::check_level(&path, Level(level)).map_err(|error| error.to_string());
    directory.refresh().await.unwrap();
    fits(1).unwrap();
    // It may be of a cluster that has long gone on.
    fits(3).unwrap();
    founder.announce(NodeId::FOUNDER, 2).await.unwrap();
    founder.raise().await.unwrap();
    // A process that runs an older build by then stops.
    assert_eq!(directory.refresh().await.unwrap(), Some(Departed::Outdated));
    assert!(
        fits(1)
            .unwrap_err()
            .contains("cannot go back to a cluster of level 2")
    );
    fits(2).unwrap();
    crate::identity::check_level(&founder.path("nothing"), Level(1)).unwrap();
}

fn peers(founder: &Founder, dir: &DataDir) -> (Peers, Tls) {
    let tls = Tls::new(&dir.credentials().unwrap(), &founder.seams).unwrap();
    let config = PeersConfig {
        net: Arc::new(Tcp),
        tls: tls.clone(),
        instance: dir.instance(),
        level: Level::OWN,
    };
    (Peers::new(config), tls)
}

fn directory(founder: &Founder, dir: Arc<DataDir>, seams: Seams) -> (Directory, Peers, Roster) {
    let (peers, tls) = peers(founder, &dir);
    let roster = Roster::default();
    let directory = Directory {
        kv: founder.kv.clone(),
        dir,
        peers: peers.clone(),
        roster: roster.clone(),
        tls,
        seams,
        level: Level::OWN,
    };
    (directory, peers, roster)
}

#[tokio::test]
async fn the_directory_follows_the_records() {
    let founder = Founder::start().await;
    let (directory, peers, _) = directory(&founder, founder.dir.clone(), founder.seams.clone());
    assert_eq!(directory.refresh().await.unwrap(), None);
    assert_eq!(peers.nodes(), []);
    let joined = founder.join("2", &founder.token().await).await.unwrap();
    let second = joined.dir.node();
    directory.refresh().await.unwrap();
    assert_eq!(peers.address(second).as_deref(), Some("127.0.0.1:9"));
    founder.remove(second).await;
    directory.refresh().await.unwrap();
    assert_eq!(peers.nodes(), []);
}

#[tokio::test]
async fn a_node_that_was_removed_stops() {
    let founder = Founder::start().await;
    let joined = founder.join("2", &founder.token().await).await.unwrap();
    let dir = Arc::new(joined.dir);
    let (directory, ..) = directory(&founder, dir.clone(), founder.seams.clone());
    let following = tokio::spawn(directory.follow(CancellationToken::new()));
    founder.remove(dir.node()).await;
    assert_eq!(following.await.unwrap(), Some(Departed::Removed));
}

#[tokio::test]
async fn a_node_whose_copy_was_started_stops() {
    let founder = Founder::start().await;
    founder.dir.register(&founder.kv).await.unwrap();
    let (directory, ..) = directory(&founder, founder.dir.clone(), founder.seams.clone());
    let following = tokio::spawn(directory.follow(CancellationToken::new()));
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([founder.path("1"), founder.path("copy")])
        .status()
        .unwrap();
    assert!(copied.success());
    let copy = Arc::new(DataDir::open(&founder.path("copy"), &[], &founder.seams).unwrap());
    copy.register(&founder.kv).await.unwrap();
    assert_eq!(following.await.unwrap(), Some(Departed::Superseded));
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time() {
    let founder = Founder::start().await;
    let before = founder.dir.credentials().unwrap().to_pem();
    let seams = Seams {
        clock: Arc::new(Ahead(Duration::from_secs(300 * 86_400))),
        entropy: founder.seams.entropy.clone(),
    };
    let shutdown = CancellationToken::new();
    let (directory, ..) = directory(&founder, founder.dir.clone(), seams);
    let following = tokio::spawn(directory.follow(shutdown.clone()));
    while founder.dir.credentials().unwrap().to_pem() == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    assert_eq!(following.await.unwrap(), None);
    let renewed = founder.dir.credentials().unwrap();
    let later = founder.seams.clock.now().plus(Duration::from_secs(400 * 86_400));
    assert!(!renewed.due_for_renewal(later).unwrap());
}

/// Consensus that does at once what it is told.
#[derive(Default)]
struct Obedient {
    view: Mutex<RaftView>,
    looks: AtomicU64,
    changes: Mutex<Vec<BTreeSet<u64>>>,
}

impl Obedient {
    fn alone(me: NodeId) -> Arc<Self> {
        let view = RaftView {
            me,
            leader: Some(me),
            voters: BTreeSet::from([me]),
            last_log: 10,
            applied: 10,
            ..Default::default()
        };
        Arc::new(Self {
            view: Mutex::new(view),
            ..Default::default()
        })
    }
}

#[async_trait]
impl RaftControl for Obedient {
    fn view(&self) -> RaftView {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.view.lock().unwrap().clone()
    }

    async fn add_learner(&self, node: NodeId, _: &str) -> Result<(), ControlError> {
        let mut view = self.view.lock().unwrap();
        view.learners.insert(node);
        view.matched.insert(node, 10);
        Ok(())
    }

    async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ControlError> {
        self.changes
            .lock()
            .unwrap()
            .push(voters.iter().map(|node| node.0).collect());
        let mut view = self.view.lock().unwrap();
        let retired: Vec<NodeId> = view.voters.difference(&voters).copied().collect();
        view.learners.extend(retired);
        view.learners.retain(|node| !voters.contains(node));
        view.voters = voters;
        Ok(())
    }

    async fn forget(&self, node: NodeId) -> Result<(), ControlError> {
        self.view.lock().unwrap().learners.remove(&node);
        Ok(())
    }

    async fn transfer_leader(&self, to: NodeId) -> Result<(), ControlError> {
        self.view.lock().unwrap().leader = Some(to);
        Ok(())
    }
}

/// Remembers what it was told, after it refused to hear the first time.
#[derive(Default)]
struct Reluctant {
    told: Mutex<Vec<Vec<NodeId>>>,
    asked: AtomicU64,
}

#[async_trait]
impl FollowMembers for Reluctant {
    async fn follow(&self, members: &[NodeInfo]) -> anyhow::Result<()> {
        anyhow::ensure!(self.asked.fetch_add(1, Ordering::SeqCst) > 0, "not now");
        let ids = members.iter().map(|member| member.id).collect();
        self.told.lock().unwrap().push(ids);
        Ok(())
    }
}

#[tokio::test]
async fn members_become_learners_and_three_of_them_voters_at_once() {
    let founder = Founder::start().await;
    let (peers, _) = peers(&founder, &founder.dir);
    let control = Obedient::alone(NodeId::FOUNDER);
    let config = ControllerConfig {
        look_every: Duration::from_millis(5),
        settle: Duration::from_millis(20),
        ..Default::default()
    };
    let shutdown = CancellationToken::new();
    let follower = Arc::new(Reluctant::default());
    let controller =
        Controller::new(config, founder.kv.clone(), peers.clone(), control.clone()).tell(follower.clone());
    let running = tokio::spawn(controller.run(shutdown.clone()));
    let until = async |reached: &dyn Fn(&RaftView) -> bool| {
        while !reached(&control.view()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut ids = vec![NodeId::FOUNDER];
    for name in ["2", "3"] {
        let node = founder
            .join(name, &founder.token().await)
            .await
            .unwrap()
            .dir
            .node();
        peers.learn(node, "127.0.0.1:9");
        peers.assume(node, true);
        until(&|view| view.learners.contains(&node) || view.voters.contains(&node)).await;
        ids.push(node);
    }
    until(&|view| view.voters.len() == 3).await;
    until(&|_| follower.told.lock().unwrap().last() == Some(&ids)).await;
    shutdown.cancel();
    running.await.unwrap();
    let changes = control.changes.lock().unwrap().clone();
    assert_eq!(
        changes,
        [ids.iter().map(|node| node.0).collect::<BTreeSet<u64>>()]
    );
}

#[tokio::test]
async fn a_controller_that_does_not_lead_changes_nothing() {
    let founder = Founder::start().await;
    let joined = founder.join("2", &founder.token().await).await.unwrap();
    let (peers, _) = peers(&founder, &founder.dir);
    peers.learn(joined.dir.node(), "127.0.0.1:9");
    peers.assume(joined.dir.node(), true);
    let control = Obedient::alone(NodeId::FOUNDER);
    control.transfer_leader(joined.dir.node()).await.unwrap();
    let config = ControllerConfig {
        look_every: Duration::from_millis(1),
        settle: Duration::ZERO,
        ..Default::default()
    };
    let shutdown = CancellationToken::new();
    let controller = Controller::new(config, founder.kv.clone(), peers, control.clone());
    let running = tokio::spawn(controller.run(shutdown.clone()));
    while control.looks.load(Ordering::SeqCst) < 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shutdown.cancel();
    running.await.unwrap();
    assert!(control.view().learners.is_empty());
    assert!(control.changes.lock().unwrap().is_empty());
}

/// Of which one has failed.
struct TwoDisks;

#[async_trait]
impl TellDisks for TwoDisks {
    async fn summary(&self) -> DiskSummary {
        DiskSummary {
            used_bytes: 3,
            total_bytes: 10,
            failed: 1,
            rebuilding: false,
        }
    }
}

#[tokio::test]
async fn the_status_shows_every_node_and_who_does_not_answer() {
    let founder = Founder::start().await;
    let second = founder.join("2", &founder.token().await).await.unwrap().dir;
    let third = founder.join("3", &founder.token().await).await.unwrap().dir;
    let members = [NodeId::FOUNDER, second.node(), third.node()];
    let view = RaftView {
        leader: Some(NodeId::FOUNDER),
        voters: BTreeSet::from(members),
        applied: 100,
        ..Default::default()
    };
    let reporter = |me: NodeId, applied: u64| {
        let control = Arc::new(Obedient::default());
        *control.view.lock().unwrap() = RaftView {
            me,
            applied,
            ..view.clone()
        };
        Reporter::new(build(), Arc::new(TwoDisks), control)
    };
    // The second node serves; the third does not.
    let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap().to_string();
    let (_, tls) = peers(&founder, &second);
    let routes = Routes::new(reporter(second.node(), 97).service());
    let server = Server::new(ServerConfig::default(), tls, Roster::default()).lane(Lane::Requests, routes);
    tokio::spawn(server.serve(listener, founder.shutdown.clone()));
    let (peers, _) = peers(&founder, &founder.dir);
    peers.learn(second.node(), &address);
    peers.learn(third.node(), "127.0.0.1:9");
    peers.assume(third.node(), false);

    let own = reporter(NodeId::FOUNDER, 100);
    let coding = Coding { data: 2, parity: 1 };
    let status = cluster_status(&founder.kv, &peers, &own, coding, 0)
        .await
        .unwrap();
    assert!(
        status.survives.contains(&format!("down: node {}", third.node())),
        "{}",
        status.survives
    );
    assert_eq!(status.leader, Some(NodeId::FOUNDER));
    let roles: Vec<Role> = status.nodes.iter().map(|node| node.role).collect();
    assert_eq!(roles, [Role::Leader, Role::Voter, Role::Voter]);
    let up: Vec<bool> = status.nodes.iter().map(|node| node.up).collect();
    assert_eq!(up, [true, true, false]);
    let lag: Vec<Option<u64>> = status.nodes.iter().map(|node| node.lag).collect();
    assert_eq!(lag, [Some(0), Some(3), None]);
    let second = &status.nodes[1];
    assert_eq!(
        (second.disk_used_bytes, second.disk_total_bytes),
        (Some(3), Some(10))
    );
    assert_eq!(second.failed_disks, Some(1));
    let by_id: BTreeMap<NodeId, &str> = status
        .nodes
        .iter()
        .map(|node| (node.node, node.version.as_str()))
        .collect();
    assert_eq!(by_id[&third.node()], VERSION);
}
