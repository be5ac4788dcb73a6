//! Deleting tags by rules: `DELETE …/registry/repositories/:id/tags`, as GitLab has it.
//!
//! Of all tags but `latest`, those that match one expression and not another one, apart from the
//! newest few and from those that are younger than an age. A tag is as old as its last push:
//! what an image says of when it was built is chosen by whoever builds it, and reproducible
//! builds say 1970. Manifests stay; what no tag leads to can still be pulled by its digest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::record;
use cairn_cluster::{ReadError, Timestamp, Txn};
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::names::Tag;
use super::records::TagRecord;
use super::rest::{Found, Target, find, opened_to_manage, unknown};
use super::store::Change;
use crate::auth::{Authorised, DeleteImage};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::rest::{Nothing, Path};
use crate::registry::audit::Act;
use crate::registry::cleanup::ContainerPolicy;
use crate::registry::expression::{Span, compile};
use crate::registry::project::Project;
use crate::registry::protection::Right;
use crate::registry::reader::next_entries;
use crate::registry::time::before;

/// How soon a repository can be cleaned again.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// The most of the newest tags that are spared.
const MAX_KEPT: u64 = 10_000;

/// The longest expression.
const MAX_PATTERN_BYTES: usize = 1024;

/// How many tags one transaction deletes.
pub(super) const STEP: usize = 256;

/// The tag that is never deleted so.
const LATEST: &str = "latest";

/// Which tags are to go. What is not known is refused: a rule that was mistyped would delete
/// more than was meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[schemars(required)]
    name_regex_delete: Option<String>,
    /// What GitLab called it once.
    #[schemars(skip)]
    name_regex: Option<String>,
    name_regex_keep: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    keep_n: Option<u64>,
    older_than: Option<String>,
}

/// What a cleanup policy asks for.
impl From<&ContainerPolicy> for Wanted {
    fn from(policy: &ContainerPolicy) -> Self {
        Self {
            name_regex_delete: policy.name_regex.clone(),
            name_regex: None,
            name_regex_keep: policy.name_regex_keep.clone(),
            keep_n: policy.keep_n,
            older_than: policy.older_than.clone(),
        }
    }
}

/// What was asked for, understood.
pub(super) struct Rules {
    delete: Regex,
    keep: Option<Regex>,
    keep_newest: usize,
    /// Tags that were pushed later are spared.
    until: Timestamp,
}

/// A tag, ordered by when it was pushed.
pub(super) type Aged = (Timestamp, String);

impl Rules {
    pub(super) fn of(wanted: &Wanted, now: Timestamp) -> Result<Self, ApiError> {
        let delete = wanted.name_regex_delete.as_ref().or(wanted.name_regex.as_ref());
        let delete = delete.filter(|pattern| !pattern.is_empty());
        let delete = delete.ok_or_else(|| ApiError::parameter("name_regex_delete is missing"))?;
        let keep = wanted
            .name_regex_keep
            .as_ref()
            .filter(|pattern| !pattern.is_empty());
        let keep_newest = wanted.keep_n.unwrap_or(0);
        if keep_newest > MAX_KEPT {
            return Err(ApiError::parameter(format!("keep_n is at most {MAX_KEPT}")));
        }
        let until = match wanted.older_than.as_deref().filter(|age| !age.is_empty()) {
            None => now,
            Some(age) => before(now, age)
                .ok_or_else(|| ApiError::parameter("older_than is no age such as 7d or 1month"))?,
        };
        Ok(Self {
            delete: expression("name_regex_delete", delete)?,
            keep: keep
                .map(|pattern| expression("name_regex_keep", pattern))
                .transpose()?,
            keep_newest: usize::try_from(keep_newest).unwrap_or(usize::MAX),
            until,
        })
    }

