//! The parsers of gems that are fuzzed.

use super::artifact;
use super::attestations::Attestations;
use super::gemspec::Spec;
use super::marshal;
use super::names::{Clause, GemName, GemVersion, Platform, candidates};
use crate::archive::Limits;
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "rubygems_attestations",
        read: |bytes| text(bytes, attested),
        #[cfg(test)]
        seeds: || {
            let sha256 = data_encoding::HEXLOWER.encode(&SHA256);
            vec![super::attestations::tests::attestations("acme-1.0.0.gem", &sha256).into()]
        },
    },
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

/// The digest of the gem that attestations are to be about.
const SHA256: [u8; 32] = [7; 32];

fn attested(text: &str) -> bool {
    let read = Attestations::read(text.into(), "acme-1.0.0.gem", &SHA256);
    if let Ok(Some(read)) = &read {
        let again: Vec<serde_json::Value> = serde_json::from_slice(&read.text).expect("it is a list");
        assert!(!again.is_empty());
    }
    read.is_ok()
}

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
