//! The owners of a crate, as cargo lists and changes them.

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::NAME;
use super::head::Head;
use super::routes::{CratePath, source_at};
use super::{shown, store};
use crate::auth::{Authorised, Publish, Pull};
use crate::formats::owners::{OwnersError, user_named};
use crate::formats::place::Place;
use crate::http::body;
use crate::http::error::ApiError;
use crate::registry::project::Project;

/// The largest body that names users.
const MAX_BODY_BYTES: usize = 64 << 10;

/// The most users that one request names.
const MAX_USERS: usize = 50;

/// What cargo sends to add or remove owners.
#[derive(Deserialize)]
struct Named {
    users: Vec<String>,
}

pub(super) async fn list(place: Place<Pull>, Path(path): Path<CratePath>) -> Result<Response, ApiError> {
    let source = source_at(&place, &path).await?;
    let owners = store::head_of(source.package())?.owners;
    let users = source.scope().users(owners.users()).await?;
    let users: Vec<Value> = users.iter().map(shown::owner).collect();
    let headers = [(header::CACHE_CONTROL, "private, no-cache")];
    Ok((headers, Json(json!({ "users": users }))).into_response())
}

pub(super) async fn add(
    project: Authorised<Project, Publish>,
    Path(path): Path<CratePath>,
    body: Body,
) -> Result<Response, ApiError> {
    let done = "is now an owner of";
    change(&project, &path, body, done, |head, users| head.owners.add(users)).await
}

pub(super) async fn remove(
    project: Authorised<Project, Publish>,
    Path(path): Path<CratePath>,
    body: Body,
) -> Result<Response, ApiError> {
    let done = "is no longer an owner of";
    change(&project, &path, body, done, |head, users| {
        head.owners.remove(users)
    })
    .await
}

async fn change(
    project: &Authorised<Project, Publish>,
    path: &CratePath,
    body: Body,
    done: &str,
    change: impl Fn(&mut Head, &[u64]) -> Result<(), OwnersError>,
) -> Result<Response, ApiError> {
    let name = path.name()?;
    let bytes = body::whole(body, MAX_BODY_BYTES).await?;
    let named: Named = body::json(&bytes, 8)?;
    if named.users.is_empty() || named.users.len() > MAX_USERS {
        return Err(ApiError::bad_request(format!("name 1 to {MAX_USERS} users")));
    }
    let mut users = Vec::new();
    for text in &named.users {
        users.push(user_named(project, text).await?);
    }
    store::change_owners(&project.scope(NAME), &name, |head| change(head, &users)).await?;
    let msg = format!(
        "{} {done} {name}; who may publish is decided by the roles in {}",
        named.users.join(", "),
        project.project().path
    );
    Ok(Json(json!({"ok": true, "msg": msg})).into_response())
}
