//! Handlers: the classic repository of a channel, and ChartMuseum's API, below two paths: that of
//! the channel, and GitLab's, which is where `helm cm-push` looks.

use axum::body::Body;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use super::contents::{self, Contents};
use super::index::Form;
use super::names::{Channel, ChartName, PROV, Version};
use super::receive::{self, Upload};
use super::source::{self, Found, Window};
use super::store::{self, no_chart};
use crate::app::App;
use crate::auth::{Authorised, Delete, Publish, Pull};
use crate::formats::Level;
use crate::formats::place::Place;
use crate::http::assembled::Assembled;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::{Query, number};
use crate::http::serve::{Served, serve_blob};
use crate::registry::package::View;
use crate::registry::project::Project;

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let mut routes = Router::new()
        .route("/{channel}/index.yaml", get(index))
        .route("/{channel}/charts/{file}", get(file))
        .route("/{channel}/{file}", get(file))
        .route("/info", get(info))
        .route("/health", get(health))
        .route("/{channel}/info", get(info))
        .route("/{channel}/health", get(health))
        .route("/api/{channel}/charts", get(charts))
        .route("/api/{channel}/charts/{name}", get(versions))
        .route("/api/{channel}/charts/{name}/{version}", get(version))
        .route("/api/{channel}/charts/{name}/{version}/values", get(values))
        .route("/api/{channel}/charts/{name}/{version}/templates", get(templates))
        .route("/{channel}/api/charts", get(charts))
        .route("/{channel}/api/charts/{name}", get(versions))
        .route("/{channel}/api/charts/{name}/{version}", get(version))
        .route("/{channel}/api/charts/{name}/{version}/values", get(values))
        .route("/{channel}/api/charts/{name}/{version}/templates", get(templates));
    let mut refused = "charts are published to a project";
    if level == Level::Project {
        routes = routes.merge(changes());
        refused = "405 Method Not Allowed";
    }
    routes
        .method_not_allowed_fallback(async move || ApiError::new(ErrorKind::MethodNotAllowed, refused))
        .layer(Extension(Assembled::new(CACHE_BYTES)))
}

/// What only a project has.
fn changes() -> Router<App> {
    Router::new()
        .route("/api/{channel}/charts", post(publish))
        .route("/api/{channel}/prov", post(publish_provenance))
        .route("/api/{channel}/charts/{name}/{version}", delete(remove))
        .route("/{channel}/api/charts", post(publish))
        .route("/{channel}/api/prov", post(publish_provenance))
        .route("/{channel}/api/charts/{name}/{version}", delete(remove))
}

#[derive(Deserialize)]
struct ChannelPath {
    channel: String,
}

#[derive(Deserialize)]
struct FilePath {
    channel: String,
    file: String,
}

#[derive(Deserialize)]
struct ChartPath {
    channel: String,
    name: String,
}

#[derive(Deserialize)]
struct VersionPath {
    channel: String,
    name: String,
    version: String,
}

/// Parses what is asked for in a path: what cannot be its name is not there.
fn asked<T: std::str::FromStr>(place: &Place<Pull>, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| place.missing(no_chart()))
}

/// The path of the registry, without a slash at its end: what stands before `/api` in URLs that
/// `helm cm-push` makes. Where charts are not published, it hears of that there.
fn context_path(place: &Place<Pull>) -> String {
    let host = place.access().base_url().to_string();
    let path = place.base().strip_prefix(&host).unwrap_or_default();
    path.trim_end_matches('/').to_owned()
}

async fn index(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<ChannelPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let channel: Channel = asked(&place, &path.channel)?;
    let context_path = context_path(&place);
    let form = Form::Index { context_path };
    source::answer(&documents, place, channel, form, None, Window::ALL, &headers).await
}

#[derive(Deserialize)]
struct Paging {
    #[serde(default, deserialize_with = "number")]
    offset: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<u64>,
}

async fn charts(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<ChannelPath>,
    Query(paging): Query<Paging>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let channel: Channel = asked(&place, &path.channel)?;
    let window = Window {
        offset: paging.offset.unwrap_or(0),
        limit: paging.limit.unwrap_or(u64::MAX),
    };
    source::answer(&documents, place, channel, Form::Charts, None, window, &headers).await
}

async fn versions(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<ChartPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let channel: Channel = asked(&place, &path.channel)?;
    let name: ChartName = asked(&place, &path.name)?;
    let form = Form::Versions;
    source::answer(
        &documents,
        place,
        channel,
        form,
        Some(&name),
        Window::ALL,
        &headers,
    )
    .await
}

