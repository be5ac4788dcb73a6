//! `cairn project`: makes projects.

use std::fmt;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure};
use super::group::{self, Visibility};
use super::output::Output;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a project in a group that exists
    Create(Create),
}

#[derive(Args)]
pub(super) struct Create {
    /// Where the project will be, as in `acme/demo`
    path: String,

    /// Who may see it
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,

    #[command(flatten)]
    connection: Connection,
}

/// A project, as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Project {
    pub(super) id: u64,
    path_with_namespace: String,
    visibility: Visibility,
}

impl fmt::Display for Project {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "made project {} (id {})", self.path_with_namespace, self.id)
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let Command::Create(arguments) = command;
    let client = arguments.connection.open()?;
    output.show(&create(&client, &arguments.path, arguments.visibility).await?);
    Ok(())
}

/// Makes the project that the path names.
pub(super) async fn create(client: &Client, path: &str, visibility: Visibility) -> Result<Project, Failure> {
    #[derive(Serialize)]
    struct New<'a> {
        name: &'a str,
        path: &'a str,
        namespace_id: u64,
        visibility: Visibility,
    }
    let Some((parent, name)) = path.rsplit_once('/') else {
        return Err(
            Failure::new(Code::Usage, format!("project {path:?} is in no group"))
                .next("write the group before it, as in `acme/demo`"),
        );
    };
    let new = New {
        name,
        path: name,
        namespace_id: group::find(client, parent).await?.id,
        visibility,
    };
    let doing = format!("cannot make project {path}");
    client
        .post("/api/v4/projects", &new)
        .await
        .map_err(|failure| failure.context(doing))
}

/// Finds a project by its path.
pub(super) async fn find(client: &Client, path: &str) -> Result<Project, Failure> {
    client
        .get(&format!("/api/v4/projects/{}", encode_path(path)))
        .await
        .map_err(|failure| match failure.code {
            Code::NotFound => Failure::new(Code::NotFound, format!("there is no project {path}"))
                .next(format!("make it with `cairn project create {path}`")),
            _ => failure.context(format_args!("cannot look up project {path}")),
        })
}
