//! What the format keeps in a project besides packages, versions and their files.
//!
//! ```text
//! format / pypi
//! ├── name               project                      → ()       what has records below
//! ├── release / {project}  version key                → Release
//! ├── file    / {project}  version key, 0, file name  → Entry    one line of the package index
//! └── gone    / {project}  file name                  → Gone     names that were used and deleted
//! ```
//!
//! A package index is made from `file` alone, in one scan. Whoever writes below a project also
//! writes the record of a version, so that the package's revision tells of every change.

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{BlobId, Collection, Key, ReadError, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::{ProjectName, Version};
use crate::http::error::ApiError;

/// What the index says of one file, and where its metadata is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) file: String,
    /// The version, normalised, as it is shown.
    pub(super) version: String,
    pub(super) size_bytes: u64,
    pub(super) uploaded_at: Timestamp,
    /// Whether it is a wheel, whose metadata may stand for it; otherwise a source distribution.
    pub(super) is_wheel: bool,
    /// The Python tag of a wheel, or `source`.
    pub(super) python: String,
    pub(super) requires_python: Option<String>,
    /// Digests of the file, in lower-case hexadecimal.
    pub(super) sha256: String,
    pub(super) md5: String,
    pub(super) blake2b_256: String,
    /// Its `METADATA` or `PKG-INFO`.
    pub(super) metadata: Attached,
    /// Its attestations, as they were sent.
    pub(super) attestations: Option<Attached>,
    /// Who published it.
    pub(super) publisher: Option<String>,
    /// Why it should not be used any more; empty if nobody said.
    pub(super) yanked: Option<String>,
}

impl Record for Entry {}

/// A small document that belongs to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attached {
    pub(super) blob: BlobId,
    pub(super) size_bytes: u64,
    /// In lower-case hexadecimal.
    pub(super) sha256: String,
}

/// A version, for those who know another spelling of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Release {
    /// The version as it was first published, normalised.
    pub(super) version: String,
}

impl Record for Release {}

/// What is left of a deleted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    pub(super) deleted_at: Timestamp,
    pub(super) sha256: String,
    /// Its line of the index, as long as it can be put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<Entry>,
}

impl Record for Gone {}

/// What the format needs to put a version or a file back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The names of its files.
    pub(super) files: Vec<String>,
    /// Of a version.
    pub(super) release: Option<Release>,
}

impl Record for Kept {}

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    /// How many files there are.
    pub(super) files: u64,
    /// The source distribution; there is only one.
    pub(super) source: Option<String>,
}

impl Record for VersionNotes {}

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

    pub(super) fn names(&self) -> Collection {
        self.records.at("name")
    }

    pub(super) fn releases(&self, project: &str) -> Collection {
        self.records.at("release").at(project)
    }

    pub(super) fn release(&self, project: &ProjectName, version: &Version) -> Key {
        self.releases(project.as_str()).key(version.key())
    }

    pub(super) fn files(&self, project: &str) -> Collection {
        self.records.at("file").at(project)
    }

    pub(super) fn file(&self, project: &ProjectName, version: &Version, file: &str) -> Key {
        let item = [version_prefix(version).as_slice(), file.as_bytes()].concat();
        self.files(project.as_str()).key(item)
    }

    pub(super) fn gone(&self, project: &str) -> Collection {
        self.records.at("gone").at(project)
    }
}

/// What the items of a version's files begin with.
pub(super) fn version_prefix(version: &Version) -> Vec<u8> {
    [version.key().as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Entry>("pypi-entry");
        samples::check::<super::Release>("pypi-release");
        samples::check::<super::Gone>("pypi-gone");
        samples::check::<super::Kept>("pypi-kept");
        samples::check::<super::VersionNotes>("pypi-version-notes");
    }
}
