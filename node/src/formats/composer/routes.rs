//! Handlers: what Composer asks, publishing, and what is said of packages besides.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use cairn_cluster::DigestSet;
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use super::advisories;
use super::artifact::{self, ArtifactError};
use super::index::{Form, archive_path};
use super::lists::{self, NamesQuery, SearchQuery};
use super::manifest::Abandoned;
use super::names::PackageName;
use super::records::file_name;
use super::source::{self, Source, absent};
use super::store::{self, Publication, Published, missing};
use super::versions::Version;
use crate::app::App;
use crate::auth::{Action, Authorised, Publish, Pull, PullImmutable};
use crate::formats::place::Place;
use crate::formats::{Level, inspected};
use crate::http::assembled::Assembled;
use crate::http::body::{self, JsonBody};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::{Query, boolean};
use crate::http::serve::{Served, serve_blob};
use crate::registry::group::Group;
use crate::registry::package;
use crate::registry::project::Project;

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// How requests come to packages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the routes of their level.
    Level,
    /// By the host root, with the name of a project or of a group.
    Project,
    Group,
}

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let (routes, refused) = match level {
        Level::Project => (reads().merge(changes()), "405 Method Not Allowed"),
        _ => (reads(), "packages are published to a project"),
    };
    with(routes, Way::Level, refused)
}

/// Those that are not of a level: GitLab's, which have a group in the singular, and Gitea's, where an owner is a
/// project here.
pub(super) fn elsewhere() -> Router<App> {
    let group = with(reads(), Way::Group, "packages are published to a project");
    let gitea = with(reads().merge(gitea()), Way::Project, "405 Method Not Allowed");
    Router::new()
        .nest("/api/v4/group/{id}/-/packages/composer", group)
        .nest("/api/packages/{id}/composer", gitea)
}

fn with(routes: Router<App>, way: Way, refused: &'static str) -> Router<App> {
    routes
        .method_not_allowed_fallback(async move || ApiError::new(ErrorKind::MethodNotAllowed, refused))
        .layer(Extension(way))
        .layer(Extension(Assembled::new(CACHE_BYTES)))
}

fn reads() -> Router<App> {
    Router::new()
        .route("/packages.json", get(root))
        .route("/p2/{vendor}/{file}", get(versions))
        .route("/p/{vendor}/{file}", get(all_versions))
        .route("/files/{vendor}/{name}/{*path}", get(archive))
        .route("/list.json", get(names))
        .route("/search.json", get(search))
        .route("/providers/{vendor}/{file}", get(providers))
        .route("/security-advisories", post(advisories::answer))
        .route("/filter", post(advisories::filter))
        .route("/advisories/{vendor}/{name}", get(advisories::list))
}

/// What only a project has.
fn changes() -> Router<App> {
    Router::new()
        .route("/", put(publish).post(publish_from_git))
        .route(
            "/advisories/{vendor}/{name}/{advisory}",
            put(advisories::put).delete(advisories::delete),
        )
        .route("/abandoned/{vendor}/{name}", put(abandon).delete(take_back))
}

fn gitea() -> Router<App> {
    Router::new().route("/", put(publish))
}

/// Where a request came in, whichever way it came.
pub(super) struct Here<A>(pub(super) Place<A>);

impl<A: Action> FromRequestParts<App> for Here<A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        Ok(Self(match parts.extensions.get() {
            Some(Way::Project) => Place::of_project(
                Authorised::<Project, A>::from_request_parts(parts, app).await?,
                NAME,
            ),
            Some(Way::Group) => Place::of_group(
                Authorised::<Group, A>::from_request_parts(parts, app).await?,
                NAME,
            ),
            Some(Way::Level) | None => Place::from_request_parts(parts, app).await?,
        }))
    }
}

/// A package by the parts of its name.
#[derive(Deserialize)]
pub(super) struct PackagePath {
    pub(super) vendor: String,
    pub(super) name: String,
}

/// A document by the parts of its path.
#[derive(Deserialize)]
struct DocumentPath {
    vendor: String,
    file: String,
}

impl DocumentPath {
    /// The name that it is about; empty if it is no document.
    fn name(&self) -> String {
        let name = self.file.strip_suffix(".json").unwrap_or_default();
        format!("{}/{name}", self.vendor)
    }
}

