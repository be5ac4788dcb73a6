//! Trusted publishing: an upload token for a job, as the clients of Python packages ask for it.
//!
//! They know of a repository's URL nothing but the host here, so which projects are meant is for
//! the trust rules to say: the token holds for every one that lets the job in.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use crate::app::App;
use crate::http::body::{json, refuse_coding, whole};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::BaseUrl;
use crate::registry::trust::{Exchange, Refusal, Wanted};

/// The largest request: a token is at most 16 KiB.
const MAX_REQUEST_BYTES: usize = 32 << 10;

/// The routes of the host.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/_/oidc/audience", get(audience))
        .route("/_/oidc/mint-token", post(mint))
        .route("/_/oidc/burn-token", post(burn))
}

/// For whom the issuer is to make the token.
async fn audience(Extension(base_url): Extension<BaseUrl>) -> Response {
    let audience = base_url.host();
    (
        [(header::CACHE_CONTROL, "no-store")],
        Json(json!({ "audience": audience })),
    )
        .into_response()
}

#[derive(Deserialize)]
struct Shown {
    token: String,
}

async fn shown(headers: &HeaderMap, body: Body) -> Result<Shown, ApiError> {
    refuse_coding(headers)?;
    json(&whole(body, MAX_REQUEST_BYTES).await?, 4)
}

async fn mint(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let shown = match shown(&parts.headers, body).await {
        Ok(shown) => shown,
        Err(error) if error.kind == ErrorKind::BadRequest => {
            return Ok(refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-payload",
                &error.message,
            ));
        }
        Err(error) => return Err(error),
    };
    let wanted = Wanted {
        token: &shown.token,
        format: Some(NAME),
        ..Wanted::default()
    };
    let made = match Exchange::of(&app, &parts).exchange(wanted).await {
        Ok(made) => made,
        Err(refusal) => return answer(refusal),
    };
    let body = json!({
        "success": true,
        "token": made.token.reveal(),
        "expires": made.expires_at.0 / 1000,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

fn answer(refusal: Refusal) -> Result<Response, ApiError> {
    let code = match refusal {
        Refusal::Failed(_) | Refusal::TooMany(_) | Refusal::IssuerAway => return Err(refusal.into_error()),
        Refusal::Invalid(_) | Refusal::UnknownKey => "invalid-token",
        Refusal::NoRule | Refusal::TooManyRules | Refusal::NotGranted => "invalid-publisher",
        Refusal::Used => "invalid-reuse-token",
    };
    let description = refusal.to_string();
    Ok(refused(StatusCode::UNPROCESSABLE_ENTITY, code, &description))
}

fn refused(status: StatusCode, code: &str, description: &str) -> Response {
    let body = json!({
        "message": "Token request failed",
        "errors": [{ "code": code, "description": description }],
    });
    (status, Json(body)).into_response()
}

/// Ends a token before its time. Whether it held is not told.
async fn burn(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let shown = shown(&parts.headers, body).await?;
    let given_up = Exchange::of(&app, &parts).give_up(&shown.token).await;
    given_up.map_err(Refusal::into_error)?;
    Ok(Json(json!({ "success": true })).into_response())
}
