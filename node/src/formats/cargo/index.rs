//! The package index of cargo: one file per crate, one line of JSON per version.
//!
//! Of each version a ready [`Fragment`] is made when it is published, and the file is their
//! concatenation: publishing the ten-thousandth version costs what the first did. What follows in
//! a line never changes, apart from `yanked`: lock files hold its checksum.
//!
//! The specification is the chapter "Index Format" of cargo's reference.

use std::collections::BTreeMap;

use cairn_cluster::Timestamp;
use serde::{Deserialize, Serialize};

use super::document::{Dependency, Kind, Publication};
use super::names::{CrateName, Version};
use crate::registry::time;

/// The version of lines whose features are written in a way that older clients do not know.
const NEW_FEATURES_VERSION: u8 = 2;

/// One version, ready to be joined with others: its line without what may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Fragment(String);

/// A line of the index, as far as it is known when a crate is published.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a CrateName,
    vers: &'a Version,
    deps: Vec<LineDependency<'a>>,
    cksum: &'a str,
    features: BTreeMap<&'a str, &'a [String]>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    features2: BTreeMap<&'a str, &'a [String]>,
    links: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rust_version: Option<&'a str>,
}

/// Older clients need every field of it.
#[derive(Serialize)]
struct LineDependency<'a> {
    name: &'a str,
    req: &'a str,
    features: &'a [String],
    optional: bool,
    default_features: bool,
    target: Option<&'a str>,
    kind: Kind,
    registry: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
}

impl<'a> LineDependency<'a> {
    fn of(dependency: &'a Dependency) -> Self {
        Self {
            name: dependency.alias.as_deref().unwrap_or(&dependency.name),
            req: &dependency.requirement,
            features: &dependency.features,
            optional: dependency.optional,
            default_features: dependency.default_features,
            target: dependency.target.as_deref(),
            kind: dependency.kind,
            registry: dependency.registry.as_deref(),
            package: dependency.alias.as_ref().map(|_| dependency.name.as_str()),
        }
    }
}

impl Fragment {
    /// Makes the fragment of what is about to be published. `cksum` is the SHA-256 of the crate,
    /// in hexadecimal.
    pub(super) fn of(publication: &Publication, cksum: &str) -> Self {
        let (mut features, mut features2) = (BTreeMap::new(), BTreeMap::new());
        for (feature, enables) in &publication.features {
            let place = match enables.iter().any(|enabled| is_new_syntax(enabled)) {
                true => &mut features2,
                false => &mut features,
            };
            place.insert(feature.as_str(), enables.as_slice());
        }
        let line = Line {
            name: &publication.name,
            vers: &publication.version,
            deps: publication.dependencies.iter().map(LineDependency::of).collect(),
            cksum,
            v: (!features2.is_empty()).then_some(NEW_FEATURES_VERSION),
            features,
            features2,
            links: publication.links.as_deref(),
            rust_version: publication.rust_version.as_deref(),
        };
        let mut text = serde_json::to_string(&line).expect("maps with text as keys can be written");
        text.pop();
        Self(text)
    }

    /// Appends the version's line.
    pub(super) fn render(&self, yanked: bool, published: Timestamp, out: &mut String) {
        let pubtime = time::iso_seconds(published);
        out.push_str(&self.0);
        out.push_str(&format!(",\"yanked\":{yanked},\"pubtime\":\"{pubtime}\"}}\n"));
    }

    /// The version's line as a value.
    pub(super) fn line(&self) -> serde_json::Value {
        // It was made from a value by `of`.
        serde_json::from_str(&format!("{}}}", self.0)).expect("a fragment is a JSON object")
    }
}

/// Whether clients older than 1.60 do not know what this enables.
fn is_new_syntax(enabled: &str) -> bool {
    enabled.starts_with("dep:") || enabled.contains("?/")
}

/// What cargo reads first of a registry.
#[derive(Serialize)]
pub(super) struct Config {
    dl: String,
    api: String,
    #[serde(rename = "auth-required")]
    auth_required: bool,
}

impl Config {
    /// The configuration of the registry at `base`, which has a slash at its end.
    pub(super) fn of(base: &str, auth_required: bool) -> Self {
        Self {
            dl: format!("{base}api/v1/crates"),
            api: base.trim_end_matches('/').into(),
            auth_required,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::document::tests::document;
    use super::super::document::{self, Limits};
    use super::*;

    const CKSUM: &str = "4e3a9be9a1a5a6a25e34da6e6c6c1b7a0d4b8e2f3c5d7e9f0a1b2c3d4e5f6071";
    const GOLDEN: &str = "src/formats/cargo/testdata/index-lines.jsonl";

    fn fragment(name: &str, version: &str, more: serde_json::Value) -> Fragment {
        let json = document(name, version, more).to_string();
        let publication = document::read(json.as_bytes(), &Limits::default(), |_| false).unwrap();
        Fragment::of(&publication, CKSUM)
    }

    #[test]
    fn lines_are_as_the_golden_file_has_them() {
        let published = Timestamp(1_782_907_200_123);
        let mut file = String::new();
        fragment("Acme-Util", "0.1.0", json!({})).render(false, published, &mut file);
        let full = json!({
            "deps": [
                {"name": "left", "version_req": "^1.0", "features": ["std"], "optional": true,
                 "default_features": false, "target": "cfg(windows)", "kind": "build"},
                {"name": "right", "version_req": ">=1, <3", "kind": "dev",
                 "registry": "https://elsewhere.example/index", "explicit_name_in_toml": "other"},
            ],
            "features": {"default": ["std"], "std": [], "big": ["dep:left", "other?/x"]},
            "links": "z", "rust_version": "1.70",
        });
        fragment("Acme-Util", "0.2.0-rc.1+linux", full).render(true, published, &mut file);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
        if std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &file).unwrap();
        }
        assert_eq!(file, std::fs::read_to_string(path).unwrap());
        assert!(
            file.lines()
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
    }

    #[test]
    fn the_configuration_says_where_things_are() {
        let config = serde_json::to_value(Config::of("https://cairn.example/x/", true)).unwrap();
        assert_eq!(
            config,
            json!({
                "dl": "https://cairn.example/x/api/v1/crates",
                "api": "https://cairn.example/x",
                "auth-required": true,
            })
        );
    }
}
