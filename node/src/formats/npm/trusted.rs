//! Trusted publishing: a token for a job that is about to publish one package, as npm asks for it.
//!
//! npm knows of a registry's URL nothing but the host here, so which projects are meant is for
//! the trust rules to say. Whatever goes wrong, it goes on with the token that it has.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use super::names::PackageName;
use crate::app::App;
use crate::auth::credentials;
use crate::http::error::ApiError;
use crate::registry::time::iso;
use crate::registry::trust::{Exchange, Refusal, Wanted};

/// The routes of the host.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/-/npm/v1/oidc/token/exchange/package/{package}", post(exchange))
}

#[derive(Deserialize)]
struct PackagePath {
    package: String,
}

async fn exchange(
    State(app): State<App>,
    Path(path): Path<PackagePath>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let name: PackageName = path.package.parse()?;
    let presented = credentials::presented(&parts.headers, None, false);
    let presented = presented.ok().flatten().ok_or_else(ApiError::unauthorized)?;
    let wanted = Wanted {
        token: &presented.secret,
        format: Some(NAME),
        package: Some(name.as_str().to_owned()),
        ..Wanted::default()
    };
    let made = match Exchange::of(&app, &parts).exchange(wanted).await {
        Ok(made) => made,
        Err(refusal) => return refused(refusal),
    };
    let body = json!({
        "token_type": "oidc",
        "token": made.token.reveal(),
        "expires": iso(made.expires_at),
    });
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(body)).into_response())
}

/// npm reads the message of an error here, and of an answer elsewhere the error.
fn refused(refusal: Refusal) -> Result<Response, ApiError> {
    if let Refusal::Failed(error) = refusal {
        return Err(error);
    }
    let error = refusal.into_error();
    let body = Json(json!({ "message": error.message }));
    Ok((error.kind.status(), *error.headers, body).into_response())
}
