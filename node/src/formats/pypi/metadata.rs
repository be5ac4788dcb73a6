//! Core metadata: what a distribution says of itself, in `METADATA` or `PKG-INFO`.
//!
//! The format is that of e-mail headers, in UTF-8, with the description as the body or as a
//! field (packaging.python.org, "Core metadata specifications", up to 2.5). Fields that are not
//! known are kept: new versions of the format add some.

use serde_json::{Map, Value, json};

use super::names::{ProjectName, Version};

/// The most fields; the largest known distributions have some hundreds.
const MAX_FIELDS: usize = 10_000;

/// Fields that may come several times, and what JSON calls them.
const LISTS: [(&str, &str); 13] = [
    ("classifier", "classifiers"),
    ("dynamic", "dynamic"),
    ("import-name", "import_names"),
    ("import-namespace", "import_namespaces"),
    ("license-file", "license_files"),
    ("obsoletes-dist", "obsoletes_dist"),
    ("platform", "platform"),
    ("project-url", "project_urls"),
    ("provides-dist", "provides_dist"),
    ("provides-extra", "provides_extra"),
    ("requires-dist", "requires_dist"),
    ("requires-external", "requires_external"),
    ("supported-platform", "supported_platform"),
];

/// Fields that come once and are shown as they are.
const TEXTS: [&str; 13] = [
    "author",
    "author-email",
    "description-content-type",
    "download-url",
    "home-page",
    "keywords",
    "license",
    "license-expression",
    "maintainer",
    "maintainer-email",
    "metadata-version",
    "requires-python",
    "summary",
];

/// What a distribution says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreMetadata {
    /// The project, normalised.
    pub(crate) project: ProjectName,
    /// The project, as its author spells it.
    pub(crate) display_name: String,
    pub(crate) version: Version,
    /// Which Pythons it runs on: a set of version specifiers.
    pub(crate) requires_python: Option<String>,
    /// All fields in their order, the names in lower case.
    fields: Vec<(String, String)>,
    description: Option<String>,
}

/// Why a text is no core metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it has more than {MAX_FIELDS} fields")]
    TooManyFields,
    #[error("line {0} is neither a field nor the continuation of one")]
    Line(usize),
    #[error("it has no field {0}")]
    Missing(&'static str),
    #[error("it has the field {0} twice")]
    Twice(&'static str),
    #[error("{0}")]
    Name(#[from] crate::registry::names::InvalidName),
    #[error("Requires-Python {0:?} is not a set of version specifiers")]
    RequiresPython(String),
}

impl CoreMetadata {
    /// Reads the bytes of a `METADATA` or `PKG-INFO`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        let text = std::str::from_utf8(bytes).map_err(|_| MetadataError::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (fields, body) = split(text)?;
        let single = |name: &'static str| -> Result<Option<&str>, MetadataError> {
            let mut found = fields
                .iter()
                .filter(|(known, _)| known.eq_ignore_ascii_case(name));
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => Err(MetadataError::Twice(name)),
                (found, _) => Ok(found.map(|(_, value)| value.as_str())),
            }
        };
        let required = |name| single(name)?.ok_or(MetadataError::Missing(name));
        required("Metadata-Version")?;
        let display_name = required("Name")?.to_owned();
        let requires_python = single("Requires-Python")?.filter(|text| !text.is_empty());
        if let Some(text) = requires_python
            && text.parse::<pep440_rs::VersionSpecifiers>().is_err()
        {
            return Err(MetadataError::RequiresPython(text.chars().take(64).collect()));
        }
        Ok(Self {
            project: display_name.parse()?,
            version: required("Version")?.parse()?,
            requires_python: requires_python.map(str::to_owned),
            description: match body {
                "" => single("Description")?.map(unindented),
                body => Some(body.to_owned()),
            },
            display_name,
            fields,
        })
    }

    /// The member `info` of the legacy JSON document, as far as the metadata tells it.
    pub(crate) fn info(&self) -> Map<String, Value> {
        let mut info = Map::new();
        let key = |name: &str| name.replace('-', "_");
        for name in TEXTS {
            let value = self.values(name).next();
            info.insert(key(name), json!(value));
        }
        for (name, key) in LISTS {
            let values: Vec<&str> = self.values(name).collect();
            let value = match (name, values.is_empty()) {
                ("project-url", false) => {
                    let pairs = values.iter().filter_map(|value| value.split_once(','));
                    Value::Object(
                        pairs
                            .map(|(label, url)| (label.trim().to_owned(), json!(url.trim())))
                            .collect(),
                    )
                }
                ("classifier", _) | (_, false) => json!(values),
                (_, true) => Value::Null,
            };
            info.insert(key.into(), value);
        }
        info.insert("name".into(), json!(self.display_name));
        info.insert("version".into(), json!(self.version.to_string()));
        info.insert(
            "description".into(),
            json!(self.description.as_deref().unwrap_or_default()),
        );
        info
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.fields.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
}

