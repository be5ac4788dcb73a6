//! Nodes that are lost for good with all that they had.

use futures::future::try_join_all;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::{Strike, network};
use crate::driver::{CODED_BYTES, Run};

/// How many files are acknowledged by as few nodes as do so.
const FILES: usize = 4;

/// W5. As many nodes as may be away are away, or cut off, while files are acknowledged. At once, before
/// anything can be repaired, one of those that stored them is lost with its disk, and the others
/// come back. They must serve everything: what was acknowledged survives the loss of any node.
/// Then a new node takes the place of the lost one.
pub(super) async fn replace(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let mut dice = strike.dice();
    let mut nodes: Vec<_> = (0..run.cluster.size()).collect();
    nodes.shuffle(&mut dice);
    let (away, there) = nodes.split_at((nodes.len() - 1) / 2);
    let (cut, lost) = (dice.random_bool(0.5), there[0]);
    let others = run.cluster.others(&[lost]);
    run.calm_again().await?;
    let id = run.cluster.id(lost, others[0]).await?.to_string();
    let node = run.cluster.node(lost);
    let reads = {
        let _quiet = run.quiet().await;
        match cut {
            true => network::cut(run, away, there).await?,
            false => {
                try_join_all(away.iter().map(|node| run.cluster.node(*node).kill())).await?;
            }
        }
        let stored = run.store_through(there, FILES, CODED_BYTES).await?;
        node.kill().await?;
        match cut {
            true => drop(network::mended(run, "nodes were cut off").await?),
            false => away.iter().try_for_each(|node| run.cluster.node(*node).start())?,
        }
        node.disk()?.lose().await?;
        try_join_all(others.iter().map(|node| run.cluster.ready(*node))).await?;
        run.reads_through(&others, &stored).await?
    };
    run.join_anew(lost).await?;
    run.insist(&["cluster", "replace", &id]).await?;
    run.calm_again().await?;
    let how = if cut { "were cut off" } else { "were down" };
    let away: Vec<_> = away.iter().map(|node| node + 1).collect();
    Ok(format!(
        "nodes {away:?} {how} while files were acknowledged, node {} was lost, and the others served {reads} \
         reads; a new node took its place",
        lost + 1
    ))
}
