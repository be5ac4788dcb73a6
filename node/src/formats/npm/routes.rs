//! Handlers of packages: packuments, tarballs, publishing, tags.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post, put};
use axum::{Extension, Json, Router};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::NAME;
use super::document::Document;
use super::index::Form;
use super::names::{DistTag, NameError, PackageName, Version, join_scopes};
use super::packument::{Packuments, Source};
use super::publication::{Publication, PublicationError};
use super::receive::{Received, receive, receive_small};
use super::store::{self, Published, VersionNotes, no_package, no_version};
use super::{account, advisories, audit, people, search, tokens};
use crate::app::App;
use crate::auth::{Action, Authorised, Delete, Publish, Pull, PullImmutable};
use crate::formats::Level;
use crate::formats::place::Place;
use crate::http::body::{self, refuse_coding};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::media::attachment;
use crate::http::serve::{Served, serve_blob};
use crate::registry::Scope;
use crate::registry::package::View;
use crate::registry::project::Project;

/// The largest document without a tarball: an edited packument of a package with many versions.
const MAX_EDITED_BYTES: u64 = 64 << 20;

/// The largest body that holds a few words.
const MAX_SMALL_BYTES: usize = 64 << 10;

/// The routes of one level.
///
/// All of them are behind one that brings the spellings of scoped names into one; only then can
/// a path be matched against the table.
pub(super) fn routes(level: Level) -> Router<App> {
    let joined = Arc::new(Joined {
        table: table(level),
        ready: OnceLock::new(),
    });
    let handle = move |State(app): State<App>, request: Request| joined.clone().handle(app, request);
    Router::new().route("/{*path}", any(handle))
}

/// The table, and the same with the state of a node once there was a request.
struct Joined {
    table: Router<App>,
    ready: OnceLock<Router>,
}

