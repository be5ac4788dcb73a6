//! One node: a process of the program under test, with its configuration, data and log.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::disk::Disk;

/// Far longer than anything here takes, so that a hang ends.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(180);

/// Between two looks at something that takes a while.
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

const CLIENT_PORT: u16 = 7080;
const PEER_PORT: u16 = 7081;

/// A node, whether it runs or not. Dropping it kills it.
pub struct Node {
    number: usize,
    program: PathBuf,
    folder: PathBuf,
    url: String,
    disk: Option<Disk>,
    process: Mutex<Option<Child>>,
}

impl Node {
    /// A node that is not started yet, the `number`th of its cluster, counted from 1.
    pub(crate) fn new(
        number: usize,
        program: &Path,
        folder: PathBuf,
        address: Ipv4Addr,
        disk: Option<Disk>,
    ) -> anyhow::Result<Self> {
        let node = Self {
            number,
            program: program.to_owned(),
            folder,
            url: format!("http://{address}:{CLIENT_PORT}"),
            disk,
            process: Mutex::default(),
        };
        let data = node.data_inside();
        let config = format!(
            "[node]\n\
             data = {data:?}\n\
             # Disks are small here.\n\
             reserve = \"32 MiB\"\n\
             [http]\n\
             listen = \"{}\"\n\
             [cluster]\n\
             listen = \"{}\"\n",
            SocketAddr::from((address, CLIENT_PORT)),
            SocketAddr::from((address, PEER_PORT)),
        );
        fs::write(node.config(), config)?;
        Ok(node)
    }

    /// Where clients find it, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its disk, if it has one of its own.
    pub fn disk(&self) -> anyhow::Result<&Disk> {
        self.disk.as_ref().context("the node has no disk of its own")
    }

    /// Its data directory, for this process.
    pub fn data(&self) -> anyhow::Result<PathBuf> {
        match &self.disk {
            Some(disk) => Ok(disk.from_outside()?.join("data")),
            None => Ok(self.data_inside()),
        }
    }

    /// Where its log lies.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Whether its process was started and is not known to have ended.
    pub fn runs(&self) -> bool {
        self.process.lock().expect("no panic while held").is_some()
    }

    /// Its process.
    pub fn pid(&self) -> anyhow::Result<Pid> {
        let process = self.process.lock().expect("no panic while held");
        let id = process.as_ref().and_then(Child::id);
        let id = id.with_context(|| format!("node {} does not run", self.number))?;
        Pid::from_raw(i32::try_from(id)?).context("not a process id")
    }

    /// Starts its process.
    pub fn start(&self) -> anyhow::Result<()> {
        let mut process = self.process.lock().expect("no panic while held");
        ensure!(process.is_none(), "node {} runs already", self.number);
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = self
            .tool(&["serve"])?
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        *process = Some(child);
        Ok(())
    }

    /// Makes it a member of a cluster, and starts its process.
    pub async fn join(&self, token: &str) -> anyhow::Result<()> {
        self.run(&["cluster", "join", "--token-file", "-"], token).await?;
        self.start()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.ended().await?;
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.ended().await?;
        ensure!(
            status.success(),
            "node {} stopped with {status}: {}",
            self.number,
            self.last_words()
        );
        Ok(())
    }

    /// Waits until its process has ended.
    pub async fn ended(&self) -> anyhow::Result<ExitStatus> {
        let child = self.process.lock().expect("no panic while held").take();
        let mut child = child.with_context(|| format!("node {} does not run", self.number))?;
        match timeout(WATCHDOG, child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("node {} does not end: {}", self.number, self.last_words()),
        }
    }

    /// Waits until it serves clients.
    pub async fn ready(&self, client: &reqwest::Client) -> anyhow::Result<()> {
        let url = format!("{}/-/ready", self.url());
        let ready = async {
            loop {
                if let Ok(answer) = client.get(&url).send().await
                    && answer.status().is_success()
                {
                    return Ok(());
                }
                if let Some(child) = &mut *self.process.lock().expect("no panic while held")
                    && let Some(status) = child.try_wait()?
                {
                    bail!("node {} ended with {status}: {}", self.number, self.last_words());
                }
                sleep(BETWEEN_LOOKS).await;
            }
        };
        match timeout(WATCHDOG, ready).await {
            Ok(ready) => ready,
            Err(_) => bail!("node {} is not ready: {}", self.number, self.last_words()),
        }
    }

    /// Runs another command of the program for this node, and gives what it prints.
    pub(crate) async fn run(&self, arguments: &[&str], secret: &str) -> anyhow::Result<Value> {
        let mut child = self
            .tool(arguments)?
            .args(["--output", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        input.write_all(secret.as_bytes()).await?;
        drop(input);
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The most memory that its process has had resident, in bytes.
    pub fn peak_memory_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.pid()?.as_raw_nonzero());
        let status = fs::read_to_string(&path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kibibytes: u64 = kibibytes.context("no VmHWM")?.trim().parse()?;
        Ok(kibibytes << 10)
    }

    /// Fails if it ever panicked, in whatever thread.
    pub(crate) fn check_log(&self) -> anyhow::Result<()> {
        let log = fs::read_to_string(self.log())?;
        match log.lines().find(|line| line.contains("panicked at")) {
            Some(line) => bail!("node {}: {line}", self.number),
            None => Ok(()),
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn tool(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = match &self.disk {
            Some(disk) => disk.run(&self.program)?,
            None => Command::new(&self.program),
        };
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            // It ends when the tests do, however they end.
            .args(["--parent", &std::process::id().to_string()])
            .kill_on_drop(true);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CAIRN_")) {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.join("cairn.toml")
    }

    /// Its data directory, as the node itself sees it.
    fn data_inside(&self) -> PathBuf {
        let folder = self
            .disk
            .as_ref()
            .map_or(self.folder.as_path(), Disk::mount_point);
        folder.join("data")
    }
}

/// Tells whoever runs the tests something that the outcome alone does not.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{what}");
}
