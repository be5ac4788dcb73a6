//! A node that runs out of what the system lets it have.

use std::fs;

use anyhow::ensure;
use futures::future::join_all;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Strike;
use crate::driver::Run;

/// How many more files a node may open, and how many clients come.
const MORE: u64 = 8;
const CLIENTS: usize = 64;

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
            maximum: Some(limit),
        },
    )?;
    let address = node.url().trim_start_matches("http://").to_owned();
    let clients = (0..CLIENTS).map(|_| TcpStream::connect(address.clone()));
    let clients = join_all(clients).await;
    let mut most = 0;
    let end = tokio::time::Instant::now() + strike.hold;
    while tokio::time::Instant::now() < end && node.has_ended()?.is_none() {
        most = most.max(open().unwrap_or_default());
        sleep(std::time::Duration::from_millis(20)).await;
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
