//! Handlers of blobs and of their uploads.

use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use cairn_cluster::{Txn, UploadId};

use super::access::{Head, Image, insufficient, mount_source};
use super::error;
use super::incoming::Incoming;
use super::names::{Algorithm, Digest, RepositoryName};
use super::path::{ChunkRange, is_backward_range, received_range, repository_path};
use super::records::BlobLink;
use super::store::{self, Change, Content};
use super::uploads::{AppendError, Upload, Uploads};
use crate::auth::{DeleteImage, PullImage, PullImmutableImage, PushImage};
use crate::http::body;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::serve::{Served, serve_blob};
use crate::registry::Scope;

/// The digest of what an answer is about.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// What clients are asked to send at once, at least: each chunk is made durable before it is
/// answered, so that many small ones cost more than one large.
const CHUNK_MIN_BYTES: &str = "1048576";

/// What has a digest never changes; who may have it is not for caches on the way to know.
pub(super) const IMMUTABLE: &str = "private, max-age=31536000, immutable";

/// A blob, or a part of it.
pub(super) async fn get(
    head: Head<'_>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response, ApiError> {
    let image = head.image::<PullImmutableImage>(name).await?;
    let found = image.find(async |scope: Scope| {
        let Some(keys) = store::repository(&scope, &image.path).await? else {
            return Ok(None);
        };
        let link = scope.snapshot().record::<BlobLink>(&keys.blob(digest)).await?;
        Ok(link.map(|link| (keys, link)))
    });
    let Some((scope, (keys, link))) = found.await? else {
        return Err(error::blob_unknown(digest));
    };
    if head.parts.method == Method::HEAD && image.may_push().await? {
        let kept = store::keep(&scope, &image.path, &keys, digest, Content::Blob).await;
        if !kept_or_not_now(kept)? {
            return Err(error::blob_unknown(digest));
        }
    }
    if head.header(RANGE).is_some_and(is_backward_range) {
        return Err(no_such_part(link.size));
    }
    let served = Served::new(digest)
        .with_header(CONTENT_DIGEST, &digest.to_string())
        .with_header(CACHE_CONTROL, IMMUTABLE);
    let (method, headers) = (&head.parts.method, &head.parts.headers);
    serve_blob(&scope, method, headers, &link.blob, link.size, served).await
}

/// Without a majority nothing can be promised, but nobody can push either; whoever only reads
/// is answered.
pub(super) fn kept_or_not_now(kept: Result<bool, ApiError>) -> Result<bool, ApiError> {
    match kept {
        Err(error) if error.kind == ErrorKind::Unavailable => Ok(true),
        other => other,
    }
}

fn no_such_part(size: u64) -> ApiError {
    let error = ApiError::new(ErrorKind::RangeNotSatisfiable, "the range ends before it begins");
    match HeaderValue::try_from(format!("bytes */{size}")) {
        Ok(size) => error.with_header(CONTENT_RANGE, size),
        Err(_) => error,
    }
}

