//! Archives that tools write, and such as no tool would.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::header::{CENTRAL, DEFLATED, DESCRIPTOR, END, FLAG_DESCRIPTOR, FLAG_UTF8, LOCAL, STORED};
use super::*;

/// Builds archives entry by entry, also such that no tool would write.
#[derive(Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

/// How an entry is written.
#[derive(Clone)]
pub(crate) struct Options {
    method: u16,
    flags: u16,
    /// What the directory says the name is.
    listed_as: Option<&'static str>,
    crc_change: u32,
    size_change: u32,
    external: u32,
    extra: Vec<u8>,
    listed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            method: DEFLATED,
            flags: 0,
            listed_as: None,
            crc_change: 0,
            size_change: 0,
            external: 0o100_644 << 16,
            extra: Vec::new(),
            listed: true,
        }
    }
}

impl Builder {
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(name, content.as_ref(), Options::default())
    }

    /// A file that is not compressed, so that its bytes never depend on a compressor.
    pub(crate) fn stored(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let options = with(|options| options.method = STORED);
        self.entry(name, content.as_ref(), options)
    }

    /// A symbolic link.
    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        let options = with(|options| options.external = 0o120_777 << 16);
        self.entry(name, target.as_bytes(), options)
    }

    fn entry(mut self, name: &str, content: &[u8], options: Options) -> Self {
        let packed = match options.method {
            DEFLATED => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            _ => content.to_vec(),
        };
        let at = self.bytes.len() as u32;
        let crc = crc32fast::hash(content) ^ options.crc_change;
        let sizes = [
            crc,
            packed.len() as u32,
            content.len() as u32 + options.size_change,
        ];
        let has_descriptor = options.flags & FLAG_DESCRIPTOR != 0;
        let early = if has_descriptor { [0; 3] } else { sizes };
        let put = |out: &mut Vec<u8>, sizes: [u32; 3], name: &str| {
            out.extend_from_slice(&20u16.to_le_bytes());
            out.extend_from_slice(&options.flags.to_le_bytes());
            out.extend_from_slice(&options.method.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            sizes
                .iter()
                .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(&(options.extra.len() as u16).to_le_bytes());
        };
        self.bytes.extend_from_slice(&LOCAL.to_le_bytes());
        put(&mut self.bytes, early, name);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(&options.extra);
        self.bytes.extend_from_slice(&packed);
        if has_descriptor {
            self.bytes.extend_from_slice(&DESCRIPTOR.to_le_bytes());
            for number in sizes {
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        if options.listed {
            let name = options.listed_as.unwrap_or(name);
            self.directory.extend_from_slice(&CENTRAL.to_le_bytes());
            self.directory.extend_from_slice(&(3u16 << 8).to_le_bytes());
            put(&mut self.directory, sizes, name);
            self.directory.extend_from_slice(&[0; 6]);
            self.directory.extend_from_slice(&options.external.to_le_bytes());
            self.directory.extend_from_slice(&at.to_le_bytes());
            self.directory.extend_from_slice(name.as_bytes());
            self.directory.extend_from_slice(&options.extra);
            self.count += 1;
        }
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.end_with(b"")
    }

    fn end_with(mut self, comment: &[u8]) -> Vec<u8> {
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&self.directory);
        self.bytes.extend_from_slice(&END.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&self.count.to_le_bytes());
        self.bytes.extend_from_slice(&self.count.to_le_bytes());
        self.bytes
            .extend_from_slice(&(self.directory.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&at.to_le_bytes());
        self.bytes
            .extend_from_slice(&(comment.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(comment);
        self.bytes
    }
}

/// Keeps what it is shown.
#[derive(Default)]
struct Kept(Vec<(String, Vec<u8>)>);

impl Visitor for Kept {
    type Error = Refused;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), Refused> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(damaged)?;
        self.0.push((path.into(), bytes));
        Ok(())
    }

    fn link(&mut self, _: &str) -> Result<(), Refused> {
        Ok(())
    }
}

fn walk(zip: &[u8], limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, Refused> {
    let mut kept = Kept::default();
    walk_zip(io::Cursor::new(zip), limits, &mut kept)?;
    Ok(kept.0)
}

#[track_caller]
fn check(zip: Vec<u8>, expected: Result<usize, &str>) {
    let outcome = walk(&zip, &Limits::default());
    match (&outcome, expected) {
        (Ok(files), Ok(count)) => assert_eq!(files.len(), count),
        (Err(error), Err(part)) => assert!(error.0.contains(part), "{error} / {part}"),
        _ => panic!("expected {expected:?}, got {outcome:?}"),
    }
}

fn with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

fn valid() -> Builder {
    Builder::default().file("a/b.txt", "one")
}

#[test]
fn files_are_shown_in_their_order() {
    let zip = valid()
        .entry("a/", b"", with(|options| options.method = STORED))
        .entry("stored", b"as it is", with(|options| options.method = STORED))
        .entry(
            "late",
            b"sizes follow",
            with(|options| options.flags = FLAG_DESCRIPTOR),
        )
        .entry("h\u{e9}", b"", with(|options| options.flags = FLAG_UTF8))
        .end();
    let files = walk(&zip, &Limits::default()).unwrap();
    let shown: Vec<_> = files
        .iter()
        .map(|(path, bytes)| format!("{path}={}", String::from_utf8_lossy(bytes)))
        .collect();
    assert_eq!(
        shown,
        ["a/b.txt=one", "stored=as it is", "late=sizes follow", "h\u{e9}="]
    );
    check(Builder::default().end(), Ok(0));
}

#[test]
fn two_stories_about_one_entry_are_refused() {
    let entry = |change: fn(&mut Options)| valid().entry("x", b"content", with(change)).end();
    check(entry(|options| options.listed_as = Some("y")), Err("two things"));
    check(
        valid()
            .entry("x", b"", with(|options| options.listed_as = Some("x/")))
            .end(),
        Err("two things"),
    );
    check(
        entry(|options| options.listed = false),
        Err("not in its directory"),
    );
    check(
        entry(|options| options.crc_change = 1),
        Err("not what its header says"),
    );
    check(
        entry(|options| options.size_change = 1),
        Err("not what its header says"),
    );
    check(
        entry(|options| options.extra = vec![0x75, 0x70, 1, 0, b'y']),
        Err("two names"),
    );
    check(
        entry(|options| options.extra = [[1, 0, 0, 0], [1, 0, 0, 0]].concat()),
        Err("two 64-bit fields"),
    );
    check(
        entry(|options| options.extra = vec![1, 0, 9, 0]),
        Err("extra field is cut off"),
    );
    check(
        valid().file("a/b.txt", "two").end(),
        Err("two entries of one name"),
    );
    check(
        valid().raw(b"gap!").file("x", "").end(),
        Err("between its entries"),
    );
    check(valid().raw(b"gap!").end(), Err("between its entries"));
    check(
        [b"#!/bin/sh\n".as_slice(), &valid().end()].concat(),
        Err("is not a ZIP"),
    );
    check(
        [valid().end(), b"more".to_vec()].concat(),
        Err("goes on after its end"),
    );
    check(
        [valid().end(), valid().end()].concat(),
        Err("goes on after its end"),
    );
    // As git writes the hash of a commit.
    check(valid().end_with(&[b'a'; 40]), Ok(1));
    check(valid().end_with(b"comment"), Err("has a comment"));
    check(valid().end_with(&[b'P'; 40]), Err("has a comment"));
    check(valid().end_with(&[b'a'; 41]), Err("has a comment"));
}

#[test]
fn unsafe_entries_are_refused() {
    for path in [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a\\b",
        "C:/x",
        "a//b",
        "\u{1b}x",
    ] {
        check(Builder::default().file(path, "").end(), Err("unsafe path"));
    }
    let entry = |change: fn(&mut Options)| valid().entry("x", b"content", with(change)).end();
    check(
        valid().link("x", "content").end(),
        Err("neither a file nor a folder"),
    );
    check(entry(|options| options.flags = 1), Err("encrypted"));
    check(entry(|options| options.method = 12), Err("method 12"));
    check(
        entry(|options| {
            options.flags = FLAG_DESCRIPTOR;
            options.method = STORED;
        }),
        Err("unknown size"),
    );
    check(
        valid().entry("x/", b"content", Options::default()).end(),
        Err("folder with content"),
    );
    check(
        Builder::default().file("h\u{e9}", "").end(),
        Err("unknown encoding"),
    );
}

#[test]
fn damage_is_refused() {
    let whole = valid().file("x", vec![7; 5000]).end();
    for cut in 1..whole.len() {
        assert!(walk(&whole[..cut], &Limits::default()).is_err(), "{cut}");
    }
    check(b"not a zip".to_vec(), Err("is not a ZIP"));
    check(Vec::new(), Err("is not a ZIP"));
}

#[test]
fn limits_hold() {
    let limits = Limits {
        unpacked_bytes: 30 << 20,
        entries: 3,
        ..Limits::default()
    };
    let error = |zip: Builder| walk(&zip.end(), &limits).unwrap_err().0;
    assert!(error(valid().file("x", vec![0; 20 << 20])).contains("200 times its size"));
    assert!(error(valid().file("b", "").file("c", "").file("d", "")).contains("more than 3 entries"));
    assert!(error(valid().file(&"x".repeat(5000), "")).contains("more than 4096 bytes"));
    let generous = Limits {
        ratio: 1 << 20,
        ..limits
    };
    let halves = valid().file("x", vec![0; 20 << 20]).file("y", vec![0; 20 << 20]);
    let error = walk(&halves.end(), &generous).unwrap_err().0;
    assert!(error.contains("unpacks to more than"), "{error}");
}

proptest! {
    #[test]
    fn damaged_archives_never_panic(flips in prop::collection::vec((0..3000usize, any::<u8>()), 1..6)) {
        let late = with(|options| options.flags = FLAG_DESCRIPTOR);
        let mut bytes = valid().file("x", "abc").entry("y", b"late", late).end();
        let len = bytes.len();
        for (at, byte) in flips {
            bytes[at % len] = byte;
        }
        let _ = walk(&bytes, &Limits::default());
    }
}
