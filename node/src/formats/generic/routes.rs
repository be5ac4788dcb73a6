//! Handlers of generic files.

use axum::body::Body;
use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use cairn_cluster::Txn;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Authorised, Delete, Publish, Pull};
use crate::formats::generic::browse::{Directory, list};
use crate::formats::generic::fetch::{fetch, find_version};
use crate::formats::generic::links::{self, Fetch};
use crate::formats::generic::names::{FileName, LATEST, PackageName, VersionName};
use crate::formats::generic::parts::{self, About};
use crate::formats::generic::place::Place;
use crate::formats::generic::publish::{self, Published, Wanted};
use crate::formats::generic::{NAME, copy, deploy, latest, raw, tus};
use crate::formats::lists::{self, ListQuery};
use crate::http::body::Params;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::{self, Query};
use crate::registry::Scope;
use crate::registry::package::{Edit, Package, Status, Version, View};
use crate::registry::project::Project;
use crate::registry::time::iso;

/// The routes of a project.
pub(super) fn project() -> Router<App> {
    Router::new()
        .route("/", get(list_packages))
        .route("/{name}", delete(delete_package).get(to_directory))
        .route("/{name}/", get(list_versions))
        .route(
            "/{name}/{version}",
            delete(delete_version).patch(change_version).get(to_directory),
        )
        .route("/{name}/{version}/", get(list_files))
        .route(
            "/{name}/{version}/{*file}",
            get(download).put(upload).post(post_file).delete(delete_file),
        )
        .merge(copy::routes())
        .merge(links::routes())
        .merge(raw::routes())
        .merge(tus::routes())
}

/// The names in the path of a request; each is checked before it is used.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    file: String,
}

impl Target {
    fn package(&self) -> Result<PackageName, ApiError> {
        Ok(self.name.parse()?)
    }

    fn version(&self) -> Result<VersionName, ApiError> {
        Ok(self.version.parse()?)
    }

    fn file(&self) -> Result<FileName, ApiError> {
        Ok(self.file.parse()?)
    }

    pub(super) fn place(&self) -> Result<Place, ApiError> {
        Ok(Place::Package {
            package: self.package()?,
            version: self.version()?,
            file: self.file()?,
        })
    }

    /// The version, unless it is hidden: its files can be fetched, but not be found.
    async fn listed_version(&self, scope: &Scope) -> Result<Version, ApiError> {
        let (package, version) = (self.package()?, self.version()?);
        let (_, version) = find_version(scope, package.as_str(), version.as_str()).await?;
        match version.status {
            Status::Hidden => Err(ApiError::not_found("404 Package Not Found")),
            Status::Default | Status::Deprecated => Ok(version),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct UploadQuery {
    status: Option<Status>,
    pub(super) select: Option<String>,
    /// Begins an upload in parts.
    pub(super) uploads: Option<String>,
    /// Which part of an upload in parts comes.
    #[serde(default, deserialize_with = "form::number")]
    pub(super) part: Option<u64>,
}

impl UploadQuery {
    fn wanted(&self, target: &Target) -> Result<Wanted, ApiError> {
        if self.status == Some(Status::Deprecated) {
            return Err(ApiError::bad_request("status does not have a valid value"));
        }
        Ok(Wanted {
            place: target.place()?,
            status: self.status,
        })
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
    let wanted = query.wanted(&target)?;
    let published = publish_or_deploy(&project, &wanted, &headers, body).await?;
    Ok(created(&project.scope(NAME), &wanted, &published, &query))
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
            parts::begin(&project, query.wanted(&target)?, &headers).await
        }
        About::File(_) => Err(no_post()),
        About::Upload(upload) => {
            let (wanted, published) = upload.join(&target.place()?, &headers, body).await?;
            Ok(created(&upload.scope(), &wanted, &published, &query))
        }
    }
}

/// To post to a file means nothing, unless the query says what.
pub(super) fn no_post() -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, "405 Method Not Allowed")
        .with_header(header::ALLOW, HeaderValue::from_static("GET,HEAD,PUT,DELETE"))
}

/// What a client is told that has published a file of a package.
fn created(scope: &Scope, wanted: &Wanted, published: &Published, query: &UploadQuery) -> Response {
    let url = wanted.place.url(scope);
    let body = match query.select.as_deref() {
        Some("package_file") => file_object(published, &url),
        _ => json!({ "message": "201 Created" }),
    };
    let headers = published_headers(published, url);
    (StatusCode::CREATED, headers, Json(body)).into_response()
}

/// Publishes the body of a request, or what its headers say instead.
pub(super) async fn publish_or_deploy(
    project: &Authorised<Project, Publish>,
    wanted: &Wanted,
    headers: &HeaderMap,
    body: Body,
) -> Result<Published, ApiError> {
    match deploy::is_asked(headers) {
        true => deploy::publish(project, wanted, headers).await,
        false => publish::publish(project, wanted, headers, body).await,
    }
}

