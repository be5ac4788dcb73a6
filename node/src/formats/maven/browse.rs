//! What is in a directory: files, versions of a package, and packages below it.
//!
//! Entries come in this order, each kind in the order of its names. Of several projects, they are laid over each
//! other.

use std::collections::BTreeMap;

use cairn_cluster::Scan;

use super::METADATA;
use super::names::{Directory, is_snapshot};
use super::records::{Keys, prefixed};
use crate::formats::listing::{Child, Entry, children};
use crate::formats::lists::{Listing, Page};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{File, Package, Version, View};
/// A directory here.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) scopes: Vec<Scope>,
    pub(super) directory: Directory,
}

impl Listed {
    /// Whether anything is in it.
    pub(super) async fn is_there(&self) -> Result<bool, ApiError> {
        Ok(!self.page(None, 1).await?.entries.is_empty())
    }
}

/// Kinds of entries, by what the positions of theirs begin with: no name begins with any of these.
const MADE: char = ' ';
const FILES: char = '!';
const VERSIONS: char = '"';
const BELOW: char = '#';

impl Listing for Listed {
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Page, ApiError> {
        // One more than asked for tells whether there is another page.
        let mut entries = BTreeMap::new();
        for scope in &self.scopes {
            let found = entries_of(scope, &self.directory, after, limit + 1).await?;
            entries.extend(found);
        }
        let next = entries.keys().nth(limit.saturating_sub(1)).cloned();
        let next = next.filter(|_| entries.len() > limit);
        let entries = entries.into_values().take(limit).collect();
        Ok(Page { entries, next })
    }
}

type Entries = BTreeMap<String, Entry>;

/// Up to `limit` entries of a directory in one project, past the position `after`, with their positions.
async fn entries_of(
    scope: &Scope,
    directory: &Directory,
    after: Option<&str>,
    limit: usize,
) -> Result<Entries, ApiError> {
    let reading = Reading {
        view: View::of(scope),
        keys: Keys::new(scope.collection()),
        scope,
        after,
        limit,
    };
    let mut entries = Entries::new();
    if let Some((package, version, folder)) = directory.as_folder_of_version()
        && let Some((_, version)) = reading.version(package.as_str(), &version).await?
    {
        reading
            .files(&mut entries, &version, &format!("{folder}/"))
            .await?;
    }
    if let Some((package, name)) = directory.as_version()
        && let Some((package, version)) = reading.version(package.as_str(), name).await?
    {
        let builds = reading.keys.builds(package.key);
        let of_version = Scan::of(&builds).prefix(prefixed(name, "")).limit(1);
        if is_snapshot(name) && !scope.snapshot().scan(of_version).await?.is_empty() {
            reading.metadata(&mut entries);
        }
        reading.files(&mut entries, &version, "").await?;
    }
    if let Some(package) = directory.as_package()
        && let Some(package) = reading.view.package(package.as_str()).await?
    {
        let lines = reading.keys.lines(package.key);
        if !scope.snapshot().scan(Scan::of(&lines).limit(1)).await?.is_empty() {
            reading.metadata(&mut entries);
        }
        reading.versions(&mut entries, &package).await?;
    }
    reading.below(&mut entries, &directory.prefix()).await?;
    Ok(entries)
}

/// One look at a project.
struct Reading<'a> {
    view: View<'a>,
    keys: Keys,
    scope: &'a Scope,
    after: Option<&'a str>,
    limit: usize,
}

impl Reading<'_> {
    async fn version(&self, package: &str, version: &str) -> Result<Option<(Package, Version)>, ApiError> {
        let Some(package) = self.view.package(package).await? else {
            return Ok(None);
        };
        let version = self.view.version(&package, version).await?;
        Ok(version.map(|version| (package, version)))
    }

    /// Where to go on among the entries of a kind; none if they were all listed.
    fn after(&self, kind: char) -> Option<Option<&str>> {
        match self.after {
            None => Some(None),
            Some(after) => match after.strip_prefix(kind) {
                Some(name) => Some(Some(name)),
                None => (after.chars().next() < Some(kind)).then_some(None),
            },
        }
    }

    fn metadata(&self, entries: &mut Entries) {
        if self.after(MADE) == Some(None) {
            let name = METADATA.to_owned();
            entries.insert(format!("{MADE}{name}"), Entry::Made { name });
        }
    }

    async fn files(&self, entries: &mut Entries, version: &Version, below: &str) -> Result<(), ApiError> {
        let Some(after) = self.after(FILES) else {
            return Ok(());
        };
        let view = &self.view;
        let next = |after: Option<String>, limit| async move {
            Ok(view.files_below(version, below, after.as_deref(), limit).await?)
        };
        for child in children(below, after, self.limit, file_name, next).await? {
            let position = format!("{FILES}{}", child.position());
            let entry = match child {
                Child::Dir(name) => Entry::Dir { name },
                Child::Leaf(name, file) => Entry::File {
                    name,
                    size: file.size,
                    sha256: file.digests.sha256,
                    modified: file.created_at,
                    about: None,
                },
            };
            entries.insert(position, entry);
        }
        Ok(())
    }

    async fn versions(&self, entries: &mut Entries, package: &Package) -> Result<(), ApiError> {
        let Some(after) = self.after(VERSIONS) else {
            return Ok(());
        };
        let (mut after, mut left) = (after.map(str::to_owned), self.limit);
        loop {
            let page = self.view.versions(package, after.as_deref(), self.limit).await?;
            let is_last = page.len() < self.limit;
            after = page.last().map(|version| version.version.clone());
            for version in page {
                // What has no files any more is not there.
                if left > 0 && !self.view.files(&version, None, 1).await?.is_empty() {
                    let name = version.version;
                    entries.insert(format!("{VERSIONS}{name}"), Entry::Dir { name });
                    left -= 1;
                }
            }
            if is_last || left == 0 {
                return Ok(());
            }
        }
    }

    async fn below(&self, entries: &mut Entries, below: &str) -> Result<(), ApiError> {
        let Some(after) = self.after(BELOW) else {
            return Ok(());
        };
        let view = &self.view;
        let next = |after: Option<String>, limit| async move {
            Ok(view.packages_below(below, after.as_deref(), limit).await?)
        };
        let (mut after, mut left) = (after.map(str::to_owned), self.limit);
        loop {
            let page = children(below, after.as_deref(), self.limit, package_name, next).await?;
            let is_last = page.len() < self.limit;
            after = page.last().map(Child::position);
            for child in page {
                let position = child.position();
                let name = match child {
                    // It is there as a package already.
                    Child::Dir(name) if self.is_package(&format!("{below}{name}")).await? => continue,
                    Child::Leaf(_, package) if self.is_empty(&package).await? => continue,
                    Child::Dir(name) | Child::Leaf(name, _) => name,
                };
                if left > 0 {
                    entries.insert(format!("{BELOW}{position}"), Entry::Dir { name });
                    left -= 1;
                }
            }
            if is_last || left == 0 {
                return Ok(());
            }
        }
    }

    async fn is_package(&self, name: &str) -> Result<bool, ApiError> {
        match View::of(self.scope).package(name).await? {
            Some(package) => Ok(!self.is_empty(&package).await?),
            None => Ok(false),
        }
    }

    async fn is_empty(&self, package: &Package) -> Result<bool, ApiError> {
        Ok(self.view.versions(package, None, 1).await?.is_empty())
    }
}

fn file_name(file: &File) -> &str {
    &file.name
}

fn package_name(package: &Package) -> &str {
    &package.name
}
