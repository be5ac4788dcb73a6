//! The cleanup policy of a project's container images: which tags go by themselves, and letting
//! them go.
//!
//! Every repository is cleaned by the rules of [`super::cleanup`]. Tags that a rule protects stay,
//! whoever could delete them, and so does all of a repository that is protected against deletion.
//! Then go manifests to which nothing has led for a day, and blobs that no manifest has named for as
//! long. What loses its last tag, or what named it, in this turn is left to the next.

use std::sync::Arc;

use bytes::Bytes;
use cairn_cluster::{Collection, Entry, Scan, Snapshot, Txn};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::warn;

use super::NAME;
use super::cleanup::{Aged, Going, Rules, STEP, Wanted, delete_in};
use super::keys::ProjectKeys;
use super::names::Digest;
use super::records::{BlobLink, ManifestRecord};
use super::rest::Found;
use super::store::{self, Change};
use crate::auth::caller::Caller;
use crate::auth::{Authorised, Manage};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::audit::Act;
use crate::registry::cleanup::{ContainerPolicy, Turn};
use crate::registry::project::Project;
use crate::registry::protection::{ContainerGuard, Right};
use crate::registry::reader::next_entries;
use crate::registry::time::iso;

/// How many manifests or blobs are read at a time.
const PAGE: usize = 64;

/// How many manifests or blobs one transaction removes: a manifest names many others.
const SWEPT: usize = 8;

/// A tag or a manifest that goes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct GoingImage {
    repository_id: u64,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
    why: String,
}

/// What goes if nothing changes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Plan {
    /// How many tags go.
    pub(crate) tags: u64,
    /// How many manifests.
    pub(crate) manifests: u64,
    /// How many blobs.
    pub(crate) blobs: u64,
    /// How large they are.
    pub(crate) blob_bytes: u64,
    /// The first tags and manifests.
    pub(crate) first: Vec<GoingImage>,
}

/// What a policy would let go now: the first `limit` of it, and how much it is in all.
pub(crate) async fn plan(
    project: &Authorised<Project, Manage>,
    policy: &ContainerPolicy,
    limit: usize,
) -> Result<Plan, ApiError> {
    let scope = project.scope(NAME);
    let rules = Arc::new(Rules::of(&Wanted::from(policy), scope.now())?);
    let guard = guard(&scope, scope.snapshot()).await?;
    let mut plan = Plan::default();
    let (images, mut after) = (ProjectKeys::new(scope.collection()).images(), None);
    loop {
        let entries = next_entries(scope.snapshot(), &images, &mut after).await?;
        if entries.is_empty() {
            return Ok(plan);
        }
        for entry in &entries {
            let Some(found) = unprotected(&scope, &guard, entry)? else {
                continue;
            };
            let mut going = Going::of(&found, rules.clone()).await?;
            while let Some(mut tags) = going.next().await? {
                tags.retain(|(_, tag)| !guard.protects_tag(tag));
                plan.tags += tags.len() as u64;
                let room = limit - plan.first.len();
                let shown = tags.into_iter().take(room);
                plan.first.extend(shown.map(|tag| shown_tag(&found, policy, tag)));
            }
            if policy.untagged {
                plan_sweep(&found, &mut plan, limit).await?;
            }
        }
    }
}

async fn plan_sweep(found: &Found, plan: &mut Plan, limit: usize) -> Result<(), ApiError> {
    let mut after = None;
    while let Some(digests) = left_over(found, found.snapshot(), &mut after).await? {
        plan.manifests += digests.len() as u64;
        let room = limit - plan.first.len();
        plan.first
            .extend(digests.iter().take(room).map(|digest| GoingImage {
                repository_id: found.id(),
                path: found.path(),
                tag: None,
                digest: Some(digest.to_string()),
                why: "nothing has led to it for a day".into(),
            }));
    }
    let mut after = None;
    while let Some(blobs) = unnamed(found, found.snapshot(), &mut after).await? {
        plan.blobs += blobs.len() as u64;
        plan.blob_bytes += blobs.iter().map(|(_, size)| size).sum::<u64>();
    }
    Ok(())
}

fn shown_tag(found: &Found, policy: &ContainerPolicy, (pushed_at, tag): Aged) -> GoingImage {
    let mut why = format!("pushed at {}", iso(pushed_at));
    if let Some(count) = policy.keep_n {
        why.push_str(&format!("; not among the newest {count}"));
    }
    GoingImage {
        repository_id: found.id(),
        path: found.path(),
        tag: Some(tag),
        digest: None,
        why,
    }
}

/// Some manifests, of the next few, to which nothing leads; none when there are no more.
async fn left_over(
    found: &Found,
    snapshot: &Snapshot,
    after: &mut Option<Bytes>,
) -> Result<Option<Vec<Digest>>, ApiError> {
    let (entries, reader) = (
        next(snapshot, found.keys.manifests(), after).await?,
        &mut snapshot.clone(),
    );
    if entries.is_empty() {
        return Ok(None);
    }
    let mut digests = Vec::new();
    for entry in &entries {
        let record: ManifestRecord = entry.record()?;
        if let Some(digest) = Digest::from_key(&entry.item)
            && store::is_left_over(reader, &found.keys, &digest, &record, found.scope.now()).await?
        {
            digests.push(digest);
        }
    }
    Ok(Some(digests))
}

