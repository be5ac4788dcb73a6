//! The parsers of gems that are fuzzed.

use super::artifact;
use super::gemspec::Spec;
use super::marshal;
use super::names::{Clause, GemName, GemVersion, Platform, candidates};
use crate::archive::Limits;
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "rubygems_gem",
        read: |gem| artifact::inspect(gem, &Limits::default()).is_ok(),
        #[cfg(test)]
        seeds: || vec![artifact::tests::gem_of("acme", "1.0.0")],
    },
    Target {
        name: "rubygems_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || lines("acme_foo\n1.0.0.rc1\nx86_64-linux\nacme-foo-1.0.0-java"),
    },
    Target {
        name: "rubygems_specification",
        read: specification,
        #[cfg(test)]
        seeds: || vec![include_bytes!("testdata/acme_foo.yaml").to_vec()],
    },
];

fn specification(yaml: &[u8]) -> bool {
    let read = Spec::read(yaml);
    if let Ok(read) = &read {
        marshal::quick(read).expect("memory takes all bytes");
    }
    read.is_ok()
}

fn names(text: &str) -> bool {
    let version = text.parse::<GemVersion>();
    // What is nearly too long may be too long with all of its dots.
    if let Ok(version) = &version
        && let Ok(again) = version.canonical().parse::<GemVersion>()
    {
        assert!(again.order(version).is_eq());
    }
    let (name, platform) = (text.parse::<GemName>(), text.parse::<Platform>());
    let is_clause = Clause::new(">=", text).is_ok();
    name.is_ok() | version.is_ok() | platform.is_ok() | is_clause | (candidates(text).count() > 0)
}
