//! `/personal_access_tokens`: tokens of users, for all that they may do.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use cairn_cluster::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::shown::{Words, day, end, required, scopes, text, time};
use crate::app::App;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::token::Token;
use crate::auth::{Authorised, Instance, ManageSelf, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Page, Paging};
use crate::http::rest::{Created, Nothing, Path, about};
use crate::registry::time::iso;
use crate::registry::token::{Holder, NewToken, ShownToken, TokenRecord};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/users/{user_id}/personal_access_tokens",
            post_with(
                create,
                about(
                    "createPersonalToken",
                    "Makes a token of a user; its secret is shown in this answer alone",
                ),
            ),
        )
        .api_route(
            "/personal_access_tokens",
            get_with(list, about("listPersonalTokens", "Lists the tokens of a user")),
        )
        .api_route(
            "/personal_access_tokens/self",
            get_with(own, about("getOwnToken", "Shows the token that is asked with")).delete_with(
                revoke_own,
                about("revokeOwnToken", "Revokes the token that is asked with"),
            ),
        )
        .api_route(
            "/personal_access_tokens/self/rotate",
            post_with(
                rotate_own,
                about(
                    "rotateOwnToken",
                    "Puts a new token in the place of the one that is asked with",
                ),
            ),
        )
        .api_route(
            "/personal_access_tokens/{token_id}",
            get_with(show, about("getPersonalToken", "Shows a token"))
                .delete_with(revoke, about("revokePersonalToken", "Revokes a token")),
        )
        .api_route(
            "/personal_access_tokens/{token_id}/rotate",
            post_with(
                rotate,
                about("rotatePersonalToken", "Puts a new token in the place of one"),
            ),
        )
        .with_path_items(|item| item.tag("Personal access tokens"))
}

/// A token as lists show it; its secret is never shown again.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(super) struct Shown {
    id: u64,
    name: String,
    revoked: bool,
    created_at: String,
    description: Option<String>,
    #[schemars(with = "Vec<String>")]
    scopes: Scopes,
    /// Whose it is.
    user_id: Option<u64>,
    last_used_at: Option<String>,
    /// Whether it holds now.
    active: bool,
    /// The day on which it ends.
    expires_at: Option<String>,
}

/// A token as its maker is shown it, once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewToken")]
pub(super) struct Revealed {
    #[serde(flatten)]
    shown: Shown,
    /// Its secret.
    token: String,
}

pub(super) fn shown(record: &TokenRecord, used_at: Timestamp, now: Timestamp) -> Shown {
    let user = match record.holder {
        Holder::User { id } => Some(id),
        Holder::Deploy { .. } | Holder::Job { .. } => None,
    };
    Shown {
        id: record.number,
        name: record.name.clone(),
        revoked: record.revoked_at.is_some(),
        created_at: iso(record.created_at),
        description: None,
        scopes: record.scopes,
        user_id: user,
        last_used_at: time((used_at.0 > 0).then_some(used_at)),
        active: record.holds(now),
        expires_at: day(record.expires_at),
    }
}

pub(super) fn revealed(record: &TokenRecord, token: &Token, now: Timestamp) -> Revealed {
    Revealed {
        shown: shown(record, Timestamp(0), now),
        token: token.reveal(),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schemars(required)]
    name: Option<String>,
    #[schemars(required)]
    scopes: Option<Words>,
    expires_at: Option<String>,
}

async fn create(
    instance: Authorised<Instance, ManageSelf>,
    Path(user): Path<u64>,
    Params(create): Params<Create>,
) -> Result<Created<Revealed>, ApiError> {
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
    Ok(Created(revealed(&record, &token, now)))
}

#[derive(Debug, Deserialize, JsonSchema)]
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
) -> Result<Page<Shown>, ApiError> {
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
    Ok(selection.finish())
}

async fn own(instance: Authorised<Instance, See>) -> Result<Json<Shown>, ApiError> {
    let token = instance.own_token().await?;
    Ok(Json(shown(&token.record, token.used_at, instance.access().now())))
}

async fn show(instance: Authorised<Instance, See>, Path(id): Path<u64>) -> Result<Json<Shown>, ApiError> {
    let token = instance.personal(id).await?;
    Ok(Json(shown(&token.record, token.used_at, instance.access().now())))
}

async fn revoke_own(instance: Authorised<Instance, See>) -> Result<Nothing<204>, ApiError> {
    instance.revoke_own_token().await?;
    Ok(Nothing)
}

async fn revoke(
    instance: Authorised<Instance, ManageSelf>,
    Path(id): Path<u64>,
) -> Result<Nothing<204>, ApiError> {
    instance.revoke_personal(id).await?;
    Ok(Nothing)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    pub(super) expires_at: Option<String>,
}

async fn rotate_own(
    instance: Authorised<Instance, ManageSelf>,
    Params(rotate): Params<Rotate>,
) -> Result<Json<Revealed>, ApiError> {
    let number = instance.own_token().await?.record.number;
    rotated(&instance, number, rotate).await
}

async fn rotate(
    instance: Authorised<Instance, ManageSelf>,
    Path(number): Path<u64>,
    Params(rotate): Params<Rotate>,
) -> Result<Json<Revealed>, ApiError> {
    rotated(&instance, number, rotate).await
}

async fn rotated(
    instance: &Authorised<Instance, ManageSelf>,
    number: u64,
    rotate: Rotate,
) -> Result<Json<Revealed>, ApiError> {
    let now = instance.access().now();
    let end = end(rotate.expires_at.as_deref(), now)?;
    let (record, token) = instance.rotate(number, end).await?;
    Ok(Json(revealed(&record, &token, now)))
}
