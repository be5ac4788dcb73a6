//! What this machine can do at best, each thing alone: measured beside what Cairn does with it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use md5::Md5;
use reed_solomon_erasure::galois_8::ReedSolomon;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::table::Figure;

/// What blobs are cut into; hashing and coding see this much at a time.
const CELL_BYTES: usize = 256 << 10;

/// An entry of the log is about as long.
const ENTRY_BYTES: usize = 512;

/// A shard of a whole segment in a cluster of three is as long.
const SHARD_BYTES: usize = 16 << 20;

/// At most so many shards are written to see how fast the disk is.
const MAX_SHARDS: usize = 256;

/// The limits of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Cores, memory, and the kind of disk.
    pub(crate) description: String,
    /// Bytes per second through one connection to itself.
    pub(crate) loopback: f64,
    /// Small appends per second, each made durable before the next.
    pub(crate) syncs: f64,
    /// Bytes per second into new files, each made durable.
    pub(crate) disk: f64,
    /// Bytes per second through BLAKE3 and SHA-256 in one pass, on one core.
    pub(crate) two_digests: f64,
    /// Bytes per second through all five digests in one pass, on one core.
    pub(crate) five_digests: f64,
    /// Bytes per second of content from which parity is made, two data shards for one, on one
    /// core.
    pub(crate) encoding: f64,
}

impl Machine {
    /// Measures each for about `time`. Files are written to `folder`. Blocks.
    pub(crate) fn measure(folder: &Path, time: Duration) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        Ok(Self {
            description: describe(folder.path())?,
            loopback: loopback(time)?,
            syncs: syncs(folder.path(), time)?,
            disk: disk(folder.path(), time)?,
            two_digests: two_digests(time),
            five_digests: five_digests(time),
            encoding: encoding(time)?,
        })
    }

    /// All of them, named.
    pub(crate) fn limits(&self) -> Vec<(&'static str, Figure)> {
        vec![
            ("one loopback connection", Figure::BytesPerSecond(self.loopback)),
            (
                "append and fdatasync, one after the other",
                Figure::PerSecond(self.syncs),
            ),
            (
                "writing files, each made durable",
                Figure::BytesPerSecond(self.disk),
            ),
            (
                "BLAKE3 and SHA-256 on one core",
                Figure::BytesPerSecond(self.two_digests),
            ),
            (
                "with SHA-1, SHA-512 and MD5",
                Figure::BytesPerSecond(self.five_digests),
            ),
            (
                "Reed-Solomon 2+1 on one core",
                Figure::BytesPerSecond(self.encoding),
            ),
        ]
    }
}

/// Takes steps of so many bytes for about `time`; bytes per second.
fn pace(time: Duration, step_bytes: usize, mut step: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut steps = 0;
    while steps == 0 || begun.elapsed() < time {
        step();
        steps += 1;
    }
    (steps * step_bytes) as f64 / begun.elapsed().as_secs_f64()
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn loopback(time: Duration) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let receiving = std::thread::spawn(move || {
        let (mut buffer, mut received) = (vec![0; CELL_BYTES], 0);
        let begun = Instant::now();
        loop {
            match receiver.read(&mut buffer)? {
                0 => return Ok::<_, std::io::Error>(received as f64 / begun.elapsed().as_secs_f64()),
                bytes => received += bytes,
            }
        }
    });
    let content = noise(CELL_BYTES);
    let begun = Instant::now();
    while begun.elapsed() < time {
        sender.write_all(&content)?;
    }
    drop(sender);
    let received = receiving.join().ok().context("the receiver panicked")?;
    Ok(received?)
}

/// Small appends per second, each made durable before the next. Blocks.
pub(crate) fn syncs(folder: &Path, time: Duration) -> anyhow::Result<f64> {
    let path = folder.join("log");
    let mut log = OpenOptions::new().create(true).append(true).open(&path)?;
    let entry = noise(ENTRY_BYTES);
    let (begun, mut count) = (Instant::now(), 0);
    while count == 0 || begun.elapsed() < time {
        log.write_all(&entry)?;
        log.sync_data()?;
        count += 1;
    }
    let per_second = f64::from(count) / begun.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(per_second)
}

/// Bytes per second into new files, each made durable. Blocks.
pub(crate) fn disk(folder: &Path, time: Duration) -> anyhow::Result<f64> {
    let content = noise(SHARD_BYTES);
    let (begun, mut shards) = (Instant::now(), 0);
    while shards == 0 || shards < MAX_SHARDS && begun.elapsed() < time {
        let mut file = File::create_new(folder.join(format!("shard-{shards}")))?;
        for cell in content.chunks(CELL_BYTES) {
            file.write_all(cell)?;
        }
        file.sync_data()?;
        shards += 1;
    }
    Ok((shards * SHARD_BYTES) as f64 / begun.elapsed().as_secs_f64())
}

fn two_digests(time: Duration) -> f64 {
    let cell = noise(CELL_BYTES);
    let (mut tree, mut sha256) = (blake3::Hasher::new(), Sha256::new());
    pace(time, cell.len(), || {
        tree.update(&cell);
        sha256.update(&cell);
    })
}

fn five_digests(time: Duration) -> f64 {
    let cell = noise(CELL_BYTES);
    let (mut tree, mut sha256) = (blake3::Hasher::new(), Sha256::new());
    let (mut sha1, mut sha512, mut md5) = (Sha1::new(), Sha512::new(), Md5::new());
    pace(time, cell.len(), || {
        tree.update(&cell);
        sha256.update(&cell);
        sha1.update(&cell);
        sha512.update(&cell);
        md5.update(&cell);
    })
}

fn encoding(time: Duration) -> anyhow::Result<f64> {
    let codec = ReedSolomon::new(2, 1)?;
    let content = noise(2 * CELL_BYTES);
    let data: Vec<&[u8]> = content.chunks(CELL_BYTES).collect();
    let mut parity = [vec![0; CELL_BYTES]];
    let mut outcome = Ok(());
    let pace = pace(time, content.len(), || {
        if outcome.is_ok() {
            outcome = codec.encode_sep(&data, &mut parity);
        }
    });
    outcome?;
    Ok(pace)
}

fn describe(folder: &Path) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = memory.and_then(|memory| memory.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("no MemTotal")?.parse()?;
    let gibibytes = kibibytes as f64 / f64::from(1 << 20);
    Ok(format!(
        "{cores} cores, {gibibytes:.0} GiB of memory, {}",
        disk_kind(folder)?
    ))
}

/// What the system says of the disk under a folder.
fn disk_kind(folder: &Path) -> anyhow::Result<&'static str> {
    let device = rustix::fs::stat(folder)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(device) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else {
        return Ok("no disk (files in memory, or on another machine)");
    };
    // A partition lies in the folder of its disk.
    let looked_at = [Some(device.as_path()), device.parent()];
    let disk = looked_at
        .into_iter()
        .flatten()
        .find(|device| device.join("queue").is_dir());
    let Some(disk) = disk else {
        return Ok("a disk of unknown kind");
    };
    let is_virtual = disk
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains("vd"));
    let rotates = fs::read_to_string(disk.join("queue/rotational"))?.trim() == "1";
    Ok(match (is_virtual, rotates) {
        (true, _) => "a virtual disk",
        (false, true) => "a rotating disk",
        (false, false) => "a solid-state disk",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn a_machine_has_limits() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::measure(folder.path(), Duration::from_millis(5)).unwrap();
        assert!(
            machine.limits().iter().all(|(_, figure)| figure.value() > 0.0),
            "{machine:?}"
        );
        assert!(machine.description.contains("cores"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
