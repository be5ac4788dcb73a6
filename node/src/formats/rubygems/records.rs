//! What the format keeps.
//!
//! ```text
//! package CANONICAL NAME             metadata: Head           owners, digest of the index, what lists show
//!  └ version VERSION[-PLATFORM]      metadata: VersionNotes   the specification, whether it is yanked
//!     ├ file NAME-VERSION[-PLATFORM].gem
//!     └ file NAME-VERSION[-PLATFORM].gem.sigstore.json   its attestations, as they were sent
//! format / rubygems
//! ├── row      canonical name, 0, number         → Row        one version that is in indexes
//! ├── claim    "f", full name                    → what has the file of this name, for ever
//! │            "v", canonical name and version … → how the version was written, for ever
//! ├── change   number                            → a line of `/versions`, in the order of commits
//! └── state    "changed_at"                      → when an index changed last
//! ```
//!
//! Rows have the order of publication. Lines of `/versions` are links of a chain: whoever adds one
//! reads nothing and conflicts with nobody, and they have one order on every node.

use bytes::Bytes;
use cairn_cluster::record::{self, DecodeError, Record};
use cairn_cluster::{Chain, Collection, Key, ReadError, Timestamp};
use serde::{Deserialize, Serialize};

use super::gemspec::Spec;
use super::index;
use super::names::{GemVersion, Platform, numbered};
use crate::formats::owners::Owners;
use crate::http::error::ApiError;

/// A version in the indexes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) version: GemVersion,
    pub(super) platform: Platform,
    /// Its line in the document about the gem.
    pub(super) line: String,
}

impl Record for Row {}

impl Row {
    pub(super) fn of(notes: &VersionNotes, published_at: Timestamp) -> Self {
        let spec = &notes.spec;
        Self {
            version: spec.version.clone(),
            platform: spec.platform.clone(),
            line: index::info_line(spec, &notes.sha256, published_at),
        }
    }
}

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    pub(super) spec: Spec,
    /// The digest of the gem, in lower-case hexadecimal.
    pub(super) sha256: String,
    pub(super) size_bytes: u64,
    /// The number of its row: its place among the versions of the gem.
    pub(super) row: u64,
    pub(super) is_yanked: bool,
    /// Whether its row is there: it is not yanked, and has its file.
    pub(super) is_listed: bool,
}

impl Record for VersionNotes {}

impl VersionNotes {
    /// The version with its platform.
    pub(super) fn numbered(&self) -> String {
        numbered(&self.spec.version, &self.spec.platform)
    }
}

/// What the format keeps in the record of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Those who take care of the gem.
    pub(super) owners: Owners,
    /// The number of the next row.
    pub(super) next_row: u64,
    /// How many rows there are.
    pub(super) rows: u64,
    /// The digest of the document about the gem, to go on from.
    pub(super) digest: Bytes,
    /// The version that is shown; none if there is no row.
    pub(super) top: Option<Top>,
}

impl Record for Head {}

impl Head {
    /// Reads it from the package's record.
    pub(super) fn decode(metadata: &Bytes) -> Result<Self, DecodeError> {
        match metadata.is_empty() {
            true => Ok(Self::default()),
            false => record::decode(metadata),
        }
    }
}

/// The version that lists and searches show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Top {
    pub(super) version: GemVersion,
    pub(super) platform: Platform,
    pub(super) summary: String,
}

/// The version with its platform, as its record is named.
pub(super) fn version_key(top: &Top) -> String {
    numbered(&top.version, &top.platform)
}

/// Which of two versions is shown: a release before what leads to one, then the higher, then the one
/// that runs everywhere.
pub(super) fn rank(a: (&GemVersion, &Platform), b: (&GemVersion, &Platform)) -> std::cmp::Ordering {
    let release = |(version, _): (&GemVersion, &Platform)| !version.is_prerelease();
    let anywhere = |(_, platform): (&GemVersion, &Platform)| platform.is_ruby();
    release(a)
        .cmp(&release(b))
        .then_with(|| a.0.order(b.0))
        .then_with(|| anywhere(a).cmp(&anywhere(b)))
        .then_with(|| b.1.cmp(a.1))
}

/// Reads what the format keeps in a record.
pub(super) fn decode<R: Record>(stored: &Bytes) -> Result<R, ApiError> {
    Ok(record::decode(stored).map_err(ReadError::from)?)
}

/// Makes the keys of the records above.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    records: Collection,
}

impl Keys {
    pub(super) fn new(records: Collection) -> Self {
        Self { records }
    }

    pub(super) fn rows(&self) -> Collection {
        self.records.at("row")
    }

    pub(super) fn row(&self, canonical: &str, number: u64) -> Key {
        let item = [row_prefix(canonical).as_slice(), &number.to_be_bytes()].concat();
        self.rows().key(item)
    }

    fn claims(&self) -> Collection {
        self.records.at("claim")
    }

    /// Who has the file of this full name.
    pub(super) fn file_claim(&self, full_name: &str) -> Key {
        self.claims().key(format!("f\0{full_name}"))
    }

    /// How a version that is equal to this one was written.
    pub(super) fn version_claim(&self, canonical: &str, version: &GemVersion, platform: &Platform) -> Key {
        let version = version.canonical();
        self.claims()
            .key(format!("v\0{canonical}\0{version}\0{platform}"))
    }

    fn changes_collection(&self) -> Collection {
        self.records.at("change")
    }

    /// The lines of `/versions`.
    pub(super) fn changes(&self) -> Chain {
        Chain::new(self.changes_collection())
    }

    fn state(&self) -> Collection {
        self.records.at("state")
    }

    /// When an index changed last, in milliseconds.
    pub(super) fn changed_at(&self) -> Key {
        self.state().key("changed_at")
    }

    /// Everything.
    pub(super) fn all(&self) -> [Collection; 4] {
        [
            self.rows(),
            self.claims(),
            self.changes_collection(),
            self.state(),
        ]
    }
}

/// What the items of a gem's rows begin with.
pub(super) fn row_prefix(canonical: &str) -> Vec<u8> {
    [canonical.as_bytes(), &[0]].concat()
}

/// The number of a row.
pub(super) fn row_number(item: &[u8]) -> u64 {
    let number = item.last_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_gem_stand_together_in_the_order_of_publication() {
        let keys = Keys::new(Collection::new("x"));
        let ordered = [
            keys.row("a", 1),
            keys.row("a", 2),
            keys.row("a", 300),
            keys.row("a-b", 0),
            keys.row("ab", 0),
        ];
        assert!(ordered.is_sorted());
        assert_eq!(row_number(&ordered[2].item()), 300);
        assert!(ordered[2].item().starts_with(&row_prefix("a")));
    }

    #[test]
    fn the_highest_release_is_shown() {
        let ordered = [
            ("2.0.rc1", "ruby"),
            ("1.9", "x86_64-linux"),
            ("1.9", "java"),
            ("1.9", "ruby"),
            ("1.10", "java"),
        ];
        let parsed = ordered.map(|(version, platform)| (version.parse().unwrap(), platform.parse().unwrap()));
        let parsed: &[(GemVersion, Platform)] = &parsed;
        assert!(parsed.is_sorted_by(|a, b| rank((&a.0, &a.1), (&b.0, &b.1)).is_lt()));
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Row>("rubygems-row");
        samples::check::<super::VersionNotes>("rubygems-version-notes");
        samples::check::<super::Head>("rubygems-head");
    }
}
