//! Reads the archive of a module version as it passes by: which module it is, whether the go command
//! would unpack it, and the sums that it would write to `go.sum`.
//!
//! Everything in it lies under `PATH@VERSION/`. The format is in the Go Modules Reference, "Module zip
//! files"; the sums are those of the package `golang.org/x/mod/sumdb/dirhash`.

use std::io::Read;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{Tree, check_path};
use super::gomod::module_of;
use super::names::{ModulePath, Version};
use crate::archive::{self, Compressed, Refused, Visitor, each_piece, small_file, walk_zip};

/// The largest archive, and what it may unpack to, as the go command has it.
pub(super) const MAX_ARCHIVE_BYTES: u64 = 500 << 20;

/// How much a module may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The archive.
    pub(super) archive: archive::Limits,
    /// Bytes of all paths together, which are held until the end.
    pub(super) names_bytes: usize,
    /// Bytes of its `go.mod`.
    pub(super) go_mod_bytes: u64,
    /// Bytes of its `LICENSE`.
    pub(super) licence_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive: archive::Limits {
                unpacked_bytes: MAX_ARCHIVE_BYTES,
                // Nothing that DEFLATE packs grows more: the limit above is enough.
                ratio: 1100,
                ..archive::Limits::default()
            },
            names_bytes: 32 << 20,
            go_mod_bytes: 16 << 20,
            licence_bytes: 16 << 20,
        }
    }
}

/// The sums of a version, as lines of `go.sum` end with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// Of all files.
    pub(super) zip: String,
    /// Of the `go.mod`.
    pub(super) go_mod: String,
}

/// What an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) module: ModulePath,
    pub(super) version: Version,
    /// As it is in the archive, or one that is made for a module without.
    pub(super) go_mod: Bytes,
    pub(super) sums: Sums,
}

/// Why an archive was not accepted.
#[derive(Debug, thiserror::Error)]
#[error("the module {0}")]
pub(super) struct ArtifactError(#[from] Refused);

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(Refused(why.into()).into())
}

/// Reads an archive to its end.
pub(super) fn inspect(source: impl Compressed, limits: &Limits) -> Result<Artifact, ArtifactError> {
    let mut found = Found {
        limits,
        prefix: None,
        tree: Tree::default(),
        hashed: Hashed::default(),
        go_mod: None,
    };
    walk_zip(source, &limits.archive, &mut found)?;
    found.finish()
}

/// What all paths in an archive begin with.
struct Prefix {
    module: ModulePath,
    version: Version,
    /// With the slash at its end.
    text: String,
}

impl Prefix {
    /// What a path begins with.
    fn of(path: &str) -> Result<Self, ArtifactError> {
        let not_so = || Refused(format!("has an entry outside of MODULE@VERSION/: {path:?}"));
        let (module, rest) = path.split_once('@').ok_or_else(not_so)?;
        let (version, _) = rest.split_once('/').ok_or_else(not_so)?;
        let text = format!("{module}@{version}/");
        let wrong = |error: &dyn std::fmt::Display| Refused(format!("lies under {text:?}, but the {error}"));
        let module: ModulePath = module.parse().map_err(|error| wrong(&error))?;
        let version: Version = version.parse().map_err(|error| wrong(&error))?;
        module.check(&version).map_err(|error| wrong(&error))?;
        Ok(Self {
            module,
            version,
            text,
        })
    }
}

/// What has been found so far.
struct Found<'l> {
    limits: &'l Limits,
    prefix: Option<Prefix>,
    tree: Tree,
    hashed: Hashed,
    go_mod: Option<Vec<u8>>,
}

