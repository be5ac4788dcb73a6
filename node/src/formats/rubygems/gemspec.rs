//! What a gem says of itself: the specification in its `metadata.gz`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{Clause, GEM, GemName, GemVersion, Platform, Requirement, full_name};
use super::yaml::{Node, YamlError};
use crate::registry::names::InvalidName;

/// The longest specification: it names every file of the gem.
pub(super) const MAX_YAML_BYTES: usize = 4 << 20;

/// The most of it that is kept, which indexes and answers repeat.
const MAX_KEPT_BYTES: usize = 160 << 10;

/// The most dependencies.
const MAX_DEPENDENCIES: usize = 500;

/// The most authors, addresses, licenses or links.
const MAX_ENTRIES: usize = 200;

/// Why a specification was not accepted: what follows the word for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("names what there is not: {0}")]
    Name(#[from] InvalidName),
    #[error("{0}")]
    Refused(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError::Refused(why.into()))
}

/// A specification, as far as indexes and answers tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) name: GemName,
    pub(super) version: GemVersion,
    pub(super) platform: Platform,
    /// `2026-07-01`
    pub(super) date: Option<Date>,
    pub(super) summary: String,
    pub(super) description: Option<String>,
    pub(super) authors: Vec<String>,
    pub(super) email: Email,
    pub(super) homepage: Option<String>,
    pub(super) licenses: Vec<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) required_ruby: Requirement,
    pub(super) required_rubygems: Requirement,
    pub(super) dependencies: Vec<Dependency>,
    /// The RubyGems that built it.
    pub(super) rubygems_version: String,
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Date {
    pub(super) year: u16,
    pub(super) month: u8,
    pub(super) day: u8,
}

/// Whom to write to: RubyGems keeps one address and a list of them apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Email {
    None,
    One(String),
    Many(Vec<String>),
}

/// Another gem that a gem needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: GemName,
    pub(super) requirement: Requirement,
    /// Whether those who use the gem need it, and not only those who work on it.
    pub(super) is_runtime: bool,
    pub(super) is_prerelease: bool,
}

impl Spec {
    /// What names it among all gems.
    pub(super) fn full_name(&self) -> String {
        full_name(self.name.as_str(), &self.version, &self.platform)
    }

    /// The name of its file.
    pub(super) fn file_name(&self) -> String {
        format!("{}{GEM}", self.full_name())
    }

    /// Reads a specification.
    pub(super) fn read(yaml: &[u8]) -> Result<Self, SpecError> {
        let node = Node::read(yaml)?;
        let text = |key: &str| optional_text(&node, key);
        let version = node.get("version").and_then(version_text);
        let spec = Self {
            name: required(text("name")?, "name")?.parse()?,
            version: required(version, "version")?.parse()?,
            platform: match text("platform")? {
                Some(platform) => platform.parse()?,
                None => Platform::ruby(),
            },
            date: text("date")?.as_deref().and_then(Date::read),
            summary: text("summary")?.unwrap_or_default(),
            description: text("description")?,
            authors: texts(&node, "authors")?,
            email: email(&node)?,
            homepage: text("homepage")?,
            licenses: texts(&node, "licenses")?,
            metadata: metadata(&node)?,
            required_ruby: requirement(node.get("required_ruby_version"))?,
            required_rubygems: requirement(node.get("required_rubygems_version"))?,
            dependencies: dependencies(&node)?,
            rubygems_version: text("rubygems_version")?.unwrap_or_default(),
        };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), SpecError> {
        if self.rubygems_version.len() > 64 {
            return refused("has a rubygems_version of more than 64 characters");
        }
        let kept = serde_json::to_vec(self).map_err(|error| SpecError::Refused(error.to_string()))?;
        if kept.len() > MAX_KEPT_BYTES {
            return refused(format!("says more than {MAX_KEPT_BYTES} bytes about the gem"));
        }
        Ok(())
    }

