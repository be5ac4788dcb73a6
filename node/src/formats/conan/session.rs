//! Signing in: clients show a name and a token once, and are given a token for this format alone, which
//! they keep and send from then on. It ends with what it was made of, and after a day.

use std::time::Duration;

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

use super::NAME;
use crate::auth::Access;
use crate::http::error::ApiError;

/// How long a session lasts: clients ask for a password when it ends, which somebody may have to type.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The header that says what the registry can do. Without it, it is no registry to clients.
pub(super) const CAPABILITIES: (HeaderName, &str) = (
    HeaderName::from_static("x-conan-server-capabilities"),
    "complex_search,revisions",
);

/// Says what the registry can do, to everybody: both generations ask before each command.
pub(super) async fn ping(_: Access) -> Response {
    [CAPABILITIES].into_response()
}

const PRIVATE: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/plain"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Gives the token of a session.
pub(super) async fn authenticate(access: Access) -> Result<Response, ApiError> {
    let token = access.begin_session(NAME, LIFETIME).await?;
    Ok((PRIVATE, token).into_response())
}

/// Says who the caller is: clients ask before they send or delete anything.
pub(super) async fn check_credentials(access: Access) -> Result<Response, ApiError> {
    let name = access.username()?.to_owned();
    Ok((PRIVATE, name).into_response())
}
