//! The transactions that delete, put back, and take apart.
//!
//! A reference goes at once. Revisions go one by one, with their files, and those of binaries before what
//! they were made of.

use bytes::Bytes;
use cairn_cluster::{Scan, Snapshot, Txn, record};

use super::names::{FilePath, INFO, Line, MANIFEST, Reference, Revised, Revision};
use super::opened::{Opened, note_info};
use super::records::{
    Kept, Keys, Staged, UPLOAD, UnderWay, decode, line_prefix, packages_prefix, revised_of,
};
use super::store::missing;
use crate::formats::{Discarded, Progress, Removal};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{Edit, File, Package, Version, View};
use crate::registry::settings::DuplicatePolicy;

/// How many items one transaction removes.
const STEP: usize = 64;

/// Deletes a reference, with all its revisions.
pub(super) async fn delete(scope: &Scope, reference: &Reference) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let opened = Opened::find(&mut edit, reference).await?;
            let opened = opened.ok_or_else(|| missing(reference))?;
            delete_version(&mut edit, &opened.package, &opened.version).await?;
            Ok((txn, ()))
        })
        .await
}

/// What a deletion is about.
#[derive(Clone, Debug)]
pub(super) enum Doomed {
    /// A revision of the recipe, with all binaries that were made of it.
    Recipe(Revision),
    /// All binaries of a revision of the recipe.
    Packages(Revision),
    /// A binary, in all revisions.
    Package(Line),
    /// One revision of a binary.
    Revised(Revised),
}

/// Deletes revisions. Those of binaries go one by one, and before what they were made of: whatever stops
/// this, what is left is whole, and a repeated request goes on.
pub(super) async fn delete_revisions(
    scope: &Scope,
    reference: &Reference,
    doomed: &Doomed,
) -> Result<(), ApiError> {
    let mut is_found = false;
    loop {
        let snapshot = scope.latest().await?;
        let view = View::at(scope, &snapshot);
        let package = view.package(reference.name()).await?;
        let package = package.ok_or_else(|| missing(reference))?;
        let version = view.version(&package, &reference.version()).await?;
        let version = version.ok_or_else(|| missing(reference))?;
        let keys = Keys::new(scope.collection());
        if let Doomed::Recipe(recipe) = doomed
            && is_only_recipe(&snapshot, &keys, version.id, recipe).await?
        {
            return delete(scope, reference).await;
        }
        let Some(next) = next_doomed(&view, &snapshot, &keys, &version, doomed).await? else {
            return match is_found {
                true => Ok(()),
                false => Err(missing(format_args!("{reference}: {doomed}"))),
            };
        };
        is_found = true;
        delete_some(scope, reference, &next).await?;
    }
}

async fn is_only_recipe(
    snapshot: &Snapshot,
    keys: &Keys,
    version: u64,
    recipe: &Revision,
) -> Result<bool, ApiError> {
    let order = keys.order(version);
    let scan = Scan::of(&order).prefix(line_prefix(&Line::Recipe)).limit(2);
    let recipes = snapshot.scan(scan).await?;
    Ok(matches!(recipes.as_slice(), [only] if only.value == recipe.as_str().as_bytes()))
}

impl std::fmt::Display for Doomed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recipe(recipe) => write!(f, "#{recipe}"),
            Self::Packages(recipe) => write!(f, "packages of #{recipe}"),
            Self::Package(line) => write!(f, "package {}", line.key()),
            Self::Revised(revised) => write!(f, "{revised}"),
        }
    }
}

/// Some revision that is to be deleted; those whose files are left of a deletion that broke off are
/// among them.
async fn next_doomed(
    view: &View<'_>,
    snapshot: &Snapshot,
    keys: &Keys,
    version: &Version,
    doomed: &Doomed,
) -> Result<Option<Revised>, ApiError> {
    let (prefix, folder) = match doomed {
        Doomed::Recipe(recipe) | Doomed::Packages(recipe) => {
            let prefix = packages_prefix(recipe).into_bytes();
            (prefix, format!("{recipe}/package/"))
        }
        Doomed::Package(Line::Package { recipe, id }) => {
            let line = Line::Package {
                recipe: recipe.clone(),
                id: id.clone(),
            };
            (line_prefix(&line), format!("{recipe}/package/{id}/"))
        }
        Doomed::Package(Line::Recipe) => return Ok(None),
        Doomed::Revised(revised) => {
            let record = snapshot.get(&keys.revision(version.id, revised)).await?;
            let files = view.files_below(version, &revised.folder(), None, 1).await?;
            let is_there = record.is_some() || !files.is_empty();
            return Ok(is_there.then(|| revised.clone()));
        }
    };
    let revisions = keys.revisions(version.id);
    let scan = Scan::of(&revisions).prefix(prefix).limit(1);
    if let Some(entry) = snapshot.scan(scan).await?.pop() {
        return Ok(revised_of(&entry.item));
    }
    if let Some(file) = view.files_below(version, &folder, None, 1).await?.pop() {
        return Ok(Revised::of_file(&file.name).map(|(revised, _)| revised));
    }
    match doomed {
        Doomed::Recipe(recipe) => {
            let recipe = Doomed::Revised(Line::Recipe.at(recipe.clone()));
            Box::pin(next_doomed(view, snapshot, keys, version, &recipe)).await
        }
        _ => Ok(None),
    }
}

