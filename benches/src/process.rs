//! What the system says of a process: how long it has computed, how much memory it holds.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// Processor time that a process has used, in user and system mode, of all its threads.
pub(crate) fn cpu_time(pid: i32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name in parentheses may hold anything. proc(5): utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Processor time that processes have used together.
pub(crate) fn cpu_time_of(pids: &[i32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| cpu_time(*pid)).sum()
}

/// Bytes of memory that a process holds.
pub(crate) fn resident_bytes(pid: i32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let statm = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .context("no size in statm")?
        .parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Bytes that the files of a folder take on its disk, without what a database has reserved for
/// later writes. A file of several names, as in the checkpoints of a database, counts once.
pub(crate) fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    add_disk_bytes(folder, &mut HashSet::new())
}

fn add_disk_bytes(folder: &Path, seen: &mut HashSet<u64>) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else {
            // A database removes files while it is looked at.
            continue;
        };
        bytes += match metadata.is_dir() {
            true => add_disk_bytes(&entry.path(), seen)?,
            false if !seen.insert(metadata.ino()) => 0,
            false => (metadata.blocks() * BLOCK_BYTES).min(metadata.len()),
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_its_processor() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(resident_bytes(me).unwrap() > 1 << 20);
        let before = cpu_time(me).unwrap();
        while cpu_time(me).unwrap() == before {}
    }

    #[test]
    fn a_folder_takes_what_its_files_take() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(folder.path().join("inner/file"), folder.path().join("same")).unwrap();
        let taken = disk_bytes(folder.path()).unwrap();
        assert_eq!(taken, 100_000);
    }
}
