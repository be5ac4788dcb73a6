//! The transactions: publishing a version, deleting it, and what is said of packages besides.

use bytes::Bytes;
use cairn_cluster::record;
use cairn_cluster::{Scan, StoredBlob, Txn};
use data_encoding::HEXLOWER;

use super::NAME;
use super::index;
use super::manifest::{Abandoned, Manifest};
use super::names::PackageName;
use super::records::{Advisory, Head, Keys, Latest, Stamp, VersionNotes, decode, file_name};
use super::versions::{Rank, Version};
use crate::auth::{Authorised, Delete, Publish};
use crate::formats::{Progress, Removal, advisories};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{
    self, Edit, File, FilePut, NewFile, NewVersion, Package, Reuse, Status, View,
};
use crate::registry::project::Project;
use crate::registry::settings::{DuplicatePolicy, Duplicates};

/// What a project does unless it or a group above it says otherwise: a version stays what it is, and a client that
/// repeats a publish whose answer was lost is not told off.
pub(super) const DEFAULT_DUPLICATES: DuplicatePolicy = DuplicatePolicy::ForbidSameContentOk;

/// How many versions are read at a time.
const PAGE: usize = 200;

/// How many records one transaction removes.
const STEP: usize = 256;

/// The answer to what is not here: Composer asks the next repository.
pub(super) fn missing(what: impl std::fmt::Display) -> ApiError {
    ApiError::not_found(format!("404 Not Found: {what} is not here"))
}

/// What is to be published.
pub(super) struct Publication {
    pub(super) manifest: Manifest,
    pub(super) version: Version,
    /// Whether it is said to be of the branch that the package is developed on.
    pub(super) is_default_branch: bool,
}

impl Publication {
    /// The version is said by the archive or by the request, and by both alike.
    pub(super) fn of(
        mut manifest: Manifest,
        asked: Option<Version>,
        is_default_branch: bool,
    ) -> Result<Self, ApiError> {
        let version = match (manifest.version.take(), asked) {
            (Some(said), Some(asked)) if said.normalized() != asked.normalized() => {
                return Err(ApiError::bad_request(format!(
                    "the composer.json of the package has the version {said}, and the request {asked}"
                )));
            }
            (_, Some(version)) | (Some(version), None) => version,
            (None, None) => {
                return Err(ApiError::bad_request(
                    "neither the composer.json of the package nor the request has a version; \
                     add ?version=1.2.3 to the URL, or ?version=dev-NAME for a branch",
                ));
            }
        };
        if is_default_branch && !version.is_dev() {
            return Err(ApiError::bad_request(format!("{version} is not of a branch")));
        }
        Ok(Self {
            manifest,
            version,
            is_default_branch,
        })
    }
}

/// What publishing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The version is there now.
    Created,
    /// It was there, and has this content now.
    Changed,
    /// It was there with the same content: the client repeats a request.
    Unchanged,
}

/// A publication whose archive is stored, and what the project says of such.
struct Prepared<'a> {
    publication: &'a Publication,
    archive: &'a StoredBlob,
    notes: VersionNotes,
    duplicates: Duplicates,
    may_delete: bool,
}

/// Publishes a version whose archive is stored.
pub(super) async fn publish(
    project: &Authorised<Project, Publish>,
    publication: &Publication,
    archive: &StoredBlob,
) -> Result<(Published, String), ApiError> {
    let scope = project.scope(NAME);
    let Publication {
        manifest, version, ..
    } = publication;
    let reference = archive.digests().sha1.map(|sha1| HEXLOWER.encode(&sha1));
    let reference = reference.unwrap_or_default();
    let prepared = Prepared {
        notes: VersionNotes {
            version: version.clone(),
            reference: reference.clone(),
            document: index::document(manifest, version, scope.now()),
            abandoned: manifest.abandoned.clone(),
            lacks_archive: false,
        },
        duplicates: scope.duplicates(DEFAULT_DUPLICATES).await?,
        // Whoever may delete a version may also bring it back, with any content.
        may_delete: project.may::<Delete>().await?,
        publication,
        archive,
    };
    let published = scope
        .transact(async |mut txn: Txn| {
            let published = prepared.commit_to(&mut Edit::new(&scope, &mut txn)).await?;
            Ok((txn, published))
        })
        .await?;
    Ok((published, reference))
}

