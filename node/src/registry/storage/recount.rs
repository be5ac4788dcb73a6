//! Counting all that a tree of groups stores anew, and making its counters right.
//!
//! It is done once for every root group, for what was stored before anything was counted, and
//! whenever an administrator orders it. Publishing goes on meanwhile: what is found on a view is
//! held against the counters on the same view, and the difference is added to them. Whatever was
//! counted since that view was added to both, so the counters are right afterwards too. Each difference is
//! added once: the transaction that does it moves the mark of how far the recount came, and depends
//! on where that was. So two nodes may work on one recount; one of them has done each step in vain.

use cairn_cluster::record::Record;
use cairn_cluster::{Collection, ReadError, Scan, Snapshot, Timestamp, Txn};
use futures::future::{BoxFuture, FutureExt};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Amount, Sums, sums};
use crate::auth::action::Own;
use crate::formats::{FORMATS, Stored};
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::keys::{self, Member};
use crate::registry::package::{File, Package, Version};
use crate::registry::place::Place;
use crate::registry::project::Project;
use crate::registry::purge::Purge;
use crate::registry::reader::next_entries;
use crate::registry::store::Store;
use crate::registry::trash::{Deleted, What};

/// How many counters one transaction corrects.
const STEP: usize = 2000;

/// A recount of a root group, and how far it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recount {
    /// Tells it from the one before.
    ordered_at: Timestamp,
    /// The last project that was counted.
    last_project: u64,
    /// How many steps were taken on what comes after projects.
    steps: u64,
    /// How many counters were wrong.
    pub(crate) corrected: u64,
    /// When it ended.
    pub(crate) done_at: Option<Timestamp>,
}

impl Record for Recount {}

/// Where recounts of all root groups stand.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Standing {
    /// How many root groups are still to be counted.
    pub(crate) under_way: u64,
    /// How many counters were wrong.
    pub(crate) corrected: u64,
    /// When the last one ended.
    pub(crate) done_at: Option<Timestamp>,
}

impl Authorised<Instance, Own> {
    /// Orders a recount of everything.
    pub(crate) async fn order_recount(&self) -> Result<(), ApiError> {
        let roots = self.access().root_groups().await?;
        transact(self, async |mut txn: Txn, _| {
            let ordered = Recount {
                ordered_at: self.now(),
                ..Recount::default()
            };
            for root in &roots {
                txn.put_record(&keys::recount(*root), &ordered);
            }
            tell(
                &mut txn,
                self.access(),
                &Instance,
                Act::new("usage.recount_ordered"),
            );
            Ok((txn, ()))
        })
        .await
    }

    /// Where recounts stand.
    pub(crate) async fn recounts(&self) -> Result<Standing, ApiError> {
        let mut standing = Standing::default();
        for root in self.access().root_groups().await? {
            let recount: Option<Recount> = self.snapshot().record(&keys::recount(root)).await?;
            let recount = recount.unwrap_or_default();
            standing.under_way += u64::from(recount.done_at.is_none());
            standing.corrected += recount.corrected;
            standing.done_at = standing.done_at.max(recount.done_at);
        }
        Ok(standing)
    }
}

/// Does the recounts that were not done yet, of all root groups.
pub(in crate::registry) async fn run(store: &Store) -> Result<(), ApiError> {
    let snapshot = store.kv().latest().await?;
    let mut after = None;
    loop {
        let roots = next_entries(&snapshot, &keys::root_groups(), &mut after).await?;
        if roots.is_empty() {
            return Ok(());
        }
        for root in roots.iter().filter_map(|entry| keys::number(&entry.item)) {
            while step(store, root).await? {}
        }
    }
}

