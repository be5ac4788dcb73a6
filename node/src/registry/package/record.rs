//! The records of packages.

use std::fmt;

use bytes::Bytes;
use cairn_cluster::record::Record;
use cairn_cluster::{BlobId, Digests, Timestamp};
use serde::{Deserialize, Serialize};

/// The most bytes of its own that a format keeps in one record; more belongs into a blob.
pub const MAX_METADATA_BYTES: usize = 256 << 10;

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Under which its versions are kept. A name that is deleted and taken again gets a new one.
    pub(crate) key: u64,
    /// Its normalised name.
    pub name: String,
    /// Its name as it was first published.
    pub display_name: String,
    /// When it was first published.
    pub created_at: Timestamp,
    /// What its format keeps about it.
    pub metadata: Bytes,
    /// When it was deleted; the record stays, so that the name is not forgotten.
    pub(in crate::registry) deleted_at: Option<Timestamp>,
    /// Keys of deleted packages of this name whose versions are still to be taken apart.
    #[serde(default)]
    pub(in crate::registry) former_keys: Vec<u64>,
}

impl Record for Package {}

/// A version of a package; GitLab's API calls it a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number in the REST API.
    pub id: u64,
    /// The version, as its format normalises it.
    pub version: String,
    /// Who sees it.
    pub status: Status,
    /// When it was published.
    pub created_at: Timestamp,
    /// The user who published it.
    pub creator: Option<u64>,
    /// What its format keeps about it.
    pub metadata: Bytes,
}

impl Record for Version {}

/// Who sees a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Listed.
    #[default]
    Default,
    /// Its files can be fetched, but it is not listed.
    Hidden,
    /// Listed, with a warning.
    Deprecated,
}

impl Status {
    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Default, Self::Hidden, Self::Deprecated]
            .into_iter()
            .find(|status| status.name() == name)
    }

    /// Its name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Hidden => "hidden",
            Self::Deprecated => "deprecated",
        }
    }
}

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its number in the REST API.
    pub id: u64,
    /// Its name; may have slashes, as its format says.
    pub name: String,
    /// Its bytes.
    pub blob: BlobId,
    /// How many there are.
    pub size: u64,
    /// Their digests.
    pub digests: Digests,
    /// When it was published.
    pub created_at: Timestamp,
    /// What its format keeps about it.
    pub metadata: Bytes,
}

impl Record for File {}

/// What is left of a deleted version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// The user who deleted it.
    pub deleted_by: Option<u64>,
}

impl Record for Tombstone {}

/// Where a version is, for those who know its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct Location {
    pub(in crate::registry) format: String,
    /// The normalised name of its package.
    pub(in crate::registry) name: String,
    pub(in crate::registry) package_key: u64,
    pub(in crate::registry) version: String,
}

impl Record for Location {}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            format,
            name,
            version,
            ..
        } = self;
        write!(f, "{format} {name} {version}")
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Package>("package");
        samples::check::<super::Version>("version");
        samples::check::<super::File>("file");
        samples::check::<super::Tombstone>("tombstone");
        samples::check::<super::Location>("location");
    }
}
