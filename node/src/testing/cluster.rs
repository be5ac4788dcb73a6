//! The cluster that real clients are driven against: three nodes, each with a data folder, a
//! port for the others and one for clients, and a balancer before them. All tests of a process
//! share it, so each names what it publishes as nobody else does.
//!
//! Where `CAIRN_NODES` and `CAIRN_TOKEN` are set, as `cairn dev` writes them to `dev.env`, that
//! cluster is used instead.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytesize::ByteSize;
use cairn_cluster::membership::Role;
use cairn_cluster::{Cluster, FailStop, Seams};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::config::Config;
use crate::http::entrance::Entrance;
use crate::http::entrance::fixture::Authority;
use crate::registry::bootstrap::Bootstrap;
use crate::start::{self, Serving};
use crate::testing::balancer;

/// A moment between two looks at something that takes its time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Where the nodes are reached, and by whom. Project 1 is `acme/demo`, and private.
pub(crate) struct TestCluster {
    /// Host and port of each of three nodes.
    pub(crate) nodes: Vec<String>,
    /// Host and port of the balancer, which gives each request to the next node.
    pub(crate) balanced: String,
    /// The same by HTTPS, for clients that give credentials to nobody else.
    pub(crate) secure: Secure,
    /// The token of the administrator `root`.
    pub(crate) root: String,
    /// The token of a maintainer of `acme/demo` that is good for that project alone.
    pub(crate) token: String,
    /// The name of the user that [`TestCluster::token`] speaks for.
    pub(crate) username: String,
    /// Nodes of this process; they run as long as it does.
    _nodes: Option<Nodes>,
}

/// Where the nodes are reached by HTTPS.
pub(crate) struct Secure {
    /// Host and port before each of three nodes.
    pub(crate) nodes: Vec<String>,
    /// Whom clients must trust: a certificate, as a PEM file.
    pub(crate) authority: String,
}

impl Secure {
    async fn before(nodes: &[String]) -> Self {
        let authority = Authority::new();
        let mut secure = Self {
            nodes: Vec::new(),
            authority: authority.certificate.clone(),
        };
        for node in nodes {
            let front = balancer::serve_tls(vec![node.clone()], &authority.issue()).await;
            secure.nodes.push(front);
        }
        secure
    }
}

struct Nodes {
    _runtime: Runtime,
    _nodes: Vec<(Cluster, Serving)>,
}

/// The one place where tests of real clients get their cluster from.
pub(crate) async fn cluster() -> &'static TestCluster {
    static SHARED: OnceCell<TestCluster> = OnceCell::const_new();
    SHARED.get_or_init(|| start(given())).await
}

/// A cluster for a test that leaves nothing as it was.
pub(crate) async fn own_cluster() -> &'static TestCluster {
    // Its runtime must not be dropped by a test, which runs on another one.
    Box::leak(Box::new(start(None).await))
}

/// The nodes and the token that the environment names.
fn given() -> Option<(Vec<String>, String)> {
    let (urls, token) = (
        std::env::var("CAIRN_NODES").ok()?,
        std::env::var("CAIRN_TOKEN").ok()?,
    );
    let hosts = urls
        .split_whitespace()
        .map(|url| url.trim_start_matches("http://"));
    let hosts: Vec<_> = hosts.map(|host| host.trim_end_matches('/').to_owned()).collect();
    assert_eq!(hosts.len(), 3, "the tests of real clients need three nodes");
    Some((hosts, token))
}

async fn start(given: Option<(Vec<String>, String)>) -> TestCluster {
    // A test's own runtime ends with it; what is shared needs one that stays.
    let runtime = Runtime::new().unwrap();
    let started = runtime.spawn(async move {
        let (nodes, root, running) = match given {
            Some((hosts, token)) => (hosts, token, Vec::new()),
            None => in_this_process().await,
        };
        let balanced = balancer::serve(nodes.clone()).await;
        let secure = Secure::before(&nodes).await;
        (nodes, root, running, balanced, secure)
    });
    let (nodes, root, running, balanced, secure) = started.await.unwrap();
    let mut cluster = TestCluster {
        nodes,
        balanced,
        secure,
        root,
        token: String::new(),
        username: String::new(),
        _nodes: Some(Nodes {
            _runtime: runtime,
            _nodes: running,
        }),
    };
    let new = json!({"name": "clients", "scopes": ["api"], "access_level": 40});
    cluster.token = cluster.project_token(new).await;
    cluster.username = cluster.username_of(&cluster.token).await;
    cluster
}

