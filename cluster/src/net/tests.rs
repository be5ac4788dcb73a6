//! Peers and servers over loopback: who is let in, what is refused, who is noticed to be gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_proto::v1;
use cairn_proto::v1::admission_client::AdmissionClient;
use cairn_proto::v1::admission_server::{Admission, AdmissionServer};
use cairn_proto::v1::liveness_client::LivenessClient;
use http::header::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use super::*;
use crate::identity::Instance;
use crate::level::Level;
use crate::node_id::{ClusterId, NodeId};
use crate::seams::{Clock, Seams, Timestamp};
use crate::trust::{Authority, Credentials, NodeKey, Tls};

const SERVER: NodeId = NodeId(1);
const CLIENT: NodeId = NodeId(7);

/// Answers with the caller that it saw.
#[derive(Clone, Default)]
struct WhoAmI {
    calls: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Admission for WhoAmI {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let peer = PeerIdentity::of(&request)?;
        if request.get_ref().zone == "claims to be node 9" {
            peer.require(NodeId(9))?;
        }
        Ok(Response::new(v1::JoinResponse {
            cluster: peer.cluster.to_string(),
            node: peer.node.0,
            ..Default::default()
        }))
    }
}

struct Fixture {
    seams: Seams,
    authority: Authority,
    roster: Roster,
    service: WhoAmI,
    address: String,
    shutdown: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn authority() -> Authority {
    let seams = Seams::system();
    Authority::create(ClusterId::random(&seams), &seams).unwrap()
}

fn instance(epoch: u64) -> Instance {
    Instance { epoch, nonce: 5 }
}

fn peers_of(tls: Tls, instance: Instance, level: Level) -> Peers {
    Peers::new(PeersConfig {
        net: Arc::new(Tcp),
        tls,
        instance,
        level,
    })
}

fn peers_with(tls: Tls, instance: Instance) -> Peers {
    peers_of(tls, instance, Level::OWN)
}

impl Fixture {
    async fn start() -> Self {
        Self::start_with(ServerConfig::default()).await
    }

    async fn start_with(config: ServerConfig) -> Self {
        let seams = Seams::system();
        let authority = authority();
        let roster = Roster::default();
        let service = WhoAmI::default();
        let shutdown = CancellationToken::new();
        let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
        let address = listener.address().unwrap().to_string();
        let limited = AdmissionServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let tls = Tls::new(&Credentials::issue(&authority, SERVER, &seams).unwrap(), &seams).unwrap();
        let server = Server::new(config, tls, roster.clone())
            .lane(Lane::Bulk, Routes::new(limited.clone()))
            .join(Routes::new(limited));
        tokio::spawn(server.serve(listener, shutdown.clone()));
        Self {
            seams,
            authority,
            roster,
            service,
            address,
            shutdown,
        }
    }

    fn credentials(&self) -> Credentials {
        Credentials::issue(&self.authority, CLIENT, &self.seams).unwrap()
    }

    fn peers(&self) -> Peers {
        self.peers_as(&self.credentials(), instance(1))
    }

    fn peers_as(&self, credentials: &Credentials, instance: Instance) -> Peers {
        let peers = peers_with(Tls::new(credentials, &self.seams).unwrap(), instance);
        peers.learn(SERVER, &self.address);
        peers
    }

