//! `cairn tasks` and `cairn blobs`: background work, and the blobs that need it.

use std::fmt;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Connection};
use super::failure::Failure;
use super::output::Output;
use super::table::Table;

#[derive(Subcommand)]
pub(super) enum TasksCommand {
    /// Shows what is set for each task, and how it stands on each node
    List(Connection),
    /// Has a task do nothing, on all nodes, until it is resumed
    Pause(OneTask),
    /// Has a paused task go on
    Resume(OneTask),
    /// Begins a round at once, on all nodes
    Run(OneTask),
    /// Sets how much a task moves at most, on each node
    Limit(Limit),
}

#[derive(Args)]
pub(super) struct OneTask {
    /// collection, recoding, repair or scrub
    task: String,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Limit {
    /// collection, recoding, repair or scrub
    task: String,

    /// Bytes per second, as in `20MiB`
    rate: ByteSize,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct BlobsArguments {
    /// Shows blobs that have less redundancy than they should
    #[arg(long, required_unless_present = "waste", conflicts_with = "waste")]
    under_protected: bool,

    /// Shows what nothing names any more, and when its space comes back
    #[arg(long)]
    waste: bool,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn tasks(command: TasksCommand, output: Output) -> Result<(), Failure> {
    let (arguments, change) = match command {
        TasksCommand::List(connection) => {
            let tasks: Vec<Task> = connection.open()?.get("/api/cairn/v1/tasks").await?;
            output.show(&Tasks(tasks));
            return Ok(());
        }
        TasksCommand::Pause(arguments) => (arguments, json!({ "paused": true })),
        TasksCommand::Resume(arguments) => (arguments, json!({ "paused": false })),
        TasksCommand::Run(arguments) => (arguments, json!({ "run": true })),
        TasksCommand::Limit(Limit {
            task,
            rate,
            connection,
        }) => {
            let change = json!({ "bytes_per_second": rate.as_u64() });
            (OneTask { task, connection }, change)
        }
    };
    let client = arguments.connection.open()?;
    let path = format!(
        "/api/cairn/v1/tasks/{}",
        super::client::encode_path(&arguments.task)
    );
    let task: Task = client.post(&path, &change).await?;
    output.show(&Tasks(vec![task]));
    Ok(())
}

pub(super) async fn blobs(arguments: BlobsArguments, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    if arguments.waste {
        let waste: Vec<Waste> = client.get("/api/cairn/v1/blobs/waste?limit=1000").await?;
        output.show(&AllWaste(waste));
    } else {
        output.show(&Blobs(all_under_protected(&client).await?));
    }
    Ok(())
}

async fn all_under_protected(client: &Client) -> Result<Vec<Blob>, Failure> {
    let mut blobs = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/cairn/v1/blobs/under_protected?limit=1000{after}");
        let page: Page = client.get(&path).await?;
        blobs.extend(page.blobs);
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(blobs),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Task {
    task: String,
    paused: bool,
    paused_because: Option<String>,
    #[serde(default)]
    held_by: Vec<Held>,
    bytes_per_second: Option<u64>,
    period_seconds: u64,
    nodes: Vec<State>,
}

/// A backup that is being taken.
#[derive(Serialize, Deserialize)]
struct Held {
    backup: String,
    by: String,
    begun_at: String,
    held_until: String,
}

#[derive(Serialize, Deserialize)]
struct State {
    node: u64,
    phase: String,
    started_at: Option<String>,
    completed_at: Option<String>,
    done: u64,
    total: u64,
    items: u64,
    bytes: u64,
    bytes_per_second: u64,
    restarts: u64,
    last_failure: Option<String>,
    last_failure_at: Option<String>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Tasks(Vec<Task>);

fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", ByteSize(bytes_per_second))
}

impl fmt::Display for Tasks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = || "-".to_owned();
        let mut table = Table::new(&[
            "TASK",
            "NODE",
            "STATE",
            "PROGRESS",
            "ITEMS",
            "BYTES",
            "RATE",
            "LIMIT",
            "LAST ROUND",
            "LAST FAILURE",
        ]);
        for task in &self.0 {
            let limit = task.bytes_per_second.map_or_else(nothing, rate);
            for state in &task.nodes {
                let progress = match state.total {
                    0 => nothing(),
                    total => format!("{} %", state.done.min(total) * 100 / total),
                };
                table.row([
                    task.task.clone(),
                    state.node.to_string(),
                    state.phase.clone(),
                    progress,
                    state.items.to_string(),
                    ByteSize(state.bytes).to_string(),
                    rate(state.bytes_per_second),
                    limit.clone(),
                    state.completed_at.clone().unwrap_or_else(nothing),
                    state.last_failure.clone().unwrap_or_else(nothing),
                ]);
            }
        }
        table.fmt(out)?;
        for Task {
            task,
            paused_because,
            held_by,
            ..
        } in &self.0
        {
            if let Some(reason) = paused_because {
                write!(out, "\n{task} is paused: {reason} (`cairn tasks resume {task}`)")?;
            }
            for held in held_by {
                write!(
                    out,
                    "\n{task} is held back by backup {}, which {} began at {}; until {} at least",
                    held.backup, held.by, held.begun_at, held.held_until
                )?;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Page {
    blobs: Vec<Blob>,
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Blob {
    root_group: u64,
    blob: String,
    size: u64,
    protection: String,
    spare: u64,
    segments: u64,
    since: Option<String>,
    problem: Option<String>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Blobs(Vec<Blob>);

impl fmt::Display for Blobs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(out, "all blobs have the redundancy that they should");
        }
        let mut table = Table::new(&["BLOB", "GROUP", "SIZE", "STATE", "MAY LOSE", "SINCE", "PROBLEM"]);
        for blob in &self.0 {
            table.row([
                blob.blob.clone(),
                blob.root_group.to_string(),
                ByteSize(blob.size).to_string(),
                blob.protection.clone(),
                format!("{} more", blob.spare),
                blob.since.clone().unwrap_or_else(|| "-".into()),
                blob.problem.clone().unwrap_or_else(|| "-".into()),
            ]);
        }
        table.fmt(out)
    }
}

#[derive(Serialize, Deserialize)]
struct Waste {
    root_group: u64,
    blob: Option<String>,
    bytes: u64,
    stage: String,
    freed_at: String,
}

#[derive(Serialize)]
#[serde(transparent)]
struct AllWaste(Vec<Waste>);

impl fmt::Display for AllWaste {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(out, "nothing waits to be removed");
        }
        let mut table = Table::new(&["BLOB", "GROUP", "SIZE", "STAGE", "FREED AT"]);
        for waste in &self.0 {
            table.row([
                waste.blob.clone().unwrap_or_else(|| "-".into()),
                waste.root_group.to_string(),
                ByteSize(waste.bytes).to_string(),
                waste.stage.clone(),
                waste.freed_at.clone(),
            ]);
        }
        table.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_a_table() {
        let state = State {
            node: 2,
            phase: "running".into(),
            started_at: None,
            completed_at: None,
            done: 1,
            total: 4,
            items: 7,
            bytes: 1 << 20,
            bytes_per_second: 1 << 10,
            restarts: 0,
            last_failure: None,
            last_failure_at: None,
        };
        let task = Task {
            task: "scrub".into(),
            paused: false,
            paused_because: Some("restored".into()),
            held_by: vec![Held {
                backup: "ab".into(),
                by: "root".into(),
                begun_at: "10:00".into(),
                held_until: "10:30".into(),
            }],
            bytes_per_second: Some(1 << 20),
            period_seconds: 60,
            nodes: vec![state],
        };
        assert_eq!(
            Tasks(vec![task]).to_string(),
            "TASK   NODE  STATE    PROGRESS  ITEMS  BYTES    RATE       LIMIT      LAST ROUND  LAST FAILURE\n\
             scrub  2     running  25 %      7      1.0 MiB  1.0 KiB/s  1.0 MiB/s  -           -\n\
             scrub is paused: restored (`cairn tasks resume scrub`)\n\
             scrub is held back by backup ab, which root began at 10:00; until 10:30 at least"
        );
    }

    #[test]
    fn nothing_to_show_is_said_so() {
        assert_eq!(
            Blobs(Vec::new()).to_string(),
            "all blobs have the redundancy that they should"
        );
        assert_eq!(AllWaste(Vec::new()).to_string(), "nothing waits to be removed");
    }
}
