//! What the format keeps, and the transactions that change it.
//!
//! ```text
//! package   metadata: Head            tags, maintainers, stars
//!  └ version   metadata: VersionNotes    both fragments of the package indexes
//!     ├ file NAME-VERSION.tgz       metadata: TarballNotes     the README
//!     └ file NAME-VERSION.sigstore  metadata: ProvenanceNotes
//! advisory    NAME, 0, ID → Advisory
//! ```
//!
//! A version and the tags that point to it become visible in one transaction. Every change
//! writes the package's record, so two changes of one package never miss each other.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{Collection, DigestSet, ReadError, Scan, StoredBlob, Txn};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::advisories::Advisory;
use super::artifact::Readme;
use super::document::SentVersion;
use super::head::{self, Head, HeadError, Release};
use super::index::{Dist, Fragments};
use super::names::{DistTag, PackageName, Version};
use super::provenance;
use super::publication::{Publication, TarballDigests, check_message};
use crate::formats::{Progress, Removal, advisories};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::package::{self, Edit, FilePut, NewFile, NewVersion, Package, Reuse, Status, View};
use crate::registry::settings::DuplicatePolicy;

/// How many versions are read at a time.
pub(super) const PAGE: usize = 64;

/// How many bytes of changed versions go into one transaction.
const CHANGED_BYTES_PER_TRANSACTION: usize = 512 << 10;

/// How many records are taken apart at once.
const STEP: usize = 500;

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    pub(super) fragments: Fragments,
    pub(super) publisher: Option<String>,
}

impl Record for VersionNotes {}

/// What the format keeps in the record of a tarball.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TarballNotes {
    pub(super) readme: Option<Readme>,
}

impl Record for TarballNotes {}

/// What the format keeps in the record of a provenance bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ProvenanceNotes {
    pub(super) predicate_type: String,
}

impl Record for ProvenanceNotes {}

/// What publishing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The version is there now.
    Created,
    /// It was there already, with the same bytes: the client repeats a request.
    Unchanged,
}

/// Reads what the format keeps in a record.
pub(super) fn decode<R: Record>(metadata: &Bytes) -> Result<R, ApiError> {
    Ok(record::decode(metadata).map_err(ReadError::from)?)
}

/// Reads the format's part of a package.
pub(super) fn head_of(package: &Package) -> Result<Head, ApiError> {
    Ok(Head::decode(&package.metadata).map_err(ReadError::from)?)
}

/// The answer to a name that is not there.
pub(super) fn no_package(name: &PackageName) -> ApiError {
    ApiError::not_found(format!("{name} is not in this registry"))
}

/// The answer to a version that is not there.
pub(super) fn no_version(name: &PackageName, version: &str) -> ApiError {
    ApiError::not_found(format!("{name} has no version {version}"))
}

/// The name of the file that holds a version's provenance.
pub(super) fn provenance_file(name: &PackageName, version: &Version) -> String {
    format!("{}-{version}.sigstore", name.base())
}

/// The opaque `_rev` of a package at one revision.
pub(super) fn revision_text(project: u64, revision: u64) -> String {
    format!("{revision}-{project:016x}")
}

/// The version as something that a tag may point to.
fn release_of(version: &package::Version) -> Result<Release, ApiError> {
    let notes: VersionNotes = decode(&version.metadata)?;
    Ok(Release {
        version: version.version.parse().map_err(ApiError::internal)?,
        // What is repeated of the latest version has no URL in it.
        manifest: notes.fragments.full.manifest(""),
        published_at: version.created_at,
        publisher: notes.publisher,
    })
}

/// Publishes a version whose tarball is stored.
pub(super) async fn publish(
    scope: &Scope,
    publication: &Publication,
    tarball: &StoredBlob,
) -> Result<Published, ApiError> {
    let digests = tarball_digests(tarball);
    publication.sent_digests.check(&digests)?;
    let bundle = store_provenance(scope, publication, tarball).await?;
    let publisher = scope.caller().username().map(String::from);
    let dist = Dist {
        shasum: &digests.shasum,
        integrity: &digests.integrity,
        publisher: publisher.as_deref().unwrap_or_default(),
    };
    let notes = VersionNotes {
        fragments: Fragments::of(publication, dist),
        publisher,
    };
    let prepared = Prepared {
        publication,
        tarball,
        bundle: bundle.as_ref(),
        notes: &notes,
    };
    scope
        .transact(async |mut txn| {
            let published = prepared.commit_to(scope, &mut txn).await?;
            Ok((txn, published))
        })
        .await
}

