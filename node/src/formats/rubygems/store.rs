//! The transactions: publishing a gem, yanking it and taking that back, deleting it, its owners.
//!
//! A version becomes visible with its row and a line of `/versions` in one transaction. Every change
//! of a gem's rows writes the package's record, which holds their digest: so two changes of one gem
//! never miss each other, and those of two gems never meet.

use bytes::Bytes;
use cairn_cluster::record;
use cairn_cluster::{Scan, StoredBlob, Txn};
use data_encoding::HEXLOWER;

use super::NAME;
use super::attestations::{self, Attestations};
use super::gemspec::Spec;
use super::index::{InfoDigest, change_line};
use super::names::{GemName, GemVersion, Platform, numbered};
use super::records::{Head, Keys, Row, Top, VersionNotes, decode, rank, row_number, row_prefix};
use crate::auth::{Authorised, Publish};
use crate::formats::owners::OwnersError;
use crate::formats::{Progress, Removal};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{
    self, Edit, File, FilePut, NewFile, NewVersion, Package, Reuse, Status, View,
};
use crate::registry::project::Project;
use crate::registry::settings::DuplicatePolicy;

/// How many rows are read at a time.
const PAGE: usize = 256;

/// How many items one transaction removes.
const STEP: usize = 64;

/// A gem that was received.
pub(super) struct Received {
    pub(super) spec: Spec,
    /// Durable, and not yet named by any record.
    pub(super) blob: StoredBlob,
    /// What came with it, and is about it.
    pub(super) attestations: Option<Attestations>,
}

/// What became of a gem that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is there now.
    Added,
    /// It was there, without attestations, and has those now that came with it.
    Attested,
    /// It was there.
    Unchanged,
}

/// The answer to a gem that is not there.
pub(super) fn no_gem() -> ApiError {
    ApiError::not_found("This gem could not be found")
}

/// The answer to a version that is not there.
fn no_version(name: &GemName, numbered: &str) -> ApiError {
    ApiError::not_found(format!("The version {numbered} of {name} could not be found"))
}

/// Reads the format's part of a package.
pub(super) fn head_of(package: &Package) -> Result<Head, ApiError> {
    Ok(Head::decode(&package.metadata).map_err(cairn_cluster::ReadError::from)?)
}

/// A gem in a transaction that changes it.
struct Opened<'e, 't> {
    edit: &'e mut Edit<'t>,
    package: Package,
    head: Head,
    keys: Keys,
}

impl<'e, 't> Opened<'e, 't> {
    fn new(edit: &'e mut Edit<'t>, package: Package) -> Result<Self, ApiError> {
        Ok(Self {
            keys: Keys::new(edit.scope().collection()),
            head: head_of(&package)?,
            package,
            edit,
        })
    }

    /// The gem of this name.
    async fn find(edit: &'e mut Edit<'t>, name: &GemName) -> Result<Self, ApiError> {
        let package = edit.package(&name.canonical()).await?;
        let package = package.filter(|package| package.display_name == name.as_str());
        Self::new(edit, package.ok_or_else(no_gem)?)
    }

    /// The rows as they would be without one and with another one: their digest and number, and which
    /// of them is to be shown. Reads all of them, so nothing that happens often comes here.
    async fn count_anew(
        &mut self,
        without: Option<u64>,
        with: Option<(u64, &Row)>,
    ) -> Result<(InfoDigest, Option<(GemVersion, Platform)>), ApiError> {
        let snapshot = self.edit.txn().snapshot().clone();
        let (rows, prefix) = (self.keys.rows(), row_prefix(&self.package.name));
        let (mut digest, mut shown, mut count) = (InfoDigest::new(), None, 0);
        let mut see = |row: &Row| {
            digest.push(&row.line);
            count += 1;
            let is_better = |(version, platform): &(GemVersion, Platform)| {
                rank((&row.version, &row.platform), (version, platform)).is_gt()
            };
            if shown.as_ref().is_none_or(is_better) {
                shown = Some((row.version.clone(), row.platform.clone()));
            }
        };
        let (mut with, mut after) = (with, None::<Bytes>);
        loop {
            let mut scan = Scan::of(&rows).prefix(&prefix).limit(PAGE);
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let page = snapshot.scan(scan).await?;
            for found in &page {
                let number = row_number(&found.item);
                if let Some((_, row)) = with.take_if(|(at, _)| *at <= number) {
                    see(row);
                }
                if Some(number) != without {
                    see(&found.record()?);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.item.clone()),
                _ => break,
            }
        }
        if let Some((_, row)) = with {
            see(row);
        }
        self.head.rows = count;
        Ok((digest, shown))
    }