/// One step of the recount of a root group; false if there is nothing to do for now.
async fn step(store: &Store, root: u64) -> Result<bool, ApiError> {
    let key = keys::recount(root);
    let local: Option<Recount> = store.kv().local().record(&key).await?;
    if local.is_some_and(|recount| recount.done_at.is_some()) {
        return Ok(false);
    }
    let snapshot = store.kv().latest().await?;
    let before: Recount = snapshot.record(&key).await?.unwrap_or_default();
    if before.done_at.is_some() {
        return Ok(false);
    }
    let projects = keys::projects(root);
    let next = Scan::of(&projects)
        .after(before.last_project.to_be_bytes())
        .limit(1);
    match snapshot.scan(next).await?.pop() {
        Some(entry) => {
            let project: Project = entry.record()?;
            let mut error = count(&snapshot, &project).await?;
            error.subtract(&sums(&snapshot, project.place()).await?);
            let mut wrong = Wrong::default();
            wrong.note(project.place(), error);
            let is_whole = wrong.0.len() <= STEP;
            let mut then = before.clone();
            match is_whole {
                true => then.last_project = project.id,
                false => then.steps += 1,
            }
            correct(store, root, &before, then, wrong, |_: &mut Txn| {}).await
        }
        None => finish(store, &snapshot, root, before).await,
    }
}

/// Counters that are wrong, and by how much.
#[derive(Default)]
struct Wrong(Vec<(Place, Vec<u8>, i64)>);

impl Wrong {
    fn note(&mut self, place: Place, mut error: Sums) {
        error.drop_zeros();
        self.0
            .extend(error.0.into_iter().map(|(item, by)| (place, item, by)));
    }
}

/// Corrects counters and moves the mark; false if another node was faster.
async fn correct(
    store: &Store,
    root: u64,
    before: &Recount,
    mut then: Recount,
    mut wrong: Wrong,
    more: impl Fn(&mut Txn) + Send + Sync,
) -> Result<bool, ApiError> {
    wrong.0.truncate(STEP);
    then.corrected += wrong.0.len() as u64;
    let key = keys::recount(root);
    let work = async |mut txn: Txn| {
        if txn.record::<Recount>(&key).await?.unwrap_or_default() != *before {
            return Ok::<_, ApiError>((txn, false));
        }
        for (place, item, by) in &wrong.0 {
            // If it was deleted meanwhile, its counters go with it.
            let whose = match place.member() {
                Member::Project(id) => keys::project(root, id),
                Member::Group(id) => keys::group(root, id),
            };
            if txn.get(&whose).await?.is_some() {
                txn.add(&keys::stored(root, place.member()).key(item), *by);
            }
        }
        more(&mut txn);
        txn.put_record(&key, &then);
        Ok((txn, true))
    };
    let moved = store.kv().transact(work).await?;
    if moved && !wrong.0.is_empty() {
        warn!(
            root_group = root,
            counters = wrong.0.len(),
            "a recount made counters of storage right"
        );
    }
    Ok(moved)
}

/// Counts the groups, when all of their projects are right, and the blobs.
async fn finish(store: &Store, snapshot: &Snapshot, root: u64, before: Recount) -> Result<bool, ApiError> {
    // What is left of deleted projects still counts in their groups, and cannot be found any more.
    for entry in snapshot.scan(Scan::of(&keys::purges(root))).await? {
        if let Purge::Project { .. } = entry.record()? {
            return Ok(false);
        }
    }
    let mut wrong = Wrong::default();
    groups(snapshot, root, root, &mut wrong).await?;
    let space = Place::root_group(root).space();
    let blobs = store.blobs();
    let mut then = before.clone();
    if wrong.0.len() > STEP {
        then.steps += 1;
        return correct(store, root, &before, then, wrong, |_: &mut Txn| {}).await;
    }
    let kept = blobs.recount_kept(snapshot, space).await?;
    then.corrected += u64::from(!kept.is_none());
    then.done_at = Some(store.now());
    let and_blobs = |txn: &mut Txn| blobs.correct_kept(txn, space, &kept);
    let moved = correct(store, root, &before, then, wrong, and_blobs).await?;
    if moved {
        info!(root_group = root, "what is stored was counted anew");
    }
    Ok(moved)
}

