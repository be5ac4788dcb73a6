//! `cairn apply`: makes groups, projects, users, members, tokens, policies and rules be as a file
//! declares.
//!
//! What differs is shown first, as a list of [`plan::Step`]s; with `--yes` each is done. Applied
//! once more, there is nothing to do. What the file does not name stays as it is.

mod declared;
mod plan;

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::client::Connection;
use super::failure::Failure;
use super::output::{Output, progress};
use declared::Declared;
use plan::{Secret, Step, plan};

#[derive(Args)]
pub(super) struct Arguments {
    /// What is to be, in TOML, or in JSON if its name ends so; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Does it, rather than showing what would be done
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    connection: Connection,
}

/// What was done, or would be.
#[derive(Serialize)]
struct Report {
    applied: bool,
    steps: Vec<String>,
    /// Tokens that were made. They are shown only now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Secret>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return write!(out, "everything is as declared");
        }
        if self.applied {
            write!(out, "did {} things", self.steps.len())?;
        } else {
            for step in &self.steps {
                writeln!(out, "{step}")?;
            }
            write!(out, "nothing was changed; --yes does it")?;
        }
        for token in &self.tokens {
            write!(out, "\n{token}")?;
        }
        Ok(())
    }
}

pub(super) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let declared = Declared::read(&arguments.file)?;
    let client = arguments.connection.open()?;
    let steps = plan(&client, &declared).await?;
    let mut report = Report {
        applied: arguments.yes,
        steps: steps.iter().map(Step::to_string).collect(),
        tokens: Vec::new(),
    };
    if arguments.yes {
        for step in &steps {
            progress(step);
            match step.take(&client).await {
                Ok(secret) => report.tokens.extend(secret),
                // What was made so far is there, and its tokens are shown only now.
                Err(failure) => {
                    report.tokens.iter().for_each(progress);
                    return Err(failure.context(step));
                }
            }
        }
    }
    output.show(&report);
    Ok(())
}
