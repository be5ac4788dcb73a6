//! How much memory the nodes hold while one of them takes a very large file.

use std::time::Duration;

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};

use crate::bench::{Bench, Loaded};
use crate::content::Content;
use crate::load::{Load, request};
use crate::process::resident_bytes;
use crate::scale::MIB;
use crate::table::{Figure, Limit, Row};

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Far longer than it takes.
const WINDOW: Duration = Duration::from_secs(3600);

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let pids = bench.pids()?;
    let mut highest = resident(&pids)?;
    let before = highest.clone();
    let loaded = {
        let upload = upload(bench);
        tokio::pin!(upload);
        loop {
            tokio::select! {
                done = &mut upload => break done?,
                () = tokio::time::sleep(BETWEEN_LOOKS) => {
                    for (highest, now) in highest.iter_mut().zip(resident(&pids)?) {
                        *highest = now.max(*highest);
                    }
                }
            }
        }
    };
    let size_bytes = bench.scale.upload_bytes;
    let what = format!("upload of {} MiB", size_bytes / MIB);
    let seconds = loaded.outcome.elapsed.as_secs_f64();
    bench.add(Row {
        limit: Some(Limit {
            what: "five digests on one core",
            figure: Figure::BytesPerSecond(bench.machine.five_digests),
        }),
        cost: Some(loaded.per_byte(size_bytes)),
        ..Row::new(
            format!("generic {what}"),
            Figure::BytesPerSecond(size_bytes as f64 / seconds),
        )
    });
    for (number, (before, highest)) in before.iter().zip(highest).enumerate() {
        let part = if number == 0 { ", which receives it" } else { "" };
        let more = Figure::Bytes(highest.saturating_sub(*before) as f64);
        let what = format!(
            "most memory of node {}{part}, during the {what} ({more} more than before)",
            number + 1
        );
        bench.add(Row::new(what, Figure::Bytes(highest as f64)));
    }
    Ok(())
}

fn resident(pids: &[i32]) -> anyhow::Result<Vec<u64>> {
    pids.iter().map(|pid| resident_bytes(*pid)).collect()
}

async fn upload(bench: &Bench) -> anyhow::Result<Loaded> {
    let hosts = bench.hosts();
    let load = Load {
        hosts: hosts.get(..1).context("no node runs")?,
        connections: 1,
        window: WINDOW,
        requests: 1,
        expected: StatusCode::CREATED,
    };
    let authorization = format!("Bearer {}", bench.cluster.token());
    let content = Content {
        number: u64::MAX / 4,
        size_bytes: bench.scale.upload_bytes,
    };
    let make = move |_| {
        let target = "/api/v4/projects/1/packages/generic/bench/1.0.0/upload.bin";
        request(Method::PUT, target, Some(&authorization)).body(content.body().boxed())
    };
    bench.load(&load, make).await
}
