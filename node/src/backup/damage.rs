//! What of a backup is missing or damaged, in words that users know.

use bytes::Bytes;
use serde::Serialize;

use super::contents::{Content, Contents, ContentsError, NamedBlob};
use super::folder::Folder;
use crate::registry::blob_names::BlobNames;

/// How many damaged blobs are told one by one.
const MAX_LISTED: usize = 1000;

/// How many names of each.
const MAX_NAMES: usize = 5;

/// A blob that is missing or damaged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Damage {
    /// Whose it is.
    pub(crate) root_group: u64,
    /// The BLAKE3 that its content should have.
    pub(crate) blob: String,
    /// The size that it should have.
    pub(crate) size: u64,
    /// What is wrong.
    pub(crate) problem: String,
    /// What needs it: packages, files, images.
    pub(crate) used_by: Vec<String>,
    /// How often it is used besides; counted up to a few thousand.
    pub(crate) used_besides: usize,
    #[serde(skip)]
    names: Vec<Bytes>,
}

/// All that is missing or damaged.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Damages {
    /// How many blobs.
    pub(crate) count: u64,
    /// How many bytes they should have.
    pub(crate) bytes: u64,
    /// Of those, the first.
    pub(crate) blobs: Vec<Damage>,
}

impl Damages {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn add(&mut self, named: &NamedBlob, problem: String) {
        self.count += 1;
        self.bytes += named.blob.size;
        if self.blobs.len() < MAX_LISTED {
            let told = named.names.len().min(MAX_NAMES);
            self.blobs.push(Damage {
                root_group: named.blob.space.0,
                blob: named.blob.id.to_string(),
                size: named.blob.size,
                problem,
                used_by: Vec::new(),
                used_besides: named.names.len() - told,
                names: named.names[..told].to_vec(),
            });
        }
    }

    /// Finds out what needs the blobs, and puts them in order.
    pub(crate) async fn describe(&mut self, folder: &Folder) -> Result<(), ContentsError> {
        let mut names = BlobNames::default();
        for name in self.blobs.iter().flat_map(|damage| &damage.names) {
            names.want(name);
        }
        if self.is_empty() {
            return Ok(());
        }
        let mut contents = Contents::read(folder.metadata(), None);
        while let Some(content) = contents.next().await? {
            if let Content::Record(key, value) = content {
                names.learn(key.as_bytes(), &value);
            }
        }
        for damage in &mut self.blobs {
            damage.used_by = damage.names.iter().map(|name| names.describe(name)).collect();
        }
        self.blobs
            .sort_by(|one, other| (&one.used_by, &one.blob).cmp(&(&other.used_by, &other.blob)));
        Ok(())
    }

    /// A line for each, indented.
    pub(crate) fn lines(&self) -> String {
        let mut out = String::new();
        for damage in &self.blobs {
            let mut used_by = damage.used_by.join("; ");
            if damage.used_besides > 0 {
                used_by += &format!("; and {} more", damage.used_besides);
            }
            out += &format!("\n  {used_by} (blob {}): {}", damage.blob, damage.problem);
        }
        let listed = self.blobs.len() as u64;
        if self.count > listed {
            out += &format!("\n  and {} more", self.count - listed);
        }
        out
    }
}
