//! Handlers: the index, and cargo's web API.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use axum::{Extension, Json, Router};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};

use super::NAME;
use super::index::Config;
use super::names::{CrateName, Version};
use super::owners;
use super::receive::receive;
use super::search;
use super::shown;
use super::source::{Source, Versions};
use super::store::{self, CrateNotes, VersionNotes, no_crate, no_version};
use crate::app::App;
use crate::auth::{Action, Authorised, Publish, Pull, PullImmutable};
use crate::formats::Level;
use crate::formats::place::Place;
use crate::http::assembled::{Assembled, Wanted};
use crate::http::body::refuse_coding;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::media::attachment;
use crate::http::serve::{Served, serve_blob};
use crate::registry::package;
use crate::registry::project::Project;

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let mut routes = Router::new()
        .route("/index/config.json", get(config))
        .route("/index/{*path}", get(index_file))
        .route("/api/v1/crates", get(find))
        .route("/api/v1/crates/{crate}", get(about))
        .route("/api/v1/crates/{crate}/versions", get(versions))
        .route("/api/v1/crates/{crate}/owners", get(owners::list))
        .route("/api/v1/crates/{crate}/{version}", get(about_version))
        .route("/api/v1/crates/{crate}/{version}/download", get(download))
        .route("/api/v1/crates/{crate}/{version}/dependencies", get(dependencies))
        .route("/api/v1/crates/{crate}/{version}/readme", get(readme))
        .route("/me", get(me));
    let mut refused = "405 Method Not Allowed: crates are published to a project";
    if level == Level::Project {
        routes = routes.merge(changes());
        refused = "405 Method Not Allowed";
    }
    routes
        .method_not_allowed_fallback(async move || ApiError::new(ErrorKind::MethodNotAllowed, refused))
        .layer(Extension(Files(Assembled::new(CACHE_BYTES))))
}

/// What only a project has.
fn changes() -> Router<App> {
    Router::new()
        .route("/api/v1/crates/new", put(publish))
        .route("/api/v1/crates/{crate}/{version}/yank", delete(yank))
        .route("/api/v1/crates/{crate}/{version}/unyank", put(unyank))
        .route(
            "/api/v1/crates/{crate}/owners",
            put(owners::add).delete(owners::remove),
        )
}

/// The documents that are kept in memory.
#[derive(Clone)]
struct Files(Assembled);

#[derive(Deserialize)]
pub(super) struct CratePath {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct VersionPath {
    #[serde(rename = "crate")]
    name: String,
    version: String,
}

impl CratePath {
    /// The name that is asked for; what cannot be a name is not there.
    pub(super) fn name(&self) -> Result<CrateName, ApiError> {
        self.name.parse().map_err(|_| no_crate(&self.name))
    }
}

impl VersionPath {
    /// The name and version that are asked for; what cannot be one is not there.
    fn parse(&self) -> Result<(CrateName, Version), ApiError> {
        let name = self.name.parse().map_err(|_| no_crate(&self.name))?;
        let version = self.version.parse().map_err(|_| self.missing())?;
        Ok((name, version))
    }

