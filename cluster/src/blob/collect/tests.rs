//! The collection on nodes with disks: space really comes back, and what nobody knows goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::blob::disk::testing::TestDisk;
use crate::blob::small::SmallStore;
use crate::blob::suite::{SPACE, content, keep, put, read};
use crate::blob::testing::Cluster;
use crate::blob::{BlobId, BlobTxnError};
use crate::kv::{CommitError, Txn};
use crate::tasks::TaskKind;

const MIB: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Blob(#[from] BlobTxnError),
}

async fn release(cluster: &Cluster, id: &BlobId) {
    let work = async |mut txn: Txn| {
        cluster.blobs(0).release(&mut txn, SPACE, id, b"a record").await?;
        Ok::<_, TestError>((txn, ()))
    };
    cluster.kv.transact(work).await.unwrap();
}

/// One round on each node; the first leads.
async fn round(cluster: &Cluster, tasks: &[CollectionTask]) {
    for (node, task) in tasks.iter().enumerate() {
        let work = cluster.work(TaskKind::Collection, node);
        task.round(&work).await.unwrap();
    }
}

fn tasks(cluster: &Cluster) -> Vec<CollectionTask> {
    let task = |node: usize| {
        let leads: Leads = Arc::new(move || node == 0);
        CollectionTask::new(cluster.nodes[node].upkeep.clone(), leads)
    };
    (0..cluster.nodes.len()).map(task).collect()
}

/// Bytes of all shard files, those in quarantine too.
fn bytes_on(disk: &TestDisk) -> usize {
    let mut bytes = 0;
    for file in disk.files() {
        disk.damage(&file, |content| bytes += content.len());
    }
    bytes
}

/// What the small segments of all nodes take.
#[derive(Debug)]
struct SmallBytes {
    /// Those that are there.
    values: u64,
    /// The files that they are in.
    files: u64,
}

