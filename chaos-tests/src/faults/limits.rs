//! A node that runs out of what the system lets it have.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use rand::RngExt as _;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Strike;
use crate::driver::{CODED_BYTES, Run};
use crate::node::BETWEEN_LOOKS;

/// How many more files a node may open, and how many clients come.
const MORE: u64 = 8;
const CLIENTS: usize = 64;

/// How long a node is given work until it needs more memory.
const PRESSED_FOR: Duration = Duration::from_secs(10);

/// Where the groups of processes lie whose memory is limited, in the first version of them.
const GROUPS: &str = "/sys/fs/cgroup/memory";

/// The file with the limit of a group, and what is none.
const LIMIT: &str = "memory.limit_in_bytes";
const UNLIMITED: u64 = u64::MAX >> 2;

/// F24. The node may refuse clients, and may end; it comes back.
pub(super) async fn descriptors(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let node = run.cluster.node(victim);
    let pid = node.pid()?;
    let open = || -> std::io::Result<u64> {
        let list = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))?;
        Ok(list.count() as u64)
    };
    let limit = open()? + MORE;
    let before = prlimit(
        Some(pid),
        Resource::Nofile,
        Rlimit {
            current: Some(limit),
            // As it was: it cannot be had back if it was more than the system gives to anybody now.
            maximum: getrlimit(Resource::Nofile).maximum,
        },
    )?;
    let address = node.url().trim_start_matches("http://").to_owned();
    let clients = (0..CLIENTS).map(|_| TcpStream::connect(address.clone()));
    let clients = join_all(clients).await;
    let mut most = 0;
    let end = tokio::time::Instant::now() + strike.hold;
    while tokio::time::Instant::now() < end && node.has_ended()?.is_none() {
        most = most.max(open().unwrap_or_default());
        sleep(Duration::from_millis(20)).await;
    }
    drop(clients);
    let ended = node.has_ended()?.is_some();
    if !ended {
        prlimit(Some(pid), Resource::Nofile, before)?;
    }
    // One or two come and go all the time.
    ensure!(
        ended || most + 2 >= limit,
        "node {} opened {most} files of {limit} that it might",
        victim + 1
    );
    run.revive(victim).await?;
    let how = match ended {
        true => "ended",
        false => "went on",
    };
    Ok(format!(
        "node {} might open {limit} files and had {most} open; it {how}",
        victim + 1
    ))
}

/// F23. The node goes on with what it has, or is killed for want of memory, and comes back.
pub(super) async fn memory(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let (victim, mut dice) = (strike.victim(run), strike.dice());
    let node = run.cluster.node(victim);
    let limit = MemoryLimit::new(&format!("node-{}", victim + 1))?;
    let more = dice.random_range(8..48) << 20;
    limit.hold(node.pid()?, more)?;
    let end = tokio::time::Instant::now() + strike.hold.max(run.patience(PRESSED_FOR));
    // Whatever it does not acknowledge, it has had to do with.
    while tokio::time::Instant::now() < end && node.has_ended()?.is_none() && limit.met()? == 0 {
        run.oracle
            .publish(&run.cluster, victim, run.number(), CODED_BYTES)
            .await;
        sleep(BETWEEN_LOOKS).await;
    }
    sleep(strike.hold).await;
    // From here on nobody is killed any more; who was may take a moment to end.
    limit.write(LIMIT, UNLIMITED)?;
    let met = limit.met()?;
    ensure!(
        met > 0,
        "node {} did not need {} MiB more",
        victim + 1,
        more >> 20
    );
    let how = match limit.has_killed()? {
        true => {
            let status = node.ended().await?;
            ensure!(
                status.signal() == Some(Signal::KILL.as_raw()),
                "node {}, which may not have more memory, ended with {status}",
                victim + 1
            );
            node.start()?;
            "it was killed"
        }
        false => "it went on",
    };
    Ok(format!(
        "node {} might have {} MiB more and met that {met} times; {how}",
        victim + 1,
        more >> 20
    ))
}

/// A group of processes that may have only so much memory; dropping it lets them go.
pub struct MemoryLimit {
    folder: PathBuf,
}

impl MemoryLimit {
    /// Makes a group of no process yet. Needs root, and the first version of control groups.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let folder = Path::new(GROUPS).join(format!("cairn-chaos-{}-{name}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        let limit = Self { folder };
        limit.write(LIMIT, UNLIMITED)?;
        Ok(limit)
    }

    fn write(&self, file: &str, value: u64) -> anyhow::Result<()> {
        let file = self.folder.join(file);
        fs::write(&file, value.to_string()).with_context(|| format!("write {}", file.display()))
    }

    /// Lets a process have only so much more than it has; what it had counts where it was before.
    fn hold(&self, process: Pid, more_bytes: u64) -> anyhow::Result<()> {
        self.write(LIMIT, more_bytes)?;
        self.write("cgroup.procs", process.as_raw_nonzero().get() as u64)
    }

    /// How often there was not enough.
    fn met(&self) -> anyhow::Result<u64> {
        let count = fs::read_to_string(self.folder.join("memory.failcnt"))?;
        Ok(count.trim().parse()?)
    }

    /// Whether a process was killed because there was not enough.
    fn has_killed(&self) -> anyhow::Result<bool> {
        let told = fs::read_to_string(self.folder.join("memory.oom_control"))?;
        let killed = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(killed.context("it is not told who was killed")?.trim() != "0")
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Nobody can be told of a failure here, and the group is empty then or goes with the machine.
        let processes = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            let _ = fs::write(Path::new(GROUPS).join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.folder);
    }
}
