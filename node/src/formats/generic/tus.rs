//! Uploads in several requests, by the protocol tus 1.0.0 with the extensions creation and
//! termination (<https://tus.io/protocols/resumable-upload>), below `-/uploads`.
//!
//! A client says first how long the file is, and in `Upload-Metadata` where it is to lie:
//! `package`, `version` and `filename`, or `path` in the raw view; then it sends the file from
//! wherever it was interrupted, to any node. With the last byte the file is published. Of digests
//! it may claim those of the whole, as with a plain upload, or `sha256` in the metadata.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{head, post};
use cairn_cluster::{Txn, UploadError, UploadId};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::App;
use crate::auth::{Authorised, Publish, Pull};
use crate::formats::generic::NAME;
use crate::formats::generic::claims::Claims;
use crate::formats::generic::place::Place;
use crate::formats::generic::publish::{self, Content, DIGESTS, Demands, Finished, Published, Wanted};
use crate::formats::generic::routes::published_headers;
use crate::http::body::{self, BodyError};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::package::Status;
use crate::registry::project::Project;
use crate::registry::sessions::{self, Session, Sessions};

const VERSION: &str = "1.0.0";
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const VERSIONS: HeaderName = HeaderName::from_static("tus-version");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");

/// What a piece of a file says that it is.
const PIECE: &str = "application/offset+octet-stream";

/// The most bytes of `Upload-Metadata`, which is kept with the upload.
const MAX_METADATA_BYTES: usize = 4 << 10;

/// The routes of uploads.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/-/uploads", post(begin).options(options))
        .route("/-/uploads/", post(begin).options(options))
        .route("/-/uploads/{upload}", head(status).patch(append).delete(abort))
        .layer(map_response(async |mut response: Response| {
            let version = HeaderValue::from_static(VERSION);
            response.headers_mut().insert(RESUMABLE, version);
            response
        }))
}

/// What is kept of an upload under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upload {
    /// Who began it; nobody else goes on with it.
    username: Option<String>,
    wanted: Wanted,
    length: u64,
    claims: Claims,
    /// As it was sent.
    metadata: String,
}

/// What a client of tus is to be told: an answer, or an error in the words of the format.
type Answer = Result<Response, ApiError>;

async fn options(project: Authorised<Project, Pull>) -> Answer {
    let limit = project.scope(NAME).limits().file_bytes;
    let headers = [
        (VERSIONS, HeaderValue::from_static(VERSION)),
        (
            HeaderName::from_static("tus-extension"),
            HeaderValue::from_static("creation,termination"),
        ),
        (HeaderName::from_static("tus-max-size"), HeaderValue::from(limit)),
    ];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// Makes sure that the client speaks the version that is spoken here.
fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let spoken = headers.get(RESUMABLE).is_some_and(|version| version == VERSION);
    if spoken {
        return Ok(());
    }
    let message = "412 Precondition Failed: Tus-Resumable must be 1.0.0";
    Err(ApiError::new(ErrorKind::PreconditionFailed, message)
        .with_header(VERSIONS, HeaderValue::from_static(VERSION)))
}

