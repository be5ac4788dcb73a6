//! The transactions: publishing packages and symbols, listing and unlisting versions, deleting them.
//!
//! A version becomes visible with its line in one transaction, and which versions are the newest changes with it.

use bytes::Bytes;
use cairn_cluster::{Scan, StoredBlob, Txn, record};
use data_encoding::BASE64;

use super::NAME;
use super::names::{PackageId, Version, package_file};
use super::receive::{Pdb, Received};
use super::records::{
    Change, Changed, Head, Keys, Line, Notes, Shown, Symbol, Wants, decode, symbol_file, symbol_in,
};
use super::warnings::{Advised, Advisory, Deprecation};
use crate::auth::{Authorised, Delete, Publish};
use crate::formats::{Progress, Removal, advisories};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, Edit, File, FilePut, NewFile, NewVersion, Package, Reuse, Status};
use crate::registry::project::Project;
use crate::registry::settings::{DuplicatePolicy, Duplicates};

/// What a project does unless it or a group above it says otherwise: a version stays what it is, and a client that
/// repeats a publish whose answer was lost is not told off.
pub(super) const DEFAULT_DUPLICATES: DuplicatePolicy = DuplicatePolicy::ForbidSameContentOk;

/// How many items one transaction removes, and how many lines are read at a time.
const STEP: usize = 64;

/// How many files of a version are read at a time.
const PAGE: usize = 200;

/// The answer to what is not there.
pub(super) fn missing(id: impl std::fmt::Display, version: Option<&Version>) -> ApiError {
    ApiError::not_found(match version {
        Some(version) => format!("there is no {id} {version} here"),
        None => format!("there is no package {id} here"),
    })
}

fn exists(id: &PackageId, version: &Version) -> ApiError {
    ApiError::conflict(format!("{id} {version} exists already and cannot be replaced"))
}

/// The name of the file that a version's symbols are.
fn symbols_file(id: &str, version: &Version, is_new: bool) -> String {
    let stem = package_file(id, version);
    let stem = stem.strip_suffix(".nupkg").unwrap_or(&stem);
    format!("{stem}.{}", if is_new { "snupkg" } else { "symbols.nupkg" })
}

/// A package whose blobs are stored, and what the project says of such.
struct Prepared<'a> {
    scope: &'a Scope,
    received: &'a Received,
    duplicates: Duplicates,
    may_delete: bool,
}

/// Publishes a package.
pub(super) async fn publish(
    project: &Authorised<Project, Publish>,
    received: &Received,
) -> Result<(), ApiError> {
    let scope = project.scope(NAME);
    let prepared = Prepared::of(project, &scope, received).await?;
    scope
        .transact(async |mut txn: Txn| {
            prepared.put_package(&mut Edit::new(&scope, &mut txn)).await?;
            Ok((txn, ()))
        })
        .await
}

/// Publishes the symbols of a package that is there.
pub(super) async fn publish_symbols(
    project: &Authorised<Project, Publish>,
    received: &Received,
) -> Result<(), ApiError> {
    let scope = project.scope(NAME);
    let prepared = Prepared::of(project, &scope, received).await?;
    scope
        .transact(async |mut txn: Txn| {
            prepared.put_symbols(&mut Edit::new(&scope, &mut txn)).await?;
            Ok((txn, ()))
        })
        .await
}

