//! Disks that are full, and then are not.

use anyhow::ensure;
use rand::RngExt as _;
use tokio::time::sleep;

use super::Strike;
use crate::driver::Run;
use crate::node::RESERVE_BYTES;

/// F15. Either into the reserve, which metadata may use: the node goes on, and starts again. Or to
/// the last byte: the node may end, and comes back when there is room.
pub(super) async fn fill(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let (node, number) = (run.cluster.node(victim), victim + 1);
    let brim = strike.dice().random_bool(0.5);
    let leave = match brim {
        true => 0,
        false => RESERVE_BYTES * 3 / 4,
    };
    node.disk()?.fill(leave)?;
    sleep(strike.hold).await;
    let how = match brim {
        false => {
            ensure!(
                node.has_ended()?.is_none(),
                "node {number} ended with room in its reserve"
            );
            node.stop().await?;
            run.cluster.restart(victim).await?;
            "started again while its disk was full"
        }
        true if node.has_ended()?.is_some() => "ended, for want of room for metadata",
        true => "went on",
    };
    node.disk()?.free()?;
    run.revive(victim).await?;
    Ok(format!(
        "the disk of node {number} had {} MiB left; it {how}",
        leave >> 20
    ))
}
