//! What a ZIP archive says of its entries, field by field.

use std::io::{self, BufRead, Read};

use crate::archive::{Limits, Refused, damaged, refused};

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const DESCRIPTOR: u32 = 0x0807_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END_64: u32 = 0x0606_4b50;
pub(super) const LOCATOR_64: u32 = 0x0706_4b50;
pub(super) const END: u32 = 0x0605_4b50;

pub(super) const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;

/// The sizes follow the content.
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The name is UTF-8.
pub(super) const FLAG_UTF8: u16 = 1 << 11;
/// Those two, and how hard the compressor tried. All others change how the archive is read.
pub(super) const KNOWN_FLAGS: u16 = FLAG_DESCRIPTOR | FLAG_UTF8 | 0b110;

/// The field that holds what does not fit into 32 bits.
pub(super) const EXTRA_64: u16 = 0x0001;
/// Another name for the entry, which some readers take.
pub(super) const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// The archive's bytes, counted.
pub(super) struct Source<S> {
    pub(super) bytes: S,
    pub(super) at: u64,
}

impl<S: BufRead> BufRead for Source<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.bytes.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.at += count as u64;
        self.bytes.consume(count);
    }
}

impl<S: BufRead> Read for Source<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(out)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<S: BufRead> Source<S> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes).map_err(damaged)?;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, Refused> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Refused> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refused> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, count: u16) -> Result<Vec<u8>, Refused> {
        let mut bytes = vec![0; usize::from(count)];
        self.read_exact(&mut bytes).map_err(damaged)?;
        Ok(bytes)
    }

    fn name(&mut self, count: u16, flags: u16, limits: &Limits) -> Result<Vec<u8>, Refused> {
        if usize::from(count) > limits.path_bytes {
            return refused(format!("has a path of more than {} bytes", limits.path_bytes));
        }
        let name = self.bytes(count)?;
        if flags & FLAG_UTF8 == 0 && !name.is_ascii() {
            return refused("has a path in an unknown encoding");
        }
        Ok(name)
    }
}

/// What reading an entry's content came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) crc: u32,
    pub(super) compressed_bytes: u64,
    pub(super) size_bytes: u64,
}

/// What stands before the content of an entry.
pub(super) struct LocalHeader {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) compressed_bytes: u64,
    pub(super) size_bytes: u64,
    pub(super) is_64: bool,
    pub(super) name: Vec<u8>,
}

impl LocalHeader {
    pub(super) fn read<S: BufRead>(source: &mut Source<S>, limits: &Limits) -> Result<Self, Refused> {
        let _needed = source.u16()?;
        let (flags, method) = (source.u16()?, source.u16()?);
        let _time = source.u32()?;
        let crc = source.u32()?;
        let (compressed, size) = (source.u32()?, source.u32()?);
        let (name_len, extra_len) = (source.u16()?, source.u16()?);
        let name = source.name(name_len, flags, limits)?;
        let extra = source.bytes(extra_len)?;
        check_features(flags, method)?;
        let mut large = extra_64(&extra)?;
        let is_64 = large.is_some();
        let header = Self {
            flags,
            method,
            crc,
            size_bytes: large_or(size, &mut large)?,
            compressed_bytes: large_or(compressed, &mut large)?,
            is_64,
            name,
        };
        if header.method == STORED
            && (header.has_descriptor() || header.compressed_bytes != header.size_bytes)
        {
            return refused("has a stored entry of unknown size");
        }
        Ok(header)
    }

    pub(super) fn has_descriptor(&self) -> bool {
        self.flags & FLAG_DESCRIPTOR != 0
    }

    /// Compares what was said with what was found; what is said after the content is read here.
    pub(super) fn check<S: BufRead>(
        &self,
        source: &mut Source<S>,
        found: &Found,
        path: &str,
    ) -> Result<(), Refused> {
        let (crc, compressed_bytes, size_bytes) = match self.has_descriptor() {
            false => (self.crc, self.compressed_bytes, self.size_bytes),
            true => {
                // The signature of a descriptor is optional.
                let crc = match source.u32()? {
                    DESCRIPTOR => source.u32()?,
                    crc => crc,
                };
                match self.is_64 {
                    true => (crc, source.u64()?, source.u64()?),
                    false => (crc, source.u32()?.into(), source.u32()?.into()),
                }
            }
        };
        if (crc, compressed_bytes, size_bytes) != (found.crc, found.compressed_bytes, found.size_bytes) {
            return refused(format!("is damaged: {path:?} is not what its header says"));
        }
        Ok(())
    }
}

/// An entry of the central directory.
pub(super) struct CentralHeader {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) said: Found,
    pub(super) at: u64,
    pub(super) is_link: bool,
    pub(super) name: Vec<u8>,
}

