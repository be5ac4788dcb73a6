//! Helm: charts of Kubernetes in classic repositories. Charts as artefacts of the OCI are [`super::oci`]'s.
//!
//! The contracts are Helm's chart format and `index.yaml`, ChartMuseum's API, which `helm cm-push`
//! speaks, and GitLab's URLs. A project has channels, each of which is a repository for clients:
//! they are configured with the base URL of a level and the name of a channel. Below the base URL:
//!
//! ```text
//! {channel}/index.yaml                                the package index
//! {channel}/[charts/]{file}.tgz[.prov]                a chart, or what somebody signed about it
//! api/{channel}/charts                                publish; all charts
//! api/{channel}/prov                                  publish a provenance file
//! api/{channel}/charts/{name}[/{version}]             what the index says; delete
//! api/{channel}/charts/{name}/{version}/values, /templates
//! info, health                                        for ChartMuseum's clients
//! ```
//!
//! What begins with `api/{channel}` is also below `{channel}/api`. Groups and the instance have the
//! routes that read.

mod artifact;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod constraint;
mod contents;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod index;
mod metadata;
mod names;
mod provenance;
mod receive;
mod records;
mod routes;
mod source;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use async_trait::async_trait;
use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::package::{Edit, File, Package, Version};
use crate::registry::settings::DuplicatePolicy;

/// The format.
pub struct Helm;

/// Its name.
pub const NAME: &str = "helm";

#[async_trait]
impl Format for Helm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group | Level::Instance => routes::routes(level),
            Level::Host => Router::new(),
        }
    }

    /// As ChartMuseum says it; `helm cm-push` prints the member.
    fn render(&self, error: &ApiError) -> Response {
        let body = serde_json::json!({"error": error.message});
        (error.kind.status(), axum::Json(body)).into_response()
    }

    fn spelled_alike(&self, name: &str) -> String {
        names::spelled_alike(name)
    }

    fn default_duplicates(&self) -> Option<DuplicatePolicy> {
        Some(store::DEFAULT_DUPLICATES)
    }

    /// As ChartMuseum says it; its clients do not try again.
    fn over_quota(&self, message: &str) -> ApiError {
        ApiError::new(ErrorKind::InsufficientStorage, message)
    }

    async fn delete_version(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
    ) -> Result<(), ApiError> {
        store::delete_version(edit, &package, &version).await
    }

    async fn file_deleted(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
    ) -> Result<(), ApiError> {
        store::forget_file(edit, package, version, &file).await
    }

    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        _: Bytes,
    ) -> Result<(), ApiError> {
        store::restore_version(edit, &package, &version).await
    }

    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        _: Bytes,
    ) -> Result<(), ApiError> {
        store::restore_file(edit, package, version, &file).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[ClientSetup {
            client: "helm",
            file: None,
            configuration: "helm repo add cairn {base}/api/v4/projects/{project}/packages/helm/stable \
                --username __token__ --password {token}\n",
            publish: "curl --fail -u __token__:{token} -F chart=@NAME-1.0.0.tgz \
                {base}/api/v4/projects/{project}/packages/helm/api/stable/charts",
            install: "helm install NAME cairn/NAME",
        }]
    }
}
