//! `cairn group`: groups, which hold projects and other groups.

use std::fmt;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure};
use super::output::Output;
use super::rows::{Column, Done, Rows};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a group, in a group that exists if the path has a slash
    Create(Create),
    /// Shows the groups that the token may see
    List(List),
    /// Changes a group
    Set(Set),
    /// Deletes a group that has nothing in it
    Delete(Delete),
}

#[derive(Args)]
pub(super) struct List {
    /// Only what has this in its name or path
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Set {
    /// Where the group is
    path: String,

    #[command(flatten)]
    about: About,

    #[command(flatten)]
    connection: Connection,
}

/// What can be changed of a group or project alike.
#[derive(Args, Clone, Debug, Serialize)]
pub(super) struct About {
    /// Who may see it
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<Visibility>,

    /// The name to show
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,

    /// What it is for
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Args)]
pub(super) struct Delete {
    /// Where the group is
    path: String,

    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("PATH", "full_path"),
    ("VISIBILITY", "visibility"),
    ("DESCRIPTION", "description"),
];

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
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

impl Visibility {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
            Self::Public => "public",
        }
    }
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
    match command {
        Command::Create(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&create(&client, &arguments.path, arguments.visibility).await?);
        }
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let search = encode_path(arguments.search.as_deref().unwrap_or_default());
            let path = format!("/api/v4/groups?order_by=path&search={search}");
            output.show(&Rows::new(COLUMNS, client.all(&path).await?));
        }
        Command::Set(arguments) => {
            let client = arguments.connection.open()?;
            let path = format!("/api/v4/groups/{}", encode_path(&arguments.path));
            let answer = client.put(&path, &arguments.about).await?;
            output.show(&Done::new(format!("changed group {}", arguments.path), answer));
        }
        Command::Delete(arguments) => {
            let client = arguments.connection.open()?;
            let path = format!("/api/v4/groups/{}", encode_path(&arguments.path));
            client.give_up(&path).await?;
            output.show(&Done::new(format!("deleted group {}", arguments.path), json!({})));
        }
    }
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
