//! Handlers: version 2 of the API, and what both versions have.

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::json;

use super::asked::Asked;
use super::names::{FilePath, Line, Revised, Revision};
use super::pattern::Pattern;
use super::receive::receive;
use super::removal::{self, Doomed};
use super::source::{self, Binaries, References, Revisions, Source, iso_us};
use super::store::{self, Put, Sent, missing};
use super::{session, v1};
use crate::app::App;
use crate::auth::action::Freshness;
use crate::auth::{Action, Delete, Publish, Pull, PullImmutable};
use crate::formats::Level;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, Assembled, Wanted};
use crate::http::body;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::Query;
use crate::http::serve::{Served, serve_blob};
use crate::registry::package::View;

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 32 << 20;

/// What the documents depend on. Clients take exactly this type.
pub(super) const JSON: &str = "application/json";

/// The header of a client that asks whether a file is here by its digest, in place of sending it.
const DEPLOYS_BY_CHECKSUM: &str = "x-checksum-deploy";

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let mut routes = Router::new()
        .route("/v1/ping", get(session::ping))
        .route("/v2/ping", get(session::ping))
        .route("/v1/users/authenticate", get(session::authenticate))
        .route("/v2/users/authenticate", get(session::authenticate))
        .route("/v1/users/check_credentials", get(session::check_credentials))
        .route("/v2/users/check_credentials", get(session::check_credentials))
        .route("/v1/conans/search", get(search))
        .route("/v2/conans/search", get(search))
        .merge(of_recipes())
        .merge(of_packages())
        .merge(files(level))
        .merge(v1::routes());
    let mut refused = "recipes are published to a project";
    if matches!(level, Level::Project | Level::Instance) {
        routes = routes.merge(changes()).merge(v1::changes());
        refused = "405 Method Not Allowed";
    }
    routes
        .method_not_allowed_fallback(async move || ApiError::new(ErrorKind::MethodNotAllowed, refused))
        .layer(Extension(Held {
            documents: Assembled::new(CACHE_BYTES),
            level,
        }))
}

fn of_recipes() -> Router<App> {
    Router::new()
        .route("/v2/conans/{name}/{version}/{user}/{channel}/latest", get(latest))
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions",
            get(revisions),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/search",
            get(search_packages),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/search",
            get(search_packages),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/files",
            get(list),
        )
}

fn of_packages() -> Router<App> {
    Router::new()
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/latest",
            get(latest),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/revisions",
            get(revisions),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/revisions/{prev}/files",
            get(list),
        )
}

/// Files of a project do not change, so any view that has one will do. Which projects a group has can
/// change.
fn files(level: Level) -> Router<App> {
    match level {
        Level::Project => Router::new()
            .route(
                "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/files/{*path}",
                get(file::<PullImmutable>),
            )
            .route(
                "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/revisions/{prev}/files/{*path}",
                get(file::<PullImmutable>),
            ),
        Level::Group | Level::Instance | Level::Host => Router::new()
            .route(
                "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/files/{*path}",
                get(file::<Pull>),
            )
            .route(
                "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/revisions/{prev}/files/{*path}",
                get(file::<Pull>),
            ),
    }
}

/// What changes something. At the instance as well: the reference says to which project it goes.
fn changes() -> Router<App> {
    Router::new()
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}",
            delete(delete_reference),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}",
            delete(delete_recipe),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/promote",
            post(promote),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/files/{*path}",
            put(publish),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages",
            delete(delete_packages),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}",
            delete(delete_package),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/revisions/{prev}",
            delete(delete_revision),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/revisions/{prev}/promote",
            post(promote),
        )
        .route(
            "/v2/conans/{name}/{version}/{user}/{channel}/revisions/{rrev}/packages/{pid}/revisions/{prev}/files/{*path}",
            put(publish),
        )
}

/// What the handlers of one level hold.
#[derive(Clone)]
pub(super) struct Held {
    /// The documents that are kept in memory.
    documents: Assembled,
    level: Level,
}

