//! Rules that protect names: who may publish them and who may delete them, beyond what a role
//! allows.
//!
//! Packages, container repositories and tags have rules of their own; each kind lies in one record
//! of its project. Whatever changes a protected thing reads that record in its transaction, so a
//! rule holds from the moment at which its maker was told so, on every node. Of several rules that
//! match a name, the strictest counts.

mod containers;
mod packages;

use cairn_cluster::record::Record;
use cairn_cluster::{Key, ReadError, Timestamp, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use containers::{ContainerGuard, RepositoryRule, TagChange, TagRule};
pub(crate) use packages::{PackageGuard, PackageRule};

use crate::auth::action::Manage;
use crate::auth::caller::Caller;
use crate::auth::role::Role;
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, transact};
use crate::registry::keys;
use crate::registry::member;
use crate::registry::project::Project;
use crate::registry::reader::Reader;
use crate::registry::sequence;

/// Who may do something to a protected name, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Maintainers.
    Maintainer,
    /// Owners.
    Owner,
    /// Those who administer the instance.
    Admin,
}

impl Level {
    /// The level of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Maintainer, Self::Owner, Self::Admin]
            .into_iter()
            .find(|level| level.name() == name)
    }

    /// Its name in requests and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Maintainer => "maintainer",
            Self::Owner => "owner",
            Self::Admin => "admin",
        }
    }
}

/// What whoever does something to a name needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// To publish something under it, or to change it.
    Push,
    /// To remove something of it.
    Delete,
}

/// What a rule asks of whoever does something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Levels {
    /// To publish; none if the role that it needs anyway is enough.
    pub(crate) push: Option<Level>,
    /// To delete; none if the role that it needs anyway is enough.
    pub(crate) delete: Option<Level>,
}

impl Levels {
    fn of(self, right: Right) -> Option<Level> {
        match right {
            Right::Push => self.push,
            Right::Delete => self.delete,
        }
    }

    fn stricter(self, other: Self) -> Self {
        Self {
            push: self.push.max(other.push),
            delete: self.delete.max(other.delete),
        }
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// How high a caller stands in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Nobody who has a role: a deploy token, or Cairn itself.
    Nobody,
    Role(Option<Role>),
    Admin,
}

impl Rank {
    async fn of<R: Reader>(
        reader: &mut R,
        project: &Project,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Self, ReadError> {
        Ok(match caller.user() {
            None => Self::Nobody,
            Some(user) if user.admin => Self::Admin,
            Some(user) => {
                let (chain, id) = (&project.ancestors, Some(project.id));
                Self::Role(member::role_in(reader, chain, id, user.id, now).await?)
            }
        })
    }

    fn reaches(self, level: Level) -> bool {
        match (self, level) {
            (Self::Admin, _) => true,
            (Self::Role(role), Level::Maintainer) => role >= Some(Role::Maintainer),
            (Self::Role(role), Level::Owner) => role >= Some(Role::Owner),
            (Self::Role(_), Level::Admin) | (Self::Nobody, _) => false,
        }
    }

    /// Whether somebody of this rank may do something to a name that rules with these levels
    /// match; none if no rule does.
    fn may(self, right: Right, levels: Option<Levels>) -> bool {
        match (levels, right, self) {
            (None, ..) => true,
            // Whoever finds a deploy token finds no way to what a rule protects.
            (Some(_), Right::Push, Self::Nobody) => false,
            (Some(levels), right, rank) => levels.of(right).is_none_or(|level| rank.reaches(level)),
        }
    }
}

/// The strictest of what some rules ask for; none if there are no rules.
fn strictest(levels: impl Iterator<Item = Levels>) -> Option<Levels> {
    levels.reduce(Levels::stricter)
}

/// A rule of one kind.
pub(crate) trait Rule: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync {
    /// In the key of the record that holds all rules of the kind in a project.
    const KIND: &'static str;
    /// The most rules of the kind in a project.
    const MAX: usize;
    /// What two rules of a project cannot have in common, as it is said to people.
    const NAME: &'static str;

    /// Its number.
    fn id(&self) -> u64;
    /// Gives it a number.
    fn set_id(&mut self, id: u64);
    /// What no other rule has.
    fn name(&self) -> (&str, &str);
    /// Refuses a rule that says nothing, or is about something outside of the project.
    fn check(&self, project: &Project) -> Result<(), ApiError>;
}

/// All rules of one kind in a project, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rules<R> {
    rules: Vec<R>,
}

impl<R: Rule> Record for Rules<R> {}

fn key<R: Rule>(project: &Project) -> Key {
    keys::protection(project.root(), project.id).key(R::KIND)
}

async fn read<T: Rule, R: Reader>(reader: &mut R, project: &Project) -> Result<Vec<T>, ReadError> {
    let found: Option<Rules<T>> = reader.read(&key::<T>(project)).await?;
    Ok(found.map(|found| found.rules).unwrap_or_default())
}

fn write<R: Rule>(txn: &mut Txn, project: &Project, rules: Vec<R>) {
    match rules.is_empty() {
        true => txn.delete(&key::<R>(project)),
        false => txn.put_record(&key::<R>(project), &Rules { rules }),
    }
}

/// Removes all rules of a project that is gone.
pub(in crate::registry) fn forget(txn: &mut Txn, root: u64, project: u64) {
    let rules = keys::protection(root, project);
    for kind in [PackageRule::KIND, RepositoryRule::KIND, TagRule::KIND] {
        txn.delete(&rules.key(kind));
    }
}

impl Authorised<Project, Manage> {
    /// The rules of a kind.
    pub(crate) async fn rules<R: Rule>(&self) -> Result<Vec<R>, ApiError> {
        Ok(read(&mut self.snapshot().clone(), self.project()).await?)
    }

