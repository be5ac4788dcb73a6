//! Handlers of version 1 of the API, for clients that know of no revisions: Conan 1 unless it is told.
//!
//! What such clients send is in the revision `0`. They see that, or else the newest revision. Files are
//! sent to and fetched from URLs that they are given for each, below `v1/files`.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::Value;

use super::asked::Asked;
use super::names::{FilePath, Line, MANIFEST, PackageId, Reference, Revised, Revision};
use super::removal::{self, Doomed};
use super::routes::{Held, binaries, delete_doomed, fresh, serve, take};
use super::source::{self, Source};
use crate::app::App;
use crate::auth::{Action, Delete, Publish, Pull};
use crate::formats::listing::encoded_path;
use crate::formats::place::Base;
use crate::http::body;
use crate::http::error::ApiError;
use crate::registry::names::InvalidName;
use crate::registry::package::File;

/// The largest list of files or packages that a client sends.
const MAX_LIST_BYTES: usize = 1 << 20;

/// The most files or packages in it.
const MAX_LISTED: usize = 1000;

/// What everybody has who reads.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/conans/{name}/{version}/{user}/{channel}", get(snapshot))
        .route("/v1/conans/{name}/{version}/{user}/{channel}/digest", get(digest))
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/download_urls",
            get(download_urls),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/search",
            get(search_packages),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/packages/{pid}",
            get(snapshot),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/packages/{pid}/digest",
            get(digest),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/packages/{pid}/download_urls",
            get(download_urls),
        )
        .route(
            "/v1/files/{name}/{version}/{user}/{channel}/{rrev}/export/{*path}",
            get(file),
        )
        .route(
            "/v1/files/{name}/{version}/{user}/{channel}/{rrev}/package/{pid}/{prev}/{*path}",
            get(file),
        )
}

/// What changes something.
pub(super) fn changes() -> Router<App> {
    Router::new()
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}",
            delete(delete_reference),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/upload_urls",
            post(upload_urls),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/remove_files",
            post(remove_files),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/packages/delete",
            post(delete_packages),
        )
        .route(
            "/v1/conans/{name}/{version}/{user}/{channel}/packages/{pid}/upload_urls",
            post(upload_urls),
        )
        .route(
            "/v1/files/{name}/{version}/{user}/{channel}/{rrev}/export/{*path}",
            put(publish),
        )
        .route(
            "/v1/files/{name}/{version}/{user}/{channel}/{rrev}/package/{pid}/{prev}/{*path}",
            put(publish),
        )
}

/// The revision that a client sees.
async fn seen<A: Action>(asked: &Asked<A>, source: &Source) -> Result<Revised, ApiError> {
    let line = asked.unrevised_line(source).await?;
    let seen = source.unrevised(&line).await;
    seen.map_err(|error| asked.told(error))
}

/// Its files.
async fn files(asked: &Asked<Pull>) -> Result<(Revised, Vec<(FilePath, File)>), ApiError> {
    let source = asked.source().await?;
    let seen = seen(asked, &source).await?;
    let files = source.files(&seen).await.map_err(|error| asked.told(error))?;
    Ok((seen, files))
}

async fn snapshot(asked: Asked<Pull>) -> Result<Response, ApiError> {
    let (_, files) = files(&asked).await?;
    Ok(fresh(Json(source::sums(&files))))
}

/// Where a file is fetched from and sent to.
fn url(base: &str, reference: &Reference, revised: &Revised, path: &FilePath) -> String {
    let path = encoded_path(&format!("{}{path}", revised.folder()));
    format!("{base}v1/files/{}/{path}", reference.url())
}

async fn urls(
    asked: &Asked<Pull>,
    base: &str,
    wanted: impl Fn(&FilePath) -> bool,
) -> Result<Response, ApiError> {
    let (revised, files) = files(asked).await?;
    let urls: BTreeMap<String, String> = files
        .iter()
        .filter(|(path, _)| wanted(path))
        .map(|(path, _)| (path.to_string(), url(base, &asked.reference, &revised, path)))
        .collect();
    Ok(fresh(Json(urls)))
}

async fn digest(Base(base): Base, asked: Asked<Pull>) -> Result<Response, ApiError> {
    urls(&asked, &base, |path| path.as_str() == MANIFEST).await
}

