//! I13: when faults end, writes succeed through every node and the nodes converge, in time: all up,
//! all voting, nothing left half done.

use std::time::{Duration, Instant};

use super::{Invariant, Violation};
use crate::{Cluster, Oracle};

/// Within which time writes succeed through every node, with the machine to itself.
pub const WRITES_WITHIN: Duration = Duration::from_secs(10);

/// Within which time the nodes have converged.
pub const CONVERGED_WITHIN: Duration = Duration::from_secs(60);

const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// Publishes through every node until each has acknowledged one, with numbers from `next`. Gives
/// how long that took.
pub async fn writes_again(
    cluster: &Cluster,
    oracle: &Oracle,
    mut next: impl FnMut() -> u64,
    within: Duration,
) -> Result<Duration, Violation> {
    let begun = Instant::now();
    for node in 0..cluster.size() {
        // Each attempt is a file of its own: what became of the last one may be unknown.
        while !oracle.publish(cluster, node, next(), 1000).await {
            if begun.elapsed() > within {
                let node = node + 1;
                return Err(Invariant::Lively.violated(format!(
                    "no write succeeds through node {node} within {within:?} after the faults"
                )));
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }
    let took = begun.elapsed();
    match took <= within {
        true => Ok(took),
        false => Err(Invariant::Lively.violated(format!(
            "writes succeed through every node after {took:?} rather than {within:?}"
        ))),
    }
}

/// Waits until all nodes are up and vote. Gives how long that took.
pub async fn converged(cluster: &Cluster, within: Duration) -> Result<Duration, Violation> {
    let begun = Instant::now();
    match tokio::time::timeout(within, cluster.settled()).await {
        Ok(Ok(())) => Ok(begun.elapsed()),
        Ok(Err(error)) => {
            Err(Invariant::Lively.violated(format!("the cluster does not tell how it is: {error:#}")))
        }
        Err(_) => Err(Invariant::Lively.violated(format!(
            "not all nodes are up and vote within {within:?}: {:?}",
            cluster.status(0).await
        ))),
    }
}
