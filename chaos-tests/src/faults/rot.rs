//! What lies on the disk of a node changes behind its back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngExt as _};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Strike, operator};
use crate::driver::{CODED_BYTES, Run};
use crate::invariants::{Invariant, redundant};
use crate::rot::{Rot, shard_files, small_blob_files};

/// The most files of a node that rot at once.
const FILES: usize = 40;

/// Small enough to be copied rather than coded.
const SMALL_BYTES: usize = 30_000;

/// The stores whose last write can be torn: folders of a node's data.
const STORES: [&str; 3] = ["raft-log", "blobs/small", "state"];

/// A write-ahead log of RocksDB is made of blocks of records, each with a checksum of four bytes, its
/// length in two, and its type before it.
const WAL_BLOCK_BYTES: usize = 32 << 10;
const WAL_HEADER_BYTES: usize = 7;
/// The type of a record that is whole.
const WAL_FULL_RECORD: u8 = 1;

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// F19. As much rots as the code can mend: files of one node. Scrub must find every one that
/// belongs to a blob.
pub(super) async fn shards(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let (victim, mut dice) = (strike.victim(run), strike.dice());
    let data = run.cluster.node(victim).data()?;
    let (mut before, named, mut stored) = {
        // With nobody else at work, what is new belongs to blobs that are there.
        let _quiet = run.quiet().await;
        let before = shard_files(&data)?;
        let named = run.store(CODED_BYTES).await?.len();
        (before, named, shard_files(&data)?)
    };
    stored.retain(|file| !before.contains(file));
    let mut rotten = Vec::new();
    for file in &stored {
        // It may have been removed meanwhile.
        if rot(&mut dice, file).is_ok() {
            rotten.push((fs::read(file)?, file));
        }
    }
    ensure!(!rotten.is_empty(), "node {} holds no new shards", victim + 1);
    // Others may be of uploads that were broken off, which nobody reads.
    before.shuffle(&mut dice);
    let mut more = 0;
    for file in before.iter().take(FILES) {
        more += usize::from(rot(&mut dice, file).is_ok());
    }
    scrub(run).await?;
    let is_left = |(bytes, file): &&(Vec<u8>, &PathBuf)| fs::read(file).is_ok_and(|now| now == *bytes);
    let left: Vec<_> = rotten.iter().filter(is_left).map(|(_, file)| file).collect();
    // A blob has a shard here, or none; what is more was being written by others in the background.
    if left.len() > rotten.len().saturating_sub(named) {
        return Err(Invariant::Redundant
            .violated(format!(
                "of {} rotten shards of node {} scrub leaves these as they are: {left:?}",
                rotten.len(),
                victim + 1
            ))
            .into());
    }
    redundant::regained(&run.cluster, run.patience(redundant::WITHIN)).await?;
    Ok(format!(
        "{} shards of node {} and {more} more files rotted; scrub found them, and they were mended",
        rotten.len(),
        victim + 1
    ))
}

/// Lets a file rot in some way.
fn rot(dice: &mut StdRng, file: &Path) -> anyhow::Result<()> {
    let rot = match dice.random_range(0..4) {
        0 => Rot::Cut,
        1 => Rot::Zeros(dice.random_range(0..1000)),
        _ => Rot::Bit(dice.random_range(0..1000)),
    };
    rot.apply(file)
}

/// F19. Values of small blobs rot in the files of one node.
pub(super) async fn small(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let (victim, mut dice) = (strike.victim(run), strike.dice());
    let node = run.cluster.node(victim);
    run.store(SMALL_BYTES).await?;
    // A restart writes what is in the log and in memory to files.
    node.stop().await?;
    run.cluster.restart(victim).await?;
    let mut files = small_blob_files(&node.data()?)?;
    files.shuffle(&mut dice);
    let rotten = files
        .iter()
        .take(3)
        .filter(|file| Rot::Bit(dice.random_range(100..900)).apply(file).is_ok())
        .count();
    ensure!(rotten > 0, "node {} holds no small blobs in files", victim + 1);
    scrub(run).await?;
    redundant::regained(&run.cluster, run.patience(redundant::WITHIN)).await?;
    Ok(format!(
        "{rotten} files of small blobs of node {} rotted",
        victim + 1
    ))
}

