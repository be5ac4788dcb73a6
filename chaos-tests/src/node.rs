//! One node: a process of the program under test, with its configuration, data and log.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::disk::{Disk, PowerCut};
use crate::network::Cable;
use crate::room::Room;

/// Far longer than anything here takes, so that a hang ends.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(180);

/// How a node says that its storage failed: `EX_IOERR` of sysexits.h.
pub(crate) const STORAGE_FAILED: i32 = 74;

/// Between two looks at something that takes a while.
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

const CLIENT_PORT: u16 = 7080;
const PEER_PORT: u16 = 7081;

/// How much of the disk blobs leave free: more than the stores write when a node starts.
pub(crate) const RESERVE_BYTES: u64 = 256 << 20;

/// A node, whether it runs or not. Dropping it kills it.
pub struct Node {
    number: usize,
    program: Mutex<PathBuf>,
    /// Where its configuration and log lie.
    folder: PathBuf,
    address: Ipv4Addr,
    url: String,
    /// Its data directory, as the node itself sees it.
    data: PathBuf,
    /// Lines of the section `cluster` of its configuration.
    cluster_settings: String,
    place: Place,
    process: Mutex<Option<Child>>,
}

/// What a node has for itself.
#[derive(Clone, Default)]
pub(crate) struct Place {
    /// Where it runs, if not beside the tests.
    pub(crate) room: Option<Arc<Room>>,
    /// Where its data lies, if not in its folder.
    pub(crate) disk: Option<Arc<Disk>>,
    /// Further disks, over which its shards are spread.
    pub(crate) shard_disks: Vec<Arc<Disk>>,
    /// What connects it, if not the loopback of the tests.
    pub(crate) cable: Option<Arc<Cable>>,
    /// The zone that it is in, if there are zones.
    pub(crate) zone: Option<String>,
    /// Its wall clock, if that can be shifted.
    pub(crate) clock: Option<Arc<Clock>>,
}

impl Node {
    /// A node that is not started yet, the `number`th of its cluster, counted from 1.
    pub(crate) fn new(
        number: usize,
        program: &Path,
        folder: PathBuf,
        address: Ipv4Addr,
        place: Place,
        cluster_settings: &str,
    ) -> anyhow::Result<Self> {
        let on = place.disk.as_deref().map_or(folder.as_path(), Disk::mount_point);
        let node = Self {
            number,
            program: Mutex::new(program.to_owned()),
            address,
            url: format!("http://{address}:{CLIENT_PORT}"),
            data: on.join("data"),
            cluster_settings: cluster_settings.to_owned(),
            folder,
            place,
            process: Mutex::default(),
        };
        node.write_config([CLIENT_PORT, PEER_PORT])?;
        Ok(node)
    }

