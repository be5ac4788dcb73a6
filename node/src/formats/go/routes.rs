//! Handlers: the module proxy protocol, and publishing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Json, Router};
use cairn_cluster::{DigestSet, Timestamp};
use data_encoding::HEXLOWER;
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use super::artifact::{self, ArtifactError, Limits, MAX_ARCHIVE_BYTES};
use super::names::{Asked, ModulePath, Part, Version, What};
use super::source::{Form, Source, Versions, info};
use super::store::{self, Published, deleted, missing, mod_name, zip_name};
use crate::app::App;
use crate::auth::{Action, Authorised, Publish, Pull, PullImmutable};
use crate::formats::place::Place;
use crate::formats::{Level, inspected};
use crate::http::assembled::{Assembled, Wanted};
use crate::http::body;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::media::attachment;
use crate::http::serve::{Served, serve_blob, serve_bytes};
use crate::registry::names::InvalidName;
use crate::registry::package;
use crate::registry::project::Project;

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 32 << 20;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What never changes is kept by clients.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let mut routes = Router::new()
        .route("/{*path}", get(fetch))
        .route("/sumdb/{*path}", get(no_checksum_database));
    let (mut way, mut refused) = (
        Way::Many,
        "405 Method Not Allowed: modules are published to a project",
    );
    if level == Level::Project {
        routes = routes.route("/upload", put(publish));
        (way, refused) = (Way::Project, "405 Method Not Allowed");
    }
    routes
        .method_not_allowed_fallback(async move || ApiError::new(ErrorKind::MethodNotAllowed, refused))
        .layer(Extension(Held::new(way)))
}

/// The same under the URLs that Gitea and Forgejo have, where an owner is a project here.
pub(super) fn gitea() -> Router<App> {
    Router::new()
        .route("/api/packages/{id}/go/{*path}", get(fetch))
        .route("/api/packages/{id}/go/upload", put(publish))
        .layer(Extension(Held::new(Way::Named)))
}

/// How requests come to what was published.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the routes of a project.
    Project,
    /// By those of a group or the instance.
    Many,
    /// By those of the host root, with the name of a project.
    Named,
}

/// What the handlers of one level hold.
#[derive(Clone)]
struct Held {
    way: Way,
    /// The documents that are kept in memory.
    documents: Assembled,
}

impl Held {
    fn new(way: Way) -> Self {
        let documents = Assembled::new(CACHE_BYTES);
        Self { way, documents }
    }
}

#[derive(Deserialize)]
struct Target {
    path: String,
}

/// Lets the caller in before anything is said of the path.
async fn fetch(
    State(app): State<App>,
    Extension(held): Extension<Held>,
    Path(Target { path }): Path<Target>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let asked: Result<Asked, _> = path.parse();
    let is_of_version = matches!(
        asked,
        Ok(Asked {
            what: What::Of(..),
            ..
        })
    );
    // What a project has of a version never changes, so any view that has it will do. Which projects
    // a group has can change.
    if is_of_version && held.way != Way::Many {
        let place = place::<PullImmutable>(held.way, &mut parts, &app).await?;
        return Fetch::new(place, held.documents, parts).answer(asked).await;
    }
    let place = place::<Pull>(held.way, &mut parts, &app).await?;
    Fetch::new(place, held.documents, parts).answer(asked).await
}

async fn place<A: Action>(way: Way, parts: &mut Parts, app: &App) -> Result<Place<A>, ApiError> {
    if way != Way::Named {
        return Place::from_request_parts(parts, app).await;
    }
    let project = Authorised::<Project, A>::from_request_parts(parts, app).await?;
    Ok(Place::of_project(project, NAME))
}

/// A request for something, once it is known who asks.
struct Fetch<A> {
    place: Place<A>,
    documents: Assembled,
    method: Method,
    headers: HeaderMap,
}

impl<A: Action> Fetch<A> {
    fn new(place: Place<A>, documents: Assembled, parts: Parts) -> Self {
        Self {
            place,
            documents,
            method: parts.method,
            headers: parts.headers,
        }
    }

    async fn answer(&self, asked: Result<Asked, InvalidName>) -> Result<Response, ApiError> {
        let Asked { module, what } = asked.map_err(|error| self.missing(error))?;
        match what {
            What::List => self.document(module, Form::List).await,
            What::Latest => self.document(module, Form::Latest).await,
            What::Commit(hash) => self.commit(&module, &hash).await,
            What::Of(version, part) => self.version(&module, &version, part).await,
        }
    }

    fn missing(&self, what: impl std::fmt::Display) -> ApiError {
        self.place.missing(missing(what))
    }

    fn missing_module(&self, module: &ModulePath) -> ApiError {
        self.missing(format_args!("module {module}"))
    }

    /// Why a version is not there.
    async fn missing_version(&self, source: &Source, module: &ModulePath, version: &Version) -> ApiError {
        match source.was_deleted(version).await {
            Ok(true) => deleted(module, version),
            Ok(false) => self.missing(format_args!("{module}@{version}")),
            Err(error) => error,
        }
    }

