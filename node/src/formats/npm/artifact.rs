//! Reads a package tarball as a stream: what it says of itself, and whether it is safe to serve.
//!
//! The archive is never unpacked. It passes by once, on its way to the blob store: `package.json`
//! is captured, everything else is only counted, and what unpackers disagree about or could be
//! hurt by is refused. A package tarball is a gzip-compressed tar whose entries lie under one
//! folder, usually `package/`, which clients strip.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, BufRead, Read};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::archive::{self, Compressed, Refused, Visitor, walk_tar_gz};
use crate::formats::json::{self, JsonError};

/// How much a tarball may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the tarball itself.
    pub(crate) tarball_bytes: u64,
    /// What is in it.
    pub(crate) archive: archive::Limits,
    /// Bytes of the `package.json`.
    pub(crate) manifest_bytes: u64,
    /// Bytes of a README that are kept.
    pub(crate) readme_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tarball_bytes: 1 << 30,
            archive: archive::Limits::default(),
            manifest_bytes: 1 << 20,
            readme_bytes: 64 << 10,
        }
    }
}

/// What a tarball says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Artifact {
    /// The `package.json`.
    pub(crate) manifest: Map<String, Value>,
    /// Regular files.
    pub(crate) file_count: u64,
    /// The sum of their sizes.
    pub(crate) unpacked_bytes: u64,
    /// Whether there is a `binding.gyp` at the root, which clients build when they install.
    pub(crate) has_binding_gyp: bool,
    /// Whether there is an `npm-shrinkwrap.json` at the root.
    pub(crate) has_shrinkwrap: bool,
    /// The README at the root.
    pub(crate) readme: Option<Readme>,
}

/// The beginning of a README.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Readme {
    pub(crate) file_name: String,
    pub(crate) text: String,
}

/// Why a tarball was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// More bytes than a tarball may have.
    #[error("the tarball is larger than {0} bytes")]
    TooLarge(u64),
    /// It is not what it should be, or not safe to unpack.
    #[error("the tarball {0}")]
    Refused(String),
    /// The `package.json` in it.
    #[error("package.json in the tarball: {0}")]
    Manifest(#[source] JsonError),
    /// It could not be read to its end.
    #[error("read the tarball: {0}")]
    Source(#[source] io::Error),
    /// Its bytes could not be handed on.
    #[error("store the tarball: {0}")]
    Sink(#[source] io::Error),
}
impl From<Refused> for ArtifactError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.0)
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(ArtifactError::Refused(why.into()))
}

/// Reads a tarball to its end and hands every byte of it to `sink`, in order, before it is looked at.
pub(crate) fn inspect(
    source: impl Read,
    limits: &Limits,
    sink: impl FnMut(Bytes) -> io::Result<()>,
) -> Result<Artifact, ArtifactError> {
    let fault = RefCell::new(None);
    let source = Tee {
        source,
        sink,
        chunk: Bytes::new(),
        read_bytes: 0,
        limits,
        fault: &fault,
    };
    let mut found = Found {
        limits,
        manifest: None,
        file_count: 0,
        unpacked_bytes: 0,
        has_binding_gyp: false,
        has_shrinkwrap: false,
        readme: None,
        files: HashSet::new(),
    };
    let outcome = walk_tar_gz(source, &limits.archive, &mut found);
    // What stopped the stream explains more than how the decoders put it.
    match fault.take() {
        Some(fault) => Err(fault),
        None => outcome.and_then(|()| found.finish()),
    }
}

/// Passes the compressed bytes on while they are read.
struct Tee<'a, R, S> {
    source: R,
    sink: S,
    chunk: Bytes,
    read_bytes: u64,
    limits: &'a Limits,
    fault: &'a RefCell<Option<ArtifactError>>,
}

/// Large enough for the sink, small enough to have many of them under way.
const CHUNK_BYTES: u64 = 64 << 10;

impl<R: Read, S: FnMut(Bytes) -> io::Result<()>> BufRead for Tee<'_, R, S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES as usize);
            let read = self.source.by_ref().take(CHUNK_BYTES).read_to_end(&mut chunk);
            read.map_err(|error| self.stop(ArtifactError::Source(error)))?;
            self.read_bytes += chunk.len() as u64;
            if self.read_bytes > self.limits.tarball_bytes {
                return Err(self.stop(ArtifactError::TooLarge(self.limits.tarball_bytes)));
            }
            self.chunk = chunk.into();
            if !self.chunk.is_empty() {
                (self.sink)(self.chunk.clone()).map_err(|error| self.stop(ArtifactError::Sink(error)))?;
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, count: usize) {
        bytes::Buf::advance(&mut self.chunk, count);
    }
}

