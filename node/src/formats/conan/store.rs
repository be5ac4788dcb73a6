//! The transactions that take files.
//!
//! Clients send the files of a revision one by one, and its manifest last. Until then they are staged,
//! where nobody sees them; with the manifest, one transaction makes the revision, all of its files and
//! its time visible. What is staged for a day without a manifest is let go.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use bytes::Bytes;
use cairn_cluster::{Scan, StoredBlob, Txn, record};

use super::artifact::Manifest;
use super::names::{FilePath, INFO, Line, RECIPE, Reference, Revised};
use super::opened::{Opened, note_info};
use super::records::{Keys, ManifestNotes, Staged, UPLOAD, UnderWay, decode};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::package::{Edit, File, FilePut, NewFile};
use crate::registry::settings::{DuplicatePolicy, Duplicates};

/// What happens to a revision that is there already unless a project or a group above it says otherwise:
/// it is named after its content, so that does not change.
pub(super) const DEFAULT_DUPLICATES: DuplicatePolicy = DuplicatePolicy::ForbidSameContentOk;

/// How long files wait for the manifest of their revision.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The most files that wait for one manifest: one transaction names them all.
pub(super) const MAX_STAGED: u64 = 128;

/// The most revisions of one project that are not complete.
const MAX_UNDER_WAY: u64 = 1000;

/// What a client that is refused another one should wait.
const RETRY_SECONDS: u64 = 60;

/// The answer for what is not here.
pub(super) fn missing(what: impl std::fmt::Display) -> ApiError {
    ApiError::not_found(format!("not found: {what}"))
}

/// What of a file was looked into.
#[derive(Clone, Debug)]
pub(super) enum Looked {
    /// Nothing that is to be kept.
    Nothing,
    /// A manifest that can be read.
    Manifest(Bytes),
    /// What a binary was built with.
    Info(String),
}

/// A file whose bytes are stored.
pub(super) struct Sent<'a> {
    pub(super) reference: &'a Reference,
    pub(super) revised: &'a Revised,
    pub(super) path: &'a FilePath,
    pub(super) blob: &'a StoredBlob,
    pub(super) looked: &'a Looked,
}

/// What became of a file that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is there, or waits for the manifest.
    Taken,
    /// It was there.
    Unchanged,
}

/// Takes a file.
pub(super) async fn put(scope: &Scope, sent: &Sent<'_>) -> Result<Put, ApiError> {
    let duplicates = match sent.revised.is_unrevised() {
        true => DuplicatePolicy::Replace,
        false => DEFAULT_DUPLICATES,
    };
    let taking = Taking {
        scope,
        sent,
        keys: Keys::new(scope.collection()),
        duplicates: scope.duplicates(duplicates).await?,
        number: UPLOAD | u64::from_be_bytes(first_bytes(scope.nonce())),
    };
    let commit = async |mut txn: Txn| {
        let put = taking.commit_to(&mut txn).await?;
        Ok((txn, put))
    };
    match sent.path.is_manifest() {
        true => scope.transact(commit).await,
        // Nobody sees it yet.
        false => scope.prepare(commit).await,
    }
}

