//! The parsers of PyPI's that are fuzzed.

use std::io::Cursor;

use super::artifact;
use super::metadata::CoreMetadata;
use super::names::{FileName, ProjectName, Version};
use crate::fuzz::{Target, gzip, text};
#[cfg(test)]
use crate::fuzz::{gunzip, lines};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "pypi_metadata",
        read: |bytes| CoreMetadata::parse(bytes).is_ok(),
        #[cfg(test)]
        seeds: || {
            vec![
                b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nRequires-Dist: bar>=1 ; extra == 'x'\n\
                  Project-URL: Home, http://a.b\nDescription: a\n  b\n\n# foo\n"
                    .into(),
            ]
        },
    },
    Target {
        name: "pypi_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || {
            lines("Foo.Bar_baz\nfoo-1.0-py3-none-any.whl\nfoo-1!2.0rc1.post2.dev3+l.1.tar.gz\nfoo-1.0.zip")
        },
    },
    Target {
        name: "pypi_sdist",
        read: |tar| distribution("foo-1.0.tar.gz", &gzip(tar)),
        #[cfg(test)]
        seeds: || vec![gunzip(&super::tests::source_distribution("foo", "1.0").1)],
    },
    Target {
        name: "pypi_wheel",
        read: |bytes| distribution("foo-1.0-py3-none-any.whl", bytes),
        #[cfg(test)]
        seeds: || vec![super::tests::wheel("foo", "1.0").1],
    },
];

fn distribution(file: &str, bytes: &[u8]) -> bool {
    let file = file.parse().expect("a file name");
    artifact::inspect(&file, Cursor::new(bytes), &artifact::Limits::default()).is_ok()
}

fn names(text: &str) -> bool {
    let file = text.parse::<FileName>();
    if let Ok(file) = &file {
        assert!(!text.contains(['/', '\\', '"', '<', '&', '%', ' ']));
        let again: Version = file.version.to_string().parse().expect("what is shown is read");
        assert_eq!(again.key(), file.version.key());
    }
    let project = text.parse::<ProjectName>();
    if let Ok(project) = &project {
        assert_eq!(project.as_str().parse().ok().as_ref(), Some(project));
    }
    file.is_ok() || project.is_ok()
}