    /// The dependencies of those who use the gem, in the order of their names.
    pub(super) fn runtime_dependencies(&self) -> Vec<&Dependency> {
        let mut found: Vec<_> = self
            .dependencies
            .iter()
            .filter(|found| found.is_runtime)
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

impl Date {
    fn read(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.get(..10)?.parse().ok()?;
        Some(Self {
            year: u16::try_from(date.year()).ok().filter(|year| *year >= 1900)?,
            month: u8::try_from(date.month()).ok()?,
            day: u8::try_from(date.day()).ok()?,
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day } = self;
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

fn required(found: Option<String>, what: &str) -> Result<String, SpecError> {
    match found {
        Some(found) => Ok(found),
        None => refused(format!("has no {what}")),
    }
}

fn optional_text(node: &Node, key: &str) -> Result<Option<String>, SpecError> {
    match node.get(key) {
        None => Ok(None),
        Some(value) => match value.text() {
            Some(text) => Ok(Some(text.to_owned())),
            None => refused(format!("has a {key} that is no text")),
        },
    }
}

/// A version is an object with one field, or was written as text.
fn version_text(node: &Node) -> Option<String> {
    let inner = node.get("version").unwrap_or(node);
    inner.text().map(str::to_owned)
}

fn texts_of(list: &[Node], key: &str) -> Result<Vec<String>, SpecError> {
    if list.len() > MAX_ENTRIES {
        return refused(format!("has more than {MAX_ENTRIES} {key}"));
    }
    let texts = list.iter().map(|element| element.text().map(str::to_owned));
    match texts.collect() {
        Some(texts) => Ok(texts),
        None => refused(format!("has {key} that are no texts")),
    }
}

fn texts(node: &Node, key: &str) -> Result<Vec<String>, SpecError> {
    match node.get(key) {
        None => Ok(Vec::new()),
        Some(value) => match value.list() {
            Some(list) => texts_of(list, key),
            None => Ok(optional_text(node, key)?.into_iter().collect()),
        },
    }
}

fn email(node: &Node) -> Result<Email, SpecError> {
    match node.get("email") {
        None => Ok(Email::None),
        Some(value) => match (value.text(), value.list()) {
            (Some(text), _) => Ok(Email::One(text.to_owned())),
            (_, Some(list)) => Ok(Email::Many(texts_of(list, "email")?)),
            _ => refused("has an email that is no text"),
        },
    }
}

fn metadata(node: &Node) -> Result<BTreeMap<String, String>, SpecError> {
    let entries = node.get("metadata").and_then(Node::map).unwrap_or_default();
    if entries.len() > MAX_ENTRIES {
        return refused(format!("has more than {MAX_ENTRIES} entries in its metadata"));
    }
    let entries = entries
        .iter()
        .map(|(key, value)| Some((key.clone(), value.text()?.to_owned())));
    match entries.collect() {
        Some(metadata) => Ok(metadata),
        None => refused("has metadata that are no texts"),
    }
}

fn requirement(node: Option<&Node>) -> Result<Requirement, SpecError> {
    let listed = node.and_then(|node| node.get("requirements"));
    let clauses = listed.and_then(Node::list).unwrap_or_default();
    let clauses = clauses.iter().map(|clause| {
        let parts = clause.list().unwrap_or_default();
        let [operator, version] = parts else {
            return refused("has a requirement that is not an operator and a version");
        };
        match (operator.text(), version_text(version)) {
            (Some(operator), Some(version)) => Ok(Clause::new(operator, &version)?),
            _ => refused("has a requirement that is not an operator and a version"),
        }
    });
    Ok(Requirement::new(clauses.collect::<Result<_, _>>()?)?)
}

fn dependencies(node: &Node) -> Result<Vec<Dependency>, SpecError> {
    let list = node.get("dependencies").and_then(Node::list).unwrap_or_default();
    if list.len() > MAX_DEPENDENCIES {
        return refused(format!("has more than {MAX_DEPENDENCIES} dependencies"));
    }
    list.iter().map(dependency).collect()
}

fn dependency(node: &Node) -> Result<Dependency, SpecError> {
    let name = required(optional_text(node, "name")?, "name of a dependency")?;
    let kind = optional_text(node, "type")?.unwrap_or_default();
    let is_runtime = match kind.trim_start_matches(':') {
        "" | "runtime" => true,
        "development" => false,
        kind => return refused(format!("has a dependency of the kind {kind:.40?}")),
    };
    let stated = ["requirement", "version_requirements", "version_requirement"];
    Ok(Dependency {
        name: name.parse()?,
        requirement: requirement(stated.into_iter().find_map(|key| node.get(key)))?,
        is_runtime,
        is_prerelease: optional_text(node, "prerelease")?.as_deref() == Some("true"),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification of a gem, as `gem build` writes it.
    pub(crate) fn yaml(name: &str, version: &str, platform: &str, dependencies: &[(&str, &str)]) -> String {
        let requirement = |indent: &str, text: &str| {
            let clauses: String = text
                .split(", ")
                .map(|clause| {
                    let (operator, version) = clause.split_once(' ').unwrap();
                    format!(
                        "{indent}- - \"{operator}\"\n{indent}  - !ruby/object:Gem::Version\n{indent}    version: '{version}'\n"
                    )
                })
                .collect();
            format!("!ruby/object:Gem::Requirement\n{indent}requirements:\n{clauses}")
        };
        let dependencies: String = dependencies
            .iter()
            .map(|(name, needed)| {
                let needed = requirement("    ", needed);
                format!(
                    "- !ruby/object:Gem::Dependency\n  name: {name}\n  requirement: {needed}  type: :runtime\n  \
                     prerelease: false\n  version_requirements: {needed}"
                )
            })
            .collect();
        format!(
            "--- !ruby/object:Gem::Specification\nname: {name}\nversion: !ruby/object:Gem::Version\n  version: '{version}'\n\
             platform: {platform}\nauthors:\n- Ann\nautorequire:\nbindir: bin\ncert_chain: []\n\
             date: 2026-07-01 00:00:00.000000000 Z\ndependencies:{}description:\nemail:\nexecutables: []\nextensions: []\n\
             files:\n- lib/{name}.rb\nhomepage: https://acme.example/{name}\nlicenses:\n- MIT\nmetadata: {{}}\n\
             required_ruby_version: {}required_rubygems_version: {}requirements: []\nrubygems_version: 3.3.15\n\
             specification_version: 4\nsummary: Does {name}\ntest_files: []\n",
            if dependencies.is_empty() {
                " []\n".to_owned()
            } else {
                format!("\n{dependencies}")
            },
            requirement("  ", ">= 2.7"),
            requirement("  ", ">= 0"),
        )
    }

    #[test]
    fn what_gem_build_writes_is_read() {
        let spec = Spec::read(include_bytes!("testdata/acme_foo.yaml")).unwrap();
        assert_eq!((spec.name.as_str(), spec.version.as_str()), ("acme_foo", "1.0.0"));
        assert!(spec.platform.is_ruby());
        assert_eq!(spec.description.as_deref(), Some("does things\n\"q\" \u{e9}"));
        assert_eq!(spec.authors, ["Ann", "Bob"]);
        assert_eq!(spec.email, Email::Many(vec!["a@x.example".into()]));
        assert_eq!(spec.licenses, ["MIT"]);
        assert_eq!(spec.metadata["source_code_uri"], "https://x.example/src");
        assert_eq!(spec.required_ruby.joined("&"), ">= 2.7");
        assert!(spec.required_rubygems.is_any());
        assert_eq!(
            spec.date,
            Some(Date {
                year: 2026,
                month: 11,
                day: 30
            })
        );
        let needed: Vec<_> = spec
            .runtime_dependencies()
            .iter()
            .map(|needed| format!("{} {}", needed.name, needed.requirement.joined(" ")))
            .collect();
        assert_eq!(needed, ["alpha = 2.0", "pre > 1.0.a", "zeta < 3 >= 1.0"]);
        assert_eq!(spec.dependencies.len(), 4);
    }

    #[test]
    fn a_specification_without_what_it_needs_is_refused() {
        let whole = yaml("acme", "1.0.0", "ruby", &[("rack", ">= 1, < 3")]);
        Spec::read(whole.as_bytes()).unwrap();
        for (from, to, part) in [
            ("name: acme\n", "name: ../acme\n", "gem name"),
            ("name: acme\n", "", "no name"),
            ("name: acme\n", "name: [a]\n", "name that is no text"),
            ("version: '1.0.0'", "version: 1.0/2", "gem version"),
            ("platform: ruby", "platform: a b", "platform"),
            ("name: rack", "name: rack|x", "gem name"),
            ("\">=\"", "\"=>\"", "operator"),
            ("version: '3'", "version: 'x'", "gem version"),
            (":runtime", ":other", "of the kind"),
            ("- Ann", "- [Ann]", "no texts"),
            ("metadata: {}", "metadata: {a: [b]}", "no texts"),
            ("- Ann\n", &"- Ann\n".repeat(201), "more than 200 authors"),
            (
                "summary: Does",
                &format!("summary: {}", "x".repeat(200_000)),
                "says more than",
            ),
        ] {
            let text = whole.replace(from, to);
            assert_ne!(text, whole, "{from}");
            let error = Spec::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{from} {to:.80}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(at in 0usize..2000, with in "[ -~\n]{0,20}") {
            let mut text = yaml("acme", "1.0.0", "java", &[("rack", ">= 1, < 3")]);
            let at = at.min(text.len());
            text.replace_range(at..(at + with.len()).min(text.len()), &with);
            let _ = Spec::read(text.as_bytes());
        }
    }
}
