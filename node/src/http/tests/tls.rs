//! Connections that begin with TLS, with the header of a proxy, or with neither where they should.

use std::net::SocketAddr;

use axum::http::Version;
use cairn_cluster::Seams;
use reqwest::tls::Version as TlsVersion;
use reqwest::{Certificate, ClientBuilder};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::Duration;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::Http;
use crate::http::entrance::fixture::{Authority, Folder};

const LONG: Duration = Duration::from_secs(60);

/// A file whose links tell under which URL the server was reached.
const LINKS: &str = "/api/v4/projects/2/packages/cargo/index/config.json";

/// From this machine, connections begin with the header of a proxy.
const FROM_HERE: &str = "127.0.0.0/8";

struct Edge {
    entrance: Entrance,
    server: Server,
    _node: TestNode,
}

/// Serves a node by the certificate in this folder, if there is one, behind proxies in these networks.
async fn serve(folder: Option<&Folder>, proxies: &[&str], limits: &Limits) -> Edge {
    let http = Http {
        tls_certificate: folder.map(Folder::certificate),
        tls_key: folder.map(Folder::key),
        proxy_protocol: proxies.iter().map(|network| network.parse().unwrap()).collect(),
        ..Http::default()
    };
    let entrance = Entrance::load(&http, Seams::system().clock).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = TestNode::start().await;
    let server = Server::start(listener, entrance.clone(), node.front(), limits).unwrap();
    Edge {
        entrance,
        server,
        _node: node,
    }
}