impl Joined {
    async fn handle(self: Arc<Self>, app: App, mut request: Request) -> Response {
        let router = self.ready.get_or_init(|| self.table.clone().with_state(app));
        if let Some(uri) = with_scopes_joined(request.uri()) {
            *request.uri_mut() = uri;
        }
        match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn with_scopes_joined(uri: &Uri) -> Option<Uri> {
    let std::borrow::Cow::Owned(path) = join_scopes(uri.path()) else {
        return None;
    };
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

/// Every route, as clients know them.
fn table(level: Level) -> Router<App> {
    let mut routes = Router::new()
        .route("/{package}", get(packument))
        .route("/{package}/{version}", get(manifest))
        .route("/{package}/-/{file}", get(tarball))
        .route("/-/package/{package}/dist-tags", get(dist_tags))
        .route("/-/package/{package}/collaborators", get(collaborators))
        .route("/-/package/{package}/visibility", get(visibility))
        .route("/-/v1/search", get(find))
        .route("/-/ping", get(ping))
        .route("/-/npm/v1/attestations/{spec}", get(attestations))
        .merge(account::routes())
        .merge(tokens::routes())
        .merge(people::routes())
        .merge(advisories::routes())
        .merge(audit::routes());
    let mut refused = "405 Method Not Allowed: packages are published to a project";
    if level == Level::Project {
        routes = routes.merge(changes());
        refused = "405 Method Not Allowed";
    }
    routes
        .fallback(async || ApiError::not_found("404 Not Found"))
        .method_not_allowed_fallback(async move || ApiError::new(ErrorKind::MethodNotAllowed, refused))
        .layer(Extension(Packuments::new()))
}

/// What only a project has.
fn changes() -> Router<App> {
    Router::new()
        .route("/{package}", put(put_package))
        .route(
            "/{package}/-rev/{revision}",
            put(put_revision).delete(delete_package),
        )
        .route("/{package}/-/{file}/-rev/{revision}", delete(delete_tarball))
        .route(
            "/-/package/{package}/dist-tags/{tag}",
            put(put_tag).post(put_tag).delete(delete_tag),
        )
        .route("/-/package/{package}/access", post(set_access))
        .merge(advisories::changes())
}

#[derive(Deserialize)]
pub(super) struct PackagePath {
    pub(super) package: String,
}

#[derive(Deserialize)]
struct VersionPath {
    package: String,
    version: String,
}

#[derive(Deserialize)]
struct FilePath {
    package: String,
    file: String,
}

#[derive(Deserialize)]
struct RevisionPath {
    package: String,
    revision: String,
}

#[derive(Deserialize)]
struct TagPath {
    package: String,
    tag: String,
}

#[derive(Deserialize)]
struct SpecPath {
    spec: String,
}

/// A name that is asked for: what cannot be a name is not there.
pub(super) fn asked(name: &str) -> Result<PackageName, ApiError> {
    name.parse()
        .map_err(|error: NameError| ApiError::not_found(error.to_string()))
}

/// A name that is to be written.
pub(super) fn written(name: &str) -> Result<PackageName, ApiError> {
    Ok(name.parse::<PackageName>()?)
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        ApiError::bad_request(error.to_string())
    }
}

pub(super) fn private_json(value: Value) -> Response {
    let headers = [(header::CACHE_CONTROL, "private, no-cache")];
    (headers, Json(value)).into_response()
}

fn done(status: StatusCode) -> Response {
    (status, Json(json!({"ok": true, "success": true}))).into_response()
}

#[derive(Deserialize)]
struct PackumentQuery {
    #[serde(default)]
    write: Option<String>,
}

async fn packument(
    place: Place<Pull>,
    Extension(packuments): Extension<Packuments>,
    Path(path): Path<PackagePath>,
    Query(query): Query<PackumentQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = asked(&path.package).map_err(|error| place.missing(error))?;
    let accept = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    // Who is about to write needs everything, whatever the headers say.
    let form = match query.write.as_deref() {
        Some("true") => Form::Full,
        _ => Form::accepted(&accept.collect::<Vec<_>>().join(",")),
    };
    let sources = sources(&place, &name).await?;
    packuments
        .answer(&name, sources, form, place.base(), &headers)
        .await
}

/// The packages of this name here: at least one.
pub(super) async fn sources<A: Action>(
    place: &Place<A>,
    name: &PackageName,
) -> Result<Vec<Source>, ApiError> {
    let mut sources = Vec::new();
    // At the instance the scope is the root group, so that nobody can put a package beside another's.
    for scope in place.scopes_named(name.as_str(), name.scope()).await? {
        sources.extend(Source::find(scope, name).await?);
    }
    if sources.is_empty() {
        return Err(place.missing(no_package(name)));
    }
    Ok(sources)
}

/// A version or a tag as a URL names it.
async fn resolve(sources: &[Source], text: &str) -> Result<Option<Version>, ApiError> {
    if let Ok(version) = text.parse::<Version>() {
        return Ok(Some(version));
    }
    let Ok(tag) = text.parse::<DistTag>() else {
        return Ok(None);
    };
    for source in sources {
        if let Some(version) = source.tags().await?.get(&tag) {
            return Ok(Some(version.clone()));
        }
    }
    Ok(None)
}

/// The first of the packages that has this version.
pub(super) async fn locate<'s>(
    sources: &'s [Source],
    version: &Version,
) -> Result<Option<(&'s Source, crate::registry::package::Version)>, ApiError> {
    for source in sources {
        if let Some(found) = source.version(version).await? {
            return Ok(Some((source, found)));
        }
    }
    Ok(None)
}

async fn manifest(place: Place<Pull>, Path(path): Path<VersionPath>) -> Result<Response, ApiError> {
    let name = asked(&path.package).map_err(|error| place.missing(error))?;
    let sources = sources(&place, &name).await?;
    let missing = || place.missing(no_version(&name, &path.version));
    let version = resolve(&sources, &path.version).await?.ok_or_else(missing)?;
    let (_, found) = locate(&sources, &version).await?.ok_or_else(missing)?;
    let notes: VersionNotes = store::decode(&found.metadata)?;
    let mut text = String::new();
    notes.fragments.full.render(place.base(), &mut text);
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, text).into_response())
}

