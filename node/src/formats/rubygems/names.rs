//! Names, versions, platforms and requirements of gems, by RubyGems' own rules.
//!
//! Two names that differ in case, or in `-` and `_`, are one: whoever types the wrong one would get
//! what somebody else published. A version is digits, and words of ASCII letters and digits between
//! dots; what RubyGems reads as equal (`1.0`, `1.0.0`) is one version here. A gem of one version is
//! published for several platforms, each of which is a version of its own in the registry.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registry::names::InvalidName;

/// The longest name.
const MAX_NAME_BYTES: usize = 128;

/// The longest version.
const MAX_VERSION_BYTES: usize = 64;

/// The longest platform.
const MAX_PLATFORM_BYTES: usize = 50;

/// The most comparisons of one requirement.
const MAX_CLAUSES: usize = 32;

/// What the file of a gem ends with.
pub(super) const GEM: &str = ".gem";

/// The platform of a gem that runs everywhere.
const RUBY: &str = "ruby";

/// The name of a gem, as it was first published.
///
/// Invariant: ASCII letters, digits, `-`, `_` and `.`; the first is a letter or digit, and there is
/// a letter somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct GemName(String);

/// The form of a name that all its spellings have in common.
pub(super) fn spelled_alike(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

impl GemName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What all spellings of the name have in common; under it the gem is kept.
    pub(crate) fn canonical(&self) -> String {
        spelled_alike(&self.0)
    }
}

impl FromStr for GemName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("gem name", text, reason));
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_NAME_BYTES {
            return refuse("is longer than 128 characters");
        }
        if !text.bytes().all(is_name_byte) {
            return refuse("has other characters than ASCII letters, digits, '-', '_' and '.'");
        }
        if !text.as_bytes()[0].is_ascii_alphanumeric() {
            return refuse("does not begin with an ASCII letter or digit");
        }
        if !text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            return refuse("has no letter");
        }
        Ok(Self(text.into()))
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

/// A version of a gem, as it was written, but for hyphens: RubyGems reads `1.0-a` as `1.0.pre.a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct GemVersion(String);

/// A part of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'v> {
    /// Digits, of which the first is no zero; none for zero.
    Number(&'v str),
    Word(&'v str),
}

impl Segment<'_> {
    const ZERO: Self = Self::Number("");

    /// A word comes before a number.
    fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (Self::Word(a), Self::Word(b)) => a.cmp(b),
            (Self::Word(_), Self::Number(_)) => Ordering::Less,
            (Self::Number(_), Self::Word(_)) => Ordering::Greater,
        }
    }
}

impl fmt::Display for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number("") => f.write_str("0"),
            Self::Number(text) | Self::Word(text) => f.write_str(text),
        }
    }
}

impl GemVersion {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a letter in it says that it leads to a release.
    pub(crate) fn is_prerelease(&self) -> bool {
        self.0.bytes().any(|byte| byte.is_ascii_alphabetic())
    }

    /// What all ways to write the version have in common.
    pub(crate) fn canonical(&self) -> String {
        let segments = self.segments();
        let begins_with_number = matches!(segments.first(), Some(Segment::Number(_)));
        let zero = (!begins_with_number).then_some(Segment::ZERO);
        let segments: Vec<String> = zero.iter().chain(&segments).map(Segment::to_string).collect();
        segments.join(".")
    }

    /// How RubyGems orders the two; equal means the same version.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let (ours, others) = (self.segments(), other.segments());
        for place in 0..ours.len().max(others.len()) {
            let ours = ours.get(place).copied().unwrap_or(Segment::ZERO);
            let others = others.get(place).copied().unwrap_or(Segment::ZERO);
            match ours.order(others) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        Ordering::Equal
    }

    /// Its parts without the zeros that do not count: before the first word, and at the end.
    fn segments(&self) -> Vec<Segment<'_>> {
        let mut segments = Vec::new();
        let mut rest = self.0.as_str();
        while let Some(first) = rest.bytes().next() {
            let is_digit = first.is_ascii_digit();
            let same = |c: char| match is_digit {
                true => c.is_ascii_digit(),
                false => c.is_ascii_alphabetic(),
            };
            let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
            match (end, is_digit) {
                (0, _) => {}
                (_, true) => segments.push(Segment::Number(rest[..end].trim_start_matches('0'))),
                (_, false) => segments.push(Segment::Word(&rest[..end])),
            }
            rest = &rest[end.max(1)..];
        }
        let is_word = |segment: &Segment<'_>| matches!(segment, Segment::Word(_));
        let words_at = segments.iter().position(is_word).unwrap_or(segments.len());
        let mut words = segments.split_off(words_at);
        for part in [&mut segments, &mut words] {
            while part.last() == Some(&Segment::ZERO) {
                part.pop();
            }
        }
        segments.append(&mut words);
        segments
    }
}

