//! Handlers of manifests and tags.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cairn_cluster::{BlobId, DigestSet, StoredBlob, Txn};
use futures::TryStreamExt;
use moka::sync::Cache;

use super::access::Head;
use super::blobs::{CONTENT_DIGEST, IMMUTABLE, kept_or_not_now};
use super::error;
use super::incoming::Incoming;
use super::manifest::{LIMITS, Limits, Manifest};
use super::names::{Algorithm, Digest, NameError, Reference, RepositoryName, Tag};
use super::path::repository_path;
use super::records::{Body, ManifestRecord};
use super::store::{self, Change, Content, NewBody, NewManifest};
use crate::auth::{DeleteImage, PullImage, PullImmutableImage, PushImage};
use crate::formats::Progress;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::serve::{Served, serve_blob, serve_repeatable};
use crate::registry::Scope;
use crate::registry::audit::Act;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// Manifests up to this size lie in the metadata; larger ones are blobs.
const INLINE_BYTES: usize = 4 << 10;

/// Documents above this size are parsed beside the threads that answer requests.
const PARSED_AT_ONCE_BYTES: usize = 64 << 10;

/// Tags that one request may set.
const MAX_TAGS: usize = 100;

/// Memory for the bytes of manifests that are blobs.
const CACHE_BYTES: u64 = 64 << 20;

/// The bytes of manifests that are blobs, by their content: whether somebody may have them is
/// decided before. Shared by all that runs in this process, because what it holds is true
/// everywhere.
static BODIES: LazyLock<Cache<BlobId, Bytes>> = LazyLock::new(|| {
    Cache::builder()
        .max_capacity(CACHE_BYTES)
        .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
        .build()
});

/// A manifest, by a tag or its digest.
pub(super) async fn get(
    head: Head<'_>,
    name: &RepositoryName,
    reference: Result<Reference, NameError>,
) -> Result<Response, ApiError> {
    match reference {
        Ok(Reference::Digest(digest)) => by_digest(head, name, &digest).await,
        Ok(tag) => {
            let image = head.image::<PullImage>(name).await?;
            let Some(keys) = store::repository(&image.scope, &image.path).await? else {
                return Err(error::name_unknown(name));
            };
            match store::manifest(&image.scope, &keys, &tag).await? {
                Some((digest, record)) => {
                    answer(head, &image.scope, &image.path, (&digest, &record), "no-cache").await
                }
                None => Err(error::manifest_unknown(&tag)),
            }
        }
        Err(malformed) => {
            head.image::<PullImage>(name).await?;
            Err(unknown_or_invalid(malformed))
        }
    }
}

/// What cannot be a tag is none that is known; a digest in another spelling is an error.
fn unknown_or_invalid(malformed: NameError) -> ApiError {
    match malformed {
        NameError::Tag(_) => ApiError::not_found(malformed.to_string()).with_code("MANIFEST_UNKNOWN"),
        other => other.into(),
    }
}

async fn by_digest(head: Head<'_>, name: &RepositoryName, digest: &Digest) -> Result<Response, ApiError> {
    let image = head.image::<PullImmutableImage>(name).await?;
    let reference = Reference::Digest(*digest);
    let found = image.find(async |scope: Scope| {
        let Some(keys) = store::repository(&scope, &image.path).await? else {
            return Ok(None);
        };
        let found = store::manifest(&scope, &keys, &reference).await?;
        Ok(found.map(|(_, record)| (keys, record)))
    });
    let Some((scope, (keys, record))) = found.await? else {
        return Err(error::manifest_unknown(&reference));
    };
    if head.parts.method == Method::HEAD && image.may_push().await? {
        let kept = store::keep(&scope, &image.path, &keys, digest, Content::Manifest).await;
        if !kept_or_not_now(kept)? {
            return Err(error::manifest_unknown(&reference));
        }
    }
    answer(head, &scope, &image.path, (digest, &record), IMMUTABLE).await
}

