//! `cairn cluster`: founds a cluster, lets nodes join and leave, shows how it is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use cairn_cluster::Build;
use cairn_cluster::trust::JoinToken;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::{Client, Connection, read_secret};
use super::departure::{self, Progress, Time};
use super::failure::{Code, Failure};
use super::output::Output;
use super::serve::Node;
use super::table::Table;
use super::upgrade::{Upgrade, UpgradeStatus};
use crate::registry::bootstrap::Bootstrap;
use crate::start;

/// Most nodes that ever vote: more would make each write wait for more of them.
const MAX_VOTERS: usize = 5;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Founds a cluster with this node as its first, and shows the administrator's token, once
    Init(Init),
    /// Makes this node a member of a cluster
    Join(Join),
    /// Makes a token with which one node can join, once
    Token(TokenArguments),
    /// Shows the nodes, what the cluster survives, and what is moving
    Status(Connection),
    /// Shows which node to restart next with a new version, and what has to be awaited first
    Upgrade(Connection),
    /// Moves leadership, vote and shards away from a node, and says when it is safe to stop
    Drain(departure::Drain),
    /// Lets a drained node hold shards and vote again
    Undrain(departure::Undrain),
    /// Lets a node that joined take the place of a dead one, at once
    Replace(departure::Replace),
    /// Takes a drained or dead node out of the cluster, unless something would be lost
    Remove(departure::Remove),
}

#[derive(Args)]
pub(super) struct Init {
    #[command(flatten)]
    node: Node,

    /// Also makes the group `acme` and the private project `acme/demo`
    #[arg(long)]
    demo: bool,
}

#[derive(Args)]
pub(super) struct Join {
    #[command(flatten)]
    node: Node,

    /// File that holds what `cairn cluster token` printed, or - for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "token")]
    token_file: Option<PathBuf>,

    /// The token itself, from the environment, where other users do not see it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CAIRN_JOIN_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    token: Option<String>,
}

#[derive(Args)]
pub(super) struct TokenArguments {
    /// How long it may be used
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    lifetime: Duration,

    #[command(flatten)]
    connection: Connection,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| "not a time like 30m or 1h".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a time cannot be negative".to_owned())
}

pub(super) async fn run(command: Command, output: Output, build: Build) -> Result<(), Failure> {
    match command {
        Command::Init(Init { node, demo }) => {
            let held = node.hold()?;
            let first = match demo {
                true => Bootstrap::demo(),
                false => Bootstrap {
                    group: None,
                    project: None,
                    ..Bootstrap::demo()
                },
            };
            let founded = start::found(&held.config, build, &first).await?;
            let founded = Founded {
                cluster: founded.cluster.to_string(),
                node: founded.node.0,
                token: founded.token,
                serve: node.serve_command(),
            };
            output.show_secret(&founded, &founded.token);
        }
        Command::Join(join) => {
            let held = join.node.hold()?;
            let token = match (join.token, join.token_file) {
                (Some(token), _) => token,
                (None, Some(file)) => read_secret(&file)?,
                (None, None) => unreachable!("one of the two is required"),
            };
            token.parse::<JoinToken>().map_err(|error| {
                Failure::new(Code::Usage, error.to_string())
                    .next("make a token with `cairn cluster token`, and pass on all of its text")
            })?;
            let joined = start::join(&held.config, build, &token).await?;
            output.show(&Joined {
                cluster: joined.cluster.to_string(),
                node: joined.node.0,
                serve: join.node.serve_command(),
            });
        }
        Command::Token(arguments) => {
            let client = arguments.connection.open()?;
            let token = new_token(&client, arguments.lifetime).await?;
            output.show_secret(&token, &token.token);
        }
        Command::Status(connection) => {
            let client = connection.open()?;
            output.show(&status(&client).await?);
        }
        Command::Upgrade(connection) => {
            let client = connection.open()?;
            output.show(&UpgradeStatus::of(status(&client).await?));
        }
        Command::Drain(arguments) => departure::drain(arguments, output).await?,
        Command::Undrain(arguments) => departure::undrain(arguments, output).await?,
        Command::Replace(arguments) => departure::replace(arguments, output).await?,
        Command::Remove(arguments) => departure::remove(arguments, output).await?,
    }
    Ok(())
}

/// Makes a join token.
pub(super) async fn new_token(client: &Client, lifetime: Duration) -> Result<IssuedToken, Failure> {
    let body = serde_json::json!({ "lifetime_seconds": lifetime.as_secs() });
    client.post("/api/cairn/v1/cluster/join_tokens", &body).await
}

/// Asks how the cluster is.
pub(super) async fn status(client: &Client) -> Result<Status, Failure> {
    client.get("/api/cairn/v1/cluster").await
}

