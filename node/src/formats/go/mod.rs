//! Go modules, through the module proxy protocol.
//!
//! The contract is in the Go Modules Reference, "Module proxies" (`GOPROXY protocol`) and "Module zip
//! files". Go has no command that publishes: a module is uploaded as the archive that proxies serve,
//! which says by its paths which version of which module it is ([`artifact`]). Below the base URL of a
//! level, with upper-case letters in `{module}` and `{version}` as [`names`] has it:
//!
//! ```text
//! {module}/@v/list                 its versions, a line each
//! {module}/@latest                 the version that is used unless somebody says another
//! {module}/@v/{version}.info       when it was published; also by a commit's hash
//! {module}/@v/{version}.mod        its go.mod
//! {module}/@v/{version}.zip        all of it
//! {module}/@v/{version}.ziphash    the sum of that
//! sumdb/…                          404: checksum databases are asked by the clients themselves
//! upload                           publish, of a project alone
//! ```
//!
//! At the host root, a project has the same below `api/packages/{project}/go/`, as in Gitea; and any path
//! with `?go-get=1` says of which project the modules below it are ([`import`]). Retracting and deprecating
//! are lines in a newer `go.mod`, which clients read by themselves.

mod artifact;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod gomod;
pub(crate) mod import;
mod names;
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
use crate::http::error::ApiError;
use crate::registry::package::{Edit, File, Package, Version};

/// The format.
pub struct Go;

/// The pages of import paths, which are any that no route has.
pub(crate) fn import_pages() -> Router<App> {
    Router::new().fallback(import::page)
}

/// Its name.
pub const NAME: &str = "go";

#[async_trait]
impl Format for Go {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group | Level::Instance => routes::routes(level),
            Level::Host => routes::gitea(),
        }
    }

    /// The go command prints the text as what the server says.
    fn render(&self, error: &ApiError) -> Response {
        (error.kind.status(), format!("{}\n", error.message)).into_response()
    }

    async fn file_deleted(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
    ) -> Result<(), ApiError> {
        store::note_file(edit, &package, version, &file.name, false)
    }

    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        _: Bytes,
    ) -> Result<(), ApiError> {
        store::note_file(edit, &package, version, &file.name, true)
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[ClientSetup {
            client: "go",
            file: Some(".netrc"),
            configuration: "machine {host} login token password {token}\n",
            publish: "curl --fail-with-body -n -T MODULE.zip {base}/api/v4/projects/{project}/packages/go/upload",
            install: "GOPROXY={base}/api/v4/projects/{project}/packages/go,off GONOSUMDB=MODULE go get MODULE",
        }]
    }
}
