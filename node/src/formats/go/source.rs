//! A module where a request came in, and the documents that are made of its versions.

use std::sync::Arc;

use cairn_cluster::Timestamp;
use serde_json::json;

use super::artifact::Sums;
use super::names::{ModulePath, Version};
use super::store::{self, sums_key};
use crate::auth::Action;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, state_tag};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, Package, Status, View};
use crate::registry::time::iso_seconds;

/// How many versions are read at a time.
const PAGE: usize = 500;

/// A module in one project.
pub(super) struct Source {
    scope: Scope,
    package: Package,
}

impl Source {
    /// Finds a module. In a group, and at the instance, it is the one that was there first.
    pub(super) async fn find<A: Action>(
        place: &Place<A>,
        module: &ModulePath,
    ) -> Result<Option<Self>, ApiError> {
        let found = place.first_named(module.as_str()).await?;
        Ok(found.map(|(scope, package)| Self { scope, package }))
    }

    /// The same module on a view that has everything that was acknowledged before now.
    pub(super) async fn confirmed(scope: &Scope, module: &ModulePath) -> Result<Option<Self>, ApiError> {
        let scope = scope.confirmed().await?;
        let package = View::of(&scope).package(module.as_str()).await?;
        Ok(package.map(|package| Self { scope, package }))
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn view(&self) -> View<'_> {
        View::of(&self.scope)
    }

    /// Names the state that documents about the module are made from.
    pub(super) async fn etag(&self) -> Result<String, ApiError> {
        let revision = self.view().revision(&self.package).await?;
        let state = [(self.scope.project().id, revision)];
        Ok(state_tag(&self.package.name, state))
    }

    /// A version, if all its files are there.
    pub(super) async fn version(&self, version: &Version) -> Result<Option<package::Version>, ApiError> {
        let found = self.view().version(&self.package, &version.to_string()).await?;
        match found {
            Some(found) if store::is_whole(&found)? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// Whether a version was here and is not any more.
    pub(super) async fn was_deleted(&self, version: &Version) -> Result<bool, ApiError> {
        let (module, version) = (&self.package.name, version.to_string());
        Ok(self.view().tombstone(module, &version).await?.is_some())
    }

    /// The sums of a version.
    pub(super) async fn sums(
        &self,
        module: &ModulePath,
        version: &Version,
    ) -> Result<Option<Sums>, ApiError> {
        let key = sums_key(&self.scope.collection(), module, version);
        Ok(self.scope.snapshot().record(&key).await?)
    }

    /// The version that was made of the commit whose hash begins so.
    pub(super) async fn version_of_commit(
        self: &Arc<Self>,
        hash: &str,
    ) -> Result<Option<(Version, Timestamp)>, ApiError> {
        let mut pages = Pages::of(self.clone());
        while let Some(page) = pages.next().await? {
            for (version, created_at) in page {
                if version.commit().is_some_and(|commit| commit.is_meant_by(hash)) {
                    return Ok(Some((version, created_at)));
                }
            }
        }
        Ok(None)
    }
}

/// The versions that lists show, page by page.
struct Pages {
    source: Arc<Source>,
    after: Option<String>,
    is_done: bool,
}

impl Pages {
    fn of(source: Arc<Source>) -> Self {
        Self {
            source,
            after: None,
            is_done: false,
        }
    }

    /// The next of them, each with when it was published; none after the last.
    async fn next(&mut self) -> Result<Option<Vec<(Version, Timestamp)>>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let (view, package) = (self.source.view(), &self.source.package);
        let page = view.versions(package, self.after.as_deref(), PAGE).await?;
        self.is_done = page.len() < PAGE;
        self.after = page.last().map(|last| last.version.clone());
        let mut shown = Vec::with_capacity(page.len());
        for found in &page {
            if found.status != Status::Hidden && store::is_whole(found)? {
                shown.push((found.version.parse()?, found.created_at));
            }
        }
        Ok(Some(shown))
    }
}

/// A document about all versions of a module, in the making.
pub(super) struct Versions {
    module: ModulePath,
    pages: Pages,
    form: Form,
    /// Whether any version was met, also such that are not listed.
    is_there: bool,
    latest: Option<(Version, Timestamp)>,
    is_done: bool,
}

/// What a document says of the versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for each, apart from those that were made of commits.
    List,
    /// The one that is used unless somebody says another.
    Latest,
}

impl Versions {
    pub(super) fn of(source: Arc<Source>, module: ModulePath, form: Form) -> Self {
        Self {
            module,
            pages: Pages::of(source),
            form,
            is_there: false,
            latest: None,
            is_done: false,
        }
    }

    fn see(&mut self, version: Version, created_at: Timestamp, out: &mut String) {
        self.is_there = true;
        match self.form {
            Form::List if version.commit().is_none() => out.push_str(&format!("{version}\n")),
            Form::List => {}
            Form::Latest => {
                let is_later = |(known, _): &(Version, Timestamp)| known.rank() < version.rank();
                if self.latest.as_ref().is_none_or(is_later) {
                    self.latest = Some((version, created_at));
                }
            }
        }
    }
}

impl Assemble for Versions {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = String::new();
        if let Some(page) = self.pages.next().await? {
            for (version, created_at) in page {
                self.see(version, created_at, &mut out);
            }
            return Ok(Some(out));
        }
        self.is_done = true;
        if !self.is_there {
            return Err(no_versions(&self.module));
        }
        let latest = self.latest.take();
        Ok(latest.map(|(version, created_at)| info(&version, created_at)))
    }
}

/// The answer for a module of which nothing is left.
fn no_versions(module: &ModulePath) -> ApiError {
    store::missing(format_args!("module {module} has no versions"))
}

/// What is said of one version. Of one that was made of a commit, the time is the commit's.
pub(super) fn info(version: &Version, created_at: Timestamp) -> String {
    let at = version.commit().map_or(created_at, |commit| commit.at);
    json!({"Version": version.to_string(), "Time": iso_seconds(at)}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_with_its_time() {
        let check = |version: &str, expected: &str| {
            let version: Version = version.parse().unwrap();
            assert_eq!(info(&version, Timestamp(1_800_000_000_123)), expected);
        };
        check("v1.0.0", r#"{"Version":"v1.0.0","Time":"2027-01-15T08:00:00Z"}"#);
        check(
            "v0.0.0-20260102030405-abcdefabcdef",
            r#"{"Version":"v0.0.0-20260102030405-abcdefabcdef","Time":"2026-01-02T03:04:05Z"}"#,
        );
    }
}