impl Prepared<'_> {
    async fn commit_to(&self, edit: &mut Edit<'_>) -> Result<Published, ApiError> {
        let name = &self.publication.manifest.name;
        let canonical = self.notes.version.canonical();
        let mut package = edit.claim(name.as_str(), name.as_str()).await?;
        let mut head = Head::of(&package)?;
        let found = edit.version(&package, &canonical).await?;
        let (published, mut version) = match found {
            None => (Published::Created, self.create(edit, &package, &canonical).await?),
            Some(version) => (self.judge(&decode(&version.metadata)?)?, version),
        };
        let is_default = self.publication.is_default_branch;
        let moves_default = is_default && head.default_branch.as_ref() != Some(&canonical);
        if published == Published::Unchanged && !moves_default {
            return Ok(published);
        }
        if published != Published::Unchanged {
            let new = NewFile {
                name: &file_name(&self.notes.reference),
                blob: self.archive,
                metadata: Bytes::new(),
            };
            // Two archives of one SHA-1 were made to deceive somebody.
            if let FilePut::Refused(_) = edit
                .put_file(&version, new, DuplicatePolicy::ForbidSameContentOk)
                .await?
            {
                return Err(ApiError::conflict(format!(
                    "{name} {canonical} had another archive of the SHA-1 {}",
                    self.notes.reference
                )));
            }
            version.metadata = record::encode(&self.notes);
            edit.put_version(&package, &version)?;
            if head.shows(&canonical) {
                head.latest = latest_without(edit, &package, &canonical).await?;
            }
            head.offer(self.notes.latest());
        }
        if is_default {
            head.default_branch = Some(canonical);
        }
        save(edit, &mut package, head)?;
        note_vendor(edit, name).await?;
        Ok(published)
    }

    async fn create(
        &self,
        edit: &mut Edit<'_>,
        package: &Package,
        canonical: &str,
    ) -> Result<package::Version, ApiError> {
        let new = NewVersion {
            version: canonical.to_owned(),
            status: Status::Default,
            metadata: record::encode(&self.notes),
        };
        let moves = self.notes.version.is_dev() || self.may_delete;
        let reuse = if moves { Reuse::Allowed } else { Reuse::Refused };
        edit.create_version(package, new, reuse).await
    }

    /// What happens to a version that is there.
    fn judge(&self, present: &VersionNotes) -> Result<Published, ApiError> {
        let Self {
            notes, publication, ..
        } = self;
        let name = &publication.manifest.name;
        let is_same = present.reference == notes.reference;
        let policy = self.duplicates.of(name.as_str(), &notes.version.canonical());
        let is_taken = notes.version.is_dev()
            || policy.allows_other_content()
            || (is_same && policy == DuplicatePolicy::ForbidSameContentOk);
        match is_taken {
            true if is_same && !present.lacks_archive => Ok(Published::Unchanged),
            true => Ok(Published::Changed),
            false => Err(ApiError::conflict(format!(
                "{name} {} exists already, and what was published stays; publish another version",
                present.version
            ))),
        }
    }
}

/// Writes the head of a package whose documents change.
fn save(edit: &mut Edit<'_>, package: &mut Package, mut head: Head) -> Result<(), ApiError> {
    head.changed = head.changed.next(edit.scope().now());
    package.metadata = record::encode(&head);
    edit.put_package(package)
}

/// Notes that there are packages of this vendor.
async fn note_vendor(edit: &mut Edit<'_>, name: &PackageName) -> Result<(), ApiError> {
    let (keys, now) = (Keys::new(edit.scope().collection()), edit.scope().now());
    let vendor = keys.vendors().key(name.vendor());
    if edit.txn().get(&vendor).await?.is_some() {
        return Ok(());
    }
    edit.txn().put(&vendor, "");
    let changed: Option<Stamp> = edit.txn().record(&keys.vendors_changed()).await?;
    let changed = changed.unwrap_or_default().next(now);
    edit.txn().put_record(&keys.vendors_changed(), &changed);
    Ok(())
}

/// The version that would stand for a package if this one were not there.
async fn latest_without(
    edit: &mut Edit<'_>,
    package: &Package,
    canonical: &str,
) -> Result<Option<Latest>, ApiError> {
    let snapshot = edit.txn().snapshot().clone();
    let view = View::at(edit.scope(), &snapshot);
    let (mut best, mut after): (Option<(Rank, VersionNotes)>, Option<String>) = (None, None);
    loop {
        let page = view.versions(package, after.as_deref(), PAGE).await?;
        for found in page.iter().filter(|found| found.version != canonical) {
            let notes: VersionNotes = decode(&found.metadata)?;
            let rank = notes.version.rank();
            if !notes.lacks_archive && best.as_ref().is_none_or(|(known, _)| *known < rank) {
                best = Some((rank, notes));
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.version.clone()),
            _ => return Ok(best.map(|(_, notes)| notes.latest())),
        }
    }
}

/// Takes a version out of documents, once it is not there any more.
async fn hide(edit: &mut Edit<'_>, mut package: Package, version: &str) -> Result<(), ApiError> {
    let mut head = Head::of(&package)?;
    if head.shows(version) {
        head.latest = latest_without(edit, &package, version).await?;
    }
    save(edit, &mut package, head)
}

/// Puts a version into documents again.
fn show(edit: &mut Edit<'_>, mut package: Package, notes: &VersionNotes) -> Result<(), ApiError> {
    let mut head = Head::of(&package)?;
    if !notes.lacks_archive {
        head.offer(notes.latest());
    }
    save(edit, &mut package, head)
}

