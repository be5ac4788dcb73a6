//! `/projects/:id/members`, `/groups/:id/members`.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::access_tokens::role;
use crate::admin::shown::{day, end, required, user as shown_user, with};
use crate::app::App;
use crate::auth::{Action, Authorised, Instance, Manage, Own, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::host::BaseUrl;
use crate::http::page::Paging;
use crate::registry::group::Group;
use crate::registry::member::{self, Give, ManagesMembers, Membership, Peopled, ShownMember};
use crate::registry::project::Project;
use crate::registry::time::iso;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/projects/{id}/members",
            get(list::<Project>).post(add::<Project, Manage>),
        )
        .route("/projects/{id}/members/all", get(list_inherited::<Project>))
        .route(
            "/projects/{id}/members/{user_id}",
            get(show::<Project>)
                .put(change::<Project, Manage>)
                .delete(remove::<Project, Manage>),
        )
        .route("/groups/{id}/members", get(list::<Group>).post(add::<Group, Own>))
        .route("/groups/{id}/members/all", get(list_inherited::<Group>))
        .route(
            "/groups/{id}/members/{user_id}",
            get(show::<Group>)
                .put(change::<Group, Own>)
                .delete(remove::<Group, Own>),
        )
}

fn shown(member: &ShownMember, base_url: &BaseUrl) -> Value {
    let more = json!({
        "access_level": member.membership.role.level(),
        "created_at": iso(member.membership.created_at),
        "expires_at": day(member.membership.expires_at),
        "membership_state": "active",
    });
    with(shown_user(&member.user, base_url), more)
}

#[derive(Debug, Deserialize)]
struct Target {
    user_id: u64,
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    query: Option<String>,
}

impl ListQuery {
    fn takes(&self, member: &ShownMember) -> bool {
        let wanted = self.query.as_deref().unwrap_or_default().to_lowercase();
        let texts = [member.user.username.as_str(), &member.user.name];
        texts.iter().any(|text| text.to_lowercase().contains(&wanted))
    }
}

/// Who is a member is told to those who have signed in.
fn check_signed_in<T, A: Action>(of: &Authorised<T, A>) -> Result<(), ApiError> {
    of.access().signed_in().map(|_| ())
}

async fn list<T: Peopled>(
    of: Authorised<T, See>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError> {
    check_signed_in(&of)?;
    let mut selection = paging.select(true);
    member::each(&of, |member| {
        if query.takes(&member) {
            selection.offer([], member.user.id, shown(&member, of.base_url()));
        }
    })
    .await?;
    Ok(selection.finish().into_json(|row| row))
}

async fn list_inherited<T: Peopled>(
    of: Authorised<T, See>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError> {
    check_signed_in(&of)?;
    let mut selection = paging.select(true);
    member::each_inherited(&of, |member| {
        if query.takes(&member) {
            selection.offer([], member.user.id, shown(&member, of.base_url()));
        }
    })
    .await?;
    Ok(selection.finish().into_json(|row| row))
}

async fn show<T: Peopled>(
    of: Authorised<T, See>,
    Path(target): Path<Target>,
) -> Result<Json<Value>, ApiError> {
    check_signed_in(&of)?;
    let found = member::get(&of, target.user_id).await?;
    let member = found.ok_or_else(|| ApiError::not_found("404 Not found"))?;
    Ok(Json(shown(&member, of.base_url())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default, deserialize_with = "form::number")]
    user_id: Option<u64>,
    username: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    access_level: Option<u64>,
    expires_at: Option<String>,
}

impl Wanted {
    fn membership<T, A: Action>(&self, of: &Authorised<T, A>) -> Result<Membership, ApiError> {
        let now = of.access().now();
        Ok(Membership {
            role: role(required("access_level", self.access_level)?)?,
            expires_at: end(self.expires_at.as_deref(), now)?,
            created_at: now,
        })
    }
}

async fn add<T, A>(of: Authorised<T, A>, Params(wanted): Params<Wanted>) -> Result<Response, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesMembers<T>,
{
    let membership = wanted.membership(&of)?;
    let user = match (wanted.user_id, &wanted.username) {
        (Some(id), _) => id,
        (None, Some(name)) => {
            let instance: Authorised<Instance, See> = of.access().instance().await?;
            let found = match name.parse() {
                Ok(name) => instance.user_named(&name).await?,
                Err(_) => None,
            };
            found.ok_or_else(|| ApiError::not_found("404 User Not Found"))?.id
        }
        (None, None) => return Err(ApiError::parameter("user_id, username are missing")),
    };
    let member = member::give(&of, user, Give::New, &membership).await?;
    Ok((StatusCode::CREATED, Json(shown(&member, of.base_url()))).into_response())
}

async fn change<T, A>(
    of: Authorised<T, A>,
    Path(target): Path<Target>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Value>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesMembers<T>,
{
    let membership = wanted.membership(&of)?;
    let member = member::give(&of, target.user_id, Give::Changed, &membership).await?;
    Ok(Json(shown(&member, of.base_url())))
}

async fn remove<T, A>(of: Authorised<T, A>, Path(target): Path<Target>) -> Result<StatusCode, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesMembers<T>,
{
    member::take(&of, target.user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
