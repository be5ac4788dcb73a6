//! How many transactions are committed in a second, how long each takes, and how many of them
//! share an fsync.
//!
//! A commit is what it is for a client: a request that points a new tag of an image to a
//! manifest that is there, which is one transaction and nothing else. The requests are spread
//! over all nodes.

use std::time::Duration;

use anyhow::Context as _;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};

use super::image::{self, Image, REPOSITORY};
use crate::bench::{Bench, Loaded, middle, middle_of};
use crate::load::{Load, request, whole};
use crate::table::{Aim, Figure, Limit, Row};

const WRITERS: [usize; 2] = [1, 64];

/// Commits for each fsync that many writers should come to.
const COMMITS_PER_SYNC: f64 = 20.0;

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let image = image::push(bench).await?;
    for writers in WRITERS {
        // What is done for the first time is not what is measured.
        write(bench, &image, writers, bench.scale.window / 5, "warm").await?;
        let leader = bench.cluster.leader().await?;
        let (mut at_best, mut rounds) = (Vec::new(), Vec::new());
        let (mut commits, mut shared) = (0, 0.0);
        for round in 0..bench.scale.rounds {
            at_best.push(bench.syncs().await?);
            let syncs_before = syncs(bench, leader).await?;
            let loaded = write(
                bench,
                &image,
                writers,
                bench.scale.window,
                &format!("tag-{round}"),
            )
            .await?;
            shared += syncs(bench, leader).await? - syncs_before;
            commits += loaded.outcome.requests();
            rounds.push(loaded);
        }
        let loaded = middle(rounds);
        let name = if writers == 1 { "writer" } else { "writers" };
        let at_best = Limit {
            what: "append and fdatasync",
            figure: Figure::PerSecond(middle_of(at_best)),
        };
        bench.add(Row {
            latency: Some(loaded.latency()),
            limit: Some(at_best),
            cost: Some(loaded.per_request()),
            ..Row::new(
                format!("kv commits, {writers} {name}"),
                Figure::PerSecond(loaded.outcome.per_second()),
            )
        });
        bench.add(Row {
            aim: (writers > 1).then_some(Aim::Figure(COMMITS_PER_SYNC)),
            ..Row::new(
                format!("kv commits for each fsync of the leader, {writers} {name}"),
                Figure::Times(commits as f64 / shared),
            )
        });
    }
    Ok(())
}

async fn write(
    bench: &Bench,
    image: &Image,
    writers: usize,
    window: Duration,
    name: &str,
) -> anyhow::Result<Loaded> {
    let hosts = bench.hosts();
    let load = Load {
        hosts: &hosts,
        connections: writers,
        window,
        requests: u64::MAX,
        expected: StatusCode::CREATED,
    };
    let authorization = image::authorization(bench).await?;
    let (manifest, tag) = (image.manifest.clone(), format!("{name}-{writers}"));
    let make = move |number| {
        let target = format!("{REPOSITORY}/manifests/{tag}-{number}");
        let builder = request(Method::PUT, &target, Some(&authorization));
        builder
            .header(CONTENT_TYPE, image::media_type())
            .body(whole(manifest.clone()))
    };
    bench.load(&load, make).await
}

/// How often a node has made its log durable.
async fn syncs(bench: &Bench, node: usize) -> anyhow::Result<f64> {
    const COUNT: &str = "cairn_raft_log_fsync_writes_count ";
    let url = format!("{}/-/metrics", bench.cluster.url(node));
    let metrics = bench
        .client
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    let count = metrics.lines().find_map(|line| line.strip_prefix(COUNT));
    Ok(count.context("the node does not count its fsyncs")?.parse()?)
}
