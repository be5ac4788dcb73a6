//! What the format keeps in a project.
//!
//! ```text
//! package NAME                      metadata: Head
//!  └ version CANONICAL              metadata: VersionNotes
//!     └ file REFERENCE.zip          the archive, and of a version that moves those before it
//! format / composer
//! ├── vendor     VENDOR             → ()         whose packages were ever here
//! ├── vendors    ""                 → Stamp      when the last of them came
//! └── advisory   NAME, 0, ID        → Advisory
//! ```
//!
//! Every change of what documents say of a package writes its head, whose stamp thereby grows: clients know a
//! document by the second in which it changed, and ask for what came after.

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{Collection, Key, ReadError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::constraints::Constraint;
use super::manifest::Abandoned;
use super::versions::Version;
use crate::formats::advisories::Severity;
use crate::http::error::ApiError;
use crate::registry::package::Package;

/// Raised by one whenever documents are written in another way, so that clients fetch them again.
const EDITION: u64 = 0;

/// How much of a description is kept for lists, in characters.
const MAX_DESCRIPTION_CHARS: usize = 500;

/// How many keywords are kept for searches.
const MAX_KEYWORDS: usize = 32;

/// How many virtual packages one is found by.
const MAX_PROVIDED: usize = 200;

/// When something changed, in seconds since 1970: greater with each change, whatever clocks say. It may be ahead of
/// them, when there are several changes in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp(u64);

impl Record for Stamp {}

impl Stamp {
    /// The stamp of a change that is made now.
    pub(super) fn next(self, now: Timestamp) -> Self {
        Self((self.0 + 1).max(now.0 / 1000))
    }

    /// What clients are told.
    pub(super) fn date(self) -> Timestamp {
        Timestamp(self.0.saturating_add(EDITION).saturating_mul(1000))
    }
}

/// What lists and searches show of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) description: String,
    /// In lower case, as Composer has it.
    pub(super) kind: String,
    pub(super) keywords: Vec<String>,
    /// The virtual packages that it stands for.
    pub(super) provided: Vec<String>,
    pub(super) homepage: String,
    /// Where its sources are.
    pub(super) sources: String,
}

impl About {
    /// What the fields of a `composer.json` say.
    pub(super) fn of(fields: &Map<String, Value>) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let keywords = fields
            .get("keywords")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let provided = fields
            .get("provide")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let kind = text(fields.get("type")).to_lowercase();
        Self {
            description: text(fields.get("description"))
                .chars()
                .take(MAX_DESCRIPTION_CHARS)
                .collect(),
            kind: if kind.is_empty() { "library".into() } else { kind },
            keywords: keywords
                .filter_map(Value::as_str)
                .take(MAX_KEYWORDS)
                .map(str::to_lowercase)
                .collect(),
            provided: provided
                .map(|(name, _)| name.to_lowercase())
                .take(MAX_PROVIDED)
                .collect(),
            homepage: text(fields.get("homepage")),
            sources: text(fields.get("support").and_then(|support| support.get("source"))),
        }
    }
}

/// The version that stands for a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latest {
    pub(super) version: Version,
    pub(super) about: About,
    pub(super) abandoned: Option<Abandoned>,
}

/// What is kept about a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) changed: Stamp,
    /// None if no version is there.
    pub(super) latest: Option<Latest>,
    /// What was said of the whole package, whatever its versions say.
    pub(super) abandoned: Option<Abandoned>,
    /// The branch that the package is developed on, by its canonical name.
    pub(super) default_branch: Option<String>,
}

impl Record for Head {}

impl Head {
    pub(super) fn of(package: &Package) -> Result<Self, ApiError> {
        match package.metadata.is_empty() {
            true => Ok(Self::default()),
            false => decode(&package.metadata),
        }
    }

    /// Takes a version that is there, if it stands for the package rather than what does.
    pub(super) fn offer(&mut self, offered: Latest) {
        let is_less = |known: &Latest| known.version.rank() <= offered.version.rank();
        if self.latest.as_ref().is_none_or(is_less) {
            self.latest = Some(offered);
        }
    }

    /// Whether a version stands for the package.
    pub(super) fn shows(&self, canonical: &str) -> bool {
        self.latest
            .as_ref()
            .is_some_and(|latest| latest.version.canonical() == canonical)
    }

    /// Whether, and for what, the package is abandoned.
    pub(super) fn abandoned(&self) -> Option<&Abandoned> {
        let by_latest = self.latest.as_ref().and_then(|latest| latest.abandoned.as_ref());
        self.abandoned.as_ref().or(by_latest)
    }
}

