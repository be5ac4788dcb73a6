//! `cairn package`: what was published.

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Connection, encode_path};
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::rows::{Column, Done, Rows};

const PACKAGES: &[Column] = &[
    ("ID", "id"),
    ("FORMAT", "package_type"),
    ("NAME", "name"),
    ("VERSION", "version"),
    ("STATUS", "status"),
    ("PUBLISHED", "created_at"),
];

const FILES: &[Column] = &[
    ("ID", "id"),
    ("NAME", "file_name"),
    ("BYTES", "size"),
    ("SHA256", "file_sha256"),
    ("PUBLISHED", "created_at"),
];

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows the versions that were published, by name
    List(List),
    /// Shows the files of a version
    Files(OfProject),
    /// Deletes a version
    Delete(OfProject),
}

#[derive(Args)]
pub(super) struct List {
    /// Only what has this in its name
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Only what is of this format, as in `npm`
    #[arg(long)]
    format: Option<String>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct OfProject {
    /// Its number, as `cairn package list` shows it
    id: u64,

    /// The project that has it
    #[arg(long, value_name = "PATH")]
    project: String,

    #[command(flatten)]
    connection: Connection,
}

impl OfProject {
    fn api(&self, what: &str) -> String {
        Place::project(&self.project).api(&format!("packages/{}{what}", self.id))
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let mut path = arguments.place.api("packages?order_by=name");
            for (name, value) in [
                ("package_name", &arguments.name),
                ("package_type", &arguments.format),
            ] {
                if let Some(value) = value {
                    path += &format!("&{name}={}", encode_path(value));
                }
            }
            output.show(&Rows::new(PACKAGES, client.all(&path).await?));
        }
        Command::Files(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&Rows::new(
                FILES,
                client.all(&arguments.api("/package_files")).await?,
            ));
        }
        Command::Delete(arguments) => {
            let client = arguments.connection.open()?;
            client.give_up(&arguments.api("")).await?;
            output.show(&Done::new(format!("deleted version {}", arguments.id), json!({})));
        }
    }
    Ok(())
}
