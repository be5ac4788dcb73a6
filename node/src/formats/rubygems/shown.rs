//! Gems as the JSON API shows them, to bots and to those who look for one.

use serde_json::{Map, Value, json};

use super::gemspec::{Dependency, Spec};
use super::records::VersionNotes;
use super::source::Found;
use crate::registry::package;
use crate::registry::time::iso;

/// What the metadata of a gem may lead to, and by which name answers have it.
const LINKS: [(&str, &str); 6] = [
    ("source_code_uri", "source_code_uri"),
    ("changelog_uri", "changelog_uri"),
    ("documentation_uri", "documentation_uri"),
    ("bug_tracker_uri", "bug_tracker_uri"),
    ("wiki_uri", "wiki_uri"),
    ("mailing_list_uri", "mailing_list_uri"),
];

fn dependencies(spec: &Spec) -> Value {
    let of = |is_runtime: bool| -> Vec<Value> {
        let wanted = |found: &&Dependency| found.is_runtime == is_runtime;
        let found = spec.dependencies.iter().filter(wanted);
        let shown =
            |found: &Dependency| json!({"name": found.name, "requirements": found.requirement.joined(", ")});
        found.map(shown).collect()
    };
    json!({"development": of(false), "runtime": of(true)})
}

/// What is told of a version everywhere.
fn common(version: &package::Version, notes: &VersionNotes) -> Map<String, Value> {
    let spec = &notes.spec;
    let fields = json!({
        "platform": spec.platform,
        "authors": spec.authors.join(", "),
        "licenses": spec.licenses,
        "metadata": spec.metadata,
        "sha": notes.sha256,
        "spec_sha": Value::Null,
        "yanked": notes.is_yanked,
        "created_at": iso(version.created_at),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A version as the whole of what is known of a gem; `base` is the URL of the registry, with a slash.
pub(super) fn gem(base: &str, found: &Found) -> Value {
    let (spec, notes) = (&found.notes.spec, &found.notes);
    let mut fields = common(&found.version, notes);
    for (key, link) in LINKS {
        fields.insert(key.into(), json!(spec.metadata.get(link)));
    }
    let more = json!({
        "name": spec.name,
        "version": spec.version,
        "version_created_at": iso(found.version.created_at),
        "info": spec.description.as_deref().unwrap_or(&spec.summary),
        "project_uri": format!("{base}api/v1/gems/{}.json", spec.name),
        "gem_uri": format!("{base}gems/{}", spec.file_name()),
        "homepage_uri": spec.homepage,
        "dependencies": dependencies(spec),
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    Value::Object(fields)
}

/// A version among the others of its gem.
pub(super) fn version(version: &package::Version, notes: &VersionNotes) -> Value {
    let spec = &notes.spec;
    let mut fields = common(version, notes);
    let required = |requirement: &super::names::Requirement| requirement.joined(", ");
    let more = json!({
        "number": spec.version,
        "prerelease": spec.version.is_prerelease(),
        "summary": spec.summary,
        "description": spec.description,
        "built_at": spec.date.map(|date| date.to_string()),
        "ruby_version": required(&spec.required_ruby),
        "rubygems_version": required(&spec.required_rubygems),
        "requirements": [],
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    Value::Object(fields)
}
