//! The JSON that cargo sends before a crate, and what of it is kept.
//!
//! Fields that cargo does not know a value for are null or left out; fields that are not known
//! here are ignored, because each version of cargo sends some more.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::names::{CrateName, Version};
use crate::http::body;
use crate::http::error::ApiError;
use crate::registry::names::InvalidName;

/// How much the document may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The document; it carries the README.
    pub(super) document_bytes: usize,
    /// Nesting of it.
    pub(super) depth: usize,
    /// Dependencies of a crate.
    pub(super) dependencies: usize,
    /// Features of a crate, and of a dependency.
    pub(super) features: usize,
    /// One word: the name of a feature, of a dependency, a keyword.
    pub(super) word_bytes: usize,
    /// One line: a description, a URL, a target.
    pub(super) line_bytes: usize,
    /// Keywords, categories and authors, each.
    pub(super) words: usize,
    /// Bytes of a README that are kept.
    pub(super) readme_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 4 << 20,
            depth: 16,
            dependencies: 2_000,
            features: 10_000,
            word_bytes: 256,
            line_bytes: 8 << 10,
            words: 100,
            readme_bytes: 64 << 10,
        }
    }
}

/// Why a document was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    /// It is not JSON, or not of this form.
    #[error("the metadata {0}")]
    Malformed(String),
    /// A name or version in it.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The requirement of a dependency.
    #[error("the dependency {name} has a requirement that is none: {reason}")]
    Requirement { name: String, reason: String },
    /// More than a document may hold.
    #[error("{what} {problem}")]
    Field { what: String, problem: String },
}

/// A crate as it is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) name: CrateName,
    pub(super) version: Version,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) features: BTreeMap<String, Vec<String>>,
    /// The library outside of Rust that the crate links.
    pub(super) links: Option<String>,
    pub(super) rust_version: Option<String>,
    pub(super) about: About,
    pub(super) readme: Option<Readme>,
    /// What the publisher should know.
    pub(super) warnings: Vec<String>,
}

/// What a crate says of itself, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) description: Option<String>,
    pub(super) documentation: Option<String>,
    pub(super) homepage: Option<String>,
    pub(super) repository: Option<String>,
    pub(super) license: Option<String>,
    pub(super) license_file: Option<String>,
    pub(super) authors: Vec<String>,
    pub(super) keywords: Vec<String>,
    pub(super) categories: Vec<String>,
}

/// The beginning of a README.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Readme {
    pub(super) file_name: String,
    pub(super) text: String,
}

/// What a crate needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    /// The name under which it is published.
    pub(super) name: String,
    /// The name that the crate has for it, if that is another.
    pub(super) alias: Option<String>,
    /// Which versions will do, in the words of the manifest.
    pub(super) requirement: String,
    pub(super) features: Vec<String>,
    pub(super) optional: bool,
    pub(super) default_features: bool,
    pub(super) target: Option<String>,
    pub(super) kind: Kind,
    /// Where it is published; none for the registry of the crate itself.
    pub(super) registry: Option<String>,
}

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// To build the crate and what uses it.
    #[default]
    Normal,
    /// For tests, examples and benchmarks.
    Dev,
    /// By the build script.
    Build,
}

#[derive(Deserialize)]
struct Sent {
    name: CrateName,
    vers: Version,
    #[serde(default, deserialize_with = "or_default")]
    deps: Vec<SentDependency>,
    #[serde(default, deserialize_with = "or_default")]
    features: BTreeMap<String, Vec<String>>,
    #[serde(default, deserialize_with = "or_default")]
    authors: Vec<String>,
    description: Option<String>,
    documentation: Option<String>,
    homepage: Option<String>,
    readme: Option<String>,
    readme_file: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    keywords: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    categories: Vec<String>,
    license: Option<String>,
    license_file: Option<String>,
    repository: Option<String>,
    links: Option<String>,
    rust_version: Option<String>,
}

#[derive(Deserialize)]
struct SentDependency {
    name: String,
    version_req: String,
    #[serde(default, deserialize_with = "or_default")]
    features: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    optional: bool,
    #[serde(default = "yes")]
    default_features: bool,
    target: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    kind: Kind,
    registry: Option<String>,
    explicit_name_in_toml: Option<String>,
}