/// F19. A node that is down finds its log rotten. It must not go on with less than it has
/// confirmed: it refuses to start, or has lost nothing.
pub(super) async fn log(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let node = run.cluster.node(victim);
    node.kill().await?;
    let folder = node.data()?.join("raft-log");
    // Opening a log that is rotten changes it further.
    let whole = folder.with_file_name("raft-log-whole");
    operator::copy(&folder, &whole).await?;
    let file = newest_log(&folder)?;
    Rot::Bit(strike.dice().random_range(0..1000)).apply(&file)?;
    node.start()?;
    let verdict = loop {
        if node.has_ended()?.is_some() {
            let status = node.ended().await?;
            ensure!(
                !status.success(),
                "a node whose log is rotten ended with {status}"
            );
            fs::remove_dir_all(&folder)?;
            operator::copy(&whole, &folder).await?;
            node.start()?;
            break "it refused to start";
        }
        let ready = format!("{}/-/ready", node.url());
        let ready = run.cluster.http().client.get(ready).send().await;
        if ready.is_ok_and(|answer| answer.status().is_success()) {
            break "it had lost nothing that it must have";
        }
        sleep(BETWEEN_LOOKS).await;
    };
    fs::remove_dir_all(&whole)?;
    Ok(format!(
        "a bit of the log of node {} changed; {verdict}",
        victim + 1
    ))
}

/// F20. A node that was killed finds the beginning of a write that was under way at the end of one
/// of its logs.
pub(super) async fn torn_tail(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let (victim, mut dice) = (strike.victim(run), strike.dice());
    let node = run.cluster.node(victim);
    node.kill().await?;
    let mut torn = Vec::new();
    for store in STORES {
        let folder = match store {
            "state" => state(&node.data()?)?,
            other => node.data()?.join(other),
        };
        let file = newest_log(&folder)?;
        tear(&file, &mut dice)?;
        torn.push(store);
    }
    run.cluster.restart(victim).await?;
    Ok(format!(
        "the last writes to {} of node {} were torn",
        torn.join(", "),
        victim + 1
    ))
}

/// Appends what a write leaves that never came to its end: a record whose end is missing.
///
/// The form is that of RocksDB's `db/log_format.h`. With any bytes in its place, RocksDB's reader
/// may go round in circles (11.8.1), and the node never comes to serve.
fn tear(file: &Path, dice: &mut StdRng) -> anyhow::Result<()> {
    let before = fs::metadata(file)?.len() as usize;
    let mut rest = Vec::new();
    let mut room = WAL_BLOCK_BYTES - before % WAL_BLOCK_BYTES;
    if room <= WAL_HEADER_BYTES {
        // No record begins so near to the end of a block.
        rest.resize(room, 0);
        room = WAL_BLOCK_BYTES;
    }
    let length = dice.random_range(1..=room - WAL_HEADER_BYTES);
    rest.extend(dice.random::<u32>().to_le_bytes());
    rest.extend((length as u16).to_le_bytes());
    rest.push(WAL_FULL_RECORD);
    let mut payload = vec![0; dice.random_range(0..length)];
    dice.fill_bytes(&mut payload);
    rest.extend(payload);
    File::options().append(true).open(file)?.write_all(&rest)?;
    ensure!(
        fs::metadata(file)?.len() as usize > before,
        "nothing was appended"
    );
    Ok(())
}

/// The write-ahead log that a store has written to last.
fn newest_log(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    // They are numbered.
    logs.sort();
    let newest = logs.pop();
    newest.with_context(|| format!("{} has no log", folder.display()))
}

/// The folder of the state that a node works on.
fn state(data: &Path) -> anyhow::Result<PathBuf> {
    let name = fs::read_to_string(data.join("state/current"))?;
    Ok(data.join("state").join(name.trim()))
}

/// Has all nodes read everything, and waits until they have.
async fn scrub(run: &Run) -> anyhow::Result<()> {
    let nodes = run.ids().await?;
    let before = completed(run).await?;
    let url = format!("{}/api/cairn/v1/tasks/scrub?run=true", run.cluster.url(0));
    run.cluster
        .http()
        .expect(Method::POST, &url, StatusCode::OK)
        .await?;
    let within = run.patience(redundant::WITHIN);
    let begun = Instant::now();
    loop {
        let now = completed(run).await?;
        let has_ended = |node: &u64| now.get(node).is_some_and(|at| before.get(node) != Some(at));
        if nodes.iter().all(has_ended) {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < within,
            "scrub has not come to its end within {within:?}"
        );
        sleep(BETWEEN_LOOKS).await;
    }
}

/// When each node has last come to the end of a scrub.
async fn completed(run: &Run) -> anyhow::Result<BTreeMap<u64, Value>> {
    let url = format!("{}/api/cairn/v1/tasks", run.cluster.url(0));
    let answer = run
        .cluster
        .http()
        .expect(Method::GET, &url, StatusCode::OK)
        .await?;
    let tasks: Vec<Value> = serde_json::from_slice(&answer.body)?;
    let scrub = tasks.iter().find(|task| task["task"] == "scrub");
    let nodes = scrub.context("there is no scrub")?["nodes"].as_array();
    let ended = nodes.context("no nodes")?.iter().filter_map(|node| {
        let at = &node["completed_at"];
        (!at.is_null()).then(|| Some((node["node"].as_u64()?, at.clone())))?
    });
    Ok(ended.collect())
}
