//! The REST API: groups, projects, members, users, tokens, packages; with GitLab's URLs, fields
//! and errors, so that its clients work by changing the host.
//!
//! Each file has the routes of one kind of thing, thin handlers, and how it is shown. What they
//! do is in [`crate::registry`], behind the door.

mod access_tokens;
mod application_settings;
mod audit_events;
mod backups;
mod cleanup;
#[cfg(all(test, feature = "real-clients"))]
mod client;
pub mod cluster;
mod deploy_tokens;
mod groups;
mod members;
mod packages;
mod personal_tokens;
mod projects;
mod protection;
mod quotas;
mod session;
mod settings;
mod shown;
#[cfg(test)]
mod tests;
mod token_exchange;
mod trust_rules;
pub mod upkeep;
mod usage;
mod users;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Access;
use crate::formats::oci;
use crate::http::error::ApiError;

/// The routes of the REST API, below the host root.
pub(crate) fn routes() -> Router<App> {
    let routes = Router::new()
        .route("/version", get(version))
        .route("/metadata", get(version))
        .merge(users::routes())
        .merge(personal_tokens::routes())
        .merge(groups::routes())
        .merge(projects::routes())
        .merge(members::routes())
        .merge(deploy_tokens::routes())
        .merge(access_tokens::routes())
        .merge(settings::routes())
        .merge(application_settings::routes())
        .merge(audit_events::routes())
        .merge(packages::routes())
        .merge(protection::routes())
        .merge(cleanup::routes())
        .merge(oci::rest::routes());
    Router::new()
        .nest("/api/v4", routes)
        .merge(audit_events::log_routes())
        .merge(backups::routes())
        .merge(cleanup::own_routes())
        .merge(usage::routes())
        .merge(quotas::routes())
        .merge(session::routes())
        .merge(users::own_routes())
        .merge(trust_rules::routes())
        .merge(token_exchange::routes())
        .merge(cluster::routes())
        .merge(upkeep::routes())
}

async fn version(access: Access) -> Result<Json<Value>, ApiError> {
    access.signed_in()?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(
        json!({ "version": version, "revision": "cairn", "enterprise": false }),
    ))
}
