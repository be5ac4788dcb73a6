//! Maven: packages for the JVM, as mvn, Gradle, sbt and Ivy publish and resolve them.
//!
//! The protocol is a tree of files that are fetched, sent and deleted; what they mean is in their paths ([`names`]).
//! Its layouts and documents: <https://maven.apache.org/repositories/layout.html>,
//! <https://maven.apache.org/ref/3.9.9/maven-repository-metadata/repository-metadata.html>,
//! <https://ant.apache.org/ivy/history/latest-milestone/concept.html>.
//!
//! Clients send metadata and digests beside their files. Neither is kept: what two clients send at the same time
//! would not fit together. Metadata are made from what is stored ([`documents`]), and digests from what is served.
//!
//! Groups and the instance have the routes that read.

mod browse;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod documents;
mod fetch;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod jar;
mod metadata;
mod names;
mod order;
mod receive;
mod records;
mod routes;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use async_trait::async_trait;
use axum::Router;
use axum::response::Response;
use bytes::Bytes;

use self::names::METADATA;
use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal};
use crate::http::error::{ApiError, render_reason};
use crate::registry::package::{Edit, File, Package, Version};
use crate::registry::settings::DuplicatePolicy;

/// The format.
pub struct Maven;

/// Its name.
pub const NAME: &str = "maven";

#[async_trait]
impl Format for Maven {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group | Level::Instance => routes::routes(level),
            Level::Host => Router::new(),
        }
    }

    fn render(&self, error: &ApiError) -> Response {
        render_reason(error)
    }

    fn spelled_alike(&self, name: &str) -> String {
        names::spelled_alike(name)
    }

    fn default_duplicates(&self) -> Option<DuplicatePolicy> {
        Some(store::DEFAULT_DUPLICATES)
    }

    fn has_snapshots(&self) -> bool {
        true
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
        store::file_deleted(edit, &package, &version, &file).await
    }

    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        store::restored(edit, &package, &version, None, &kept).await
    }

    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        store::restored(edit, &package, &version, Some(&file), &kept).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[
            ClientSetup {
                client: "mvn",
                file: Some(".m2/settings.xml"),
                configuration: "<settings>\n  <servers>\n    <server>\n      <id>cairn</id>\n      \
                    <username>token</username>\n      <password>{token}</password>\n    </server>\n  </servers>\n  \
                    <mirrors>\n    <mirror>\n      <id>cairn</id>\n      <mirrorOf>external:*</mirrorOf>\n      \
                    <url>{base}/api/v4/projects/{project}/packages/maven/</url>\n    </mirror>\n  </mirrors>\n\
                    </settings>\n",
                publish: "mvn deploy -DaltDeploymentRepository=cairn::{base}/api/v4/projects/{project}/packages/maven/",
                install: "mvn dependency:get -Dartifact=GROUP:ARTIFACT:VERSION",
            },
            ClientSetup {
                client: "gradle",
                file: Some(".gradle/gradle.properties"),
                configuration: "cairnUrl={base}/api/v4/projects/{project}/packages/maven/\n\
                    cairnUsername=token\ncairnPassword={token}\n",
                publish: "gradle publish",
                install: "gradle build",
            },
            ClientSetup {
                client: "sbt",
                file: Some(".sbt/.cairn-credentials"),
                configuration: "realm=cairn\nhost={host}\nuser=token\npassword={token}\n",
                publish: "sbt publish",
                install: "sbt update",
            },
        ]
    }
}
