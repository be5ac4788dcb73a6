//! Versions, as Composer reads, normalises and orders them.
//!
//! The rules are those of the library `composer/semver` and of PHP's `version_compare`. Of a version there are
//! three texts: as it was published (`v1.2`), as Composer compares it (normalised, `1.2.0.0`), and a short one that
//! is the same for all spellings (canonical, `1.2.0`), under which it is kept and shown.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

use crate::registry::names::InvalidName;

/// The longest version.
const MAX_VERSION_BYTES: usize = 128;

/// What stands for any number in the name of a branch, once it is normalised.
const ANY_NUMBER: &str = "9999999";

/// What may follow the numbers of a version: a stability with a number, and `dev`.
pub(super) const MODIFIER: &str =
    r"[._-]?(?:(stable|beta|b|RC|alpha|a|patch|pl|p)((?:[.-]?[0-9]+)*)?)?([.-]?dev)?";

pub(super) fn expression(text: &str) -> Regex {
    Regex::new(text).expect("the expression is written here")
}

static CLASSICAL: LazyLock<Regex> = LazyLock::new(|| {
    expression(&format!(
        r"(?i-u)^v?([0-9]{{1,5}})(\.[0-9]+)?(\.[0-9]+)?(\.[0-9]+)?{MODIFIER}$"
    ))
});

static DATE: LazyLock<Regex> = LazyLock::new(|| {
    expression(&format!(
        r"(?i-u)^v?([0-9]{{4}}(?:[.:-]?[0-9]{{2}}){{1,6}}(?:[.:-]?[0-9]{{1,3}})?){MODIFIER}$"
    ))
});

static NUMERIC_BRANCH: LazyLock<Regex> = LazyLock::new(|| {
    let part = r"(?:\.([0-9]+|[x*]))?";
    expression(&format!(r"(?i-u)^v?([0-9]+){part}{part}{part}[.-]?dev$"))
});

static BUILD: LazyLock<Regex> = LazyLock::new(|| expression(r"^([^,\s+]+)\+[^\s]+$"));

static STABILITY_FLAG: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i-u)@(?:stable|RC|beta|alpha|dev)$"));

/// What a text means as a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Normal {
    /// A branch by its name: `dev-main`.
    Branch(String),
    /// A branch of numbers, in which `x` stands for any: `1.x-dev`.
    Numeric([String; 4]),
    /// Anything that is released.
    Release {
        parts: Vec<String>,
        /// Whether the numbers are those of a date.
        is_date: bool,
        /// `beta` and its number.
        stability: Option<(&'static str, String)>,
        is_dev: bool,
    },
}

