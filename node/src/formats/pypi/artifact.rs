//! Reads a distribution as a stream: its core metadata, and whether it is safe to serve.
//!
//! A wheel is a ZIP archive with a folder `NAME-VERSION.dist-info`; a source distribution is an
//! archive with a `PKG-INFO` in its top folder. What the archive says counts: the upload form
//! repeats it, and is only compared.

use std::io::{self, BufRead, Read};

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use bytes::Bytes;

use super::metadata::{CoreMetadata, MetadataError};
use super::names::{FileName, Kind};
use crate::archive::{self, Compressed, Refused, Visitor, small_file, walk_tar_gz, walk_zip};

/// How much a distribution may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The archive.
    pub(crate) archive: archive::Limits,
    /// Bytes of its core metadata, description included.
    pub(crate) metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive: archive::Limits::default(),
            metadata_bytes: 4 << 20,
        }
    }
}

/// What a distribution says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub(crate) metadata: CoreMetadata,
    /// The same, as it is in the archive.
    pub(crate) metadata_file: Bytes,
    /// The BLAKE2b-256 of the distribution.
    pub(crate) blake2b_256: [u8; 32],
}

/// Why a distribution was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// It is not what it should be, or not safe to unpack.
    #[error("the distribution {0}")]
    Refused(#[from] Refused),
    /// Its metadata.
    #[error("{file} in the distribution: {error}")]
    Metadata {
        file: &'static str,
        error: MetadataError,
    },
    /// Its metadata is about something else than its name says.
    #[error("{what} of the distribution is {found:?}, but its file name says {expected:?}")]
    Mismatch {
        what: &'static str,
        found: String,
        expected: String,
    },
}

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(Refused(why.into()).into())
}

/// Reads a distribution to its end.
pub(crate) fn inspect(
    file: &FileName,
    source: impl Compressed,
    limits: &Limits,
) -> Result<Artifact, ArtifactError> {
    let mut hashed = Hashed {
        source,
        bytes: 0,
        blake2b: Blake2b::new(),
        tail: Vec::new(),
    };
    let (found, name) = match file.kind {
        Kind::Wheel { .. } => {
            let mut wheel = Wheel::new(limits);
            walk_zip(&mut hashed, &limits.archive, &mut wheel)?;
            (wheel.finish(file)?, "METADATA")
        }
        Kind::TarGz => {
            let mut source = Source::new(limits);
            walk_tar_gz(&mut hashed, &limits.archive, &mut source)?;
            check_not_zip(&hashed.tail, hashed.bytes)?;
            (source.finish()?, "PKG-INFO")
        }
        Kind::Zip => {
            let mut source = Source::new(limits);
            walk_zip(&mut hashed, &limits.archive, &mut source)?;
            (source.finish()?, "PKG-INFO")
        }
    };
    let metadata =
        CoreMetadata::parse(&found).map_err(|error| ArtifactError::Metadata { file: name, error })?;
    let mismatch = |what, found: &dyn ToString, expected: &dyn ToString| {
        Err(ArtifactError::Mismatch {
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        })
    };
    if metadata.project != file.project {
        return mismatch("the name", &metadata.display_name, &file.project);
    }
    if metadata.version != file.version {
        return mismatch("the version", &metadata.version, &file.version);
    }
    Ok(Artifact {
        metadata,
        metadata_file: found.into(),
        blake2b_256: hashed.blake2b.finalize().into(),
    })
}

/// A wheel in the making.
struct Wheel<'l> {
    limits: &'l Limits,
    folder: Option<String>,
    metadata: Option<Vec<u8>>,
    has_wheel: bool,
    has_record: bool,
}

impl<'l> Wheel<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            folder: None,
            metadata: None,
            has_wheel: false,
            has_record: false,
        }
    }

    fn finish(self, file: &FileName) -> Result<Vec<u8>, ArtifactError> {
        let Some(folder) = self.folder else {
            return refused("has no .dist-info folder");
        };
        let named_alike = folder.rsplit_once('-').is_some_and(|(project, version)| {
            project.parse().as_ref() == Ok(&file.project) && version.parse().as_ref() == Ok(&file.version)
        });
        if !named_alike {
            return Err(ArtifactError::Mismatch {
                what: "the .dist-info folder",
                found: folder,
                expected: format!("{}-{}", file.project, file.version),
            });
        }
        for (present, name) in [(self.has_wheel, "WHEEL"), (self.has_record, "RECORD")] {
            if !present {
                return refused(format!("has no {name} in its .dist-info folder"));
            }
        }
        match self.metadata {
            Some(metadata) => Ok(metadata),
            None => refused("has no METADATA in its .dist-info folder"),
        }
    }
}

impl Visitor for Wheel<'_> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        let Some((top, inner)) = path.split_once('/') else {
            return Ok(());
        };
        let Some(stem) = top.strip_suffix(".dist-info") else {
            return Ok(());
        };
        if self.folder.get_or_insert_with(|| stem.to_owned()) != stem {
            return refused("has two .dist-info folders");
        }
        match inner {
            "METADATA" => self.metadata = Some(small_file(path, content, self.limits.metadata_bytes)?),
            "WHEEL" => self.has_wheel = true,
            "RECORD" => self.has_record = true,
            _ => {}
        }
        Ok(())
    }

    fn link(&mut self, _: &str) -> Result<(), ArtifactError> {
        refused("has a link")
    }
}