    /// Another node in the same place, whose data lies in a folder beside this one's, for what an
    /// operator could do wrong. It may listen on other ports.
    pub(crate) fn beside(&self, name: &str, ports_after: u16) -> anyhow::Result<Self> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        let [client, peer] = [CLIENT_PORT + ports_after, PEER_PORT + ports_after];
        let node = Self {
            number: self.number,
            program: Mutex::new(self.program()),
            address: self.address,
            url: format!("http://{}:{client}", self.address),
            data: self.data.with_file_name(name),
            cluster_settings: self.cluster_settings.clone(),
            folder,
            place: self.place.clone(),
            process: Mutex::default(),
        };
        node.write_config([client, peer])?;
        Ok(node)
    }

    fn write_config(&self, ports: [u16; 2]) -> anyhow::Result<()> {
        let [client, peer] = ports.map(|port| SocketAddr::from((self.address, port)));
        let zone = self.place.zone.as_deref().unwrap_or("default");
        let disks: Vec<_> = self
            .place
            .shard_disks
            .iter()
            .map(|disk| disk.mount_point())
            .collect();
        let config = format!(
            "[node]\n\
             data = {:?}\n\
             disks = {disks:?}\n\
             zone = {zone:?}\n\
             reserve = \"{RESERVE_BYTES} B\"\n\
             [http]\n\
             listen = \"{client}\"\n\
             [cluster]\n\
             listen = \"{peer}\"\n\
             {}",
            self.data, self.cluster_settings,
        );
        Ok(fs::write(self.config(), config)?)
    }

    fn program(&self) -> PathBuf {
        self.program.lock().expect("no panic while held").clone()
    }

    /// Has it run another program from its next start on.
    pub fn install(&self, program: &Path) {
        program.clone_into(&mut self.program.lock().expect("no panic while held"));
    }

    /// Which of its cluster it is, counted from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Where clients find it, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its disk, if it has one of its own.
    pub fn disk(&self) -> anyhow::Result<&Disk> {
        let disk = self.place.disk.as_deref();
        disk.context("the node has no disk of its own")
    }

    /// The disks over which its shards are spread, if it has any beside that of its data.
    pub fn shard_disks(&self) -> &[Arc<Disk>] {
        &self.place.shard_disks
    }

    /// Its cable, if it has one of its own.
    pub fn cable(&self) -> anyhow::Result<&Cable> {
        let cable = self.place.cable.as_deref();
        cable.context("the node has no network of its own")
    }

    /// Its wall clock, if that can be shifted.
    pub fn clock(&self) -> anyhow::Result<&Clock> {
        let clock = self.place.clock.as_deref();
        clock.context("the clock of the node cannot be shifted")
    }

    /// Its data directory, for this process.
    pub fn data(&self) -> anyhow::Result<PathBuf> {
        match &self.place.room {
            Some(room) => room.seen_from_outside(&self.data),
            None => Ok(self.data.clone()),
        }
    }

    /// Its data directory, as the node itself sees it.
    pub fn data_inside(&self) -> &Path {
        &self.data
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

    /// Cuts the power of its disk while it runs.
    ///
    /// It stands still meanwhile. A machine without power does not return from fsync; the file
    /// system that is shut down may let one return that was under way, with success and without
    /// having written what it should.
    pub async fn cut_power(&self) -> anyhow::Result<PowerCut> {
        self.stand_still().await?;
        let cut = self.disk()?.cut_power().await?;
        self.signal(Signal::CONT)?;
        Ok(cut)
    }

    /// Has it stand still until it is told to go on with SIGCONT.
    pub async fn stand_still(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = async {
            while !self.stands_still()? {
                sleep(BETWEEN_LOOKS).await;
            }
            anyhow::Ok(())
        };
        timeout(WATCHDOG, stopped)
            .await
            .with_context(|| format!("node {} does not stand still", self.number))?
    }

    /// Whether none of its threads runs or waits for a disk: what they were in the middle of is
    /// done.
    pub fn stands_still(&self) -> anyhow::Result<bool> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()?.as_raw_nonzero()))?;
        for task in tasks {
            // Threads come and go until the signal has reached all.
            let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else {
                return Ok(false);
            };
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
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

    /// Starts its process, which must end by itself with a failure. Gives its last words.
    pub async fn fails_to_start(&self) -> anyhow::Result<String> {
        let before = fs::metadata(self.log()).map_or(0, |log| log.len());
        self.start()?;
        let status = self.ended().await?;
        ensure!(
            !status.success(),
            "node {} should not start, and ended with {status}",
            self.number
        );
        let log = fs::read(self.log())?;
        Ok(String::from_utf8_lossy(&log[before as usize..]).into_owned())
    }

    /// Whether its process has ended by itself; how, if so.
    pub fn has_ended(&self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut *self.process.lock().expect("no panic while held") {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Waits, however long, until its process ends by itself.
    pub(crate) async fn dies(&self) -> anyhow::Result<()> {
        while self.has_ended()?.is_none() {
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
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

    /// Forgets how much memory its process has had, so that the most from now on is seen. See
    /// `clear_refs` in proc(5).
    pub fn forget_peak_memory(&self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/clear_refs", self.pid()?.as_raw_nonzero());
        Ok(fs::write(path, "5")?)
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
        let mut command = match &self.place.room {
            Some(room) => room.run(self.program())?,
            None => Command::new(self.program()),
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
        if let Some(clock) = &self.place.clock {
            clock.set_up(&mut command);
        }
        Ok(command)
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.join("cairn.toml")
    }
}

/// Tells whoever runs the tests something that the outcome alone does not.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{what}");
}
