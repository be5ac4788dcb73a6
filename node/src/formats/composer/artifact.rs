//! Reads the archive of a package as it passes by: its `composer.json`, and whether it is safe to unpack.
//!
//! A package is a ZIP archive with a `composer.json` at its root, or in the one folder that all else lies in, as
//! forges pack tags: Composer strips such a folder.

use std::io::Read;

use super::manifest::{MAX_BYTES, Manifest, ManifestError};
use crate::archive::{self, Compressed, Paths, Refused, Visitor, small_file, walk_zip};

/// The name of what describes a package.
const FILE: &str = "composer.json";

/// How much an archive may hold.
pub(super) const LIMITS: archive::Limits = archive::Limits {
    unpacked_bytes: 2 << 30,
    ratio: 200,
    ratio_from_bytes: 10 << 20,
    entries: 100_000,
    path_bytes: 1024,
    folders: 64,
};

/// Why an archive was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArtifactError {
    /// It is no archive, or not safe to unpack.
    #[error("the package {0}")]
    Refused(#[from] Refused),
    /// What it says of itself.
    #[error("the composer.json of the package {0}")]
    Manifest(#[from] ManifestError),
}

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(Refused(why.into()).into())
}

/// Reads an archive to its end.
pub(super) fn inspect(source: impl Compressed, limits: &archive::Limits) -> Result<Manifest, ArtifactError> {
    let mut found = Found::default();
    walk_zip(source, limits, &mut found)?;
    let folder = found.folder.filter(|_| !found.has_more);
    match (found.at_root, folder.and(found.in_folder)) {
        (Some(text), _) | (None, Some(text)) => Ok(Manifest::read(&text)?),
        (None, None) => {
            refused("has no composer.json at its root, nor in one folder that holds all the rest")
        }
    }
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    paths: Paths,
    /// The first folder at the root.
    folder: Option<String>,
    /// Whether anything is at the root besides that folder.
    has_more: bool,
    at_root: Option<Vec<u8>>,
    in_folder: Option<Vec<u8>>,
}

impl Found {
    /// The path below the folder, if it lies there.
    fn inner<'p>(&mut self, path: &'p str) -> Option<&'p str> {
        let (folder, inner) = path.split_once('/')?;
        let is_first = self.folder.get_or_insert_with(|| folder.to_owned()) == folder;
        self.has_more |= !is_first;
        is_first.then_some(inner)
    }
}

