//! What losses and changes of nodes cost those who use the cluster, and how long it takes until all
//! is as it should be. On a cluster of its own, of four nodes, with two that join later.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cairn_chaos_tests::{Cluster, Launch};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::bench::{Bench, say};
use crate::scale::GIB;
use crate::steady::Steady;
use crate::table::{Aim, Figure, Limit, Row};

/// Nodes at first: with one more, segments are coded as they were.
const NODES: usize = 4;
const JOINS: usize = NODES;
const REPLACES: usize = NODES + 1;

/// Small files that are read besides large ones.
const SMALL: (u64, u64) = (100, 20 << 10);

/// Far longer than anything here takes, so that a hang ends.
const WATCHDOG: Duration = Duration::from_secs(600);

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// So long nothing moves when everything has been moved.
const QUIET: Duration = Duration::from_secs(12);

/// A write waits so long at most for another leader, nearly always.
const PAUSE_AIM_SECONDS: f64 = 3.0;

/// What is measured with.
struct Healing<'a> {
    cluster: &'a Cluster,
    steady: Arc<Steady>,
    client: Client,
    /// How long each state is kept up.
    window: Duration,
    rows: Vec<Row>,
}

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let scale = &bench.scale;
    let launch = Launch {
        nodes: NODES,
        spares: 2,
        ..Launch::new(PathBuf::from(bench.cluster.program()), bench.folder().to_owned())
    };
    let cluster = Cluster::launch(launch).await?;
    let mut steady = Steady::new(bench.client.clone(), cluster.token(), scale.steady);
    let (large, size_bytes) = scale.stored;
    say("storing what is to be moved");
    let urls = urls(&cluster, 0..NODES);
    steady.store(&urls, large, size_bytes).await?;
    steady.store(&urls, SMALL.0, SMALL.1).await?;
    let mut healing = Healing {
        cluster: &cluster,
        steady: Arc::new(steady),
        client: bench.client.clone(),
        window: scale.window * 2,
        rows: Vec::new(),
    };
    let stored_bytes = large * size_bytes;
    healing.undisturbed().await?;
    healing.upkeep().await?;
    healing.kills().await?;
    healing.leaders(scale.leaders_killed).await?;
    healing.upgrade().await?;
    healing.join(stored_bytes).await?;
    healing.drain().await?;
    healing.replace(stored_bytes).await?;
    let rows = healing.rows;
    rows.into_iter().for_each(|row| bench.add(row));
    cluster.stop().await
}

