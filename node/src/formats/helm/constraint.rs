//! Constraints on versions, as Helm reads them: those of the library Masterminds/semver.
//!
//! ```text
//! constraint = group *( "||" group )                one of them admits the version
//! group      = clause *( ( "," / blanks ) clause )  all of its clauses do
//!            / partial " - " partial                >= the one, <= the other
//! clause     = [ operator ] [ blanks ] partial      = != > >= => < <= =< ~ ~> ^
//! partial    = version, of which the end may be missing or `x`, `X` or `*`
//! ```
//!
//! A prerelease is admitted only by a group in which a clause names one: `>=1.0-0` looks at all of them.

use std::cmp::Ordering;
use std::str::FromStr;

use semver::{Prerelease, Version as SemVer};

use super::names::Version;
use crate::registry::names::InvalidName;

/// The longest constraint on versions.
const MAX_CONSTRAINT_BYTES: usize = 255;

/// Each before those that it begins with.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::AtLeast),
    ("=>", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("=<", Operator::AtMost),
    ("~>", Operator::Tilde),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("=", Operator::Equal),
];

/// Which of the versions of a chart are meant: the newest, or those within ranges.
#[derive(Clone, Debug)]
pub(crate) enum Constraint {
    /// The newest that is no prerelease.
    Latest,
    /// Any of these.
    Groups(Vec<Group>),
}

/// Ranges, all of which a version is in.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    ranges: Vec<Range>,
    names_prerelease: bool,
}

/// The versions between two, or all others.
#[derive(Clone, Debug)]
struct Range {
    /// None where there is no lowest.
    from: Option<SemVer>,
    /// The lowest that is too high; none where there is none.
    before: Option<SemVer>,
    is_inside: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    AtLeast,
    Less,
    AtMost,
    Tilde,
    Caret,
}

/// A version of which the end may be missing.
#[derive(Clone, Debug)]
struct Partial {
    major: Option<u64>,
    minor: Option<u64>,
    patch: Option<u64>,
    pre: Prerelease,
}

impl Constraint {
    /// Whether a version is meant.
    pub(crate) fn admits(&self, version: &Version) -> bool {
        match self {
            Self::Latest => !version.is_prerelease(),
            Self::Groups(groups) => groups.iter().any(|group| group.admits(version)),
        }
    }
}

impl FromStr for Constraint {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| InvalidName::new("version", text, reason);
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if text.len() > MAX_CONSTRAINT_BYTES {
            return Err(refuse("is longer than 255 characters"));
        }
        let groups: Option<Vec<_>> = text.split("||").map(Group::read).collect();
        groups
            .map(Self::Groups)
            .ok_or_else(|| refuse("is neither a version nor a constraint on versions"))
    }
}

impl Group {
    fn read(text: &str) -> Option<Self> {
        let mut clauses = Vec::new();
        if let Some((from, to)) = text.split_once(" - ") {
            clauses.push((Operator::AtLeast, Partial::read(from.trim())?));
            clauses.push((Operator::AtMost, Partial::read(to.trim())?));
        } else {
            for part in text.split(',') {
                let mut rest = part.trim();
                // Nothing between two commas is nothing that can be meant.
                loop {
                    let clause;
                    (clause, rest) = clause_of(rest)?;
                    clauses.push(clause);
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        }
        Some(Self {
            names_prerelease: clauses.iter().any(|(_, version)| !version.pre.is_empty()),
            ranges: clauses
                .into_iter()
                .map(|(operator, version)| version.range(operator))
                .collect(),
        })
    }

    fn admits(&self, version: &Version) -> bool {
        (self.names_prerelease || !version.is_prerelease())
            && self.ranges.iter().all(|range| range.admits(version.semver()))
    }
}

/// The first clause of a text, and what comes after it.
fn clause_of(text: &str) -> Option<((Operator, Partial), &str)> {
    let (operator, rest) = OPERATORS
        .iter()
        .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)))
        .unwrap_or((Operator::Equal, text));
    let rest = rest.trim_start();
    let (version, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some(((operator, Partial::read(version)?), rest.trim_start()))
}

