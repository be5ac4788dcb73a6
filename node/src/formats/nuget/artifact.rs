//! Reads packages as they pass by: what they say of themselves, and whether they are safe to unpack.
//!
//! A package is a ZIP archive by the Open Packaging Conventions: the names in it may be escaped as in URLs, and one
//! `.nuspec` lies at its top. A package of symbols is the same with Portable PDBs in it, and little else.

use std::io::{self, Read};

use percent_encoding::percent_decode_str;

use super::nuspec::{MAX_NUSPEC_BYTES, Nuspec, NuspecError};
use super::pdb;
use crate::archive::{self, Compressed, Paths, Refused, Visitor, each_piece, small_file, walk_zip};

/// The most PDBs in a package of symbols.
pub(super) const MAX_PDBS: usize = 500;

/// What else may be in a package of symbols, by the ends of names.
const BESIDE_SYMBOLS: [&str; 6] = [".pdb", ".nuspec", ".xml", ".psmdcp", ".rels", ".p7s"];

/// How much a package may hold.
pub(super) const LIMITS: archive::Limits = archive::Limits {
    unpacked_bytes: 8 << 30,
    ratio: 200,
    ratio_from_bytes: 10 << 20,
    entries: 100_000,
    path_bytes: 1024,
    folders: 64,
};