async fn tarball(
    place: Place<PullImmutable>,
    Path(path): Path<FilePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = asked(&path.package).map_err(|error| place.missing(error))?;
    let missing = || place.missing(ApiError::not_found(format!("{name} has no file {}", path.file)));
    let version = name.version_of_tarball(&path.file).ok_or_else(missing)?;
    let sources = sources(&place, &name).await?;
    let (source, found) = locate(&sources, &version).await?.ok_or_else(missing)?;
    let scope = source.scope();
    let view = View::of(scope);
    let file = view
        .file(&found, &name.tarball_file(&version))
        .await?
        .ok_or_else(missing)?;
    if method == Method::GET {
        view.note_download(&found, &headers).await?;
    }
    let served = Served::new(HEXLOWER.encode(&file.digests.sha256))
        .with_date(file.created_at)
        .with_header(header::CACHE_CONTROL, "private, max-age=31536000, immutable")
        .with_header(header::CONTENT_DISPOSITION, &attachment(&file.name));
    serve_blob(scope, &method, &headers, &file.blob, file.size, served).await
}

async fn dist_tags(place: Place<Pull>, Path(path): Path<PackagePath>) -> Result<Response, ApiError> {
    let name = asked(&path.package).map_err(|error| place.missing(error))?;
    let mut tags = std::collections::BTreeMap::new();
    for source in sources(&place, &name).await? {
        for (tag, version) in source.tags().await? {
            tags.entry(tag).or_insert(version);
        }
    }
    Ok(private_json(json!(tags)))
}

async fn collaborators(place: Place<Pull>, Path(path): Path<PackagePath>) -> Result<Response, ApiError> {
    let name = asked(&path.package).map_err(|error| place.missing(error))?;
    let sources = sources(&place, &name).await?;
    let mut rights = serde_json::Map::new();
    for source in &sources {
        let maintainers = source.head()?.maintainers;
        rights.extend(
            maintainers
                .into_iter()
                .map(|maintainer| (maintainer.name, json!("write"))),
        );
    }
    Ok(private_json(Value::Object(rights)))
}

async fn visibility(place: Place<Pull>, Path(path): Path<PackagePath>) -> Result<Response, ApiError> {
    let name = asked(&path.package).map_err(|error| place.missing(error))?;
    let sources = sources(&place, &name).await?;
    let public = sources.iter().any(|source| source.scope().project().is_open());
    Ok(private_json(json!({"public": public})))
}

/// What `npm access` asks for.
#[derive(Deserialize)]
struct AccessBody {
    access: Option<String>,
    publish_requires_tfa: Option<bool>,
    automation_token_overrides_tfa: Option<bool>,
}

/// Who may pull is a setting of the project, so all that a client can do here is to ask for
/// what is the case already.
async fn set_access(
    project: Authorised<Project, Publish>,
    Path(path): Path<PackagePath>,
    body: Body,
) -> Result<Response, ApiError> {
    let name = written(&path.package)?;
    if Source::find(project.scope(NAME), &name).await?.is_none() {
        return Err(no_package(&name));
    }
    let bytes = body::whole(body, MAX_SMALL_BYTES).await?;
    let wanted: AccessBody = body::json(&bytes, 8)?;
    let wants_second_factor =
        [wanted.publish_requires_tfa, wanted.automation_token_overrides_tfa].contains(&Some(true));
    if wants_second_factor {
        return Err(ApiError::forbidden(
            "publishing with a second factor is not offered here",
        ));
    }
    let is_so = match wanted.access.as_deref() {
        None => true,
        Some("public") => project.project().is_open(),
        Some("restricted" | "private") => !project.project().is_open(),
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "access {other:?} is neither public nor restricted"
            )));
        }
    };
    if is_so {
        Ok(done(StatusCode::OK))
    } else {
        Err(ApiError::forbidden(
            "who may install is decided by the visibility of the project",
        ))
    }
}