impl Held {
    /// Answers with a document.
    async fn answer<T: Assemble + Clone>(
        &self,
        etag: String,
        headers: &HeaderMap,
        document: T,
    ) -> Result<Response, ApiError> {
        let wanted = Wanted {
            etag,
            base: "",
            content_type: JSON,
            vary: "Accept-Encoding",
        };
        let begin = async || Ok(document.clone());
        self.documents.answer(wanted, headers, begin).await
    }
}

#[derive(Deserialize)]
struct Search {
    q: Option<String>,
    ignorecase: Option<String>,
}

async fn search(
    place: Place<Pull>,
    Extension(held): Extension<Held>,
    Query(Search { q, ignorecase }): Query<Search>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let ignores_case = ignorecase.is_none_or(|word| !word.eq_ignore_ascii_case("false"));
    let pattern = q
        .as_deref()
        .filter(|pattern| !pattern.is_empty())
        .map(|pattern| Pattern::new(pattern, ignores_case))
        .transpose()?;
    let scopes = place.scopes().await?;
    let name = format!("{ignores_case} {}", q.unwrap_or_default());
    let etag = format!("s-{}", References::tag(&name, &scopes).await?);
    let of_instance = held.level == Level::Instance;
    let document = References::of(place.into(), scopes, pattern, of_instance);
    held.answer(etag, &headers, document).await
}

/// The newest revision, which is asked for anew each time.
async fn latest(asked: Asked<Pull>) -> Result<Response, ApiError> {
    let (source, line) = (asked.source().await?, asked.line()?);
    let latest = source.latest(&line).await;
    let (revision, at_us) = latest.map_err(|error| asked.told(error))?;
    let body = json!({"revision": revision.as_str(), "time": iso_us(at_us)});
    Ok(fresh(Json(body)))
}

/// What is asked about again each time, so that a publish is seen at once.
pub(super) fn fresh(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "private, no-cache")], answer).into_response()
}

async fn revisions(
    asked: Asked<Pull>,
    Extension(held): Extension<Held>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (source, line) = (asked.source().await?, asked.line()?);
    // There is no empty list.
    source.latest(&line).await.map_err(|error| asked.told(error))?;
    let etag = format!("r-{}", source.revisions_tag(&line).await?);
    held.answer(etag, &headers, Revisions::of(source, line)).await
}

#[derive(Deserialize)]
pub(super) struct Listing {
    list_only: Option<String>,
}

async fn search_packages(
    asked: Asked<Pull>,
    Extension(held): Extension<Held>,
    Query(listing): Query<Listing>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let source = asked.source().await?;
    let recipe = match asked.has_recipe() {
        true => asked.recipe()?,
        false => {
            source
                .latest(&Line::Recipe)
                .await
                .map_err(|error| asked.told(error))?
                .0
        }
    };
    let ids_only = listing
        .list_only
        .is_some_and(|word| word.eq_ignore_ascii_case("true"));
    binaries(&asked, &held, source, recipe, ids_only, &headers).await
}

/// Answers with the binaries that were made of a revision of the recipe.
pub(super) async fn binaries(
    asked: &Asked<Pull>,
    held: &Held,
    source: Source,
    recipe: Revision,
    ids_only: bool,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let checked = source.check(&Line::Recipe.at(recipe.clone())).await;
    checked.map_err(|error| asked.told(error))?;
    let letter = if ids_only { 'i' } else { 'b' };
    let etag = format!("{letter}-{}", source.binaries_tag(&recipe).await?);
    held.answer(etag, headers, Binaries::of(source, recipe, ids_only))
        .await
}

async fn list(asked: Asked<Pull>) -> Result<Response, ApiError> {
    let (source, revised) = (asked.source().await?, asked.revised()?);
    let files = source.files(&revised).await.map_err(|error| asked.told(error))?;
    Ok(fresh(Json(source::names(&files))))
}

async fn file<A: Action>(asked: Asked<A>, method: Method, headers: HeaderMap) -> Result<Response, ApiError> {
    let (revised, path) = (asked.revised()?, asked.path()?);
    serve(asked, &revised, &path, &method, &headers).await
}

