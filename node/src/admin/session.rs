//! `/api/cairn/v1/session`: how a person signs in at a browser, and out again.
//!
//! JSON alone, so that no form of another site can send it. The session is a cookie, which the
//! management API takes from our own pages where a request has no token; package routes never do.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::users::whole;
use crate::app::App;
use crate::auth::password::Password;
use crate::auth::session::{COOKIE_NAME, forget_cookie};
use crate::auth::{Authorised, Instance, ManageSelf, See};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::host::BaseUrl;
use crate::registry::sign_in::{Session, SignedIn, Visitor};
use crate::registry::time::iso;
use crate::registry::user::User;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/cairn/v1/session", get(show).post(sign_in).delete(sign_out))
}

fn shown(user: &User, session: Option<&Session>, base_url: &BaseUrl) -> Value {
    json!({
        "user": whole(user, base_url),
        "session": session.map(|session| json!({
            "signed_in_by": session.by.name(),
            "began_at": iso(session.begun_at),
            "ends_at": iso(session.ends_at),
        })),
    })
}

/// Who the caller is, and by what session, if by one.
async fn show(instance: Authorised<Instance, See>) -> Result<Response, ApiError> {
    let user = instance.access().signed_in()?;
    let session = instance.session().await?;
    let body = shown(user, session.as_ref(), instance.base_url());
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    username: String,
    password: Password,
}

async fn sign_in(
    State(app): State<App>,
    visitor: Visitor,
    JsonBody(sign_in): JsonBody<SignIn>,
) -> Result<Response, ApiError> {
    if !app.http().auth.passwords {
        return Err(ApiError::forbidden(
            "403 Forbidden: signing in by a password is switched off",
        ));
    }
    let signed_in = visitor.by_password(&sign_in.username, &sign_in.password).await?;
    let body = shown(&signed_in.user, Some(&signed_in.session), visitor.base_url());
    Ok((StatusCode::CREATED, with_cookie(&app, &signed_in), Json(body)).into_response())
}

/// What has a browser keep a session, and nobody the answer.
fn with_cookie(app: &App, signed_in: &SignedIn) -> impl axum::response::IntoResponseParts + use<> {
    let cookie = signed_in.id.cookie(app.http().auth.session_lifetime);
    axum::response::AppendHeaders([
        (header::SET_COOKIE, cookie),
        (
            header::CACHE_CONTROL,
            "no-store".parse().expect("plain words are a header"),
        ),
    ])
}

async fn sign_out(instance: Authorised<Instance, ManageSelf>) -> Result<Response, ApiError> {
    instance.end_session().await?;
    let forget = [(header::SET_COOKIE, forget_cookie(COOKIE_NAME))];
    Ok((StatusCode::NO_CONTENT, forget).into_response())
}