impl FromStr for GemVersion {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("gem version", text, reason));
        let plain = text.trim_matches([' ', '\t', '\n', '\r']).replace('-', ".pre.");
        if plain.len() > MAX_VERSION_BYTES {
            return refuse("is longer than 64 characters");
        }
        let is_segment =
            |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let first = plain.split('.').next().unwrap_or_default();
        let begins_with_digits = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        if !begins_with_digits || !plain.split('.').all(is_segment) {
            return refuse("is not a number, followed by words of ASCII letters and digits between dots");
        }
        Ok(Self(plain))
    }
}

/// What a gem runs on, as its author wrote it: `ruby` for everything.
///
/// Invariant: ASCII letters, digits, `-`, `_` and `.`, of which the first is a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Platform(String);

impl Platform {
    /// The one of gems that run everywhere.
    pub(crate) fn ruby() -> Self {
        Self(RUBY.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_ruby(&self) -> bool {
        self.0 == RUBY
    }
}

impl FromStr for Platform {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("platform", text, reason));
        if text.len() > MAX_PLATFORM_BYTES {
            return refuse("is longer than 50 characters");
        }
        let begins_well = text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric());
        if !begins_well || !text.bytes().all(is_name_byte) {
            return refuse("is not of ASCII letters, digits, '-', '_' and '.'");
        }
        Ok(Self(text.into()))
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    /// Like this one, or higher in the last place.
    Approximately,
}

impl Operator {
    const ALL: [(Self, &str); 7] = [
        (Self::Equal, "="),
        (Self::NotEqual, "!="),
        (Self::Greater, ">"),
        (Self::Less, "<"),
        (Self::GreaterOrEqual, ">="),
        (Self::LessOrEqual, "<="),
        (Self::Approximately, "~>"),
    ];

    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(operator, _)| *operator == self);
        found.map_or("", |(_, text)| text)
    }
}

/// A version, and how another one must compare to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clause {
    pub(crate) operator: Operator,
    pub(crate) version: GemVersion,
}

impl Clause {
    pub(crate) fn new(operator: &str, version: &str) -> Result<Self, InvalidName> {
        let found = Operator::ALL.into_iter().find(|(_, text)| *text == operator);
        match found {
            Some((operator, _)) => Ok(Self {
                operator,
                version: version.parse()?,
            }),
            None => Err(InvalidName::new(
                "requirement",
                operator,
                "has an operator that there is not",
            )),
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operator.as_str(), self.version)
    }
}

/// Which versions are good: all clauses must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Clause>", into = "Vec<Clause>")]
pub(crate) struct Requirement(Vec<Clause>);

impl Requirement {
    /// Takes clauses as they were written; none means any version.
    pub(crate) fn new(clauses: Vec<Clause>) -> Result<Self, InvalidName> {
        if clauses.len() > MAX_CLAUSES {
            return Err(InvalidName::new(
                "requirement",
                &clauses[0].to_string(),
                "has more than 32 comparisons",
            ));
        }
        if clauses.is_empty() {
            return Ok(Self(vec![Clause::new(">=", "0")?]));
        }
        Ok(Self(clauses))
    }

    pub(crate) fn clauses(&self) -> &[Clause] {
        &self.0
    }

    /// Whether it admits every version.
    pub(crate) fn is_any(&self) -> bool {
        matches!(self.0.as_slice(), [clause] if clause.operator == Operator::GreaterOrEqual && clause.version.as_str() == "0")
    }

    /// All clauses in the order of their text.
    pub(crate) fn joined(&self, separator: &str) -> String {
        let mut clauses: Vec<String> = self.0.iter().map(Clause::to_string).collect();
        clauses.sort();
        clauses.join(separator)
    }
}

impl TryFrom<Vec<Clause>> for Requirement {
    type Error = InvalidName;

    fn try_from(clauses: Vec<Clause>) -> Result<Self, InvalidName> {
        Self::new(clauses)
    }
}

impl From<Requirement> for Vec<Clause> {
    fn from(requirement: Requirement) -> Self {
        requirement.0
    }
}

