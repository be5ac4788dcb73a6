//! Tar archives.

use std::io::Read;

use tar::EntryType;

use crate::archive::links::Links;
use crate::archive::path::{check_path, leaves_archive};
use crate::archive::{Limits, Refused, Visitor, damaged, refused};

/// Blocks of zeros that end an archive. Without compression, nothing else tells that it is whole.
const END_BYTES: u64 = 1024;

/// Walks through a tar archive that is not compressed, to the last byte of `source`.
pub(crate) fn walk_plain_tar<V: Visitor>(
    source: impl Read,
    limits: &Limits,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let mut source = Ending { source, zeros: 0 };
    walk_tar(&mut source, limits, visitor)?;
    expect_padding(&mut source)?;
    match source.zeros >= END_BYTES {
        true => Ok(()),
        false => Err(Refused("is cut off".into()).into()),
    }
}

/// Counts the zeros that were read last.
struct Ending<R> {
    source: R,
    zeros: u64,
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(out)?;
        let other = out[..count].iter().rposition(|byte| *byte != 0);
        self.zeros = match other {
            Some(at) => (count - at - 1) as u64,
            None => self.zeros + count as u64,
        };
        Ok(count)
    }
}

/// Refuses what follows the archive: bytes that one unpacker skips and another reads.
pub(super) fn expect_padding(tar: &mut impl Read) -> Result<(), Refused> {
    let mut padding = [0; 8192];
    loop {
        let count = tar.read(&mut padding).map_err(damaged)?;
        if count == 0 {
            return Ok(());
        }
        if padding[..count].iter().any(|byte| *byte != 0) {
            return refused("goes on after the end of the archive in it");
        }
    }
}

/// Goes through the entries of a tar stream.
pub(super) fn walk_tar<V: Visitor>(tar: impl Read, limits: &Limits, visitor: &mut V) -> Result<(), V::Error> {
    let mut archive = tar::Archive::new(tar);
    let mut links = Links::default();
    let mut next = Described::default();
    let mut entry_count = 0;
    // Raw entries: what describes the next entry is read here, strictly, rather than skipped
    // over where it is malformed.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        entry_count += 1;
        if entry_count > limits.entries {
            return Err(Refused(format!("has more than {} entries", limits.entries)).into());
        }
        match entry.header().entry_type() {
            EntryType::GNULongName => next.long_name(&description(&mut entry, limits)?)?,
            // Where a link leads is checked from its own header; a longer target is refused.
            EntryType::GNULongLink => next.long_link(&description(&mut entry, limits)?)?,
            EntryType::XHeader => next.extend(&description(&mut entry, limits)?)?,
            EntryType::XGlobalHeader => check_global(&description(&mut entry, limits)?)?,
            _ => visit(entry, std::mem::take(&mut next), limits, &mut links, visitor)?,
        }
    }
    if next != Described::default() {
        return Err(Refused("ends with the description of an entry that does not follow".into()).into());
    }
    Ok(())
}

/// Checks one entry and shows it to the visitor.
fn visit<V: Visitor>(
    mut entry: tar::Entry<'_, impl Read>,
    described: Described,
    limits: &Limits,
    links: &mut Links,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let header = entry.header();
    let kind = header.entry_type();
    let size_bytes = entry.size();
    let stop = |why: String| Err(Refused(why).into());
    if described.size.is_some_and(|described| described != size_bytes) {
        return stop("has an entry with two sizes".into());
    }
    let raw_path = described.path.unwrap_or_else(|| entry.path_bytes().into_owned());
    let is_folder = kind == EntryType::Directory || (kind == EntryType::Regular && raw_path.ends_with(b"/"));
    let path = check_path(&raw_path, is_folder, limits)?;
    if links.is_behind(path) {
        return stop(format!("has an entry behind a link: {path:?}"));
    }
    match kind {
        _ if is_folder => {
            expect_empty(size_bytes, path)?;
            visitor.folder(path)
        }
        EntryType::Regular | EntryType::Continuous => {
            if header.mode().is_ok_and(|mode| mode & 0o6000 != 0) {
                return stop(format!("has a set-user-id or set-group-id file: {path:?}"));
            }
            visitor.file(path, size_bytes, &mut entry)
        }
        EntryType::Symlink | EntryType::Link => {
            let target = match described.link {
                Some(link) => link,
                None => header.link_name_bytes().unwrap_or_default().into_owned(),
            };
            expect_empty(size_bytes, path)?;
            if leaves_archive(path, &String::from_utf8_lossy(&target)) {
                return stop(format!("has a link that leads out of it: {path:?}"));
            }
            links.add(path);
            visitor.link(path)
        }
        _ => stop(format!(
            "has an entry that is neither a file nor a folder: {path:?}"
        )),
    }
}

