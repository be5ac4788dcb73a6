//! What the format keeps in a project besides packages, versions and their files.
//!
//! ```text
//! format / maven
//! ├── package                   package key                      → ()       what has records below
//! ├── version / {package key}   order of the version, version    → Line     one line of the metadata
//! ├── build   / {package key}   version, 0, extension, 0, classifier → Newest
//! ├── plugin                    path of the group, 0, artifact   → Plugin
//! └── archetype                 package                          → ()
//! ```
//!
//! They are written by the transaction that adds a file, so metadata are never behind, and one publish writes the
//! same few of them however many there are. What can be fetched is decided by the records of versions and files;
//! these say what is listed.

use cairn_cluster::record::Record;
use cairn_cluster::{Collection, Key, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::PackageName;
use super::order::Order;

/// A version that metadata list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) version: String,
    /// Since when.
    pub(super) at: Timestamp,
}

impl Record for Line {}

/// The newest file of a snapshot that has this classifier and extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Newest {
    pub(super) extension: String,
    pub(super) classifier: Option<String>,
    /// What stands in its name for the version.
    pub(super) value: String,
    /// When it came.
    pub(super) at: Timestamp,
}

impl Record for Newest {}

/// A plugin of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plugin {
    pub(super) artifact: String,
    pub(super) prefix: String,
    pub(super) name: Option<String>,
}

impl Record for Plugin {}

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
        self.records.at("version").at(package)
    }

    pub(super) fn line(&self, package: u64, version: &str) -> Key {
        let item = [Order::of(version).as_bytes(), version.as_bytes()].concat();
        self.lines(package).key(item)
    }

    pub(super) fn builds(&self, package: u64) -> Collection {
        self.records.at("build").at(package)
    }

    pub(super) fn build(
        &self,
        package: u64,
        version: &str,
        extension: &str,
        classifier: Option<&str>,
    ) -> Key {
        let parts = [version, extension, classifier.unwrap_or_default()];
        self.builds(package).key(parts.join("\0"))
    }

    pub(super) fn plugins(&self) -> Collection {
        self.records.at("plugin")
    }

    pub(super) fn plugin(&self, package: &PackageName) -> Key {
        let (_, artifact) = package.group_and_artifact();
        self.plugins().key(prefixed(package.group_path(), artifact))
    }

    pub(super) fn archetypes(&self) -> Collection {
        self.records.at("archetype")
    }

    pub(super) fn archetype(&self, package: &PackageName) -> Key {
        self.archetypes().key(package.as_str())
    }
}

/// What the items of a snapshot's files, or of a group's plugins, begin with, and more.
pub(super) fn prefixed(first: &str, rest: &str) -> String {
    format!("{first}\0{rest}")
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Line>("maven-line");
        samples::check::<super::Newest>("maven-newest");
        samples::check::<super::Plugin>("maven-plugin");
    }
}
