//! `/personal_access_tokens`: tokens of users, for all that they may do.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cairn_cluster::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::shown::{Words, day, end, required, scopes, text, time, with};
use crate::app::App;
use crate::auth::scopes::TokenScope;
use crate::auth::token::Token;
use crate::auth::{Authorised, Instance, ManageSelf, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::Paging;
use crate::registry::time::iso;
use crate::registry::token::{Holder, NewToken, ShownToken, TokenRecord};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/users/{user_id}/personal_access_tokens", post(create))
        .route("/personal_access_tokens", get(list))
        .route("/personal_access_tokens/self", get(own).delete(revoke_own))
        .route("/personal_access_tokens/self/rotate", post(rotate_own))
        .route("/personal_access_tokens/{token_id}", get(show).delete(revoke))
        .route("/personal_access_tokens/{token_id}/rotate", post(rotate))
}

/// A token as lists show it; its secret is never shown again.
pub(super) fn shown(record: &TokenRecord, used_at: Timestamp, now: Timestamp) -> Value {
    let user = match record.holder {
        Holder::User { id } => Some(id),
        Holder::Deploy { .. } | Holder::Job { .. } => None,
    };
    json!({
        "id": record.number,
        "name": record.name,
        "revoked": record.revoked_at.is_some(),
        "created_at": iso(record.created_at),
        "description": null,
        "scopes": record.scopes,
        "user_id": user,
        "last_used_at": time((used_at.0 > 0).then_some(used_at)),
        "active": record.holds(now),
        "expires_at": day(record.expires_at),
    })
}

/// A token as its maker is shown it, once.
pub(super) fn revealed(record: &TokenRecord, token: &Token, now: Timestamp) -> Value {
    with(
        shown(record, Timestamp(0), now),
        json!({ "token": token.reveal() }),
    )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: Option<String>,
    scopes: Option<Words>,
    expires_at: Option<String>,
}

async fn create(
    instance: Authorised<Instance, ManageSelf>,
    Path(user): Path<u64>,
    Params(create): Params<Create>,
) -> Result<Response, ApiError> {
    let now = instance.access().now();
    let new = NewToken {
        name: text("name", &required("name", create.name)?)?,
        scopes: scopes(
            required("scopes", create.scopes)?.into_vec(),
            TokenScope::PERSONAL,
        )?,
        expires_at: end(create.expires_at.as_deref(), now)?,
    };
    let (record, token) = instance.new_personal(user, new).await?;
    Ok((StatusCode::CREATED, Json(revealed(&record, &token, now))).into_response())
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default, deserialize_with = "form::number")]
    user_id: Option<u64>,
    #[serde(default, deserialize_with = "form::boolean")]
    revoked: Option<bool>,
    state: Option<String>,
}

async fn list(
    instance: Authorised<Instance, See>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError> {
    let now = instance.access().now();
    let user = match (query.user_id, instance.caller().user()) {
        (Some(user), _) => user,
        (None, Some(own)) => own.id,
        (None, None) => return Err(ApiError::unauthorized()),
    };
    let active = match query.state.as_deref() {
        None => None,
        Some("active") => Some(true),
        Some("inactive") => Some(false),
        Some(_) => return Err(ApiError::parameter("state does not have a valid value")),
    };
    let mut selection = paging.select(true);
    instance
        .each_personal(user, |ShownToken { record, used_at }| {
            let revoked = record.revoked_at.is_some();
            let wanted = query.revoked.is_none_or(|wanted| wanted == revoked)
                && active.is_none_or(|wanted| wanted == record.holds(now));
            if wanted {
                selection.offer([], record.number, shown(&record, used_at, now));
            }
        })
        .await?;
    Ok(selection.finish().into_json(|row| row))
}

async fn own(instance: Authorised<Instance, See>) -> Result<Json<Value>, ApiError> {
    let token = instance.own_token().await?;
    Ok(Json(shown(&token.record, token.used_at, instance.access().now())))
}

async fn show(instance: Authorised<Instance, See>, Path(id): Path<u64>) -> Result<Json<Value>, ApiError> {
    let token = instance.personal(id).await?;
    Ok(Json(shown(&token.record, token.used_at, instance.access().now())))
}

async fn revoke_own(instance: Authorised<Instance, See>) -> Result<StatusCode, ApiError> {
    instance.revoke_own_token().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn revoke(
    instance: Authorised<Instance, ManageSelf>,
    Path(id): Path<u64>,
) -> Result<StatusCode, ApiError> {
    instance.revoke_personal(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    pub(super) expires_at: Option<String>,
}

async fn rotate_own(
    instance: Authorised<Instance, ManageSelf>,
    Params(rotate): Params<Rotate>,
) -> Result<Json<Value>, ApiError> {
    let number = instance.own_token().await?.record.number;
    rotated(&instance, number, rotate).await
}

async fn rotate(
    instance: Authorised<Instance, ManageSelf>,
    Path(number): Path<u64>,
    Params(rotate): Params<Rotate>,
) -> Result<Json<Value>, ApiError> {
    rotated(&instance, number, rotate).await
}

async fn rotated(
    instance: &Authorised<Instance, ManageSelf>,
    number: u64,
    rotate: Rotate,
) -> Result<Json<Value>, ApiError> {
    let now = instance.access().now();
    let end = end(rotate.expires_at.as_deref(), now)?;
    let (record, token) = instance.rotate(number, end).await?;
    Ok(Json(revealed(&record, &token, now)))
}
