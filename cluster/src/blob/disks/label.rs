//! The label of a disk: which disk of which node of which cluster it is.
//!
//! ```text
//! disk.json      a JSON object, filled up with spaces to 512 bytes
//! ```
//!
//! A folder in which a disk is to be mounted is there when the disk is not, and empty; and a disk
//! can be put into another machine. The label tells.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::id::DiskId;
use crate::blob::disk::Disk;
use crate::files::{self, ParseError};
use crate::node_id::{ClusterId, NodeId};

/// The version of the label that this cairn writes.
const FORMAT: u32 = 1;

const LABEL: &str = "disk.json";
const UNFINISHED: &str = "disk.json.new";
const LABEL_BYTES: usize = 512;

/// What file systems put into a new disk.
const OF_THE_FILE_SYSTEM: &str = "lost+found";

/// Whose disks these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskOwner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    format: u32,
    #[serde(flatten)]
    pub(super) owner: DiskOwner,
    pub(super) disk: DiskId,
}

/// What there is in a folder that should be a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A disk with a label.
    Labelled(Label),
    /// Nothing, as on a new disk.
    Empty,
    /// Something without a label.
    Occupied(String),
    /// The folder is not there.
    Absent,
    /// It cannot be read, or a label is there that makes no sense.
    Unreadable(String),
}

/// Looks whose disk this is.
pub(super) fn look(disk: &dyn Disk) -> Found {
    match read(disk) {
        Ok(label) => Found::Labelled(label),
        Err(error) if error.kind() == io::ErrorKind::NotFound => without_label(disk),
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

fn without_label(disk: &dyn Disk) -> Found {
    let names = match disk.list(Path::new("")) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Absent,
        Err(error) => return Found::Unreadable(error.to_string()),
    };
    let other = names
        .into_iter()
        .find(|name| ![UNFINISHED, OF_THE_FILE_SYSTEM].contains(&name.as_str()));
    other.map_or(Found::Empty, Found::Occupied)
}

/// Reads the label of a disk.
fn read(disk: &dyn Disk) -> io::Result<Label> {
    let mut text = [0; LABEL_BYTES];
    disk.open(Path::new(LABEL))?.read_at(&mut text, 0)?;
    let invalid = |error: ParseError| io::Error::new(io::ErrorKind::InvalidData, format!("{LABEL} {error}"));
    files::parse(&text, FORMAT).map_err(invalid)
}

impl Label {
    fn new(owner: DiskOwner, disk: DiskId) -> Self {
        let format = FORMAT;
        Self { format, owner, disk }
    }

    /// As it lies on the disk.
    fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("names and numbers serialise");
        assert!(text.len() < LABEL_BYTES, "a label of {} bytes", text.len());
        text.resize(LABEL_BYTES - 1, b' ');
        text.push(b'\n');
        text
    }
}

/// Makes an empty disk one of a node; when this returns that is durable.
pub(super) fn write(disk: &dyn Disk, owner: DiskOwner, id: DiskId) -> io::Result<()> {
    let text = Label::new(owner, id).encode();
    let (unfinished, label) = (PathBuf::from(UNFINISHED), PathBuf::from(LABEL));
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&unfinished)?;
    file.write_at(&text, 0)?;
    file.sync()?;
    disk.rename(&unfinished, &label)?;
    disk.sync_folder(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::disk::testing::{Operation, TestDisk};
    use crate::blob::disk::{DiskFile, Folder};
    use crate::seams::Seams;

    fn owner() -> DiskOwner {
        DiskOwner {
            cluster: ClusterId::random(&Seams::system()),
            node: NodeId(7),
        }
    }

    #[test]
    fn a_label_survives_a_power_cut() {
        let (disk, owner) = (TestDisk::default(), owner());
        assert_eq!(look(&disk), Found::Empty);
        let id = "7f3a09c1".parse().unwrap();
        write(&disk, owner, id).unwrap();
        disk.cut_power();
        let Found::Labelled(label) = look(&disk) else {
            panic!("{:?}", look(&disk))
        };
        assert_eq!((label.owner, label.disk), (owner, id));
    }

    #[test]
    fn what_is_not_a_disk_of_a_node_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        assert_eq!(look(&Folder::new(&path)), Found::Absent);
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir(path.join("lost+found")).unwrap();
        assert_eq!(look(&Folder::new(&path)), Found::Empty);
        std::fs::write(path.join("holiday.jpg"), "x").unwrap();
        assert_eq!(look(&Folder::new(&path)), Found::Occupied("holiday.jpg".into()));
        std::fs::write(path.join(LABEL), "{}").unwrap();
        assert!(matches!(look(&Folder::new(&path)), Found::Unreadable(_)));
        let disk = TestDisk::default();
        disk.fail(Operation::Open, io::ErrorKind::Other);
        assert!(matches!(look(&disk), Found::Unreadable(_)));
    }

    #[test]
    fn a_label_of_a_newer_version_is_told_by_its_number() {
        let disk = TestDisk::default();
        let mut text = br#"{"format": 2, "everything": "else"}"#.to_vec();
        text.resize(LABEL_BYTES, b' ');
        let file: Box<dyn DiskFile> = disk.create(Path::new(LABEL)).unwrap();
        file.write_at(&text, 0).unwrap();
        let Found::Unreadable(why) = look(&disk) else {
            panic!("{:?}", look(&disk))
        };
        assert!(why.contains("use a newer cairn"), "{why}");
    }
}

#[cfg(test)]
mod stored {
    use super::*;
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        let owner = DiskOwner {
            cluster: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            node: NodeId(7),
        };
        let label = Label::new(owner, "7f3a09c1".parse().unwrap());
        samples::check_bytes("disk-json", &[label.encode()], |stored| {
            let label: Label = files::parse(stored, FORMAT).unwrap();
            serde_json::to_string(&label).unwrap()
        });
    }
}
