//! Cargo: crates of Rust, through the sparse protocol.
//!
//! The contract is in cargo's reference, chapters "Registry Index" and "Registry Web API". A
//! crate is published as one framed body ([`frames`]) of metadata ([`document`]) and a tarball
//! ([`artifact`]); it is read as one file of the index ([`index`], [`source`]) and downloads.
//! Below the base URL of a level:
//!
//! ```text
//! index/config.json                               where things are, and whether a token is needed
//! index/{..}/{crate}                              one line of JSON per version
//! api/v1/crates                                   search
//! api/v1/crates/new                               publish
//! api/v1/crates/{crate}                           for bots, and so are /versions, /{version},
//!                                                 /{version}/dependencies and /{version}/readme
//! api/v1/crates/{crate}/{version}/download        the tarball
//! api/v1/crates/{crate}/{version}/yank, /unyank   hide it from new lock files, and show it again
//! api/v1/crates/{crate}/owners                    whom to ask
//! me                                              how to get a token
//! ```
//!
//! Groups have the routes that read. At the host root, `api/v1/trusted_publishing/tokens` lets jobs
//! in ([`trusted`]). The index as a git repository, which cargo before 1.68
//! needs, is not offered.

mod artifact;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod document;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod head;
mod index;
mod names;
mod owners;
mod receive;
mod routes;
mod search;
mod shown;
mod source;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod trusted;

use async_trait::async_trait;
use axum::Router;
use axum::extract::OriginalUri;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, RequestHead};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{Edit, Package, Version};

/// The format.
pub struct Cargo;

/// Its name.
pub const NAME: &str = "cargo";

#[async_trait]
impl Format for Cargo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group => routes::routes(level),
            Level::Host => trusted::routes(),
            // A name alone does not say whose crate is meant.
            Level::Instance => Router::new(),
        }
    }

    fn render(&self, error: &ApiError) -> Response {
        let body = serde_json::json!({"errors": [{"detail": error.message}]});
        (error.kind.status(), axum::Json(body)).into_response()
    }

    /// Cargo shows people the URL when it has no token.
    fn challenge(&self, request: &RequestHead<'_>) -> HeaderValue {
        let whole = request.parts.extensions.get::<OriginalUri>();
        let path = whole.map_or("", |OriginalUri(uri)| uri.path());
        let end = path
            .find("/packages/cargo")
            .map_or(0, |at| at + "/packages/cargo".len());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/%-._~".contains(&byte);
        let registry = Some(&path[..end]).filter(|path| path.bytes().all(is_plain));
        let url = format!("{}{}/me", request.base_url, registry.unwrap_or_default());
        HeaderValue::from_str(&format!("Cargo login_url=\"{url}\""))
            .unwrap_or(HeaderValue::from_static("Cargo"))
    }

    fn spelled_alike(&self, name: &str) -> String {
        names::spelled_alike(name)
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

    async fn delete_version(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
    ) -> Result<(), ApiError> {
        store::delete_version(edit, package, &version).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[ClientSetup {
            client: "cargo",
            file: Some(".cargo/config.toml"),
            configuration: "[registries.cairn]\n\
                index = \"sparse+{base}/api/v4/projects/{project}/packages/cargo/index/\"\n\
                token = \"{token}\"\n\
                [registry]\n\
                global-credential-providers = [\"cargo:token\"]\n",
            publish: "cargo publish --registry cairn",
            install: "cargo add --registry cairn NAME",
        }]
    }
}

/// The URLs of a project's own index, without their trimmings: dependencies that name one of
/// them are in the same registry.
fn own_urls(scope: &Scope) -> [String; 2] {
    let project = scope.project();
    let path = project.path.to_string().replace('/', "%2F");
    let base = scope.base_url();
    [
        format!("{}/index", scope.project_url()),
        format!("{base}/api/v4/projects/{path}/packages/{NAME}/index"),
    ]
}

/// The URL of an index without its scheme's prefix and the slash at its end.
fn without_trimmings(url: &str) -> &str {
    url.strip_prefix("sparse+").unwrap_or(url).trim_end_matches('/')
}