impl Range {
    fn admits(&self, version: &SemVer) -> bool {
        let is_low = |from: &SemVer| version.cmp_precedence(from) == Ordering::Less;
        let is_high = |before: &SemVer| version.cmp_precedence(before) != Ordering::Less;
        let is_outside = self.from.as_ref().is_some_and(is_low) || self.before.as_ref().is_some_and(is_high);
        is_outside != self.is_inside
    }
}

impl Partial {
    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, pre) = match text.split_once('-') {
            Some((numbers, pre)) if !pre.is_empty() => (numbers, Prerelease::new(pre).ok()?),
            Some(_) => return None,
            None => (text, Prerelease::EMPTY),
        };
        let parts: Option<Vec<_>> = numbers.split('.').map(part).collect();
        let parts = parts.filter(|parts| parts.len() <= 3)?;
        // What comes after a missing part says nothing.
        let mut known = parts.into_iter().map_while(|part| part);
        Some(Self {
            major: known.next(),
            minor: known.next(),
            patch: known.next(),
            pre,
        })
    }

    /// The lowest version that it begins with.
    fn lowest(&self) -> SemVer {
        SemVer {
            pre: self.pre.clone(),
            ..SemVer::new(
                self.major.unwrap_or(0),
                self.minor.unwrap_or(0),
                self.patch.unwrap_or(0),
            )
        }
    }

    /// The first prerelease of the lowest version that does not begin with its first `kept` numbers, and comes
    /// after all that do; none if no version does.
    fn after(&self, kept: usize) -> Option<SemVer> {
        let mut numbers = [self.major, self.minor, self.patch].map(Option::unwrap_or_default);
        let raised = |at: usize| Some((at, numbers[at].checked_add(1)?));
        let (at, raised) = (0..kept).rev().find_map(raised)?;
        numbers[at] = raised;
        numbers[at + 1..].fill(0);
        let [major, minor, patch] = numbers;
        Some(SemVer {
            // Before every other prerelease of its version.
            pre: Prerelease::new("0").unwrap_or_default(),
            ..SemVer::new(major, minor, patch)
        })
    }

    /// The lowest version after all that begin with it.
    fn next(&self) -> Option<SemVer> {
        if self.pre.is_empty() || self.known() < 3 {
            return self.after(self.known());
        }
        // A number more at the end is the least that a prerelease can be above itself.
        let longer = Prerelease::new(&format!("{}.0", self.pre)).ok()?;
        Some(SemVer {
            pre: longer,
            ..self.lowest()
        })
    }

    /// How many of its numbers are there.
    fn known(&self) -> usize {
        [self.major, self.minor, self.patch].iter().flatten().count()
    }

    /// What an operator makes of it.
    fn range(&self, operator: Operator) -> Range {
        let lowest = Some(self.lowest());
        let inside = |from, before| Range {
            from,
            before,
            is_inside: true,
        };
        match operator {
            Operator::Equal => inside(lowest, self.next()),
            Operator::NotEqual => Range {
                is_inside: false,
                ..inside(lowest, self.next())
            },
            Operator::AtLeast => inside(lowest, None),
            Operator::Less => inside(None, lowest),
            Operator::AtMost => inside(None, self.next()),
            Operator::Greater => Range {
                is_inside: false,
                ..inside(None, self.next())
            },
            Operator::Tilde => inside(lowest, self.after(self.known().min(2))),
            Operator::Caret => inside(
                lowest,
                self.after(match (self.major, self.minor, self.patch) {
                    (Some(0), Some(0), Some(_)) => 3,
                    (Some(0), Some(_), _) => 2,
                    (Some(_), _, _) => 1,
                    (None, _, _) => 0,
                }),
            ),
        }
    }
}

