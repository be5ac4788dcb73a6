//! Reads a `composer.json`, and keeps of it what clients need to know of a package.
//!
//! What is kept has the types that Composer expects: a client that meets another one ends with an error of PHP, for
//! whatever package it was asked about. Fields that say where something is fetched from, or how (`source`, `dist`,
//! `transport-options`, `notification-url`), are for the registry to say, and so is everything that is not known here.

use serde_json::{Map, Value};

use super::constraints::Constraint;
use super::names::PackageName;
use super::versions::Version;
use crate::formats::json::{self, JsonError};
use crate::registry::names::InvalidName;

/// The largest `composer.json`.
pub(super) const MAX_BYTES: u64 = 128 << 10;

const LIMITS: json::Limits = json::Limits {
    document_bytes: MAX_BYTES,
    string_bytes: MAX_BYTES,
    depth: 64,
};

/// The types of what is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Texts,
    TextOrTexts,
    /// Of any names to texts.
    TextMap,
    /// Of packages to constraints on their versions.
    Links,
    Objects,
    Object,
    Extra,
    Autoload,
    Archive,
    Type,
}

/// What is kept, in the order in which it is written.
const FIELDS: [(&str, Shape); 21] = [
    ("description", Shape::Text),
    ("type", Shape::Type),
    ("keywords", Shape::Texts),
    ("homepage", Shape::Text),
    ("license", Shape::TextOrTexts),
    ("authors", Shape::Objects),
    ("require", Shape::Links),
    ("require-dev", Shape::Links),
    ("conflict", Shape::Links),
    ("replace", Shape::Links),
    ("provide", Shape::Links),
    ("suggest", Shape::TextMap),
    ("autoload", Shape::Autoload),
    ("bin", Shape::TextOrTexts),
    ("include-path", Shape::Texts),
    ("target-dir", Shape::Text),
    ("extra", Shape::Extra),
    ("php-ext", Shape::Object),
    ("archive", Shape::Archive),
    ("support", Shape::TextMap),
    ("funding", Shape::Objects),
];

/// Why a `composer.json` was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// It begins with a mark that Composer does not read.
    #[error("begins with a byte order mark, which Composer does not read")]
    Mark,
    /// It is no JSON, or too much of it.
    #[error("cannot be read: {0}")]
    Json(#[from] JsonError),
    /// It is something else.
    #[error("is not an object")]
    NotAnObject,
    /// It says no name.
    #[error("has no name")]
    Nameless,
    /// A name or a version.
    #[error("is not as it should be: the {0}")]
    Name(#[from] InvalidName),
    /// A field is of another type.
    #[error("has another {0:?} than Composer reads: {1}")]
    Field(&'static str, String),
}

/// What says that nobody looks after a package any more, and maybe which one is to be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Abandoned {
    pub(super) replacement: Option<String>,
}

impl Abandoned {
    /// As documents have it.
    pub(super) fn value(&self) -> Value {
        match &self.replacement {
            Some(replacement) => Value::from(replacement.as_str()),
            None => Value::Bool(true),
        }
    }
}

/// What a package says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    pub(super) name: PackageName,
    pub(super) version: Option<Version>,
    pub(super) abandoned: Option<Abandoned>,
    /// What clients are told, apart from those.
    pub(super) fields: Map<String, Value>,
}

impl Manifest {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(ManifestError::Mark);
        }
        let Value::Object(mut all) = json::parse(bytes, LIMITS)? else {
            return Err(ManifestError::NotAnObject);
        };
        let name = match all.remove("name") {
            Some(Value::String(name)) => name.parse()?,
            _ => return Err(ManifestError::Nameless),
        };
        let version = match all.remove("version") {
            None | Some(Value::Null) => None,
            Some(Value::String(version)) => Some(version.parse()?),
            Some(_) => return Err(ManifestError::Field("version", "it is no text".into())),
        };
        let abandoned = abandoned(all.remove("abandoned"))?;
        let mut fields = Map::new();
        for (field, shape) in FIELDS {
            // To PHP, an empty list and an empty object are one.
            let value = all.remove(field).filter(|value| !is_nothing(value));
            if let Some(value) = value {
                check(shape, &value).map_err(|why| ManifestError::Field(field, why))?;
                fields.insert(field.into(), value);
            }
        }
        Ok(Self {
            name,
            version,
            abandoned,
            fields,
        })
    }
}

fn abandoned(value: Option<Value>) -> Result<Option<Abandoned>, ManifestError> {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(Abandoned::default())),
        Some(Value::String(replacement)) => Ok(Some(Abandoned {
            replacement: Some(replacement).filter(|replacement| !replacement.is_empty()),
        })),
        Some(_) => Err(ManifestError::Field(
            "abandoned",
            "it is neither true, false nor a text".into(),
        )),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn check(shape: Shape, value: &Value) -> Result<(), String> {
    match shape {
        Shape::Text => text(value).map(drop),
        Shape::Type => kind(text(value)?),
        Shape::Texts => texts(value),
        Shape::TextOrTexts => text_or_texts(value),
        Shape::TextMap => object(value)?
            .values()
            .try_for_each(|value| text(value).map(drop)),
        Shape::Links => object(value)?
            .iter()
            .try_for_each(|(name, constraint)| link(name, constraint)),
        Shape::Objects => list(value)?.iter().try_for_each(|item| object(item).map(drop)),
        Shape::Object => object(value).map(drop),
        Shape::Extra => extra(value),
        Shape::Autoload => object(value)?
            .iter()
            .try_for_each(|(kind, value)| autoload(kind, value)),
        Shape::Archive => object(value)?
            .iter()
            .try_for_each(|(member, value)| match member.as_str() {
                "name" => text(value).map(drop),
                "exclude" => texts(value),
                _ => Ok(()),
            }),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "it is no text".into())
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| "it is no list".into())
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| "it is no object".into())
}

