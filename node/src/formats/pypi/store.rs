//! The transactions: publishing a file, yanking, deleting.
//!
//! A file becomes visible with its line of the package index and its metadata in one
//! transaction. Its name is never given to other bytes, also not after it was deleted: lock
//! files name files by their digests.

use bytes::Bytes;
use cairn_cluster::record;
use cairn_cluster::{BlobId, Key, Scan, StoredBlob, Txn};
use data_encoding::HEXLOWER;

use super::names::{FileName, ProjectName, Version};
use super::records::{Attached, Entry, Gone, Kept, Keys, Release, VersionNotes, decode, version_prefix};
use super::upload::Upload;
use crate::formats::{Discarded, Progress, Removal};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, Edit, File, FilePut, NewFile, NewVersion, Package, Reuse, Status};
use crate::registry::settings::DuplicatePolicy;

/// The most files of one version: what a transaction on all of them can bear.
const MAX_FILES: u64 = 1000;

/// The most files of a version that can be restored: what a transaction can bear to move aside.
const MAX_RESTORABLE_FILES: u64 = 500;

/// How many items one transaction removes.
const STEP: usize = 64;

/// What publishing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The file is there now.
    Created,
    /// It was there already, with the same bytes: the client repeats a request.
    Unchanged,
}

/// Publishes a file that was received.
pub(super) async fn publish(scope: &Scope, upload: &Upload) -> Result<Published, ApiError> {
    let metadata = scope.put_blob(upload.artifact.metadata_file.clone()).await?;
    let attestations = match &upload.attestations {
        Some(attestations) => Some(scope.put_blob(Bytes::from(attestations.text.clone())).await?),
        None => None,
    };
    let prepared = Prepared {
        upload,
        metadata: &metadata,
        attestations: attestations.as_ref(),
        keys: Keys::new(scope.collection()),
    };
    scope
        .transact(async |mut txn| {
            let published = prepared.commit_to(scope, &mut txn).await?;
            Ok((txn, published))
        })
        .await
}

/// A file whose blobs are stored.
struct Prepared<'a> {
    upload: &'a Upload,
    metadata: &'a StoredBlob,
    attestations: Option<&'a StoredBlob>,
    keys: Keys,
}

impl Prepared<'_> {
    async fn commit_to(&self, scope: &Scope, txn: &mut Txn) -> Result<Published, ApiError> {
        let file = &self.upload.file;
        let key = self.keys.file(&file.project, &file.version, file.as_str());
        let sha256 = HEXLOWER.encode(&self.upload.blob.digests().sha256);
        match txn.record::<Entry>(&key).await? {
            Some(entry) if entry.sha256 == sha256 => return Ok(Published::Unchanged),
            // Upload tools look for these words.
            Some(entry) => {
                return Err(ApiError::bad_request(format!(
                    "File already exists ('{file}', with sha256 {}); other content needs another version",
                    entry.sha256
                )));
            }
            None => {}
        }
        let gone = self.keys.gone(file.project.as_str()).key(file.as_str());
        if txn.get(&gone).await?.is_some() {
            return Err(ApiError::bad_request(format!(
                "the name of {file} was used by a file that was deleted; use another version or build number"
            )));
        }
        let mut edit = Edit::new(scope, txn);
        let display_name = &self.upload.artifact.metadata.display_name;
        let package = edit.claim(file.project.as_str(), display_name).await?;
        let mut version = self.version(&mut edit, &package).await?;
        self.note_file(&mut version)?;
        let new = NewFile {
            name: file.as_str(),
            blob: &self.upload.blob,
            metadata: Bytes::new(),
        };
        let FilePut::Added(added) = edit.put_file(&version, new, DuplicatePolicy::Forbid).await? else {
            return Err(ApiError::conflict(format!("{file} exists already")));
        };
        edit.put_version(&package, &version)?;
        let entry = self.entry(scope, &version, &added);
        let blobs = [Some(self.metadata), self.attestations];
        for blob in blobs.into_iter().flatten() {
            scope.blobs().reference(edit.txn(), blob, key.as_bytes()).await?;
        }
        edit.txn().put_record(&key, &entry);
        edit.txn().put(&self.keys.names().key(file.project.as_str()), "");
        Ok(Published::Created)
    }

    /// The version that the file belongs to, whatever the spelling; made if there is none.
    async fn version(&self, edit: &mut Edit<'_>, package: &Package) -> Result<package::Version, ApiError> {
        let file = &self.upload.file;
        let key = self.keys.release(&file.project, &file.version);
        if let Some(release) = edit.txn().record::<Release>(&key).await?
            && let Some(version) = edit.version(package, &release.version).await?
        {
            return Ok(version);
        }
        let release = Release {
            version: file.version.to_string(),
        };
        edit.txn().put_record(&key, &release);
        let new = NewVersion {
            version: release.version,
            status: Status::Default,
            metadata: record::encode(&VersionNotes::default()),
        };
        // Files of other names may join what was deleted; those that were there may not.
        edit.create_version(package, new, Reuse::Allowed).await
    }

    /// Counts the file in its version's record.
    fn note_file(&self, version: &mut package::Version) -> Result<(), ApiError> {
        let mut notes: VersionNotes = decode(&version.metadata)?;
        let file = &self.upload.file;
        if notes.files >= MAX_FILES {
            return Err(ApiError::bad_request(format!(
                "{} {} has {MAX_FILES} files already",
                file.project, file.version
            )));
        }
        notes.files += 1;
        if file.kind.file_type() == "sdist" {
            if let Some(present) = &notes.source {
                return Err(ApiError::bad_request(format!(
                    "{} {} has a source distribution already: {present}",
                    file.project, file.version
                )));
            }
            notes.source = Some(file.to_string());
        }
        version.metadata = record::encode(&notes);
        Ok(())
    }

    fn entry(&self, scope: &Scope, version: &package::Version, added: &File) -> Entry {
        let Upload { file, artifact, .. } = self.upload;
        let md5 = added.digests.md5.map(|digest| HEXLOWER.encode(&digest));
        Entry {
            file: file.to_string(),
            version: version.version.clone(),
            size_bytes: added.size,
            uploaded_at: added.created_at,
            is_wheel: file.kind.file_type() == "bdist_wheel",
            python: file.kind.python().to_owned(),
            requires_python: artifact.metadata.requires_python.clone(),
            sha256: HEXLOWER.encode(&added.digests.sha256),
            md5: md5.unwrap_or_default(),
            blake2b_256: HEXLOWER.encode(&artifact.blake2b_256),
            metadata: attached(self.metadata),
            attestations: self.attestations.map(attached),
            publisher: scope.caller().username().map(str::to_owned),
            yanked: None,
        }
    }
}

