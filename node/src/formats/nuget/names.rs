//! Names and versions of packages, as NuGet's clients compare them.
//!
//! Case never tells names or versions apart. A version has two to four numbers, or one; `1`, `1.0` and `1.0.0.0` are
//! one version, leading zeros say nothing, and neither does what follows a `+`.
//!
//! <https://learn.microsoft.com/nuget/concepts/package-versioning>

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registry::names::InvalidName;

/// The longest name.
const MAX_ID_BYTES: usize = 100;

/// The longest version, as the public gallery has it; with what follows a `+`.
const MAX_VERSION_BYTES: usize = 128;

/// The name of a package, as it was written.
///
/// Invariant: words of ASCII letters, digits and `_`, with single `.` or `-` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PackageId(String);

/// The form of a name that all its spellings have in common.
pub(super) fn spelled_alike(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl PackageId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What all spellings of the name have in common; under it the package is kept.
    pub(crate) fn canonical(&self) -> String {
        spelled_alike(&self.0)
    }
}

impl FromStr for PackageId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("package id", text, reason));
        if text.len() > MAX_ID_BYTES {
            return refuse("is longer than 100 characters");
        }
        let is_word_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_word_byte);
        if !text.split(['.', '-']).all(is_word) {
            return refuse("is not of ASCII letters, digits and '_', with single '.' or '-' between them");
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for PackageId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<PackageId> for String {
    fn from(id: PackageId) -> Self {
        id.0
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version. Two are equal that clients take for one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Version {
    /// As it was written.
    text: String,
    numbers: [u32; 4],
    labels: Vec<Label>,
    /// What follows the `+`.
    build: Option<String>,
}

/// A part of what follows the hyphen.
#[derive(Clone, Debug)]
enum Label {
    /// Compared as a number. As it was written, and what it is.
    Number(String, i32),
    /// Compared as text, whatever its case.
    Text(String),
}

impl Label {
    fn of(text: &str) -> Self {
        // What does not fit is text to clients.
        match text.parse() {
            Ok(number) => Self::Number(text.into(), number),
            Err(_) => Self::Text(text.into()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Number(text, _) | Self::Text(text) => text,
        }
    }

    /// What all spellings of a label have in common.
    fn canonical(&self) -> String {
        match self {
            Self::Number(_, number) => number.to_string(),
            Self::Text(text) => text.to_ascii_lowercase(),
        }
    }
}

impl Version {
    /// As it was written, which is how people are shown it.
    pub(crate) fn as_written(&self) -> &str {
        &self.text
    }

    /// In the one form that clients make of all ways to write it, but for its case.
    pub(crate) fn normalised(&self) -> String {
        let [major, minor, patch, revision] = self.numbers;
        let mut text = format!("{major}.{minor}.{patch}");
        if revision > 0 {
            text.push_str(&format!(".{revision}"));
        }
        for (at, label) in self.labels.iter().enumerate() {
            text.push(if at == 0 { '-' } else { '.' });
            text.push_str(label.as_str());
        }
        text
    }

    /// The same with what follows the `+`.
    pub(crate) fn full(&self) -> String {
        match &self.build {
            Some(build) => format!("{}+{build}", self.normalised()),
            None => self.normalised(),
        }
    }

    /// What URLs have of it.
    pub(crate) fn in_urls(&self) -> String {
        self.normalised().to_ascii_lowercase()
    }

    /// What all versions have in common that are equal; under it the version is kept.
    pub(crate) fn canonical(&self) -> String {
        let [major, minor, patch, revision] = self.numbers;
        let labels: Vec<_> = self.labels.iter().map(Label::canonical).collect();
        let hyphen = if labels.is_empty() { "" } else { "-" };
        match revision {
            0 => format!("{major}.{minor}.{patch}{hyphen}{}", labels.join(".")),
            _ => format!("{major}.{minor}.{patch}.{revision}{hyphen}{}", labels.join(".")),
        }
    }

    /// Whether this is a release candidate, beta or the like.
    pub(crate) fn is_prerelease(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Whether clients that know of the first SemVer only cannot read it.
    pub(crate) fn is_semver2(&self) -> bool {
        self.labels.len() > 1 || self.build.is_some()
    }

    /// Bytes that sort as versions do. Those of equal versions are equal, and no key is the beginning of another.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        for number in self.numbers {
            key.extend_from_slice(&number.to_be_bytes());
        }
        if self.labels.is_empty() {
            key.push(1);
            return key;
        }
        key.push(0);
        for label in &self.labels {
            match label {
                // Numbers come before texts, and negative ones before others: a label may begin with a hyphen.
                Label::Number(_, number) => {
                    key.push(1);
                    key.extend_from_slice(&(number.cast_unsigned() ^ (1 << 31)).to_be_bytes());
                }
                Label::Text(text) => {
                    key.push(2);
                    key.extend_from_slice(text.to_ascii_lowercase().as_bytes());
                    key.push(0);
                }
            }
        }
        key.push(0);
        key
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Splits `1.2.3-rc.1+build` at the first of either sign.
fn parts_of(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    match text.split_once('-') {
        Some((numbers, labels)) => (numbers, Some(labels), build),
        None => (text, None, build),
    }
}

fn are_identifiers(text: &str) -> bool {
    let is_identifier = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.split('.').all(is_identifier)
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| InvalidName::new("package version", text, reason);
        if text.len() > MAX_VERSION_BYTES {
            return Err(refuse("is longer than 128 characters"));
        }
        let (digits, labels, build) = parts_of(text);
        let mut numbers = [0; 4];
        let written: Vec<&str> = digits.split('.').collect();
        if written.len() > numbers.len() {
            return Err(refuse("has more than four numbers"));
        }
        for (number, written) in numbers.iter_mut().zip(&written) {
            let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
            let fits = |number: &u32| *number <= i32::MAX.cast_unsigned();
            let parsed = written.parse().ok().filter(|number| is_number && fits(number));
            *number = parsed.ok_or_else(|| refuse("does not begin with numbers up to 2147483647"))?;
        }
        if !labels.into_iter().chain(build).all(are_identifiers) {
            return Err(refuse("has a label that is not of ASCII letters, digits and '-'"));
        }
        let version = Self {
            text: text.into(),
            numbers,
            labels: labels.map_or_else(Vec::new, |labels| labels.split('.').map(Label::of).collect()),
            build: build.map(Into::into),
        };
        // Every form of it is one.
        match version.full().len() > MAX_VERSION_BYTES {
            true => Err(refuse("is longer than 128 characters")),
            false => Ok(version),
        }
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
        version.text
    }
}

/// What clients are shown: see [`Version::normalised`].
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.normalised())
    }
}

/// Which versions of a package another one depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Range {
    least: Option<Version>,
    takes_least: bool,
    greatest: Option<Version>,
    takes_greatest: bool,
}