    /// Writes a line of `/versions`.
    fn tell_of(&mut self, notes: &VersionNotes, is_there: bool, digest: &InfoDigest) {
        let name = &self.package.display_name;
        let line = change_line(name, &notes.numbered(), is_there, &digest.hex());
        let now = self.edit.scope().now();
        let txn = self.edit.txn();
        txn.append(&self.keys.changes(), line, &[]);
        txn.raise(&self.keys.changed_at(), now.0);
        self.head.digest = digest.state().into();
    }

    /// Shows a version, if none that is shown comes before it.
    fn offer(&mut self, spec: &Spec) {
        let is_shown =
            self.head.top.as_ref().is_some_and(|top| {
                rank((&top.version, &top.platform), (&spec.version, &spec.platform)).is_gt()
            });
        if !is_shown {
            self.head.top = Some(Top {
                version: spec.version.clone(),
                platform: spec.platform.clone(),
                summary: spec.summary.clone(),
            });
        }
    }

    /// Lists a version behind all others.
    async fn append(&mut self, notes: &VersionNotes, row: &Row) -> Result<(), ApiError> {
        let mut digest = match InfoDigest::resume(&self.head.digest) {
            Some(digest) => digest,
            None if self.head.next_row == 0 => InfoDigest::new(),
            // It was stored by a version of another library.
            None => self.count_anew(None, None).await?.0,
        };
        digest.push(&row.line);
        self.head.next_row = notes.row + 1;
        self.head.rows += 1;
        self.edit
            .txn()
            .put_record(&self.keys.row(&self.package.name, notes.row), row);
        self.tell_of(notes, true, &digest);
        self.offer(&notes.spec);
        Ok(())
    }

    /// Takes a version out of the indexes.
    async fn withdraw(&mut self, notes: &VersionNotes) -> Result<(), ApiError> {
        let (digest, shown) = self.count_anew(Some(notes.row), None).await?;
        self.edit
            .txn()
            .delete(&self.keys.row(&self.package.name, notes.row));
        self.tell_of(notes, false, &digest);
        let is_shown =
            |top: &Top| (&top.version, &top.platform) == (&notes.spec.version, &notes.spec.platform);
        if self.head.top.as_ref().is_some_and(is_shown) {
            self.head.top = None;
            if let Some((version, platform)) = shown {
                let key = numbered(&version, &platform);
                if let Some(found) = self.edit.version(&self.package, &key).await? {
                    self.offer(&decode::<VersionNotes>(&found.metadata)?.spec);
                }
            }
        }
        Ok(())
    }

    /// Puts a version back where it was.
    async fn list_again(&mut self, version: &package::Version, notes: &VersionNotes) -> Result<(), ApiError> {
        let row = Row::of(notes, version.created_at);
        let (digest, _) = self.count_anew(Some(notes.row), Some((notes.row, &row))).await?;
        self.edit
            .txn()
            .put_record(&self.keys.row(&self.package.name, notes.row), &row);
        self.tell_of(notes, true, &digest);
        self.offer(&notes.spec);
        Ok(())
    }

    fn save_version(&mut self, version: &mut package::Version, notes: &VersionNotes) -> Result<(), ApiError> {
        version.metadata = record::encode(notes);
        self.edit.put_version(&self.package, version)
    }

    /// Writes the package's record, so that two changes of one gem never miss each other.
    fn save(mut self) -> Result<(), ApiError> {
        self.package.metadata = record::encode(&self.head);
        self.edit.put_package(&self.package)
    }
}

/// Publishes a gem that is stored.
pub(super) async fn publish(
    project: &Authorised<Project, Publish>,
    gem: &Received,
) -> Result<Pushed, ApiError> {
    let scope = project.scope(NAME);
    let attestations = match &gem.attestations {
        Some(attestations) => Some(scope.put_blob(attestations.text.clone()).await?),
        None => None,
    };
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let pushed = commit_to(&mut edit, gem, attestations.as_ref()).await?;
            Ok((txn, pushed))
        })
        .await
}

