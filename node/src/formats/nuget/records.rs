//! What the format keeps in a project, in records of its own and in those of packages and versions.
//!
//! ```text
//! package NAME             metadata: Head    which versions are the newest, and what searches look at
//! └ version CANONICAL      metadata: Notes   what it says of itself, whether it is listed
//!   ├ NAME.VERSION.nupkg
//!   ├ NAME.VERSION.snupkg  symbols as they were pushed
//!   └ symbols/NUMBER/PDB   each of them by itself, as debuggers ask for it
//!
//! format / nuget
//! ├── package               package key                → ()     what has records below
//! ├── line / {package key}  order of the version       → Line   a version, as lists have it
//! ├── symbol                PDB, 0, number, 0, version id → Symbol
//! ├── deprecation           package key, order of the version → Deprecation
//! ├── advisory              NAME, 0, ID                → Advisory
//! ├── advised               ""                         → Advised
//! └── change                a chain of Change          what happened, in the order of commits
//! ```
//!
//! One publish writes the same few records however many there are; lists are one scan of lines.

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{Chain, Collection, Key, ReadError, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::Version;
use super::nuspec::Nuspec;
use super::warnings::Deprecation;
use crate::http::error::ApiError;

/// The most characters of a description that searches look at.
const MAX_SEARCHED_CHARS: usize = 2_000;

/// The longest text of a version that the catalog keeps, in bytes: each change of the version has it once more.
const MAX_TOLD_BYTES: usize = 4_000;

/// A version, as lists have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) version: Version,
    /// The number of its record.
    pub(super) id: u64,
    pub(super) is_listed: bool,
    /// Whether it is kept from clients that know of the first SemVer only.
    pub(super) is_semver2: bool,
}

impl Record for Line {}

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) nuspec: Nuspec,
    pub(super) is_listed: bool,
    pub(super) published_at: Timestamp,
    pub(super) size: u64,
    /// In Base64, as the older protocol has it.
    pub(super) sha512: String,
}

impl Record for Notes {}

impl Notes {
    /// What lists have of it.
    pub(super) fn line(&self, id: u64) -> Line {
        Line {
            version: self.nuspec.version.clone(),
            id,
            is_listed: self.is_listed,
            is_semver2: self.nuspec.is_semver2(),
        }
    }
}

impl Notes {
    /// The same with the beginnings of long texts.
    pub(super) fn shortened(&self) -> Self {
        let mut short = self.clone();
        let nuspec = &mut short.nuspec;
        for text in [
            &mut nuspec.title,
            &mut nuspec.authors,
            &mut nuspec.owners,
            &mut nuspec.description,
            &mut nuspec.summary,
            &mut nuspec.release_notes,
            &mut nuspec.copyright,
            &mut nuspec.language,
            &mut nuspec.tags,
        ] {
            text.truncate(text.floor_char_boundary(MAX_TOLD_BYTES));
        }
        // The beginning of a URL is another one.
        for url in [
            &mut nuspec.project_url,
            &mut nuspec.icon_url,
            &mut nuspec.license_url,
        ] {
            if url.len() > MAX_TOLD_BYTES {
                url.clear();
            }
        }
        short
    }
}

/// A change of a version, as the catalog tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// By the clock of the node that made it.
    pub(super) at: Timestamp,
    pub(super) what: Changed,
}

impl Record for Change {}

/// What a version was changed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Changed {
    /// It is there, as this.
    Details {
        notes: Box<Notes>,
        deprecation: Option<Deprecation>,
    },
    /// It is not there any more.
    Deleted { id: String, version: Version },
}

/// Which versions somebody can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wants {
    pub(super) prereleases: bool,
    /// Whether the client knows of SemVer 2.
    pub(super) semver2: bool,
}

impl Wants {
    /// All four.
    const ALL: [Self; 4] = [
        Self::of(false, false),
        Self::of(false, true),
        Self::of(true, false),
        Self::of(true, true),
    ];

    /// What there is.
    pub(super) const EVERYTHING: Self = Self::of(true, true);

    pub(super) const fn of(prereleases: bool, semver2: bool) -> Self {
        Self { prereleases, semver2 }
    }

    /// Whether a version is among those, listed or not.
    pub(super) fn takes(self, line: &Line) -> bool {
        (self.prereleases || !line.version.is_prerelease()) && (self.semver2 || !line.is_semver2)
    }
}

/// What the format keeps in the record of a package: of its listed versions, which are the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    stable: Option<Version>,
    any: Option<Version>,
    stable_semver1: Option<Version>,
    any_semver1: Option<Version>,
    /// Of the newest of all.
    pub(super) shown: Option<Shown>,
}

impl Record for Head {}

/// What searches look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) title: String,
    pub(super) tags: Vec<String>,
    pub(super) authors: String,
    /// Its beginning, with that of the summary.
    pub(super) description: String,
    /// Of what types it is; none is a dependency.
    pub(super) types: Vec<String>,
}

impl Shown {
    pub(super) fn of(nuspec: &Nuspec) -> Self {
        let description = format!("{} {}", nuspec.summary, nuspec.description);
        Self {
            title: nuspec.title.chars().take(MAX_SEARCHED_CHARS).collect(),
            tags: nuspec.tag_list().into_iter().take(64).map(Into::into).collect(),
            authors: nuspec.authors.chars().take(MAX_SEARCHED_CHARS).collect(),
            description: description.trim().chars().take(MAX_SEARCHED_CHARS).collect(),
            types: nuspec.types.iter().map(|kind| kind.name.clone()).collect(),
        }
    }
}