/// Deletes a revision, or some of its files if there are many: nobody finds the rest.
async fn delete_some(scope: &Scope, reference: &Reference, revised: &Revised) -> Result<(), ApiError> {
    let keys = Keys::new(scope.collection());
    scope
        .transact(async |mut txn: Txn| {
            let snapshot = txn.snapshot().clone();
            let mut edit = Edit::new(scope, &mut txn);
            let Some(mut opened) = Opened::find(&mut edit, reference).await? else {
                return Ok((txn, ()));
            };
            if let (Line::Recipe, recipe) = (&revised.line, &revised.revision) {
                let revisions = keys.revisions(opened.version.id);
                let scan = Scan::of(&revisions).prefix(packages_prefix(recipe)).limit(1);
                if !edit.txn().scan(scan).await?.is_empty() {
                    // One that was just published; it is next.
                    return Ok((txn, ()));
                }
            }
            let at_us = opened.forget(&mut edit, revised).await?;
            let view = View::at(scope, &snapshot);
            let files = view
                .files_below(&opened.version, &revised.folder(), None, STEP)
                .await?;
            for file in files {
                // As the transaction sees it.
                let Some(file) = edit.file(&opened.version, &file.name).await? else {
                    continue;
                };
                edit.delete_file(&opened.version, &file).await?;
                keep_time(&mut edit, &file.name, at_us)?;
            }
            Ok((txn, ()))
        })
        .await
}

/// Leaves the time of a revision with its manifest, which was deleted last.
fn keep_time(edit: &mut Edit<'_>, file: &str, at_us: Option<u64>) -> Result<(), ApiError> {
    let is_manifest = Revised::of_file(file).is_some_and(|(_, path)| path == MANIFEST);
    if let (true, Some(at_us)) = (is_manifest, at_us) {
        edit.keep(record::encode(&Kept::Revision(at_us)))?;
    }
    Ok(())
}

/// Lets go of files of a revision that clients know nothing of, as part of replacing it.
pub(super) async fn remove_files(
    scope: &Scope,
    reference: &Reference,
    revised: &Revised,
    paths: &[FilePath],
) -> Result<(), ApiError> {
    let policy = scope
        .duplicates(DuplicatePolicy::Replace)
        .await?
        .of(reference.name(), &reference.version());
    if !policy.allows_other_content() {
        return Err(ApiError::conflict(format!("{reference} is not to be changed")));
    }
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let opened = Opened::find(&mut edit, reference).await?;
            let opened = opened.ok_or_else(|| missing(reference))?;
            for path in paths {
                let name = format!("{}{path}", revised.folder());
                if let Some(file) = edit.file(&opened.version, &name).await? {
                    edit.delete_file(&opened.version, &file).await?;
                }
            }
            Ok((txn, ()))
        })
        .await
}

/// Deletes a version as part of a transaction. What is kept about it stays for as long as it can be put
/// back.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &Version,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    let reference = Reference::stored(&package.name, &version.version)?;
    edit.txn().delete(&keys.reference(&reference));
    edit.delete_version(package, version).await?;
    if !edit.keep(record::encode(&Kept::Version(version.id)))? {
        let scope = edit.scope();
        scope.order_removal(edit.txn(), version.id).await?;
    }
    Ok(())
}

/// Lets a version that was put back be found.
pub(super) async fn restore_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: Version,
) -> Result<(), ApiError> {
    let opened = Opened::new(edit, package, version);
    let order = opened.keys.order(opened.version.id);
    let scan = Scan::of(&order).prefix(line_prefix(&Line::Recipe)).limit(1);
    if !edit.txn().scan(scan).await?.is_empty() {
        let reference = Reference::stored(&opened.package.name, &opened.version.version)?;
        let key = opened.keys.reference(&reference);
        edit.txn().put(&key, "");
    }
    Ok(())
}