/// A source distribution in the making.
struct Source<'l> {
    limits: &'l Limits,
    metadata: Option<Vec<u8>>,
}

impl<'l> Source<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            metadata: None,
        }
    }

    fn finish(self) -> Result<Vec<u8>, ArtifactError> {
        match self.metadata {
            Some(metadata) => Ok(metadata),
            None => refused("has no PKG-INFO in its top folder"),
        }
    }

    /// Whether this is the metadata of the whole, and not of a part.
    fn is_metadata(path: &str) -> bool {
        path.split_once('/').is_some_and(|(_, inner)| inner == "PKG-INFO")
    }
}

impl Visitor for Source<'_> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        if !Self::is_metadata(path) {
            return Ok(());
        }
        let metadata = small_file(path, content, self.limits.metadata_bytes)?;
        match self.metadata.replace(metadata) {
            Some(_) => refused("has two PKG-INFO"),
            None => Ok(()),
        }
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        match Self::is_metadata(path) {
            true => refused("has a link in place of its PKG-INFO"),
            false => Ok(()),
        }
    }
}

/// How far from the end of a file readers look for the end record of a ZIP archive: the record,
/// and the longest comment after it.
const TAIL_BYTES: usize = 22 + (1 << 16);

/// Refuses a tar archive whose end some installers would take for that of a ZIP archive: they
/// look for that first, whatever the file is called.
fn check_not_zip(tail: &[u8], file_bytes: u64) -> Result<(), ArtifactError> {
    const END: &[u8] = b"PK\x05\x06";
    let tail_at = file_bytes - tail.len() as u64;
    let is_end = |(at, record): (usize, &[u8; 22])| {
        let number = |at: usize| {
            let bytes = [record[at], record[at + 1], record[at + 2], record[at + 3]];
            u64::from(u32::from_le_bytes(bytes))
        };
        // What points past itself is chance.
        record.starts_with(END) && number(12) + number(16) <= tail_at + at as u64
    };
    let records = (0..tail.len()).filter_map(|at| Some((at, tail[at..].first_chunk()?)));
    match records.into_iter().any(is_end) {
        true => refused("is a tar archive and a ZIP archive at once"),
        false => Ok(()),
    }
}

/// Hashes bytes while they are read, and keeps the last of them.
struct Hashed<S> {
    source: S,
    bytes: u64,
    blake2b: Blake2b<U32>,
    tail: Vec<u8>,
}

impl<S: BufRead> BufRead for Hashed<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed was filled in before, so nothing is read here.
        if let Some(consumed) = self.source.fill_buf().ok().and_then(|filled| filled.get(..count)) {
            self.bytes += count as u64;
            self.blake2b.update(consumed);
            self.tail
                .extend_from_slice(&consumed[consumed.len().saturating_sub(TAIL_BYTES)..]);
        }
        if self.tail.len() > 2 * TAIL_BYTES {
            let surplus = self.tail.len() - TAIL_BYTES;
            self.tail.drain(..surplus);
        }
        self.source.consume(count);
    }
}

impl<S: BufRead> Read for Hashed<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl<S: Compressed> Compressed for &mut Hashed<S> {
    fn read_bytes(&self) -> u64 {
        self.source.read_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{source_distribution, wheel};
    use super::*;

    fn read(file: &str, bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        inspect(&file.parse().unwrap(), io::Cursor::new(bytes), &Limits::default())
    }

    #[test]
    fn a_distribution_tells_its_metadata_and_digest() {
        for (file, bytes) in [wheel("foo", "1.0"), source_distribution("foo", "1.0")] {
            let artifact = read(&file, &bytes).unwrap();
            assert_eq!(artifact.metadata.display_name, "foo");
            assert!(artifact.metadata_file.starts_with(b"Metadata-Version: "));
            let mut whole = Blake2b::<U32>::new();
            whole.update(&bytes);
            assert_eq!(artifact.blake2b_256, <[u8; 32]>::from(whole.finalize()));
        }
    }

    #[test]
    fn the_tail_of_a_large_file_is_kept_and_no_more() {
        let bytes: Vec<u8> = (0..TAIL_BYTES * 5).map(|at| (at % 251) as u8).collect();
        let mut hashed = Hashed {
            source: io::Cursor::new(bytes.as_slice()),
            bytes: 0,
            blake2b: Blake2b::new(),
            tail: Vec::new(),
        };
        let mut piece = vec![0; 10_000];
        while hashed.read(&mut piece).unwrap() > 0 {
            assert!(hashed.tail.len() <= 2 * TAIL_BYTES);
        }
        assert_eq!(hashed.bytes, bytes.len() as u64);
        assert!(hashed.tail.len() >= TAIL_BYTES && bytes.ends_with(&hashed.tail));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for file in ["foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz", "foo-1.0.zip"] {
                prop_assert!(read(file, &bytes).is_err());
            }
        }
    }
}
