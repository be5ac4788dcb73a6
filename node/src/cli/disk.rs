//! `cairn disk list | replace`: the disks of all nodes, and putting another one in the place of one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use cairn_cluster::{DiskId, NodeId};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Connection};
use super::failure::{Code, Failure};
use super::output::{Output, progress};
use super::table::Table;

/// Between two looks at how far an emptied disk is.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows the disks of all nodes, or of one
    List(List),
    /// Puts an empty disk in the place of a failed one; a sound one is emptied first
    Replace(Replace),
}

#[derive(Args)]
pub(super) struct List {
    /// Only the disks of this node
    #[arg(long, value_name = "NODE")]
    node: Option<NodeId>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Replace {
    /// The disk, as NODE:DISK of `cairn disk list`
    disk: Place,

    /// Where the new disk is mounted on that node, if not where the old one was
    #[arg(long, value_name = "PATH")]
    with: Option<String>,

    /// Returns at once, rather than when a sound disk has been emptied
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    connection: Connection,
}

/// A disk of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    node: NodeId,
    disk: DiskId,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.node, self.disk)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, disk) = text
            .split_once(':')
            .ok_or("NODE:DISK is needed, as in 3:7f3a09c1")?;
        Ok(Self {
            node: node.parse().map_err(|error| format!("{error}"))?,
            disk: disk.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

/// The disks of some nodes, as the API shows them.
#[derive(Serialize, Deserialize)]
struct Disks {
    disks: Vec<Disk>,
    /// Nodes that did not tell.
    silent: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Disk {
    node: u64,
    disk: String,
    path: String,
    state: String,
    reason: Option<String>,
    total_bytes: Option<u64>,
    used_bytes: Option<u64>,
    shards: Option<u64>,
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&list(&client, arguments.node).await?);
        }
        Command::Replace(arguments) => replace(arguments, output).await?,
    }
    Ok(())
}

async fn list(client: &Client, node: Option<NodeId>) -> Result<Disks, Failure> {
    let of_one = node.map_or_else(String::new, |node| format!("?node={node}"));
    client.get(&format!("/api/cairn/v1/cluster/disks{of_one}")).await
}