async fn commit_to(
    edit: &mut Edit<'_>,
    gem: &Received,
    attestations: Option<&StoredBlob>,
) -> Result<Pushed, ApiError> {
    let spec = &gem.spec;
    let (name, numbered) = (&spec.name, numbered(&spec.version, &spec.platform));
    let package = edit.claim(&name.canonical(), name.as_str()).await?;
    if package.display_name != name.as_str() {
        return Err(ApiError::conflict(format!(
            "The name {name} is too close to {}, which is there already",
            package.display_name
        )));
    }
    let mut opened = Opened::new(edit, package)?;
    if let Some(present) = opened.edit.version(&opened.package, &numbered).await? {
        return repeated(&mut opened, &present, gem, attestations).await;
    }
    if opened.edit.was_deleted(&opened.package, &numbered).await? {
        return Err(ApiError::conflict(format!(
            "{name} ({numbered}) was deleted and cannot be pushed again; raise the version"
        )));
    }
    let notes = VersionNotes {
        spec: spec.clone(),
        sha256: HEXLOWER.encode(&gem.blob.digests().sha256),
        size_bytes: gem.blob.size(),
        row: opened.head.next_row,
        is_yanked: false,
        is_listed: true,
    };
    opened.claim(&notes).await?;
    let new = NewVersion {
        version: numbered,
        status: Status::Default,
        metadata: record::encode(&notes),
    };
    let created = opened
        .edit
        .create_version(&opened.package, new, Reuse::Refused)
        .await?;
    let file = NewFile {
        name: &notes.spec.file_name(),
        blob: &gem.blob,
        metadata: Bytes::new(),
    };
    opened
        .edit
        .put_file(&created, file, DuplicatePolicy::Forbid)
        .await?;
    if let Some(attestations) = attestations {
        opened.attest(&created, &notes, attestations).await?;
    }
    if opened.head.owners.is_empty() {
        let creator = opened.edit.scope().caller().user().map(|user| user.id);
        opened.head.owners = creator.into_iter().collect();
    }
    let row = Row::of(&notes, created.created_at);
    opened.append(&notes, &row).await?;
    opened.save()?;
    Ok(Pushed::Added)
}

/// A gem was pushed under a version that is there.
async fn repeated(
    opened: &mut Opened<'_, '_>,
    present: &package::Version,
    gem: &Received,
    attestations: Option<&StoredBlob>,
) -> Result<Pushed, ApiError> {
    let notes: VersionNotes = decode(&present.metadata)?;
    let (name, numbered) = (&notes.spec.name, notes.numbered());
    if notes.is_yanked {
        return Err(ApiError::conflict(format!(
            "{name} ({numbered}) was yanked and cannot be pushed again; raise the version"
        )));
    }
    let file = opened.edit.file(present, &notes.spec.file_name()).await?;
    if file.is_none_or(|file| file.blob != gem.blob.id()) {
        return Err(ApiError::conflict(format!(
            "Repushing of gem versions is not allowed: {name} ({numbered}) is there with other content; raise the version"
        )));
    }
    let Some(attestations) = attestations else {
        return Ok(Pushed::Unchanged);
    };
    match opened.attest(present, &notes, attestations).await? {
        FilePut::Added(_) => Ok(Pushed::Attested),
        FilePut::Unchanged(_) => Ok(Pushed::Unchanged),
        FilePut::Refused(_) => Err(ApiError::conflict(format!(
            "{name} ({numbered}) has other attestations already, which stay as they are"
        ))),
    }
}

impl Opened<'_, '_> {
    /// Puts the attestations of a gem beside it, unless it has some.
    async fn attest(
        &mut self,
        version: &package::Version,
        notes: &VersionNotes,
        attestations: &StoredBlob,
    ) -> Result<FilePut, ApiError> {
        let file = NewFile {
            name: &attestations::file_of(&notes.spec.file_name()),
            blob: attestations,
            metadata: Bytes::new(),
        };
        let duplicates = DuplicatePolicy::ForbidSameContentOk;
        self.edit.put_file(version, file, duplicates).await
    }

    /// Refuses a gem whose file has the name of another one's (`a` 1-2 and `a-1` 2), or whose version is
    /// equal to one that is there, and keeps both from being published later.
    async fn claim(&mut self, notes: &VersionNotes) -> Result<(), ApiError> {
        let Spec {
            name,
            version,
            platform,
            ..
        } = &notes.spec;
        let numbered = notes.numbered();
        let file = self.keys.file_claim(&notes.spec.full_name());
        let own = format!("{name} ({numbered})");
        if let Some(other) = self.edit.txn().get(&file).await?
            && other != own.as_bytes()
        {
            let other = String::from_utf8_lossy(&other);
            return Err(ApiError::conflict(format!(
                "The file {} is that of {other}, so {own} cannot be pushed",
                notes.spec.file_name()
            )));
        }
        let equal = self.keys.version_claim(&self.package.name, version, platform);
        if let Some(other) = self.edit.txn().get(&equal).await?
            && other != numbered.as_bytes()
        {
            let other = String::from_utf8_lossy(&other);
            return Err(ApiError::conflict(format!(
                "{own} is the same version as {other}, which was pushed already"
            )));
        }
        self.edit.txn().put(&file, own);
        self.edit.txn().put(&equal, numbered);
        Ok(())
    }
}

