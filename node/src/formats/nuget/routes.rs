//! Handlers of the newer protocol, and of publishing.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::NAME;
use super::advise;
use super::catalog::{self, Catalogs};
use super::contents::{self, Part};
use super::documents::{Between, Registration, Versions};
use super::names::{PackageId, Version, package_file};
use super::receive::{What, receive};
use super::records::Wants;
use super::registration::{self, Hive, Urls, service_index};
use super::search::{self, Terms, Window};
use super::source::{self, Found, Source};
use super::store::{self, missing};
use super::v2;
use super::vulnerabilities;
use crate::app::App;
use crate::auth::{Action, Authorised, Publish, Pull, PullImmutable};
use crate::formats::place::Place;
use crate::formats::{Level, Mount};
use crate::http::assembled::{Assembled, Wanted};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::{Query, boolean, number};
use crate::http::serve_bytes;
use crate::registry::project::Project;

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let mut routes = Router::new()
        .route("/index.json", get(index))
        .route("/v3/index.json", get(index))
        .route("/metadata/{package}/{file}", get(second_hive))
        .route("/metadata/{package}/page/{lower}/{file}", get(second_hive_page))
        .route("/metadata-semver1/{package}/{file}", get(first_hive))
        .route(
            "/metadata-semver1/{package}/page/{lower}/{file}",
            get(first_hive_page),
        )
        .route("/download/{package}/index.json", get(versions))
        .route("/download/{package}/{version}/{file}", get(file))
        .route("/query", get(query))
        .route("/autocomplete", get(autocomplete))
        .route("/vulnerabilities/index.json", get(vulnerabilities::index))
        .route("/vulnerabilities/base.json", get(vulnerabilities::all))
        .route("/advisories/{package}", get(advise::list))
        .route("/symbols/{pdb}/{signature}/{file}", get(symbol))
        .route("/symbolfiles/{pdb}/{signature}/{file}", get(symbol))
        .route("/v2", get(v2::service))
        .route("/v2/", get(v2::service))
        .route("/v2/{*path}", get(v2::fetch))
        .route("/api/v2", get(v2::service))
        .route("/api/v2/", get(v2::service))
        .route("/api/v2/{*path}", get(v2::fetch));
    let mut refused = "packages are published to a project";
    if level == Level::Project {
        routes = routes.merge(changes()).merge(catalog());
        refused = "405 Method Not Allowed";
    }
    routes
        .method_not_allowed_fallback(async move || ApiError::new(ErrorKind::MethodNotAllowed, refused))
        .layer(Extension(Assembled::new(CACHE_BYTES)))
}

/// What only a project has that reads.
fn catalog() -> Router<App> {
    Router::new()
        .route("/catalog/index.json", get(catalog::index))
        .route("/catalog/{file}", get(catalog::page))
        .route("/catalog/data/{file}", get(catalog::leaf))
        .layer(Extension(Catalogs::new()))
}

/// What only a project has.
fn changes() -> Router<App> {
    Router::new()
        .route("/", put(publish))
        .route("/symbolpackage", put(publish_symbols))
        .route("/symbolpackage/", put(publish_symbols))
        .route("/{package}/{version}", delete(unlist).post(relist))
        .route("/v2/package/{package}/deprecations", put(advise::deprecate))
        .route(
            "/advisories/{package}/{advisory}",
            put(advise::put).delete(advise::delete),
        )
        .route("/v2", put(publish))
        .route("/v2/", put(publish))
        .route(
            "/v2/{*path}",
            put(v2::publish).delete(v2::unlist).post(v2::relist),
        )
        .route("/api/v2", put(publish))
        .route("/api/v2/", put(publish))
        .route(
            "/api/v2/{*path}",
            put(v2::publish).delete(v2::unlist).post(v2::relist),
        )
}

/// The package and version that a path names; what cannot be one is not there.
pub(super) fn asked(id: &str, version: &str) -> Result<(PackageId, Version), ApiError> {
    let gone = || ApiError::not_found(format!("there is no {id:.100} {version:.100} here"));
    Ok((
        id.parse().map_err(|_| gone())?,
        version.parse().map_err(|_| gone())?,
    ))
}

pub(super) fn asked_id(text: &str) -> Result<PackageId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::not_found(format!("there is no package {text:.100} here")))
}

/// What is asked about again each time, so that a publish is seen at once.
pub(super) fn private_json(value: impl serde::Serialize) -> Response {
    ([(header::CACHE_CONTROL, "private, no-cache")], Json(value)).into_response()
}

async fn index(place: Place<Pull>) -> Response {
    private_json(service_index(place.base(), place.project().is_some()))
}

#[derive(Deserialize)]
struct FilePath {
    package: String,
    file: String,
}

#[derive(Deserialize)]
struct PagePath {
    package: String,
    lower: String,
    file: String,
}

