//! What the format keeps, and the transactions that change it.
//!
//! ```text
//! package MODULE PATH
//!  └ version VERSION              metadata: VersionNotes   empty, unless a file was deleted
//!     ├ file VERSION.zip
//!     └ file VERSION.mod
//! format / go
//!  └── sums       MODULE@VERSION  → Sums    of every version that was ever published
//! ```
//!
//! The sums of a version stay when it is deleted: whoever has built with it has them in `go.sum`, so
//! its name is never given to other content.

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{Collection, Key, ReadError, Scan, StoredBlob};
use serde::{Deserialize, Serialize};

use super::artifact::{Artifact, Sums};
use super::names::{ModulePath, Version};
use crate::formats::{Progress, Removal};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::package::{self, Edit, NewFile, NewVersion, Package, Reuse, Status};
use crate::registry::settings::DuplicatePolicy;

/// How many records one transaction removes.
const STEP: usize = 256;

impl Record for Sums {}

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    /// The names of its files that were deleted. Without one of them it is not there.
    pub(super) lacking: Vec<String>,
}

impl Record for VersionNotes {}

impl VersionNotes {
    fn of(version: &package::Version) -> Result<Self, ApiError> {
        if version.metadata.is_empty() {
            return Ok(Self::default());
        }
        Ok(record::decode(&version.metadata).map_err(ReadError::from)?)
    }

    fn encode(&self) -> Bytes {
        match self.lacking.is_empty() {
            true => Bytes::new(),
            false => record::encode(self),
        }
    }
}

/// Whether all files of a version are there.
pub(super) fn is_whole(version: &package::Version) -> Result<bool, ApiError> {
    Ok(VersionNotes::of(version)?.lacking.is_empty())
}

/// Where the sums of a version are.
pub(super) fn sums_key(records: &Collection, module: &ModulePath, version: &Version) -> Key {
    all_sums(records).key(format!("{module}@{version}"))
}

fn all_sums(records: &Collection) -> Collection {
    records.at("sums")
}

/// The names of the files of a version.
pub(super) fn zip_name(version: &Version) -> String {
    format!("{version}.zip")
}

pub(super) fn mod_name(version: &Version) -> String {
    format!("{version}.mod")
}

/// The answer for what is not here: the go command asks elsewhere.
pub(super) fn missing(what: impl std::fmt::Display) -> ApiError {
    ApiError::not_found(format!("not found: {what}"))
}

/// The answer for a version that was here.
pub(super) fn deleted(module: &ModulePath, version: &Version) -> ApiError {
    ApiError::new(ErrorKind::Gone, format!("{module}@{version} was deleted"))
}

/// What publishing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The version is there now.
    Created,
    /// It was there already, with the same content: the client repeats a request.
    Unchanged,
}

/// Publishes a version whose archive is stored.
pub(super) async fn publish(
    scope: &Scope,
    artifact: &Artifact,
    archive: &StoredBlob,
) -> Result<Published, ApiError> {
    let go_mod = scope.put_blob(artifact.go_mod.clone()).await?;
    let version = &artifact.version;
    let files = [(zip_name(version), archive), (mod_name(version), &go_mod)];
    scope
        .transact(async |mut txn| {
            let published = commit_to(&mut Edit::new(scope, &mut txn), artifact, &files).await?;
            Ok((txn, published))
        })
        .await
}

async fn commit_to(
    edit: &mut Edit<'_>,
    artifact: &Artifact,
    files: &[(String, &StoredBlob)],
) -> Result<Published, ApiError> {
    let Artifact {
        module,
        version: name,
        sums,
        ..
    } = artifact;
    let package = edit.claim(module.as_str(), module.as_str()).await?;
    let found = edit.version(&package, &name.to_string()).await?;
    let key = sums_key(&edit.scope().collection(), module, name);
    let before: Option<Sums> = edit.txn().record(&key).await?;
    if let Some(before) = before.filter(|before| before != sums) {
        let state = match found {
            Some(_) => "exists already",
            None => "was deleted",
        };
        return Err(ApiError::conflict(format!(
            "{module}@{name} {state} with other content ({}); publish another version",
            before.zip
        )));
    }
    let (mut version, published) = match found {
        Some(version) => (version, Published::Unchanged),
        None => {
            let new = NewVersion {
                version: name.to_string(),
                status: Status::Default,
                metadata: Bytes::new(),
            };
            // That it has the content that it had was made sure of above.
            let version = edit.create_version(&package, new, Reuse::Allowed).await?;
            edit.txn().put_record(&key, sums);
            (version, Published::Created)
        }
    };
    for (file, blob) in files {
        let new = NewFile {
            name: file,
            blob,
            metadata: Bytes::new(),
        };
        // Of archives that are packed in another way, the first stays.
        edit.put_file(&version, new, DuplicatePolicy::ForbidSameContentOk)
            .await?;
    }
    if !is_whole(&version)? {
        version.metadata = Bytes::new();
        edit.put_version(&package, &version)?;
    }
    Ok(published)
}

/// Notes that a file of a version was deleted, or put back.
pub(super) fn note_file(
    edit: &mut Edit<'_>,
    package: &Package,
    mut version: package::Version,
    file: &str,
    is_there: bool,
) -> Result<(), ApiError> {
    let mut notes = VersionNotes::of(&version)?;
    notes.lacking.retain(|name| name != file);
    if !is_there {
        notes.lacking.push(file.to_owned());
    }
    version.metadata = notes.encode();
    edit.put_version(package, &version)
}

/// Takes apart a piece of what the format keeps in a project that was deleted.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let sums = all_sums(&removal.records);
    let found = removal.txn.scan(Scan::of(&sums).limit(STEP)).await?;
    for entry in &found {
        removal.txn.delete(&sums.key(&entry.item));
    }
    match found.len() < STEP {
        true => Ok(Progress::Done),
        false => Ok(Progress::More),
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::VersionNotes>("go-version-notes");
        samples::check::<super::Sums>("go-sums");
    }
}