async fn download_urls(Base(base): Base, asked: Asked<Pull>) -> Result<Response, ApiError> {
    urls(&asked, &base, |_| true).await
}

async fn search_packages(
    asked: Asked<Pull>,
    Extension(held): Extension<Held>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let source = asked.source().await?;
    let seen = source.unrevised(&Line::Recipe).await;
    let recipe = seen.map_err(|error| asked.told(error))?.revision;
    binaries(&asked, &held, source, recipe, false, &headers).await
}

async fn file(asked: Asked<Pull>, method: Method, headers: HeaderMap) -> Result<Response, ApiError> {
    let (revised, path) = (asked.revised()?, asked.path()?);
    serve(asked, &revised, &path, &method, &headers).await
}

/// Says where files are to be sent. A package belongs to the recipe that its client sees.
async fn upload_urls(Base(base): Base, asked: Asked<Publish>, body: Body) -> Result<Response, ApiError> {
    let bytes = body::whole(body, MAX_LIST_BYTES).await?;
    let sizes: BTreeMap<String, Value> = body::json(&bytes, 4)?;
    check_length(sizes.len())?;
    let revised = match asked.is_of_package() {
        false => Line::Recipe.at(Revision::unrevised()),
        true => {
            let line = asked.unrevised_line(&asked.source().await?).await?;
            line.at(Revision::unrevised())
        }
    };
    let mut urls = BTreeMap::new();
    for name in sizes.into_keys() {
        let path = name.parse()?;
        urls.insert(name, url(&base, &asked.reference, &revised, &path));
    }
    Ok(fresh(Json(urls)))
}

fn check_length(length: usize) -> Result<(), ApiError> {
    match length <= MAX_LISTED {
        true => Ok(()),
        false => Err(ApiError::bad_request(format!(
            "the list is over the limit of {MAX_LISTED} entries"
        ))),
    }
}

async fn publish(asked: Asked<Publish>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let (revised, path) = (asked.revised()?, asked.path()?);
    take(&asked, &revised, &path, &headers, body).await
}

#[derive(Deserialize)]
struct Files {
    files: Vec<String>,
}

/// Removes files of the recipe that the client does not have: a part of replacing it.
async fn remove_files(asked: Asked<Publish>, body: Body) -> Result<Response, ApiError> {
    let bytes = body::whole(body, MAX_LIST_BYTES).await?;
    let Files { files } = body::json(&bytes, 4)?;
    check_length(files.len())?;
    let paths: Result<Vec<FilePath>, InvalidName> = files.iter().map(|path| path.parse()).collect();
    let mut paths = paths?;
    // It is what makes the revision be there.
    paths.retain(|path| !path.is_manifest());
    let revised = Line::Recipe.at(Revision::unrevised());
    removal::remove_files(&asked.scope, &asked.reference, &revised, &paths).await?;
    Ok(StatusCode::OK.into_response())
}

#[derive(Deserialize)]
struct Packages {
    #[serde(default)]
    package_ids: Vec<String>,
}

/// Deletes binaries; all, if none is named.
async fn delete_packages(asked: Asked<Delete>, body: Body) -> Result<Response, ApiError> {
    let bytes = body::whole(body, MAX_LIST_BYTES).await?;
    let Packages { package_ids } = body::json(&bytes, 4)?;
    check_length(package_ids.len())?;
    let source = asked.source().await?;
    let recipe = source.unrevised(&Line::Recipe).await?.revision;
    if package_ids.is_empty() {
        return delete_doomed(&asked, &Doomed::Packages(recipe)).await;
    }
    let ids: Result<Vec<PackageId>, InvalidName> = package_ids.iter().map(|id| id.parse()).collect();
    for id in ids? {
        let recipe = recipe.clone();
        delete_doomed(&asked, &Doomed::Package(Line::Package { recipe, id })).await?;
    }
    Ok(StatusCode::OK.into_response())
}

async fn delete_reference(asked: Asked<Delete>) -> Result<Response, ApiError> {
    removal::delete(&asked.scope, &asked.reference).await?;
    Ok(StatusCode::OK.into_response())
}
