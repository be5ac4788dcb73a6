//! Handlers of Python packages: the simple API, files, uploads, yanking and deleting.

use axum::body::Body;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::NAME;
use super::attestations;
use super::index::Form;
use super::names::{FileName, ProjectName, Version};
use super::records::Entry;
use super::simple::{self, Source, found_in, sources};
use super::store::{self, missing};
use super::upload;
use crate::app::App;
use crate::auth::{Action, Authorised, Delete, Publish, Pull, PullImmutable};
use crate::formats::Level;
use crate::formats::place::Place;
use crate::http::assembled::Assembled;
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::Query;
use crate::http::media::attachment;
use crate::http::serve::{Served, serve_blob};
use crate::registry::package::View;
use crate::registry::project::Project;

/// What follows the name of a file whose metadata is asked for (PEP 658).
const METADATA: &str = ".metadata";

/// How much of the indexes that were asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// The longest reason for yanking.
const MAX_REASON_CHARS: usize = 1000;

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let routes = Router::new()
        .route("/simple", get(to_names))
        .route("/simple/", get(names))
        .route("/simple/{project}", get(to_page))
        .route("/simple/{project}/", get(page))
        .route("/pypi/{project}/json", get(project_json))
        .route("/pypi/{project}/{version}/json", get(version_json))
        .route(
            "/integrity/{project}/{version}/{file}/provenance",
            get(provenance),
        );
    let routes = match level {
        Level::Project => routes.merge(of_project()),
        // Which projects a group has can change, so a node must not answer from what it knows.
        Level::Group | Level::Instance | Level::Host => {
            routes.route("/files/{sha256}/{file}", get(file::<Pull>))
        }
    };
    routes.layer(Extension(Assembled::new(CACHE_BYTES)))
}

/// What only a project has.
fn of_project() -> Router<App> {
    Router::new()
        .route("/", post(publish))
        .route("/legacy", post(publish))
        .route("/legacy/", post(publish))
        .route(
            "/files/{sha256}/{file}",
            get(file::<PullImmutable>).delete(delete_file),
        )
        .route("/files/{sha256}/{file}/yank", post(yank_file).delete(unyank_file))
        .route("/releases/{project}/{version}", delete(delete_release))
        .route(
            "/releases/{project}/{version}/yank",
            post(yank_release).delete(unyank_release),
        )
}

#[derive(Deserialize)]
struct ProjectPath {
    project: String,
}

#[derive(Deserialize)]
struct VersionPath {
    project: String,
    version: String,
}

#[derive(Deserialize)]
struct FilePath {
    sha256: String,
    file: String,
}

#[derive(Deserialize)]
struct ProvenancePath {
    project: String,
    version: String,
    file: String,
}

#[derive(Deserialize)]
struct FormQuery {
    format: Option<String>,
}

/// The form of a page that a client asks for.
fn form(query: &FormQuery, headers: &HeaderMap) -> Form {
    let accept = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    match query.format.as_deref().and_then(Form::named) {
        Some(form) => form,
        None => Form::accepted(&accept.collect::<Vec<_>>().join(",")),
    }
}

/// A name that is asked for: what cannot be a name is not there.
fn asked<T: std::str::FromStr, A: Action>(place: &Place<A>, text: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|_| place.missing(missing(format_args!("{text:.200}"))))
}

fn moved(place: &Place<Pull>, path: &str, query: Option<String>) -> Response {
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let location = format!("{}{path}{query}", place.base());
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response()
}

async fn to_names(place: Place<Pull>, RawQuery(query): RawQuery) -> Response {
    moved(&place, "simple/", query)
}

async fn names(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Query(query): Query<FormQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    simple::names(
        &documents,
        place.scopes().await?,
        form(&query, &headers),
        &headers,
    )
    .await
}

async fn to_page(
    place: Place<Pull>,
    Path(path): Path<ProjectPath>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let name: ProjectName = asked(&place, &path.project)?;
    Ok(moved(&place, &format!("simple/{name}/"), query))
}

