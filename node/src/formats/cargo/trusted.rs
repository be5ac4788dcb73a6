//! Trusted publishing: a token for a job, as workflows that publish crates ask for it.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use crate::app::App;
use crate::auth::credentials;
use crate::http::body::{json, refuse_coding, whole};
use crate::http::error::ApiError;
use crate::registry::trust::{Exchange, Refusal, Wanted};

/// The largest request: a token is at most 16 KiB.
const MAX_REQUEST_BYTES: usize = 32 << 10;

/// The routes of the host.
pub(super) fn routes() -> Router<App> {
    Router::new().route(
        "/api/v1/trusted_publishing/tokens",
        post(exchange).delete(give_up),
    )
}

#[derive(Deserialize)]
struct Shown {
    jwt: String,
}

async fn exchange(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    refuse_coding(&parts.headers)?;
    let shown: Shown = json(&whole(body, MAX_REQUEST_BYTES).await?, 4)?;
    let wanted = Wanted {
        token: &shown.jwt,
        format: Some(NAME),
        ..Wanted::default()
    };
    let made = Exchange::of(&app, &parts).exchange(wanted).await;
    let made = made.map_err(|refusal| match refusal {
        // What these clients are told elsewhere too.
        Refusal::Invalid(_) | Refusal::UnknownKey | Refusal::Used | Refusal::NoRule => {
            ApiError::bad_request(refusal.to_string())
        }
        refusal => refusal.into_error(),
    })?;
    let body = Json(json!({ "token": made.token.reveal() }));
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Ends the token that the request came with.
async fn give_up(State(app): State<App>, request: Request) -> Result<StatusCode, ApiError> {
    let (parts, _) = request.into_parts();
    let presented = credentials::presented(&parts.headers, None, false);
    let presented = presented.ok().flatten().ok_or_else(ApiError::unauthorized)?;
    let given_up = Exchange::of(&app, &parts).give_up(&presented.secret).await;
    match given_up.map_err(Refusal::into_error)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::unauthorized()),
    }
}
