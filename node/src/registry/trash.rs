//! What was deleted and can still be restored.
//!
//! Deleting a version, or a file of one, takes it out of everything that anybody can see, and
//! leaves a record here that has all that is needed to put it back. Its files stay where they are and
//! keep their blobs, so they count until the undelete window is over. Then, or when somebody says that it
//! is to be at once, it is taken apart. The list of what is due is in the order of time, below the
//! root group: any node looks through it; two that do at once conflict, and one of them goes on.
//!
//! A name stays reserved as its format has it, whether what had it can be restored or not. What was
//! published under it meanwhile is never replaced.

use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::record::Record;
use cairn_cluster::{ReadError, Scan, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::action::{Delete, Own, See};
use crate::formats::{self, Discarded, Format};
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::keys;
use crate::registry::package::{Edit, File, Location, Version};
use crate::registry::project::Project;
use crate::registry::purge::{self, Files, PartRemovals, Progress, Purge};
use crate::registry::reader::{Reader, next_entries};
use crate::registry::storage::{Account, Amount};
use crate::registry::store::Store;
use crate::registry::trust::Origin;

/// How long what was deleted can be restored, unless an administrator says.
const USUAL_DAYS: u64 = 7;

/// The longest window.
pub(crate) const MAX_DAYS: u64 = 365;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How much is looked at in one go of what is due.
const STEP: usize = 100;

/// How long what was deleted can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// So many days; 0 for not at all.
    pub(crate) days: u64,
}

impl Record for Window {}

impl Default for Window {
    fn default() -> Self {
        Self { days: USUAL_DAYS }
    }
}

impl Window {
    pub(in crate::registry) async fn read<R: Reader>(reader: &mut R) -> Result<Self, ReadError> {
        Ok(reader.read(&keys::undelete_window()).await?.unwrap_or_default())
    }

    /// When what is deleted now is taken apart; none if at once.
    pub(in crate::registry) fn end(self, now: Timestamp) -> Option<Timestamp> {
        let days = u32::try_from(self.days).unwrap_or(u32::MAX);
        (days > 0).then(|| now.plus(DAY.saturating_mul(days)))
    }
}

/// Something that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deleted {
    /// Its number.
    pub(crate) id: u64,
    pub(crate) format: String,
    /// The normalised name of its package, and the one to show.
    pub(crate) package: String,
    pub(crate) display_name: String,
    pub(crate) what: What,
    pub(crate) deleted_at: Timestamp,
    /// The user who deleted it; none if it was no user.
    pub(crate) deleted_by: Option<u64>,
    /// When it is taken apart.
    pub(crate) until: Timestamp,
    /// The groups above its project, as whose it counts.
    pub(in crate::registry) ancestors: Vec<u64>,
    /// What its format needs to put it back.
    pub(in crate::registry) kept: Bytes,
}

impl Record for Deleted {}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// A version with its files.
    Version {
        version: Version,
        /// The job that published it.
        origin: Option<Origin>,
    },
    /// A file of a version.
    File {
        /// The number of the version.
        version_id: u64,
        version: String,
        /// Who published the version.
        creator: Option<u64>,
        file: File,
    },
}

impl Deleted {
    pub(crate) fn version(&self) -> &str {
        match &self.what {
            What::Version { version, .. } => &version.version,
            What::File { version, .. } => version,
        }
    }

    /// The name of the file, if it is one.
    pub(crate) fn file(&self) -> Option<&str> {
        match &self.what {
            What::Version { .. } => None,
            What::File { file, .. } => Some(&file.name),
        }
    }

    fn account(&self, project: u64) -> Account {
        Account::ordered(&self.ancestors, project, &self.format)
    }

    fn described(&self) -> String {
        let Self { format, package, .. } = self;
        match self.file() {
            None => format!("{format} {package} {}", self.version()),
            Some(file) => format!("{format} {package} {}: {file}", self.version()),
        }
    }
}

/// Keeps something that a transaction has deleted.
pub(in crate::registry) fn put(txn: &mut Txn, root: u64, project: u64, deleted: &Deleted) {
    txn.put_record(&keys::trash(root, project).key(deleted.id), deleted);
    txn.put(&due_key(root, project, deleted), "");
}

fn due_key(root: u64, project: u64, deleted: &Deleted) -> cairn_cluster::Key {
    keys::trash_due(root).key(keys::due_item(deleted.until.0, project, deleted.id))
}

