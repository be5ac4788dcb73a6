//! What the format keeps, and the transactions that change it.
//!
//! ```text
//! package CANONICAL NAME    metadata: Head           owners, the version that lists show
//!  └ version CANONICAL      metadata: VersionNotes   the line of the index, whether it is yanked
//!     └ file NAME-VERSION.crate   metadata: CrateNotes   the README
//! ```
//!
//! Every change writes the package's record, so two changes of one crate never miss each other.

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{ReadError, StoredBlob};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::document::{About, Publication, Readme};
use super::head::{Head, Top};
use super::index::Fragment;
use super::names::{CrateName, Version};
use super::receive::Received;
use crate::formats::owners::OwnersError;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::package::{self, Edit, FilePut, NewFile, NewVersion, Package, Reuse, Status, View};
use crate::registry::settings::DuplicatePolicy;

/// How many versions are read at a time.
pub(super) const PAGE: usize = 64;

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    /// The version with its build metadata.
    pub(super) version: Version,
    pub(super) fragment: Fragment,
    pub(super) yanked: bool,
    pub(super) about: About,
    /// Of the crate, in bytes.
    pub(super) size_bytes: u64,
}

impl Record for VersionNotes {}

/// What the format keeps in the record of a crate's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CrateNotes {
    pub(super) readme: Option<Readme>,
}

impl Record for CrateNotes {}

/// Reads what the format keeps in a record.
pub(super) fn decode<R: Record>(metadata: &Bytes) -> Result<R, ApiError> {
    Ok(record::decode(metadata).map_err(ReadError::from)?)
}

/// Reads the format's part of a package.
pub(super) fn head_of(package: &Package) -> Result<Head, ApiError> {
    Ok(Head::decode(&package.metadata).map_err(ReadError::from)?)
}

/// The name of the file that holds a version.
pub(super) fn file_name(name: &str, version: &Version) -> String {
    format!("{name}-{version}.crate")
}

/// The answer to a crate that is not there.
pub(super) fn no_crate(name: &str) -> ApiError {
    ApiError::not_found(format!("crate `{name:.80}` does not exist"))
}

/// The answer to a version that is not there.
pub(super) fn no_version(name: &str, version: &str) -> ApiError {
    ApiError::not_found(format!(
        "crate `{name:.80}` does not have a version `{version:.130}`"
    ))
}

fn is_published(name: &CrateName, version: &str) -> ApiError {
    ApiError::conflict(format!("crate version `{name} {version}` is already uploaded"))
}

fn was_deleted(name: &CrateName, version: &Version) -> ApiError {
    ApiError::conflict(format!(
        "crate version `{name} {version}` was deleted and cannot be published again"
    ))
}

fn check_spelling(name: &CrateName, package: &Package) -> Result<(), ApiError> {
    if package.display_name != name.as_str() {
        return Err(ApiError::conflict(format!(
            "crate `{name}` was previously named `{}`",
            package.display_name
        )));
    }
    Ok(())
}

/// Refuses what could not be published whatever the crate holds.
pub(super) async fn refuse_early(scope: &Scope, publication: &Publication) -> Result<(), ApiError> {
    let Publication { name, version, .. } = publication;
    scope.refuse_protected(&name.canonical()).await?;
    let view = View::of(scope);
    let canonical = version.canonical();
    let Some(package) = view.package(&name.canonical()).await? else {
        return Ok(name.check_new()?);
    };
    check_spelling(name, &package)?;
    match view.version(&package, &canonical).await? {
        Some(_) => Err(is_published(name, &canonical)),
        None => Ok(()),
    }
}

/// Publishes a version whose crate is stored.
pub(super) async fn publish(scope: &Scope, received: &Received) -> Result<(), ApiError> {
    let Received {
        publication,
        artifact,
    } = received;
    let cksum = HEXLOWER.encode(&artifact.digests().sha256);
    let notes = VersionNotes {
        version: publication.version.clone(),
        fragment: Fragment::of(publication, &cksum),
        yanked: false,
        about: publication.about.clone(),
        size_bytes: artifact.size(),
    };
    scope
        .transact(async |mut txn| {
            commit_to(&mut Edit::new(scope, &mut txn), publication, artifact, &notes).await?;
            Ok((txn, ()))
        })
        .await
}