    /// Whether the name of a tag is one of those that may go.
    fn name(&self, tag: &str) -> bool {
        let is_kept = || {
            self.keep
                .as_ref()
                .is_some_and(|keep| keep.is_match(tag.as_bytes()))
        };
        tag != LATEST && self.delete.is_match(tag.as_bytes()) && !is_kept()
    }

    /// Whether a tag goes, if those from `spared` on are spared.
    fn takes(&self, tag: &Aged, spared: Option<&Aged>) -> bool {
        self.name(&tag.1) && tag.0 <= self.until && spared.is_none_or(|spared| tag < spared)
    }
}

/// An expression that must match a whole tag.
fn expression(parameter: &str, pattern: &str) -> Result<Regex, ApiError> {
    let compiled = compile(pattern, Span::Whole, MAX_PATTERN_BYTES);
    compiled.map_err(|error| ApiError::parameter(format!("{parameter} {error}")))
}

/// The tags of a repository, some at a time.
struct Tags<'a> {
    of: &'a Found,
    after: Option<Bytes>,
}

impl<'a> Tags<'a> {
    fn of(of: &'a Found) -> Self {
        Self { of, after: None }
    }

    /// The next tags; empty when there are no more.
    async fn next(&mut self) -> Result<Vec<Aged>, ApiError> {
        let entries = next_entries(self.of.snapshot(), &self.of.keys.tags(), &mut self.after).await?;
        let aged = entries.iter().map(|entry| {
            let record: TagRecord = entry.record()?;
            Ok((
                record.updated_at,
                String::from_utf8_lossy(&entry.item).into_owned(),
            ))
        });
        aged.collect()
    }
}

/// The tags of a repository that rules let go, some at a time.
pub(super) struct Going<'a> {
    of: &'a Found,
    rules: Arc<Rules>,
    tags: Tags<'a>,
    /// The oldest of the newest tags that are spared; none if none is.
    spared: Option<Aged>,
}

impl<'a> Going<'a> {
    pub(super) async fn of(of: &'a Found, rules: Arc<Rules>) -> Result<Self, ApiError> {
        let mut going = Self {
            of,
            rules,
            tags: Tags::of(of),
            spared: None,
        };
        if going.rules.keep_newest > 0 {
            going.spared = going.oldest_spared().await?;
        }
        Ok(going)
    }

    /// Those of some tags that `takes` takes. Expressions of strangers are matched where nothing
    /// waits for it.
    async fn pick(
        &self,
        tags: Vec<Aged>,
        takes: impl Fn(&Rules, &Aged) -> bool + Send + 'static,
    ) -> Result<Vec<Aged>, ApiError> {
        let rules = self.rules.clone();
        let pick = move || tags.into_iter().filter(|tag| takes(&rules, tag)).collect();
        self.of.scope.off_thread(pick).await
    }

    async fn oldest_spared(&self) -> Result<Option<Aged>, ApiError> {
        let mut newest = BTreeSet::new();
        let mut tags = Tags::of(self.of);
        loop {
            let some = tags.next().await?;
            if some.is_empty() {
                return Ok(newest.pop_first());
            }
            for tag in self.pick(some, |rules, tag| rules.name(&tag.1)).await? {
                newest.insert(tag);
                if newest.len() > self.rules.keep_newest {
                    newest.pop_first();
                }
            }
        }
    }

    /// The next tags that go; none when there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Aged>>, ApiError> {
        let some = self.tags.next().await?;
        if some.is_empty() {
            return Ok(None);
        }
        let spared = self.spared.clone();
        let takes = move |rules: &Rules, tag: &Aged| rules.takes(tag, spared.as_ref());
        self.pick(some, takes).await.map(Some)
    }
}

