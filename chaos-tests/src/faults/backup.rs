//! A backup, taken while clients work and a node fails, makes another cluster that has all that was
//! acknowledged before.

use anyhow::ensure;

use super::Strike;
use crate::driver::{CODED_BYTES, Run};
use crate::oracle::Told;
use crate::payload::Payload;

/// How many coded files there are before it, at least.
const STORED: usize = 4;

/// How many files are read from the new cluster.
const READ: usize = 200;

/// W10.
pub(super) async fn restore(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let nodes: Vec<_> = (0..run.cluster.size()).collect();
    run.store_through(&nodes, STORED, CODED_BYTES).await?;
    let mut before = run.oracle.all();
    before.retain(|known| known.told == Told::Acknowledged);
    let folder = tempfile::TempDir::with_prefix_in("cairn-chaos-backup-", run.folder())?;
    let backup = folder.path().join("backup");
    let path = backup.to_string_lossy();
    let (_, amid) = strike.amid(run, None, run.insist(&["backup", &path])).await?;
    // What was deleted meanwhile may be in it or not.
    before.retain(|known| run.oracle.known(known.file.number) == Some(*known));
    let place = run.cluster.size();
    let node = run.cluster.node(place);
    let restored = node.run(&["restore", &path], "").await?;
    ensure!(
        restored["left_out"]["count"] == 0,
        "the backup lacks what its cluster had: {restored}"
    );
    run.cluster.restart(place).await?;
    let mut files: Vec<Payload> = before.iter().map(|known| known.file).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.size_bytes));
    // Large ones, which are few, and those that were acknowledged last.
    files.truncate(READ / 2);
    files.extend(before.iter().rev().take(READ / 2).map(|known| known.file));
    ensure!(
        !files.is_empty(),
        "all that was there before was deleted meanwhile"
    );
    let reads = run.reads_from(&[place], &files).await?;
    node.stop().await?;
    node.disk()?.lose().await?;
    Ok(format!(
        "a backup was taken {amid}; a new cluster made from it served {reads} reads of what was \
         acknowledged before"
    ))
}
