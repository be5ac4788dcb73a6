//! The parsers of Composer's that are fuzzed.

use std::io::Cursor;

use super::artifact;
use super::constraints::Constraint;
use super::manifest::Manifest;
use super::names::{PackageName, Pattern};
use super::versions::Version;
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "composer_archive",
        read: |bytes| artifact::inspect(Cursor::new(bytes), &artifact::LIMITS).is_ok(),
        #[cfg(test)]
        seeds: || vec![artifact::tests::package("acme/foo", "1.0.0")],
    },
    Target {
        name: "composer_constraint",
        read: |bytes| text(bytes, |text| text.parse::<Constraint>().is_ok()),
        #[cfg(test)]
        seeds: || lines(&super::constraints::tests::READ.join("\n")),
    },
    Target {
        name: "composer_manifest",
        read: |bytes| Manifest::read(bytes).is_ok(),
        #[cfg(test)]
        seeds: || {
            vec![
                br#"{"name":"acme/foo","version":"1.x-dev","require":{"php":">=8.1 <9","acme/bar":"^1.0 || dev-main"},
                    "autoload":{"psr-4":{"Acme\\":["src/"]}},"extra":{"branch-alias":{"dev-main":"1.x-dev"}},"license":"MIT"}"#
                    .into(),
            ]
        },
    },
    Target {
        name: "composer_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || lines("acme/foo--bar.x\nv1.2.3.4-beta.2-dev\n2010-01-02\ndev-feature/x\n1.x-dev\ntrunk"),
    },
];

fn names(text: &str) -> bool {
    let name = text.parse::<PackageName>();
    if let Ok(name) = &name {
        assert_eq!(name.as_str(), text.to_ascii_lowercase());
        assert!(Pattern::read(text).is_ok_and(|pattern| pattern.takes(name.as_str())));
    }
    let version = text.parse::<Version>();
    if let Ok(version) = &version {
        let again: Version = version.canonical().parse().expect("a canonical version is one");
        assert_eq!(again.normalized(), version.normalized());
        assert_eq!(again.rank(), version.rank());
    }
    name.is_ok() || version.is_ok()
}
