//! `/projects/:id/access_tokens`, `/groups/:id/access_tokens`: tokens of bots that are members.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use cairn_cluster::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::personal_tokens::{Revealed, Rotate, Shown as ShownToken, revealed, shown as shown_token};
use crate::admin::shown::{Words, end, required, scopes, text};
use crate::app::App;
use crate::auth::role::Role;
use crate::auth::scopes::TokenScope;
use crate::auth::{Action, Authorised, Manage, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::page::{Page, Paging};
use crate::http::rest::{Created, Nothing, Path, about};
use crate::registry::group::Group;
use crate::registry::member::Peopled;
use crate::registry::project::Project;
use crate::registry::token::access::AccessToken;
use crate::registry::token::{ManagesTokens, NewToken, access};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/projects/{id}/access_tokens",
            get_with(
                list::<Project, Manage>,
                about("listProjectAccessTokens", "Lists the access tokens of a project"),
            )
            .post_with(
                create::<Project, Manage>,
                about(
                    "createProjectAccessToken",
                    "Makes an access token of a project; its secret is shown in this answer alone",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/access_tokens/{token_id}",
            get_with(
                show::<Project, Manage>,
                about("getProjectAccessToken", "Shows an access token of a project"),
            )
            .delete_with(
                revoke::<Project, Manage>,
                about("revokeProjectAccessToken", "Revokes an access token of a project"),
            ),
        )
        .api_route(
            "/projects/{id}/access_tokens/{token_id}/rotate",
            post_with(
                rotate::<Project, Manage>,
                about(
                    "rotateProjectAccessToken",
                    "Puts a new token in the place of an access token of a project",
                ),
            ),
        )
        .api_route(
            "/groups/{id}/access_tokens",
            get_with(
                list::<Group, Own>,
                about("listGroupAccessTokens", "Lists the access tokens of a group"),
            )
            .post_with(
                create::<Group, Own>,
                about(
                    "createGroupAccessToken",
                    "Makes an access token of a group; its secret is shown in this answer alone",
                ),
            ),
        )
        .api_route(
            "/groups/{id}/access_tokens/{token_id}",
            get_with(
                show::<Group, Own>,
                about("getGroupAccessToken", "Shows an access token of a group"),
            )
            .delete_with(
                revoke::<Group, Own>,
                about("revokeGroupAccessToken", "Revokes an access token of a group"),
            ),
        )
        .api_route(
            "/groups/{id}/access_tokens/{token_id}/rotate",
            post_with(
                rotate::<Group, Own>,
                about(
                    "rotateGroupAccessToken",
                    "Puts a new token in the place of an access token of a group",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Access tokens"))
}

/// The token of a bot that is a member.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AccessToken")]
struct Shown {
    #[serde(flatten)]
    token: ShownToken,
    /// The bot's role.
    access_level: u8,
}

/// The same as its maker is shown it, once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewAccessToken")]
struct ShownOnce {
    #[serde(flatten)]
    token: Revealed,
    /// The bot's role.
    access_level: u8,
}

fn shown(found: &AccessToken, now: Timestamp) -> Shown {
    Shown {
        token: shown_token(&found.token.record, found.token.used_at, now),
        access_level: found.role.level(),
    }
}

#[derive(Debug, Deserialize)]
struct Token {
    token_id: u64,
}

async fn list<T, A>(of: Authorised<T, A>, paging: Paging) -> Result<Page<Shown>, ApiError>
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
    Ok(selection.finish())
}

async fn show<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<Json<Shown>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let found = access::one(&of, token.token_id).await?;
    Ok(Json(shown(&found, of.access().now())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schemars(required)]
    name: Option<String>,
    #[schemars(required)]
    scopes: Option<Words>,
    #[serde(default, deserialize_with = "form::number")]
    access_level: Option<u64>,
    expires_at: Option<String>,
}

async fn create<T, A>(
    of: Authorised<T, A>,
    Params(create): Params<Create>,
) -> Result<Created<ShownOnce>, ApiError>
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
    Ok(Created(ShownOnce {
        token: revealed(&record, &token, now),
        access_level: role.level(),
    }))
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
) -> Result<Json<ShownOnce>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let now = of.access().now();
    let end = end(rotate.expires_at.as_deref(), now)?;
    let (record, role, token) = access::rotate(&of, token.token_id, end).await?;
    Ok(Json(ShownOnce {
        token: revealed(&record, &token, now),
        access_level: role.level(),
    }))
}

async fn revoke<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<Nothing<204>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    access::revoke(&of, token.token_id).await?;
    Ok(Nothing)
}
