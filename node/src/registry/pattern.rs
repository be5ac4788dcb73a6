//! Names with wildcards, as rules write them: `*` stands for any characters, also none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registry::names::InvalidName;

/// The longest pattern.
const MAX_BYTES: usize = 255;

/// A name with wildcards. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Pattern(String);

impl Pattern {
    /// Whether a name is one of those that are meant, both in the form that all spellings of a name
    /// have in common.
    pub(crate) fn matches(&self, name: &str, form: impl Fn(&str) -> String) -> bool {
        matches(&form(&self.0), &form(name))
    }

    /// The pattern as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    // Whatever a wildcard may stand for, the earliest place for what follows leaves most.
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl FromStr for Pattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("pattern", text, reason));
        match text {
            "" => wrong("is empty"),
            _ if text.len() > MAX_BYTES => wrong("is longer than 255 characters"),
            _ if text.chars().any(char::is_control) => wrong("has a control character"),
            _ => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("tool", "tool", true);
        check("tool", "tools", false);
        check("tool", "atool", false);
        check("tool*", "tool", true);
        check("tool*", "tools", true);
        check("*tool", "mytool", true);
        check("*tool", "tools", false);
        check("@acme/*-core", "@acme/web-core", true);
        check("@acme/*-core", "@acme/-core", true);
        check("@acme/*-core", "@acme/core", false);
        check("a*b*c", "a1b2c", true);
        check("a*b*c", "abc", true);
        check("a*b*c", "acb", false);
        check("a*a", "a", false);
        check("a*ab*b", "aab", false);
        check("a*ab*b", "aabb", true);
        check("*", "", true);
        check("**", "x", true);
        check("*.*", "a.b", true);
        check("a.c", "abc", false);
        check("Tool", "tool", false);
    }

    #[test]
    fn names_of_several_spellings_are_matched_in_one() {
        let pattern: Pattern = "My_Tool*".parse().unwrap();
        let form = |name: &str| name.to_lowercase().replace('_', "-");
        assert!(pattern.matches("my-tool-kit", form));
        assert!(!pattern.matches("my-tool-kit", str::to_owned));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "a\nb", &"x".repeat(256)] {
            assert!(text.parse::<Pattern>().is_err(), "{text:.20?}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_the_same_expression_means(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            let expression = format!("^{}$", pattern.replace('*', ".*"));
            let expected = regex::Regex::new(&expression).unwrap().is_match(&name);
            prop_assert_eq!(matches(&pattern, &name), expected);
        }
    }
}
