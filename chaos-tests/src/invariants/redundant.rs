//! I7: full redundancy comes back by itself. The cluster must say so, and it must be true: with any
//! one node away, the others serve everything.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Invariant, Violation};
use crate::Cluster;
use crate::payload::Payload;
use crate::workloads::generic::{self, Read};

/// Within which time redundancy is back, of as little as a run holds.
pub const WITHIN: Duration = Duration::from_secs(60);

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Waits until no blob has less redundancy than it should. Gives how long that took.
pub async fn regained(cluster: &Cluster, within: Duration) -> Result<Duration, Violation> {
    let begun = Instant::now();
    loop {
        let listed = under_protected(cluster).await;
        if listed.as_ref().is_ok_and(Vec::is_empty) {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > within {
            return Err(Invariant::Redundant.violated(format!(
                "there is not full redundancy within {within:?}: {listed:?}"
            )));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// The blobs that have less redundancy than they should.
async fn under_protected(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let (mut blobs, mut after) = (Vec::new(), String::new());
    loop {
        let url = format!(
            "{}/api/cairn/v1/blobs/under_protected?limit=1000{after}",
            cluster.url(0)
        );
        let answer = cluster.http().expect(Method::GET, &url, StatusCode::OK).await?;
        let page: Value = serde_json::from_slice(&answer.body)?;
        blobs.extend(page["blobs"].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(blobs),
        }
    }
}

/// Reads these files through the nodes other than the one that is away. Gives how many reads that
/// took.
pub async fn check_without(cluster: &Cluster, away: usize, files: &[Payload]) -> Result<u64, Violation> {
    let others = cluster.others(&[away]);
    for (at, file) in files.iter().enumerate() {
        let node = others[at % others.len()];
        let read = generic::read(cluster, node, *file).await?;
        if read != Read::Whole {
            return Err(Invariant::Redundant.violated(format!(
                "with node {} away, node {} says of file {}: {read:?}",
                away + 1,
                node + 1,
                file.number
            )));
        }
    }
    Ok(files.len() as u64)
}
