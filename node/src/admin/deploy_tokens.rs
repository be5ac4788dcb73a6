//! `/projects/:id/deploy_tokens`, `/groups/:id/deploy_tokens`: tokens of nobody, for one place;
//! `/deploy_tokens`: all of them, for administrators.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use cairn_cluster::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::shown::{Words, end, required, scopes, text, time};
use crate::app::App;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::{Action, Authorised, Instance, Manage, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::{Created, Nothing, Path, about};
use crate::registry::group::Group;
use crate::registry::member::Peopled;
use crate::registry::project::Project;
use crate::registry::token::{Holder, ManagesTokens, NewToken, TokenRecord, deploy};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/deploy_tokens",
            get_with(
                list_all,
                about("listDeployTokens", "Lists all deploy tokens of the instance"),
            ),
        )
        .api_route(
            "/projects/{id}/deploy_tokens",
            get_with(
                list::<Project, Manage>,
                about("listProjectDeployTokens", "Lists the deploy tokens of a project"),
            )
            .post_with(
                create::<Project, Manage>,
                about(
                    "createProjectDeployToken",
                    "Makes a deploy token of a project; its secret is shown in this answer alone",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/deploy_tokens/{token_id}",
            get_with(
                show::<Project, Manage>,
                about("getProjectDeployToken", "Shows a deploy token of a project"),
            )
            .delete_with(
                revoke::<Project, Manage>,
                about("revokeProjectDeployToken", "Revokes a deploy token of a project"),
            ),
        )
        .api_route(
            "/groups/{id}/deploy_tokens",
            get_with(
                list::<Group, Own>,
                about("listGroupDeployTokens", "Lists the deploy tokens of a group"),
            )
            .post_with(
                create::<Group, Own>,
                about(
                    "createGroupDeployToken",
                    "Makes a deploy token of a group; its secret is shown in this answer alone",
                ),
            ),
        )
        .api_route(
            "/groups/{id}/deploy_tokens/{token_id}",
            get_with(
                show::<Group, Own>,
                about("getGroupDeployToken", "Shows a deploy token of a group"),
            )
            .delete_with(
                revoke::<Group, Own>,
                about("revokeGroupDeployToken", "Revokes a deploy token of a group"),
            ),
        )
        .with_path_items(|item| item.tag("Deploy tokens"))
}

/// A token of nobody, for one place.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeployToken")]
struct Shown {
    id: u64,
    name: String,
    /// The username that goes with it.
    username: String,
    expires_at: Option<String>,
    #[schemars(with = "Vec<String>")]
    scopes: Scopes,
    revoked: bool,
    expired: bool,
}

/// The same as its maker is shown it, once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewDeployToken")]
struct Revealed {
    #[serde(flatten)]
    shown: Shown,
    /// Its secret.
    token: String,
}

fn shown(record: &TokenRecord, now: Timestamp) -> Shown {
    let username = match &record.holder {
        Holder::Deploy { username, .. } => username.as_str(),
        Holder::User { .. } | Holder::Job { .. } => "",
    };
    Shown {
        id: record.number,
        name: record.name.clone(),
        username: username.into(),
        expires_at: time(record.expires_at),
        scopes: record.scopes,
        revoked: record.revoked_at.is_some(),
        expired: record.expired(now),
    }
}

#[derive(Debug, Deserialize)]
struct Token {
    token_id: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ListQuery {
    #[serde(default, deserialize_with = "form::boolean")]
    active: Option<bool>,
}

impl ListQuery {
    fn offer(&self, record: &TokenRecord, now: Timestamp, selection: &mut Selection<Shown>) {
        if self.active.is_none_or(|wanted| wanted == record.holds(now)) {
            selection.offer([], record.number, shown(record, now));
        }
    }
}

async fn list<T, A>(
    of: Authorised<T, A>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let now = of.access().now();
    let mut selection = paging.select(true);
    deploy::each(&of, |token| query.offer(&token.record, now, &mut selection)).await?;
    Ok(selection.finish())
}

async fn list_all(
    instance: Authorised<Instance, Own>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let now = instance.access().now();
    let mut selection = paging.select(true);
    instance
        .each_deploy(|record| query.offer(&record, now, &mut selection))
        .await?;
    Ok(selection.finish())
}

async fn show<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<Json<Shown>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let found = deploy::get(&of, token.token_id).await?;
    Ok(Json(shown(&found.record, of.access().now())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schemars(required)]
    name: Option<String>,
    #[schemars(required)]
    scopes: Option<Words>,
    expires_at: Option<String>,
    username: Option<String>,
}

async fn create<T, A>(
    of: Authorised<T, A>,
    Params(create): Params<Create>,
) -> Result<Created<Revealed>, ApiError>
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
    Ok(Created(Revealed {
        shown: shown(&record, now),
        token: token.reveal(),
    }))
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

async fn revoke<T, A>(of: Authorised<T, A>, Path(token): Path<Token>) -> Result<Nothing<204>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    deploy::revoke(&of, token.token_id).await?;
    Ok(Nothing)
}
