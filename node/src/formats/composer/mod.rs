//! Packages of PHP, for Composer.
//!
//! The contract is in Composer's documentation, "Repositories", "Composer", and in its sources
//! (`ComposerRepository.php`). Composer has no command that publishes: a version is uploaded as a ZIP archive with a
//! `composer.json` ([`artifact`]), as to Gitea. Below the base URL of a level:
//!
//! ```text
//! packages.json                           what the repository is, and of which vendors it has packages
//! p2/{vendor}/{name}.json                 the versions of a package that were released
//! p2/{vendor}/{name}~dev.json             those that move
//! p/{vendor}/{name}.json                  all of them, as the first Composer reads them
//! files/{vendor}/{name}/{version}/{file}  an archive, by its SHA-1
//! list.json, search.json, providers/…     names, searches, what stands for a virtual package
//! security-advisories                     what audits ask
//! filter                                  what installations ask: which versions are malware
//! advisories/{vendor}/{name}              advisories on one package
//! ```
//!
//! and of a project alone: the base URL itself, to which archives are sent; `advisories/{vendor}/{name}/{advisory}`
//! and `abandoned/{vendor}/{name}`, by which something is said of what is there.
//!
//! A group has the same below `api/v4/group/{group}/-/packages/composer` as well, as in GitLab, and a project below
//! `api/packages/{project}/composer`, as in Gitea.

mod advisories;
mod artifact;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod constraints;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod index;
mod lists;
mod manifest;
mod names;
mod records;
mod routes;
mod source;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod versions;

use async_trait::async_trait;
use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal};
use crate::http::error::ApiError;
use crate::registry::package::{Edit, File, Package, Version};
use crate::registry::settings::DuplicatePolicy;

/// The format.
pub struct Composer;

/// Its name.
pub const NAME: &str = "composer";

#[async_trait]
impl Format for Composer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group | Level::Instance => routes::routes(level),
            Level::Host => routes::elsewhere(),
        }
    }

    /// Composer prints the beginning of what is JSON, and of nothing else.
    fn render(&self, error: &ApiError) -> Response {
        let body = serde_json::json!({"message": error.message});
        (error.kind.status(), axum::Json(body)).into_response()
    }

    fn spelled_alike(&self, name: &str) -> String {
        name.to_ascii_lowercase()
    }

    fn default_duplicates(&self) -> Option<DuplicatePolicy> {
        Some(store::DEFAULT_DUPLICATES)
    }

    async fn delete_version(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
    ) -> Result<(), ApiError> {
        store::delete_version(edit, package, &version).await
    }

    async fn file_deleted(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
    ) -> Result<(), ApiError> {
        store::note_file(edit, package, version, &file, false).await
    }

    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        _: Bytes,
    ) -> Result<(), ApiError> {
        store::restore_version(edit, package, &version)
    }

    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        _: Bytes,
    ) -> Result<(), ApiError> {
        store::note_file(edit, package, version, &file, true).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[ClientSetup {
            client: "composer",
            file: None,
            configuration: "composer config --global --auth http-basic.{host} token {token}\n\
                composer config repositories.cairn composer {base}/api/v4/projects/{project}/packages/composer\n",
            publish: "curl --fail-with-body -u token:{token} -T PACKAGE.zip \
                '{base}/api/v4/projects/{project}/packages/composer?version=1.0.0'",
            install: "composer require VENDOR/NAME",
        }]
    }
}
