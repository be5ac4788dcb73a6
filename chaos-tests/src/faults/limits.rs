//! A node that runs out of what the system lets it have.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::ensure;
use futures::future::join_all;
use rand::RngExt as _;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Strike;
use crate::driver::{CODED_BYTES, Run};
use crate::memory::MemoryLimit;
use crate::node::BETWEEN_LOOKS;

/// How many more files a node may open, and how many clients come.
const MORE: u64 = 8;
const CLIENTS: usize = 64;

/// How long a node is given work until it needs more memory.
const PRESSED_FOR: Duration = Duration::from_secs(10);

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
    limit.lift()?;
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