async fn first_hive(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<FilePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    about(&place, Hive::First, &documents, &path, &headers).await
}

async fn second_hive(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<FilePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    about(&place, Hive::Second, &documents, &path, &headers).await
}

async fn first_hive_page(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<PagePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    page(&place, Hive::First, &documents, &path, &headers).await
}

async fn second_hive_page(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<PagePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    page(&place, Hive::Second, &documents, &path, &headers).await
}

/// The registration of a package, or what is said of one version: `index.json`, or `1.0.0.json`.
async fn about(
    place: &Place<Pull>,
    hive: Hive,
    documents: &Assembled,
    path: &FilePath,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let id = asked_id(&path.package).map_err(|error| place.missing(error))?;
    let source = Source::find(place, &id).await?;
    let urls = Urls::new(place.base(), id.as_str());
    // GitLab's URLs have no ending here.
    let name = path.file.strip_suffix(".json").unwrap_or(&path.file);
    if name != "index" {
        let (id, version) = asked(&path.package, name).map_err(|error| place.missing(error))?;
        let found = source.version(&version).await?;
        let found = found.filter(|(record, notes)| hive.wants().takes(&notes.line(record.id)));
        let (_, notes) = found.ok_or_else(|| place.missing(missing(id, Some(&version))))?;
        return Ok(private_json(registration::document(
            &urls,
            hive,
            &notes,
            &source.warnings().await?,
        )));
    }
    if !source.has_any(hive.wants()).await? {
        return Err(place.missing(missing(id, None)));
    }
    let wanted = wanted(place, source.tag(hive.path()).await?);
    let begin = async || Registration::begin(source.clone(), urls.clone(), hive).await;
    documents.answer(wanted, headers, begin).await
}

pub(super) fn wanted(place: &Place<Pull>, etag: String) -> Wanted<'_> {
    Wanted {
        etag,
        base: place.base(),
        content_type: "application/json",
        vary: "Accept-Encoding",
    }
}

async fn page(
    place: &Place<Pull>,
    hive: Hive,
    documents: &Assembled,
    path: &PagePath,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let upper = path.file.strip_suffix(".json").unwrap_or(&path.file);
    let bounds = asked(&path.package, &path.lower).and_then(|(id, lower)| {
        let (_, upper) = asked(&path.package, upper)?;
        Ok((id, lower, upper))
    });
    let (id, lower, upper) = bounds.map_err(|error| place.missing(error))?;
    let source = Source::find(place, &id).await?;
    let urls = Urls::new(place.base(), id.as_str());
    let letter = format!("{} {} {}", hive.path(), lower.in_urls(), upper.in_urls());
    let wanted = wanted(place, source.tag(&letter.replace(' ', "-")).await?);
    let begin = async || {
        let bounds = (lower.clone(), upper.clone());
        Between::begin(source.clone(), urls.clone(), hive, bounds).await
    };
    documents.answer(wanted, headers, begin).await
}

#[derive(Deserialize)]
struct PackagePath {
    package: String,
}

async fn versions(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<PackagePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = asked_id(&path.package).map_err(|error| place.missing(error))?;
    let source = Source::find(&place, &id).await?;
    if !source.has_any(Wants::EVERYTHING).await? {
        return Err(place.missing(missing(id, None)));
    }
    let wanted = wanted(&place, source.tag("versions").await?);
    documents
        .answer(wanted, &headers, async || Ok(Versions::of(&source)))
        .await
}

#[derive(Deserialize)]
struct VersionFilePath {
    package: String,
    version: String,
    file: String,
}

/// What is fetched of a version, and from where.
enum Fetch {
    /// By a view that may be a little old: what is there does not change.
    Settled(Place<PullImmutable>),
    /// Of several projects, another one may come to count.
    Latest(Place<Pull>),
}

impl FromRequestParts<App> for Fetch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        Ok(match Mount::of(parts)?.level {
            Level::Project => Self::Settled(Place::from_request_parts(parts, app).await?),
            Level::Group | Level::Instance | Level::Host => {
                Self::Latest(Place::from_request_parts(parts, app).await?)
            }
        })
    }
}

async fn file(
    fetch: Fetch,
    Path(path): Path<VersionFilePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match fetch {
        Fetch::Settled(place) => file_at(&place, &path, &method, &headers).await,
        Fetch::Latest(place) => file_at(&place, &path, &method, &headers).await,
    }
}

