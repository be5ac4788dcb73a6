//! Names of packages, as Composer has them: `vendor/name`, in lower case; and patterns of names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registry::names::InvalidName;

/// The longest name.
const MAX_NAME_BYTES: usize = 200;

/// What some systems take for a device.
const RESERVED: [&str; 4] = ["nul", "con", "prn", "aux"];

/// The name of a package.
///
/// Invariant: as Composer writes it, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PackageName(String);

impl PackageName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the slash.
    pub(crate) fn vendor(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The part behind it.
    pub(crate) fn base(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }
}

/// Whether a text is of words of letters and digits, with one of these between them.
fn is_words(text: &str, separators: &[&str]) -> bool {
    let mut rest = text;
    loop {
        let word_bytes = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        rest = &rest[word_bytes..];
        if word_bytes == 0 || rest.is_empty() {
            return word_bytes > 0;
        }
        let after = separators
            .iter()
            .find_map(|separator| rest.strip_prefix(separator));
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

fn is_reserved(part: &str) -> bool {
    let is_port = ["com", "lpt"].iter().any(|port| {
        let number = part.strip_prefix(port);
        number.is_some_and(|number| matches!(number.as_bytes(), [b'1'..=b'9']))
    });
    is_port || RESERVED.contains(&part)
}

impl FromStr for PackageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| Err(InvalidName::new("package name", text, reason));
        if text.len() > MAX_NAME_BYTES {
            return refuse("is longer than 200 characters");
        }
        let name = text.to_ascii_lowercase();
        let Some((vendor, base)) = name.split_once('/') else {
            return refuse("is not a vendor, a slash and a name");
        };
        if !is_words(vendor, &["-", "_", "."]) || !is_words(base, &["--", "-", "_", "."]) {
            return refuse("is not of letters and digits with single '-', '_' or '.' between them");
        }
        if is_reserved(vendor) || is_reserved(base) {
            return refuse("has a part that is a device on some systems");
        }
        if base.ends_with(".json") {
            return refuse("ends with .json, as names of files do");
        }
        Ok(Self(name))
    }
}

impl TryFrom<String> for PackageName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names that are wanted: each `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<String>);

impl Pattern {
    /// The longest pattern, and so the work for each name, are those of a name.
    pub(crate) fn read(text: &str) -> Result<Self, InvalidName> {
        if text.len() > MAX_NAME_BYTES {
            let reason = "is longer than 200 characters";
            return Err(InvalidName::new("pattern of names", text, reason));
        }
        let folded = text.to_ascii_lowercase();
        Ok(Self(folded.split('*').map(str::to_owned).collect()))
    }

    pub(crate) fn takes(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.iter().all(|whole| whole == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        // Whatever comes first leaves the most room for the others.
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }

    /// What tells this pattern from others.
    pub(crate) fn text(&self) -> String {
        self.0.join("*")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_as_composer_has_them() {
        let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<PackageName>(), expected) {
            (Ok(name), Ok(expected)) => assert_eq!(name.to_string(), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("{text:?} is {outcome:?}"),
        };
        check("acme/foo", Ok("acme/foo"));
        check("Acme/Foo", Ok("acme/foo"));
        check("0a.b_c-d/e--f.g_h-1", Ok("0a.b_c-d/e--f.g_h-1"));
        for text in ["", "acme", "php", "ext-json", "acme foo"] {
            check(text, Err("is not a vendor, a slash and a name"));
        }
        for text in [
            "/", "acme/", "/foo", "a/b/c", "a--b/c", "a/b---c", "a/-b", "a/b-", "a/b..c", "a/b._c", "a/b c",
            "a/../b", "../b", "a/b%2f", "a/b\0", "\u{e9}/b", "a/b~dev", "a/b$c", "a/b*", "a\\b/c",
        ] {
            check(text, Err("is not of letters and digits"));
        }
        check("con/x", Err("device"));
        check("x/LPT9", Err("device"));
        check("com10/comma", Ok("com10/comma"));
        check("x/y.json", Err(".json"));
        check(&format!("a/{}", "b".repeat(200)), Err("longer than 200"));
    }

    #[test]
    fn patterns_take_what_their_stars_stand_for() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let pattern = Pattern::read(pattern).unwrap();
            assert_eq!(pattern.takes(name), expected, "{pattern:?} {name}");
        };
        check("acme/*", "acme/foo", true);
        check("acme/*", "acme2/foo", false);
        check("ACME/F*", "acme/foo", true);
        check("*", "acme/foo", true);
        check("", "acme/foo", false);
        check("acme/foo", "acme/foo", true);
        check("acme/foo", "acme/foo2", false);
        check("*foo", "acme/foo", true);
        check("a*o*o", "acme/foo", true);
        check("a*o*o*o", "acme/foo", false);
        check("*ab*b", "x/ab", false);
        check("acme/f*foo", "acme/foo", false);
        assert!(Pattern::read(&"*".repeat(201)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[a-zA-Z0-9._-]{0,8}/?[a-zA-Z0-9._-]{0,8}") {
            if let Ok(name) = text.parse::<PackageName>() {
                prop_assert_eq!(name.to_string(), text.to_lowercase());
                prop_assert_eq!(name.to_string(), format!("{}/{}", name.vendor(), name.base()));
            }
        }

        /// The rule as Composer's schema states it.
        #[test]
        fn names_are_those_of_the_schema(text in "[a1_.-]{0,5}/[a1_.-]{0,6}") {
            let rule = r"^[a-z0-9]([_.-]?[a-z0-9]+)*/[a-z0-9](([_.]|-{1,2})?[a-z0-9]+)*$";
            let rule = regex::Regex::new(rule).unwrap();
            prop_assert_eq!(text.parse::<PackageName>().is_ok(), rule.is_match(&text));
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>(), name in any::<String>()) {
            let _ = (text.parse::<PackageName>(), Pattern::read(&text).map(|pattern| pattern.takes(&name)));
        }
    }
}
