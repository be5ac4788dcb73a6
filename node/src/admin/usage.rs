//! What projects, groups and the instance store: by format, by user, by project; and counting it anew.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::admin::shown::{time, with};
use crate::app::App;
use crate::auth::{Authorised, Instance, Manage, Own};
use crate::http::error::ApiError;
use crate::http::page::Paging;
use crate::registry::group::Group;
use crate::registry::project::Project;
use crate::registry::storage::{Amount, OfUser, Usage};

/// The routes below `/api/cairn/v1`.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/cairn/v1/usage", get(show_all))
        .route("/api/cairn/v1/usage/recount", get(show_recount).post(recount))
        .route("/api/cairn/v1/groups/{id}/usage", get(show_group))
        .route("/api/cairn/v1/groups/{id}/usage/users", get(list_users_of_group))
        .route("/api/cairn/v1/groups/{id}/usage/projects", get(list_projects))
        .route("/api/cairn/v1/projects/{id}/usage", get(show_project))
        .route(
            "/api/cairn/v1/projects/{id}/usage/users",
            get(list_users_of_project),
        )
}

fn shown_amount(amount: &Amount) -> Value {
    json!({ "bytes": amount.bytes, "files": amount.files, "versions": amount.versions })
}

fn shown(usage: &Usage) -> Value {
    let formats = usage
        .formats
        .iter()
        .map(|(format, amount)| with(json!({ "package_type": format }), shown_amount(amount)));
    let sum = with(
        shown_amount(&usage.total()),
        json!({ "stored_bytes": usage.stored_bytes }),
    );
    with(sum, json!({ "formats": formats.collect::<Vec<_>>() }))
}

/// What GitLab shows of a project or group with `statistics=true`. What does not exist here is 0.
pub(super) fn statistics(usage: &Usage) -> Value {
    let (all, images) = (usage.total().bytes, usage.images().bytes);
    json!({
        "storage_size": all,
        "repository_size": 0,
        "wiki_size": 0,
        "lfs_objects_size": 0,
        "job_artifacts_size": 0,
        "pipeline_artifacts_size": 0,
        "packages_size": all - images,
        "container_registry_size": images,
        "snippets_size": 0,
        "uploads_size": 0,
    })
}

async fn show_project(of: Authorised<Project, Manage>) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&of.usage().await?)))
}

async fn show_group(of: Authorised<Group, Manage>) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&of.usage().await?)))
}

async fn show_all(of: Authorised<Instance, Own>) -> Result<Json<Value>, ApiError> {
    let (usage, content_bytes) = of.usage().await?;
    Ok(Json(with(
        shown(&usage),
        json!({ "content_bytes": content_bytes }),
    )))
}

/// A number as a key that sorts like it.
fn size_key(bytes: i64) -> [u8; 8] {
    bytes.max(0).cast_unsigned().to_be_bytes()
}

fn shown_user(of: &OfUser) -> Value {
    let user = of
        .user
        .as_ref()
        .map(|user| json!({ "id": user.id, "username": user.username.as_str(), "name": user.name }));
    with(json!({ "user": user }), shown_amount(&of.amount))
}

/// Users, those with the most bytes first.
struct Users(crate::http::page::Selection<OfUser>);

impl Users {
    fn new(paging: Paging) -> Result<Self, ApiError> {
        paging.order_by(&["bytes"])?;
        Ok(Self(paging.select(false)))
    }

    fn offer(&mut self, of: OfUser) {
        if of.amount != Amount::default() {
            let id = of.user.as_ref().map_or(0, |user| user.id);
            self.0.offer(size_key(of.amount.bytes), id, of);
        }
    }

    fn finish(self) -> Response {
        self.0.finish().into_json(|of| shown_user(&of))
    }
}

async fn list_users_of_project(
    of: Authorised<Project, Manage>,
    paging: Paging,
) -> Result<Response, ApiError> {
    let mut users = Users::new(paging)?;
    of.each_user_of_storage(|row| users.offer(row)).await?;
    Ok(users.finish())
}

async fn list_users_of_group(of: Authorised<Group, Manage>, paging: Paging) -> Result<Response, ApiError> {
    let mut users = Users::new(paging)?;
    of.each_user_of_storage(|row| users.offer(row)).await?;
    Ok(users.finish())
}

async fn list_projects(of: Authorised<Group, Manage>, paging: Paging) -> Result<Response, ApiError> {
    paging.order_by(&["bytes"])?;
    let mut selection = paging.select(false);
    let mut walk = of.walk_projects(true);
    loop {
        let found = walk.next().await?;
        if found.is_empty() {
            break;
        }
        for project in found {
            let usage = project.usage().await?;
            let row = json!({
                "project_id": project.project().id,
                "project_path": project.project().path.as_str(),
            });
            let bytes = usage.total().bytes;
            selection.offer(size_key(bytes), project.project().id, with(row, shown(&usage)));
        }
    }
    Ok(selection.finish().into_json(|row| row))
}

async fn show_recount(of: Authorised<Instance, Own>) -> Result<Json<Value>, ApiError> {
    let standing = of.recounts().await?;
    Ok(Json(json!({
        "under_way": standing.under_way > 0,
        "corrected": standing.corrected,
        "done_at": time(standing.done_at),
    })))
}

async fn recount(of: Authorised<Instance, Own>) -> Result<Response, ApiError> {
    of.order_recount().await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": "202 Accepted" }))).into_response())
}