impl CentralHeader {
    pub(super) fn read<S: BufRead>(source: &mut Source<S>, limits: &Limits) -> Result<Self, Refused> {
        /// The high byte of the version that made an entry: the system whose attributes it has.
        const UNIX: u16 = 3;
        const KIND_OF_FILE: u32 = 0o170_000;
        const LINK: u32 = 0o120_000;
        let made_by = source.u16()?;
        let _needed = source.u16()?;
        let (flags, method) = (source.u16()?, source.u16()?);
        let _time = source.u32()?;
        let crc = source.u32()?;
        let (compressed, size) = (source.u32()?, source.u32()?);
        let (name_len, extra_len, comment_len) = (source.u16()?, source.u16()?, source.u16()?);
        let disk = source.u16()?;
        let _internal = source.u16()?;
        let external = source.u32()?;
        let at = source.u32()?;
        let name = source.name(name_len, flags, limits)?;
        let extra = source.bytes(extra_len)?;
        source.bytes(comment_len)?;
        if disk != 0 {
            return refused("is one of several volumes");
        }
        let mut large = extra_64(&extra)?;
        let size_bytes = large_or(size, &mut large)?;
        let compressed_bytes = large_or(compressed, &mut large)?;
        Ok(Self {
            flags,
            method,
            said: Found {
                crc,
                compressed_bytes,
                size_bytes,
            },
            at: large_or(at, &mut large)?,
            is_link: made_by >> 8 == UNIX && (external >> 16) & KIND_OF_FILE == LINK,
            name,
        })
    }
}

fn check_features(flags: u16, method: u16) -> Result<(), Refused> {
    if flags & !KNOWN_FLAGS != 0 {
        return refused("is encrypted or uses an unknown feature of ZIP");
    }
    match method {
        STORED | DEFLATED => Ok(()),
        _ => refused(format!("has an entry that is compressed with method {method}")),
    }
}

/// The numbers in the field for what does not fit into 32 bits.
fn extra_64(mut extra: &[u8]) -> Result<Option<std::vec::IntoIter<u64>>, Refused> {
    let mut found = None;
    while !extra.is_empty() {
        let Some((head, rest)) = extra.split_at_checked(4) else {
            return refused("is damaged: an extra field is cut off");
        };
        let id = u16::from_le_bytes([head[0], head[1]]);
        let length = u16::from_le_bytes([head[2], head[3]]);
        let Some((field, rest)) = rest.split_at_checked(usize::from(length)) else {
            return refused("is damaged: an extra field is cut off");
        };
        extra = rest;
        match id {
            EXTRA_64 => {
                let numbers = field.chunks_exact(8).map(|number| {
                    let mut bytes = [0; 8];
                    bytes.copy_from_slice(number);
                    u64::from_le_bytes(bytes)
                });
                if found.replace(numbers.collect::<Vec<_>>().into_iter()).is_some() {
                    return refused("says two things of one entry: it has two 64-bit fields");
                }
            }
            EXTRA_UNICODE_PATH => return refused("says two things of one entry: it has two names"),
            _ => {}
        }
    }
    Ok(found)
}

/// A number of 32 bits, or the next one of the 64-bit field if it stands for that.
fn large_or(small: u32, large: &mut Option<std::vec::IntoIter<u64>>) -> Result<u64, Refused> {
    if small != u32::MAX {
        return Ok(small.into());
    }
    match large.as_mut().and_then(Iterator::next) {
        Some(number) => Ok(number),
        None => refused("is damaged: a 64-bit number is missing"),
    }
}

/// The central directory, as it was found.
pub(super) struct Directory {
    pub(super) at: u64,
    pub(super) size_bytes: u64,
    pub(super) count: u64,
}

impl Directory {
    /// The 64-bit end record and its locator; the signature was read.
    pub(super) fn check_end_64<S: BufRead>(&self, source: &mut Source<S>) -> Result<(), Refused> {
        /// Bytes of the record after its length, without an extension.
        const RECORD_BYTES: u64 = 44;
        let record_at = source.at - 4;
        let length = source.u64()?;
        let _versions = source.u32()?;
        let disks = (source.u32()?, source.u32()?);
        let counts = (source.u64()?, source.u64()?);
        let (size_bytes, at) = (source.u64()?, source.u64()?);
        let locator = (source.u32()?, source.u32()?, source.u64()?);
        let _disk_count = source.u32()?;
        let fits = length == RECORD_BYTES
            && disks == (0, 0)
            && counts == (self.count, self.count)
            && (size_bytes, at) == (self.size_bytes, self.at)
            && locator == (LOCATOR_64, 0, record_at);
        match fits {
            true => Ok(()),
            false => refused("is damaged: its end does not fit its directory"),
        }
    }

    /// The end record; the signature was read.
    pub(super) fn check_end<S: BufRead>(&self, source: &mut Source<S>) -> Result<(), Refused> {
        let disks = (source.u16()?, source.u16()?);
        let counts = [source.u16()?, source.u16()?].map(u64::from);
        let (size_bytes, at) = (source.u32()?, source.u32()?);
        let comment_len = source.u16()?;
        // The largest number stands for one in the 64-bit record.
        let is = |said: u64, largest: u64, found: u64| said == found || (said == largest && found > largest);
        let fits = disks == (0, 0)
            && counts.iter().all(|count| is(*count, u16::MAX.into(), self.count))
            && is(size_bytes.into(), u32::MAX.into(), self.size_bytes)
            && is(at.into(), u32::MAX.into(), self.at);
        if !fits {
            return refused("is damaged: its end does not fit its directory");
        }
        // A comment can hold a second end record, which some readers would find first. Git leaves the hash of
        // the commit that it packs, and nothing can be hidden in that.
        match comment_len {
            0 => Ok(()),
            40 | 64 if source.bytes(comment_len)?.iter().all(is_hex) => Ok(()),
            _ => refused("has a comment at its end"),
        }
    }
}

fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
