//! A cluster of real processes, made as an operator makes one.

use std::io::{Read as _, Seek as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::clock::Clocks;
use crate::disk::Disk;
use crate::http::{self, Http};
use crate::network::{self, Cable};
use crate::node::{BETWEEN_LOOKS, Node, Place, WATCHDOG, say};
use crate::room::Room;

/// How many nodes a cluster has at first, unless it is said.
const FOUNDING: usize = 3;

/// Held by a cluster on its first address, so that no other takes the same network.
const RESERVED_PORT: u16 = 7079;

/// A running cluster in a folder of its own, with the group `acme` and its project 1,
/// `acme/demo`. Dropping it kills its nodes, and keeps the folder for whoever looks into why;
/// [`Cluster::stop`] removes it.
pub struct Cluster {
    /// The last of them may not have joined yet.
    nodes: Vec<Node>,
    founding: usize,
    program: PathBuf,
    http: Http,
    folder: Option<TempDir>,
    _network: Option<TcpListener>,
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program `cairn`.
    pub program: PathBuf,
    /// The folder in which the cluster gets one of its own.
    pub parent: PathBuf,
    /// How many nodes there are at first.
    pub nodes: usize,
    /// How many there are beside them that can join later.
    pub spares: usize,
    /// The size of a disk of its own for each node; without one its data lies in the folder.
    /// Disks need root.
    pub disk_bytes: Option<u64>,
    /// How many further disks each node has for its shards, of the same size.
    pub shard_disks: usize,
    /// Whether each node has a network namespace of its own, as [`isolate`](crate::isolate)
    /// makes possible. Without, they have addresses of the loopback.
    pub networks: bool,
    /// In how many zones the nodes are, one after the other in turn; in none, if there are none.
    pub zones: usize,
    /// Shifts the wall clock of nodes, if it is to be shifted.
    pub clocks: Option<Clocks>,
    /// Lines of the section `cluster` of each node's configuration.
    pub cluster_settings: String,
    /// How long a client waits for an answer; what became of the request is unknown then.
    pub patience: Duration,
}

impl Launch {
    /// A plain cluster of three nodes beside this process.
    pub fn new(program: PathBuf, parent: PathBuf) -> Self {
        Self {
            program,
            parent,
            nodes: FOUNDING,
            spares: 0,
            disk_bytes: None,
            shard_disks: 0,
            networks: false,
            zones: 0,
            clocks: None,
            cluster_settings: String::new(),
            patience: http::WATCHDOG,
        }
    }

    /// The program that was built with these tests, below the system's folder for such things.
    fn of_tests() -> anyhow::Result<Self> {
        let program = program_beside(&std::env::current_exe()?)?;
        Ok(Self::new(program, std::env::temp_dir()))
    }

    async fn place(&self, number: usize, folder: &Path) -> anyhow::Result<Place> {
        let place = Place {
            zone: (self.zones > 0).then(|| format!("zone-{}", (number - 1) % self.zones)),
            clock: match &self.clocks {
                Some(clocks) => Some(Arc::new(clocks.clock(folder)?)),
                None => None,
            },
            ..Place::default()
        };
        if self.disk_bytes.is_none() && !self.networks {
            return Ok(place);
        }
        let room = Arc::new(Room::new(self.networks).await?);
        let (mut disk, mut shard_disks) = (None, Vec::new());
        if let Some(size_bytes) = self.disk_bytes {
            disk = Some(Arc::new(Disk::new(room.clone(), folder, size_bytes).await?));
            for number in 1..=self.shard_disks {
                let folder = folder.join(format!("shards-{number}"));
                shard_disks.push(Arc::new(Disk::new(room.clone(), &folder, size_bytes).await?));
            }
        }
        Ok(Place {
            disk,
            shard_disks,
            cable: match self.networks {
                true => Some(Arc::new(Cable::new(room.clone(), number).await?)),
                false => None,
            },
            room: Some(room),
            ..place
        })
    }
}

impl Cluster {
    /// Starts a new cluster of the program that was built with these tests.
    pub async fn start() -> anyhow::Result<Self> {
        Self::launch(Launch::of_tests()?).await
    }

    /// The same with a disk of its own for each node. Needs root.
    pub async fn on_disks(disk_bytes: u64) -> anyhow::Result<Self> {
        Self::launch(Launch {
            disk_bytes: Some(disk_bytes),
            ..Launch::of_tests()?
        })
        .await
    }

    /// The same with further disks beside it, over which the shards of the node are spread.
    pub async fn on_several_disks(disk_bytes: u64, shard_disks: usize) -> anyhow::Result<Self> {
        Self::launch(Launch {
            disk_bytes: Some(disk_bytes),
            shard_disks,
            ..Launch::of_tests()?
        })
        .await
    }

    /// The same with nodes beside it that can join later.
    pub async fn with_spares(spares: usize) -> anyhow::Result<Self> {
        Self::launch(Launch {
            spares,
            ..Launch::of_tests()?
        })
        .await
    }

    /// Starts a new cluster and waits until its first nodes vote.
    pub async fn launch(launch: Launch) -> anyhow::Result<Self> {
        let blank = Blank::prepare(launch).await?;
        let founded = blank.node(0).run(&["cluster", "init", "--demo"], "").await?;
        let token = founded["token"].as_str().context("no token")?;
        blank.start(token).await
    }

    /// Lets a node join through another one, and waits until it serves clients.
    pub async fn join(&self, node: usize, through: usize) -> anyhow::Result<()> {
        let url = format!("{}/api/cairn/v1/cluster/join_tokens", self.url(through));
        let answer = self.http.expect(Method::POST, &url, StatusCode::OK).await?;
        let made: Value = serde_json::from_slice(&answer.body)?;
        let join = made["token"].as_str().context("no join token")?;
        self.nodes[node].join(join).await?;
        self.ready(node).await
    }

    /// Runs a command of the program as the administrator does, against a node. Gives what it prints,
    /// or says on standard error if it fails.
    pub async fn cairn(&self, node: usize, arguments: &[&str]) -> anyhow::Result<Result<Value, String>> {
        self.command(self.url(node), arguments).await
    }

    /// The same against whichever node answers.
    pub async fn cairn_anywhere(&self, arguments: &[&str]) -> anyhow::Result<Result<Value, String>> {
        let urls: Vec<_> = (0..self.size()).map(|node| self.url(node)).collect();
        self.command(&urls.join(","), arguments).await
    }

    async fn command(&self, urls: &str, arguments: &[&str]) -> anyhow::Result<Result<Value, String>> {
        // In a file, so that what it has said is known even if it does not end.
        let mut said = tempfile::tempfile()?;
        let child = tokio::process::Command::new(&self.program)
            .args(arguments)
            .args(["--output", "json"])
            .env("CAIRN_URL", urls)
            .env("CAIRN_TOKEN", self.token())
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said.try_clone()?)
            .spawn()?;
        let output = timeout(WATCHDOG, child.wait_with_output()).await;
        let mut words = String::new();
        said.rewind()?;
        said.read_to_string(&mut words)?;
        let output =
            output.with_context(|| format!("{arguments:?} does not end, and has said {words:?}"))??;
        match output.status.success() {
            true => Ok(Ok(serde_json::from_slice(&output.stdout)?)),
            false => Ok(Err(words)),
        }
    }

    /// The id of a node.
    pub async fn id(&self, node: usize, through: usize) -> anyhow::Result<u64> {
        let status = self.status(through).await?;
        let nodes = status["nodes"].as_array().context("the status lists no nodes")?;
        // One whose disk was lost had another id, and may still be listed.
        let mut here = nodes.iter().filter(|listed| self.place_of(listed) == Some(node));
        let found = here.next_back().context("the status does not list it")?;
        found["node"].as_u64().context("the id of a node is a number")
    }

    /// Which node an entry of the status is about, by its address.
    pub fn place_of(&self, listed: &Value) -> Option<usize> {
        let (host, _) = listed["address"].as_str()?.rsplit_once(':')?;
        let is_here = |node: &Node| {
            let authority = node.url().trim_start_matches("http://");
            authority.rsplit_once(':').is_some_and(|(own, _)| own == host)
        };
        self.nodes.iter().position(is_here)
    }

    /// Waits until as many nodes as there were at first are up, and as many of them vote as then.
    pub async fn settled(&self) -> anyhow::Result<()> {
        let settled = async {
            loop {
                let status = self.status(0).await?;
                let nodes = status["nodes"].as_array().context("the status lists no nodes")?;
                let up = nodes.iter().filter(|node| node["up"] == true);
                let votes = |node: &&Value| node["role"] == "leader" || node["role"] == "voter";
                let voters = up.clone().filter(votes).count();
                if up.count() >= self.founding && voters == voters_of(self.founding) {
                    return anyhow::Ok(());
                }
                sleep(BETWEEN_LOOKS).await;
            }
        };
        timeout(WATCHDOG, settled)
            .await
            .context("not all nodes came to vote")?
    }

    /// Where its nodes lie.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path)
    }

    /// How many nodes there are, without the spare ones.
    pub fn size(&self) -> usize {
        self.founding
    }

    /// The nodes that there are without these, by their places in the order of joining.
    pub fn others(&self, without: &[usize]) -> Vec<usize> {
        (0..self.size()).filter(|node| !without.contains(node)).collect()
    }

    /// A node, by its place in the order of joining.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The base URL of a node, without a slash at the end.
    pub fn url(&self, node: usize) -> &str {
        self.nodes[node].url()
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        self.http.token()
    }

    /// The program that its nodes run.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What the administrator asks it with.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Waits until a node serves clients.
    pub async fn ready(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].ready(&self.http.client).await
    }

    /// Starts a node again and waits until it serves clients.
    pub async fn restart(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].start()?;
        self.ready(node).await
    }

    /// Starts all nodes again, which do not run, and waits until they serve clients.
    pub async fn restart_all(&self) -> anyhow::Result<()> {
        self.nodes[..self.size()].iter().try_for_each(Node::start)?;
        try_join_all((0..self.size()).map(|node| self.ready(node))).await?;
        Ok(())
    }

    /// Kills every node at once.
    pub async fn kill_all(&self) -> anyhow::Result<()> {
        let nodes = &self.nodes[..self.size()];
        for node in nodes {
            node.signal(rustix::process::Signal::KILL)?;
        }
        try_join_all(nodes.iter().map(Node::ended)).await?;
        Ok(())
    }

    /// How the cluster is, as one node sees it.
    pub async fn status(&self, node: usize) -> anyhow::Result<Value> {
        let url = format!("{}/api/cairn/v1/cluster", self.url(node));
        let answer = self.http.expect(Method::GET, &url, StatusCode::OK).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Lets a background task do nothing, for tests of what holds without it.
    pub async fn pause(&self, task: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/cairn/v1/tasks/{task}?paused=true", self.url(0));
        self.http.expect(Method::POST, &url, StatusCode::OK).await?;
        Ok(())
    }

    /// Which node leads, by its place in the order of joining.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let running = self.nodes.iter().position(Node::runs);
        self.leader_seen_by(running.context("no node runs")?).await
    }

    /// Which node leads, as one node sees it.
    pub async fn leader_seen_by(&self, node: usize) -> anyhow::Result<usize> {
        let status = self.status(node).await?;
        let nodes = status["nodes"].as_array().context("the status lists no nodes")?;
        let leader = nodes.iter().find(|node| node["node"] == status["leader"]);
        self.place_of(leader.context("there is no leader")?)
            .context("nobody knows who leads")
    }

    /// Stops the nodes that run, which must go well.
    pub async fn stop_nodes(&self) -> anyhow::Result<()> {
        for node in self.nodes.iter().filter(|node| node.runs()) {
            node.stop().await?;
        }
        self.nodes
            .iter()
            .filter(|node| node.log().exists())
            .try_for_each(Node::check_log)
    }

    /// Stops the nodes that run, which must go well, and removes all that the cluster kept.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_nodes().await?;
        // Disks first: their images lie in the folder.
        self.nodes.clear();
        match self.folder.take() {
            Some(folder) => Ok(folder.close()?),
            None => Ok(()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        if let Some(folder) = self.folder.take() {
            let kept = folder.keep();
            say(format_args!("data and logs are kept in {}", kept.display()));
        }
    }
}

