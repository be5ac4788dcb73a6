//! How often things are downloaded, and how many use each format.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::shown::time;
use crate::app::App;
use crate::auth::{Authorised, Instance, Own, Pull};
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::about;
use crate::registry::adoption::{Adoption, Downloads};
use crate::registry::project::Project;

/// How many months are shown, unless a client says.
const USUAL_MONTHS: u64 = 12;

/// The routes below `/api/cairn/v1`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/adoption",
            get_with(
                adoption,
                about(
                    "getAdoption",
                    "Shows how many publish and download each format, by month",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/downloads",
            get_with(
                list_versions,
                about(
                    "listDownloads",
                    "Lists how often versions were downloaded, the most first",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/downloads/packages",
            get_with(
                list_packages,
                about(
                    "listDownloadsByPackage",
                    "Lists how often packages were downloaded, the most first",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Usage"))
}

/// How often something was downloaded.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Downloads")]
struct Shown {
    package_type: String,
    name: String,
    /// The number of the version; null for a whole package.
    package_id: Option<u64>,
    version: Option<String>,
    downloads: u64,
    last_downloaded_at: Option<String>,
}

impl From<Downloads> for Shown {
    fn from(of: Downloads) -> Self {
        let (package_id, version) = of.version.unzip();
        Self {
            package_type: of.format,
            name: of.package,
            package_id,
            version,
            downloads: of.count,
            last_downloaded_at: time(of.last_at),
        }
    }
}

/// What happened to one format in one month.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Adoption")]
struct ShownAdoption {
    month: String,
    package_type: String,
    publishers: u64,
    downloaders: u64,
    downloads: u64,
}

impl From<Adoption> for ShownAdoption {
    fn from(of: Adoption) -> Self {
        Self {
            month: of.month,
            package_type: of.format.into(),
            publishers: of.publishers,
            downloaders: of.downloaders,
            downloads: of.downloads,
        }
    }
}

/// Those with the most downloads first.
fn selection(paging: Paging) -> Result<Selection<Downloads>, ApiError> {
    paging.order_by(&["downloads"])?;
    Ok(paging.select(false))
}

async fn list_versions(of: Authorised<Project, Pull>, paging: Paging) -> Result<Page<Shown>, ApiError> {
    let mut selection = selection(paging)?;
    of.each_downloaded_version(|row| {
        let id = row.version.as_ref().map_or(0, |(id, _)| *id);
        selection.offer(row.count.to_be_bytes(), id, row);
    })
    .await?;
    Ok(selection.finish().map(Shown::from))
}

async fn list_packages(of: Authorised<Project, Pull>, paging: Paging) -> Result<Page<Shown>, ApiError> {
    let mut selection = selection(paging)?;
    let mut nth = 0;
    of.each_downloaded_package(|row| {
        nth += 1;
        selection.offer(row.count.to_be_bytes(), nth, row);
    })
    .await?;
    Ok(selection.finish().map(Shown::from))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    #[serde(default, deserialize_with = "form::number")]
    months: Option<u64>,
}

async fn adoption(
    of: Authorised<Instance, Own>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<ShownAdoption>>, ApiError> {
    let months = wanted.months.unwrap_or(USUAL_MONTHS);
    let found = of.adoption(u32::try_from(months).unwrap_or(u32::MAX)).await?;
    Ok(Json(found.into_iter().map(ShownAdoption::from).collect()))
}
