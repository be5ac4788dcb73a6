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
mod deleted;
mod deploy_tokens;
mod document;
mod downloads;
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

use std::sync::LazyLock;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::http::{HeaderMap, Method};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::auth::Access;
use crate::formats::oci;
use crate::http::error::ApiError;
use crate::http::rest::{Document, about};
use document::Described;

static API: LazyLock<Described> = LazyLock::new(|| Described::new(described));

/// The routes of the REST API, below the host root.
pub(crate) fn routes() -> axum::Router<App> {
    API.routes.clone()
}

/// The OpenAPI document of these routes.
pub fn document() -> &'static [u8] {
    &API.document
}

fn described() -> ApiRouter<App> {
    let routes = ApiRouter::new()
        .api_route(
            "/openapi.json",
            get_with(openapi, about("getOpenApi", "Gives this document")),
        )
        .api_route(
            "/version",
            get_with(version, about("getVersion", "Says which version this is")),
        )
        .api_route(
            "/metadata",
            get_with(version, about("getMetadata", "Says which version this is")),
        )
        .with_path_items(|item| item.tag("Instance"))
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
    ApiRouter::new()
        .nest("/api/v4", routes)
        .merge(audit_events::log_routes())
        .merge(backups::routes())
        .merge(cleanup::own_routes())
        .merge(usage::routes())
        .merge(downloads::routes())
        .merge(deleted::routes())
        .merge(quotas::routes())
        .merge(session::routes())
        .merge(users::own_routes())
        .merge(trust_rules::routes())
        .merge(token_exchange::routes())
        .merge(cluster::routes())
        .merge(upkeep::routes())
}

/// What can be known of this instance is in its source; so it is told to everyone.
async fn openapi(method: Method, headers: HeaderMap) -> Result<Document, ApiError> {
    API.answer(&method, &headers)
}

/// Which Cairn this is.
#[derive(Serialize, JsonSchema)]
struct Version {
    version: &'static str,
    revision: &'static str,
    enterprise: bool,
}

async fn version(access: Access) -> Result<Json<Version>, ApiError> {
    access.signed_in()?;
    Ok(Json(Version {
        version: env!("CARGO_PKG_VERSION"),
        revision: "cairn",
        enterprise: false,
    }))
}
