//! Nodes that come, give up what they have, and go, while clients work and other nodes fail.

use anyhow::ensure;

use super::Strike;
use crate::driver::{CODED_BYTES, Run};

/// W4. A node is drained. When it says that it is safe to stop, it is stopped, and the others serve
/// everything without it: whatever was dropped lies safe elsewhere. Then it takes its share again.
pub(super) async fn drain(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let others = run.cluster.others(&[victim]);
    let stored = run.store(CODED_BYTES).await?;
    let id = run.cluster.id(victim, others[0]).await?.to_string();
    let drain = ["cluster", "drain", &id];
    let (_, amid) = strike.amid(run, Some(victim), run.insist(&drain)).await?;
    let reads = {
        let _quiet = run.quiet().await;
        // Something may have been put there before all knew that it leaves.
        run.insist(&drain).await?;
        run.cluster.node(victim).kill().await?;
        run.reads_through(&others, &stored).await?
    };
    run.cluster.restart(victim).await?;
    run.insist(&["cluster", "undrain", &id]).await?;
    run.calm_again().await?;
    Ok(format!(
        "node {} was drained, {amid}; the others served {reads} reads without it",
        victim + 1
    ))
}

/// W5. A node joins, another one is drained, removed and loses its disk; a new node takes its
/// place, and the one that joined leaves.
pub(super) async fn join_and_leave(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let (victim, spare) = (strike.victim(run), run.cluster.size());
    let others = run.cluster.others(&[victim]);
    let stored = run.store(CODED_BYTES).await?;
    run.cluster.join(spare, others[0]).await?;
    let (_, amid) = strike.amid(run, Some(victim), leave(run, victim)).await?;
    let reads = {
        let _quiet = run.quiet().await;
        run.reads_through(&others, &stored).await?
    };
    run.join_anew(victim).await?;
    leave(run, spare).await?;
    run.calm_again().await?;
    Ok(format!(
        "a node joined, node {} left, {amid}; the others served {reads} reads; it joined anew, and the other \
         one left",
        victim + 1
    ))
}

/// A node is drained, removed, and ends; its disk is wiped.
async fn leave(run: &Run, node: usize) -> anyhow::Result<()> {
    let through = run.cluster.others(&[node])[0];
    let id = run.insist_on_id(node, through).await?.to_string();
    run.insist(&["cluster", "drain", &id]).await?;
    run.insist(&["cluster", "remove", &id]).await?;
    let node = run.cluster.node(node);
    let status = node.ended().await?;
    ensure!(
        status.code().is_some(),
        "node {}, which was removed, ended with {status}",
        node.number()
    );
    node.disk()?.lose().await
}