/// What is kept about a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    pub(super) version: Version,
    /// The SHA-1 of its archive, in lower-case hexadecimal. It is all that Composer checks.
    pub(super) reference: String,
    /// What documents say of it: an object of JSON without its last brace, to which the rest is added.
    pub(super) document: String,
    pub(super) abandoned: Option<Abandoned>,
    /// Whether its archive was deleted: then it is not there.
    pub(super) lacks_archive: bool,
}

impl Record for VersionNotes {}

impl VersionNotes {
    /// What it would be as the one that stands for its package.
    pub(super) fn latest(&self) -> Latest {
        // It was made from an object.
        let fields = serde_json::from_str(&format!("{}}}", self.document)).unwrap_or_default();
        Latest {
            version: self.version.clone(),
            about: About::of(&fields),
            abandoned: self.abandoned.clone(),
        }
    }
}

/// What is known of a weakness in some versions of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advisory {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) affected: Constraint,
    pub(super) link: Option<String>,
    pub(super) cve: Option<String>,
    pub(super) severity: Option<Severity>,
    pub(super) reported_at: Timestamp,
    /// Whether these versions were made to do harm.
    #[serde(default)]
    pub(super) malware: bool,
}

impl Record for Advisory {}

/// Where records are.
#[derive(Clone)]
pub(super) struct Keys {
    records: Collection,
}

impl Keys {
    pub(super) fn new(records: Collection) -> Self {
        Self { records }
    }

    pub(super) fn vendors(&self) -> Collection {
        self.records.at("vendor")
    }

    /// When the vendors changed.
    pub(super) fn vendors_changed(&self) -> Key {
        self.stamps().key("")
    }

    fn stamps(&self) -> Collection {
        self.records.at("vendors")
    }

    pub(super) fn advisories(&self) -> Collection {
        self.records.at("advisory")
    }

    pub(super) fn all(&self) -> [Collection; 3] {
        [self.vendors(), self.stamps(), self.advisories()]
    }
}

/// The name of the file that holds an archive.
pub(super) fn file_name(reference: &str) -> String {
    format!("{reference}.zip")
}

pub(super) fn decode<R: Record>(metadata: &Bytes) -> Result<R, ApiError> {
    Ok(record::decode(metadata).map_err(ReadError::from)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stamps_grow_whatever_clocks_say() {
        let at = |seconds: u64| Timestamp(seconds * 1000 + 999);
        let first = Stamp::default().next(at(100));
        assert_eq!(first, Stamp(100));
        assert_eq!(first.next(at(100)), Stamp(101));
        assert_eq!(first.next(at(90)), Stamp(101));
        assert_eq!(first.next(at(100)).next(at(100)), Stamp(102));
        assert_eq!(first.next(at(200)), Stamp(200));
        assert_eq!(first.date(), Timestamp((100 + EDITION) * 1000));
    }

    #[test]
    fn the_highest_stable_version_stands_for_a_package() {
        let mut head = Head::default();
        let mut offer = |version: &str| {
            head.offer(Latest {
                version: version.parse().unwrap(),
                about: About::default(),
                abandoned: None,
            });
            head.latest.as_ref().unwrap().version.to_string()
        };
        assert_eq!(offer("dev-main"), "dev-main");
        assert_eq!(offer("2.0-beta1"), "2.0-beta1");
        assert_eq!(offer("1.0"), "1.0");
        assert_eq!(offer("3.x-dev"), "1.0");
        assert_eq!(offer("1.0.1"), "1.0.1");
        assert_eq!(offer("v1.0.1"), "v1.0.1");
        assert_eq!(offer("0.9"), "v1.0.1");
    }

    #[test]
    fn what_lists_show_is_bounded() {
        let fields = json!({
            "description": "\u{e9}".repeat(1000), "keywords": vec!["K"; 100], "type": "Project",
            "provide": {"PSR/Log-Implementation": "1.0"}, "support": {"source": "https://git.example"},
        });
        let about = About::of(fields.as_object().unwrap());
        assert_eq!(
            (about.description.chars().count(), about.keywords.len()),
            (500, 32)
        );
        assert_eq!(
            (about.kind.as_str(), about.keywords[0].as_str()),
            ("project", "k")
        );
        assert_eq!(
            (about.provided[0].as_str(), about.sources.as_str()),
            ("psr/log-implementation", "https://git.example")
        );
        assert_eq!(About::of(&Map::new()).kind, "library");
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Head>("composer-head");
        samples::check::<super::VersionNotes>("composer-version-notes");
        samples::check::<super::Advisory>("composer-advisory");
        samples::check::<super::Stamp>("composer-stamp");
    }
}
