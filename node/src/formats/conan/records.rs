//! What the format keeps in a project besides packages, versions and their files.
//!
//! A reference is a version of the package of its name. Its files are those of all revisions, with the
//! revision in their names. A revision that lacks files is kept apart, where nobody sees it, until its
//! manifest comes.
//!
//! ```text
//! format / conan
//! ├── refs                 lower-case reference, 0, reference → ()         all that can be found
//! ├── versions             number of a version                → ()         what has records below
//! ├── revision / {version} line, 0, revision                  → RevisionNotes
//! ├── order / {version}    line, 0, descending time           → revision   the newest first
//! ├── info / {version}     line                               → InfoNotes  of the newest revision
//! ├── under-way            reference and revision             → UnderWay   revisions that lack files
//! ├── uploads              number of an upload                → key of the one above
//! ├── uploads-count        ""                                 → how many (added)
//! └── staged / {number}    path                               → Staged     what is there of it so far
//! ```

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{BlobId, Collection, Digests, Key, ReadError, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::{FilePath, Line, Reference, Revised, Revision};
use crate::http::error::ApiError;

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    /// The greatest time of any of its revisions, in microseconds: no two have the same.
    pub(super) last_us: u64,
}

impl Record for VersionNotes {}

/// A revision that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RevisionNotes {
    /// Its time, in microseconds.
    pub(super) at_us: u64,
}

impl Record for RevisionNotes {}

/// What the newest revision of a binary package was built with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InfoNotes {
    pub(super) revision: Revision,
    /// Its `conaninfo.txt`.
    pub(super) content: String,
}

impl Record for InfoNotes {}

/// A revision of which not all files are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnderWay {
    /// By which what is there of it is found.
    pub(super) number: u64,
    /// How many files that are.
    pub(super) files: u64,
    /// When it is let go.
    pub(super) expires_at: Timestamp,
}

impl Record for UnderWay {}

/// A file of a revision that is not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Staged {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    pub(super) digests: Digests,
    /// What is to be kept in the record of the file.
    pub(super) metadata: Bytes,
}

impl Record for Staged {}

/// What the format keeps in the record of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestNotes {
    /// Names what it says of the files, whenever it was made.
    pub(super) sums: String,
}

impl Record for ManifestNotes {}

/// What is left with something deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kept {
    /// With a version, whose records stay as they are: its number.
    Version(u64),
    /// With a manifest: the time of its revision, in microseconds.
    Revision(u64),
}

impl Record for Kept {}

/// Reads what the format keeps in a record.
pub(super) fn decode<R: Record>(stored: &Bytes) -> Result<R, ApiError> {
    Ok(record::decode(stored).map_err(ReadError::from)?)
}

/// Uploads have numbers that no version has.
pub(super) const UPLOAD: u64 = 1 << 63;

/// Makes the keys of the records above.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    records: Collection,
}

impl Keys {
    pub(super) fn new(records: Collection) -> Self {
        Self { records }
    }

    pub(super) fn references(&self) -> Collection {
        self.records.at("refs")
    }

    pub(super) fn reference(&self, reference: &Reference) -> Key {
        let shown = reference.to_string();
        let item = [shown.to_lowercase().as_bytes(), &[0], shown.as_bytes()].concat();
        self.references().key(item)
    }

    pub(super) fn versions(&self) -> Collection {
        self.records.at("versions")
    }

    pub(super) fn revisions(&self, version: u64) -> Collection {
        self.records.at("revision").at(version)
    }

    pub(super) fn revision(&self, version: u64, revised: &Revised) -> Key {
        let item = [
            line_prefix(&revised.line).as_slice(),
            revised.revision.as_str().as_bytes(),
        ]
        .concat();
        self.revisions(version).key(item)
    }

    pub(super) fn order(&self, version: u64) -> Collection {
        self.records.at("order").at(version)
    }

