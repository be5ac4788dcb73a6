//! The parsers of npm's that are fuzzed.

use nodejs_semver::Range;

use super::advisories::{Affected, Asked};
use super::names::{DistTag, PackageName, Version};
use super::{artifact, audit, document};
use crate::formats::json;
use crate::fuzz::{Target, gzip, text};
#[cfg(test)]
use crate::fuzz::{gunzip, lines};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "npm_affected",
        read: |bytes| text(bytes, affected),
        #[cfg(test)]
        seeds: || lines("<1.2.3 || >=2.0.0 <2.1.4\n^1.2.0\n1.x\n1.0.0 - 1.4.0\n*\n~1.2.3-beta.2"),
    },
    Target {
        name: "npm_audit",
        read: audit::is_read,
        #[cfg(test)]
        seeds: || {
            lines(
                "{\"left\": [\"1.0.0\"], \"@acme/right\": []}\n\
                 {\"dependencies\": {\"a\": {\"version\": \"1.0.0\", \"dependencies\": {\"b\": {\"version\": \"1.0.0\"}}}}}",
            )
        },
    },
    Target {
        name: "npm_document",
        read: |bytes| document::read(bytes, &document::Limits::default(), |_| Ok(())).is_ok(),
        #[cfg(test)]
        seeds: || vec![document::tests::a_publication().into()],
    },
    Target {
        name: "npm_json",
        read: plain,
        #[cfg(test)]
        seeds: || lines("{\"a\": [1, -2.5e3, \"\\u00e9\\n\", true, null], \"b\": {}}\n[]\n\"x\""),
    },
    Target {
        name: "npm_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || lines("@acme/left-pad\nleft\n1.0.0-beta.2+x\nlatest\nv1.2"),
    },
    Target {
        name: "npm_tarball",
        read: tarball,
        #[cfg(test)]
        seeds: || {
            vec![gunzip(&artifact::tests::tarball(
                r#"{"name": "left", "version": "1.0.0"}"#,
            ))]
        },
    },
];

/// What is accepted means the same to every other reader of JSON.
fn plain(text: &[u8]) -> bool {
    let limits = document::Limits::default().json;
    let read = json::parse(text, limits);
    if let Ok(value) = &read {
        let other: serde_json::Value = serde_json::from_slice(text).expect("it is JSON");
        assert_eq!(other, *value);
    }
    read.is_ok()
}

fn names(text: &str) -> bool {
    let package = text.parse::<PackageName>();
    if let Ok(package) = &package {
        let _ = package.version_of_tarball(text);
    }
    package.is_ok()
        || text.parse::<Version>().is_ok()
        || Version::clean(text).is_ok()
        || text.parse::<DistTag>().is_ok()
}

/// What is told of the versions that are not affected can be told again.
fn affected(text: &str) -> bool {
    let affected = Affected::try_from(text.to_owned());
    if let Ok(affected) = &affected {
        affected.includes(&Asked::of(&"1.2.3-beta.1".parse().expect("it is a version")));
        Range::parse(affected.patched()).expect("it is a range");
    }
    affected.is_ok()
}

/// Every byte is handed on as it was, whether it is accepted or not.
fn tarball(tar: &[u8]) -> bool {
    let packed = gzip(tar);
    let mut passed_on = 0;
    let read = artifact::inspect(packed.as_slice(), &artifact::Limits::default(), |chunk| {
        assert!(packed[passed_on..].starts_with(&chunk));
        passed_on += chunk.len();
        Ok(())
    });
    assert!(read.is_err() || passed_on == packed.len());
    read.is_ok()
}