/// A cluster that was founded.
#[derive(Serialize)]
struct Founded {
    cluster: String,
    node: u64,
    /// The administrator's.
    token: String,
    serve: String,
}

impl fmt::Display for Founded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "founded cluster {}; this is node {}",
            self.cluster, self.node
        )?;
        writeln!(out, "start the node with: {}", self.serve)?;
        write!(out, "token of the administrator `root`, shown only now:")
    }
}

/// A node that was admitted.
#[derive(Serialize)]
struct Joined {
    cluster: String,
    node: u64,
    serve: String,
}

impl fmt::Display for Joined {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "joined cluster {} as node {}", self.cluster, self.node)?;
        write!(out, "start the node with: {}", self.serve)
    }
}

/// A join token, as the API shows it.
#[derive(Serialize, Deserialize)]
pub(super) struct IssuedToken {
    pub(super) token: String,
    expires_at: String,
}

impl fmt::Display for IssuedToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "admits one node until {}; pass it to `cairn cluster join` on that machine:",
            self.expires_at
        )
    }
}

/// How the cluster is, as the API shows it.
#[derive(Serialize, Deserialize)]
pub(super) struct Status {
    /// What it survives now, in a sentence.
    survives: String,
    leader: Option<u64>,
    pub(super) nodes: Vec<NodeStatus>,
    /// What is on its way to the nodes that are to have it.
    moving: Option<Motion>,
    pub(super) upgrade: Upgrade,
}

/// What is on its way, as the API shows it.
#[derive(Serialize, Deserialize)]
struct Motion {
    nodes: usize,
    bytes: u64,
    bytes_per_second: u64,
    eta_seconds: Option<u64>,
}

/// How far a node is with leaving, as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Departure {
    pub(super) successor: Option<u64>,
    pub(super) safe_to_stop: bool,
    pub(super) waits_for: Vec<String>,
    pub(super) shards: u64,
    pub(super) bytes: u64,
    pub(super) bytes_at_first: u64,
    pub(super) bytes_per_second: u64,
    pub(super) eta_seconds: Option<u64>,
}

/// How one node is.
#[derive(Serialize, Deserialize)]
pub(super) struct NodeStatus {
    pub(super) node: u64,
    address: String,
    zone: String,
    pub(super) role: Role,
    /// Whether it answers.
    pub(super) up: bool,
    pub(super) version: String,
    /// What that can read and write.
    pub(super) level: u32,
    applied_index: Option<u64>,
    /// Log entries that it has still to apply.
    lag: Option<u64>,
    disk_used_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
    failed_disks: Option<u32>,
    departure: Option<Departure>,
}

/// The part that a node has in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Leader,
    Voter,
    Learner,
    Joining,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Joining => "joining",
        })
    }
}

impl Status {
    /// Whether this many nodes are up, and as many of them vote as ever will.
    pub(super) fn is_settled(&self, nodes: usize) -> bool {
        let voters = self.nodes.iter().filter(|node| node.role.votes()).count();
        let up = self.nodes.iter().filter(|node| node.up).count();
        up == nodes && voters >= nodes.min(MAX_VOTERS).div_ceil(2) * 2 - 1
    }
}

impl Status {
    /// How far a node is with leaving; none of none if it stays, and none if it is not listed.
    pub(super) fn into_departure(self, node: u64) -> Option<Option<Departure>> {
        let mut nodes = self.nodes.into_iter();
        nodes
            .find(|status| status.node == node)
            .map(|status| status.departure)
    }
}

impl Role {
    fn votes(self) -> bool {
        matches!(self, Self::Leader | Self::Voter)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNKNOWN: &str = "-";
        let unknown = || UNKNOWN.to_owned();
        writeln!(out, "{}\n", self.survives)?;
        let mut table = Table::new(&[
            "NODE", "ADDRESS", "ZONE", "ROLE", "STATE", "VERSION", "LEVEL", "APPLIED", "LAG", "DISK",
        ]);
        for node in &self.nodes {
            let disk = match (node.disk_used_bytes, node.disk_total_bytes) {
                (Some(used), Some(total)) => format!("{} of {}", ByteSize(used), ByteSize(total)),
                _ => unknown(),
            };
            table.row([
                node.node.to_string(),
                node.address.clone(),
                node.zone.clone(),
                node.role.to_string(),
                node.state(),
                node.version.clone(),
                node.level.to_string(),
                node.applied_index.map_or_else(unknown, |index| index.to_string()),
                node.lag.map_or_else(unknown, |lag| lag.to_string()),
                disk,
            ]);
        }
        table.fmt(out)?;
        if !self.upgrade.outdated.is_empty() {
            write!(
                out,
                "\n\nan upgrade to {} is under way: see `cairn cluster upgrade`",
                self.upgrade.version
            )?;
        }
        for node in &self.nodes {
            if let Some(departure) = &node.departure {
                write!(out, "\n\nnode {}: {}", node.node, Progress(departure))?;
                if let Some(successor) = departure.successor {
                    write!(out, "; node {successor} takes its place")?;
                }
            }
        }
        match &self.moving {
            Some(motion) => write!(out, "\n\n{motion}"),
            None => Ok(()),
        }
    }
}