async fn begin(project: Authorised<Project, Publish>, headers: HeaderMap) -> Answer {
    check_version(&headers)?;
    let scope = project.scope(NAME);
    let length = number(&headers, &LENGTH)?;
    let limit = scope.limits().file_bytes;
    if length > limit {
        return Err(body::file_too_large(limit));
    }
    let metadata = text(&headers, &METADATA)?;
    let (wanted, claims) = read_metadata(metadata, Claims::of(&headers)?)?;
    let demands = Demands::claimed(&project, claims.clone()).await?;
    publish::refuse_early(&scope, &wanted, &headers, &demands).await?;
    let upload = Upload {
        username: scope.caller().username().map(str::to_owned),
        wanted,
        length,
        claims,
        metadata: metadata.to_owned(),
    };
    let session = Sessions::of(&scope).begin(DIGESTS, upload).await?;
    let location = format!("{}/-/uploads/{}", scope.project_url(), session.id);
    let location = HeaderValue::try_from(location).map_err(ApiError::internal)?;
    // There are no bytes to wait for.
    if length == 0 {
        finish(&project, &session).await?;
    }
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

#[derive(Debug, Deserialize)]
struct Target {
    upload: String,
}

/// An upload that is under way, or has ended.
enum Found {
    UnderWay(Box<Session<Upload>>),
    Ended(Finished),
}

/// Finds an upload of the caller's; one of somebody else is as unknown as none.
async fn find(project: &Authorised<Project, Publish>, target: &Target) -> Result<Found, ApiError> {
    let unknown = || ApiError::not_found("404 Upload Not Found");
    let id: UploadId = target.upload.parse().map_err(|_| unknown())?;
    let scope = project.scope(NAME);
    let sessions = Sessions::of(&scope);
    let username = scope.caller().username();
    if let Some(session) = sessions.find::<Upload>(&id).await? {
        let is_own = session.of.username.as_deref() == username;
        return match is_own {
            true => Ok(Found::UnderWay(Box::new(session))),
            false => Err(unknown()),
        };
    }
    let ended = sessions.remembered::<Finished>(&id).await?;
    let own = ended.filter(|ended| ended.username.as_deref() == username);
    own.map(Found::Ended).ok_or_else(unknown)
}

/// `HEAD`: where the upload stands.
async fn status(
    project: Authorised<Project, Publish>,
    Path(target): Path<Target>,
    headers: HeaderMap,
) -> Answer {
    check_version(&headers)?;
    let (offset, length, metadata) = match find(&project, &target).await? {
        Found::Ended(ended) => (ended.length, ended.length, None),
        Found::UnderWay(session) => {
            // A client that hears that every byte is there does not come again.
            if session.offset == session.of.length {
                finish(&project, &session).await?;
            }
            (session.offset, session.of.length, Some(session.of.metadata))
        }
    };
    let headers = [
        (OFFSET, HeaderValue::from(offset)),
        (LENGTH, HeaderValue::from(length)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (StatusCode::OK, headers).into_response();
    if let Some(Ok(metadata)) = metadata.map(HeaderValue::try_from) {
        response.headers_mut().insert(METADATA, metadata);
    }
    Ok(response)
}

/// `PATCH`: the next piece of the file.
async fn append(
    project: Authorised<Project, Publish>,
    Path(target): Path<Target>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    check_version(&headers)?;
    if headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|media_type| media_type != PIECE)
    {
        let message = format!("a piece of a file has the Content-Type {PIECE}");
        return Err(ApiError::new(ErrorKind::UnsupportedMediaType, message));
    }
    body::refuse_coding(&headers)?;
    // Pieces are stored as they come in, so one that turns out wrong could not be taken back.
    if headers.contains_key("upload-checksum") {
        return Err(ApiError::bad_request(
            "the extension checksum is not offered: claim the sha256 of the whole file in Upload-Metadata",
        ));
    }
    let at = number(&headers, &OFFSET)?;
    let mut session = match find(&project, &target).await? {
        Found::UnderWay(session) => session,
        Found::Ended(ended) if at == ended.length => return Ok(appended(at, None)),
        Found::Ended(ended) => return Err(wrong_offset(ended.length)),
    };
    let scope = project.scope(NAME);
    if session.offset < session.of.length {
        let bytes = body::stream(body);
        let limit = session.of.length;
        let appended = scope
            .blobs()
            .append(scope.space(), &session.id, Some(at), limit, bytes);
        session.offset = appended.await.map_err(refused)?;
    } else if at != session.offset {
        return Err(wrong_offset(session.offset));
    }
    if session.offset < session.of.length {
        return Ok(appended(session.offset, None));
    }
    let outcome = finish(&project, &session).await;
    match outcome {
        Err(error) if error.code == Some(WRONG_DIGEST) => Ok(wrong_digest(&error)),
        outcome => {
            let url = session.of.wanted.place.url(&scope);
            Ok(appended(session.offset, Some(published_headers(&outcome?, url))))
        }
    }
}

fn appended(offset: u64, published: Option<[(&'static str, String); 3]>) -> Response {
    let headers = [(OFFSET, HeaderValue::from(offset))];
    (StatusCode::NO_CONTENT, published, headers).into_response()
}

fn refused(error: UploadError<BodyError>) -> ApiError {
    match error {
        UploadError::WrongOffset { actual } => wrong_offset(actual),
        UploadError::TooLarge { limit_bytes } => body::file_too_large(limit_bytes),
        UploadError::Body(error) => error.into(),
        UploadError::Unknown | UploadError::Finished => ApiError::not_found("404 Upload Not Found"),
        UploadError::Metadata(error) => error.into(),
        UploadError::Unavailable { .. } | UploadError::Full { .. } => ApiError::unavailable(error),
    }
}

fn wrong_offset(actual: u64) -> ApiError {
    ApiError::conflict(format!("409 Conflict: the upload stands at {actual}"))
        .with_header(OFFSET, HeaderValue::from(actual))
}

/// The code of an error for bytes that are not what was claimed.
const WRONG_DIGEST: &str = "wrong digest";

/// The status that tus has for it.
fn wrong_digest(error: &ApiError) -> Response {
    let body = json!({ "message": error.message, "error": { "code": WRONG_DIGEST, "detail": null } });
    let status = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
    (status, axum::Json(body)).into_response()
}

/// Publishes the file of an upload that has all its bytes. What cannot be published is thrown
/// away.
async fn finish(
    project: &Authorised<Project, Publish>,
    session: &Session<Upload>,
) -> Result<Published, ApiError> {
    let outcome = publish_whole(project, session).await;
    if outcome
        .as_ref()
        .is_err_and(|error| error.kind.status().is_client_error())
    {
        Sessions::of(&project.scope(NAME)).abort(session).await?;
    }
    outcome
}

async fn publish_whole(
    project: &Authorised<Project, Publish>,
    session: &Session<Upload>,
) -> Result<Published, ApiError> {
    let scope = project.scope(NAME);
    let sessions = Sessions::of(&scope);
    let upload = &session.of;
    let (blobs, space) = (scope.blobs(), scope.space());
    let stored = blobs
        .finish_upload(space, &session.id)
        .await
        .map_err(sessions::not_now)?;
    let checked = upload.claims.check(stored.digests(), stored.size());
    checked.map_err(|error| error.with_code(WRONG_DIGEST))?;
    let demands = Demands::claimed(project, upload.claims.clone()).await?;
    let finished = Finished::of(&scope, upload.length, None);
    scope
        .transact(async |mut txn: Txn| {
            let published = publish::name(
                &scope,
                &mut txn,
                &upload.wanted,
                &demands,
                Content::Stored(&stored),
            )
            .await?;
            blobs.complete_upload(&mut txn, space, &session.id);
            sessions.forget(&mut txn, session).await?;
            sessions.remember(&mut txn, &session.id, &finished);
            Ok((txn, published))
        })
        .await
}

/// `DELETE`: throws the upload away.
async fn abort(
    project: Authorised<Project, Publish>,
    Path(target): Path<Target>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    check_version(&headers)?;
    match find(&project, &target).await? {
        Found::UnderWay(session) => {
            Sessions::of(&project.scope(NAME)).abort(&session).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        Found::Ended(_) => Err(ApiError::not_found("404 Upload Not Found")),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, ApiError> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| ApiError::bad_request(format!("the header {name} is missing")))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, ApiError> {
    let number = text(headers, name)?.parse();
    number.map_err(|_| ApiError::bad_request(format!("the header {name} is not a number of bytes")))
}

/// Reads `key BASE64, key BASE64, …`: where the file is to lie, and what is claimed of it.
fn read_metadata(text: &str, claims: Claims) -> Result<(Wanted, Claims), ApiError> {
    if text.len() > MAX_METADATA_BYTES {
        return Err(ApiError::bad_request(format!(
            "Upload-Metadata is over the limit of {MAX_METADATA_BYTES} bytes"
        )));
    }
    let (mut claims, mut known) = (claims, Metadata::default());
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let decoded = BASE64.decode(value.trim().as_bytes()).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let value = decoded.ok_or_else(|| {
            ApiError::bad_request(format!("{key:?} of Upload-Metadata is not text in Base64"))
        })?;
        match key {
            "package" => known.package = Some(value),
            "version" => known.version = Some(value),
            "filename" => known.filename = Some(value),
            "path" => known.path = Some(value),
            "status" => known.status = Some(value),
            "sha256" => claims.add_sha256(&value)?,
            // Clients say more, such as the type of the file.
            _ => {}
        }
    }
    Ok((known.wanted()?, claims))
}

#[derive(Default)]
struct Metadata {
    package: Option<String>,
    version: Option<String>,
    filename: Option<String>,
    path: Option<String>,
    status: Option<String>,
}

impl Metadata {
    fn wanted(self) -> Result<Wanted, ApiError> {
        let place = match (self.path, self.package, self.version, self.filename) {
            (Some(path), None, None, _) => Place::Raw(path.parse()?),
            (None, Some(package), Some(version), Some(file)) => Place::Package {
                package: package.parse()?,
                version: version.parse()?,
                file: file.parse()?,
            },
            _ => {
                return Err(ApiError::bad_request(
                    "Upload-Metadata says where the file is to lie: either path, or package, version and filename",
                ));
            }
        };
        let status = match (self.status.as_deref(), place.is_raw()) {
            (None, true) => Some(Status::Hidden),
            (None, false) => None,
            (Some("default"), false) => Some(Status::Default),
            (Some("hidden"), false) => Some(Status::Hidden),
            _ => return Err(ApiError::bad_request("status does not have a valid value")),
        };
        Ok(Wanted { place, status })
    }
}