impl Range {
    /// Whether clients that know of the first SemVer only cannot read it.
    pub(crate) fn is_semver2(&self) -> bool {
        let ends = [&self.least, &self.greatest];
        ends.into_iter().flatten().any(Version::is_semver2)
    }

    /// Whether a version is within.
    pub(crate) fn takes(&self, version: &Version) -> bool {
        let above = self.least.as_ref().is_none_or(|least| match self.takes_least {
            true => version >= least,
            false => version > least,
        });
        let below = self
            .greatest
            .as_ref()
            .is_none_or(|greatest| match self.takes_greatest {
                true => version <= greatest,
                false => version < greatest,
            });
        above && below
    }
}

impl FromStr for Range {
    type Err = InvalidName;

    /// Reads an interval; a version alone is the least, and nothing stands for all of them.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| InvalidName::new("version range", text, reason);
        if text.len() > 2 * MAX_VERSION_BYTES + 8 {
            return Err(refuse("is too long"));
        }
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(Self::default());
        }
        let takes_least = trimmed.starts_with('[');
        if !takes_least && !trimmed.starts_with('(') {
            return Ok(Self {
                least: Some(trimmed.parse()?),
                takes_least: true,
                ..Self::default()
            });
        }
        let takes_greatest = trimmed.ends_with(']');
        if !takes_greatest && !trimmed.ends_with(')') || trimmed.len() < 2 {
            return Err(refuse("does not end with ']' or ')'"));
        }
        let inner = &trimmed[1..trimmed.len() - 1];
        let end = |text: &str| match text.trim() {
            "" => Ok(None),
            version => version.parse().map(Some),
        };
        let Some((least, greatest)) = inner.split_once(',') else {
            let Some(only) = end(inner)?.filter(|_| takes_least && takes_greatest) else {
                return Err(refuse("has one version that is not between '[' and ']'"));
            };
            return Ok(Self {
                least: Some(Version::clone(&only)),
                takes_least,
                greatest: Some(only),
                takes_greatest,
            });
        };
        let (least, greatest) = (end(least)?, end(greatest)?);
        if let (Some(least), Some(greatest)) = (&least, &greatest) {
            let is_empty = match least.cmp(greatest) {
                Ordering::Less => false,
                Ordering::Equal => !(takes_least && takes_greatest),
                Ordering::Greater => true,
            };
            if is_empty {
                return Err(refuse("has no version in it"));
            }
        }
        Ok(Self {
            takes_least: takes_least && least.is_some(),
            takes_greatest: takes_greatest && greatest.is_some(),
            least,
            greatest,
        })
    }
}

