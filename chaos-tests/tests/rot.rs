//! What lies on a disk changes by itself. Nobody is ever served a byte of it.

use anyhow::ensure;
use cairn_chaos_tests::rot::{Rot, shard_files, small_blob_files};
use cairn_chaos_tests::workloads::generic::{self, Read};
use cairn_chaos_tests::{Cluster, Oracle};

/// Of two segments, which are coded; the second is short.
const LARGE: usize = (32 << 20) + 700_000;
const MEDIUM: usize = 1_500_000;
/// Copied, rather than coded.
const SMALL: usize = 40_000;

/// What happens to shards: in the header, in cells, at the end.
const ROT: [Rot; 5] = [
    Rot::Bit(0),
    Rot::Bit(500),
    Rot::Bit(999),
    Rot::Zeros(400),
    Rot::Cut,
];

/// Lets each of these files rot, in all ways in turn. Fails if there is none.
fn rot(files: &[std::path::PathBuf]) -> anyhow::Result<()> {
    ensure!(!files.is_empty(), "there is nothing to rot");
    let mut ways = ROT.iter().cycle();
    files
        .iter()
        .zip(&mut ways)
        .try_for_each(|(file, way)| way.apply(file))
}

async fn publish(cluster: &Cluster, oracle: &Oracle, numbers: std::ops::Range<u64>, sizes: &[usize]) {
    for number in numbers {
        let (node, size_bytes) = (number as usize % 3, sizes[number as usize % sizes.len()]);
        assert!(oracle.publish(cluster, node, number, size_bytes).await);
    }
}

/// A cluster that does not repair what rots, so that what is read was rotten.
async fn unrepaired() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start().await?;
    for task in ["repair", "scrub"] {
        cluster.pause(task).await?;
    }
    Ok(cluster)
}

/// Reads all files through all nodes, whole and in part: right bytes, or (a wrong byte is an
/// error of its own) nothing and a clear word. Gives how many reads failed, of how many.
async fn read_all(cluster: &Cluster, oracle: &Oracle) -> anyhow::Result<(usize, usize)> {
    let (mut failed, mut all) = (0, 0);
    for file in oracle.files() {
        let middle = file.size_bytes / 2;
        for node in 0..cluster.size() {
            let part = generic::read_range(cluster, node, file, middle..middle + 1000).await?;
            let whole = generic::read(cluster, node, file).await?;
            for read in [whole, part] {
                all += 1;
                match read {
                    Read::Whole => {}
                    Read::Failed(_) => failed += 1,
                    Read::Absent => anyhow::bail!("file {} is denied", file.number),
                }
            }
        }
    }
    Ok((failed, all))
}

#[tokio::test(flavor = "multi_thread")]
async fn rotten_shards_are_never_served() -> anyhow::Result<()> {
    let cluster = unrepaired().await?;
    // As many nodes as the code has parity shards may rot: here one, whichever it is.
    for node in 0..cluster.size() {
        let (oracle, first) = (Oracle::default(), 100 * node as u64);
        let before = shard_files(&cluster.node(node).data()?)?;
        publish(&cluster, &oracle, first..first + 10, &[MEDIUM]).await;
        publish(&cluster, &oracle, first + 10..first + 11, &[LARGE]).await;
        let mut files = shard_files(&cluster.node(node).data()?)?;
        files.retain(|file| !before.contains(file));
        rot(&files)?;
        let (failed, all) = read_all(&cluster, &oracle).await?;
        ensure!(
            failed == 0,
            "{failed} of {all} reads failed though two nodes of three are whole"
        );
    }
    // One more, and nothing is left to rebuild from.
    let oracle = Oracle::default();
    let before = [0, 1].map(|node| cluster.node(node).data().and_then(|data| Ok(shard_files(&data)?)));
    publish(&cluster, &oracle, 1000..1010, &[MEDIUM]).await;
    for (node, before) in before.into_iter().enumerate() {
        let (before, mut files) = (before?, shard_files(&cluster.node(node).data()?)?);
        files.retain(|file| !before.contains(file));
        // The same way for each, so that every read meets it.
        files.iter().try_for_each(|file| Rot::Bit(0).apply(file))?;
    }
    let (failed, all) = read_all(&cluster, &oracle).await?;
    ensure!(
        failed == all,
        "{} of {all} reads took bytes from nowhere",
        all - failed
    );
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rotten_copies_of_small_blobs_are_never_served() -> anyhow::Result<()> {
    let cluster = unrepaired().await?;
    let oracle = Oracle::default();
    publish(&cluster, &oracle, 0..30, &[SMALL]).await;
    // A restart writes what is in the log and in memory to files.
    for node in 0..cluster.size() {
        cluster.node(node).stop().await?;
        cluster.restart(node).await?;
    }
    let files = |node: usize| -> anyhow::Result<_> { Ok(small_blob_files(&cluster.node(node).data()?)?) };
    rot_values(&files(0)?)?;
    let (failed, all) = read_all(&cluster, &oracle).await?;
    ensure!(
        failed == 0,
        "{failed} of {all} reads failed though two nodes of three are whole"
    );

    // Both copies of what the first two nodes hold; the rest has one that is whole.
    rot_values(&files(1)?)?;
    let (failed, all) = read_all(&cluster, &oracle).await?;
    ensure!(
        failed > 0 && failed < all,
        "{failed} of {all} reads failed with two nodes of three rotten"
    );
    cluster.stop().await
}

/// Lets values rot all over the files: a byte in each stretch that is as long as a value.
fn rot_values(files: &[std::path::PathBuf]) -> anyhow::Result<()> {
    ensure!(!files.is_empty(), "there is nothing to rot");
    for file in files {
        let stretches = std::fs::metadata(file)?.len() / (SMALL as u64 / 2);
        ensure!(stretches > 0, "{} holds no values", file.display());
        for stretch in 0..stretches {
            Rot::Bit(1000 * stretch / stretches + 500 / stretches).apply(file)?;
        }
    }
    Ok(())
}
