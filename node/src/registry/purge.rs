//! Taking apart what was deleted: in small transactions, resumable by any node.
//!
//! Deleting makes something vanish in one transaction, however large it is, and orders the rest
//! of the work in the same transaction. The node that did it begins at once; every node looks
//! for work that was left behind. Two nodes on one piece conflict, and one of them goes on.

use cairn_cluster::record::Record;
use cairn_cluster::{Blobs, Scan, Snapshot, Space, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::formats::{self, FORMATS, Format, Removal};
use crate::http::error::ApiError;
use crate::registry::cleanup;
use crate::registry::keys;
use crate::registry::member;
use crate::registry::package::{File, Package, Tombstone, Version};
use crate::registry::place::{Place, PlaceKind};
use crate::registry::project;
use crate::registry::protection;
use crate::registry::storage::{self, Account, Amount};
use crate::registry::store::Store;
use crate::registry::token::{self, TokenEntry};
use crate::registry::trash::{self, Deleted};
use crate::registry::trust;
use crate::registry::user;

/// How many items one transaction removes; with their blobs it stays far below its limit.
const STEP: usize = 64;

/// Something that was deleted and is still to be taken apart, with the groups above its project, which
/// may be gone by then: none in orders of a time when nothing was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::registry) enum Purge {
    /// The files of a version.
    Version {
        project: u64,
        version: u64,
        #[serde(default)]
        ancestors: Vec<u64>,
        #[serde(default)]
        format: String,
        #[serde(default)]
        creator: Option<u64>,
    },
    /// The versions of a package.
    Package {
        project: u64,
        format: String,
        name: String,
        key: u64,
        deleted_by: Option<u64>,
        #[serde(default)]
        ancestors: Vec<u64>,
        #[serde(default)]
        restorable: Option<Restorable>,
    },
    /// All that a project had.
    Project {
        project: u64,
        #[serde(default)]
        ancestors: Vec<u64>,
    },
    /// All that an empty group had.
    Group { group: u64 },
    /// A part of what a format keeps by records of its own; not before it is due, unless its
    /// project is gone.
    Part {
        project: u64,
        format: String,
        part: u64,
        #[serde(default)]
        due: Timestamp,
        #[serde(default)]
        ancestors: Vec<u64>,
    },
}

impl Record for Purge {}

/// How long the versions of a deleted package can be restored, and under which name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct Restorable {
    pub(in crate::registry) until: Timestamp,
    pub(in crate::registry) display_name: String,
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is.
    More,
    /// There is not.
    Done,
}

/// Orders work as part of the transaction that makes it necessary.
pub(in crate::registry) async fn order(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    work: &Purge,
) -> Result<(), ApiError> {
    let id = store.version_id().await?;
    txn.put_record(&keys::purges(root).key(id), work);
    store.purge_ordered();
    Ok(())
}

/// Where it is ordered that parts of what a format keeps in a project are taken apart.
pub(crate) struct PartRemovals<'a> {
    pub(in crate::registry) store: &'a Store,
    pub(in crate::registry) root: u64,
    pub(in crate::registry) project: u64,
    pub(in crate::registry) format: &'a str,
    pub(in crate::registry) ancestors: &'a [u64],
}

impl PartRemovals<'_> {
    /// Orders it as part of a transaction; not before it is due.
    pub(crate) async fn order(&self, txn: &mut Txn, part: u64, due: Timestamp) -> Result<(), ApiError> {
        let work = Purge::Part {
            project: self.project,
            format: self.format.to_owned(),
            part,
            due,
            ancestors: self.ancestors.to_vec(),
        };
        order(txn, self.store, self.root, &work).await
    }
}

/// Does all work that was ordered, of every root group.
pub(in crate::registry) async fn run(store: &Store) -> Result<(), ApiError> {
    let snapshot = store.kv().latest().await?;
    let mut after = None;
    loop {
        let mut scan = Scan::of(&keys::root_groups());
        if let Some(after) = &after {
            scan = scan.after(after);
        }
        let roots = snapshot.scan(scan).await?;
        let Some(last) = roots.last() else {
            return Ok(());
        };
        after = Some(last.item.clone());
        for root in roots.iter().filter_map(|entry| keys::number(&entry.item)) {
            run_root(store, &snapshot, root).await?;
        }
    }
}

