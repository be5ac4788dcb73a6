//! Every change to the container images of a project, and how they are found.
//!
//! What holds here:
//! - a blob or manifest can be reached only through a repository that holds it;
//! - a manifest is there with all that it names, or not at all: what it names is read in the
//!   transaction that adds it, and nothing that is named can be removed;
//! - every write reads the repository's own record, so that none survives its deletion;
//! - what a rule protects is asked about in the transaction that would change it;
//! - what a client was told is there stays long enough for it to be named: until then it is
//!   marked, for the collection of what no manifest names.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{Blobs, Collection, ReadError, Scan, Space, StoredBlob, Timestamp, Txn};

use super::keys::{ProjectKeys, RepositoryKeys};
use super::manifest::Manifest;
use super::names::{Digest, Reference, Tag};
use super::records::{BlobLink, Body, Config, LastNumber, ManifestRecord, Referrer, Repository, TagRecord};
use super::{NAME, error, number};
use crate::formats::{Progress, Removal, Stored};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::protection::{ContainerGuard, Right, TagChange};
use crate::registry::reader::{Reader, next_entries};
use crate::registry::sessions;
use crate::registry::storage::Account;

/// How long content stays that a client was told is there.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Entries of the referrers above this size are made from the manifest each time.
const MAX_ENTRY_BYTES: usize = 8 << 10;

/// How many items one transaction removes.
const STEP: usize = 256;

/// Finds a repository of a project.
pub(super) async fn repository(scope: &Scope, image: &str) -> Result<Option<RepositoryKeys>, ApiError> {
    let keys = ProjectKeys::new(scope.collection());
    let found = scope.snapshot().record::<Repository>(&keys.image(image)).await?;
    Ok(found.map(|repository| keys.repository(repository.id)))
}

/// Finds the manifest that a reference stands for.
pub(super) async fn manifest(
    scope: &Scope,
    keys: &RepositoryKeys,
    reference: &Reference,
) -> Result<Option<(Digest, ManifestRecord)>, ApiError> {
    let snapshot = scope.snapshot();
    let digest = match reference {
        Reference::Digest(digest) => *digest,
        Reference::Tag(tag) => match snapshot.record::<TagRecord>(&keys.tag(tag)).await? {
            Some(tag) => tag.digest,
            None => return Ok(None),
        },
    };
    let record = snapshot.record(&keys.manifest(&digest)).await?;
    Ok(record.map(|record| (digest, record)))
}

/// The whole name of a repository, as container clients write it without the host.
pub(super) fn whole_path(scope: &Scope, image: &str) -> String {
    let project = scope.project().path.folded();
    match image {
        "" => project,
        image => format!("{project}/{image}"),
    }
}

/// What of a repository was promised to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Blob,
    Manifest,
}

/// Promises that content of a repository stays until its reader had time to name it; false if
/// it is gone by now. Costs nothing while most of an earlier promise is left.
pub(super) async fn keep(
    scope: &Scope,
    image: &str,
    keys: &RepositoryKeys,
    digest: &Digest,
    content: Content,
) -> Result<bool, ApiError> {
    let now = scope.now();
    let promised = scope.snapshot().number(&keys.kept(digest)).await?;
    if promised > now.plus(KEPT_FOR / 2).0 {
        return Ok(true);
    }
    let record = match content {
        Content::Blob => keys.blob(digest),
        Content::Manifest => keys.manifest(digest),
    };
    let work = async |mut txn: Txn| {
        let mut change = Change::new(scope, &mut txn, image);
        let held = change.repository().await?.is_some() && change.txn.get(&record).await?.is_some();
        if held {
            change.keep(keys, digest);
        }
        Ok((txn, held))
    };
    scope.prepare(work).await
}

/// A manifest to be added, with what was read from it.
pub(super) struct NewManifest<'a> {
    pub(super) digest: Digest,
    pub(super) manifest: &'a Manifest,
    pub(super) size: u64,
    pub(super) body: NewBody<'a>,
}