impl Normal {
    /// Reads whatever Composer reads.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = match STABILITY_FLAG.find(text) {
            Some(flag) => &text[..flag.start()],
            None => text,
        };
        if ["master", "trunk", "default"].contains(&text) {
            return Some(Self::Branch(text.to_owned()));
        }
        if let Some(prefix) = text.get(..4)
            && prefix.eq_ignore_ascii_case("dev-")
        {
            return Some(Self::Branch(text[4..].to_owned()));
        }
        let built = BUILD.captures(text);
        let text = built
            .as_ref()
            .and_then(|built| built.get(1))
            .map_or(text, |kept| kept.as_str());
        if let Some(found) = CLASSICAL.captures(text) {
            let part = |at| {
                found
                    .get(at)
                    .map_or("0", |part| part.as_str().trim_start_matches('.'))
            };
            let parts = [1, 2, 3, 4].map(|at| part(at).to_owned());
            return Some(Self::release(parts.into(), false, &found, 5));
        }
        if let Some(found) = DATE.captures(text) {
            let parts: Vec<_> = found[1].split(['.', ':', '-']).map(str::to_owned).collect();
            // Of four parts it is normalised as any other version is.
            let is_date = parts.len() != 4 || parts[0].len() > 5;
            return Some(Self::release(parts, is_date, &found, 2));
        }
        let found = NUMERIC_BRANCH.captures(text)?;
        let part = |at| match found.get(at).map_or("x", |part| part.as_str()) {
            "*" | "X" => "x",
            part => part,
        };
        Some(Self::Numeric([1, 2, 3, 4].map(|at| part(at).to_owned())))
    }

    fn release(parts: Vec<String>, is_date: bool, found: &Captures<'_>, modifier: usize) -> Self {
        let text = |at| found.get(at).map_or("", |group| group.as_str());
        let stability = match text(modifier) {
            // Whatever follows it is dropped.
            "" | "stable" => None,
            word => Some((
                stability(word),
                text(modifier + 1).trim_start_matches(['.', '-']).to_owned(),
            )),
        };
        Self::Release {
            parts,
            is_date,
            stability,
            is_dev: text(modifier) != "stable" && !text(modifier + 2).is_empty(),
        }
    }

    /// What Composer compares.
    pub(super) fn normalized(&self) -> String {
        match self {
            Self::Branch(name) => format!("dev-{name}"),
            Self::Numeric(parts) => format!("{}-dev", parts.join(".").replace('x', ANY_NUMBER)),
            Self::Release { parts, .. } => parts.join(".") + &self.suffix(),
        }
    }

    /// The shortest text that is the same for all spellings, and means the same.
    fn canonical(&self) -> String {
        match self {
            Self::Branch(name) => format!("dev-{name}"),
            Self::Numeric(parts) => {
                let named = parts
                    .iter()
                    .rposition(|part| part != "x")
                    .map_or(0, |last| last + 1);
                // One `x` stands for all that are left.
                format!("{}-dev", parts[..(named + 1).min(4)].join("."))
            }
            // With dots it might be taken for a version like all others.
            Self::Release {
                parts, is_date: true, ..
            } => parts.join("-") + &self.suffix(),
            Self::Release { parts, .. } => {
                let kept = if parts.last().is_some_and(|last| last == "0") {
                    3
                } else {
                    4
                };
                parts[..kept.min(parts.len())].join(".") + &self.suffix()
            }
        }
    }

    fn suffix(&self) -> String {
        let Self::Release {
            stability, is_dev, ..
        } = self
        else {
            return String::new();
        };
        let stability = stability
            .as_ref()
            .map(|(word, number)| format!("-{word}{number}"));
        stability.unwrap_or_default() + if *is_dev { "-dev" } else { "" }
    }
}

/// The long form of a stability.
fn stability(word: &str) -> &'static str {
    match word.to_ascii_lowercase().as_str() {
        "a" | "alpha" => "alpha",
        "b" | "beta" => "beta",
        "p" | "pl" | "patch" => "patch",
        "rc" => "RC",
        _ => "stable",
    }
}

/// How far a version can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stability {
    Dev,
    Prerelease,
    Stable,
}

/// A part of a version as PHP compares it; an end is what stands behind the last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Dev,
    Alpha,
    Beta,
    Rc,
    End,
    Number(i64),
    Patch,
}

/// Of two versions the one that somebody rather means has the greater rank: first by stability, then by order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    stability: Stability,
    order: Order,
}

/// Orders versions as Composer does. Names of branches have no order there, and come first here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    parts: Vec<Part>,
    /// Decides between what PHP takes for the same: `1.0.0.0` and `01.0.0.0`.
    normalized: String,
}

/// The version of a package.
///
/// Invariant: what Composer normalises, of ASCII characters without blanks; no text of it is misread in a URL, a
/// path or a constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Version {
    pretty: String,
    normal: Normal,
}

impl Version {
    /// As it was published.
    pub(crate) fn as_str(&self) -> &str {
        &self.pretty
    }

    /// As Composer compares it.
    pub(crate) fn normalized(&self) -> String {
        self.normal.normalized()
    }

    /// The text that all spellings of it have in common.
    pub(crate) fn canonical(&self) -> String {
        self.normal.canonical()
    }

    /// Whether it moves: a branch, or what is said to be in development.
    pub(crate) fn is_dev(&self) -> bool {
        self.stability() == Stability::Dev
    }

    fn stability(&self) -> Stability {
        match &self.normal {
            Normal::Branch(_) | Normal::Numeric(_) | Normal::Release { is_dev: true, .. } => Stability::Dev,
            Normal::Release {
                stability: Some(("alpha" | "beta" | "RC", _)),
                ..
            } => Stability::Prerelease,
            Normal::Release { .. } => Stability::Stable,
        }
    }

    pub(super) fn rank(&self) -> Rank {
        Rank {
            stability: self.stability(),
            order: self.order(),
        }
    }

    pub(super) fn order(&self) -> Order {
        let normalized = self.normalized();
        let parts = match &self.normal {
            Normal::Branch(_) => Vec::new(),
            Normal::Numeric(_) | Normal::Release { .. } => parts(&normalized),
        };
        Order { parts, normalized }
    }
}

