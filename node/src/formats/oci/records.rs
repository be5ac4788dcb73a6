//! What is stored of repositories, blobs, manifests, tags and uploads.

use bytes::Bytes;
use cairn_cluster::record::Record;
use cairn_cluster::{BlobId, Timestamp};
use serde::{Deserialize, Serialize};

use super::manifest::Kind;
use super::names::Digest;
use crate::registry::storage::Amount;

/// One repository of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Repository {
    /// Its number, which is never used again: see [`super::number`].
    pub(super) id: u64,
    pub(super) created_at: Timestamp,
}

impl Record for Repository {}

/// The last number that a repository of the project was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastNumber(pub(super) u64);

impl Record for LastNumber {}

/// A repository holds a blob: only through this record can it be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobLink {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    pub(super) linked_at: Timestamp,
    /// The user as whose it counts; none for a deploy token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) linked_by: Option<u64>,
}

impl Record for BlobLink {}

impl BlobLink {
    /// As what it counts.
    pub(super) fn amount(&self) -> Amount {
        Amount::file(self.size)
    }
}

/// A repository holds a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestRecord {
    pub(super) kind: Kind,
    /// Bytes of the manifest itself.
    pub(super) size: u64,
    pub(super) body: Body,
    /// The blobs and manifests that it names and that must be there.
    pub(super) references: Vec<Digest>,
    /// What it refers to; may be absent.
    pub(super) subject: Option<Digest>,
    pub(super) artifact_type: Option<String>,
    pub(super) config: Option<Config>,
    /// Bytes of config and layers.
    pub(super) content_bytes: u64,
    pub(super) pushed_at: Timestamp,
    /// The user who pushed it; none for a deploy token.
    pub(super) pushed_by: Option<u64>,
}

impl Record for ManifestRecord {}

impl ManifestRecord {
    /// As what it counts, apart from what it names.
    pub(super) fn amount(&self) -> Amount {
        Amount::file(self.size) + Amount::version()
    }
}

/// The config of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) digest: Digest,
    pub(super) media_type: String,
}

/// The exact bytes of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Body {
    /// Here.
    Inline(Bytes),
    /// In the blob store.
    Blob(BlobId),
}

/// A tag points to a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TagRecord {
    pub(super) digest: Digest,
    pub(super) updated_at: Timestamp,
    /// The user who set it; none for a deploy token.
    pub(super) updated_by: Option<u64>,
}

impl Record for TagRecord {}

/// A manifest refers to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Referrer {
    pub(super) artifact_type: Option<String>,
    /// Its entry in the list of referrers, as JSON; none if it is large and made each time.
    pub(super) entry: Option<String>,
}

impl Record for Referrer {}

/// An upload that became a blob, remembered for clients that did not hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FinishedUpload {
    pub(super) image: String,
    pub(super) digest: Digest,
}

impl Record for FinishedUpload {}

#[cfg(test)]
mod tests {
    use cairn_cluster::record::{decode, encode};

    use super::*;

    #[test]
    fn records_read_back_what_was_written() {
        let manifest = ManifestRecord {
            kind: Kind::OciIndex,
            size: 5,
            body: Body::Inline(Bytes::from_static(b"{\"a\":")),
            references: vec![Digest::Sha256([1; 32]), Digest::Sha512([2; 64])],
            subject: Some(Digest::Sha256([3; 32])),
            artifact_type: None,
            config: Some(Config {
                digest: Digest::Sha256([4; 32]),
                media_type: "a/b".into(),
            }),
            content_bytes: 7,
            pushed_at: Timestamp(8),
            pushed_by: Some(9),
        };
        assert_eq!(decode::<ManifestRecord>(&encode(&manifest)).unwrap(), manifest);
        let small = encode(&ManifestRecord {
            references: vec![Digest::Sha256([1; 32]); 100],
            ..manifest
        });
        assert!(small.len() < 100 * 36 + 400, "{} bytes", small.len());
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Repository>("oci-repository");
        samples::check::<super::LastNumber>("oci-last-number");
        samples::check::<super::BlobLink>("oci-blob-link");
        samples::check::<super::ManifestRecord>("oci-manifest");
        samples::check::<super::TagRecord>("oci-tag");
        samples::check::<super::Referrer>("oci-referrer");
        samples::check::<super::FinishedUpload>("oci-finished-upload");
    }
}