impl<'a> Prepared<'a> {
    async fn of(
        project: &Authorised<Project, Publish>,
        scope: &'a Scope,
        received: &'a Received,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            scope,
            received,
            duplicates: scope.duplicates(DEFAULT_DUPLICATES).await?,
            // Whoever may delete a version may also bring it back, with any content.
            may_delete: project.may::<Delete>().await?,
        })
    }

    fn policy(&self, package: &Package, version: &package::Version) -> DuplicatePolicy {
        self.duplicates.of(&package.name, &version.version)
    }

    async fn put_package(&self, edit: &mut Edit<'_>) -> Result<(), ApiError> {
        let nuspec = &self.received.nuspec;
        let package = edit.claim(&nuspec.id.canonical(), nuspec.id.as_str()).await?;
        let notes = Notes {
            nuspec: nuspec.clone(),
            is_listed: true,
            published_at: self.scope.now(),
            size: self.received.blob.size(),
            sha512: sha512(&self.received.blob),
        };
        let (version, is_new) = match edit.version(&package, &nuspec.version.canonical()).await? {
            Some(present) => (present, false),
            None => {
                let new = NewVersion {
                    version: nuspec.version.canonical(),
                    status: Status::Default,
                    metadata: record::encode(&notes),
                };
                let reuse = match self.may_delete {
                    true => Reuse::Allowed,
                    false => Reuse::Refused,
                };
                (edit.create_version(&package, new, reuse).await?, true)
            }
        };
        let present: Notes = decode(&version.metadata)?;
        // Versions may be equal whose files have other names.
        if present.nuspec.version.in_urls() != nuspec.version.in_urls() {
            return Err(exists(&nuspec.id, &nuspec.version));
        }
        let new = NewFile {
            name: &package_file(nuspec.id.as_str(), &nuspec.version),
            blob: &self.received.blob,
            metadata: Bytes::new(),
        };
        match edit
            .put_file(&version, new, self.policy(&package, &version))
            .await?
        {
            FilePut::Refused(_) => return Err(exists(&nuspec.id, &nuspec.version)),
            FilePut::Unchanged(_) => return Ok(()),
            FilePut::Added(_) => {}
        }
        if is_new {
            return show_new(edit, package, &version, &notes);
        }
        let version = package::Version {
            status: Status::Default,
            metadata: record::encode(&notes),
            ..version
        };
        edit.put_version(&package, &version)?;
        change(edit, package, &version, Some(&notes)).await
    }

    async fn put_symbols(&self, edit: &mut Edit<'_>) -> Result<(), ApiError> {
        let nuspec = &self.received.nuspec;
        let no_package = || missing(&nuspec.id, Some(&nuspec.version));
        let package = edit
            .package(&nuspec.id.canonical())
            .await?
            .ok_or_else(no_package)?;
        let version = edit.version(&package, &nuspec.version.canonical()).await?;
        let version = version.ok_or_else(no_package)?;
        let file = package_file(nuspec.id.as_str(), &nuspec.version);
        edit.file(&version, &file).await?.ok_or_else(no_package)?;
        let name = symbols_file(nuspec.id.as_str(), &nuspec.version, nuspec.is_for_symbols());
        let new = NewFile {
            name: &name,
            blob: &self.received.blob,
            metadata: Bytes::new(),
        };
        match edit
            .put_file(&version, new, self.policy(&package, &version))
            .await?
        {
            FilePut::Refused(_) => {
                return Err(ApiError::conflict(format!(
                    "{} {} has other symbols already",
                    nuspec.id, nuspec.version
                )));
            }
            FilePut::Unchanged(_) => return Ok(()),
            FilePut::Added(_) => {}
        }
        for pdb in &self.received.pdbs {
            put_pdb(edit, &package, &version, pdb).await?;
        }
        Ok(())
    }
}

/// Adds a PDB to a version. Of several of one number, the last counts.
async fn put_pdb(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &package::Version,
    pdb: &Pdb,
) -> Result<(), ApiError> {
    let file = symbol_file(&pdb.name, &pdb.signature);
    let new = NewFile {
        name: &file,
        blob: &pdb.blob,
        metadata: Bytes::new(),
    };
    edit.put_file(version, new, DuplicatePolicy::Replace).await?;
    show_symbol(edit, package, version, &file);
    Ok(())
}

fn show_symbol(edit: &mut Edit<'_>, package: &Package, version: &package::Version, file: &str) {
    let keys = Keys::new(edit.scope().collection());
    if let Some((pdb, signature)) = symbol_in(file) {
        let symbol = Symbol {
            package: package.name.clone(),
            version: version.version.clone(),
            file: file.into(),
        };
        edit.txn()
            .put_record(&keys.symbol(pdb, signature, version.id), &symbol);
    }
}

fn hide_symbol(edit: &mut Edit<'_>, version: &package::Version, file: &str) {
    let keys = Keys::new(edit.scope().collection());
    if let Some((pdb, signature)) = symbol_in(file) {
        edit.txn().delete(&keys.symbol(pdb, signature, version.id));
    }
}

