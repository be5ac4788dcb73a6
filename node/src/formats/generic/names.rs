//! Names of packages, versions and files, as GitLab takes them, and paths of the raw view.

use std::fmt;
use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

use crate::formats::listing::AFTER_NAMES;
use crate::registry::names::InvalidName;

const MAX_NAME_BYTES: usize = 255;

/// A file's whole path, with its directories.
const MAX_FILE_BYTES: usize = 1024;

/// The word that stands for the greatest version in downloads.
pub(super) const LATEST: &str = "latest";

/// The name of a package.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

/// A version, which is any word: `1.0` and `1.00` are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionName(String);

/// The path of a file inside of a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// A path in the raw view: any text between slashes, in Unicode's form NFC, so that what looks
/// the same is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RawPath(String);

fn check(kind: &'static str, text: &str, extra: &[u8]) -> Result<(), InvalidName> {
    let wrong = |reason| Err(InvalidName::new(kind, text, reason));
    if text.is_empty() {
        return wrong("is empty");
    }
    if text.len() > MAX_NAME_BYTES {
        return wrong("is longer than 255 characters");
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte) || extra.contains(&byte);
    if !text.bytes().all(fits) {
        return wrong("holds a character that is not a letter, a digit, or one of its punctuation marks");
    }
    Ok(())
}

fn check_reserved(kind: &'static str, text: &str) -> Result<(), InvalidName> {
    let wrong = |reason| Err(InvalidName::new(kind, text, reason));
    if text == LATEST || text == "-" {
        return wrong("is a reserved word");
    }
    if text.starts_with('.') {
        return wrong("begins with '.'");
    }
    Ok(())
}

impl FromStr for PackageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        check("package name", text, b"")?;
        check_reserved("package name", text)?;
        Ok(Self(text.into()))
    }
}

impl FromStr for VersionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        check("version", text, b"")?;
        check_reserved("version", text)?;
        if text.contains("..") {
            return Err(InvalidName::new("version", text, "holds '..'"));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for FileName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("file name", text, reason));
        if text.len() > MAX_FILE_BYTES {
            return wrong("is longer than 1024 characters");
        }
        for segment in text.split('/') {
            check("file name", segment, b"~@")?;
            if segment == "." || segment == ".." {
                return wrong("has a '.' or '..' segment");
            }
            if segment.starts_with(['~', '@']) || segment.ends_with(['~', '@']) {
                return wrong("begins or ends with '~' or '@'");
            }
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for RawPath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("path", text, reason));
        if text.len() > MAX_FILE_BYTES {
            return wrong("is longer than 1024 bytes");
        }
        let text = ComposingNormalizerBorrowed::new_nfc().normalize(text);
        if text.len() > MAX_FILE_BYTES {
            return wrong("is longer than 1024 bytes");
        }
        for segment in text.split('/') {
            if segment.is_empty() || segment == "." || segment == ".." {
                return wrong("has an empty, '.' or '..' segment");
            }
            if segment.len() > MAX_NAME_BYTES {
                return wrong("has a segment that is longer than 255 bytes");
            }
            let fits = |character: char| !character.is_control() && !['\\', AFTER_NAMES].contains(&character);
            if !segment.chars().all(fits) {
                return wrong("holds a control character or a backslash");
            }
        }
        Ok(Self(text.into_owned()))
    }
}

impl FileName {
    /// The part after the last slash.
    pub fn base(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

text!(PackageName VersionName FileName RawPath);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_packages() {
        for name in ["tool", "My.Tool_2", "a+b", "0", &"a".repeat(255)] {
            assert!(name.parse::<PackageName>().is_ok(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "a b",
            "a/b",
            "a~b",
            "@a",
            "é",
            "-",
            "latest",
            "a\n",
            &"a".repeat(256),
        ] {
            assert!(name.parse::<PackageName>().is_err(), "{name}");
        }
    }

    #[test]
    fn versions() {
        for version in ["1.0.0", "1.00", "v1", "1.0+build-7_x"] {
            assert!(version.parse::<VersionName>().is_ok(), "{version}");
        }
        for version in ["", "..", "1..0", "latest", "-", ".1", "1 0", "1~0"] {
            assert!(version.parse::<VersionName>().is_err(), "{version}");
        }
    }

    #[test]
    fn names_of_files() {
        for name in [
            "tool.tgz",
            "a~b@c",
            "dir/sub/x",
            ".env",
            "a+b-c_d",
            &vec!["a".repeat(255); 4].join("/"),
        ] {
            assert!(name.parse::<FileName>().is_ok(), "{name}");
        }
        for name in [
            "",
            "a b",
            "~a",
            "a~",
            "@a",
            "a@",
            "dir/~a",
            "dir//x",
            "dir/",
            "/x",
            "../x",
            "a/./b",
            "a;b",
            "a\\b",
            "é",
            &"a".repeat(256),
            &vec!["a".repeat(255); 5].join("/"),
        ] {
            assert!(name.parse::<FileName>().is_err(), "{name}");
        }
        assert_eq!("dir/sub/x.tgz".parse::<FileName>().unwrap().base(), "x.tgz");
    }

    #[test]
    fn paths_of_the_raw_view() {
        for path in [
            "a",
            "a b/ü;k=v",
            "~@",
            ".hidden/x",
            "-",
            "latest",
            &vec!["é".repeat(100); 5].join("/"),
        ] {
            assert!(path.parse::<RawPath>().is_ok(), "{path}");
        }
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "a/../b",
            "a\\b",
            "a\0",
            "a\n",
            "a\u{85}",
            "\u{10ffff}",
            &"a".repeat(256),
            &vec!["a".repeat(255); 5].join("/"),
        ] {
            assert!(path.parse::<RawPath>().is_err(), "{path}");
        }
        let composed: RawPath = "\u{e9}/x".parse().unwrap();
        assert_eq!("e\u{301}/x".parse::<RawPath>().unwrap(), composed);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_clean(text in "\\PC{0,20}|[a./~@ ]{0,8}") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
            if let Ok(path) = text.parse::<RawPath>() {
                prop_assert_eq!(path.as_str().parse::<RawPath>().unwrap(), path.clone());
                prop_assert!(path.as_str().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
            if let Ok(name) = text.parse::<PackageName>() {
                prop_assert!(!name.as_str().contains('/'));
            }
        }
    }
}