    /// Makes a rule.
    pub(crate) async fn add_rule<R: Rule>(&self, rule: &R) -> Result<R, ApiError> {
        transact(self, async |mut txn: Txn, project: Project| {
            let mut rules: Vec<R> = read(&mut txn, &project).await?;
            if rules.len() >= R::MAX {
                return Err(ApiError::unprocessable(format!(
                    "a project has at most {} rules of this kind",
                    R::MAX
                )));
            }
            let mut rule = rule.clone();
            rule.set_id(sequence::next(&mut txn, "protection-rule").await?);
            rules.push(rule.clone());
            check(&rules, &rule, &project)?;
            write(&mut txn, &project, rules);
            tell(
                &mut txn,
                self.access(),
                &project,
                told("protection.rule_added", &rule),
            );
            Ok((txn, rule))
        })
        .await
    }

    /// Changes the rule of this number.
    pub(crate) async fn change_rule<R: Rule>(
        &self,
        id: u64,
        change: impl Fn(&mut R) + Send + Sync,
    ) -> Result<R, ApiError> {
        transact(self, async |mut txn: Txn, project: Project| {
            let mut rules: Vec<R> = read(&mut txn, &project).await?;
            let rule = rules.iter_mut().find(|rule| rule.id() == id);
            let rule = rule.ok_or_else(unknown)?;
            let before = rule.clone();
            change(rule);
            let rule = rule.clone();
            check(&rules, &rule, &project)?;
            write(&mut txn, &project, rules);
            let act = told("protection.rule_changed", &before).changing("rule", &before, &rule);
            tell(&mut txn, self.access(), &project, act);
            Ok((txn, rule))
        })
        .await
    }

    /// Removes the rule of this number.
    pub(crate) async fn remove_rule<R: Rule>(&self, id: u64) -> Result<(), ApiError> {
        transact(self, async |mut txn: Txn, project: Project| {
            let mut rules: Vec<R> = read(&mut txn, &project).await?;
            let place = rules.iter().position(|rule| rule.id() == id);
            let rule = rules.remove(place.ok_or_else(unknown)?);
            write(&mut txn, &project, rules);
            tell(
                &mut txn,
                self.access(),
                &project,
                told("protection.rule_removed", &rule),
            );
            Ok((txn, ()))
        })
        .await
    }
}

/// What is told of a rule.
fn told<R: Rule>(what: &'static str, rule: &R) -> Act {
    let (name, more) = rule.name();
    Act::new(what)
        .to(format!("{} {name} {more}", R::KIND).trim_end().to_owned())
        .with("rule", rule)
}

fn check<R: Rule>(all: &[R], new: &R, project: &Project) -> Result<(), ApiError> {
    new.check(project)?;
    match all.iter().filter(|rule| rule.name() == new.name()).count() {
        1 => Ok(()),
        _ => Err(ApiError::unprocessable(format!(
            "{} has already been taken",
            R::NAME
        ))),
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("404 Protection Rule Not Found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_of_all_rules_counts() {
        let levels = |push, delete| Levels { push, delete };
        let rules = [
            levels(Some(Level::Maintainer), None),
            levels(None, Some(Level::Owner)),
            levels(Some(Level::Owner), None),
        ];
        let all = strictest(rules.into_iter());
        assert_eq!(all, Some(levels(Some(Level::Owner), Some(Level::Owner))));
        assert_eq!(strictest([].into_iter()), None);
    }

    #[test]
    fn a_rank_may_what_no_rule_forbids_it() {
        let check = |rank: Rank, right: Right, levels: Option<Levels>, expected: bool| {
            assert_eq!(rank.may(right, levels), expected, "{rank:?} {right:?} {levels:?}");
        };
        let of = |push, delete| Some(Levels { push, delete });
        let maintainer = Rank::Role(Some(Role::Maintainer));
        let owner = Rank::Role(Some(Role::Owner));
        check(Rank::Nobody, Right::Push, None, true);
        check(Rank::Nobody, Right::Push, of(None, Some(Level::Owner)), false);
        check(Rank::Nobody, Right::Delete, of(Some(Level::Owner), None), true);
        check(Rank::Nobody, Right::Delete, of(None, Some(Level::Owner)), false);
        check(
            Rank::Role(None),
            Right::Push,
            of(Some(Level::Maintainer), None),
            false,
        );
        check(maintainer, Right::Push, of(Some(Level::Maintainer), None), true);
        check(maintainer, Right::Push, of(Some(Level::Owner), None), false);
        check(maintainer, Right::Delete, of(Some(Level::Owner), None), true);
        check(owner, Right::Delete, of(None, Some(Level::Owner)), true);
        check(owner, Right::Delete, of(None, Some(Level::Admin)), false);
        check(Rank::Admin, Right::Delete, of(None, Some(Level::Admin)), true);
    }
}

#[cfg(test)]
mod stored {
    use super::{PackageRule, RepositoryRule, Rules, TagRule};
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<Rules<PackageRule>>("protection-packages");
        samples::check::<Rules<RepositoryRule>>("protection-repositories");
        samples::check::<Rules<TagRule>>("protection-tags");
    }
}