    fn missing(&self) -> ApiError {
        no_version(&self.name, &self.version)
    }
}

/// What is asked about again each time, so that a publish is seen at once.
fn private_json(value: impl serde::Serialize) -> Response {
    ([(header::CACHE_CONTROL, "private, no-cache")], Json(value)).into_response()
}

async fn config(place: Place<Pull>) -> Result<Response, ApiError> {
    Ok(private_json(Config::of(place.base(), !place.is_open().await?)))
}

async fn index_file(
    place: Place<Pull>,
    Extension(Files(files)): Extension<Files>,
    Path(path): Path<IndexPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || place.missing(no_crate(&path.path));
    let name = CrateName::of_index_path(&path.path).ok_or_else(missing)?;
    let source = Source::find(&place, &name).await?;
    // Cargo guesses at other spellings of a name. They have no file of their own: it would be a
    // second identity of the same crate.
    let is_spelled_so = source.display_name().to_ascii_lowercase() == name.as_str();
    if !is_spelled_so || store::head_of(source.package())?.top.is_none() {
        return Err(missing());
    }
    let wanted = Wanted {
        etag: format!("i-{}", source.etag()),
        base: "",
        content_type: "text/plain; charset=utf-8",
        vary: "Accept-Encoding",
    };
    let source = Arc::new(source);
    files
        .answer(wanted, &headers, async || Ok(Versions::lines(source.clone())))
        .await
}

#[derive(Deserialize)]
struct IndexPath {
    path: String,
}

async fn find(
    place: Place<Pull>,
    query: Result<Query<search::Query>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(private_json(
        search::search(&place.scopes().await?, &query).await?,
    ))
}

/// The crate that a path names.
pub(super) async fn source_at<A: Action>(place: &Place<A>, path: &CratePath) -> Result<Source, ApiError> {
    let name = path.name().map_err(|error| place.missing(error))?;
    Source::find(place, &name).await
}

async fn about(
    place: Place<Pull>,
    Extension(Files(files)): Extension<Files>,
    Path(path): Path<CratePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let source = source_at(&place, &path).await?;
    let head = store::head_of(source.package())?;
    let members = json!({"crate": shown::package(source.package(), &head)});
    answer_json(&files, source, 'c', members, &headers).await
}

async fn versions(
    place: Place<Pull>,
    Extension(Files(files)): Extension<Files>,
    Path(path): Path<CratePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let source = source_at(&place, &path).await?;
    answer_json(&files, source, 'v', json!({}), &headers).await
}

/// Answers with a document about a crate; `letter` tells its entity tags from those of others.
async fn answer_json(
    files: &Assembled,
    source: Source,
    letter: char,
    members: Value,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = Wanted {
        etag: format!("{letter}-{}", source.etag()),
        base: "",
        content_type: "application/json",
        vary: "Accept-Encoding",
    };
    let source = Arc::new(source);
    let begin = async || Ok(Versions::json(source.clone(), members.clone()));
    files.answer(wanted, headers, begin).await
}

/// The version that a path names.
async fn version_at<A: Action>(
    place: &Place<A>,
    path: &VersionPath,
) -> Result<(Source, package::Version, VersionNotes), ApiError> {
    let (name, version) = path.parse().map_err(|error| place.missing(error))?;
    let source = Source::find(place, &name).await?;
    match source.version(&version).await? {
        Some((found, notes)) => Ok((source, found, notes)),
        None => Err(place.missing(path.missing())),
    }
}

async fn about_version(place: Place<Pull>, Path(path): Path<VersionPath>) -> Result<Response, ApiError> {
    let (source, found, notes) = version_at(&place, &path).await?;
    let version = shown::version(source.display_name(), &found, &notes);
    Ok(private_json(json!({ "version": version })))
}

async fn dependencies(place: Place<Pull>, Path(path): Path<VersionPath>) -> Result<Response, ApiError> {
    let (_, found, notes) = version_at(&place, &path).await?;
    Ok(private_json(shown::dependencies(&found, &notes)))
}

async fn readme(place: Place<Pull>, Path(path): Path<VersionPath>) -> Result<Response, ApiError> {
    let (source, found, notes) = version_at(&place, &path).await?;
    let missing = || {
        place.missing(ApiError::not_found(format!(
            "{} has no README",
            source.display_name()
        )))
    };
    let file = source
        .view()
        .file(&found, &store::file_name(source.display_name(), &notes.version))
        .await?
        .ok_or_else(missing)?;
    let readme = store::decode::<CrateNotes>(&file.metadata)?
        .readme
        .ok_or_else(missing)?;
    let headers = [
        // It is shown as it was written: what it may hold is nothing that a browser should run.
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, readme.text).into_response())
}

async fn download(
    place: Place<PullImmutable>,
    Path(path): Path<VersionPath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (source, found, notes) = version_at(&place, &path).await?;
    let view = source.view();
    let name = store::file_name(source.display_name(), &notes.version);
    let file = view.file(&found, &name).await?;
    let file = file.ok_or_else(|| place.missing(path.missing()))?;
    if method == Method::GET {
        view.note_download(&found, &headers).await?;
    }
    let served = Served::new(HEXLOWER.encode(&file.digests.sha256))
        .with_type("application/gzip")
        .with_date(file.created_at)
        .with_header(header::CACHE_CONTROL, "private, max-age=31536000, immutable")
        .with_header(header::CONTENT_DISPOSITION, &attachment(&file.name));
    serve_blob(source.scope(), &method, &headers, &file.blob, file.size, served).await
}

/// Where `cargo login` sends people.
async fn me() -> Response {
    let text = "To use this registry, cargo needs a token of Cairn.\n\n\
        Make one with `cairn token new`, or ask a maintainer of the project for a deploy token:\n\
        read_package_registry to build with crates, write_package_registry to publish them.\n\
        Give it to cargo with `cargo login --registry NAME`, or in CARGO_REGISTRIES_NAME_TOKEN.\n";
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn publish(
    project: Authorised<Project, Publish>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    refuse_coding(&headers)?;
    let scope = project.scope(NAME);
    let own = super::own_urls(&scope);
    let is_own = move |url: &str| own.contains(&super::without_trimmings(url).to_owned());
    let received = Box::pin(receive(project.access(), &scope, body, is_own)).await?;
    store::publish(&scope, &received).await?;
    Ok(private_json(json!({
        "warnings": {
            "invalid_categories": [],
            "invalid_badges": [],
            "other": received.publication.warnings,
        },
    })))
}

async fn yank(
    project: Authorised<Project, Publish>,
    Path(path): Path<VersionPath>,
) -> Result<Response, ApiError> {
    set_yanked(&project, &path, true).await
}

async fn unyank(
    project: Authorised<Project, Publish>,
    Path(path): Path<VersionPath>,
) -> Result<Response, ApiError> {
    set_yanked(&project, &path, false).await
}

async fn set_yanked(
    project: &Authorised<Project, Publish>,
    path: &VersionPath,
    yanked: bool,
) -> Result<Response, ApiError> {
    let (name, version) = path.parse()?;
    store::set_yanked(&project.scope(NAME), &name, &version, yanked).await?;
    Ok((StatusCode::OK, Json(json!({"ok": true}))).into_response())
}