/// The bytes of a manifest to be added.
#[derive(Clone, Copy)]
pub(super) enum NewBody<'a> {
    Inline(&'a Bytes),
    Blob(&'a StoredBlob),
}

/// Changes to one repository of a project, inside of a transaction.
pub(super) struct Change<'a> {
    scope: &'a Scope,
    txn: &'a mut Txn,
    keys: ProjectKeys,
    /// What of its name is below the project.
    image: &'a str,
    guard: Option<ContainerGuard>,
}

impl<'a> Change<'a> {
    pub(super) fn new(scope: &'a Scope, txn: &'a mut Txn, image: &'a str) -> Self {
        let keys = ProjectKeys::new(scope.collection());
        Self {
            scope,
            txn,
            keys,
            image,
            guard: None,
        }
    }

    /// What protects repositories and tags here, read as part of the transaction.
    pub(super) async fn guard(&mut self) -> Result<&ContainerGuard, ApiError> {
        let guard = match self.guard.take() {
            Some(guard) => guard,
            None => {
                let (project, caller) = (self.scope.project(), self.scope.caller());
                ContainerGuard::of(self.txn, project, caller, self.scope.now()).await?
            }
        };
        Ok(self.guard.insert(guard))
    }

    /// Refuses what a rule forbids to do to the repository.
    pub(super) async fn admit(&mut self, right: Right) -> Result<(), ApiError> {
        let path = whole_path(self.scope, self.image);
        self.guard().await?.check(&path, right)
    }

