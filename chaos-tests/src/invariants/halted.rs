//! I15: who is without a majority acknowledges nothing.

use super::{Invariant, Violation};
use crate::{Cluster, Oracle};

/// Publishes through a node that has no majority, and must not be told that it was done.
pub async fn check(cluster: &Cluster, oracle: &Oracle, node: usize, number: u64) -> Result<(), Violation> {
    match oracle.publish(cluster, node, number, 1000).await {
        false => Ok(()),
        true => Err(Invariant::Halted.violated(format!(
            "node {} acknowledged file {number} without a majority",
            node + 1
        ))),
    }
}
