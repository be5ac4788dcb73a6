//! `/projects/:id/deploy_tokens`, `/groups/:id/deploy_tokens`: tokens of nobody, for one place;
//! `/deploy_tokens`: all of them, for administrators.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cairn_cluster::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::shown::{Words, end, required, scopes, text, time, with};
use crate::app::App;
use crate::auth::scopes::TokenScope;
use crate::auth::{Action, Authorised, Instance, Manage, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Paging, Selection};
use crate::registry::group::Group;
use crate::registry::member::Peopled;
use crate::registry::project::Project;
use crate::registry::token::{Holder, ManagesTokens, NewToken, TokenRecord, deploy};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/deploy_tokens", get(list_all))
        .route(
            "/projects/{id}/deploy_tokens",
            get(list::<Project, Manage>).post(create::<Project, Manage>),
        )
        .route(
            "/projects/{id}/deploy_tokens/{token_id}",
            get(show::<Project, Manage>).delete(revoke::<Project, Manage>),
        )
        .route(
            "/groups/{id}/deploy_tokens",
            get(list::<Group, Own>).post(create::<Group, Own>),
        )
        .route(
            "/groups/{id}/deploy_tokens/{token_id}",
            get(show::<Group, Own>).delete(revoke::<Group, Own>),
        )
}

fn shown(record: &TokenRecord, now: Timestamp) -> Value {
    let username = match &record.holder {
        Holder::Deploy { username, .. } => username.as_str(),
        Holder::User { .. } | Holder::Job { .. } => "",
    };
    json!({
        "id": record.number,
        "name": record.name,
        "username": username,
        "expires_at": time(record.expires_at),
        "scopes": record.scopes,
        "revoked": record.revoked_at.is_some(),
        "expired": record.expired(now),
    })
}

#[derive(Debug, Deserialize)]
struct Token {
    token_id: u64,
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default, deserialize_with = "form::boolean")]
    active: Option<bool>,
}

impl ListQuery {
    fn offer(&self, record: &TokenRecord, now: Timestamp, selection: &mut Selection<Value>) {
        if self.active.is_none_or(|wanted| wanted == record.holds(now)) {
            selection.offer([], record.number, shown(record, now));
        }
    }
}

async fn list<T, A>(
    of: Authorised<T, A>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let now = of.access().now();
    let mut selection = paging.select(true);
    deploy::each(&of, |token| query.offer(&token.record, now, &mut selection)).await?;
    Ok(selection.finish().into_json(|row| row))
}

async fn list_all(
    instance: Authorised<Instance, Own>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError> {
    let now = instance.access().now();
    let mut selection = paging.select(true);
    instance
        .each_deploy(|record| query.offer(&record, now, &mut selection))
        .await?;
    Ok(selection.finish().into_json(|row| row))
}

async fn show<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<Json<Value>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let found = deploy::get(&of, token.token_id).await?;
    Ok(Json(shown(&found.record, of.access().now())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: Option<String>,
    scopes: Option<Words>,
    expires_at: Option<String>,
    username: Option<String>,
}

async fn create<T, A>(of: Authorised<T, A>, Params(create): Params<Create>) -> Result<Response, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let now = of.access().now();
    let new = NewToken {
        name: text("name", &required("name", create.name)?)?,
        scopes: scopes(required("scopes", create.scopes)?.into_vec(), TokenScope::DEPLOY)?,
        expires_at: end(create.expires_at.as_deref(), now)?,
    };
    let username = create.username.filter(|name| !name.is_empty());
    if let Some(username) = &username {
        check_username(username)?;
    }
    let (record, token) = deploy::new(&of, username, new).await?;
    let answer = with(shown(&record, now), json!({ "token": token.reveal() }));
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Letters, digits, `_`, `-`, `.`, `+`: what goes before the colon of Basic authentication.
fn check_username(username: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte);
    if username.len() <= 255 && username.bytes().all(fits) {
        Ok(())
    } else {
        Err(ApiError::invalid_field(
            "username",
            "can contain only letters, digits, '_', '-', '+' and '.'",
        ))
    }
}

async fn revoke<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<StatusCode, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    deploy::revoke(&of, token.token_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
