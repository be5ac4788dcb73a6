//! `/projects/:id/access_tokens`, `/groups/:id/access_tokens`: tokens of bots that are members.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cairn_cluster::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::personal_tokens::{Rotate, revealed, shown as shown_token};
use crate::admin::shown::{Words, end, required, scopes, text, with};
use crate::app::App;
use crate::auth::role::Role;
use crate::auth::scopes::TokenScope;
use crate::auth::{Action, Authorised, Manage, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::page::Paging;
use crate::registry::group::Group;
use crate::registry::member::Peopled;
use crate::registry::project::Project;
use crate::registry::token::access::AccessToken;
use crate::registry::token::{ManagesTokens, NewToken, access};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/projects/{id}/access_tokens",
            get(list::<Project, Manage>).post(create::<Project, Manage>),
        )
        .route(
            "/projects/{id}/access_tokens/{token_id}",
            get(show::<Project, Manage>).delete(revoke::<Project, Manage>),
        )
        .route(
            "/projects/{id}/access_tokens/{token_id}/rotate",
            post(rotate::<Project, Manage>),
        )
        .route(
            "/groups/{id}/access_tokens",
            get(list::<Group, Own>).post(create::<Group, Own>),
        )
        .route(
            "/groups/{id}/access_tokens/{token_id}",
            get(show::<Group, Own>).delete(revoke::<Group, Own>),
        )
        .route(
            "/groups/{id}/access_tokens/{token_id}/rotate",
            post(rotate::<Group, Own>),
        )
}

fn shown(found: &AccessToken, now: Timestamp) -> Value {
    let token = shown_token(&found.token.record, found.token.used_at, now);
    with(token, json!({ "access_level": found.role.level() }))
}

#[derive(Debug, Deserialize)]
struct Token {
    token_id: u64,
}

async fn list<T, A>(of: Authorised<T, A>, paging: Paging) -> Result<Response, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let now = of.access().now();
    let mut selection = paging.select(true);
    access::each(&of, |found| {
        selection.offer([], found.token.record.number, shown(&found, now));
    })
    .await?;
    Ok(selection.finish().into_json(|row| row))
}

async fn show<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<Json<Value>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let found = access::one(&of, token.token_id).await?;
    Ok(Json(shown(&found, of.access().now())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: Option<String>,
    scopes: Option<Words>,
    #[serde(default, deserialize_with = "form::number")]
    access_level: Option<u64>,
    expires_at: Option<String>,
}

async fn create<T, A>(of: Authorised<T, A>, Params(create): Params<Create>) -> Result<Response, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let now = of.access().now();
    let role = role(create.access_level.unwrap_or(Role::Maintainer.level().into()))?;
    let new = NewToken {
        name: text("name", &required("name", create.name)?)?,
        scopes: scopes(
            required("scopes", create.scopes)?.into_vec(),
            TokenScope::PERSONAL,
        )?,
        expires_at: end(create.expires_at.as_deref(), now)?,
    };
    let (record, token) = access::new(&of, role, new).await?;
    let answer = with(
        revealed(&record, &token, now),
        json!({ "access_level": role.level() }),
    );
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Reads an access level.
pub(super) fn role(level: u64) -> Result<Role, ApiError> {
    u8::try_from(level)
        .ok()
        .and_then(|level| Role::try_from(level).ok())
        .ok_or_else(|| ApiError::parameter("access_level does not have a valid value"))
}

async fn rotate<T, A>(
    of: Authorised<T, A>,
    Path(token): Path<Token>,
    Params(rotate): Params<Rotate>,
) -> Result<Json<Value>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let now = of.access().now();
    let end = end(rotate.expires_at.as_deref(), now)?;
    let (record, role, token) = access::rotate(&of, token.token_id, end).await?;
    Ok(Json(with(
        revealed(&record, &token, now),
        json!({ "access_level": role.level() }),
    )))
}

async fn revoke<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<StatusCode, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    access::revoke(&of, token.token_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
