//! PyPI: packages for Python, as twine, uv, poetry and flit publish them, and pip, uv, poetry
//! and pdm install them.
//!
//! Specifications: the simple repository API (PEP 503, 592, 629, 658, 691, 700, 714, 740, 792),
//! core metadata, wheels (PEP 427), source distributions (PEP 625), versions (PEP 440). How to
//! upload is not specified; the contract is what the clients send. Below the base URL of a level:
//!
//! ```text
//! (nothing), legacy/                        upload, as a form
//! simple/, simple/{project}/                the package indexes, as HTML or JSON
//! files/{sha256}/{file}[.metadata]          a file, or its metadata; delete
//! files/{sha256}/{file}/yank                yank a file, or take that back
//! releases/{project}/{version}[/yank]       the same for a version with all its files
//! pypi/{project}[/{version}]/json           the older JSON documents
//! integrity/{project}/{version}/{file}/provenance
//! ```
//!
//! Groups have the routes that read. At the host root, `_/oidc/…` lets jobs in ([`trusted`]).

mod artifact;
mod attestations;
#[cfg(test)]
#[cfg(feature = "real-clients")]
pub(crate) mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod index;
mod metadata;
mod names;
mod records;
mod routes;
mod simple;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod trusted;
mod upload;

use async_trait::async_trait;
use axum::Router;
use axum::response::Response;
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Discarded, Format, Level, Progress, Removal};
use crate::http::error::{ApiError, render_reason};
use crate::registry::package::{Edit, File, Package, Version};

/// The format.
pub struct Pypi;

/// Its name.
pub const NAME: &str = "pypi";

#[async_trait]
impl Format for Pypi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group => routes::routes(level),
            Level::Host => trusted::routes(),
            Level::Instance => Router::new(),
        }
    }

    /// Text, and the same as the reason phrase: some clients print only that.
    fn render(&self, error: &ApiError) -> Response {
        render_reason(error)
    }

    fn spelled_alike(&self, name: &str) -> String {
        names::spelled_alike(name)
    }

    async fn delete_version(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
    ) -> Result<(), ApiError> {
        store::delete_version(edit, package, version).await
    }

    async fn file_deleted(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
    ) -> Result<(), ApiError> {
        store::forget_file(edit, &package, version, &file.name).await
    }

    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        store::restore_version(edit, &package, &version, &kept).await
    }

    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        store::restore_file(edit, &package, version, &file.name, &kept).await
    }

    async fn discard(&self, discarded: Discarded<'_>) -> Result<(), ApiError> {
        store::discard(discarded).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[
            ClientSetup {
                client: "pip",
                file: Some(".netrc"),
                configuration: "machine {host} login __token__ password {token}\n",
                publish: "twine upload --repository-url {base}/api/v4/projects/{project}/packages/pypi dist/*",
                install: "pip install --index-url {base}/api/v4/projects/{project}/packages/pypi/simple/ NAME",
            },
            ClientSetup {
                client: "twine",
                file: Some(".pypirc"),
                configuration: "[distutils]\n\
                    index-servers = cairn\n\
                    [cairn]\n\
                    repository = {base}/api/v4/projects/{project}/packages/pypi\n\
                    username = __token__\n\
                    password = {token}\n",
                publish: "twine upload -r cairn dist/*",
                install: "pip install --index-url {base}/api/v4/projects/{project}/packages/pypi/simple/ NAME",
            },
            ClientSetup {
                client: "uv",
                file: Some(".netrc"),
                configuration: "machine {host} login __token__ password {token}\n",
                publish: "uv publish -u __token__ -p {token} \
                    --publish-url {base}/api/v4/projects/{project}/packages/pypi",
                install: "uv pip install --default-index {base}/api/v4/projects/{project}/packages/pypi/simple/ NAME",
            },
            ClientSetup {
                client: "poetry",
                file: None,
                configuration: "poetry config repositories.cairn {base}/api/v4/projects/{project}/packages/pypi\n\
                    poetry config http-basic.cairn __token__ {token}\n\
                    poetry source add --priority=primary cairn {base}/api/v4/projects/{project}/packages/pypi/simple/\n",
                publish: "poetry publish -r cairn",
                install: "poetry add --source cairn NAME",
            },
        ]
    }
}
