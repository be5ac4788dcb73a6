//! `cairn duplicates`: what happens when something is published that is there already.

use std::fmt;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::client::Connection;
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::rows::{Done, cell};
use super::table::Table;

const POLICIES: [&str; 5] = ["forbid", "forbid-same-content-ok", "allow", "replace", "inherit"];

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
    /// The format, as in `generic`
    format: String,

    /// What happens; `inherit` is what holds in the group above
    #[arg(value_parser = PossibleValuesParser::new(POLICIES))]
    policy: String,

    /// Names and versions that this regular expression matches as a whole are treated the other way around;
    /// `none` takes it away
    #[arg(long, value_name = "REGEX")]
    except: Option<String>,

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
        let mut table = Table::new(&["FORMAT", "DUPLICATES", "EXCEPT"]);
        for (field, policy) in &self.0 {
            let Some(format) = field.strip_suffix("_duplicates") else {
                continue;
            };
            let exceptions = self.0.get(&format!("{format}_duplicate_exception_regex"));
            table.row([
                format.to_owned(),
                said(policy),
                cell(exceptions.unwrap_or(&Value::Null)),
            ]);
        }
        table.fmt(out)
    }
}

/// A setting, or that it is none.
pub(super) fn said(setting: &Value) -> String {
    match setting {
        Value::Null => "inherited".into(),
        setting => cell(setting),
    }
}

/// What a word stands for that takes something away.
pub(super) fn unless(word: &str, value: &str) -> Value {
    match value {
        value if value == word => Value::Null,
        value => value.into(),
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
            let mut change = Map::new();
            let policy = unless("inherit", &arguments.policy);
            change.insert(format!("{format}_duplicates"), policy);
            if let Some(except) = &arguments.except {
                let except = unless("none", except);
                change.insert(format!("{format}_duplicate_exception_regex"), except);
            }
            let path = arguments.place.api("packages/settings");
            let answer: Value = client.put(&path, &change).await?;
            let sentence = format!("{format} duplicates of {}: {}", arguments.place, arguments.policy);
            output.show(&Done::new(sentence, answer));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_format_is_a_row_with_what_is_said_of_it() {
        let fields = json!({
            "generic_duplicates": "forbid",
            "generic_duplicates_allowed": false,
            "generic_duplicate_exception_regex": "nightly",
            "maven_duplicates": null,
            "maven_duplicates_allowed": null,
            "maven_duplicate_exception_regex": null,
        });
        let Value::Object(fields) = fields else {
            unreachable!("it is an object");
        };
        assert_eq!(
            Shown(fields).to_string(),
            "FORMAT   DUPLICATES  EXCEPT\n\
             generic  forbid      nightly\n\
             maven    inherited   -"
        );
    }
}