async fn run_root(store: &Store, snapshot: &Snapshot, root: u64) -> Result<(), ApiError> {
    let orders = keys::purges(root);
    let mut ordered = Vec::new();
    for entry in snapshot.scan(Scan::of(&orders)).await? {
        ordered.push((entry.record()?, orders.key(&entry.item)));
    }
    // A project comes after all that was ordered in it, with whose end its counters go.
    ordered.sort_by_key(|(work, _)| matches!(work, Purge::Project { .. }));
    for (work, order) in ordered {
        if is_for_later(store, snapshot, root, &work).await? {
            continue;
        }
        loop {
            let step = async |mut txn: Txn| {
                if txn.get(&order).await?.is_none() {
                    return Ok::<_, ApiError>((txn, Progress::Done));
                }
                let progress = step(&mut txn, store, root, &work).await?;
                if progress == Progress::Done {
                    txn.delete(&order);
                }
                Ok((txn, progress))
            };
            if store.kv().transact(step).await? == Progress::Done {
                break;
            }
        }
    }
    Ok(())
}

async fn is_for_later(store: &Store, snapshot: &Snapshot, root: u64, work: &Purge) -> Result<bool, ApiError> {
    match work {
        Purge::Part { project, due, .. } if store.now() < *due => {
            let project = project::by_id(&mut snapshot.clone(), root, *project).await?;
            Ok(project.is_some())
        }
        _ => Ok(false),
    }
}

async fn step(txn: &mut Txn, store: &Store, root: u64, work: &Purge) -> Result<Progress, ApiError> {
    match work {
        Purge::Version {
            project,
            version,
            ancestors,
            format,
            creator,
        } => {
            let files = Files {
                root,
                project: *project,
                version: *version,
                creator: *creator,
                account: &Account::ordered(ancestors, *project, format),
            };
            drop_files(txn, store.blobs(), files, STEP).await
        }
        Purge::Package {
            project,
            format,
            name,
            key,
            deleted_by,
            ancestors,
            restorable,
        } => {
            let account = Account::ordered(ancestors, *project, format);
            let package = (format.as_str(), name.as_str(), *key);
            let how = (*deleted_by, restorable.as_ref());
            drop_package(txn, store, root, *project, package, how, &account).await
        }
        Purge::Project { project, ancestors } => {
            let account = Account::ordered(ancestors, *project, "");
            drop_project(txn, store, root, *project, &account).await
        }
        Purge::Group { group } => drop_group(txn, root, *group).await,
        Purge::Part {
            project,
            format,
            part,
            ancestors,
            ..
        } => match formats::by_name(format) {
            Some(format) => {
                let account = Account::ordered(ancestors, *project, format.name());
                remove_records(txn, store, root, *project, format, Some(*part), account).await
            }
            None => Ok(Progress::Done),
        },
    }
}

/// The files of a version.
pub(in crate::registry) struct Files<'a> {
    pub(in crate::registry) root: u64,
    pub(in crate::registry) project: u64,
    /// The number of the version.
    pub(in crate::registry) version: u64,
    /// Who published it.
    pub(in crate::registry) creator: Option<u64>,
    /// As whose they count.
    pub(in crate::registry) account: &'a Account,
}

