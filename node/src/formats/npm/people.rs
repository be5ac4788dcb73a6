//! What `npm access list packages`, `npm org`, `npm team` and `npm stars` ask: who may do what,
//! and what somebody likes.
//!
//! An organization is a group. There are no teams: rights come from roles in groups and projects,
//! which package clients can look at, and do not change.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::response::Response;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::names::PackageName;
use super::routes::private_json;
use super::store;
use crate::app::App;
use crate::auth::{Publish, Pull, See};
use crate::formats::place::Place;
use crate::formats::ranking::each_package;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::Query;
use crate::registry::member;
use crate::registry::names::Reference;

/// The most names of one answer: clients ask for no second page, and must not take a part for
/// the whole.
const MAX_NAMES: usize = 10_000;

/// The routes.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/-/_view/starredByUser", get(starred))
        .route("/-/user/{user}/package", get(packages_of_user))
        .route("/-/org/{org}/package", get(packages_of_scope))
        .route("/-/org/{org}/user", get(members).put(no_change).delete(no_change))
        .route("/-/org/{org}/team", get(teams).put(no_change))
        .route("/-/team/{org}/{team}", delete(no_team))
        .route(
            "/-/team/{org}/{team}/user",
            get(no_team).put(no_team).delete(no_team),
        )
        .route(
            "/-/team/{org}/{team}/package",
            get(no_team).put(no_team).delete(no_team),
        )
}

/// Refuses to show more names than an answer holds.
fn check_room(names: usize) -> Result<(), ApiError> {
    match names {
        ..=MAX_NAMES => Ok(()),
        _ => Err(ApiError::new(
            ErrorKind::TooLarge,
            format!("there are more than {MAX_NAMES}; the REST API lists them by pages"),
        )),
    }
}

/// The packages here that are taken by `takes`, each with what the caller may do to it.
async fn rights(
    place: &Place<Pull>,
    takes: impl Fn(&PackageName) -> bool,
) -> Result<BTreeMap<String, &'static str>, ApiError> {
    let mut rights = BTreeMap::new();
    for scope in place.scopes().await? {
        let right = match place.access().may::<Publish, _>(scope.project()).await? {
            true => "write",
            false => "read",
        };
        each_package(&scope, |package| {
            if package.name.parse().is_ok_and(|name| takes(&name)) {
                // Of several projects with one name, the one that may be written to counts.
                let known = rights.entry(package.name.clone()).or_insert(right);
                *known = (*known).max(right);
            }
            check_room(rights.len())
        })
        .await?;
    }
    Ok(rights)
}

#[derive(Deserialize)]
struct OrgPath {
    org: String,
}

/// The packages of a scope. If there are none, the client asks for those of a user.
async fn packages_of_scope(place: Place<Pull>, Path(path): Path<OrgPath>) -> Result<Response, ApiError> {
    let found = rights(&place, |name| name.scope() == Some(&path.org)).await?;
    if found.is_empty() {
        return Err(place.missing(ApiError::not_found("there are no packages of this scope here")));
    }
    Ok(private_json(json!(found)))
}

#[derive(Deserialize)]
struct UserPath {
    user: String,
}

/// What the caller may do here.
async fn packages_of_user(place: Place<Pull>, Path(path): Path<UserPath>) -> Result<Response, ApiError> {
    let own = place.access().caller().username().map(str::to_lowercase);
    if own != Some(path.user.to_lowercase()) {
        return Err(place.missing(ApiError::not_found(
            "there are no packages of this scope here, and what a user may do is told to that user alone",
        )));
    }
    Ok(private_json(json!(rights(&place, |_| true).await?)))
}

/// The members of a group, with their roles.
async fn members(place: Place<Pull>, Path(path): Path<OrgPath>) -> Result<Response, ApiError> {
    let missing = || place.missing(ApiError::not_found("404 Group Not Found"));
    let group: Reference = path.org.parse().map_err(|_| missing())?;
    let group = place.access().group::<See>(&group).await?;
    place.access().signed_in()?;
    let mut roster = BTreeMap::new();
    member::each_inherited(&group, |member| {
        if roster.len() <= MAX_NAMES {
            roster.insert(
                member.user.username.as_str().to_owned(),
                member.membership.role.name(),
            );
        }
    })
    .await?;
    check_room(roster.len())?;
    Ok(private_json(json!(roster)))
}

/// There are none, in any group.
async fn teams(_: Place<Pull>) -> Json<Value> {
    Json(json!([]))
}

async fn no_team(_: Place<Pull>) -> ApiError {
    ApiError::not_found("there are no teams here: roles in groups and projects say who may do what")
}

async fn no_change(_: Place<Pull>) -> ApiError {
    ApiError::forbidden("members and their roles are not changed by package clients; use the REST API")
}

#[derive(Deserialize)]
struct StarredQuery {
    /// A user's name, as JSON.
    key: String,
}

/// The packages here that a user has starred.
async fn starred(place: Place<Pull>, Query(query): Query<StarredQuery>) -> Result<Response, ApiError> {
    let user: String = serde_json::from_str(&query.key)
        .map_err(|_| ApiError::bad_request("the key is not the name of a user as JSON"))?;
    let mut rows = BTreeMap::new();
    for scope in place.scopes().await? {
        each_package(&scope, |package| {
            if store::head_of(package)?.stars.contains(&user) {
                let row = json!({"id": package.name, "key": user, "value": package.name});
                rows.insert(package.name.clone(), row);
            }
            check_room(rows.len())
        })
        .await?;
    }
    let rows: Vec<Value> = rows.into_values().collect();
    Ok(private_json(
        json!({"total_rows": rows.len(), "offset": 0, "rows": rows}),
    ))
}
