//! How packages are handled in a group or project.

use std::collections::BTreeMap;

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::error::ApiError;
use crate::registry::expression::{ExpressionError, Span, compile};

/// The longest expression for exceptions.
const MAX_EXCEPTIONS_BYTES: usize = 255;

/// Who may use the packages of a project, or its container images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PackageAccess {
    /// Nobody.
    Disabled,
    /// Members alone, whatever the visibility of the project.
    Private,
    /// Those whom the visibility of the project lets in.
    #[default]
    Enabled,
    /// Everyone may pull.
    Public,
}

/// What happens when a file is published under a name that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicatePolicy {
    /// It is added; the newest is given out, the older ones stay listed.
    Allow,
    /// It takes the place of the old one.
    Replace,
    /// The same content is taken as the same publish; other content is refused.
    ForbidSameContentOk,
    /// It is refused.
    Forbid,
}

/// Which versions a project takes, of a format that tells snapshots from releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionPolicy {
    /// All of them.
    #[default]
    Mixed,
    /// Releases alone.
    Release,
    /// Snapshots alone.
    Snapshot,
}

/// Settings of a group or project; what is not set is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSettings {
    /// What happens to duplicates, by format.
    #[serde(default)]
    pub duplicates: BTreeMap<String, DuplicatePolicy>,
    /// Expressions for the names and versions for which the opposite holds, by format.
    #[serde(default)]
    pub duplicate_exceptions: BTreeMap<String, String>,
    /// Which versions are taken, by format.
    #[serde(default)]
    pub versions: BTreeMap<String, VersionPolicy>,
}

impl VersionPolicy {
    /// Refuses a version that is none of those.
    pub(crate) fn check(self, version: &str, is_snapshot: bool) -> Result<(), ApiError> {
        let (taken, is) = match (self, is_snapshot) {
            (Self::Release, true) => ("releases", "a snapshot"),
            (Self::Snapshot, false) => ("snapshots", "a release"),
            _ => return Ok(()),
        };
        Err(ApiError::conflict(format!(
            "this project takes {taken} only, and {version} is {is}"
        )))
    }
}

/// What happens to duplicates of one format in a project.
#[derive(Clone, Debug)]
pub(crate) struct Duplicates {
    policy: DuplicatePolicy,
    exceptions: Option<Regex>,
}

impl Duplicates {
    /// A policy, and an expression for the whole names or versions for which the opposite holds.
    pub(crate) fn new(policy: DuplicatePolicy, exceptions: Option<&str>) -> Result<Self, ExpressionError> {
        let exceptions = exceptions.map(|pattern| compile(pattern, Span::Whole, MAX_EXCEPTIONS_BYTES));
        Ok(Self {
            policy,
            exceptions: exceptions.transpose()?,
        })
    }

    /// What happens to duplicates in a version of a package.
    pub(crate) fn of(&self, name: &str, version: &str) -> DuplicatePolicy {
        let is_exempt = |exceptions: &Regex| {
            exceptions.is_match(name.as_bytes()) || exceptions.is_match(version.as_bytes())
        };
        match self.exceptions.as_ref().is_some_and(is_exempt) {
            true => self.policy.opposite(),
            false => self.policy,
        }
    }
}

impl DuplicatePolicy {
    /// Whether other content can come under a name that is there.
    pub(crate) fn allows_other_content(self) -> bool {
        matches!(self, Self::Allow | Self::Replace)
    }

    fn opposite(self) -> Self {
        match self.allows_other_content() {
            true => Self::ForbidSameContentOk,
            false => Self::Allow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_which_versions_it_does_not_take() {
        use VersionPolicy::{Mixed, Release, Snapshot};
        let refusal = |policy: VersionPolicy, version: &str, is_snapshot| {
            let refused = policy.check(version, is_snapshot).err();
            refused.map(|error| error.message)
        };
        for (policy, version, is_snapshot) in [
            (Mixed, "1.0", false),
            (Mixed, "1.0-SNAPSHOT", true),
            (Release, "1.0", false),
            (Snapshot, "1.0-SNAPSHOT", true),
        ] {
            assert_eq!(
                refusal(policy, version, is_snapshot),
                None,
                "{policy:?} {version}"
            );
        }
        assert_eq!(
            refusal(Release, "1.0-SNAPSHOT", true).unwrap(),
            "this project takes releases only, and 1.0-SNAPSHOT is a snapshot"
        );
        assert_eq!(
            refusal(Snapshot, "1.0", false).unwrap(),
            "this project takes snapshots only, and 1.0 is a release"
        );
    }

    #[test]
    fn exceptions_turn_a_policy_around() {
        let check = |policy, pattern: &str, name: &str, version: &str, expected| {
            let duplicates = Duplicates::new(policy, Some(pattern)).unwrap();
            assert_eq!(
                duplicates.of(name, version),
                expected,
                "{pattern} {name} {version}"
            );
        };
        use DuplicatePolicy::{Allow, Forbid, ForbidSameContentOk, Replace};
        check(Forbid, "dev-.*", "dev-tool", "1", Allow);
        check(Forbid, ".*-SNAPSHOT", "tool", "1-SNAPSHOT", Allow);
        check(Forbid, "dev", "dev-tool", "1", Forbid);
        check(ForbidSameContentOk, "dev|test", "test", "1", Allow);
        check(Allow, "release", "tool", "release", ForbidSameContentOk);
        check(Replace, "release", "release", "1", ForbidSameContentOk);
        assert!(Duplicates::new(Allow, Some("(")).is_err());
        assert!(Duplicates::new(Allow, Some(&"x".repeat(256))).is_err());
    }
}