async fn file_at<A: Action>(
    place: &Place<A>,
    path: &VersionFilePath,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (id, version) = asked(&path.package, &path.version).map_err(|error| place.missing(error))?;
    let name = path.file.to_ascii_lowercase();
    let no_file = || {
        let file = &path.file;
        place.missing(ApiError::not_found(format!("{id} {version} has no {file:.200}")))
    };
    let part = match name.as_str() {
        "icon" => Part::Icon,
        "license" => Part::License,
        "readme" => Part::Readme,
        name if name == format!("{}.nuspec", id.canonical()) => Part::Nuspec,
        name if is_package_file(name, &id, &version) => {
            return Found::find(place, &id, &version)
                .await?
                .answer(method, headers)
                .await;
        }
        _ => return Err(no_file()),
    };
    let found = Found::find(place, &id, &version).await?;
    let nuspec = found.notes()?.nuspec;
    let bytes = contents::read(place.access(), &found.scope, &found.file, &nuspec, part).await?;
    let bytes = bytes.ok_or_else(no_file)?;
    let served = found
        .served(&name)
        .with_type(part.media_type(&bytes))
        .with_header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    serve_bytes(method, headers, bytes, served)
}

/// Whether a file is the package itself, in whatever spelling of its version.
fn is_package_file(name: &str, id: &PackageId, version: &Version) -> bool {
    if name == package_file(id.as_str(), version) {
        return true;
    }
    let stem = name.strip_suffix(".nupkg").unwrap_or_default();
    let written = stem.strip_prefix(&format!("{}.", id.canonical()));
    written.is_some_and(|written| {
        written
            .parse::<Version>()
            .is_ok_and(|written| written == *version)
    })
}

#[derive(Deserialize)]
struct SearchQuery {
    #[serde(default)]
    q: String,
    id: Option<String>,
    #[serde(default, deserialize_with = "number")]
    skip: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    take: Option<u64>,
    #[serde(default, deserialize_with = "boolean")]
    prerelease: Option<bool>,
    #[serde(default, rename = "semVerLevel")]
    sem_ver_level: String,
    #[serde(default, rename = "packageType")]
    package_type: String,
}

impl SearchQuery {
    fn wants(&self) -> Wants {
        Wants::of(
            self.prerelease.unwrap_or(false),
            self.sem_ver_level.starts_with('2'),
        )
    }

    fn window(&self) -> Window {
        Window::new(self.skip, self.take)
    }
}

async fn query(place: Place<Pull>, Query(query): Query<SearchQuery>) -> Result<Response, ApiError> {
    let terms = Terms::new(&query.q, query.wants(), Some(&query.package_type));
    Ok(private_json(
        search::answer(&place, &terms, query.window()).await?,
    ))
}

async fn autocomplete(place: Place<Pull>, Query(query): Query<SearchQuery>) -> Result<Response, ApiError> {
    let (wants, kind) = (query.wants(), Some(query.package_type.as_str()));
    Ok(private_json(match &query.id {
        Some(id) => search::versions(&place, id, wants).await?,
        None => search::names(&place, &query.q, wants, kind, query.window()).await?,
    }))
}

#[derive(Deserialize)]
struct SymbolPath {
    pdb: String,
    signature: String,
    file: String,
}

async fn symbol(
    place: Place<Pull>,
    Path(path): Path<SymbolPath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (pdb, signature) = (path.pdb.to_lowercase(), path.signature.to_lowercase());
    if path.file.to_lowercase() != pdb {
        let error = ApiError::not_found("the file is not the one that the path begins with");
        return Err(place.missing(error));
    }
    source::symbol(&place, &pdb, &signature, &method, &headers).await
}

/// Takes a package that a client sends.
pub(super) async fn take(
    project: &Authorised<Project, Publish>,
    what: What,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let received = Box::pin(receive(project.access(), &scope, what, headers, body)).await?;
    match what {
        What::Package => store::publish(project, &received).await?,
        What::Symbols => store::publish_symbols(project, &received).await?,
    }
    Ok(StatusCode::CREATED.into_response())
}

async fn publish(
    project: Authorised<Project, Publish>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    take(&project, What::Package, &headers, body).await
}

async fn publish_symbols(
    project: Authorised<Project, Publish>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    take(&project, What::Symbols, &headers, body).await
}

#[derive(Deserialize)]
struct VersionPath {
    package: String,
    version: String,
}

/// Takes a version from lists: clients call it deleting, and it stays where it is needed.
async fn unlist(
    project: Authorised<Project, Publish>,
    Path(path): Path<VersionPath>,
) -> Result<Response, ApiError> {
    set_listed(&project, &path, false).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn relist(
    project: Authorised<Project, Publish>,
    Path(path): Path<VersionPath>,
) -> Result<Response, ApiError> {
    set_listed(&project, &path, true).await?;
    Ok(StatusCode::OK.into_response())
}

async fn set_listed(
    project: &Authorised<Project, Publish>,
    path: &VersionPath,
    is_listed: bool,
) -> Result<(), ApiError> {
    let (id, version) = asked(&path.package, &path.version)?;
    store::set_listed(&project.scope(NAME), &id, &version, is_listed).await
}
