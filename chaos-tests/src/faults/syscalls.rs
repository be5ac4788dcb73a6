//! System calls of a node that fail or take long, by way of strace.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::Strike;
use crate::driver::{CODED_BYTES, Run};
use crate::node::{Node, STORAGE_FAILED, WATCHDOG};
use crate::rot::shard_files;
use crate::workloads::generic::{self, Read};

/// What a process calls to make bytes durable.
const SYNCS: &str = "fsync,fdatasync,sync_file_range";

/// Between which calls a node may be killed, and up to the how many-th of a thread.
const MOMENTS: [(&str, u32); 5] = [
    (SYNCS, 20),
    ("write,pwrite64,writev,pwritev", 200),
    ("rename,renameat,renameat2,link,linkat", 2),
    ("unlink,unlinkat,rmdir,mkdir,mkdirat", 4),
    ("openat,ftruncate,fallocate", 40),
];

/// Within which time a call is made that is made all the time.
const MET_WITHIN: Duration = Duration::from_secs(5);

/// The most files whose reads fail at once.
const FILES: usize = 200;

/// F16. The node must end by itself, and at once.
pub(super) async fn sync_error(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let node = run.cluster.node(victim);
    let tampering = Tampering::begin(node, SYNCS, "error=EIO", &[]).await?;
    let status = node.ended().await?;
    let met = tampering.end().await?;
    ensure!(
        status.code() == Some(STORAGE_FAILED),
        "node {}, whose fsync failed, ended with {status}",
        victim + 1
    );
    sleep(strike.hold).await;
    node.start()?;
    Ok(format!("{met} fsyncs of node {} failed", victim + 1))
}

/// F4. The node is killed when one of its threads makes the n-th call of some kind. It may be in the
/// middle of starting.
pub(super) async fn crash(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let (victim, mut dice) = (strike.victim(run), strike.dice());
    let node = run.cluster.node(victim);
    let starts = dice.random_bool(0.4);
    if starts {
        node.kill().await?;
        node.start()?;
    }
    let mut calls = MOMENTS.to_vec();
    calls.shuffle(&mut dice);
    // What is not called while it is watched is given up for what always is.
    for (calls, most) in calls.into_iter().chain([(SYNCS, 1)]) {
        let nth = dice.random_range(1..=most);
        let how = format!("signal=SIGKILL:when={nth}");
        let mut tampering = Tampering::begin(node, calls, &how, &[]).await?;
        let ended = timeout(run.patience(MET_WITHIN), node.dies()).await;
        if ended.is_err() && node.has_ended()?.is_none() {
            tampering.let_go().await?;
            continue;
        }
        let status = node.ended().await?;
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()),
            "node {}, which was to be killed, ended with {status}",
            victim + 1
        );
        tampering.let_go().await?;
        sleep(strike.hold).await;
        node.start()?;
        let when = if starts { "while it started" } else { "at work" };
        let which = calls.split(',').next().unwrap_or_default();
        return Ok(format!(
            "node {} was killed {when}, at its {nth}th {which}",
            victim + 1
        ));
    }
    bail!("node {} makes no call that changes a file", victim + 1)
}

/// F18.
pub(super) async fn slow_sync(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let delay_ms: u64 = strike.dice().random_range(200..3000);
    let how = format!("delay_enter={}", delay_ms * 1000);
    let tampering = Tampering::begin(run.cluster.node(victim), SYNCS, &how, &[]).await?;
    // Long enough for some to come to their end.
    sleep(strike.hold + Duration::from_millis(3 * delay_ms)).await;
    let met = tampering.end().await?;
    Ok(format!(
        "{met} fsyncs of node {} took {delay_ms} ms longer",
        victim + 1
    ))
}