/// Why a package was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// It is no package, or not safe to unpack.
    #[error("the package {0}")]
    Refused(#[from] Refused),
    /// What it says of itself.
    #[error("the .nuspec of the package is not acceptable: {0}")]
    Nuspec(#[from] NuspecError),
}

fn refused<T>(why: impl Into<String>) -> Result<T, ArtifactError> {
    Err(Refused(why.into()).into())
}

/// The path that unpackers make of the name of an entry.
pub(super) fn unescaped(name: &str) -> Result<String, Refused> {
    let decoded = percent_decode_str(name).decode_utf8();
    let decoded = decoded.map_err(|_| Refused(format!("has a name that is not UTF-8: {name:.80?}")))?;
    let path = decoded.replace('\\', "/");
    let is_plain = path.split('/').all(|part| !["", ".", ".."].contains(&part));
    if !is_plain || path.contains(char::is_control) || path.as_bytes().get(1) == Some(&b':') {
        return Err(Refused(format!("has an entry with an unsafe path: {path:.80?}")));
    }
    Ok(path)
}

/// Whether a path is that of the document at the top.
fn is_nuspec(path: &str) -> bool {
    !path.contains('/') && ends_with(path, ".nuspec")
}

fn ends_with(path: &str, end: &str) -> bool {
    path.len() >= end.len() && path.as_bytes()[path.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

/// Reads a package to its end.
pub(super) fn inspect(source: impl Compressed, limits: &archive::Limits) -> Result<Nuspec, ArtifactError> {
    let mut found = Found::default();
    walk_zip(source, limits, &mut found)?;
    let nuspec = found.nuspec()?;
    for file in nuspec.files() {
        // What was not met is new.
        if found.paths.insert(file) {
            return refused(format!("has no file {file:?}, of which its .nuspec speaks"));
        }
    }
    Ok(nuspec)
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    paths: Paths,
    nuspec: Option<Vec<u8>>,
}

impl Found {
    /// Takes a file into account; gives its path.
    fn meet(&mut self, name: &str, content: &mut dyn Read) -> Result<String, ArtifactError> {
        let path = unescaped(name)?;
        if !self.paths.insert(&path) {
            return refused(format!("has two files that unpack to one path: {path:.80?}"));
        }
        if is_nuspec(&path) {
            let document = small_file(&path, content, MAX_NUSPEC_BYTES)?;
            if self.nuspec.replace(document).is_some() {
                return refused("has more than one .nuspec at its top");
            }
        }
        Ok(path)
    }

    fn nuspec(&self) -> Result<Nuspec, ArtifactError> {
        match &self.nuspec {
            Some(document) => Ok(Nuspec::read(document)?),
            None => refused("has no .nuspec at its top"),
        }
    }
}

impl Visitor for Found {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        self.meet(path, content).map(|_| ())
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!("has a link: {path:.80?}"))
    }
}

/// What is given the PDBs of a package of symbols, while they pass by.
pub(super) trait Keep {
    /// A PDB begins.
    fn begin(&mut self) -> io::Result<()>;

    /// A piece of it.
    fn piece(&mut self, piece: &[u8]) -> io::Result<()>;

    /// It ends, and has this name and number; or it is none that debuggers could ask for.
    fn end(&mut self, known: Option<(String, String)>) -> io::Result<()>;
}

/// Reads a package of symbols to its end. An old one, which says nothing of being one, may hold anything; of its PDBs,
/// those are given out that are portable.
pub(super) fn inspect_symbols(
    source: impl Compressed,
    limits: &archive::Limits,
    keep: impl Keep,
) -> Result<Nuspec, ArtifactError> {
    let mut symbols = Symbols {
        found: Found::default(),
        keep,
        pdbs: 0,
        has_portable: false,
        other_pdb: None,
        other_file: None,
    };
    walk_zip(source, limits, &mut symbols)?;
    let nuspec = symbols.found.nuspec()?;
    if nuspec.is_for_symbols() {
        if let Some(path) = symbols.other_file {
            return refused(format!("holds symbols, and may not hold {path:.80?}"));
        }
        if let Some(path) = symbols.other_pdb {
            return refused(format!("has a PDB that is not portable: {path:.80?}"));
        }
    }
    match symbols.has_portable {
        true => Ok(nuspec),
        false => refused("has no portable PDB"),
    }
}

struct Symbols<K> {
    found: Found,
    keep: K,
    /// Of any kind: what each one is shows only when it is on its way to where it is kept.
    pdbs: usize,
    has_portable: bool,
    other_pdb: Option<String>,
    other_file: Option<String>,
}

impl<K: Keep> Visitor for Symbols<K> {
    type Error = ArtifactError;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), ArtifactError> {
        let path = self.found.meet(path, content)?;
        if !BESIDE_SYMBOLS.iter().any(|end| ends_with(&path, end)) {
            self.other_file.get_or_insert(path);
            return Ok(());
        }
        if !ends_with(&path, ".pdb") {
            return Ok(());
        }
        if self.pdbs >= MAX_PDBS {
            return refused(format!("has more than {MAX_PDBS} PDBs"));
        }
        self.pdbs += 1;
        let damaged = |error: io::Error| Refused(format!("is damaged: {error}"));
        self.keep.begin().map_err(damaged)?;
        let mut seen = Seen {
            content,
            keep: &mut self.keep,
        };
        let signature = pdb::signature(&mut seen).map_err(damaged)?;
        each_piece(&mut seen, |_| {})?;
        let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        match &signature {
            Some(_) => self.has_portable = true,
            None => self.other_pdb = Some(path),
        }
        let known = signature.map(|signature| (name, signature));
        Ok(self.keep.end(known).map_err(damaged)?)
    }

    fn link(&mut self, path: &str) -> Result<(), ArtifactError> {
        refused(format!("has a link: {path:.80?}"))
    }
}

/// Content that is kept while it is read.
struct Seen<'a, K> {
    content: &'a mut dyn Read,
    keep: &'a mut K,
}

