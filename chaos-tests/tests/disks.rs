//! A disk that holds nothing but shards fails under a node that goes on: what it held is built
//! again, another one is put in while the node runs, and a sound one is emptied and taken out.

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::{Cluster, Oracle};
use serde_json::Value;
use tokio::time::{sleep, timeout};

const DISK_BYTES: u64 = 1 << 30;

/// Disks for shards in each node.
const SHARD_DISKS: usize = 2;

/// Large enough for erasure coding, small enough for a quick test.
const LARGE: usize = 3 << 20;

/// The node that loses a disk, and one that is asked about it.
const HURT: usize = 1;
const ASKED: usize = 0;

/// Far longer than anything here takes, so that a hang ends.
const WATCHDOG: std::time::Duration = std::time::Duration::from_secs(300);

async fn cairn(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Value> {
    let answer = cluster.cairn(ASKED, arguments).await?;
    answer.map_err(|said| anyhow::anyhow!("{arguments:?}: {said}"))
}

/// The disks of the node that is hurt, as `cairn disk list` shows them.
async fn disks(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let node = cluster.id(HURT, ASKED).await?.to_string();
    let listed = cairn(cluster, &["disk", "list", "--node", &node]).await?;
    Ok(listed["disks"].as_array().context("no disks are listed")?.clone())
}

fn is_at(disk: &Value, path: &std::path::Path) -> bool {
    disk["path"].as_str().map(std::path::Path::new) == Some(path)
}

/// Waits until the disk that this tells of is as it should be, and gives it.
async fn until(
    cluster: &Cluster,
    which: impl Fn(&Value) -> bool,
    should: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let waited = async {
        loop {
            let disk = disks(cluster).await?.into_iter().find(&which);
            match disk {
                Some(disk) if should(&disk) => return anyhow::Ok(disk),
                _ => sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    };
    let found = timeout(WATCHDOG, waited).await;
    match found {
        Ok(found) => found,
        Err(_) => anyhow::bail!("the disks of the node stay {:?}", disks(cluster).await?),
    }
}

/// How the command line names a disk.
fn place(disk: &Value) -> anyhow::Result<String> {
    let name = disk["disk"].as_str().context("a disk has a name")?;
    Ok(format!("{}:{name}", disk["node"]))
}

/// Everything is there with any one node away, so nothing hangs on what was lost.
async fn everything_with_one_away(cluster: &Cluster, oracle: &Oracle) -> anyhow::Result<()> {
    for away in 0..cluster.size() {
        cluster.node(away).kill().await?;
        for file in oracle.files() {
            for node in cluster.others(&[away]) {
                oracle.expect(cluster, node, file.number).await?;
            }
        }
        cluster.restart(away).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_outlives_a_disk_and_gets_another_one_while_it_runs() -> anyhow::Result<()> {
    let cluster = Cluster::on_several_disks(DISK_BYTES, SHARD_DISKS).await?;
    let oracle = Oracle::default();
    for number in 0..12 {
        let node = number as usize % cluster.size();
        ensure!(
            oracle.publish(&cluster, node, number, LARGE).await,
            "publish {number} failed"
        );
    }
    let node = cluster.node(HURT);
    let pid = node.pid()?;
    let [failing, sound] = node.shard_disks() else {
        anyhow::bail!("the node should have two disks for shards");
    };
    for disk in [failing, sound] {
        let path = disk.mount_point();
        let holds_shards = |disk: &Value| disk["state"] == "in-use" && disk["shards"].as_u64() > Some(0);
        until(&cluster, |disk| is_at(disk, path), holds_shards).await?;
    }

    // One fails. The node goes on, and so does everything that clients do.
    let path = failing.mount_point();
    let cut = failing.cut_power().await?;
    for number in 100..106 {
        let node = number as usize % cluster.size();
        ensure!(
            oracle.publish(&cluster, node, number, LARGE).await,
            "publish {number} failed beside a failed disk"
        );
    }
    for file in oracle.files() {
        for node in 0..cluster.size() {
            oracle.expect(&cluster, node, file.number).await?;
        }
    }
    let failed = until(
        &cluster,
        |disk| is_at(disk, path),
        |disk| disk["state"] == "failed",
    )
    .await?;
    ensure!(
        failed["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "it is told why: {failed}"
    );
    ensure!(node.pid()? == pid, "the node did not go on");
    everything_with_one_away(&cluster, &oracle).await?;
    // It is not taken for a good one because its node was started again.
    until(
        &cluster,
        |disk| is_at(disk, path),
        |disk| disk["state"] == "failed",
    )
    .await?;

    // Another one is mounted in its place, and takes shards while the node runs.
    let pid = node.pid()?;
    failing.replace(cut).await?;
    let replaced = cairn(&cluster, &["disk", "replace", &place(&failed)?]).await?;
    let is_new = |disk: &Value| is_at(disk, path) && disk["disk"] != failed["disk"];
    let listed = replaced["disks"].as_array().context("no disks are listed")?;
    ensure!(listed.iter().any(is_new), "{replaced}");
    let mut number = 200;
    let taken = |disk: &Value| disk["state"] == "in-use" && disk["shards"].as_u64() > Some(0);
    while !disks(&cluster)
        .await?
        .iter()
        .any(|disk| is_new(disk) && taken(disk))
    {
        ensure!(number < 230, "the new disk takes nothing");
        ensure!(
            oracle.publish(&cluster, HURT, number, LARGE).await,
            "publish {number} failed beside a new disk"
        );
        number += 1;
    }

    // The sound one is emptied, and may then be taken out.
    let leaves = until(&cluster, |disk| is_at(disk, sound.mount_point()), taken).await?;
    let emptied = cairn(&cluster, &["disk", "replace", &place(&leaves)?]).await?;
    let mut listed = emptied["disks"].as_array().context("no disks are listed")?.iter();
    ensure!(
        listed.any(|disk| disk["disk"] == leaves["disk"] && disk["state"] == "retired"),
        "{emptied}"
    );
    ensure!(node.pid()? == pid, "the node did not run on");
    everything_with_one_away(&cluster, &oracle).await?;
    cluster.stop().await
}