fn sha512(blob: &StoredBlob) -> String {
    blob.digests()
        .sha512
        .as_ref()
        .map(|digest| BASE64.encode(digest))
        .unwrap_or_default()
}

fn details(notes: &Notes, deprecation: Option<Deprecation>) -> Changed {
    let notes = Box::new(notes.shortened());
    Changed::Details { notes, deprecation }
}

/// Tells of a change in the catalog.
fn note(edit: &mut Edit<'_>, what: Changed) {
    let chain = Keys::new(edit.scope().collection()).changes();
    let at = edit.scope().now();
    let change = record::encode(&Change { at, what });
    edit.txn().append(&chain, change, &[]);
}

/// Gives a version that was not there its line. Nothing is read for that but what the package says.
fn show_new(
    edit: &mut Edit<'_>,
    mut package: Package,
    version: &package::Version,
    notes: &Notes,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    let line = notes.line(version.id);
    edit.txn().put(&keys.packages().key(package.key), "");
    edit.txn()
        .put_record(&keys.line(package.key, &line.version), &line);
    note(edit, details(notes, None));
    let before = Head::read(&package.metadata)?;
    let mut head = before.clone();
    head.offer(&line);
    if head.newest(Wants::EVERYTHING) == Some(&line.version) {
        head.shown = Some(Shown::of(&notes.nuspec));
    }
    match head == before {
        // Nothing is written that others who publish would wait for.
        true => Ok(()),
        false => {
            package.metadata = record::encode(&head);
            edit.put_package(&package)
        }
    }
}

/// Changes the line of a version, or takes it away, and says anew which versions are the newest.
async fn change(
    edit: &mut Edit<'_>,
    mut package: Package,
    version: &package::Version,
    notes: Option<&Notes>,
) -> Result<(), ApiError> {
    let keys = Keys::new(edit.scope().collection());
    let changed: Version = version.version.parse()?;
    let key = keys.line(package.key, &changed);
    let line = notes.map(|notes| notes.line(version.id));
    let deprecation = keys.deprecation(package.key, &changed);
    match (&line, notes) {
        (Some(line), Some(notes)) => {
            edit.txn().put(&keys.packages().key(package.key), "");
            edit.txn().put_record(&key, line);
            let deprecation = edit.txn().record(&deprecation).await?;
            note(edit, details(notes, deprecation));
        }
        _ => {
            if edit.txn().get(&key).await?.is_some() {
                let id = package.display_name.clone();
                let version = changed.clone();
                note(edit, Changed::Deleted { id, version });
            }
            edit.txn().delete(&key);
            let said: Option<Deprecation> = edit.txn().record(&deprecation).await?;
            edit.txn().delete(&deprecation);
            // Said again if it is put back.
            if let Some(said) = said {
                edit.keep(record::encode(&said))?;
            }
        }
    }
    let mut head = Head::default();
    if let Some(line) = &line {
        head.offer(line);
    }
    offer_others(edit.txn(), &keys, package.key, &changed, &mut head).await?;
    head.shown = match (head.newest(Wants::EVERYTHING), notes) {
        (Some(newest), Some(notes)) if *newest == changed => Some(Shown::of(&notes.nuspec)),
        (Some(newest), _) => match edit.version(&package, &newest.canonical()).await? {
            Some(newest) => Some(Shown::of(&decode::<Notes>(&newest.metadata)?.nuspec)),
            None => None,
        },
        (None, _) => None,
    };
    package.metadata = record::encode(&head);
    edit.put_package(&package)
}

/// Takes the versions into account that are not `changed`, from the newest, as far as that can matter.
async fn offer_others(
    txn: &mut Txn,
    keys: &Keys,
    package: u64,
    changed: &Version,
    head: &mut Head,
) -> Result<(), ApiError> {
    let lines = keys.lines(package);
    let mut before: Option<Bytes> = None;
    // What is offered already must not end the search before newer ones were seen.
    let mut others = Head::default();
    while !others.is_complete() {
        let mut scan = Scan::of(&lines).backwards().limit(STEP);
        if let Some(before) = &before {
            scan = scan.after(before);
        }
        let page = txn.scan(scan).await?;
        for entry in &page {
            let line: Line = entry.record()?;
            if line.version != *changed {
                others.offer(&line);
                head.offer(&line);
            }
        }
        match page.last() {
            Some(last) if page.len() == STEP => before = Some(last.item.clone()),
            _ => break,
        }
    }
    Ok(())
}

