//! `cairn user`: who there is.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure};
use super::output::Output;
use super::rows::{Column, Done, Rows};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("USERNAME", "username"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("ADMIN", "is_admin"),
];

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a user, who signs in by tokens
    Create(Create),
    /// Shows who there is
    List(List),
    /// Lets none of a user's tokens hold any more, on every node at once
    Block(Named),
    /// Lets them hold again
    Unblock(Named),
}

#[derive(Args)]
pub(super) struct Create {
    /// The name to sign in with
    username: String,

    /// The name to show
    #[arg(long)]
    name: Option<String>,

    /// Where to write to the user
    #[arg(long, default_value = "")]
    email: String,

    /// Lets the user do everything
    #[arg(long)]
    admin: bool,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct List {
    /// Only those who have this in their name or address
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Named {
    /// The name the user signs in with
    username: String,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Create(arguments) => {
            let client = arguments.connection.open()?;
            let made = create(&client, &arguments).await?;
            let sentence = format!(
                "made user {} (id {}); `cairn token new NAME --user {0}` makes a token",
                arguments.username, made["id"]
            );
            output.show(&Done::new(sentence, made));
        }
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let search = encode_path(arguments.search.as_deref().unwrap_or_default());
            let users = client
                .all(&format!("/api/v4/users?sort=asc&search={search}"))
                .await?;
            output.show(&Rows::new(COLUMNS, users));
        }
        Command::Block(arguments) => set_state(&arguments, "block", output).await?,
        Command::Unblock(arguments) => set_state(&arguments, "unblock", output).await?,
    }
    Ok(())
}

async fn create(client: &Client, new: &Create) -> Result<Value, Failure> {
    let name = new.name.as_ref().unwrap_or(&new.username);
    let body = json!({ "username": new.username, "name": name, "email": new.email, "admin": new.admin });
    let made = client.post("/api/v4/users", &body).await;
    made.map_err(|failure| failure.context(format_args!("cannot make user {}", new.username)))
}

async fn set_state(arguments: &Named, verb: &str, output: Output) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let id = find(&client, &arguments.username).await?;
    let answer: Value = client
        .post(&format!("/api/v4/users/{id}/{verb}"), &json!({}))
        .await?;
    output.show(&Done::new(format!("{verb}ed {}", arguments.username), answer));
    Ok(())
}

/// The number of the user of this name.
pub(super) async fn find(client: &Client, name: &str) -> Result<u64, Failure> {
    let path = format!("/api/v4/users?username={}", encode_path(name));
    let found: Vec<Value> = client.get(&path).await?;
    let id = found.first().and_then(|user| user["id"].as_u64());
    id.ok_or_else(|| {
        Failure::new(Code::NotFound, format!("there is no user {name}")).next(format!(
            "check the name; an administrator makes one with `cairn user create {name}`"
        ))
    })
}