fn yes() -> bool {
    true
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads a document. `is_own` says whether the URL of a registry is the one that is published to.
pub(super) fn read(
    json: &[u8],
    limits: &Limits,
    is_own: impl Fn(&str) -> bool,
) -> Result<Publication, DocumentError> {
    if json.len() > limits.document_bytes {
        return Err(DocumentError::Malformed(format!(
            "is over the limit of {} bytes",
            limits.document_bytes
        )));
    }
    if body::depth(json) > limits.depth {
        return Err(DocumentError::Malformed(format!(
            "is nested deeper than {}",
            limits.depth
        )));
    }
    let sent: Sent = serde_json::from_slice(json)
        .map_err(|error| DocumentError::Malformed(format!("is not as expected: {error}")))?;
    Checked { limits, is_own }.publication(sent)
}

/// Checks what was sent against limits.
struct Checked<'a, F> {
    limits: &'a Limits,
    is_own: F,
}

impl<F: Fn(&str) -> bool> Checked<'_, F> {
    fn publication(&self, sent: Sent) -> Result<Publication, DocumentError> {
        let mut warnings = Vec::new();
        let mut link = |what: &str, url: Option<String>| -> Result<Option<String>, DocumentError> {
            let Some(url) = self.line(what, url)? else {
                return Ok(None);
            };
            let is_shown = url::Url::parse(&url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
            if !is_shown {
                warnings.push(format!("{what} is not the URL of a web page, and is left out"));
            }
            Ok(is_shown.then_some(url))
        };
        let about = About {
            documentation: link("documentation", sent.documentation)?,
            homepage: link("homepage", sent.homepage)?,
            repository: link("repository", sent.repository)?,
            description: self.line("description", sent.description)?,
            license: self.line("license", sent.license)?,
            license_file: self.line("license_file", sent.license_file)?,
            authors: self.words("authors", sent.authors)?,
            keywords: self.words("keywords", sent.keywords)?,
            categories: self.words("categories", sent.categories)?,
        };
        self.at_most("deps", sent.deps.len(), self.limits.dependencies)?;
        self.at_most("features", sent.features.len(), self.limits.features)?;
        for (feature, enables) in &sent.features {
            self.word("a feature", feature)?;
            self.features(enables)?;
        }
        Ok(Publication {
            dependencies: sent
                .deps
                .into_iter()
                .map(|dependency| self.dependency(dependency))
                .collect::<Result<_, _>>()?,
            features: sent.features,
            links: self.line("links", sent.links)?,
            rust_version: self.rust_version(sent.rust_version)?,
            readme: self.readme(sent.readme, sent.readme_file)?,
            about,
            name: sent.name,
            version: sent.vers,
            warnings,
        })
    }

    fn dependency(&self, sent: SentDependency) -> Result<Dependency, DocumentError> {
        self.word("the name of a dependency", &sent.name)?;
        if let Some(alias) = &sent.explicit_name_in_toml {
            self.word("the name of a dependency", alias)?;
        }
        self.features(&sent.features)?;
        let requirement = self
            .line("version_req", Some(sent.version_req))?
            .unwrap_or_default();
        semver::VersionReq::parse(&requirement).map_err(|error| DocumentError::Requirement {
            name: sent.name.clone(),
            reason: error.to_string(),
        })?;
        let registry = self.line("registry", sent.registry)?;
        Ok(Dependency {
            name: sent.name,
            alias: sent.explicit_name_in_toml,
            requirement,
            features: sent.features,
            optional: sent.optional,
            default_features: sent.default_features,
            target: self.line("target", sent.target)?,
            kind: sent.kind,
            registry: registry.filter(|url| !(self.is_own)(url)),
        })
    }

    fn features(&self, features: &[String]) -> Result<(), DocumentError> {
        self.at_most("features", features.len(), self.limits.features)?;
        features
            .iter()
            .try_for_each(|feature| self.word("a feature", feature))
    }

    fn rust_version(&self, sent: Option<String>) -> Result<Option<String>, DocumentError> {
        let Some(text) = sent else {
            return Ok(None);
        };
        let is_version = (1..=3).contains(&text.split('.').count())
            && text.split('.').all(|part| part.parse::<u32>().is_ok());
        if !is_version {
            return refuse("rust_version", "is not a version of the compiler, such as 1.85");
        }
        Ok(Some(text))
    }

    fn readme(&self, text: Option<String>, file: Option<String>) -> Result<Option<Readme>, DocumentError> {
        let file_name = self.line("readme_file", file)?;
        Ok(text.map(|mut text| {
            text.truncate(text.floor_char_boundary(self.limits.readme_bytes));
            Readme {
                file_name: file_name.unwrap_or_else(|| "README.md".into()),
                text,
            }
        }))
    }

    /// A text of bounded length, which a terminal can show.
    fn line(&self, what: &str, text: Option<String>) -> Result<Option<String>, DocumentError> {
        if let Some(text) = &text {
            if text.len() > self.limits.line_bytes {
                return refuse(what, format!("is longer than {} bytes", self.limits.line_bytes));
            }
            if text.contains(|found: char| found.is_control() && !"\n\r\t".contains(found)) {
                return refuse(what, "has a control character");
            }
        }
        Ok(text)
    }

    fn word(&self, what: &str, text: &str) -> Result<(), DocumentError> {
        if text.is_empty() {
            return refuse(what, "is empty");
        }
        if text.len() > self.limits.word_bytes {
            return refuse(what, format!("is longer than {} bytes", self.limits.word_bytes));
        }
        if text.contains(|found: char| found.is_control() || found.is_whitespace()) {
            return refuse(what, "has a blank or a control character");
        }
        Ok(())
    }

    fn words(&self, what: &str, words: Vec<String>) -> Result<Vec<String>, DocumentError> {
        self.at_most(what, words.len(), self.limits.words)?;
        for word in &words {
            if word.len() > self.limits.word_bytes || word.contains(char::is_control) {
                let limit_bytes = self.limits.word_bytes;
                return refuse(
                    what,
                    format!("has an entry with a control character, or of more than {limit_bytes} bytes"),
                );
            }
        }
        Ok(words)
    }

    fn at_most(&self, what: &str, count: usize, limit: usize) -> Result<(), DocumentError> {
        if count > limit {
            return refuse(what, format!("has more than {limit} entries"));
        }
        Ok(())
    }
}

