//! Networks that lose, cut off, slow down and break connections between nodes. Clients reach every
//! node all the time.

use anyhow::ensure;
use futures::future::try_join_all;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use tokio::time::sleep;

use super::Strike;
use crate::driver::Run;
use crate::invariants::halted;
use crate::network::Trouble;

/// What a client sends to a node with a slow network, at least.
const NARROW_BYTES: usize = 200_000;

/// F8. The leader is in the minority, or in the majority, or everybody is alone.
pub(super) async fn partition(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let mut dice = strike.dice();
    let mut nodes: Vec<_> = (0..run.cluster.size()).collect();
    if dice.random_ratio(1, 5) {
        for (node, other) in pairs(run) {
            trouble(run, node, other, Trouble::Drop).await?;
        }
        if strike.alone {
            without_majority(run, &nodes).await?;
        }
        sleep(strike.hold).await;
        return mended(run, "every node was alone").await;
    }
    nodes.shuffle(&mut dice);
    let leads = dice.random_bool(0.5) && strike.alone;
    if strike.alone {
        let leader = run.leader().await?;
        nodes.sort_by_key(|node| (*node == leader) != leads);
    }
    let (minority, majority) = nodes.split_at((nodes.len() - 1) / 2);
    cut(run, minority, majority).await?;
    if strike.alone {
        let took = run.serves(majority).await?;
        if leads {
            run.failed_over(took);
        }
        without_majority(run, minority).await?;
    }
    sleep(strike.hold).await;
    let led = match leads {
        true => ", of which one led",
        false => "",
    };
    mended(run, &format!("nodes {} were cut off{led}", list(minority))).await
}

/// None of these nodes may acknowledge anything.
async fn without_majority(run: &Run, nodes: &[usize]) -> anyhow::Result<()> {
    let each = nodes
        .iter()
        .map(|node| halted::check(&run.cluster, &run.oracle, *node, run.number()));
    try_join_all(each).await?;
    Ok(())
}

/// F9. What a node sends to the others does not arrive, or what they send to it does not.
pub(super) async fn one_way(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let mut dice = strike.dice();
    let victim = match dice.random_bool(0.7) && strike.alone {
        true => run.leader().await?,
        false => strike.victim(run),
    };
    let mute = dice.random_bool(0.5);
    let others = run.cluster.others(&[victim]);
    for other in others.iter().copied() {
        match mute {
            true => trouble(run, other, victim, Trouble::Drop).await?,
            false => trouble(run, victim, other, Trouble::Drop).await?,
        }
    }
    if strike.alone {
        run.serves(&others).await?;
    }
    sleep(strike.hold).await;
    let how = match mute {
        true => "was not heard",
        false => "heard nobody",
    };
    mended(run, &format!("node {} {how}", victim + 1)).await
}

/// F10. Two nodes do not reach each other and both reach the third; of five, each reaches its
/// neighbours in a ring.
pub(super) async fn bridge(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let mut ring: Vec<_> = (0..run.cluster.size()).collect();
    ring.shuffle(&mut strike.dice());
    let size = ring.len();
    for (node, other) in pairs(run) {
        let at = |wanted: usize| ring.iter().position(|node| *node == wanted).unwrap_or_default();
        let apart = at(node).abs_diff(at(other));
        let cut = match size {
            3 => apart == 2,
            _ => apart.min(size - apart) > 1,
        };
        if cut {
            trouble(run, node, other, Trouble::Drop).await?;
        }
    }
    sleep(strike.hold).await;
    mended(run, &format!("only neighbours of the ring {} met", list(&ring))).await
}

/// F11.
pub(super) async fn loss(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let share = strike.dice().random_range(0.01..0.3);
    for (node, other) in pairs(run) {
        trouble(run, node, other, Trouble::Lose(share)).await?;
    }
    sleep(strike.hold).await;
    mended(run, &format!("{:.0} % of packets were lost", share * 100.0)).await
}

/// F13.
pub(super) async fn resets(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let share = strike.dice().random_range(0.02..0.2);
    for (node, other) in pairs(run) {
        trouble(run, node, other, Trouble::Reset(share)).await?;
    }
    sleep(strike.hold).await;
    mended(
        run,
        &format!("{:.0} % of packets broke their connection", share * 100.0),
    )
    .await
}

/// F12.
pub(super) async fn narrow(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let cable = run.cluster.node(victim).cable()?;
    cable.narrow(1000).await?;
    // Something that is to go through, whatever others do.
    let published = run
        .oracle
        .publish(&run.cluster, victim, run.number(), NARROW_BYTES);
    futures::join!(sleep(strike.hold), published);
    let waited = cable.widen().await?;
    ensure!(waited > 0, "a slow network slowed nothing down");
    Ok(format!(
        "node {} had 1 Mbit/s, and {waited} packets waited",
        victim + 1
    ))
}

/// All ordered pairs of nodes.
fn pairs(run: &Run) -> impl Iterator<Item = (usize, usize)> {
    let size = run.cluster.size();
    (0..size * size)
        .map(move |pair| (pair / size, pair % size))
        .filter(|(node, other)| node != other)
}

async fn trouble(run: &Run, node: usize, other: usize, trouble: Trouble) -> anyhow::Result<()> {
    let cable = run.cluster.node(node).cable()?;
    cable.make_trouble(other + 1, trouble).await
}

/// Cuts some nodes off from others.
pub(super) async fn cut(run: &Run, nodes: &[usize], others: &[usize]) -> anyhow::Result<()> {
    for node in nodes {
        for other in others {
            trouble(run, *node, *other, Trouble::Drop).await?;
            trouble(run, *other, *node, Trouble::Drop).await?;
        }
    }
    Ok(())
}

/// Ends all trouble, which must have met packets.
pub(super) async fn mended(run: &Run, what: &str) -> anyhow::Result<String> {
    let mut met = 0;
    for node in 0..run.cluster.size() {
        met += run.cluster.node(node).cable()?.mend().await?;
    }
    ensure!(met > 0, "{what}: but no packet met a rule");
    Ok(format!("{what}; {met} packets"))
}

fn list(nodes: &[usize]) -> String {
    let numbers: Vec<_> = nodes.iter().map(|node| (node + 1).to_string()).collect();
    numbers.join(", ")
}