/// Some blobs, of the next few, that no manifest names, with their sizes; none when there are no
/// more.
async fn unnamed(
    found: &Found,
    snapshot: &Snapshot,
    after: &mut Option<Bytes>,
) -> Result<Option<Vec<(Digest, u64)>>, ApiError> {
    let (entries, reader) = (
        next(snapshot, found.keys.blobs(), after).await?,
        &mut snapshot.clone(),
    );
    if entries.is_empty() {
        return Ok(None);
    }
    let mut blobs = Vec::new();
    for entry in &entries {
        let link: BlobLink = entry.record()?;
        if let Some(digest) = Digest::from_key(&entry.item)
            && store::is_unnamed(reader, &found.keys, &digest, &link, found.scope.now()).await?
        {
            blobs.push((digest, link.size));
        }
    }
    Ok(Some(blobs))
}

/// The next items of a collection whose records may be large.
async fn next(
    snapshot: &Snapshot,
    collection: Collection,
    after: &mut Option<Bytes>,
) -> Result<Vec<Entry>, ApiError> {
    let mut scan = Scan::of(&collection).limit(PAGE);
    if let Some(after) = &after {
        scan = scan.after(after);
    }
    let entries = snapshot.scan(scan).await?;
    if let Some(last) = entries.last() {
        *after = Some(last.item.clone());
    }
    Ok(entries)
}

/// What protects images against everybody who has no role.
async fn guard(scope: &Scope, snapshot: &Snapshot) -> Result<ContainerGuard, ApiError> {
    let (reader, nobody) = (&mut snapshot.clone(), Caller::anonymous());
    Ok(ContainerGuard::of(reader, scope.project(), &nobody, scope.now()).await?)
}

/// A repository from the list of them, unless it is protected against deletion.
fn unprotected(scope: &Scope, guard: &ContainerGuard, entry: &Entry) -> Result<Option<Found>, ApiError> {
    let found = Found::of_entry(scope, entry)?;
    Ok(Some(found).filter(|found| guard.allows(&found.path(), Right::Delete)))
}

/// Lets go what the policy of a project says.
pub(super) async fn clean_up(turn: &Turn, policy: &ContainerPolicy) -> Result<(), ApiError> {
    let scope = turn.scope().in_format(NAME).confirmed().await?;
    let rules = Arc::new(Rules::of(&Wanted::from(policy), scope.now())?);
    let guard = guard(&scope, scope.snapshot()).await?;
    let images = ProjectKeys::new(scope.collection()).images();
    let cursor = turn.cursor();
    let mut after = (!cursor.is_empty()).then(|| cursor.clone());
    let mut before = cursor.clone();
    loop {
        let entries = next_entries(scope.snapshot(), &images, &mut after).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in &entries {
            if let Some(found) = unprotected(&scope, &guard, entry)? {
                match clean_repository(turn, &found, &rules, policy.untagged, &before).await {
                    // One repository that cannot be mended must not keep all others.
                    Err(error) if ![ErrorKind::Gone, ErrorKind::Unavailable].contains(&error.kind) => {
                        warn!(repository = found.path(), error = ?error, "could not clean a repository up");
                    }
                    done => done?,
                }
            }
            before = entry.item.clone();
        }
        turn.note(&before).await?;
    }
}

async fn clean_repository(
    turn: &Turn,
    found: &Found,
    rules: &Arc<Rules>,
    untagged: bool,
    place: &[u8],
) -> Result<(), ApiError> {
    let mut going = Going::of(found, rules.clone()).await?;
    while let Some(tags) = going.next().await? {
        for step in tags.chunks(STEP) {
            let work = async |mut txn: Txn| {
                let deleted = delete_in(&mut txn, found, step).await?;
                Ok((txn, deleted, ()))
            };
            turn.transact(place, work).await?;
        }
    }
    match untagged {
        true => sweep(turn, found, place).await,
        false => Ok(()),
    }
}

/// Removes what nothing leads to.
async fn sweep(turn: &Turn, found: &Found, place: &[u8]) -> Result<(), ApiError> {
    let snapshot = found.scope.latest().await?;
    let mut after = None;
    while let Some(digests) = left_over(found, &snapshot, &mut after).await? {
        for step in digests.chunks(SWEPT) {
            let work = async |mut txn: Txn| {
                let mut swept = Vec::new();
                let mut change = Change::new(&found.scope, &mut txn, &found.image);
                if let Some(keys) = change.repository().await? {
                    for digest in step {
                        if change.sweep_manifest(&keys, digest).await? {
                            swept.push(digest);
                        }
                    }
                }
                for digest in &swept {
                    let act = Act::new("image.deleted").to(format!("{}@{digest}", found.image));
                    found.scope.tell(&mut txn, act);
                }
                Ok((txn, swept.len() as u64, ()))
            };
            turn.transact(place, work).await?;
        }
    }
    let mut after = None;
    while let Some(blobs) = unnamed(found, &snapshot, &mut after).await? {
        for step in blobs.chunks(SWEPT) {
            let work = async |mut txn: Txn| {
                let mut change = Change::new(&found.scope, &mut txn, &found.image);
                if let Some(keys) = change.repository().await? {
                    for (digest, _) in step {
                        change.sweep_blob(&keys, digest).await?;
                    }
                }
                Ok((txn, 0, ()))
            };
            turn.transact(place, work).await?;
        }
    }
    Ok(())
}
