//! `cairn usage`: what is stored, and as whose it counts.

use std::fmt;

use bytesize::ByteSize;
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Connection, encode_path};
use super::failure::{Code, Failure};
use super::output::Output;
use super::rows::Done;
use super::table::Table;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Of this project
    #[arg(long, value_name = "PATH", conflicts_with = "group")]
    project: Option<String>,

    /// Of this group, and all that is below it; without either, of everything
    #[arg(long, value_name = "PATH")]
    group: Option<String>,

    /// What it is divided by
    #[arg(long, value_enum, default_value_t)]
    by: By,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Command {
    /// Counts everything anew, in the background, and makes right what is wrong
    Recount(Recount),
}

#[derive(Args)]
struct Recount {
    /// Only shows how far that came
    #[arg(long)]
    status: bool,

    #[command(flatten)]
    connection: Connection,
}

/// What usage is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// npm, pypi and so on
    #[default]
    Format,
    /// Who published it
    User,
    /// Of a group: its projects
    Project,
}

/// Bytes, files and versions, as the API shows them.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Amount {
    bytes: u64,
    files: u64,
    versions: u64,
}

#[derive(Serialize, Deserialize)]
struct Format {
    package_type: String,
    #[serde(flatten)]
    amount: Amount,
}

/// What a place stores.
#[derive(Serialize, Deserialize)]
struct Usage {
    #[serde(flatten)]
    amount: Amount,
    stored_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_bytes: Option<u64>,
    formats: Vec<Format>,
}

fn cells(what: &str, amount: Amount) -> [String; 4] {
    [
        what.into(),
        ByteSize(amount.bytes).to_string(),
        amount.files.to_string(),
        amount.versions.to_string(),
    ]
}

const COUNTED: [&str; 3] = ["SIZE", "FILES", "VERSIONS"];

fn table(what: &'static str) -> Table {
    Table::new(&[&[what][..], &COUNTED].concat())
}

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table("FORMAT");
        for format in &self.formats {
            table.row(cells(&format.package_type, format.amount));
        }
        table.row(cells("all", self.amount));
        table.fmt(out)?;
        write!(out, "\n{} on the disks of all nodes", ByteSize(self.stored_bytes))
    }
}

/// A list by users or projects.
#[derive(Serialize)]
#[serde(transparent)]
struct Divided {
    rows: Vec<Value>,
    #[serde(skip)]
    what: &'static str,
    #[serde(skip)]
    name: fn(&Value) -> Option<&str>,
}

impl fmt::Display for Divided {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return write!(out, "nothing is stored");
        }
        let mut table = table(self.what);
        for row in &self.rows {
            let number = |name: &str| row[name].as_u64().unwrap_or(0);
            let amount = Amount {
                bytes: number("bytes"),
                files: number("files"),
                versions: number("versions"),
            };
            table.row(cells((self.name)(row).unwrap_or("(no user)"), amount));
        }
        table.fmt(out)
    }
}

pub(super) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    if let Some(Command::Recount(recount)) = arguments.command {
        return run_recount(&recount, output).await;
    }
    let place = match (&arguments.project, &arguments.group) {
        (Some(path), _) => format!("/api/cairn/v1/projects/{}/usage", encode_path(path)),
        (None, Some(path)) => format!("/api/cairn/v1/groups/{}/usage", encode_path(path)),
        (None, None) => "/api/cairn/v1/usage".to_owned(),
    };
    let client = arguments.connection.open()?;
    match arguments.by {
        By::Format => {
            let usage: Usage = client.get(&place).await?;
            output.show(&usage);
        }
        By::User if arguments.project.is_none() && arguments.group.is_none() => {
            return Err(Failure::new(Code::Usage, "users are shown of a project or group")
                .next("add --project PATH or --group PATH"));
        }
        By::User => output.show(&Divided {
            rows: client.all(&format!("{place}/users?")).await?,
            what: "USER",
            name: |row| row["user"]["username"].as_str(),
        }),
        By::Project if arguments.group.is_none() => {
            return Err(Failure::new(Code::Usage, "projects are shown of a group").next("add --group PATH"));
        }
        By::Project => output.show(&Divided {
            rows: client.all(&format!("{place}/projects?")).await?,
            what: "PROJECT",
            name: |row| row["project_path"].as_str(),
        }),
    }
    Ok(())
}

/// How far a recount came, as the API shows it.
#[derive(Serialize, Deserialize)]
struct Standing {
    under_way: bool,
    corrected: u64,
    done_at: Option<String>,
}

impl fmt::Display for Standing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.done_at, self.under_way) {
            (Some(at), false) => write!(out, "the last recount ended at {at}")?,
            _ => write!(out, "a recount is under way")?,
        }
        match self.corrected {
            0 => write!(out, "; all counters were right"),
            1 => write!(out, "; one counter was wrong, and is right now"),
            many => write!(out, "; {many} counters were wrong, and are right now"),
        }
    }
}

async fn run_recount(recount: &Recount, output: Output) -> Result<(), Failure> {
    let client = recount.connection.open()?;
    let path = "/api/cairn/v1/usage/recount";
    if recount.status {
        let standing: Standing = client.get(path).await?;
        output.show(&standing);
        return Ok(());
    }
    let answer: Value = client.post(path, &json!({})).await?;
    let said = "the recount begins within a minute; `cairn usage recount --status` tells how far it came";
    output.show(&Done::new(said, answer));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_a_table_with_a_sum() {
        let usage: Usage = serde_json::from_value(json!({
            "bytes": 2048, "files": 3, "versions": 2, "stored_bytes": 3072,
            "formats": [{"package_type": "npm", "bytes": 2048, "files": 3, "versions": 2}],
        }))
        .unwrap();
        assert_eq!(
            usage.to_string(),
            "FORMAT  SIZE     FILES  VERSIONS\n\
             npm     2.0 KiB  3      2\n\
             all     2.0 KiB  3      2\n\
             3.0 KiB on the disks of all nodes"
        );
    }
}