    /// A document about all versions.
    async fn document(&self, module: ModulePath, form: Form) -> Result<Response, ApiError> {
        let source = Source::find(&self.place, &module).await?;
        let source = Arc::new(source.ok_or_else(|| self.missing_module(&module))?);
        let (letter, content_type) = match form {
            Form::List => ('v', TEXT),
            Form::Latest => ('l', JSON),
        };
        let wanted = Wanted {
            etag: format!("{letter}-{}", source.etag().await?),
            base: "",
            content_type,
            vary: "Accept-Encoding",
        };
        let begin = async || Ok(Versions::of(source.clone(), module.clone(), form));
        let answered = self.documents.answer(wanted, &self.headers, begin).await;
        answered.map_err(|error| self.place.missing(error))
    }

    /// What is known of the version that was made of a commit.
    async fn commit(&self, module: &ModulePath, hash: &str) -> Result<Response, ApiError> {
        let source = Source::find(&self.place, module).await?;
        let source = Arc::new(source.ok_or_else(|| self.missing_module(module))?);
        match source.version_of_commit(hash).await? {
            Some((version, created_at)) => {
                let text = info(&version, created_at);
                self.text(text, JSON, created_at, "private, no-cache")
            }
            None => Err(self.missing(format_args!("{module}@{hash}"))),
        }
    }

    /// Something of a version.
    async fn version(
        &self,
        module: &ModulePath,
        version: &Version,
        part: Part,
    ) -> Result<Response, ApiError> {
        let mut source = Source::find(&self.place, module).await?;
        let mut found = find(source.as_ref(), version).await?;
        if let (None, Some(project)) = (&found, self.place.project()) {
            // What is not on this view may be there by now.
            source = Source::confirmed(&project.scope(NAME), module).await?;
            found = find(source.as_ref(), version).await?;
        }
        let source = source.ok_or_else(|| self.missing_module(module))?;
        let Some(found) = found else {
            return Err(self.missing_version(&source, module, version).await);
        };
        let created_at = found.created_at;
        match part {
            Part::Info => self.text(info(version, created_at), JSON, created_at, FOR_EVER),
            Part::Mod => self.file(&source, &found, &mod_name(version)).await,
            Part::Zip => self.file(&source, &found, &zip_name(version)).await,
            Part::ZipHash => {
                let sums = source.sums(module, version).await?;
                let sums = sums.ok_or_else(|| self.missing(format_args!("the sum of {module}@{version}")))?;
                self.text(sums.zip, TEXT, created_at, FOR_EVER)
            }
        }
    }

    /// A file of a version.
    async fn file(
        &self,
        source: &Source,
        version: &package::Version,
        name: &str,
    ) -> Result<Response, ApiError> {
        let view = source.view();
        let file = view.file(version, name).await?;
        let file = file.ok_or_else(|| self.missing(name))?;
        let mut served = Served::new(HEXLOWER.encode(&file.digests.sha256))
            .with_type(TEXT)
            .with_date(file.created_at)
            .with_header(header::CACHE_CONTROL, FOR_EVER);
        if name.ends_with(".zip") {
            served = served
                .with_type("application/zip")
                .with_header(header::CONTENT_DISPOSITION, &attachment(name));
            if self.method == Method::GET {
                view.note_download(version, &self.headers).await?;
            }
        }
        let (method, headers) = (&self.method, &self.headers);
        serve_blob(source.scope(), method, headers, &file.blob, file.size, served).await
    }

    /// A short text.
    fn text(
        &self,
        text: String,
        content_type: &'static str,
        created_at: Timestamp,
        caching: &str,
    ) -> Result<Response, ApiError> {
        let served = Served::new(&blake3::hash(text.as_bytes()).to_hex()[..32])
            .with_type(content_type)
            .with_date(created_at)
            .with_header(header::CACHE_CONTROL, caching);
        serve_bytes(&self.method, &self.headers, text.into(), served)
    }
}

async fn find(source: Option<&Source>, version: &Version) -> Result<Option<package::Version>, ApiError> {
    match source {
        Some(source) => source.version(version).await,
        None => Ok(None),
    }
}

/// The go command asks whether checksum databases are asked through us, and if not asks them itself.
async fn no_checksum_database(place: Place<Pull>, Path(target): Path<Target>) -> ApiError {
    let database = target.path.split('/').next().unwrap_or_default();
    let not_found = missing(format_args!(
        "the checksum database {database:.80} is not asked through this registry"
    ));
    place.missing(not_found)
}

/// A repeated upload is answered as the first one, but for its status.
async fn publish(
    project: Authorised<Project, Publish>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let limit_bytes = scope.limits().file_bytes.min(MAX_ARCHIVE_BYTES);
    body::refuse_file(&headers, limit_bytes)?;
    let pieces = body::stream(body).map_err(ApiError::from);
    let look = |fed| artifact::inspect(fed, &Limits::default());
    let to = (project.access(), &scope);
    let received = inspected::store(to, DigestSet::default(), limit_bytes, pieces, look);
    let (artifact, archive) = Box::pin(received).await?;
    let status = match store::publish(&scope, &artifact, &archive).await? {
        Published::Created => StatusCode::CREATED,
        Published::Unchanged => StatusCode::OK,
    };
    // In the words of `go mod download -json`.
    let published = Json(json!({
        "Path": artifact.module.as_str(),
        "Version": artifact.version.to_string(),
        "Sum": artifact.sums.zip,
        "GoModSum": artifact.sums.go_mod,
    }));
    Ok((status, published).into_response())
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::bad_request(error.to_string())
    }
}
