//! Container images and other OCI artifacts.
//!
//! The protocol is that of the OCI distribution-spec 1.1 as clients speak it, with the token
//! authentication of container clients at GitLab's address. The path of an image begins with
//! the path of its project: `group/sub/project/image`, where the image may have several
//! components or none.
//!
//! A request comes to [`routes`]; [`names`], [`path`], [`scope`] and [`manifest`] turn its text
//! into types; [`access`] finds the project and decides; [`store`] and [`uploads`] change what is
//! there, as [`keys`] draws it.

mod access;
mod blobs;
mod cleanup;
#[cfg(test)]
#[cfg(feature = "real-clients")]
pub(crate) mod client;
mod error;
pub(crate) mod expiry;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod incoming;
mod keys;
mod listing;
mod login;
mod manifest;
mod manifests;
mod names;
mod number;
mod path;
mod records;
pub(crate) mod rest;
mod routes;
mod scope;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod uploads;

use async_trait::async_trait;
use axum::Router;
use axum::http::HeaderValue;
use axum::response::Response;
use cairn_cluster::{Collection, Key};

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal, RequestHead, Stored};
use crate::http::error::ApiError;
use crate::registry::blob_names::{self, Piece};
use crate::registry::cleanup::{ContainerPolicy, Turn};

/// The format.
pub struct Oci;

/// Its name.
pub const NAME: &str = "oci";

#[async_trait]
impl Format for Oci {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Host => routes::host(),
            Level::Project | Level::Group | Level::Instance => Router::new(),
        }
    }

    fn render(&self, error: &ApiError) -> Response {
        error::render(error)
    }

    fn challenge(&self, request: &RequestHead<'_>) -> HeaderValue {
        access::challenge(request.parts, request.base_url, false)
    }

    async fn clean_up_images(&self, turn: &Turn, policy: &ContainerPolicy) -> Result<(), ApiError> {
        expiry::clean_up(turn, policy).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        store::remove(removal).await
    }

    async fn count_stored(&self, stored: Stored<'_>) -> Result<(), ApiError> {
        store::count_stored(stored).await
    }

    fn over_quota(&self, message: &str) -> ApiError {
        ApiError::forbidden(message).with_code("DENIED")
    }

    fn describe_blob(&self, records: &Collection, key: &Key) -> Vec<Piece> {
        keys::describe(records, key).unwrap_or_else(|| vec![blob_names::below(records, key)])
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[
            ClientSetup {
                client: "docker",
                file: None,
                configuration: "docker login {host} -u token -p {token}",
                publish: "docker push {host}/{path}/app:1.0",
                install: "docker pull {host}/{path}/app:1.0",
            },
            ClientSetup {
                client: "helm",
                file: None,
                configuration: "helm registry login {host} -u token -p {token}",
                publish: "helm push app-1.0.0.tgz oci://{host}/{path}",
                install: "helm pull oci://{host}/{path}/app --version 1.0.0",
            },
            ClientSetup {
                client: "oras",
                file: None,
                configuration: "oras login {host} -u token -p {token}",
                publish: "oras push {host}/{path}/notes:1.0 notes.txt:text/plain",
                install: "oras pull {host}/{path}/notes:1.0",
            },
            ClientSetup {
                client: "podman",
                file: None,
                configuration: "podman login {host} -u token -p {token}",
                publish: "podman push app {host}/{path}/app:1.0",
                install: "podman pull {host}/{path}/app:1.0",
            },
            ClientSetup {
                client: "skopeo",
                file: None,
                configuration: "skopeo login {host} -u token -p {token}",
                publish: "skopeo copy oci:app:1.0 docker://{host}/{path}/app:1.0",
                install: "skopeo copy docker://{host}/{path}/app:1.0 oci:app:1.0",
            },
        ]
    }
}
