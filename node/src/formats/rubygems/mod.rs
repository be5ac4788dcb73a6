//! RubyGems: gems of Ruby, for `gem`, Bundler and what reads the same indexes.
//!
//! The contracts are RubyGems' gem format and API, Bundler's compact index, and the Marshal indexes
//! that are older than it. Below the base URL of a level:
//!
//! ```text
//! versions, info/{gem}, names                     the compact index ([`index`], [`changes`])
//! specs.4.8[.gz], latest_specs…, prerelease_specs…, quick/Marshal.4.8/….gemspec.rz
//!                                                 the Marshal indexes ([`marshal`])
//! api/v1/dependencies?gems=…                      what versions need, for old clients ([`needs`])
//! gems/{file}.gem                                 a gem
//! api/v1/gems                                     push
//! api/v1/attestations/{full name}.json            what was attached to a gem when it was pushed ([`attestations`])
//! api/v1/gems/yank, /unyank                       take it out of all indexes, and put it back
//! api/v1/gems/{gem}/owners[.json|.yaml]           whom to ask
//! api/v1/gems/{gem}.json, api/v1/versions/{gem}.json, /{gem}/latest.json,
//! api/v2/rubygems/{gem}/versions/{version}.json, api/v1/search.json
//!                                                 for bots and people
//! api/v1/api_key                                  `gem signin`
//! api/v1/oidc/trusted_publisher/exchange_token    a token for a job ([`trusted`]), at the host as well
//! ```
//!
//! Groups and the instance have the routes that read.

mod artifact;
mod attestations;
mod changes;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod documents;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod gemspec;
mod index;
mod marshal;
mod names;
mod needs;
mod people;
mod receive;
mod records;
mod routes;
mod search;
mod shown;
mod source;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod trusted;
mod yaml;

use async_trait::async_trait;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal};
use crate::http::error::ApiError;
use crate::registry::package::{Edit, File, Package, Version};

/// The format.
pub struct Rubygems;

/// Its name.
pub const NAME: &str = "rubygems";

#[async_trait]
impl Format for Rubygems {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group | Level::Instance => routes::routes(level),
            Level::Host => trusted::routes(),
        }
    }

    /// One line of text, which `gem` prints as it is.
    fn render(&self, error: &ApiError) -> Response {
        let line = error.message.replace(['\r', '\n'], " ");
        let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        (error.kind.status(), headers, line).into_response()
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
        store::delete_version(edit, package, &version).await
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
        store::restore_version(edit, package, &version).await
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
        &[
            ClientSetup {
                client: "gem",
                file: Some(".gem/credentials"),
                configuration: "---\n\"{base}/api/v4/projects/{project}/packages/rubygems\": {token}\n",
                publish: "gem push NAME-1.0.0.gem --host {base}/api/v4/projects/{project}/packages/rubygems",
                install: "gem install NAME --clear-sources --source \
                    {base}/api/v4/projects/{project}/packages/rubygems/",
            },
            ClientSetup {
                client: "bundler",
                file: None,
                configuration: "bundle config set --global \
                    {base}/api/v4/projects/{project}/packages/rubygems/ __token__:{token}\n",
                publish: "gem push NAME-1.0.0.gem --host {base}/api/v4/projects/{project}/packages/rubygems",
                install: "bundle add NAME --source {base}/api/v4/projects/{project}/packages/rubygems/",
            },
        ]
    }
}