/// Nodes that hold nothing yet, for tests that found a cluster in a way of their own.
pub struct Blank {
    launch: Launch,
    nodes: Vec<Node>,
    folder: TempDir,
    network: Option<TcpListener>,
}

impl Blank {
    /// So many nodes of the program that was built with these tests.
    pub async fn nodes(count: usize) -> anyhow::Result<Self> {
        Self::prepare(Launch {
            nodes: count,
            ..Launch::of_tests()?
        })
        .await
    }

    async fn prepare(launch: Launch) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix_in("cairn-chaos-", &launch.parent)?;
        let count = launch.nodes + launch.spares;
        let (network, addresses) = match launch.networks {
            true => {
                network::make_bridge().await?;
                (None, (1..=count).map(network::address).collect())
            }
            false => {
                let (held, addresses) = reserve_network(count)?;
                (Some(held), addresses)
            }
        };
        let mut nodes = Vec::new();
        for (number, address) in (1..).zip(addresses) {
            let folder = folder.path().join(format!("node-{number}"));
            std::fs::create_dir(&folder)?;
            let place = launch.place(number, &folder).await?;
            let settings = &launch.cluster_settings;
            nodes.push(Node::new(
                number,
                &launch.program,
                folder,
                address,
                place,
                settings,
            )?);
        }
        Ok(Self {
            launch,
            nodes,
            folder,
            network,
        })
    }

    /// A node, by its place in the order of joining.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// Once the first node has been founded: starts all but the spare ones that do not run, those
    /// that are new after they have joined, and waits until all vote. The token is an
    /// administrator's.
    pub async fn start(self, token: &str) -> anyhow::Result<Cluster> {
        let cluster = Cluster {
            http: Http::new(token, self.launch.patience)?,
            nodes: self.nodes,
            founding: self.launch.nodes,
            program: self.launch.program,
            folder: Some(self.folder),
            _network: self.network,
        };
        cluster.restart(0).await?;
        for node in 1..cluster.founding {
            match cluster.nodes[node].runs() {
                true => cluster.ready(node).await?,
                false => cluster.join(node, 0).await?,
            }
        }
        cluster.settled().await?;
        Ok(cluster)
    }
}