impl<K: Keep> Read for Seen<'_, K> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(out)?;
        self.keep.piece(&out[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::nuspec::tests::nuspec_with;
    use super::super::pdb::tests::pdb;
    use super::*;
    use crate::archive::zip_tests::Builder;

    /// An archive of these files.
    pub(in crate::formats::nuget) fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let stored = |zip: Builder, (path, content): &(&str, &[u8])| zip.stored(path, content);
        files.iter().fold(Builder::default(), stored).end()
    }

    /// A package with more metadata.
    pub(in crate::formats::nuget) fn package_with(id: &str, version: &str, more: &str) -> Vec<u8> {
        let nuspec = nuspec_with(id, version, more);
        packed(&[
            ("_rels/.rels", b"<Relationships/>"),
            (&format!("{id}.nuspec"), nuspec.as_bytes()),
            ("lib/net45/A%20B.dll", b"MZ"),
            ("docs/README.md", b"# Read me"),
            ("images/icon.png", b"\x89PNG"),
            ("LICENSE.txt", b"Do as you like"),
            ("[Content_Types].xml", b"<Types/>"),
        ])
    }

    /// A package.
    pub(in crate::formats::nuget) fn package_of(id: &str, version: &str) -> Vec<u8> {
        package_with(id, version, "")
    }

    /// A package of symbols with one PDB of this GUID.
    pub(in crate::formats::nuget) fn symbols_of(id: &str, version: &str, guid: [u8; 16]) -> Vec<u8> {
        let kind = "<packageTypes><packageType name=\"SymbolsPackage\"/></packageTypes>";
        packed(&[
            (&format!("{id}.nuspec"), nuspec_with(id, version, kind).as_bytes()),
            (&format!("lib/net45/{id}.pdb"), &pdb(guid)),
            ("[Content_Types].xml", b"<Types/>"),
        ])
    }

    #[track_caller]
    fn check(package: Vec<u8>, expected: Result<&str, &str>) {
        match (inspect(Cursor::new(package.as_slice()), &LIMITS), expected) {
            (Ok(nuspec), Ok(id)) => assert_eq!(nuspec.id.as_str(), id),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("expected {expected:?}, got {outcome:?}"),
        }
    }

    #[test]
    fn a_package_is_what_its_nuspec_says() {
        let nuspec = nuspec_with("Acme.Lib", "1.0.0", "");
        check(package_of("Acme.Lib", "1.0.0"), Ok("Acme.Lib"));
        check(packed(&[("other.NUSPEC", nuspec.as_bytes())]), Ok("Acme.Lib"));
        check(packed(&[("a%20b.nuspec", nuspec.as_bytes())]), Ok("Acme.Lib"));
        check(packed(&[("x", b"x")]), Err("no .nuspec"));
        check(packed(&[("lib/a.nuspec", nuspec.as_bytes())]), Err("no .nuspec"));
        check(
            packed(&[("a.nuspec", nuspec.as_bytes()), ("b.nuspec", nuspec.as_bytes())]),
            Err("more than one .nuspec"),
        );
        check(packed(&[("a.nuspec", b"<package/>")]), Err("has no id"));
        check(
            packed(&[("a.nuspec", &[b' '; 2 << 20])]),
            Err("a.nuspec of more than"),
        );
        check(Vec::new(), Err("not a ZIP archive"));
        check(b"PK\x03\x04".to_vec(), Err("is damaged"));
        check(b"not a zip".to_vec(), Err("not a ZIP archive"));
        let package = package_of("Acme.Lib", "1.0.0");
        check(package[..package.len() - 5].to_vec(), Err("is damaged"));
    }

    #[test]
    fn files_that_it_speaks_of_are_there() {
        let with = |more: &str| package_with("Acme.Lib", "1.0.0", more);
        check(
            with("<icon>images\\icon.png</icon><readme>docs/readme.MD</readme>"),
            Ok("Acme.Lib"),
        );
        check(
            with("<license type=\"file\">LICENSE.txt</license>"),
            Ok("Acme.Lib"),
        );
        check(with("<icon>icon.png</icon>"), Err("has no file \"icon.png\""));
    }

    #[test]
    fn what_would_not_unpack_the_same_everywhere_is_refused() {
        let nuspec = nuspec_with("Acme.Lib", "1.0.0", "");
        let with = |path: &str| packed(&[("a.nuspec", nuspec.as_bytes()), ("lib/x", b"x"), (path, b"x")]);
        check(with("content%5Cx%20y.txt"), Ok("Acme.Lib"));
        for path in ["lib/X", "lib/%78", "lib%2Fx", "lib%5cx"] {
            check(with(path), Err("unpack to one path"));
        }
        for path in [
            "%2e%2e/x",
            "..%2fx",
            "a%5c..%5cx",
            "%2Fx",
            "a%00b",
            "C%3a/x",
            "../x",
            "a\\x",
        ] {
            check(with(path), Err("unsafe path"));
        }
        check(with("a%ffb"), Err("not UTF-8"));
    }

    /// What came of the PDBs of a package.
    #[derive(Default)]
    struct Kept {
        open: Vec<u8>,
        known: Vec<(String, String, usize)>,
    }

    impl Keep for &mut Kept {
        fn begin(&mut self) -> io::Result<()> {
            self.open.clear();
            Ok(())
        }

        fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
            self.open.extend_from_slice(piece);
            Ok(())
        }

        fn end(&mut self, known: Option<(String, String)>) -> io::Result<()> {
            let bytes = self.open.len();
            self.known
                .extend(known.map(|(name, signature)| (name, signature, bytes)));
            Ok(())
        }
    }

    fn symbols(package: &[u8]) -> Result<Vec<(String, String, usize)>, String> {
        let mut kept = Kept::default();
        inspect_symbols(Cursor::new(package), &LIMITS, &mut kept).map_err(|error| error.to_string())?;
        Ok(kept.known)
    }

    #[test]
    fn symbols_are_known_by_name_and_number() {
        let found = symbols(&symbols_of("Acme.Lib", "1.0.0", [7; 16])).unwrap();
        let signature = format!("{}ffffffff", "07".repeat(16));
        assert_eq!(found, [("acme.lib.pdb".into(), signature, pdb([7; 16]).len())]);
    }

    #[test]
    fn packages_of_symbols_hold_little_else() {
        let kind = "<packageTypes><packageType name=\"SymbolsPackage\"/></packageTypes>";
        let (new, old) = (nuspec_with("a", "1.0", kind), nuspec_with("a", "1.0", ""));
        let portable = pdb([1; 16]);
        let with = |nuspec: &str, files: &[(&str, &[u8])]| {
            symbols(&packed(&[&[("a.nuspec", nuspec.as_bytes())], files].concat()))
        };
        assert!(
            with(&new, &[("a.dll", b"MZ"), ("a.pdb", &portable)])
                .unwrap_err()
                .contains("may not hold")
        );
        assert!(
            with(&new, &[("a.pdb", &portable), ("b.pdb", b"x")])
                .unwrap_err()
                .contains("not portable")
        );
        assert!(with(&new, &[]).unwrap_err().contains("no portable PDB"));
        assert!(
            with(&old, &[("b.pdb", b"x")])
                .unwrap_err()
                .contains("no portable PDB")
        );
        let found = with(
            &old,
            &[("a.dll", b"MZ"), ("lib/A.PDB", &portable), ("b.pdb", b"x")],
        )
        .unwrap();
        assert_eq!((found.len(), found[0].0.as_str()), (1, "a.pdb"));
        // Each is on its way to the blob store before it is known what it is.
        let names: Vec<String> = (0..=MAX_PDBS).map(|number| format!("{number}.pdb")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        assert!(with(&old, &many).unwrap_err().contains("more than 500 PDBs"));
    }

    #[test]
    fn a_bomb_is_stopped() {
        let limits = archive::Limits {
            unpacked_bytes: 1000,
            ..LIMITS
        };
        let package = packed(&[("x", &[0; 2000])]);
        let error = inspect(Cursor::new(package.as_slice()), &limits).unwrap_err();
        assert_eq!(error.to_string(), "the package unpacks to more than 1000 bytes");
    }

    proptest! {
        #[test]
        fn damaged_packages_never_panic(flips in prop::collection::vec((0..5000usize, any::<u8>()), 1..6)) {
            for mut bytes in [package_of("a", "1.0"), symbols_of("a", "1.0", [3; 16])] {
                let len = bytes.len();
                for (at, byte) in &flips {
                    bytes[at % len] = *byte;
                }
                let _ = inspect(Cursor::new(bytes.as_slice()), &LIMITS);
                let _ = symbols(&bytes);
            }
        }

        #[test]
        fn a_path_that_is_taken_stays_inside(name in "[a-c./\\\\%25eEfF:]{0,12}") {
            if let Ok(path) = unescaped(&name) {
                prop_assert!(path.split('/').all(|part| !["", ".", ".."].contains(&part)));
            }
        }
    }
}
