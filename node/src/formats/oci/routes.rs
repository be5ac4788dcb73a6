//! Which handler answers which request.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use super::access::{Head, insufficient};
use super::incoming::Incoming;
use super::names::RepositoryName;
use super::path::{Endpoint, Resource};
use super::{blobs, error, listing, login, manifests};
use crate::app::App;
use crate::auth::Access;
use crate::auth::action::Freshness;
use crate::http::error::ApiError;

/// The routes of the host.
pub(super) fn host() -> Router<App> {
    Router::new()
        .route("/v2", any(serve))
        .route("/v2/", any(serve))
        .route("/v2/{*endpoint}", any(serve))
        .route("/jwt/auth", get(login::get).post(login::post))
}

async fn serve(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&parts.headers, body);
    let answered = Box::pin(answer(&app, &parts, &mut incoming)).await;
    let mut response = answered.into_response();
    let (name, value) = error::API_VERSION;
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    response
}

async fn answer(app: &App, parts: &Parts, incoming: &mut Incoming) -> Result<Response, ApiError> {
    let head = Head { app, parts };
    match Endpoint::parse(parts.uri.path())? {
        Endpoint::Base if is_read(&parts.method) => base(head).await,
        Endpoint::Catalog if is_read(&parts.method) => listing::catalog(head).await,
        Endpoint::Base | Endpoint::Catalog => Err(error::method_not_allowed()),
        Endpoint::Repository(name, resource) => in_repository(head, &name, resource, incoming).await,
    }
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Says whether the caller has signed in. Some clients learn only here that they can.
async fn base(head: Head<'_>) -> Result<Response, ApiError> {
    let access = Access::of(head.app, head.parts, Freshness::Latest).await?;
    // A token for nobody in particular is a way of being signed in.
    if access.caller().is_anonymous() && access.caller().grants().is_none() {
        return Err(ApiError::unauthorized());
    }
    Ok(axum::Json(serde_json::json!({})).into_response())
}

async fn in_repository(
    head: Head<'_>,
    name: &RepositoryName,
    resource: Resource,
    incoming: &mut Incoming,
) -> Result<Response, ApiError> {
    let method = &head.parts.method;
    match resource {
        Resource::Manifest(reference) => match *method {
            Method::GET | Method::HEAD => manifests::get(head, name, reference).await,
            Method::PUT => manifests::put(head, name, reference, incoming).await,
            Method::DELETE => manifests::delete(head, name, reference).await,
            _ => Err(error::method_not_allowed()),
        },
        Resource::Blob(digest) => match *method {
            Method::GET | Method::HEAD => blobs::get(head, name, &digest).await,
            Method::DELETE => blobs::delete(head, name, &digest).await,
            _ => Err(error::method_not_allowed()),
        },
        Resource::Uploads => match *method {
            Method::POST => blobs::begin(head, name, incoming).await,
            _ => Err(error::method_not_allowed()),
        },
        Resource::Upload(id) => match *method {
            Method::GET | Method::HEAD => blobs::status(head, name, &id).await,
            Method::PATCH => blobs::append(head, name, &id, incoming).await,
            Method::PUT => blobs::finish(head, name, &id, incoming).await,
            Method::DELETE => blobs::cancel(head, name, &id).await,
            _ => Err(error::method_not_allowed()),
        },
        Resource::Tags if is_read(method) => listing::tags(head, name).await,
        Resource::Referrers(subject) if is_read(method) => listing::referrers(head, name, &subject).await,
        Resource::Tags | Resource::Referrers(_) => Err(error::method_not_allowed()),
    }
}

/// Makes sure that a derived token, if it is one, was made for the list of repositories.
pub(super) fn check_catalog(head: Head<'_>, access: &Access) -> Result<(), ApiError> {
    match access.caller().grants() {
        None if access.caller().is_anonymous() => Err(ApiError::unauthorized()),
        Some(grants) if !grants.allow("registry", "catalog", "pull") => {
            Err(insufficient(head.parts, access.base_url()))
        }
        _ => Ok(()),
    }
}
