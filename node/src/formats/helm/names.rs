//! Names and versions of charts, channels, and the names of files that a chart lies in.
//!
//! Two names that differ in case are one: on some systems their files are. A version is strict
//! SemVer 2, before which a `v` may stand, as Helm takes it; with and without the `v` it is one
//! version. Where versions are tags of container images, `_` stands for `+`, which no tag may hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registry::names::InvalidName;

/// The longest name, as Helm has it.
const MAX_NAME_BYTES: usize = 250;

/// The longest version.
const MAX_VERSION_BYTES: usize = 128;

/// The longest channel, as GitLab has it.
const MAX_CHANNEL_BYTES: usize = 255;

/// The longest name of a chart's file: with `.prov` behind it, it fits into file systems.
const MAX_FILE_BYTES: usize = 250;

/// What the file of a chart ends with.
pub(super) const TGZ: &str = ".tgz";

/// What the file of a chart's provenance ends with, after the name of the chart's own.
pub(super) const PROV: &str = ".prov";

/// The name of a chart, as it was first published.
///
/// Invariant: ASCII letters, digits, `-`, `_` and `.`, of which the first is a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ChartName(String);

/// The form of a name that all its spellings have in common.
pub(super) fn spelled_alike(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl ChartName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What all spellings of the name have in common; under it the chart is kept.
    pub(crate) fn canonical(&self) -> String {
        spelled_alike(&self.0)
    }
}

impl FromStr for ChartName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("chart name", text, reason));
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_NAME_BYTES {
            return refuse("is longer than 250 characters");
        }
        if !text.as_bytes()[0].is_ascii_alphanumeric() {
            return refuse("does not begin with an ASCII letter or digit");
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !text.bytes().all(is_allowed) {
            return refuse("has other characters than ASCII letters, digits, '-', '_' and '.'");
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for ChartName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ChartName> for String {
    fn from(name: ChartName) -> Self {
        name.0
    }
}

impl fmt::Display for ChartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version of a chart, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Version {
    semver: semver::Version,
    /// Whether a `v` stands before it.
    has_v: bool,
}

impl Version {
    /// What all spellings of a version have in common; under it the version is kept.
    pub(crate) fn canonical(&self) -> String {
        self.semver.to_string()
    }

    /// The version that a path names: there it may be written as a tag is.
    pub(crate) fn asked(text: &str) -> Result<Self, InvalidName> {
        text.replace('_', "+").parse()
    }

    /// Without the `v` that may stand before it.
    pub(super) fn semver(&self) -> &semver::Version {
        &self.semver
    }

    /// Whether this is a release candidate, beta or the like.
    pub(crate) fn is_prerelease(&self) -> bool {
        !self.semver.pre.is_empty()
    }

    /// Bytes that sort as versions do, the highest first. Those that differ in nothing but build
    /// metadata have their order by that. No key is the beginning of another.
    pub(crate) fn descending_key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        for number in [self.semver.major, self.semver.minor, self.semver.patch] {
            key.extend_from_slice(&number.to_be_bytes());
        }
        match self.semver.pre.as_str() {
            "" => key.push(1),
            identifiers => {
                key.push(0);
                for identifier in identifiers.split('.') {
                    push_identifier(&mut key, identifier);
                }
                key.push(0);
            }
        }
        key.extend_from_slice(self.semver.build.as_bytes());
        key.push(0);
        key.iter_mut().for_each(|byte| *byte = !*byte);
        key
    }
}

/// Numbers come before words, a shorter number before a longer one.
fn push_identifier(key: &mut Vec<u8>, identifier: &str) {
    match identifier.bytes().all(|byte| byte.is_ascii_digit()) {
        true => {
            // A version has no leading zeros, and not more than 128 characters.
            key.extend_from_slice(&[1, identifier.len() as u8]);
            key.extend_from_slice(identifier.as_bytes());
        }
        false => {
            key.push(2);
            key.extend_from_slice(identifier.as_bytes());
            key.push(0);
        }
    }
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| InvalidName::new("chart version", text, reason);
        if text.len() > MAX_VERSION_BYTES {
            return Err(refuse("is longer than 128 characters"));
        }
        let plain = text.strip_prefix('v');
        let semver = semver::Version::parse(plain.unwrap_or(text)).map_err(|_| refuse("is not SemVer 2"))?;
        Ok(Self {
            semver,
            has_v: plain.is_some(),
        })
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
        f.write_str(if self.has_v { "v" } else { "" })?;
        self.semver.fmt(f)
    }
}

