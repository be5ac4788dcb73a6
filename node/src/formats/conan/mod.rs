//! Conan: recipes and binaries of C and C++, for both generations of the client.
//!
//! The contracts are versions 1 and 2 of the API of Conan's own server, as the clients speak them, and
//! GitLab's URLs. Clients are configured with the base URL of a level. Below it, a reference is
//! `NAME/VERSION/USER/CHANNEL`, with `_` for what it has not:
//!
//! ```text
//! v1/ping                                             what the registry can do
//! v1|v2/users/authenticate, check_credentials         a session; who it is
//! v1|v2/conans/search                                 references by a pattern
//! v2/conans/{reference}                               delete; latest, revisions, search below it
//! v2/conans/{reference}/revisions/{rrev}              files, search, packages, delete, promote
//! …/packages/{pid}[/revisions/{prev}]                 the same of a binary
//! v1/conans/{reference}[/packages/{pid}]              files with their MD5s; digest, download_urls, …
//! v1/files/{reference}/…                              files, by the URLs that version 1 gives
//! ```
//!
//! Groups have the routes that read; at the instance, the user of a reference is the path of its project.

mod artifact;
mod asked;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod names;
mod opened;
mod pattern;
mod receive;
mod records;
mod removal;
mod routes;
mod session;
mod source;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod v1;

use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::app::App;
use crate::formats::{ClientSetup, Discarded, Format, Level, Progress, Removal, RequestHead};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::package::{Edit, File, Package, Version};
use crate::registry::settings::DuplicatePolicy;

/// The format.
pub struct Conan;

/// Its name.
pub const NAME: &str = "conan";

#[async_trait]
impl Format for Conan {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project | Level::Group | Level::Instance => routes::routes(level),
            Level::Host => Router::new(),
        }
    }

    /// Clients print the text of few statuses, and send again and again what is answered with another one;
    /// so what is wrong with a request is 400.
    fn render(&self, error: &ApiError) -> Response {
        let status = match error.kind {
            ErrorKind::Conflict
            | ErrorKind::Gone
            | ErrorKind::LengthRequired
            | ErrorKind::MethodNotAllowed
            | ErrorKind::TargetTooLong
            | ErrorKind::TooLarge
            | ErrorKind::Unprocessable
            | ErrorKind::UnsupportedMediaType => ErrorKind::BadRequest.status(),
            kind => kind.status(),
        };
        let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        (status, headers, error.message.clone()).into_response()
    }

    /// Whoever is not let in still learns that this is a registry.
    fn render_for(&self, error: &ApiError, request: &RequestHead<'_>) -> Response {
        let response = self.render(error);
        match request.parts.uri.path().ends_with("/ping") {
            true => ([session::CAPABILITIES], response).into_response(),
            false => response,
        }
    }

    /// A name and a token are shown once, where sessions begin.
    fn challenge(&self, request: &RequestHead<'_>) -> HeaderValue {
        match request.parts.uri.path().ends_with("/users/authenticate") {
            true => HeaderValue::from_static(r#"Basic realm="cairn""#),
            false => HeaderValue::from_static(r#"Bearer realm="cairn""#),
        }
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
        removal::delete_version(edit, &package, &version).await
    }

    async fn file_deleted(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
    ) -> Result<(), ApiError> {
        removal::forget_file(edit, package, version, &file).await
    }

    async fn version_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        _: Bytes,
    ) -> Result<(), ApiError> {
        removal::restore_version(edit, package, version).await
    }

    async fn file_restored(
        &self,
        edit: &mut Edit<'_>,
        package: Package,
        version: Version,
        file: File,
        kept: Bytes,
    ) -> Result<(), ApiError> {
        removal::restore_file(edit, package, version, &file, &kept).await
    }

    async fn discard(&self, discarded: Discarded<'_>) -> Result<(), ApiError> {
        removal::discard(discarded).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        removal::remove(removal).await
    }

    fn clients(&self) -> &'static [ClientSetup] {
        &[
            ClientSetup {
                client: "conan",
                file: None,
                configuration: "conan remote add cairn {base}/api/v4/projects/{project}/packages/conan\n\
                    conan remote login cairn __token__ -p {token}\n",
                publish: "conan upload NAME/1.0.0 -r cairn -c",
                install: "conan install --requires=NAME/1.0.0 -r cairn",
            },
            ClientSetup {
                client: "conan1",
                file: None,
                configuration: "conan config set general.revisions_enabled=1\n\
                    conan remote add cairn {base}/api/v4/projects/{project}/packages/conan\n\
                    conan user -p {token} -r cairn __token__\n",
                publish: "conan upload NAME/1.0.0@USER/CHANNEL --all -r cairn -c",
                install: "conan install NAME/1.0.0@USER/CHANNEL -r cairn",
            },
        ]
    }
}