/// Deletes tags by rules. It is done when this answers; what was broken off can go on an hour
/// later.
pub(super) async fn remove_tags(
    project: Authorised<Project, DeleteImage>,
    Path(target): Path<Target>,
    Params(wanted): Params<Wanted>,
) -> Result<Nothing<202>, ApiError> {
    let found = find(opened_to_manage(&project).await?, target.repository_id).await?;
    let now = found.scope.now();
    let rules = Arc::new(Rules::of(&wanted, now)?);
    take_turn(&found, now).await?;
    let mut going = Going::of(&found, rules).await?;
    while let Some(tags) = going.next().await? {
        for step in tags.chunks(STEP) {
            delete(&found, step).await?;
        }
    }
    Ok(Nothing)
}

/// Notes that tags are deleted now, before they are: of several requests one goes on.
async fn take_turn(found: &Found, now: Timestamp) -> Result<(), ApiError> {
    let work = async |mut txn: Txn| {
        let mut change = Change::new(&found.scope, &mut txn, &found.image);
        let Some(keys) = change.repository().await? else {
            return Err(unknown());
        };
        change.admit(Right::Delete).await?;
        let cleaned = match txn.get(&keys.cleaned()).await? {
            Some(stored) => Timestamp(record::number(&stored).map_err(ReadError::from)?),
            None => Timestamp::default(),
        };
        if cleaned.plus(AGAIN_AFTER) > now {
            return Err(ApiError::bad_request(
                "This request has already been made. You can run this at most once an hour for a given \
                 container repository",
            ));
        }
        txn.raise(&keys.cleaned(), now.0);
        Ok((txn, ()))
    };
    found.scope.prepare(work).await
}

/// Deletes these tags, apart from those that were pushed again meanwhile or are protected.
async fn delete(found: &Found, tags: &[Aged]) -> Result<(), ApiError> {
    let work = async |mut txn: Txn| {
        delete_in(&mut txn, found, tags).await?;
        Ok((txn, ()))
    };
    found.scope.transact(work).await
}

/// The same as part of a transaction; says how many it deleted.
pub(super) async fn delete_in(txn: &mut Txn, found: &Found, tags: &[Aged]) -> Result<u64, ApiError> {
    let mut change = Change::new(&found.scope, txn, &found.image);
    let Some(keys) = change.repository().await? else {
        return Ok(0);
    };
    let mut gone = Vec::new();
    for (pushed_at, tag) in tags {
        let tag: Tag = tag.parse().map_err(ApiError::internal)?;
        if change.delete_tag_of(&keys, &tag, *pushed_at).await? {
            gone.push(tag);
        }
    }
    for tag in &gone {
        let act = Act::new("image.tag_deleted").to(format!("{}:{tag}", found.image));
        found.scope.tell(txn, act);
    }
    Ok(gone.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(delete: &str, keep: &str) -> Rules {
        let wanted = Wanted {
            name_regex_delete: Some(delete.into()),
            name_regex_keep: Some(keep.into()),
            ..Wanted::default()
        };
        Rules::of(&wanted, Timestamp(1)).unwrap()
    }

    #[test]
    fn an_expression_must_match_the_whole_tag() {
        let check = |delete: &str, keep: &str, tag: &str, goes: bool| {
            assert_eq!(rules(delete, keep).name(tag), goes, "{delete} {keep} {tag}");
        };
        check("dev-.*", "", "dev-1", true);
        check("dev", "", "dev-1", false);
        check("dev|test", "", "xtest", false);
        check(".*", "", "latest", false);
        check(".*", "v.+", "v1", false);
        check(".*", "v", "v1", true);
        check("1.0", "", "1x0", true);
        check(r"1\.0", "", "1x0", false);
    }

    #[test]
    fn expressions_that_cannot_be_read_or_are_too_large_are_refused() {
        for pattern in [
            "(",
            "a)(b",
            "(?:a{1000}){1000}",
            &"a".repeat(MAX_PATTERN_BYTES + 1),
        ] {
            let wanted = Wanted {
                name_regex_delete: Some(pattern.into()),
                ..Wanted::default()
            };
            assert!(Rules::of(&wanted, Timestamp(1)).is_err(), "{pattern:.40}");
        }
    }
}
