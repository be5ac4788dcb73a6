//! Disks that come back blank. Whoever has lost its data is not the node that it was.

use anyhow::ensure;
use tokio::time::sleep;

use super::Strike;
use crate::driver::Run;
use crate::invariants::Invariant;

/// F21. The node must not start; with its own disk it does.
pub(super) async fn blank(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let node = run.cluster.node(victim);
    node.stop().await?;
    node.disk()?.swap_for_blank().await?;
    let said = node.fails_to_start().await.map_err(|error| {
        Invariant::Calm.violated(format!(
            "a node whose disk is blank starts all the same: {error:#}"
        ))
    })?;
    ensure!(said.contains("error:"), "it does not say why: {said}");
    sleep(strike.hold).await;
    node.disk()?.swap_back().await?;
    node.start()?;
    Ok(format!(
        "node {} found its disk blank: {}",
        victim + 1,
        said.lines().last().unwrap_or_default()
    ))
}