macro_rules! text_type {
    ($($name:ident)*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

text_type!(GemName GemVersion Platform);

macro_rules! shown_as_written {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

shown_as_written!(GemName GemVersion Platform);

/// A version with what it is for, unless that is everything: `1.0.0-java`. So the registry names a
/// version, and clients read it in indexes.
pub(super) fn numbered(version: &GemVersion, platform: &Platform) -> String {
    match platform.is_ruby() {
        true => version.to_string(),
        false => format!("{version}-{platform}"),
    }
}

/// What names one gem among all: `acme-1.0.0-java`. Its file has this name too.
pub(super) fn full_name(name: &str, version: &GemVersion, platform: &Platform) -> String {
    format!("{name}-{}", numbered(version, platform))
}

/// Each gem that this full name may be of: names have hyphens, so it does not say by itself. What
/// is kept does.
pub(super) fn candidates(full: &str) -> impl Iterator<Item = (GemName, GemVersion, Platform)> + '_ {
    let longest = MAX_NAME_BYTES + MAX_VERSION_BYTES + MAX_PLATFORM_BYTES + 2;
    let full = Some(full)
        .filter(|full| full.len() <= longest)
        .unwrap_or_default();
    full.match_indices('-').filter_map(move |(at, _)| {
        let rest = &full[at + 1..];
        let (version, platform) = rest.split_once('-').unwrap_or((rest, RUBY));
        let name: GemName = full[..at].parse().ok()?;
        let (version, platform): (GemVersion, Platform) = (version.parse().ok()?, platform.parse().ok()?);
        let is_it = full_name(name.as_str(), &version, &platform) == full;
        is_it.then_some((name, version, platform))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> GemVersion {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_as_rubygems_has_them() {
        for text in ["rails", "acme_foo", "Acme-Foo.rb", "7z", "x", &"x".repeat(128)] {
            assert_eq!(text.parse::<GemName>().unwrap().to_string(), text);
        }
        let check = |text: &str, part: &str| {
            let error = text.parse::<GemName>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        };
        check("", "is empty");
        check(&"x".repeat(129), "longer than 128");
        for text in [
            "a/b", "a b", "a\nb", "\u{e4}", "a%2Fb", "a\\b", "a:b", "a,b", "a|b",
        ] {
            check(text, "other characters");
        }
        for text in ["-a", "_a", ".a", "..", "."] {
            check(text, "does not begin");
        }
        check("123", "no letter");
    }

    #[test]
    fn names_that_are_easily_taken_for_each_other_are_one() {
        let canonical = |text: &str| text.parse::<GemName>().unwrap().canonical();
        assert_eq!(canonical("Acme_Foo"), canonical("acme-foo"));
        assert_ne!(canonical("acme.foo"), canonical("acme-foo"));
    }

    #[test]
    fn versions_are_as_rubygems_has_them() {
        for (text, expected) in [
            ("1.0.0", "1.0.0"),
            ("0", "0"),
            (" 1.2 ", "1.2"),
            ("1.0.0.rc1", "1.0.0.rc1"),
            ("1.0-rc.1", "1.0.pre.rc.1"),
            ("2024.01.02", "2024.01.02"),
        ] {
            assert_eq!(version(text).to_string(), expected);
        }
        for text in [
            "",
            " ",
            "a",
            "1.",
            ".1",
            "1..2",
            "1.0+b",
            "v1",
            "1_0",
            "1.\u{e4}",
            "1-",
            "1 2",
            &"1".repeat(65),
        ] {
            assert!(text.parse::<GemVersion>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn versions_have_the_order_of_rubygems() {
        let ordered = [
            "0.a",
            "0",
            "0.0.1",
            "1.a",
            "1.0.b",
            "1.0.rc.1",
            "1.0.rc.2",
            "1.0.rc.10",
            "1.0",
            "1.0.1.a",
            "1.0.1",
            "1.9",
            "1.10",
            "2",
            "10.0",
        ];
        for pair in ordered.windows(2) {
            let (a, b) = (version(pair[0]), version(pair[1]));
            assert_eq!(a.order(&b), Ordering::Less, "{pair:?}");
            assert_eq!(b.order(&a), Ordering::Greater, "{pair:?}");
        }
        for (a, b) in [
            ("1", "1.0.0"),
            ("1.0", "1"),
            ("1.0.a", "1.a"),
            ("1.rc1", "1.rc.1"),
            ("1.01", "1.1"),
            ("0", "0.0"),
        ] {
            assert_eq!(version(a).order(&version(b)), Ordering::Equal, "{a} {b}");
            assert_eq!(version(a).canonical(), version(b).canonical());
        }
        assert_ne!(version("1.0.1").canonical(), version("1.1").canonical());
        assert!(version("1.0.rc1").is_prerelease() && !version("1.0").is_prerelease());
    }

    #[test]
    fn requirements_are_written_in_one_order() {
        let clauses = [("~>", "2.0"), ("!=", "2.0.1")].map(|(op, version)| Clause::new(op, version).unwrap());
        let requirement = Requirement::new(clauses.to_vec()).unwrap();
        assert_eq!(requirement.joined("&"), "!= 2.0.1&~> 2.0");
        assert!(Requirement::new(Vec::new()).unwrap().is_any());
        assert!(!requirement.is_any());
        for (operator, version) in [("", "1"), ("=>", "1"), ("~", "1"), (">=", ""), (">=", "x")] {
            assert!(Clause::new(operator, version).is_err(), "{operator} {version}");
        }
        assert!(Requirement::new(vec![clauses[0].clone(); 33]).is_err());
    }

    #[test]
    fn platforms_are_as_they_are_written() {
        for text in [
            "ruby",
            "java",
            "x86_64-linux",
            "arm64-darwin-22",
            "x86_64-linux-musl",
            "x86-mingw32",
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "-x", "a/b", "a b", "..", &"x".repeat(51)] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_full_name_tells_what_it_may_be_of() {
        let check = |full: &str, expected: &[(&str, &str, &str)]| {
            let found: Vec<_> = candidates(full)
                .map(|(name, version, platform)| {
                    (name.to_string(), version.to_string(), platform.to_string())
                })
                .collect();
            let found: Vec<_> = found
                .iter()
                .map(|(name, version, platform)| (name.as_str(), version.as_str(), platform.as_str()))
                .collect();
            assert_eq!(found, expected, "{full}");
        };
        check("acme-1.0.0", &[("acme", "1.0.0", "ruby")]);
        check(
            "acme-foo-1.0.rc1-x86_64-linux",
            &[("acme-foo", "1.0.rc1", "x86_64-linux")],
        );
        check("a-1-2", &[("a", "1", "2"), ("a-1", "2", "ruby")]);
        check("acme-1.0.0-ruby", &[]);
        check("acme", &[]);
        check("-1", &[]);
        check(&format!("{}-1", "x".repeat(250)), &[]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[A-Za-z0-9_.-]{0,30}") {
            if let Ok(name) = text.parse::<GemName>() {
                prop_assert_eq!(name.to_string(), text.clone());
            }
            if let Ok(version) = text.parse::<GemVersion>() {
                prop_assert_eq!(version.to_string().parse::<GemVersion>().unwrap(), version.clone());
                prop_assert_eq!(version.canonical().parse::<GemVersion>().unwrap().order(&version), Ordering::Equal);
            }
        }

        #[test]
        fn the_order_is_one(
            a in "[0-9]{1,2}(\\.([0-9]{1,2}|[a-c]{1,2}|rc[0-9])){0,3}",
            b in "[0-9]{1,2}(\\.([0-9]{1,2}|[a-c]{1,2}|rc[0-9])){0,3}",
            c in "[0-9]{1,2}(\\.([0-9]{1,2}|[a-c]{1,2}|rc[0-9])){0,3}",
        ) {
            let [a, b, c] = [a, b, c].map(|text| version(&text));
            prop_assert_eq!(a.order(&b), b.order(&a).reverse());
            prop_assert_eq!(a.order(&b) == Ordering::Equal, a.canonical() == b.canonical());
            if a.order(&b) != Ordering::Greater && b.order(&c) != Ordering::Greater {
                prop_assert_ne!(a.order(&c), Ordering::Greater);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>()) {
            let _ = (text.parse::<GemName>(), text.parse::<GemVersion>(), text.parse::<Platform>());
            let _ = (Clause::new(&text, &text), candidates(&text).count());
        }

        #[test]
        fn gems_are_found_by_their_full_names(
            name in "[a-z][a-z0-9_-]{0,9}", version in "[0-9](\\.[0-9a-z]{1,3}){0,3}", platform in "(ruby|java|x86_64-linux)",
        ) {
            let gem: (GemName, GemVersion, Platform) =
                (name.parse().unwrap(), version.parse().unwrap(), platform.parse().unwrap());
            let full = full_name(gem.0.as_str(), &gem.1, &gem.2);
            prop_assert!(candidates(&full).any(|found| found == gem));
        }
    }
}