/// Lists a version, or takes it from lists. What is so already is left alone.
pub(super) async fn set_listed(
    scope: &Scope,
    id: &PackageId,
    version: &Version,
    is_listed: bool,
) -> Result<(), ApiError> {
    scope
        .transact(async |mut txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let gone = || missing(id, Some(version));
            let package = edit.package(&id.canonical()).await?.ok_or_else(gone)?;
            let found = edit.version(&package, &version.canonical()).await?;
            let mut found = found.ok_or_else(gone)?;
            let mut notes: Notes = decode(&found.metadata)?;
            let file = package_file(id.as_str(), &notes.nuspec.version);
            edit.file(&found, &file).await?.ok_or_else(gone)?;
            if notes.is_listed == is_listed {
                return Ok((txn, ()));
            }
            notes.is_listed = is_listed;
            found.metadata = record::encode(&notes);
            found.status = match (found.status, is_listed) {
                (Status::Hidden, _) => Status::Hidden,
                (_, true) => Status::Default,
                (_, false) => Status::Deprecated,
            };
            edit.put_version(&package, &found)?;
            change(&mut edit, package, &found, Some(&notes)).await?;
            Ok((txn, ()))
        })
        .await
}

/// Says of versions that they should not be used any more, or takes that back.
pub(super) async fn deprecate(
    scope: &Scope,
    id: &PackageId,
    versions: &[Version],
    deprecation: Option<&Deprecation>,
) -> Result<(), ApiError> {
    let keys = Keys::new(scope.collection());
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let package = edit.package_of_publisher(&id.canonical()).await?;
            let package = package.ok_or_else(|| missing(id, None))?;
            for version in versions {
                let line = keys.line(package.key, version);
                if edit.txn().get(&line).await?.is_none() {
                    return Err(missing(id, Some(version)));
                }
                let key = keys.deprecation(package.key, version);
                match deprecation {
                    Some(deprecation) => edit.txn().put_record(&key, deprecation),
                    None => edit.txn().delete(&key),
                }
                if let Some(version) = edit.version(&package, &version.canonical()).await? {
                    let notes = decode(&version.metadata)?;
                    note(&mut edit, details(&notes, deprecation.cloned()));
                }
            }
            Ok((txn, ()))
        })
        .await
}

/// Publishes an advisory on a package, in the place of one of its id; says whether there was none.
pub(super) async fn advise(scope: &Scope, id: &PackageId, advisory: &Advisory) -> Result<bool, ApiError> {
    let keys = Keys::new(scope.collection());
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let package = edit.package_of_publisher(&id.canonical()).await?;
            package.ok_or_else(|| missing(id, None))?;
            let all = keys.advisories();
            let is_new = advisories::put(&mut txn, &all, &id.canonical(), &advisory.id, advisory).await?;
            txn.put_record(&keys.advised(), &Advised(scope.now()));
            Ok((txn, is_new))
        })
        .await
}

/// Takes an advisory back.
pub(super) async fn withdraw(scope: &Scope, id: &PackageId, advisory: &str) -> Result<(), ApiError> {
    let keys = Keys::new(scope.collection());
    scope
        .transact(async |mut txn: Txn| {
            // It may have been deleted since.
            let mut edit = Edit::new(scope, &mut txn);
            edit.package_of_publisher(&id.canonical()).await?;
            if !advisories::delete(&mut txn, &keys.advisories(), &id.canonical(), advisory).await? {
                let message = format!("there is no advisory {advisory:.100} on {id} here");
                return Err(ApiError::not_found(message));
            }
            txn.put_record(&keys.advised(), &Advised(scope.now()));
            Ok((txn, ()))
        })
        .await
}