/// Mends what is kept about a file that a transaction has deleted: without its manifest, a revision is not
/// there.
pub(super) async fn forget_file(
    edit: &mut Edit<'_>,
    package: Package,
    version: Version,
    file: &File,
) -> Result<(), ApiError> {
    let Some((revised, path)) = Revised::of_file(&file.name) else {
        return Ok(());
    };
    // Nothing is kept about an older file of a name that is there.
    if edit.file(&version, &file.name).await?.is_some() {
        return Ok(());
    }
    let mut opened = Opened::new(edit, package, version);
    match path {
        MANIFEST => {
            let at_us = opened.forget(edit, &revised).await?;
            keep_time(edit, &file.name, at_us)
        }
        INFO => note_info(edit, &opened, &revised, "").await,
        _ => Ok(()),
    }
}

/// Mends what is kept about a file that was put back.
pub(super) async fn restore_file(
    edit: &mut Edit<'_>,
    package: Package,
    version: Version,
    file: &File,
    kept: &Bytes,
) -> Result<(), ApiError> {
    let Some((revised, path)) = Revised::of_file(&file.name) else {
        return Ok(());
    };
    let opened = Opened::new(edit, package, version);
    match path {
        MANIFEST => opened.revive(edit, &revised, kept).await,
        INFO => {
            let content = String::from_utf8_lossy(&file.metadata);
            note_info(edit, &opened, &revised, &content).await
        }
        _ => Ok(()),
    }
}

/// Lets go of what was kept about something that is not put back.
pub(super) async fn discard(mut discarded: Discarded<'_>) -> Result<(), ApiError> {
    if !discarded.kept.is_empty()
        && let Kept::Version(version) = decode(discarded.kept)?
    {
        discarded.order_removal(version).await?;
    }
    Ok(())
}

/// Takes apart a piece of an upload that was not completed, of what was kept about a version, or, in a
/// project that was deleted, of everything.
pub(super) async fn remove(mut removal: Removal<'_>) -> Result<Progress, ApiError> {
    let keys = Keys::new(removal.records.clone());
    match removal.part {
        Some(number) if number >= UPLOAD => remove_upload(&mut removal, &keys, number).await,
        Some(version) => remove_version(removal.txn, &keys, version).await,
        None => {
            for (all, is_of_uploads) in [(keys.uploads(), true), (keys.versions(), false)] {
                let Some(entry) = removal.txn.scan(Scan::of(&all).limit(1)).await?.pop() else {
                    continue;
                };
                let number = entry.item.as_ref().try_into().map_or(0, u64::from_be_bytes);
                match is_of_uploads {
                    true => remove_upload(&mut removal, &keys, number).await?,
                    false => remove_version(removal.txn, &keys, number).await?,
                };
                return Ok(Progress::More);
            }
            let references = keys.references();
            let found = removal.txn.scan(Scan::of(&references).limit(STEP)).await?;
            for entry in &found {
                removal.txn.delete(&references.key(&entry.item));
            }
            removal.txn.delete(&keys.uploads_count());
            Ok(match found.is_empty() {
                true => Progress::Done,
                false => Progress::More,
            })
        }
    }
}

async fn remove_upload(removal: &mut Removal<'_>, keys: &Keys, number: u64) -> Result<Progress, ApiError> {
    let Removal {
        txn, blobs, space, ..
    } = removal;
    let staged = keys.all_staged(number);
    let found = txn.scan(Scan::of(&staged).limit(STEP)).await?;
    for entry in &found {
        let (key, file) = (staged.key(&entry.item), entry.record::<Staged>()?);
        blobs.release(txn, *space, &file.blob, key.as_bytes()).await?;
        txn.delete(&key);
    }
    let upload = keys.uploads().key(number);
    if let Some(name) = txn.get(&upload).await? {
        // From the first piece on, what comes for the revision is a new upload.
        let under_way = keys.all_under_way().key(&name);
        let current: Option<UnderWay> = txn.record(&under_way).await?;
        if current.is_some_and(|current| current.number == number) {
            txn.delete(&under_way);
        }
        if found.len() < STEP {
            txn.delete(&upload);
            txn.add(&keys.uploads_count(), -1);
        }
    }
    Ok(match found.len() {
        STEP.. => Progress::More,
        _ => Progress::Done,
    })
}

async fn remove_version(txn: &mut Txn, keys: &Keys, version: u64) -> Result<Progress, ApiError> {
    for collection in [keys.revisions(version), keys.order(version), keys.infos(version)] {
        let found = txn.scan(Scan::of(&collection).limit(STEP)).await?;
        for entry in &found {
            txn.delete(&collection.key(&entry.item));
        }
        if !found.is_empty() {
            return Ok(Progress::More);
        }
    }
    txn.delete(&keys.versions().key(version));
    Ok(Progress::Done)
}