impl Found<'_> {
    /// The path below the prefix, which the first one decides on.
    fn inner<'p>(&mut self, path: &'p str) -> Result<&'p str, ArtifactError> {
        let prefix = match &mut self.prefix {
            Some(prefix) => prefix,
            none => none.insert(Prefix::of(path)?),
        };
        match path.strip_prefix(prefix.text.as_str()) {
            Some(inner) => Ok(inner),
            None => refused(format!("has an entry outside of {}: {path:?}", prefix.text)),
        }
    }

    fn take(&mut self, path: &str, inner: &str, is_folder: bool) -> Result<(), ArtifactError> {
        let wrong = |reason: &str| Refused(format!("has an entry that {reason}: {path:?}"));
        check_path(inner).map_err(wrong)?;
        self.tree.insert(inner, is_folder).map_err(wrong)?;
        Ok(())
    }

    /// Reads a file for its sum; says how large it is.
    fn hash(&mut self, path: &str, content: &mut dyn Read) -> Result<u64, ArtifactError> {
        let mut hasher = Sha256::new();
        let bytes = each_piece(content, |piece| hasher.update(piece))?;
        self.add(path.to_owned(), hasher.finalize().into())?;
        Ok(bytes)
    }

    fn add(&mut self, path: String, digest: [u8; 32]) -> Result<(), ArtifactError> {
        self.hashed.names_bytes += path.len();
        if self.hashed.names_bytes > self.limits.names_bytes {
            return refused(format!(
                "has paths of more than {} bytes together",
                self.limits.names_bytes
            ));
        }
        self.hashed.files.push((path, digest));
        Ok(())
    }

    fn finish(self) -> Result<Artifact, ArtifactError> {
        let Some(Prefix { module, version, .. }) = self.prefix else {
            return refused("has no files");
        };
        let go_mod = match self.go_mod {
            Some(go_mod) => {
                check_go_mod(&go_mod, &module, &version)?;
                go_mod
            }
            None if module.says_major() => {
                return refused(format!("has no go.mod, which {module} must have"));
            }
            None => format!("module {module}\n").into(),
        };
        let sums = Sums {
            zip: self.hashed.sum(),
            go_mod: sum_of_go_mod(&go_mod),
        };
        Ok(Artifact {
            module,
            version,
            go_mod: go_mod.into(),
            sums,
        })
    }
}

fn check_go_mod(go_mod: &[u8], module: &ModulePath, version: &Version) -> Result<(), ArtifactError> {
    let said = module_of(go_mod).map_err(|error| Refused(format!("has a go.mod that {error}")))?;
    if said != module.as_str() {
        return refused(format!("is {module} by its paths, but {said:.200} by its go.mod"));
    }
    if version.is_incompatible() {
        return refused("is +incompatible, which a module with a go.mod cannot be");
    }
    Ok(())
}

impl Visitor for Found<'_> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        let inner = self.inner(path)?;
        self.take(path, inner, false)?;
        let base = inner.rsplit('/').next().unwrap_or_default();
        if base.eq_ignore_ascii_case("go.mod") {
            if inner != "go.mod" {
                return refused(format!(
                    "has a go.mod elsewhere than at its root, or in other letters: {path:?}"
                ));
            }
            let text = small_file(inner, content, self.limits.go_mod_bytes)?;
            self.add(path.to_owned(), Sha256::digest(&text).into())?;
            self.go_mod = Some(text);
            return Ok(());
        }
        let bytes = self.hash(path, content)?;
        if inner == "LICENSE" && bytes > self.limits.licence_bytes {
            return refused(format!(
                "has a LICENSE of more than {} bytes",
                self.limits.licence_bytes
            ));
        }
        Ok(())
    }

    /// Folders are not needed, but counted by the sum if they are there.
    fn folder(&mut self, path: &str) -> Result<(), ArtifactError> {
        let path = format!("{path}/");
        let inner = self.inner(&path)?;
        if let Some(inner) = inner.strip_suffix('/') {
            self.take(&path, inner, true)?;
        }
        self.add(path, Sha256::digest(b"").into())
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!(
            "has a link, which the go command does not unpack: {path:?}"
        ))
    }
}

/// The digests of files.
#[derive(Default)]
struct Hashed {
    files: Vec<(String, [u8; 32])>,
    names_bytes: usize,
}

impl Hashed {
    /// The first and only kind of sum: of a line for each file, in the order of their names.
    fn sum(mut self) -> String {
        self.files.sort_unstable();
        let mut hasher = Sha256::new();
        for (name, digest) in &self.files {
            hasher.update(HEXLOWER.encode(digest));
            hasher.update("  ");
            hasher.update(name);
            hasher.update("\n");
        }
        format!("h1:{}", BASE64.encode(&hasher.finalize()))
    }
}

