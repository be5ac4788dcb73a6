//! The transactions: publishing a file, listing a version, deleting.
//!
//! A file becomes visible together with what metadata say of it. Files of one version come one by one, and nothing
//! tells the last, so a version is listed when there is something in it that clients can begin with.

use bytes::Bytes;
use cairn_cluster::{Key, Scan, StoredBlob, Timestamp, Txn};

use super::NAME;
use super::jar::Nature;
use super::names::{Artifact, Build, Coordinates, Kind, PackageName, Target};
use super::records::{Keys, Line, Newest, Plugin, prefixed};
use crate::auth::{Authorised, Delete, Publish};
use crate::formats::{Progress, Removal};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{
    Edit, File, FilePut, NewFile, NewVersion, Package, Reuse, Status, Version, View,
};
use crate::registry::project::Project;
use crate::registry::settings::{DuplicatePolicy, Duplicates};

/// What a project does unless it or a group above it says otherwise: releases do not change, and a client that
/// repeats an upload whose answer was lost is not told off.
pub(super) const DEFAULT_DUPLICATES: DuplicatePolicy = DuplicatePolicy::ForbidSameContentOk;

/// The most classifiers and extensions of one snapshot: what a transaction on all of them can bear.
const MAX_KINDS: usize = 500;

/// How many items one transaction removes, or reads at a time.
const STEP: usize = 500;

/// What is left with a deleted version that was listed.
const LISTED: &[u8] = b"listed";

/// What must hold for a file to be published.
pub(super) struct Demands {
    duplicates: Duplicates,
    reuse: Reuse,
}

impl Demands {
    /// What a project demands of the caller.
    pub(super) async fn of(project: &Authorised<Project, Publish>) -> Result<Self, ApiError> {
        Ok(Self {
            duplicates: project.scope(NAME).duplicates(DEFAULT_DUPLICATES).await?,
            // Whoever may delete a version may also bring it back, with any content.
            reuse: match project.may::<Delete>().await? {
                true => Reuse::Allowed,
                false => Reuse::Refused,
            },
        })
    }

    fn reuse(&self, coordinates: &Coordinates) -> Reuse {
        match coordinates.is_snapshot() {
            true => Reuse::Allowed,
            false => self.reuse,
        }
    }

    /// Refuses, by what is known before its bytes are there, a file that other content is in the place of.
    pub(super) fn check(
        &self,
        coordinates: &Coordinates,
        present: &File,
        length: Option<u64>,
    ) -> Result<(), ApiError> {
        match policy(coordinates, &self.duplicates) {
            DuplicatePolicy::Forbid => Err(duplicate(coordinates)),
            DuplicatePolicy::ForbidSameContentOk if length.is_some_and(|length| length != present.size) => {
                Err(duplicate(coordinates))
            }
            _ => Ok(()),
        }
    }
}

/// What happens if there is a file of this name already.
pub(super) fn policy(coordinates: &Coordinates, duplicates: &Duplicates) -> DuplicatePolicy {
    match coordinates.is_changing() {
        true => DuplicatePolicy::Replace,
        false => duplicates.of(coordinates.package.as_str(), &coordinates.version),
    }
}

fn duplicate(coordinates: &Coordinates) -> ApiError {
    ApiError::conflict(format!(
        "{} is published already, with other content; raise the version",
        coordinates.file
    ))
}

/// A file whose bytes are stored.
pub(super) struct Publication<'a> {
    pub(super) coordinates: &'a Coordinates,
    pub(super) blob: &'a StoredBlob,
    pub(super) nature: &'a Nature,
    pub(super) demands: &'a Demands,
}

/// What publishing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The file is there now.
    Created,
    /// There was one before: another one, or the same.
    Replaced,
}

/// Publishes a file.
pub(super) async fn publish(scope: &Scope, publication: &Publication<'_>) -> Result<Published, ApiError> {
    scope
        .transact(async |mut txn| {
            let published = publication.commit_to(scope, &mut txn).await?;
            Ok((txn, published))
        })
        .await
}