fn trusting(authority: &Authority) -> ClientBuilder {
    let root = Certificate::from_pem(authority.certificate.as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([root])
}

fn url(server: SocketAddr, path: &str) -> String {
    format!("https://localhost:{}{path}", server.port())
}

/// Sends bytes; gives what comes back until the connection ends.
async fn exchange(server: SocketAddr, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(server).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // It may end by a reset.
    let _ = client.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_both_versions_of_tls() {
    let authority = Authority::new();
    for folder in [authority.issue().into_files(), authority.issue_rsa().into_files()] {
        let edge = serve(Some(&folder), &[], &Limits::default()).await;
        for tls in [TlsVersion::TLS_1_2, TlsVersion::TLS_1_3] {
            for (http, client) in [
                (Version::HTTP_11, trusting(&authority).http1_only()),
                (Version::HTTP_2, trusting(&authority)),
            ] {
                let client = client.tls_version_min(tls).tls_version_max(tls).build().unwrap();
                let asked = client.get(url(edge.server.address(), LINKS)).send();
                let answer = asked.await.unwrap();
                assert_eq!((answer.status().as_u16(), answer.version()), (200, http));
                let links = answer.text().await.unwrap();
                let base = format!("\"https://localhost:{}/", edge.server.address().port());
                assert!(links.contains(&base), "{links}");
            }
        }
        assert!(edge.server.stop(LONG).await);
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_on_new_connections_and_open_ones_go_on() {
    let (before, after) = (Authority::new(), Authority::new());
    let folder = before.issue().into_files();
    let edge = serve(Some(&folder), &[], &Limits::default()).await;
    let health = url(edge.server.address(), "/-/health");
    // One connection, kept alive.
    let kept = trusting(&before).build().unwrap();
    let asked = async |client: &reqwest::Client| client.get(&health).send().await.map(|_| ());
    asked(&kept).await.unwrap();

    folder.write(&after.issue());
    edge.entrance.look().await;
    asked(&kept).await.unwrap();
    asked(&trusting(&after).build().unwrap()).await.unwrap();
    asked(&trusting(&before).build().unwrap()).await.unwrap_err();

    std::fs::write(folder.key(), "nonsense").unwrap();
    edge.entrance.look().await;
    asked(&trusting(&after).build().unwrap()).await.unwrap();
    edge.server.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn an_expired_certificate_is_shown_and_clients_refuse_it() {
    let authority = Authority::new();
    let folder = authority.issue_expired().into_files();
    let edge = serve(Some(&folder), &[], &Limits::default()).await;
    let health = url(edge.server.address(), "/-/health");
    let strict = trusting(&authority).build().unwrap();
    strict.get(&health).send().await.unwrap_err();
    let lax = trusting(&authority).tls_danger_accept_invalid_certs(true);
    let answer = lax.build().unwrap().get(&health).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    edge.server.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn plain_http_is_told_to_use_https_and_reaches_nothing() {
    let folder = Authority::new().issue().into_files();
    let edge = serve(Some(&folder), &[], &Limits::default()).await;
    let request = format!("GET {LINKS} HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = exchange(edge.server.address(), request.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("begin the URL with https://"),
        "{answer}"
    );
    for nonsense in [
        b"SSH-2.0-x\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x00\x05hello",
        &[0; 100],
    ] {
        let answer = exchange(edge.server.address(), nonsense).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    assert!(edge.server.stop(LONG).await);
}

#[tokio::test]
async fn who_takes_too_long_to_begin_makes_room_for_others() {
    let authority = Authority::new();
    let folder = authority.issue().into_files();
    let limits = Limits {
        connections: 1,
        head_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let proxied = b"PROXY TCP4 203.0.113.5 192.0.2.1 1 2\r\n".as_slice();
    for (proxies, begin) in [
        (&[] as &[&str], b"".as_slice()),
        (&[], b"\x16\x03\x01\x02\x00\x01"),
        (&[FROM_HERE], b""),
        (&[FROM_HERE], b"PROXY TCP4 203.0.113.5 192"),
        (&[FROM_HERE], proxied),
        (&[FROM_HERE], &[proxied, b"\x16\x03\x01"].concat()),
    ] {
        let edge = serve(Some(&folder), proxies, &limits).await;
        let mut slow = TcpStream::connect(edge.server.address()).await.unwrap();
        slow.write_all(begin).await.unwrap();
        // The only place is taken, until the slow one has lost it.
        let answer = exchange(edge.server.address(), b"nonsense that is refused\r\n\r\n").await;
        assert!(!answer.contains("200 OK"), "{answer}");
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest).await;
        assert!(edge.server.stop(LONG).await);
    }
}

#[tokio::test]
async fn connections_that_have_not_begun_do_not_keep_a_server_from_stopping() {
    let folder = Authority::new().issue().into_files();
    let edge = serve(Some(&folder), &[], &Limits::default()).await;
    let mut silent = TcpStream::connect(edge.server.address()).await.unwrap();
    let health = exchange(edge.server.address(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.1 400"), "{health}");
    assert!(edge.server.stop(LONG).await);
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

/// Serves what tells a client its own address, behind proxies on this machine.
async fn serve_addresses(folder: Option<&Folder>) -> (Server, SocketAddr) {
    use axum::extract::Extension;

    use crate::http::host::Connection;

    let http = Http {
        tls_certificate: folder.map(Folder::certificate),
        tls_key: folder.map(Folder::key),
        proxy_protocol: vec![FROM_HERE.parse().unwrap()],
        ..Http::default()
    };
    let entrance = Entrance::load(&http, Seams::system().clock).await.unwrap();
    let told = async |Extension(connection): Extension<Connection>| connection.peer.to_string();
    let router = axum::Router::new().route("/", axum::routing::get(told));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, entrance, router, &Limits::default()).unwrap();
    let address = server.address();
    (server, address)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn the_client_is_whom_a_proxy_names() {
    let (server, address) = serve_addresses(None).await;
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x05\xc0\0\x02\x01\0\x01\0\x02";
    for (header, client) in [
        (
            b"PROXY TCP4 203.0.113.5 192.0.2.1 1 2\r\n".as_slice(),
            "203.0.113.5",
        ),
        (b"PROXY TCP6 2001:db8::5 2001:db8::1 1 2\r\n", "2001:db8::5"),
        (version_2, "203.0.113.5"),
        // A proxy that looks whether we are there.
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let answer = exchange(address, &[header, GET.as_bytes()].concat()).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{client}")), "{answer}");
    }
    // Who must send a header and does not is not answered.
    assert_eq!(exchange(address, GET.as_bytes()).await, "");
    assert_eq!(exchange(address, b"PROXY TCP4 a b c d\r\n").await, "");
    assert!(server.stop(LONG).await);
}

/// Connects by TLS, behind what comes before it.
async fn connect(server: SocketAddr, before: &[u8], authority: &Authority) -> TlsStream<TcpStream> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(before).await.unwrap();
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate.as_bytes());
    roots.add(root.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    connecting.await.unwrap()
}

#[tokio::test]
async fn a_proxy_that_hands_on_tls_names_the_client_before_it() {
    let authority = Authority::new();
    let folder = authority.issue().into_files();
    let (server, address) = serve_addresses(Some(&folder)).await;
    let header = b"PROXY TCP4 203.0.113.5 192.0.2.1 1 2\r\n";
    let mut stream = connect(address, header, &authority).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n203.0.113.5"), "{answer}");
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn nobody_but_a_proxy_names_a_client() {
    let edge = serve(None, &["192.0.2.0/24"], &Limits::default()).await;
    let header = "PROXY TCP4 203.0.113.5 192.0.2.1 1 2\r\n";
    let answer = exchange(edge.server.address(), format!("{header}{GET}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let answer = exchange(edge.server.address(), &[version_2, GET.as_bytes()].concat()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    assert!(edge.server.stop(LONG).await);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_behind_tls_too() {
    const LARGE: usize = 64 << 20;
    let authority = Authority::new();
    let folder = authority.issue().into_files();
    let http = Http {
        tls_certificate: Some(folder.certificate()),
        tls_key: Some(folder.key()),
        ..Http::default()
    };
    let entrance = Entrance::load(&http, Seams::system().clock).await.unwrap();
    let large = async || vec![0; LARGE];
    let router = axum::Router::new().route("/", axum::routing::get(large));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits {
        idle_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::start(listener, entrance, router, &limits).unwrap();
    let mut client = connect(server.address(), b"", &authority).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    client.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    // A request under way is let finish; this one ends because the client takes nothing of it.
    assert!(server.stop(LONG).await);
    let mut taken = Vec::new();
    let _ = client.read_to_end(&mut taken).await;
    assert!(taken.len() < LARGE, "{}", taken.len());
}