async fn commit_to(
    edit: &mut Edit<'_>,
    publication: &Publication,
    artifact: &StoredBlob,
    notes: &VersionNotes,
) -> Result<(), ApiError> {
    let Publication { name, version, .. } = publication;
    let key = name.canonical();
    let mut package = match edit.package(&key).await? {
        Some(package) => package,
        None => {
            name.check_new()?;
            edit.claim(&key, name.as_str()).await?
        }
    };
    check_spelling(name, &package)?;
    let canonical = version.canonical();
    if edit.version(&package, &canonical).await?.is_some() {
        return Err(is_published(name, &canonical));
    }
    if edit.was_deleted(&package, &canonical).await? {
        return Err(was_deleted(name, version));
    }
    let new = NewVersion {
        version: canonical,
        status: Status::Default,
        metadata: record::encode(notes),
    };
    let created = edit.create_version(&package, new, Reuse::Refused).await?;
    let file = NewFile {
        name: &file_name(name.as_str(), version),
        blob: artifact,
        metadata: record::encode(&CrateNotes {
            readme: publication.readme.clone(),
        }),
    };
    let put = edit.put_file(&created, file, DuplicatePolicy::Forbid).await?;
    debug_assert!(matches!(put, FilePut::Added(_)), "a new version has no files");
    let mut head = head_of(&package)?;
    if head.owners.is_empty() {
        let creator = edit.scope().caller().user().map(|user| user.id);
        head.owners = creator.into_iter().collect();
    }
    head.offer(top_of(notes));
    save_head(edit, &mut package, head)
}

fn top_of(notes: &VersionNotes) -> Top {
    Top {
        version: notes.version.clone(),
        yanked: notes.yanked,
        about: notes.about.clone(),
    }
}

fn save_head(edit: &mut Edit<'_>, package: &mut Package, mut head: Head) -> Result<(), ApiError> {
    head.updated_at = edit.scope().now();
    package.metadata = head.encode();
    edit.put_package(package)
}

/// Yanks a version, or takes that back. What is so already is left alone.
pub(super) async fn set_yanked(
    scope: &Scope,
    name: &CrateName,
    version: &Version,
    yanked: bool,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_named(&mut edit, name).await?;
            let found = edit.version(&package, &version.canonical()).await?;
            let missing = || no_version(name.as_str(), &version.to_string());
            let mut found = found.ok_or_else(missing)?;
            let mut notes: VersionNotes = decode(&found.metadata)?;
            if !notes.version.is_meant_by(version) {
                return Err(missing());
            }
            if notes.yanked == yanked {
                return Ok((txn, ()));
            }
            notes.yanked = yanked;
            found.metadata = record::encode(&notes);
            found.status = match (found.status, yanked) {
                (Status::Hidden, _) => Status::Hidden,
                (_, true) => Status::Deprecated,
                (_, false) => Status::Default,
            };
            edit.put_version(&package, &found)?;
            let mut head = head_of(&package)?;
            if head.shows(&notes.version) {
                head.top = top_without(&mut edit, &package, &found.version).await?;
            }
            head.offer(top_of(&notes));
            save_head(&mut edit, &mut package, head)?;
            Ok((txn, ()))
        })
        .await
}

async fn package_named(edit: &mut Edit<'_>, name: &CrateName) -> Result<Package, ApiError> {
    let package = edit.package(&name.canonical()).await?;
    package.ok_or_else(|| no_crate(name.as_str()))
}

/// The version to be shown if this one, in its canonical form, did not exist.
async fn top_without(edit: &mut Edit<'_>, package: &Package, without: &str) -> Result<Option<Top>, ApiError> {
    let snapshot = edit.txn().snapshot().clone();
    let view = View::at(edit.scope(), &snapshot);
    let (mut top, mut after): (Option<Top>, Option<String>) = (None, None);
    loop {
        let page = view.versions(package, after.as_deref(), PAGE).await?;
        for version in page.iter().filter(|version| version.version != without) {
            top = Some(top_of(&decode(&version.metadata)?).or(top));
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.version.clone()),
            _ => return Ok(top),
        }
    }
}

/// Removes a version, as the REST API does. The name of its crate stays taken.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    mut package: Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    edit.delete_version(&package, version).await?;
    let mut head = head_of(&package)?;
    let notes: VersionNotes = decode(&version.metadata)?;
    if head.shows(&notes.version) {
        head.top = top_without(edit, &package, &version.version).await?;
    }
    save_head(edit, &mut package, head)
}

/// Shows a version again that was put back.
pub(super) fn restore_version(
    edit: &mut Edit<'_>,
    mut package: Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    let mut head = head_of(&package)?;
    head.offer(top_of(&decode(&version.metadata)?));
    save_head(edit, &mut package, head)
}

/// Changes the owners of a crate.
pub(super) async fn change_owners(
    scope: &Scope,
    name: &CrateName,
    change: impl Fn(&mut Head) -> Result<(), OwnersError>,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_named(&mut edit, name).await?;
            let mut head = head_of(&package)?;
            change(&mut head).map_err(|error| ApiError::new(ErrorKind::Unprocessable, error.to_string()))?;
            package.metadata = head.encode();
            edit.put_package(&package)?;
            Ok((txn, ()))
        })
        .await
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::VersionNotes>("cargo-version-notes");
        samples::check::<super::CrateNotes>("cargo-crate-notes");
    }
}