impl Publication<'_> {
    async fn commit_to(&self, scope: &Scope, txn: &mut Txn) -> Result<Published, ApiError> {
        let (coordinates, keys) = (self.coordinates, Keys::new(scope.collection()));
        let mut edit = Edit::new(scope, txn);
        let name = coordinates.package.as_str();
        let package = edit.claim(name, name).await?;
        let version = match edit.version(&package, &coordinates.version).await? {
            Some(version) => version,
            None => {
                let new = NewVersion {
                    version: coordinates.version.clone(),
                    status: Status::Default,
                    metadata: Bytes::new(),
                };
                edit.txn().put(&keys.packages().key(package.key), "");
                edit.create_version(&package, new, self.demands.reuse(coordinates))
                    .await?
            }
        };
        let was_there = edit.file(&version, &coordinates.file).await?.is_some();
        let new = NewFile {
            name: &coordinates.file,
            blob: self.blob,
            metadata: Bytes::new(),
        };
        let duplicates = policy(coordinates, &self.demands.duplicates);
        if let FilePut::Refused(_) = edit.put_file(&version, new, duplicates).await? {
            return Err(duplicate(coordinates));
        }
        let at = scope.now();
        if coordinates.is_descriptor() {
            list(edit.txn(), &keys, &package, &coordinates.version, at).await?;
        }
        if let Some(newest) = newest(coordinates, at) {
            note_newest(edit.txn(), &keys, &package, &coordinates.version, newest).await?;
        }
        self.note_nature(edit.txn(), &keys).await?;
        Ok(match was_there {
            true => Published::Replaced,
            false => Published::Created,
        })
    }

    async fn note_nature(&self, txn: &mut Txn, keys: &Keys) -> Result<(), ApiError> {
        let package = &self.coordinates.package;
        match self.nature {
            Nature::Library => {}
            Nature::Archetype => {
                let key = keys.archetype(package);
                if txn.get(&key).await?.is_none() {
                    txn.put(&key, "");
                }
            }
            Nature::Plugin { prefix, name } => {
                let plugin = Plugin {
                    artifact: package.group_and_artifact().1.into(),
                    prefix: prefix.clone(),
                    name: name.clone(),
                };
                let key = keys.plugin(package);
                if txn.record::<Plugin>(&key).await?.as_ref() != Some(&plugin) {
                    txn.put_record(&key, &plugin);
                }
            }
        }
        Ok(())
    }
}

/// Lets metadata list a version.
async fn list(
    txn: &mut Txn,
    keys: &Keys,
    package: &Package,
    version: &str,
    at: Timestamp,
) -> Result<(), ApiError> {
    let key = keys.line(package.key, version);
    if txn.get(&key).await?.is_none() {
        let line = Line {
            version: version.into(),
            at,
        };
        txn.put_record(&key, &line);
    }
    Ok(())
}

/// What metadata say of a file, if it belongs to a snapshot and they say anything.
fn newest(coordinates: &Coordinates, at: Timestamp) -> Option<Newest> {
    match &coordinates.kind {
        Kind::Maven(Artifact {
            classifier,
            extension,
            ..
        }) if coordinates.is_snapshot() => Some(Newest {
            extension: extension.clone(),
            classifier: classifier.clone(),
            value: coordinates.value(),
            at,
        }),
        _ => None,
    }
}

/// Whether a file takes the place of another one in the metadata of a snapshot. Of two builds the later does, in
/// whatever order they come; what is not named after a build does so by coming.
pub(super) fn supersedes(version: &str, new: &Newest, old: &Newest) -> bool {
    let build = |newest: &Newest| Build::of_value(version, &newest.value);
    match (build(new), build(old)) {
        (Some(new), Some(old)) => new >= old,
        _ => new.at >= old.at,
    }
}

async fn note_newest(
    txn: &mut Txn,
    keys: &Keys,
    package: &Package,
    version: &str,
    newest: Newest,
) -> Result<(), ApiError> {
    let key = keys.build(
        package.key,
        version,
        &newest.extension,
        newest.classifier.as_deref(),
    );
    match txn.record::<Newest>(&key).await? {
        Some(old) if !supersedes(version, &newest, &old) => return Ok(()),
        Some(_) => {}
        None => {
            let prefix = prefixed(version, "");
            let builds = keys.builds(package.key);
            let others = Scan::of(&builds).prefix(prefix).limit(MAX_KINDS);
            if txn.scan(others).await?.len() >= MAX_KINDS {
                return Err(ApiError::bad_request(format!(
                    "{} {version} has files of {MAX_KINDS} classifiers and extensions already",
                    package.name
                )));
            }
        }
    }
    txn.put_record(&key, &newest);
    Ok(())
}

