//! A balancer for tests: each request goes to the next node, whatever connection it came by. So
//! every upload wanders through the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

struct Balancer {
    nodes: Vec<String>,
    next: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

/// Gives requests to the nodes at these hosts in turn, as long as the runtime lives; says at
/// which host it listens.
pub(super) async fn serve(nodes: Vec<String>) -> String {
    let balancer = Balancer {
        nodes,
        next: AtomicUsize::new(0),
        client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
    };
    let router = Router::new().fallback(forward).with_state(Arc::new(balancer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    host
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
    match balancer.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
