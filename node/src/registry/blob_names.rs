//! What the names of blobs in a backup stand for, so that damage can be told in words that users
//! know: a project, a package, a file.
//!
//! The name of a blob is the key of the record that names it. What the key does not say is looked
//! up in other records, which come by in the order of the backup: first all names are given to
//! [`BlobNames::want`], then all records to [`BlobNames::learn`].

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_cluster::record::decode;
use cairn_cluster::{Collection, Key};

use crate::formats;
use crate::registry::keys;
use crate::registry::package::Location;
use crate::registry::project::Project;
use crate::registry::sessions;

/// A part of what is said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These words.
    Text(String),
    /// The text that is stored under a key.
    Value(Key),
    /// The path of the project under a key.
    Project(Key),
    /// Format, package and version that are under a key.
    Version(Key),
}

/// Finds out what names stand for.
#[derive(Debug, Default)]
pub(crate) struct BlobNames {
    /// What was asked for, and what it is, once that is known.
    records: BTreeMap<Bytes, Option<Bytes>>,
}

impl BlobNames {
    /// Asks what a name stands for.
    pub(crate) fn want(&mut self, name: &Bytes) {
        for piece in pieces(name) {
            if let Piece::Value(key) | Piece::Project(key) | Piece::Version(key) = piece {
                self.records.entry(key.as_bytes().clone()).or_default();
            }
        }
    }

    /// Takes a record of the backup.
    pub(crate) fn learn(&mut self, key: &Bytes, value: &Bytes) {
        if let Some(known) = self.records.get_mut(key) {
            *known = Some(value.clone());
        }
    }

    /// Says what a name stands for, as far as the records tell.
    pub(crate) fn describe(&self, name: &Bytes) -> String {
        let value = |key: &Key| self.records.get(key.as_bytes()).cloned().flatten();
        let said = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Value(key) => Some(String::from_utf8_lossy(&value(key)?).into_owned()),
            Piece::Project(key) => Some(decode::<Project>(&value(key)?).ok()?.path.to_string()),
            Piece::Version(key) => {
                let at: Location = decode(&value(key)?).ok()?;
                Some(format!("{} {} {}", at.format, at.name, at.version))
            }
        };
        let pieces = pieces(name);
        let said = pieces
            .iter()
            .map(|piece| said(piece).unwrap_or_else(|| "?".into()));
        said.collect()
    }
}

/// What is said of a name.
fn pieces(name: &Bytes) -> Vec<Piece> {
    let text = |text: &str| Piece::Text(text.into());
    let Some(key) = Key::decode(name.clone()) else {
        return vec![text("a record of a form that this cairn does not know")];
    };
    let path = key.collection().segments();
    let number = |at: usize| path.get(at).and_then(|segment| keys::number(segment));
    let (Some(root), Some(b"project"), Some(project)) =
        (number(0), path.get(1).map(Vec::as_slice), number(2))
    else {
        return vec![text("the record "), Piece::Text(format!("{key:?}"))];
    };
    let mut pieces = vec![Piece::Project(keys::project(root, project)), text(": ")];
    match (path.get(3).map(Vec::as_slice), number(4), path.get(4)) {
        (Some(b"file-id"), Some(version), _) => pieces.extend([
            Piece::Version(keys::version_ids(root, project).key(version)),
            text(", file "),
            Piece::Value(key),
        ]),
        (Some(b"format"), _, Some(format)) => {
            let format = String::from_utf8_lossy(format);
            pieces.push(Piece::Text(format!("{format} ")));
            let records = keys::format(root, project, &format);
            match formats::by_name(&format) {
                Some(format) => pieces.extend(format.describe_blob(&records, &key)),
                None => pieces.push(in_words(&path[5..], &key)),
            }
        }
        _ => pieces.push(in_words(&path[3..], &key)),
    }
    pieces
}

/// A key below some records of a project, as it is.
pub(crate) fn below(records: &Collection, key: &Key) -> Piece {
    in_words(&key.collection().segments()[records.segments().len()..], key)
}

fn in_words(path: &[Vec<u8>], key: &Key) -> Piece {
    let item = key.item();
    let parts = path.iter().map(Vec::as_slice).chain([item.as_ref()]);
    let parts: Vec<_> = parts.map(|part| part.escape_ascii().to_string()).collect();
    Piece::Text(parts.join("/"))
}

/// Whether a record is about an upload that is under way, which no backup carries to another
/// cluster.
pub(crate) fn is_of_upload(key: &Key) -> bool {
    let path = key.collection().segments();
    match path.as_slice() {
        [_, project, _, format, _, kind] => {
            project == b"project" && format == b"format" && sessions::is_of_upload(kind)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the project 7 below the root group 3.
    fn format(name: &str) -> Collection {
        keys::format(3, 7, name)
    }

    #[test]
    fn a_name_is_said_as_far_as_the_records_tell() {
        let file = keys::file_ids(3, 7, 9).key(11u64);
        let mut names = BlobNames::default();
        names.want(file.as_bytes());
        assert_eq!(names.describe(file.as_bytes()), "?: ?, file ?");
        names.learn(file.as_bytes(), &Bytes::from_static(b"tool.tgz"));
        // What nobody asked for is not kept.
        names.learn(keys::project(3, 8).as_bytes(), &Bytes::new());
        assert_eq!(names.describe(file.as_bytes()), "?: ?, file tool.tgz");
        assert_eq!(names.records.len(), 3);
    }

    #[test]
    fn names_of_any_form_are_said_somehow() {
        let check = |name: &Bytes, expected: &str| {
            assert_eq!(BlobNames::default().describe(name), expected);
        };
        check(
            &Bytes::from_static(b"\xff"),
            "a record of a form that this cairn does not know",
        );
        check(
            Collection::new("a").at("b").key("c").as_bytes(),
            "the record a/b/c",
        );
        check(format("brew").at("x").key("y").as_bytes(), "?: brew x/y");
        check(format("pypi").at("x").key([0xff]).as_bytes(), "?: pypi x/\\xff");
    }

    #[test]
    fn records_of_uploads_under_way_are_told_from_all_others() {
        let keys = sessions::SessionKeys::new(format("oci"));
        assert!(is_of_upload(&keys.uploading().key("x")));
        assert!(is_of_upload(&keys.count()));
        assert!(!is_of_upload(&keys.finished_at().key("x")));
        assert!(!is_of_upload(&format("oci").at("image").key("uploads")));
        assert!(!is_of_upload(&keys::project(3, 7)));
    }
}
