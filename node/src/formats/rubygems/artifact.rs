//! Reads a gem as it passes by: what it says of itself, and whether its parts are what it says.
//!
//! A gem is a tar of `metadata.gz` (the specification), `data.tar.gz` (its files), usually
//! `checksums.yaml.gz` (digests of the other two), and what may be signed about each, as `*.sig`.
//! Nothing else is in it, so that what clients unpack is what was looked at. The files are walked
//! through too: what leaves the gem's folder or unpacks without end never gets to a client.

use std::io::{self, BufRead, BufReader, Read};

use data_encoding::HEXLOWER_PERMISSIVE;
use flate2::bufread::GzDecoder;

use super::gemspec::{MAX_YAML_BYTES, Spec, SpecError};
use super::yaml::{Node, YamlError};
use crate::archive::{self, Compressed, Paths, Refused, Visitor, small_file};
use crate::http::checksum::{Algorithm, Hasher};

/// The longest list of checksums.
const MAX_CHECKSUMS_BYTES: u64 = 64 << 10;

/// The longest signature.
const MAX_SIGNATURE_BYTES: u64 = 64 << 10;

const METADATA: &str = "metadata.gz";
const DATA: &str = "data.tar.gz";
const CHECKSUMS: &str = "checksums.yaml.gz";

/// Why a gem was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// It is not a gem, or not safe to unpack.
    #[error("the gem {0}")]
    Refused(#[from] Refused),
    /// What it says of itself.
    #[error("the specification of the gem {0}")]
    Spec(#[from] SpecError),
    /// What it says of its parts.
    #[error("the {CHECKSUMS} of the gem {0}")]
    Checksums(#[from] YamlError),
}

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(Refused(why.into()).into())
}

/// Reads a gem to its end.
pub(super) fn inspect(source: impl Read, limits: &archive::Limits) -> Result<Spec, ArtifactError> {
    let mut found = Found {
        limits,
        paths: Paths::default(),
        spec: None,
        parts: Vec::new(),
        checksums: None,
    };
    archive::walk_plain_tar(source, limits, &mut found)?;
    found.finish()
}

/// What has been found so far.
struct Found<'l> {
    limits: &'l archive::Limits,
    paths: Paths,
    spec: Option<Spec>,
    /// The digests of each part, by its name.
    parts: Vec<(&'static str, cairn_cluster::Digests)>,
    checksums: Option<Node>,
}

impl Found<'_> {
    fn finish(self) -> Result<Spec, ArtifactError> {
        let Some(spec) = self.spec else {
            return refused(format!("has no {METADATA}"));
        };
        if !self.parts.iter().any(|(name, _)| *name == DATA) {
            return refused(format!("has no {DATA}"));
        }
        if let Some(checksums) = &self.checksums {
            check_parts(&self.parts, checksums)?;
        }
        Ok(spec)
    }
}

/// Makes sure of every checksum of a known algorithm, of which there must be one for each part.
fn check_parts(
    parts: &[(&'static str, cairn_cluster::Digests)],
    checksums: &Node,
) -> Result<(), ArtifactError> {
    for (name, digests) in parts {
        let mut is_checked = false;
        for (algorithm, stated) in checksums.map().unwrap_or_default() {
            let Some(algorithm) = Algorithm::named(&algorithm.to_ascii_lowercase()) else {
                continue;
            };
            let Some(stated) = stated.get(name) else {
                continue;
            };
            let stated = stated
                .text()
                .and_then(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok());
            if stated.as_deref() != algorithm.of(digests) {
                return refused(format!("has a {name} that is not what its {CHECKSUMS} says"));
            }
            is_checked = true;
        }
        if !is_checked {
            return refused(format!("has a {CHECKSUMS} without a checksum of {name}"));
        }
    }
    Ok(())
}

impl Visitor for Found<'_> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        if !self.paths.insert(path) {
            return refused(format!("has two files of one name: {path:.80?}"));
        }
        let mut content = Hashing::new(content);
        match path {
            METADATA => {
                let yaml = unpacked(path, &mut content, MAX_YAML_BYTES as u64)?;
                self.spec = Some(Spec::read(&yaml)?);
                self.parts.push((METADATA, content.finish()?));
            }
            DATA => {
                archive::walk_tar_gz(BufReader::new(&mut content), self.limits, &mut Files::default())?;
                self.parts.push((DATA, content.finish()?));
            }
            CHECKSUMS => {
                let yaml = unpacked(path, &mut content, MAX_CHECKSUMS_BYTES)?;
                self.checksums = Some(Node::read(&yaml)?);
                content.finish()?;
            }
            _ if [METADATA, DATA, CHECKSUMS]
                .iter()
                .any(|part| path.strip_suffix(".sig") == Some(part)) =>
            {
                small_file(path, &mut content, MAX_SIGNATURE_BYTES)?;
            }
            _ => return refused(format!("has a file that no gem has: {path:.80?}")),
        }
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!("has a folder: {path:.80?}"))
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!("has a link: {path:.80?}"))
    }
}

