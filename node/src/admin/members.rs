//! `/projects/:id/members`, `/groups/:id/members`.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::access_tokens::role;
use crate::admin::shown::{ShownUser, day, end, required};
use crate::app::App;
use crate::auth::{Action, Authorised, Instance, Manage, Own, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::host::BaseUrl;
use crate::http::page::{Page, Paging};
use crate::http::rest::{Created, Nothing, Path, about};
use crate::registry::group::Group;
use crate::registry::member::{self, Give, ManagesMembers, Membership, Peopled, ShownMember};
use crate::registry::project::Project;
use crate::registry::time::iso;

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/projects/{id}/members",
            get_with(
                list::<Project>,
                about("listProjectMembers", "Lists the members of a project"),
            )
            .post_with(
                add::<Project, Manage>,
                about("addProjectMember", "Makes a user a member of a project"),
            ),
        )
        .api_route(
            "/projects/{id}/members/all",
            get_with(
                list_inherited::<Project>,
                about(
                    "listAllProjectMembers",
                    "Lists the members of a project and of all groups around it",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/members/{user_id}",
            get_with(
                show::<Project>,
                about("getProjectMember", "Shows a member of a project"),
            )
            .put_with(
                change::<Project, Manage>,
                about(
                    "changeProjectMember",
                    "Changes the role of a member of a project, or its end",
                ),
            )
            .delete_with(
                remove::<Project, Manage>,
                about("removeProjectMember", "Takes a member out of a project"),
            ),
        )
        .api_route(
            "/groups/{id}/members",
            get_with(
                list::<Group>,
                about("listGroupMembers", "Lists the members of a group"),
            )
            .post_with(
                add::<Group, Own>,
                about("addGroupMember", "Makes a user a member of a group"),
            ),
        )
        .api_route(
            "/groups/{id}/members/all",
            get_with(
                list_inherited::<Group>,
                about(
                    "listAllGroupMembers",
                    "Lists the members of a group and of all groups around it",
                ),
            ),
        )
        .api_route(
            "/groups/{id}/members/{user_id}",
            get_with(
                show::<Group>,
                about("getGroupMember", "Shows a member of a group"),
            )
            .put_with(
                change::<Group, Own>,
                about(
                    "changeGroupMember",
                    "Changes the role of a member of a group, or its end",
                ),
            )
            .delete_with(
                remove::<Group, Own>,
                about("removeGroupMember", "Takes a member out of a group"),
            ),
        )
        .with_path_items(|item| item.tag("Members"))
}

/// A user as a member of something.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Member")]
struct Shown {
    #[serde(flatten)]
    user: ShownUser,
    /// The role: 10 guest, 15 planner, 20 reporter, 30 developer, 40 maintainer, 50 owner.
    access_level: u8,
    /// Since when it is a member.
    created_at: String,
    /// The day on which that ends.
    expires_at: Option<String>,
    membership_state: &'static str,
}

fn shown(member: &ShownMember, base_url: &BaseUrl) -> Shown {
    Shown {
        user: ShownUser::of(&member.user, base_url),
        access_level: member.membership.role.level(),
        created_at: iso(member.membership.created_at),
        expires_at: day(member.membership.expires_at),
        membership_state: "active",
    }
}

#[derive(Debug, Deserialize)]
struct Target {
    user_id: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
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
) -> Result<Page<Shown>, ApiError> {
    check_signed_in(&of)?;
    let mut selection = paging.select(true);
    member::each(&of, |member| {
        if query.takes(&member) {
            selection.offer([], member.user.id, shown(&member, of.base_url()));
        }
    })
    .await?;
    Ok(selection.finish())
}

async fn list_inherited<T: Peopled>(
    of: Authorised<T, See>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    check_signed_in(&of)?;
    let mut selection = paging.select(true);
    member::each_inherited(&of, |member| {
        if query.takes(&member) {
            selection.offer([], member.user.id, shown(&member, of.base_url()));
        }
    })
    .await?;
    Ok(selection.finish())
}

async fn show<T: Peopled>(
    of: Authorised<T, See>,
    Path(target): Path<Target>,
) -> Result<Json<Shown>, ApiError> {
    check_signed_in(&of)?;
    let found = member::get(&of, target.user_id).await?;
    let member = found.ok_or_else(|| ApiError::not_found("404 Not found"))?;
    Ok(Json(shown(&member, of.base_url())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default, deserialize_with = "form::number")]
    user_id: Option<u64>,
    username: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    #[schemars(required)]
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

async fn add<T, A>(of: Authorised<T, A>, Params(wanted): Params<Wanted>) -> Result<Created<Shown>, ApiError>
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
    Ok(Created(shown(&member, of.base_url())))
}

async fn change<T, A>(
    of: Authorised<T, A>,
    Path(target): Path<Target>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Shown>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesMembers<T>,
{
    let membership = wanted.membership(&of)?;
    let member = member::give(&of, target.user_id, Give::Changed, &membership).await?;
    Ok(Json(shown(&member, of.base_url())))
}

async fn remove<T, A>(of: Authorised<T, A>, Path(target): Path<Target>) -> Result<Nothing<204>, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesMembers<T>,
{
    member::take(&of, target.user_id).await?;
    Ok(Nothing)
}
