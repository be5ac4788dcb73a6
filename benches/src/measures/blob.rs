//! How fast blobs of several sizes are stored and read, by container clients: with all nodes,
//! and with one of three dead. And how many bytes they take on the disks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};

use super::image::{self, REPOSITORY, put_path};
use crate::bench::{Bench, Loaded, middle, middle_of};
use crate::content::Content;
use crate::load::{Load, Outcome, nothing, request};
use crate::process::disk_bytes;
use crate::scale::{KIB, MIB};
use crate::table::{Aim, Figure, Limit, Row};

/// Far longer than it takes.
const WINDOW: Duration = Duration::from_secs(3600);

/// Which part of the slowest limit on its way a large blob should come to.
const AIM: Aim = Aim::Ratio(0.4);

/// From this size on it is the pace that counts.
const LARGE_BYTES: u64 = 64 * MIB;

/// Blobs up to this size are copied to two nodes; larger ones are coded, two data shards for
/// one of parity.
const COPIED_BYTES: u64 = MIB;

/// A blob that is stored.
#[derive(Clone)]
struct Stored {
    content: Content,
    digest: String,
}

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for is_degraded in [false, true] {
        if is_degraded {
            bench.kill_a_follower().await?;
            // The others notice at the first request, not while it counts.
            settle(bench).await?;
        }
        for (at, (size_bytes, count)) in bench.scale.blobs.clone().into_iter().enumerate() {
            let first = ((at as u64 * 2) + u64::from(is_degraded)) << 32;
            let question = Question {
                size_bytes,
                count,
                first,
                is_degraded,
            };
            let stored = question.put(bench).await?;
            question.get(bench, stored).await?;
        }
    }
    Ok(())
}

async fn settle(bench: &Bench) -> anyhow::Result<()> {
    let settling = Question {
        size_bytes: 3 * MIB,
        count: 4,
        first: u64::MAX / 8,
        is_degraded: true,
    };
    let blobs = settling.blobs(0).await?;
    settling.put_round(bench, &blobs).await?;
    Ok(())
}

/// One size of blobs.
#[derive(Clone, Copy)]
struct Question {
    size_bytes: u64,
    /// Blobs in one round.
    count: u64,
    /// The number of the first of them.
    first: u64,
    is_degraded: bool,
}

impl Question {
    fn connections(self) -> usize {
        match self.size_bytes {
            ..LARGE_BYTES => 16,
            _ => 1,
        }
    }

    fn name(self, what: &str) -> String {
        let size = match self.size_bytes {
            ..MIB => format!("{} KiB", self.size_bytes / KIB),
            _ => format!("{} MiB", self.size_bytes / MIB),
        };
        let plural = if self.connections() == 1 {
            "connection"
        } else {
            "connections"
        };
        let degraded = if self.is_degraded { ", one node dead" } else { "" };
        format!("blob {what}, {size}, {} {plural}{degraded}", self.connections())
    }