impl Healing<'_> {
    fn all(&self) -> Vec<String> {
        urls(self.cluster, 0..NODES)
    }

    /// Keeps the load up while something is done, and adds what came of it.
    async fn under_load<T>(
        &mut self,
        what: &str,
        urls: Vec<String>,
        operation: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        say(what);
        let aim = Some(Aim::Figure(1.0));
        let (done, [reads, writes]) = self.steady.during(what, urls, operation).await?;
        self.rows.extend([Row { aim, ..reads }, Row { aim, ..writes }]);
        Ok(done)
    }

    async fn undisturbed(&mut self) -> anyhow::Result<()> {
        let window = self.window;
        let nothing = async {
            sleep(window).await;
            anyhow::Ok(())
        };
        self.under_load("nothing else being done", self.all(), nothing)
            .await
    }

    /// All that is stored is read, and what nothing names is looked for, all the time.
    async fn upkeep(&mut self) -> anyhow::Result<()> {
        for task in ["scrub", "collection"] {
            let (cluster, window) = (self.cluster, self.window);
            let again_and_again = async move {
                let end = Instant::now() + window;
                while Instant::now() < end {
                    post(cluster, &format!("tasks/{task}?run=true")).await?;
                    sleep(Duration::from_secs(1)).await;
                }
                anyhow::Ok(())
            };
            self.under_load(&format!("{task} at work"), self.all(), again_and_again)
                .await?;
        }
        Ok(())
    }

    async fn kills(&mut self) -> anyhow::Result<()> {
        let (cluster, window) = (self.cluster, self.window);
        let kills = async move {
            for node in 0..NODES {
                cluster.node(node).kill().await?;
                sleep(window / 4).await;
                cluster.restart(node).await?;
                sleep(window / 4).await;
            }
            anyhow::Ok(())
        };
        self.under_load("nodes killed one after the other", self.all(), kills)
            .await
    }

    /// How long writes pause when the leader is killed.
    async fn leaders(&mut self, times: usize) -> anyhow::Result<()> {
        let (cluster, steady) = (self.cluster, self.steady.clone());
        let kills = async move {
            let mut pauses = Vec::new();
            for _ in 0..times {
                cluster.settled().await?;
                let leader = cluster.leader().await?;
                let others = urls(cluster, cluster.others(&[leader]));
                cluster.node(leader).kill().await?;
                pauses.push(steady.next_write(&others).await?);
                cluster.restart(leader).await?;
            }
            anyhow::Ok(pauses)
        };
        let mut pauses = self
            .under_load("the leader killed again and again", self.all(), kills)
            .await?;
        pauses.sort_unstable();
        let last = pauses.len() - 1;
        let at = |share: f64| pauses[(last as f64 * share).round() as usize];
        self.rows.push(Row {
            latency: Some((at(0.5), at(0.99))),
            aim: Some(Aim::AtMost(PAUSE_AIM_SECONDS)),
            ..Row::new(
                format!("pause of writes when the leader is killed, p99 of {times} times"),
                Figure::Seconds(at(0.99).as_secs_f64()),
            )
        });
        Ok(())
    }

    /// Each node stops as it is told to, and starts again: what an upgrade does.
    async fn upgrade(&mut self) -> anyhow::Result<()> {
        let cluster = self.cluster;
        let restarts = async move {
            for node in 0..NODES {
                cluster.node(node).stop().await?;
                cluster.restart(node).await?;
                cluster.settled().await?;
            }
            anyhow::Ok(())
        };
        self.under_load("nodes upgraded one after the other", self.all(), restarts)
            .await
    }

    /// A node joins, and gets its share.
    async fn join(&mut self, stored_bytes: u64) -> anyhow::Result<()> {
        let (cluster, client) = (self.cluster, self.client.clone());
        let join = async move {
            let before = moved(cluster, &client, 0..NODES).await?;
            let begun = Instant::now();
            cluster.join(JOINS, 0).await?;
            let mut last = (0.0, Instant::now());
            loop {
                let now = moved(cluster, &client, 0..=JOINS).await? - before;
                if now > last.0 {
                    last = (now, Instant::now());
                }
                if last.0 > 0.0 && last.1.elapsed() > QUIET {
                    return anyhow::Ok((last.0, last.1 - begun));
                }
                ensure!(
                    begun.elapsed() < WATCHDOG,
                    "nothing is moved to a node that joined"
                );
                sleep(BETWEEN_LOOKS).await;
            }
        };
        let (bytes, took) = self.under_load("a node joining", self.all(), join).await?;
        // Two data shards and two of parity: each byte lies on the disks twice, on five nodes now.
        let least = 2.0 * stored_bytes as f64 / (NODES + 1) as f64;
        self.rows.push(Row {
            limit: Some(Limit {
                what: "its share",
                figure: Figure::Bytes(least),
            }),
            ..Row::new("bytes moved when a fifth node joins", Figure::Bytes(bytes))
        });
        self.rows.push(Row::new(
            format!(
                "time until a node that joined has its share, of {} MB",
                stored_bytes / 1_000_000
            ),
            Figure::Seconds(took.as_secs_f64()),
        ));
        Ok(())
    }

    /// A node gives up what it has, and leaves.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let cluster = self.cluster;
        let drain = async move {
            let id = cluster.id(0, 1).await?.to_string();
            let begun = Instant::now();
            command(cluster, &["cluster", "drain", &id]).await?;
            let took = begun.elapsed();
            // What is written until all know that it leaves may have come to it.
            while let Err(said) = cluster.cairn(1, &["cluster", "remove", &id]).await? {
                ensure!(begun.elapsed() < WATCHDOG, "{said}");
                sleep(BETWEEN_LOOKS).await;
            }
            cluster.node(0).ended().await?;
            anyhow::Ok(took)
        };
        let took = self
            .under_load("a node drained and removed", urls(cluster, 0..=JOINS), drain)
            .await?;
        self.rows.push(Row::new(
            "time until a node is drained",
            Figure::Seconds(took.as_secs_f64()),
        ));
        Ok(())
    }

    /// A node is lost for good, and another one takes its place.
    async fn replace(&mut self, stored_bytes: u64) -> anyhow::Result<()> {
        let cluster = self.cluster;
        let replace = async move {
            let id = cluster.id(1, 2).await?.to_string();
            cluster.join(REPLACES, 2).await?;
            cluster.node(1).kill().await?;
            let begun = Instant::now();
            // It takes a moment until it is known to be dead.
            while let Err(said) = cluster
                .cairn(2, &["cluster", "replace", "--no-wait", &id])
                .await?
            {
                ensure!(begun.elapsed() < WATCHDOG, "{said}");
                sleep(BETWEEN_LOOKS).await;
            }
            while !is_redundant(cluster).await? {
                ensure!(begun.elapsed() < WATCHDOG, "redundancy does not come back");
                sleep(BETWEEN_LOOKS).await;
            }
            anyhow::Ok(begun.elapsed())
        };
        let took = self
            .under_load("a node lost and replaced", urls(cluster, 1..=JOINS), replace)
            .await?;
        let per_gib = took.as_secs_f64() / (stored_bytes as f64 / GIB as f64);
        self.rows.push(Row::new(
            "time to full redundancy after a node is lost, for each GiB stored on four nodes",
            Figure::Seconds(per_gib),
        ));
        Ok(())
    }
}

