//! `cairn cluster drain | undrain | replace | remove`: how nodes leave, and waiting until they have.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use cairn_cluster::NodeId;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Connection};
use super::cluster::{Departure, Status, status};
use super::failure::{Code, Failure};
use super::output::{Output, progress};

/// Between two looks at how far a node is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct Drain {
    /// The node, as `cairn cluster status` lists it
    node: NodeId,

    /// Only says whether it may be drained, and how much would be moved
    #[arg(long)]
    dry_run: bool,

    /// Returns at once, rather than when it is safe to stop the node
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Undrain {
    /// The node, as `cairn cluster status` lists it
    node: NodeId,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Replace {
    /// The dead node, as `cairn cluster status` lists it
    node: NodeId,

    /// The node that takes its places, if not the one that joined last
    #[arg(long, value_name = "NODE")]
    with: Option<NodeId>,

    /// Only says whether it may be replaced, and by which node
    #[arg(long)]
    dry_run: bool,

    /// Returns at once, rather than when the dead node has been removed
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Remove {
    /// The node, as `cairn cluster status` lists it
    node: NodeId,

    /// Only says whether it may be removed
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn drain(arguments: Drain, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let (node, dry_run) = (arguments.node, arguments.dry_run);
    let decision = ask(&client, node, "drain", json!({ "dry_run": dry_run })).await?;
    if dry_run || arguments.no_wait {
        output.show(&Drained::Decided(decision));
        return Ok(());
    }
    let drained = wait(&client, node, output, |departure| departure.safe_to_stop).await?;
    output.show(
        &drained.map_or(Drained::Removed { node: node.0 }, |departure| Drained::Safe {
            node: node.0,
            departure,
        }),
    );
    Ok(())
}

pub(super) async fn undrain(arguments: Undrain, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let decision = ask(&client, arguments.node, "undrain", json!({})).await?;
    output.show(&Stays { node: decision.node });
    Ok(())
}

pub(super) async fn replace(arguments: Replace, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let (node, dry_run) = (arguments.node, arguments.dry_run);
    let with = arguments.with.map(|node| node.0);
    let decision = ask(
        &client,
        node,
        "replace",
        json!({ "dry_run": dry_run, "with": with }),
    )
    .await?;
    if dry_run || arguments.no_wait {
        output.show(&Replaced {
            decision,
            removed: false,
        });
        return Ok(());
    }
    // It is removed by itself, and then listed no more.
    wait(&client, node, output, |_| false).await?;
    output.show(&Replaced {
        decision,
        removed: true,
    });
    Ok(())
}

pub(super) async fn remove(arguments: Remove, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let path = format!("{}?dry_run={}", path(arguments.node), arguments.dry_run);
    let decision: Decision = client.delete(&path).await?;
    output.show(&Removed(decision));
    Ok(())
}

fn path(node: NodeId) -> String {
    format!("/api/cairn/v1/cluster/nodes/{node}")
}

async fn ask(
    client: &Client,
    node: NodeId,
    what: &str,
    body: serde_json::Value,
) -> Result<Decision, Failure> {
    client.post(&format!("{}/{what}", path(node)), &body).await
}

/// Waits until a node that is leaving has come so far, or is not listed any more; tells on the way
/// how far it is.
async fn wait(
    client: &Client,
    node: NodeId,
    output: Output,
    enough: impl Fn(&Departure) -> bool,
) -> Result<Option<Departure>, Failure> {
    let mut told = String::new();
    let mut tell = |line: String| {
        if output == Output::Human && line != told {
            progress(&line);
            told = line;
        }
    };
    loop {
        match status(client).await {
            Ok(status) => match departure(status, node) {
                Found::Leaving(departure) if enough(&departure) => return Ok(Some(departure)),
                Found::Leaving(departure) => tell(format!("node {node}: {}", Progress(&departure))),
                Found::Gone => return Ok(None),
                Found::Stays => {
                    return Err(Failure::new(
                        Code::Conflict,
                        format!("node {node} is not leaving any more: it was undrained meanwhile"),
                    ));
                }
            },
            // While another node takes over the leadership, say.
            Err(failure) if failure.code == Code::Unavailable => tell(failure.message),
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

enum Found {
    Leaving(Departure),
    Stays,
    Gone,
}

fn departure(status: Status, node: NodeId) -> Found {
    match status.into_departure(node.0) {
        None => Found::Gone,
        Some(None) => Found::Stays,
        Some(Some(departure)) => Found::Leaving(departure),
    }
}

/// How far a node is with leaving, in a line.
pub(super) struct Progress<'a>(pub(super) &'a Departure);

impl fmt::Display for Progress<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let departure = self.0;
        if departure.safe_to_stop {
            return write!(out, "drained, safe to stop");
        }
        write!(out, "waits for {}", departure.waits_for.join(", "))?;
        if departure.bytes > 0 {
            let (left, total) = (departure.bytes, departure.bytes_at_first.max(departure.bytes));
            write!(out, "; {} of {} left", ByteSize(left), ByteSize(total))?;
        }
        if departure.bytes_per_second > 0 {
            write!(out, ", {}/s", ByteSize(departure.bytes_per_second))?;
        }
        if let Some(seconds) = departure.eta_seconds.filter(|seconds| *seconds > 0) {
            write!(out, ", about {} to go", Time(seconds))?;
        }
        Ok(())
    }
}

/// A time as people say it.
pub(super) struct Time(pub(super) u64);

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ ..120 => write!(out, "{seconds} s"),
            seconds @ ..7200 => write!(out, "{} min", seconds.div_ceil(60)),
            seconds => write!(out, "{} h", seconds.div_ceil(3600)),
        }
    }
}