/// In the notation of intervals, with both ends.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |version: &Option<Version>| version.as_ref().map(Version::full).unwrap_or_default();
        write!(
            f,
            "{}{}, {}{}",
            if self.takes_least { '[' } else { '(' },
            end(&self.least),
            end(&self.greatest),
            if self.takes_greatest { ']' } else { ')' },
        )
    }
}

impl TryFrom<String> for Range {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

/// The name of the file that a package is.
pub(super) fn package_file(id: &str, version: &Version) -> String {
    format!("{}.{}.nupkg", spelled_alike(id), version.in_urls())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_words_with_single_dots_and_hyphens() {
        for text in [
            "a",
            "Newtonsoft.Json",
            "Acme_Core.v2-x",
            "_",
            "0",
            &"x".repeat(100),
        ] {
            assert_eq!(text.parse::<PackageId>().unwrap().to_string(), text);
        }
        assert_eq!(
            "A.B".parse::<PackageId>().unwrap().canonical(),
            "a.B".parse::<PackageId>().unwrap().canonical()
        );
        let hostile = [
            "", ".", "..", "a.", ".a", "a..b", "a-.b", "-a", "a/b", "a\\b", "a b", "a\n", "a%2Fb", "\u{e9}",
            "a'b",
        ];
        for text in hostile.into_iter().chain([&*"x".repeat(101)]) {
            assert!(text.parse::<PackageId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn versions_have_one_form() {
        for (text, normalised, full) in [
            ("1", "1.0.0", "1.0.0"),
            ("1.0", "1.0.0", "1.0.0"),
            ("1.0.0.0", "1.0.0", "1.0.0"),
            ("1.01.1", "1.1.1", "1.1.1"),
            ("1.2.3.4", "1.2.3.4", "1.2.3.4"),
            ("1.0-Beta", "1.0.0-Beta", "1.0.0-Beta"),
            ("1.0.0-rc.1+sha.5", "1.0.0-rc.1", "1.0.0-rc.1+sha.5"),
            ("1.0.0+b-1", "1.0.0", "1.0.0+b-1"),
            ("1.0.0-a-b", "1.0.0-a-b", "1.0.0-a-b"),
            ("1.0.0-beta.01", "1.0.0-beta.01", "1.0.0-beta.01"),
        ] {
            let version = version(text);
            assert_eq!(
                (version.normalised().as_str(), version.full().as_str()),
                (normalised, full)
            );
            assert_eq!(version.as_written(), text);
        }
        for (one, other) in [
            ("1.0", "1.0.0.0"),
            ("1.0.0-BETA", "1.0.0-beta"),
            ("1.0.0+a", "1.0.0+b"),
            ("1.0.0-beta.01", "1.0.0-beta.1"),
        ] {
            assert_eq!(version(one), version(other));
            assert_eq!(version(one).canonical(), version(other).canonical());
        }
        for text in [
            "",
            "v1.0",
            "1.",
            ".1",
            "1.2.3.4.5",
            "1.0-",
            "1.0.0-a..b",
            "1.0.0+",
            "1.0.0-a_b",
            "a",
            "1.0.0-é",
            "-1",
            "+1",
            "1 .0",
            "2147483648",
            "1.0.0 ",
            "1.*",
            &format!("1.0.0-{}", "x".repeat(130)),
            // Of three numbers it is longer.
            &format!("1-{}", "x".repeat(126)),
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn versions_sort_as_clients_sort_them() {
        let ordered = [
            "0.0.0",
            "1.0.0--1",
            "1.0.0-9",
            "1.0.0-99",
            "1.0.0-100",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-Alpha.1.1",
            "1.0.0-alpha.beta",
            "1.0.0-BETA",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-beta-2",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0.1",
            "1.0.1",
            "1.9.0",
            "1.10.0",
            "10.0.0",
        ];
        let versions: Vec<_> = ordered.iter().map(|text| version(text)).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    }

    #[test]
    fn the_second_semver_is_told_apart() {
        for (text, expected) in [
            ("1.0.0", false),
            ("1.0.0.1", false),
            ("1.0.0-beta1", false),
            ("1.0.0-beta.1", true),
            ("1.0.0+x", true),
        ] {
            assert_eq!(version(text).is_semver2(), expected, "{text}");
        }
        assert!("[1.0.0-a.b, )".parse::<Range>().unwrap().is_semver2());
        assert!(!"(,2.0-a]".parse::<Range>().unwrap().is_semver2());
    }

    #[test]
    fn ranges_are_intervals() {
        for (text, shown, within, outside) in [
            ("1.0", "[1.0.0, )", &["1.0", "9.0"][..], &["0.9", "1.0-a"][..]),
            ("", "(, )", &["0.0"], &[]),
            ("[1.0]", "[1.0.0, 1.0.0]", &["1.0"], &["1.0.1"]),
            ("[1.0, 2.0)", "[1.0.0, 2.0.0)", &["1.0", "1.9"], &["2.0"]),
            ("(1.0,2.0]", "(1.0.0, 2.0.0]", &["2.0"], &["1.0"]),
            ("(,1.0]", "(, 1.0.0]", &["0.1", "1.0"], &["1.1"]),
            ("[,1.0]", "(, 1.0.0]", &["0.1"], &["1.1"]),
            ("[1.0,)", "[1.0.0, )", &["1.0"], &["0.9"]),
            (" [ 1.0 , ] ", "[1.0.0, )", &["1.0"], &["0.9"]),
        ] {
            let range: Range = text.parse().unwrap();
            assert_eq!(range.to_string(), shown);
            assert_eq!(range.to_string().parse::<Range>().unwrap(), range);
            assert!(within.iter().all(|text| range.takes(&version(text))), "{text}");
            assert!(!outside.iter().any(|text| range.takes(&version(text))), "{text}");
        }
        for text in [
            "[",
            "(1.0)",
            "[1.0)",
            "[]",
            "[2.0,1.0]",
            "(1.0,1.0)",
            "[1.0,2.0",
            "1.0]",
            "[a]",
            "1.*",
            "[1,2,3]",
            "*",
        ] {
            assert!(text.parse::<Range>().is_err(), "{text:?}");
        }
    }

    fn text_of_version() -> impl Strategy<Value = String> {
        "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(-[0-9A-Za-z-]{1,4}(\\.[0-9A-Za-z-]{1,4}){0,2})?(\\+[0-9a-z]{1,3})?"
    }

    proptest! {
        #[test]
        fn every_form_of_a_version_is_that_version(text in text_of_version()) {
            let parsed = version(&text);
            for form in [parsed.normalised(), parsed.full(), parsed.in_urls(), parsed.canonical(), text.to_uppercase()] {
                prop_assert_eq!(&version(&form), &parsed, "{}", form);
                prop_assert_eq!(version(&form).canonical(), parsed.canonical());
            }
        }

        #[test]
        fn equal_versions_have_one_key_and_no_key_begins_another(a in text_of_version(), b in text_of_version()) {
            let (a, b) = (version(&a), version(&b));
            prop_assert_eq!(a.canonical() == b.canonical(), a.key() == b.key());
            prop_assert!(a == b || !a.key().starts_with(&b.key()));
        }

        #[test]
        fn a_prerelease_is_before_its_release(numbers in "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}", label in "[0-9a-z]{1,4}") {
            let prerelease = format!("{numbers}-{label}");
            prop_assert!(version(&prerelease) < version(&numbers));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,20}|[0-9.+\\-a\\[\\](), *]{0,16}") {
            let _ = text.parse::<PackageId>();
            let _ = text.parse::<Version>();
            if let Ok(range) = text.parse::<Range>() {
                prop_assert_eq!(range.to_string().parse::<Range>().unwrap(), range);
            }
        }
    }
}