fn remove(txn: &mut Txn, root: u64, project: u64, deleted: &Deleted) {
    txn.delete(&keys::trash(root, project).key(deleted.id));
    txn.delete(&due_key(root, project, deleted));
}

/// Has something taken apart that was deleted.
async fn discard(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    project: u64,
    deleted: &Deleted,
) -> Result<(), ApiError> {
    remove(txn, root, project, deleted);
    let_go(txn, store, root, project, deleted).await?;
    if let What::Version { version, .. } = &deleted.what {
        purge::forget_uses(txn, root, project, version.id);
        let work = Purge::Version {
            project,
            version: version.id,
            ancestors: deleted.ancestors.clone(),
            format: deleted.format.clone(),
            creator: version.creator,
        };
        purge::order(txn, store, root, &work).await?;
    }
    Ok(())
}

/// Lets go of a deleted file, and of what its format kept to put something back.
async fn let_go(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    project: u64,
    deleted: &Deleted,
) -> Result<(), ApiError> {
    let space = crate::registry::place::Place::root_group(root).space();
    if let What::File {
        version_id,
        creator,
        file,
        ..
    } = &deleted.what
    {
        let referrer = keys::file_ids(root, project, *version_id).key(file.id);
        deleted
            .account(project)
            .count(txn, *creator, -Amount::file(file.size));
        store
            .blobs()
            .release(txn, space, &file.blob, referrer.as_bytes())
            .await?;
    }
    match formats::by_name(&deleted.format) {
        Some(format) => {
            let discarded = Discarded {
                txn,
                blobs: store.blobs(),
                space,
                records: keys::format(root, project, format.name()),
                package: &deleted.package,
                kept: &deleted.kept,
                removals: PartRemovals {
                    store,
                    root,
                    project,
                    format: format.name(),
                    ancestors: &deleted.ancestors,
                },
            };
            format.discard(discarded).await
        }
        None => Ok(()),
    }
}

/// Takes apart a piece of what a deleted project had in its trash; says whether there is more.
pub(in crate::registry) async fn drop_some(
    txn: &mut Txn,
    store: &Store,
    root: u64,
    project: u64,
    limit: usize,
) -> Result<Progress, ApiError> {
    let scan = Scan::of(&keys::trash(root, project)).limit(1);
    let Some(entry) = txn.scan(scan).await?.pop() else {
        return Ok(Progress::Done);
    };
    let deleted: Deleted = entry.record()?;
    if let What::Version { version, .. } = &deleted.what {
        let files = Files {
            root,
            project,
            version: version.id,
            creator: version.creator,
            account: &deleted.account(project),
        };
        if purge::drop_files(txn, store.blobs(), files, limit).await? == Progress::More {
            return Ok(Progress::More);
        }
        purge::forget_uses(txn, root, project, version.id);
    }
    let_go(txn, store, root, project, &deleted).await?;
    remove(txn, root, project, &deleted);
    Ok(Progress::More)
}

/// Takes apart whatever is due, of all root groups.
pub(in crate::registry) async fn run(store: &Store) -> Result<(), ApiError> {
    let snapshot = store.kv().latest().await?;
    let mut after = None;
    loop {
        let roots = next_entries(&snapshot, &keys::root_groups(), &mut after).await?;
        if roots.is_empty() {
            return Ok(());
        }
        for root in roots.iter().filter_map(|entry| keys::number(&entry.item)) {
            while expire_some(store, root).await? {}
        }
    }
}

/// Takes apart some of what is due; says whether there may be more.
async fn expire_some(store: &Store, root: u64) -> Result<bool, ApiError> {
    let (list, now) = (keys::trash_due(root), store.now());
    let snapshot = store.kv().latest().await?;
    let entries = snapshot.scan(Scan::of(&list).limit(STEP)).await?;
    for entry in &entries {
        let Some((until, project, id)) = keys::due_of(&entry.item) else {
            continue;
        };
        if until > now.0 {
            return Ok(false);
        }
        let key = keys::trash(root, project).key(id);
        let step = async |mut txn: Txn| {
            // Restored, or done by another node.
            if let Some(deleted) = txn.record::<Deleted>(&key).await? {
                discard(&mut txn, store, root, project, &deleted).await?;
            }
            Ok::<_, ApiError>((txn, ()))
        };
        store.kv().transact(step).await?;
    }
    Ok(entries.len() == STEP)
}

fn unknown() -> ApiError {
    ApiError::not_found("404 Not Found: there is nothing deleted of this number, or not any more")
}