/// The base URLs of nodes.
fn urls(cluster: &Cluster, nodes: impl IntoIterator<Item = usize>) -> Vec<String> {
    nodes
        .into_iter()
        .map(|node| cluster.url(node).to_owned())
        .collect()
}

async fn post(cluster: &Cluster, what: &str) -> anyhow::Result<()> {
    let url = format!("{}/api/cairn/v1/{what}", cluster.url(0));
    cluster.http().expect(Method::POST, &url, StatusCode::OK).await?;
    Ok(())
}

async fn command(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Value> {
    let done = timeout(WATCHDOG, cluster.cairn(1, arguments)).await??;
    done.map_err(|said| anyhow::anyhow!("{arguments:?}: {said}"))
}

/// How many bytes nodes have taken over from others since they were started.
async fn moved(
    cluster: &Cluster,
    client: &Client,
    nodes: impl IntoIterator<Item = usize>,
) -> anyhow::Result<f64> {
    const COUNT: &str = "cairn_blob_moved_bytes_total ";
    let mut moved = 0.0;
    for node in nodes {
        let url = format!("{}/-/metrics", cluster.url(node));
        // One that has not started yet has moved nothing.
        let Ok(answer) = client.get(url).send().await else {
            continue;
        };
        let metrics = answer.text().await?;
        let count = metrics.lines().find_map(|line| line.strip_prefix(COUNT));
        moved += match count {
            Some(count) => count.parse::<f64>().context("a count is a number")?,
            None => 0.0,
        };
    }
    Ok(moved)
}

/// Whether no blob lacks redundancy, now that a lost node does not count any more.
async fn is_redundant(cluster: &Cluster) -> anyhow::Result<bool> {
    let url = format!("{}/api/cairn/v1/blobs/under_protected?limit=1", cluster.url(2));
    let answer = cluster.http().expect(Method::GET, &url, StatusCode::OK).await?;
    let page: Value = serde_json::from_slice(&answer.body)?;
    Ok(page["blobs"].as_array().is_some_and(Vec::is_empty))
}