    /// Refuses to delete tags in a collection of them if a rule protects one.
    async fn admit_deletion_of(&mut self, tags: &Collection) -> Result<(), ApiError> {
        if !self.guard().await?.has_tag_rules() {
            return Ok(());
        }
        let mut after: Option<Bytes> = None;
        loop {
            let mut scan = Scan::of(tags).limit(STEP);
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let entries = self.txn.scan(scan).await?;
            let guard = self.guard().await?;
            for entry in &entries {
                guard.check_tag(&String::from_utf8_lossy(&entry.item), TagChange::Delete)?;
            }
            match entries.last() {
                Some(last) if entries.len() == STEP => after = Some(last.item.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// The repository, if there is one. The commit fails if it is deleted meanwhile.
    pub(super) async fn repository(&mut self) -> Result<Option<RepositoryKeys>, ApiError> {
        let found = self
            .txn
            .record::<Repository>(&self.keys.image(self.image))
            .await?;
        Ok(found.map(|repository| self.keys.repository(repository.id)))
    }

    /// The repository; made if there is none.
    pub(super) async fn claim(&mut self) -> Result<RepositoryKeys, ApiError> {
        self.admit(Right::Push).await?;
        if let Some(found) = self.repository().await? {
            return Ok(found);
        }
        let image = self.image;
        let last = self.keys.last_number();
        let nth = self.txn.record(&last).await?.unwrap_or(LastNumber(0)).0 + 1;
        self.txn.put_record(&last, &LastNumber(nth));
        let repository = Repository {
            id: number::of(self.scope.project().id, nth)?,
            created_at: self.scope.now(),
        };
        self.txn.put_record(&self.keys.image(image), &repository);
        let path = Bytes::copy_from_slice(image.as_bytes());
        self.txn.put(&self.keys.image_of_id(repository.id), path);
        Ok(self.keys.repository(repository.id))
    }

    /// Removes a repository: it cannot be found any more, and what it had is taken apart later.
    pub(super) async fn delete_repository(&mut self) -> Result<bool, ApiError> {
        let key = self.keys.image(self.image);
        let Some(repository) = self.txn.record::<Repository>(&key).await? else {
            return Ok(false);
        };
        self.admit(Right::Delete).await?;
        let tags = self.keys.repository(repository.id).tags();
        self.admit_deletion_of(&tags).await?;
        self.txn.delete(&key);
        self.txn.delete(&self.keys.image_of_id(repository.id));
        self.scope.order_removal(self.txn, repository.id).await?;
        Ok(true)
    }

    fn keep(&mut self, keys: &RepositoryKeys, digest: &Digest) {
        self.txn
            .raise(&keys.kept(digest), self.scope.now().plus(KEPT_FOR).0);
    }

    /// Gives a repository a blob whose bytes were just stored.
    pub(super) async fn link(
        &mut self,
        keys: &RepositoryKeys,
        digest: &Digest,
        blob: &StoredBlob,
    ) -> Result<(), ApiError> {
        self.admit(Right::Push).await?;
        let key = keys.blob(digest);
        self.keep(keys, digest);
        if self.txn.get(&key).await?.is_some() {
            return Ok(());
        }
        let link = BlobLink {
            blob: blob.id(),
            size: blob.size(),
            linked_at: self.scope.now(),
            linked_by: self.user(),
        };
        self.txn.put_record(&key, &link);
        self.count_link(&link).await?;
        self.scope
            .blobs()
            .reference(self.txn, blob, key.as_bytes())
            .await?;
        Ok(())
    }

    /// Whether a repository holds a blob.
    pub(super) async fn holds(&mut self, keys: &RepositoryKeys, digest: &Digest) -> Result<bool, ApiError> {
        Ok(self.txn.get(&keys.blob(digest)).await?.is_some())
    }

    /// Gives a repository a blob that another one of the same space holds; false if that does
    /// not hold it.
    pub(super) async fn mount(
        &mut self,
        source: &RepositoryKeys,
        target: &RepositoryKeys,
        digest: &Digest,
    ) -> Result<bool, ApiError> {
        self.admit(Right::Push).await?;
        let key = target.blob(digest);
        if self.txn.get(&key).await?.is_none() {
            let Some(link) = self.txn.record::<BlobLink>(&source.blob(digest)).await? else {
                return Ok(false);
            };
            let link = BlobLink {
                linked_at: self.scope.now(),
                linked_by: self.user(),
                ..link
            };
            let (blobs, space) = (self.scope.blobs(), self.scope.space());
            blobs
                .reference_existing(self.txn, space, &link.blob, key.as_bytes())
                .await?;
            self.txn.put_record(&key, &link);
            self.count_link(&link).await?;
        }
        self.keep(target, digest);
        Ok(true)
    }

    /// Adds a manifest, unless it is there, and points tags to it.
    pub(super) async fn put_manifest(
        &mut self,
        keys: &RepositoryKeys,
        new: &NewManifest<'_>,
        tags: &BTreeSet<Tag>,
    ) -> Result<(), ApiError> {
        self.admit(Right::Push).await?;
        let key = keys.manifest(&new.digest);
        if self.txn.get(&key).await?.is_none() {
            let references = self.references(keys, new.manifest).await?;
            for named in &references {
                self.txn.put(&keys.used(named).key(new.digest.to_key()), "");
            }
            let body = match new.body {
                NewBody::Inline(bytes) => Body::Inline(bytes.clone()),
                NewBody::Blob(blob) => {
                    self.scope
                        .blobs()
                        .reference(self.txn, blob, key.as_bytes())
                        .await?;
                    Body::Blob(blob.id())
                }
            };
            self.refer_to_subject(keys, new);
            let record = ManifestRecord {
                kind: new.manifest.kind,
                size: new.size,
                body,
                references,
                subject: new.manifest.subject.as_ref().map(|subject| subject.digest),
                artifact_type: new.manifest.artifact_type().map(str::to_owned),
                config: new.manifest.config.as_ref().map(|config| Config {
                    digest: config.digest,
                    media_type: config.media_type.clone(),
                }),
                content_bytes: new.manifest.content_bytes(),
                pushed_at: self.scope.now(),
                pushed_by: self.user(),
            };
            self.txn.put_record(&key, &record);
            let account = self.account();
            account
                .charge(self.txn, record.pushed_by, record.amount())
                .await?;
            self.scope.count_publisher(self.txn).await?;
            if let Some(job) = self.scope.caller().job() {
                self.txn.put_record(&keys.pushed_by(&new.digest), job.origin());
            }
        }
        self.keep(keys, &new.digest);
        for tag in tags {
            self.put_tag(keys, tag, &new.digest).await?;
        }
        Ok(())
    }

    /// What a manifest names, all of which must be in its repository.
    async fn references(
        &mut self,
        keys: &RepositoryKeys,
        manifest: &Manifest,
    ) -> Result<Vec<Digest>, ApiError> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        let blobs = manifest
            .blobs()
            .into_iter()
            .map(|digest| (keys.blob(&digest), digest));
        let children = manifest
            .child_digests()
            .into_iter()
            .map(|digest| (keys.manifest(&digest), digest));
        for (key, digest) in blobs.chain(children) {
            match self.txn.get(&key).await? {
                Some(_) => found.push(digest),
                None => missing.push(digest),
            }
        }
        match missing.as_slice() {
            [] => Ok(found),
            missing => Err(error::manifest_blob_unknown(missing)),
        }
    }

    fn refer_to_subject(&mut self, keys: &RepositoryKeys, new: &NewManifest<'_>) {
        if let Some(subject) = &new.manifest.subject {
            let entry = new.manifest.referrer_entry(&new.digest, new.size);
            let referrer = Referrer {
                artifact_type: new.manifest.artifact_type().map(str::to_owned),
                entry: (entry.len() <= MAX_ENTRY_BYTES).then_some(entry),
            };
            let key = keys.referrers(&subject.digest).key(new.digest.to_key());
            self.txn.put_record(&key, &referrer);
        }
    }

    async fn put_tag(&mut self, keys: &RepositoryKeys, tag: &Tag, digest: &Digest) -> Result<(), ApiError> {
        let key = keys.tag(tag);
        let before = self.txn.record::<TagRecord>(&key).await?;
        let change = match &before {
            Some(before) if before.digest != *digest => TagChange::Move,
            _ => TagChange::Make,
        };
        self.guard().await?.check_tag(tag.as_str(), change)?;
        match before {
            None => self.txn.add(&keys.tag_count(), 1),
            Some(before) if before.digest != *digest => {
                self.txn.delete(&keys.tagged(&before.digest).key(tag.as_str()));
                // Whoever read the tag a moment ago still pulls by the digest.
                self.keep(keys, &before.digest);
            }
            Some(_) => {}
        }
        let record = TagRecord {
            digest: *digest,
            updated_at: self.scope.now(),
            updated_by: self.user(),
        };
        self.txn.put_record(&key, &record);
        self.txn.put(&keys.tagged(digest).key(tag.as_str()), "");
        Ok(())
    }

    /// Removes a tag, and nothing else; false if there is none.
    pub(super) async fn delete_tag(&mut self, keys: &RepositoryKeys, tag: &Tag) -> Result<bool, ApiError> {
        self.delete_tag_if(keys, tag, |_| true).await
    }

    /// The same unless it was pushed again since then, or is protected at all.
    pub(super) async fn delete_tag_of(
        &mut self,
        keys: &RepositoryKeys,
        tag: &Tag,
        pushed_at: Timestamp,
    ) -> Result<bool, ApiError> {
        if self.guard().await?.protects_tag(tag.as_str()) {
            return Ok(false);
        }
        self.delete_tag_if(keys, tag, |record| record.updated_at == pushed_at)
            .await
    }

    async fn delete_tag_if(
        &mut self,
        keys: &RepositoryKeys,
        tag: &Tag,
        goes: impl Fn(&TagRecord) -> bool,
    ) -> Result<bool, ApiError> {
        let key = keys.tag(tag);
        let record = self.txn.record::<TagRecord>(&key).await?;
        let Some(record) = record.filter(goes) else {
            return Ok(false);
        };
        self.admit(Right::Delete).await?;
        self.guard().await?.check_tag(tag.as_str(), TagChange::Delete)?;
        self.txn.delete(&key);
        self.txn.delete(&keys.tagged(&record.digest).key(tag.as_str()));
        self.keep(keys, &record.digest);
        self.txn.add(&keys.tag_count(), -1);
        Ok(true)
    }

    /// Removes a manifest and all tags that point to it; `None` if there is none. With more
    /// tags than fit into one transaction, some of them go first.
    pub(super) async fn delete_manifest(
        &mut self,
        keys: &RepositoryKeys,
        digest: &Digest,
    ) -> Result<Option<Progress>, ApiError> {
        let key = keys.manifest(digest);
        let Some(record) = self.txn.record::<ManifestRecord>(&key).await? else {
            return Ok(None);
        };
        self.refuse_if_used(keys, digest, "MANIFEST_REFERENCED_IN_LIST")
            .await?;
        self.admit(Right::Delete).await?;
        let tagged = keys.tagged(digest);
        self.admit_deletion_of(&tagged).await?;
        let tags = self.txn.scan(Scan::of(&tagged).limit(STEP)).await?;
        for entry in &tags {
            self.txn.delete(&keys.tags().key(&entry.item));
            self.txn.delete(&tagged.key(&entry.item));
        }
        self.txn.add(&keys.tag_count(), -(tags.len() as i64));
        if tags.len() == STEP {
            return Ok(Some(Progress::More));
        }
        self.forget(keys, digest, &record).await?;
        Ok(Some(Progress::Done))
    }

    /// Removes the record of a manifest; what it named stays for a while, as if it was just pushed.
    async fn forget(
        &mut self,
        keys: &RepositoryKeys,
        digest: &Digest,
        record: &ManifestRecord,
    ) -> Result<(), ApiError> {
        let (removing, account) = (self.removing(), self.account());
        forget_manifest(self.txn, removing, &account, keys, digest, record).await?;
        for named in &record.references {
            self.keep(keys, named);
        }
        Ok(())
    }

    /// Removes a manifest to which nothing leads any more; false if something does.
    pub(super) async fn sweep_manifest(
        &mut self,
        keys: &RepositoryKeys,
        digest: &Digest,
    ) -> Result<bool, ApiError> {
        let now = self.scope.now();
        let record = self.txn.record::<ManifestRecord>(&keys.manifest(digest)).await?;
        match record {
            Some(record) if is_left_over(self.txn, keys, digest, &record, now).await? => {
                self.admit(Right::Delete).await?;
                self.forget(keys, digest, &record).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Removes a blob that no manifest names any more; false if one does.
    pub(super) async fn sweep_blob(
        &mut self,
        keys: &RepositoryKeys,
        digest: &Digest,
    ) -> Result<bool, ApiError> {
        let now = self.scope.now();
        let link = self.txn.record::<BlobLink>(&keys.blob(digest)).await?;
        match link {
            Some(link) if is_unnamed(self.txn, keys, digest, &link, now).await? => {
                self.unlink(keys, digest).await
            }
            _ => Ok(false),
        }
    }

    /// Takes a blob from a repository; false if it does not hold it.
    pub(super) async fn unlink(&mut self, keys: &RepositoryKeys, digest: &Digest) -> Result<bool, ApiError> {
        let key = keys.blob(digest);
        let Some(link) = self.txn.record::<BlobLink>(&key).await? else {
            return Ok(false);
        };
        self.refuse_if_used(keys, digest, "DENIED").await?;
        self.admit(Right::Delete).await?;
        let (removing, account) = (self.removing(), self.account());
        forget_link(self.txn, removing, &account, keys, digest, &link).await?;
        Ok(true)
    }

    /// An image whose parts could be taken away would break for those who pull it.
    async fn refuse_if_used(
        &mut self,
        keys: &RepositoryKeys,
        digest: &Digest,
        code: &'static str,
    ) -> Result<(), ApiError> {
        let users = self.txn.scan(Scan::of(&keys.used(digest)).limit(1)).await?;
        match users.first().and_then(|entry| Digest::from_key(&entry.item)) {
            None => Ok(()),
            Some(user) => {
                let message = format!("{digest} is part of manifest {user}, which has to be deleted first");
                Err(ApiError::new(ErrorKind::Conflict, message).with_code(code))
            }
        }
    }

    fn account(&self) -> Account {
        Account::of(self.scope.project(), self.scope.format())
    }

    async fn count_link(&mut self, link: &BlobLink) -> Result<(), ApiError> {
        let account = self.account();
        account.charge(self.txn, link.linked_by, link.amount()).await
    }

    fn removing(&self) -> (&'a Blobs, Space) {
        (self.scope.blobs(), self.scope.space())
    }

    fn user(&self) -> Option<u64> {
        self.scope.caller().user().map(|user| user.id)
    }
}

/// Whether nothing leads to a manifest: no tag, no index, and nothing that it says something about;
/// and nobody was told of it lately.
pub(super) async fn is_left_over<R: Reader>(
    reader: &mut R,
    keys: &RepositoryKeys,
    digest: &Digest,
    record: &ManifestRecord,
    now: Timestamp,
) -> Result<bool, ApiError> {
    if record.pushed_at.plus(KEPT_FOR) > now || is_kept(reader, keys, digest, now).await? {
        return Ok(false);
    }
    for leads_to_it in [keys.tagged(digest), keys.used(digest)] {
        if !reader.list(Scan::of(&leads_to_it).limit(1)).await?.is_empty() {
            return Ok(false);
        }
    }
    match &record.subject {
        Some(subject) => Ok(reader.value(&keys.manifest(subject)).await?.is_none()),
        None => Ok(true),
    }
}

/// Whether no manifest names a blob, and nobody was told of it lately.
pub(super) async fn is_unnamed<R: Reader>(
    reader: &mut R,
    keys: &RepositoryKeys,
    digest: &Digest,
    link: &BlobLink,
    now: Timestamp,
) -> Result<bool, ApiError> {
    if link.linked_at.plus(KEPT_FOR) > now || is_kept(reader, keys, digest, now).await? {
        return Ok(false);
    }
    let users = reader.list(Scan::of(&keys.used(digest)).limit(1)).await?;
    Ok(users.is_empty())
}

async fn is_kept<R: Reader>(
    reader: &mut R,
    keys: &RepositoryKeys,
    digest: &Digest,
    now: Timestamp,
) -> Result<bool, ApiError> {
    match reader.value(&keys.kept(digest)).await? {
        Some(until) => Ok(record::number(&until).map_err(ReadError::from)? > now.0),
        None => Ok(false),
    }
}

/// Removes the record of a manifest and what other records say of it, apart from its tags.
async fn forget_manifest(
    txn: &mut Txn,
    (blobs, space): (&Blobs, Space),
    account: &Account,
    keys: &RepositoryKeys,
    digest: &Digest,
    record: &ManifestRecord,
) -> Result<(), ApiError> {
    account.count(txn, record.pushed_by, -record.amount());
    let key = keys.manifest(digest);
    for named in &record.references {
        txn.delete(&keys.used(named).key(digest.to_key()));
    }
    if let Some(subject) = &record.subject {
        txn.delete(&keys.referrers(subject).key(digest.to_key()));
    }
    if let Body::Blob(blob) = &record.body {
        blobs.release(txn, space, blob, key.as_bytes()).await?;
    }
    txn.delete(&keys.pushed_by(digest));
    txn.delete(&keys.kept(digest));
    txn.delete(&key);
    Ok(())
}

/// Removes the record of a blob.
async fn forget_link(
    txn: &mut Txn,
    (blobs, space): (&Blobs, Space),
    account: &Account,
    keys: &RepositoryKeys,
    digest: &Digest,
    link: &BlobLink,
) -> Result<(), ApiError> {
    account.count(txn, link.linked_by, -link.amount());
    let key = keys.blob(digest);
    blobs.release(txn, space, &link.blob, key.as_bytes()).await?;
    txn.delete(&keys.kept(digest));
    txn.delete(&key);
    Ok(())
}

/// Removes a piece of a repository that was deleted, or of all that a project had.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal {
        txn,
        blobs,
        space,
        records,
        part,
        account,
    } = removal;
    let keys = ProjectKeys::new(records);
    if let Some(repository) = part {
        return take_apart(txn, (blobs, space), &account, &keys.repository(repository)).await;
    }
    if let Some(entry) = txn.scan(Scan::of(&keys.images()).limit(1)).await?.pop() {
        let repository: Repository = entry.record()?;
        let of = keys.repository(repository.id);
        if take_apart(txn, (blobs, space), &account, &of).await? == Progress::Done {
            txn.delete(&keys.images().key(&entry.item));
            txn.delete(&keys.image_of_id(repository.id));
        }
        return Ok(Progress::More);
    }
    txn.delete(&keys.last_number());
    sessions::forget_all(txn, &keys.sessions()).await
}

/// Removes a piece of a repository that can no longer be found by its name.
async fn take_apart(
    txn: &mut Txn,
    removing: (&Blobs, Space),
    account: &Account,
    keys: &RepositoryKeys,
) -> Result<Progress, ApiError> {
    let tags = txn.scan(Scan::of(&keys.tags()).limit(STEP)).await?;
    for entry in &tags {
        let record: TagRecord = entry.record()?;
        txn.delete(&keys.tagged(&record.digest).key(&entry.item));
        txn.delete(&keys.tags().key(&entry.item));
    }
    if !tags.is_empty() {
        return Ok(Progress::More);
    }
    let manifests = items::<ManifestRecord>(txn, &keys.manifests()).await?;
    let mut named = 0;
    for (at, (digest, record)) in manifests.iter().enumerate() {
        named += record.references.len();
        if named > STEP && at > 0 {
            break;
        }
        forget_manifest(txn, removing, account, keys, digest, record).await?;
    }
    if !manifests.is_empty() {
        return Ok(Progress::More);
    }
    let links = items::<BlobLink>(txn, &keys.blobs()).await?;
    for (digest, link) in &links {
        forget_link(txn, removing, account, keys, digest, link).await?;
    }
    if !links.is_empty() {
        return Ok(Progress::More);
    }
    txn.delete(&keys.tag_count());
    txn.delete(&keys.cleaned());
    Ok(Progress::Done)
}

/// Counts what the repositories of a project store, and those that are still to be taken apart.
pub(super) async fn count_stored(stored: Stored<'_>) -> Result<(), ApiError> {
    let Stored {
        snapshot,
        records,
        parts,
        sums,
    } = stored;
    let keys = ProjectKeys::new(records);
    let mut repositories = parts;
    let mut after = None;
    loop {
        let entries = next_entries(snapshot, &keys.images(), &mut after).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            repositories.push(entry.record::<Repository>()?.id);
        }
    }
    for id in repositories {
        let keys = keys.repository(id);
        for collection in [keys.manifests(), keys.blobs()] {
            let mut after = None;
            loop {
                let entries = next_entries(snapshot, &collection, &mut after).await?;
                if entries.is_empty() {
                    break;
                }
                for entry in &entries {
                    let (user, amount) = match collection == keys.manifests() {
                        true => entry
                            .record()
                            .map(|it: ManifestRecord| (it.pushed_by, it.amount()))?,
                        false => entry.record().map(|it: BlobLink| (it.linked_by, it.amount()))?,
                    };
                    sums.add(NAME, user, amount);
                }
            }
        }
    }
    Ok(())
}

async fn items<R: Record>(txn: &mut Txn, collection: &Collection) -> Result<Vec<(Digest, R)>, ApiError> {
    let entries = txn.scan(Scan::of(collection).limit(STEP)).await?;
    let mut items = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(digest) = Digest::from_key(&entry.item) {
            items.push((digest, entry.record()?));
        }
    }
    Ok(items)
}
