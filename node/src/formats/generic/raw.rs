//! The raw view: files under any path, as those have them who come from other registries.

use axum::body::Body;
use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cairn_cluster::Txn;
use data_encoding::HEXLOWER;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Authorised, Delete, Manage, Publish, Pull};
use crate::formats::generic::NAME;
use crate::formats::generic::browse::{Directory, list};
use crate::formats::generic::fetch::{fetch, find_version};
use crate::formats::generic::form;
use crate::formats::generic::links::Fetch;
use crate::formats::generic::parts::{self, About};
use crate::formats::generic::place::{Place, RAW};
use crate::formats::generic::publish::{Published, Wanted};
use crate::formats::generic::routes::{
    UploadQuery, no_post, publish_or_deploy, published_headers, to_directory,
};
use crate::formats::lists::ListQuery;
use crate::http::error::ApiError;
use crate::http::form::Query;
use crate::http::media;
use crate::registry::Scope;
use crate::registry::package::{Edit, Status, View};
use crate::registry::project::Project;
use crate::registry::time::iso;

/// How many files of a directory one transaction deletes.
const FILES_PER_TRANSACTION: usize = 64;

/// The routes of the view.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/-/raw", get(to_directory))
        .route("/-/raw/", get(list_root).post(form::post))
        .route(
            "/-/raw/{*path}",
            get(download).put(upload).post(post_file).delete(delete),
        )
}

#[derive(Debug, Deserialize)]
struct Target {
    path: String,
}

impl Target {
    fn place(&self) -> Result<Place, ApiError> {
        Ok(Place::Raw(self.path.parse()?))
    }

    /// The directory, if it is one; with its slash, in the form that paths are kept in.
    fn directory(&self) -> Result<Option<String>, ApiError> {
        match self.path.strip_suffix('/') {
            Some(path) => Ok(Some(format!("{}/", Place::Raw(path.parse()?).file()))),
            None => Ok(None),
        }
    }
}

/// What is wanted of a file at a place of this view, which no list of packages shows.
fn wanted(place: Place) -> Wanted {
    Wanted {
        place,
        status: Some(Status::Hidden),
    }
}

async fn upload(
    about: About<Publish>,
    Path(target): Path<Target>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let project = match about {
        About::File(project) => project,
        About::Upload(upload) => return upload.put(&target.place()?, query.part, &headers, body).await,
    };
    if headers.contains_key("x-explode-archive") || headers.contains_key("x-explode-archive-atomic") {
        // To store the archive itself is not what was asked for.
        return Err(ApiError::bad_request("archives are not unpacked here"));
    }
    if target.directory()?.is_some() {
        return made_directory(body).await;
    }
    let wanted = wanted(target.place()?);
    let published = publish_or_deploy(&project, &wanted, &headers, body).await?;
    Ok(created(&project.scope(NAME), &wanted, &published))
}

/// Begins an upload in parts, or ends one.
async fn post_file(
    about: About<Publish>,
    Path(target): Path<Target>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    match about {
        About::File(project) if query.uploads.is_some() => {
            parts::begin(&project, wanted(target.place()?), &headers).await
        }
        About::File(_) => Err(no_post()),
        About::Upload(upload) => {
            let (wanted, published) = upload.join(&target.place()?, &headers, body).await?;
            Ok(created(&upload.scope(), &wanted, &published))
        }
    }
}

/// What a client is told that has published a file.
fn created(scope: &Scope, wanted: &Wanted, published: &Published) -> Response {
    let url = wanted.place.url(scope);
    let status = match published.replaced {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    let body = description(scope, published, &url);
    (status, published_headers(published, url), Json(body)).into_response()
}

/// Directories are there as long as something lies in them, so there is nothing to do; but a
/// file without a name would be lost.
async fn made_directory(mut body: Body) -> Result<Response, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad_request("the body could not be read"))?;
        if frame.data_ref().is_some_and(|data| !data.is_empty()) {
            return Err(ApiError::bad_request("a path that ends with '/' is a directory"));
        }
    }
    Ok(StatusCode::CREATED.into_response())
}

