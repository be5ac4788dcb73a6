//! NuGet: packages of .NET, and Chocolatey's, with the symbols that debuggers ask for.
//!
//! Clients speak one of two protocols. The newer one is JSON whose parts are found through a service index
//! (<https://learn.microsoft.com/nuget/api/overview>); the older one is a part of OData ([`odata`]). Both begin below
//! the base URL, where GitLab has them:
//!
//! ```text
//! index.json                                          the service index of the newer protocol, also v3/index.json
//! metadata/{id}/index.json, …/{version}.json          about packages; metadata-semver1 without those of SemVer 2
//! download/{id}/index.json                            which versions there are
//! download/{id}/{version}/{id}.{version}.nupkg        a package; …/{id}.nuspec, /icon, /license, /readme of it
//! query, autocomplete                                 search
//! symbolfiles/{pdb}/{number}/{pdb}, symbols/…         a PDB
//! v2/…, api/v2/…                                      the older protocol
//! (itself), v2/package                                publish
//! symbolpackage                                       publish symbols
//! {id}/{version}, v2/package/{id}/{version}           unlist and list again
//! v2/package/{id}/deprecations                        say that versions should not be used any more
//! advisories/{id}/{advisory}                          say which weaknesses versions have
//! vulnerabilities/index.json, …/base.json             all of these, for audits
//! catalog/index.json, …/page{n}.json, …/data/{n}.json what was changed, for mirrors
//! ```
//!
//! Groups have the routes that read, but no catalog.

mod advise;
mod artifact;
mod catalog;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod contents;
mod documents;
mod feed;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod names;
mod nuspec;
mod odata;
mod pdb;
mod receive;
mod records;
mod registration;
mod routes;
mod search;
mod source;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod v2;
mod vulnerabilities;
mod warnings;

use async_trait::async_trait;
use axum::Router;
use axum::response::Response;
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal};
use crate::http::error::{ApiError, render_reason};
use crate::registry::package::{Edit, File, Package, Version};
use crate::registry::settings::DuplicatePolicy;

/// The format.
pub struct Nuget;

/// Its name.
pub const NAME: &str = "nuget";

#[async_trait]
impl Format for Nuget {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group => routes::routes(level),
            Level::Instance | Level::Host => Router::new(),
        }
    }

    /// Clients show the reason phrase, and nothing else.
    fn render(&self, error: &ApiError) -> Response {
        render_reason(error)
    }

    fn spelled_alike(&self, name: &str) -> String {
        names::spelled_alike(name)
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
        store::delete_version(edit, package, version).await
    }

    async fn file_deleted(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
    ) -> Result<(), ApiError> {
        store::file_deleted(edit, package, version, &file).await
    }

    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        store::restore_version(edit, package, &version, &kept).await
    }

    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        store::file_restored(edit, package, version, &file, &kept).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[
            ClientSetup {
                client: "dotnet",
                file: Some(".nuget/NuGet/NuGet.Config"),
                configuration: SOURCES,
                publish: "dotnet nuget push NAME.1.0.0.nupkg --source cairn --api-key {token}",
                install: "dotnet add package NAME --source cairn",
            },
            ClientSetup {
                client: "nuget",
                file: Some(".config/NuGet/NuGet.Config"),
                configuration: SOURCES,
                publish: "nuget push NAME.1.0.0.nupkg -Source cairn -ApiKey {token}",
                install: "nuget install NAME -Source cairn",
            },
            ClientSetup {
                client: "choco",
                file: None,
                configuration: "choco source add --name=cairn --user=__token__ --password={token} \
                    --source={base}/api/v4/projects/{project}/packages/nuget/v2\n",
                publish: "choco push NAME.1.0.0.nupkg --api-key={token} \
                    --source={base}/api/v4/projects/{project}/packages/nuget/v2",
                install: "choco install NAME --source=cairn",
            },
        ]
    }
}

/// The configuration of those that share it.
const SOURCES: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<configuration>\n  <packageSources>\n    \
    <add key=\"cairn\" value=\"{base}/api/v4/projects/{project}/packages/nuget/index.json\" protocolVersion=\"3\" />\n  \
    </packageSources>\n  <packageSourceCredentials>\n    <cairn>\n      <add key=\"Username\" value=\"__token__\" />\n      \
    <add key=\"ClearTextPassword\" value=\"{token}\" />\n    </cairn>\n  </packageSourceCredentials>\n</configuration>\n";