fn tarball_digests(tarball: &StoredBlob) -> TarballDigests {
    let digests = tarball.digests();
    let (Some(sha1), Some(sha512)) = (&digests.sha1, &digests.sha512) else {
        unreachable!("tarballs are stored with both digests");
    };
    TarballDigests::of(sha1, sha512)
}

async fn store_provenance(
    scope: &Scope,
    publication: &Publication,
    tarball: &StoredBlob,
) -> Result<Option<StoredBlob>, ApiError> {
    let Some(provenance) = &publication.provenance else {
        return Ok(None);
    };
    if let Some(sha512) = &tarball.digests().sha512 {
        provenance
            .check_bytes(sha512)
            .map_err(|error| ApiError::unprocessable(error.to_string()))?;
    }
    let mut writer = scope.blobs().writer(scope.space(), DigestSet::default());
    let bundle = Bytes::from(provenance.bundle.clone());
    writer.write(bundle).await.map_err(ApiError::unavailable)?;
    Ok(Some(writer.finish().await.map_err(ApiError::unavailable)?))
}

/// A version whose files are stored and whose records are made.
struct Prepared<'a> {
    publication: &'a Publication,
    tarball: &'a StoredBlob,
    bundle: Option<&'a StoredBlob>,
    notes: &'a VersionNotes,
}

impl Prepared<'_> {
    async fn commit_to(&self, scope: &Scope, txn: &mut Txn) -> Result<Published, ApiError> {
        let Publication { name, version, .. } = self.publication;
        let mut edit = Edit::new(scope, txn);
        if self.is_repeated(&mut edit).await? {
            return Ok(Published::Unchanged);
        }
        let mut package = match edit.package(name.as_str()).await? {
            Some(package) => package,
            None => {
                name.check_new()
                    .map_err(|error| ApiError::bad_request(error.to_string()))?;
                edit.claim(name.as_str(), name.as_str()).await?
            }
        };
        if edit.was_deleted(&package, &version.to_string()).await? {
            return Err(ApiError::conflict(format!(
                "You cannot publish over the previously published versions: {version} was unpublished"
            )));
        }
        let created = self.create_version(&mut edit, &package).await?;
        let mut head = head_of(&package)?;
        forget_if_gone(&mut edit, &package, &mut head, scope).await?;
        let release = release_of(&created)?;
        head.publish(&release, &self.publication.tags, scope.now())?;
        package.metadata = head.encode();
        edit.put_package(&package)?;
        Ok(Published::Created)
    }

    /// Whether the same bytes are published under this version already; an error if others are.
    async fn is_repeated(&self, edit: &mut Edit<'_>) -> Result<bool, ApiError> {
        let Publication { name, version, .. } = self.publication;
        let Some(package) = edit.package(name.as_str()).await? else {
            return Ok(false);
        };
        let Some(present) = edit.version(&package, &version.to_string()).await? else {
            return Ok(false);
        };
        let file = edit.file(&present, &name.tarball_file(version)).await?;
        if file.is_some_and(|file| file.blob == self.tarball.id()) {
            return Ok(true);
        }
        // Release tools look for these words.
        Err(ApiError::forbidden(format!(
            "You cannot publish over the previously published versions: {version}"
        )))
    }

    async fn create_version(
        &self,
        edit: &mut Edit<'_>,
        package: &Package,
    ) -> Result<package::Version, ApiError> {
        let Publication { name, version, .. } = self.publication;
        let status = match self.publication.deprecated {
            Some(_) => Status::Deprecated,
            None => Status::Default,
        };
        let new = NewVersion {
            version: version.to_string(),
            status,
            metadata: record::encode(self.notes),
        };
        let created = edit.create_version(package, new, Reuse::Refused).await?;
        let tarball = NewFile {
            name: &name.tarball_file(version),
            blob: self.tarball,
            metadata: record::encode(&TarballNotes {
                readme: self.publication.readme.clone(),
            }),
        };
        add_file(edit, &created, tarball).await?;
        if let (Some(blob), Some(provenance)) = (self.bundle, &self.publication.provenance) {
            let bundle = NewFile {
                name: &provenance_file(name, version),
                blob,
                metadata: record::encode(&ProvenanceNotes {
                    predicate_type: provenance.predicate_type.clone(),
                }),
            };
            add_file(edit, &created, bundle).await?;
        }
        Ok(created)
    }
}

async fn add_file(
    edit: &mut Edit<'_>,
    version: &package::Version,
    file: NewFile<'_>,
) -> Result<(), ApiError> {
    match edit.put_file(version, file, DuplicatePolicy::Forbid).await? {
        FilePut::Added(_) => Ok(()),
        FilePut::Unchanged(file) | FilePut::Refused(file) => {
            Err(ApiError::conflict(format!("{} exists already", file.name)))
        }
    }
}