fn texts(value: &Value) -> Result<(), String> {
    list(value)?.iter().try_for_each(|item| text(item).map(drop))
}

fn text_or_texts(value: &Value) -> Result<(), String> {
    match value {
        Value::String(_) => Ok(()),
        _ => texts(value),
    }
}

/// Types are the names of installers.
fn kind(text: &str) -> Result<(), String> {
    match text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        true => Ok(()),
        false => Err("it is not of letters, digits and '-'".into()),
    }
}

fn link(name: &str, constraint: &Value) -> Result<(), String> {
    let constraint = constraint
        .as_str()
        .ok_or_else(|| format!("{name:.80} has no constraint"))?;
    if constraint == "self.version" {
        return Ok(());
    }
    let read: Result<Constraint, _> = constraint.parse();
    read.map(drop).map_err(|error| format!("{name:.80}: the {error}"))
}

/// Composer reads the aliases of branches, and gives all else to plugins.
fn extra(value: &Value) -> Result<(), String> {
    match object(value)?.get("branch-alias") {
        Some(aliases) if !is_nothing(aliases) => check(Shape::TextMap, aliases),
        _ => Ok(()),
    }
}

fn autoload(kind: &str, value: &Value) -> Result<(), String> {
    if is_nothing(value) {
        return Ok(());
    }
    let checked = match kind {
        "psr-4" | "psr-0" => object(value).and_then(|paths| paths.values().try_for_each(text_or_texts)),
        "classmap" | "files" | "exclude-from-classmap" => texts(value),
        _ => Ok(()),
    };
    checked.map_err(|why| format!("{kind}: {why}"))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Manifest, ManifestError> {
        Manifest::read(value.to_string().as_bytes())
    }

    fn with(field: &str, value: Value) -> Result<Manifest, ManifestError> {
        let mut manifest = json!({"name": "acme/foo"});
        manifest[field] = value;
        read(&manifest)
    }

    #[test]
    fn what_clients_need_is_kept_and_nothing_else() {
        let all = json!({
            "version": "v1.2.3", "require": {"php": ">=8.1", "acme/bar": "^1.0", "acme/self": "self.version"},
            "scripts": {"post-install-cmd": "rm -rf /"}, "transport-options": {"ssl": {"verify_peer": false}},
            "source": {"type": "git", "url": "ext::sh -c x", "reference": "a"}, "dist": {}, "name": "Acme/Foo",
            "notification-url": "http://other", "repositories": [], "minimum-stability": "dev", "type": "library",
            "description": "does things", "keywords": [], "extra": {"branch-alias": {"dev-main": "1.x-dev"}},
            "autoload": {"psr-4": {"Acme\\Foo\\": ["src/"]}, "files": ["f.php"], "classmap": []},
            "license": ["MIT"], "homepage": null, "abandoned": "acme/new",
        });
        let manifest = read(&all).unwrap();
        assert_eq!(
            (manifest.name.as_str(), manifest.version.unwrap().as_str()),
            ("acme/foo", "v1.2.3")
        );
        assert_eq!(manifest.abandoned.unwrap().value(), "acme/new");
        let kept: Vec<_> = manifest.fields.keys().map(String::as_str).collect();
        assert_eq!(
            kept,
            ["description", "type", "license", "require", "autoload", "extra"]
        );
    }

    #[test]
    fn what_composer_would_stumble_over_is_refused() {
        let check = |field: &str, value: Value, expected: &str| {
            let error = with(field, value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        };
        check(
            "require",
            json!({"acme/bar": "^^1"}),
            "acme/bar: the constraint \"^^1\" is none",
        );
        check("require", json!({"acme/bar": 1}), "acme/bar has no constraint");
        check(
            "require",
            json!(["acme/bar"]),
            "another \"require\" than Composer reads: it is no object",
        );
        check("conflict", json!({"acme/bar": ""}), "the constraint \"\" is none");
        check("type", json!(["library"]), "it is no text");
        check("type", json!("a b"), "it is not of letters");
        check("license", json!({"a": 1}), "it is no list");
        check("bin", json!([1]), "it is no text");
        check("suggest", json!({"a/b": [1]}), "it is no text");
        check("autoload", json!({"psr-4": ["src"]}), "psr-4: it is no object");
        check("autoload", json!({"files": "x.php"}), "files: it is no list");
        check("extra", json!({"branch-alias": {"dev-main": 1}}), "it is no text");
        check("archive", json!({"exclude": "x"}), "it is no list");
        check("authors", json!(["Ann"]), "it is no object");
        check("version", json!(1.0), "it is no text");
        check("version", json!("main"), "the version \"main\" is no version");
        check("abandoned", json!(1), "neither true, false nor a text");
        check("name", json!("foo"), "the package name \"foo\"");
        check("name", json!(null), "has no name");
        assert!(with("require", json!([])).unwrap().fields.is_empty());
        assert!(with("extra", json!({"branch-alias": []})).is_ok());
        assert!(with("abandoned", json!(false)).unwrap().abandoned.is_none());
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = Manifest::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        };
        check("\u{feff}{\"name\":\"a/b\"}", "byte order mark");
        check(r#"{"name":"a/b","name":"a/c"}"#, "twice");
        check("[]", "is not an object");
        check("", "malformed JSON");
        check("{\"name\":\"a/b\",}", "malformed JSON");
        check(&format!("{{\"extra\":{}", "[".repeat(100)), "deeper than 64");
        check(
            &format!("{{\"name\":\"{}\"}}", "x".repeat(200 << 10)),
            "larger than allowed",
        );
    }
}
