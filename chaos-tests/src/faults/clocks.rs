//! Wall clocks that jump, and that disagree.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use rand::RngExt as _;
use rand::rngs::StdRng;
use reqwest::Method;
use tokio::time::{Instant, sleep};

use super::Strike;
use crate::driver::Run;

/// How far a clock may be wrong without anybody noticing.
const TOLERATED_MS: i64 = 5 * 60 * 1000;

/// So long ago a node may have logged something last.
const LOGGED_WITHIN_MS: u64 = 20_000;

/// Between two jumps of a clock that does not come to rest.
const BETWEEN_JUMPS: Duration = Duration::from_millis(200);

/// F14. Clocks jump into the past and the future, of one node or of each by itself, once or all the
/// time; and then back to the truth.
pub(super) async fn jump(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let mut dice = strike.dice();
    let nodes = match dice.random_bool(0.5) {
        true => vec![strike.victim(run)],
        false => (0..run.cluster.size()).collect(),
    };
    let restless = dice.random_bool(0.3);
    let mut shifts = shift(run, &nodes, &mut dice)?;
    ensure!(
        wrong_by(run, nodes[0]).await?.abs_diff(shifts[0]) < LOGGED_WITHIN_MS,
        "node {} does not go by the clock that it has",
        nodes[0] + 1
    );
    let end = Instant::now() + strike.hold;
    while Instant::now() < end {
        if restless {
            shifts = shift(run, &nodes, &mut dice)?;
        }
        sleep(BETWEEN_JUMPS).await;
    }
    for node in &nodes {
        run.cluster.node(*node).clock()?.shift_ms(0)?;
    }
    let how = if restless { ", and jumped all the time" } else { "" };
    let shifts: Vec<_> = shifts.iter().map(|shift| shift / 1000).collect();
    let nodes: Vec<_> = nodes.iter().map(|node| node + 1).collect();
    Ok(format!(
        "the clocks of nodes {nodes:?} were wrong by {shifts:?} s{how}"
    ))
}

fn shift(run: &Run, nodes: &[usize], dice: &mut StdRng) -> anyhow::Result<Vec<i64>> {
    let each = nodes.iter().map(|node| {
        let by = dice.random_range(30_000..TOLERATED_MS);
        let by = if dice.random_bool(0.5) { by } else { -by };
        run.cluster.node(*node).clock()?.shift_ms(by)?;
        Ok(by)
    });
    each.collect()
}

/// By how much the time is wrong that a node logs, in milliseconds.
async fn wrong_by(run: &Run, node: usize) -> anyhow::Result<i64> {
    // Whatever it answers, it logs that.
    let url = format!("{}/api/v4/user", run.cluster.url(node));
    let _ = run
        .cluster
        .http()
        .send(run.cluster.http().request(Method::GET, &url))
        .await;
    let log = fs::read_to_string(run.cluster.node(node).log())?;
    let time = |line: &str| line.split_whitespace().next()?.parse::<Timestamp>().ok();
    let told = log.lines().rev().find_map(time).context("it logs no time")?;
    Ok(told.as_millisecond() - Timestamp::now().as_millisecond())
}