/// The content of an entry that describes the next one.
fn description(entry: &mut tar::Entry<'_, impl Read>, limits: &Limits) -> Result<Vec<u8>, Refused> {
    // Two paths, and a few short fields more.
    let limit_bytes = 4 * limits.path_bytes as u64;
    if entry.size() > limit_bytes {
        return refused(format!("has an extended header of more than {limit_bytes} bytes"));
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).map_err(damaged)?;
    if content.len() as u64 != entry.size() {
        return refused("is cut off");
    }
    Ok(content)
}

/// What extended headers say of the entry that follows them.
#[derive(Default, PartialEq, Eq)]
struct Described {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    extended: bool,
}

impl Described {
    fn long_name(&mut self, content: &[u8]) -> Result<(), Refused> {
        set_once(&mut self.path, until_nul(content).to_vec())
    }

    fn long_link(&mut self, content: &[u8]) -> Result<(), Refused> {
        set_once(&mut self.link, until_nul(content).to_vec())
    }

    fn extend(&mut self, content: &[u8]) -> Result<(), Refused> {
        if std::mem::replace(&mut self.extended, true) {
            return refused("has two extended headers for one entry");
        }
        for (key, value) in pax_records(content)? {
            match key {
                b"path" => set_once(&mut self.path, value.to_vec())?,
                b"linkpath" => set_once(&mut self.link, value.to_vec())?,
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    let Some(size) = size else {
                        return refused("has an extended header with a malformed size");
                    };
                    set_once(&mut self.size, size)?;
                }
                _ if key.starts_with(b"GNU.sparse") => return refused("has a sparse file"),
                _ => {}
            }
        }
        Ok(())
    }
}

fn set_once<T>(field: &mut Option<T>, value: T) -> Result<(), Refused> {
    match field.replace(value) {
        Some(_) => refused("describes one entry twice"),
        None => Ok(()),
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A header for all entries may carry a comment, but not paths and sizes.
fn check_global(content: &[u8]) -> Result<(), Refused> {
    for (key, _) in pax_records(content)? {
        if [b"path".as_slice(), b"linkpath", b"size"].contains(&key) || key.starts_with(b"GNU.sparse") {
            return refused("has a global header that renames or resizes entries");
        }
    }
    Ok(())
}

/// Key and value.
type PaxRecord<'a> = (&'a [u8], &'a [u8]);

/// Splits an extended header of POSIX.1-2001 into its records, `LENGTH KEY=VALUE\n` each.
///
/// The library's own splitter stops without an error at an empty line, which hides records
/// that other readers see.
fn pax_records(mut content: &[u8]) -> Result<Vec<PaxRecord<'_>>, Refused> {
    let mut records = Vec::new();
    while !content.is_empty() {
        let record = (|| {
            let blank_at = content.iter().take(10).position(|byte| *byte == b' ')?;
            let digits = &content[..blank_at];
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let record_len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
            let record = content.get(blank_at + 1..record_len)?.strip_suffix(b"\n")?;
            let equals_at = record.iter().position(|byte| *byte == b'=')?;
            Some((record_len, &record[..equals_at], &record[equals_at + 1..]))
        })();
        let Some((record_len, key, value)) = record else {
            return refused("has a malformed extended header");
        };
        records.push((key, value));
        content = &content[record_len..];
    }
    Ok(records)
}

/// Some readers skip the content of links and folders, some do not.
fn expect_empty(size_bytes: u64, path: &str) -> Result<(), Refused> {
    match size_bytes {
        0 => Ok(()),
        _ => refused(format!("has a link or folder with content: {path:?}")),
    }
}