/// What a small part holds; nothing may follow what is compressed.
fn unpacked(path: &str, content: &mut dyn Read, limit_bytes: u64) -> Result<Vec<u8>, ArtifactError> {
    let mut source = BufReader::new(content);
    let unpacked = small_file(path, &mut GzDecoder::new(&mut source), limit_bytes)?;
    let more = source
        .fill_buf()
        .map_err(|error| Refused(format!("is damaged: {error}")))?;
    match more.is_empty() {
        true => Ok(unpacked),
        false => refused(format!("has a {path} that goes on after its compressed data")),
    }
}

/// The files that a client unpacks.
#[derive(Default)]
struct Files {
    paths: Paths,
}

impl Visitor for Files {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, _: &mut dyn Read) -> Result<(), ArtifactError> {
        self.once(path)
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        self.once(path)
    }
}

impl Files {
    fn once(&mut self, path: &str) -> Result<(), ArtifactError> {
        match self.paths.insert(path) {
            true => Ok(()),
            false => refused(format!("has two files that unpack to one path: {path:.80?}")),
        }
    }
}

/// A part whose digests are taken while it is read.
struct Hashing<'c> {
    content: &'c mut dyn Read,
    hasher: Hasher,
    read_bytes: u64,
}

impl<'c> Hashing<'c> {
    fn new(content: &'c mut dyn Read) -> Self {
        Self {
            content,
            hasher: Hasher::default(),
            read_bytes: 0,
        }
    }

    /// Reads what is left; the digests of everything.
    fn finish(mut self) -> Result<cairn_cluster::Digests, ArtifactError> {
        let copied = io::copy(&mut self, &mut io::sink());
        copied.map_err(|error| Refused(format!("is damaged: {error}")))?;
        Ok(self.hasher.finish())
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(out)?;
        self.hasher.update(&out[..count]);
        self.read_bytes += count as u64;
        Ok(count)
    }
}