async fn replace(arguments: Replace, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let place = arguments.disk;
    let path = format!(
        "/api/cairn/v1/cluster/nodes/{}/disks/{}/replace",
        place.node, place.disk
    );
    let mut disks: Disks = client.post(&path, &json!({ "with": arguments.with })).await?;
    let mut told = String::new();
    while !arguments.no_wait
        && let Some(emptying) = disks.emptying(place)
    {
        if output == Output::Human && told != emptying {
            progress(&emptying);
            told = emptying;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        disks = match list(&client, Some(place.node)).await {
            Ok(now) if now.silent.is_empty() => now,
            Ok(_) => disks,
            // While the node that is asked starts again, say.
            Err(failure) if failure.code == Code::Unavailable => disks,
            Err(failure) => return Err(failure),
        };
    }
    output.show(&disks);
    Ok(())
}

impl Disks {
    /// How far a disk is that is being emptied, in a line.
    fn emptying(&self, place: Place) -> Option<String> {
        let mut disks = self.disks.iter();
        let disk = disks.find(|disk| disk.node == place.node.0 && disk.disk == place.disk.to_string())?;
        (disk.state == "retiring").then(|| match disk.shards {
            Some(shards) => format!("disk {place}: {shards} shards are still to be moved to other disks"),
            None => format!("disk {place}: its shards are being counted"),
        })
    }
}

impl Disk {
    /// What is to be said of its state.
    fn remark(&self) -> Option<String> {
        let place = format!("{}:{}", self.node, self.disk);
        let reason = || self.reason.as_deref().unwrap_or("for an unknown reason");
        match self.state.as_str() {
            "rebuilding" => Some(format!(
                "disk {place} has failed ({}); what it held is being rebuilt; mount an empty disk there and run \
                 `cairn disk replace {place}`",
                reason()
            )),
            "failed" => Some(format!(
                "disk {place} has failed ({}), and all that it held is rebuilt; mount an empty disk there and run \
                 `cairn disk replace {place}`",
                reason()
            )),
            "retired" if self.disk != DiskId::DATA.to_string() => Some(format!(
                "disk {place} is empty and may be taken out; `cairn disk replace {place}` puts in another one"
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Disks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "-".to_owned();
        let size = |bytes: Option<u64>| bytes.map_or_else(unknown, |bytes| ByteSize(bytes).to_string());
        let mut table = Table::new(&["DISK", "PATH", "STATE", "SIZE", "USED", "SHARDS"]);
        for disk in &self.disks {
            table.row([
                format!("{}:{}", disk.node, disk.disk),
                disk.path.clone(),
                disk.state.clone(),
                size(disk.total_bytes),
                size(disk.used_bytes),
                disk.shards.map_or_else(unknown, |shards| shards.to_string()),
            ]);
        }
        table.fmt(out)?;
        let remarks: Vec<String> = self.disks.iter().filter_map(Disk::remark).collect();
        let silent = self
            .silent
            .iter()
            .map(|node| format!("node {node} does not tell of its disks"));
        for (number, remark) in remarks.into_iter().chain(silent).enumerate() {
            let before = if number == 0 { "\n\n" } else { "\n" };
            write!(out, "{before}{remark}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_named_by_its_node_and_its_id() {
        assert_eq!("3:7f3a09c1".parse::<Place>().unwrap().to_string(), "3:7f3a09c1");
        assert_eq!("3:data".parse::<Place>().unwrap().to_string(), "3:data");
        for wrong in [
            "",
            "3",
            "7f3a09c1",
            ":7f3a09c1",
            "x:7f3a09c1",
            "3:",
            "3:/srv/disk",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_list_says_what_to_do_about_a_disk_that_has_failed() {
        let disk = |disk: &str, state: &str| Disk {
            node: 3,
            disk: disk.into(),
            path: format!("/srv/{disk}"),
            state: state.into(),
            reason: (state == "failed").then(|| "Input/output error".into()),
            total_bytes: (state == "in-use").then_some(1 << 40),
            used_bytes: (state == "in-use").then_some(1 << 30),
            shards: (state == "in-use").then_some(1000),
        };
        let disks = Disks {
            disks: vec![disk("data", "in-use"), disk("7f3a09c1", "failed")],
            silent: vec![4],
        };
        assert_eq!(
            disks.to_string(),
            "DISK        PATH           STATE   SIZE     USED     SHARDS\n\
             3:data      /srv/data      in-use  1.0 TiB  1.0 GiB  1000\n\
             3:7f3a09c1  /srv/7f3a09c1  failed  -        -        -\n\n\
             disk 3:7f3a09c1 has failed (Input/output error), and all that it held is rebuilt; mount an empty \
             disk there and run `cairn disk replace 3:7f3a09c1`\n\
             node 4 does not tell of its disks"
        );
    }

    #[test]
    fn it_is_told_how_far_an_emptied_disk_is() {
        let place: Place = "3:7f3a09c1".parse().unwrap();
        let of = |state: &str| Disks {
            disks: vec![Disk {
                node: 3,
                disk: "7f3a09c1".into(),
                path: "/srv/a".into(),
                state: state.into(),
                reason: None,
                total_bytes: None,
                used_bytes: None,
                shards: Some(7),
            }],
            silent: Vec::new(),
        };
        let line = of("retiring").emptying(place).unwrap();
        assert_eq!(
            line,
            "disk 3:7f3a09c1: 7 shards are still to be moved to other disks"
        );
        assert!(of("retired").emptying(place).is_none());
        assert!(of("retiring").emptying("4:7f3a09c1".parse().unwrap()).is_none());
    }
}