impl Visitor for Found {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        if !self.paths.insert(path) {
            return refused(format!("has two files that unpack to one path: {path:.80?}"));
        }
        let inner = self.inner(path);
        self.has_more |= !path.contains('/');
        if path == FILE {
            self.at_root = Some(small_file(path, content, MAX_BYTES)?);
        } else if inner == Some(FILE) {
            self.in_folder = Some(small_file(path, content, MAX_BYTES)?);
        }
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<(), ArtifactError> {
        self.inner(&format!("{path}/"));
        Ok(())
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!("has a link: {path:.80?}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use serde_json::{Value, json};

    use super::*;
    use crate::archive::zip_tests::Builder;

    /// A package as its author packs it, with more fields in its `composer.json`.
    pub(in crate::formats::composer) fn package_with(name: &str, version: &str, more: Value) -> Vec<u8> {
        let class = name.split('/').next_back().unwrap();
        let mut manifest = json!({
            "name": name, "version": version, "description": format!("{name} does things"),
            "autoload": {"files": ["src/say.php"]},
        });
        for (field, value) in more.as_object().unwrap() {
            manifest[field] = value.clone();
        }
        let code = format!(
            "<?php\nconst SAID_{} = '{name} {version}';\n",
            class.replace(['-', '.'], "_").to_uppercase()
        );
        zip(&[("composer.json", &manifest.to_string()), ("src/say.php", &code)])
    }

    pub(in crate::formats::composer) fn package(name: &str, version: &str) -> Vec<u8> {
        package_with(name, version, json!({}))
    }

    /// An archive of these files, whose bytes are the same whatever packs them.
    pub(in crate::formats::composer) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
        let builder = Builder::default();
        let builder = files
            .iter()
            .fold(builder, |builder, (name, content)| builder.stored(name, content));
        builder.end()
    }

    fn inspected(artifact: &[u8]) -> Result<Manifest, ArtifactError> {
        inspect(Cursor::new(artifact), &LIMITS)
    }

    #[track_caller]
    fn check(artifact: Vec<u8>, expected: Result<&str, &str>) {
        match (inspected(&artifact), expected) {
            (Ok(manifest), Ok(name)) => assert_eq!(manifest.name.as_str(), name),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    const JSON: &str = r#"{"name":"acme/foo","version":"1.0.0"}"#;

    #[test]
    fn a_package_is_what_its_composer_json_says() {
        check(package("acme/foo", "1.0.0"), Ok("acme/foo"));
        check(zip(&[("composer.json", JSON)]), Ok("acme/foo"));
        check(
            zip(&[
                ("foo-1.0/", ""),
                ("foo-1.0/composer.json", JSON),
                ("foo-1.0/src/a.php", ""),
            ]),
            Ok("acme/foo"),
        );
        // A file beside the folder, and Composer does not strip it.
        check(
            zip(&[("foo/composer.json", JSON), ("README.md", "")]),
            Err("has no composer.json at its root"),
        );
        check(
            zip(&[("foo/composer.json", JSON), ("bar/x", "")]),
            Err("has no composer.json at its root"),
        );
        check(
            zip(&[("bar/", ""), ("foo/composer.json", JSON)]),
            Err("has no composer.json at its root"),
        );
        check(
            zip(&[("a/b/composer.json", JSON)]),
            Err("has no composer.json at its root"),
        );
        check(
            zip(&[("Composer.json", JSON)]),
            Err("has no composer.json at its root"),
        );
        let nested = r#"{"name":"acme/nested"}"#;
        check(
            zip(&[("tests/composer.json", nested), ("composer.json", JSON)]),
            Ok("acme/foo"),
        );
        check(
            zip(&[("composer.json", "{")]),
            Err("the composer.json of the package cannot be read: malformed"),
        );
        check(
            zip(&[("composer.json", &" ".repeat(200 << 10))]),
            Err("composer.json of more than 131072 bytes"),
        );
        check(zip(&[]), Err("has no composer.json"));
        check(b"PK".to_vec(), Err("is not a ZIP archive"));
        check(Vec::new(), Err("is not a ZIP archive"));
        let mut damaged = package("acme/foo", "1.0.0");
        damaged.truncate(damaged.len() - 3);
        check(damaged, Err("is damaged"));
    }

    #[test]
    fn what_is_not_safe_to_unpack_is_refused() {
        let with = |path: &str| zip(&[("composer.json", JSON), (path, "x")]);
        check(with("src/a.php"), Ok("acme/foo"));
        for path in [
            "../x",
            "/etc/passwd",
            "a/../../x",
            "C:/x",
            "a\\b",
            "a//b",
            "a/./b",
            "x\0y",
        ] {
            check(with(path), Err("unsafe path"));
        }
        check(with("composer.json"), Err("two entries of one name"));
        check(with("COMPOSER.json"), Err("two files that unpack to one path"));
        check(
            with(&format!("{}x", "a/".repeat(100))),
            Err("in more than 64 folders"),
        );
        let link = Builder::default()
            .stored("composer.json", JSON)
            .link("x", "../../etc");
        check(link.end(), Err("neither a file nor a folder"));
    }

    #[test]
    fn a_bomb_is_stopped() {
        let limits = archive::Limits {
            unpacked_bytes: 1 << 20,
            ratio: 10_000,
            ..LIMITS
        };
        let bomb = Builder::default()
            .file("composer.json", JSON)
            .file("x", "\0".repeat(2 << 20))
            .end();
        let error = inspect(Cursor::new(bomb.as_slice()), &limits)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the package unpacks to more than 1048576 bytes");
        let many = (0..20).fold(Builder::default(), |builder, at| {
            builder.stored(&format!("{at}"), "")
        });
        let limits = archive::Limits {
            entries: 10,
            ..LIMITS
        };
        let error = inspect(Cursor::new(many.end().as_slice()), &limits)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the package has more than 10 entries");
    }
}
