//! What an operator can do wrong, by hand or by a script that ran twice. Nothing of it may hurt the
//! cluster.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::Strike;
use crate::driver::Run;
use crate::invariants::{Invariant, Violation};
use crate::node::{Node, WATCHDOG};
use crate::room::succeed;

/// How far the ports of a second process of a node are from its own.
const OTHER_PORTS: u16 = 10;

/// What the other nodes tell a copy.
const REFUSED: &str = "another copy of node";

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// F26. A second `init`, a copy of a data directory that starts beside the node, a data directory
/// of another cluster in its place.
pub(super) async fn mistakes(run: &Run, strike: &Strike) -> anyhow::Result<String> {
    let victim = strike.victim(run);
    let node = run.cluster.node(victim);
    second_init(node).await?;
    twin(run, node).await?;
    foreign(run, victim).await?;
    Ok(format!(
        "node {}: a second `cluster init` and a copy of its data directory were refused, a node of another \
         cluster at its address took no part",
        victim + 1
    ))
}

fn took_part(what: &str) -> Violation {
    Invariant::SameState.violated(what)
}

/// `cairn cluster init` where there is a node.
async fn second_init(node: &Node) -> anyhow::Result<()> {
    match node.run(&["cluster", "init"], "").await {
        Ok(_) => bail!(took_part("a second `cluster init` goes through")),
        Err(_) => Ok(()),
    }
}

/// A copy of the data directory, taken while the node was down, starts on other ports while the
/// node runs. It is told so by all others, never takes part, and the node goes on.
async fn twin(run: &Run, node: &Node) -> anyhow::Result<()> {
    let twin = node.beside("twin", OTHER_PORTS)?;
    node.stop().await?;
    copy(&node.data()?, &twin.data()?).await?;
    run.cluster.restart(node.number() - 1).await?;
    twin.start()?;
    let deadline = Instant::now() + WATCHDOG;
    loop {
        if node.has_ended()?.is_some() {
            bail!(took_part("a copy of its data directory has taken a node's place"));
        }
        let ready = run.cluster.http().client.get(format!("{}/-/ready", twin.url()));
        if ready
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            bail!(took_part("a copy of a data directory serves clients"));
        }
        if std::fs::read_to_string(twin.log())?.contains(REFUSED) {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "a copy of a data directory is not refused"
        );
        sleep(BETWEEN_LOOKS).await;
    }
    match twin.has_ended()? {
        Some(_) => drop(twin.ended().await?),
        None => twin.kill().await?,
    }
    std::fs::remove_dir_all(twin.data()?)?;
    Ok(())
}

/// A node of another cluster runs at the address of the node for a while.
async fn foreign(run: &Run, victim: usize) -> anyhow::Result<()> {
    let node = run.cluster.node(victim);
    // Clients would take its answers for those of the cluster.
    let _quiet = run.quiet().await;
    node.stop().await?;
    let foreign = node.beside("foreign", 0)?;
    foreign.run(&["cluster", "init"], "").await?;
    foreign.start()?;
    foreign.ready(&run.cluster.http().client).await?;
    let other = (victim + 1) % run.cluster.size();
    // The others try to reach who is at this address.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let status = run.cluster.status(other).await?;
        let nodes = status["nodes"].as_array().context("no nodes")?;
        let takes_part =
            |listed: &&Value| run.cluster.place_of(listed) == Some(victim) && listed["up"] == true;
        if nodes.len() != run.cluster.size() || nodes.iter().any(|listed| takes_part(&listed)) {
            bail!(took_part("a node of another cluster takes part"));
        }
        sleep(BETWEEN_LOOKS).await;
    }
    foreign.stop().await?;
    std::fs::remove_dir_all(foreign.data()?)?;
    node.start()
}

/// Copies a folder durably: a node may find its data there after the next power cut.
pub(super) async fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(from).arg(to);
    succeed(copy).await?;
    let mut sync = Command::new("sync");
    sync.arg("--file-system").arg(to);
    succeed(sync).await?;
    Ok(())
}
