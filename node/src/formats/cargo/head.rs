//! What a crate keeps besides its versions: its owners, and what lists show of it. Changing it is
//! pure; transactions are in [`super::store`].

use bytes::Bytes;
use cairn_cluster::Timestamp;
use cairn_cluster::record::{self, DecodeError, Record};
use serde::{Deserialize, Serialize};

use super::document::About;
use super::names::Version;

/// The most owners of a crate.
const MAX_OWNERS: usize = 50;

/// What the format keeps in the record of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Numbers of users: those who take care of the crate.
    pub(super) owners: Vec<u64>,
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

/// Why the owners cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OwnersError {
    #[error("a crate has at most {MAX_OWNERS} owners")]
    TooMany,
    #[error("the last owner of a crate cannot be removed")]
    Last,
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

    /// Adds owners.
    pub(super) fn add_owners(&mut self, users: &[u64]) -> Result<(), OwnersError> {
        for user in users {
            if !self.owners.contains(user) {
                self.owners.push(*user);
            }
        }
        match self.owners.len() > MAX_OWNERS {
            true => Err(OwnersError::TooMany),
            false => Ok(()),
        }
    }

    /// Removes owners.
    pub(super) fn remove_owners(&mut self, users: &[u64]) -> Result<(), OwnersError> {
        let had_owners = !self.owners.is_empty();
        self.owners.retain(|owner| !users.contains(owner));
        match had_owners && self.owners.is_empty() {
            true => Err(OwnersError::Last),
            false => Ok(()),
        }
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

    #[test]
    fn a_crate_keeps_an_owner_and_not_without_end() {
        let mut head = Head::default();
        head.remove_owners(&[7]).unwrap();
        head.add_owners(&[1, 2, 1]).unwrap();
        head.remove_owners(&[1]).unwrap();
        assert_eq!(head.owners, [2]);
        assert_eq!(head.clone().remove_owners(&[2]), Err(OwnersError::Last));
        let many: Vec<u64> = (0..=50).collect();
        assert_eq!(head.add_owners(&many), Err(OwnersError::TooMany));
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
