//! `cairn session`: the browsers that one is signed in at.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Connection, encode_path};
use super::failure::Failure;
use super::output::Output;
use super::rows::{Column, Done, Rows};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows one's own sessions, the newest first
    List(List),
    /// Ends one of them, on every node at once
    End(End),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct End {
    /// The id that `list` shows
    id: String,

    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("SIGNED IN BY", "signed_in_by"),
    ("FROM", "address"),
    ("BEGAN", "began_at"),
    ("LAST USED", "last_used_at"),
    ("ENDS", "ends_at"),
];

const PATH: &str = "/api/cairn/v1/user/sessions";

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(List { connection }) => {
            let rows: Vec<Value> = connection.open()?.get(PATH).await?;
            output.show(&Rows::new(COLUMNS, rows));
        }
        Command::End(End { id, connection }) => {
            let target = format!("{PATH}/{}", encode_path(&id));
            connection.open()?.give_up(&target).await?;
            output.show(&Done::new(format!("ended session {id}"), json!({ "id": id })));
        }
    }
    Ok(())
}
