//! ZIP archives, read from front to end (PKWARE's APPNOTE.TXT, 6.3.10).
//!
//! A ZIP archive names its entries twice: before the content of each, and again in the central
//! directory at its end. Unpackers differ in which of the two they believe, and in what they
//! skip in between. Here both are read and must say the same, and nothing may lie between,
//! before or after what they describe.

mod header;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Take};

use flate2::bufread::DeflateDecoder;

use self::header::{
    CENTRAL, CentralHeader, Directory, END, END_64, Found, LOCAL, LocalHeader, STORED, Source,
};
use crate::archive::path::check_path;
use crate::archive::{Compressed, Limits, Refused, Visitor, damaged, refused};

/// Walks through a ZIP archive, to the last byte of `source`.
pub(crate) fn walk_zip<V: Visitor>(
    source: impl Compressed,
    limits: &Limits,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let mut zip = Zip {
        source: Source { bytes: source, at: 0 },
        limits,
        entries: Vec::new(),
        names: HashSet::new(),
        unpacked_bytes: 0,
    };
    loop {
        let at = zip.source.at;
        match zip.source.u32() {
            Ok(LOCAL) => zip.entry(at, visitor)?,
            Ok(signature @ (CENTRAL | END_64 | END)) => return Ok(zip.directory(at, signature)?),
            Ok(_) | Err(_) if at == 0 => return Err(Refused("is not a ZIP archive".into()).into()),
            Ok(_) => return Err(Refused("has bytes between its entries".into()).into()),
            Err(error) => return Err(error.into()),
        }
    }
}

struct Zip<'l, S> {
    source: Source<S>,
    limits: &'l Limits,
    /// In the order of their offsets.
    entries: Vec<Entry>,
    names: HashSet<NameDigest>,
    unpacked_bytes: u64,
}

/// The beginning of a name's hash: a few bytes for each of very many entries.
type NameDigest = [u8; 16];

fn digest(name: &[u8]) -> NameDigest {
    let mut digest = NameDigest::default();
    blake3::Hasher::new()
        .update(name)
        .finalize_xof()
        .fill(&mut digest);
    digest
}

/// What was said and found of an entry where its content is.
struct Entry {
    at: u64,
    name: NameDigest,
    flags: u16,
    method: u16,
    found: Found,
    in_directory: bool,
}

