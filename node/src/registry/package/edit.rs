//! Changing packages inside of a transaction.
//!
//! All changes of all formats come through here, so this is where rules that protect packages are
//! kept: a name must be opened in the transaction before anything of it is changed, and whatever
//! publishes, changes or removes something asks the rules.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_cluster::{BlobId, BlobTxnError, Digests, Key, Scan, StoredBlob, Timestamp, Txn};
use data_encoding::HEXLOWER;

use crate::auth::action::Verb;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::audit::Act;
use crate::registry::keys;
use crate::registry::package::record::{
    File, Location, MAX_METADATA_BYTES, Package, Status, Tombstone, Version,
};
use crate::registry::protection::{PackageGuard, Right};
use crate::registry::purge::{self, Files, Purge, Restorable};
use crate::registry::scope::Scope;
use crate::registry::settings::DuplicatePolicy;
use crate::registry::storage::{Account, Amount};
use crate::registry::trash::{self, Deleted, What, Window};
use crate::registry::trust::Origin;

/// Versions with more files than this are hidden at once and taken apart in the background.
const FILES_PER_TRANSACTION: usize = 64;

/// Deleted packages of one name whose versions are still being taken apart.
const MAX_FORMER_KEYS: usize = 16;

/// The packages of one format in one project, inside of a transaction.
pub struct Edit<'a> {
    scope: &'a Scope,
    txn: &'a mut Txn,
    /// What protects packages here; read when the first name is opened.
    guard: Option<PackageGuard>,
    /// The packages of the versions that were opened.
    packages: BTreeMap<u64, String>,
    /// Whether what is deleted is gone at once.
    is_final: bool,
    /// What was deleted last, if it can be restored.
    trashed: Option<Deleted>,
}

/// A version to be made.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The version, as its format normalises it.
    pub version: String,
    /// Who sees it.
    pub status: Status,
    /// What its format keeps about it.
    pub metadata: Bytes,
}

/// A file to be added.
#[derive(Clone, Debug)]
pub struct NewFile<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bytes, stored already.
    pub blob: &'a StoredBlob,
    /// What its format keeps about it.
    pub metadata: Bytes,
}

/// The bytes of a file to be added.
#[derive(Clone, Copy)]
enum Content<'a> {
    /// Stored just now, and named by nothing yet.
    Stored(&'a StoredBlob),
    /// Those of a file that is there.
    Kept(&'a File),
}

impl Content<'_> {
    fn blob(self) -> BlobId {
        match self {
            Self::Stored(blob) => blob.id(),
            Self::Kept(file) => file.blob,
        }
    }

    fn size(self) -> u64 {
        match self {
            Self::Stored(blob) => blob.size(),
            Self::Kept(file) => file.size,
        }
    }

    fn digests(self) -> Digests {
        match self {
            Self::Stored(blob) => blob.digests().clone(),
            Self::Kept(file) => file.digests.clone(),
        }
    }
}

/// Whether a version that was deleted may be published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may.
    Allowed,
    /// It is a conflict.
    Refused,
}

/// What became of a file that was to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePut {
    /// It is there now.
    Added(File),
    /// The same content was there under this name; nothing was changed.
    Unchanged(File),
    /// Other content is there under this name; nothing was changed.
    Refused(File),
}

impl<'a> Edit<'a> {
    /// What `scope` covers, as this transaction would leave it.
    pub fn new(scope: &'a Scope, txn: &'a mut Txn) -> Self {
        Self {
            scope,
            txn,
            guard: None,
            packages: BTreeMap::new(),
            is_final: false,
            trashed: None,
        }
    }

    /// With `is_final`, what is deleted cannot be restored, and its space comes back sooner.
    pub(crate) fn finally(self, is_final: bool) -> Self {
        Self { is_final, ..self }
    }

    /// The same from now on.
    pub fn delete_for_good(&mut self) {
        self.is_final = true;
    }

