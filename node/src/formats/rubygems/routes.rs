//! Handlers: the indexes, gems, and RubyGems' API.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Router};
use bytes::Bytes;
use cairn_cluster::Timestamp;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};

use super::changes::Ledgers;
use super::documents::Documents;
use super::names::{GemName, GemVersion, Platform, numbered};
use super::needs::{Needs, Wanted};
use super::people::{self, MAX_FORM_BYTES};
use super::receive::receive;
use super::records::version_key;
use super::search::search;
use super::source::{self, Found, Gzipped, Info, Names, Specs, Which};
use super::store::{self, Pushed, head_of, no_gem, version_of};
use super::{NAME, marshal, shown, trusted};
use crate::app::App;
use crate::auth::{Action, Authorised, Publish, Pull, PullImmutable};
use crate::formats::Level;
use crate::formats::place::Place;
use crate::http::body::{self, refuse_coding};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::{self, Query, number};
use crate::http::serve::{Served, serve_blob, serve_bytes};
use crate::registry::package::View;
use crate::registry::project::Project;
use crate::registry::time::{http_date, parse_http_date};

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// How many versions of a gem one answer has.
const MAX_VERSIONS: usize = 10_000;

/// A client whose clock is ahead of ours by less than this misses nothing.
const CLOCK_SKEW_MS: u64 = 60_000;

const TEXT: &str = "text/plain; charset=utf-8";
const BINARY: &str = "application/octet-stream";

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let mut routes = Router::new()
        .route("/", get(root))
        .route("/versions", get(versions_index))
        .route("/info/{gem}", get(info))
        .route("/names", get(names))
        .route("/specs.4.8", specs_of(Which::Releases, false))
        .route("/specs.4.8.gz", specs_of(Which::Releases, true))
        .route("/latest_specs.4.8", specs_of(Which::Latest, false))
        .route("/latest_specs.4.8.gz", specs_of(Which::Latest, true))
        .route("/prerelease_specs.4.8", specs_of(Which::Prereleases, false))
        .route("/prerelease_specs.4.8.gz", specs_of(Which::Prereleases, true))
        .route("/gems/{file}", get(gem_file))
        .route("/quick/Marshal.4.8/{file}", get(quick))
        .route("/api/v1/dependencies", get(dependencies))
        .route("/api/v1/attestations/{full_name}", get(attestations))
        .route("/api/v1/gems/{gem}", get(about))
        .route("/api/v1/gems/{gem}/owners.yaml", get(people::owners_as_yaml))
        .route("/api/v1/gems/{gem}/owners.json", get(people::owners_as_json))
        .route("/api/v1/versions/{gem}", get(versions))
        .route("/api/v1/versions/{gem}/latest.json", get(latest))
        .route("/api/v1/search.json", get(find))
        .route("/api/v2/rubygems/{gem}/versions/{version}", get(version))
        .route("/api/v1/api_key", get(people::api_key).post(people::api_key))
        .route("/api/v1/profile/me.yaml", get(people::profile));
    routes = match level {
        Level::Project => routes.merge(changes()),
        _ => routes.route("/api/v1/gems", post(not_here)),
    };
    routes
        .layer(Extension(Documents::new(CACHE_BYTES)))
        .layer(Extension(Ledgers::new()))
}

/// `gem push` prints this.
async fn not_here(_: Place<Pull>) -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, "gems are pushed to a project")
}

/// What only a project has.
fn changes() -> Router<App> {
    Router::new()
        .route("/api/v1/gems", post(push))
        .route("/api/v1/gems/yank", delete(yank))
        .route("/api/v1/gems/unyank", put(unyank))
        .route(
            "/api/v1/gems/{gem}/owners",
            post(people::add_owner).delete(people::remove_owner),
        )
        .merge(trusted::routes_of_project())
}

#[derive(Deserialize)]
pub(super) struct GemPath {
    pub(super) gem: String,
}

#[derive(Deserialize)]
struct FilePath {
    file: String,
}

/// One line that `gem` prints.
pub(super) fn line(text: String) -> Response {
    private(TEXT, text)
}