/// What the projects of a group and below count, by their own counters; notes what is wrong with
/// those of the groups.
fn groups<'a>(
    snapshot: &'a Snapshot,
    root: u64,
    group: u64,
    wrong: &'a mut Wrong,
) -> BoxFuture<'a, Result<Sums, ReadError>> {
    async move {
        let children = keys::children(root, group);
        let (mut sum, mut after) = (Sums::default(), None);
        loop {
            let entries = next_entries(snapshot, &children, &mut after).await?;
            if entries.is_empty() {
                break;
            }
            for child in entries.iter().filter_map(|entry| Member::of_item(&entry.item)) {
                let below = match child {
                    Member::Group(id) => groups(snapshot, root, id, wrong).await?,
                    Member::Project(id) => sums(snapshot, Place::project(root, id)).await?,
                };
                sum.join(&below);
            }
        }
        let place = Place::group(root, group);
        let mut error = sum.clone();
        error.subtract(&sums(snapshot, place).await?);
        wrong.note(place, error);
        Ok(sum)
    }
    .boxed()
}

/// Counts all that a project stores.
pub(in crate::registry) async fn count(snapshot: &Snapshot, project: &Project) -> Result<Sums, ApiError> {
    let (root, id) = (project.root(), project.id);
    let mut sums = Sums::default();
    let (packages, mut after) = (keys::packages(root, id), None);
    loop {
        let entries = next_entries(snapshot, &packages, &mut after).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            let package: Package = entry.record()?;
            let format = keys::format_of_package(&entry.item);
            let is_there = package.deleted_at.is_none();
            let current = is_there.then_some(&package.key);
            for key in package.former_keys.iter().chain(current) {
                let versions = keys::versions(root, id, *key);
                count_versions(snapshot, root, id, &format, &versions, &mut sums).await?;
            }
        }
    }
    let (trash, mut after) = (keys::trash(root, id), None);
    loop {
        let entries = next_entries(snapshot, &trash, &mut after).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            let deleted: Deleted = entry.record()?;
            match deleted.what {
                What::Version { version, .. } => {
                    let of = (deleted.format.as_str(), version.creator);
                    count_files(snapshot, root, id, of, version.id, &mut sums).await?;
                }
                What::File { creator, file, .. } => {
                    sums.add(&deleted.format, creator, Amount::file(file.size));
                }
            }
        }
    }
    let mut parts = Vec::new();
    for entry in snapshot.scan(Scan::of(&keys::purges(root))).await? {
        match entry.record()? {
            Purge::Version {
                project,
                version,
                ancestors,
                format,
                creator,
            } if project == id && !ancestors.is_empty() => {
                count_files(snapshot, root, id, (&format, creator), version, &mut sums).await?;
            }
            Purge::Part {
                project,
                format,
                part,
                ancestors,
                ..
            } if project == id && !ancestors.is_empty() => parts.push((format, part)),
            _ => {}
        }
    }
    for format in FORMATS {
        let of_format = parts.iter().filter(|(name, _)| name == format.name());
        let stored = Stored {
            snapshot,
            records: keys::format(root, id, format.name()),
            parts: of_format.map(|(_, part)| *part).collect(),
            sums: &mut sums,
        };
        format.count_stored(stored).await?;
    }
    Ok(sums)
}

async fn count_versions(
    snapshot: &Snapshot,
    root: u64,
    project: u64,
    format: &str,
    versions: &Collection,
    sums: &mut Sums,
) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let entries = next_entries(snapshot, versions, &mut after).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in &entries {
            let version: Version = entry.record()?;
            sums.add(format, version.creator, Amount::version());
            let of = (format, version.creator);
            count_files(snapshot, root, project, of, version.id, sums).await?;
        }
    }
}

async fn count_files(
    snapshot: &Snapshot,
    root: u64,
    project: u64,
    (format, creator): (&str, Option<u64>),
    version: u64,
    sums: &mut Sums,
) -> Result<(), ApiError> {
    for files in [
        keys::files(root, project, version),
        keys::older_files(root, project, version),
    ] {
        let mut after = None;
        loop {
            let entries = next_entries(snapshot, &files, &mut after).await?;
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                let file: File = entry.record()?;
                sums.add(format, creator, Amount::file(file.size));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Recount>("recount");
    }
}
