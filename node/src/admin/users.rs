//! `/user`, `/users`; and `/user/password`, by which people change their own.

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with, put_with};
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, NoContent, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::shown::{ShownUser, required, text};
use crate::app::App;
use crate::auth::password::Password;
use crate::auth::{Access, Action, Authorised, Instance, ManageSelf, Own, See};
use crate::http::body::{JsonBody, Params};
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::host::BaseUrl;
use crate::http::page::{Page, Paging};
use crate::http::rest::{Created, Nothing, Path, about, about_giving};
use crate::ldap::EntryId;
use crate::registry::names::Username;
use crate::registry::sign_in::{Identity, directory};
use crate::registry::time::iso;
use crate::registry::user::{self, NewUser, User, UserChange};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/user",
            get_with(own, about("getOwnUser", "Shows the user that asks")),
        )
        .api_route(
            "/users",
            get_with(
                list,
                about(
                    "listUsers",
                    "Lists users: one by its name, or all of them for administrators",
                ),
            )
            .post_with(create, about("createUser", "Makes a user")),
        )
        .api_route(
            "/users/{user_id}",
            get_with(show, about("getUser", "Shows a user"))
                .put_with(update, about("changeUser", "Changes a user")),
        )
        .api_route(
            "/users/{user_id}/identities/{provider}",
            delete_with(
                unlink,
                about(
                    "unlinkIdentity",
                    "Unlinks a user from its account at an identity provider",
                ),
            ),
        )
        .api_route(
            "/users/{user_id}/block",
            post_with(
                block,
                about("blockUser", "Blocks a user: its tokens hold no more"),
            ),
        )
        .api_route(
            "/users/{user_id}/unblock",
            post_with(unblock, about("unblockUser", "Lets a blocked user in again")),
        )
        .with_path_items(|item| item.tag("Users"))
}

/// A user; its mail address and what follows are for itself and for administrators.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub(super) struct Shown {
    #[serde(flatten)]
    head: ShownUser,
    created_at: String,
    #[serde(flatten)]
    own: Option<ShownToItself>,
    /// The accounts that it is linked with; for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    identities: Option<Vec<ShownIdentity>>,
}

/// An account at an identity provider.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UserIdentity")]
struct ShownIdentity {
    provider: String,
    extern_uid: String,
}

#[derive(Serialize, JsonSchema)]
struct ShownToItself {
    email: String,
    is_admin: bool,
    can_create_group: bool,
    can_create_project: bool,
    two_factor_enabled: bool,
    external: bool,
}

fn shown(user: &User, base_url: &BaseUrl) -> Shown {
    Shown {
        head: ShownUser::of(user, base_url),
        created_at: iso(user.created_at),
        own: None,
        identities: None,
    }
}

