//! A package where a request came in, and its versions as of that request.

use std::collections::HashMap;

use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use bytes::Bytes;
use cairn_cluster::Scan;
use data_encoding::HEXLOWER;

use super::names::{PackageId, Version, package_file, spelled_alike};
use super::records::{Keys, Line, Notes, Symbol, Wants, decode, symbol_prefix};
use super::store::{DEFAULT_DUPLICATES, missing};
use super::warnings::{Advisory, Warnings};
use crate::auth::action::Freshness;
use crate::auth::{Action, Pull};
use crate::formats::advisories;
use crate::formats::place::Place;
use crate::http::assembled::state_tag;
use crate::http::error::ApiError;
use crate::http::serve::{Served, serve_blob};
use crate::registry::Scope;
use crate::registry::package::{self, File, Package, View};

/// How many lines are read at a time.
pub(super) const PAGE: usize = 500;

/// A package in one project.
#[derive(Clone)]
pub(super) struct Source {
    scope: Scope,
    package: Package,
}

impl Source {
    /// Finds the package of this name, in whatever spelling. In a group it is the one that was there first: nobody can
    /// put versions beside another's by publishing to another project.
    pub(super) async fn find<A: Action>(place: &Place<A>, id: &PackageId) -> Result<Self, ApiError> {
        let first = place.first_named(&id.canonical()).await?;
        match first {
            Some((scope, package)) => Ok(Self { scope, package }),
            None => Err(place.missing(missing(id, None))),
        }
    }

    pub(super) fn new(scope: Scope, package: Package) -> Self {
        Self { scope, package }
    }

    pub(super) fn package(&self) -> &Package {
        &self.package
    }

    fn view(&self) -> View<'_> {
        View::of(&self.scope)
    }

    fn keys(&self) -> Keys {
        Keys::new(self.scope.collection())
    }

    /// Names the state of the versions, for a document that is called `letter`.
    pub(super) async fn tag(&self, letter: &str) -> Result<String, ApiError> {
        let keys = self.keys();
        let (view, project) = (self.view(), self.scope.project().id);
        let mut state = Vec::new();
        for records in [
            keys.lines(self.package.key),
            keys.deprecations(),
            keys.advisories(),
        ] {
            state.push((project, view.revision_of(&records).await?));
        }
        // A name that is taken again begins anew with both.
        let name = format!("{} {}", self.package.name, self.package.key);
        Ok(format!("{letter}-{}", state_tag(&name, state)))
    }

    /// Reads lines in one direction.
    pub(super) fn lines(&self, backwards: bool) -> Lines {
        Lines {
            source: self.clone(),
            backwards,
            after: None,
            has_ended: false,
        }
    }

    /// Whether there is a version that fits, listed or not.
    pub(super) async fn has_any(&self, wants: Wants) -> Result<bool, ApiError> {
        let mut lines = self.lines(true);
        while let Some(page) = lines.next_page().await? {
            if page.iter().any(|line| wants.takes(line)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The line of a version.
    pub(super) async fn line(&self, version: &Version) -> Result<Option<Line>, ApiError> {
        let key = self.keys().line(self.package.key, version);
        Ok(self.scope.snapshot().record(&key).await?)
    }

    /// The record of a version that has a line, and what is kept in it.
    pub(super) async fn version(
        &self,
        version: &Version,
    ) -> Result<Option<(package::Version, Notes)>, ApiError> {
        if self.line(version).await?.is_none() {
            return Ok(None);
        }
        let found = self.view().version(&self.package, &version.canonical()).await?;
        found
            .map(|found| {
                let notes = decode(&found.metadata)?;
                Ok((found, notes))
            })
            .transpose()
    }

    /// What is kept of a version that a line was read of on the same view.
    pub(super) async fn notes(&self, line: &Line) -> Result<Option<Notes>, ApiError> {
        let found = self
            .view()
            .version(&self.package, &line.version.canonical())
            .await?;
        found.map(|found| decode(&found.metadata)).transpose()
    }

    /// The advisories on the package.
    pub(super) async fn advisories(&self) -> Result<Vec<Advisory>, ApiError> {
        let of_package = advisories::on(&self.keys().advisories(), &spelled_alike(&self.package.name));
        let found = self.scope.snapshot().scan(of_package).await?;
        found.iter().map(|entry| Ok(entry.record()?)).collect()
    }

    /// All that is said against versions of the package.
    pub(super) async fn warnings(&self) -> Result<Warnings, ApiError> {
        let all = self.keys().deprecations();
        let package = self.package.key.to_be_bytes();
        let (mut deprecations, mut after) = (HashMap::new(), None);
        loop {
            let mut scan = Scan::of(&all).prefix(package).limit(PAGE);
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let page = self.scope.snapshot().scan(scan).await?;
            for entry in &page {
                let version = entry.item.get(package.len()..).unwrap_or_default();
                deprecations.insert(version.to_vec(), entry.record()?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.item.clone()),
                _ => break,
            }
        }
        Ok(Warnings {
            deprecations,
            advisories: self.advisories().await?,
        })
    }

    /// How often it was downloaded, in whatever version.
    pub(super) async fn downloads(&self) -> Result<u64, ApiError> {
        self.scope.download_count(&self.package.name, None).await
    }

    /// The same of one version.
    pub(super) async fn downloads_of(&self, line: &Line) -> Result<u64, ApiError> {
        self.scope.download_count(&self.package.name, Some(line.id)).await
    }

    async fn package_file(&self, version: &Version) -> Result<Option<(package::Version, File)>, ApiError> {
        let Some((found, notes)) = self.version(version).await? else {
            return Ok(None);
        };
        let name = package_file(&self.package.name, &notes.nuspec.version);
        Ok(self.view().file(&found, &name).await?.map(|file| (found, file)))
    }
}

/// Lines in the order of versions, as far as they were read.
pub(super) struct Lines {
    source: Source,
    backwards: bool,
    after: Option<Bytes>,
    has_ended: bool,
}

impl Lines {
    /// The next of them; none after the last.
    pub(super) async fn next_page(&mut self) -> Result<Option<Vec<Line>>, ApiError> {
        if self.has_ended {
            return Ok(None);
        }
        let lines = self.source.keys().lines(self.source.package.key);
        let mut scan = Scan::of(&lines).limit(PAGE);
        if self.backwards {
            scan = scan.backwards();
        }
        if let Some(after) = &self.after {
            scan = scan.after(after);
        }
        let found = self.source.scope.snapshot().scan(scan).await?;
        self.has_ended = found.len() < PAGE;
        self.after = found.last().map(|last| last.item.clone());
        let lines: Result<Vec<Line>, _> = found.iter().map(|entry| entry.record()).collect();
        let lines = lines?;
        Ok((!lines.is_empty()).then_some(lines))
    }

    /// All that are left.
    pub(super) async fn all(mut self, fits: impl Fn(&Line) -> bool) -> Result<Vec<Line>, ApiError> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page.into_iter().filter(|line| fits(line)));
        }
        Ok(all)
    }
}