/// A file in the words of those servers from which raw paths are known.
fn description(scope: &Scope, published: &Published, url: &str) -> Value {
    let file = &published.file;
    let base = file.name.rsplit('/').next().unwrap_or_default();
    json!({
        "repo": scope.project().path.to_string(),
        "path": format!("/{}", file.name),
        "created": iso(file.created_at),
        "downloadUri": url,
        "mimeType": media::type_of(base),
        "size": file.size.to_string(),
        "checksums": {
            "sha1": file.digests.sha1.map(|digest| HEXLOWER.encode(&digest)),
            "md5": file.digests.md5.map(|digest| HEXLOWER.encode(&digest)),
            "sha256": HEXLOWER.encode(&file.digests.sha256),
        },
        "uri": url,
    })
}

async fn download(
    Fetch(about): Fetch,
    Path(target): Path<Target>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = match about {
        About::File(project) => project.scope(NAME),
        About::Upload(upload) => return upload.list(&target.place()?, parts::Listed::of(&query)?).await,
    };
    match target.directory()? {
        Some(directory) => {
            let scope = scope.confirmed().await?;
            list_below(scope, directory, query, &uri, &headers).await
        }
        None => fetch(&scope, &target.place()?, &method, &headers).await,
    }
}

async fn list_root(
    project: Authorised<Project, Pull>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    list_below(project.scope(NAME), String::new(), query, &uri, &headers).await
}

async fn list_below(
    scope: Scope,
    directory: String,
    query: ListQuery,
    uri: &OriginalUri,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let there = match find_version(&scope, RAW, RAW).await {
        Ok((_, version)) => Directory::Files(version, directory.clone()),
        Err(_) if directory.is_empty() => Directory::Empty,
        Err(_) => return Err(ApiError::not_found("404 Not Found")),
    };
    list(scope, there, directory, query, uri, headers).await
}

async fn delete(about: About<Delete>, Path(target): Path<Target>) -> Result<StatusCode, ApiError> {
    let project = match about {
        About::File(project) => project,
        About::Upload(upload) => return upload.abort(&target.place()?).await,
    };
    if let Some(directory) = target.directory()? {
        // Everything below a path is more than a file, and so is the right to delete it.
        let scope = project.also::<Manage>().await?.scope(NAME);
        return delete_below(&scope, &directory).await;
    }
    let (scope, place) = (project.scope(NAME), target.place()?);
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let missing = || ApiError::not_found("404 File Not Found");
            let package = edit.package(RAW).await?.ok_or_else(missing)?;
            let version = edit.version(&package, RAW).await?.ok_or_else(missing)?;
            let file = edit.file(&version, place.file()).await?.ok_or_else(missing)?;
            edit.delete_file(&version, &file).await?;
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

/// Deletes what lies below a directory, some files at a time: what is published there meanwhile
/// may stay.
async fn delete_below(scope: &Scope, directory: &str) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::not_found("404 Not Found");
    let mut any = false;
    loop {
        let confirmed = scope.confirmed().await?;
        let (_, version) = find_version(&confirmed, RAW, RAW).await.map_err(|_| missing())?;
        let files = View::of(&confirmed)
            .files_below(&version, directory, None, FILES_PER_TRANSACTION)
            .await?;
        if files.is_empty() {
            return match any {
                true => Ok(StatusCode::NO_CONTENT),
                false => Err(missing()),
            };
        }
        any = true;
        scope
            .transact(async |mut txn: Txn| {
                let mut edit = Edit::new(scope, &mut txn);
                for file in &files {
                    // Another request may have been faster.
                    if let Some(file) = edit.file(&version, &file.name).await? {
                        edit.delete_file(&version, &file).await?;
                    }
                }
                Ok((txn, ()))
            })
            .await?;
    }
}
