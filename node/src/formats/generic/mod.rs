//! Generic files: any file under a package's name and version, in the URLs that GitLab has for
//! them. Fetched with curl, wget and whatever else speaks HTTP.
//!
//! There are two views on one store: the package view, `name/version/file`, and below `-/raw` the
//! raw view, any path. A file that is too large for one request is sent in several: by [`tus`], or
//! in [`parts`] at a time. [`gitea`] has the URLs of another server.

mod browse;
mod claims;
#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod copy;
mod deploy;
mod fetch;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod gitea;
mod latest;
mod links;
mod names;
mod parts;
mod place;
mod publish;
mod raw;
mod routes;
#[cfg(test)]
mod tests;
mod tus;

use async_trait::async_trait;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::formats::{ClientSetup, Format, Level, Progress, Removal, RequestHead};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::sessions::{self, SessionKeys};
use crate::registry::settings::DuplicatePolicy;

/// The format.
pub struct Generic;

/// Its name.
pub const NAME: &str = "generic";

const CLIENTS: &[ClientSetup] = &[ClientSetup {
    client: "curl",
    file: Some(".netrc"),
    configuration: "machine {host} login token password {token}\n",
    publish: "curl --fail-with-body -n -T tool.tgz {base}/api/v4/projects/{project}/packages/generic/tool/1.0.0/",
    install: "curl -fnLO {base}/api/v4/projects/{project}/packages/generic/tool/1.0.0/tool.tgz",
}];

#[async_trait]
impl Format for Generic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self, level: Level) -> Router<App> {
        match level {
            Level::Project => routes::project(),
            Level::Host => gitea::routes(),
            Level::Group | Level::Instance => Router::new(),
        }
    }

    fn render(&self, error: &ApiError) -> Response {
        let status = error.kind.status();
        let code = error
            .code
            .unwrap_or_else(|| status.canonical_reason().unwrap_or_default());
        let body = json!({
            "message": error.message,
            "error": { "code": code, "detail": error.detail },
        });
        (status, axum::Json(body)).into_response()
    }

    fn render_for(&self, error: &ApiError, request: &RequestHead<'_>) -> Response {
        if takes_json(request) {
            return self.render(error);
        }
        (error.kind.status(), format!("{}\n", error.message)).into_response()
    }

    fn default_duplicates(&self) -> Option<DuplicatePolicy> {
        Some(publish::DEFAULT_DUPLICATES)
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<Progress, ApiError> {
        if removal.part.is_none() {
            let keys = SessionKeys::new(removal.records.clone());
            if sessions::forget_all(removal.txn, &keys).await? == Progress::More {
                return Ok(Progress::More);
            }
        }
        parts::remove(removal).await
    }

    fn over_quota(&self, message: &str) -> ApiError {
        ApiError::new(ErrorKind::InsufficientStorage, message)
    }

    fn clients(&self) -> &'static [ClientSetup] {
        CLIENTS
    }
}

fn takes_json(request: &RequestHead<'_>) -> bool {
    let mut accepts = request.parts.headers.get_all(header::ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return true;
    }
    let mut types = accepts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','));
    types.any(|media_type| {
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        ["*/*", "application/*", "application/json"].contains(&media_type)
    })
}