/// The name that is asked for: what cannot be one is not here.
pub(super) async fn asked(place: &Place<Pull>, text: &str) -> Result<PackageName, ApiError> {
    match text.parse() {
        Ok(name) => Ok(name),
        Err(error) => Err(absent(place, missing(error)).await),
    }
}

async fn root(
    Here(place): Here<Pull>,
    Extension(documents): Extension<Assembled>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    lists::root(&documents, &place, &headers).await
}

async fn versions(
    Here(place): Here<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<DocumentPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = path.name();
    let (name, form) = match name.strip_suffix("~dev") {
        Some(name) => (name, Form::Dev),
        None => (name.as_str(), Form::Released),
    };
    let name = asked(&place, name).await?;
    source::answer(&documents, &place, name, form, &headers).await
}

async fn all_versions(
    Here(place): Here<Pull>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<DocumentPath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = asked(&place, &path.name()).await?;
    source::answer(&documents, &place, name, Form::Legacy, &headers).await
}

async fn names(
    Here(place): Here<Pull>,
    Extension(documents): Extension<Assembled>,
    Query(query): Query<NamesQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    lists::names(&documents, &place, &query, &headers).await
}

async fn search(Here(place): Here<Pull>, Query(query): Query<SearchQuery>) -> Result<Response, ApiError> {
    Ok(Json(lists::search(&place, &query).await?).into_response())
}

async fn providers(Here(place): Here<Pull>, Path(path): Path<DocumentPath>) -> Result<Response, ApiError> {
    let name = asked(&place, &path.name()).await?;
    Ok(Json(lists::providers(&place, &name).await?).into_response())
}

#[derive(Deserialize)]
struct ArchivePath {
    vendor: String,
    name: String,
    /// A version, which may have slashes, and a file.
    path: String,
}

/// Which archive of which version.
struct Archive {
    name: PackageName,
    version: String,
    file: String,
    /// What it is saved as.
    saved_as: String,
}

impl ArchivePath {
    /// None if there can be no such archive.
    fn archive(self) -> Option<Archive> {
        let name: PackageName = format!("{}/{}", self.vendor, self.name).parse().ok()?;
        let (version, file) = self.path.rsplit_once('/')?;
        let version: Version = version.parse().ok()?;
        let version = version.canonical();
        let reference = file.strip_suffix(".zip")?;
        let is_reference = reference.len() == 40 && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
        let saved_as = format!("{}-{}.zip", name.base(), version.replace('/', "-"));
        is_reference.then(|| Archive {
            name,
            version,
            file: file_name(reference),
            saved_as,
        })
    }
}

/// Lets the caller in before anything is said of the path.
async fn archive(
    State(app): State<App>,
    Extension(way): Extension<Way>,
    Path(path): Path<ArchivePath>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let is_project = way == Way::Project || parts.extensions.get().is_some_and(is_of_project);
    // An archive is named by what it holds, so any view of the project that has it will do. Which projects a group
    // has can change.
    if is_project {
        let Here(place) = Here::<PullImmutable>::from_request_parts(&mut parts, &app).await?;
        let fetched = fetch(&place, path.archive(), &parts.method, &parts.headers).await;
        return fetched?.ok_or_else(|| place.missing(no_archive()));
    }
    let Here(place) = Here::<Pull>::from_request_parts(&mut parts, &app).await?;
    match fetch(&place, path.archive(), &parts.method, &parts.headers).await? {
        Some(response) => Ok(response),
        None => Err(absent(&place, no_archive()).await),
    }
}

fn is_of_project(mount: &crate::formats::Mount) -> bool {
    mount.level == Level::Project
}

fn no_archive() -> ApiError {
    missing("this archive of a package")
}