async fn find(
    place: Place<Pull>,
    query: Result<Query<search::Query>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let scopes = place.scopes().await?;
    let now = place.access().now();
    Ok(private_json(search::search(&scopes, &query, now).await?))
}

async fn ping(_: Place<Pull>) -> Response {
    private_json(json!({}))
}

async fn attestations(place: Place<Pull>, Path(path): Path<SpecPath>) -> Result<Response, ApiError> {
    let missing = || {
        place.missing(ApiError::not_found(format!(
            "there are no attestations of {}",
            path.spec
        )))
    };
    let (name, version) = path.spec.rsplit_once('@').ok_or_else(missing)?;
    let name = asked(name).map_err(|error| place.missing(error))?;
    let version: Version = version.parse().map_err(|_| missing())?;
    let sources = sources(&place, &name).await?;
    let (source, found) = locate(&sources, &version).await?.ok_or_else(missing)?;
    let attestations = store::attestations(source.scope(), &name, &found).await?;
    Ok(private_json(attestations.ok_or_else(missing)?))
}

/// Who sends a document: somebody who may publish, or somebody who may only look, and star.
enum Writer {
    Publisher(Authorised<Project, Publish>),
    Reader(Authorised<Project, Pull>),
}

impl FromRequestParts<App> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match Authorised::<Project, Publish>::from_request_parts(parts, app).await {
            Ok(publisher) => Ok(Self::Publisher(publisher)),
            Err(refused) if refused.kind == ErrorKind::Forbidden => {
                match Authorised::<Project, Pull>::from_request_parts(parts, app).await {
                    Ok(reader) => Ok(Self::Reader(reader)),
                    Err(_) => Err(refused),
                }
            }
            Err(refused) => Err(refused),
        }
    }
}

async fn put_package(
    writer: Writer,
    Path(path): Path<PackagePath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    refuse_coding(&headers)?;
    let name = written(&path.package)?;
    match writer {
        Writer::Publisher(project) => {
            let scope = project.scope(NAME);
            let limit_bytes = project.access().app().http().limits.npm_publish_bytes;
            let Received { document, tarball } =
                Box::pin(receive(project.access(), &scope, body, limit_bytes)).await?;
            match tarball {
                Some(tarball) => {
                    let publication = Publication::of(&name, document)?;
                    match store::publish(&scope, &publication, &tarball).await? {
                        Published::Created => Ok(done(StatusCode::CREATED)),
                        Published::Unchanged => Ok(done(StatusCode::OK)),
                    }
                }
                None => edit(&project, &name, document).await,
            }
        }
        Writer::Reader(project) => {
            let document = receive_small(project.access(), body, MAX_EDITED_BYTES).await?;
            if document.versions.is_some() {
                return Err(ApiError::forbidden(
                    "403 Forbidden: this token may not publish here",
                ));
            }
            star(&project.scope(NAME), &name, document).await
        }
    }
}

/// Applies a document without a tarball.
async fn edit(
    project: &Authorised<Project, Publish>,
    name: &PackageName,
    document: Document,
) -> Result<Response, ApiError> {
    check_id(name, &document)?;
    let Some(versions) = &document.versions else {
        // Whoever may look at a package may star it, also one that is protected.
        return star(&project.also::<Pull>().await?.scope(NAME), name, document).await;
    };
    let scope = &project.scope(NAME);
    let is_known = View::of(scope).package(name.as_str()).await?.is_some();
    if !is_known {
        return Err(PublicationError::NoTarball.into());
    }
    store::deprecate(scope, name, document.revision.as_deref(), versions).await?;
    Ok(done(StatusCode::OK))
}

