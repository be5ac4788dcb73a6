//! Reads from a `go.mod` which module it is of. All else in it is for the go command.
//!
//! The syntax is in the Go Modules Reference, "go.mod files": one statement a line, or several
//! within brackets; `//` begins a comment; a word may stand in quotes.

/// Why a `go.mod` does not say which module it is of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GoModError {
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("has no line \"module\" with a path")]
    NoModule,
    #[error("has two lines \"module\"")]
    TwoModules,
    #[error("has a malformed line \"module\": {0}")]
    Malformed(String),
}

/// The path on the line `module`.
pub(super) fn module_of(text: &[u8]) -> Result<&str, GoModError> {
    let text = std::str::from_utf8(text).map_err(|_| GoModError::NotUtf8)?;
    let mut found = None;
    let mut block: Option<&str> = None;
    for line in text.lines() {
        let mut words = Words(line);
        let Some(first) = words.next() else {
            continue;
        };
        let path = match (block, first) {
            (Some(_), ")") => {
                block = None;
                continue;
            }
            (Some("module"), path) => path,
            (Some(_), _) => continue,
            (None, "module") => match words.next() {
                Some("(") => {
                    block = Some("module");
                    continue;
                }
                path => path.ok_or(GoModError::NoModule)?,
            },
            (None, verb) => {
                if words.last() == Some("(") {
                    block = Some(verb);
                }
                continue;
            }
        };
        let malformed = || GoModError::Malformed(line.trim().chars().take(80).collect());
        if words.next().is_some() {
            return Err(malformed());
        }
        let path = unquoted(path).ok_or_else(malformed)?;
        if found.replace(path).is_some() {
            return Err(GoModError::TwoModules);
        }
    }
    found.ok_or(GoModError::NoModule)
}

/// The words of a line, up to a comment.
struct Words<'t>(&'t str);

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let rest = self.0.trim_start();
        let first = rest.chars().next().filter(|_| !rest.starts_with("//"))?;
        let end = match first {
            '(' | ')' => 1,
            // Without its end it is no word that means anything.
            '"' | '`' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            _ => {
                let ends = |character: char| character.is_whitespace() || "()\"`".contains(character);
                let end = rest.find(ends).unwrap_or(rest.len());
                rest[..end].find("//").unwrap_or(end)
            }
        };
        let (word, after) = rest.split_at(end);
        self.0 = after;
        Some(word)
    }
}

/// What a word says; none if its quotes do not end, or something is escaped in it, as in no path.
fn unquoted(word: &str) -> Option<&str> {
    let Some(quote) = word.chars().next().filter(|first| "\"`".contains(*first)) else {
        return Some(word);
    };
    let inner = word[1..].strip_suffix(quote)?;
    (!inner.contains('\\')).then_some(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (module_of(text.as_bytes()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} / {part}"),
            (outcome, _) => panic!("{text:?} is {outcome:?}"),
        }
    }

    #[test]
    fn the_module_is_found_however_it_is_written() {
        let ours = Ok("git.acme.io/lib");
        check("module git.acme.io/lib\n", ours);
        check("module git.acme.io/lib", ours);
        check("module \"git.acme.io/lib\"\r\n\r\ngo 1.21\r\n", ours);
        check("module `git.acme.io/lib` // why\n", ours);
        check("// Deprecated: use another\n\tmodule\tgit.acme.io/lib//x\n", ours);
        check("module (\n\tgit.acme.io/lib\n)\n", ours);
        check(
            "go 1.21\n\nrequire (\n\tmodule v1.0.0\n\ta.b/c v1.0.0 // indirect\n)\nmodule git.acme.io/lib\n",
            ours,
        );
        check("retract [v1.0.0, v1.1.0] // (\nmodule git.acme.io/lib\n", ours);
    }

    #[test]
    fn what_does_not_say_one_module_is_refused() {
        check("", Err("no line"));
        check("go 1.21\n", Err("no line"));
        check("// module a.b/c\n", Err("no line"));
        check("module\n", Err("no line"));
        check("module // a.b/c\n", Err("no line"));
        check("modulea.b/c\n", Err("no line"));
        check("module a.b/c d\n", Err("malformed"));
        check("module \"a.b/c\n", Err("malformed"));
        check("module \"a.b\\x2fc\"\n", Err("malformed"));
        check("module a.b/c\nmodule a.b/c\n", Err("two lines"));
        check("module (\n a.b/c\n a.b/d\n)\n", Err("two lines"));
        assert_eq!(module_of(b"module \xff"), Err(GoModError::NotUtf8));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<String>()) {
            let _ = module_of(text.as_bytes());
        }

        #[test]
        fn nothing_like_a_go_mod_makes_it_panic(text in "(module|require|[(\"`) ]|//|a\\.b|\n|\u{e9}){0,30}") {
            let _ = module_of(text.as_bytes());
        }
    }
}
