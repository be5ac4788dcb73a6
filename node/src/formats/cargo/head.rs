//! What a crate keeps besides its versions: its owners, and what lists show of it. Changing it is
//! pure; transactions are in [`super::store`].

use bytes::Bytes;
use cairn_cluster::Timestamp;
use cairn_cluster::record::{self, DecodeError, Record};
use serde::{Deserialize, Serialize};

use super::document::About;
use super::names::Version;
use crate::formats::owners::Owners;

/// What the format keeps in the record of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Those who take care of the crate.
    pub(super) owners: Owners,
    /// The version that is shown; none if every version was deleted.
    pub(super) top: Option<Top>,
    /// When a version was last published, yanked or deleted.
    pub(super) updated_at: Timestamp,
}

impl Record for Head {}

/// The version that lists show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Top {
    pub(super) version: Version,
    pub(super) yanked: bool,
    pub(super) about: About,
}

impl Top {
    /// What is not yanked comes before what is, a release before what leads to one.
    fn rank(&self) -> (bool, bool, &Version) {
        (!self.yanked, !self.version.is_prerelease(), &self.version)
    }

    /// The one of the two to be shown.
    pub(super) fn or(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.rank() > self.rank() => other,
            _ => self,
        }
    }
}

impl Head {
    /// Reads it from the package's record.
    pub(super) fn decode(metadata: &Bytes) -> Result<Self, DecodeError> {
        if metadata.is_empty() {
            return Ok(Self::default());
        }
        record::decode(metadata)
    }

    /// As the package's record holds it.
    pub(super) fn encode(&self) -> Bytes {
        record::encode(self)
    }

    /// Shows a version, if none that is shown comes before it.
    pub(super) fn offer(&mut self, version: Top) {
        self.top = Some(version.or(self.top.take()));
    }

    /// Whether this version is shown.
    pub(super) fn shows(&self, version: &Version) -> bool {
        self.top.as_ref().is_some_and(|top| top.version == *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(version: &str, yanked: bool) -> Top {
        Top {
            version: version.parse().unwrap(),
            yanked,
            about: About::default(),
        }
    }

    #[test]
    fn the_greatest_release_that_is_not_yanked_is_shown() {
        let check = |offered: &[(&str, bool)], expected: &str| {
            let mut head = Head::default();
            for (version, yanked) in offered {
                head.offer(top(version, *yanked));
            }
            assert_eq!(head.top.unwrap().version.to_string(), expected);
        };
        check(&[("1.9.0", false), ("1.10.0", false), ("1.2.0", false)], "1.10.0");
        check(&[("1.0.0", false), ("2.0.0-rc.1", false)], "1.0.0");
        check(&[("1.0.0", true), ("0.9.0-rc.1", false)], "0.9.0-rc.1");
        check(&[("1.0.0", true), ("1.1.0", true)], "1.1.0");
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Head>("cargo-head");
    }
}
