//! The parsers of generic packages that are fuzzed.

use super::names::{FileName, PackageName, RawPath};
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[Target {
    name: "generic_names",
    read: |bytes| text(bytes, names),
    #[cfg(test)]
    seeds: || lines("app\n1.0.0\nlinux/x86_64/app.tar.gz\n~a/b+c@1"),
}];

fn names(text: &str) -> bool {
    let is_clean = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let file = text.parse::<FileName>();
    assert!(file.as_ref().is_ok_and(|file| is_clean(file.as_str())) || file.is_err());
    let path = text.parse::<RawPath>();
    assert!(path.as_ref().is_ok_and(|path| is_clean(path.as_str())) || path.is_err());
    let package = text.parse::<PackageName>();
    assert!(
        package
            .as_ref()
            .is_ok_and(|package| !package.as_str().contains('/'))
            || package.is_err()
    );
    file.is_ok() || path.is_ok() || package.is_ok()
}