fn refuse<T>(what: &str, problem: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::Field {
        what: what.into(),
        problem: problem.into(),
    })
}

impl From<DocumentError> for ApiError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Malformed(_) | DocumentError::Name(_) => Self::bad_request(error.to_string()),
            DocumentError::Requirement { .. } | DocumentError::Field { .. } => {
                Self::unprocessable(error.to_string())
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const OWN: &str = "sparse+https://cairn.example/index/";

    /// A document with these fields beside name and version.
    pub(in crate::formats::cargo) fn document(name: &str, version: &str, more: Value) -> Value {
        let mut document = json!({"name": name, "vers": version});
        document
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        document
    }

    fn read_json(document: &Value) -> Result<Publication, DocumentError> {
        read(document.to_string().as_bytes(), &Limits::default(), |url| {
            url == OWN
        })
    }

    #[track_caller]
    fn refused(more: Value, part: &str) {
        let error = read_json(&document("left", "1.0.0", more))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error} / {part}");
    }

    #[test]
    fn missing_and_null_are_the_same() {
        let nulls = json!({
            "deps": null, "features": null, "authors": null, "description": null, "homepage": null,
            "readme": null, "keywords": null, "categories": null, "license": null, "links": null,
            "rust_version": null, "badges": {"x": {}}, "from_the_future": [1],
        });
        let bare = read_json(&document("left", "1.0.0", json!({}))).unwrap();
        assert_eq!(read_json(&document("left", "1.0.0", nulls)).unwrap(), bare);
        assert_eq!(
            (bare.name.as_str(), bare.version.to_string().as_str()),
            ("left", "1.0.0")
        );
    }

    #[test]
    fn dependencies_keep_the_words_of_the_manifest() {
        let deps = json!([
            {"name": "util", "version_req": "^1", "features": ["x"], "optional": true,
             "default_features": false, "target": "cfg(unix)", "kind": "build", "registry": OWN},
            {"name": "far", "version_req": "=2.0.0", "registry": "https://elsewhere.example/index",
             "explicit_name_in_toml": "near", "kind": null},
        ]);
        let publication = read_json(&document("left", "1.0.0", json!({"deps": deps}))).unwrap();
        let [util, far] = publication.dependencies.as_slice() else {
            panic!("{publication:?}");
        };
        assert_eq!((util.requirement.as_str(), util.kind), ("^1", Kind::Build));
        assert!(util.optional && !util.default_features && util.registry.is_none());
        assert_eq!(far.alias.as_deref(), Some("near"));
        assert_eq!(far.registry.as_deref(), Some("https://elsewhere.example/index"));
        assert!(far.default_features && far.kind == Kind::Normal);
    }

    #[test]
    fn links_that_a_browser_would_run_are_left_out() {
        let about = json!({"homepage": "javascript:alert(1)", "repository": "https://git.example/x"});
        let publication = read_json(&document("left", "1.0.0", about)).unwrap();
        assert_eq!(publication.about.homepage, None);
        assert_eq!(
            publication.about.repository.as_deref(),
            Some("https://git.example/x")
        );
        assert_eq!(
            publication.warnings,
            ["homepage is not the URL of a web page, and is left out"]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        refused(json!({"name": "2fast"}), "begin with an ASCII letter");
        refused(json!({"vers": "1.0"}), "is not semver");
        refused(json!({"vers": 1}), "is not as expected");
        let dependency = |more: Value| {
            let mut dependency = json!({"name": "util", "version_req": "1"});
            dependency
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            json!({"deps": [dependency]})
        };
        refused(
            dependency(json!({"version_req": "one"})),
            "a requirement that is none",
        );
        refused(dependency(json!({"name": ""})), "is empty");
        refused(dependency(json!({"name": "a b"})), "has a blank");
        refused(dependency(json!({"kind": "later"})), "is not as expected");
        refused(dependency(json!({"target": "\u{1b}[2J"})), "control character");
        refused(json!({"features": {"": []}}), "is empty");
        refused(json!({"features": {"x": ["a b"]}}), "has a blank");
        refused(json!({"rust_version": "nightly"}), "version of the compiler");
        refused(json!({"description": "x".repeat(9000)}), "longer than 8192 bytes");
        refused(json!({"keywords": vec!["x"; 101]}), "more than 100 entries");
        refused(
            json!({"deps": vec![json!({"name": "a", "version_req": "1"}); 2001]}),
            "more than 2000",
        );
        let deep = format!(
            r#"{{"name":"left","vers":"1.0.0","x":{}{}}}"#,
            "[".repeat(20),
            "]".repeat(20)
        );
        let error = read(deep.as_bytes(), &Limits::default(), |_| false).unwrap_err();
        assert!(error.to_string().contains("nested deeper"), "{error}");
    }

    #[test]
    fn a_long_readme_is_cut_between_characters() {
        let sent = document("left", "1.0.0", json!({"readme": "\u{e9}".repeat(40_000)}));
        let limits = Limits {
            readme_bytes: 5,
            ..Limits::default()
        };
        let readme = read(sent.to_string().as_bytes(), &limits, |_| false)
            .unwrap()
            .readme
            .unwrap();
        assert_eq!(
            (readme.text.as_str(), readme.file_name.as_str()),
            ("\u{e9}\u{e9}", "README.md")
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..150usize) {
            let _ = read(&bytes, &Limits::default(), |_| false);
            let more = json!({"deps": [{"name": "util", "version_req": "^1"}], "features": {"x": ["dep:util"]}});
            let mut damaged = document("left", "1.0.0", more).to_string().into_bytes();
            for (offset, byte) in bytes.iter().take(4).enumerate() {
                let len = damaged.len();
                damaged[(at + offset) % len] = *byte;
            }
            let _ = read(&damaged, &Limits::default(), |_| false);
        }
    }
}
