//! Tokens, as `npm token` and `npm logout` know them: the caller's personal tokens.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::{Head, Login, check_login};
use super::index::iso_time;
use crate::app::App;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::token::Token;
use crate::auth::{Authorised, Instance, ManageSelf, See};
use crate::http::body;
use crate::http::error::ApiError;
use crate::registry::token::{NewToken, ShownToken, TokenRecord};

/// The largest request for a token.
const MAX_REQUEST_BYTES: usize = 16 << 10;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The most tokens of one answer; clients do not ask for a second page.
const MAX_SHOWN: usize = 1000;

/// The routes of tokens.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/-/user/token/{token}", delete(sign_out))
        .route("/-/npm/v1/tokens", get(list).post(create))
        .route("/-/npm/v1/tokens/token/{key}", delete(revoke))
}

#[derive(Deserialize)]
struct TokenPath {
    token: String,
}

/// Ends the token that the request came with, everywhere, as `npm logout` says it does.
async fn sign_out(
    instance: Authorised<Instance, See>,
    Path(path): Path<TokenPath>,
) -> Result<Json<Value>, ApiError> {
    let named: Option<Token> = path.token.parse().ok();
    if named.is_none_or(|named| instance.caller().token() != Some(named.id())) {
        return Err(ApiError::not_found(
            "only the token that the request came with can be signed out",
        ));
    }
    instance.revoke_own_token().await?;
    Ok(Json(json!({ "ok": true })))
}

/// A token as clients list it. Its public part is its key: a number would be the beginning of
/// another number.
fn shown(record: &TokenRecord) -> Value {
    let reads_only = !record.scopes.has(TokenScope::Api);
    json!({
        "token": format!("cnp-{}", record.id.as_str()),
        "key": record.id.as_str(),
        "name": record.name,
        "cidr_whitelist": null,
        "readonly": reads_only,
        "automation": false,
        "created": iso_time(record.created_at),
        "updated": iso_time(record.created_at),
        "expires": record.expires_at.map(iso_time),
    })
}

/// The caller's tokens that hold.
async fn holding(instance: &Authorised<Instance, See>) -> Result<Vec<TokenRecord>, ApiError> {
    let user = instance.caller().user().ok_or_else(ApiError::unauthorized)?.id;
    let now = instance.access().now();
    let mut found = Vec::new();
    instance
        .each_personal(user, |ShownToken { record, .. }| {
            if record.holds(now) && found.len() < MAX_SHOWN {
                found.push(record);
            }
        })
        .await?;
    Ok(found)
}

async fn list(instance: Authorised<Instance, See>) -> Result<Json<Value>, ApiError> {
    let tokens = holding(&instance).await?;
    let objects: Vec<_> = tokens.iter().map(shown).collect();
    Ok(Json(
        json!({ "total": objects.len(), "objects": objects, "urls": {} }),
    ))
}

/// What `npm token create` sends.
#[derive(Deserialize)]
struct Wanted {
    /// A token of the caller's.
    password: String,
    name: Option<String>,
    #[serde(default)]
    readonly: bool,
    /// Days; as long as is usual unless the client says so.
    expires: Option<u32>,
    #[serde(default)]
    cidr_whitelist: Vec<String>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    orgs: Vec<String>,
}

impl Wanted {
    fn check(&self) -> Result<(), ApiError> {
        // A token that is wider than was asked for would be a trap.
        let narrowed = [&self.cidr_whitelist, &self.packages, &self.scopes, &self.orgs];
        if narrowed.iter().any(|list| !list.is_empty()) {
            return Err(ApiError::bad_request(
                "a token cannot be limited to addresses, packages, scopes or organizations here",
            ));
        }
        if self.expires == Some(0) {
            return Err(ApiError::bad_request("a token holds for a day at least"));
        }
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.len() > 255)
        {
            return Err(ApiError::bad_request("the name has between 1 and 255 characters"));
        }
        Ok(())
    }
}

async fn create(
    instance: Authorised<Instance, ManageSelf>,
    axum::extract::State(app): axum::extract::State<App>,
    Head(head): Head,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = body::whole(body, MAX_REQUEST_BYTES).await?;
    let wanted: Wanted = body::json(&bytes, 8)?;
    wanted.check()?;
    let user = instance.caller().user().ok_or_else(ApiError::unauthorized)?;
    let login = Login {
        name: user.username.as_str().to_owned(),
        password: wanted.password,
    };
    check_login(&app, head, &login).await?;
    let scope = match wanted.readonly {
        true => TokenScope::ReadApi,
        false => TokenScope::Api,
    };
    let new = NewToken {
        name: wanted.name.unwrap_or_else(|| "npm token".into()),
        scopes: Scopes::of(&[scope]),
        expires_at: wanted
            .expires
            .map(|days| instance.access().now().plus(DAY * days)),
    };
    let (record, token) = instance.new_personal(user.id, new).await?;
    let mut answer = shown(&record);
    answer["token"] = token.reveal().into();
    answer["cidr_whitelist"] = json!([]);
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}

#[derive(Deserialize)]
struct KeyPath {
    key: String,
}

/// Revokes the caller's token of this key; the client may also send the token itself.
async fn revoke(
    instance: Authorised<Instance, ManageSelf>,
    seeing: Authorised<Instance, See>,
    Path(path): Path<KeyPath>,
) -> Result<StatusCode, ApiError> {
    let whole: Option<Token> = path.key.parse().ok();
    let key = whole
        .as_ref()
        .map_or(path.key.as_str(), |token| token.id().as_str());
    let tokens = holding(&seeing).await?;
    let found = tokens.iter().find(|record| record.id.as_str() == key);
    let found = found.ok_or_else(|| ApiError::not_found("404 Token Not Found"))?;
    instance.revoke_personal(found.number).await?;
    Ok(StatusCode::NO_CONTENT)
}
