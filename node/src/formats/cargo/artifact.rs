//! Reads a `.crate` as it passes by: whether it is the crate that its metadata says, and whether
//! it is safe to unpack.
//!
//! A `.crate` is a gzip-compressed tar whose entries lie under `NAME-VERSION/`, with the manifest
//! that cargo has normalised as `Cargo.toml`. Cargo writes no links, and unpacks only what lies
//! under that folder.

use std::io::Read;

use serde::Deserialize;

use super::names::{CrateName, Version};
use crate::archive::{self, Compressed, Paths, Refused, Visitor};

/// How much a crate may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The archive.
    pub(super) archive: archive::Limits,
    /// Bytes of the `Cargo.toml`.
    pub(super) manifest_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive: archive::Limits::default(),
            manifest_bytes: 1 << 20,
        }
    }
}

/// Why a crate was not accepted.
#[derive(Debug, thiserror::Error)]
#[error("the crate {0}")]
pub(super) struct ArtifactError(#[from] Refused);

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(Refused(why.into()).into())
}

/// Reads a crate to its end, and makes sure that it is this version of it.
pub(super) fn inspect(
    source: impl Compressed,
    limits: &Limits,
    name: &CrateName,
    version: &Version,
) -> Result<(), ArtifactError> {
    let mut found = Found {
        folder: format!("{name}-{version}"),
        limits,
        paths: Paths::default(),
        manifest: None,
    };
    archive::walk_tar_gz(source, &limits.archive, &mut found)?;
    let Some(manifest) = found.manifest else {
        return refused("has no Cargo.toml in its folder");
    };
    manifest.check(name, version)
}

/// What has been found so far.
struct Found<'a> {
    /// The one folder that everything must lie in.
    folder: String,
    limits: &'a Limits,
    paths: Paths,
    manifest: Option<Manifest>,
}

impl Found<'_> {
    /// The path below the folder; empty for the folder itself.
    fn inner<'p>(&self, path: &'p str) -> Result<&'p str, ArtifactError> {
        match path.strip_prefix(self.folder.as_str()) {
            Some("") => Ok(""),
            Some(inner) if inner.starts_with('/') => Ok(&inner[1..]),
            _ => refused(format!("has an entry outside of {}/: {path:?}", self.folder)),
        }
    }
}

impl Visitor for Found<'_> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        let inner = self.inner(path)?;
        if !self.paths.insert(path) {
            return refused(format!("has two files that unpack to one path: {path:?}"));
        }
        // Cargo marks by it that it has unpacked a crate as a whole.
        if inner.eq_ignore_ascii_case(".cargo-ok") {
            return refused("has a file .cargo-ok, which only cargo itself may write");
        }
        if inner == "Cargo.toml" {
            let text = archive::small_file(inner, content, self.limits.manifest_bytes)?;
            self.manifest = Some(Manifest::read(&text)?);
        }
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<(), ArtifactError> {
        self.inner(path).map(|_| ())
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!("has a link, which cargo does not unpack: {path:?}"))
    }
}

/// What of a `Cargo.toml` must agree with the metadata.
#[derive(Deserialize)]
struct Manifest {
    package: ManifestPackage,
}

#[derive(Deserialize)]
struct ManifestPackage {
    name: String,
    version: String,
}

impl Manifest {
    fn read(text: &[u8]) -> Result<Self, ArtifactError> {
        let Ok(text) = std::str::from_utf8(text) else {
            return refused("has a Cargo.toml that is not UTF-8");
        };
        toml::from_str(text).or_else(|error: toml::de::Error| {
            refused(format!("has a malformed Cargo.toml: {}", error.message()))
        })
    }

    fn check(&self, name: &CrateName, version: &Version) -> Result<(), ArtifactError> {
        let ManifestPackage {
            name: own_name,
            version: own_version,
        } = &self.package;
        if own_name == name.as_str() && *own_version == version.to_string() {
            return Ok(());
        }
        refused(format!(
            "is {own_name:.80} {own_version:.80} by its Cargo.toml, but {name} {version} by its metadata"
        ))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::gzip;
    use crate::testing::archives;

    /// A crate of this folder with this `Cargo.toml`, and a library.
    pub(in crate::formats::cargo) fn crate_with(folder: &str, manifest: &str) -> Vec<u8> {
        packed(&[
            (&format!("{folder}/Cargo.toml"), manifest),
            (&format!("{folder}/src/lib.rs"), ""),
        ])
    }

    /// A crate as cargo packs it.
    pub(in crate::formats::cargo) fn crate_of(name: &str, version: &str) -> Vec<u8> {
        crate_with(&format!("{name}-{version}"), &manifest(name, version))
    }

    fn manifest(name: &str, version: &str) -> String {
        format!("[package]\nedition = \"2021\"\nname = \"{name}\"\nversion = \"{version}\"\n")
    }

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        packed_with(files, |_| {})
    }

