//! The extractors: what a handler names in its signature.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::app::App;
use crate::auth::action::{Action, Freshness};
use crate::http::error::ApiError;
use crate::registry::door::{Access, Authorised, Instance};
use crate::registry::group::Group;
use crate::registry::names::{self, Reference};
use crate::registry::project::Project;

/// What the URL names as `:id`.
pub(super) async fn reference(parts: &mut Parts) -> Result<Result<Reference, names::InvalidName>, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| ApiError::bad_request("the path is not valid UTF-8"))?;
    let id = params
        .iter()
        .find(|(name, _)| *name == "id")
        .map(|(_, value)| value.to_owned());
    Ok(id.unwrap_or_default().parse())
}

impl<A: Action> FromRequestParts<App> for Authorised<Project, A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let reference = reference(parts).await?;
        let come = async |freshness| {
            let access = Access::of(app, parts, freshness).await?;
            match &reference {
                Ok(reference) => access.project(reference).await,
                // What cannot be a name does not exist; it must not tell more than another name.
                Err(_) => Err(access.unknown::<Project>()),
            }
        };
        match come(A::FRESHNESS).await {
            // A refusal on what may be stale is confirmed; without a majority it becomes a 503.
            Err(_) if A::FRESHNESS == Freshness::Immutable => come(Freshness::Latest).await,
            decided => decided,
        }
    }
}

impl<A: Action> FromRequestParts<App> for Authorised<Group, A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let reference = reference(parts).await?;
        let access = Access::of(app, parts, A::FRESHNESS).await?;
        match reference {
            Ok(reference) => access.group(&reference).await,
            Err(_) => Err(access.unknown::<Group>()),
        }
    }
}

impl<A: Action> FromRequestParts<App> for Authorised<Instance, A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        Access::of(app, parts, A::FRESHNESS).await?.instance().await
    }
}

impl FromRequestParts<App> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        Self::of(app, parts, Freshness::Latest).await
    }
}
