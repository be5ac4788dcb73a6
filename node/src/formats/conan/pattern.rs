//! Patterns of references, as `conan search` has them: `*` is any text, `?` any character and `[…]`
//! any of several. A pattern may also match a reference up to the end of one of its parts, so that
//! `zlib` finds all versions of it.

use regex::{Regex, RegexBuilder};

use crate::http::error::ApiError;

/// The longest pattern.
const MAX_BYTES: usize = 512;

/// A pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// What all that it matches begins with, in lower case.
    prefix: String,
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn new(text: &str, ignores_case: bool) -> Result<Self, ApiError> {
        if text.len() > MAX_BYTES {
            return Err(ApiError::bad_request(format!(
                "the pattern is over the limit of {MAX_BYTES} bytes"
            )));
        }
        let prefix = text.split(['*', '?', '[']).next().unwrap_or_default();
        let regex = RegexBuilder::new(&translated(text))
            .case_insensitive(ignores_case)
            .dot_matches_new_line(true)
            .size_limit(1 << 20)
            .build()
            .map_err(|_| ApiError::bad_request(format!("{text:?} is no pattern")))?;
        Ok(Self {
            regex,
            prefix: prefix.to_lowercase(),
        })
    }

    /// What every reference that it matches begins with, in lower case.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it matches a reference, or a reference up to the end of one of its parts.
    pub(super) fn matches(&self, reference: &str) -> bool {
        let ends = reference
            .char_indices()
            .filter(|(_, c)| ['/', '@'].contains(c))
            .flat_map(|(at, _)| [at, at + 1])
            .chain([reference.len()]);
        let mut parts = ends.map(|end| &reference[..end]);
        parts.any(|part| self.regex.is_match(part))
    }
}

/// The same as a regular expression.
fn translated(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => match set(rest) {
                Some((set, after)) => {
                    out.push_str(&set);
                    rest = after;
                }
                None => out.push_str("\\["),
            },
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('$');
    out
}

/// A set of characters, and what follows it; none if it does not end. A `]` right at its beginning is
/// a character like others.
fn set(text: &str) -> Option<(String, &str)> {
    let (negated, text) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let first = text.chars().next()?.len_utf8();
    let end = first + text[first..].find(']')?;
    let mut out = String::from(if negated { "[^" } else { "[" });
    let mut characters = text[..end].chars().peekable();
    while let Some(c) = characters.next() {
        // A range is one only between two characters in their order.
        let mut ahead = characters.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if c <= last => {
                push_escaped(&mut out, c);
                out.push('-');
                push_escaped(&mut out, last);
                characters = ahead;
            }
            _ => push_escaped(&mut out, c),
        }
    }
    out.push(']');
    Some((out, &text[end + 1..]))
}

fn push_escaped(out: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, reference: &str, matches: bool) {
        let found = Pattern::new(pattern, true).unwrap().matches(reference);
        assert_eq!(found, matches, "{pattern} {reference}");
    }

    #[test]
    fn references_are_found_as_by_the_reference_server() {
        for (pattern, matches) in [
            ("*", true),
            ("zlib/1.3@acme/stable", true),
            ("zlib/1.3", true),
            ("zlib/", true),
            ("ZLIB", true),
            ("zlib*", true),
            ("z*/1.?", true),
            ("*@acme/*", true),
            ("*stable", true),
            ("z[a-l]ib*", true),
            ("z[!a-k]ib*", true),
            ("z[]l]ib*", true),
            ("zli", false),
            ("lib*", false),
            ("z[!l]ib*", false),
            ("z[lib*", false),
            ("zlib/1.4*", false),
            ("zlib/1-3*", false),
            ("", false),
        ] {
            check(pattern, "zlib/1.3@acme/stable", matches);
        }
        check("zlib/[", "zlib/1.3", false);
        assert!(!Pattern::new("ZLIB", false).unwrap().matches("zlib/1.3"));
        assert!(Pattern::new(&"*".repeat(513), true).is_err());
        assert_eq!(Pattern::new("Zlib/1.*", true).unwrap().prefix(), "zlib/1.");
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_refused(pattern in "[a-c*?!^&~\\[\\]\\\\-]{0,12}|\\PC{0,20}", text in "[a-c/@]{0,8}") {
            if let Ok(pattern) = Pattern::new(&pattern, true)
                && pattern.matches(&text)
            {
                prop_assert!(text.to_lowercase().starts_with(pattern.prefix()));
            }
        }

        #[test]
        fn text_without_wildcards_matches_itself(text in "[A-Za-z0-9_+.-]{1,20}") {
            prop_assert!(Pattern::new(&text, false).unwrap().matches(&text));
        }
    }
}
