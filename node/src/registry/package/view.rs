//! Reading packages on one snapshot.

use axum::http::HeaderMap;
use axum::http::header::RANGE;
use cairn_cluster::{Collection, Entry, ReadError, Scan, Snapshot};

use crate::registry::keys;
use crate::registry::package::record::{File, Location, Package, Tombstone, Version};
use crate::registry::scope::Scope;

/// The packages of one format in one project, as of one snapshot. Cheap to make.
#[derive(Clone)]
pub struct View<'a> {
    scope: &'a Scope,
    snapshot: &'a Snapshot,
}

impl<'a> View<'a> {
    /// On the snapshot of the request.
    pub fn of(scope: &'a Scope) -> Self {
        Self::at(scope, scope.snapshot())
    }

    /// On another snapshot.
    pub fn at(scope: &'a Scope, snapshot: &'a Snapshot) -> Self {
        Self { scope, snapshot }
    }

    fn root(&self) -> u64 {
        self.scope.project().root()
    }

    fn project(&self) -> u64 {
        self.scope.project().id
    }

    /// The package of this normalised name, if the caller may know it.
    pub async fn package(&self, name: &str) -> Result<Option<Package>, ReadError> {
        if !self.scope.covers(name) {
            return Ok(None);
        }
        let key = keys::package(self.root(), self.project(), self.scope.format(), name);
        let found: Option<Package> = self.snapshot.record(&key).await?;
        Ok(found.filter(|package| package.deleted_at.is_none()))
    }

    /// A number that changes with every change to the package or one of its versions.
    ///
    /// Whatever is computed from those records alone stays right as long as it does not.
    pub async fn revision(&self, package: &Package) -> Result<u64, ReadError> {
        let key = keys::package(self.root(), self.project(), self.scope.format(), &package.name);
        let own = self.snapshot.get(&key).await?.map_or(0, |found| found.version);
        let versions = keys::versions(self.root(), self.project(), package.key);
        let latest = own.max(self.snapshot.revision(&versions).await?);
        Ok(self.snapshot.earlier_revisions().await? + latest)
    }

    /// A number that changes whenever a name appears, vanishes or changes in this project.
    pub async fn names_revision(&self) -> Result<u64, ReadError> {
        let names = keys::packages(self.root(), self.project());
        Ok(self.snapshot.earlier_revisions().await? + self.snapshot.revision(&names).await?)
    }

    /// A number that changes with every change to what lies in one of the format's own collections.
    pub(crate) async fn revision_of(&self, records: &Collection) -> Result<u64, ReadError> {
        Ok(self.snapshot.earlier_revisions().await? + self.snapshot.revision(records).await?)
    }

    /// Packages in the order of their names, after `after`, at most `limit`.
    pub async fn packages(&self, after: Option<&str>, limit: usize) -> Result<Vec<Package>, ReadError> {
        self.packages_below("", after, limit).await
    }

    /// The same of those whose names begin with `below`.
    pub async fn packages_below(
        &self,
        below: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Package>, ReadError> {
        let names = keys::packages(self.root(), self.project());
        let item = |name: &str| keys::package_item(self.scope.format(), name);
        let prefix = item(below);
        let mut position = after.map(item);
        let mut found = Vec::new();
        loop {
            let mut scan = Scan::of(&names).prefix(&prefix).limit(limit - found.len());
            if let Some(position) = &position {
                scan = scan.after(position);
            }
            let entries = self.snapshot.scan(scan).await?;
            let Some(last) = entries.last() else {
                return Ok(found);
            };
            position = Some(last.item.to_vec());
            for entry in &entries {
                let package: Package = entry.record()?;
                if package.deleted_at.is_none() && self.scope.covers(&package.name) {
                    found.push(package);
                }
            }
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }

    /// One version of a package.
    pub async fn version(&self, package: &Package, version: &str) -> Result<Option<Version>, ReadError> {
        let versions = keys::versions(self.root(), self.project(), package.key);
        self.snapshot.record(&versions.key(version)).await
    }

    /// Versions of a package in the order of their bytes, after `after`, at most `limit`.
    pub async fn versions(
        &self,
        package: &Package,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Version>, ReadError> {
        let versions = keys::versions(self.root(), self.project(), package.key);
        let mut scan = Scan::of(&versions).limit(limit);
        if let Some(after) = after {
            scan = scan.after(after);
        }
        self.snapshot
            .scan(scan)
            .await?
            .iter()
            .map(Entry::record)
            .collect()
    }

    /// What is left of a deleted version.
    pub async fn tombstone(&self, name: &str, version: &str) -> Result<Option<Tombstone>, ReadError> {
        let tombstones = keys::tombstones(self.root(), self.project(), self.scope.format(), name);
        self.snapshot.record(&tombstones.key(version)).await
    }

    /// The file of this name.
    pub async fn file(&self, version: &Version, name: &str) -> Result<Option<File>, ReadError> {
        let files = keys::files(self.root(), self.project(), version.id);
        self.snapshot.record(&files.key(name)).await
    }

    /// Files of a version in the order of their names, after `after`, at most `limit`. Of
    /// several files of one name, only the newest.
    pub async fn files(
        &self,
        version: &Version,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<File>, ReadError> {
        self.files_below(version, "", after, limit).await
    }

    /// The same of those whose names begin with `prefix`.
    pub async fn files_below(
        &self,
        version: &Version,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<File>, ReadError> {
        let files = keys::files(self.root(), self.project(), version.id);
        let mut scan = Scan::of(&files).prefix(prefix).limit(limit);
        if let Some(after) = after {
            scan = scan.after(after);
        }
        self.snapshot
            .scan(scan)
            .await?
            .iter()
            .map(Entry::record)
            .collect()
    }

    /// Notes that a file of this version was downloaded: once, whichever its parts a client asks for
    /// by itself.
    pub async fn note_download(&self, version: &Version, headers: &HeaderMap) -> Result<(), ReadError> {
        if is_rest(headers) {
            let (store, key) = (
                self.scope.store(),
                keys::pulled(self.root(), self.project(), version.id),
            );
            store.usage().note(&key, store.now());
            return Ok(());
        }
        let key = keys::version_ids(self.root(), self.project()).key(version.id);
        if let Some(location) = self.snapshot.record::<Location>(&key).await? {
            self.scope.note_download(&location.name, Some(version.id)).await;
        }
        Ok(())
    }
}

/// Whether a request asks for a part that does not begin with the first byte.
fn is_rest(headers: &HeaderMap) -> bool {
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| !range.trim_start().starts_with("bytes=0-"))
}