fn known(deleted: &Deleted) -> Result<&'static dyn Format, ApiError> {
    formats::by_name(&deleted.format)
        .ok_or_else(|| ApiError::conflict(format!("this node does not speak {}", deleted.format)))
}

impl Authorised<Project, Delete> {
    /// Calls `row` with all that was deleted and can be restored.
    pub(crate) async fn each_deleted(&self, mut row: impl FnMut(Deleted)) -> Result<(), ApiError> {
        let trash = keys::trash(self.project().root(), self.project().id);
        let mut after = None;
        loop {
            let entries = next_entries(self.snapshot(), &trash, &mut after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                row(entry.record()?);
            }
        }
    }

    async fn deleted(&self, id: u64) -> Result<Deleted, ApiError> {
        let key = keys::trash(self.project().root(), self.project().id).key(id);
        self.snapshot().record(&key).await?.ok_or_else(unknown)
    }

    /// Puts back what was deleted under this number. A conflict if its name has been given to something
    /// else, or if it is a file of a version that is not there.
    pub(crate) async fn restore(&self, id: u64) -> Result<Deleted, ApiError> {
        let found = self.deleted(id).await?;
        let format = known(&found)?;
        let scope = self.scope(format.name());
        let (root, project) = (self.project().root(), self.project().id);
        let key = keys::trash(root, project).key(id);
        scope
            .transact(async |mut txn: Txn| {
                let deleted: Deleted = txn.record(&key).await?.ok_or_else(unknown)?;
                remove(&mut txn, root, project, &deleted);
                let mut edit = Edit::new(&scope, &mut txn);
                match &deleted.what {
                    What::Version { version, origin } => {
                        let package = edit.claim(&deleted.package, &deleted.display_name).await?;
                        edit.put_back_version(&package, version, origin.as_ref()).await?;
                        let kept = deleted.kept.clone();
                        format
                            .version_restored(&mut edit, package, version.clone(), kept)
                            .await?;
                    }
                    What::File { version_id, file, .. } => {
                        let gone = || {
                            ApiError::conflict(
                                "409 Conflict: the version of the file is not there; restore that first",
                            )
                        };
                        let at: Option<Location> = edit
                            .txn()
                            .record(&keys::version_ids(root, project).key(*version_id))
                            .await?;
                        let at = at.ok_or_else(gone)?;
                        let package = edit.package(&at.name).await?.ok_or_else(gone)?;
                        let version = edit.version(&package, &at.version).await?.ok_or_else(gone)?;
                        edit.put_back_file(&version, file).await?;
                        let kept = deleted.kept.clone();
                        format
                            .file_restored(&mut edit, package, version, file.clone(), kept)
                            .await?;
                    }
                }
                let act = Act::new("package.restored").to(deleted.described());
                scope.tell(&mut txn, act);
                Ok((txn, deleted))
            })
            .await
    }

    /// Takes what was deleted under this number apart at once.
    pub(crate) async fn discard_deleted(&self, id: u64) -> Result<(), ApiError> {
        let (root, project) = (self.project().root(), self.project().id);
        let key = keys::trash(root, project).key(id);
        transact(self, async |mut txn: Txn, current: Project| {
            let deleted: Deleted = txn.record(&key).await?.ok_or_else(unknown)?;
            let store = self.access().app().store();
            discard(&mut txn, store, root, project, &deleted).await?;
            let act = Act::new("package.discarded").to(deleted.described());
            tell(&mut txn, self.access(), &current, act);
            Ok((txn, ()))
        })
        .await
    }
}

impl Authorised<Instance, See> {
    /// How long what was deleted can be restored.
    pub(crate) async fn undelete_window(&self) -> Result<Window, ApiError> {
        Ok(Window::read(&mut self.snapshot().clone()).await?)
    }
}

impl Authorised<Instance, Own> {
    /// Sets how long what is deleted from now on can be restored.
    pub(crate) async fn set_undelete_window(&self, window: Window) -> Result<(), ApiError> {
        if window.days > MAX_DAYS {
            return Err(ApiError::parameter("days does not have a valid value"));
        }
        transact(self, async |mut txn: Txn, _| {
            let before = Window::read(&mut txn).await?;
            txn.put_record(&keys::undelete_window(), &window);
            let act = Act::new("undelete.changed").changing("days", &before.days, &window.days);
            tell(&mut txn, self.access(), &Instance, act);
            Ok((txn, ()))
        })
        .await
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Window>("undelete-window");
        samples::check::<super::Deleted>("deleted");
    }
}
