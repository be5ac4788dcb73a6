//! Names of the files of a module: which of them the go command unpacks, and which are one where
//! case does not count.

use std::collections::HashMap;

use super::names::{Kind, check_element};

/// How many files and folders a module may have: a few bytes are held for each.
const MAX_NAMES: usize = 200_000;

/// Refuses the path of a file that the go command would not unpack.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    path.split('/')
        .try_for_each(|element| check_element(element, Kind::File))
}

/// The files and folders that were met.
#[derive(Default)]
pub(super) struct Tree {
    /// By what all spellings of a path have in common, which it was.
    met: HashMap<Digest, (Digest, bool)>,
}

type Digest = [u8; 16];

impl Tree {
    /// Takes a file, or a folder, with the folders that it lies in.
    pub(super) fn insert(&mut self, path: &str, is_folder: bool) -> Result<(), &'static str> {
        let (mut exact, mut folded) = (blake3::Hasher::new(), blake3::Hasher::new());
        let mut elements = path.split('/').peekable();
        while let Some(element) = elements.next() {
            let is_last = elements.peek().is_none();
            exact.update(element.as_bytes()).update(b"/");
            folded.update(fold(element).as_bytes()).update(b"/");
            let own = (digest(&exact), !is_last || is_folder);
            let met = self.met.insert(digest(&folded), own);
            if self.met.len() > MAX_NAMES {
                return Err("is one of too many files and folders");
            }
            match met {
                Some((other, _)) if other != own.0 => {
                    return Err("differs from another only by case");
                }
                Some((_, was_folder)) if was_folder != own.1 => {
                    return Err("is both a file and a folder");
                }
                Some((_, false)) => return Err("is there twice"),
                Some((_, true)) | None => {}
            }
        }
        Ok(())
    }
}

fn digest(hasher: &blake3::Hasher) -> Digest {
    let mut digest = Digest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// What all spellings of a name have in common: each character by itself, because no system takes
/// one for several.
fn fold(name: &str) -> String {
    name.chars()
        .map(|own| only(own.to_uppercase()).unwrap_or(own))
        .map(|upper| only(upper.to_lowercase()).unwrap_or(upper))
        .collect()
}

fn only(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    first.filter(|_| mapped.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names_that_every_system_has() {
        for path in [
            "a.go",
            ".gitignore",
            ".github/x.yml",
            "testdata/a b (1)+[2]{3}.txt",
            "r\u{e9}sum\u{e9}.md",
            "\u{65e5}\u{672c}",
            "x~1",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "a//b",
            "a/",
            "a/.",
            "..",
            "a.",
            "nul",
            "sub/AUX.go",
            "a:b",
            "a*b",
            "a\"b",
            "a'b",
            "a`b",
            "a|b",
            "a<b",
            "a?b",
            "\u{1f600}",
            "e\u{301}",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn names_that_differ_by_case_alone_are_one() {
        let check = |paths: &[(&str, bool)], expected: Result<(), &str>| {
            let mut tree = Tree::default();
            let outcome = paths
                .iter()
                .try_for_each(|(path, is_folder)| tree.insert(path, *is_folder));
            match (outcome, expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason} / {part}"),
                (outcome, _) => panic!("{paths:?}: {outcome:?}"),
            }
        };
        check(
            &[("a/b", false), ("a/c", false), ("a", true), ("ab", false)],
            Ok(()),
        );
        check(&[("a", true), ("a", true)], Ok(()));
        check(&[("a", false), ("A", false)], Err("only by case"));
        check(&[("x/a", false), ("X/b", false)], Err("only by case"));
        check(&[("\u{212a}", false), ("k", false)], Err("only by case"));
        check(&[("\u{17f}", false), ("S", false)], Err("only by case"));
        check(&[("\u{e9}", false), ("\u{c9}", false)], Err("only by case"));
        check(&[("stra\u{df}e", false), ("strasse", false)], Ok(()));
        check(&[("a", false), ("a/b", false)], Err("both a file and a folder"));
        check(&[("a/b", false), ("a", false)], Err("both a file and a folder"));
        check(&[("a", false), ("a", false)], Err("is there twice"));
        let many: Vec<String> = (0..120_000).map(|number| format!("{number}/x")).collect();
        let many: Vec<_> = many.iter().map(|path| (path.as_str(), false)).collect();
        check(&many, Err("too many"));
    }
}