/// Fails if a node keeps more garbage than it may: rewriting all for a little costs more than the
/// space is worth.
fn small_bytes(cluster: &Cluster) -> SmallBytes {
    let mut all = SmallBytes { values: 0, files: 0 };
    for node in &cluster.nodes {
        let store = &node.stores.small;
        let values: u64 = store
            .list(None, usize::MAX)
            .unwrap()
            .iter()
            .map(|listed| listed.bytes)
            .sum();
        let files = store.blob_file_bytes().unwrap();
        assert!(
            files - values <= SmallStore::tolerated_garbage(files),
            "{values} in {files}"
        );
        all.values += values;
        all.files += files;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_on_disk_fall_when_half_of_the_blobs_are_deleted() {
    let cluster = Cluster::of(3).await;
    let mut ids = Vec::new();
    for number in 0..60 {
        // Half of them small ones.
        let size = if number % 2 == 0 { 2 * MIB } else { MIB };
        ids.push((
            size - number,
            keep(cluster.blobs(number % 3), &content(size - number)).await,
        ));
    }
    let shard_bytes = || {
        cluster
            .nodes
            .iter()
            .map(|node| bytes_on(&node.disk))
            .sum::<usize>()
    };
    let tasks = tasks(&cluster);
    round(&cluster, &tasks).await;
    let (shards_before, small_before) = (shard_bytes(), small_bytes(&cluster));
    assert!(small_before.values > 58 << 20, "{small_before:?}");
    assert!(small_before.files >= small_before.values, "{small_before:?}");
    for (_, id) in &ids[..30] {
        release(&cluster, id).await;
    }
    cluster.clock.advance(Duration::from_secs(2 * 3600));
    round(&cluster, &tasks).await;
    cluster.clock.advance(DAY);
    round(&cluster, &tasks).await;
    let (shards, small) = (shard_bytes(), small_bytes(&cluster));
    assert!(shards * 100 < shards_before * 55, "{shards} of {shards_before}");
    assert!(
        small.values * 100 < small_before.values * 55,
        "{small:?} of {small_before:?}"
    );
    assert!(small.files < small_before.files, "{small:?} of {small_before:?}");
    for (size, id) in &ids[30..] {
        assert!(read(cluster.blobs(1), id, None).await.unwrap() == content(*size));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_no_record_names_go_to_quarantine_and_then_for_good() {
    let cluster = Cluster::of(3).await;
    let kept = [5000, 3 * MIB];
    let mut ids = Vec::new();
    for size in kept {
        ids.push(keep(cluster.blobs(0), &content(size)).await);
        // Stored, and then nobody came to name it.
        put(cluster.blobs(0), &content(size + 1)).await;
    }
    let files = |quarantined: bool| {
        let all = cluster.nodes.iter().flat_map(|node| node.disk.files());
        all.filter(|file| file.starts_with("shards/quarantine") == quarantined)
            .count()
    };
    let small = || {
        let nodes = cluster.nodes.iter();
        nodes
            .map(|node| node.stores.small.list(None, 10).unwrap().len())
            .sum::<usize>()
    };
    assert_eq!((files(false), small()), (6, 4));
    let tasks = tasks(&cluster);
    for (days, expected) in [
        (0, (6, 0, 4)),
        (6, (6, 0, 4)),
        (2, (3, 3, 2)),
        (6, (3, 3, 2)),
        (2, (3, 0, 2)),
    ] {
        cluster.clock.advance(days * DAY);
        round(&cluster, &tasks).await;
        assert_eq!(
            (files(false), files(true), small()),
            expected,
            "{days} days later"
        );
    }
    for (size, id) in kept.iter().zip(&ids) {
        assert!(read(cluster.blobs(2), id, None).await.unwrap() == content(*size));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_upload_keeps_its_shards_however_long_it_takes() {
    let cluster = Cluster::of(3).await;
    let blobs = cluster.blobs(0);
    let id = blobs.begin_upload(SPACE, Default::default(), b"").await.unwrap();
    let whole = content(15 * MIB);
    let tasks = tasks(&cluster);
    for part in 0..15 {
        let chunk: Bytes = whole.slice(part * MIB..(part + 1) * MIB);
        let body = crate::blob::suite::body(&chunk, MIB);
        blobs.append(SPACE, &id, None, u64::MAX, body).await.unwrap();
        cluster.clock.advance(DAY - Duration::from_secs(3600));
        round(&cluster, &tasks).await;
    }
    let stored = blobs.finish_upload(SPACE, &id).await.unwrap();
    crate::blob::suite::name(blobs, &stored, "a record")
        .await
        .unwrap();
    cluster.clock.advance(10 * DAY);
    round(&cluster, &tasks).await;
    assert!(read(cluster.blobs(1), &stored.id(), None).await.unwrap() == whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_is_away_keeps_its_garbage_until_it_is_back() {
    let cluster = Cluster::of(3).await;
    let id = keep(cluster.blobs(0), &content(3 * MIB)).await;
    release(&cluster, &id).await;
    let tasks = tasks(&cluster);
    cluster.clock.advance(Duration::from_secs(2 * 3600));
    round(&cluster, &tasks).await;
    cluster.notice(2);
    cluster.clock.advance(2 * DAY);
    let work = cluster.work(TaskKind::Collection, 0);
    tasks[0].round(&work).await.unwrap();
    assert_eq!(cluster.blobs(0).waste(10).await.unwrap().len(), 1);
    let files = || {
        cluster
            .nodes
            .iter()
            .map(|node| node.disk.files().len())
            .collect::<Vec<_>>()
    };
    assert_eq!(files(), [0, 0, 1]);
    cluster.network.down.lock().unwrap().clear();
    tasks[0].round(&work).await.unwrap();
    assert_eq!(files(), [0, 0, 0]);
    assert!(cluster.blobs(0).waste(10).await.unwrap().is_empty());
}
