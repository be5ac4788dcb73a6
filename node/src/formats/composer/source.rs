//! Where packages are read from: one package, and the documents that are made of its versions.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;

use super::index::{Form, Writer};
use super::names::PackageName;
use super::records::{Advisory, Head, Keys, VersionNotes, decode};
use super::store::missing;
use crate::auth::{Action, Pull};
use crate::formats::advisories;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, Assembled, Wanted, state_tag};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::package::{self, Package, Status, View};

/// How many versions are read at a time.
const PAGE: usize = 200;

/// A package in one project.
pub(super) struct Source {
    scope: Scope,
    package: Package,
    pub(super) head: Head,
}

impl Source {
    /// Finds a package. In a group, and at the instance, it is the one that was there first: of several repositories
    /// too, Composer takes all versions from the first that knows the name.
    pub(super) async fn find<A: Action>(
        place: &Place<A>,
        name: &PackageName,
    ) -> Result<Option<Self>, ApiError> {
        let found = place.first_named(name.as_str()).await?;
        found.map(|(scope, package)| Self::of(scope, package)).transpose()
    }

    fn of(scope: Scope, package: Package) -> Result<Self, ApiError> {
        Ok(Self {
            head: Head::of(&package)?,
            scope,
            package,
        })
    }

    /// The same package on a view that has everything that was acknowledged before now.
    pub(super) async fn confirmed(scope: &Scope, name: &PackageName) -> Result<Option<Self>, ApiError> {
        let scope = scope.confirmed().await?;
        let package = View::of(&scope).package(name.as_str()).await?;
        package.map(|package| Self::of(scope, package)).transpose()
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn view(&self) -> View<'_> {
        View::of(&self.scope)
    }

    /// The version of this canonical name.
    pub(super) async fn version(&self, canonical: &str) -> Result<Option<package::Version>, ApiError> {
        Ok(self.view().version(&self.package, canonical).await?)
    }

    /// Every advisory on the package.
    pub(super) async fn advisories(&self, name: &PackageName) -> Result<Vec<Advisory>, ApiError> {
        let all = Keys::new(self.scope.collection()).advisories();
        let found = self
            .scope
            .snapshot()
            .scan(advisories::on(&all, name.as_str()))
            .await?;
        found.iter().map(|found| Ok(found.record()?)).collect()
    }
}

/// The answer for what is not here. Where everybody may fetch everything, nobody is asked to sign in for a name that
/// nobody has: Composer would ask its user, or end, rather than go on to the next repository.
pub(super) async fn absent(place: &Place<Pull>, error: ApiError) -> ApiError {
    if error.kind != ErrorKind::NotFound || !place.access().caller().is_anonymous() {
        return error;
    }
    match place.is_open().await {
        Ok(true) => error,
        Ok(false) => place.missing(error),
        Err(error) => error,
    }
}

/// Answers with a document about the versions of a package.
pub(super) async fn answer(
    documents: &Assembled,
    place: &Place<Pull>,
    name: PackageName,
    form: Form,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let source = Source::find(place, &name).await?;
    let source = source.filter(|source| source.head.latest.is_some());
    let Some(source) = source.map(Arc::new) else {
        return Err(absent(place, missing(&name)).await);
    };
    let revision = source.view().revision(&source.package).await?;
    let state = [(source.scope.project().id, revision)];
    let base = place.base();
    let wanted = Wanted {
        etag: format!("{}-{}", form.letter(), state_tag(name.as_str(), state)),
        base,
        content_type: "application/json",
        vary: "Accept-Encoding",
    };
    let begin = async || Ok(Versions::of(source.clone(), name.clone(), form, base));
    // Stamps of two projects may be the same, so where it could be one or the other's, none is told.
    let is_only = place.project().is_some() || place.scopes_holding(name.as_str()).await?.len() == 1;
    match is_only {
        true => {
            let modified = source.head.changed.date();
            documents.answer_dated(wanted, modified, headers, begin).await
        }
        false => documents.answer(wanted, headers, begin).await,
    }
}

/// A document about the versions of a package, in the making.
struct Versions {
    source: Arc<Source>,
    name: PackageName,
    form: Form,
    writer: Writer,
    after: Option<String>,
    is_read: bool,
    is_done: bool,
}

impl Versions {
    fn of(source: Arc<Source>, name: PackageName, form: Form, base: &str) -> Self {
        Self {
            writer: Writer::begin(form, base, name.clone(), source.head.clone()),
            source,
            name,
            form,
            after: None,
            is_read: false,
            is_done: false,
        }
    }
}

impl Assemble for Versions {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        if self.is_read {
            self.is_done = true;
            self.writer.end(&self.source.advisories(&self.name).await?);
            return Ok(Some(self.writer.take()));
        }
        let (view, package) = (self.source.view(), &self.source.package);
        let page = view.versions(package, self.after.as_deref(), PAGE).await?;
        self.is_read = page.len() < PAGE;
        self.after = page.last().map(|last| last.version.clone());
        for found in page.iter().filter(|found| found.status != Status::Hidden) {
            let notes: VersionNotes = decode(&found.metadata)?;
            if self.form.takes(&notes.version) && !notes.lacks_archive {
                self.writer.version(&notes, found.id);
            }
        }
        Ok(Some(self.writer.take()))
    }
}
