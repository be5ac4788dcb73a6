//! What was deleted in a project and can be restored, and how long that is so.

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with};
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::{Authorised, Delete, Instance, Own, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::page::{Page, Paging};
use crate::http::rest::{Nothing, Path, about};
use crate::registry::project::Project;
use crate::registry::time::iso;
use crate::registry::trash::{Deleted, Window};

/// The routes below `/api/cairn/v1`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/undelete",
            get_with(
                show_window,
                about(
                    "getUndeleteWindow",
                    "Shows how long what was deleted can be restored",
                ),
            )
            .put_with(
                change_window,
                about(
                    "changeUndeleteWindow",
                    "Sets how long what is deleted can be restored",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/deleted",
            get_with(
                list,
                about("listDeleted", "Lists what was deleted and can be restored"),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/deleted/{deleted_id}",
            delete_with(
                discard,
                about("discardDeleted", "Gives something deleted up for good"),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/deleted/{deleted_id}/restore",
            post_with(restore, about("restoreDeleted", "Restores something deleted")),
        )
        .with_path_items(|item| item.tag("Packages"))
}

#[derive(Debug, Deserialize)]
struct Target {
    deleted_id: u64,
}

/// Something that was deleted and can be restored.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Deleted")]
struct Shown {
    id: u64,
    package_type: String,
    name: String,
    version: String,
    /// Null for a whole version.
    file_name: Option<String>,
    deleted_at: String,
    /// The number of the user; null if it was no user.
    deleted_by: Option<u64>,
    restorable_until: String,
}

impl From<Deleted> for Shown {
    fn from(deleted: Deleted) -> Self {
        Self {
            id: deleted.id,
            version: deleted.version().into(),
            file_name: deleted.file().map(str::to_owned),
            deleted_at: iso(deleted.deleted_at),
            deleted_by: deleted.deleted_by,
            restorable_until: iso(deleted.until),
            package_type: deleted.format,
            name: deleted.display_name,
        }
    }
}

async fn list(of: Authorised<Project, Delete>, paging: Paging) -> Result<Page<Shown>, ApiError> {
    paging.order_by(&["deleted_at"])?;
    let mut selection = paging.select(false);
    of.each_deleted(|deleted| {
        let at = deleted.deleted_at.0.to_be_bytes();
        selection.offer(at, deleted.id, deleted);
    })
    .await?;
    Ok(selection.finish().map(Shown::from))
}

async fn restore(
    of: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(of.restore(target.deleted_id).await?.into()))
}

async fn discard(
    of: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<Nothing<204>, ApiError> {
    of.discard_deleted(target.deleted_id).await?;
    Ok(Nothing)
}

/// How long what was deleted can be restored.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UndeleteWindow")]
struct ShownWindow {
    days: u64,
}

fn shown_window(window: Window) -> Json<ShownWindow> {
    Json(ShownWindow { days: window.days })
}

async fn show_window(of: Authorised<Instance, See>) -> Result<Json<ShownWindow>, ApiError> {
    Ok(shown_window(of.undelete_window().await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, deserialize_with = "form::number")]
    days: Option<u64>,
}

async fn change_window(
    of: Authorised<Instance, Own>,
    Params(change): Params<Change>,
) -> Result<Json<ShownWindow>, ApiError> {
    let days = change
        .days
        .ok_or_else(|| ApiError::parameter("days is missing"))?;
    let window = Window { days };
    of.set_undelete_window(window).await?;
    Ok(shown_window(window))
}