/// A version may have been deleted through the REST API, which knows nothing of tags.
async fn forget_if_gone(
    edit: &mut Edit<'_>,
    package: &Package,
    head: &mut Head,
    scope: &Scope,
) -> Result<(), ApiError> {
    if let Some(latest) = head.latest_version().cloned()
        && edit.version(package, &latest.to_string()).await?.is_none()
    {
        head.forget_version(&latest, scope.now());
    }
    Ok(())
}

/// The package, if it is still as the client last saw it.
async fn package_at(
    edit: &mut Edit<'_>,
    scope: &Scope,
    name: &PackageName,
    expected: Option<&str>,
) -> Result<Package, ApiError> {
    let package = edit
        .package(name.as_str())
        .await?
        .ok_or_else(|| no_package(name))?;
    let snapshot = edit.txn().snapshot().clone();
    check_revision(&View::at(scope, &snapshot), scope, &package, expected).await?;
    Ok(package)
}

async fn check_revision(
    view: &View<'_>,
    scope: &Scope,
    package: &Package,
    expected: Option<&str>,
) -> Result<(), ApiError> {
    let current = revision_text(scope.project().id, view.revision(package).await?);
    match expected {
        Some(expected) if expected != current => Err(ApiError::conflict(format!(
            "{} has changed since revision {expected:.80}; fetch it again",
            package.name
        ))),
        _ => Ok(()),
    }
}

/// Changes what a package keeps besides its versions.
async fn change_head(
    scope: &Scope,
    name: &PackageName,
    revision: Option<&str>,
    change: impl Fn(&mut Head) -> Result<(), HeadError>,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_at(&mut edit, scope, name, revision).await?;
            let mut head = head_of(&package)?;
            change(&mut head)?;
            package.metadata = head.encode();
            edit.put_package(&package)?;
            Ok((txn, ()))
        })
        .await
}

/// Points a tag to a version that is there.
pub(super) async fn tag(
    scope: &Scope,
    name: &PackageName,
    tag: &DistTag,
    version: &Version,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_at(&mut edit, scope, name, None).await?;
            let found = edit.version(&package, &version.to_string()).await?;
            let found = found.ok_or_else(|| no_version(name, &version.to_string()))?;
            let mut head = head_of(&package)?;
            head.tag(tag, &release_of(&found)?, scope.now())?;
            package.metadata = head.encode();
            edit.put_package(&package)?;
            Ok((txn, ()))
        })
        .await
}

/// Removes a tag.
pub(super) async fn untag(scope: &Scope, name: &PackageName, tag: &DistTag) -> Result<(), ApiError> {
    change_head(scope, name, None, |head| head.untag(tag, scope.now())).await
}

/// Replaces the maintainers.
pub(super) async fn set_maintainers(
    scope: &Scope,
    name: &PackageName,
    revision: &str,
    maintainers: &Value,
) -> Result<(), ApiError> {
    change_head(scope, name, Some(revision), |head| {
        head.set_maintainers(maintainers, scope.now())
    })
    .await
}

/// Sets or removes a user's star.
pub(super) async fn star(
    scope: &Scope,
    name: &PackageName,
    user: &str,
    starred: bool,
) -> Result<(), ApiError> {
    change_head(scope, name, None, |head| head.star(user, starred)).await
}

/// Applies the deprecations of a packument that a client has edited, and nothing else of it.
pub(super) async fn deprecate(
    scope: &Scope,
    name: &PackageName,
    revision: Option<&str>,
    sent: &BTreeMap<String, SentVersion>,
) -> Result<(), ApiError> {
    for version in sent.values() {
        check_message(version.deprecated.as_deref())?;
    }
    let view = View::of(scope);
    let package = view
        .package(name.as_str())
        .await?
        .ok_or_else(|| no_package(name))?;
    check_revision(&view, scope, &package, revision).await?;
    let mut expected = revision;
    for changes in changed_deprecations(&view, &package, sent).await? {
        scope
            .transact(async |mut txn| {
                let mut edit = Edit::new(scope, &mut txn);
                let mut package = package_at(&mut edit, scope, name, expected).await?;
                for (version, message) in &changes {
                    set_deprecated(&mut edit, &package, version, message.as_deref()).await?;
                }
                let mut head = head_of(&package)?;
                head.modified = scope.now();
                package.metadata = head.encode();
                edit.put_package(&package)?;
                Ok((txn, ()))
            })
            .await?;
        // The next piece follows on our own change.
        expected = None;
    }
    Ok(())
}