    pub(super) fn place_in_order(&self, version: u64, line: &Line, at_us: u64) -> Key {
        let item = [line_prefix(line).as_slice(), &(u64::MAX - at_us).to_be_bytes()].concat();
        self.order(version).key(item)
    }

    pub(super) fn infos(&self, version: u64) -> Collection {
        self.records.at("info").at(version)
    }

    pub(super) fn info(&self, version: u64, line: &Line) -> Key {
        self.infos(version).key(line.key())
    }

    pub(super) fn all_under_way(&self) -> Collection {
        self.records.at("under-way")
    }

    pub(super) fn under_way(&self, reference: &Reference, revised: &Revised) -> Key {
        self.all_under_way().key(format!("{reference}{revised}"))
    }

    pub(super) fn uploads(&self) -> Collection {
        self.records.at("uploads")
    }

    pub(super) fn uploads_count(&self) -> Key {
        self.records.at("uploads-count").key("")
    }

    pub(super) fn all_staged(&self, number: u64) -> Collection {
        self.records.at("staged").at(number)
    }

    pub(super) fn staged(&self, number: u64, path: &FilePath) -> Key {
        self.all_staged(number).key(path.as_str())
    }
}

/// What the items of the revisions of a line begin with.
pub(super) fn line_prefix(line: &Line) -> Vec<u8> {
    [line.key().as_bytes(), &[0]].concat()
}

/// What the items of all lines of binary packages of a revision of the recipe begin with.
pub(super) fn packages_prefix(recipe: &Revision) -> String {
    format!("{recipe}/")
}

/// The line and the revision of an item of [`Keys::revisions`].
pub(super) fn revised_of(item: &[u8]) -> Option<Revised> {
    let (line, revision) = std::str::from_utf8(item).ok()?.split_once('\0')?;
    Some(Line::of_key(line).ok()?.at(revision.parse().ok()?))
}

/// The time in an item of [`Keys::order`].
pub(super) fn time_of(item: &[u8]) -> u64 {
    let time = item.last_chunk::<8>();
    u64::MAX - time.map_or(0, |time| u64::from_be_bytes(*time))
}

/// The reference of an item of [`Keys::references`].
pub(super) fn reference_of(item: &[u8]) -> Option<Reference> {
    let (_, shown) = std::str::from_utf8(item).ok()?.split_once('\0')?;
    shown.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_of_a_line_stand_together_from_the_newest() {
        let keys = Keys::new(Collection::new("x"));
        let package = Line::of_key("abc/da39a3ee5e6b4b0d3255bfef95601890afd80709").unwrap();
        let key = |line: &Line, at_us| keys.place_in_order(1, line, at_us);
        let ordered = [
            key(&Line::Recipe, 2),
            key(&Line::Recipe, 1),
            key(&package, 3),
            key(&package, 2),
        ];
        assert!(ordered.is_sorted());
        let revised = package.at("def".parse().unwrap());
        let item = [line_prefix(&package).as_slice(), b"def"].concat();
        assert_eq!(revised_of(&item), Some(revised));
        let item = [line_prefix(&package).as_slice(), &(u64::MAX - 5).to_be_bytes()].concat();
        assert_eq!(time_of(&item), 5);
        assert!(
            package
                .key()
                .starts_with(&packages_prefix(&"abc".parse().unwrap()))
        );
        let reference: Reference = "Zlib/1.0@acme".parse().unwrap();
        assert_eq!(reference_of(b"zlib/1.0@acme\0Zlib/1.0@acme"), Some(reference));
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::VersionNotes>("conan-version-notes");
        samples::check::<super::RevisionNotes>("conan-revision-notes");
        samples::check::<super::InfoNotes>("conan-info-notes");
        samples::check::<super::UnderWay>("conan-under-way");
        samples::check::<super::Staged>("conan-staged");
        samples::check::<super::ManifestNotes>("conan-manifest-notes");
        samples::check::<super::Kept>("conan-kept");
    }
}
