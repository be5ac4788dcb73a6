//! Who takes care of a gem, and who signs in: what `gem owner` and `gem signin` ask.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::NAME;
use super::names::GemName;
use super::records::Head;
use super::routes::{GemPath, line, private};
use super::source;
use super::store::{self, head_of, no_gem};
use crate::auth::{Authorised, Publish, Pull, credentials};
use crate::formats::owners::{OwnersError, user_named};
use crate::formats::place::Place;
use crate::http::error::ApiError;
use crate::http::{body, form};
use crate::registry::project::Project;
use crate::registry::user::User;

/// The largest form.
pub(super) const MAX_FORM_BYTES: usize = 16 << 10;

async fn owners(place: &Place<Pull>, gem: &str) -> Result<Vec<User>, ApiError> {
    let (scope, package) = source::gem(place, gem).await?;
    scope.users(head_of(&package)?.owners.users()).await
}

pub(super) async fn owners_as_yaml(
    place: Place<Pull>,
    Path(GemPath { gem }): Path<GemPath>,
) -> Result<Response, ApiError> {
    let owners = owners(&place, &gem).await?;
    let lines: Vec<String> = owners
        .iter()
        // What is JSON text is YAML text.
        .map(|user| format!("- id: {}\n  handle: {}\n", user.id, json!(user.username)))
        .collect();
    let text = match lines.is_empty() {
        true => "--- []\n".to_owned(),
        false => format!("---\n{}", lines.concat()),
    };
    Ok(private("application/yaml", text))
}

pub(super) async fn owners_as_json(
    place: Place<Pull>,
    Path(GemPath { gem }): Path<GemPath>,
) -> Result<Response, ApiError> {
    let owners = owners(&place, &gem).await?;
    let shown = |user: &User| json!({"id": user.id, "handle": user.username});
    let owners: Vec<Value> = owners.iter().map(shown).collect();
    Ok(private("application/json", json!(owners).to_string()))
}

/// What `gem owner` sends: its field has this name, whatever it holds.
#[derive(Deserialize)]
struct Named {
    email: Option<String>,
}

pub(super) async fn add_owner(
    project: Authorised<Project, Publish>,
    Path(GemPath { gem }): Path<GemPath>,
    body: Body,
) -> Result<Response, ApiError> {
    let done = "Owner added successfully.";
    change(&project, &gem, body, done, |head, user| head.owners.add(&[user])).await
}

pub(super) async fn remove_owner(
    project: Authorised<Project, Publish>,
    Path(GemPath { gem }): Path<GemPath>,
    body: Body,
) -> Result<Response, ApiError> {
    let done = "Owner removed successfully.";
    change(&project, &gem, body, done, |head, user| {
        head.owners.remove(&[user])
    })
    .await
}

async fn change(
    project: &Authorised<Project, Publish>,
    gem: &str,
    body: Body,
    done: &str,
    change: impl Fn(&mut Head, u64) -> Result<(), OwnersError>,
) -> Result<Response, ApiError> {
    let name: GemName = gem.parse().map_err(|_| no_gem())?;
    let named: Named = form::parse(&body::whole(body, MAX_FORM_BYTES).await?)?;
    let named = named.email.unwrap_or_default();
    let user = user_named(project, &named).await?;
    store::change_owners(&project.scope(NAME), &name, |head| change(head, user)).await?;
    Ok(line(format!(
        "{done} Who may push is decided by the roles in {}.",
        project.project().path
    )))
}

/// The key that a client is to keep: the token that it signed in with. Making one that may do more or
/// lives longer than that is for the REST API.
pub(super) async fn api_key(place: Place<Pull>, headers: HeaderMap) -> Result<Response, ApiError> {
    let presented = credentials::presented(&headers, None, false);
    let presented = presented.ok().flatten();
    match presented.filter(|_| !place.access().caller().is_anonymous()) {
        Some(presented) => Ok(([(header::CACHE_CONTROL, "no-store")], presented.secret).into_response()),
        None => Err(ApiError::unauthorized()),
    }
}

/// Who has signed in.
pub(super) async fn profile(place: Place<Pull>) -> Result<Response, ApiError> {
    match place.access().caller().username() {
        Some(username) => Ok(private(
            "application/yaml",
            format!("---\nhandle: {}\nmfa: disabled\n", json!(username)),
        )),
        None => Err(ApiError::unauthorized()),
    }
}