/// A version and its new deprecation.
type Deprecation = (String, Option<String>);

/// The deprecations that differ from what is there, in pieces that fit into a transaction.
async fn changed_deprecations(
    view: &View<'_>,
    package: &Package,
    sent: &BTreeMap<String, SentVersion>,
) -> Result<Vec<Vec<Deprecation>>, ApiError> {
    let mut pieces: Vec<Vec<Deprecation>> = Vec::new();
    let mut piece_bytes = usize::MAX;
    let mut unknown: BTreeSet<&str> = sent.keys().map(String::as_str).collect();
    let mut after = None;
    loop {
        let page = view.versions(package, after.as_deref(), PAGE).await?;
        for version in &page {
            let Some(sent) = sent.get(&version.version) else {
                continue;
            };
            unknown.remove(version.version.as_str());
            let message = sent.deprecated.clone().filter(|message| !message.is_empty());
            let notes: VersionNotes = decode(&version.metadata)?;
            if notes.fragments.full.deprecated == message {
                continue;
            }
            let bytes = version.metadata.len() + 2 * message.as_ref().map_or(0, String::len) + 1024;
            if piece_bytes.saturating_add(bytes) > CHANGED_BYTES_PER_TRANSACTION {
                pieces.push(Vec::new());
                piece_bytes = 0;
            }
            piece_bytes += bytes;
            if let Some(piece) = pieces.last_mut() {
                piece.push((version.version.clone(), message));
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.version.clone()),
            _ => break,
        }
    }
    match unknown.first() {
        Some(version) => Err(ApiError::bad_request(format!(
            "version {version:.256} is not published, and no tarball is attached"
        ))),
        None => Ok(pieces),
    }
}

async fn set_deprecated(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &str,
    message: Option<&str>,
) -> Result<(), ApiError> {
    // A version that has been removed meanwhile needs no deprecation.
    let Some(mut version) = edit.version(package, version).await? else {
        return Ok(());
    };
    let mut notes: VersionNotes = decode(&version.metadata)?;
    notes.fragments.full.deprecated = message.map(String::from);
    notes.fragments.abbreviated.deprecated = message.map(String::from);
    version.metadata = record::encode(&notes);
    version.status = match (version.status, message) {
        (Status::Hidden, _) => Status::Hidden,
        (_, Some(_)) => Status::Deprecated,
        (_, None) => Status::Default,
    };
    edit.put_version(package, &version)
}

/// Removes the one version that is missing in a packument that a client has edited.
pub(super) async fn unpublish_version(
    scope: &Scope,
    name: &PackageName,
    revision: &str,
    sent: &BTreeMap<String, SentVersion>,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut package = package_at(&mut edit, scope, name, Some(revision)).await?;
            let snapshot = edit.txn().snapshot().clone();
            let remaining = all_versions(&View::at(scope, &snapshot), &package).await?;
            let (kept, mut missing): (Vec<_>, Vec<_>) = remaining
                .into_iter()
                .partition(|version| sent.contains_key(&version.to_string()));
            let removed = match (missing.pop(), missing.len()) {
                (None, _) => return Ok((txn, ())),
                (Some(version), 0) => version,
                // A document that was cut short must not empty a package.
                (Some(_), more) => {
                    return Err(ApiError::bad_request(format!(
                        "the document removes {} versions of {name}; unpublish them one by one",
                        more + 1
                    )));
                }
            };
            remove_version(&mut edit, scope, &mut package, &removed, kept).await?;
            Ok((txn, ()))
        })
        .await
}

async fn remove_version(
    edit: &mut Edit<'_>,
    scope: &Scope,
    package: &mut Package,
    removed: &Version,
    kept: Vec<Version>,
) -> Result<(), ApiError> {
    if let Some(version) = edit.version(package, &removed.to_string()).await? {
        edit.delete_version(package, &version).await?;
    }
    let Some(next) = head::successor(kept) else {
        return edit.delete_package(package.clone()).await;
    };
    let mut head = head_of(package)?;
    if head.forget_version(removed, scope.now())
        && let Some(next) = edit.version(package, &next.to_string()).await?
    {
        head.tag(&DistTag::latest(), &release_of(&next)?, scope.now())?;
    }
    package.metadata = head.encode();
    edit.put_package(package)
}

/// Every version of a package.
pub(super) async fn all_versions(view: &View<'_>, package: &Package) -> Result<Vec<Version>, ApiError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = view.versions(package, after.as_deref(), PAGE).await?;
        found.extend(
            page.iter()
                .filter_map(|version| version.version.parse::<Version>().ok()),
        );
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.version.clone()),
            _ => return Ok(found),
        }
    }
}

