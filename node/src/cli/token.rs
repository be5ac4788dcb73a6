//! `cairn token`: tokens of people and for deployments.

use std::fmt;

use cairn_cluster::Seams;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::Connection;
use super::failure::{Code, Failure};
use super::output::Output;
use super::place::Place;
use super::rows::{Column, Done, Rows};
use super::user;
use crate::auth::role::Role;
use crate::auth::scopes::TokenScope;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a token and shows it, once
    New(New),
    /// Shows tokens: one's own, or those of a user, a project or a group
    List(List),
    /// Lets a token hold no more, on every node at once
    Revoke(Revoke),
    /// Puts a new token in the place of a personal one or a bot's, and shows it, once
    Rotate(Rotate),
    /// Shows how long tokens may live at most, or sets it for those that are made from then on
    Lifetimes(Lifetimes),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    whose: Whose,

    #[command(flatten)]
    connection: Connection,
}

/// Whose tokens; without any of these, the caller's own.
#[derive(Args)]
struct Whose {
    /// Of this user
    #[arg(long, value_name = "NAME", conflicts_with_all = ["project", "group"])]
    user: Option<String>,

    /// Of this project: deploy tokens, which belong to no user
    #[arg(long, value_name = "PATH", conflicts_with = "group")]
    project: Option<String>,

    /// Of this group, for all that is below it: deploy tokens, which belong to no user
    #[arg(long, value_name = "PATH")]
    group: Option<String>,

    /// Access tokens in the place of deploy tokens: each is that of a bot with a role there
    #[arg(long, conflicts_with = "user")]
    bots: bool,
}

#[derive(Args)]
pub(super) struct Revoke {
    /// The number of the token, as `cairn token list` shows it
    id: u64,

    #[command(flatten)]
    whose: Whose,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Rotate {
    /// The number of the token, as `cairn token list` shows it
    id: u64,

    /// Last day of the new token, as `cairn token new` takes it
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Expiry>,

    #[command(flatten)]
    whose: Whose,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Lifetimes {
    /// Tokens of users and bots end after so many days at most; `none` for what is possible at all
    #[arg(long, value_name = "DAYS", value_parser = parse_days)]
    personal: Option<Days>,

    /// Deploy tokens end after so many days at most; `none` to let them live without end
    #[arg(long, value_name = "DAYS", value_parser = parse_days)]
    deploy: Option<Days>,

    #[command(flatten)]
    connection: Connection,
}

/// A number of days, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Days(Option<u32>);

fn parse_days(text: &str) -> Result<Days, String> {
    match text {
        "none" => Ok(Days(None)),
        _ => match text.parse() {
            Ok(days) => Ok(Days(Some(days))),
            Err(_) => Err("neither a number of days nor `none`".to_owned()),
        },
    }
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("USERNAME", "username"),
    ("SCOPES", "scopes"),
    ("UNTIL", "expires_at"),
    ("LAST USED", "last_used_at"),
    ("REVOKED", "revoked"),
];

impl Whose {
    /// The group or project that the tokens are of.
    fn place(&self) -> Option<Place> {
        match (&self.project, &self.group) {
            (Some(path), _) => Some(Place::project(path)),
            (None, path) => path.as_deref().map(Place::group),
        }
    }

    /// The path of their list, or of something of one of them.
    fn path(&self, rest: &str) -> String {
        match self.place() {
            None => format!("/api/v4/personal_access_tokens{rest}"),
            Some(place) if self.bots => place.api(&format!("access_tokens{rest}")),
            Some(place) => place.api(&format!("deploy_tokens{rest}")),
        }
    }

    /// Fails if bots are asked for, and not where.
    fn check(&self) -> Result<(), Failure> {
        match self.bots && self.place().is_none() {
            true => Err(Failure::new(Code::Usage, "--bots needs --project or --group")),
            false => Ok(()),
        }
    }
}

#[derive(Args)]
pub(super) struct New {
    /// What the token is for; shown in lists
    name: String,

    /// What the token may do; may be given several times. Without it, `api`; for a deploy token,
    /// `read_package_registry`
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(TokenScope::ALL.map(TokenScope::name))
    )]
    scopes: Vec<String>,

    /// Last day of the token: a date, or how long from today, as in `2027-06-30` or `90 days`
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Expiry>,

    /// What the bot of an access token may do; `maintainer` unless it is given
    #[arg(long, requires = "bots", value_parser = PossibleValuesParser::new(Role::ALL.map(Role::name)))]
    role: Option<String>,

    #[command(flatten)]
    whose: Whose,

    #[command(flatten)]
    connection: Connection,
}

/// When a token stops to hold.
#[derive(Clone, Copy, Debug)]
enum Expiry {
    On(Date),
    After(Span),
}

impl Expiry {
    fn date(self, now: Timestamp) -> Result<Date, Failure> {
        let today = now.to_zoned(TimeZone::UTC).date();
        match self {
            Self::On(date) => Ok(date),
            Self::After(span) => today
                .checked_add(span)
                .map_err(|error| Failure::new(Code::Usage, format!("--expires is out of range: {error}"))),
        }
    }
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    let as_date = text.parse::<Date>().map(Expiry::On);
    as_date
        .or_else(|_| text.parse::<Span>().map(Expiry::After))
        .map_err(|_| "neither a date like 2027-06-30 nor a time like `90 days`".to_owned())
}

