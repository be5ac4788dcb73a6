//! What there is: packages of a project, versions of a package, files of a version, by pages.

use crate::formats::generic::listing::{Entry, subject};
use crate::formats::generic::names::AFTER_NAMES;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{Package, Status, Version, View};

/// A directory that can be listed.
#[derive(Clone)]
pub(super) enum Directory {
    /// One in which nothing lies yet.
    Empty,
    /// The packages.
    Packages,
    /// The versions of a package.
    Versions(Package),
    /// The files of a version below a directory, which is empty or ends with a slash.
    Files(Version, String),
}

/// Some entries, and where the next ones begin.
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    pub(super) next: Option<String>,
}

/// Lists up to `limit` entries past `after`.
pub(super) async fn page(
    scope: &Scope,
    directory: &Directory,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, ApiError> {
    // One more than asked for tells whether there is another page.
    let mut entries = match directory {
        Directory::Empty => Vec::new(),
        Directory::Packages => packages(scope, after.map(without_slash), limit + 1).await?,
        Directory::Versions(package) => versions(scope, package, after.map(without_slash), limit + 1).await?,
        Directory::Files(version, below) => files(scope, version, below, after, limit + 1).await?,
    };
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(Entry::position);
    Ok(Page { entries, next })
}

fn without_slash(position: &str) -> &str {
    position.strip_suffix('/').unwrap_or(position)
}

async fn packages(scope: &Scope, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, ApiError> {
    let view = View::of(scope);
    let mut after = after.map(str::to_owned);
    let mut found = Vec::new();
    while found.len() < limit {
        let batch = view.packages(after.as_deref(), limit).await?;
        for package in &batch {
            // A package of which every version is hidden is hidden itself.
            let shown = !versions(scope, package, None, 1).await?.is_empty();
            if shown && found.len() < limit {
                let name = package.name.clone();
                found.push(Entry::Dir { name });
            }
        }
        if batch.len() < limit {
            break;
        }
        after = batch.into_iter().next_back().map(|package| package.name);
    }
    Ok(found)
}

async fn versions(
    scope: &Scope,
    package: &Package,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Entry>, ApiError> {
    let view = View::of(scope);
    let mut after = after.map(str::to_owned);
    let mut found = Vec::new();
    loop {
        let batch = view.versions(package, after.as_deref(), limit).await?;
        let full = batch.len() == limit;
        after = batch.last().map(|version| version.version.clone());
        let shown = batch
            .into_iter()
            .filter(|version| version.status != Status::Hidden);
        found.extend(shown.map(|version| Entry::Dir {
            name: version.version,
        }));
        if found.len() >= limit || !full {
            found.truncate(limit);
            return Ok(found);
        }
    }
}

async fn files(
    scope: &Scope,
    version: &Version,
    below: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Entry>, ApiError> {
    let view = View::of(scope);
    let mut found = Vec::new();
    let mut after = after.map(|name| past(&format!("{below}{name}")));
    'pages: loop {
        let batch = view.files_below(version, below, after.as_deref(), limit).await?;
        let full = batch.len() == limit;
        for file in batch {
            if found.len() == limit {
                return Ok(found);
            }
            after = Some(file.name.clone());
            let rest = &file.name[below.len()..];
            if let Some((directory, _)) = rest.split_once('/') {
                found.push(Entry::Dir {
                    name: directory.into(),
                });
                // All that lies in it is one entry.
                after = Some(past(&format!("{below}{directory}/")));
                continue 'pages;
            }
            let about = match subject(rest) {
                Some(subject) if is_there(&view, version, below, subject).await? => Some(subject.to_owned()),
                _ => None,
            };
            found.push(Entry::File {
                name: rest.into(),
                size: file.size,
                sha256: file.digests.sha256,
                modified: file.created_at,
                about,
            });
        }
        if !full {
            return Ok(found);
        }
    }
}

async fn is_there(view: &View<'_>, version: &Version, below: &str, name: &str) -> Result<bool, ApiError> {
    Ok(view.file(version, &format!("{below}{name}")).await?.is_some())
}

/// Where to go on after a file, or after everything in a directory.
fn past(position: &str) -> String {
    match position.ends_with('/') {
        true => format!("{position}{AFTER_NAMES}"),
        false => position.into(),
    }
}