/// The file that a package is.
pub(super) struct Found {
    pub(super) scope: Scope,
    pub(super) version: package::Version,
    pub(super) file: File,
    /// Whether other content may come in its place.
    may_change: bool,
}

impl Found {
    /// Finds it, on a view that has everything if the answer could have changed.
    pub(super) async fn find<A: Action>(
        place: &Place<A>,
        id: &PackageId,
        version: &Version,
    ) -> Result<Self, ApiError> {
        let gone = || place.missing(missing(id, Some(version)));
        let mut first = None;
        if let Some((scope, package)) = place.first_named(&id.canonical()).await? {
            first = Self::of(&Source { scope, package }, version).await?;
        }
        let is_settled = |found: &Self| !found.may_change;
        if A::FRESHNESS == Freshness::Latest || first.as_ref().is_some_and(is_settled) {
            return first.ok_or_else(gone);
        }
        // Of several projects another one may have it first by now; those are asked on the latest view alone.
        let Some(project) = place.project() else {
            return first.ok_or_else(gone);
        };
        let scope = project.scope(super::NAME).confirmed().await?;
        let package = View::of(&scope).package(&id.canonical()).await?;
        let source = package.map(|package| Source { scope, package });
        match &source {
            Some(source) => Self::of(source, version).await?.ok_or_else(gone),
            None => Err(gone()),
        }
    }

    async fn of(source: &Source, version: &Version) -> Result<Option<Self>, ApiError> {
        let Some((found, file)) = source.package_file(version).await? else {
            return Ok(None);
        };
        let duplicates = source.scope.duplicates(DEFAULT_DUPLICATES).await?;
        let policy = duplicates.of(&source.package.name, &found.version);
        Ok(Some(Self {
            scope: source.scope.clone(),
            version: found,
            file,
            may_change: policy.allows_other_content(),
        }))
    }

    /// What is kept of the version.
    pub(super) fn notes(&self) -> Result<Notes, ApiError> {
        decode(&self.version.metadata)
    }

    /// Answers with the package.
    pub(super) async fn answer(&self, method: &Method, headers: &HeaderMap) -> Result<Response, ApiError> {
        if *method == Method::GET {
            View::of(&self.scope)
                .note_download(&self.version, headers)
                .await?;
        }
        let file = &self.file;
        serve_blob(
            &self.scope,
            method,
            headers,
            &file.blob,
            file.size,
            self.served(""),
        )
        .await
    }

    /// What answers say that give it, or what is in it under `name`.
    pub(super) fn served(&self, name: &str) -> Served {
        let sha256 = HEXLOWER.encode(&self.file.digests.sha256);
        let served = match name {
            "" => Served::new(sha256)
                .with_digests(&self.file.digests)
                .downloaded_as(&self.file.name)
                .with_date(self.file.created_at),
            name => Served::new(format_args!("{sha256}-{name}")),
        };
        served.kept_by_clients(self.scope.project(), !self.may_change)
    }
}

/// Answers with a PDB, by its name and number in lower case.
pub(super) async fn symbol(
    place: &Place<Pull>,
    pdb: &str,
    signature: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    for scope in place.scopes().await? {
        let symbols = Keys::new(scope.collection()).symbols();
        let of_pdb = Scan::of(&symbols).prefix(symbol_prefix(pdb, signature)).limit(1);
        let Some(entry) = scope.snapshot().scan(of_pdb).await?.pop() else {
            continue;
        };
        let symbol: Symbol = entry.record()?;
        let view = View::of(&scope);
        let Some(package) = view.package(&symbol.package).await? else {
            continue;
        };
        let Some(version) = view.version(&package, &symbol.version).await? else {
            continue;
        };
        let Some(file) = view.file(&version, &symbol.file).await? else {
            continue;
        };
        // A number is given to one build alone, but symbols can be pushed again.
        let served = Served::new(HEXLOWER.encode(&file.digests.sha256))
            .with_header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
            .kept_by_clients(scope.project(), false);
        return serve_blob(&scope, method, headers, &file.blob, file.size, served).await;
    }
    Err(place.missing(ApiError::not_found(format!(
        "there is no {pdb:.100} of this number here"
    ))))
}