/// The exact bytes of a manifest, as what it is. What a client says to accept is not looked at:
/// nothing is ever converted, because that would be another manifest.
async fn answer(
    head: Head<'_>,
    scope: &Scope,
    image: &str,
    (digest, record): (&Digest, &ManifestRecord),
    caching: &'static str,
) -> Result<Response, ApiError> {
    let served = Served::new(digest)
        .with_type(record.kind.media_type())
        .with_header(CONTENT_DIGEST, &digest.to_string())
        .with_header(CACHE_CONTROL, caching);
    let (method, headers) = (&head.parts.method, &head.parts.headers);
    match &record.body {
        Body::Blob(blob) if *method == Method::HEAD => {
            serve_blob(scope, method, headers, blob, record.size, served).await
        }
        _ => {
            let mut response = serve_repeatable(method, headers, bytes_of(scope, record).await?, served)?;
            if *method == Method::GET && response.status() == StatusCode::OK {
                let download = scope.download(image, None).await;
                scope.note(&download);
                // Given again from memory, it is another download.
                response.extensions_mut().insert(download);
            }
            Ok(response)
        }
    }
}

/// The exact bytes of a manifest that the caller may have.
pub(super) async fn bytes_of(scope: &Scope, record: &ManifestRecord) -> Result<Bytes, ApiError> {
    let blob = match &record.body {
        Body::Inline(bytes) => return Ok(bytes.clone()),
        Body::Blob(blob) => blob,
    };
    if let Some(bytes) = BODIES.get(blob) {
        return Ok(bytes);
    }
    let reader = scope
        .blobs()
        .read(scope.snapshot(), scope.space(), blob, None)
        .await?;
    let pieces: Vec<Bytes> = reader.try_collect().await?;
    let bytes = Bytes::from(pieces.concat());
    BODIES.insert(*blob, bytes.clone());
    Ok(bytes)
}

/// Adds a manifest, or points a tag to one that is there.
pub(super) async fn put(
    head: Head<'_>,
    name: &RepositoryName,
    reference: Result<Reference, NameError>,
    incoming: &mut Incoming,
) -> Result<Response, ApiError> {
    let image = head.image::<PushImage>(name).await?;
    body::refuse_coding(&head.parts.headers)?;
    let reference = reference?;
    let tags = tags_to_set(head, &reference)?;
    let limits = Limits {
        size_bytes: head.app.http().limits.oci_manifest_bytes,
        ..LIMITS
    };
    let bytes = incoming.whole("the manifest", limits.size_bytes).await?;
    let content_type = head.header(CONTENT_TYPE).map(str::to_owned);
    let (manifest, digest) = parse(bytes.clone(), content_type, algorithm_of(&reference), limits).await?;
    if let Reference::Digest(claimed) = &reference
        && *claimed != digest
    {
        return Err(error::digest_differs(claimed));
    }
    let stored = stored_apart(&image.scope, &bytes).await?;
    let new = NewManifest {
        digest,
        manifest: &manifest,
        size: bytes.len() as u64,
        body: match &stored {
            Some(blob) => NewBody::Blob(blob),
            None => NewBody::Inline(&bytes),
        },
    };
    let work = async |mut txn: Txn| {
        let mut change = Change::new(&image.scope, &mut txn, &image.path);
        let keys = change.claim().await?;
        change.put_manifest(&keys, &new, &tags).await?;
        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        let act = Act::new("image.pushed")
            .to(&image.path)
            .with("digest", digest.to_string());
        let act = if tags.is_empty() {
            act
        } else {
            act.with("tags", tags.join(", "))
        };
        image.scope.tell(&mut txn, act);
        Ok((txn, ()))
    };
    image.scope.transact(work).await?;
    created(
        name,
        &digest,
        &manifest,
        matches!(reference, Reference::Digest(_)).then_some(&tags),
    )
}

fn algorithm_of(reference: &Reference) -> Algorithm {
    match reference {
        Reference::Tag(_) => Algorithm::Sha256,
        Reference::Digest(digest) => digest.algorithm(),
    }
}

