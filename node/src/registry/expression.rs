//! Regular expressions of strangers: of bounded size, and matched in time that is linear in what
//! they are matched against. Lookaround and back references are not among them.

use regex::bytes::{Regex, RegexBuilder};

/// What an expression may need when it is compiled: so many steps are taken for each byte that it
/// is matched against, at worst.
const MAX_REGEX_BYTES: usize = 64 << 10;

/// What part of a text an expression must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// All of it.
    Whole,
    /// Any of it.
    Somewhere,
}

/// An expression that is not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpressionError {
    /// Longer than an expression may be.
    #[error("is over {0} characters")]
    TooLong(usize),
    /// It would take too many steps.
    #[error("is too large")]
    TooLarge,
    /// No expression, or of a kind that is not known.
    #[error("is not a valid expression")]
    Malformed,
}

/// Compiles an expression of at most `limit_bytes`.
pub(crate) fn compile(pattern: &str, span: Span, limit_bytes: usize) -> Result<Regex, ExpressionError> {
    if pattern.len() > limit_bytes {
        return Err(ExpressionError::TooLong(limit_bytes));
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            // What is matched is ASCII nearly always, and the classes of Unicode are large.
            .unicode(false)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(MAX_REGEX_BYTES)
            .build()
    };
    // By itself first: two halves must not become one whole through what is put around them.
    let alone = build(pattern);
    let compiled = match span {
        Span::Somewhere => alone,
        Span::Whole => alone.and_then(|_| build(&format!(r"\A(?:{pattern})\z"))),
    };
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => ExpressionError::TooLarge,
        _ => ExpressionError::Malformed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_cannot_be_read_or_are_too_large_are_refused() {
        let check = |pattern: &str, expected: ExpressionError| {
            for span in [Span::Whole, Span::Somewhere] {
                assert_eq!(
                    compile(pattern, span, 1024).unwrap_err(),
                    expected,
                    "{pattern:.40}"
                );
            }
        };
        for malformed in ["(", "a)(b", "*", "(?=a)b", r"(a)\1"] {
            check(malformed, ExpressionError::Malformed);
        }
        for large in ["(?:a{1000}){1000}", "(?:a?){15000}"] {
            check(large, ExpressionError::TooLarge);
        }
        check(&"a".repeat(1025), ExpressionError::TooLong(1024));
    }

    #[test]
    fn what_takes_other_engines_for_ever_is_like_any_other() {
        let regex = compile("(a+)+$", Span::Whole, 100).unwrap();
        assert!(!regex.is_match(format!("{}!", "a".repeat(120)).as_bytes()));
    }

    #[test]
    fn an_expression_matches_a_whole_text_or_any_part_of_it() {
        let check = |span, text: &str, expected| {
            let regex = compile("dev|test", span, 100).unwrap();
            assert_eq!(regex.is_match(text.as_bytes()), expected, "{text}");
        };
        check(Span::Whole, "dev", true);
        check(Span::Whole, "xtest", false);
        check(Span::Somewhere, "xtest", true);
        check(Span::Somewhere, "v1", false);
    }
}
