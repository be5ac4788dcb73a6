//! The greatest version of a package.

use std::cmp::Ordering;

use crate::http::error::ApiError;
use crate::registry::package::{Package, Status, Version, View};

/// How many versions are looked at in one go.
const PAGE: usize = 1000;

/// The greatest version that is listed: in the order of semantic versions; if there are none,
/// the newest.
pub(super) async fn find(view: &View<'_>, package: &Package) -> Result<Option<String>, ApiError> {
    let mut greatest: Option<Version> = None;
    let mut after = None;
    loop {
        let batch = view.versions(package, after.as_deref(), PAGE).await?;
        let full = batch.len() == PAGE;
        after = batch.last().map(|version| version.version.clone());
        for version in batch {
            let listed = version.status != Status::Hidden;
            let greater = greatest
                .as_ref()
                .is_none_or(|greatest| order(&version, greatest) == Ordering::Greater);
            if listed && greater {
                greatest = Some(version);
            }
        }
        if !full {
            return Ok(greatest.map(|version| version.version));
        }
    }
}

fn order(one: &Version, other: &Version) -> Ordering {
    match (semantic(&one.version), semantic(&other.version)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => (one.created_at, one.id).cmp(&(other.created_at, other.id)),
    }
}

/// Many write a `v` before the number.
fn semantic(version: &str) -> Option<semver::Version> {
    semver::Version::parse(version.strip_prefix('v').unwrap_or(version)).ok()
}

#[cfg(test)]
mod tests {
    use cairn_cluster::Timestamp;

    use super::*;

    #[test]
    fn semantic_versions_come_before_words_and_words_by_age() {
        let version = |text: &str, at: u64| Version {
            id: at,
            version: text.into(),
            status: Status::Default,
            created_at: Timestamp(at),
            creator: None,
            metadata: Vec::new().into(),
        };
        let ordered = ["zebra", "apple", "0.9.0", "v0.10.0", "1.0.0-rc.1", "1.0.0"];
        for (at, pair) in ordered.windows(2).enumerate() {
            let (lesser, greater) = (version(pair[0], at as u64), version(pair[1], at as u64 + 1));
            assert_eq!(order(&lesser, &greater), Ordering::Less, "{pair:?}");
        }
    }
}
