//! The manifest of a backup: what makes a folder one.

use std::fmt;

use cairn_cluster::{BackupId, BlobId, ClusterId, Totals};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The form of folders that this version writes and reads.
const FORMAT: u32 = 1;

/// A manifest is refused above this size.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// How many blobs may be missing from a backup: more of them, and it is none.
pub(crate) const MAX_UNREADABLE: usize = 10_000;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// Its name.
    #[serde(with = "text")]
    pub(crate) backup: BackupId,
    /// The cluster that it was taken of.
    #[serde(with = "text")]
    pub(crate) cluster: ClusterId,
    /// The log index of the state.
    pub(crate) log_index: u64,
    /// When that was.
    pub(crate) taken_at: String,
    /// The version of cairn that took it.
    pub(crate) cairn: String,
    /// What it holds.
    pub(crate) totals: Totals,
    /// The size of the metadata.
    pub(crate) metadata_bytes: u64,
    /// The BLAKE3 of the metadata.
    #[serde(with = "text")]
    pub(crate) metadata_blake3: BlobId,
    /// Blobs that the cluster could not read when the backup was taken.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// A blob that is not in a backup, because it was lost before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unreadable {
    /// Whose it is.
    pub(crate) root_group: u64,
    /// Which.
    #[serde(with = "text")]
    pub(crate) blob: BlobId,
    /// What the cluster said.
    pub(crate) reason: String,
}

/// Values in the form that they are shown in.
mod text {
    use super::*;

    pub(super) fn serialize<T: fmt::Display, S: Serializer>(value: &T, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: std::str::FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("the manifest is damaged: {0}")]
    Damaged(String),
    #[error("the backup has format {0}, this cairn reads format {FORMAT}: use a newer cairn")]
    Newer(u32),
}

/// The manifest and the BLAKE3 of its own bytes, as they lie in the file.
#[derive(Deserialize)]
struct Sealed<'a> {
    blake3: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

#[derive(Deserialize)]
struct Formatted {
    format: u32,
}

impl Manifest {
    /// The manifest of a backup that holds this.
    pub(crate) fn new(
        begin: &cairn_cluster::Begin,
        totals: Totals,
        metadata_bytes: u64,
        metadata_blake3: BlobId,
    ) -> Self {
        Self {
            format: FORMAT,
            backup: begin.backup,
            cluster: begin.cluster,
            log_index: begin.log_index,
            taken_at: crate::registry::time::iso(begin.taken_at),
            cairn: env!("CARGO_PKG_VERSION").into(),
            totals,
            metadata_bytes,
            metadata_blake3,
            unreadable: Vec::new(),
        }
    }

    /// Its form in a file.
    pub(crate) fn seal(&self) -> String {
        let manifest = serde_json::to_string_pretty(self).expect("a manifest has a form in JSON");
        let blake3 = blake3::hash(manifest.as_bytes()).to_hex();
        format!("{{\"blake3\": \"{blake3}\", \"manifest\": {manifest}}}\n")
    }

    /// Reads what [`Manifest::seal`] wrote.
    pub(crate) fn open(text: &str) -> Result<Self, ManifestError> {
        let damaged = |error: serde_json::Error| ManifestError::Damaged(error.to_string());
        let sealed: Sealed<'_> = serde_json::from_str(text).map_err(damaged)?;
        if blake3::hash(sealed.manifest.get().as_bytes()).to_hex().as_str() != sealed.blake3 {
            return Err(ManifestError::Damaged("it does not have its checksum".into()));
        }
        let Formatted { format } = serde_json::from_str(sealed.manifest.get()).map_err(damaged)?;
        if format != FORMAT {
            return Err(ManifestError::Newer(format));
        }
        serde_json::from_str(sealed.manifest.get()).map_err(damaged)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            backup: BackupId([1; 16]),
            cluster: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            log_index: 5,
            taken_at: "2026-07-01T12:00:00.000Z".into(),
            cairn: "0.1.0".into(),
            totals: Totals {
                blobs: 1,
                blob_bytes: 2,
                names: 3,
                records: 4,
            },
            metadata_bytes: 6,
            metadata_blake3: BlobId([2; 32]),
            unreadable: vec![Unreadable {
                root_group: 7,
                blob: BlobId([3; 32]),
                reason: "it is \"gone\"".into(),
            }],
        }
    }

    #[test]
    fn a_manifest_reads_back_what_was_sealed() {
        assert_eq!(Manifest::open(&manifest().seal()).unwrap(), manifest());
    }

    #[test]
    fn the_manifest_of_a_newer_cairn_is_told_from_a_damaged_one() {
        let newer = Manifest {
            format: FORMAT + 1,
            ..manifest()
        };
        assert!(matches!(
            Manifest::open(&newer.seal()),
            Err(ManifestError::Newer(2))
        ));
    }

    proptest! {
        #[test]
        fn no_changed_byte_changes_what_is_read(at: prop::sample::Index, byte in 0x20u8..0x7f) {
            let sealed = manifest().seal();
            let mut bytes = sealed.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let text = String::from_utf8(bytes).unwrap();
            if let Ok(read) = Manifest::open(&text) {
                prop_assert_eq!(read, manifest());
            }
        }

        #[test]
        fn foreign_text_never_panics(text in ".{0,200}") {
            let _ = Manifest::open(&text);
        }
    }
}

#[cfg(test)]
mod stored {
    use super::*;
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        let written = tests::manifest().seal().into_bytes();
        samples::check_bytes("backup-manifest", &[written], |stored| {
            let manifest = Manifest::open(std::str::from_utf8(stored).unwrap()).unwrap();
            serde_json::to_string(&manifest).unwrap()
        });
    }
}