/// F17. What can be read elsewhere is read there.
pub(super) async fn read_error(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let (victim, mut dice) = (strike.victim(run), strike.dice());
    let node = run.cluster.node(victim);
    run.store(CODED_BYTES).await?;
    let data = node.data()?;
    let mut shards = shard_files(&data)?;
    shards.shuffle(&mut dice);
    shards.truncate(FILES);
    ensure!(!shards.is_empty(), "node {} holds no shards", victim + 1);
    let inside: Vec<_> = shards
        .iter()
        .map(|shard| Ok(node.data_inside().join(shard.strip_prefix(&data)?)))
        .collect::<anyhow::Result<_>>()?;
    let tampering = Tampering::begin(node, "pread64", "error=EIO", &inside).await?;
    let deadline = tokio::time::Instant::now() + WATCHDOG;
    let mut files = run.oracle.files();
    files.retain(|file| file.size_bytes >= CODED_BYTES as u64);
    files.shuffle(&mut dice);
    for file in files.iter().cycle() {
        let reader = dice.random_range(0..run.cluster.size());
        let read = generic::read(&run.cluster, reader, *file).await?;
        let (number, reader) = (file.number, reader + 1);
        let deleted = read == Read::Absent;
        ensure!(
            read == Read::Whole || deleted || !strike.alone,
            "node {reader} does not serve file {number} without the shards of node {}: {read:?}",
            victim + 1
        );
        if tampering.met()? > 0 || tokio::time::Instant::now() > deadline {
            break;
        }
    }
    let met = tampering.end().await?;
    Ok(format!("{met} reads of shards of node {} failed", victim + 1))
}

/// Calls of a node that go wrong, until it ends.
struct Tampering {
    tracer: Child,
    log: PathBuf,
}

impl Tampering {
    /// Has calls by these names go wrong, of all files or of these.
    async fn begin(node: &Node, calls: &str, how: &str, files: &[PathBuf]) -> anyhow::Result<Self> {
        let log = node.log().with_file_name("strace");
        // What a fault before left there is not evidence.
        if log.exists() {
            fs::remove_file(&log)?;
        }
        let mut command = Command::new("strace");
        command
            .args(["-f", "-p", &node.pid()?.as_raw_nonzero().to_string()])
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{how}")])
            .arg("-o")
            .arg(&log);
        for file in files {
            command.arg("-P").arg(file);
        }
        let mut tracer = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("needs the package strace")?;
        let said = tracer.stderr.take().context("no output")?;
        let mut said = BufReader::new(said).lines();
        let attached = async {
            while let Some(line) = said.next_line().await? {
                if line.contains(" attached") {
                    return Ok(());
                }
            }
            anyhow::bail!("strace did not get hold of node {}", node.number())
        };
        timeout(WATCHDOG, attached)
            .await
            .context("strace says nothing")??;
        // Else it waits for a reader of what it says of each new thread.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Ok(Self { tracer, log })
    }

    /// How many calls have gone wrong so far.
    fn met(&self) -> anyhow::Result<usize> {
        met(&self.log)
    }

    /// Lets the node be. Gives how many calls went wrong; fails if none did.
    async fn end(mut self) -> anyhow::Result<usize> {
        self.let_go().await?;
        let met = met(&self.log)?;
        ensure!(met > 0, "no call went wrong");
        Ok(met)
    }

    async fn let_go(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.tracer.id() {
            let pid = Pid::from_raw(i32::try_from(pid)?).context("not a process id")?;
            // It may have ended with the node.
            let _ = kill_process(pid, Signal::TERM);
        }
        // It lets go between two calls, of which one may take seconds.
        timeout(WATCHDOG, self.tracer.wait())
            .await
            .context("strace does not let go")??;
        sleep(Duration::from_millis(10)).await;
        Ok(())
    }
}

fn met(log: &Path) -> anyhow::Result<usize> {
    let log = fs::read(log)?;
    let lines = log.split(|byte| *byte == b'\n');
    let wrong = |line: &&[u8]| line.ends_with(b"(INJECTED)") || line.ends_with(b"(DELAYED)");
    Ok(lines.filter(wrong).count())
}
