//! `cairn user`: who there is.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure, OrFail as _};
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
    /// Makes a user, who signs in by tokens and, once there is one, by a password
    Create(Create),
    /// Shows who there is
    List(List),
    /// Changes what is known of a user, and what the user may do
    Set(Set),
    /// Lets a user sign in at an identity provider, or no more
    Link(Link),
    /// Sets a user's password, and ends all sessions of the user
    Password(Password),
    /// Lets no token, password or session of a user hold any more, on every node at once
    Block(Named),
    /// Lets tokens and password hold again
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
pub(super) struct Set {
    /// The name the user signs in with
    username: String,

    /// The name to show
    #[arg(long)]
    name: Option<String>,

    /// Where to write to the user
    #[arg(long)]
    email: Option<String>,

    /// Whether the user may do everything
    #[arg(long, value_name = "BOOL")]
    admin: Option<bool>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Link {
    /// The name the user signs in with
    username: String,

    /// The provider, as the configuration of the nodes names it
    provider: String,

    /// Who the user is there: the subject that the provider says
    #[arg(required_unless_present = "remove")]
    subject: Option<String>,

    /// Ends it
    #[arg(long, conflicts_with = "subject")]
    remove: bool,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Password {
    /// The name the user signs in with
    username: String,

    /// Reads the password from standard input up to the end of the line, and does not ask for it
    #[arg(long)]
    stdin: bool,

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
                "made user {} (id {}); `cairn user password {0}` sets a password, `cairn token new NAME --user {0}` \
                 makes a token",
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
        Command::Set(arguments) => {
            let client = arguments.connection.open()?;
            let mut change = json!({});
            for (field, value) in [
                ("name", arguments.name.map(Value::from)),
                ("email", arguments.email.map(Value::from)),
                ("admin", arguments.admin.map(Value::from)),
            ] {
                if let Some(value) = value {
                    change[field] = value;
                }
            }
            let answer = set(&client, &arguments.username, &change).await?;
            output.show(&Done::new(format!("changed {}", arguments.username), answer));
        }
        Command::Link(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&link(&client, &arguments).await?);
        }
        Command::Password(arguments) => {
            let client = arguments.connection.open()?;
            let password = match arguments.stdin {
                true => read_line().or_fail("read the password from standard input")?,
                false => tokio::task::spawn_blocking(ask_twice)
                    .await
                    .or_fail("ask for the password")??,
            };
            let answer = set(&client, &arguments.username, &json!({ "password": password })).await?;
            let sentence = format!("set the password of {}; all sessions ended", arguments.username);
            output.show(&Done::new(sentence, answer));
        }
        Command::Block(arguments) => set_state(&arguments, "block", output).await?,
        Command::Unblock(arguments) => set_state(&arguments, "unblock", output).await?,
    }
    Ok(())
}

/// A line of standard input, without its end.
fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a password at the terminal, which does not show it.
fn ask_twice() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::new(Code::Usage, "there is no terminal to ask for the password at")
                .next("give it by standard input, with --stdin"),
        );
    }
    let first = ask("New password: ").or_fail("ask for the password")?;
    let second = ask("Once more: ").or_fail("ask for the password")?;
    match first == second {
        true => Ok(first),
        false => Err(Failure::new(Code::Usage, "the two are not the same").next("try again")),
    }
}

fn ask(question: &str) -> io::Result<String> {
    let terminal = io::stdin();
    write!(io::stderr(), "{question}")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let line = read_line();
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    line
}

async fn create(client: &Client, new: &Create) -> Result<Value, Failure> {
    let name = new.name.as_ref().unwrap_or(&new.username);
    let body = json!({ "username": new.username, "name": name, "email": new.email, "admin": new.admin });
    let made = client.post("/api/v4/users", &body).await;
    made.map_err(|failure| failure.context(format_args!("cannot make user {}", new.username)))
}

async fn set(client: &Client, username: &str, change: &Value) -> Result<Value, Failure> {
    let id = find(client, username).await?;
    client.put(&format!("/api/v4/users/{id}"), change).await
}

async fn link(client: &Client, arguments: &Link) -> Result<Done, Failure> {
    let (username, provider) = (&arguments.username, &arguments.provider);
    if let Some(subject) = &arguments.subject {
        let change = json!({ "provider": provider, "extern_uid": subject });
        let answer = set(client, username, &change).await?;
        return Ok(Done::new(
            format!("{username} signs in at {provider} as {subject}"),
            answer,
        ));
    }
    let id = find(client, username).await?;
    let path = format!("/api/v4/users/{id}/identities/{}", encode_path(provider));
    client.give_up(&path).await?;
    Ok(Done::new(
        format!("{username} signs in at {provider} no more"),
        json!({}),
    ))
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