/// What a client is told of a file that it has published.
pub(super) fn published_headers(published: &Published, url: String) -> [(&'static str, String); 3] {
    let sha256 = HEXLOWER.encode(&published.file.digests.sha256);
    [
        (header::ETAG.as_str(), format!("\"{sha256}\"")),
        ("x-checksum-sha256", sha256),
        (header::LOCATION.as_str(), url),
    ]
}

/// A file as GitLab describes it to whoever publishes it.
fn file_object(published: &Published, url: &str) -> Value {
    let Published { version, file, .. } = published;
    json!({
        "id": file.id,
        "package_id": version.id,
        "created_at": iso(file.created_at),
        "updated_at": iso(file.created_at),
        "size": file.size,
        "file_store": 1,
        "file_md5": file.digests.md5.map(|digest| HEXLOWER.encode(&digest)),
        "file_sha1": file.digests.sha1.map(|digest| HEXLOWER.encode(&digest)),
        "file_sha256": HEXLOWER.encode(&file.digests.sha256),
        "file_name": file.name,
        "file": { "url": url },
        "verification_retry_at": null,
        "verified_at": null,
        "verification_failure": null,
        "verification_retry_count": null,
        "verification_checksum": null,
        "verification_state": 0,
        "verification_started_at": null,
        "status": version.status.name(),
        "new_file_path": null,
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
    if target.version == LATEST {
        return to_latest(&scope.confirmed().await?, &target).await;
    }
    if target.file.ends_with('/') {
        let scope = scope.confirmed().await?;
        let version = target.listed_version(&scope).await?;
        let directory = Directory::Files(version, target.file.clone());
        let path = format!("{}/{}/{}", target.name, target.version, target.file);
        return list(scope, directory, path, query, &uri, &headers).await;
    }
    fetch(&scope, &target.place()?, &method, &headers).await
}

/// Redirects to the file in the greatest version.
async fn to_latest(scope: &Scope, target: &Target) -> Result<Response, ApiError> {
    let (name, file) = (target.package()?, target.file()?);
    let view = View::of(scope);
    let missing = || ApiError::not_found("404 Package Not Found");
    let package = view.package(name.as_str()).await?.ok_or_else(missing)?;
    let version = latest::find(&view, &package).await?.ok_or_else(missing)?;
    let place = Place::Package {
        package: name,
        version: version.parse()?,
        file,
    };
    let headers = [
        (header::LOCATION, place.url(scope)),
        (header::CACHE_CONTROL, "no-cache".into()),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

async fn list_packages(
    project: Authorised<Project, Pull>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    list(scope, Directory::Packages, String::new(), query, &uri, &headers).await
}

async fn list_versions(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let name = target.package()?;
    let package = View::of(&scope).package(name.as_str()).await?;
    let package = package.ok_or_else(|| ApiError::not_found("404 Package Not Found"))?;
    let directory = Directory::Versions(package);
    list(scope, directory, format!("{name}/"), query, &uri, &headers).await
}

async fn list_files(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let version = target.listed_version(&scope).await?;
    let path = format!("{}/{}/", target.name, target.version);
    list(
        scope,
        Directory::Files(version, String::new()),
        path,
        query,
        &uri,
        &headers,
    )
    .await
}

/// A directory without its slash.
pub(super) async fn to_directory(_: Authorised<Project, Pull>, uri: OriginalUri) -> Response {
    lists::to_directory(&uri)
}

async fn delete_file(about: About<Delete>, Path(target): Path<Target>) -> Result<StatusCode, ApiError> {
    let scope = match about {
        About::File(project) => project.scope(NAME),
        About::Upload(upload) => return upload.abort(&target.place()?).await,
    };
    delete_file_at(&scope, &target).await
}

/// Deletes a file of a package.
pub(super) async fn delete_file_at(scope: &Scope, target: &Target) -> Result<StatusCode, ApiError> {
    let (name, version, file) = (target.package()?, target.version()?, target.file()?);
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(scope, &mut txn);
            let (_, version) = existing(&mut edit, &name, &version).await?;
            let file = edit.file(&version, file.as_str()).await?;
            let file = file.ok_or_else(|| ApiError::not_found("404 File Not Found"))?;
            edit.delete_file(&version, &file).await?;
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

pub(super) async fn delete_version(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    let scope = project.scope(NAME);
    let (name, version) = (target.package()?, target.version()?);
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let (package, version) = existing(&mut edit, &name, &version).await?;
            edit.delete_version(&package, &version).await?;
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

async fn delete_package(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    let scope = project.scope(NAME);
    let name = target.package()?;
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let package = edit.package(name.as_str()).await?;
            let package = package.ok_or_else(|| ApiError::not_found("404 Package Not Found"))?;
            edit.delete_package(package).await?;
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    status: Status,
}

async fn change_version(
    project: Authorised<Project, Publish>,
    Path(target): Path<Target>,
    Params(change): Params<Change>,
) -> Result<Json<Value>, ApiError> {
    let scope = project.scope(NAME);
    let (name, version) = (target.package()?, target.version()?);
    let changed = scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let (package, mut version) = existing(&mut edit, &name, &version).await?;
            version.status = change.status;
            edit.put_version(&package, &version)?;
            Ok((txn, version))
        })
        .await?;
    Ok(Json(json!({
        "id": changed.id,
        "name": name.as_str(),
        "version": changed.version,
        "status": changed.status.name(),
    })))
}

async fn existing(
    edit: &mut Edit<'_>,
    name: &PackageName,
    version: &VersionName,
) -> Result<(Package, Version), ApiError> {
    if let Some(package) = edit.package(name.as_str()).await?
        && let Some(version) = edit.version(&package, version.as_str()).await?
    {
        return Ok((package, version));
    }
    Err(ApiError::not_found("404 Package Not Found"))
}