async fn found(place: &Place<Pull>, path: &VersionPath) -> Result<Found, ApiError> {
    let channel: Channel = asked(place, &path.channel)?;
    let name: ChartName = asked(place, &path.name)?;
    source::by_version(place, &channel, &name, &path.version).await
}

/// What is asked about again each time, so that a publish is seen at once.
fn private(content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body.into()).into_response()
}

async fn version(place: Place<Pull>, Path(path): Path<VersionPath>) -> Result<Response, ApiError> {
    let found = found(&place, &path).await?;
    Ok(private("application/json", found.entry.document))
}

async fn contents_of(place: &Place<Pull>, path: &VersionPath) -> Result<Contents, ApiError> {
    let found = found(place, path).await?;
    let (_, file) = found.file("").await?.ok_or_else(|| place.missing(no_chart()))?;
    contents::read(place.access(), &found.scope, &file).await
}

async fn values(place: Place<Pull>, Path(path): Path<VersionPath>) -> Result<Response, ApiError> {
    let values = contents_of(&place, &path).await?.values;
    let missing = || place.missing(ApiError::not_found("the chart has no values.yaml"));
    Ok(private("application/yaml", values.ok_or_else(missing)?))
}

async fn templates(place: Place<Pull>, Path(path): Path<VersionPath>) -> Result<Response, ApiError> {
    let templates = contents_of(&place, &path).await?.templates();
    Ok(private("application/json", templates.to_string()))
}

async fn file(
    place: Place<Pull>,
    Path(path): Path<FilePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let channel: Channel = asked(&place, &path.channel)?;
    let (chart, suffix, content_type) = match path.file.strip_suffix(PROV) {
        Some(chart) => (chart, PROV, "application/pgp-signature"),
        None => (path.file.as_str(), "", "application/gzip"),
    };
    let found = source::by_file(&place, &channel, chart).await?;
    let missing = || {
        let file = &path.file;
        place.missing(ApiError::not_found(format!(
            "{file:.255} is not in the channel {channel}"
        )))
    };
    let (version, file) = found.file(suffix).await?.ok_or_else(missing)?;
    if method == Method::GET && suffix.is_empty() {
        View::of(&found.scope).note_download(&version, &headers).await?;
    }
    // It may be overwritten, by force.
    let served = Served::new(HEXLOWER.encode(&file.digests.sha256))
        .downloaded_as(&path.file)
        .with_type(content_type)
        .with_date(file.created_at)
        .with_digests(&file.digests)
        .kept_by_clients(found.scope.project(), false);
    serve_blob(&found.scope, &method, &headers, &file.blob, file.size, served).await
}

async fn info(_: Place<Pull>) -> Response {
    Json(json!({"version": concat!("cairn ", env!("CARGO_PKG_VERSION"))})).into_response()
}

async fn health(_: Place<Pull>) -> Response {
    Json(json!({"healthy": true})).into_response()
}

/// Whether the query has `force`, which needs no value.
fn is_forced(query: Option<&str>) -> bool {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs
        .into_iter()
        .any(|(name, value)| name == "force" && value != "false")
}

fn saved() -> Response {
    (StatusCode::CREATED, Json(json!({"saved": true}))).into_response()
}

async fn publish(
    project: Authorised<Project, Publish>,
    Path(path): Path<ChannelPath>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let channel: Channel = path.channel.parse()?;
    let scope = project.scope(NAME);
    let upload = Box::pin(receive::receive(project.access(), &scope, &headers, body)).await?;
    store::publish(&project, &channel, &upload, is_forced(query.as_deref())).await?;
    Ok(saved())
}

async fn publish_provenance(
    project: Authorised<Project, Publish>,
    Path(path): Path<ChannelPath>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let channel: Channel = path.channel.parse()?;
    let upload = Upload {
        chart: None,
        provenance: Some(receive::receive_provenance(&headers, body).await?),
    };
    store::publish(&project, &channel, &upload, is_forced(query.as_deref())).await?;
    Ok(saved())
}

async fn remove(
    project: Authorised<Project, Delete>,
    Path(path): Path<VersionPath>,
) -> Result<Response, ApiError> {
    let not_found = |_| no_chart();
    let channel: Channel = path.channel.parse().map_err(not_found)?;
    let name: ChartName = path.name.parse().map_err(not_found)?;
    let version = Version::asked(&path.version).map_err(not_found)?;
    store::delete(&project.scope(NAME), &channel, &name, &version).await?;
    Ok(Json(json!({"deleted": true})).into_response())
}
