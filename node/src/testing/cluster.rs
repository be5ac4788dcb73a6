//! A cluster that real clients can reach over loopback.

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::server::Server;
use crate::http::settings::Limits;
use crate::testing::TestNode;

/// Where the nodes of a cluster are reached, and by whom. Dropping it stops those it started.
pub(crate) struct TestCluster {
    /// The URL of each node, without a slash at its end.
    pub(crate) urls: Vec<String>,
    /// The token of an administrator. Project 1 is `acme/demo`, and private.
    pub(crate) token: String,
    stop: CancellationToken,
}

/// The one place where real-client tests get their cluster from.
///
/// Where `CAIRN_NODES` and `CAIRN_TOKEN` are set, as `cairn dev` writes them to `dev.env`, that
/// cluster is used. Otherwise it is three nodes of this process, in front of one in-memory store.
pub(crate) async fn cluster() -> TestCluster {
    match (std::env::var("CAIRN_NODES"), std::env::var("CAIRN_TOKEN")) {
        (Ok(nodes), Ok(token)) => TestCluster {
            urls: nodes
                .split_whitespace()
                .map(|url| url.trim_end_matches('/').to_owned())
                .collect(),
            token,
            stop: CancellationToken::new(),
        },
        _ => in_this_process().await,
    }
}

async fn in_this_process() -> TestCluster {
    let first = TestNode::start().await;
    let token = first.token("root").to_owned();
    let nodes = [first.sibling(), first.sibling(), first];
    let stop = CancellationToken::new();
    let mut urls = Vec::new();
    let tasks = TaskTracker::new();
    for node in nodes {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, node.router(), &Limits::default()).unwrap();
        urls.push(format!("http://{}", server.address()));
        let stop = stop.clone();
        tasks.spawn(async move {
            stop.cancelled().await;
            server.stop(std::time::Duration::ZERO).await;
        });
    }
    TestCluster { urls, token, stop }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