    fn calls(&self) -> usize {
        self.service.calls.load(Ordering::SeqCst)
    }
}

async fn call(peers: &Peers) -> Result<v1::JoinResponse, Status> {
    call_with(peers, v1::JoinRequest::default()).await
}

async fn call_with(peers: &Peers, request: v1::JoinRequest) -> Result<v1::JoinResponse, Status> {
    let mut client = AdmissionClient::new(peers.channel(SERVER, Lane::Bulk));
    client.join(request).await.map(Response::into_inner)
}

async fn ping(peers: &Peers) -> Result<(), Status> {
    let mut client = LivenessClient::new(peers.channel(SERVER, Lane::Raft));
    client.ping(v1::PingRequest {}).await.map(|_| ())
}

#[tokio::test]
async fn the_caller_is_known_by_its_certificate() {
    let fixture = Fixture::start().await;
    let seen = call(&fixture.peers()).await.unwrap();
    assert_eq!(seen.node, CLIENT.0);
    assert_eq!(seen.cluster, fixture.authority.cluster().to_string());
    ping(&fixture.peers()).await.unwrap();
}

#[tokio::test]
async fn a_message_that_claims_another_node_is_denied() {
    let fixture = Fixture::start().await;
    let request = v1::JoinRequest {
        zone: "claims to be node 9".into(),
        ..Default::default()
    };
    let refused = call_with(&fixture.peers(), request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("node 9") && refused.message().contains("node 7"));
}

#[tokio::test]
async fn a_service_is_reached_only_on_its_lane() {
    let fixture = Fixture::start().await;
    let mut client = AdmissionClient::new(fixture.peers().channel(SERVER, Lane::Requests));
    let refused = client.join(v1::JoinRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

/// Shakes hands by hand, writes the beginning of an HTTP/2 conversation, and reads until the
/// server ends it.
async fn handshake_is_refused(fixture: &Fixture, config: Arc<rustls::ClientConfig>) -> String {
    let stream = Tcp.connect(&fixture.address).await.unwrap();
    let name = crate::trust::NodeName {
        node: SERVER,
        cluster: fixture.authority.cluster(),
    };
    let connected = tokio_rustls::TlsConnector::from(config)
        .connect(name.server_name(), stream)
        .await;
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    // In TLS 1.3 a client learns of its refusal with the first byte it reads.
    let _ = stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Ok(_) => panic!("the server answered {} bytes", answer.len()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_connection_without_a_certificate_is_refused_in_the_handshake() {
    let fixture = Fixture::start().await;
    let pinned = crate::trust::pinned_client(
        fixture.authority.cluster(),
        fixture.authority.fingerprint(),
        &fixture.seams,
    )
    .unwrap();
    let mut config = Arc::unwrap_or_clone(pinned);
    for lane in Lane::ALL {
        config.alpn_protocols = vec![lane.alpn().to_vec()];
        let refused = handshake_is_refused(&fixture, Arc::new(config.clone())).await;
        assert!(refused.contains("CertificateRequired"), "{refused}");
    }
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_in_the_handshake() {
    let fixture = Fixture::start().await;
    // It even claims to be the same cluster.
    let forged = Authority::create(fixture.authority.cluster(), &fixture.seams).unwrap();
    let key = NodeKey::generate().unwrap();
    let certificate = forged
        .certify(&key.request().unwrap(), CLIENT, &fixture.seams)
        .unwrap();
    let credentials = Credentials::new(key, certificate, fixture.authority.certificate().clone()).unwrap();
    let tls = Tls::new(&credentials, &fixture.seams).unwrap();
    let refused = handshake_is_refused(&fixture, tls.client(Lane::Bulk)).await;
    assert!(
        refused.contains("UnknownCA") || refused.contains("DecryptError"),
        "{refused}"
    );
    assert!(call(&fixture.peers_as(&credentials, instance(1))).await.is_err());
    assert_eq!(fixture.calls(), 0);
}

#[derive(Debug)]
struct Frozen(Timestamp);

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_in_the_handshake() {
    let fixture = Fixture::start().await;
    let two_days = Duration::from_secs(2 * 86_400);
    let then = Timestamp(fixture.seams.clock.now().0 - two_days.as_millis() as u64);
    let seams = Seams {
        clock: Arc::new(Frozen(then)),
        entropy: fixture.seams.entropy.clone(),
    };
    let key = NodeKey::generate().unwrap();
    let certificate = fixture
        .authority
        .certify_for(&key.request().unwrap(), CLIENT, two_days / 2, &seams)
        .unwrap();
    let credentials = Credentials::new(key, certificate, fixture.authority.certificate().clone()).unwrap();
    let tls = Tls::new(&credentials, &fixture.seams).unwrap();
    let refused = handshake_is_refused(&fixture, tls.client(Lane::Bulk)).await;
    assert!(refused.contains("CertificateExpired"), "{refused}");
    assert!(call(&fixture.peers_as(&credentials, instance(1))).await.is_err());
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn a_removed_node_is_refused_also_on_connections_that_it_has() {
    let fixture = Fixture::start().await;
    let connected = fixture.peers();
    call(&connected).await.unwrap();
    let removed = Known {
        removed: true,
        ..Default::default()
    };
    fixture.roster.replace(BTreeMap::from([(CLIENT, removed)]));
    let refused = call(&connected).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("node 7 was removed"), "{refused}");
    assert!(call(&fixture.peers()).await.is_err());
    assert_eq!(fixture.calls(), 1);
}

/// What came on it before was welcome.
#[test]
fn a_caller_loses_its_standing_while_its_stream_is_open() {
    let peer = PeerIdentity {
        node: CLIENT,
        cluster: ClusterId::random(&Seams::system()),
    };
    let roster = Roster::default();
    let standing = Standing::new(
        peer,
        &gate::caller_headers(instance(3), Level::OWN),
        Level::OWN,
        &roster,
    )
    .unwrap();
    let standing_with = |removed, replaced_by: Option<Instance>| {
        let known = Known {
            removed,
            instance: replaced_by,
        };
        roster.replace(BTreeMap::from([(CLIENT, known)]));
        standing.check().map_err(|refused| refused.code())
    };
    assert_eq!(standing_with(false, None), Ok(()));
    assert_eq!(standing_with(false, Some(instance(3))), Ok(()));
    assert_eq!(
        standing_with(false, Some(instance(4))),
        Err(Code::FailedPrecondition)
    );
    assert_eq!(standing_with(true, None), Err(Code::PermissionDenied));
}

#[test]
fn levels_that_are_next_to_each_other_are_understood_until_the_cluster_is_past_them() {
    let peer = PeerIdentity {
        node: CLIENT,
        cluster: ClusterId::random(&Seams::system()),
    };
    let roster = Roster::default();
    let standing = |headers: &HeaderMap, own: u32| Standing::new(peer, headers, Level(own), &roster);
    let of = |level: u32| gate::caller_headers(instance(3), Level(level));
    let understood: Vec<u32> = (0..8).filter(|level| standing(&of(*level), 3).is_ok()).collect();
    assert_eq!(understood, [2, 3, 4]);
    let refused = standing(&of(5), 3).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused
            .message()
            .contains("node 7 is of level 5, this node of level 3"),
        "{refused}"
    );
    // A build from before there were levels says none.
    let mut silent = of(1);
    silent.remove("cairn-level");
    assert!(standing(&silent, 2).is_ok() && standing(&silent, 3).is_err());

    // Also on a stream that was open before.
    let open = standing(&of(2), 3).unwrap();
    assert!(open.check().is_ok());
    roster.require(Level(3));
    let refused = open.check().unwrap_err();
    assert!(
        refused.message().contains("the cluster is of level 3"),
        "{refused}"
    );
    assert!(standing(&of(3), 3).unwrap().check().is_ok());
}

#[tokio::test]
async fn a_node_that_is_levels_apart_is_told_so() {
    let fixture = Fixture::start().await;
    let tls = Tls::new(&fixture.credentials(), &fixture.seams).unwrap();
    let peers = peers_of(tls, instance(1), Level(Level::OWN.0 + 2));
    peers.learn(SERVER, &fixture.address);
    let refused = call(&peers).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("neighbouring levels"), "{refused}");
    assert_eq!(fixture.calls(), 0);
    // One of two does not say what is right.
    let probing = tokio::spawn(peers.clone().probe(fixture.shutdown.clone()));
    while !peers.is_apart(SERVER) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(peers.level_of_those_apart(), None);
    probing.abort();
    let _ = probing.await;
    peers.learn(NodeId(70), &fixture.address);
    peers.note_apart(NodeId(70), Some(Level::OWN));
    assert_eq!(peers.level_of_those_apart(), Some(Level::OWN));
}

#[tokio::test]
async fn a_node_that_was_removed_while_it_was_away_is_told_so() {
    let fixture = Fixture::start().await;
    let removed = Known {
        removed: true,
        ..Default::default()
    };
    fixture.roster.replace(BTreeMap::from([(CLIENT, removed)]));
    let peers = fixture.peers();
    let mut told = peers.removed();
    assert!(!*told.borrow());
    let shutdown = CancellationToken::new();
    let probing = tokio::spawn(peers.probe(shutdown.clone()));
    told.wait_for(|removed| *removed).await.unwrap();
    shutdown.cancel();
    probing.await.unwrap();
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn a_start_that_another_has_replaced_is_refused() {
    let fixture = Fixture::start().await;
    let registered = Known {
        removed: false,
        instance: Some(instance(4)),
    };
    fixture.roster.replace(BTreeMap::from([(CLIENT, registered)]));
    let credentials = fixture.credentials();
    for (caller, welcome) in [
        (instance(3), false),
        (Instance { epoch: 4, nonce: 6 }, false),
        (instance(4), true),
        (Instance { epoch: 5, nonce: 6 }, true),
    ] {
        let answer = call(&fixture.peers_as(&credentials, caller)).await;
        match answer {
            Ok(_) => assert!(welcome, "{caller}"),
            Err(refused) => {
                assert!(!welcome, "{caller}");
                assert_eq!(refused.code(), Code::FailedPrecondition);
            }
        }
    }
}

#[tokio::test]
async fn clusters_that_were_wired_together_are_both_named() {
    let fixture = Fixture::start().await;
    let other = authority();
    let credentials = Credentials::issue(&other, CLIENT, &fixture.seams).unwrap();
    let peers = fixture.peers_as(&credentials, instance(1));
    let refused = call(&peers).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for cluster in [other.cluster(), fixture.authority.cluster()] {
        assert!(refused.message().contains(&cluster.to_string()), "{refused}");
    }
    assert!(peers.is_down(SERVER));
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn a_node_behind_anothers_address_is_not_taken_for_it() {
    let fixture = Fixture::start().await;
    let peers = fixture.peers();
    peers.learn(NodeId(2), &fixture.address);
    let mut client = AdmissionClient::new(peers.channel(NodeId(2), Lane::Bulk));
    let refused = client.join(v1::JoinRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("is node 1, not the node 2"),
        "{refused}"
    );
}

#[tokio::test]
async fn another_protocol_version_is_refused_by_both_numbers() {
    let fixture = Fixture::start().await;
    let tls = Tls::new(&fixture.credentials(), &fixture.seams).unwrap();
    let dialer = Dialer::new(Arc::new(Tcp));
    let name = crate::trust::NodeName {
        node: SERVER,
        cluster: fixture.authority.cluster(),
    };
    let stream = dialer
        .dial(&fixture.address, name.server_name(), tls.client(Lane::Bulk))
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://node/cairn.v1.Admission/Join")
        .header("content-type", "application/grpc")
        .header("cairn-protocol", "2")
        .body(tonic::body::Body::empty())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("version 2") && status.message().contains("1 to 1"),
        "{status}"
    );
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test]
async fn a_message_over_the_limit_is_resource_exhausted() {
    let fixture = Fixture::start().await;
    let message = |bytes: usize| v1::JoinRequest {
        signing_request: vec![0; bytes].into(),
        ..Default::default()
    };
    let peers = fixture.peers();
    call_with(&peers, message(MAX_MESSAGE_BYTES - 100)).await.unwrap();
    let refused = call_with(&peers, message(MAX_MESSAGE_BYTES + 1))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(fixture.calls(), 1);
}

#[tokio::test]
async fn half_open_connections_do_not_keep_nodes_out() {
    let fixture = Fixture::start_with(ServerConfig {
        handshakes: 4,
        ..Default::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Tcp.connect(&fixture.address).await.unwrap());
    }
    call(&fixture.peers()).await.unwrap();
    // The oldest were dropped to make room.
    let mut answer = [0; 1];
    assert!(matches!(silent[0].read(&mut answer).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_peer_that_opens_too_many_connections_loses_its_oldest() {
    let fixture = Fixture::start_with(ServerConfig {
        connections_per_peer: 2,
        ..Default::default()
    })
    .await;
    let tls = Tls::new(&fixture.credentials(), &fixture.seams).unwrap();
    let dialer = Dialer::new(Arc::new(Tcp));
    let name = crate::trust::NodeName {
        node: SERVER,
        cluster: fixture.authority.cluster(),
    };
    let mut connections = Vec::new();
    for _ in 0..3 {
        let config = tls.client(Lane::Bulk);
        let mut stream = dialer
            .dial(&fixture.address, name.server_name(), config)
            .await
            .unwrap();
        // The server's first words: it has taken the connection.
        stream.read_exact(&mut [0; 9]).await.unwrap();
        connections.push(stream);
    }
    let mut rest = Vec::new();
    // The first is closed by the server; the last is not, and would wait here for ever.
    let _ = connections[0].read_to_end(&mut rest).await;
    call(&fixture.peers()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_stops_is_noticed_and_its_return_too() {
    let fixture = Fixture::start().await;
    let peers = fixture.peers();
    let shutdown = CancellationToken::new();
    tokio::spawn(peers.clone().probe(shutdown.clone()));
    let mut changes = peers.changes();
    let until = async |changes: &mut tokio::sync::watch::Receiver<u64>, down: bool| {
        while peers.is_down(SERVER) != down || peers.liveness(SERVER) == Liveness::Unknown {
            changes.changed().await.unwrap();
        }
    };
    until(&mut changes, false).await;
    assert_eq!(peers.liveness(peers.me()), Liveness::Up);

    fixture.shutdown.cancel();
    until(&mut changes, true).await;

    let tls = Tls::new(
        &Credentials::issue(&fixture.authority, SERVER, &fixture.seams).unwrap(),
        &fixture.seams,
    )
    .unwrap();
    let listener = Tcp.listen(&fixture.address).await.unwrap();
    let stop = CancellationToken::new();
    let server = Server::new(ServerConfig::default(), tls, Roster::default());
    tokio::spawn(server.serve(listener, stop.clone()));
    until(&mut changes, false).await;
    ping(&peers).await.unwrap();
    stop.cancel();
    shutdown.cancel();
}

#[tokio::test]
async fn nobody_at_the_address_is_down_at_the_first_call() {
    let fixture = Fixture::start().await;
    let peers = fixture.peers();
    let listener = Tcp.listen("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap().to_string();
    drop(listener);
    peers.learn(SERVER, &address);
    assert_eq!(ping(&peers).await.unwrap_err().code(), Code::Unavailable);
    assert!(peers.is_down(SERVER));
    // A new address is used at once.
    peers.learn(SERVER, &fixture.address);
    ping(&peers).await.unwrap();
    assert_eq!(peers.liveness(SERVER), Liveness::Up);
}

#[tokio::test]
async fn an_unknown_node_is_unavailable() {
    let fixture = Fixture::start().await;
    let mut client = LivenessClient::new(fixture.peers().channel(NodeId(99), Lane::Raft));
    let refused = client.ping(v1::PingRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_new_connections() {
    let fixture = Fixture::start().await;
    let credentials = fixture.credentials();
    let tls = Tls::new(&credentials, &fixture.seams).unwrap();
    let renewed = credentials.renew(&fixture.authority, &fixture.seams).unwrap();
    tls.renew(&renewed).unwrap();
    let peers = peers_with(tls.clone(), instance(1));
    peers.learn(SERVER, &fixture.address);
    assert_eq!(call(&peers).await.unwrap().node, CLIENT.0);
    let anothers = Credentials::issue(&fixture.authority, NodeId(8), &fixture.seams).unwrap();
    assert!(tls.renew(&anothers).is_err());
}

#[tokio::test]
async fn stopping_lets_a_request_finish_and_then_ends() {
    let fixture = Fixture::start().await;
    let peers = fixture.peers();
    call(&peers).await.unwrap();
    fixture.shutdown.cancel();
    // The server says good-bye on the connection; a new one is refused.
    while call(&peers).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_peer_that_answers_something_is_busy_rather_than_down() {
    let fixture = Fixture::start().await;
    let peers = fixture.peers();
    call(&peers).await.unwrap();
    for _ in 0..10 {
        peers.missed(SERVER, "the test says so");
    }
    assert_eq!(peers.liveness(SERVER), Liveness::Up);
}

#[tokio::test]
async fn what_the_records_say_of_an_address_wins() {
    let fixture = Fixture::start().await;
    let peers = fixture.peers();
    peers.introduce(SERVER, "127.0.0.1:9");
    assert_eq!(peers.address(SERVER).unwrap(), fixture.address);
    peers.introduce(NodeId(2), "127.0.0.1:9");
    assert_eq!(peers.address(NodeId(2)).unwrap(), "127.0.0.1:9");
    peers.learn(peers.me(), "127.0.0.1:9");
    assert_eq!(peers.nodes(), [SERVER, NodeId(2)]);
    peers.forget(SERVER);
    assert_eq!(peers.nodes(), [NodeId(2)]);
}