fn attached(blob: &StoredBlob) -> Attached {
    Attached {
        blob: blob.id(),
        size_bytes: blob.size(),
        sha256: HEXLOWER.encode(&blob.digests().sha256),
    }
}

/// The answer to what is not there.
pub(super) fn missing(what: impl std::fmt::Display) -> ApiError {
    ApiError::not_found(format!("{what} is not in this registry"))
}

/// Finds a package and one version of it, whatever the spelling.
async fn find(
    edit: &mut Edit<'_>,
    keys: &Keys,
    project: &ProjectName,
    version: &Version,
) -> Result<(Package, package::Version), ApiError> {
    if let Some(package) = edit.package(project.as_str()).await?
        && let Some(release) = edit
            .txn()
            .record::<Release>(&keys.release(project, version))
            .await?
        && let Some(found) = edit.version(&package, &release.version).await?
    {
        return Ok((package, found));
    }
    Err(missing(format_args!("{project} {version}")))
}

/// The files of a version.
async fn entries(
    edit: &mut Edit<'_>,
    keys: &Keys,
    project: &str,
    version: &Version,
) -> Result<Vec<Entry>, ApiError> {
    let files = keys.files(project);
    let prefix = version_prefix(version);
    let scan = Scan::of(&files).prefix(&prefix).limit(MAX_FILES as usize);
    let found = edit.txn().scan(scan).await?;
    let entries = found.iter().map(|entry| entry.record());
    Ok(entries.collect::<Result<_, _>>()?)
}

/// Yanks a version, or one file of it (by its name and digest), for a reason that may be empty; without one, takes that
/// back. Yanked files are installed only by those who ask for exactly this version.
pub(super) async fn set_yanked(
    scope: &Scope,
    project: &ProjectName,
    version: &Version,
    file: Option<(&FileName, &str)>,
    reason: Option<&str>,
) -> Result<(), ApiError> {
    let keys = Keys::new(scope.collection());
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let (package, mut found) = find(&mut edit, &keys, project, version).await?;
            let mut entries = entries(&mut edit, &keys, project.as_str(), version).await?;
            let mut is_there = file.is_none();
            for entry in &mut entries {
                if file.is_none_or(|(name, sha256)| name.as_str() == entry.file && sha256 == entry.sha256) {
                    is_there = true;
                    entry.yanked = reason.map(str::to_owned);
                    let key = keys.file(project, version, &entry.file);
                    edit.txn().put_record(&key, entry);
                }
            }
            if let (false, Some((file, _))) = (is_there, file) {
                return Err(missing(file));
            }
            let all_yanked = entries.iter().all(|entry| entry.yanked.is_some());
            found.status = match (found.status, all_yanked) {
                (Status::Hidden, _) => Status::Hidden,
                (_, true) => Status::Deprecated,
                (_, false) => Status::Default,
            };
            // Written in any case, so that the revision tells of the change.
            edit.put_version(&package, &found)?;
            Ok((txn, ()))
        })
        .await
}