/// What is asked about again each time.
pub(super) fn private(content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body.into()).into_response()
}

/// That it answers tells `gem` that there is a compact index.
async fn root(_: Place<Pull>) -> Response {
    line("A repository of gems\n".into())
}

#[derive(Deserialize)]
struct OfGems {
    #[serde(default)]
    gems: String,
}

/// What the versions of some gems need. Clients ask about none to learn that they may ask.
async fn dependencies(
    place: Place<Pull>,
    Query(OfGems { gems }): Query<OfGems>,
    Extension(documents): Extension<Documents>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if gems.is_empty() {
        return Ok(private(BINARY, Body::empty()));
    }
    let wanted = Wanted::find(&place, &gems).await?;
    let begin = async || Needs::of(wanted.clone());
    let request = (&method, &headers);
    let state = wanted.state.clone();
    documents
        .answer(state, request, |facts| facts.served(BINARY), begin)
        .await
}

async fn versions_index(
    place: Place<Pull>,
    Extension(ledgers): Extension<Ledgers>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Box::pin(ledgers.answer(place, &method, &headers)).await
}

async fn info(
    place: Place<Pull>,
    Extension(documents): Extension<Documents>,
    Path(GemPath { gem }): Path<GemPath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (scope, package) = source::gem(&place, &gem).await?;
    let state = source::info_state(&scope, &package).await?;
    let begin = async || Ok(Info::of(&scope, &package));
    let request = (&method, &headers);
    documents
        .answer(state, request, |facts| facts.served(TEXT), begin)
        .await
}

async fn names(
    place: Place<Pull>,
    Extension(documents): Extension<Documents>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scopes = Arc::new(place.scopes().await?);
    let state = source::state("names", &scopes).await?;
    let begin = async || Ok(Names::of(scopes.clone()));
    let request = (&method, &headers);
    documents
        .answer(state, request, |facts| facts.served(TEXT), begin)
        .await
}

/// What answers with a Marshal index.
fn specs_of(which: Which, is_compressed: bool) -> MethodRouter<App> {
    get(async move |place, documents, method, headers| {
        specs(which, is_compressed, place, documents, method, headers).await
    })
}

async fn specs(
    which: Which,
    is_compressed: bool,
    place: Place<Pull>,
    Extension(documents): Extension<Documents>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scopes = Arc::new(place.scopes().await?);
    let changed_at = source::changed_at(&place).await?;
    if let Some(changed_at) = changed_at
        && is_unchanged(&headers, changed_at)
    {
        let headers = [
            (header::CACHE_CONTROL, "private, no-cache".to_owned()),
            (header::LAST_MODIFIED, http_date(changed_at)),
        ];
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let decorate = |facts: &super::documents::Facts| {
        let served = facts.served(BINARY);
        match changed_at {
            Some(changed_at) => served.with_header(header::LAST_MODIFIED, &http_date(changed_at)),
            None => served,
        }
    };
    let request = (&method, &headers);
    let name = which.name();
    if is_compressed {
        let state = source::state(&format!("{name}.gz"), &scopes).await?;
        let begin = async || Ok(Gzipped::new(Specs::of(scopes.clone(), which).await?));
        return documents.answer(state, request, decorate, begin).await;
    }
    let state = source::state(name, &scopes).await?;
    let begin = async || Specs::of(scopes.clone(), which).await;
    documents.answer(state, request, decorate, begin).await
}

/// Whether the client's copy is of a time at which nothing had changed for a while. Old clients know
/// nothing but a date, in whole seconds and of their own clock.
fn is_unchanged(headers: &HeaderMap, changed_at: Timestamp) -> bool {
    let date = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .and_then(parse_http_date)
    };
    !headers.contains_key(header::IF_NONE_MATCH)
        && date(header::IF_MODIFIED_SINCE).is_some_and(|since| changed_at.0 + CLOCK_SKEW_MS <= since.0)
}

