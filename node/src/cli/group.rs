//! `cairn group`: makes groups.

use std::fmt;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure};
use super::output::Output;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a group, in a group that exists if the path has a slash
    Create(Create),
}

#[derive(Args)]
pub(super) struct Create {
    /// Where the group will be, as in `acme` or `acme/tools`
    path: String,

    /// Who may see it
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,

    #[command(flatten)]
    connection: Connection,
}

/// Who may see a group or a project.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Visibility {
    /// Its members
    #[default]
    Private,
    /// Everyone who is signed in
    Internal,
    /// Everyone
    Public,
}

/// A group, as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) id: u64,
    full_path: String,
    visibility: Visibility,
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "made group {} (id {})", self.full_path, self.id)
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let Command::Create(arguments) = command;
    let client = arguments.connection.open()?;
    output.show(&create(&client, &arguments.path, arguments.visibility).await?);
    Ok(())
}

/// Makes the group that the path names last.
pub(super) async fn create(client: &Client, path: &str, visibility: Visibility) -> Result<Group, Failure> {
    #[derive(Serialize)]
    struct New<'a> {
        name: &'a str,
        path: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_id: Option<u64>,
        visibility: Visibility,
    }
    let (parent_id, name) = match path.rsplit_once('/') {
        Some((parent, name)) => (Some(find(client, parent).await?.id), name),
        None => (None, path),
    };
    let new = New {
        name,
        path: name,
        parent_id,
        visibility,
    };
    let doing = format!("cannot make group {path}");
    client
        .post("/api/v4/groups", &new)
        .await
        .map_err(|failure| failure.context(doing))
}

/// Finds a group by its path.
pub(super) async fn find(client: &Client, path: &str) -> Result<Group, Failure> {
    client
        .get(&format!("/api/v4/groups/{}", encode_path(path)))
        .await
        .map_err(|failure| match failure.code {
            Code::NotFound => Failure::new(Code::NotFound, format!("there is no group {path}"))
                .next(format!("make it with `cairn group create {path}`")),
            _ => failure.context(format_args!("cannot look up group {path}")),
        })
}