/// A new token, as the API shows it this one time.
#[derive(Serialize, Deserialize)]
struct NewToken {
    id: u64,
    name: String,
    /// What goes with a deploy token as the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    scopes: Vec<String>,
    expires_at: Option<String>,
    token: String,
}

impl fmt::Display for NewToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "made token {} (id {}) for {}",
            self.name,
            self.id,
            self.scopes.join(", ")
        )?;
        match &self.expires_at {
            Some(date) => write!(out, ", until {date}")?,
            None => write!(out, ", without end")?,
        }
        if let Some(username) = &self.username {
            write!(out, ", with the user name {username}")?;
        }
        write!(out, "; it is shown only now:")
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::New(new) => make(new, output).await,
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let whose = &arguments.whose;
            whose.check()?;
            let of = match &whose.user {
                Some(name) => format!("?user_id={}", user::find(&client, name).await?),
                None => String::new(),
            };
            output.show(&Rows::new(COLUMNS, client.all(&whose.path(&of)).await?));
            Ok(())
        }
        Command::Revoke(arguments) => {
            let client = arguments.connection.open()?;
            let whose = &arguments.whose;
            whose.check()?;
            client.give_up(&whose.path(&format!("/{}", arguments.id))).await?;
            output.show(&Done::new(
                format!("token {} holds no more", arguments.id),
                json!({}),
            ));
            Ok(())
        }
        Command::Rotate(arguments) => {
            let client = arguments.connection.open()?;
            let whose = &arguments.whose;
            whose.check()?;
            if whose.place().is_some() && !whose.bots {
                let what = "deploy tokens are not rotated: make another one, then revoke this one; --bots rotates access tokens";
                return Err(Failure::new(Code::Usage, what));
            }
            let path = whose.path(&format!("/{}/rotate", arguments.id));
            let until = arguments.expires.map(|expiry| expiry.date(now())).transpose()?;
            let token: NewToken = client.post(&path, &json!({ "expires_at": until })).await?;
            output.show_secret(&token, &token.token);
            Ok(())
        }
        Command::Lifetimes(arguments) => {
            let client = arguments.connection.open()?;
            let mut change = Map::new();
            for (field, days) in [(PERSONAL, arguments.personal), (DEPLOY, arguments.deploy)] {
                if let Some(Days(days)) = days {
                    change.insert(field.into(), days.into());
                }
            }
            let settings: Value = match change.is_empty() {
                true => client.get(SETTINGS).await?,
                false => client.put(SETTINGS, &change).await?,
            };
            let most = |field: &str, unset: &str| match settings[field].as_u64() {
                Some(days) => format!("{days} days"),
                None => unset.to_owned(),
            };
            let (personal, deploy) = (
                most(PERSONAL, "400 days"),
                most(DEPLOY, "any time, or without end"),
            );
            output.show(&Done::new(
                format!("tokens of users and bots live {personal} at most, deploy tokens {deploy}"),
                settings,
            ));
            Ok(())
        }
    }
}

/// Where the settings of the whole instance are, and what they call the longest lives.
const SETTINGS: &str = "/api/v4/application/settings";
const PERSONAL: &str = "max_personal_access_token_lifetime";
const DEPLOY: &str = "max_deploy_token_lifetime";

fn now() -> Timestamp {
    Timestamp::from_millisecond(Seams::system().clock.now().0 as i64)
        .expect("the clock shows a year that has four digits")
}

async fn make(new: New, output: Output) -> Result<(), Failure> {
    let client = new.connection.open()?;
    let whose = &new.whose;
    whose.check()?;
    let path = match whose.place() {
        Some(_) => whose.path(""),
        None => {
            let id = match &whose.user {
                Some(name) => user::find(&client, name).await?,
                None => client.get::<User>("/api/v4/user").await?.id,
            };
            format!("/api/v4/users/{id}/personal_access_tokens")
        }
    };
    let default_scope = match whose.place() {
        Some(_) if !whose.bots => "read_package_registry",
        _ => "api",
    };
    let role = new.role.as_deref().and_then(Role::named);
    let body = Body {
        name: &new.name,
        scopes: match &new.scopes[..] {
            [] => vec![default_scope],
            scopes => scopes.iter().map(String::as_str).collect(),
        },
        expires_at: new.expires.map(|expiry| expiry.date(now())).transpose()?,
        access_level: role.map(Role::level),
    };
    let token: NewToken = client
        .post(&path, &body)
        .await
        .map_err(|failure| failure.context(format_args!("cannot make token {}", new.name)))?;
    output.show_secret(&token, &token.token);
    Ok(())
}

#[derive(Serialize)]
struct Body<'a> {
    name: &'a str,
    scopes: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_level: Option<u8>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_a_date_or_a_time_from_now() {
        let now = "2026-01-31T23:30:00Z".parse().unwrap();
        let check = |text: &str, expected: &str| {
            let date = parse_expiry(text).unwrap().date(now).unwrap();
            assert_eq!(date.to_string(), expected, "{text}");
        };
        check("2027-06-30", "2027-06-30");
        check("90 days", "2026-05-01");
        check("90d", "2026-05-01");
        check("1 month", "2026-02-28");
        check("1y", "2027-01-31");
        for text in ["", "soon", "2027-13-01", "90"] {
            assert!(parse_expiry(text).is_err(), "{text}");
        }
        assert!(parse_expiry("9000 years").unwrap().date(now).is_err());
    }
}
