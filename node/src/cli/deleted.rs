//! `cairn deleted`: what was deleted and can still be restored.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Connection, encode_path};
use super::failure::Failure;
use super::output::Output;
use super::rows::{Column, Done, Rows};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows what was deleted in a project and can be restored, the newest first
    List(List),
    /// Puts something back
    Restore(One),
    /// Gives up something at once, and with it its space
    Discard(One),
    /// Shows or sets for how many days what is deleted can be restored
    Window(Window),
}

#[derive(Args)]
pub(super) struct List {
    /// The project, as in `acme/demo`
    project: String,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct One {
    /// The project, as in `acme/demo`
    project: String,

    /// The number that `list` shows
    id: u64,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Window {
    /// So many days, from now on; 0 for not at all
    days: Option<u64>,

    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("FORMAT", "package_type"),
    ("NAME", "name"),
    ("VERSION", "version"),
    ("FILE", "file_name"),
    ("DELETED", "deleted_at"),
    ("RESTORABLE UNTIL", "restorable_until"),
];

fn path(project: &str) -> String {
    format!("/api/cairn/v1/projects/{}/deleted", encode_path(project))
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(List { project, connection }) => {
            let rows = connection.open()?.all(&format!("{}?", path(&project))).await?;
            output.show(&Rows::new(COLUMNS, rows));
        }
        Command::Restore(One {
            project,
            id,
            connection,
        }) => {
            let target = format!("{}/{id}/restore", path(&project));
            let answer: Value = connection.open()?.post(&target, &json!({})).await?;
            let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            let said = format!("{} {} is there again", word("name"), word("version"));
            output.show(&Done::new(said, answer));
        }
        Command::Discard(One {
            project,
            id,
            connection,
        }) => {
            let target = format!("{}/{id}", path(&project));
            connection.open()?.give_up(&target).await?;
            output.show(&Done::new("it is gone for good", json!({ "id": id })));
        }
        Command::Window(Window { days, connection }) => {
            let (client, target) = (connection.open()?, "/api/cairn/v1/undelete");
            let answer: Value = match days {
                None => client.get(target).await?,
                Some(days) => client.put(target, &json!({ "days": days })).await?,
            };
            let said = match answer["days"].as_u64() {
                Some(0) => "what is deleted is gone at once".into(),
                Some(days) => format!("what is deleted can be restored for {days} days"),
                None => answer.to_string(),
            };
            output.show(&Done::new(said, answer));
        }
    }
    Ok(())
}
