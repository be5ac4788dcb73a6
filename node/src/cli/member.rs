//! `cairn member`: who may do what in a group or project.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, Connection};
use super::failure::{Code, Failure};
use super::output::Output;
use super::place::Place;
use super::rows::{Column, Done, Rows};
use super::user;
use crate::auth::role::Role;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("USERNAME", "username"),
    ("ROLE", "role"),
    ("UNTIL", "expires_at"),
];

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows who has a role there, and which
    List(List),
    /// Gives a user a role, or another one
    Set(Set),
    /// Takes the role away
    Remove(Remove),
}

#[derive(Args)]
pub(super) struct List {
    /// Also those who have it from a group above
    #[arg(long)]
    inherited: bool,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Set {
    /// The name the user signs in with
    username: String,

    /// The role; a greater one can do all that a smaller one can
    #[arg(value_parser = PossibleValuesParser::new(Role::ALL.map(Role::name)))]
    role: String,

    /// Last day of the role, as in `2027-06-30`
    #[arg(long, value_name = "DAY")]
    until: Option<String>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Remove {
    /// The name the user signs in with
    username: String,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let list = if arguments.inherited {
                "members/all"
            } else {
                "members"
            };
            let mut members: Vec<Value> = client.all(&arguments.place.api(list)).await?;
            for member in &mut members {
                member["role"] = role_of(member).map_or(Value::Null, |role| role.name().into());
            }
            output.show(&Rows::new(COLUMNS, members));
        }
        Command::Set(arguments) => {
            let client = arguments.connection.open()?;
            let Set {
                username,
                role,
                until,
                place,
                ..
            } = &arguments;
            let answer = set(&client, place, username, role, until.as_deref()).await?;
            output.show(&Done::new(format!("{username} is {role} of {place}"), answer));
        }
        Command::Remove(arguments) => {
            let client = arguments.connection.open()?;
            let Remove { username, place, .. } = &arguments;
            let id = user::find(&client, username).await?;
            client.give_up(&place.api(&format!("members/{id}"))).await?;
            output.show(&Done::new(
                format!("{username} has no role of its own in {place} any more"),
                json!({}),
            ));
        }
    }
    Ok(())
}

/// The role of a member, as the API shows one.
pub(super) fn role_of(member: &Value) -> Option<Role> {
    let level = member["access_level"].as_u64()?;
    Role::try_from(u8::try_from(level).ok()?).ok()
}

/// Gives a user a role, whatever it has been.
pub(super) async fn set(
    client: &Client,
    place: &Place,
    username: &str,
    role: &str,
    until: Option<&str>,
) -> Result<Value, Failure> {
    let id = user::find(client, username).await?;
    let level = Role::named(role).map(Role::level);
    let mut body = json!({ "access_level": level, "expires_at": until.unwrap_or_default() });
    match client.put(&place.api(&format!("members/{id}")), &body).await {
        Err(failure) if failure.code == Code::NotFound => {
            body["user_id"] = id.into();
            client.post(&place.api("members"), &body).await
        }
        answer => answer,
    }
}
