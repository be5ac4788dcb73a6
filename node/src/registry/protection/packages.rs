//! Rules on names of packages.

use cairn_cluster::{ReadError, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Levels, Rank, Right, Rule, read, strictest};
use crate::auth::caller::Caller;
use crate::formats;
use crate::http::error::ApiError;
use crate::registry::pattern::Pattern;
use crate::registry::project::Project;
use crate::registry::reader::Reader;

/// Protects the packages of one format whose names match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackageRule {
    /// Its number.
    pub(crate) id: u64,
    /// The format.
    pub(crate) format: String,
    /// Which names.
    pub(crate) name_pattern: Pattern,
    /// Who may still do something to them.
    pub(crate) levels: Levels,
}

impl Rule for PackageRule {
    const KIND: &'static str = "packages";
    const MAX: usize = 100;
    const NAME: &'static str = "Package name pattern";

    fn id(&self) -> u64 {
        self.id
    }

    fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    fn name(&self) -> (&str, &str) {
        (&self.format, self.name_pattern.as_str())
    }

    fn check(&self, _: &Project) -> Result<(), ApiError> {
        match self.levels.is_empty() {
            true => Err(ApiError::unprocessable(
                "a rule needs minimum_access_level_for_push or minimum_access_level_for_delete",
            )),
            false => Ok(()),
        }
    }
}

impl PackageRule {
    fn matches(&self, format: &str, name: &str) -> bool {
        let form = |name: &str| match formats::by_name(format) {
            Some(format) => format.spelled_alike(name),
            None => name.to_owned(),
        };
        self.format == format && self.name_pattern.matches(name, form)
    }
}

/// The rules of a project in front of one caller.
#[derive(Debug)]
pub(crate) struct PackageGuard {
    rules: Vec<PackageRule>,
    rank: Rank,
}

impl PackageGuard {
    /// Reads the rules, and how high the caller stands.
    pub(in crate::registry) async fn of<R: Reader>(
        reader: &mut R,
        project: &Project,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Self, ReadError> {
        let rules = read(reader, project).await?;
        let rank = match rules.is_empty() {
            true => Rank::Nobody,
            false => Rank::of(reader, project, caller, now).await?,
        };
        Ok(Self { rules, rank })
    }

    /// Whether no rule forbids to do this to a package of this name.
    pub(in crate::registry) fn allows(&self, format: &str, name: &str, right: Right) -> bool {
        self.rank.may(right, self.levels(format, name))
    }

    /// Refuses what a rule forbids.
    pub(in crate::registry) fn check(&self, format: &str, name: &str, right: Right) -> Result<(), ApiError> {
        match self.allows(format, name, right) {
            true => Ok(()),
            false => Err(ApiError::forbidden("Package protected.")),
        }
    }

    fn levels(&self, format: &str, name: &str) -> Option<Levels> {
        let matching = self.rules.iter().filter(|rule| rule.matches(format, name));
        strictest(matching.map(|rule| rule.levels))
    }
}
