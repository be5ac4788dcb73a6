//! `cairn cleanup`: what a project lets go by itself, and what that would be now.

use std::fmt;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::{Connection, encode_path};
use super::failure::{Code, Failure};
use super::output::Output;
use super::table::Table;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows the policy of a project
    Show(Of),
    /// Changes the policy of a project; what is not named stays
    Set(Box<Set>),
    /// Lets go now what the policy says, or shows what that would be
    Run(Run),
}

/// What policies are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Versions of packages
    Packages,
    /// Tags of container images
    Images,
}

impl Kind {
    fn path(self, project: &str) -> String {
        let part = match self {
            Self::Packages => "packages",
            Self::Images => "registry",
        };
        let project = encode_path(project);
        format!("/api/cairn/v1/projects/{project}/{part}/cleanup_policy")
    }
}

#[derive(Args)]
pub(super) struct Of {
    /// What the policy is about
    #[arg(value_enum)]
    kind: Kind,

    /// The project, as in `acme/demo`
    project: String,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    of: Of,

    /// Shows what would go and why; nothing goes
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(super) struct Set {
    #[command(flatten)]
    of: Of,

    /// Switches the policy on
    #[arg(long, conflicts_with = "off")]
    on: bool,

    /// Switches the policy off
    #[arg(long)]
    off: bool,

    /// So many of the newest stay; `none` takes the limit away
    #[arg(long, value_name = "N")]
    keep: Option<String>,

    /// What is younger stays, as in `90d`; `none` takes the limit away
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,

    /// Only names go that this regular expression matches as a whole
    #[arg(long, value_name = "REGEX")]
    names: Option<String>,

    /// Names that this one matches stay; `none` takes it away
    #[arg(long, value_name = "REGEX")]
    keep_names: Option<String>,

    /// Packages: what was downloaded more recently stays
    #[arg(long, value_name = "AGE")]
    not_downloaded_for: Option<String>,

    /// Packages: only versions go that this regular expression matches
    #[arg(long, value_name = "REGEX")]
    versions: Option<String>,

    /// Packages: versions that this one matches stay
    #[arg(long, value_name = "REGEX")]
    keep_versions: Option<String>,

    /// Packages: of these formats alone; `all` is all
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    formats: Option<Vec<String>>,

    /// Packages: so many files of one name stay in a version: 1, 10, 20, 30, 40, 50 or `all`
    #[arg(long, value_name = "N")]
    keep_files: Option<String>,

    /// Images: whether manifests go to which nothing leads any more
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set)]
    untagged: Option<bool>,

    /// Images: how often, as in `7d`
    #[arg(long, value_name = "PERIOD")]
    cadence: Option<String>,
}

impl Set {
    /// The change as the API takes it.
    fn change(&self) -> Result<Value, Failure> {
        let of_packages = [
            ("--not-downloaded-for", self.not_downloaded_for.is_some()),
            ("--versions", self.versions.is_some()),
            ("--keep-versions", self.keep_versions.is_some()),
            ("--formats", self.formats.is_some()),
            ("--keep-files", self.keep_files.is_some()),
        ];
        let foreign = match self.of.kind {
            Kind::Images => of_packages
                .iter()
                .find(|(_, given)| *given)
                .map(|(name, _)| *name),
            Kind::Packages if self.untagged.is_some() => Some("--untagged"),
            Kind::Packages => self.cadence.is_some().then_some("--cadence"),
        };
        if let Some(option) = foreign {
            return Err(Failure::new(
                Code::Usage,
                format!("{option} is not for this kind of policy"),
            ));
        }
        let mut change = Map::new();
        if self.on || self.off {
            change.insert("enabled".into(), self.on.into());
        }
        for (field, given) in [
            ("keep_n", &self.keep),
            ("older_than", &self.older_than),
            ("name_regex", &self.names),
            ("name_regex_keep", &self.keep_names),
            ("not_downloaded_for", &self.not_downloaded_for),
            ("version_regex", &self.versions),
            ("version_regex_keep", &self.keep_versions),
            ("cadence", &self.cadence),
        ] {
            match given.as_deref() {
                None => {}
                Some("none") => drop(change.insert(field.into(), Value::Null)),
                Some(value) => drop(change.insert(field.into(), value.into())),
            }
        }
        if let Some(untagged) = self.untagged {
            change.insert("untagged".into(), untagged.into());
        }
        if let Some(formats) = &self.formats {
            let named = formats.iter().filter(|format| *format != "all");
            change.insert("formats".into(), named.cloned().collect());
        }
        match self.keep_files.as_deref() {
            None => {}
            Some("all") => drop(change.insert(KEEP_FILES.into(), "ALL_PACKAGE_FILES".into())),
            Some(count) => drop(change.insert(KEEP_FILES.into(), count.into())),
        }
        match change.is_empty() {
            true => Err(Failure::new(Code::Usage, "nothing is to be changed")
                .next("name what is to be, as in `--on --keep 5 --older-than 90d`")),
            false => Ok(Value::Object(change)),
        }
    }
}

const KEEP_FILES: &str = "keep_n_duplicated_package_files";

/// A policy, as the API shows it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Policy(Map<String, Value>);

impl fmt::Display for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(list) if list.is_empty() => "all".into(),
            Value::Array(list) => {
                let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                words.join(", ")
            }
            Value::Object(run) => {
                let field = |name: &str| run.get(name).cloned().unwrap_or_default();
                let (removed, at) = (field("removed"), field("ended_at"));
                format!("{removed} removed, ended at {}", at.as_str().unwrap_or("-"))
            }
            other => other.to_string(),
        };
        let mut table = Table::new(&["SETTING", "VALUE"]);
        for (name, label) in FIELDS {
            if let Some(value) = self.0.get(*name) {
                table.row([(*label).into(), text(value)]);
            }
        }
        table.fmt(out)
    }
}