/// The client sends everybody's stars; only the caller's own is looked at.
async fn star(scope: &Scope, name: &PackageName, document: Document) -> Result<Response, ApiError> {
    let Some(users) = document.users else {
        return Err(PublicationError::NoTarball.into());
    };
    let Some(user) = scope.caller().user() else {
        return Err(ApiError::forbidden("only users can star packages"));
    };
    let user = user.username.as_str();
    let starred = users
        .get(user)
        .is_some_and(|star| *star != Value::Bool(false) && !star.is_null());
    store::star(scope, name, user, starred).await?;
    Ok(done(StatusCode::OK))
}

/// The URL and the document must name the same package.
fn check_id(name: &PackageName, document: &Document) -> Result<(), ApiError> {
    let named = [&document.id, &document.name];
    match named.into_iter().flatten().find(|found| *found != name.as_str()) {
        Some(other) => Err(ApiError::unprocessable(format!(
            "the document is about {:.220?}, but the URL names {name}",
            other
        ))),
        None => Ok(()),
    }
}

async fn put_revision(
    project: Authorised<Project, Publish>,
    Path(path): Path<RevisionPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    refuse_coding(&headers)?;
    let name = written(&path.package)?;
    let document = receive_small(project.access(), body, MAX_EDITED_BYTES).await?;
    check_id(&name, &document)?;
    if let Some(versions) = &document.versions {
        let scope = project.also::<Delete>().await?.scope(NAME);
        store::unpublish_version(&scope, &name, &path.revision, versions).await?;
    } else if let Some(maintainers) = &document.maintainers {
        store::set_maintainers(&project.scope(NAME), &name, &path.revision, maintainers).await?;
    } else {
        return Err(ApiError::bad_request(
            "the document has neither versions nor maintainers",
        ));
    }
    Ok(done(StatusCode::OK))
}

async fn delete_package(
    project: Authorised<Project, Delete>,
    Path(path): Path<RevisionPath>,
) -> Result<Response, ApiError> {
    let name = written(&path.package)?;
    store::unpublish(&project.scope(NAME), &name, &path.revision).await?;
    Ok(done(StatusCode::OK))
}

#[derive(Deserialize)]
struct DeletedFilePath {
    package: String,
    file: String,
}

/// The last step of unpublishing a version. The tarball has gone with the version, so there is
/// nothing left to do; while the version is there, its tarball stays.
async fn delete_tarball(
    project: Authorised<Project, Delete>,
    Path(path): Path<DeletedFilePath>,
) -> Result<Response, ApiError> {
    let name = written(&path.package)?;
    let scope = project.scope(NAME);
    let version = name.version_of_tarball(&path.file);
    let source = Source::find(scope, &name).await?;
    if let (Some(source), Some(version)) = (source, version)
        && source.version(&version).await?.is_some()
    {
        return Err(ApiError::conflict(format!(
            "version {version} of {name} is published; unpublish it first"
        )));
    }
    Ok(done(StatusCode::OK))
}

async fn put_tag(
    project: Authorised<Project, Publish>,
    Path(path): Path<TagPath>,
    body: Body,
) -> Result<Response, ApiError> {
    let name = written(&path.package)?;
    let tag: DistTag = path.tag.parse()?;
    let bytes = body::whole(body, MAX_SMALL_BYTES).await?;
    let version: String = body::json(&bytes, 1)?;
    let version: Version = version.parse()?;
    store::tag(&project.scope(NAME), &name, &tag, &version).await?;
    Ok(done(StatusCode::CREATED))
}

async fn delete_tag(
    project: Authorised<Project, Publish>,
    Path(path): Path<TagPath>,
) -> Result<Response, ApiError> {
    let name = written(&path.package)?;
    let tag: DistTag = path.tag.parse()?;
    store::untag(&project.scope(NAME), &name, &tag).await?;
    Ok(done(StatusCode::OK))
}