async fn in_this_process() -> (Vec<String>, String, Vec<(Cluster, Serving)>) {
    let folder = TempDir::new().unwrap();
    let configs: Vec<_> = free_addresses()
        .into_iter()
        .enumerate()
        .map(|(at, address)| config(&folder, at, address))
        .collect();
    removed_after_us(folder);
    let founded = start::found(&configs[0], start::own_build(), &Bootstrap::demo())
        .await
        .unwrap();
    closed(&configs[0].node.data).await;
    let mut running = vec![serving(&configs[0]).await];
    for config in &configs[1..] {
        let token = running[0].0.join_token(Duration::from_secs(600)).await.unwrap();
        start::join(config, start::own_build(), &token.to_string())
            .await
            .unwrap();
        running.push(serving(config).await);
    }
    while !all_vote(&running[0].0).await {
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    let hosts = running.iter().map(|(_, serving)| serving.server.address());
    (
        hosts.map(|address| address.to_string()).collect(),
        founded.token,
        running,
    )
}

/// Waits until a node that was stopped has closed all of its files, which within a process may be a
/// little later than it says.
async fn closed(data: &Path) {
    let is_below = |file: PathBuf| file.starts_with(data);
    let open = || {
        let mut files = std::fs::read_dir("/proc/self/fd").unwrap();
        // One that was closed meanwhile has no link.
        files.any(|fd| std::fs::read_link(fd.unwrap().path()).is_ok_and(is_below))
    };
    while open() {
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

fn free_addresses() -> Vec<SocketAddr> {
    // All are held until the last is found, so that none is found twice.
    let held: Vec<_> = (0..3)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    held.iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect()
}

fn config(folder: &TempDir, at: usize, address: SocketAddr) -> Config {
    let mut config = Config::default();
    config.node.data = folder.path().join(format!("node-{}", at + 1));
    config.node.reserve = ByteSize::b(0);
    config.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // What comes by the balancers says by which scheme it came to them.
    config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    config.trust.issuers = vec!["*".parse().unwrap()];
    config.cluster.listen = address;
    config
}

async fn serving(config: &Config) -> (Cluster, Serving) {
    let seams = Seams::system();
    let cluster = Cluster::start(
        start::cluster_config(config, start::own_build()),
        seams.clone(),
        FailStop::exit_process(),
    );
    let cluster = cluster.await.unwrap();
    cluster.enter().await.unwrap();
    let serving = Serving::begin(config, Entrance::default(), &cluster, seams)
        .await
        .unwrap();
    let follower = cluster.clone();
    tokio::spawn(async move { follower.follow().await });
    (cluster, serving)
}

async fn all_vote(cluster: &Cluster) -> bool {
    let status = cluster.status().await.unwrap();
    let voters = status
        .nodes
        .iter()
        .filter(|node| matches!(node.role, Role::Leader | Role::Voter));
    voters.count() == 3
}

/// Has the folder removed once this process is gone, however it ends: nothing is dropped that
/// is shared by all tests. A shell waits for its input to end, which we hold open.
fn removed_after_us(folder: TempDir) {
    let folder = folder.keep();
    let waiting: Child = Command::new("sh")
        .args(["-c", "cat >/dev/null; rm -rf -- \"$0\""])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Kept open by never being dropped.
    std::mem::forget(waiting);
}

impl TestCluster {
    /// The URL of a node.
    pub(crate) fn url(&self, node: usize) -> String {
        format!("http://{}", self.nodes[node])
    }

    /// Every way to reach the cluster: each node, and all of them in turn.
    pub(crate) fn ways(&self) -> impl Iterator<Item = &String> {
        self.nodes.iter().chain([&self.balanced])
    }

    /// A new access token of `acme/demo`, as the REST API makes it.
    pub(crate) async fn project_token(&self, new: Value) -> String {
        self.made("/api/v4/projects/1/access_tokens", new).await
    }

    /// A new access token of `acme`, whose bot is a member there.
    pub(crate) async fn group_token(&self, new: Value) -> String {
        self.made("/api/v4/groups/1/access_tokens", new).await
    }

    /// A new deploy token of `acme/demo` with these scopes.
    pub(crate) async fn deploy_token(&self, scopes: &[&str]) -> String {
        let new = json!({"name": unique("deploy"), "username": "deploy", "scopes": scopes});
        self.made("/api/v4/projects/1/deploy_tokens", new).await
    }

    async fn made(&self, path: &str, new: Value) -> String {
        let answer = self.ask(reqwest::Method::POST, path, &self.root, Some(new)).await;
        answer["token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// A new trust rule of `acme/demo`; its number.
    pub(crate) async fn trust(&self, rule: Value) -> u64 {
        let path = "/api/cairn/v1/projects/1/trust_rules";
        let made = self
            .ask(reqwest::Method::POST, path, &self.root, Some(rule))
            .await;
        made["id"].as_u64().unwrap_or_else(|| panic!("{made}"))
    }

    /// Removes a trust rule of `acme/demo`.
    pub(crate) async fn distrust(&self, rule: u64) {
        self.delete(&format!("/api/cairn/v1/projects/1/trust_rules/{rule}"))
            .await;
    }

    /// Deletes something by the REST API, through the balancer.
    pub(crate) async fn delete(&self, path: &str) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.delete(format!("http://{}{path}", self.balanced));
        let answer = request.bearer_auth(&self.root).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    async fn username_of(&self, token: &str) -> String {
        let path = "/api/v4/packages/npm/-/whoami";
        let answer = self.ask(reqwest::Method::GET, path, token, None).await;
        answer["username"].as_str().unwrap().to_owned()
    }

    /// A request to the REST API through the balancer; what it answers.
    pub(crate) async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client
            .request(method, format!("http://{}{path}", self.balanced))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().json().await.unwrap()
    }
}

/// A name that no other test and no other run has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", HEXLOWER.encode(&Seams::system().random::<6>()))
}