    fn load<'a>(self, hosts: &'a [String], expected: StatusCode) -> Load<'a> {
        Load {
            hosts,
            connections: self.connections(),
            window: WINDOW,
            requests: self.count,
            expected,
        }
    }

    fn pace(self, outcome: &Outcome) -> f64 {
        outcome.requests() as f64 * self.size_bytes as f64 / outcome.elapsed.as_secs_f64()
    }

    fn row(self, what: &str, cairn: &Loaded, bare: &Loaded, limit: Limit) -> Row {
        Row {
            latency: Some(cairn.latency()),
            limit: Some(limit),
            cost: Some(cairn.per_byte(self.size_bytes)),
            bare_cost: Some(bare.per_byte(self.size_bytes)),
            ..Row::new(self.name(what), Figure::BytesPerSecond(self.pace(&cairn.outcome)))
        }
    }

    /// New blobs with their digests, which a client knows before it pushes.
    async fn blobs(self, round: u64) -> anyhow::Result<Vec<Stored>> {
        let make = move || {
            let numbers = (0..self.count).map(|number| self.first + round * self.count + number);
            let contents = numbers.map(|number| Content {
                number,
                size_bytes: self.size_bytes,
            });
            contents
                .map(|content| Stored {
                    digest: content.digest(),
                    content,
                })
                .collect()
        };
        Ok(tokio::task::spawn_blocking(make).await?)
    }

    async fn put(self, bench: &mut Bench) -> anyhow::Result<Vec<Stored>> {
        let (mut bare, mut cairn, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let mut written = Vec::new();
        let disk_before = disk(bench)?;
        for round in 0..bench.scale.rounds as u64 {
            let blobs = self.blobs(round).await?;
            written.push(bench.disk().await?);
            bare.push(self.sink_round(bench, &blobs).await?);
            cairn.push(self.put_round(bench, &blobs).await?);
            all.extend(blobs);
        }
        let taken = disk(bench)?.saturating_sub(disk_before) as f64;
        let (bare, cairn) = (middle(bare), middle(cairn));
        let limit = self.slowest(bench, self.pace(&bare.outcome), middle_of(written));
        bench.add(Row {
            aim: (self.size_bytes >= LARGE_BYTES && !self.is_degraded).then_some(AIM),
            ..self.row("put", &cairn, &bare, limit)
        });
        let stored = all.len() as f64 * self.size_bytes as f64;
        bench.add(Row::new(
            self.name("put: bytes on the disks for each byte"),
            Figure::Times(taken / stored),
        ));
        Ok(all)
    }

    async fn put_round(self, bench: &Bench, blobs: &[Stored]) -> anyhow::Result<Loaded> {
        let hosts = bench.hosts();
        let authorization = image::authorization(bench).await?;
        let blobs: Arc<[Stored]> = blobs.into();
        let make = move |number: u64| {
            let blob = &blobs[number as usize];
            request(Method::POST, &put_path(&blob.digest), Some(&authorization))
                .body(blob.content.body().boxed())
        };
        bench.load(&self.load(&hosts, StatusCode::CREATED), make).await
    }

    /// The same requests to a server that throws away what it gets.
    async fn sink_round(self, bench: &Bench, blobs: &[Stored]) -> anyhow::Result<Loaded> {
        let hosts = [bench.bare.address().to_owned()];
        let blobs: Arc<[Stored]> = blobs.into();
        let make = move |number: u64| {
            let blob = &blobs[number as usize];
            request(Method::POST, "/sink", None).body(blob.content.body().boxed())
        };
        bench
            .load_bare(&self.load(&hosts, StatusCode::CREATED), make)
            .await
    }

    /// The slowest of what every byte must pass.
    fn slowest(self, bench: &Bench, bare: f64, written: f64) -> Limit {
        let machine = &bench.machine;
        let copied = self.size_bytes <= COPIED_BYTES;
        let (times, disk) = match copied {
            true => (2.0, "disk, each byte twice"),
            false => (1.5, "disk, each byte 1.5 times"),
        };
        let mut limits = vec![
            ("bare handler", bare),
            ("loopback", machine.loopback),
            ("BLAKE3 and SHA-256", machine.two_digests),
            (disk, written / times),
        ];
        if !copied {
            limits.push(("Reed-Solomon", machine.encoding));
        }
        let slowest = limits
            .into_iter()
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        let (what, pace) = slowest.expect("there are limits");
        Limit {
            what,
            figure: Figure::BytesPerSecond(pace),
        }
    }

    async fn get(self, bench: &mut Bench, stored: Vec<Stored>) -> anyhow::Result<()> {
        let first = stored.first().context("nothing was stored")?;
        let bytes = Bytes::from(first.content.bytes());
        let bare_hosts = [bench.bare.address().to_owned()];
        let bare_target = bench.bare.keep("blob", bytes).await?;
        let stored: Arc<[Stored]> = stored.into();
        let (mut bare, mut cairn) = (Vec::new(), Vec::new());
        for _ in 0..bench.scale.rounds {
            let target = bare_target.clone();
            let make = move |_| request(Method::GET, &target, None).body(nothing());
            bare.push(
                bench
                    .load_bare(&self.load(&bare_hosts, StatusCode::OK), make)
                    .await?,
            );
            let (hosts, stored) = (bench.hosts(), stored.clone());
            let authorization = image::authorization(bench).await?;
            let make = move |number: u64| {
                let blob = &stored[number as usize % stored.len()];
                let target = format!("{REPOSITORY}/blobs/{}", blob.digest);
                request(Method::GET, &target, Some(&authorization)).body(nothing())
            };
            let load = self.load(&hosts, StatusCode::OK);
            let loaded = bench.load(&load, make).await?;
            let expected_bytes = loaded.outcome.requests() * self.size_bytes;
            ensure!(
                loaded.outcome.received_bytes == expected_bytes,
                "blobs came shortened"
            );
            cairn.push(loaded);
        }
        let (bare, cairn) = (middle(bare), middle(cairn));
        let limit = Limit {
            what: "bare handler",
            figure: Figure::BytesPerSecond(self.pace(&bare.outcome)),
        };
        bench.add(self.row("get", &cairn, &bare, limit));
        Ok(())
    }
}

/// Bytes on the disks of the nodes that run.
fn disk(bench: &Bench) -> anyhow::Result<u64> {
    let nodes = bench.alive().iter();
    nodes
        .map(|node| disk_bytes(&bench.cluster.node(*node).data()?))
        .sum()
}