/// Answers with a file.
pub(super) async fn serve<A: Action>(
    mut asked: Asked<A>,
    revised: &Revised,
    path: &FilePath,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let changes = revised.is_unrevised() || path.is_metadata();
    if A::FRESHNESS == Freshness::Immutable && changes {
        asked.scope = asked.scope.confirmed().await?;
    }
    let look = async |asked: &Asked<A>| {
        let source = asked.source().await?;
        let file = source
            .file(revised, path)
            .await
            .map_err(|error| asked.told(error))?;
        Ok::<_, ApiError>((source, file))
    };
    let (source, file) = match look(&asked).await {
        // What is not on this view may be there by now.
        Err(error)
            if error.kind == ErrorKind::NotFound && A::FRESHNESS == Freshness::Immutable && !changes =>
        {
            asked.scope = asked.scope.confirmed().await?;
            look(&asked).await?
        }
        looked => looked?,
    };
    if *method == Method::GET && path.as_str().starts_with("conan_package.t") {
        View::of(source.scope())
            .note_download(source.version(), headers)
            .await?;
    }
    let served = Served::new(HEXLOWER.encode(&file.digests.sha256))
        .downloaded_as(path.file_name())
        .with_date(file.created_at)
        .with_digests(&file.digests)
        .kept_by_clients(source.scope().project(), !changes);
    serve_blob(source.scope(), method, headers, &file.blob, file.size, served).await
}

async fn publish(asked: Asked<Publish>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let (revised, path) = (asked.revised()?, asked.path()?);
    take(&asked, &revised, &path, &headers, body).await
}

/// Takes a file that a client sends.
pub(super) async fn take(
    asked: &Asked<Publish>,
    revised: &Revised,
    path: &FilePath,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (scope, reference) = (&asked.scope, &asked.reference);
    if headers.contains_key(DEPLOYS_BY_CHECKSUM) {
        return Err(missing("a file of this digest; send it"));
    }
    // Nothing of the body has been asked for yet.
    body::refuse_file(headers, scope.limits().file_bytes)?;
    scope.refuse_protected(reference.name()).await?;
    let length = body::content_length(headers).unwrap_or(0);
    scope.refuse_over_quota(length).await?;
    let (blob, looked) = Box::pin(receive(asked.access(), scope, revised, path, headers, body)).await?;
    let sent = Sent {
        reference,
        revised,
        path,
        blob: &blob,
        looked: &looked,
    };
    let status = match Box::pin(store::put(scope, &sent)).await? {
        Put::Taken => StatusCode::CREATED,
        Put::Unchanged => StatusCode::OK,
    };
    Ok(status.into_response())
}

async fn promote(asked: Asked<Publish>) -> Result<Response, ApiError> {
    store::promote(&asked.scope, &asked.reference, &asked.revised()?).await?;
    Ok(StatusCode::OK.into_response())
}

async fn delete_reference(asked: Asked<Delete>) -> Result<Response, ApiError> {
    removal::delete(&asked.scope, &asked.reference).await?;
    Ok(StatusCode::OK.into_response())
}

/// Clients take no other status for a success.
pub(super) async fn delete_doomed(asked: &Asked<Delete>, doomed: &Doomed) -> Result<Response, ApiError> {
    Box::pin(removal::delete_revisions(&asked.scope, &asked.reference, doomed)).await?;
    Ok(StatusCode::OK.into_response())
}

async fn delete_recipe(asked: Asked<Delete>) -> Result<Response, ApiError> {
    delete_doomed(&asked, &Doomed::Recipe(asked.recipe()?)).await
}

async fn delete_packages(asked: Asked<Delete>) -> Result<Response, ApiError> {
    delete_doomed(&asked, &Doomed::Packages(asked.recipe()?)).await
}

async fn delete_package(asked: Asked<Delete>) -> Result<Response, ApiError> {
    delete_doomed(&asked, &Doomed::Package(asked.line()?)).await
}

async fn delete_revision(asked: Asked<Delete>) -> Result<Response, ApiError> {
    delete_doomed(&asked, &Doomed::Revised(asked.revised()?)).await
}
