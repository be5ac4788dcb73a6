//! The parsers of the container registry that are fuzzed.

use super::manifest::{LIMITS, Manifest};
use super::names::{Reference, RepositoryName};
use super::path::Endpoint;
use super::scope::parse_scopes;
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "oci_manifest",
        read: |bytes| Manifest::parse(bytes, None, &LIMITS).is_ok(),
        #[cfg(test)]
        seeds: || {
            super::manifest::tests::documents()
                .map(|document| document.to_string().into())
                .into()
        },
    },
    Target {
        name: "oci_names",
        read: |bytes| {
            text(bytes, |text| {
                text.parse::<RepositoryName>().is_ok() | text.parse::<Reference>().is_ok()
            })
        },
        #[cfg(test)]
        seeds: || {
            let mut seeds = lines("acme/app/web-1\nlatest\nv1.0_x");
            seeds.push(format!("sha256:{}", "a1".repeat(32)).into());
            seeds
        },
    },
    Target {
        name: "oci_path",
        read: |bytes| text(bytes, |path| Endpoint::parse(path).is_ok()),
        #[cfg(test)]
        seeds: || lines("/v2/acme/app/manifests/latest\n/v2/a/b/tags/list\n/v2/a/blobs/uploads/\n/v2/"),
    },
    Target {
        name: "oci_scope",
        read: |bytes| text(bytes, |text| parse_scopes([text].into_iter()).is_ok()),
        #[cfg(test)]
        seeds: || lines("repository:acme/app:pull,push\nregistry:catalog:* repository(plugin):a/b:pull"),
    },
];
