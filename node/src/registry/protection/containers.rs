//! Rules on paths of container repositories, and on names of tags in all of them.

use cairn_cluster::{ReadError, Timestamp};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::{Levels, Rank, Right, Rule, read, strictest};
use crate::auth::caller::Caller;
use crate::http::error::ApiError;
use crate::registry::expression::{Span, compile};
use crate::registry::pattern::Pattern;
use crate::registry::project::Project;
use crate::registry::reader::Reader;

/// The longest expression for names of tags.
const MAX_EXPRESSION_BYTES: usize = 100;

/// Protects the repositories of a project whose paths match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepositoryRule {
    /// Its number.
    pub(crate) id: u64,
    /// Which paths; they begin with that of the project.
    pub(crate) path_pattern: Pattern,
    /// Who may still do something to them.
    pub(crate) levels: Levels,
}

impl Rule for RepositoryRule {
    const KIND: &'static str = "repositories";
    const MAX: usize = 100;
    const NAME: &'static str = "Repository path pattern";

    fn id(&self) -> u64 {
        self.id
    }

    fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    fn name(&self) -> (&str, &str) {
        (self.path_pattern.as_str(), "")
    }

    fn check(&self, project: &Project) -> Result<(), ApiError> {
        if self.levels.is_empty() {
            return Err(ApiError::unprocessable(
                "a rule needs minimum_access_level_for_push or minimum_access_level_for_delete",
            ));
        }
        let pattern = folded(self.path_pattern.as_str());
        let rest = pattern.strip_prefix(&project.path.folded());
        match rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '*'])) {
            true => Ok(()),
            false => Err(ApiError::unprocessable(format!(
                "Repository path pattern should start with the project's full path, {}",
                project.path.folded()
            ))),
        }
    }
}

/// Protects the tags whose names match, in every repository of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagRule {
    /// Its number.
    pub(crate) id: u64,
    /// An expression that matches some part of the names.
    pub(crate) name_pattern: String,
    /// Who may still do something to them; if nobody is named, nobody may: they are immutable.
    pub(crate) levels: Levels,
}

impl Rule for TagRule {
    const KIND: &'static str = "tags";
    const MAX: usize = 5;
    const NAME: &'static str = "Tag name pattern";

    fn id(&self) -> u64 {
        self.id
    }

    fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    fn name(&self) -> (&str, &str) {
        (&self.name_pattern, "")
    }

    fn check(&self, _: &Project) -> Result<(), ApiError> {
        if self.levels.push.is_some() != self.levels.delete.is_some() {
            return Err(ApiError::unprocessable(
                "minimum_access_level_for_push and minimum_access_level_for_delete are set both, or none of \
                 them for tags that are immutable",
            ));
        }
        if self.name_pattern.is_empty() {
            return Err(ApiError::unprocessable("Tag name pattern can't be blank"));
        }
        match compile(&self.name_pattern, Span::Somewhere, MAX_EXPRESSION_BYTES) {
            Ok(_) => Ok(()),
            Err(error) => Err(ApiError::unprocessable(format!("Tag name pattern {error}"))),
        }
    }
}

/// A rule on tags, ready to be used.
#[derive(Debug)]
struct TagMatcher {
    /// It was one when the rule was made; if it is none any more, every tag is protected.
    expression: Option<Regex>,
    levels: Levels,
}

impl TagMatcher {
    fn of(rule: &TagRule) -> Self {
        Self {
            expression: compile(&rule.name_pattern, Span::Somewhere, MAX_EXPRESSION_BYTES).ok(),
            levels: rule.levels,
        }
    }

    fn matches(&self, tag: &str) -> bool {
        let matches = |expression: &Regex| expression.is_match(tag.as_bytes());
        self.expression.as_ref().is_none_or(matches)
    }
}

/// How the tag that a rule may protect changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagChange {
    /// There is none of its name yet.
    Make,
    /// It comes to stand for something else.
    Move,
    /// It goes.
    Delete,
}

/// The rules of a project in front of one caller.
#[derive(Debug)]
pub(crate) struct ContainerGuard {
    repositories: Vec<RepositoryRule>,
    tags: Vec<TagMatcher>,
    rank: Rank,
}