/// How many nodes of so many vote.
fn voters_of(nodes: usize) -> usize {
    match nodes {
        7.. => 7,
        5.. => 5,
        3.. => 3,
        _ => 1,
    }
}

/// The program `cairn` that was built with another one: a test, or one that lies beside it.
pub fn program_beside(other: &Path) -> anyhow::Result<PathBuf> {
    beside(other, "cairn")
}

/// The program that stands in for the next release, which was built with these tests.
pub fn next_release() -> anyhow::Result<PathBuf> {
    beside(&std::env::current_exe()?, "cairn-next")
}

fn beside(other: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folders = other.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    found.with_context(|| {
        let other = other.display();
        format!(
            "there is no program `{name}` beside {other}: run `cargo build --all-features -p cairn` first"
        )
    })
}

/// Finds addresses of this machine that nothing else uses, each node having its own, so that
/// ports stay the same and are never taken by an outgoing connection.
fn reserve_network(nodes: usize) -> anyhow::Result<(TcpListener, Vec<Ipv4Addr>)> {
    for _ in 0..100 {
        let [second, third]: [u8; 2] = rand::random();
        // The rest of 127.0.0.0/16 is what everybody uses.
        let address = |last| Ipv4Addr::new(127, second.max(1), third, last);
        if let Ok(held) = TcpListener::bind((address(1), RESERVED_PORT)) {
            return Ok((held, (1..=nodes as u8).map(address).collect()));
        }
    }
    anyhow::bail!("no free network in 127.0.0.0/8")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn two_clusters_never_share_a_network() {
        let held: Vec<_> = (0..50).map(|_| reserve_network(3).unwrap()).collect();
        let mut first: Vec<_> = held.iter().map(|(_, addresses)| addresses[0]).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 50);
    }
}