/// Takes a normalised version apart where digits and letters meet.
fn parts(normalized: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for word in normalized.split(['.', '-']) {
        let digits_at = word.find(|c: char| c.is_ascii_digit()).unwrap_or(word.len());
        let (letters, digits) = word.split_at(digits_at);
        parts.extend(match letters {
            "dev" => Some(Part::Dev),
            "alpha" => Some(Part::Alpha),
            "beta" => Some(Part::Beta),
            "RC" => Some(Part::Rc),
            "patch" => Some(Part::Patch),
            _ => None,
        });
        if !digits.is_empty() {
            // As PHP has it, what is too large is all the same.
            parts.push(Part::Number(digits.parse().unwrap_or(i64::MAX)));
        }
    }
    parts.push(Part::End);
    parts
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-/+:*@".contains(&byte)
}

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("version", text, reason));
        if text.len() > MAX_VERSION_BYTES {
            return refuse("is longer than 128 characters");
        }
        if !text.bytes().all(is_plain) || STABILITY_FLAG.is_match(text) {
            return refuse("has characters that a version cannot have");
        }
        let Some(normal) = Normal::read(text) else {
            return refuse("is no version that Composer reads; a branch is dev-NAME, or like 1.x-dev");
        };
        // What it is stored as, in which `a` is `alpha`, has to be read again.
        if normal.canonical().len() > MAX_VERSION_BYTES {
            return refuse("is longer than 128 characters when it is written out");
        }
        match &normal {
            Normal::Branch(name) if !is_branch_name(name) => refuse("is no name of a branch"),
            Normal::Release {
                stability: Some(("stable", _)),
                ..
            } => refuse("has STABLE in it"),
            // It would be another spelling of `1.x-dev`.
            Normal::Release {
                parts, is_dev: true, ..
            } if parts.iter().any(|part| part == ANY_NUMBER) => refuse("has 9999999 in it; write x"),
            Normal::Branch(_) => Ok(Self {
                pretty: normal.normalized(),
                normal,
            }),
            Normal::Numeric(_) | Normal::Release { .. } => Ok(Self {
                pretty: text.to_owned(),
                normal,
            }),
        }
    }
}

/// Git has no other names, apart from such as no URL or constraint could hold.
fn is_branch_name(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    name.split('/').all(is_part) && !name.contains("..") && !name.contains([':', '*'])
}