/// Takes a blob from the repository.
pub(super) async fn delete(
    head: Head<'_>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Response, ApiError> {
    let image = head.image::<DeleteImage>(name).await?;
    let work = async |mut txn: Txn| {
        let mut change = Change::new(&image.scope, &mut txn, &image.path);
        let Some(keys) = change.repository().await? else {
            return Err(error::name_unknown(name));
        };
        if !change.unlink(&keys, digest).await? {
            return Err(error::blob_unknown(digest));
        }
        Ok((txn, ()))
    };
    image.scope.transact(work).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Begins an upload; or mounts a blob, or takes it whole, if the query says so.
pub(super) async fn begin(
    head: Head<'_>,
    name: &RepositoryName,
    incoming: &mut Incoming,
) -> Result<Response, ApiError> {
    let image = head.image::<PushImage>(name).await?;
    body::refuse_coding(&head.parts.headers)?;
    let query = head.query();
    if let Some(digest) = query.get("mount") {
        let digest: Digest = digest.parse()?;
        if mount(head, &image, &digest).await? {
            return Ok(created(name, &digest));
        }
    } else if let Some(digest) = query.get("digest") {
        let digest: Digest = digest.parse()?;
        let uploads = Uploads::new(&image.scope, &image.path);
        uploads
            .refuse_over_quota(&digest, body::content_length(&head.parts.headers))
            .await?;
        uploads.put(&digest, largest(head), incoming).await?;
        return Ok(created(name, &digest));
    }
    let algorithm = query
        .get("digest-algorithm")
        .map(str::parse::<Algorithm>)
        .transpose()?;
    let upload = Uploads::new(&image.scope, &image.path).begin(algorithm).await?;
    let mut response = progress(StatusCode::ACCEPTED, name, &upload.id, 0)?;
    let length = HeaderValue::from_static(CHUNK_MIN_BYTES);
    response.headers_mut().insert(CHUNK_MIN_LENGTH, length);
    Ok(response)
}

/// The largest blob.
fn largest(head: Head<'_>) -> u64 {
    head.app.http().limits.file_bytes
}

/// Gives the repository a blob that another one holds, if the caller may pull from that.
///
/// If not, the answer is as if there were no such blob: nobody learns by this what exists.
async fn mount(head: Head<'_>, target: &Image<PushImage>, digest: &Digest) -> Result<bool, ApiError> {
    let Some(source) = mount_source(&head.query()) else {
        // Without a source, what the repository itself holds is all that is looked at.
        return give(&target.scope, &target.path, &target.scope, &target.path, digest).await;
    };
    if source == target.name {
        return give(&target.scope, &target.path, &target.scope, &target.path, digest).await;
    }
    let access = target.access();
    match access.image::<PullImage>(source.as_str()).await {
        Ok((project, path)) => {
            let source = project.scope(super::NAME);
            give(&source, &path, &target.scope, &target.path, digest).await
        }
        Err(refused) if refused.kind == ErrorKind::Unavailable => Err(refused),
        Err(_) if was_asked(access.caller().grants(), &source) => Ok(false),
        // The token was made for the target alone; the client is told to ask for both.
        Err(_) => Err(insufficient(head.parts, access.base_url())),
    }
}

/// Whether the caller's token, if it is a derived one, was asked to pull from a repository.
fn was_asked(grants: Option<&crate::auth::derived::Grants>, name: &RepositoryName) -> bool {
    grants.is_none_or(|grants| {
        let refused = super::scope::was_refused(grants, name, super::scope::Actions::PULL);
        refused || grants.allow("repository", name.as_str(), "pull")
    })
}

async fn give(
    source: &Scope,
    source_path: &str,
    target: &Scope,
    target_path: &str,
    digest: &Digest,
) -> Result<bool, ApiError> {
    // No record of one root group names a blob of another.
    if source.space() != target.space() {
        return Ok(false);
    }
    let work = async |mut txn: Txn| {
        let mut held = Change::new(source, &mut txn, source_path);
        let Some(from) = held.repository().await? else {
            return Ok((txn, false));
        };
        let mut change = Change::new(target, &mut txn, target_path);
        if !change.holds(&from, digest).await? {
            return Ok((txn, false));
        }
        let to = change.claim().await?;
        let mounted = change.mount(&from, &to, digest).await?;
        Ok((txn, mounted))
    };
    target.prepare(work).await
}

/// Where an upload stands.
pub(super) async fn status(head: Head<'_>, name: &RepositoryName, id: &str) -> Result<Response, ApiError> {
    let image = head.image::<PushImage>(name).await?;
    let upload = Uploads::new(&image.scope, &image.path).find(id).await?;
    progress(StatusCode::NO_CONTENT, name, &upload.id, upload.offset)
}

/// Adds a chunk.
pub(super) async fn append(
    head: Head<'_>,
    name: &RepositoryName,
    id: &str,
    incoming: &mut Incoming,
) -> Result<Response, ApiError> {
    let image = head.image::<PushImage>(name).await?;
    body::refuse_coding(&head.parts.headers)?;
    let range = chunk_range(head)?;
    let uploads = Uploads::new(&image.scope, &image.path);
    let upload = uploads.find(id).await?;
    match uploads.append(&upload, range, largest(head), incoming).await {
        Ok(offset) => progress(StatusCode::ACCEPTED, name, &upload.id, offset),
        Err(AppendError::Elsewhere { offset }) => Err(stands_elsewhere(name, &upload.id, offset)),
        Err(AppendError::Finished) => Err(stands_elsewhere(name, &upload.id, upload.offset)),
        Err(AppendError::Other(error)) => Err(error),
    }
}

/// Ends an upload, after its last chunk if one is sent.
pub(super) async fn finish(
    head: Head<'_>,
    name: &RepositoryName,
    id: &str,
    incoming: &mut Incoming,
) -> Result<Response, ApiError> {
    let image = head.image::<PushImage>(name).await?;
    body::refuse_coding(&head.parts.headers)?;
    let query = head.query();
    let digest: Digest = query.get("digest").ok_or_else(error::digest_missing)?.parse()?;
    let range = chunk_range(head)?;
    let uploads = Uploads::new(&image.scope, &image.path);
    let upload = match uploads.find(id).await {
        Ok(upload) => upload,
        Err(unknown) if unknown.kind == ErrorKind::NotFound => {
            // The answer to the request that ended it may have been lost.
            let id: UploadId = id.parse().map_err(|_| error::upload_unknown())?;
            uploads.finished_before(&id, &digest).await?;
            return Ok(created(name, &digest));
        }
        Err(other) => return Err(other),
    };
    if !incoming.is_empty() {
        match uploads.append(&upload, range, largest(head), incoming).await {
            // Of an upload that has ended already, only the last step is left.
            Ok(_) | Err(AppendError::Finished) => {}
            Err(AppendError::Elsewhere { offset }) => return Err(stands_elsewhere(name, &upload.id, offset)),
            Err(AppendError::Other(error)) => return Err(error),
        }
    }
    uploads.finish(&upload, &digest).await?;
    Ok(created(name, &digest))
}

/// Throws an upload away.
pub(super) async fn cancel(head: Head<'_>, name: &RepositoryName, id: &str) -> Result<Response, ApiError> {
    let image = head.image::<PushImage>(name).await?;
    let uploads = Uploads::new(&image.scope, &image.path);
    let upload: Upload = uploads.find(id).await?;
    uploads.abort(&upload).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The range that a chunk says it is, if it agrees with its length.
fn chunk_range(head: Head<'_>) -> Result<Option<ChunkRange>, ApiError> {
    let Some(range) = head.parts.headers.get(CONTENT_RANGE) else {
        return Ok(None);
    };
    let range: ChunkRange = range.to_str().map_err(|_| super::path::RangeError)?.parse()?;
    match body::content_length(&head.parts.headers) {
        Some(length) if length != range.len() => Err(error::chunk_length()),
        _ => Ok(Some(range)),
    }
}

/// 416 with the truth, from which the client goes on.
fn stands_elsewhere(name: &RepositoryName, id: &UploadId, offset: u64) -> ApiError {
    let error = ApiError::new(
        ErrorKind::RangeNotSatisfiable,
        format!("the upload stands at byte {offset}"),
    );
    let error = error.with_code("BLOB_UPLOAD_INVALID");
    match progress(StatusCode::RANGE_NOT_SATISFIABLE, name, id, offset) {
        Ok(told) => [LOCATION, RANGE, UPLOAD_UUID]
            .into_iter()
            .fold(error, |error, header| match told.headers().get(&header) {
                Some(value) => error.with_header(header, value.clone()),
                None => error,
            }),
        Err(other) => other,
    }
}

/// An answer that says where an upload stands.
fn progress(
    status: StatusCode,
    name: &RepositoryName,
    id: &UploadId,
    offset: u64,
) -> Result<Response, ApiError> {
    let mut response = status.into_response();
    let headers = response.headers_mut();
    let text = |text: String| HeaderValue::try_from(text).map_err(ApiError::internal);
    let location = repository_path(name, &format!("blobs/uploads/{id}"));
    headers.insert(LOCATION, text(location)?);
    headers.insert(RANGE, text(received_range(offset))?);
    headers.insert(UPLOAD_UUID, text(id.to_string())?);
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    Ok(response)
}

/// The repository has the blob now.
fn created(name: &RepositoryName, digest: &Digest) -> Response {
    let location = repository_path(name, &format!("blobs/{digest}"));
    let headers = [(LOCATION, location), (CONTENT_DIGEST, digest.to_string())];
    (StatusCode::CREATED, headers).into_response()
}