/// Lists those of some versions that are there and not listed yet: a client that has published all files of one
/// says so by the metadata that it sends.
pub(super) async fn list_complete(
    scope: &Scope,
    name: &PackageName,
    versions: &[String],
) -> Result<(), ApiError> {
    let (view, keys) = (View::of(scope), Keys::new(scope.collection()));
    let Some(package) = view.package(name.as_str()).await? else {
        return Ok(());
    };
    let mut unlisted = Vec::new();
    for version in versions {
        let key = keys.line(package.key, version);
        if view.version(&package, version).await?.is_some() && scope.snapshot().get(&key).await?.is_none() {
            unlisted.push(version);
        }
    }
    if unlisted.is_empty() {
        return Ok(());
    }
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let package = edit.package(name.as_str()).await?;
            if let Some(package) = package {
                for version in &unlisted {
                    if edit.version(&package, version).await?.is_some() {
                        list(edit.txn(), &keys, &package, version, scope.now()).await?;
                    }
                }
            }
            Ok((txn, ()))
        })
        .await
}

/// The answer to what is not there.
pub(super) fn missing(what: impl std::fmt::Display) -> ApiError {
    ApiError::not_found(format!("{what} is not in this repository"))
}

/// Deletes a file; its version stays.
pub(super) async fn delete_file(scope: &Scope, coordinates: &Coordinates) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let gone = || missing(coordinates);
            let package = edit
                .package(coordinates.package.as_str())
                .await?
                .ok_or_else(gone)?;
            let version = edit.version(&package, &coordinates.version).await?;
            let version = version.ok_or_else(gone)?;
            let file = edit.file(&version, &coordinates.file).await?.ok_or_else(gone)?;
            edit.delete_file(&version, &file).await?;
            file_deleted(&mut edit, &package, &version, &file).await?;
            Ok((txn, ()))
        })
        .await
}

/// Deletes a version with its files, if it is there.
pub(super) async fn delete_version_named(
    scope: &Scope,
    name: &PackageName,
    version: &str,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            if let Some(package) = edit.package(name.as_str()).await?
                && let Some(version) = edit.version(&package, version).await?
            {
                delete_version(&mut edit, package, version).await?;
            }
            Ok((txn, ()))
        })
        .await
}

/// Deletes a package with its versions, if it is there. That it is a plugin or an archetype is not forgotten: it says
/// nothing as long as there are no versions, and they may be restored.
pub(super) async fn delete_package(scope: &Scope, name: &str) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            if let Some(package) = edit.package(name).await? {
                scope.order_removal(edit.txn(), package.key).await?;
                edit.delete_package(package).await?;
            }
            Ok((txn, ()))
        })
        .await
}

/// Deletes a version as part of a transaction.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: Version,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    edit.delete_version(&package, &version).await?;
    let line = keys.line(package.key, &version.version);
    if edit.txn().get(&line).await?.is_some() {
        edit.keep(Bytes::from_static(LISTED))?;
        edit.txn().delete(&line);
    }
    forget_builds(edit.txn(), &keys, &package, &version.version).await
}

async fn forget_builds(txn: &mut Txn, keys: &Keys, package: &Package, version: &str) -> Result<(), ApiError> {
    let builds = keys.builds(package.key);
    let of_version = Scan::of(&builds).prefix(prefixed(version, "")).limit(MAX_KINDS);
    for entry in txn.scan(of_version).await? {
        txn.delete(&builds.key(&entry.item));
    }
    Ok(())
}

/// Mends what metadata say when a transaction has deleted a file.
pub(super) async fn file_deleted(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &Version,
    file: &File,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    // The one that was deleted is still among them.
    if edit.files(version, None, 2).await?.len() < 2 {
        edit.txn().delete(&keys.line(package.key, &version.version));
    }
    let Some(coordinates) = coordinates(package, version, &file.name) else {
        return Ok(());
    };
    if let Some(newest) = newest(&coordinates, file.created_at) {
        let key = keys.build(
            package.key,
            &version.version,
            &newest.extension,
            newest.classifier.as_deref(),
        );
        let said: Option<Newest> = edit.txn().record(&key).await?;
        if said.is_some_and(|said| said.value == newest.value) {
            return mend(edit, package, version, Change::Deleted(file)).await;
        }
    }
    Ok(())
}

/// Says again in metadata what was deleted and put back: a file, or a version that may have been listed.
pub(super) async fn restored(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &Version,
    file: Option<&File>,
    kept: &Bytes,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    edit.txn().put(&keys.packages().key(package.key), "");
    if kept == LISTED {
        list(edit.txn(), &keys, package, &version.version, version.created_at).await?;
    }
    mend(
        edit,
        package,
        version,
        file.map_or(Change::None, Change::Restored),
    )
    .await
}