impl<R: Read, S: FnMut(Bytes) -> io::Result<()>> Read for Tee<'_, R, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R, S> Tee<'_, R, S> {
    /// Notes why the stream ends here; the error itself only has to pass through the decoders.
    fn stop(&self, fault: ArtifactError) -> io::Error {
        self.fault.borrow_mut().get_or_insert(fault);
        io::Error::other("stopped")
    }
}

impl<R: Read, S: FnMut(Bytes) -> io::Result<()>> Compressed for Tee<'_, R, S> {
    fn read_bytes(&self) -> u64 {
        self.read_bytes
    }
}

/// What has been found so far.
struct Found<'l> {
    limits: &'l Limits,
    manifest: Option<Map<String, Value>>,
    file_count: u64,
    unpacked_bytes: u64,
    has_binding_gyp: bool,
    has_shrinkwrap: bool,
    readme: Option<Readme>,
    /// Digests of the files' paths in lower case, as clients see them: two that differ only in
    /// case or in the folder that is stripped would overwrite each other.
    files: HashSet<[u8; 16]>,
}

impl Visitor for Found<'_> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, size_bytes: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        // A file outside of any folder is not seen by clients, so it has a namespace of its own.
        let inner_path = path.split_once('/').map(|(_, inner)| inner);
        let seen_as = inner_path.map_or_else(|| format!("/{path}"), str::to_lowercase);
        let digest = blake3::hash(seen_as.as_bytes());
        let digest: [u8; 16] = digest.as_bytes()[..16]
            .try_into()
            .expect("a BLAKE3 hash has 32 bytes");
        if !self.files.insert(digest) {
            return refused(format!("has two files that unpack to one path: {path:?}"));
        }
        self.file_count += 1;
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(size_bytes);
        match inner_path {
            Some("package.json") => {
                let manifest = read_manifest(content, size_bytes, self.limits)?;
                self.manifest = Some(manifest);
            }
            Some("binding.gyp") => self.has_binding_gyp = true,
            Some("npm-shrinkwrap.json") => self.has_shrinkwrap = true,
            Some(inner) if is_readme(inner) => {
                let is_better = inner.eq_ignore_ascii_case("readme.md") || self.readme.is_none();
                if is_better {
                    self.readme = Some(read_readme(inner, content, self.limits)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Clients do not unpack links, so they are let pass as long as they lead nowhere else.
    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        if path
            .split_once('/')
            .is_some_and(|(_, inner)| inner.eq_ignore_ascii_case("package.json"))
        {
            return refused("has a link in place of its package.json");
        }
        Ok(())
    }
}

impl Found<'_> {
    fn finish(self) -> Result<Artifact, ArtifactError> {
        let Some(manifest) = self.manifest else {
            return refused("has no package.json in its top folder");
        };
        Ok(Artifact {
            manifest,
            file_count: self.file_count,
            unpacked_bytes: self.unpacked_bytes,
            has_binding_gyp: self.has_binding_gyp,
            has_shrinkwrap: self.has_shrinkwrap,
            readme: self.readme,
        })
    }
}

fn is_readme(inner_path: &str) -> bool {
    let name = inner_path.to_ascii_lowercase();
    name == "readme" || (name.starts_with("readme.") && !name.contains('/'))
}

fn read_manifest(
    content: &mut dyn Read,
    size_bytes: u64,
    limits: &Limits,
) -> Result<Map<String, Value>, ArtifactError> {
    if size_bytes > limits.manifest_bytes {
        return refused(format!(
            "has a package.json of more than {} bytes",
            limits.manifest_bytes
        ));
    }
    let mut text = Vec::new();
    content
        .read_to_end(&mut text)
        .map_err(|error| ArtifactError::Refused(format!("is damaged: {error}")))?;
    let json_limits = json::Limits {
        document_bytes: limits.manifest_bytes + 1,
        string_bytes: limits.manifest_bytes,
        depth: 64,
    };
    match json::parse(&text, json_limits).map_err(ArtifactError::Manifest)? {
        Value::Object(manifest) => Ok(manifest),
        _ => refused("has a package.json that is not an object"),
    }
}

fn read_readme(inner_path: &str, content: &mut dyn Read, limits: &Limits) -> Result<Readme, ArtifactError> {
    let mut kept = Vec::new();
    content
        .take(limits.readme_bytes)
        .read_to_end(&mut kept)
        .map_err(|error| ArtifactError::Refused(format!("is damaged: {error}")))?;
    Ok(Readme {
        file_name: inner_path.into(),
        text: json::lossy_prefix(&kept),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::EntryType;

    use super::*;

    const MANIFEST: &str = r#"{"name":"left","version":"1.0.0"}"#;

    /// Builds archives entry by entry, also such that no tool would write.
    struct Tar(Vec<u8>);

    impl Tar {
        fn new() -> Self {
            Self(Vec::new())
        }

        fn raw(
            mut self,
            kind: u8,
            path: &str,
            size: u64,
            content: &[u8],
            change: impl FnOnce(&mut tar::Header),
        ) -> Self {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_mode(0o644);
            header.set_entry_type(EntryType::new(kind));
            header.set_size(size);
            change(&mut header);
            header.set_cksum();
            self.0.extend_from_slice(header.as_bytes());
            self.0.extend_from_slice(content);
            self.0.resize(self.0.len().next_multiple_of(512), 0);
            self
        }

        fn kind(self, kind: u8, path: &str, content: &[u8]) -> Self {
            self.raw(kind, path, content.len() as u64, content, |_| {})
        }

        fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
            self.kind(b'0', path, content.as_ref())
        }

        fn link(self, kind: u8, path: &str, target: &str) -> Self {
            self.raw(kind, path, 0, b"", |header| {
                header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
            })
        }

        fn pax(self, records: &[(&str, &str)]) -> Self {
            let mut content = String::new();
            for (key, value) in records {
                let rest = format!(" {key}={value}\n");
                let mut len = rest.len() + 1;
                while format!("{len}{rest}").len() != len {
                    len = format!("{len}{rest}").len();
                }
                content += &format!("{len}{rest}");
            }
            self.kind(b'x', "PaxHeader", content.as_bytes())
        }

        fn end(mut self) -> Vec<u8> {
            self.0.resize(self.0.len() + 1024, 0);
            self.0
        }

        fn gz(self) -> Vec<u8> {
            gzip(&self.end())
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A package tarball with this `package.json` and nothing else.
    pub(crate) fn tarball(manifest: &str) -> Vec<u8> {
        Tar::new().file("package/package.json", manifest).gz()
    }

    /// A package tarball with this `package.json` and some other content.
    pub(crate) fn tarball_with(manifest: &str, content: &[u8]) -> Vec<u8> {
        Tar::new()
            .file("package/package.json", manifest)
            .file("package/content", content)
            .gz()
    }

    fn valid() -> Tar {
        Tar::new().file("package/package.json", MANIFEST)
    }

    fn inspect_all(tarball: &[u8], limits: &Limits) -> Result<Artifact, ArtifactError> {
        let mut passed_on = Vec::new();
        let outcome = inspect(tarball, limits, |chunk| {
            passed_on.extend_from_slice(&chunk);
            Ok(())
        });
        assert!(tarball.starts_with(&passed_on));
        if outcome.is_ok() {
            assert_eq!(passed_on.len(), tarball.len(), "every byte is passed on");
        }
        outcome
    }

    fn check(tarball: Vec<u8>, expected: Result<(), &str>) {
        let outcome = inspect_all(&tarball, &Limits::default());
        match (&outcome, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            _ => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    #[test]
    fn a_package_is_read_and_counted() {
        let tarball = Tar::new()
            .kind(b'5', "thing/", b"")
            .file("thing/README.txt", "plain")
            .file("thing/readme.md", "# better")
            .file("thing/lib/package.json", "not the manifest, and not JSON")
            .file("thing/binding.gyp", "{}")
            .pax(&[
                ("path", &format!("thing/{}/deep.js", "d".repeat(200))),
                ("size", "3"),
            ])
            .file("thing/short", "abc")
            .file("thing/package.json", MANIFEST)
            .gz();
        let artifact = inspect_all(&tarball, &Limits::default()).unwrap();
        assert_eq!(artifact.manifest["name"], "left");
        assert_eq!(artifact.file_count, 6);
        assert_eq!(artifact.unpacked_bytes, 5 + 8 + 30 + 2 + 3 + 33);
        assert!(artifact.has_binding_gyp && !artifact.has_shrinkwrap);
        assert_eq!(artifact.readme.unwrap().text, "# better");
    }

    #[test]
    fn harmless_oddities_pass() {
        check(
            valid().link(b'2', "package/bin/tool", "../lib/tool.js").gz(),
            Ok(()),
        );
        check(
            valid().link(b'1', "package/copy.js", "package/index.js").gz(),
            Ok(()),
        );
        check(
            valid().kind(b'g', "pax_global_header", b"14 comment=ab\n").gz(),
            Ok(()),
        );
        check(
            valid()
                .kind(b'L', "././@LongLink", b"package/long\0")
                .file("package/lo", "x")
                .gz(),
            Ok(()),
        );
        check(valid().file("outside.txt", "clients do not see it").gz(), Ok(()));
        // No end marker: the compressed stream tells that nothing is missing.
        check(gzip(&valid().0), Ok(()));
    }

    #[test]
    fn what_is_not_a_package_is_refused() {
        check(b"not gzip".to_vec(), Err("is damaged"));
        check(Vec::new(), Err("is damaged"));
        check(
            gzip(b"not tar, but long enough to hold a header".repeat(20).as_slice()),
            Err("is damaged"),
        );
        check(Tar::new().gz(), Err("no package.json"));
        check(
            Tar::new().file("package.json", MANIFEST).gz(),
            Err("no package.json"),
        );
        check(
            Tar::new().file("package/lib/package.json", MANIFEST).gz(),
            Err("no package.json"),
        );
        check(
            Tar::new().file("package/package.json", "{").gz(),
            Err("malformed JSON"),
        );
        check(
            Tar::new().file("package/package.json", "[]").gz(),
            Err("not an object"),
        );
        check(
            Tar::new()
                .file("package/package.json", r#"{"name":"a","name":"b"}"#)
                .gz(),
            Err("twice"),
        );
        check(
            Tar::new().file("package/package.json", vec![b' '; 2 << 20]).gz(),
            Err("package.json of more than"),
        );
    }

    #[test]
    fn damage_and_appendices_are_refused() {
        let whole = valid().file("package/x", vec![7; 5000]).gz();
        for cut in [1, 9, 30, whole.len() / 2, whole.len() - 1] {
            check(whole[..cut].to_vec(), Err("is damaged"));
        }
        let mut flipped = whole.clone();
        let crc_at = whole.len() - 6;
        flipped[crc_at] ^= 1;
        check(flipped, Err("is damaged"));
        check(
            [whole.as_slice(), b"x"].concat(),
            Err("after its compressed data"),
        );
        check(
            [whole.as_slice(), &whole].concat(),
            Err("after its compressed data"),
        );
        check(
            gzip(&[valid().end(), valid().end()].concat()),
            Err("after the end of the archive"),
        );
    }

    #[test]
    fn unsafe_entries_are_refused() {
        let path = |path: &str| valid().file(path, "x").gz();
        check(path("/etc/passwd"), Err("unsafe path"));
        check(path("package/../../x"), Err("unsafe path"));
        check(path("package/./x"), Err("unsafe path"));
        check(path("package//x"), Err("unsafe path"));
        check(path("package\\..\\x"), Err("unsafe path"));
        check(path("C:/x"), Err("unsafe path"));
        check(path("package/\u{1b}[2J"), Err("unsafe path"));
        check(
            valid().pax(&[("path", "../x")]).file("package/x", "x").gz(),
            Err("unsafe path"),
        );
        check(
            valid().kind(b'L', "L", b"/abs\0").file("package/x", "x").gz(),
            Err("unsafe path"),
        );
        check(
            valid().link(b'2', "package/x", "/etc").gz(),
            Err("leads out of it"),
        );
        check(
            valid().link(b'2', "package/x", "../../etc").gz(),
            Err("leads out of it"),
        );
        check(valid().link(b'2', "package/x", "..").gz(), Err("leads out of it"));
        check(
            valid().link(b'1', "package/x", "../x").gz(),
            Err("leads out of it"),
        );
        check(
            Tar::new().link(b'2', "package/package.json", "other.json").gz(),
            Err("in place of its package.json"),
        );
        check(
            valid()
                .link(b'2', "package/x", "lib")
                .file("package/x/y", "z")
                .gz(),
            Err("behind a link"),
        );
        check(
            valid().link(b'2', "package/x", "lib").file("package/x", "z").gz(),
            Err("behind a link"),
        );
        check(
            valid()
                .raw(b'0', "package/x", 1, b"x", |header| header.set_mode(0o4755))
                .gz(),
            Err("set-user-id"),
        );
        for kind in [b'3', b'4', b'6', b'S', b'Z'] {
            check(
                valid().kind(kind, "package/x", b"").gz(),
                Err("neither a file nor a folder"),
            );
        }
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        check(
            valid().pax(&[("size", "600")]).file("package/x", "x").gz(),
            Err("two sizes"),
        );
        check(
            valid().pax(&[("size", "-1")]).file("package/x", "x").gz(),
            Err("malformed size"),
        );
        check(
            valid()
                .pax(&[("GNU.sparse.major", "1")])
                .file("package/x", "x")
                .gz(),
            Err("sparse"),
        );
        check(
            valid()
                .pax(&[("path", "package/a"), ("path", "package/b")])
                .file("package/x", "")
                .gz(),
            Err("twice"),
        );
        check(
            valid().pax(&[]).pax(&[]).file("package/x", "").gz(),
            Err("two extended headers"),
        );
        check(valid().pax(&[("path", "package/a")]).gz(), Err("does not follow"));
        let header = |content: &[u8]| {
            valid()
                .kind(b'x', "PaxHeader", content)
                .file("package/x", "")
                .gz()
        };
        check(header(b"\n18 path=package/y\n"), Err("malformed extended header"));
        check(header(b"99 path=package/y\n"), Err("malformed extended header"));
        check(header(b"5 path=package/y\n"), Err("malformed extended header"));
        check(header(b"+18 path=package/y\n"), Err("malformed extended header"));
        check(header(b"18 path package/y\n"), Err("malformed extended header"));
        check(header(&[b'9'; 20]), Err("malformed extended header"));
        check(
            valid().kind(b'g', "g", b"18 path=package/y\n").gz(),
            Err("global header"),
        );
        check(
            valid().kind(b'5', "package/lib/", b"content").gz(),
            Err("with content"),
        );
        check(
            valid().file("package/package.json", MANIFEST).gz(),
            Err("unpack to one path"),
        );
        check(
            valid().file("other/package.json", MANIFEST).gz(),
            Err("unpack to one path"),
        );
        check(
            valid()
                .file("package/Index.js", "a")
                .file("package/index.js", "b")
                .gz(),
            Err("unpack to one path"),
        );
    }

    #[test]
    fn limits_hold() {
        let limits = Limits {
            tarball_bytes: 100_000,
            archive: archive::Limits {
                unpacked_bytes: 50 << 20,
                entries: 50,
                ..archive::Limits::default()
            },
            ..Limits::default()
        };
        let error = |tarball: Vec<u8>| inspect_all(&tarball, &limits).unwrap_err().to_string();
        let noise: Vec<u8> = (0..200_000u32)
            .flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..1].to_vec())
            .collect();
        assert!(error(valid().file("package/x", noise).gz()).contains("larger than 100000 bytes"));
        assert!(error(valid().file("package/x", vec![0; 20 << 20]).gz()).contains("200 times its size"));
        let many = (0..60).fold(valid(), |tar, n| tar.file(&format!("package/{n}"), ""));
        assert!(error(many.gz()).contains("more than 50 entries"));
        let long = format!("package/{}", "x".repeat(5000));
        assert!(
            error(valid().pax(&[("path", &long)]).file("package/x", "").gz())
                .contains("more than 4096 bytes")
        );
        let deep = format!("package/{}x", "d/".repeat(128));
        assert!(
            error(valid().pax(&[("path", &deep)]).file("package/x", "").gz())
                .contains("more than 128 folders")
        );
        let huge = "x".repeat(100_000);
        assert!(
            error(valid().pax(&[("comment", &huge)]).file("package/x", "").gz())
                .contains("extended header of more")
        );
        // A header that promises more than the archive has.
        let lying = valid().raw(b'0', "package/x", 1 << 40, b"x", |_| {}).gz();
        assert!(error(lying).contains("is damaged"));
        let generous = Limits {
            archive: archive::Limits {
                ratio: 10_000,
                unpacked_bytes: 1 << 20,
                ..limits.archive
            },
            ..limits
        };
        let bomb = valid().file("package/x", vec![0; 2 << 20]).gz();
        assert!(
            inspect_all(&bomb, &generous)
                .unwrap_err()
                .to_string()
                .contains("unpacks to more than 1048576")
        );
    }

    #[test]
    fn a_failing_sink_ends_it() {
        let tarball = valid().gz();
        let error = inspect(tarball.as_slice(), &Limits::default(), |_| {
            Err(io::Error::other("full"))
        })
        .unwrap_err();
        assert!(matches!(error, ArtifactError::Sink(_)), "{error}");
    }
}
