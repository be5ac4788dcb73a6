//! `cairn image`: repositories of container images, and their tags.

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{Client, Connection, encode_path};
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::rows::{Column, Done, Rows};

const REPOSITORIES: &[Column] = &[("ID", "id"), ("REPOSITORY", "path"), ("MADE", "created_at")];

const TAGS: &[Column] = &[("TAG", "name"), ("IMAGE", "location")];

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows the repositories of a project, or of all projects of a group
    List(List),
    /// Shows the tags of a repository
    Tags(OfProject),
    /// Deletes tags: those that are named, or all that rules match
    Untag(Untag),
    /// Deletes a repository with all its tags
    Delete(OfProject),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct OfProject {
    /// Its number, as `cairn image list` shows it
    id: u64,

    /// The project that has it
    #[arg(long, value_name = "PATH")]
    project: String,

    #[command(flatten)]
    connection: Connection,
}

impl OfProject {
    fn api(&self, what: &str) -> String {
        Place::project(&self.project).api(&format!("registry/repositories/{}{what}", self.id))
    }
}

#[derive(Args)]
pub(super) struct Untag {
    #[command(flatten)]
    repository: OfProject,

    /// The tags to delete
    #[arg(required_unless_present = "matching")]
    tags: Vec<String>,

    /// Deletes those whose whole name this expression matches; `latest` always stays
    #[arg(long, value_name = "REGEX", conflicts_with = "tags")]
    matching: Option<String>,

    /// Of those that match, keeps the ones that this matches
    #[arg(long, value_name = "REGEX", requires = "matching", conflicts_with = "tags")]
    except: Option<String>,

    /// Of those that match, keeps so many of the newest
    #[arg(long, value_name = "N", requires = "matching", conflicts_with = "tags")]
    keep: Option<u64>,

    /// Of those that match, deletes only what is older, as in `30d`
    #[arg(long, value_name = "TIME", requires = "matching", conflicts_with = "tags")]
    older_than: Option<String>,
}

impl Untag {
    /// The rules as the query of a request.
    fn rules(&self, matching: &str) -> String {
        let mut query = format!("name_regex_delete={}", encode_path(matching));
        let keep = self.keep.map(|number| number.to_string());
        for (name, value) in [
            ("name_regex_keep", &self.except),
            ("keep_n", &keep),
            ("older_than", &self.older_than),
        ] {
            if let Some(value) = value {
                query += &format!("&{name}={}", encode_path(value));
            }
        }
        query
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let path = arguments
                .place
                .api("registry/repositories?order_by=name&sort=asc");
            output.show(&Rows::new(REPOSITORIES, client.all(&path).await?));
        }
        Command::Tags(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&Rows::new(TAGS, client.all(&arguments.api("/tags")).await?));
        }
        Command::Untag(arguments) => {
            let client = arguments.repository.connection.open()?;
            output.show(&untag(&client, &arguments).await?);
        }
        Command::Delete(arguments) => {
            let client = arguments.connection.open()?;
            client.give_up(&arguments.api("")).await?;
            output.show(&Done::new(
                format!("deleted repository {}", arguments.id),
                json!({}),
            ));
        }
    }
    Ok(())
}

async fn untag(client: &Client, arguments: &Untag) -> Result<Done, Failure> {
    let tags = arguments.repository.api("/tags");
    if let Some(matching) = &arguments.matching {
        client
            .give_up(&format!("{tags}?{}", arguments.rules(matching)))
            .await?;
        return Ok(Done::new("the tags that match are being deleted", json!({})));
    }
    for tag in &arguments.tags {
        client.give_up(&format!("{tags}/{}", encode_path(tag))).await?;
    }
    Ok(Done::new(
        format!("deleted {}", arguments.tags.join(", ")),
        json!({}),
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Parsed {
        #[command(flatten)]
        untag: Untag,
    }

    #[test]
    fn rules_become_a_query() {
        let line = "x 7 --project a/b --matching v.* --except v1[.].* --keep 3 --older-than 30d";
        let parsed = Parsed::try_parse_from(line.split(' ')).unwrap().untag;
        assert_eq!(
            parsed.rules(parsed.matching.as_deref().unwrap()),
            "name_regex_delete=v%2E%2A&name_regex_keep=v1%5B%2E%5D%2E%2A&keep_n=3&older_than=30d"
        );
    }

    #[test]
    fn tags_are_named_or_matched_and_never_all() {
        for wrong in [
            "x 7 --project a/b",
            "x 7 --project a/b one --matching v.*",
            "x 7 --project a/b one --keep 3",
        ] {
            assert!(Parsed::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