/// A named subset of a project's charts: a repository of its own, as clients see it.
///
/// Invariant: ASCII letters and digits, between which single `-`, `_` and `.` may stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Channel(String);

impl Channel {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Channel {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("channel", text, reason));
        if text.len() > MAX_CHANNEL_BYTES {
            return refuse("is longer than 255 characters");
        }
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !text.split(['-', '_', '.']).all(is_word) {
            return refuse("is not of ASCII letters and digits, with single '-', '_' or '.' between them");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the file that holds a version of a chart.
pub(crate) fn file_name(name: &ChartName, version: &Version) -> Result<String, InvalidName> {
    let file = format!("{name}-{version}{TGZ}");
    match file.len() > MAX_FILE_BYTES {
        true => Err(InvalidName::new(
            "chart file",
            &file,
            "is longer than 250 characters",
        )),
        false => Ok(file),
    }
}

/// Each chart and version that a file of this name may hold: both may have hyphens, so the name
/// alone does not always say. What is kept of them does.
pub(crate) fn candidates(file: &str) -> impl Iterator<Item = (ChartName, Version)> + '_ {
    let stem = file.strip_suffix(TGZ).filter(|_| file.len() <= MAX_FILE_BYTES);
    let stem = stem.unwrap_or_default();
    stem.match_indices('-').filter_map(|(at, _)| {
        let name = stem[..at].parse().ok()?;
        Some((name, stem[at + 1..].parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_as_helm_has_them() {
        let check = |text: &str, expected: Result<(), &str>| match (text.parse::<ChartName>(), expected) {
            (Ok(name), Ok(())) => assert_eq!(name.to_string(), text),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("{text:?} is {outcome:?}"),
        };
        check("a", Ok(()));
        check("cert-manager", Ok(()));
        check("My_Chart.v2", Ok(()));
        check("0chart", Ok(()));
        check(&"x".repeat(250), Ok(()));
        check("", Err("is empty"));
        check(&"x".repeat(251), Err("longer than 250"));
        for name in [".", "..", "-x", "_x", ".hidden"] {
            check(name, Err("begin with"));
        }
        for name in ["a/b", "a b", "a\u{301}", "a\nb", "a#", "a?b", "a%2Fb", "a\\b"] {
            check(name, Err("other characters"));
        }
    }

    #[test]
    fn versions_are_semver_and_may_have_a_v() {
        for text in [
            "1.2.3",
            "v1.2.3",
            "0.0.0",
            "1.2.3-rc.1",
            "1.2.3+build.4",
            "v1.0.0-a+b",
        ] {
            assert_eq!(version(text).to_string(), text);
        }
        assert_eq!(version("v1.2.3").canonical(), version("1.2.3").canonical());
        assert_ne!(version("1.2.3+a").canonical(), version("1.2.3+b").canonical());
        for text in [
            "",
            "v",
            "1",
            "1.2",
            "V1.2.3",
            "vv1.2.3",
            "01.2.3",
            "1.2.3-",
            "1.2.3_4",
            " 1.2.3",
            "latest",
            &format!("1.0.0-{}", "x".repeat(130)),
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        // As a tag of a container image has it.
        assert_eq!(Version::asked("1.2.3_build.4").unwrap(), version("1.2.3+build.4"));
    }

    #[test]
    fn keys_sort_versions_from_the_highest() {
        let ordered = [
            "10.0.0",
            "2.0.0",
            "1.10.0",
            "1.9.0",
            "1.0.1",
            "1.0.0+b",
            "1.0.0+a",
            "1.0.0",
            "1.0.0-rc.1",
            "1.0.0-beta.11",
            "1.0.0-beta.2",
            "1.0.0-beta",
            "1.0.0-alpha.beta",
            "1.0.0-alpha.1.1",
            "1.0.0-alpha.1",
            "1.0.0-alpha",
            "1.0.0-100",
            "1.0.0-99",
            "1.0.0-9",
            "0.0.0",
        ];
        let keys: Vec<_> = ordered
            .iter()
            .map(|text| version(text).descending_key())
            .collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(
            version("v1.0.0").descending_key(),
            version("1.0.0").descending_key()
        );
    }

    #[test]
    fn channels_are_as_gitlab_has_them() {
        for text in ["stable", "a", "1", "pre-release", "a.b_c-d"] {
            assert_eq!(text.parse::<Channel>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "-a",
            "a-",
            "a--b",
            "a/b",
            "a b",
            "\u{e4}",
            "..",
            &"x".repeat(256),
        ] {
            assert!(text.parse::<Channel>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_name_tells_what_it_may_hold() {
        let check = |file: &str, expected: &[(&str, &str)]| {
            let found: Vec<_> = candidates(file)
                .map(|(name, version)| (name.to_string(), version.to_string()))
                .collect();
            let found: Vec<_> = found
                .iter()
                .map(|(name, version)| (name.as_str(), version.as_str()))
                .collect();
            assert_eq!(found, expected, "{file}");
        };
        check("app-1.2.3.tgz", &[("app", "1.2.3")]);
        check("my-app-v1.2.3-rc.1+b.tgz", &[("my-app", "v1.2.3-rc.1+b")]);
        check("a-1.0.0-2.0.0.tgz", &[("a", "1.0.0-2.0.0"), ("a-1.0.0", "2.0.0")]);
        check("app-1.2.3", &[]);
        check("app.tgz", &[]);
        check("-1.2.3.tgz", &[]);
        check("app-1.2.tgz", &[]);
        check(&format!("{}-1.2.3.tgz", "x".repeat(250)), &[]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[A-Za-z0-9_.+v-]{0,40}") {
            if let Ok(name) = text.parse::<ChartName>() {
                prop_assert_eq!(name.to_string(), text.clone());
            }
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.to_string(), text.clone());
            }
            if let Ok(channel) = text.parse::<Channel>() {
                prop_assert_eq!(channel.to_string(), text.clone());
            }
        }

        #[test]
        fn keys_sort_as_semver_does(
            a in "(0|[1-9]{1,2})\\.[0-9]\\.[0-9](-([0-9]|[a-z1-9]{1,3})(\\.([0-9]|[a-z]{1,2})){0,2})?",
            b in "(0|[1-9]{1,2})\\.[0-9]\\.[0-9](-([0-9]|[a-z1-9]{1,3})(\\.([0-9]|[a-z]{1,2})){0,2})?",
        ) {
            let (a, b) = (version(&a), version(&b));
            prop_assert_eq!(b.semver.cmp(&a.semver), a.descending_key().cmp(&b.descending_key()));
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>()) {
            let _ = (text.parse::<ChartName>(), text.parse::<Version>(), Version::asked(&text));
            let _ = (text.parse::<Channel>(), candidates(&text).count());
        }

        #[test]
        fn files_of_charts_are_found_again(name in "[a-z][a-z0-9.-]{0,9}[a-z]", build in "[a-z]{1,3}") {
            let (name, version): (ChartName, Version) = (name.parse().unwrap(), format!("1.2.3-rc.1+{build}").parse().unwrap());
            let file = file_name(&name, &version).unwrap();
            prop_assert!(candidates(&file).any(|found| found == (name.clone(), version.clone())));
        }
    }
}