/// The names of all files of a version.
async fn file_names(edit: &mut Edit<'_>, version: &package::Version) -> Result<Vec<String>, ApiError> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = edit.files(version, after.as_deref(), PAGE).await?;
        names.extend(page.iter().map(|file| file.name.clone()));
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
            _ => return Ok(names),
        }
    }
}

/// Deletes a version as part of a transaction.
pub(super) async fn delete_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: package::Version,
) -> Result<(), ApiError> {
    for file in file_names(edit, &version).await? {
        hide_symbol(edit, &version, &file);
    }
    edit.delete_version(&package, &version).await?;
    change(edit, package, &version, None).await
}

/// Says again of a version that is put back what was said against it, by what was left when it was deleted.
fn deprecate_again(
    edit: &mut Edit<'_>,
    package: &Package,
    version: &package::Version,
    kept: &Bytes,
) -> Result<(), ApiError> {
    if !kept.is_empty() {
        let deprecation: Deprecation = decode(kept)?;
        let key = Keys::new(edit.scope().collection()).deprecation(package.key, &version.version.parse()?);
        edit.txn().put_record(&key, &deprecation);
    }
    Ok(())
}

/// Shows again what was deleted with a version.
pub(super) async fn restore_version(
    edit: &mut Edit<'_>,
    package: Package,
    version: &package::Version,
    kept: &Bytes,
) -> Result<(), ApiError> {
    deprecate_again(edit, &package, version, kept)?;
    let notes: Notes = decode(&version.metadata)?;
    let package_file = package_file(&package.name, &notes.nuspec.version);
    let mut has_package = false;
    for file in file_names(edit, version).await? {
        has_package |= file == package_file;
        show_symbol(edit, &package, version, &file);
    }
    match has_package {
        true => change(edit, package, version, Some(&notes)).await,
        false => Ok(()),
    }
}

/// Mends what is kept about a file that a transaction has deleted.
pub(super) async fn file_deleted(
    edit: &mut Edit<'_>,
    package: Package,
    version: package::Version,
    file: &File,
) -> Result<(), ApiError> {
    // It may have been an older one of a name that is still there.
    if edit.file(&version, &file.name).await?.is_some() {
        return Ok(());
    }
    hide_symbol(edit, &version, &file.name);
    match is_package(&package, &version, file)? {
        true => change(edit, package, &version, None).await,
        false => Ok(()),
    }
}

/// The same of one that was put back.
pub(super) async fn file_restored(
    edit: &mut Edit<'_>,
    package: Package,
    version: package::Version,
    file: &File,
    kept: &Bytes,
) -> Result<(), ApiError> {
    show_symbol(edit, &package, &version, &file.name);
    match is_package(&package, &version, file)? {
        true => {
            deprecate_again(edit, &package, &version, kept)?;
            let notes: Notes = decode(&version.metadata)?;
            change(edit, package, &version, Some(&notes)).await
        }
        false => Ok(()),
    }
}

fn is_package(package: &Package, version: &package::Version, file: &File) -> Result<bool, ApiError> {
    let notes: Notes = decode(&version.metadata)?;
    Ok(file.name == package_file(&package.name, &notes.nuspec.version))
}

/// Takes apart a piece of what the format keeps in a project that was deleted.
pub(super) async fn remove(removal: Removal<'_>) -> Result<Progress, ApiError> {
    let Removal { txn, records, .. } = removal;
    let keys = Keys::new(records);
    let packages = keys.packages();
    let package = txn.scan(Scan::of(&packages).limit(1)).await?.pop();
    let number = package
        .as_ref()
        .and_then(|entry| entry.item.as_ref().try_into().ok());
    let below = match number.map(u64::from_be_bytes) {
        Some(package) => vec![keys.lines(package)],
        None => keys.others().to_vec(),
    };
    for records in below {
        let found = txn.scan(Scan::of(&records).limit(STEP)).await?;
        for entry in &found {
            txn.delete(&records.key(&entry.item));
        }
        if found.len() == STEP {
            return Ok(Progress::More);
        }
    }
    let Some(package) = package else {
        return Ok(Progress::Done);
    };
    txn.delete(&packages.key(&package.item));
    Ok(Progress::More)
}
