//! Quotas of projects and groups.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::{Authorised, Manage, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::rest::about;
use crate::registry::group::Group;
use crate::registry::project::Project;
use crate::registry::storage::quota::{self, HasQuota};
use crate::registry::time::iso;

/// The routes below `/api/cairn/v1`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/groups/{id}/quota",
            get_with(
                show::<Group>,
                about("getGroupQuota", "Shows the quota of a group"),
            )
            .put_with(
                change::<Group>,
                about("changeGroupQuota", "Sets the quota of a group"),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/quota",
            get_with(
                show::<Project>,
                about("getProjectQuota", "Shows the quota of a project"),
            )
            .put_with(
                change::<Project>,
                about("changeProjectQuota", "Sets the quota of a project"),
            ),
        )
        .with_path_items(|item| item.tag("Usage"))
}

/// How much may be stored somewhere, and how much is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Quota")]
struct Shown {
    /// What is set here.
    bytes: Option<u64>,
    set_at: Option<String>,
    used_bytes: u64,
    /// The quotas that hold here, also those of groups above.
    holding: Vec<Holding>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "HoldingQuota")]
struct Holding {
    /// The path of what it is set for.
    of: String,
    bytes: u64,
    used_bytes: u64,
}

fn shown(quota: quota::Shown) -> Json<Shown> {
    let holding = quota.holding.into_iter().map(|holding| Holding {
        of: holding.path,
        bytes: holding.quota.bytes,
        used_bytes: holding.used_bytes,
    });
    Json(Shown {
        bytes: quota.own.as_ref().map(|own| own.bytes),
        set_at: quota.own.as_ref().map(|own| iso(own.set_at)),
        used_bytes: quota.used_bytes,
        holding: holding.collect(),
    })
}

async fn show<T: HasQuota>(of: Authorised<T, Manage>) -> Result<Json<Shown>, ApiError> {
    Ok(shown(quota::show(&of).await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Null takes it away.
    #[serde(default, deserialize_with = "form::nullable_number")]
    bytes: Option<Option<u64>>,
}

async fn change<T: HasQuota + 'static>(
    of: Authorised<T, Own>,
    Params(change): Params<Change>,
) -> Result<Json<Shown>, ApiError> {
    let bytes = change
        .bytes
        .ok_or_else(|| ApiError::parameter("bytes is missing"))?;
    Ok(shown(quota::set(&of, bytes).await?))
}
