//! `cairn versions`: which versions are taken, of formats that tell snapshots from releases.

use std::fmt;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::client::Connection;
use super::duplicates::{said, unless};
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::rows::Done;
use super::table::Table;

/// What the fields of the settings end with.
const SUFFIX: &str = "_version_policy";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows what a project or group says itself, by format; what it does not say is inherited
    Show(Show),
    /// Changes it for one format
    Set(Set),
}

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Set {
    /// The format, as in `maven`
    format: String,

    /// Which are taken; `inherit` is what holds in the group above
    #[arg(value_parser = PossibleValuesParser::new(["mixed", "release", "snapshot", "inherit"]))]
    policy: String,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

/// The fields of the settings, one row for each format.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Map<String, Value>);

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["FORMAT", "VERSIONS"]);
        for (field, policy) in &self.0 {
            if let Some(format) = field.strip_suffix(SUFFIX) {
                table.row([format.to_owned(), said(policy)]);
            }
        }
        table.fmt(out)
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Show(arguments) => {
            let client = arguments.connection.open()?;
            let fields = client.get(&arguments.place.api("packages/settings")).await?;
            output.show(&Shown(fields));
        }
        Command::Set(arguments) => {
            let client = arguments.connection.open()?;
            let format = &arguments.format;
            let change = json!({ (format!("{format}{SUFFIX}")): unless("inherit", &arguments.policy) });
            let path = arguments.place.api("packages/settings");
            let answer: Value = client.put(&path, &change).await?;
            let sentence = format!("{format} versions of {}: {}", arguments.place, arguments.policy);
            output.show(&Done::new(sentence, answer));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_with_snapshots_is_a_row() {
        let fields = json!({"maven_duplicates": "allow", "maven_version_policy": "release"});
        let Value::Object(fields) = fields else {
            unreachable!("it is an object");
        };
        assert_eq!(Shown(fields).to_string(), "FORMAT  VERSIONS\nmaven   release");
    }
}
