//! What can be done to a cluster on this machine, tried out rather than believed.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::clock::Clocks;
use crate::disk::Disk;
use crate::faults::Need;
use crate::memory::MemoryLimit;
use crate::network::{Cable, Trouble, make_bridge};
use crate::room::Room;

/// The size of the disk that is tried out.
const DISK_BYTES: u64 = 32 << 20;

/// Numbers that are not those of nodes.
const NOBODY: [usize; 2] = [200, 201];

/// Tries everything out, with a bridge in this process's network. Gives why not, for what cannot
/// be done.
pub async fn probe(folder: &Path) -> Vec<(Need, anyhow::Result<()>)> {
    vec![
        (Need::Disks, disks(folder).await),
        (Need::Networks, networks().await),
        (Need::Shaping, shaping().await),
        (Need::Tracing, tracing().await),
        (Need::Clocks, Clocks::new(folder).await.map(drop)),
        (Need::Memory, MemoryLimit::new("probe").map(drop)),
    ]
}

async fn disks(folder: &Path) -> anyhow::Result<()> {
    let folder = tempfile::TempDir::with_prefix_in("cairn-chaos-probe-", folder)?;
    let disk = Disk::new(Arc::new(Room::new(false).await?), folder.path(), DISK_BYTES).await?;
    let cut = disk.cut_power().await?;
    disk.restore_power(cut).await?;
    disk.fill(1 << 20)?;
    disk.free()
}

async fn networks() -> anyhow::Result<()> {
    make_bridge().await?;
    let cable = Cable::new(Arc::new(Room::new(true).await?), NOBODY[0]).await?;
    for trouble in [Trouble::Drop, Trouble::Lose(0.5), Trouble::Reset(0.5)] {
        cable.make_trouble(1, trouble).await?;
    }
    cable.mend().await?;
    Ok(())
}

async fn shaping() -> anyhow::Result<()> {
    let cable = Cable::new(Arc::new(Room::new(true).await?), NOBODY[1]).await?;
    cable.narrow(1000).await?;
    cable.widen().await?;
    Ok(())
}

/// A process whose write is made to fail must fail.
async fn tracing() -> anyhow::Result<()> {
    let status = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "inject=write:error=EIO"])
        .args([
            "-e",
            "trace=write",
            "dd",
            "if=/dev/zero",
            "of=/dev/null",
            "count=1",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .context("needs the package strace")?;
    ensure!(!status.success(), "strace does not make calls fail");
    Ok(())
}
