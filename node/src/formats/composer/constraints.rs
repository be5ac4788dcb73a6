//! Constraints on versions: whether Composer reads one.
//!
//! A constraint that it does not read anywhere in the metadata of a package stops every resolution that looks at
//! the package, so none is ever published. The grammar is that of `VersionParser::parseConstraints` in the library
//! `composer/semver`. What a constraint admits is for the clients to say.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::versions::{MODIFIER, Normal, expression};
use crate::registry::names::InvalidName;

/// The longest constraint.
const MAX_CONSTRAINT_BYTES: usize = 2000;

/// What stands before a version.
const OPERATORS: [&str; 8] = ["<>", "!=", ">=", "<=", "==", ">", "<", "="];

static FLAG: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)^([^,\s]*?)@(?:stable|RC|beta|alpha|dev)$"));

static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i)^(dev-[^,\s@]+?|[^,\s@]+?\.x-dev)#.+$"));

static ANYTHING: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i-u)^v?[x*](\.[x*])*$"));

static PLAIN: LazyLock<Regex> = LazyLock::new(|| {
    let part = r"(?:\.[0-9]+)?";
    expression(&format!(
        r"(?i)^v?[0-9]+{part}{part}{part}(?:{MODIFIER}|\.[x*][.-]?dev)(?:\+[^\s]+)?$"
    ))
});

static WILDCARD: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?-u)^v?[0-9]+(?:\.[0-9]+)?(?:\.[0-9]+)?(?:\.[xX*])+$"));

static MISTAKEN_BRANCH: LazyLock<Regex> = LazyLock::new(|| expression(r"(?-u)^[0-9a-zA-Z./-]+-dev$"));

/// A constraint that Composer reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Constraint(String);

impl FromStr for Constraint {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("constraint", text, reason));
        if text.len() > MAX_CONSTRAINT_BYTES {
            return refuse("is longer than 2000 characters");
        }
        // Two strokes are one.
        let alternatives = text.replace("||", "|");
        match alternatives.split('|').all(|all| is_read(all).unwrap_or(false)) {
            true => Ok(Self(text.to_owned())),
            false => refuse("is none that Composer reads"),
        }
    }
}

/// Whether all parts of one alternative are read; none if a part is missing.
fn is_read(all: &str) -> Option<bool> {
    // A comma is a word of its own, so that none can be in a wrong place.
    let spaced = all.replace(',', " , ");
    let mut words = spaced.split_ascii_whitespace().peekable();
    loop {
        let mut word = words.next()?;
        let mut has_operator = false;
        if let Some(rest) = OPERATORS.iter().find_map(|operator| word.strip_prefix(operator)) {
            has_operator = true;
            word = if rest.is_empty() { words.next()? } else { rest };
        }
        match words.peek() {
            Some(&"-") => {
                words.next();
                let (from, to) = (word, words.next()?);
                if has_operator || ![from, to].into_iter().all(is_plain) {
                    return Some(false);
                }
            }
            // What it is to be taken for says nothing of what is wanted.
            Some(&"as") => {
                words.next();
                words.next().filter(|alias| *alias != ",")?;
                if !is_wanted(word, has_operator) {
                    return Some(false);
                }
            }
            _ if !is_wanted(word, has_operator) => return Some(false),
            _ => {}
        }
        match words.peek() {
            None => return Some(true),
            Some(&",") => {
                words.next();
            }
            Some(_) => {}
        }
    }
}

fn is_version(text: &str) -> bool {
    Normal::read(text).is_some()
}

/// A version as the ends of a range are written.
fn is_plain(word: &str) -> bool {
    PLAIN.is_match(word) && is_version(word)
}

/// A word by itself.
fn is_wanted(word: &str, has_operator: bool) -> bool {
    let flagged = FLAG.captures(word);
    let word = match flagged.as_ref().and_then(|flagged| flagged.get(1)) {
        // A stability alone goes with any version.
        Some(rest) if rest.is_empty() => return !has_operator,
        Some(rest) => rest.as_str(),
        None => word,
    };
    let referred = REFERENCE.captures(word);
    let word = referred
        .as_ref()
        .and_then(|found| found.get(1))
        .map_or(word, |kept| kept.as_str());
    if !has_operator {
        if let Some(range) = word.strip_prefix(['~', '^']) {
            return PLAIN.is_match(range) && (is_version(range) || is_version(&format!("{range}-dev")));
        }
        if ANYTHING.is_match(word) || WILDCARD.is_match(word) || MISTAKEN_BRANCH.is_match(word) {
            return true;
        }
    }
    is_version(word)
}

impl TryFrom<String> for Constraint {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Constraint> for String {
    fn from(constraint: Constraint) -> Self {
        constraint.0
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::formats::composer) const READ: &[&str] = &[
        "*",
        "x.X.*",
        "v*",
        "1",
        "1.0.0",
        "v1.2",
        "=1.0",
        "==1.0",
        "!=1.0",
        "<>1.0",
        ">1.0",
        "<= 1.0",
        ">=1.0,<2",
        ">=1.0 <2.0",
        ">= 1.0 , < 2.0",
        "1.0 - 2.0",
        "1.0-beta - 2.0.0",
        "^1.2",
        "^0.3",
        "^1.2.3-beta.1",
        "~1",
        "~1.2.3",
        "~1.2@beta",
        "1.*",
        "1.2.x",
        "1.0||2.0",
        "1.0 | 2.0",
        "^1.0 || ^2.0,!=2.3",
        "@dev",
        "1.0@beta",
        ">=1.0@RC",
        "dev-main",
        "dev-feature/foo",
        "dev-main#abc123",
        "1.x-dev",
        "1.0.x-dev#abc",
        "dev-main as 1.0.x-dev",
        "^7.1|^8.0",
        ">=7.2.5",
        "~1.x-dev",
        "feature-dev",
        "20100102",
        "1.0+build",
        "master",
        "*@dev",
        "1.0.0-alpha as 1.0, ^1",
    ];

    pub(in crate::formats::composer) const NOT_READ: &[&str] = &[
        "",
        "|",
        "1.0|",
        "||1.0",
        ",1.0",
        "1.0,",
        "1.0,,2.0",
        ">",
        "> , 1.0",
        "~>1.0",
        "~",
        "^",
        "^x",
        "foo",
        "main",
        "1.0 - ",
        "- 1.0",
        "1.0 -2.0",
        "1.0 as",
        "^1.0 foo",
        ">=foo",
        "1.0.0.0.0",
        "~1.0.0-meh",
        "1.x.2",
        "latest",
        ">=*",
        "^2010-01-02",
        "^1.0@",
        "<>",
        "1.0 . 2.0",
    ];

    #[test]
    fn constraints_are_read_as_composer_does() {
        for text in READ {
            assert_eq!(text.parse::<Constraint>().unwrap().to_string(), *text);
        }
        for text in NOT_READ {
            assert!(text.parse::<Constraint>().is_err(), "{text:?}");
        }
        assert!("1.0|".repeat(1000).parse::<Constraint>().is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<String>(), likely in "[dev0-9.x@|, <>=~^-]{0,24}") {
            let _ = (text.parse::<Constraint>(), likely.parse::<Constraint>());
        }
    }
}
