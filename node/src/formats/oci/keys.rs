//! Where a project's container images lie in the metadata, drawn once.
//!
//! ```text
//! P  (the format's records in one project)
//! ├── image         image path               -> Repository: what of its name is below the project
//! ├── image-id      repository id            -> image path
//! ├── image-number  ""                       -> LastNumber: how many repositories there have been
//! ├── (what crate::registry::sessions draws: uploads under way, and those that ended)
//! └── repository / {repository id}
//!     ├── blob       digest                  -> BlobLink
//!     ├── manifest   digest                  -> ManifestRecord
//!     ├── tag        tag                     -> TagRecord
//!     ├── tags       ""                      -> how many there are (added)
//!     ├── tagged   / {digest}    tag         -> ()   the tags of a manifest
//!     ├── used     / {digest}    digest      -> ()   the manifests that name a blob or manifest
//!     ├── referrer / {subject}   digest      -> Referrer: a manifest that refers to another
//!     ├── by         digest                  -> Origin: the job that pushed a manifest, if it was one
//!     ├── kept       digest                  -> until when it was promised to stay (raised)
//!     └── cleaned    ""                      -> when tags were last deleted in bulk (raised)
//! ```
//!
//! A repository is known by a number inside, so that one which is deleted and made again under
//! the same name begins empty, while the old one is still taken apart.

use cairn_cluster::{Collection, Key};

use super::names::{Digest, Tag};
use crate::registry::blob_names::Piece;
use crate::registry::sessions::SessionKeys;

/// The records of one project.
#[derive(Clone)]
pub(super) struct ProjectKeys(Collection);

/// The records of one repository.
#[derive(Clone)]
pub(super) struct RepositoryKeys(Collection);

impl ProjectKeys {
    /// Those below the format's collection of a project.
    pub(super) fn new(records: Collection) -> Self {
        Self(records)
    }

    pub(super) fn images(&self) -> Collection {
        self.0.at("image")
    }

    pub(super) fn image(&self, path: &str) -> Key {
        self.images().key(path)
    }

    pub(super) fn image_ids(&self) -> Collection {
        self.0.at("image-id")
    }

    pub(super) fn image_of_id(&self, repository: u64) -> Key {
        self.image_ids().key(repository)
    }

    pub(super) fn last_number(&self) -> Key {
        self.0.at("image-number").key("")
    }

    pub(super) fn sessions(&self) -> SessionKeys {
        SessionKeys::new(self.0.clone())
    }

    pub(super) fn repository(&self, id: u64) -> RepositoryKeys {
        RepositoryKeys(self.0.at("repository").at(id))
    }
}

impl RepositoryKeys {
    pub(super) fn blobs(&self) -> Collection {
        self.0.at("blob")
    }

    pub(super) fn blob(&self, digest: &Digest) -> Key {
        self.blobs().key(digest.to_key())
    }

    pub(super) fn manifests(&self) -> Collection {
        self.0.at("manifest")
    }

    pub(super) fn manifest(&self, digest: &Digest) -> Key {
        self.manifests().key(digest.to_key())
    }

    pub(super) fn tags(&self) -> Collection {
        self.0.at("tag")
    }

    pub(super) fn tag(&self, tag: &Tag) -> Key {
        self.tags().key(tag.as_str())
    }

    pub(super) fn tag_count(&self) -> Key {
        self.0.at("tags").key("")
    }

    pub(super) fn cleaned(&self) -> Key {
        self.0.at("cleaned").key("")
    }

    pub(super) fn tagged(&self, manifest: &Digest) -> Collection {
        self.0.at("tagged").at(manifest.to_key())
    }

    pub(super) fn used(&self, content: &Digest) -> Collection {
        self.0.at("used").at(content.to_key())
    }

    pub(super) fn referrers(&self, subject: &Digest) -> Collection {
        self.0.at("referrer").at(subject.to_key())
    }

    pub(super) fn pushed_by(&self, manifest: &Digest) -> Key {
        self.0.at("by").key(manifest.to_key())
    }

    pub(super) fn kept(&self, content: &Digest) -> Key {
        self.0.at("kept").key(content.to_key())
    }
}

/// Says for what a repository named a blob: a layer or config, or a manifest that is large.
pub(super) fn describe(records: &Collection, key: &Key) -> Option<Vec<Piece>> {
    let digest = Digest::from_key(&key.item())?;
    let path = key.collection().segments();
    let [repository, id, what] = path.get(records.segments().len()..)? else {
        return None;
    };
    let id = u64::from_be_bytes(id.as_slice().try_into().ok()?);
    let is_known =
        repository == b"repository" && ["blob", "manifest"].iter().any(|known| known.as_bytes() == what);
    let what = String::from_utf8_lossy(what);
    is_known.then(|| {
        let image = ProjectKeys::new(records.clone()).image_of_id(id);
        vec![
            Piece::Text("image \"".into()),
            Piece::Value(image),
            Piece::Text(format!("\", {what} {digest}")),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_of_an_image_is_told_by_its_digest() {
        let records = Collection::new("p");
        let keys = ProjectKeys::new(records.clone());
        let digest = Digest::Sha256([0xab; 32]);
        let told = describe(&records, &keys.repository(5).blob(&digest)).unwrap();
        let text = format!("\", blob sha256:{}", "ab".repeat(32));
        assert_eq!(told[1..], [Piece::Value(keys.image_of_id(5)), Piece::Text(text)]);
        let tag = keys.repository(5).tagged(&digest).key("x");
        assert_eq!(describe(&records, &tag), None);
    }

    #[test]
    fn an_empty_image_path_is_a_name_like_others() {
        let keys = ProjectKeys::new(Collection::new("p"));
        assert_ne!(keys.image(""), keys.image("a"));
        assert_eq!(keys.image("").item(), "");
    }
}