/// Deletes a version as part of a transaction.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    edit.delete_version(&package, version).await?;
    hide(edit, package, &version.version).await
}

/// Puts a version that was restored into documents again.
pub(super) fn restore_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    show(edit, package, &decode(&version.metadata)?)
}

/// Notes that a file of a version was deleted, or restored. Of a version that moves, the archives before the last
/// are for those who have them in a lock file alone.
pub(super) async fn note_file(
    edit: &mut Edit<'_>,
    package: Package,
    mut version: package::Version,
    file: &File,
    is_there: bool,
) -> Result<(), ApiError> {
    let mut notes: VersionNotes = decode(&version.metadata)?;
    if file.name != file_name(&notes.reference) {
        return Ok(());
    }
    notes.lacks_archive = !is_there;
    version.metadata = record::encode(&notes);
    edit.put_version(&package, &version)?;
    match is_there {
        true => show(edit, package, &notes),
        false => hide(edit, package, &version.version).await,
    }
}

async fn package_named(edit: &mut Edit<'_>, name: &PackageName) -> Result<Package, ApiError> {
    let package = edit.package(name.as_str()).await?;
    package.ok_or_else(|| missing(name))
}

/// Says of a package that it is abandoned, or takes that back.
pub(super) async fn abandon(
    scope: &Scope,
    name: &PackageName,
    abandoned: Option<&Abandoned>,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_named(&mut edit, name).await?;
            let mut head = Head::of(&package)?;
            if head.abandoned.as_ref() != abandoned {
                head.abandoned = abandoned.cloned();
                save(&mut edit, &mut package, head)?;
            }
            Ok((txn, ()))
        })
        .await
}

/// Publishes an advisory on a package, in the place of one of its id; says whether there was none.
pub(super) async fn advise(scope: &Scope, name: &PackageName, advisory: &Advisory) -> Result<bool, ApiError> {
    let all = Keys::new(scope.collection()).advisories();
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_named(&mut edit, name).await?;
            let head = Head::of(&package)?;
            let is_new = advisories::put(edit.txn(), &all, name.as_str(), &advisory.id, advisory).await?;
            save(&mut edit, &mut package, head)?;
            Ok((txn, is_new))
        })
        .await
}

/// Takes an advisory back.
pub(super) async fn withdraw(scope: &Scope, name: &PackageName, id: &str) -> Result<(), ApiError> {
    let all = Keys::new(scope.collection()).advisories();
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_named(&mut edit, name).await?;
            if !advisories::delete(edit.txn(), &all, name.as_str(), id).await? {
                return Err(missing(format_args!("the advisory {id}")));
            }
            let head = Head::of(&package)?;
            save(&mut edit, &mut package, head)?;
            Ok((txn, ()))
        })
        .await
}

/// Takes apart a piece of what the format keeps in a project that was deleted.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal { txn, records, .. } = removal;
    for collection in Keys::new(records).all() {
        let found = txn.scan(Scan::of(&collection).limit(STEP)).await?;
        for entry in &found {
            txn.delete(&collection.key(&entry.item));
        }
        if !found.is_empty() {
            return Ok(Progress::More);
        }
    }
    Ok(Progress::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(said: Option<&str>, asked: Option<&str>) -> Result<String, String> {
        let version = said.map_or("null".into(), |said| format!("{said:?}"));
        let manifest = format!("{{\"name\":\"a/b\",\"version\":{version}}}");
        let manifest = Manifest::read(manifest.as_bytes()).unwrap();
        let asked = asked.map(|asked| asked.parse().unwrap());
        let made = Publication::of(manifest, asked, false).map_err(|error| error.to_string());
        made.map(|publication| publication.version.to_string())
    }

    #[test]
    fn a_version_is_said_by_the_archive_or_by_the_request() {
        assert_eq!(publication(Some("1.0"), None).unwrap(), "1.0");
        assert_eq!(publication(None, Some("v1.0")).unwrap(), "v1.0");
        assert_eq!(publication(Some("1.0.0"), Some("v1.0")).unwrap(), "v1.0");
        let differs = publication(Some("1.0"), Some("1.1")).unwrap_err();
        assert!(
            differs.contains("has the version 1.0, and the request 1.1"),
            "{differs}"
        );
        assert!(publication(None, None).unwrap_err().contains("add ?version="));
    }

    #[test]
    fn what_was_released_is_no_default_branch() {
        let manifest = |version: &str| {
            let text = format!("{{\"name\":\"a/b\",\"version\":\"{version}\"}}");
            Manifest::read(text.as_bytes()).unwrap()
        };
        assert!(Publication::of(manifest("1.0"), None, true).is_err());
        assert!(Publication::of(manifest("dev-main"), None, true).is_ok());
    }
}