/// Yanks a version, or takes that back; gives the version with its platform.
pub(super) async fn set_yanked(
    scope: &Scope,
    name: &GemName,
    version: &GemVersion,
    platform: &Platform,
    yanked: bool,
) -> Result<String, ApiError> {
    let numbered = numbered(version, platform);
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut opened = Opened::find(&mut edit, name).await?;
            let found = opened.edit.version(&opened.package, &numbered).await?;
            let mut found = found.ok_or_else(|| no_version(name, &numbered))?;
            let mut notes: VersionNotes = decode(&found.metadata)?;
            if notes.is_yanked == yanked {
                let state = if yanked {
                    "has already been yanked"
                } else {
                    "is not yanked"
                };
                return Err(ApiError::unprocessable(format!(
                    "The version {numbered} of {name} {state}"
                )));
            }
            let has_file = opened.edit.file(&found, &notes.spec.file_name()).await?.is_some();
            let is_listed = !yanked && has_file;
            if notes.is_listed && !is_listed {
                opened.withdraw(&notes).await?;
            } else if is_listed && !notes.is_listed {
                opened.list_again(&found, &notes).await?;
            }
            (notes.is_yanked, notes.is_listed) = (yanked, is_listed);
            found.status = match (found.status, yanked) {
                (Status::Hidden, _) => Status::Hidden,
                (_, true) => Status::Deprecated,
                (_, false) => Status::Default,
            };
            opened.save_version(&mut found, &notes)?;
            opened.save()?;
            Ok((txn, ()))
        })
        .await?;
    Ok(numbered)
}

/// Changes the owners of a gem.
pub(super) async fn change_owners(
    scope: &Scope,
    name: &GemName,
    change: impl Fn(&mut Head) -> Result<(), OwnersError>,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let mut opened = Opened::find(&mut edit, name).await?;
            change(&mut opened.head).map_err(|error| ApiError::unprocessable(error.to_string()))?;
            opened.save()?;
            Ok((txn, ()))
        })
        .await
}

/// Deletes a version as part of a transaction.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    edit.delete_version(&package, version).await?;
    let notes: VersionNotes = decode(&version.metadata)?;
    if !notes.is_listed {
        return Ok(());
    }
    let mut opened = Opened::new(edit, package)?;
    opened.withdraw(&notes).await?;
    opened.save()
}

/// Lists a version again that was put back, if it was listed.
pub(super) async fn restore_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: &package::Version,
) -> Result<(), ApiError> {
    let notes: VersionNotes = decode(&version.metadata)?;
    if !notes.is_listed {
        return Ok(());
    }
    let mut opened = Opened::new(edit, package)?;
    opened.list_again(version, &notes).await?;
    opened.save()
}

/// Mends what is kept about a file that a transaction has deleted: without its gem, a version is in no
/// index.
pub(super) async fn forget_file(
    edit: &mut Edit<'_>,
    package: Package,
    mut version: package::Version,
    file: &File,
) -> Result<(), ApiError> {
    let mut notes: VersionNotes = decode(&version.metadata)?;
    if !notes.is_listed || file.name != notes.spec.file_name() {
        return Ok(());
    }
    let mut opened = Opened::new(edit, package)?;
    opened.withdraw(&notes).await?;
    notes.is_listed = false;
    opened.save_version(&mut version, &notes)?;
    opened.save()
}

/// Lists a version again whose gem was put back, unless it is yanked.
pub(super) async fn restore_file(
    edit: &mut Edit<'_>,
    package: Package,
    mut version: package::Version,
    file: &File,
) -> Result<(), ApiError> {
    let mut notes: VersionNotes = decode(&version.metadata)?;
    if notes.is_listed || notes.is_yanked || file.name != notes.spec.file_name() {
        return Ok(());
    }
    let mut opened = Opened::new(edit, package)?;
    opened.list_again(&version, &notes).await?;
    notes.is_listed = true;
    opened.save_version(&mut version, &notes)?;
    opened.save()
}

/// Takes apart a piece of what the format keeps in a project that was deleted.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal { txn, records, .. } = removal;
    for collection in Keys::new(records).all() {
        let found = txn.scan(Scan::of(&collection).limit(STEP)).await?;
        for item in &found {
            txn.delete(&collection.key(&item.item));
        }
        if !found.is_empty() {
            return Ok(Progress::More);
        }
    }
    Ok(Progress::Done)
}

/// A version that clients may have, with what the format keeps about it.
pub(super) async fn version_of(
    scope: &Scope,
    package: &Package,
    numbered: &str,
) -> Result<Option<(package::Version, VersionNotes)>, ApiError> {
    match View::of(scope).version(package, numbered).await? {
        Some(version) => {
            let notes = decode(&version.metadata)?;
            Ok(Some((version, notes)))
        }
        None => Ok(None),
    }
}
