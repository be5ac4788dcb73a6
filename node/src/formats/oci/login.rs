//! `/jwt/auth`: tokens for container clients, in exchange for any credential of Cairn's.
//!
//! Clients come here by the challenge of a 401. What they ask for and what the caller may do is
//! granted; being granted less is not an error. There is no refresh token: a client would keep
//! it in place of the credential.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use serde_json::json;

use super::incoming::Incoming;
use super::path::Query;
use super::scope::{Actions, Resource, Scope, parse_scopes};
use crate::app::App;
use crate::auth::action::Freshness;
use crate::auth::derived::Grants;
use crate::auth::{Access, DeleteImage, PullImage, PushImage};
use crate::http::error::ApiError;
use crate::registry::time;

/// The only service that tokens are for.
pub(super) const SERVICE: &str = "container_registry";

/// How long a token lives. Clients take anything below a minute for a minute, and ask again
/// when a push takes longer.
const LIFETIME: Duration = Duration::from_secs(300);

/// The largest form of a token request.
const MAX_FORM_BYTES: usize = 64 << 10;

/// GET: credentials in the header, the rest in the query.
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let access = Access::of(&app, &parts, Freshness::Latest).await?;
    let query = Query::parse(parts.uri.query());
    let scopes = parse_scopes(query.all("scope"))?;
    answer(&access, &query, &scopes, false).await
}

/// POST: everything in a form, as OAuth 2 has it.
pub(super) async fn post(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&parts.headers, body);
    let form = incoming.whole("the form", MAX_FORM_BYTES).await?;
    let form = std::str::from_utf8(&form).map_err(|_| ApiError::bad_request("the form is not UTF-8"))?;
    let form = Query::parse(Some(form));
    sign_in(&mut parts, &form)?;
    let access = Access::of(&app, &parts, Freshness::Latest).await?;
    let scopes = parse_scopes(form.all("scope"))?;
    answer(&access, &form, &scopes, true).await
}

/// Puts the credentials of a form where those of a request are.
fn sign_in(parts: &mut Parts, form: &Query) -> Result<(), ApiError> {
    let field = |name: &str| form.get(name).unwrap_or_default();
    let credentials = match field("grant_type") {
        "password" => {
            let pair = format!("{}:{}", field("username"), field("password"));
            format!("Basic {}", BASE64.encode(pair.as_bytes()))
        }
        // Some clients keep a token as one; any token of ours does as well.
        "refresh_token" => format!("Bearer {}", field("refresh_token")),
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(ApiError::bad_request(format!(
                "grant type {other:?} is not supported"
            )));
        }
    };
    let value = HeaderValue::try_from(credentials).map_err(|_| ApiError::unauthorized())?;
    parts.headers.append(header::AUTHORIZATION, value);
    Ok(())
}

async fn answer(
    access: &Access,
    fields: &Query,
    scopes: &[Scope],
    tells_scope: bool,
) -> Result<Response, ApiError> {
    // A token that was narrowed cannot be exchanged for a wider one.
    if access.caller().grants().is_some() {
        return Err(ApiError::unauthorized());
    }
    if fields.get("service").is_some_and(|service| service != SERVICE) {
        return Err(ApiError::bad_request(format!("the only service is {SERVICE}")));
    }
    let mut grants = Grants::default();
    let mut granted = Vec::new();
    for scope in scopes {
        let allowed = allowed(access, scope).await?;
        scope.grant(allowed, &mut grants);
        let actions = scope.actions.intersection(allowed);
        if actions != Actions::NONE {
            granted.push(
                Scope {
                    actions,
                    ..scope.clone()
                }
                .to_string(),
            );
        }
    }
    let token = access.derive_token(SERVICE, grants, LIFETIME).await?;
    let mut body = json!({
        "token": token,
        "access_token": token,
        "expires_in": LIFETIME.as_secs(),
        "issued_at": time::iso(access.now()),
    });
    if tells_scope {
        body["scope"] = granted.join(" ").into();
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// What of a scope the caller may do.
async fn allowed(access: &Access, scope: &Scope) -> Result<Actions, ApiError> {
    let wanted = scope.actions;
    Ok(match &scope.resource {
        // Everybody may ask for the list; it holds what they may pull.
        Resource::Catalog => Actions::ALL,
        Resource::Repository(name) => {
            let name = name.as_str();
            Actions {
                pull: wanted.pull && access.may_touch_image::<PullImage>(name).await?,
                push: wanted.push && access.may_touch_image::<PushImage>(name).await?,
                delete: wanted.delete && access.may_touch_image::<DeleteImage>(name).await?,
            }
        }
    })
}
