//! The node's own record of its disks, and what follows from it when the node starts.
//!
//! ```text
//! blobs/disks.json     in the data directory: the disks, and what was decided about each
//! ```
//!
//! The configuration adds disks; the record knows those that are there. A disk in the record is
//! used wherever it is found, and must be found: a node that went on without it would call shards
//! lost that are only not mounted. That a disk has failed is in the record too, so that a node with
//! a dead disk starts again, and a disk that was given up is not taken for a sound one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::id::DiskId;
use super::label::{DiskOwner, Found};
use crate::files;
use crate::node_id::{ClusterId, NodeId};
use crate::seams::Timestamp;

/// The version of the record that this cairn writes.
const FORMAT: u32 = 1;

/// Why a node does not start with its disks as they are.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A disk of another node, or of another cluster.
    #[error(
        "{path} is disk {disk} of node {node} of cluster {cluster}, not of this node: mount the right disk there"
    )]
    Foreign {
        /// Where it is.
        path: PathBuf,
        /// Which disk it is.
        disk: DiskId,
        /// Its node.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// A disk of this node is not where it was, nor anywhere else.
    #[error(
        "disk {disk} of this node is not at {path} ({why}): mount it there; if it is dead, start once with \
         --without-disk {disk}, and its shards are rebuilt elsewhere"
    )]
    NotThere {
        /// Which disk.
        disk: DiskId,
        /// Where it was.
        path: PathBuf,
        /// What is there now.
        why: String,
    },
    /// A folder that is to become a disk holds something.
    #[error("{path} cannot become a disk of this node: it holds {found:?}, and a new disk must be empty")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// A folder that is to become a disk is not there.
    #[error("{path} cannot become a disk of this node: there is no such folder")]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that is to become a disk cannot be used.
    #[error("{path} cannot become a disk of this node: {why}")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// One disk is seen at two places.
    #[error("disk {disk} is at {first} and at {second}: list it once")]
    Twice {
        /// Which disk.
        disk: DiskId,
        /// Where it is.
        first: PathBuf,
        /// Where it is, too.
        second: PathBuf,
    },
    /// There is no such disk to be given up.
    #[error("this node has no disk {disk}")]
    Unknown {
        /// What was asked for.
        disk: DiskId,
    },
    /// The node's own record cannot be used.
    #[error("the record of the disks, {path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// What the record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) format: u32,
    pub(super) disks: Vec<Entry>,
    /// A disk was lost, and what it held may not be in full redundancy again.
    pub(super) rebuilding: bool,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) disk: DiskId,
    /// Where it is, or was.
    pub(super) path: PathBuf,
    #[serde(flatten)]
    pub(super) state: EntryState,
}

/// What was decided about a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(super) enum EntryState {
    /// It holds shards.
    InUse,
    /// It takes nothing more, and what it holds goes to others.
    Retiring,
    /// It holds nothing any more.
    Retired,
    /// It has failed, and is not used.
    Failed { reason: String, at: Timestamp },
}

impl EntryState {
    pub(super) fn is_in_service(&self) -> bool {
        matches!(self, Self::InUse | Self::Retiring)
    }
}

/// A disk to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) disk: DiskId,
    pub(super) path: PathBuf,
    /// It has no label yet.
    pub(super) is_new: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            format: FORMAT,
            disks: Vec::new(),
            rebuilding: false,
        }
    }
}

impl Table {
    /// Reads the record; one that was never written is empty.
    pub(super) fn load(path: &Path) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Record {
            path: path.into(),
            source,
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        files::parse(&text, FORMAT).map_err(|error| failed(io::Error::other(format!("it {error}"))))
    }

