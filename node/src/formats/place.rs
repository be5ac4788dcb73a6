//! Where a request came in: at a project, at a group or at the instance. Packages are published
//! to projects; a group and the instance show the packages of the projects below them.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use cairn_cluster::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::app::App;
use crate::auth::{Access, Action, Authorised, Instance, Pull};
use crate::formats::{Level, Mount};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::BaseUrl;
use crate::registry::Scope;
use crate::registry::group::Group;
use crate::registry::package::{Package, View};
use crate::registry::project::Project;

/// What a path of a project or group is left in when it is written as one segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Proof that the caller may do `A` where the request came in.
pub(crate) struct Place<A> {
    at: At<A>,
    format: &'static str,
    base: String,
}

/// Of several packages of one name, the one that was there first has the least.
pub(crate) type Precedence = (Timestamp, u64);

/// When and where a package came to be.
pub(crate) fn precedence(scope: &Scope, package: &Package) -> Precedence {
    (package.created_at, scope.project().id)
}

enum At<A> {
    Project(Authorised<Project, A>),
    Group(Authorised<Group, A>),
    Instance(Authorised<Instance, A>),
}

impl<A: Action> FromRequestParts<App> for Place<A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Mount { format, level } = Mount::of(parts)?;
        let at = match level {
            Level::Project => At::Project(Authorised::<Project, A>::from_request_parts(parts, app).await?),
            Level::Group => At::Group(Authorised::<Group, A>::from_request_parts(parts, app).await?),
            Level::Instance | Level::Host => {
                At::Instance(Authorised::<Instance, A>::from_request_parts(parts, app).await?)
            }
        };
        let Base(base) = Base::from_request_parts(parts, app).await?;
        Ok(Self { at, format, base })
    }
}

/// The URL of the registry that the client is configured with, with a slash at its end.
pub(crate) struct Base(pub(crate) String);

impl FromRequestParts<App> for Base {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Mount { format, level } = Mount::of(parts)?;
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::bad_request("the path is not valid UTF-8"))?;
        let id = params
            .iter()
            .find(|(name, _)| *name == "id")
            .map_or("", |(_, id)| id);
        let prefix = level
            .prefix(format)
            .replace("{id}", &utf8_percent_encode(id, SEGMENT).to_string());
        let base_url = parts.extensions.get::<BaseUrl>().cloned().unwrap_or_default();
        Ok(Self(format!("{base_url}{prefix}/")))
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
    /// A project that a request came to by another way than the routes of its level.
    pub(crate) fn of_project(project: Authorised<Project, A>, format: &'static str) -> Self {
        Self {
            base: format!("{}/", project.scope(format).project_url()),
            format,
            at: At::Project(project),
        }
    }

    /// The same of a group.
    pub(crate) fn of_group(group: Authorised<Group, A>, format: &'static str) -> Self {
        let prefix = Level::Group
            .prefix(format)
            .replace("{id}", &group.group().id.to_string());
        Self {
            base: format!("{}{prefix}/", group.base_url()),
            format,
            at: At::Group(group),
        }
    }

    /// The URL of the registry that the client is configured with, with a slash at its end.
    /// What is downloaded is given URLs below it: clients send their token only there.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Who asks, and on which view.
    pub(crate) fn access(&self) -> &Access {
        self.at.access()
    }

    /// The project, if the request came in at one.
    pub(crate) fn project(&self) -> Option<&Authorised<Project, A>> {
        match &self.at {
            At::Project(project) => Some(project),
            At::Group(_) | At::Instance(_) => None,
        }
    }

    /// The projects here that may have a package of this normalised name, the newest first. The
    /// instance is looked at below one root group alone, of this path.
    pub(crate) async fn scopes_named(&self, name: &str, root: Option<&str>) -> Result<Vec<Scope>, ApiError> {
        let mut projects = match &self.at {
            At::Project(project) => return Ok(vec![project.scope(self.format)]),
            At::Group(group) => group.projects_named(self.format, name).await?,
            At::Instance(instance) => match root {
                Some(root) => instance.projects_named_below(root, self.format, name).await?,
                None => Vec::new(),
            },
        };
        projects.sort_by_key(|project| std::cmp::Reverse(project.project().id));
        Ok(self.scopes_of(&projects))
    }

    /// The same wherever at the instance, which asks every root group.
    pub(crate) async fn scopes_holding(&self, name: &str) -> Result<Vec<Scope>, ApiError> {
        match &self.at {
            At::Project(_) | At::Group(_) => self.scopes_named(name, None).await,
            At::Instance(instance) => {
                let mut projects = instance.projects_named(self.format, name).await?;
                projects.sort_by_key(|project| std::cmp::Reverse(project.project().id));
                Ok(self.scopes_of(&projects))
            }
        }
    }

    /// The package of this normalised name that was there first: nobody can put versions beside
    /// another's by publishing to another project.
    pub(crate) async fn first_named(&self, name: &str) -> Result<Option<(Scope, Package)>, ApiError> {
        let mut first: Option<(Precedence, Scope, Package)> = None;
        for scope in self.scopes_holding(name).await? {
            let Some(package) = View::of(&scope).package(name).await? else {
                continue;
            };
            let found = precedence(&scope, &package);
            if first.as_ref().is_none_or(|(known, ..)| found < *known) {
                first = Some((found, scope, package));
            }
        }
        Ok(first.map(|(_, scope, package)| (scope, package)))
    }

    fn scopes_of(&self, projects: &[Authorised<Project, A>]) -> Vec<Scope> {
        projects
            .iter()
            .map(|project| project.scope(self.format))
            .collect()
    }

    /// The answer for what is not here. Nobody in particular is asked to sign in where there may
    /// be something that only others see.
    pub(crate) fn missing(&self, not_found: ApiError) -> ApiError {
        let is_anonymous = self.access().caller().is_anonymous();
        if not_found.kind == ErrorKind::NotFound && is_anonymous && self.project().is_none() {
            return ApiError::unauthorized();
        }
        not_found
    }
}

impl Place<Pull> {
    /// Whether anybody may fetch all packages here, without signing in.
    pub(crate) async fn is_open(&self) -> Result<bool, ApiError> {
        match &self.at {
            At::Project(project) => Ok(project.project().is_open()),
            At::Group(group) => group.is_open().await,
            At::Instance(_) => Ok(false),
        }
    }

    /// Every project here of which the caller may pull all packages: for lists, which are kept in
    /// memory and so are the same for all who get them.
    pub(crate) async fn scopes(&self) -> Result<Vec<Scope>, ApiError> {
        let mut scopes = match &self.at {
            At::Project(project) => vec![project.scope(self.format)],
            At::Group(group) => self.scopes_of(&group.projects().await?),
            At::Instance(instance) => self.scopes_of(&instance.projects().await?),
        };
        scopes.retain(Scope::covers_all);
        Ok(scopes)
    }
}
