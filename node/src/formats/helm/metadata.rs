//! `Chart.yaml`: what a chart says of itself, and what the package index repeats of it.
//!
//! The fields are those of Helm's chart format (apiVersion v1 and v2). Helm refuses a whole index
//! for one key that it does not know, so nothing else is kept. The YAML is hostile: its reader has
//! a budget, and what readers disagree about (tags of others, merge keys, keys that come twice,
//! several documents) is refused.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Options;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use super::names::{ChartName, Version};

/// The longest text of one document.
pub(super) const MAX_YAML_BYTES: usize = 256 << 10;

/// The most that the index repeats of one version: each client reads that of all versions.
const MAX_DOCUMENT_BYTES: usize = 128 << 10;

/// How deep the YAML nests.
const MAX_DEPTH: usize = 16;

/// Why metadata was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    /// It is not the YAML that is expected.
    #[error("is malformed: {0}")]
    Yaml(String),
    /// It says something that Helm does not take.
    #[error("{0}")]
    Refused(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, MetadataError> {
    Err(MetadataError::Refused(why.into()))
}

/// Reads one document.
pub(super) fn yaml<T: DeserializeOwned>(text: &[u8]) -> Result<T, MetadataError> {
    let malformed = |why: &str| MetadataError::Yaml(why.to_owned());
    if text.len() > MAX_YAML_BYTES {
        return refused(format!("is longer than {MAX_YAML_BYTES} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| malformed("it is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let said = error.without_snippet().to_string();
        malformed(said.lines().next().unwrap_or_default())
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
            max_events: 50_000,
            max_nodes: 25_000,
            max_aliases: 64,
            max_anchors: 64,
            max_merge_keys: 0,
            max_recorded_anchor_events: 10_000,
            max_recorded_anchor_bytes: 1 << 20,
            max_total_scalar_bytes: 1 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// What a chart says of itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) api_version: String,
    pub(crate) name: ChartName,
    pub(crate) version: Version,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kube_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keywords: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintainers: Option<Vec<Maintainer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, Option<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<Vec<Dependency>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Maintainer {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Dependency {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    import_values: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
}

/// The dependencies of a chart of apiVersion v1, in a file of their own.
#[derive(Deserialize)]
struct Requirements {
    dependencies: Option<Vec<Dependency>>,
}

impl Metadata {
    /// Reads a `Chart.yaml`, and the `requirements.yaml` of charts of apiVersion v1.
    pub(crate) fn read(text: &[u8], requirements: Option<&[u8]>) -> Result<Self, MetadataError> {
        let mut read: Self = yaml(text)?;
        if let Some(requirements) = requirements.filter(|_| read.api_version == "v1") {
            let requirements: Requirements = yaml(requirements)?;
            read.dependencies = requirements.dependencies.or(read.dependencies);
        }
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), MetadataError> {
        let number = self.api_version.strip_prefix('v').unwrap_or_default();
        if number.is_empty() || number.len() > 3 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return refused(format!(
                "has the apiVersion {:.40?}, not v1 or v2",
                self.api_version
            ));
        }
        let kinds = ["", "application", "library"];
        if let Some(kind) = self.kind.as_deref().filter(|kind| !kinds.contains(kind)) {
            return refused(format!("has the type {kind:.40?}, not application or library"));
        }
        let fields = serde_json::to_value(self).map_err(|error| MetadataError::Yaml(error.to_string()))?;
        if has_controls(&fields) {
            return refused("has control characters in it");
        }
        if fields.to_string().len() > MAX_DOCUMENT_BYTES {
            return refused(format!(
                "says more than {MAX_DOCUMENT_BYTES} bytes in the fields that Helm knows"
            ));
        }
        Ok(())
    }
}

/// Whether a text in it could do something to a terminal. Lines may end, and tabs are harmless.
fn has_controls(value: &Value) -> bool {
    let in_text = |text: &str| {
        text.chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    };
    match value {
        Value::String(text) => in_text(text),
        Value::Array(values) => values.iter().any(has_controls),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| in_text(name) || has_controls(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A `Chart.yaml` with the fields that each must have.
    pub(in crate::formats::helm) fn chart_yaml(name: &str, version: &str) -> String {
        format!("apiVersion: v2\nname: {name}\nversion: {version}\n")
    }

    fn read(text: &str) -> Result<Metadata, MetadataError> {
        Metadata::read(text.as_bytes(), None)
    }

    fn shown(text: &str) -> Value {
        serde_json::to_value(read(text).unwrap()).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} / {expected}");
    }

    #[test]
    fn every_field_that_helm_knows_is_read_and_no_other() {
        let text = "\u{feff}# a comment\napiVersion: v2\nname: app\nversion: 1.2.3+build\ntype: library\n\
            appVersion: 1.10\nkubeVersion: \">=1.20\"\ndescription: |\n  does\n  things\nhome: https://acme.example\n\
            icon: https://acme.example/icon.svg\ncondition: app.enabled\ntags: a,b\ndeprecated: true\n\
            sources: [https://acme.example/src]\nkeywords:\n- x\n- 1\nmaintainers:\n- name: Ann\n  email: ann@acme.example\n\
            annotations:\n  acme.example/x: true\n  empty:\n\
            dependencies:\n- name: db\n  version: ^1.0\n  repository: \"@team\"\n  condition: db.enabled\n  tags: [back]\n\
            \x20 enabled: false\n  alias: store\n  import-values: [data, {child: a, parent: b}]\n\
            created: yesterday\nurls: [x]\ndigest: x\nunknown: {deep: [1]}\n";
        assert_eq!(
            shown(text),
            json!({
                "apiVersion": "v2", "name": "app", "version": "1.2.3+build", "type": "library", "appVersion": "1.10",
                "kubeVersion": ">=1.20", "description": "does\nthings\n", "home": "https://acme.example",
                "icon": "https://acme.example/icon.svg", "condition": "app.enabled", "tags": "a,b",
                "deprecated": true, "sources": ["https://acme.example/src"], "keywords": ["x", "1"],
                "maintainers": [{"name": "Ann", "email": "ann@acme.example"}],
                "annotations": {"acme.example/x": "true", "empty": null},
                "dependencies": [{
                    "name": "db", "version": "^1.0", "repository": "@team", "condition": "db.enabled",
                    "tags": ["back"], "enabled": false, "import-values": ["data", {"child": "a", "parent": "b"}],
                    "alias": "store",
                }],
            })
        );
        assert_eq!(
            shown("apiVersion: v1\nname: a\nversion: v1.0.0\ndescription:\nkeywords: ~\n"),
            json!({"apiVersion": "v1", "name": "a", "version": "v1.0.0"})
        );
    }

    #[test]
    fn old_charts_have_their_dependencies_beside() {
        let requirements = b"dependencies:\n- name: db\n  version: 1\n".as_slice();
        let old = Metadata::read(b"apiVersion: v1\nname: a\nversion: 1.0.0\n", Some(requirements)).unwrap();
        assert_eq!(
            serde_json::to_value(old).unwrap()["dependencies"],
            json!([{"name": "db", "version": "1"}])
        );
        let new = Metadata::read(chart_yaml("a", "1.0.0").as_bytes(), Some(requirements)).unwrap();
        assert_eq!(new.dependencies, None);
    }

    #[test]
    fn what_helm_could_not_use_is_refused() {
        let with = |line: &str| format!("{}{line}\n", chart_yaml("app", "1.0.0"));
        check("", "malformed");
        check("name: app\nversion: 1.0.0\n", "apiVersion");
        check("apiVersion: v2\nname: app\n", "version");
        check("apiVersion: v2\nversion: 1.0.0\n", "name");
        check("apiVersion: x\nname: app\nversion: 1.0.0\n", "not v1 or v2");
        check(&chart_yaml("../app", "1.0.0"), "chart name");
        check(&chart_yaml("a/b", "1.0.0"), "chart name");
        check(&chart_yaml("app", "1.0"), "SemVer 2");
        check(&with("type: plugin"), "not application or library");
        check(&with("description: \"a\\u001b[31m\""), "control characters");
        check(
            &with(&format!("description: {}", "x".repeat(200 << 10))),
            "says more than",
        );
        check(&with(&format!("# {}", "x".repeat(300 << 10))), "longer than");
        check(&with("keywords: x"), "malformed");
        check("- a\n", "malformed");
    }

    #[test]
    fn what_readers_of_yaml_disagree_about_is_refused() {
        let with = |line: &str| format!("{}{line}\n", chart_yaml("app", "1.0.0"));
        check(&with("name: other"), "malformed");
        check(&with("---\nname: other"), "malformed");
        check(&with("annotations: &a {x: y}\nmore:\n  <<: *a"), "malformed");
        check(&with("description: !secret x"), "malformed");
        check(&with("unknown: !!python/object:os.system {}"), "malformed");
    }

    #[test]
    fn bombs_are_stopped() {
        let with = |more: &str| format!("{}{more}\n", chart_yaml("app", "1.0.0"));
        let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let inner = format!("*a{}, ", n - 1).repeat(9);
            aliases += &format!("a{n}: &a{n} [{inner}]\n");
        }
        check(&with(&aliases), "malformed");
        check(&with(&format!("deep: {}", "[".repeat(10_000))), "malformed");
        check(
            &with(&format!("deep: {}{}", "[".repeat(20), "]".repeat(20))),
            "malformed",
        );
        check(&with(&"---\n".repeat(50_000)), "malformed");
        check(&with(&format!("many: [{}]", "a,".repeat(60_000))), "malformed");
        check("&a [*a]", "malformed");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<String>(), more in "[a-z&*!:{}\\[\\]|>\"' \n-]{0,200}") {
            let _ = read(&text);
            let _ = read(&format!("{}{more}", chart_yaml("app", "1.0.0")));
        }

        #[test]
        fn what_is_read_is_read_again(text in "[ -~\u{e4}\u{4e2d}]{0,40}") {
            let yaml = format!("{}description: {}\n", chart_yaml("app", "1.0.0"), json!(text));
            let once = read(&yaml).unwrap();
            prop_assert_eq!(once.description.as_deref(), Some(text.as_str()));
            let again = read(&serde_json::to_string(&once).unwrap()).unwrap();
            prop_assert_eq!(once, again);
        }
    }
}