/// A number, or none where any is meant.
fn part(text: &str) -> Option<Option<u64>> {
    match text {
        "x" | "X" | "*" => Some(None),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(Some(text.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn check(constraint: &str, admitted: &[&str], refused: &[&str]) {
        let parsed: Constraint = constraint.parse().unwrap();
        for text in admitted {
            assert!(parsed.admits(&version(text)), "{constraint} admits {text}");
        }
        for text in refused {
            assert!(!parsed.admits(&version(text)), "{constraint} refuses {text}");
        }
    }

    #[test]
    fn constraints_are_read_as_helm_writes_them() {
        check("latest", &["1.0.0", "0.1.0"], &["1.0.0-rc.1"]);
        check("^1.2", &["1.2.0", "1.9.9"], &["2.0.0", "1.1.0", "1.3.0-rc.1"]);
        check("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "0.2.2", "1.0.0"]);
        check("^0.2", &["0.2.0", "0.2.9"], &["0.3.0", "0.1.9"]);
        check("^0.0.3", &["0.0.3"], &["0.0.4", "0.0.2"]);
        check("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]);
        check("^0", &["0.0.1", "0.9.0"], &["1.0.0"]);
        check("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2"]);
        check("~1.2", &["1.2.0", "1.2.9"], &["1.3.0"]);
        check("~> 1", &["1.0.0", "1.9.0"], &["2.0.0", "0.9.0"]);
        check(">=1.0, <2", &["1.0.0", "1.9.0"], &["2.0.0"]);
        check(">= 1.0 < 2", &["1.0.0", "1.9.0"], &["2.0.0"]);
        check("=> 1.0,=< 1.4", &["1.0.0", "1.4.9"], &["1.5.0", "0.9.0"]);
        check(">1.2", &["1.3.0"], &["1.2.0", "1.2.9"]);
        check(">1.2.3", &["1.2.4", "2.0.0"], &["1.2.3", "1.2.2"]);
        check("<=1.2", &["1.2.9", "0.1.0"], &["1.3.0"]);
        check("<=1.2.3", &["1.2.3"], &["1.2.4"]);
        check("1.x", &["1.0.0", "1.9.0"], &["2.0.0"]);
        check("1.2.X", &["1.2.0", "1.2.9"], &["1.3.0"]);
        check("v1.2", &["1.2.0", "v1.2.9"], &["1.3.0"]);
        check("1.2.3", &["1.2.3", "1.2.3+build"], &["1.2.4", "1.2.2"]);
        check("= 1.2.3", &["1.2.3"], &["1.2.4"]);
        check("!=1.2.3", &["1.2.4", "1.2.2"], &["1.2.3", "1.2.4-rc.1"]);
        check("!=1.2, ^1", &["1.3.0", "1.1.0"], &["1.2.0", "1.2.9", "2.0.0"]);
        for any in ["*", "x", "^*", "~*", ">=0"] {
            check(any, &["0.0.1", "9.0.0"], &["1.0.0-rc.1"]);
        }
        for none in [">*", "!=*"] {
            check(none, &[], &["0.0.0", "9.0.0"]);
        }
        check("1.0 - 1.4", &["1.0.0", "1.4.0", "1.4.9"], &["1.5.0", "0.9.0"]);
        check("^1.0 || ^3.0", &["1.5.0", "3.1.0"], &["2.0.0"]);
        let largest = format!(">={0}, <={0}", u64::MAX);
        check(&largest, &[&format!("{}.0.0", u64::MAX)], &["1.0.0"]);
    }

    #[test]
    fn a_prerelease_is_looked_at_only_where_one_is_named() {
        check(">=1.0.0", &["1.0.0"], &["1.0.0-rc.1", "1.1.0-rc.1", "2.0.0-rc.1"]);
        check(
            ">=1.0.0-0",
            &["1.0.0", "1.0.0-rc.1", "1.1.0-rc.1", "2.0.0-rc.1"],
            &["0.9.0", "0.9.9-rc.1"],
        );
        check(">=1.0-0", &["1.0.0-alpha", "1.3.0-rc.1", "7.0.0-a"], &["0.9.9"]);
        check(
            "^1.2-0",
            &["1.2.0-rc.1", "1.9.0-rc.1"],
            &["2.0.0-rc.1", "2.0.0-0", "1.1.0"],
        );
        check(
            "^1.2.3-beta.2",
            &["1.2.3-beta.2", "1.2.3-beta.3", "1.2.3", "1.4.0-a"],
            &["1.2.3-beta.1"],
        );
        check(
            "~1.2.3-0",
            &["1.2.3-rc.1", "1.2.4-rc.1", "1.2.9"],
            &["1.3.0-rc.1"],
        );
        check("1.2-0", &["1.2.0-rc.1", "1.2.5"], &["1.3.0-rc.1", "1.1.0"]);
        check("*-0", &["0.0.1-a", "9.0.0-rc.1", "1.0.0"], &[]);
        check(
            "=1.0.0-rc.1",
            &["1.0.0-rc.1", "1.0.0-rc.1+b"],
            &["1.0.0-rc.1.0", "1.0.0-rc.2", "1.0.0"],
        );
        check(
            ">1.0.0-rc.1",
            &["1.0.0-rc.1.0", "1.0.0-rc.2", "1.0.0"],
            &["1.0.0-rc.1", "1.0.0-rc.0"],
        );
        check(
            "<=1.0.0-rc.1",
            &["1.0.0-rc.1", "1.0.0-alpha"],
            &["1.0.0-rc.1.0", "1.0.0"],
        );
        check("!=1.0.0-rc.1", &["1.0.0-rc.2", "1.0.0"], &["1.0.0-rc.1"]);
        // What one clause of a group names counts for the group, and for no other.
        check(">=1.0.0-0, <2.0.0", &["1.5.0-rc.1", "2.0.0-rc.1"], &["2.0.0"]);
        check(
            ">=1.0.0-0 <2.0.0-0 || ^3",
            &["1.5.0-rc.1", "3.0.0"],
            &["2.0.0-rc.1", "3.1.0-rc.1"],
        );
    }

    #[test]
    fn what_is_no_constraint_is_refused() {
        for text in [
            "",
            " ",
            "x y",
            ">>1",
            "1..2",
            "1.",
            ".1",
            "=",
            "^1 ||",
            "|| ^1",
            ">=1,",
            ",>=1",
            ">=1,,<2",
            "1.2.3.4",
            ">=1<2",
            "1.2.3-",
            "1-01",
            "a",
            "- 1",
            "1 - ",
            "1 -2",
            "99999999999999999999",
            &">=1 ".repeat(100),
        ] {
            assert!(text.parse::<Constraint>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<String>(), likely in "[0-9xX*.v^~<>=!|, -]{0,30}") {
            let _ = text.parse::<Constraint>();
            let parsed = likely.parse::<Constraint>();
            prop_assert!(parsed.is_err() || !likely.trim().is_empty());
        }

        #[test]
        fn every_version_is_equal_to_itself_alone(text in "[0-9]\\.[0-9]\\.[0-9](-[a-z]{1,3})?", other in "[0-9]\\.[0-9]\\.[0-9](-[a-z]{1,3})?") {
            let (one, other) = (version(&text), version(&other));
            let admits = |sign: &str, version: &Version| format!("{sign}{text}").parse::<Constraint>().unwrap().admits(version);
            prop_assert!(admits("=", &one) && admits(">=", &one) && admits("<=", &one));
            prop_assert!(!admits("!=", &one) && !admits(">", &one) && !admits("<", &one));
            if !other.is_prerelease() || one.is_prerelease() {
                prop_assert_eq!(admits("=", &other), !admits("!=", &other));
                prop_assert_eq!(admits(">", &other), !admits("<=", &other));
                prop_assert_eq!(admits("<", &other), !admits(">=", &other));
            }
        }
    }
}
