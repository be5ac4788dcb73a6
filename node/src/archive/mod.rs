//! Reading archives that strangers sent: as streams, within limits, never unpacked.
//!
//! A walk goes through an archive once, while it passes by on its way to the blob store, and
//! shows its files to a [`Visitor`]. What unpackers disagree about, or could be hurt by, is
//! refused: paths that leave the archive, entries behind links, two sizes or two names of one
//! entry, bytes that one reader skips and another reads.

mod compressed;
mod feed;
mod links;
mod path;
mod paths;
mod tar;
mod zip;

pub(crate) use compressed::{Compression, walk_compressed_tar, walk_tar_gz};
pub(crate) use feed::{Fed, feed};
pub(crate) use paths::Paths;
pub(crate) use tar::walk_plain_tar;
#[cfg(test)]
pub(crate) use zip::tests as zip_tests;
pub(crate) use zip::walk_zip;

use std::io::{BufRead, Read};

/// How much an archive may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of everything in it.
    pub(crate) unpacked_bytes: u64,
    /// How many times its own size it may unpack to, once that is over `ratio_from_bytes`.
    pub(crate) ratio: u64,
    /// Up to this size any ratio is fine: small repetitive files compress well.
    pub(crate) ratio_from_bytes: u64,
    /// Entries of any kind.
    pub(crate) entries: u64,
    /// Bytes of an entry's path.
    pub(crate) path_bytes: usize,
    /// Folders that an entry may lie in: each is looked at for each entry.
    pub(crate) folders: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 8 << 30,
            ratio: 200,
            ratio_from_bytes: 10 << 20,
            entries: 100_000,
            path_bytes: 4096,
            folders: 128,
        }
    }
}

impl Limits {
    /// Refuses what has grown out of proportion.
    fn check_growth(&self, unpacked_bytes: u64, compressed_bytes: u64) -> Result<(), Refused> {
        if unpacked_bytes > self.unpacked_bytes {
            return refused(format!("unpacks to more than {} bytes", self.unpacked_bytes));
        }
        if unpacked_bytes > self.ratio_from_bytes && unpacked_bytes / self.ratio > compressed_bytes {
            return refused(format!("unpacks to more than {} times its size", self.ratio));
        }
        Ok(())
    }
}

/// Why an archive was not accepted: what follows the word for it, as in "the tarball is cut off".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(why.into()))
}

fn damaged(error: std::io::Error) -> Refused {
    Refused(format!("is damaged: {error}"))
}

/// Compressed bytes that know how many of them were read.
pub(crate) trait Compressed: BufRead {
    /// How many bytes were taken from the source so far; at least as many as were consumed.
    fn read_bytes(&self) -> u64;
}

/// Bytes that are all there.
#[cfg(any(test, feature = "fuzzing"))]
impl<T: AsRef<[u8]>> Compressed for std::io::Cursor<T> {
    fn read_bytes(&self) -> u64 {
        self.position()
    }
}

/// What is shown the entries of an archive.
pub(crate) trait Visitor {
    /// Why it wants no more.
    type Error: From<Refused>;

    /// A file, whose path is plain and stays inside. Content that is not read here is skipped.
    fn file(&mut self, path: &str, size_bytes: u64, content: &mut dyn Read) -> Result<(), Self::Error>;

    /// A folder, whose path is plain and stays inside.
    fn folder(&mut self, path: &str) -> Result<(), Self::Error> {
        let _ = path;
        Ok(())
    }

    /// A link that leads to somewhere inside of the archive's top folder.
    fn link(&mut self, path: &str) -> Result<(), Self::Error>;
}

/// Shows what a file holds piece by piece; says how many bytes that was.
pub(crate) fn each_piece(content: &mut dyn Read, mut see: impl FnMut(&[u8])) -> Result<u64, Refused> {
    let mut piece = vec![0; 16 << 10];
    let mut bytes = 0;
    loop {
        let count = content.read(&mut piece).map_err(damaged)?;
        if count == 0 {
            return Ok(bytes);
        }
        see(&piece[..count]);
        bytes += count as u64;
    }
}

/// Reads what a file holds, up to `limit_bytes`; more of it is refused.
pub(crate) fn small_file(path: &str, content: &mut dyn Read, limit_bytes: u64) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    content
        .take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(damaged)?;
    if bytes.len() as u64 > limit_bytes {
        let name = path.rsplit('/').next().unwrap_or_default();
        return refused(format!("has a {name} of more than {limit_bytes} bytes"));
    }
    Ok(bytes)
}