fn first_bytes([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> [u8; 8] {
    [a, b, c, d, e, f, g, h]
}

/// A file on its way into a revision.
struct Taking<'a> {
    scope: &'a Scope,
    sent: &'a Sent<'a>,
    keys: Keys,
    duplicates: Duplicates,
    /// That of the upload, if it begins now.
    number: u64,
}

impl Taking<'_> {
    async fn commit_to(&self, txn: &mut Txn) -> Result<Put, ApiError> {
        let Sent {
            reference,
            revised,
            path,
            ..
        } = self.sent;
        let mut edit = Edit::new(self.scope, txn);
        let opened = Opened::find(&mut edit, reference).await?;
        if let Line::Package { recipe, .. } = &revised.line {
            let recipe = Line::Recipe.at(recipe.clone());
            let is_there = match &opened {
                Some(opened) => opened.revision(&mut edit, &recipe).await?.is_some(),
                None => false,
            };
            if !is_there {
                return Err(missing(format_args!("{reference}{recipe}")));
            }
        }
        let mut replaces = false;
        if let Some(opened) = &opened
            && opened.revision(&mut edit, revised).await?.is_some()
        {
            if let Some(put) = self.add(&mut edit, opened).await? {
                return Ok(put);
            }
            replaces = true;
        }
        match path.is_manifest() {
            true => self.complete(&mut edit, opened, replaces).await?,
            false => self.stage(edit.txn()).await?,
        }
        Ok(Put::Taken)
    }

    fn policy(&self) -> DuplicatePolicy {
        let reference = self.sent.reference;
        self.duplicates.of(reference.name(), &reference.version())
    }

    fn file_name(&self, path: &str) -> String {
        format!("{}{path}", self.sent.revised.folder())
    }

    fn new_file<'n>(&'n self, name: &'n str) -> NewFile<'n> {
        NewFile {
            name,
            blob: self.sent.blob,
            metadata: self.metadata(),
        }
    }

    /// What is kept in the record of the file.
    fn metadata(&self) -> Bytes {
        match self.sent.looked {
            Looked::Nothing => Bytes::new(),
            Looked::Info(content) => content.clone().into(),
            Looked::Manifest(manifest) => {
                let sums = Manifest::read(manifest).map(Manifest::sums);
                record::encode(&ManifestNotes {
                    sums: sums.unwrap_or_default(),
                })
            }
        }
    }

    /// Adds the file to a revision that is complete; none if it is to replace another one, together with
    /// the manifest that follows.
    async fn add(&self, edit: &mut Edit<'_>, opened: &Opened) -> Result<Option<Put>, ApiError> {
        let Sent {
            reference,
            revised,
            path,
            blob,
            ..
        } = self.sent;
        let name = self.file_name(path.as_str());
        let new = self.new_file(&name);
        let Some(present) = edit.file(&opened.version, &name).await? else {
            edit.put_file(&opened.version, new, DEFAULT_DUPLICATES).await?;
            if let (true, Looked::Info(content)) = (path.is_info(), self.sent.looked) {
                note_info(edit, opened, revised, content).await?;
            }
            return Ok(Some(Put::Taken));
        };
        if path.is_metadata() {
            edit.put_file(&opened.version, new, DuplicatePolicy::Replace)
                .await?;
            return Ok(Some(Put::Taken));
        }
        let policy = self.policy();
        let is_same = present.blob == blob.id() || self.is_same_manifest(&present)?;
        if is_same && policy != DuplicatePolicy::Forbid {
            let is_under_way = edit
                .txn()
                .get(&self.keys.under_way(reference, revised))
                .await?
                .is_some();
            // While it is being replaced, it stays as it is sent now, whatever was sent before.
            return Ok((!is_under_way).then_some(Put::Unchanged));
        }
        match policy.allows_other_content() {
            true => Ok(None),
            false => Err(self.duplicate(path.as_str(), is_same)),
        }
    }

    fn duplicate(&self, path: &str, is_same: bool) -> ApiError {
        let Sent {
            reference, revised, ..
        } = self.sent;
        ApiError::conflict(format!(
            "{path} of {reference}{revised} is published already{}",
            if is_same { "" } else { ", with other content" }
        ))
    }

    /// Whether two manifests say the same of the files, whenever they were made.
    fn is_same_manifest(&self, present: &File) -> Result<bool, ApiError> {
        match self.sent.looked {
            Looked::Manifest(manifest) => {
                let known: ManifestNotes = decode(&present.metadata)?;
                Ok(Manifest::read(manifest).is_ok_and(|manifest| manifest.sums() == known.sums))
            }
            _ => Ok(false),
        }
    }

    /// Keeps the file until the manifest comes.
    async fn stage(&self, txn: &mut Txn) -> Result<(), ApiError> {
        let Sent {
            reference,
            revised,
            path,
            blob,
            ..
        } = self.sent;
        let (scope, keys) = (self.scope, &self.keys);
        let key = keys.under_way(reference, revised);
        let mut under_way = match txn.record::<UnderWay>(&key).await? {
            Some(under_way) => under_way,
            None => self.begin(txn).await?,
        };
        let staged = keys.staged(under_way.number, path);
        match txn.record::<Staged>(&staged).await? {
            None => under_way.files += 1,
            Some(before) if before.blob != blob.id() => {
                let (blobs, space) = (scope.blobs(), scope.space());
                blobs.release(txn, space, &before.blob, staged.as_bytes()).await?;
            }
            Some(_) => {}
        }
        if under_way.files > MAX_STAGED {
            return Err(ApiError::bad_request(format!(
                "{reference}{revised} has more than {MAX_STAGED} files before its manifest"
            )));
        }
        scope.blobs().reference(txn, blob, staged.as_bytes()).await?;
        let file = Staged {
            blob: blob.id(),
            size: blob.size(),
            digests: blob.digests().clone(),
            metadata: self.metadata(),
        };
        txn.put_record(&staged, &file);
        txn.put_record(&key, &under_way);
        Ok(())
    }

    /// Begins an upload, which ends by itself.
    async fn begin(&self, txn: &mut Txn) -> Result<UnderWay, ApiError> {
        let (scope, keys) = (self.scope, &self.keys);
        let count = txn.snapshot().number(&keys.uploads_count()).await?;
        if count >= MAX_UNDER_WAY {
            let message = format!("the project has {count} revisions that are not complete; try again later");
            return Err(ApiError::new(ErrorKind::TooManyRequests, message)
                .with_header(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS)));
        }
        let under_way = UnderWay {
            number: self.number,
            files: 0,
            expires_at: scope.now().plus(LIFETIME),
        };
        let name = format!("{}{}", self.sent.reference, self.sent.revised);
        txn.put(&keys.uploads().key(under_way.number), name);
        txn.add(&keys.uploads_count(), 1);
        scope
            .order_removal_at(txn, under_way.number, under_way.expires_at)
            .await?;
        Ok(under_way)
    }

    /// Makes the revision visible, with all files that wait for its manifest.
    async fn complete(
        &self,
        edit: &mut Edit<'_>,
        opened: Option<Opened>,
        replaces: bool,
    ) -> Result<(), ApiError> {
        let Sent {
            reference, revised, ..
        } = self.sent;
        let key = self.keys.under_way(reference, revised);
        let under_way: Option<UnderWay> = edit.txn().record(&key).await?;
        let staged = match &under_way {
            Some(under_way) => self.staged(edit.txn(), under_way).await?,
            None => BTreeMap::new(),
        };
        let info = self.check(edit, opened.as_ref(), &staged, replaces).await?;
        let opened = match opened {
            Some(opened) => opened,
            None => Opened::create(edit, reference).await?,
        };
        // What is left of a revision that was deleted is nobody's.
        let policy = match replaces {
            true => self.policy(),
            false => DuplicatePolicy::Replace,
        };
        for (path, staged) in &staged {
            let name = self.file_name(path);
            let source = File {
                id: 0,
                name: name.clone(),
                blob: staged.blob,
                size: staged.size,
                digests: staged.digests.clone(),
                created_at: self.scope.now(),
                metadata: staged.metadata.clone(),
            };
            let copied = edit.copy_file(&opened.version, &name, &source, policy).await?;
            // What is to happen to duplicates may have changed since it was sent.
            if let FilePut::Refused(_) = copied {
                return Err(self.duplicate(path, false));
            }
        }
        let manifest = self.file_name(self.sent.path.as_str());
        edit.put_file(&opened.version, self.new_file(&manifest), policy)
            .await?;
        if let Some(under_way) = &under_way {
            let (scope, txn) = (self.scope, edit.txn());
            for (path, staged) in &staged {
                let key = self.keys.all_staged(under_way.number).key(path.as_str());
                let (blobs, space) = (scope.blobs(), scope.space());
                blobs.release(txn, space, &staged.blob, key.as_bytes()).await?;
                txn.delete(&key);
            }
            txn.delete(&key);
            txn.delete(&self.keys.uploads().key(under_way.number));
            txn.add(&self.keys.uploads_count(), -1);
        }
        opened.note_newest(edit, reference, revised, info).await
    }

    async fn staged(
        &self,
        txn: &mut Txn,
        under_way: &UnderWay,
    ) -> Result<BTreeMap<String, Staged>, ApiError> {
        let all = self.keys.all_staged(under_way.number);
        let mut staged = BTreeMap::new();
        for entry in txn.scan(Scan::of(&all)).await? {
            let path = String::from_utf8_lossy(&entry.item).into_owned();
            staged.insert(path, entry.record()?);
        }
        Ok(staged)
    }

    /// Makes sure that what clients need is there, and is what the manifest says; gives what a binary was
    /// built with.
    async fn check(
        &self,
        edit: &mut Edit<'_>,
        opened: Option<&Opened>,
        staged: &BTreeMap<String, Staged>,
        replaces: bool,
    ) -> Result<String, ApiError> {
        let Looked::Manifest(manifest) = self.sent.looked else {
            return Ok(String::new());
        };
        let manifest = Manifest::read(manifest)?;
        let needed = match self.sent.revised.line {
            Line::Recipe => RECIPE,
            Line::Package { .. } => INFO,
        };
        let mut present = None;
        if !staged.contains_key(needed)
            && let Some(opened) = opened
        {
            present = edit.file(&opened.version, &self.file_name(needed)).await?;
        }
        let is_incomplete = |lacks: &str| {
            ApiError::bad_request(format!(
                "{}{} has no {lacks}, which is sent before its manifest",
                self.sent.reference, self.sent.revised
            ))
        };
        let (digests, metadata) = match (staged.get(needed), &present) {
            (Some(staged), _) => (&staged.digests, &staged.metadata),
            (None, Some(present)) => (&present.digests, &present.metadata),
            (None, None) => return Err(is_incomplete(needed)),
        };
        // What is replaced has its archives already.
        if !replaces && let Some(archive) = lacking(needed, manifest, staged) {
            return Err(is_incomplete(archive));
        }
        for (path, md5) in manifest.entries() {
            let Ok(path) = std::str::from_utf8(path) else {
                continue;
            };
            let sent = match path == needed {
                true => Some(digests),
                false => staged.get(path).map(|staged| &staged.digests),
            };
            if sent.is_some_and(|sent| sent.md5 != Some(md5)) {
                return Err(ApiError::bad_request(format!(
                    "{path} of {}{} is not the one that its manifest tells of",
                    self.sent.reference, self.sent.revised
                )));
            }
        }
        Ok(String::from_utf8_lossy(metadata).into_owned())
    }
}