async fn gem_file(
    place: Place<PullImmutable>,
    Path(FilePath { file }): Path<FilePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = source::by_file(&place, &file).await?;
    let stored = found.file(&place).await?;
    if method == Method::GET {
        View::of(&found.scope)
            .note_download(&found.version, &headers)
            .await?;
    }
    let served = Served::new(HEXLOWER.encode(&stored.digests.sha256))
        .downloaded_as(&file)
        .with_type(BINARY)
        .with_date(stored.created_at)
        .with_digests(&stored.digests)
        .kept_by_clients(found.scope.project(), true);
    serve_blob(&found.scope, &method, &headers, &stored.blob, stored.size, served).await
}

async fn quick(
    place: Place<PullImmutable>,
    Path(FilePath { file }): Path<FilePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let full = file
        .strip_suffix(".gemspec.rz")
        .ok_or_else(|| place.missing(no_gem()))?;
    let found = source::by_full_name(&place, full).await?;
    let written = marshal::quick(&found.notes.spec).map_err(ApiError::internal)?;
    let served = Served::new(format!("{}-4.8", found.notes.sha256))
        .with_type(BINARY)
        .with_date(found.version.created_at)
        .kept_by_clients(found.scope.project(), true);
    serve_bytes(&method, &headers, Bytes::from(written), served)
}

#[derive(Deserialize)]
struct FullNamePath {
    full_name: String,
}

/// The attestations of a gem, as they were sent; without any, an empty list.
async fn attestations(
    place: Place<Pull>,
    Path(FullNamePath { full_name }): Path<FullNamePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let full_name = without(&place, &full_name, ".json")?;
    let found = source::by_full_name(&place, full_name).await?;
    let Some(stored) = found.attestations().await? else {
        return Ok(json_of(&json!([])));
    };
    let served = Served::new(HEXLOWER.encode(&stored.digests.sha256))
        .with_type("application/json")
        .with_date(stored.created_at)
        .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .kept_by_clients(found.scope.project(), false);
    serve_blob(&found.scope, &method, &headers, &stored.blob, stored.size, served).await
}

/// What stands before an ending in a path.
fn without<'p, A: Action>(place: &Place<A>, path: &'p str, ending: &str) -> Result<&'p str, ApiError> {
    path.strip_suffix(ending).ok_or_else(|| place.missing(no_gem()))
}

/// The version that is shown of a gem.
async fn shown_of(place: &Place<Pull>, gem: &str) -> Result<Option<Found>, ApiError> {
    let (scope, package) = source::gem(place, gem).await?;
    let Some(top) = head_of(&package)?.top else {
        return Ok(None);
    };
    let found = version_of(&scope, &package, &version_key(&top)).await?;
    Ok(found.map(|(version, notes)| Found {
        scope,
        version,
        notes,
    }))
}

fn json_of(value: &Value) -> Response {
    private("application/json", value.to_string())
}

async fn about(place: Place<Pull>, Path(GemPath { gem }): Path<GemPath>) -> Result<Response, ApiError> {
    let gem = without(&place, &gem, ".json")?;
    let found = shown_of(&place, gem)
        .await?
        .ok_or_else(|| place.missing(no_gem()))?;
    Ok(json_of(&shown::gem(place.base(), &found)))
}

async fn versions(place: Place<Pull>, Path(GemPath { gem }): Path<GemPath>) -> Result<Response, ApiError> {
    let gem = without(&place, &gem, ".json")?;
    let (scope, package) = source::gem(&place, gem).await?;
    let mut rows = source::rows(&scope, &package).await?;
    rows.sort_by(|a, b| {
        b.version
            .order(&a.version)
            .then_with(|| a.platform.cmp(&b.platform))
    });
    let mut shown = Vec::new();
    for row in rows.iter().take(MAX_VERSIONS) {
        let found = version_of(&scope, &package, &numbered(&row.version, &row.platform)).await?;
        shown.extend(found.map(|(version, notes)| shown::version(&version, &notes)));
    }
    match shown.is_empty() {
        true => Err(place.missing(no_gem())),
        false => Ok(json_of(&json!(shown))),
    }
}