impl NodeStatus {
    fn state(&self) -> String {
        let up = match self.failed_disks {
            _ if !self.up => "down",
            None | Some(0) => "up",
            Some(1) => "up, 1 disk failed",
            Some(_) => "up, disks failed",
        };
        match &self.departure {
            Some(departure) if departure.safe_to_stop => format!("{up}, drained"),
            Some(_) => format!("{up}, leaving"),
            None => up.to_owned(),
        }
    }
}

impl fmt::Display for Motion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = match self.nodes {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        };
        write!(out, "{} are on their way to {nodes}", ByteSize(self.bytes))?;
        if self.bytes_per_second > 0 {
            write!(out, ", {}/s", ByteSize(self.bytes_per_second))?;
        }
        match self.eta_seconds {
            Some(seconds) => write!(out, ", about {} to go", Time(seconds)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(roles: &[(Role, bool)]) -> Status {
        let node = |(node, &(role, up)): (u64, &(Role, bool))| NodeStatus {
            node,
            address: format!("10.0.0.{node}:7081"),
            zone: "default".into(),
            role,
            up,
            version: "0.1.0".into(),
            level: 1,
            applied_index: up.then_some(40),
            lag: up.then_some(2),
            disk_used_bytes: up.then_some(1 << 30),
            disk_total_bytes: up.then_some(1 << 40),
            failed_disks: up.then_some(0),
            departure: None,
        };
        Status {
            survives: "the cluster survives the loss of any one node".into(),
            leader: Some(1),
            nodes: (1..).zip(roles).map(node).collect(),
            moving: None,
            upgrade: Upgrade::default(),
        }
    }

    #[test]
    fn a_cluster_is_settled_when_all_are_up_and_enough_vote() {
        use Role::{Leader, Learner, Voter};
        let check = |roles: &[(Role, bool)], count, expected| {
            assert_eq!(status(roles).is_settled(count), expected, "{roles:?}");
        };
        check(&[(Leader, true)], 1, true);
        check(&[(Leader, true), (Learner, true)], 2, true);
        check(&[(Leader, true), (Learner, true), (Learner, true)], 3, false);
        check(&[(Leader, true), (Voter, true), (Voter, true)], 3, true);
        check(&[(Leader, true), (Voter, true), (Voter, false)], 3, false);
        check(&[(Leader, true), (Voter, true), (Voter, true)], 4, false);
    }

    #[test]
    fn the_status_is_a_sentence_and_a_table() {
        let text = status(&[(Role::Leader, true), (Role::Voter, false)]).to_string();
        assert_eq!(
            text,
            "the cluster survives the loss of any one node\n\n\
             NODE  ADDRESS        ZONE     ROLE    STATE  VERSION  LEVEL  APPLIED  LAG  DISK\n\
             1     10.0.0.1:7081  default  leader  up     0.1.0    1      40       2    1.0 GiB of 1.0 TiB\n\
             2     10.0.0.2:7081  default  voter   down   0.1.0    1      -        -    -"
        );
    }

    #[test]
    fn what_leaves_and_what_moves_is_told_below_the_table() {
        let mut status = status(&[(Role::Leader, true), (Role::Learner, true)]);
        status.nodes[1].departure = Some(Departure {
            successor: None,
            safe_to_stop: true,
            waits_for: Vec::new(),
            shards: 0,
            bytes: 0,
            bytes_at_first: 9,
            bytes_per_second: 0,
            eta_seconds: None,
        });
        status.nodes[0].failed_disks = Some(1);
        status.moving = Some(Motion {
            nodes: 1,
            bytes: 2 << 20,
            bytes_per_second: 1 << 10,
            eta_seconds: Some(2048),
        });
        let text = status.to_string();
        assert!(text.contains("up, drained"), "{text}");
        assert!(text.contains("up, 1 disk failed"), "{text}");
        assert!(
            text.ends_with(
                "\n\nnode 2: drained, safe to stop\n\n\
                 2.0 MiB are on their way to 1 node, 1.0 KiB/s, about 35 min to go"
            ),
            "{text}"
        );
    }
}