/// The archive that a manifest tells of, and that was not sent. It is named by its beginning, because what
/// follows says how it is compressed.
fn lacking(needed: &str, manifest: Manifest<'_>, staged: &BTreeMap<String, Staged>) -> Option<&'static str> {
    let is_there = |archive: &str| staged.keys().any(|path| path.starts_with(archive));
    if needed == INFO {
        return (!is_there("conan_package.t")).then_some("conan_package.tgz");
    }
    let (mut exports, mut sources) = (false, false);
    for (path, _) in manifest.entries() {
        match path.starts_with(b"export_source/") {
            true => sources = true,
            false => exports |= path != RECIPE.as_bytes(),
        }
    }
    if sources && !is_there("conan_sources.t") {
        return Some("conan_sources.tgz");
    }
    (exports && !is_there("conan_export.t")).then_some("conan_export.tgz")
}

/// Makes a revision the newest.
pub(super) async fn promote(scope: &Scope, reference: &Reference, revised: &Revised) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let not_found = || missing(format_args!("{reference}{revised}"));
            let opened = Opened::find(&mut edit, reference).await?.ok_or_else(not_found)?;
            if opened.revision(&mut edit, revised).await?.is_none() {
                return Err(not_found());
            }
            let info = opened.info_of(&mut edit, revised).await?;
            opened
                .note_newest(&mut edit, reference, revised, info.content)
                .await?;
            Ok((txn, ()))
        })
        .await
}
