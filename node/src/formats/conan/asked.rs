//! What a request is about: a reference, where it is, and what of it.
//!
//! At a project that is the reference of the path. A group shows those of the project that had a recipe
//! of the name first. At the instance a reference says itself where it is: its user is the path of a
//! project, with `+` for `/`, as GitLab has it.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::NAME;
use super::names::{FilePath, Line, Reference, Revised, Revision};
use super::source::Source;
use crate::app::App;
use crate::auth::action::Verb;
use crate::auth::{Access, Action, Authorised};
use crate::formats::place::Place;
use crate::formats::{Level, Mount};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::names::{self, InvalidName};
use crate::registry::project::Project;

/// Proof that the caller may do `A` where a reference is, and the names in the path of the request.
pub(super) struct Asked<A> {
    pub(super) scope: Scope,
    pub(super) reference: Reference,
    access: Access,
    names: HashMap<String, String>,
    /// Whether there may be something that only those see who have signed in.
    hides: bool,
    action: std::marker::PhantomData<fn() -> A>,
}

impl<A: Action> FromRequestParts<App> for Asked<A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Mount { level, .. } = Mount::of(parts)?;
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, app).await;
        let names = names.map_or_else(|_| HashMap::new(), |Path(names)| names);
        let reference = reference(&names).map_err(refused::<A>);
        let (scope, access, reference, hides) = match level {
            Level::Project => {
                let project = Authorised::<Project, A>::from_request_parts(parts, app).await?;
                (project.scope(NAME), project.access().clone(), reference?, false)
            }
            Level::Group => {
                let place = Place::<A>::from_request_parts(parts, app).await?;
                let reference = reference.map_err(|error| place.missing(error))?;
                let first = place.first_named(reference.name()).await?;
                let missing = || place.missing(super::store::missing(&reference));
                let (scope, _) = first.ok_or_else(missing)?;
                let hides = place.access().caller().is_anonymous();
                (scope, place.access().clone(), reference, hides)
            }
            Level::Instance | Level::Host => {
                let access = Access::of(app, parts, A::FRESHNESS).await?;
                let unknown = || access.missing("404 Project Not Found");
                let reference = reference.map_err(|_| unknown())?;
                let path = reference.project().ok_or_else(unknown)?;
                let project = access.project::<A>(&names::Reference::Path(path)).await?;
                (project.scope(NAME), access, reference, false)
            }
        };
        Ok(Self {
            scope,
            reference,
            access,
            names,
            hides,
            action: std::marker::PhantomData,
        })
    }
}

fn reference(names: &HashMap<String, String>) -> Result<Reference, InvalidName> {
    let name = |name: &str| names.get(name).map(String::as_str).unwrap_or_default();
    Reference::of_url(name("name"), name("version"), name("user"), name("channel"))
}

/// What cannot be a name cannot be published, and is not there.
fn refused<A: Action>(invalid: InvalidName) -> ApiError {
    match A::VERB {
        Verb::Publish => invalid.into(),
        _ => super::store::missing(invalid),
    }
}

impl<A: Action> Asked<A> {
    /// The error as this caller hears of it.
    pub(super) fn told(&self, error: ApiError) -> ApiError {
        match error.kind {
            ErrorKind::NotFound if self.hides => ApiError::unauthorized(),
            _ => error,
        }
    }

    /// Who asks.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the path names a revision of the recipe.
    pub(super) fn has_recipe(&self) -> bool {
        self.names.contains_key("rrev")
    }

    /// Whether the path names a binary.
    pub(super) fn is_of_package(&self) -> bool {
        self.names.contains_key("pid")
    }

    /// What is there of the reference.
    pub(super) async fn source(&self) -> Result<Source, ApiError> {
        let found = Source::find(&self.scope, &self.reference).await;
        found.map_err(|error| self.told(error))
    }

    fn parsed<T: std::str::FromStr<Err = InvalidName>>(&self, name: &str) -> Result<T, ApiError> {
        let text = self.names.get(name).map(String::as_str).unwrap_or_default();
        text.parse()
            .map_err(refused::<A>)
            .map_err(|error| self.told(error))
    }

    /// The revision of the recipe.
    pub(super) fn recipe(&self) -> Result<Revision, ApiError> {
        self.parsed("rrev")
    }

    /// The binary of the path; without one, the recipe.
    pub(super) fn line(&self) -> Result<Line, ApiError> {
        if !self.is_of_package() {
            return Ok(Line::Recipe);
        }
        Ok(Line::Package {
            recipe: self.recipe()?,
            id: self.parsed("pid")?,
        })
    }

    /// The same where clients know of no revisions.
    pub(super) async fn unrevised_line(&self, source: &Source) -> Result<Line, ApiError> {
        if !self.is_of_package() {
            return Ok(Line::Recipe);
        }
        let id = self.parsed("pid")?;
        let recipe = source.unrevised(&Line::Recipe).await;
        let recipe = recipe.map_err(|error| self.told(error))?.revision;
        Ok(Line::Package { recipe, id })
    }

    /// The revision of the path: that of a binary if there is one in it.
    pub(super) fn revised(&self) -> Result<Revised, ApiError> {
        let line = self.line()?;
        let revision = match line {
            Line::Recipe => self.recipe()?,
            Line::Package { .. } => self.parsed("prev")?,
        };
        Ok(line.at(revision))
    }

    /// The file of the path.
    pub(super) fn path(&self) -> Result<FilePath, ApiError> {
        self.parsed("path")
    }
}
