//! Brings the nodes of a `cairn dev` up: for the first time, or again.

use std::time::Duration;

use serde::Deserialize;

use super::super::client::Client;
use super::super::cluster::{self, Status};
use super::super::failure::{Failure, OrFail as _};
use super::super::output::progress;
use super::node::Node;

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How long the join token of a node holds, which is used at once.
const JOINS_WITHIN: Duration = Duration::from_secs(600);

/// What `cairn cluster init` prints.
#[derive(Deserialize)]
struct Founded {
    token: String,
}

/// Founds the cluster on the first node, with what the examples use, and lets the others join.
/// Gives the administrator's token.
pub(super) async fn found(nodes: &mut [Node]) -> Result<String, Failure> {
    let http = probe()?;
    let Some((founder, others)) = nodes.split_first_mut() else {
        return Err(Failure::failed("a cluster without nodes"));
    };
    progress("founding a cluster");
    let founded = founder.run(&["cluster", "init", "--demo"], None).await?;
    let Founded { token } = serde_json::from_slice(&founded).or_fail("read what cluster init printed")?;
    founder.start()?;
    founder.ready(&http).await?;
    let client = Client::new(vec![founder.url()], Some(token.clone()))?;
    for node in others {
        admit(node, &client).await?;
        node.ready(&http).await?;
    }
    settled(&client, nodes.len()).await?;
    Ok(token)
}

/// Starts all nodes of a cluster that was set up before, and lets new ones join it. Nodes that were
/// removed from it are left out from then on.
pub(super) async fn restart(nodes: &mut Vec<Node>, token: &str) -> Result<(), Failure> {
    let http = probe()?;
    let (mut members, mut new) = (Vec::new(), Vec::new());
    for node in nodes.iter_mut() {
        match node.is_member()? {
            true => members.push(node),
            false => new.push(node),
        }
    }
    // A majority must run before any of them can serve.
    for node in &mut members {
        node.start()?;
    }
    for node in &mut members {
        node.ready(&http).await?;
    }
    members.retain(|node| !node.is_removed());
    let urls = members.iter().map(|node| node.url()).collect();
    let client = Client::new(urls, Some(token.to_owned()))?;
    for node in &mut new {
        admit(node, &client).await?;
        node.ready(&http).await?;
    }
    for removed in nodes.iter().filter(|node| node.is_removed()) {
        progress(removed.removal());
    }
    nodes.retain(|node| !node.is_removed());
    settled(&client, nodes.len()).await
}

async fn admit(node: &mut Node, client: &Client) -> Result<(), Failure> {
    progress(format_args!("node {} joins", node.number()));
    let join_token = cluster::new_token(client, JOINS_WITHIN).await?.token;
    node.run(&["cluster", "join", "--token-file", "-"], Some(&join_token))
        .await?;
    node.start()
}

/// Waits until every node has the part in the cluster that it will keep.
async fn settled(client: &Client, nodes: usize) -> Result<(), Failure> {
    loop {
        let status: Status = cluster::status(client).await?;
        if status.is_settled(nodes) {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Asks nodes on this machine whether they are ready.
fn probe() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()
        .or_fail("set up HTTP")
}
