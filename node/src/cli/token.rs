//! `cairn token`: makes tokens for people and for deployments.

use std::fmt;

use cairn_cluster::Seams;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure};
use super::output::Output;
use super::project;
use crate::auth::scopes::TokenScope;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a token and shows it, once
    New(New),
}

#[derive(Args)]
pub(super) struct New {
    /// What the token is for; shown in lists
    name: String,

    /// What the token may do; may be given several times. Without it, `api`; with --project,
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

    /// Whose token it is; the caller's own if neither this nor --project is given
    #[arg(long, value_name = "NAME", conflicts_with = "project")]
    user: Option<String>,

    /// Makes a deploy token of this project, which belongs to no user
    #[arg(long, value_name = "PATH")]
    project: Option<String>,

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
    let Command::New(new) = command;
    let client = new.connection.open()?;
    let path = match &new.project {
        Some(project) => {
            let project = project::find(&client, project).await?;
            format!("/api/v4/projects/{}/deploy_tokens", project.id)
        }
        None => {
            let user = find_user(&client, new.user.as_deref()).await?;
            format!("/api/v4/users/{}/personal_access_tokens", user.id)
        }
    };
    let default_scope = match new.project {
        Some(_) => "read_package_registry",
        None => "api",
    };
    let now = Timestamp::from_millisecond(Seams::system().clock.now().0 as i64)
        .expect("the clock shows a year that has four digits");
    let body = Body {
        name: &new.name,
        scopes: match &new.scopes[..] {
            [] => vec![default_scope],
            scopes => scopes.iter().map(String::as_str).collect(),
        },
        expires_at: new.expires.map(|expiry| expiry.date(now)).transpose()?,
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
}

#[derive(Deserialize)]
struct User {
    id: u64,
}

/// Finds a user by name, or the caller.
async fn find_user(client: &Client, name: Option<&str>) -> Result<User, Failure> {
    let Some(name) = name else {
        return client.get("/api/v4/user").await;
    };
    let mut found: Vec<User> = client
        .get(&format!("/api/v4/users?username={}", encode_path(name)))
        .await?;
    found.pop().ok_or_else(|| {
        Failure::new(Code::NotFound, format!("there is no user {name}"))
            .next("check the name; an administrator makes users with POST /api/v4/users")
    })
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