    fn packed_with(files: &[(&str, &str)], more: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut tar = archives::tar(files);
        more(&mut tar);
        gzip(&tar.into_inner().unwrap())
    }

    fn inspect_with(artifact: &[u8], limits: &Limits) -> Result<(), ArtifactError> {
        let (name, version) = ("left".parse().unwrap(), "1.0.0".parse().unwrap());
        inspect(Cursor::new(artifact), limits, &name, &version)
    }

    #[track_caller]
    fn check(artifact: Vec<u8>, expected: Result<(), &str>) {
        match (inspect_with(&artifact, &Limits::default()), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    fn left() -> String {
        manifest("left", "1.0.0")
    }

    #[test]
    fn a_crate_is_what_its_metadata_says() {
        check(crate_of("left", "1.0.0"), Ok(()));
        check(packed(&[]), Err("no Cargo.toml"));
        check(
            packed(&[("left-1.0.0/src/Cargo.toml", &left())]),
            Err("no Cargo.toml"),
        );
        let with = |manifest: &str| crate_with("left-1.0.0", manifest);
        check(
            with(&manifest("Left", "1.0.0")),
            Err("is Left 1.0.0 by its Cargo.toml"),
        );
        check(with(&manifest("left", "1.0.0+x")), Err("by its Cargo.toml"));
        check(with("[package]\nname = 1"), Err("malformed Cargo.toml"));
        check(with("[workspace]"), Err("malformed Cargo.toml"));
        check(
            with(&format!("x = {}", "[".repeat(100_000))),
            Err("malformed Cargo.toml"),
        );
        check(with(&" ".repeat(2 << 20)), Err("Cargo.toml of more than"));
        check(b"not gzip".to_vec(), Err("is damaged"));
    }

    #[test]
    fn what_cargo_would_not_unpack_is_refused() {
        let with = |path: &str| packed(&[("left-1.0.0/Cargo.toml", &left()), (path, "x")]);
        check(with("left-1.0.0/src/lib.rs"), Ok(()));
        check(with("left-1.0.01/lib.rs"), Err("outside of left-1.0.0/"));
        check(with("other/lib.rs"), Err("outside of left-1.0.0/"));
        check(with("lib.rs"), Err("outside of left-1.0.0/"));
        check(with("left-1.0.0/.cargo-ok"), Err(".cargo-ok"));
        check(with("left-1.0.0/cargo.TOML"), Err("unpack to one path"));
        let file: &[(&str, &str)] = &[("left-1.0.0/Cargo.toml", &left())];
        let entry = |kind: tar::EntryType, path: &'static str, link: Option<&'static str>| {
            packed_with(file, |tar| {
                let mut header = tar::Header::new_ustar();
                header.set_entry_type(kind);
                header.set_size(0);
                header.set_mode(0o755);
                match link {
                    Some(target) => tar.append_link(&mut header, path, target).unwrap(),
                    None => tar.append_data(&mut header, path, std::io::empty()).unwrap(),
                }
            })
        };
        check(entry(tar::EntryType::Directory, "left-1.0.0/src/", None), Ok(()));
        check(
            entry(tar::EntryType::Directory, "other/", None),
            Err("outside of left-1.0.0/"),
        );
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link] {
            check(
                entry(kind, "left-1.0.0/x", Some("left-1.0.0/y")),
                Err("has a link"),
            );
        }
        check(
            entry(tar::EntryType::Symlink, "left-1.0.0/x", Some("../../etc")),
            Err("link"),
        );
        check(
            entry(tar::EntryType::Fifo, "left-1.0.0/x", None),
            Err("neither a file nor a folder"),
        );
    }

    #[test]
    fn a_bomb_is_stopped() {
        let limits = Limits {
            archive: archive::Limits {
                unpacked_bytes: 1 << 20,
                ratio: 10_000,
                ..archive::Limits::default()
            },
            ..Limits::default()
        };
        let zeroes = "\0".repeat(2 << 20);
        let bomb = packed(&[("left-1.0.0/Cargo.toml", &left()), ("left-1.0.0/x", &zeroes)]);
        let error = inspect_with(&bomb, &limits).unwrap_err().to_string();
        assert_eq!(error, "the crate unpacks to more than 1048576 bytes");
    }

    proptest! {
        #[test]
        fn manifests_never_panic(text in any::<String>()) {
            let _ = Manifest::read(text.as_bytes());
        }
    }
}