/// Answers with an archive, if it is here.
async fn fetch<A: Action>(
    place: &Place<A>,
    archive: Option<Archive>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Response>, ApiError> {
    let Some(archive) = archive else {
        return Ok(None);
    };
    let mut source = Source::find(place, &archive.name).await?;
    let mut found = find(source.as_ref(), &archive).await?;
    if let (None, Some(project)) = (&found, place.project()) {
        // What is not on this view may be there by now.
        source = Source::confirmed(&project.scope(NAME), &archive.name).await?;
        found = find(source.as_ref(), &archive).await?;
    }
    let (Some(source), Some((version, file))) = (source, found) else {
        return Ok(None);
    };
    if *method == Method::GET {
        source.view().note_download(&version, headers).await?;
    }
    let reference = archive.file.trim_end_matches(".zip");
    let served = Served::new(reference)
        .downloaded_as(&archive.saved_as)
        .with_date(file.created_at)
        .with_digests(&file.digests)
        .kept_by_clients(source.scope().project(), true);
    let answer = serve_blob(source.scope(), method, headers, &file.blob, file.size, served);
    answer.await.map(Some)
}

async fn find(
    source: Option<&Source>,
    archive: &Archive,
) -> Result<Option<(package::Version, package::File)>, ApiError> {
    let Some(source) = source else {
        return Ok(None);
    };
    let Some(version) = source.version(&archive.version).await? else {
        return Ok(None);
    };
    let file = source.view().file(&version, &archive.file).await?;
    Ok(file.map(|file| (version, file)))
}

/// What is said beside the archive.
#[derive(Deserialize)]
struct PublishQuery {
    version: Option<String>,
    #[serde(default, rename = "default-branch", deserialize_with = "boolean")]
    default_branch: Option<bool>,
}

/// A repeated upload is answered as the first one, but for its status.
async fn publish(
    project: Authorised<Project, Publish>,
    Query(query): Query<PublishQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let asked = query.version.filter(|version| !version.is_empty());
    let asked: Option<Version> = asked.map(|version| version.parse()).transpose()?;
    let scope = project.scope(NAME);
    let limit_bytes = scope.limits().file_bytes;
    body::refuse_file(&headers, limit_bytes)?;
    let pieces = body::stream(body).map_err(ApiError::from);
    let digests = DigestSet {
        sha1: true,
        ..DigestSet::default()
    };
    let look = |fed| artifact::inspect(fed, &artifact::LIMITS);
    let received = inspected::store((project.access(), &scope), digests, limit_bytes, pieces, look);
    let (manifest, stored) = Box::pin(received).await?;
    let publication = Publication::of(manifest, asked, query.default_branch == Some(true))?;
    let (published, reference) = store::publish(&project, &publication, &stored).await?;
    let status = match published {
        Published::Created => StatusCode::CREATED,
        Published::Changed | Published::Unchanged => StatusCode::OK,
    };
    let (name, version) = (&publication.manifest.name, &publication.version);
    let url = format!(
        "{}/{}",
        scope.project_url(),
        archive_path(name, version, &reference)
    );
    let published = Json(json!({
        "name": name.as_str(),
        "version": version.as_str(),
        "version_normalized": version.normalized(),
        "dist": {"type": "zip", "url": url, "reference": reference, "shasum": reference},
    }));
    Ok((status, published).into_response())
}

/// GitLab makes packages of the tags and branches of its own repositories.
async fn publish_from_git(_: Authorised<Project, Publish>) -> ApiError {
    ApiError::unprocessable(
        "there are no git repositories here that a tag or branch could be taken from; \
         send the archive: curl -T package.zip, to this URL with ?version=1.2.3",
    )
}

/// What to use in the place of an abandoned package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Abandonment {
    #[serde(default)]
    replacement: Option<String>,
}

async fn abandon(
    project: Authorised<Project, Publish>,
    Path(path): Path<PackagePath>,
    JsonBody(body): JsonBody<Abandonment>,
) -> Result<StatusCode, ApiError> {
    let name: PackageName = format!("{}/{}", path.vendor, path.name).parse()?;
    let replacement: Option<PackageName> = body.replacement.map(|name| name.parse()).transpose()?;
    let abandoned = Abandoned {
        replacement: replacement.map(|name| name.to_string()),
    };
    store::abandon(&project.scope(NAME), &name, Some(&abandoned)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn take_back(
    project: Authorised<Project, Publish>,
    Path(path): Path<PackagePath>,
) -> Result<StatusCode, ApiError> {
    let name: PackageName = format!("{}/{}", path.vendor, path.name).parse()?;
    store::abandon(&project.scope(NAME), &name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::bad_request(error.to_string())
    }
}
