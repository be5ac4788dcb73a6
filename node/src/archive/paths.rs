//! Paths that were met in an archive, to tell when two are one.

use std::collections::HashSet;

/// Paths of files that were met.
#[derive(Default)]
pub(crate) struct Paths {
    /// Digests, so that their number alone decides on the memory.
    seen: HashSet<[u8; 16]>,
}

impl Paths {
    /// Takes a path; false if it, or one that unpacks to the same place, was met before: two that differ only
    /// in case overwrite each other on some systems.
    pub(crate) fn insert(&mut self, path: &str) -> bool {
        self.insert_as_written(&path.to_lowercase())
    }

    /// The same where paths that differ in case are different.
    pub(crate) fn insert_as_written(&mut self, path: &str) -> bool {
        let digest = blake3::hash(path.as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&digest.as_bytes()[..16]);
        self.seen.insert(short)
    }
}
