//! A balancer for tests: each request goes to the next node, whatever connection it came by. So
//! every upload wanders through the cluster.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::http::entrance::fixture::Issued;

struct Balancer {
    nodes: Vec<String>,
    scheme: &'static str,
    next: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

/// Gives requests to the nodes at these hosts in turn, as long as the runtime lives; says at
/// which host it listens.
pub(super) async fn serve(nodes: Vec<String>) -> String {
    let listener = listen().await;
    let host = listener.local_addr().unwrap().to_string();
    let router = router(nodes, "http");
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    host
}

/// The same by HTTPS, with a certificate for `localhost`.
pub(super) async fn serve_tls(nodes: Vec<String>, issued: &Issued) -> String {
    let listener = Encrypted {
        listener: listen().await,
        acceptor: acceptor(issued),
    };
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let router = router(nodes, "https");
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    host
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn router(nodes: Vec<String>, scheme: &'static str) -> Router {
    let balancer = Balancer {
        nodes,
        scheme,
        next: AtomicUsize::new(0),
        client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
    };
    Router::new().fallback(forward).with_state(Arc::new(balancer))
}

fn acceptor(issued: &Issued) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Listens for connections that begin with TLS.
struct Encrypted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            // Whoever does not trust us goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Hands a request on as it is: with the host that the client asked for, and streaming.
async fn forward(State(balancer): State<Arc<Balancer>>, mut request: Request) -> Response {
    let turn = balancer.next.fetch_add(1, Ordering::Relaxed);
    let node = &balancer.nodes[turn % balancer.nodes.len()];
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    *request.uri_mut() = format!("http://{node}{target}").parse().unwrap();
    let scheme = HeaderValue::from_static(balancer.scheme);
    request.headers_mut().insert("x-forwarded-proto", scheme);
    match balancer.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