async fn latest(place: Place<Pull>, Path(GemPath { gem }): Path<GemPath>) -> Result<Response, ApiError> {
    // As the public service says it of a gem that is not there, too.
    let version = match shown_of(&place, &gem).await {
        Ok(found) => found.map(|found| found.notes.spec.version.to_string()),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(json_of(
        &json!({"version": version.unwrap_or_else(|| "unknown".into())}),
    ))
}

#[derive(Deserialize)]
struct VersionPath {
    gem: String,
    version: String,
}

#[derive(Deserialize)]
struct OfPlatform {
    platform: Option<String>,
}

async fn version(
    place: Place<Pull>,
    Path(path): Path<VersionPath>,
    Query(query): Query<OfPlatform>,
) -> Result<Response, ApiError> {
    let missing = || place.missing(no_gem());
    let (scope, package) = source::gem(&place, &path.gem).await?;
    let version: GemVersion = without(&place, &path.version, ".json")?
        .parse()
        .map_err(|_| missing())?;
    let platform = match query.platform {
        Some(platform) => platform.parse().map_err(|_| missing())?,
        None => Platform::ruby(),
    };
    let found = version_of(&scope, &package, &numbered(&version, &platform)).await?;
    let (version, notes) = found.filter(|(_, notes)| notes.is_listed).ok_or_else(missing)?;
    let mut shown = shown::version(&version, &notes);
    let found = Found {
        scope,
        version,
        notes,
    };
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, shown::gem(place.base(), &found)) {
        shown.extend(more);
    }
    Ok(json_of(&shown))
}

#[derive(Deserialize)]
struct Searched {
    #[serde(default)]
    query: String,
    #[serde(default, deserialize_with = "number")]
    page: Option<u64>,
}

async fn find(place: Place<Pull>, Query(wanted): Query<Searched>) -> Result<Response, ApiError> {
    let page = usize::try_from(wanted.page.unwrap_or(1)).unwrap_or(usize::MAX);
    let found = search(&place.scopes().await?, &wanted.query, page).await?;
    let shown: Vec<Value> = found
        .iter()
        .map(|found| shown::gem(place.base(), found))
        .collect();
    Ok(json_of(&json!(shown)))
}

async fn push(
    project: Authorised<Project, Publish>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    refuse_coding(&headers)?;
    let scope = project.scope(NAME);
    let gem = Box::pin(receive(project.access(), &scope, &headers, body)).await?;
    let pushed = store::publish(&project, &gem).await?;
    let of = format!(
        "{} ({})",
        gem.spec.name,
        numbered(&gem.spec.version, &gem.spec.platform)
    );
    Ok(line(match pushed {
        Pushed::Added => format!("Successfully registered gem: {of}"),
        Pushed::Attested => format!("Gem was already pushed: {of}; its attestations were added"),
        Pushed::Unchanged => format!("Gem was already pushed: {of}"),
    }))
}

/// What `gem yank` sends.
#[derive(Deserialize)]
struct Yanked {
    #[serde(default)]
    gem_name: String,
    #[serde(default)]
    version: String,
    platform: Option<String>,
}

async fn yank(project: Authorised<Project, Publish>, body: Body) -> Result<Response, ApiError> {
    let (name, version) = set_yanked(&project, body, true).await?;
    Ok(line(format!("Successfully deleted gem: {name} ({version})")))
}

async fn unyank(project: Authorised<Project, Publish>, body: Body) -> Result<Response, ApiError> {
    let (name, version) = set_yanked(&project, body, false).await?;
    Ok(line(format!("Successfully restored gem: {name} ({version})")))
}

async fn set_yanked(
    project: &Authorised<Project, Publish>,
    body: Body,
    yanked: bool,
) -> Result<(GemName, String), ApiError> {
    let asked: Yanked = form::parse(&body::whole(body, MAX_FORM_BYTES).await?)?;
    let name: GemName = asked.gem_name.parse().map_err(|_| no_gem())?;
    let version: GemVersion = asked.version.parse()?;
    let platform = match asked.platform.filter(|platform| !platform.is_empty()) {
        Some(platform) => platform.parse()?,
        None => Platform::ruby(),
    };
    let numbered = store::set_yanked(&project.scope(NAME), &name, &version, &platform, yanked).await?;
    Ok((name, numbered))
}