fn sum_of_go_mod(go_mod: &[u8]) -> String {
    let digest = Sha256::digest(go_mod).into();
    let hashed = Hashed {
        files: vec![("go.mod".into(), digest)],
        names_bytes: 0,
    };
    hashed.sum()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::zip_tests::Builder;

    pub(in crate::formats::go) const MODULE: &str = "git.acme.io/Team/lib";

    /// The archive of a library.
    pub(in crate::formats::go) fn module(path: &str, version: &str) -> Vec<u8> {
        module_with(path, version, "package lib\n")
    }

    /// The same with other content.
    pub(in crate::formats::go) fn module_with(path: &str, version: &str, code: &str) -> Vec<u8> {
        let go_mod = format!("module {path}\n\ngo 1.21\n");
        zip(path, version, &[("go.mod", &go_mod), ("lib.go", code)])
    }

    /// An archive of these files.
    pub(in crate::formats::go) fn zip(path: &str, version: &str, files: &[(&str, &str)]) -> Vec<u8> {
        let builder = Builder::default();
        let builder = files.iter().fold(builder, |builder, (name, content)| {
            builder.file(&format!("{path}@{version}/{name}"), content)
        });
        builder.end()
    }

    fn inspect_with(artifact: &[u8], limits: &Limits) -> Result<Artifact, ArtifactError> {
        inspect(std::io::Cursor::new(artifact), limits)
    }

    #[track_caller]
    fn check(artifact: Vec<u8>, expected: Result<&str, &str>) {
        match (inspect_with(&artifact, &Limits::default()), expected) {
            (Ok(found), Ok(version)) => {
                assert_eq!(format!("{}@{}", found.module, found.version), version);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    #[test]
    fn a_module_says_what_it_is_by_its_paths() {
        check(module(MODULE, "v1.0.0"), Ok("git.acme.io/Team/lib@v1.0.0"));
        check(module("a.b/c/v2", "v2.0.0-rc.1"), Ok("a.b/c/v2@v2.0.0-rc.1"));
        check(module("gopkg.in/c.v1", "v1.2.3"), Ok("gopkg.in/c.v1@v1.2.3"));
        let bare = |path: &str, version: &str| zip(path, version, &[("lib.go", "package lib\n")]);
        check(
            bare("a.b/c", "v2.0.0+incompatible"),
            Ok("a.b/c@v2.0.0+incompatible"),
        );
        check(bare("a.b/c", "v1.0.0"), Ok("a.b/c@v1.0.0"));
        check(
            bare("a.b/c/v2", "v2.0.0"),
            Err("has no go.mod, which a.b/c/v2 must have"),
        );
        check(module("a.b/c", "v2.0.0"), Err("is not of the major version"));
        check(
            module("a.b/c", "v2.0.0+incompatible"),
            Err("with a go.mod cannot be"),
        );
        check(module("a.b/c", "v1.0"), Err("is not 'v' and a whole version"));
        check(module("lib", "v1.0.0"), Err("no dot in it"));
        check(module("Git.acme.io/lib", "v1.0.0"), Err("name of its host"));
        check(zip("a.b/c", "v1.0.0", &[]), Err("has no files"));
        check(
            Builder::default().file("lib/go.mod", "x").end(),
            Err("outside of MODULE@VERSION/"),
        );
        check(
            Builder::default().file("a.b/c@v1.0.0", "x").end(),
            Err("outside of MODULE@VERSION/"),
        );
        check(b"not an archive".to_vec(), Err("is not a ZIP archive"));
        let mut damaged = module(MODULE, "v1.0.0");
        damaged.truncate(damaged.len() - 3);
        check(damaged, Err("is damaged"));
    }

    #[test]
    fn a_go_mod_is_kept_as_it_is_or_made() {
        let go_mod = |artifact: Vec<u8>| inspect_with(&artifact, &Limits::default()).unwrap().go_mod;
        assert_eq!(go_mod(module("a.b/c", "v1.0.0")), "module a.b/c\n\ngo 1.21\n");
        assert_eq!(go_mod(zip("a.b/c", "v1.0.0", &[("c.go", "")])), "module a.b/c\n");
        let with = |text: &str| zip("a.b/c", "v1.0.0", &[("go.mod", text)]);
        check(
            with("module a.b/d\n"),
            Err("is a.b/c by its paths, but a.b/d by its go.mod"),
        );
        check(with("go 1.21\n"), Err("has a go.mod that has no line"));
        let mut limits = Limits::default();
        (limits.go_mod_bytes, limits.licence_bytes) = (20, 20);
        let error = |artifact: Vec<u8>| inspect_with(&artifact, &limits).unwrap_err().to_string();
        let large = " ".repeat(30);
        assert_eq!(
            error(with(&format!("module a.b/c\n{large}"))),
            "the module has a go.mod of more than 20 bytes"
        );
        assert_eq!(
            error(zip("a.b/c", "v1.0.0", &[("LICENSE", &large)])),
            "the module has a LICENSE of more than 20 bytes"
        );
    }

    #[test]
    fn what_the_go_command_would_not_unpack_is_refused() {
        let with = |name: &str| zip("a.b/c", "v1.0.0", &[("a/b.go", ""), (name, "")]);
        check(with("a/c.go"), Ok("a.b/c@v1.0.0"));
        check(with("sub/go.mod"), Err("elsewhere than at its root"));
        check(with("Go.mod"), Err("elsewhere than at its root"));
        check(with("a/B.go"), Err("differs from another only by case"));
        check(with("A/c.go"), Err("differs from another only by case"));
        check(with("a"), Err("is both a file and a folder"));
        check(with("a/b.go"), Err("two entries of one name"));
        check(with("x*y"), Err("must not have"));
        check(with("x."), Err("ends with a dot"));
        check(with("con.go"), Err("no file on some systems"));
        check(with("../x"), Err("unsafe path"));
        let two = Builder::default()
            .file("a.b/c@v1.0.0/x", "")
            .file("a.b/c@v1.0.1/x", "");
        check(two.end(), Err("outside of a.b/c@v1.0.0/"));
        let outside = Builder::default().file("a.b/c@v1.0.0/x", "").file("a.b/", "");
        check(outside.end(), Err("outside of a.b/c@v1.0.0/"));
        let link = Builder::default().link("a.b/c@v1.0.0/x", "/etc/passwd");
        check(link.end(), Err("neither a file nor a folder"));
    }

    /// The sums are those that the go command 1.26 prints for such archives.
    #[test]
    fn sums_are_those_of_the_go_command() {
        let sums = |artifact: Vec<u8>| inspect_with(&artifact, &Limits::default()).unwrap().sums;
        let own = sums(module(MODULE, "v1.0.0"));
        assert_eq!(own.zip, "h1:NewVwew420FQTzkyaGvFuyYH8rIKny8aCmRfNGgllIM=");
        assert_eq!(own.go_mod, "h1:kllLFqfnEkWgd11ybpDHRJoQN28eRkWQJpa+A5hePLA=");
        let folders = Builder::default()
            .file("a.b/c@v1.0.0/", "")
            .file("a.b/c@v1.0.0/sub/", "")
            .file("a.b/c@v1.0.0/sub/x.go", "package sub\n")
            .file("a.b/c@v1.0.0/go.mod", "module a.b/c\n");
        assert_eq!(
            sums(folders.end()).zip,
            "h1:GhLL1aYbmpyKtd4r8WWDXA96NWSMrgQV58V1+rWjxQc="
        );
    }

    #[test]
    fn an_archive_that_grows_without_measure_is_stopped() {
        let limits = Limits {
            archive: archive::Limits {
                unpacked_bytes: 1 << 20,
                ..Limits::default().archive
            },
            names_bytes: 100,
            ..Limits::default()
        };
        let zeroes = "\0".repeat(2 << 20);
        let error = |artifact: Vec<u8>| inspect_with(&artifact, &limits).unwrap_err().to_string();
        let bomb = zip("a.b/c", "v1.0.0", &[("x", &zeroes)]);
        assert_eq!(error(bomb), "the module unpacks to more than 1048576 bytes");
        let long = "x".repeat(50);
        let names = zip("a.b/c", "v1.0.0", &[(&long, ""), (&format!("{long}y"), "")]);
        assert_eq!(
            error(names),
            "the module has paths of more than 100 bytes together"
        );
    }

    proptest! {
        #[test]
        fn paths_in_modules_never_panic(path in "[a-c./@v1-]{1,20}/?") {
            let _ = inspect_with(&Builder::default().file(&path, "x").end(), &Limits::default());
        }
    }
}
