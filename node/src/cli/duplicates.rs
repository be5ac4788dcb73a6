//! `cairn duplicates`: what happens when something is published that is there already.

use std::fmt;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::output::Output;
use super::package_settings::{INHERIT, Settings, shown, unless};
use super::rows::cell;
use super::table::Table;

const POLICIES: [&str; 5] = ["forbid", "forbid-same-content-ok", "allow", "replace", INHERIT];

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows what a project or group says itself, by format; what it does not say is inherited
    Show(Settings),
    /// Changes it for one format
    Set(Set),
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
    settings: Settings,
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
                shown(policy),
                cell(exceptions.unwrap_or(&Value::Null)),
            ]);
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
            except,
            settings,
        }) => {
            let mut change = Map::from_iter([(format!("{format}_duplicates"), unless(INHERIT, &policy))]);
            if let Some(except) = except {
                let field = format!("{format}_duplicate_exception_regex");
                change.insert(field, unless("none", &except));
            }
            let what = format!("{format} duplicates");
            settings.change(&what, &policy, &change, output).await
        }
    }
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
