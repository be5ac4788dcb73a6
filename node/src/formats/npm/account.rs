//! Signing in and out, and what clients ask about the caller.
//!
//! There is no password: who signs in gives a username and a token, and gets the token back.
//! The web login is refused, so that clients fall back to that.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::index::iso_time;
use crate::app::App;
use crate::auth::Access;
use crate::http::body;
use crate::http::error::ApiError;

/// The largest body of a login.
const MAX_LOGIN_BYTES: usize = 16 << 10;

/// What the paths of users begin with.
const USER_PREFIX: &str = "org.couchdb.user:";

/// The routes of accounts.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/-/whoami", get(whoami))
        .route("/-/v1/login", post(web_login))
        .route("/-/user/{user}", get(user).put(login))
        .route("/-/user/{user}/-rev/{revision}", put(login))
        .route("/-/npm/v1/user", get(profile).post(change_profile))
}

async fn whoami(access: Access) -> Result<Json<Value>, ApiError> {
    let username = access.caller().username().ok_or_else(ApiError::unauthorized)?;
    Ok(Json(json!({ "username": username })))
}

/// Any answer in the 400s makes clients ask for username and password instead.
async fn web_login() -> ApiError {
    ApiError::not_found("there is no web login here; sign in with your username and a token as the password")
}

#[derive(Deserialize)]
struct UserPath {
    user: String,
}

/// What a client sends to sign in; what else it sends is of no interest.
#[derive(Deserialize)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: String,
}

/// The head of a request, to which the credentials of the body are added.
pub(super) struct Head(pub(super) Parts);

impl FromRequestParts<App> for Head {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.clone()))
    }
}

async fn login(
    axum::extract::State(app): axum::extract::State<App>,
    Path(path): Path<UserPath>,
    Head(head): Head,
    body: Body,
) -> Result<Response, ApiError> {
    let named = path.user.strip_prefix(USER_PREFIX);
    let named = named.ok_or_else(|| ApiError::not_found("404 Not Found"))?;
    let bytes = body::whole(body, MAX_LOGIN_BYTES).await?;
    let login: Login = body::json(&bytes, 8)?;
    if login.name != named {
        return Err(ApiError::bad_request(
            "the document is about another user than the URL",
        ));
    }
    check_login(&app, head, &login).await?;
    let signed_in = json!({
        "ok": true,
        "id": format!("{USER_PREFIX}{}", login.name),
        "rev": "1-0",
        "token": login.password,
    });
    Ok((StatusCode::CREATED, Json(signed_in)).into_response())
}

/// Makes sure that the password is a token of the one who is named.
pub(super) async fn check_login(app: &App, head: Parts, login: &Login) -> Result<(), ApiError> {
    let head = with_credentials(head, login)?;
    let access = Access::of(app, &head, crate::auth::action::Freshness::Latest).await?;
    let is_same = |username: &str| username.to_lowercase() == login.name.to_lowercase();
    if !access.caller().username().is_some_and(is_same) {
        return Err(ApiError::unauthorized());
    }
    Ok(())
}

/// The same request with the credentials of the login in place of those it was sent with: a
/// client that signs in again may still send a token that has expired.
fn with_credentials(mut head: Parts, login: &Login) -> Result<Parts, ApiError> {
    let pair = BASE64.encode(format!("{}:{}", login.name, login.password).as_bytes());
    let basic = HeaderValue::from_str(&format!("Basic {pair}")).map_err(ApiError::internal)?;
    head.headers = HeaderMap::from_iter([(header::AUTHORIZATION, basic)]);
    head.uri = axum::http::Uri::from_static("/");
    Ok(head)
}

/// Clients look a user up before they add it to the maintainers of a package.
async fn user(access: Access, Path(path): Path<UserPath>) -> Result<Json<Value>, ApiError> {
    let not_found = || ApiError::not_found("404 User Not Found");
    access.signed_in()?;
    let name = path.user.strip_prefix(USER_PREFIX).ok_or_else(not_found)?;
    let username = name.parse().map_err(|_| not_found())?;
    let found = access.user_named(&username).await?.ok_or_else(not_found)?;
    Ok(Json(json!({
        "_id": format!("{USER_PREFIX}{}", found.username.as_str()),
        "name": found.username.as_str(),
        // Addresses are told to their owners only.
        "email": "",
    })))
}

async fn profile(access: Access) -> Result<Json<Value>, ApiError> {
    let user = access.signed_in()?;
    Ok(Json(json!({
        "tfa": false,
        "name": user.username.as_str(),
        "email": user.email,
        "email_verified": true,
        "fullname": user.name,
        "created": iso_time(user.created_at),
        "updated": iso_time(user.created_at),
    })))
}

async fn change_profile(access: Access) -> Result<Json<Value>, ApiError> {
    access.signed_in()?;
    Err(ApiError::forbidden("a profile is not changed by package clients"))
}
