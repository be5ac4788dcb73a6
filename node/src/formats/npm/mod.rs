//! npm: packages for JavaScript, as npm, pnpm, yarn and bun publish and install them.
//!
//! There is no formal specification; the contract is what the clients send and expect. A package
//! is published as one JSON document with the tarball inside ([`document`], [`publication`]), and
//! read as one JSON document about all versions ([`index`], [`packument`]) and tarballs under
//! conventional URLs. Below the base URL of a level:
//!
//! ```text
//! {package}                                 the packument; publish, deprecate, star
//! {package}/{version or tag}                one manifest
//! {package}/-rev/{revision}                 unpublish, owners
//! {package}/-/{file}                        a tarball
//! -/package/{package}/dist-tags/{tag}       tags
//! -/v1/search, -/ping, -/whoami, -/user/…   searching and signing in
//! -/org/…, -/team/…, -/_view/…              members, what one may do, stars
//! -/npm/v1/…                                audits, attestations, profile, tokens
//! -/advisories/{package}/{advisory}         what audits tell of versions
//! ```
//!
//! Groups and the instance have the routes that read. At the host root, `-/npm/v1/oidc/…` lets jobs
//! in ([`trusted`]).

mod account;
mod advisories;
mod artifact;
mod audit;
#[cfg(test)]
#[cfg(feature = "real-clients")]
pub(crate) mod client;
mod document;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod head;
mod index;
mod names;
mod packument;
mod people;
mod provenance;
mod publication;
mod receive;
mod routes;
mod search;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod tokens;
mod trusted;

use async_trait::async_trait;
use axum::Router;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal, RequestHead};
use crate::http::error::ApiError;
use crate::registry::package::{Edit, Package, Version};

/// The format.
pub struct Npm;

/// Its name.
pub const NAME: &str = "npm";

#[async_trait]
impl Format for Npm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group | Level::Instance => routes::routes(level),
            Level::Host => trusted::routes(),
        }
    }

    fn render(&self, error: &ApiError) -> Response {
        let body = serde_json::json!({ "error": error.message });
        (error.kind.status(), axum::Json(body)).into_response()
    }

    fn challenge(&self, _: &RequestHead<'_>) -> HeaderValue {
        HeaderValue::from_static(r#"Bearer realm="cairn""#)
    }

    fn tags(&self, package: &Package, version: &Version) -> Result<Vec<String>, ApiError> {
        let head = store::head_of(package)?;
        let tags = head.dist_tags.into_iter();
        let here = tags.filter(|(_, tagged)| tagged.to_string() == version.version);
        Ok(here.map(|(tag, _)| tag.into()).collect())
    }

    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        _: Bytes,
    ) -> Result<(), ApiError> {
        store::restore_version(edit, package, &version).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[
            ClientSetup {
                client: "npm",
                file: Some(".npmrc"),
                configuration: "registry={base}/api/v4/projects/{project}/packages/npm/\n\
                    //{host}/api/v4/projects/{project}/packages/npm/:_authToken={token}\n",
                publish: "npm publish",
                install: "npm install NAME",
            },
            ClientSetup {
                client: "pnpm",
                file: Some(".npmrc"),
                configuration: "registry={base}/api/v4/projects/{project}/packages/npm/\n\
                    //{host}/api/v4/projects/{project}/packages/npm/:_authToken={token}\n",
                publish: "pnpm publish --no-git-checks",
                install: "pnpm add NAME",
            },
            ClientSetup {
                client: "yarn classic",
                file: Some(".npmrc"),
                configuration: "registry={base}/api/v4/projects/{project}/packages/npm/\n\
                    //{host}/api/v4/projects/{project}/packages/npm/:_authToken={token}\n\
                    always-auth=true\n",
                publish: "yarn publish --non-interactive",
                install: "yarn add NAME",
            },
            ClientSetup {
                client: "yarn berry",
                file: Some(".yarnrc.yml"),
                // Without the last line, what was published today is not installed until tomorrow.
                configuration: "npmRegistryServer: \"{base}/api/v4/projects/{project}/packages/npm\"\n\
                    npmAuthToken: \"{token}\"\n\
                    npmAlwaysAuth: true\n\
                    npmMinimalAgeGate: 0\n",
                publish: "yarn npm publish",
                install: "yarn add NAME",
            },
            ClientSetup {
                client: "bun",
                file: Some(".npmrc"),
                configuration: "registry={base}/api/v4/projects/{project}/packages/npm/\n\
                    //{host}/api/v4/projects/{project}/packages/npm/:_authToken={token}\n",
                publish: "bun publish",
                install: "bun add NAME",
            },
        ]
    }
}