    /// Writes the record, durably.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::from)?;
        text.push(b'\n');
        files::replace(path, &text)
    }

    pub(super) fn entry(&self, disk: DiskId) -> Option<&Entry> {
        self.disks.iter().find(|entry| entry.disk == disk)
    }

    pub(super) fn entry_mut(&mut self, disk: DiskId) -> Option<&mut Entry> {
        self.disks.iter_mut().find(|entry| entry.disk == disk)
    }

    /// Notes that a disk is lost, with what it held.
    pub(super) fn fail(&mut self, disk: DiskId, reason: &str, at: Timestamp) {
        if let Some(entry) = self.entry_mut(disk).filter(|entry| entry.state.is_in_service()) {
            entry.state = EntryState::Failed {
                reason: reason.to_owned(),
                at,
            };
            self.rebuilding = true;
        }
    }

    /// Where disks may be: what is to be looked at before [`Table::settle`].
    pub(super) fn places(&self, listed: &[PathBuf]) -> BTreeSet<PathBuf> {
        let known = self.disks.iter().filter(|entry| entry.state.is_in_service());
        known.map(|entry| &entry.path).chain(listed).cloned().collect()
    }

    /// Decides which disks are opened, from what the configuration lists and what was found, and
    /// brings the record in step with that. `draw` draws an id for a new disk.
    pub(super) fn settle(
        &mut self,
        owner: DiskOwner,
        listed: &[PathBuf],
        found: &BTreeMap<PathBuf, Found>,
        mut draw: impl FnMut() -> DiskId,
    ) -> Result<Vec<Slot>, DiskError> {
        let given_up: BTreeSet<PathBuf> = self
            .disks
            .iter()
            .filter(|entry| !entry.state.is_in_service())
            .map(|entry| entry.path.clone())
            .collect();
        let mut labelled = BTreeMap::<DiskId, &PathBuf>::new();
        for (path, found) in found {
            let Found::Labelled(label) = found else { continue };
            if label.owner != owner {
                // In the place of a disk that is not used anyhow, it may be whatever it is.
                if given_up.contains(path) {
                    continue;
                }
                return Err(DiskError::Foreign {
                    path: path.clone(),
                    disk: label.disk,
                    node: label.owner.node,
                    cluster: label.owner.cluster,
                });
            }
            if let Some(first) = labelled.insert(label.disk, path) {
                return Err(DiskError::Twice {
                    disk: label.disk,
                    first: first.clone(),
                    second: path.clone(),
                });
            }
        }
        let mut slots = Vec::new();
        for entry in self.disks.iter_mut().filter(|entry| entry.state.is_in_service()) {
            match labelled.get(&entry.disk) {
                Some(path) => entry.path = (*path).clone(),
                None => {
                    return Err(DiskError::NotThere {
                        disk: entry.disk,
                        path: entry.path.clone(),
                        why: found.get(&entry.path).map_or_else(String::new, describe),
                    });
                }
            }
            slots.push(Slot {
                disk: entry.disk,
                path: entry.path.clone(),
                is_new: false,
            });
        }
        for path in listed {
            if slots.iter().any(|slot| slot.path == *path) {
                continue;
            }
            let slot = match found.get(path) {
                Some(Found::Labelled(label)) if label.owner == owner => {
                    if self.entry(label.disk).is_some() {
                        // It was given up.
                        continue;
                    }
                    Slot {
                        disk: label.disk,
                        path: path.clone(),
                        is_new: false,
                    }
                }
                _ if given_up.contains(path) => continue,
                Some(Found::Empty) => Slot {
                    disk: self.draw(&mut draw),
                    path: path.clone(),
                    is_new: true,
                },
                other => return Err(unusable(path, other)),
            };
            self.disks.push(Entry {
                disk: slot.disk,
                path: path.clone(),
                state: EntryState::InUse,
            });
            slots.push(slot);
        }
        let is_remembered = |entry: &Entry| {
            let is_listed = listed.contains(&entry.path);
            let has_successor = slots.iter().any(|slot| slot.path == entry.path);
            entry.state.is_in_service() || (is_listed && !has_successor)
        };
        self.disks.retain(is_remembered);
        Ok(slots)
    }

    /// An id that no disk of this node has.
    pub(super) fn draw(&self, draw: &mut impl FnMut() -> DiskId) -> DiskId {
        loop {
            let drawn = draw();
            if self.entry(drawn).is_none() {
                return drawn;
            }
        }
    }
}

