//! Processes that are killed or stand still.

use anyhow::ensure;
use rand::RngExt as _;
use rustix::process::Signal;
use tokio::time::sleep;

use super::Strike;
use crate::driver::Run;

/// F1.
pub(super) async fn kill_one(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    run.cluster.node(victim).kill().await?;
    sleep(strike.hold).await;
    run.cluster.node(victim).start()?;
    Ok(format!("node {} was killed", victim + 1))
}

/// F2. The others must acknowledge writes again.
pub(super) async fn kill_leader(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let leader = run.leader().await?;
    run.cluster.node(leader).kill().await?;
    let others = run.cluster.others(&[leader]);
    let took = run.serves(&others).await?;
    run.failed_over(took);
    sleep(strike.hold.saturating_sub(took)).await;
    run.cluster.node(leader).start()?;
    Ok(format!(
        "node {}, which led, was killed; writes went on after {} ms",
        leader + 1,
        took.as_millis()
    ))
}

/// F3.
pub(super) async fn kill_all(run: &Run, _strike: &Strike) -> anyhow::Result<String> {
    run.cluster.kill_all().await?;
    for node in 0..run.cluster.size() {
        run.cluster.node(node).start()?;
    }
    Ok("all nodes were killed".into())
}

/// F7. The leader half of the time.
pub(super) async fn pause(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = match strike.dice().random_bool(0.5) && strike.alone {
        true => run.leader().await?,
        false => strike.victim(run),
    };
    let node = run.cluster.node(victim);
    node.stand_still().await?;
    sleep(strike.hold).await;
    let stood_still = node.stands_still()?;
    node.signal(Signal::CONT)?;
    ensure!(stood_still, "node {} did not stand still", victim + 1);
    Ok(format!("node {} stood still for {:?}", victim + 1, strike.hold))
}
