//! Where something lies in the tree of groups and projects.

use cairn_cluster::Space;
use cairn_cluster::record::Record;
use serde::{Deserialize, Serialize};

use crate::registry::keys::Member;

/// A group or a project, and the root group that owns its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The root group.
    pub root: u64,
    /// What lies there.
    pub kind: PlaceKind,
    /// Its id.
    pub id: u64,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// A group.
    Group,
    /// A project.
    Project,
}

impl Record for Place {}

impl Place {
    /// A project.
    pub(in crate::registry) fn project(root: u64, id: u64) -> Self {
        let kind = PlaceKind::Project;
        Self { root, kind, id }
    }

    /// A group.
    pub(in crate::registry) fn group(root: u64, id: u64) -> Self {
        let kind = PlaceKind::Group;
        Self { root, kind, id }
    }

    /// A root group.
    pub(in crate::registry) fn root_group(id: u64) -> Self {
        Self::group(id, id)
    }

    /// Where the blobs of what lies there are.
    pub(in crate::registry) fn space(self) -> Space {
        Space(self.root)
    }

    pub(in crate::registry) fn member(self) -> Member {
        match self.kind {
            PlaceKind::Group => Member::Group(self.id),
            PlaceKind::Project => Member::Project(self.id),
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Place>("place");
    }
}