/// Lets go of up to `limit` files of a version; says whether that were all.
pub(in crate::registry) async fn drop_files(
    txn: &mut Txn,
    blobs: &Blobs,
    of: Files<'_>,
    limit: usize,
) -> Result<Progress, ApiError> {
    let Files {
        root,
        project,
        version,
        creator,
        account,
    } = of;
    let ids = keys::file_ids(root, project, version);
    let files = keys::files(root, project, version);
    let older = keys::older_files(root, project, version);
    let entries = txn.scan(Scan::of(&ids).limit(limit)).await?;
    for entry in &entries {
        let id_key = ids.key(&entry.item);
        let current = files.key(&entry.value);
        let of_before = older.key(&entry.item);
        let id = keys::number(&entry.item);
        let file = match txn.record::<File>(&current).await? {
            Some(file) if Some(file.id) == id => {
                txn.delete(&current);
                Some(file)
            }
            _ => {
                let file = txn.record::<File>(&of_before).await?;
                txn.delete(&of_before);
                file
            }
        };
        if let Some(file) = file {
            account.count(txn, creator, -Amount::file(file.size));
            blobs
                .release(txn, Space(root), &file.blob, id_key.as_bytes())
                .await?;
        }
        txn.delete(&id_key);
    }
    Ok(if entries.len() < limit {
        Progress::Done
    } else {
        Progress::More
    })
}

/// Makes one version of a deleted package into a tombstone; what can be restored goes to the trash.
async fn drop_package(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    project: u64,
    (format, name, key): (&str, &str, u64),
    (deleted_by, restorable): (Option<u64>, Option<&Restorable>),
    account: &Account,
) -> Result<Progress, ApiError> {
    let versions = keys::versions(root, project, key);
    let Some(entry) = txn.scan(Scan::of(&versions).limit(1)).await?.pop() else {
        let package_key = keys::package(root, project, format, name);
        if let Some(mut package) = txn.record::<Package>(&package_key).await? {
            package.former_keys.retain(|former| *former != key);
            txn.put_record(&package_key, &package);
        }
        return Ok(Progress::Done);
    };
    let version: Version = entry.record()?;
    let files = Files {
        root,
        project,
        version: version.id,
        creator: version.creator,
        account,
    };
    match restorable {
        None => {
            if drop_files(txn, store.blobs(), files, STEP).await? == Progress::More {
                return Ok(Progress::More);
            }
        }
        Some(Restorable { until, display_name }) => {
            let origin = keys::published_by(root, project, version.id);
            let deleted = Deleted {
                id: store.version_id().await?,
                format: format.into(),
                package: name.into(),
                display_name: display_name.clone(),
                what: trash::What::Version {
                    version: version.clone(),
                    origin: txn.record(&origin).await?,
                },
                deleted_at: store.now(),
                deleted_by,
                until: *until,
                ancestors: account.ancestors().to_vec(),
                kept: bytes::Bytes::new(),
            };
            trash::put(txn, root, project, &deleted);
        }
    }
    let tombstone = Tombstone {
        deleted_at: store.now(),
        deleted_by,
    };
    let tombstones = keys::tombstones(root, project, format, name);
    txn.put_record(&tombstones.key(&entry.item), &tombstone);
    txn.delete(&versions.key(&entry.item));
    account.count(txn, version.creator, -Amount::version());
    drop_indexes(txn, root, project, &version);
    if restorable.is_none() {
        forget_uses(txn, root, project, version.id);
    }
    Ok(Progress::More)
}

fn drop_indexes(txn: &mut Txn, root: u64, project: u64, version: &Version) {
    txn.delete(&keys::version_ids(root, project).key(version.id));
    let time = keys::time_item(version.created_at.0, version.id);
    txn.delete(&keys::version_times(root, project).key(time));
    txn.delete(&keys::published_by(root, project, version.id));
}

/// Forgets how often and when a version was downloaded.
pub(in crate::registry) fn forget_uses(txn: &mut Txn, root: u64, project: u64, version: u64) {
    txn.delete(&keys::pulled(root, project, version));
    txn.delete(&keys::downloads(root, project).key(version));
}