impl TryFrom<String> for Version {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.pretty
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pretty)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Versions, with what Composer 2.5.5 makes of them.
    pub(in crate::formats::composer) const NORMALIZED: &[(&str, &str)] = &[
        ("1", "1.0.0.0"),
        ("1.2", "1.2.0.0"),
        ("v1.2.3", "1.2.3.0"),
        ("V1.2.3.4", "1.2.3.4"),
        ("01.2", "01.2.0.0"),
        ("1.0.0+build.5", "1.0.0.0"),
        ("1.0-stable", "1.0.0.0"),
        ("1.0b2", "1.0.0.0-beta2"),
        ("1.0.0-beta.11", "1.0.0.0-beta11"),
        ("1.0.0.RC.15-dev", "1.0.0.0-RC15-dev"),
        ("1.0.0rc1", "1.0.0.0-RC1"),
        ("1.0-pl3", "1.0.0.0-patch3"),
        ("1.0.0-alpha2.1", "1.0.0.0-alpha2.1"),
        ("1.0-alpha-2.1-3+x", "1.0.0.0-alpha2.1-3"),
        ("1.0-p", "1.0.0.0-patch"),
        ("1.0-dev", "1.0.0.0-dev"),
        ("1.0.0.x-dev", "1.0.0.9999999-dev"),
        ("1.x-dev", "1.9999999.9999999.9999999-dev"),
        ("v1.2.X-dev", "1.2.9999999.9999999-dev"),
        ("1.x.3-dev", "1.9999999.3.9999999-dev"),
        ("2010.01", "2010.01.0.0"),
        ("2010.01.02", "2010.01.02.0"),
        ("2010-01-02", "2010.01.02"),
        ("20100102", "20100102"),
        ("20100102-203040-p1", "20100102.203040-patch1"),
        ("2010-01-02.5", "2010.01.02.5"),
        ("dev-main", "dev-main"),
        ("DEV-Feature/foo", "dev-Feature/foo"),
        ("master", "dev-master"),
        ("dev-1.0.x", "dev-1.0.x"),
    ];

    #[test]
    fn versions_are_normalised_as_composer_does() {
        for (text, expected) in NORMALIZED {
            assert_eq!(version(text).normalized(), *expected, "{text}");
        }
    }

    #[test]
    fn what_composer_does_not_read_is_refused() {
        for text in [
            "",
            "a",
            "main",
            "1.0.0-meh",
            "1.0.0.0.0",
            "feature-foo",
            "1.0.0 - 2.0.0",
            "1.x",
            "^1.0",
            "1,0",
            "1.0 ",
            "foo-dev",
            "1.0.0-beta.5-x",
            "dev-",
            "dev-a b",
            "dev-a//b",
            "dev-../x",
            "dev-/x",
            "dev-x/",
            "dev-a..b",
            "dev-.x",
            "dev-a:b",
            "dev-a#b",
            "dev-\u{e9}",
            "1.0@beta",
            "1.0-STABLE",
            "1.9999999.9999999.9999999-dev",
            "dev-a\0",
            &"1".repeat(129),
            // Written out, it is longer than what is read.
            &format!("1a{}", "1".repeat(126)),
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn all_spellings_of_a_version_have_one_text() {
        let check = |texts: &[&str], expected: &str| {
            for text in texts {
                assert_eq!(version(text).canonical(), expected, "{text}");
            }
        };
        check(&["1", "v1.0", "1.0.0", "1.0.0.0", "1.0+a"], "1.0.0");
        check(&["1.2.3.4", "v1.2.3.4"], "1.2.3.4");
        check(&["1.0b2", "1.0.0-beta2", "1.0.0.0-b.2"], "1.0.0-beta2");
        check(&["1.x-dev", "v1.X.x-dev", "1.*-dev", "1.x.x.x-dev"], "1.x-dev");
        check(&["1.2.3.x-dev"], "1.2.3.x-dev");
        check(&["2010-01-02", "2010:01:02"], "2010-01-02");
        check(&["2010.01.02"], "2010.01.02");
        check(&["dev-main", "Dev-main"], "dev-main");
        check(&["trunk"], "dev-trunk");
    }

    #[test]
    fn versions_have_the_order_that_php_gives_them() {
        let ordered = [
            "dev-a",
            "dev-b",
            "1.0-dev",
            "1.0-alpha1",
            "1.0-alpha2",
            "1.0-beta1-dev",
            "1.0-beta1",
            "1.0-RC1",
            "1.0",
            "1.0-patch1",
            "1.0.1",
            "1.9",
            "1.10",
            "1.x-dev",
            "2.0-RC10",
            "2.0",
            "2010.01.02",
            "20100102",
        ];
        let orders: Vec<_> = ordered.iter().map(|text| version(text).order()).collect();
        assert!(orders.is_sorted_by(|a, b| a < b), "{orders:?}");
        let rank = |text| version(text).rank();
        assert!(rank("1.0") > rank("2.0-RC1") && rank("2.0-RC1") > rank("3.x-dev"));
        assert!(rank("1.0-patch1") > rank("1.0"));
        assert!(version("1.0-beta1-dev").is_dev() && !version("1.0-beta1").is_dev());
    }

    proptest! {
        #[test]
        fn what_is_canonical_means_the_same_and_stays(
            text in "v?[0-9]{1,9}([.:-][0-9x]{1,3}){0,4}([._-]?(b|RC|alpha|p|stable)([.-]?[0-9]){0,2})?([.-]?dev)?",
        ) {
            if let Ok(version) = text.parse::<Version>() {
                let again: Version = version.canonical().parse().unwrap();
                prop_assert_eq!(again.canonical(), version.canonical());
                prop_assert_eq!(again.normalized(), version.normalized());
                prop_assert_eq!(again.rank(), version.rank());
                prop_assert_eq!(version.to_string(), text);
            }
        }

        #[test]
        fn what_normalises_alike_is_one_version(
            one in "[0-9]{1,2}(\\.[0-9x]){0,3}(-(b|dev|p1))?",
            other in "[0-9]{1,2}(\\.[0-9x]){0,3}(-(beta|dev|pl1))?",
        ) {
            if let (Ok(one), Ok(other)) = (one.parse::<Version>(), other.parse::<Version>()) {
                prop_assert_eq!(one.normalized() == other.normalized(), one.canonical() == other.canonical());
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>(), likely in "[dev0-9.x@+/-]{0,20}") {
            for text in [text, likely] {
                if let Ok(version) = text.parse::<Version>() {
                    let _ = (version.rank(), version.canonical(), version.normalized());
                }
            }
        }
    }
}
