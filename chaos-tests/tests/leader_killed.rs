//! The leader is killed in the middle of a hundred publishes and of a large push through it.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::workloads::oci::{self, Upload};
use cairn_chaos_tests::{Cluster, Oracle, Payload};
use futures::StreamExt as _;
use tokio::sync::watch;

const PUBLISHES: u64 = 100;
/// Publishes after these wait until the push is under way as well.
const EARLY: u64 = 40;
/// Large enough for erasure coding, small enough for a quick test.
const LARGE: usize = 3 << 20;

const BLOB: Payload = Payload {
    number: 1 << 32,
    size_bytes: 1 << 30,
};
/// Neither a segment of the blob store nor a divisor of one, so that chunks end anywhere.
const CHUNK: u64 = 20_000_000;
/// When this much of the push is acknowledged, the leader is killed.
const UNTIL_KILL: u64 = 300_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies_in_the_middle_of_publishes_and_of_a_push() -> anyhow::Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    let oracle = Arc::new(Oracle::default());
    let leader = cluster.leader().await?;
    let upload = Upload::begin(&cluster, leader).await?;
    let (pushed, progress) = watch::channel(0);

    let publishing = tokio::spawn(publish_all(cluster.clone(), oracle.clone(), progress.clone()));
    let killing = tokio::spawn(kill_amid(
        cluster.clone(),
        oracle.clone(),
        leader,
        progress.clone(),
    ));
    let acknowledged = push_until_killed(&cluster, leader, &upload, &pushed).await?;
    let at_kill = killing.await??;
    publishing.await?;
    ensure!(
        at_kill < PUBLISHES as usize,
        "the kill came after the last publish"
    );

    let others = cluster.others(&[leader]);
    let stands = upload.offset(&cluster, others[0]).await?;
    ensure!(
        stands >= acknowledged,
        "{acknowledged} bytes of the push were acknowledged, and it stands at {stands}"
    );
    // The rest goes through both of the others in turn, the end through the one that comes back.
    cluster.node(leader).start()?;
    let mut offset = stands;
    for node in others.iter().copied().cycle() {
        if offset == BLOB.size_bytes {
            break;
        }
        let chunk = offset..BLOB.size_bytes.min(offset + CHUNK);
        let next = upload.append(&cluster, node, BLOB, chunk.clone()).await?;
        ensure!(
            next == Some(chunk.end),
            "chunk {chunk:?} was answered with {next:?}"
        );
        offset = chunk.end;
    }
    cluster.ready(leader).await?;
    let digest = tokio::task::spawn_blocking(|| BLOB.sha256()).await?;
    upload.finish(&cluster, leader, &digest).await?;
    for node in 0..cluster.size() {
        oci::read(&cluster, node, BLOB, &digest).await?;
    }
    oracle.check(&cluster).await?;
    let cluster = Arc::into_inner(cluster).context("a client still runs")?;
    cluster.stop().await
}

/// Publishes through every node, the leader too.
async fn publish_all(cluster: Arc<Cluster>, oracle: Arc<Oracle>, progress: watch::Receiver<u64>) {
    let publishes = (0..PUBLISHES).map(|number| {
        let (cluster, oracle, mut progress) = (&cluster, &oracle, progress.clone());
        async move {
            if number >= EARLY {
                // The push may be over before, which the killer sees.
                let _ = progress.wait_for(|pushed| *pushed >= UNTIL_KILL - CHUNK).await;
            }
            let size_bytes = if number % 10 == 0 { LARGE } else { 2000 };
            let node = number as usize % cluster.size();
            oracle.publish(cluster, node, number, size_bytes).await
        }
    });
    futures::stream::iter(publishes)
        .buffer_unordered(4)
        .collect::<Vec<_>>()
        .await;
}

/// Kills the leader when publishes and push are under way. Gives how many publishes had been
/// acknowledged.
async fn kill_amid(
    cluster: Arc<Cluster>,
    oracle: Arc<Oracle>,
    leader: usize,
    mut progress: watch::Receiver<u64>,
) -> anyhow::Result<usize> {
    progress.wait_for(|pushed| *pushed >= UNTIL_KILL).await?;
    while oracle.acknowledged() < EARLY as usize + 10 {
        tokio::task::yield_now().await;
    }
    cluster.node(leader).kill().await?;
    Ok(oracle.acknowledged())
}

/// Pushes chunks through the leader until one is not acknowledged. Gives where the push stands
/// by what was.
async fn push_until_killed(
    cluster: &Cluster,
    leader: usize,
    upload: &Upload,
    pushed: &watch::Sender<u64>,
) -> anyhow::Result<u64> {
    let mut offset = 0;
    while offset < BLOB.size_bytes {
        let chunk = offset..BLOB.size_bytes.min(offset + CHUNK);
        let Some(next) = upload.append(cluster, leader, BLOB, chunk.clone()).await? else {
            return Ok(offset);
        };
        ensure!(next == chunk.end, "chunk {chunk:?} was answered with {next}");
        offset = next;
        pushed.send_replace(offset);
    }
    anyhow::bail!("the push was over before the leader was killed")
}