/// Deletes a file; its version stays.
pub(super) async fn delete_file(scope: &Scope, file: &FileName, sha256: &str) -> Result<(), ApiError> {
    let keys = Keys::new(scope.collection());
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let (package, version) = find(&mut edit, &keys, &file.project, &file.version).await?;
            let found = edit.file(&version, file.as_str()).await?;
            let found = found
                .filter(|found| HEXLOWER.encode(&found.digests.sha256) == sha256)
                .ok_or_else(|| missing(file))?;
            edit.delete_file(&version, &found).await?;
            forget_file(&mut edit, &package, version, file.as_str()).await?;
            Ok((txn, ()))
        })
        .await
}

/// Deletes a version with its files.
pub(super) async fn delete_release(
    scope: &Scope,
    project: &ProjectName,
    version: &Version,
) -> Result<(), ApiError> {
    let keys = Keys::new(scope.collection());
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let (package, found) = find(&mut edit, &keys, project, version).await?;
            delete_version(&mut edit, package, found).await?;
            Ok((txn, ()))
        })
        .await
}

/// Deletes a version as part of a transaction.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: package::Version,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    let parsed: Version = version.version.parse()?;
    let notes: VersionNotes = decode(&version.metadata)?;
    if notes.files > MAX_RESTORABLE_FILES {
        edit.delete_for_good();
    }
    edit.delete_version(&package, &version).await?;
    let entries = entries(edit, &keys, &package.name, &parsed).await?;
    let release = keys.releases(&package.name).key(parsed.key());
    let kept = Kept {
        files: entries.iter().map(|entry| entry.file.clone()).collect(),
        release: edit.txn().record(&release).await?,
    };
    let is_kept = edit.keep(record::encode(&kept))?;
    for entry in &entries {
        forget(edit, &keys, &package.name, &parsed, entry, is_kept).await?;
    }
    edit.txn().delete(&release);
    Ok(())
}

/// Removes what the format keeps of a file that a transaction has deleted.
pub(super) async fn forget_file(
    edit: &mut Edit<'_>,
    package: &Package,
    mut version: package::Version,
    file: &str,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    let file: FileName = file.parse()?;
    let key = keys.file(&file.project, &file.version, file.as_str());
    if let Some(entry) = edit.txn().record::<Entry>(&key).await? {
        let kept = Kept {
            files: vec![entry.file.clone()],
            release: None,
        };
        let is_kept = edit.keep(record::encode(&kept))?;
        forget(edit, &keys, &package.name, &file.version, &entry, is_kept).await?;
    }
    let mut notes: VersionNotes = decode(&version.metadata)?;
    notes.files = notes.files.saturating_sub(1);
    notes.source = notes.source.filter(|source| source != file.as_str());
    version.metadata = record::encode(&notes);
    edit.put_version(package, &version)
}

/// Removes a line of the index, and remembers the file's name: with the line if it can be put back, and
/// otherwise without what belongs to it.
async fn forget(
    edit: &mut Edit<'_>,
    keys: &Keys,
    project: &str,
    version: &Version,
    entry: &Entry,
    is_kept: bool,
) -> Result<(), ApiError> {
    let scope = edit.scope();
    let item = [version_prefix(version).as_slice(), entry.file.as_bytes()].concat();
    let key = keys.files(project).key(item);
    for blob in blobs_of(entry).filter(|_| !is_kept) {
        scope
            .blobs()
            .release(edit.txn(), scope.space(), &blob, key.as_bytes())
            .await?;
    }
    edit.txn().delete(&key);
    let gone = Gone {
        deleted_at: scope.now(),
        sha256: entry.sha256.clone(),
        entry: is_kept.then(|| entry.clone()),
    };
    edit.txn().put_record(&keys.gone(project).key(&entry.file), &gone);
    Ok(())
}

/// Where the line of the index of an entry is.
fn entry_key(keys: &Keys, project: &str, entry: &Entry) -> Result<Key, ApiError> {
    let version: Version = entry.version.parse()?;
    let item = [version_prefix(&version).as_slice(), entry.file.as_bytes()].concat();
    Ok(keys.files(project).key(item))
}