/// The tag in the path; or, beside a digest, those in the query.
fn tags_to_set(head: Head<'_>, reference: &Reference) -> Result<BTreeSet<Tag>, ApiError> {
    let tags: BTreeSet<Tag> = match reference {
        Reference::Tag(tag) => [tag.clone()].into(),
        Reference::Digest(_) => head
            .query()
            .all("tag")
            .map(str::parse)
            .collect::<Result<_, _>>()?,
    };
    if tags.len() > MAX_TAGS {
        return Err(
            ApiError::bad_request(format!("a request may set {MAX_TAGS} tags at most"))
                .with_code("TAG_INVALID"),
        );
    }
    Ok(tags)
}

async fn parse(
    bytes: Bytes,
    content_type: Option<String>,
    algorithm: Algorithm,
    limits: Limits,
) -> Result<(Manifest, Digest), ApiError> {
    let is_small = bytes.len() <= PARSED_AT_ONCE_BYTES;
    let work = move || {
        let manifest = Manifest::parse(&bytes, content_type.as_deref(), &limits)?;
        Ok::<_, ApiError>((manifest, Digest::of(algorithm, &bytes)))
    };
    if is_small {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(ApiError::internal)?
}

/// Stores the bytes of a manifest that is too large for the metadata.
async fn stored_apart(scope: &Scope, bytes: &Bytes) -> Result<Option<StoredBlob>, ApiError> {
    if bytes.len() <= INLINE_BYTES {
        return Ok(None);
    }
    let mut writer = scope.blobs().writer(scope.space(), DigestSet::default());
    writer.write(bytes.clone()).await.map_err(ApiError::unavailable)?;
    let stored = writer.finish().await.map_err(ApiError::unavailable)?;
    Ok(Some(stored))
}

fn created(
    name: &RepositoryName,
    digest: &Digest,
    manifest: &Manifest,
    tags: Option<&BTreeSet<Tag>>,
) -> Result<Response, ApiError> {
    let mut response = StatusCode::CREATED.into_response();
    let headers = response.headers_mut();
    let text = |text: String| HeaderValue::try_from(text).map_err(ApiError::internal);
    headers.insert(
        LOCATION,
        text(repository_path(name, &format!("manifests/{digest}")))?,
    );
    headers.insert(CONTENT_DIGEST, text(digest.to_string())?);
    if let Some(subject) = &manifest.subject {
        headers.insert(SUBJECT, text(subject.digest.to_string())?);
    }
    for tag in tags.into_iter().flatten() {
        headers.append(TAG, text(tag.to_string())?);
    }
    Ok(response)
}

/// Removes a tag; or a manifest with every tag that points to it.
pub(super) async fn delete(
    head: Head<'_>,
    name: &RepositoryName,
    reference: Result<Reference, NameError>,
) -> Result<Response, ApiError> {
    let image = head.image::<DeleteImage>(name).await?;
    let reference = reference.map_err(unknown_or_invalid)?;
    loop {
        let work = async |mut txn: Txn| {
            let mut change = Change::new(&image.scope, &mut txn, &image.path);
            let Some(keys) = change.repository().await? else {
                return Err(error::name_unknown(name));
            };
            let progress = match &reference {
                Reference::Tag(tag) => change.delete_tag(&keys, tag).await?.then_some(Progress::Done),
                Reference::Digest(digest) => change.delete_manifest(&keys, digest).await?,
            };
            let what = match &reference {
                Reference::Tag(tag) => Act::new("image.tag_deleted").to(format!("{}:{tag}", image.path)),
                Reference::Digest(digest) => Act::new("image.deleted").to(format!("{}@{digest}", image.path)),
            };
            image.scope.tell(&mut txn, what);
            match progress {
                Some(progress) => Ok((txn, progress)),
                None => Err(error::manifest_unknown(&reference)),
            }
        };
        if image.scope.transact(work).await? == Progress::Done {
            return Ok(StatusCode::ACCEPTED.into_response());
        }
    }
}
