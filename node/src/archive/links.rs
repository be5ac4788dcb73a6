//! The links that were met in an archive: what lies behind one is written to where it leads.

use std::collections::HashSet;

/// Paths of links, as digests: an archive may have many, and long ones.
#[derive(Default)]
pub(super) struct Links(HashSet<Digest>);

type Digest = [u8; 16];

impl Links {
    /// Notes a link.
    pub(super) fn add(&mut self, path: &str) {
        self.0.insert(digest(&hashed(path)));
    }

    /// Whether this path is a link's, or leads through one. Hashes every byte of it once.
    pub(super) fn is_behind(&self, path: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        path.split('/').enumerate().any(|(at, part)| {
            if at > 0 {
                hasher.update(b"/");
            }
            hasher.update(part.as_bytes());
            self.0.contains(&digest(&hasher))
        })
    }
}

fn hashed(path: &str) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes());
    hasher
}

fn digest(hasher: &blake3::Hasher) -> Digest {
    let whole = hasher.finalize();
    whole.as_bytes()[..16]
        .try_into()
        .expect("a BLAKE3 hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_link_is_known_by_whole_segments() {
        let mut links = Links::default();
        assert!(!links.is_behind("package/lib"));
        links.add("package/lib");
        for behind in ["package/lib", "package/lib/x", "package/lib/x/y"] {
            assert!(links.is_behind(behind), "{behind}");
        }
        for beside in ["package", "package/li", "package/libs", "package/x/lib", "lib"] {
            assert!(!links.is_behind(beside), "{beside}");
        }
    }
}
