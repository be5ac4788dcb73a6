//! What is looked into of what clients send: the manifest, what a binary was built with, and archives.
//!
//! A manifest says when it was made, and the MD5 of each file of the recipe or package: those in the
//! archives, and those that are sent beside them.
//!
//! ```text
//! 1795966546
//! conanfile.py: 0123456789abcdef0123456789abcdef
//! export_source/src/hello.cpp: …
//! ```
//!
//! What a binary was built with is an INI file of sections whose lines are `key=value`, or just text.

use std::collections::BTreeMap;
use std::io::Read;

use data_encoding::HEXLOWER;

use crate::archive::{self, Compressed, Compression, Paths, Refused, Visitor, walk_compressed_tar};
use crate::http::error::ApiError;

/// The largest manifest: tens of thousands of files. It is read as a whole.
pub(super) const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// The largest description of a binary; it is a part of the list of all binaries.
pub(super) const MAX_INFO_BYTES: usize = 128 << 10;

/// Limits on archives: packages of whole toolchains are published too.
const LIMITS: archive::Limits = archive::Limits {
    unpacked_bytes: 64 << 30,
    ratio: 1000,
    ratio_from_bytes: 64 << 20,
    entries: 500_000,
    path_bytes: 4096,
    folders: 128,
};

/// Why something was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArtifactError {
    /// The manifest cannot be read.
    #[error("conanmanifest.txt: line {line} is not {expected}")]
    Manifest { line: usize, expected: &'static str },
    /// The description of a binary cannot be read.
    #[error("conaninfo.txt {0}")]
    Info(&'static str),
    /// The archive is not one, or does harm.
    #[error("the archive {0}")]
    Archive(#[from] Refused),
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// A manifest that can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manifest<'a> {
    /// All but the first line.
    lines: &'a [u8],
}

impl<'a> Manifest<'a> {
    /// Makes sure that every line can be read.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ArtifactError> {
        let (first, lines) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], &bytes[end + 1..]),
            None => (bytes, &[][..]),
        };
        let time = std::str::from_utf8(first).map(str::trim).unwrap_or_default();
        if time.parse::<u64>().is_err() {
            let expected = "a time in seconds";
            return Err(ArtifactError::Manifest { line: 1, expected });
        }
        let manifest = Self { lines };
        for (at, line) in manifest.lines() {
            if entry(line).is_none() {
                let expected = "a path and an MD5";
                return Err(ArtifactError::Manifest { line: at, expected });
            }
        }
        Ok(manifest)
    }

    /// Lines that are not empty, with their numbers.
    fn lines(self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let lines = self.lines.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.map(|(at, line)| (at + 2, line.trim_ascii()));
        lines.filter(|(_, line)| !line.is_empty())
    }

    /// The files and their MD5s.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a [u8], [u8; 16])> {
        self.lines().filter_map(|(_, line)| entry(line))
    }

    /// Names what it says of the files, whenever it was made.
    pub(super) fn sums(self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (_, line) in self.lines() {
            hasher.update(line);
            hasher.update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn entry(line: &[u8]) -> Option<(&[u8], [u8; 16])> {
    let digits = line.len().checked_sub(32)?;
    let path = line[..digits].strip_suffix(b": ")?;
    let md5 = HEXLOWER.decode(&line[digits..]).ok()?;
    (!path.is_empty()).then_some((path, md5.try_into().ok()?))
}

/// What a binary was built with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) settings: BTreeMap<String, String>,
    pub(super) options: BTreeMap<String, String>,
    pub(super) requires: Vec<String>,
}

impl Info {
    /// Reads a description. Sections and lines that are not known are nothing to us.
    pub(super) fn read(text: &str) -> Result<Self, ArtifactError> {
        if text.contains('\0') {
            return Err(ArtifactError::Info("holds a character that is no text"));
        }
        let mut info = Self::default();
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
                continue;
            }
            let pairs = match section {
                "settings" => &mut info.settings,
                "options" => &mut info.options,
                "requires" if !line.is_empty() => {
                    info.requires.push(line.to_owned());
                    continue;
                }
                _ => continue,
            };
            if let Some((key, value)) = line.split_once('=') {
                pairs.insert(key.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(info)
    }
}

/// What goes through an archive to see that it does no harm.
#[derive(Default)]
struct Sight {
    paths: Paths,
}

impl Sight {
    fn once(&mut self, path: &str) -> Result<(), ArtifactError> {
        match self.paths.insert_as_written(path) {
            true => Ok(()),
            false => Err(Refused(format!("has two entries of one path: {path:?}")).into()),
        }
    }
}

impl Visitor for Sight {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, _: &mut dyn Read) -> Result<(), ArtifactError> {
        self.once(path)
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        self.once(path)
    }
}

/// Looks through an archive while it passes by, to its end.
pub(super) fn inspect(archive: impl Compressed, compression: Compression) -> Result<(), ArtifactError> {
    walk_compressed_tar(archive, compression, &LIMITS, &mut Sight::default())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::archives::tar_gz;

    fn looked_at(bytes: &[u8]) -> Result<(), String> {
        inspect(std::io::Cursor::new(bytes), Compression::Gzip).map_err(|error| error.to_string())
    }

    #[test]
    fn archives_that_do_harm_are_refused() {
        looked_at(&tar_gz(&[("include/a.h", "a"), ("lib/b", "b")])).unwrap();
        looked_at(&tar_gz::<&str>(&[])).unwrap();
        // Headers of Linux have such.
        looked_at(&tar_gz(&[("xt_MARK.h", "a"), ("xt_mark.h", "b")])).unwrap();
        for (archive, reason) in [
            (tar_gz(&[("../evil", "x")]), ".."),
            (tar_gz(&[("/etc/evil", "x")]), "/etc/evil"),
            (tar_gz(&[("a", "x"), ("a", "y")]), "has two entries of one path"),
            (b"not an archive".to_vec(), "the archive "),
            (tar_gz(&[("a", "x")])[..40].to_vec(), "the archive "),
        ] {
            let refused = looked_at(&archive).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        let mut bomb = GzEncoder::new(Vec::new(), flate2::Compression::best());
        let mut header = tar::Header::new_gnu();
        header.set_size(400 << 20);
        header.set_path("zeros").unwrap();
        header.set_cksum();
        bomb.write_all(header.as_bytes()).unwrap();
        for _ in 0..400 {
            bomb.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let refused = looked_at(&bomb.finish().unwrap()).unwrap_err();
        assert!(refused.contains("unpacks to more than"), "{refused}");
    }

    #[test]
    fn a_manifest_tells_the_sums_of_files_whenever_it_was_made() {
        let text = "1\nconanfile.py: 0123456789abcdef0123456789abcdef\n\
                    a: b/c d: ffffffffffffffffffffffffffffffff\n";
        let manifest = Manifest::read(text.as_bytes()).unwrap();
        let paths: Vec<_> = manifest.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, [b"conanfile.py".as_slice(), b"a: b/c d"]);
        let later = text.replacen('1', "1795966546", 1);
        let later = Manifest::read(later.as_bytes()).unwrap();
        assert_eq!(manifest.sums(), later.sums());
        let other = text.replace("0123", "0124");
        assert_ne!(manifest.sums(), Manifest::read(other.as_bytes()).unwrap().sums());
        assert!(Manifest::read(b"1795966546").is_ok());
        for (bad, line) in [
            ("", 1),
            ("x\n", 1),
            ("1\nconanfile.py", 2),
            ("1\n\na: 0123456789abcdef0123456789abcdeg", 3),
            ("1\n: 0123456789abcdef0123456789abcdef", 2),
        ] {
            let refused = Manifest::read(bad.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(&format!("line {line} ")), "{bad:?} {refused}");
        }
    }

    #[test]
    fn settings_and_options_of_both_generations_are_read() {
        let info = Info::read(
            "[settings]\n    arch=x86_64\n    os=Linux\n\n[options]\n    shared=False\n\
             [requires]\n    zlib/1.Y.Z\n[recipe_hash]\n    0123\n[env]\n",
        )
        .unwrap();
        assert_eq!(info.settings["os"], "Linux");
        assert_eq!(info.options["shared"], "False");
        assert_eq!(info.requires, ["zlib/1.Y.Z"]);
        assert_eq!(Info::read("").unwrap(), Info::default());
        assert!(Info::read("\0").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
            let _ = looked_at(&bytes);
            if let Ok(manifest) = Manifest::read(&bytes) {
                let _ = (manifest.entries().count(), manifest.sums());
            }
            let _ = Info::read(&text);
            let _ = Info::read(&format!("[settings]\n{text}"));
        }
    }
}