impl<S: Compressed> Zip<'_, S> {
    /// Reads an entry with its content; its signature was read.
    fn entry<V: Visitor>(&mut self, at: u64, visitor: &mut V) -> Result<(), V::Error> {
        if self.entries.len() as u64 >= self.limits.entries {
            return Err(Refused(format!("has more than {} entries", self.limits.entries)).into());
        }
        let header = LocalHeader::read(&mut self.source, self.limits)?;
        let is_folder = header.name.ends_with(b"/");
        let path = check_path(&header.name, is_folder, self.limits)?.to_owned();
        if !self.names.insert(digest(path.as_bytes())) {
            return Err(Refused(format!("has two entries of one name: {path:?}")).into());
        }
        let found = self.content(&header, |content| match is_folder {
            true => visitor.folder(&path),
            false => visitor.file(&path, header.size_bytes, content),
        })?;
        if is_folder && found.size_bytes > 0 {
            return Err(Refused(format!("has a link or folder with content: {path:?}")).into());
        }
        header.check(&mut self.source, &found, &path)?;
        self.unpacked_bytes += found.size_bytes;
        self.entries.push(Entry {
            at,
            name: digest(&header.name),
            flags: header.flags,
            method: header.method,
            found,
            in_directory: false,
        });
        Ok(())
    }

    /// Lets `visit` read the content of an entry, and reads what it leaves.
    fn content<E: From<Refused>>(
        &mut self,
        header: &LocalHeader,
        visit: impl FnOnce(&mut dyn Read) -> Result<(), E>,
    ) -> Result<Found, E> {
        let limit_bytes = match header.has_descriptor() {
            true => u64::MAX,
            false => header.compressed_bytes,
        };
        let begins_at = self.source.at;
        let limited = self.source.by_ref().take(limit_bytes);
        let packed = match header.method {
            STORED => Packed::Stored(limited),
            _ => Packed::Deflated(DeflateDecoder::new(limited)),
        };
        let mut content = Content {
            packed,
            limits: self.limits,
            unpacked_before: self.unpacked_bytes,
            crc: crc32fast::Hasher::new(),
            bytes: 0,
            refused: None,
        };
        let outcome = visit(&mut content);
        let rest = match &outcome {
            Ok(()) => io::copy(&mut content, &mut io::sink()).map(drop),
            Err(_) => Ok(()),
        };
        // What stopped the stream explains more than how a reader of it put it.
        if let Some(refused) = content.refused {
            return Err(refused.into());
        }
        outcome?;
        rest.map_err(damaged)?;
        if !header.has_descriptor() && content.packed.limit() > 0 {
            return Err(Refused("is damaged: content ends before its entry".into()).into());
        }
        let (crc, size_bytes) = (content.crc.finalize(), content.bytes);
        Ok(Found {
            crc,
            compressed_bytes: self.source.at - begins_at,
            size_bytes,
        })
    }

    /// Reads the central directory and what ends the archive; the first signature was read.
    fn directory(mut self, directory_at: u64, first: u32) -> Result<(), Refused> {
        let mut signature = first;
        let mut count = 0;
        while signature == CENTRAL {
            let header = CentralHeader::read(&mut self.source, self.limits)?;
            self.confirm(&header)?;
            count += 1;
            signature = self.source.u32()?;
        }
        if self.entries.iter().any(|entry| !entry.in_directory) {
            return refused("has entries that are not in its directory");
        }
        let directory = Directory {
            at: directory_at,
            size_bytes: self.source.at - 4 - directory_at,
            count,
        };
        if signature == END_64 {
            directory.check_end_64(&mut self.source)?;
            signature = self.source.u32()?;
        }
        if signature != END {
            return refused("is damaged: its directory does not end");
        }
        directory.check_end(&mut self.source)?;
        if !self.source.fill_buf().map_err(damaged)?.is_empty() {
            return refused("goes on after its end");
        }
        Ok(())
    }

    /// Compares an entry of the directory with what was found where it points to.
    fn confirm(&mut self, header: &CentralHeader) -> Result<(), Refused> {
        let index = self.entries.binary_search_by_key(&header.at, |entry| entry.at);
        let Some(entry) = index.ok().and_then(|index| self.entries.get_mut(index)) else {
            return refused("has a directory entry that points to none");
        };
        let is_folder = header.name.ends_with(b"/");
        let path = check_path(&header.name, is_folder, self.limits)?;
        let same = entry.name == digest(&header.name)
            && entry.flags == header.flags
            && entry.method == header.method
            && entry.found == header.said;
        if !same || std::mem::replace(&mut entry.in_directory, true) {
            return refused(format!("says two things of one entry: {path:?}"));
        }
        if header.is_link {
            return refused(format!(
                "has an entry that is neither a file nor a folder: {path:?}"
            ));
        }
        Ok(())
    }
}

/// An entry's content as it is stored.
enum Packed<'s, S> {
    Stored(Take<&'s mut Source<S>>),
    Deflated(DeflateDecoder<Take<&'s mut Source<S>>>),
}

impl<S: Compressed> Packed<'_, S> {
    fn limited(&self) -> &Take<&mut Source<S>> {
        match self {
            Self::Stored(limited) => limited,
            Self::Deflated(decoder) => decoder.get_ref(),
        }
    }

    /// How many compressed bytes are left.
    fn limit(&self) -> u64 {
        self.limited().limit()
    }
}

/// An entry's content, checked while it is read.
struct Content<'s, S> {
    packed: Packed<'s, S>,
    limits: &'s Limits,
    unpacked_before: u64,
    crc: crc32fast::Hasher,
    bytes: u64,
    refused: Option<Refused>,
}

impl<S: Compressed> Read for Content<'_, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.packed {
            Packed::Stored(stored) => stored.read(out),
            Packed::Deflated(deflated) => deflated.read(out),
        }?;
        self.crc.update(&out[..count]);
        self.bytes += count as u64;
        let compressed_bytes = self.packed.limited().get_ref().bytes.read_bytes();
        let unpacked_bytes = self.unpacked_before + self.bytes;
        if let Err(refused) = self.limits.check_growth(unpacked_bytes, compressed_bytes) {
            self.refused.get_or_insert(refused);
            return Err(io::Error::other("stopped"));
        }
        Ok(count)
    }
}
