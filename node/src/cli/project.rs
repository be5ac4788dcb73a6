//! `cairn project`: projects, which hold packages and images.

use std::fmt;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure, OrFail as _};
use super::group::{self, About, Visibility};
use super::output::Output;
use super::place::Place;
use super::rows::{Column, Done, Rows};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a project in a group that exists
    Create(Create),
    /// Shows the projects that the token may see
    List(List),
    /// Changes a project
    Set(Set),
    /// Deletes a project with all that it holds
    Delete(Delete),
}

#[derive(Args)]
pub(super) struct List {
    /// Only those in this group, and in all that is below it
    #[arg(long, value_name = "PATH")]
    group: Option<String>,

    /// Only what has this in its name or path
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Set {
    /// Where the project is
    path: String,

    #[command(flatten)]
    about: About,

    /// Who may use its packages: `disabled` nobody, `private` its members, `enabled` those who may
    /// see it, `public` everybody
    #[arg(long, value_parser = PossibleValuesParser::new(["disabled", "private", "enabled", "public"]))]
    packages: Option<String>,

    /// The same for its images
    #[arg(long, value_parser = PossibleValuesParser::new(["disabled", "private", "enabled", "public"]))]
    images: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Delete {
    /// Where the project is
    path: String,

    /// Deletes also what it holds, which cannot be taken back
    #[arg(long, required = true)]
    with_packages: bool,

    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("PATH", "path_with_namespace"),
    ("VISIBILITY", "visibility"),
    ("PACKAGES", "package_registry_access_level"),
    ("DESCRIPTION", "description"),
];

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
    match command {
        Command::Create(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&create(&client, &arguments.path, arguments.visibility).await?);
        }
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let search = encode_path(arguments.search.as_deref().unwrap_or_default());
            let path = match &arguments.group {
                Some(path) => Place::group(path).api("projects?include_subgroups=true&"),
                None => "/api/v4/projects?".into(),
            };
            let path = format!("{path}order_by=path&sort=asc&search={search}");
            output.show(&Rows::new(COLUMNS, client.all(&path).await?));
        }
        Command::Set(arguments) => {
            let client = arguments.connection.open()?;
            let mut change = serde_json::to_value(&arguments.about).or_fail("say what to change")?;
            for (field, level) in [
                ("package_registry_access_level", &arguments.packages),
                ("container_registry_access_level", &arguments.images),
            ] {
                if let Some(level) = level {
                    change[field] = level.as_str().into();
                }
            }
            let path = format!("/api/v4/projects/{}", encode_path(&arguments.path));
            let answer = client.put(&path, &change).await?;
            output.show(&Done::new(format!("changed project {}", arguments.path), answer));
        }
        Command::Delete(arguments) => {
            let client = arguments.connection.open()?;
            let path = format!("/api/v4/projects/{}", encode_path(&arguments.path));
            client.give_up(&path).await?;
            output.show(&Done::new(
                format!("deleted project {}", arguments.path),
                json!({}),
            ));
        }
    }
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
