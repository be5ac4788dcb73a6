//! `cairn trust`: whose jobs are let in without a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::{Client, Connection};
use super::failure::Failure;
use super::output::Output;
use super::place::Place;
use super::table::Table;
use crate::auth::scopes::TokenScope;
use crate::formats::FORMATS;

/// Where the rules of a group or project are.
pub(super) const RULES: &str = "trust_rules";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Lets the jobs of an issuer in that have some claims
    Add(Add),
    /// Shows who is let in
    List(List),
    /// Lets them in no more; the tokens that they have hold no longer
    Remove(Remove),
}

#[derive(Args)]
pub(super) struct Add {
    /// What the rule is called in lists
    name: String,

    #[command(flatten)]
    place: Place,

    /// Who says what a job is: the URL that its ID tokens name as `iss`
    #[arg(long, value_name = "URL")]
    issuer: String,

    /// What the ID token must say of the job, as in `repository=acme/demo` or `ref=refs/tags/*`;
    /// may be given several times, and all of them must be true
    #[arg(long = "claim", value_name = "NAME=VALUE", required = true, value_parser = parse_claim)]
    claims: Vec<(String, String)>,

    /// What the job may do; may be given several times. Without it, read and write packages
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        default_values = ["read_package_registry", "write_package_registry"],
        value_parser = PossibleValuesParser::new(TokenScope::JOB.iter().map(|scope| scope.name()))
    )]
    scopes: Vec<String>,

    /// For whom the ID token must have been made; without it, for the host of the cluster
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,

    /// The one package format that the job may act in
    #[arg(
        long,
        value_name = "FORMAT",
        value_parser = PossibleValuesParser::new(FORMATS.iter().map(|format| format.name()))
    )]
    package_type: Option<String>,

    /// The packages that the job may act on: a name, or with a `*` at the end the beginning of one
    #[arg(long, value_name = "PATTERN", requires = "package_type")]
    package: Option<String>,

    /// How long a token lives that the job gets, up to an hour
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_lifetime)]
    lifetime: Duration,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Remove {
    /// The rule's number, as `cairn trust list` shows it
    id: u64,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    connection: Connection,
}

fn parse_claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.into(), value.into())),
        _ => Err("NAME=VALUE is needed, as in repository=acme/demo".into()),
    }
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "a time is needed, as in 15m")?;
    span.try_into().map_err(|_| "a time is needed, as in 15m".into())
}

/// A rule, as the API shows it.
#[derive(Serialize, Deserialize)]
struct Rule {
    id: u64,
    name: String,
    issuer: String,
    audience: String,
    claims: BTreeMap<String, String>,
    scopes: Vec<String>,
    package_type: Option<String>,
    package_name_pattern: Option<String>,
    lifetime_seconds: u64,
}

impl Rule {
    fn claims(&self) -> String {
        let claims = self.claims.iter().map(|(name, value)| format!("{name}={value}"));
        claims.collect::<Vec<_>>().join(" ")
    }

    fn packages(&self) -> String {
        match (&self.package_type, &self.package_name_pattern) {
            (Some(format), Some(pattern)) => format!("{format}:{pattern}"),
            (Some(format), None) => format!("{format}:*"),
            (None, _) => "*".into(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "made trust rule {} (id {}): jobs of {} with {} get tokens for {}, if their ID token is for {}",
            self.name,
            self.id,
            self.issuer,
            self.claims(),
            self.scopes.join(", "),
            self.audience
        )
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Rules(Vec<Rule>);

impl fmt::Display for Rules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = [
            "ID", "NAME", "ISSUER", "AUDIENCE", "CLAIMS", "SCOPES", "PACKAGES", "LIFETIME",
        ];
        let mut table = Table::new(&headings);
        for rule in &self.0 {
            table.row([
                rule.id.to_string(),
                rule.name.clone(),
                rule.issuer.clone(),
                rule.audience.clone(),
                rule.claims(),
                rule.scopes.join(","),
                rule.packages(),
                format!("{}s", rule.lifetime_seconds),
            ]);
        }
        write!(out, "{table}")
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Add(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&add(&client, &arguments).await?);
        }
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let rules = client.all(&arguments.place.own_api(RULES)).await?;
            output.show(&Rules(rules));
        }
        Command::Remove(arguments) => {
            let client = arguments.connection.open()?;
            let rule = format!("{RULES}/{}", arguments.id);
            client.give_up(&arguments.place.own_api(&rule)).await?;
        }
    }
    Ok(())
}

async fn add(client: &Client, arguments: &Add) -> Result<Rule, Failure> {
    #[derive(Serialize)]
    struct New<'a> {
        name: &'a str,
        issuer: &'a str,
        claims: BTreeMap<&'a str, &'a str>,
        scopes: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        audience: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        package_type: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        package_name_pattern: Option<&'a str>,
        lifetime_seconds: u64,
    }
    let claims = arguments.claims.iter();
    let new = New {
        name: &arguments.name,
        issuer: &arguments.issuer,
        claims: claims
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        scopes: &arguments.scopes,
        audience: arguments.audience.as_deref(),
        package_type: arguments.package_type.as_deref(),
        package_name_pattern: arguments.package.as_deref(),
        lifetime_seconds: arguments.lifetime.as_secs(),
    };
    let made = client.post(&arguments.place.own_api(RULES), &new).await;
    made.map_err(|failure| failure.context(format_args!("cannot make trust rule {}", arguments.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_a_name_and_a_value() {
        assert_eq!(parse_claim("a=b=c"), Ok(("a".into(), "b=c".into())));
        for text in ["", "a", "a=", "=b"] {
            assert!(parse_claim(text).is_err(), "{text}");
        }
        assert_eq!(parse_lifetime("1h"), Ok(Duration::from_secs(3600)));
        assert!(parse_lifetime("-1m").is_err() && parse_lifetime("soon").is_err());
    }
}