/// The routes below `/api/cairn/v1`.
pub(super) fn own_routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/user/password",
            put_with(
                change_password,
                about_giving::<204, NoContent>(
                    "changeOwnPassword",
                    "Changes one's own password; all sessions end",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Users"))
}

/// A user as it sees itself, or as an administrator sees it.
pub(super) fn whole(user: &User, base_url: &BaseUrl) -> Shown {
    let own = ShownToItself {
        email: user.email.clone(),
        is_admin: user.admin,
        can_create_group: user.admin,
        can_create_project: true,
        two_factor_enabled: false,
        external: false,
    };
    Shown {
        own: Some(own),
        ..shown(user, base_url)
    }
}

async fn own(access: Access) -> Result<Json<Shown>, ApiError> {
    Ok(Json(whole(access.signed_in()?, access.base_url())))
}

async fn show(instance: Authorised<Instance, See>, Path(id): Path<u64>) -> Result<Json<Shown>, ApiError> {
    let user = instance.user_shown(id).await?;
    Ok(Json(match instance.caller().is_admin() {
        true => linked(&user, &instance).await?,
        false => shown(&user, instance.base_url()),
    }))
}

/// A user as an administrator sees it, with the accounts that it is linked with.
async fn linked<A: Action>(user: &User, instance: &Authorised<Instance, A>) -> Result<Shown, ApiError> {
    let settings = &instance.access().app().http().auth;
    let row = |identity: Identity| {
        let provider = settings.name_of(&identity.issuer).unwrap_or(&identity.issuer);
        ShownIdentity {
            provider: provider.to_owned(),
            extern_uid: identity.subject,
        }
    };
    let identities = instance.identities(user.id).await?;
    Ok(Shown {
        identities: Some(identities.into_iter().map(row).collect()),
        ..whole(user, instance.base_url())
    })
}

/// The account of a provider that a request names, as GitLab has it: both, or neither.
fn identity<A: Action>(
    instance: &Authorised<Instance, A>,
    provider: Option<String>,
    extern_uid: Option<String>,
) -> Result<Option<Identity>, ApiError> {
    let (provider, subject) = match (provider, extern_uid) {
        (Some(provider), Some(subject)) => (provider, subject),
        (None, None) => return Ok(None),
        _ => return Err(ApiError::parameter("provider and extern_uid go together")),
    };
    let issuer = instance.access().app().http().auth.issuer_of(&provider);
    let issuer =
        issuer.ok_or_else(|| ApiError::invalid_field("provider", "is not one of the configuration"))?;
    if issuer == directory::ISSUER && subject.parse::<EntryId>().is_err() {
        return Err(ApiError::invalid_field(
            "extern_uid",
            "is not what the directory calls an entry",
        ));
    }
    Ok(Some(Identity {
        issuer: issuer.to_owned(),
        subject,
    }))
}

async fn unlink(
    instance: Authorised<Instance, Own>,
    Path((id, provider)): Path<(u64, String)>,
) -> Result<Nothing<204>, ApiError> {
    let issuer = instance.access().app().http().auth.issuer_of(&provider);
    instance.unlink(id, issuer.unwrap_or(&provider)).await?;
    Ok(Nothing)
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ListQuery {
    username: Option<String>,
    search: Option<String>,
}

/// Whoever has signed in may look a user up by name; only administrators see all of them.
async fn list(
    instance: Authorised<Instance, See>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let mut selection = paging.select(false);
    if let Some(name) = &query.username {
        if let Ok(name) = name.parse::<Username>()
            && let Some(found) = instance.user_named(&name).await?
        {
            selection.offer([], found.id, found);
        }
    } else {
        let all: Authorised<Instance, Own> = instance.access().instance().await?;
        let wanted = query.search.unwrap_or_default().to_lowercase();
        let mut offer = |user: User| {
            let found = [user.username.as_str(), &user.name, &user.email];
            if found.iter().any(|text| text.to_lowercase().contains(&wanted)) {
                selection.offer([], user.id, user);
            }
            true
        };
        user::each(&all, &mut offer).await?;
    }
    let admin = instance.caller().is_admin();
    Ok(selection.finish().map(|user| match admin {
        true => whole(&user, instance.base_url()),
        false => shown(&user, instance.base_url()),
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schemars(required)]
    username: Option<String>,
    name: Option<String>,
    email: Option<String>,
    #[serde(default, deserialize_with = "form::boolean")]
    admin: Option<bool>,
    #[schemars(with = "Option<String>")]
    password: Option<Password>,
    provider: Option<String>,
    extern_uid: Option<String>,
    /// GitLab wants to be told one of these, or a password. Users may do without one, so the two that
    /// make up for a missing password or letter say nothing new.
    #[serde(default, deserialize_with = "form::boolean", rename = "force_random_password")]
    _force_random_password: Option<bool>,
    #[serde(default, deserialize_with = "form::boolean", rename = "skip_confirmation")]
    _skip_confirmation: Option<bool>,
    #[serde(default, deserialize_with = "form::boolean")]
    reset_password: Option<bool>,
}

async fn create(
    instance: Authorised<Instance, Own>,
    Params(create): Params<Create>,
) -> Result<Created<Shown>, ApiError> {
    let username: Username = required("username", create.username)?
        .parse()
        .map_err(|_| ApiError::invalid_field("username", "is invalid"))?;
    if create.reset_password == Some(true) {
        return Err(ApiError::parameter(
            "reset_password: Cairn sends no letters; set a password, or make a token for the user",
        ));
    }
    let name = create.name.unwrap_or_else(|| username.as_str().to_owned());
    let new = NewUser {
        name: text("name", &name)?,
        email: text("email", &create.email.unwrap_or_default())?,
        admin: create.admin.unwrap_or(false),
        bot: false,
        username,
    };
    let password = match &create.password {
        Some(password) => Some(instance.hash_password(&new.username, password).await?),
        None => None,
    };
    let identity = identity(&instance, create.provider, create.extern_uid)?;
    let user = instance.create_user(new, password, identity).await?;
    Ok(Created(whole(&user, instance.base_url())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Update {
    name: Option<String>,
    email: Option<String>,
    #[serde(default, deserialize_with = "form::boolean")]
    admin: Option<bool>,
    #[schemars(with = "Option<String>")]
    password: Option<Password>,
    provider: Option<String>,
    extern_uid: Option<String>,
}

async fn update(
    instance: Authorised<Instance, Own>,
    Path(id): Path<u64>,
    Params(update): Params<Update>,
) -> Result<Json<Shown>, ApiError> {
    let bounded = |field: &str, value: Option<String>| value.map(|value| text(field, &value)).transpose();
    let change = UserChange {
        name: bounded("name", update.name)?,
        email: bounded("email", update.email)?,
        admin: update.admin,
        identity: identity(&instance, update.provider, update.extern_uid)?,
    };
    let password = match &update.password {
        Some(password) => {
            let username = instance.username_of(id).await?;
            Some(instance.hash_password(&username, password).await?)
        }
        None => None,
    };
    let user = instance.change_user(id, change, password).await?;
    Ok(Json(whole(&user, instance.base_url())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    /// The one that there is.
    #[schemars(with = "String")]
    password: Password,
    #[schemars(with = "String")]
    new_password: Password,
}

/// Changes one's own password. All sessions end; a browser goes on with a new one.
async fn change_password(
    instance: Authorised<Instance, ManageSelf>,
    JsonBody(change): JsonBody<ChangePassword>,
) -> Result<Response, ApiError> {
    let id = instance
        .change_own_password(&change.password, &change.new_password)
        .await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(id) = id {
        let lifetime = instance.access().app().http().auth.session_lifetime;
        response
            .headers_mut()
            .insert(header::SET_COOKIE, id.cookie(lifetime));
    }
    Ok(response)
}

async fn block(instance: Authorised<Instance, Own>, Path(id): Path<u64>) -> Result<Created<bool>, ApiError> {
    instance.set_blocked(id, true).await?;
    Ok(Created(true))
}

async fn unblock(
    instance: Authorised<Instance, Own>,
    Path(id): Path<u64>,
) -> Result<Created<bool>, ApiError> {
    instance.set_blocked(id, false).await?;
    Ok(Created(true))
}