impl ContainerGuard {
    /// Reads the rules, and how high the caller stands.
    pub(crate) async fn of<R: Reader>(
        reader: &mut R,
        project: &Project,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Self, ReadError> {
        let repositories: Vec<RepositoryRule> = read(reader, project).await?;
        let tags: Vec<TagRule> = read(reader, project).await?;
        let rank = match repositories.is_empty() && tags.is_empty() {
            true => Rank::Nobody,
            false => Rank::of(reader, project, caller, now).await?,
        };
        Ok(Self {
            repositories,
            tags: tags.iter().map(TagMatcher::of).collect(),
            rank,
        })
    }

    /// Whether no rule forbids to do this to the repository of this whole path.
    pub(crate) fn allows(&self, path: &str, right: Right) -> bool {
        let path = folded(path);
        let matching = self
            .repositories
            .iter()
            .filter(|rule| rule.path_pattern.matches(&path, folded));
        self.rank.may(right, strictest(matching.map(|rule| rule.levels)))
    }

    /// Refuses what a rule forbids to do to the repository of this whole path.
    pub(crate) fn check(&self, path: &str, right: Right) -> Result<(), ApiError> {
        match self.allows(path, right) {
            true => Ok(()),
            false => Err(ApiError::forbidden(format!("repository {path} is protected"))),
        }
    }

    /// Whether any rule protects some tags.
    pub(crate) fn has_tag_rules(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Whether any rule protects the tag.
    pub(crate) fn protects_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|rule| rule.matches(tag))
    }

    /// Refuses what a rule forbids to do to a tag.
    pub(crate) fn check_tag(&self, tag: &str, change: TagChange) -> Result<(), ApiError> {
        let matching: Vec<&TagMatcher> = self.tags.iter().filter(|rule| rule.matches(tag)).collect();
        let is_immutable = matching.iter().any(|rule| rule.levels.is_empty());
        if is_immutable && change != TagChange::Make {
            return Err(ApiError::forbidden(format!("tag {tag} is immutable")));
        }
        let with_levels = matching.iter().filter(|rule| !rule.levels.is_empty());
        let levels = strictest(with_levels.map(|rule| rule.levels));
        let right = match change {
            TagChange::Make | TagChange::Move => Right::Push,
            TagChange::Delete => Right::Delete,
        };
        match self.rank.may(right, levels) {
            true => Ok(()),
            false => Err(ApiError::forbidden(format!("tag {tag} is protected"))),
        }
    }
}

/// Paths are compared so: container clients write them in lower case.
fn folded(path: &str) -> String {
    path.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::auth::role::Role;

    fn guard(tags: &[(&str, Option<Level>)], rank: Rank) -> ContainerGuard {
        let rule = |(pattern, level): &(&str, Option<Level>)| {
            TagMatcher::of(&TagRule {
                id: 1,
                name_pattern: (*pattern).into(),
                levels: Levels {
                    push: *level,
                    delete: *level,
                },
            })
        };
        ContainerGuard {
            repositories: Vec::new(),
            tags: tags.iter().map(rule).collect(),
            rank,
        }
    }

    #[test]
    fn an_immutable_tag_is_made_once_and_neither_moved_nor_deleted_by_anybody() {
        let guard = guard(&[("^v", None)], Rank::Admin);
        assert!(guard.check_tag("v1", TagChange::Make).is_ok());
        assert!(guard.check_tag("v1", TagChange::Move).is_err());
        assert!(guard.check_tag("v1", TagChange::Delete).is_err());
        assert!(guard.check_tag("1.v", TagChange::Delete).is_ok());
    }

    #[test]
    fn a_protected_tag_is_for_those_who_stand_high_enough() {
        let rules = [
            ("stable", Some(Level::Maintainer)),
            ("-final$", Some(Level::Owner)),
        ];
        let maintainer = guard(&rules, Rank::Role(Some(Role::Maintainer)));
        assert!(maintainer.check_tag("stable", TagChange::Move).is_ok());
        assert!(maintainer.check_tag("stable-final", TagChange::Make).is_err());
        assert!(maintainer.check_tag("stable-final", TagChange::Delete).is_err());
        assert!(maintainer.check_tag("final", TagChange::Delete).is_ok());
        let nobody = guard(&rules, Rank::Nobody);
        assert!(nobody.check_tag("stable", TagChange::Make).is_err());
        assert!(nobody.check_tag("dev", TagChange::Make).is_ok());
    }
}
