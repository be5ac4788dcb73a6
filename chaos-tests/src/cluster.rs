//! Starts `cairn dev`, and kills and watches its nodes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Far longer than anything here takes, so that a hang ends.
const WATCHDOG: Duration = Duration::from_secs(120);

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A running `cairn dev` in a folder of its own. Dropping it kills it, and its nodes end with it.
pub struct Cluster {
    program: PathBuf,
    respawn: bool,
    folder: TempDir,
    dev: Child,
    env: Env,
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program `cairn`.
    pub program: PathBuf,
    /// The folder in which the cluster gets one of its own, which is removed with it.
    pub parent: PathBuf,
    /// Whether nodes are started again when they end.
    pub respawn: bool,
}

/// What `dev.env` says.
struct Env {
    nodes: Vec<String>,
    token: String,
    pids: Vec<Option<i32>>,
}

impl Cluster {
    /// Starts a new cluster of three nodes of the program that was built with these tests, and
    /// waits until all are ready. Nodes that end are started again.
    pub async fn start() -> anyhow::Result<Self> {
        let launch = Launch {
            program: program_beside(&std::env::current_exe()?)?,
            parent: std::env::temp_dir(),
            respawn: true,
        };
        Self::launch(launch).await
    }

    /// Starts a new cluster of three nodes and waits until all are ready.
    pub async fn launch(launch: Launch) -> anyhow::Result<Self> {
        let Launch {
            program,
            parent,
            respawn,
        } = launch;
        let folder = TempDir::new_in(parent)?;
        let arguments = ["--nodes", "3", "--port", "0"];
        let dev = run_dev(&program, folder.path(), respawn, &arguments)?;
        Self::when_ready(program, respawn, folder, dev).await
    }

    /// Asks all nodes to stop, and removes what they kept.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let parent = self.dev.id().context("cairn dev has ended by itself")?;
        signal(i32::try_from(parent)?, Signal::TERM)?;
        let status = tokio::time::timeout(WATCHDOG, self.dev.wait()).await;
        let status = status.context("the cluster did not stop")??;
        if !status.success() {
            bail!("cairn dev ended with {status}");
        }
        Ok(self.folder.close()?)
    }

    /// Kills every process at once, and starts the cluster again on its data.
    pub async fn kill_all_and_restart(mut self) -> anyhow::Result<Self> {
        // The parent first, so that it starts none again.
        let parent = self.dev.id().context("cairn dev has ended by itself")?;
        signal(i32::try_from(parent)?, Signal::KILL)?;
        for node in 0..self.size() {
            // A node may have ended with its parent already.
            let _ = self.kill(node);
        }
        self.dev.wait().await?;
        // It could not take its file away.
        std::fs::remove_file(data(&self.folder).join("dev.env")).context("remove dev.env")?;
        let dev = run_dev(&self.program, self.folder.path(), self.respawn, &[])?;
        Self::when_ready(self.program, self.respawn, self.folder, dev).await
    }

    async fn when_ready(
        program: PathBuf,
        respawn: bool,
        folder: TempDir,
        mut dev: Child,
    ) -> anyhow::Result<Self> {
        let path = data(&folder).join("dev.env");
        let ready = async {
            while !path.exists() {
                if let Some(status) = dev.try_wait()? {
                    bail!("cairn dev ended with {status}");
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            Env::read(&data(&folder))
        };
        let env = tokio::time::timeout(WATCHDOG, ready)
            .await
            .context("the cluster did not get ready")??;
        Ok(Self {
            program,
            respawn,
            folder,
            dev,
            env,
        })
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.env.nodes.len()
    }

    /// The base URL of a node, without a slash at the end.
    pub fn url(&self, node: usize) -> &str {
        &self.env.nodes[node]
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.env.token
    }

    /// The process of a node.
    pub fn pid(&self, node: usize) -> anyhow::Result<i32> {
        let pid = Env::read(&data(&self.folder)).map_or(self.env.pids[node], |env| env.pids[node]);
        pid.context("the node does not run")
    }

    /// The folder that a node keeps its data in.
    pub fn data(&self, node: usize) -> PathBuf {
        data(&self.folder).join(format!("node-{}", node + 1))
    }

    /// Kills a node with SIGKILL. It is started again after a moment, if the cluster was started
    /// to do so.
    pub fn kill(&self, node: usize) -> anyhow::Result<()> {
        signal(self.pid(node)?, Signal::KILL)
    }

    /// Waits until a node serves clients again.
    pub async fn wait_ready(&self, node: usize) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let url = format!("{}/-/ready", self.url(node));
        let ready = async {
            loop {
                if let Ok(answer) = client.get(&url).send().await
                    && answer.status().is_success()
                {
                    return;
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        tokio::time::timeout(WATCHDOG, ready)
            .await
            .with_context(|| format!("node {} is not ready", node + 1))
    }

    /// Which node leads, by its place in the order of joining.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let output = Command::new(&self.program)
            .args(["-o", "json", "cluster", "status"])
            .env("CAIRN_URL", self.url(0))
            .env("CAIRN_TOKEN", self.token())
            .output()
            .await?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let leader = &status["leader"];
        let nodes = status["nodes"].as_array().context("the status lists no nodes")?;
        nodes
            .iter()
            .position(|node| node["node"] == *leader)
            .context("there is no leader")
    }
}

impl Env {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(folder.join("dev.env"))?;
        let value = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
                .with_context(|| format!("no {name}"))
        };
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        Ok(Self {
            nodes: value("CAIRN_NODES")?.split(' ').map(trimmed).collect(),
            token: value("CAIRN_TOKEN")?,
            pids: value("CAIRN_PIDS")?
                .split(' ')
                .map(|pid| pid.parse().ok())
                .collect(),
        })
    }
}

/// What `cairn dev` is given; its log lies beside it.
fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn signal(pid: i32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid).context("not a process id")?;
    Ok(kill_process(pid, signal)?)
}

fn run_dev(program: &Path, folder: &Path, respawn: bool, arguments: &[&str]) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("dev.log"))?;
    let child = Command::new(program)
        .arg("dev")
        .arg(folder.join("data"))
        .args(respawn.then_some("--respawn"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// The program `cairn` that was built with another one: a test, or one that lies beside it.
pub fn program_beside(other: &Path) -> anyhow::Result<PathBuf> {
    let folders = other.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join("cairn"))
        .find(|program| program.is_file());
    found.with_context(|| {
        let other = other.display();
        format!("there is no program `cairn` beside {other}: run `cargo build -p cairn` first")
    })
}