/// Mends the head of a package of which a version was put back. Tags that pointed to it are not set again:
/// they may mean something else by now.
pub(super) async fn restore_version(
    edit: &mut Edit<'_>,
    mut package: Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    let (scope, mut head) = (edit.scope(), head_of(&package)?);
    forget_if_gone(edit, &package, &mut head, scope).await?;
    head.publish(&release_of(version)?, &[], scope.now())?;
    package.metadata = head.encode();
    edit.put_package(&package)
}

/// Removes a package with all its versions.
pub(super) async fn unpublish(scope: &Scope, name: &PackageName, revision: &str) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let package = package_at(&mut edit, scope, name, Some(revision)).await?;
            edit.delete_package(package).await?;
            Ok((txn, ()))
        })
        .await
}

/// The attestations of a version, as clients fetch them.
pub(super) async fn attestations(
    scope: &Scope,
    name: &PackageName,
    version: &package::Version,
) -> Result<Option<Value>, ApiError> {
    let parsed: Version = version.version.parse().map_err(ApiError::internal)?;
    let file = View::of(scope)
        .file(version, &provenance_file(name, &parsed))
        .await?;
    let Some(file) = file else {
        return Ok(None);
    };
    let notes: ProvenanceNotes = decode(&file.metadata)?;
    let bundle = scope
        .blobs()
        .read(scope.snapshot(), scope.space(), &file.blob, None);
    // It was bounded when it was published.
    let bundle: Vec<Bytes> = bundle.await?.try_collect().await?;
    Ok(Some(provenance::attestations(
        &notes.predicate_type,
        &bundle.concat(),
    )))
}

/// Where the advisories of a project are.
fn all_advisories(records: &Collection) -> Collection {
    records.at("advisory")
}

/// The advisories of a project on a package, which may have been unpublished.
pub(super) async fn advisories(scope: &Scope, name: &PackageName) -> Result<Vec<Advisory>, ApiError> {
    // A job may be let in for some packages alone.
    if !scope.covers(name.as_str()) {
        return Ok(Vec::new());
    }
    let all = all_advisories(&scope.collection());
    let found = scope.snapshot().scan(advisories::on(&all, name.as_str())).await?;
    found.iter().map(|found| Ok(found.record()?)).collect()
}

/// Publishes an advisory on a package, in the place of one of its id; says whether there was none.
pub(super) async fn advise(scope: &Scope, name: &PackageName, advisory: &Advisory) -> Result<bool, ApiError> {
    let all = all_advisories(&scope.collection());
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let package = edit.package_of_publisher(name.as_str()).await?;
            package.ok_or_else(|| no_package(name))?;
            let is_new = advisories::put(&mut txn, &all, name.as_str(), &advisory.id, advisory).await?;
            Ok((txn, is_new))
        })
        .await
}

/// Takes an advisory back.
pub(super) async fn withdraw(scope: &Scope, name: &PackageName, id: &str) -> Result<(), ApiError> {
    let all = all_advisories(&scope.collection());
    scope
        .transact(async |mut txn| {
            // It may have been unpublished since.
            let mut edit = Edit::new(scope, &mut txn);
            edit.package_of_publisher(name.as_str()).await?;
            if !advisories::delete(&mut txn, &all, name.as_str(), id).await? {
                return Err(ApiError::not_found(format!(
                    "there is no advisory {id:.100} on {name} here"
                )));
            }
            Ok((txn, ()))
        })
        .await
}

/// Takes apart a piece of what the format keeps in a project that was deleted.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal { txn, records, .. } = removal;
    let all = all_advisories(&records);
    let found = txn.scan(Scan::of(&all).limit(STEP)).await?;
    for entry in &found {
        txn.delete(&all.key(&entry.item));
    }
    match found.is_empty() {
        true => Ok(Progress::Done),
        false => Ok(Progress::More),
    }
}

impl From<HeadError> for ApiError {
    fn from(error: HeadError) -> Self {
        let kind = match error {
            HeadError::NoSuchTag(_) => ErrorKind::NotFound,
            HeadError::LatestStays => ErrorKind::Forbidden,
            HeadError::Maintainers => ErrorKind::BadRequest,
            HeadError::TooManyTags | HeadError::TooManyStars => ErrorKind::Unprocessable,
        };
        ApiError::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::VersionNotes>("npm-version-notes");
        samples::check::<super::TarballNotes>("npm-tarball-notes");
        samples::check::<super::ProvenanceNotes>("npm-provenance-notes");
    }
}