async fn page(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<ProjectPath>,
    Query(query): Query<FormQuery>,
    RawQuery(raw_query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name: ProjectName = asked(&place, &path.project)?;
    if name.as_str() != path.project {
        return Ok(moved(&place, &format!("simple/{name}/"), raw_query));
    }
    let sources = sources(&place, &name).await?;
    let form = form(&query, &headers);
    simple::page(&documents, &name, sources, form, place.base(), &headers).await
}

async fn project_json(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<ProjectPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name: ProjectName = asked(&place, &path.project)?;
    let sources = sources(&place, &name).await?;
    simple::legacy(&documents, &name, None, sources, place.base(), &headers).await
}

async fn version_json(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<VersionPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name: ProjectName = asked(&place, &path.project)?;
    let version: Version = asked(&place, &path.version)?;
    let sources = sources(&place, &name).await?;
    let version = Some(&version);
    simple::legacy(&documents, &name, version, sources, place.base(), &headers).await
}

/// The first of the packages that has this file.
async fn locate(sources: Vec<Source>, file: &FileName) -> Result<Option<(Source, Entry)>, ApiError> {
    for source in sources {
        if let Some(entry) = source.entry(file).await? {
            return Ok(Some((source, entry)));
        }
    }
    Ok(None)
}

/// The file of this name and digest.
async fn find_file<A: Action>(
    place: &Place<A>,
    file: &FileName,
    sha256: &str,
) -> Result<(Source, Entry), ApiError> {
    let scopes = place.scopes_named(file.project.as_str(), None).await?;
    let fits = |(_, entry): &(Source, Entry)| entry.sha256 == sha256;
    let found = locate(found_in(scopes.clone(), &file.project).await?, file).await?;
    if let Some(found) = found.filter(fits) {
        return Ok(found);
    }
    // What is not here may be elsewhere.
    let mut confirmed = Vec::new();
    for scope in scopes {
        confirmed.push(scope.confirmed().await?);
    }
    let found = locate(found_in(confirmed, &file.project).await?, file).await?;
    found.filter(fits).ok_or_else(|| place.missing(missing(file)))
}

async fn file<A: Action>(
    place: Place<A>,
    Path(path): Path<FilePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (name, wants_metadata) = match path.file.strip_suffix(METADATA) {
        Some(name) => (name, true),
        None => (path.file.as_str(), false),
    };
    let name: FileName = asked(&place, name)?;
    let (source, entry) = find_file(&place, &name, &path.sha256).await?;
    let scope = source.scope();
    let served = |sha256: &str| {
        Served::new(sha256)
            .with_date(entry.uploaded_at)
            .with_header(header::CACHE_CONTROL, "private, max-age=31536000, immutable")
            .with_header(header::CONTENT_DISPOSITION, &attachment(&path.file))
    };
    if wants_metadata {
        let metadata = &entry.metadata;
        let served = served(&metadata.sha256);
        return serve_blob(
            scope,
            &method,
            &headers,
            &metadata.blob,
            metadata.size_bytes,
            served,
        )
        .await;
    }
    let view = View::of(scope);
    let gone = || place.missing(missing(&name));
    let version = view.version(source.package(), &entry.version).await?;
    let version = version.ok_or_else(gone)?;
    let found = view.file(&version, name.as_str()).await?.ok_or_else(gone)?;
    if method == Method::GET {
        view.note_download(&version, &headers).await?;
    }
    let served = served(&entry.sha256);
    serve_blob(scope, &method, &headers, &found.blob, found.size, served).await
}

async fn provenance(place: Place<Pull>, Path(path): Path<ProvenancePath>) -> Result<Response, ApiError> {
    let project: ProjectName = asked(&place, &path.project)?;
    let version: Version = asked(&place, &path.version)?;
    let file: FileName = asked(&place, &path.file)?;
    let not_found = || place.missing(missing(format_args!("the provenance of {file}")));
    if file.project != project || file.version != version {
        return Err(not_found());
    }
    let sources = sources(&place, &project).await?;
    let (source, entry) = locate(sources, &file).await?.ok_or_else(not_found)?;
    let attached = entry.attestations.as_ref().ok_or_else(not_found)?;
    let text = source.read(attached).await?;
    let project = source.scope().project().path.to_string();
    let document = attestations::provenance(&text, &project, entry.publisher.as_deref());
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.pypi.integrity.v1+json"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, document.to_string()).into_response())
}

/// A repeated upload is answered as the first one: clients send an upload again if they did not
/// hear the answer.
async fn publish(
    project: Authorised<Project, Publish>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let upload = Box::pin(upload::receive(project.access(), &scope, &headers, body)).await?;
    store::publish(&scope, &upload).await?;
    // Clients take no other status for success.
    Ok((StatusCode::OK, "").into_response())
}

#[derive(Deserialize)]
struct Yank {
    #[serde(default)]
    reason: String,
}

impl Yank {
    fn reason(&self) -> Result<&str, ApiError> {
        let is_plain = !self.reason.chars().any(char::is_control);
        if self.reason.chars().count() > MAX_REASON_CHARS || !is_plain {
            return Err(ApiError::parameter(format!(
                "reason is longer than {MAX_REASON_CHARS} characters or has control characters"
            )));
        }
        Ok(&self.reason)
    }
}

fn done() -> Response {
    Json(serde_json::json!({"ok": true})).into_response()
}

async fn yank_release(
    project: Authorised<Project, Publish>,
    Path(path): Path<VersionPath>,
    Params(yank): Params<Yank>,
) -> Result<Response, ApiError> {
    let (name, version) = (path.project.parse()?, path.version.parse()?);
    let reason = Some(yank.reason()?);
    store::set_yanked(&project.scope(NAME), &name, &version, None, reason).await?;
    Ok(done())
}

async fn unyank_release(
    project: Authorised<Project, Publish>,
    Path(path): Path<VersionPath>,
) -> Result<Response, ApiError> {
    let (name, version) = (path.project.parse()?, path.version.parse()?);
    store::set_yanked(&project.scope(NAME), &name, &version, None, None).await?;
    Ok(done())
}

async fn yank_file(
    project: Authorised<Project, Publish>,
    Path(path): Path<FilePath>,
    Params(yank): Params<Yank>,
) -> Result<Response, ApiError> {
    let reason = Some(yank.reason()?);
    set_file_yanked(&project, &path, reason).await
}

async fn unyank_file(
    project: Authorised<Project, Publish>,
    Path(path): Path<FilePath>,
) -> Result<Response, ApiError> {
    set_file_yanked(&project, &path, None).await
}

async fn set_file_yanked(
    project: &Authorised<Project, Publish>,
    path: &FilePath,
    reason: Option<&str>,
) -> Result<Response, ApiError> {
    let file: FileName = path.file.parse()?;
    let scope = project.scope(NAME);
    let only = Some((&file, path.sha256.as_str()));
    store::set_yanked(&scope, &file.project, &file.version, only, reason).await?;
    Ok(done())
}

async fn delete_release(
    project: Authorised<Project, Delete>,
    Path(path): Path<VersionPath>,
) -> Result<Response, ApiError> {
    let (name, version) = (path.project.parse()?, path.version.parse()?);
    store::delete_release(&project.scope(NAME), &name, &version).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn delete_file(
    project: Authorised<Project, Delete>,
    Path(path): Path<FilePath>,
) -> Result<Response, ApiError> {
    let file: FileName = path.file.parse()?;
    store::delete_file(&project.scope(NAME), &file, &path.sha256).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
