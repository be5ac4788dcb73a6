//! What there is: packages of a project, versions of a package, files of a version, by pages.

use axum::extract::OriginalUri;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::formats::listing::{self, Child, Entry, subject};
use crate::formats::lists::{self, ListQuery, Listing, Page};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{File, Package, Status, Version, View};

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

/// A directory of a project.
#[derive(Clone)]
struct Listed {
    scope: Scope,
    directory: Directory,
}

impl Listing for Listed {
    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Page, ApiError> {
        let (scope, limit_and_one) = (&self.scope, limit + 1);
        let entries = match &self.directory {
            Directory::Empty => Vec::new(),
            Directory::Packages => packages(scope, after.map(without_slash), limit_and_one).await?,
            Directory::Versions(package) => {
                versions(scope, package, after.map(without_slash), limit_and_one).await?
            }
            Directory::Files(version, below) => files(scope, version, below, after, limit_and_one).await?,
        };
        Ok(Page::of(entries, limit))
    }
}

/// Answers with what is in a directory, whose path is for people to read.
pub(super) async fn list(
    scope: Scope,
    directory: Directory,
    path: String,
    query: ListQuery,
    uri: &OriginalUri,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    // A directory is there as long as something lies in it.
    let must_hold = matches!(&directory, Directory::Files(_, below) if !below.is_empty());
    let base_url = scope.base_url().clone();
    let listed = Listed { scope, directory };
    if must_hold && listed.page(None, 1).await?.entries.is_empty() {
        return Err(ApiError::not_found("404 Not Found"));
    }
    lists::list(listed, path, query, &base_url, uri, headers).await
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
    let view = &View::of(scope);
    let next = |after: Option<String>, limit| async move {
        Ok(view.files_below(version, below, after.as_deref(), limit).await?)
    };
    let mut found = Vec::new();
    for child in listing::children(below, after, limit, |file: &File| file.name.as_str(), next).await? {
        found.push(match child {
            Child::Dir(name) => Entry::Dir { name },
            Child::Leaf(name, file) => {
                let about = match subject(&name) {
                    Some(subject) if is_there(view, version, below, subject).await? => {
                        Some(subject.to_owned())
                    }
                    _ => None,
                };
                Entry::File {
                    name,
                    size: file.size,
                    sha256: file.digests.sha256,
                    modified: file.created_at,
                    about,
                }
            }
        });
    }
    Ok(found)
}

async fn is_there(view: &View<'_>, version: &Version, below: &str, name: &str) -> Result<bool, ApiError> {
    Ok(view.file(version, &format!("{below}{name}")).await?.is_some())
}
