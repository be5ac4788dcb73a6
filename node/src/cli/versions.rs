//! `cairn versions`: which versions are taken, of formats that tell snapshots from releases.

use std::fmt;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::output::Output;
use super::package_settings::{INHERIT, Settings, shown, unless};
use super::table::Table;

/// What the fields of the settings end with.
const SUFFIX: &str = "_version_policy";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows what a project or group says itself, by format; what it does not say is inherited
    Show(Settings),
    /// Changes it for one format
    Set(Set),
}

#[derive(Args)]
pub(super) struct Set {
    /// The format, as in `maven`
    format: String,

    /// Which are taken; `inherit` is what holds in the group above
    #[arg(value_parser = PossibleValuesParser::new(["mixed", "release", "snapshot", INHERIT]))]
    policy: String,

    #[command(flatten)]
    settings: Settings,
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
                table.row([format.to_owned(), shown(policy)]);
            }
        }
        table.fmt(out)
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Show(settings) => {
            output.show(&Shown(settings.read().await?));
            Ok(())
        }
        Command::Set(Set {
            format,
            policy,
            settings,
        }) => {
            let change = Map::from_iter([(format!("{format}{SUFFIX}"), unless(INHERIT, &policy))]);
            let what = format!("{format} versions");
            settings.change(&what, &policy, &change, output).await
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
