//! Trusted publishing: a token for a job, as actions that release gems ask for it.
//!
//! They ask below the URL that they push to, so the token is good for that project alone. Who asks at the host gets
//! one for every project whose trust rules let the job in.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use crate::app::App;
use crate::auth::scopes::TokenScope;
use crate::http::body::{json, refuse_coding, whole};
use crate::http::error::ApiError;
use crate::registry::names::Reference;
use crate::registry::time::iso;
use crate::registry::trust::{Exchange, Refusal, Wanted};

/// The largest request: a token is at most 16 KiB.
const MAX_REQUEST_BYTES: usize = 32 << 10;

/// The routes of the host.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/oidc/trusted_publisher/exchange_token", post(exchange))
}

/// The routes of a project.
pub(super) fn routes_of_project() -> Router<App> {
    Router::new().route("/api/v1/oidc/trusted_publisher/exchange_token", post(exchange_in))
}

#[derive(Deserialize)]
struct ProjectPath {
    id: String,
}

#[derive(Deserialize)]
struct Shown {
    jwt: String,
}

async fn exchange(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    answer(&app, request, None).await
}

async fn exchange_in(
    State(app): State<App>,
    Path(path): Path<ProjectPath>,
    request: Request,
) -> Result<Response, ApiError> {
    let project = path.id.parse().map_err(|_| no_rule())?;
    answer(&app, request, Some(project)).await
}

/// Actions say of this status, and of no other, that nothing lets the job in.
fn no_rule() -> ApiError {
    ApiError::not_found(Refusal::NoRule.to_string())
}

async fn answer(app: &App, request: Request, project: Option<Reference>) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    refuse_coding(&parts.headers)?;
    let shown: Shown = json(&whole(body, MAX_REQUEST_BYTES).await?, 4)?;
    let wanted = Wanted {
        token: &shown.jwt,
        project,
        format: Some(NAME),
        ..Wanted::default()
    };
    let made = Exchange::of(app, &parts).exchange(wanted).await;
    let made = made.map_err(|refusal| match refusal {
        Refusal::NoRule => no_rule(),
        refusal => refusal.into_error(),
    })?;
    let pushes = made.scopes.has(TokenScope::WritePackageRegistry);
    let expires_at = iso(made.expires_at);
    let body = json!({
        "rubygems_api_key": made.token.reveal(),
        "name": format!("token of a job until {expires_at}"),
        // In the words of RubyGems, which knows no more of them for jobs.
        "scopes": if pushes { vec!["push_rubygem"] } else { vec![] },
        "expires_at": expires_at,
    });
    Ok((
        StatusCode::CREATED,
        [(header::CACHE_CONTROL, "no-store")],
        Json(body),
    )
        .into_response())
}
