//! What it takes a node to catch up with metadata of many gigabytes, while clients go on: how long,
//! in how much memory, and how much of it a second time when it was interrupted. On a cluster of its
//! own, of three nodes, with one that joins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cairn_chaos_tests::{Cluster, Launch};
use data_encoding::BASE64;
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::npm::tarball;
use crate::bench::{Bench, host, say};
use crate::content::Content;
use crate::load::{Load, request, whole};
use crate::process::disk_bytes;
use crate::scale::{GIB, MIB};
use crate::steady::Steady;
use crate::table::{Aim, Figure, Limit, Row};

const NODES: usize = 3;
const JOINS: usize = NODES;

/// What one version says of itself: nearly all that it may.
const MANIFEST_BYTES: u64 = 80 << 10;

/// Publishers at a time, each of packages of its own.
const CONNECTIONS: usize = 24;

/// Small files that are read meanwhile.
const SMALL: (u64, u64) = (100, 20 << 10);

/// How much log lies between snapshots unless it is configured.
const SNAPSHOT_EVERY_BYTES: u64 = 512 * MIB;

/// Where a node keeps the metadata, below its data directory.
const STATE: &str = "state";

/// Far longer than anything here takes, so that a hang ends.
const WATCHDOG: Duration = Duration::from_secs(1800);

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What a node may have resident at most while it receives or gives metadata, whatever their size:
/// its caches, what databases hold back before they write it, and what is under way.
const MAX_MEMORY_BYTES: f64 = GIB as f64;

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let metadata_bytes = bench.scale.metadata_bytes;
    let every = (metadata_bytes / 8).min(SNAPSHOT_EVERY_BYTES);
    let launch = Launch {
        nodes: NODES,
        spares: 1,
        cluster_settings: format!(
            "snapshot_every = \"{every} B\"\nlog_retention = \"{} B\"\n",
            every / 2
        ),
        ..Launch::new(PathBuf::from(bench.cluster.program()), bench.folder().to_owned())
    };
    let cluster = Cluster::launch(launch).await?;
    let mut steady = Steady::new(bench.client.clone(), cluster.token(), bench.scale.steady);
    let urls: Vec<_> = (0..NODES).map(|node| cluster.url(node).to_owned()).collect();
    steady.store(&urls, SMALL.0, SMALL.1).await?;
    say(format_args!(
        "publishing {} MB of metadata",
        metadata_bytes / 1_000_000
    ));
    fill(&cluster, metadata_bytes).await?;
    let kept_bytes = disk_bytes(&cluster.node(0).data()?.join(STATE))?;

    cluster.node(0).forget_peak_memory()?;
    say("a node joining");
    let steady = Arc::new(steady);
    let joining = join(bench, &cluster, kept_bytes);
    let what = "a node catching up";
    let (caught_up, [reads, writes]) = steady.during(what, urls, joining).await?;
    let aim = Some(Aim::Figure(1.0));
    bench.add(Row { aim, ..reads });
    bench.add(Row { aim, ..writes });
    bench.add(Row {
        limit: Some(Limit {
            what: "what a node keeps",
            figure: Figure::Bytes(kept_bytes as f64),
        }),
        ..Row::new(
            match caught_up.was_killed {
                true => "bytes received by a node that caught up, and was killed half-way",
                false => "bytes received by a node that caught up",
            },
            Figure::Bytes(caught_up.received_bytes),
        )
    });
    bench.add(Row::new(
        format!(
            "time until a node has caught up with {} MB of metadata",
            kept_bytes / 1_000_000
        ),
        Figure::Seconds(caught_up.took.as_secs_f64()),
    ));
    for (node, whose) in [
        (JOINS, "the node that caught up"),
        (0, "a node that was there, meanwhile"),
    ] {
        bench.add(Row {
            aim: Some(Aim::AtMost(MAX_MEMORY_BYTES)),
            ..Row::new(
                format!("most memory of {whose}"),
                Figure::Bytes(cluster.node(node).peak_memory_bytes()? as f64),
            )
        });
    }
    cluster.stop().await
}