impl Compressed for BufReader<&mut Hashing<'_>> {
    fn read_bytes(&self) -> u64 {
        self.get_ref().read_bytes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use data_encoding::{BASE64, HEXLOWER};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256, Sha512};
    use tar::EntryType;

    use super::*;
    use crate::archive::feed;
    use crate::formats::rubygems::gemspec::tests::yaml;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tar_of(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_entry_type(*kind);
            // The library refuses paths that leave the archive.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            let is_link = *kind == EntryType::Symlink;
            header.set_size(if is_link { 0 } else { content.len() as u64 });
            if is_link {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
            }
            header.set_cksum();
            archive
                .append(&header, if is_link { b"" } else { *content })
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn files(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(path, content)| (*path, EntryType::Regular, *content))
            .collect();
        tar_of(&entries)
    }

    fn checksums(metadata: &[u8], data: &[u8]) -> Vec<u8> {
        let text = format!(
            "---\nSHA256:\n  metadata.gz: {}\n  data.tar.gz: {}\nSHA512:\n  metadata.gz: {}\n  data.tar.gz: {}\n",
            HEXLOWER.encode(&Sha256::digest(metadata)),
            HEXLOWER.encode(&Sha256::digest(data)),
            HEXLOWER.encode(&Sha512::digest(metadata)),
            HEXLOWER.encode(&Sha512::digest(data)),
        );
        gz(text.as_bytes())
    }

    /// A gem with this specification and these files.
    pub(crate) fn gem_with(yaml: &str, data: &[u8]) -> Vec<u8> {
        let (metadata, data) = (gz(yaml.as_bytes()), gz(data));
        let sums = checksums(&metadata, &data);
        files(&[(METADATA, &metadata), (DATA, &data), (CHECKSUMS, &sums)])
    }

    /// A small gem for a platform.
    pub(crate) fn gem_for(name: &str, version: &str, platform: &str) -> Vec<u8> {
        let code = format!("# {name} {version} {platform}\n");
        let data = files(&[(&format!("lib/{name}.rb"), code.as_bytes())]);
        gem_with(&yaml(name, version, platform, &[("rack", ">= 1, < 3")]), &data)
    }

    /// A small gem.
    pub(crate) fn gem_of(name: &str, version: &str) -> Vec<u8> {
        gem_for(name, version, "ruby")
    }

    fn inspected(gem: &[u8], limits: archive::Limits) -> Result<Spec, ArtifactError> {
        let (feeder, fed) = feed();
        let gem = bytes::Bytes::copy_from_slice(gem);
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || inspect(fed, &limits));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for piece in gem.chunks(1000) {
                    if !feeder.push(gem.slice_ref(piece)).await {
                        break;
                    }
                }
            });
            drop(feeder);
            reading.join().unwrap()
        })
    }

    fn refusal(gem: &[u8]) -> String {
        inspected(gem, archive::Limits::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_gem_that_gem_built_is_read() {
        let gem = include_str!("testdata/acme_foo-1.0.0.gem.base64").trim_end();
        let gem = BASE64.decode(gem.as_bytes()).unwrap();
        let spec = inspected(&gem, archive::Limits::default()).unwrap();
        assert_eq!((spec.name.as_str(), spec.version.as_str()), ("acme_foo", "1.0.0"));
        let spec = inspected(&gem_for("acme", "2.0.rc1", "java"), archive::Limits::default()).unwrap();
        assert_eq!(spec.platform.as_str(), "java");
    }

    #[test]
    fn parts_that_are_not_as_the_checksums_say_are_refused() {
        let yaml = yaml("acme", "1.0", "ruby", &[]);
        let (metadata, data) = (gz(yaml.as_bytes()), gz(&files(&[("a", b"b")])));
        let sums = checksums(&metadata, &data);
        let other = gz(&files(&[("a", b"c")]));
        let check = |parts: &[(&str, &[u8])], part: &str| {
            let error = refusal(&files(parts));
            assert!(error.contains(part), "{error} / {part}");
        };
        check(
            &[(METADATA, &metadata), (DATA, &other), (CHECKSUMS, &sums)],
            "data.tar.gz that is not what",
        );
        let spec = gz(yaml.replace("Ann", "Eve").as_bytes());
        check(
            &[(CHECKSUMS, &sums), (METADATA, &spec), (DATA, &data)],
            "metadata.gz that is not what",
        );
        let unknown = gz(b"---\nCRC32:\n  metadata.gz: 00\n");
        check(
            &[(METADATA, &metadata), (DATA, &data), (CHECKSUMS, &unknown)],
            "without a checksum of metadata.gz",
        );
        let strange = gz(b"---\nSHA256:\n  metadata.gz: zz\n");
        check(
            &[(METADATA, &metadata), (DATA, &data), (CHECKSUMS, &strange)],
            "metadata.gz that is not what",
        );
        check(
            &[(METADATA, &metadata), (DATA, &data), (CHECKSUMS, b"x")],
            "damaged",
        );
        check(
            &[
                (METADATA, &metadata),
                (DATA, &data),
                (CHECKSUMS, &gz(b"a: !ruby/object:Kernel {}")),
            ],
            "no gem needs",
        );
        // Very old gems have none; what is signed is not looked into.
        let signed = files(&[(METADATA, &metadata), ("metadata.gz.sig", b"x"), (DATA, &data)]);
        inspected(&signed, archive::Limits::default()).unwrap();
    }

    #[test]
    fn what_is_no_gem_or_could_hurt_those_who_unpack_it_is_refused() {
        let yaml = yaml("acme", "1.0", "ruby", &[]);
        let gem = gem_of("acme", "1.0.0");
        let (metadata, data) = (gz(yaml.as_bytes()), gz(&files(&[("a", b"b")])));
        let with = |entries: &[(&str, EntryType, &[u8])]| gem_with(&yaml, &tar_of(entries));
        let regular = EntryType::Regular;
        for (gem, part) in [
            (b"not a gem".to_vec(), "the gem"),
            (Vec::new(), "is cut off"),
            (gem[..gem.len() / 2].to_vec(), "is cut off"),
            ([gem.as_slice(), b"more"].concat(), "goes on"),
            (gz(&gem), "the gem"),
            (files(&[(METADATA, &metadata)]), "no data.tar.gz"),
            (files(&[(DATA, &data)]), "no metadata.gz"),
            (
                files(&[(METADATA, &metadata), (METADATA, &metadata), (DATA, &data)]),
                "two files",
            ),
            (
                files(&[(METADATA, &metadata), (DATA, &data), ("evil.rb", b"x")]),
                "no gem has",
            ),
            (files(&[(METADATA, b"x"), (DATA, &data)]), "damaged"),
            (
                files(&[(METADATA, &[metadata.as_slice(), b"x"].concat()), (DATA, &data)]),
                "goes on",
            ),
            (
                files(&[(METADATA, &metadata), (DATA, &[data.as_slice(), b"x"].concat())]),
                "goes on",
            ),
            (
                files(&[(METADATA, &gz(&vec![b'x'; MAX_YAML_BYTES + 1])), (DATA, &data)]),
                "more than",
            ),
            (with(&[("../evil", regular, b"x")]), "the gem"),
            (with(&[("/evil", regular, b"x")]), "the gem"),
            (with(&[("a", EntryType::Symlink, b"/etc/passwd")]), "leads out"),
            (
                with(&[("a", EntryType::Symlink, b".."), ("a/b", regular, b"x")]),
                "leads out",
            ),
            (
                with(&[("x/a", EntryType::Symlink, b"b"), ("x/a/c", regular, b"x")]),
                "behind a link",
            ),
            (with(&[("a", regular, b"x"), ("A", regular, b"y")]), "one path"),
            (with(&[("a", EntryType::Char, b"")]), "neither a file"),
            (tar_of(&[(METADATA, EntryType::Symlink, b"x")]), "link"),
            (tar_of(&[("x", EntryType::Directory, b"")]), "folder"),
        ] {
            let error = refusal(&gem);
            assert!(error.contains(part), "{error} / {part}");
        }
        inspected(
            &with(&[("lib/b", regular, b"x"), ("lib/a", EntryType::Symlink, b"b")]),
            archive::Limits::default(),
        )
        .unwrap();
    }

    #[test]
    fn a_gem_that_unpacks_without_end_is_refused() {
        let zeros = vec![0; 4 << 20];
        let gem = gem_with(&yaml("acme", "1.0", "ruby", &[]), &files(&[("a", &zeros)]));
        let limits = archive::Limits {
            ratio_from_bytes: 1 << 20,
            ..archive::Limits::default()
        };
        let error = inspected(&gem, limits).unwrap_err().to_string();
        assert!(error.contains("times its size"), "{error}");
        let limits = archive::Limits {
            entries: 2,
            ..archive::Limits::default()
        };
        let error = inspected(&gem, limits).unwrap_err().to_string();
        assert!(error.contains("more than 2 entries"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_makes_it_panic(at in any::<prop::sample::Index>(), with in any::<[u8; 4]>(), bytes in any::<Vec<u8>>()) {
            let mut gem = gem_of("acme", "1.0.0");
            let at = at.index(gem.len() - 4);
            gem[at..at + 4].copy_from_slice(&with);
            let _ = inspected(&gem, archive::Limits::default());
            let _ = inspected(&bytes, archive::Limits::default());
        }
    }
}