impl Head {
    /// The newest listed version that fits.
    pub(super) fn newest(&self, wants: Wants) -> Option<&Version> {
        let newest = match (wants.prereleases, wants.semver2) {
            (false, true) => &self.stable,
            (true, true) => &self.any,
            (false, false) => &self.stable_semver1,
            (true, false) => &self.any_semver1,
        };
        newest.as_ref()
    }

    fn newest_mut(&mut self, wants: Wants) -> &mut Option<Version> {
        match (wants.prereleases, wants.semver2) {
            (false, true) => &mut self.stable,
            (true, true) => &mut self.any,
            (false, false) => &mut self.stable_semver1,
            (true, false) => &mut self.any_semver1,
        }
    }

    /// Takes a version into account that was not there before.
    pub(super) fn offer(&mut self, line: &Line) {
        for wants in Wants::ALL {
            let newest = self.newest_mut(wants);
            let is_newer = newest.as_ref().is_none_or(|newest| line.version > *newest);
            if line.is_listed && wants.takes(line) && is_newer {
                *newest = Some(line.version.clone());
            }
        }
    }

    /// Whether no older version could be the newest for anybody.
    pub(super) fn is_complete(&self) -> bool {
        self.stable_semver1.is_some()
    }

    /// Reads it from the record of a package.
    pub(super) fn read(metadata: &Bytes) -> Result<Self, ApiError> {
        match metadata.is_empty() {
            true => Ok(Self::default()),
            false => decode(metadata),
        }
    }
}

/// Where a PDB is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Symbol {
    /// The canonical name of its package.
    pub(super) package: String,
    /// The version in its canonical form.
    pub(super) version: String,
    /// The name of the file.
    pub(super) file: String,
}

impl Record for Symbol {}

/// Reads what the format keeps in a record.
pub(super) fn decode<R: Record>(stored: &Bytes) -> Result<R, ApiError> {
    Ok(record::decode(stored).map_err(ReadError::from)?)
}

/// What the names of files begin with that are PDBs.
const SYMBOLS: &str = "symbols/";

/// The name of the file that a PDB is.
pub(super) fn symbol_file(pdb: &str, signature: &str) -> String {
    format!("{SYMBOLS}{signature}/{pdb}")
}

/// The PDB and the number that are in the name of a file.
pub(super) fn symbol_in(file: &str) -> Option<(&str, &str)> {
    let (signature, pdb) = file.strip_prefix(SYMBOLS)?.split_once('/')?;
    Some((pdb, signature))
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

    pub(super) fn packages(&self) -> Collection {
        self.records.at("package")
    }

    pub(super) fn lines(&self, package: u64) -> Collection {
        self.records.at("line").at(package)
    }

    pub(super) fn line(&self, package: u64, version: &Version) -> Key {
        self.lines(package).key(version.key())
    }

    pub(super) fn deprecations(&self) -> Collection {
        self.records.at("deprecation")
    }

    pub(super) fn deprecation(&self, package: u64, version: &Version) -> Key {
        let item = [package.to_be_bytes().as_slice(), &version.key()].concat();
        self.deprecations().key(item)
    }

    pub(super) fn advisories(&self) -> Collection {
        self.records.at("advisory")
    }

    fn advised_at(&self) -> Collection {
        self.records.at("advised")
    }

    /// When the advisories changed.
    pub(super) fn advised(&self) -> Key {
        self.advised_at().key("")
    }

    fn change(&self) -> Collection {
        self.records.at("change")
    }

    /// What happened.
    pub(super) fn changes(&self) -> Chain {
        Chain::new(self.change())
    }

    /// What is not kept below a package.
    pub(super) fn others(&self) -> [Collection; 5] {
        [
            self.change(),
            self.symbols(),
            self.deprecations(),
            self.advisories(),
            self.advised_at(),
        ]
    }

    pub(super) fn symbols(&self) -> Collection {
        self.records.at("symbol")
    }

    pub(super) fn symbol(&self, pdb: &str, signature: &str, version: u64) -> Key {
        let item = [symbol_prefix(pdb, signature), version.to_be_bytes().to_vec()].concat();
        self.symbols().key(item)
    }
}

/// What the items of a PDB begin with, of whatever version.
pub(super) fn symbol_prefix(pdb: &str, signature: &str) -> Vec<u8> {
    format!("{pdb}\0{signature}\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(version: &str, is_listed: bool) -> Line {
        let version: Version = version.parse().unwrap();
        Line {
            id: 1,
            is_listed,
            is_semver2: version.is_semver2(),
            version,
        }
    }

    #[test]
    fn the_newest_are_those_that_somebody_can_use() {
        let mut head = Head::default();
        for (version, is_listed) in [
            ("1.0.0", true),
            ("3.0.0-rc.1", true),
            ("1.1.0-beta", true),
            ("0.9.0", true),
            ("2.0.0+build", true),
            ("9.0.0", false),
        ] {
            head.offer(&line(version, is_listed));
        }
        let newest = |prereleases, semver2| {
            let version = head.newest(Wants::of(prereleases, semver2));
            version.map(Version::full).unwrap_or_default()
        };
        assert_eq!(newest(false, false), "1.0.0");
        assert_eq!(newest(true, false), "1.1.0-beta");
        assert_eq!(newest(false, true), "2.0.0+build");
        assert_eq!(newest(true, true), "3.0.0-rc.1");
    }

    #[test]
    fn files_of_symbols_are_taken_apart_again() {
        assert_eq!(symbol_in(&symbol_file("a.pdb", "00ff")), Some(("a.pdb", "00ff")));
        assert_eq!(symbol_in("a.1.0.0.nupkg"), None);
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Line>("nuget-line");
        samples::check::<super::Notes>("nuget-notes");
        samples::check::<super::Head>("nuget-head");
        samples::check::<super::Symbol>("nuget-symbol");
        samples::check::<super::Change>("nuget-change");
    }
}
