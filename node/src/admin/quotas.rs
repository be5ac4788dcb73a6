//! Quotas of projects and groups.

use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Authorised, Manage, Own};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::registry::group::Group;
use crate::registry::project::Project;
use crate::registry::storage::quota::{self, HasQuota, Shown};
use crate::registry::time::iso;

/// The routes below `/api/cairn/v1`.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/api/cairn/v1/groups/{id}/quota",
            get(show::<Group>).put(change::<Group>),
        )
        .route(
            "/api/cairn/v1/projects/{id}/quota",
            get(show::<Project>).put(change::<Project>),
        )
}

fn shown(quota: &Shown) -> Json<Value> {
    let holding = quota.holding.iter().map(|holding| {
        json!({ "of": holding.path, "bytes": holding.quota.bytes, "used_bytes": holding.used_bytes })
    });
    Json(json!({
        "bytes": quota.own.as_ref().map(|own| own.bytes),
        "set_at": quota.own.as_ref().map(|own| iso(own.set_at)),
        "used_bytes": quota.used_bytes,
        "holding": holding.collect::<Vec<_>>(),
    }))
}

async fn show<T: HasQuota>(of: Authorised<T, Manage>) -> Result<Json<Value>, ApiError> {
    Ok(shown(&quota::show(&of).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, deserialize_with = "form::nullable_number")]
    bytes: Option<Option<u64>>,
}

async fn change<T: HasQuota + 'static>(
    of: Authorised<T, Own>,
    Params(change): Params<Change>,
) -> Result<Json<Value>, ApiError> {
    let bytes = change
        .bytes
        .ok_or_else(|| ApiError::parameter("bytes is missing"))?;
    Ok(shown(&quota::set(&of, bytes).await?))
}