/// What is shown of a policy, in this order.
const FIELDS: &[(&str, &str)] = &[
    ("enabled", "switched on"),
    ("cadence", "how often"),
    ("formats", "formats"),
    ("name_regex", "names that go"),
    ("name_regex_keep", "names that stay"),
    ("version_regex", "versions that go"),
    ("version_regex_keep", "versions that stay"),
    ("keep_n", "newest that stay"),
    ("older_than", "older than"),
    ("not_downloaded_for", "not downloaded for"),
    (KEEP_FILES, "files of one name that stay"),
    ("untagged", "what nothing leads to goes"),
    ("next_run_at", "next run"),
    ("running", "running"),
    ("last_run", "last run"),
];

/// What would go, as the API shows it.
#[derive(Serialize, Deserialize)]
struct Plan {
    as_of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    versions: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifests: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blobs: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob_bytes: Option<u64>,
    complete: bool,
    going: Vec<Map<String, Value>>,
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = [
            (self.versions, "versions"),
            (self.files, "single files"),
            (self.tags, "tags"),
            (self.manifests, "manifests"),
            (self.blobs, "blobs"),
        ]
        .iter()
        .filter_map(|(count, what)| count.map(|count| format!("{count} {what}")))
        .collect();
        if self.going.is_empty() && self.blobs.unwrap_or(0) == 0 {
            return write!(out, "nothing would go at {}", self.as_of);
        }
        let mut table = Table::new(&["WHAT", "WHY"]);
        for going in &self.going {
            let field = |name: &str| going.get(name).and_then(Value::as_str);
            let what = match (field("path"), field("tag"), field("digest")) {
                (Some(path), Some(tag), _) => format!("{path}:{tag}"),
                (Some(path), None, Some(digest)) => format!("{path}@{digest}"),
                _ => {
                    let parts = ["package_type", "name", "version", "file_name"];
                    let parts: Vec<&str> = parts.into_iter().filter_map(field).collect();
                    parts.join(" ")
                }
            };
            table.row([what, field("why").unwrap_or_default().into()]);
        }
        table.fmt(out)?;
        write!(out, "\n{} would go at {}", counts.join(", "), self.as_of)?;
        match self.complete {
            true => Ok(()),
            false => write!(out, "; only the first of them are shown"),
        }
    }
}

/// A run that was asked for.
#[derive(Serialize, Deserialize)]
struct Begun {
    next_run_at: Option<String>,
    running: bool,
}

impl fmt::Display for Begun {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.running {
            true => write!(out, "a run is under way")?,
            false => write!(out, "the run begins within a minute")?,
        }
        write!(out, "; `cairn cleanup show` tells when it has ended")
    }
}

pub(super) async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Show(of) => {
            let policy: Policy = of.connection.open()?.get(&of.kind.path(&of.project)).await?;
            output.show(&policy);
        }
        Command::Set(set) => {
            let change = set.change()?;
            let client = set.of.connection.open()?;
            let policy: Policy = client.put(&set.of.kind.path(&set.of.project), &change).await?;
            output.show(&policy);
        }
        Command::Run(Run { of, dry_run }) => {
            let client = of.connection.open()?;
            let path = of.kind.path(&of.project);
            match dry_run {
                true => {
                    let plan: Plan = client.post(&format!("{path}/dry_run"), &json!({})).await?;
                    output.show(&plan);
                }
                false => {
                    let begun: Begun = client.post(&format!("{path}/run"), &json!({})).await?;
                    output.show(&begun);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn change(arguments: &[&str]) -> Result<Value, Failure> {
        let line = [&["cairn", "set"], arguments].concat();
        match Line::try_parse_from(line).unwrap().command {
            Command::Set(set) => set.change(),
            _ => unreachable!("it is set"),
        }
    }

    #[test]
    fn options_become_fields_and_none_takes_them_away() {
        let packages = [
            "packages",
            "acme/demo",
            "--on",
            "--keep",
            "5",
            "--older-than",
            "none",
        ];
        assert_eq!(
            change(&packages).unwrap(),
            json!({ "enabled": true, "keep_n": "5", "older_than": null })
        );
        let formats = [
            "packages",
            "acme/demo",
            "--formats",
            "npm,pypi",
            "--keep-files",
            "all",
        ];
        assert_eq!(
            change(&formats).unwrap(),
            json!({ "formats": ["npm", "pypi"], KEEP_FILES: "ALL_PACKAGE_FILES" })
        );
        assert!(change(&["packages", "acme/demo"]).is_err());
        assert!(change(&["packages", "acme/demo", "--cadence", "7d"]).is_err());
        assert!(change(&["images", "acme/demo", "--formats", "npm"]).is_err());
    }

    #[test]
    fn what_would_go_is_a_table_with_reasons() {
        let plan: Plan = serde_json::from_value(json!({
            "as_of": "10:00",
            "versions": 1,
            "files": 0,
            "complete": true,
            "going": [{
                "package_type": "npm", "name": "foo", "version": "1.0.0", "package_id": 1,
                "file_id": null, "file_name": null, "why": "not among the newest 2",
            }],
        }))
        .unwrap();
        assert_eq!(
            plan.to_string(),
            "WHAT           WHY\n\
             npm foo 1.0.0  not among the newest 2\n\
             1 versions, 0 single files would go at 10:00"
        );
    }
}