/// Takes apart a piece of what a deleted project had.
async fn drop_project(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    project: u64,
    account: &Account,
) -> Result<Progress, ApiError> {
    let place = Place {
        root,
        kind: PlaceKind::Project,
        id: project,
    };
    if drop_people(txn, place).await? == Progress::More {
        return Ok(Progress::More);
    }
    let packages = keys::packages(root, project);
    let Some(entry) = txn.scan(Scan::of(&packages).limit(1)).await?.pop() else {
        if trash::drop_some(txn, store, root, project, STEP).await? == Progress::More {
            return Ok(Progress::More);
        }
        return drop_records(txn, store, root, project, account).await;
    };
    let package: Package = entry.record()?;
    let format = keys::format_of_package(&entry.item);
    for key in package.former_keys.iter().chain([&package.key]) {
        let (account, package) = (account.in_format(&format), (&*format, &*package.name, *key));
        if drop_package(txn, store, root, project, package, (None, None), &account).await? == Progress::More {
            return Ok(Progress::More);
        }
    }
    let tombstones = keys::tombstones(root, project, &format, &package.name);
    let left = txn.scan(Scan::of(&tombstones).limit(STEP)).await?;
    for entry in &left {
        txn.delete(&tombstones.key(&entry.item));
    }
    if left.len() < STEP {
        txn.delete(&keys::named(root, &format, &package.name).key(project));
        txn.delete(&packages.key(&entry.item));
    }
    Ok(Progress::More)
}

/// Takes apart a piece of what a deleted group had.
async fn drop_group(txn: &mut Txn, root: u64, group: u64) -> Result<Progress, ApiError> {
    let place = Place {
        root,
        kind: PlaceKind::Group,
        id: group,
    };
    if drop_people(txn, place).await? == Progress::More
        || storage::forget(txn, root, place.member(), STEP).await? == STEP
    {
        return Ok(Progress::More);
    }
    if group == root {
        txn.delete(&keys::recount(root));
        // Only now, because work is found by its root group.
        txn.delete(&keys::root_groups().key(root));
    }
    Ok(Progress::Done)
}

/// Removes some members, deploy tokens and trust rules.
async fn drop_people(txn: &mut Txn, place: Place) -> Result<Progress, ApiError> {
    let members = keys::members(place.root, place.member());
    let members = txn.scan(Scan::of(&members).limit(STEP)).await?;
    for user in members.iter().filter_map(|entry| keys::number(&entry.item)) {
        member::remove(txn, place, user);
        user::drop_bot(txn, user).await?;
    }
    let deploy = keys::deploy_tokens(place.root, place.member());
    let tokens = txn.scan(Scan::of(&deploy).limit(STEP)).await?;
    for entry in &tokens {
        token::forget(txn, &entry.record::<TokenEntry>()?);
        txn.delete(&deploy.key(&entry.item));
    }
    let rules = trust::drop_some(txn, place, STEP).await?;
    Ok(match members.len().max(tokens.len()).max(rules) {
        STEP.. => Progress::More,
        _ => Progress::Done,
    })
}

/// Takes apart a piece of what the formats of a deleted project kept by records of their own.
async fn drop_records(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    project: u64,
    account: &Account,
) -> Result<Progress, ApiError> {
    for format in FORMATS {
        let account = account.in_format(format.name());
        if remove_records(txn, store, root, project, *format, None, account).await? == Progress::More {
            return Ok(Progress::More);
        }
    }
    let downloads = keys::downloads_of(root, project);
    let counted = txn.scan(Scan::of(&downloads).limit(STEP)).await?;
    for entry in &counted {
        txn.delete(&downloads.key(&entry.item));
    }
    if counted.len() == STEP
        || storage::forget(txn, root, keys::Member::Project(project), STEP).await? == STEP
    {
        return Ok(Progress::More);
    }
    protection::forget(txn, root, project);
    cleanup::forget(txn, root, project);
    Ok(Progress::Done)
}

async fn remove_records(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    project: u64,
    format: &dyn Format,
    part: Option<u64>,
    account: Account,
) -> Result<Progress, ApiError> {
    let removal = Removal {
        txn,
        blobs: store.blobs(),
        space: Space(root),
        records: keys::format(root, project, format.name()),
        part,
        account,
    };
    format.remove(removal).await
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Purge>("purge");
    }
}
