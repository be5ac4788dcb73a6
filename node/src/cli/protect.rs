//! `cairn protect`: rules that say who may publish and delete names that matter.

use std::fmt;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::{Client, Connection, encode_path};
use super::failure::{Code, Failure};
use super::output::Output;
use super::table::Table;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows all rules of a project
    List(List),
    /// Makes a rule
    Add(Add),
    /// Removes a rule
    Remove(Remove),
}

#[derive(Args)]
pub(super) struct List {
    /// The project, as in `acme/demo`
    project: String,

    #[command(flatten)]
    connection: Connection,
}

/// What rules are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Names of packages
    Packages,
    /// Paths of container repositories
    Repositories,
    /// Names of container tags
    Tags,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Packages, Self::Repositories, Self::Tags];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Repositories => "repositories",
            Self::Tags => "tags",
        }
    }

    /// The field that says which names are meant.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Packages => "package_name_pattern",
            Self::Repositories => "repository_path_pattern",
            Self::Tags => "tag_name_pattern",
        }
    }

    pub(super) fn path(self, project: &str) -> String {
        let tail = match self {
            Self::Packages => "packages/protection/rules",
            Self::Repositories => "registry/protection/repository/rules",
            Self::Tags => "registry/protection/tag/rules",
        };
        format!("/api/v4/projects/{}/{tail}", encode_path(project))
    }
}

/// Who may still do something, at least.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Maintainers of the project
    Maintainer,
    /// Owners of the project
    Owner,
    /// Those who administer the instance
    Admin,
}

#[derive(Args)]
pub(super) struct Add {
    /// What the rule is about
    #[arg(value_enum)]
    kind: Kind,

    /// The project, as in `acme/demo`
    project: String,

    /// Which names: with `*` for any characters; of tags a regular expression, as in `^v\d+`
    pattern: String,

    /// Of which format, as in `npm`; for packages alone
    #[arg(long, required_if_eq("kind", "packages"))]
    format: Option<String>,

    /// Who may publish or push, at least
    #[arg(long, value_enum, value_name = "LEVEL")]
    push: Option<Level>,

    /// Who may delete, at least
    #[arg(long, value_enum, value_name = "LEVEL")]
    delete: Option<Level>,

    /// Makes tags that nobody can move or delete
    #[arg(long, conflicts_with_all = ["push", "delete"])]
    immutable: bool,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Remove {
    /// What the rule is about
    #[arg(value_enum)]
    kind: Kind,

    /// The project, as in `acme/demo`
    project: String,

    /// The number of the rule, which `cairn protect list` shows
    id: u64,

    #[command(flatten)]
    connection: Connection,
}

/// A rule, as the API shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    id: u64,
    #[serde(alias = "package_name_pattern", alias = "repository_path_pattern")]
    tag_name_pattern: String,
    package_type: Option<String>,
    minimum_access_level_for_push: Option<String>,
    minimum_access_level_for_delete: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rule {
    id: u64,
    kind: Kind,
    pattern: String,
    format: Option<String>,
    push: Option<String>,
    delete: Option<String>,
}

impl Rule {
    fn of(kind: Kind, shown: Shown) -> Self {
        Self {
            id: shown.id,
            kind,
            pattern: shown.tag_name_pattern,
            format: shown.package_type,
            push: shown.minimum_access_level_for_push,
            delete: shown.minimum_access_level_for_delete,
        }
    }

    /// Who may do something, as a word.
    fn who(&self, level: Option<&String>) -> String {
        match (level, self.kind) {
            (Some(level), _) => level.clone(),
            // Of tags, both are set or none.
            (None, Kind::Tags) => "nobody".into(),
            (None, _) => "-".into(),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Rules(Vec<Rule>);

impl fmt::Display for Rules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(out, "nothing is protected; `cairn protect add` makes a rule");
        }
        let mut table = Table::new(&["ID", "KIND", "PATTERN", "FORMAT", "PUSH", "DELETE"]);
        for rule in &self.0 {
            table.row([
                rule.id.to_string(),
                rule.kind.name().into(),
                rule.pattern.clone(),
                rule.format.clone().unwrap_or_else(|| "-".into()),
                rule.who(rule.push.as_ref()),
                rule.who(rule.delete.as_ref()),
            ]);
        }
        table.fmt(out)
    }
}

/// A rule that is gone.
#[derive(Serialize)]
struct Removed {
    kind: Kind,
    id: u64,
}

impl fmt::Display for Removed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "removed rule {} on {}", self.id, self.kind.name())
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => {
            let client = arguments.connection.open()?;
            let mut rules = Vec::new();
            for kind in Kind::ALL {
                let shown: Vec<Shown> = client.get(&kind.path(&arguments.project)).await?;
                rules.extend(shown.into_iter().map(|shown| Rule::of(kind, shown)));
            }
            output.show(&Rules(rules));
        }
        Command::Add(arguments) => {
            let client = arguments.connection.open()?;
            output.show(&Rules(vec![add(&client, &arguments).await?]));
        }
        Command::Remove(Remove {
            kind,
            project,
            id,
            connection,
        }) => {
            let client = connection.open()?;
            client.give_up(&format!("{}/{id}", kind.path(&project))).await?;
            output.show(&Removed { kind, id });
        }
    }
    Ok(())
}

async fn add(client: &Client, arguments: &Add) -> Result<Rule, Failure> {
    let kind = arguments.kind;
    let usage = |message: &str| Err(Failure::new(Code::Usage, message));
    if arguments.format.is_some() && kind != Kind::Packages {
        return usage("--format is for packages alone");
    }
    if arguments.immutable && kind != Kind::Tags {
        return usage("--immutable is for tags alone");
    }
    let says_nothing = arguments.push.is_none() && arguments.delete.is_none() && !arguments.immutable;
    if says_nothing {
        return usage("the rule says nothing: add --push or --delete, or --immutable for tags");
    }
    let mut rule = Map::new();
    rule.insert(kind.field().into(), arguments.pattern.clone().into());
    if let Some(format) = &arguments.format {
        rule.insert("package_type".into(), format.clone().into());
    }
    let level = |level: Option<Level>| serde_json::json!(level);
    rule.insert("minimum_access_level_for_push".into(), level(arguments.push));
    rule.insert("minimum_access_level_for_delete".into(), level(arguments.delete));
    let path = kind.path(&arguments.project);
    let shown: Shown = client.post(&path, &Value::Object(rule)).await?;
    Ok(Rule::of(kind, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_all_kinds_are_one_table() {
        let rule = |kind, text: &str| Rule::of(kind, serde_json::from_str(text).unwrap());
        let rules = Rules(vec![
            rule(
                Kind::Packages,
                r#"{"id":1,"package_name_pattern":"@acme/*","package_type":"npm",
                    "minimum_access_level_for_push":"maintainer","minimum_access_level_for_delete":null}"#,
            ),
            rule(
                Kind::Tags,
                r#"{"id":2,"tag_name_pattern":"^v",
                    "minimum_access_level_for_push":null,"minimum_access_level_for_delete":null}"#,
            ),
        ]);
        assert_eq!(
            rules.to_string(),
            "ID  KIND      PATTERN  FORMAT  PUSH        DELETE\n\
             1   packages  @acme/*  npm     maintainer  -\n\
             2   tags      ^v       -       nobody      nobody"
        );
        assert!(Rules(Vec::new()).to_string().starts_with("nothing is protected"));
    }
}
