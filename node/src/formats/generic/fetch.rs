//! Answering with a file, or with the checksum file that is made for it.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::response::Response;
use data_encoding::{BASE64, HEXLOWER};

use crate::formats::generic::place::Place;
use crate::formats::generic::publish::DEFAULT_DUPLICATES;
use crate::http::checksum::Algorithm;
use crate::http::error::ApiError;
use crate::http::{Served, serve_blob, serve_bytes};
use crate::registry::Scope;
use crate::registry::package::{File, Package, Version, View};

/// Answers with the file at a place, on a view that may be behind.
pub(super) async fn fetch(
    scope: &Scope,
    place: &Place,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if let Ok(found) = find_file(scope, place).await {
        return give(scope, place, found, method, headers).await;
    }
    // What is not here may be elsewhere.
    let scope = scope.confirmed().await?;
    match find_file(&scope, place).await {
        Ok(found) => give(&scope, place, found, method, headers).await,
        Err(missing) => match generated(&scope, place).await? {
            Some((text, served)) => serve_bytes(method, headers, text, served),
            None => Err(missing),
        },
    }
}

/// A version that is there.
pub(super) async fn find_version(
    scope: &Scope,
    package: &str,
    version: &str,
) -> Result<(Package, Version), ApiError> {
    let view = View::of(scope);
    if let Some(package) = view.package(package).await?
        && let Some(version) = view.version(&package, version).await?
    {
        return Ok((package, version));
    }
    Err(ApiError::not_found("404 Package Not Found"))
}

/// A file that is there, with its version.
pub(super) async fn find_file(scope: &Scope, place: &Place) -> Result<(Version, File), ApiError> {
    let missing = || ApiError::not_found("404 File Not Found");
    let found = find_version(scope, place.package(), place.version()).await;
    // That there is no raw view yet is nothing that a client should hear of.
    let (_, version) = found.map_err(|error| if place.is_raw() { missing() } else { error })?;
    match View::of(scope).file(&version, place.file()).await? {
        Some(file) => Ok((version, file)),
        None => Err(missing()),
    }
}

async fn give(
    scope: &Scope,
    place: &Place,
    (version, file): (Version, File),
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let duplicates = scope.duplicates(DEFAULT_DUPLICATES).await?;
    let immutable = !place.policy(&duplicates).allows_other_content();
    if !immutable {
        // The file may have been replaced where this node cannot see it.
        scope.confirmed().await?;
    }
    if *method == Method::GET {
        View::of(scope).note_download(&version, headers).await?;
    }
    let digests = &file.digests;
    let base = file.name.rsplit('/').next().unwrap_or_default();
    let repr_digest = format!("sha-256=:{}:", BASE64.encode(&digests.sha256));
    let served = Served::new(HEXLOWER.encode(&digests.sha256))
        .with_date(file.created_at)
        .with_digests(digests)
        .with_header(HeaderName::from_static("repr-digest"), &repr_digest)
        .downloaded_as(base)
        .kept_by_clients(scope.project(), immutable);
    serve_blob(scope, method, headers, &file.blob, file.size, served).await
}

/// `tool.tgz.sha256` and its like, made from what is known of `tool.tgz`.
async fn generated(scope: &Scope, place: &Place) -> Result<Option<(Bytes, Served)>, ApiError> {
    let Some((subject, algorithm)) = place.file().rsplit_once('.') else {
        return Ok(None);
    };
    let Ok(subject) = place.beside(subject) else {
        return Ok(None);
    };
    let Ok((_, file)) = find_file(scope, &subject).await else {
        return Ok(None);
    };
    let digest = Algorithm::named(algorithm).and_then(|algorithm| algorithm.of(&file.digests));
    let Some(digest) = digest.map(|digest| HEXLOWER.encode(digest)) else {
        return Ok(None);
    };
    let base = file.name.rsplit('/').next().unwrap_or_default();
    let served = Served::new(format_args!("{algorithm}-{digest}"))
        .with_type("text/plain; charset=utf-8")
        .with_date(file.created_at)
        .with_header(header::CACHE_CONTROL, "private, no-cache");
    Ok(Some((format!("{digest}  {base}\n").into(), served)))
}