/// What a transaction has done to the files of a version, which they do not show before it is committed.
#[derive(Clone, Copy)]
enum Change<'a> {
    None,
    Deleted(&'a File),
    Restored(&'a File),
}

/// Makes what metadata say of a version anew, from its files.
async fn mend(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &Version,
    change: Change<'_>,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    forget_builds(edit.txn(), &keys, package, &version.version).await?;
    let mut mended = Mended::default();
    if let Change::Restored(file) = change {
        mended.add(&keys, package, version, file);
    }
    let mut after = None;
    loop {
        let files = edit.files(version, after.as_deref(), STEP).await?;
        for file in &files {
            if !matches!(change, Change::Deleted(deleted) if deleted.name == file.name) {
                mended.add(&keys, package, version, file);
            }
        }
        match files.last() {
            Some(last) if files.len() == STEP => after = Some(last.name.clone()),
            _ => break,
        }
    }
    for (key, newest) in &mended.newest {
        edit.txn().put_record(key, newest);
    }
    if mended.is_listed {
        list(edit.txn(), &keys, package, &version.version, version.created_at).await?;
    }
    Ok(())
}

/// What metadata say of a version, in the making.
#[derive(Default)]
struct Mended {
    is_listed: bool,
    newest: Vec<(Key, Newest)>,
}

impl Mended {
    fn add(&mut self, keys: &Keys, package: &Package, version: &Version, file: &File) {
        let Some(coordinates) = coordinates(package, version, &file.name) else {
            return;
        };
        self.is_listed |= coordinates.is_descriptor();
        let Some(newest) = newest(&coordinates, file.created_at) else {
            return;
        };
        let classifier = newest.classifier.as_deref();
        let key = keys.build(package.key, &version.version, &newest.extension, classifier);
        match self.newest.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) if supersedes(&version.version, &newest, old) => *old = newest,
            Some(_) => {}
            None => self.newest.push((key, newest)),
        }
    }
}

fn coordinates(package: &Package, version: &Version, file: &str) -> Option<Coordinates> {
    let path = format!("{}/{}/{file}", package.name, version.version);
    match path.parse() {
        Ok(Target::File(coordinates)) => Some(coordinates),
        _ => None,
    }
}

/// Takes apart a piece of what the format keeps: of a deleted package, or of a deleted project.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal {
        txn, records, part, ..
    } = removal;
    let keys = Keys::new(records);
    let packages = keys.packages();
    let package = match part {
        Some(package) => Some(package),
        None => {
            let found = txn.scan(Scan::of(&packages).limit(1)).await?.pop();
            found.and_then(|entry| entry.item.as_ref().try_into().ok().map(u64::from_be_bytes))
        }
    };
    let collections = match package {
        Some(package) => [keys.lines(package), keys.builds(package)],
        None => [keys.plugins(), keys.archetypes()],
    };
    for collection in collections {
        let found = txn.scan(Scan::of(&collection).limit(STEP)).await?;
        for entry in &found {
            txn.delete(&collection.key(&entry.item));
        }
        if found.len() == STEP {
            return Ok(Progress::More);
        }
    }
    if let Some(package) = package {
        txn.delete(&packages.key(package));
    }
    Ok(match (part, package) {
        (None, Some(_)) => Progress::More,
        _ => Progress::Done,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_build_is_the_newest_in_whatever_order_they_come() {
        let newest = |value: &str, at| Newest {
            extension: "jar".into(),
            classifier: None,
            value: value.into(),
            at: Timestamp(at),
        };
        for (new, old, expected) in [
            (
                newest("1-20260701.120000-2", 5),
                newest("1-20260701.110000-1", 9),
                true,
            ),
            (
                newest("1-20260701.110000-1", 9),
                newest("1-20260701.120000-2", 5),
                false,
            ),
            (
                newest("1-20260701.120000-10", 1),
                newest("1-20260701.120000-9", 2),
                true,
            ),
            (newest("1-SNAPSHOT", 9), newest("1-20260701.120000-2", 5), true),
            (newest("1-SNAPSHOT", 4), newest("1-20260701.120000-2", 5), false),
            (newest("1-20260701.120000-2", 6), newest("1-SNAPSHOT", 5), true),
        ] {
            assert_eq!(supersedes("1-SNAPSHOT", &new, &old), expected, "{new:?} {old:?}");
        }
    }
}
