//! Where a request came in: at a project, at a group or at the instance. Packages are published
//! to projects; a group and the instance show the packages of the projects below them.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::NAME;
use super::names::PackageName;
use super::packument::Source;
use super::store::no_package;
use crate::app::App;
use crate::auth::{Access, Action, Authorised, Instance, Pull};
use crate::formats::Level;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::group::Group;
use crate::registry::project::Project;

/// What a path of a project or group is left in when it is written as one segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Proof that the caller may do `A` where the request came in.
pub(super) struct Place<A> {
    at: At<A>,
    base: String,
}

enum At<A> {
    Project(Authorised<Project, A>),
    Group(Authorised<Group, A>),
    Instance(Authorised<Instance, A>),
}

impl<A: Action> FromRequestParts<App> for Place<A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        // The router of every level says which it is.
        let level = parts
            .extensions
            .get::<Level>()
            .copied()
            .unwrap_or(Level::Instance);
        let at = match level {
            Level::Project => At::Project(Authorised::<Project, A>::from_request_parts(parts, app).await?),
            Level::Group => At::Group(Authorised::<Group, A>::from_request_parts(parts, app).await?),
            Level::Instance | Level::Host => {
                At::Instance(Authorised::<Instance, A>::from_request_parts(parts, app).await?)
            }
        };
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::bad_request("the path is not valid UTF-8"))?;
        let id = params
            .iter()
            .find(|(name, _)| *name == "id")
            .map_or("", |(_, id)| id);
        let prefix = level
            .prefix(NAME)
            .replace("{id}", &utf8_percent_encode(id, SEGMENT).to_string());
        let base_url = at.access().base_url();
        Ok(Self {
            base: format!("{base_url}{prefix}/"),
            at,
        })
    }
}

impl<A: Action> At<A> {
    fn access(&self) -> &Access {
        match self {
            Self::Project(project) => project.access(),
            Self::Group(group) => group.access(),
            Self::Instance(instance) => instance.access(),
        }
    }
}

impl<A: Action> Place<A> {
    /// The URL of the registry that the client is configured with, with a slash at its end.
    /// Tarballs are given URLs below it: clients send their token only there, and lock files
    /// leave out URLs that follow the convention.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Who asks, and on which view.
    pub(super) fn access(&self) -> &Access {
        self.at.access()
    }

    /// The project, if the request came in at one.
    pub(super) fn project(&self) -> Option<&Authorised<Project, A>> {
        match &self.at {
            At::Project(project) => Some(project),
            At::Group(_) | At::Instance(_) => None,
        }
    }

    /// The projects here that may have a package of this name, the newest first.
    async fn scopes_named(&self, name: &PackageName) -> Result<Vec<Scope>, ApiError> {
        let mut projects = match &self.at {
            At::Project(project) => return Ok(vec![project.scope(NAME)]),
            At::Group(group) => group.projects_named(NAME, name.as_str()).await?,
            // The scope is the root group, so that nobody can put a package beside another's.
            At::Instance(instance) => match name.scope() {
                Some(root) => instance.projects_named_below(root, NAME, name.as_str()).await?,
                None => Vec::new(),
            },
        };
        projects.sort_by_key(|project| std::cmp::Reverse(project.project().id));
        Ok(projects.iter().map(|project| project.scope(NAME)).collect())
    }

    /// The packages of this name here: at least one.
    pub(super) async fn sources(&self, name: &PackageName) -> Result<Vec<Source>, ApiError> {
        let mut sources = Vec::new();
        for scope in self.scopes_named(name).await? {
            sources.extend(Source::find(scope, name).await?);
        }
        if sources.is_empty() {
            return Err(self.missing(no_package(name)));
        }
        Ok(sources)
    }

    /// The answer for what is not here. Nobody in particular is asked to sign in where there may
    /// be something that only others see.
    pub(super) fn missing(&self, not_found: ApiError) -> ApiError {
        let is_anonymous = self.access().caller().is_anonymous();
        if not_found.kind == ErrorKind::NotFound && is_anonymous && self.project().is_none() {
            return ApiError::unauthorized();
        }
        not_found
    }
}

impl Place<Pull> {
    /// Every project here that the caller may pull from.
    pub(super) async fn scopes(&self) -> Result<Vec<Scope>, ApiError> {
        let projects = match &self.at {
            At::Project(project) => return Ok(vec![project.scope(NAME)]),
            At::Group(group) => group.projects().await?,
            At::Instance(instance) => instance.projects().await?,
        };
        Ok(projects.iter().map(|project| project.scope(NAME)).collect())
    }
}
