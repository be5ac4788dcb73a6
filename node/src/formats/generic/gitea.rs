//! The URLs that Gitea and Forgejo have for generic packages, so that scripts move over by
//! changing the host and the owner: `/api/packages/{owner}/generic/{name}/{version}/{file}`.
//!
//! An owner there is a project here, by its number or its encoded path (`acme%2Fdemo`). What is
//! published is an ordinary file of the package view.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::routing::{delete, get};

use crate::app::App;
use crate::auth::{Authorised, Delete, Publish, PullImmutable};
use crate::formats::generic::NAME;
use crate::formats::generic::fetch::fetch;
use crate::formats::generic::place::DUPLICATE;
use crate::formats::generic::publish::Wanted;
use crate::formats::generic::routes::{
    Target, delete_file_at, delete_version, publish_or_deploy, published_headers,
};
use crate::http::error::ApiError;
use crate::registry::project::Project;

/// The routes, from the host root.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/api/packages/{id}/generic/{name}/{version}",
            delete(delete_version),
        )
        .route(
            "/api/packages/{id}/generic/{name}/{version}/{*file}",
            get(download).put(upload).delete(delete_file),
        )
}

async fn upload(
    project: Authorised<Project, Publish>,
    Path(target): Path<Target>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, [(&'static str, String); 3]), ApiError> {
    let wanted = Wanted {
        place: target.place()?,
        status: None,
    };
    let published = publish_or_deploy(&project, &wanted, &headers, body).await;
    let published = published.map_err(|error| match error.code {
        // Its clients know this status for it.
        Some(DUPLICATE) => ApiError::conflict("409 Conflict: the file exists already").with_code(DUPLICATE),
        _ => error,
    })?;
    let url = wanted.place.url(&project.scope(NAME));
    Ok((StatusCode::CREATED, published_headers(&published, url)))
}

async fn download(
    project: Authorised<Project, PullImmutable>,
    Path(target): Path<Target>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    fetch(&project.scope(NAME), &target.place()?, &method, &headers).await
}

async fn delete_file(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    delete_file_at(&project.scope(NAME), &target).await
}