type Field = (String, String);

/// Splits into fields and the body.
fn split(text: &str) -> Result<(Vec<Field>, &str), MetadataError> {
    let mut fields: Vec<Field> = Vec::new();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        number += 1;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Ok((fields, rest));
        }
        if line.starts_with([' ', '\t']) {
            let Some((_, value)) = fields.last_mut() else {
                return Err(MetadataError::Line(number));
            };
            value.push('\n');
            value.push_str(line);
            continue;
        }
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        match line.split_once(':') {
            Some((name, value)) if is_name(name) => {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => return Err(MetadataError::Line(number)),
        }
        if fields.len() > MAX_FIELDS {
            return Err(MetadataError::TooManyFields);
        }
    }
    Ok((fields, ""))
}

/// A description in a field is indented, by eight blanks or by seven and a bar.
fn unindented(value: &str) -> String {
    let mut lines = value.split('\n');
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |mut text, line| {
        let line = line
            .strip_prefix("       |")
            .or_else(|| line.strip_prefix("        "))
            .unwrap_or(line);
        text.push('\n');
        text.push_str(line);
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = "Metadata-Version: 2.5\r\n\
        Name: Acme.Foo_Bar\n\
        version: 1.0-RC1\n\
        Summary: does: things\n\
        Requires-Python: >=3.8, <4\n\
        Classifier: A :: B\n\
        Classifier: C\n\
        Requires-Dist: x>=1 ; extra == 'y'\n\
        Project-URL: Home, https://acme.example/a,b\n\
        License: first line\n        second line\n\
        X-Unknown: kept\n\
        \n\
        # The description\n\nwith: colons\n";

    #[test]
    fn fields_are_read_and_shown() {
        let metadata = CoreMetadata::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(metadata.project.as_str(), "acme-foo-bar");
        assert_eq!(metadata.version.to_string(), "1.0rc1");
        assert_eq!(metadata.requires_python.as_deref(), Some(">=3.8, <4"));
        let info = metadata.info();
        assert_eq!(info["name"], "Acme.Foo_Bar");
        assert_eq!(info["summary"], "does: things");
        assert_eq!(info["classifiers"], json!(["A :: B", "C"]));
        assert_eq!(info["requires_dist"], json!(["x>=1 ; extra == 'y'"]));
        assert_eq!(info["project_urls"], json!({"Home": "https://acme.example/a,b"}));
        assert_eq!(info["license"], "first line\n        second line");
        assert_eq!(info["description"], "# The description\n\nwith: colons\n");
        assert_eq!(info["provides_extra"], Value::Null);
    }

    #[test]
    fn a_description_may_be_a_field() {
        let text =
            "Metadata-Version: 1.1\nName: x\nVersion: 1\nDescription: one\n        two\n       |three\n";
        let info = CoreMetadata::parse(text.as_bytes()).unwrap().info();
        assert_eq!(info["description"], "one\ntwo\nthree");
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        let check = |text: &str, part: &str| {
            let error = CoreMetadata::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        check("", "no field Metadata-Version");
        check("Metadata-Version: 2.1\nVersion: 1\n", "no field Name");
        check("Metadata-Version: 2.1\nName: x\n", "no field Version");
        check(
            "Metadata-Version: 2.1\nName: x\nName: y\nVersion: 1\n",
            "Name twice",
        );
        check("Metadata-Version: 2.1\nName: x\nVersion: one\n", "not a version");
        check("Metadata-Version: 2.1\nName: -\nVersion: 1\n", "project name");
        check(
            "Metadata-Version: 2.1\nName: x\nVersion: 1\nRequires-Python: soon\n",
            "Requires-Python",
        );
        check(" continued\n", "line 1");
        check("Metadata-Version: 2.1\nnonsense\n", "line 2");
        assert_eq!(CoreMetadata::parse(b"Name: \xff"), Err(MetadataError::NotUtf8));
        check(&"A: b\n".repeat(MAX_FIELDS + 1), "more than");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CoreMetadata::parse(&bytes);
        }

        #[test]
        fn any_fields_are_refused_or_shown(more in "([A-Za-z-]{0,12}:? ?\\PC{0,20}\r?\n? ?){0,8}") {
            let text = format!("Metadata-Version: 2.1\nName: x\nVersion: 1\n{more}");
            if let Ok(metadata) = CoreMetadata::parse(text.as_bytes()) {
                prop_assert_eq!(&metadata.info()["name"], "x");
            }
        }
    }
}