/// Puts lines of the index back; their names are in use again.
async fn put_back(edit: &mut Edit<'_>, project: &str, kept: &Kept) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    for file in &kept.files {
        let gone_key = keys.gone(project).key(file);
        let gone: Option<Gone> = edit.txn().record(&gone_key).await?;
        if let Some(entry) = gone.and_then(|gone| gone.entry) {
            let key = entry_key(&keys, project, &entry)?;
            edit.txn().put_record(&key, &entry);
            edit.txn().delete(&gone_key);
        }
    }
    edit.txn().put(&keys.names().key(project), "");
    Ok(())
}

/// Puts back what the format keeps of a version.
pub(super) async fn restore_version(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &package::Version,
    kept: &Bytes,
) -> Result<(), ApiError> {
    let kept: Kept = decode(kept)?;
    put_back(edit, &package.name, &kept).await?;
    if let Some(release) = &kept.release {
        let parsed: Version = version.version.parse()?;
        let keys = Keys::new(edit.scope().collection());
        let key = keys.releases(&package.name).key(parsed.key());
        // Another spelling of it may have been published meanwhile.
        if edit.txn().get(&key).await?.is_some() {
            return Err(ApiError::conflict(format!(
                "409 Conflict: version {} of {} was published anew",
                version.version, package.display_name
            )));
        }
        edit.txn().put_record(&key, release);
    }
    Ok(())
}

/// Puts back what the format keeps of a file.
pub(super) async fn restore_file(
    edit: &mut Edit<'_>,
    package: &Package,
    mut version: package::Version,
    file: &str,
    kept: &Bytes,
) -> Result<(), ApiError> {
    put_back(edit, &package.name, &decode(kept)?).await?;
    let file: FileName = file.parse()?;
    let mut notes: VersionNotes = decode(&version.metadata)?;
    notes.files += 1;
    if file.kind.file_type() == "sdist" {
        if let Some(present) = &notes.source {
            return Err(ApiError::conflict(format!(
                "409 Conflict: the version has a source distribution already: {present}"
            )));
        }
        notes.source = Some(file.to_string());
    }
    version.metadata = record::encode(&notes);
    edit.put_version(package, &version)
}

/// Lets go of what was left to put something back.
pub(super) async fn discard(discarded: Discarded<'_>) -> Result<(), ApiError> {
    if discarded.kept.is_empty() {
        return Ok(());
    }
    let (keys, project) = (Keys::new(discarded.records), discarded.package);
    for file in decode::<Kept>(discarded.kept)?.files {
        let gone_key = keys.gone(project).key(&file);
        let Some(mut gone) = discarded.txn.record::<Gone>(&gone_key).await? else {
            continue;
        };
        let Some(entry) = gone.entry.take() else {
            continue;
        };
        let key = entry_key(&keys, project, &entry)?;
        for blob in blobs_of(&entry) {
            discarded
                .blobs
                .release(discarded.txn, discarded.space, &blob, key.as_bytes())
                .await?;
        }
        discarded.txn.put_record(&gone_key, &gone);
    }
    Ok(())
}

fn blobs_of(entry: &Entry) -> impl Iterator<Item = BlobId> {
    let attached = [Some(&entry.metadata), entry.attestations.as_ref()];
    attached.into_iter().flatten().map(|attached| attached.blob)
}

/// Takes apart a piece of what the format keeps in a project that was deleted.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal {
        txn,
        blobs,
        space,
        records,
        ..
    } = removal;
    let keys = Keys::new(records);
    let names = keys.names();
    let Some(name) = txn.scan(Scan::of(&names).limit(1)).await?.pop() else {
        return Ok(Progress::Done);
    };
    let project = String::from_utf8_lossy(&name.item).into_owned();
    let files = keys.files(&project);
    let found = txn.scan(Scan::of(&files).limit(STEP)).await?;
    for item in &found {
        let key = files.key(&item.item);
        for blob in blobs_of(&item.record()?) {
            blobs.release(txn, space, &blob, key.as_bytes()).await?;
        }
        txn.delete(&key);
    }
    let mut left = found.len();
    for collection in [keys.releases(&project), keys.gone(&project)] {
        let found = txn.scan(Scan::of(&collection).limit(STEP)).await?;
        for item in &found {
            txn.delete(&collection.key(&item.item));
        }
        left = left.max(found.len());
    }
    if left < STEP {
        txn.delete(&names.key(&name.item));
    }
    Ok(Progress::More)
}
