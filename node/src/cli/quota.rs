//! `cairn quota`: how much projects and groups may store.

use std::fmt;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Connection;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::table::Table;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows the quotas that hold somewhere, and how much of them is used
    Show(Of),
    /// Sets a quota
    Set(Set),
    /// Takes a quota away
    Remove(Of),
}

#[derive(Args)]
pub(super) struct Of {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Set {
    /// How much may be stored there, as in `500MiB` or `2TB`
    size: ByteSize,

    #[command(flatten)]
    of: Of,
}

/// A quota that holds somewhere, as the API shows it.
#[derive(Serialize, Deserialize)]
struct Holding {
    of: String,
    bytes: u64,
    used_bytes: u64,
}

/// The quotas that hold in a place.
#[derive(Serialize, Deserialize)]
struct Quota {
    bytes: Option<u64>,
    set_at: Option<String>,
    used_bytes: u64,
    holding: Vec<Holding>,
}

impl fmt::Display for Quota {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.holding.is_empty() {
            return write!(out, "no quota holds; {} are stored", ByteSize(self.used_bytes));
        }
        let mut table = Table::new(&["QUOTA OF", "SIZE", "USED", "LEFT"]);
        for holding in &self.holding {
            let left = holding.bytes.saturating_sub(holding.used_bytes);
            let sizes = [holding.bytes, holding.used_bytes, left].map(|size| ByteSize(size).to_string());
            table.row([holding.of.clone()].into_iter().chain(sizes));
        }
        table.fmt(out)
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let (of, change): (Of, Option<Value>) = match command {
        Command::Show(of) => (of, None),
        Command::Set(Set { size, of }) => (of, Some(json!({ "bytes": size.as_u64() }))),
        Command::Remove(of) => (of, Some(json!({ "bytes": null }))),
    };
    let client = of.connection.open()?;
    let path = of.place.own_api("quota");
    let quota: Quota = match change {
        None => client.get(&path).await?,
        Some(change) => client.put(&path, &change).await?,
    };
    output.show(&quota);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_a_table_from_the_outermost_group() {
        let quota: Quota = serde_json::from_value(json!({
            "bytes": null, "set_at": null, "used_bytes": 1024,
            "holding": [{"of": "group acme", "bytes": 4096, "used_bytes": 3072}],
        }))
        .unwrap();
        assert_eq!(
            quota.to_string(),
            "QUOTA OF    SIZE     USED     LEFT\ngroup acme  4.0 KiB  3.0 KiB  1.0 KiB"
        );
    }
}
