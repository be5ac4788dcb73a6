//! I6: what nothing names any more goes, in bounded time, and nothing else: that what is named
//! stays, every read sees.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Invariant, Violation};
use crate::Cluster;

/// Within which time what was deleted last is gone, with the retention of a run.
pub const WITHIN: Duration = Duration::from_secs(60);

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Waits until nothing is there whose time has come to be removed. Gives how long that took.
pub async fn check(cluster: &Cluster, within: Duration) -> Result<Duration, Violation> {
    let begun = Instant::now();
    loop {
        let waste = overdue(cluster).await;
        if waste.as_ref().is_ok_and(|waste| *waste == 0) {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > within {
            return Err(Invariant::Reclaimed.violated(format!(
                "what nothing names is not gone within {within:?}: {waste:?} blobs are overdue"
            )));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn overdue(cluster: &Cluster) -> anyhow::Result<usize> {
    let url = format!("{}/api/cairn/v1/blobs/waste?limit=1000", cluster.url(0));
    let answer = cluster.http().expect(Method::GET, &url, StatusCode::OK).await?;
    let listed: Vec<Value> = serde_json::from_slice(&answer.body)?;
    let now = Timestamp::now();
    let mut overdue = 0;
    for waste in listed {
        let freed_at: Timestamp = waste["freed_at"].as_str().context("no time")?.parse()?;
        // What a client was promised may be kept for longer.
        overdue += usize::from(freed_at <= now);
    }
    Ok(overdue)
}