/// Publishes versions that say much of themselves, until there is so much metadata.
async fn fill(cluster: &Cluster, metadata_bytes: u64) -> anyhow::Result<()> {
    let hosts: Vec<_> = (0..NODES).map(|node| host(cluster.url(node))).collect();
    let authorization = format!("Bearer {}", cluster.token());
    let versions = metadata_bytes.div_ceil(MANIFEST_BYTES / 3 * 4);
    let load = Load {
        hosts: &hosts,
        connections: CONNECTIONS,
        window: WATCHDOG,
        requests: versions,
        expected: StatusCode::CREATED,
    };
    let publish = move |number: u64| {
        let name = format!("large-{}", number % (4 * CONNECTIONS as u64));
        let body = document(&name, number).unwrap_or_default();
        let target = format!("/api/v4/projects/1/packages/npm/{name}");
        request(Method::PUT, &target, Some(&authorization))
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .body(whole(body.into()))
    };
    load.run(publish).await?;
    Ok(())
}

/// What `npm publish` sends for a version that says much of itself.
fn document(name: &str, number: u64) -> anyhow::Result<Vec<u8>> {
    let version = format!("1.{number}.0");
    let said = Content {
        number,
        size_bytes: MANIFEST_BYTES,
    };
    let manifest = json!({"name": name, "version": version, "said": BASE64.encode(&said.bytes())});
    let tarball = tarball(&json!({"name": name, "version": version}), 0)?;
    let document = json!({
        "_id": name, "name": name, "dist-tags": {"latest": version},
        "versions": {version.clone(): manifest},
        "_attachments": {format!("{name}-{version}.tgz"): {
            "content_type": "application/octet-stream",
            "data": BASE64.encode(&tarball),
            "length": tarball.len(),
        }},
    });
    Ok(serde_json::to_vec(&document)?)
}

struct CaughtUp {
    took: Duration,
    received_bytes: f64,
    was_killed: bool,
}

/// Lets a node join, kills it when it has half of the metadata, and waits until it serves.
async fn join(bench: &Bench, cluster: &Cluster, kept_bytes: u64) -> anyhow::Result<CaughtUp> {
    let begun = Instant::now();
    let node = cluster.node(JOINS);
    let data = node.data()?;
    let joining = async {
        tokio::select! {
            joined = cluster.join(JOINS, 0) => joined.map(|()| None),
            half = half_there(&data, kept_bytes) => Ok(Some(half)),
        }
    };
    // What is small may be there before anybody sees half of it.
    let half = timeout(WATCHDOG, joining)
        .await
        .context("the node receives nothing")??;
    if half.is_some() {
        node.kill().await?;
        cluster.restart(JOINS).await?;
    }
    let took = begun.elapsed();
    Ok(CaughtUp {
        took,
        received_bytes: half.unwrap_or(0) as f64 + received_bytes(bench, cluster).await?,
        was_killed: half.is_some(),
    })
}

/// Waits until a node has received half of what others keep. Gives how much it has then.
async fn half_there(data: &Path, kept_bytes: u64) -> u64 {
    loop {
        let received = received_by(&data.join(STATE));
        if received > kept_bytes / 2 {
            return received;
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// How much of a snapshot is there that is being received.
fn received_by(state: &Path) -> u64 {
    // There is nothing before it begins, and it moves when it is whole.
    let Ok(entries) = std::fs::read_dir(state) else {
        return 0;
    };
    let incoming = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("incoming-"));
    incoming.filter_map(|entry| disk_bytes(&entry.path()).ok()).sum()
}

/// How many bytes of snapshots the node that joins has received since it was started.
async fn received_bytes(bench: &Bench, cluster: &Cluster) -> anyhow::Result<f64> {
    const COUNT: &str = "cairn_raft_snapshot_received_bytes_total ";
    let answer = bench.client.get(format!("{}/-/metrics", cluster.url(JOINS)));
    let metrics = answer.send().await?.text().await?;
    let count = metrics.lines().find_map(|line| line.strip_prefix(COUNT));
    count
        .context("the node has received nothing")?
        .parse()
        .context("a count is a number")
}