/// What was decided, as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
struct Decision {
    node: u64,
    successor: Option<u64>,
    /// Whether it was done.
    done: bool,
    shards: u64,
    bytes: u64,
}

/// What became of a node that was to be drained.
#[derive(Serialize)]
#[serde(untagged)]
enum Drained {
    Decided(Decision),
    Safe {
        node: u64,
        #[serde(flatten)]
        departure: Departure,
    },
    Removed {
        node: u64,
    },
}

impl fmt::Display for Drained {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided(Decision {
                node,
                done,
                shards,
                bytes,
                ..
            }) => {
                let what = if *done {
                    "is being drained"
                } else {
                    "may be drained"
                };
                let bytes = ByteSize(*bytes);
                write!(
                    out,
                    "node {node} {what}: {shards} shards ({bytes}) are to be moved"
                )
            }
            Self::Safe { node, .. } => write!(
                out,
                "node {node} is drained: it is safe to stop it, and `cairn cluster remove {node}` takes it out \
                 of the cluster"
            ),
            Self::Removed { node } => write!(out, "node {node} has been removed"),
        }
    }
}

/// A node that is not to leave any more.
#[derive(Serialize)]
struct Stays {
    node: u64,
}

impl fmt::Display for Stays {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "node {} stays, and gets its share again", self.node)
    }
}

/// What became of a node that was to be replaced.
#[derive(Serialize)]
struct Replaced {
    #[serde(flatten)]
    decision: Decision,
    removed: bool,
}

impl fmt::Display for Replaced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision {
            node,
            successor,
            done,
            shards,
            bytes,
        } = &self.decision;
        let successor = successor.unwrap_or_default();
        let bytes = ByteSize(*bytes);
        match (self.removed, done) {
            (true, _) => write!(
                out,
                "node {node} has been removed; node {successor} is in its place"
            ),
            (false, true) => write!(
                out,
                "node {successor} takes the place of node {node}: {shards} shards ({bytes}) are to be rebuilt"
            ),
            (false, false) => write!(
                out,
                "node {successor} may take the place of node {node}: {shards} shards ({bytes}) would be rebuilt"
            ),
        }
    }
}

/// A node that was removed, or may be.
#[derive(Serialize)]
#[serde(transparent)]
struct Removed(Decision);

impl fmt::Display for Removed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.0.node;
        match self.0.done {
            true => write!(out, "node {node} is removed, and stops by itself if it runs"),
            false => write!(out, "node {node} may be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving() -> Departure {
        Departure {
            successor: None,
            safe_to_stop: false,
            waits_for: vec!["its vote".into(), "7 shards".into()],
            shards: 7,
            bytes: 3 << 20,
            bytes_at_first: 12 << 20,
            bytes_per_second: 1 << 20,
            eta_seconds: Some(3),
        }
    }

    #[test]
    fn progress_tells_what_is_left_how_fast_it_goes_and_how_long_it_takes() {
        let check = |departure: Departure, expected: &str| {
            assert_eq!(Progress(&departure).to_string(), expected);
        };
        check(
            leaving(),
            "waits for its vote, 7 shards; 3.0 MiB of 12.0 MiB left, 1.0 MiB/s, about 3 s to go",
        );
        check(
            Departure {
                bytes_per_second: 0,
                eta_seconds: None,
                ..leaving()
            },
            "waits for its vote, 7 shards; 3.0 MiB of 12.0 MiB left",
        );
        let nothing = Departure {
            waits_for: vec!["a layout without it".into()],
            bytes: 0,
            bytes_at_first: 0,
            bytes_per_second: 0,
            eta_seconds: None,
            ..leaving()
        };
        check(nothing, "waits for a layout without it");
        check(
            Departure {
                safe_to_stop: true,
                ..leaving()
            },
            "drained, safe to stop",
        );
    }

    #[test]
    fn times_are_said_as_people_do() {
        for (seconds, expected) in [
            (5, "5 s"),
            (119, "119 s"),
            (120, "2 min"),
            (121, "3 min"),
            (7200, "2 h"),
        ] {
            assert_eq!(Time(seconds).to_string(), expected);
        }
    }
}
