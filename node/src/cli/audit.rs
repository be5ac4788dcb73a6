//! `cairn audit`: who changed what; keeping it elsewhere; checking that nobody touched it.

use std::fmt;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::PathBuf;

use cairn_cluster::{Link, record};
use clap::{Args, Subcommand};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure, OrFail as _};
use super::output::Output;
use super::table::Table;
use crate::registry::audit::Event;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows who changed what, and who was refused, the newest first
    List(List),
    /// Writes the log to standard output, a line of JSON for each event
    Export(Export),
    /// Checks that each event follows from the one before it
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct List {
    /// Only what was done in this project itself
    #[arg(long, value_name = "PATH", conflicts_with = "group")]
    project: Option<String>,

    /// Only what was done to this group itself
    #[arg(long, value_name = "PATH")]
    group: Option<String>,

    /// Only what has a name that begins with this, as in `token.` or `project.created`
    #[arg(long, value_name = "NAME")]
    event: Option<String>,

    /// Only what was done by the user of this number
    #[arg(long, value_name = "ID")]
    author: Option<u64>,

    /// Only what was done since then, as in `2027-06-30` or `2027-06-30T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100))]
    limit: u64,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Export {
    /// Begins behind the event of this number: what an earlier export ended with
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Verify {
    /// Exports, the oldest first; without any, the log of the cluster is checked
    files: Vec<PathBuf>,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(arguments, output).await,
        Command::Export(arguments) => export(&arguments).await,
        Command::Verify(arguments) => verify(arguments, output).await,
    }
}

/// Events, as the API shows them.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<Value>);

impl fmt::Display for Listed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(out, "nothing was done that fits");
        }
        let mut table = Table::new(&["NUMBER", "TIME", "WHO", "FROM", "WHERE", "WHAT"]);
        for event in &self.0 {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let details = &event["details"];
            table.row([
                event["id"].to_string(),
                text(&event["created_at"]),
                text(&details["author_name"]),
                text(&details["ip_address"]),
                text(&details["entity_path"]),
                text(&details["custom_message"]) + &changes(details),
            ]);
        }
        table.fmt(out)
    }
}

/// What differs afterwards, in words.
fn changes(details: &Value) -> String {
    let Some(changes) = details["changes"]
        .as_array()
        .filter(|changes| !changes.is_empty())
    else {
        return String::new();
    };
    let shown = changes.iter().map(|change| {
        let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
        match change["from"].as_str() {
            Some(before) => format!("{}: {before} -> {}", text("change"), text("to")),
            None => format!("{}: {}", text("change"), text("to")),
        }
    });
    format!(" ({})", shown.collect::<Vec<_>>().join(", "))
}

async fn list(arguments: List, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let place = match (&arguments.project, &arguments.group) {
        (Some(path), _) => format!("/projects/{}", encode_path(path)),
        (None, Some(path)) => format!("/groups/{}", encode_path(path)),
        (None, None) => String::new(),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("pagination", "keyset");
    query.append_pair("per_page", &arguments.limit.to_string());
    let author = arguments.author.map(|id| id.to_string());
    for (name, value) in [
        ("event_name", &arguments.event),
        ("author_id", &author),
        ("created_after", &arguments.since),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let path = format!("/api/v4{place}/audit_events?{}", query.finish());
    output.show(&Listed(client.get(&path).await?));
    Ok(())
}

/// A line of an export.
#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    hash: String,
    content: String,
    event: Value,
}

impl Line {
    fn link(&self) -> Result<Link, Failure> {
        let damaged = || Failure::failed(format!("event {} is no event any more", self.number));
        let hash = HEXLOWER.decode(self.hash.as_bytes()).ok();
        let content = BASE64.decode(self.content.as_bytes()).ok();
        let hash = hash.and_then(|hash| hash.try_into().ok());
        Ok(Link {
            number: self.number,
            hash: hash.ok_or_else(damaged)?,
            content: content.ok_or_else(damaged)?.into(),
        })
    }
}

/// Some lines behind a number.
async fn lines(client: &Client, after: u64) -> Result<Vec<Line>, Failure> {
    client
        .get(&format!("/api/cairn/v1/audit_log?after={after}"))
        .await
}

async fn export(arguments: &Export) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let mut after = arguments.after;
    let mut out = std::io::stdout().lock();
    loop {
        let some = lines(&client, after).await?;
        let Some(last) = some.last() else {
            return out.flush().or_fail("write the log");
        };
        after = last.number;
        for line in &some {
            let line = serde_json::to_string(line).or_fail("write an event as JSON")?;
            match writeln!(out, "{line}") {
                // A reader that has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.or_fail("write the log")?,
            }
        }
    }
}

/// What was checked.
#[derive(Debug, Default, Serialize)]
struct Verified {
    /// The number of the first event that was there.
    first: Option<u64>,
    /// The number of the last.
    last: u64,
    /// How many there were.
    events: u64,
    /// The hash of the last: it vouches for all before it. Noted elsewhere, it tells later whether
    /// the log is still the same.
    hash: Option<String>,
    #[serde(skip)]
    before: Option<[u8; 32]>,
}

impl fmt::Display for Verified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(hash)) = (self.first, &self.hash) else {
            return write!(out, "there is no event");
        };
        write!(
            out,
            "{} events, {first} to {}, follow from each other",
            self.events, self.last
        )?;
        if first > 1 {
            write!(
                out,
                "; what is before {first} was not given, so the first could not be checked"
            )?;
        }
        write!(out, "\nthe last has the hash {hash}")
    }
}

impl Verified {
    fn take(&mut self, line: &Line) -> Result<(), Failure> {
        let link = line.link()?;
        let expected = match self.first {
            None => link.number,
            Some(_) => self.last + 1,
        };
        if link.number != expected {
            return Err(broken(format!(
                "event {expected} is missing: {} comes next",
                link.number
            )));
        }
        // The first of an export that begins later follows from something that is not there.
        if self.first.is_some() || link.number == 1 {
            link.check(self.before)
                .or_fail("follow the log")
                .map_err(|failure| broken(failure.message))?;
        }
        let event: Event =
            record::decode(&link.content).or_fail(format_args!("read event {}", link.number))?;
        if line.event["event_name"] != event.name {
            return Err(broken(format!(
                "event {} is not shown as it is stored",
                link.number
            )));
        }
        self.first.get_or_insert(link.number);
        self.events += 1;
        self.last = link.number;
        self.before = Some(link.hash);
        self.hash = Some(line.hash.clone());
        Ok(())
    }
}

fn broken(what: String) -> Failure {
    Failure::new(Code::Failed, what).next(
        "compare with an export or a backup: the log was changed by other means than Cairn, or is damaged",
    )
}

async fn verify(arguments: Verify, output: Output) -> Result<(), Failure> {
    let mut verified = Verified::default();
    if arguments.files.is_empty() {
        let client = arguments.connection.open()?;
        loop {
            let some = lines(&client, verified.last).await?;
            if some.is_empty() {
                break;
            }
            some.iter().try_for_each(|line| verified.take(line))?;
        }
    }
    for path in &arguments.files {
        let file = std::fs::File::open(path).or_fail(format_args!("open {}", path.display()))?;
        for line in BufReader::new(file).lines() {
            let line = line.or_fail(format_args!("read {}", path.display()))?;
            let line: Line = serde_json::from_str(&line).or_fail(format_args!(
                "read {}: it is no export of the audit log",
                path.display()
            ))?;
            verified.take(&line)?;
        }
    }
    output.show(&verified);
    Ok(())
}