/// Why a folder cannot become a disk.
pub(super) fn unusable(path: &Path, found: Option<&Found>) -> DiskError {
    let path = path.to_owned();
    match found {
        Some(Found::Occupied(found)) => DiskError::NotEmpty {
            path,
            found: found.clone(),
        },
        Some(Found::Absent) | None => DiskError::Absent { path },
        Some(other) => DiskError::Unusable {
            path,
            why: describe(other),
        },
    }
}

fn describe(found: &Found) -> String {
    match found {
        Found::Labelled(label) => format!("disk {} of node {} is there", label.disk, label.owner.node),
        Found::Empty => "the folder is empty".into(),
        Found::Occupied(_) => "the folder holds other things".into(),
        Found::Absent => "there is no such folder".into(),
        Found::Unreadable(why) => why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::label::{look, write};
    use super::*;
    use crate::blob::disk::testing::TestDisk;
    use crate::samples;
    use crate::seams::Seams;

    fn owner() -> DiskOwner {
        let cluster = "00000000-0000-4000-8000-000000000000";
        DiskOwner {
            cluster: cluster.to_owned().try_into().unwrap(),
            node: NodeId(3),
        }
    }

    fn labelled(owner: DiskOwner, disk: &str) -> Found {
        let on = TestDisk::default();
        write(&on, owner, disk.parse().unwrap()).unwrap();
        look(&on)
    }

    fn mine(disk: &str) -> Found {
        labelled(owner(), disk)
    }

    fn table(disks: &[(&str, &str, EntryState)]) -> Table {
        let entry = |(disk, path, state): &(&str, &str, EntryState)| Entry {
            disk: disk.parse().unwrap(),
            path: path.into(),
            state: state.clone(),
        };
        Table {
            disks: disks.iter().map(entry).collect(),
            ..Table::default()
        }
    }

    fn failed() -> EntryState {
        EntryState::Failed {
            reason: "it broke".into(),
            at: Timestamp(7),
        }
    }

    /// Settles, and gives the disks that are opened as `id@path`, a new one as `new@path`.
    fn settle(table: &mut Table, listed: &[&str], found: &[(&str, Found)]) -> Result<Vec<String>, String> {
        let listed: Vec<PathBuf> = listed.iter().map(PathBuf::from).collect();
        let found: BTreeMap<PathBuf, Found> = found
            .iter()
            .map(|(path, found)| (PathBuf::from(path), found.clone()))
            .collect();
        assert!(
            table
                .places(&listed)
                .iter()
                .all(|place| found.contains_key(place)),
            "the case leaves out where it is looked"
        );
        let seams = Seams::system();
        let slots = table
            .settle(owner(), &listed, &found, || DiskId::draw(&seams))
            .map_err(|error| error.to_string())?;
        let show = |slot: &Slot| match slot.is_new {
            true => format!("new@{}", slot.path.display()),
            false => format!("{}@{}", slot.disk, slot.path.display()),
        };
        Ok(slots.iter().map(show).collect())
    }

    const A: &str = "aaaaaaaa";
    const B: &str = "bbbbbbbb";

    #[test]
    fn new_disks_are_taken_and_found_again() {
        let mut table = Table::default();
        let found = [("/a", Found::Empty), ("/b", Found::Empty)];
        assert_eq!(
            settle(&mut table, &["/a", "/b"], &found).unwrap(),
            ["new@/a", "new@/b"]
        );
        let ids: Vec<String> = table.disks.iter().map(|entry| entry.disk.to_string()).collect();
        // Mounted the other way round, each is still the disk that it was.
        let found = [("/a", mine(&ids[1])), ("/b", mine(&ids[0]))];
        let expected = [format!("{}@/b", ids[0]), format!("{}@/a", ids[1])];
        assert_eq!(settle(&mut table, &["/a", "/b"], &found).unwrap(), expected);
    }

    #[test]
    fn a_disk_that_is_not_mounted_keeps_the_node_from_starting_until_it_is_given_up() {
        for there in [
            Found::Empty,
            Found::Absent,
            Found::Unreadable("EIO".into()),
            mine(B),
        ] {
            let mut table = table(&[(A, "/a", EntryState::InUse)]);
            let found = [("/a", there)];
            let refused = settle(&mut table, &["/a"], &found).unwrap_err();
            assert!(refused.contains("--without-disk aaaaaaaa"), "{refused}");
            table.fail(A.parse().unwrap(), "given up", Timestamp(1));
            assert!(table.rebuilding);
            let opened = settle(&mut table, &["/a"], &found).unwrap();
            assert!(!opened.iter().any(|disk| disk.contains(A)), "{opened:?}");
        }
    }

    #[test]
    fn an_empty_folder_in_the_place_of_a_failed_disk_is_not_taken_for_a_new_one() {
        let mut table = table(&[(A, "/a", failed())]);
        let nothing: [&str; 0] = [];
        assert_eq!(
            settle(&mut table, &["/a"], &[("/a", Found::Empty)]).unwrap(),
            nothing
        );
        // Nor is the disk itself used again, whatever it looks like now.
        assert_eq!(settle(&mut table, &["/a"], &[("/a", mine(A))]).unwrap(), nothing);
        assert_eq!(table.disks.len(), 1);
        assert_eq!(settle(&mut table, &[], &[]).unwrap(), nothing);
        assert!(
            table.disks.is_empty(),
            "one that is not listed any more is forgotten"
        );
    }

    #[test]
    fn a_disk_that_is_in_use_is_used_though_it_is_not_listed() {
        let mut table = table(&[(A, "/a", EntryState::Retiring)]);
        assert_eq!(
            settle(&mut table, &[], &[("/a", mine(A))]).unwrap(),
            ["aaaaaaaa@/a"]
        );
        assert!(settle(&mut table, &[], &[("/a", Found::Empty)]).is_err());
    }

    #[test]
    fn a_disk_that_the_record_lost_is_known_by_its_label() {
        let mut table = Table::default();
        assert_eq!(
            settle(&mut table, &["/a"], &[("/a", mine(A))]).unwrap(),
            ["aaaaaaaa@/a"]
        );
        assert_eq!(table.disks.len(), 1);
    }

    #[test]
    fn what_is_no_disk_of_this_node_is_refused() {
        let other_node = DiskOwner {
            node: NodeId(4),
            ..owner()
        };
        let other_cluster = DiskOwner {
            cluster: ClusterId::random(&Seams::system()),
            ..owner()
        };
        for (found, expected) in [
            (labelled(other_node, A), "of node 4"),
            (labelled(other_cluster, A), "of node 3 of cluster"),
            (Found::Occupied("x".into()), "must be empty"),
            (Found::Absent, "no such folder"),
            (Found::Unreadable("it hums".into()), "it hums"),
        ] {
            let refused = settle(&mut Table::default(), &["/a"], &[("/a", found)]).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        let twice = [("/a", mine(A)), ("/b", mine(A))];
        let refused = settle(&mut Table::default(), &["/a", "/b"], &twice).unwrap_err();
        assert!(refused.contains("at /a and at /b"), "{refused}");
    }

    #[test]
    fn the_record_is_read_as_it_was_written_and_one_of_a_newer_version_is_refused() {
        let table = table(&[(A, "/a", EntryState::InUse), (B, "/b", failed())]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disks.json");
        assert_eq!(Table::load(&path).unwrap(), Table::default());
        table.store(&path).unwrap();
        assert_eq!(Table::load(&path).unwrap(), table);
        fs::write(&path, r#"{"format": 2}"#).unwrap();
        let refused = Table::load(&path).unwrap_err().to_string();
        assert!(refused.contains("use a newer cairn"), "{refused}");
    }

    #[test]
    fn what_was_stored_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disks.json");
        let mut table = table(&[
            (A, "/a", EntryState::InUse),
            (B, "/b", EntryState::Retiring),
            ("cccccccc", "/c", EntryState::Retired),
            ("dddddddd", "/d", failed()),
        ]);
        table.rebuilding = true;
        table.store(&path).unwrap();
        samples::check_bytes("disks-json", &[fs::read(&path).unwrap()], |stored| {
            fs::write(&path, stored).unwrap();
            serde_json::to_string(&Table::load(&path).unwrap()).unwrap()
        });
    }
}
