//! Links: URLs by which a file is fetched without credentials, until they expire.
//!
//! `POST -/links` with the place of a file answers with its URL and a signed token in the query.
//! Whoever has the link may do what the one who made it may, to this one file, and no longer than
//! the token holds that it was made with: see [`crate::auth::derived`].

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::auth::derived::MAX_LINK_LIFETIME;
use crate::auth::{Authorised, Pull, PullImmutable};
use crate::formats::generic::NAME;
use crate::formats::generic::fetch::find_file;
use crate::formats::generic::parts::About;
use crate::formats::generic::place::{Place, Spot};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::registry::project::Project;
use crate::registry::time::iso;

/// How long a link holds unless its maker says so.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// The route that makes them.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/-/links", post(sign))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    package: Option<String>,
    version: Option<String>,
    file: Option<String>,
    path: Option<String>,
    /// Seconds.
    #[serde(default, deserialize_with = "form::number")]
    expires_in: Option<u64>,
}

async fn sign(
    project: Authorised<Project, Pull>,
    Params(wanted): Params<Wanted>,
) -> Result<Response, ApiError> {
    let spot = Spot {
        package: wanted.package,
        version: wanted.version,
        file: wanted.file,
        path: wanted.path,
    };
    let place = spot.place()?;
    let lifetime = wanted.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    if lifetime.is_zero() || lifetime > MAX_LINK_LIFETIME {
        return Err(ApiError::bad_request(format!(
            "expires_in is not between 1 and {} seconds",
            MAX_LINK_LIFETIME.as_secs()
        )));
    }
    let scope = project.scope(NAME);
    let token = project.sign_link(&place.to_string(), lifetime).await?;
    find_file(&scope, &place).await?;
    let answer = json!({
        "url": format!("{}?token={token}", place.url(&scope)),
        "expires_at": iso(scope.now().plus(lifetime)),
    });
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}

/// What a request to fetch a file is about: by its credentials, or by the link that it came by.
pub(super) struct Fetch(pub(super) About<PullImmutable>);

impl FromRequestParts<App> for Fetch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let mut fields = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let Some((_, token)) = fields.find(|(name, _)| name == "token") else {
            return About::from_request_parts(parts, app).await.map(Self);
        };
        let token = token.into_owned();
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, app).await;
        let place = names.ok().and_then(|Path(names)| named(&names).ok());
        // There are no links to what is no file.
        let place = place.ok_or_else(ApiError::unauthorized)?;
        let project = Authorised::by_link(parts, app, &token, &place.to_string()).await?;
        Ok(Self(About::File(project)))
    }
}

/// The place that the path of a request names.
fn named(names: &HashMap<String, String>) -> Result<Place, ApiError> {
    let name = |name: &str| names.get(name).cloned();
    let spot = Spot {
        package: name("name"),
        version: name("version"),
        file: name("file"),
        path: name("path"),
    };
    spot.place()
}