    /// What the transaction is about.
    pub(crate) fn scope(&self) -> &'a Scope {
        self.scope
    }

    /// The transaction, for records of the format's own.
    pub fn txn(&mut self) -> &mut Txn {
        self.txn
    }

    fn root(&self) -> u64 {
        self.scope.project().root()
    }

    fn project(&self) -> u64 {
        self.scope.project().id
    }

    fn account(&self) -> Account {
        Account::of(self.scope.project(), self.scope.format())
    }

    fn creator(&self) -> Option<u64> {
        self.scope.caller().user().map(|user| user.id)
    }

    /// The package of this normalised name.
    pub async fn package(&mut self, name: &str) -> Result<Option<Package>, ApiError> {
        let found = self.package_or_its_trace(name).await?;
        Ok(found.filter(|package| package.deleted_at.is_none()))
    }

    /// The same, for who says something of it in records of the format's own; refuses whom a rule does not let publish it.
    pub(crate) async fn package_of_publisher(&mut self, name: &str) -> Result<Option<Package>, ApiError> {
        let found = self.package(name).await?;
        self.admit(name, Right::Push).await?;
        Ok(found)
    }

    /// Reads what protects packages here, as part of the transaction.
    async fn guard(&mut self) -> Result<&PackageGuard, ApiError> {
        if self.guard.is_none() {
            let (project, caller, now) = (self.scope.project(), self.scope.caller(), self.scope.now());
            self.guard = Some(PackageGuard::of(self.txn, project, caller, now).await?);
        }
        self.opened()
    }

    /// The same where a name must have been opened before.
    fn opened(&self) -> Result<&PackageGuard, ApiError> {
        let never = || std::io::Error::other("a package is changed that the transaction has not opened");
        self.guard.as_ref().ok_or_else(|| ApiError::internal(never()))
    }

    /// Refuses what a rule forbids to do to a package.
    async fn admit(&mut self, name: &str, right: Right) -> Result<(), ApiError> {
        let format = self.scope.format();
        self.guard().await?.check(format, name, right)
    }

    /// The same for the package of a version.
    async fn admit_version(&mut self, version: &Version, right: Right) -> Result<(), ApiError> {
        let name = match self.packages.get(&version.id) {
            Some(name) => name.clone(),
            None => {
                let key = keys::version_ids(self.root(), self.project()).key(version.id);
                match self.txn.record::<Location>(&key).await? {
                    Some(location) => location.name,
                    // It is gone, and so is what could be protected.
                    None => return Ok(()),
                }
            }
        };
        self.admit(&name, right).await
    }

    /// The same for what is written about a package. What a deletion leaves to be mended was
    /// decided on when it deleted, and whoever only reads may still say what they like.
    fn admit_mending(&self, name: &str) -> Result<(), ApiError> {
        match self.scope.verb() {
            Verb::Delete | Verb::Pull => self.opened().map(|_| ()),
            _ => self.opened()?.check(self.scope.format(), name, Right::Push),
        }
    }

    async fn package_or_its_trace(&mut self, name: &str) -> Result<Option<Package>, ApiError> {
        if !self.scope.covers(name) {
            return Err(ApiError::forbidden(format!(
                "403 Forbidden: the trust rules of this job do not let it do this to {name}"
            )));
        }
        self.guard().await?;
        let key = keys::package(self.root(), self.project(), self.scope.format(), name);
        Ok(self.txn.record(&key).await?)
    }

    /// The package of this normalised name; made if there is none.
    pub async fn claim(&mut self, name: &str, display_name: &str) -> Result<Package, ApiError> {
        self.admit(name, Right::Push).await?;
        let trace = match self.package_or_its_trace(name).await? {
            Some(package) if package.deleted_at.is_none() => return Ok(package),
            trace => trace,
        };
        let package = Package {
            key: self.scope.store().version_id().await?,
            name: name.into(),
            display_name: display_name.into(),
            created_at: self.scope.now(),
            metadata: Bytes::new(),
            deleted_at: None,
            former_keys: trace.map(|trace| trace.former_keys).unwrap_or_default(),
        };
        let named = keys::named(self.root(), self.scope.format(), name);
        self.txn.put(&named.key(self.project()), "");
        self.write_package(&package)?;
        Ok(package)
    }

    /// Writes a package back, with changed metadata.
    pub fn put_package(&mut self, package: &Package) -> Result<(), ApiError> {
        self.admit_mending(&package.name)?;
        self.write_package(package)
    }

    fn write_package(&mut self, package: &Package) -> Result<(), ApiError> {
        check_metadata(&package.metadata)?;
        let key = keys::package(self.root(), self.project(), self.scope.format(), &package.name);
        self.txn.put_record(&key, package);
        Ok(())
    }

    /// One version of a package.
    pub async fn version(&mut self, package: &Package, version: &str) -> Result<Option<Version>, ApiError> {
        let versions = keys::versions(self.root(), self.project(), package.key);
        let found: Option<Version> = self.txn.record(&versions.key(version)).await?;
        if let Some(version) = &found {
            self.packages.insert(version.id, package.name.clone());
        }
        Ok(found)
    }

    /// Makes a version; a conflict if it is there, or was deleted and may not come back.
    pub async fn create_version(
        &mut self,
        package: &Package,
        new: NewVersion,
        reuse: Reuse,
    ) -> Result<Version, ApiError> {
        self.admit(&package.name, Right::Push).await?;
        check_metadata(&new.metadata)?;
        let (root, project) = (self.root(), self.project());
        let key = keys::versions(root, project, package.key).key(&new.version);
        if self.txn.get(&key).await?.is_some() {
            return Err(ApiError::conflict(format!(
                "version {} of {} exists already",
                new.version, package.display_name
            )));
        }
        let tombstone = keys::tombstones(root, project, self.scope.format(), &package.name).key(&new.version);
        match reuse {
            Reuse::Allowed => self.txn.delete(&tombstone),
            Reuse::Refused if self.was_deleted(package, &new.version).await? => {
                return Err(ApiError::conflict(format!(
                    "version {} of {} was deleted and cannot be published again",
                    new.version, package.display_name
                )));
            }
            Reuse::Refused => {}
        }
        let version = Version {
            id: self.scope.store().version_id().await?,
            version: new.version,
            status: new.status,
            created_at: self.scope.now(),
            creator: self.creator(),
            metadata: new.metadata,
        };
        let location = self.write_version(package, &version);
        let act = Act::new("package.version_created").to(location.to_string());
        self.scope.tell(self.txn, act);
        if let Some(job) = self.scope.caller().job() {
            let by = keys::published_by(root, project, version.id);
            self.txn.put_record(&by, job.origin());
        }
        Ok(version)
    }

    /// Writes a version that was not there, where it is found, and counts it.
    fn write_version(&mut self, package: &Package, version: &Version) -> Location {
        let (root, project) = (self.root(), self.project());
        let location = Location {
            format: self.scope.format().into(),
            name: package.name.clone(),
            package_key: package.key,
            version: version.version.clone(),
        };
        self.packages.insert(version.id, package.name.clone());
        let key = keys::versions(root, project, package.key).key(&version.version);
        self.txn.put_record(&key, version);
        self.txn
            .put_record(&keys::version_ids(root, project).key(version.id), &location);
        let time = keys::time_item(version.created_at.0, version.id);
        self.txn
            .put_record(&keys::version_times(root, project).key(time), &location);
        self.account().count(self.txn, version.creator, Amount::version());
        location
    }

    /// Whether a version of this package's name was deleted.
    pub async fn was_deleted(&mut self, package: &Package, version: &str) -> Result<bool, ApiError> {
        let (root, project) = (self.root(), self.project());
        let tombstone = keys::tombstones(root, project, self.scope.format(), &package.name).key(version);
        if self.txn.get(&tombstone).await?.is_some() {
            return Ok(true);
        }
        // Those of a package that was deleted a moment ago have no tombstones yet.
        for former in &package.former_keys {
            let key = keys::versions(root, project, *former).key(version);
            if self.txn.get(&key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a version back, with changed status or metadata.
    pub fn put_version(&mut self, package: &Package, version: &Version) -> Result<(), ApiError> {
        self.admit_mending(&package.name)?;
        check_metadata(&version.metadata)?;
        let versions = keys::versions(self.root(), self.project(), package.key);
        self.txn.put_record(&versions.key(&version.version), version);
        Ok(())
    }

    /// The file of this name.
    pub async fn file(&mut self, version: &Version, name: &str) -> Result<Option<File>, ApiError> {
        let files = keys::files(self.root(), self.project(), version.id);
        Ok(self.txn.record(&files.key(name)).await?)
    }

    /// Files of a version in the order of their names, after `after`, at most `limit`. The transaction's own
    /// changes are not among them.
    pub async fn files(
        &mut self,
        version: &Version,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<File>, ApiError> {
        let files = keys::files(self.root(), self.project(), version.id);
        let mut scan = Scan::of(&files).limit(limit);
        if let Some(after) = after {
            scan = scan.after(after);
        }
        let found = self.txn.scan(scan).await?;
        Ok(found
            .iter()
            .map(|entry| entry.record())
            .collect::<Result<_, _>>()?)
    }

    /// Adds a file, or does what `duplicates` says if there is one of its name.
    pub async fn put_file(
        &mut self,
        version: &Version,
        new: NewFile<'_>,
        duplicates: DuplicatePolicy,
    ) -> Result<FilePut, ApiError> {
        check_metadata(&new.metadata)?;
        self.put_content(
            version,
            new.name,
            Content::Stored(new.blob),
            new.metadata,
            duplicates,
        )
        .await
    }

    /// Adds a file with the bytes and the metadata of one that is there, in this project or in
    /// another one of its root group; or does what `duplicates` says if there is one of its name.
    pub async fn copy_file(
        &mut self,
        version: &Version,
        name: &str,
        source: &File,
        duplicates: DuplicatePolicy,
    ) -> Result<FilePut, ApiError> {
        let metadata = source.metadata.clone();
        self.put_content(version, name, Content::Kept(source), metadata, duplicates)
            .await
    }

    async fn put_content(
        &mut self,
        version: &Version,
        name: &str,
        content: Content<'_>,
        metadata: Bytes,
        duplicates: DuplicatePolicy,
    ) -> Result<FilePut, ApiError> {
        self.admit_version(version, Right::Push).await?;
        if let Some(present) = self.file(version, name).await? {
            let same = present.blob == content.blob();
            match duplicates {
                DuplicatePolicy::Forbid => return Ok(FilePut::Refused(present)),
                DuplicatePolicy::ForbidSameContentOk if !same => return Ok(FilePut::Refused(present)),
                DuplicatePolicy::ForbidSameContentOk | DuplicatePolicy::Replace if same => {
                    return Ok(FilePut::Unchanged(present));
                }
                DuplicatePolicy::Allow => {
                    let older = keys::older_files(self.root(), self.project(), version.id);
                    self.txn.put_record(&older.key(present.id), &present);
                }
                _ => self.drop_file(version, &present).await?,
            }
        }
        let file = File {
            id: self.scope.store().file_id().await?,
            name: name.into(),
            blob: content.blob(),
            size: content.size(),
            digests: content.digests(),
            created_at: self.scope.now(),
            metadata,
        };
        let (root, project) = (self.root(), self.project());
        let id_key = keys::file_ids(root, project, version.id).key(file.id);
        self.txn
            .put_record(&keys::files(root, project, version.id).key(&file.name), &file);
        self.txn.put(&id_key, file.name.clone());
        self.account()
            .charge(self.txn, version.creator, Amount::file(file.size))
            .await?;
        self.refer_to(content, &id_key).await?;
        self.scope.count_publisher(self.txn).await?;
        self.tell_of_file("package.file_added", version, &file).await?;
        Ok(FilePut::Added(file))
    }

    async fn refer_to(&mut self, content: Content<'_>, referrer: &Key) -> Result<(), BlobTxnError> {
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        match content {
            Content::Stored(blob) => blobs.reference(self.txn, blob, referrer.as_bytes()).await,
            Content::Kept(file) => {
                blobs
                    .reference_existing(self.txn, space, &file.blob, referrer.as_bytes())
                    .await
            }
        }
    }

    /// Tells the audit log what is done to a file.
    async fn tell_of_file(
        &mut self,
        what: &'static str,
        version: &Version,
        file: &File,
    ) -> Result<(), ApiError> {
        let key = keys::version_ids(self.root(), self.project()).key(version.id);
        let location: Option<Location> = self.txn.record(&key).await?;
        let location = location.map(|location| location.to_string()).unwrap_or_default();
        let act = Act::new(what)
            .to(format!("{location}: {}", file.name))
            .with("size", file.size)
            .with("sha256", HEXLOWER.encode(&file.digests.sha256));
        self.scope.tell(self.txn, act);
        Ok(())
    }

    /// Removes the file of this name; of several, all.
    pub async fn delete_file(&mut self, version: &Version, file: &File) -> Result<(), ApiError> {
        self.admit_version(version, Right::Delete).await?;
        let (root, project) = (self.root(), self.project());
        self.tell_of_file("package.file_deleted", version, file).await?;
        self.discard_file(version, file).await?;
        self.txn
            .delete(&keys::files(root, project, version.id).key(&file.name));
        let older = keys::older_files(root, project, version.id);
        for entry in self.txn.scan(Scan::of(&older)).await? {
            let old: File = entry.record()?;
            if old.name == file.name {
                self.txn.delete(&older.key(old.id));
                self.drop_file(version, &old).await?;
            }
        }
        Ok(())
    }

    /// Removes the file of this number; of several of one name, only this. Gives what it removed.
    pub async fn delete_file_numbered(
        &mut self,
        version: &Version,
        id: u64,
    ) -> Result<Option<File>, ApiError> {
        self.admit_version(version, Right::Delete).await?;
        let (root, project) = (self.root(), self.project());
        let Some(name) = self
            .txn
            .get(&keys::file_ids(root, project, version.id).key(id))
            .await?
        else {
            return Ok(None);
        };
        let current_key = keys::files(root, project, version.id).key(&name);
        let current: Option<File> = self.txn.record(&current_key).await?;
        let is_current = current.as_ref().is_some_and(|file| file.id == id);
        let (key, file) = match current {
            Some(file) if file.id == id => (current_key, Some(file)),
            _ => {
                let key = keys::older_files(root, project, version.id).key(id);
                let file = self.txn.record(&key).await?;
                (key, file)
            }
        };
        let Some(file) = file else {
            return Ok(None);
        };
        self.txn.delete(&key);
        self.tell_of_file("package.file_deleted", version, &file).await?;
        match is_current {
            true => self.discard_file(version, &file).await?,
            // What was replaced has nowhere to be restored to.
            false => self.drop_file(version, &file).await?,
        }
        Ok(Some(file))
    }

    /// Until when what is deleted now can be restored; none if it cannot.
    async fn restorable_until(&mut self) -> Result<Option<Timestamp>, ApiError> {
        match self.is_final {
            true => Ok(None),
            false => Ok(Window::read(self.txn).await?.end(self.scope.now())),
        }
    }

    /// Puts something into the trash.
    async fn trash(
        &mut self,
        (package, display_name): (&str, &str),
        what: What,
        until: Timestamp,
    ) -> Result<(), ApiError> {
        let deleted = Deleted {
            id: self.scope.store().version_id().await?,
            format: self.scope.format().into(),
            package: package.into(),
            display_name: display_name.into(),
            what,
            deleted_at: self.scope.now(),
            deleted_by: self.creator(),
            until,
            ancestors: self.scope.project().ancestors.clone(),
            kept: Bytes::new(),
        };
        trash::put(self.txn, self.root(), self.project(), &deleted);
        self.trashed = Some(deleted);
        Ok(())
    }

    /// Leaves with what was deleted last what the format needs to put it back. False if it cannot be
    /// put back: then the format keeps nothing of it.
    pub fn keep(&mut self, kept: Bytes) -> Result<bool, ApiError> {
        check_metadata(&kept)?;
        let (root, project) = (self.root(), self.project());
        let Some(deleted) = &mut self.trashed else {
            return Ok(false);
        };
        deleted.kept = kept;
        trash::put(self.txn, root, project, deleted);
        Ok(true)
    }

    /// Puts back a version whose files are still there.
    pub(in crate::registry) async fn put_back_version(
        &mut self,
        package: &Package,
        version: &Version,
        origin: Option<&Origin>,
    ) -> Result<(), ApiError> {
        let (root, project) = (self.root(), self.project());
        let key = keys::versions(root, project, package.key).key(&version.version);
        if self.txn.get(&key).await?.is_some() {
            return Err(ApiError::conflict(format!(
                "409 Conflict: version {} of {} was published anew",
                version.version, package.display_name
            )));
        }
        let tombstones = keys::tombstones(root, project, self.scope.format(), &package.name);
        self.txn.delete(&tombstones.key(&version.version));
        self.write_version(package, version);
        if let Some(origin) = origin {
            self.txn
                .put_record(&keys::published_by(root, project, version.id), origin);
        }
        Ok(())
    }

    /// Puts back a file whose blob is still there.
    pub(in crate::registry) async fn put_back_file(
        &mut self,
        version: &Version,
        file: &File,
    ) -> Result<(), ApiError> {
        self.admit_version(version, Right::Push).await?;
        if self.file(version, &file.name).await?.is_some() {
            return Err(ApiError::conflict(format!(
                "409 Conflict: a file {} was published anew",
                file.name
            )));
        }
        let (root, project) = (self.root(), self.project());
        let ids = keys::file_ids(root, project, version.id);
        self.txn.put(&ids.key(file.id), file.name.clone());
        self.txn
            .put_record(&keys::files(root, project, version.id).key(&file.name), file);
        Ok(())
    }

    /// Removes a file that is there; it can be restored.
    async fn discard_file(&mut self, version: &Version, file: &File) -> Result<(), ApiError> {
        self.trashed = None;
        let Some(until) = self.restorable_until().await? else {
            return self.drop_file(version, file).await;
        };
        let (root, project) = (self.root(), self.project());
        let location = keys::version_ids(root, project).key(version.id);
        let location: Option<Location> = self.txn.record(&location).await?;
        let package = location.map(|location| location.name).unwrap_or_default();
        self.txn
            .delete(&keys::file_ids(root, project, version.id).key(file.id));
        let what = What::File {
            version_id: version.id,
            version: version.version.clone(),
            creator: version.creator,
            file: file.clone(),
        };
        self.trash((&package, &package), what, until).await
    }

    /// Lets go of a file's blob and of its number.
    async fn drop_file(&mut self, version: &Version, file: &File) -> Result<(), ApiError> {
        let id_key = keys::file_ids(self.root(), self.project(), version.id).key(file.id);
        self.txn.delete(&id_key);
        self.account()
            .count(self.txn, version.creator, -Amount::file(file.size));
        let (blobs, space) = (self.scope.blobs(), self.scope.space());
        Ok(blobs
            .release(self.txn, space, &file.blob, id_key.as_bytes())
            .await?)
    }

    /// Removes a version with its files, and leaves a tombstone. It can be restored for a while; if
    /// not, a version of many files vanishes at once, and its files are let go in the background.
    pub async fn delete_version(&mut self, package: &Package, version: &Version) -> Result<(), ApiError> {
        self.admit(&package.name, Right::Delete).await?;
        let (root, project) = (self.root(), self.project());
        let location = Location {
            format: self.scope.format().into(),
            name: package.name.clone(),
            package_key: package.key,
            version: version.version.clone(),
        };
        let act = Act::new("package.version_deleted").to(location.to_string());
        self.scope.tell(self.txn, act);
        let tombstone = Tombstone {
            deleted_at: self.scope.now(),
            deleted_by: self.creator(),
        };
        let tombstones = keys::tombstones(root, project, self.scope.format(), &package.name);
        self.txn.put_record(&tombstones.key(&version.version), &tombstone);
        self.txn
            .delete(&keys::versions(root, project, package.key).key(&version.version));
        self.txn.delete(&keys::version_ids(root, project).key(version.id));
        let time = keys::time_item(version.created_at.0, version.id);
        self.txn.delete(&keys::version_times(root, project).key(time));
        let origin = keys::published_by(root, project, version.id);
        let published_by: Option<Origin> = self.txn.record(&origin).await?;
        self.txn.delete(&origin);
        let account = self.account();
        account.count(self.txn, version.creator, -Amount::version());
        self.trashed = None;
        if let Some(until) = self.restorable_until().await? {
            let what = What::Version {
                version: version.clone(),
                origin: published_by,
            };
            let names = (package.name.as_str(), package.display_name.as_str());
            return self.trash(names, what, until).await;
        }
        purge::forget_uses(self.txn, root, project, version.id);
        let ids = keys::file_ids(root, project, version.id);
        let files = self
            .txn
            .scan(Scan::of(&ids).limit(FILES_PER_TRANSACTION + 1))
            .await?;
        if files.len() > FILES_PER_TRANSACTION {
            let work = Purge::Version {
                project,
                version: version.id,
                ancestors: account.ancestors().to_vec(),
                format: self.scope.format().into(),
                creator: version.creator,
            };
            return purge::order(self.txn, self.scope.store(), root, &work).await;
        }
        let blobs = self.scope.blobs();
        let files = Files {
            root,
            project,
            version: version.id,
            creator: version.creator,
            account: &account,
        };
        purge::drop_files(self.txn, blobs, files, FILES_PER_TRANSACTION).await?;
        Ok(())
    }

    /// Removes a package with all its versions, which vanish at once. Its name is remembered.
    pub async fn delete_package(&mut self, package: Package) -> Result<(), ApiError> {
        self.admit(&package.name, Right::Delete).await?;
        let (root, project) = (self.root(), self.project());
        let mut trace = package;
        if trace.former_keys.len() >= MAX_FORMER_KEYS {
            return Err(ApiError::new(
                ErrorKind::Unavailable,
                format!(
                    "{} was deleted too often in a short time; try again later",
                    trace.display_name
                ),
            ));
        }
        let act = Act::new("package.deleted").to(format!("{} {}", self.scope.format(), trace.name));
        self.scope.tell(self.txn, act);
        trace.deleted_at = Some(self.scope.now());
        trace.former_keys.push(trace.key);
        trace.metadata = Bytes::new();
        self.write_package(&trace)?;
        let named = keys::named(root, self.scope.format(), &trace.name);
        self.txn.delete(&named.key(project));
        let until = self.restorable_until().await?;
        let work = Purge::Package {
            project,
            format: self.scope.format().into(),
            restorable: until.map(|until| Restorable {
                until,
                display_name: trace.display_name.clone(),
            }),
            name: trace.name,
            key: trace.key,
            deleted_by: self.creator(),
            ancestors: self.scope.project().ancestors.clone(),
        };
        purge::order(self.txn, self.scope.store(), root, &work).await
    }
}

fn check_metadata(metadata: &Bytes) -> Result<(), ApiError> {
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(ApiError::new(
            ErrorKind::TooLarge,
            format!("the metadata is over the limit of {MAX_METADATA_BYTES} bytes"),
        ));
    }
    Ok(())
}

impl From<BlobTxnError> for ApiError {
    fn from(error: BlobTxnError) -> Self {
        match error {
            // The upload took so long that its bytes may be gone; the client sends them again.
            BlobTxnError::Unknown { .. } | BlobTxnError::Expired { .. } => Self::unavailable(error),
            BlobTxnError::Metadata(error) => error.into(),
        }
    }
}
