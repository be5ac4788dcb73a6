//! Zones that fall away with all that is in them.

use anyhow::ensure;
use futures::future::try_join_all;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use tokio::time::sleep;

use super::{Strike, network};
use crate::driver::{CODED_BYTES, Run};
use crate::node::Node;

/// F22. All nodes of a zone are killed, lose power or are cut off at once. The others serve writes,
/// and everything that was there before. Where there are no zones, a node is one.
pub(super) async fn away(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let mut dice = strike.dice();
    let zones = run.zones();
    let zone = zones.choose(&mut dice).expect("there are nodes");
    let others = run.cluster.others(zone);
    ensure!(others.len() > run.cluster.size() / 2, "a zone has the majority");
    let stored = {
        let _quiet = run.quiet().await;
        run.store(CODED_BYTES).await?
    };
    let those = || zone.iter().map(|node| run.cluster.node(*node));
    let numbers: Vec<_> = zone.iter().map(|node| node + 1).collect();
    let check = async {
        run.serves(&others).await?;
        let _quiet = run.quiet().await;
        let reads = run.reads_through(&others, &stored).await?;
        anyhow::Ok(reads)
    };
    let (how, reads) = match dice.random_range(0..3) {
        0 => {
            try_join_all(those().map(Node::kill)).await?;
            let reads = check.await?;
            sleep(strike.hold).await;
            those().try_for_each(Node::start)?;
            ("were killed", reads)
        }
        1 => {
            let cuts = try_join_all(those().map(Node::cut_power)).await?;
            try_join_all(those().map(Node::kill)).await?;
            let reads = check.await?;
            sleep(strike.hold).await;
            for (node, cut) in those().zip(cuts) {
                node.disk()?.restore_power(cut).await?;
            }
            those().try_for_each(Node::start)?;
            ("lost power", reads)
        }
        _ => {
            network::cut(run, zone, &others).await?;
            let reads = check.await?;
            sleep(strike.hold).await;
            network::mended(run, "a zone was cut off").await?;
            ("were cut off", reads)
        }
    };
    Ok(format!(
        "all nodes of a zone, {numbers:?}, {how} at once; the others took writes and served {reads} reads"
    ))
}
