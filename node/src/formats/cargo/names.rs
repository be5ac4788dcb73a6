//! Names and versions of crates, and where the index of a crate lies.
//!
//! Two names that differ in case, or in `-` and `_`, are one: whoever could publish both could
//! put code under a name that looks like another's. Two versions that differ in build metadata
//! are one too, because cargo does not tell them apart when it resolves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registry::names::InvalidName;

/// The longest name, as the public registry has it.
const MAX_NAME_BYTES: usize = 64;

/// The longest version.
const MAX_VERSION_BYTES: usize = 128;

/// Names that no new crate may take: files that some systems do not have, what the compiler
/// brings along, and what could not be written in a program.
const RESERVED: &[&str] = &[
    // Devices of Windows, where the index may be checked out.
    "aux",
    "con",
    "nul",
    "prn",
    "com0",
    "com1",
    "com2",
    "com3",
    "com4",
    "com5",
    "com6",
    "com7",
    "com8",
    "com9",
    "lpt0",
    "lpt1",
    "lpt2",
    "lpt3",
    "lpt4",
    "lpt5",
    "lpt6",
    "lpt7",
    "lpt8",
    "lpt9",
    // Crates of the compiler.
    "alloc",
    "core",
    "proc_macro",
    "std",
    "test",
    // Keywords.
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// The name of a crate, as it was first published.
///
/// Invariant: an ASCII letter, then up to 63 ASCII letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct CrateName(String);

/// The form of a name that all its spellings have in common.
pub(super) fn spelled_alike(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

impl CrateName {
    /// The name as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What all spellings of the name have in common; under it the crate is kept.
    pub(crate) fn canonical(&self) -> String {
        spelled_alike(&self.0)
    }

    /// Refuses what no new crate may be called.
    pub(crate) fn check_new(&self) -> Result<(), InvalidName> {
        if RESERVED.contains(&self.canonical().as_str()) {
            return Err(InvalidName::new("crate name", &self.0, "is reserved"));
        }
        Ok(())
    }

    /// Where the crate's index lies, below the root of the index.
    pub(crate) fn index_path(&self) -> String {
        let name = self.0.to_ascii_lowercase();
        match name.len() {
            1 => format!("1/{name}"),
            2 => format!("2/{name}"),
            3 => format!("3/{}/{name}", &name[..1]),
            _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
        }
    }

    /// The crate whose index lies there: its name in lower case. None for what is no such path.
    pub(crate) fn of_index_path(path: &str) -> Option<Self> {
        let name: Self = path.rsplit('/').next()?.parse().ok()?;
        (name.index_path() == path).then_some(name)
    }
}

impl FromStr for CrateName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("crate name", text, reason));
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_NAME_BYTES {
            return refuse("is longer than 64 characters");
        }
        if !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return refuse("does not begin with an ASCII letter");
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !text.bytes().all(is_allowed) {
            return refuse("has other characters than ASCII letters, digits, '-' and '_'");
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for CrateName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<CrateName> for String {
    fn from(name: CrateName) -> Self {
        name.0
    }
}

impl fmt::Display for CrateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version of a crate: strict semver, in its order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Version(semver::Version);

impl Version {
    /// What versions that are one have in common: all but the build metadata. Under it the
    /// version is kept.
    pub(crate) fn canonical(&self) -> String {
        let mut version = self.0.clone();
        version.build = semver::BuildMetadata::EMPTY;
        version.to_string()
    }

    /// Whether this is a release candidate, beta or the like.
    pub(crate) fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// Whether somebody who writes `asked` means this version: build metadata may be left out,
    /// but not be another.
    pub(crate) fn is_meant_by(&self, asked: &Version) -> bool {
        asked.0.build.is_empty() && self.canonical() == asked.canonical() || self == asked
    }
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| InvalidName::new("version", text, reason);
        if text.len() > MAX_VERSION_BYTES {
            return Err(refuse("is longer than 128 characters"));
        }
        let version = semver::Version::parse(text);
        version.map(Self).map_err(|_| refuse("is not semver"))
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_as_cargo_has_them() {
        let check = |text: &str, expected: Result<(), &str>| match (text.parse::<CrateName>(), expected) {
            (Ok(name), Ok(())) => assert_eq!(name.to_string(), text),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("{text:?} is {outcome:?}"),
        };
        check("a", Ok(()));
        check("Acme-Util_2", Ok(()));
        check(&"x".repeat(64), Ok(()));
        check("", Err("is empty"));
        check(&"x".repeat(65), Err("longer than 64"));
        check("2fast", Err("begin with an ASCII letter"));
        check("-x", Err("begin with an ASCII letter"));
        check("_x", Err("begin with an ASCII letter"));
        check("\u{fc}ber", Err("begin with an ASCII letter"));
        check("a.b", Err("other characters"));
        check("a/b", Err("other characters"));
        check("a\u{301}", Err("other characters"));
    }

    #[test]
    fn spellings_of_one_name_are_one() {
        let canonical = |text: &str| text.parse::<CrateName>().unwrap().canonical();
        assert_eq!(canonical("Acme-Util"), canonical("acme_util"));
        assert_ne!(canonical("acme-util"), canonical("acmeutil"));
    }

    #[test]
    fn new_crates_do_not_take_reserved_names() {
        for name in ["std", "CON", "proc-macro", "Self", "lpt1"] {
            assert!(name.parse::<CrateName>().unwrap().check_new().is_err(), "{name}");
        }
        assert!("standard".parse::<CrateName>().unwrap().check_new().is_ok());
    }

    #[test]
    fn the_index_lies_where_cargo_looks() {
        for (name, path) in [
            ("A", "1/a"),
            ("ab", "2/ab"),
            ("Abc", "3/a/abc"),
            ("abcd", "ab/cd/abcd"),
            ("Acme-Util", "ac/me/acme-util"),
        ] {
            assert_eq!(name.parse::<CrateName>().unwrap().index_path(), path);
            let found = CrateName::of_index_path(path).unwrap();
            assert_eq!(found.as_str(), name.to_lowercase());
        }
        for path in [
            "",
            "a",
            "1/ab",
            "2/a",
            "3/b/abc",
            "ab/ce/abcd",
            "AB/CD/ABCD",
            "ab/cd/abcd/",
            "/1/a",
            "1//a",
            "ac/me/Acme-Util",
            "co/nf/config.json",
        ] {
            assert_eq!(CrateName::of_index_path(path), None, "{path}");
        }
    }

    #[test]
    fn versions_are_semver_and_build_metadata_is_not_part_of_them() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.10.0") > version("1.9.0"));
        assert!(version("1.0.0") > version("1.0.0-rc.1"));
        assert!(version("1.0.0-rc.1").is_prerelease() && !version("1.0.0+rc.1").is_prerelease());
        assert_eq!(version("1.0.0-a+b").canonical(), "1.0.0-a");
        assert!(version("1.0.0+x").is_meant_by(&version("1.0.0")));
        assert!(version("1.0.0+x").is_meant_by(&version("1.0.0+x")));
        assert!(!version("1.0.0+x").is_meant_by(&version("1.0.0+y")));
        assert!(!version("1.0.0").is_meant_by(&version("1.0.0+x")));
        for text in [
            "",
            "1",
            "1.0",
            "v1.0.0",
            "01.0.0",
            "1.0.0-",
            "1.0.0 ",
            &format!("1.0.0-{}", "x".repeat(130)),
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[A-Za-z0-9_./+-]{0,70}") {
            if let Ok(name) = text.parse::<CrateName>() {
                prop_assert_eq!(name.to_string(), text.clone());
                let found = CrateName::of_index_path(&name.index_path()).unwrap();
                prop_assert_eq!(found.canonical(), name.canonical());
            }
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.to_string(), text.clone());
            }
            if let Some(name) = CrateName::of_index_path(&text) {
                prop_assert_eq!(name.index_path(), text);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>()) {
            let _ = (text.parse::<CrateName>(), text.parse::<Version>(), CrateName::of_index_path(&text));
        }
    }
}
