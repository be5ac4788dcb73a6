//! Handlers of a Maven repository: everything is a path that is fetched, sent or deleted.

use axum::body::Body;
use axum::extract::{FromRequestParts, OriginalUri, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use data_encoding::HEXLOWER_PERMISSIVE;
use futures::StreamExt;
use serde::Deserialize;

use super::NAME;
use super::browse::Listed;
use super::documents;
use super::fetch;
use super::names::{Coordinates, Directory, Document, Target, is_snapshot};
use super::receive::receive;
use super::store::{self, Demands, Publication, Published, missing};
use crate::app::App;
use crate::auth::{Action, Authorised, Delete, Manage, Publish, Pull, PullImmutable};
use crate::formats::place::Place;
use crate::formats::{Level, Mount, lists, xml};
use crate::http::assembled::Assembled;
use crate::http::body;
use crate::http::checksum::Algorithm;
use crate::http::error::ApiError;
use crate::http::form::Query;
use crate::registry::Scope;
use crate::registry::package::View;
use crate::registry::project::Project;

/// How much of the metadata that were asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// The largest file that can hold a digest, which may have the name of a file beside it.
const MAX_CHECKSUM_BYTES: usize = 4 << 10;

/// The largest metadata that are looked at; longer ones are taken and thrown away like all others.
const MAX_METADATA_BYTES: usize = 1 << 20;

/// How many packages of a directory are deleted at a time.
const PAGE: usize = 100;

/// The routes of one level.
pub(super) fn routes(level: Level) -> Router<App> {
    let routes = match level {
        Level::Project => Router::new()
            .route("/", get(top))
            .route("/{*path}", get(fetch).put(publish).delete(delete)),
        Level::Group | Level::Instance | Level::Host => {
            Router::new().route("/", get(top)).route("/{*path}", get(fetch))
        }
    };
    routes.layer(Extension(Assembled::new(CACHE_BYTES)))
}

#[derive(Deserialize)]
struct RawPath {
    path: String,
}

/// What is fetched, and from where.
enum Fetch {
    /// Something that does not change once it is there.
    Settled(Place<PullImmutable>, Target),
    /// Anything else.
    Latest(Place<Pull>, Target),
}

impl FromRequestParts<App> for Fetch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let target = match Path::<RawPath>::from_request_parts(parts, app).await {
            Ok(Path(RawPath { path })) => path.parse::<Target>().ok(),
            Err(_) => None,
        };
        // Which projects a group has can change, so there a node must not answer from what it knows.
        let is_at_project = Mount::of(parts)?.level == Level::Project;
        match target {
            Some(target) if is_at_project && is_settled(&target) => Ok(Self::Settled(
                Place::from_request_parts(parts, app).await?,
                target,
            )),
            Some(target) => Ok(Self::Latest(Place::from_request_parts(parts, app).await?, target)),
            None => {
                let place = Place::<Pull>::from_request_parts(parts, app).await?;
                Err(place.missing(missing(parts.uri.path())))
            }
        }
    }
}

fn is_settled(target: &Target) -> bool {
    match target {
        Target::File(coordinates) => !coordinates.is_changing(),
        Target::Checksum(_, subject) => is_settled(subject),
        Target::Document(_) | Target::Directory(_) | Target::Other(_) => false,
    }
}

async fn top(
    place: Place<Pull>,
    Query(query): Query<lists::ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    list(&place, Directory::top(), query, &uri, &headers).await
}

async fn fetch(
    fetch: Fetch,
    Extension(documents): Extension<Assembled>,
    Query(query): Query<lists::ListQuery>,
    uri: OriginalUri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (place, target) = match fetch {
        Fetch::Settled(place, target) => {
            let found = settled(&place, &target, &method, &headers).await?;
            return found.ok_or_else(|| place.missing(missing(uri.path())));
        }
        Fetch::Latest(place, target) => (place, target),
    };
    let found = match target {
        Target::Directory(directory) => return list(&place, directory, query, &uri, &headers).await,
        Target::Other(directory) => {
            let scopes = match place.project() {
                Some(_) => place.scopes().await?,
                // To look for a directory in all projects costs too much to do it for what is no file.
                None => Vec::new(),
            };
            let is_there = Listed { scopes, directory }.is_there().await?;
            is_there.then(|| lists::to_directory(&uri))
        }
        Target::Document(document) => match documents::find(&place, &document).await? {
            Some(made) => Some(made.answer(&documents, &method, &headers).await?),
            None => None,
        },
        Target::Checksum(algorithm, subject) => match *subject {
            Target::Document(document) => match documents::find(&place, &document).await? {
                Some(made) => {
                    let digests = made.digests(&documents).await?;
                    fetch::digest(algorithm, &digests, &method, &headers)?
                }
                None => None,
            },
            subject => {
                let target = Target::Checksum(algorithm, Box::new(subject));
                settled(&place, &target, &method, &headers).await?
            }
        },
        target => settled(&place, &target, &method, &headers).await?,
    };
    found.ok_or_else(|| place.missing(missing(uri.path())))
}

/// A file, or the digest of one.
async fn settled<A: Action>(
    place: &Place<A>,
    target: &Target,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Response>, ApiError> {
    let (coordinates, algorithm) = match target {
        Target::File(coordinates) => (coordinates, None),
        Target::Checksum(algorithm, subject) => match &**subject {
            Target::File(coordinates) => (coordinates, Some(*algorithm)),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let Some(found) = fetch::find(place, coordinates).await? else {
        return Ok(None);
    };
    match algorithm {
        None => found.answer(method, headers).await.map(Some),
        Some(_) if found.hides_digest(method, headers) => Ok(None),
        Some(algorithm) => fetch::digest(algorithm, &found.file.digests, method, headers),
    }
}

async fn list(
    place: &Place<Pull>,
    directory: Directory,
    query: lists::ListQuery,
    uri: &OriginalUri,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let path = directory.prefix();
    let listed = Listed {
        scopes: place.scopes().await?,
        directory,
    };
    // The top is there even if nothing is in it.
    if !path.is_empty() && !listed.is_there().await? {
        return Err(place.missing(missing(path)));
    }
    lists::list(listed, path, query, place.access().base_url(), uri, headers).await
}

/// Takes what a client sends. Only files are kept: digests are compared, and what metadata say is known better here.
async fn publish(
    project: Authorised<Project, Publish>,
    Path(RawPath { path }): Path<RawPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let target: Target = path.parse()?;
    // Before anything of the body has been asked for, and with all that clients send beside a file.
    if let Some(version) = target.version() {
        scope
            .version_policy()
            .await?
            .check(version, is_snapshot(version))?;
    }
    match target {
        Target::File(coordinates) => {
            let published = publish_file(&project, &scope, &coordinates, &headers, body).await?;
            let status = match published {
                Published::Created => StatusCode::CREATED,
                Published::Replaced => StatusCode::OK,
            };
            Ok((status, "").into_response())
        }
        Target::Checksum(algorithm, subject) => {
            let sent = body::whole(body, MAX_CHECKSUM_BYTES).await?;
            let sent = digest_in(algorithm, &sent)?;
            if let Target::File(coordinates) = *subject {
                compare(&scope, &coordinates, algorithm, &sent).await?;
            }
            Ok((StatusCode::CREATED, "").into_response())
        }
        Target::Document(document) => {
            let sent = beginning(&scope, body).await?;
            if let (Some(sent), Document::Metadata(directory)) = (sent, document) {
                note_complete(&scope, &directory, &sent).await?;
            }
            Ok((StatusCode::CREATED, "").into_response())
        }
        Target::Directory(_) => Err(ApiError::bad_request("a path that ends with '/' is a directory")),
        Target::Other(_) => Err(ApiError::bad_request(format!(
            "{path} is no path of a Maven or Ivy repository, such as group/artifact/1.0/artifact-1.0.jar"
        ))),
    }
}

async fn publish_file(
    project: &Authorised<Project, Publish>,
    scope: &Scope,
    coordinates: &Coordinates,
    headers: &HeaderMap,
    body: Body,
) -> Result<Published, ApiError> {
    // Nothing of the body has been asked for yet: a client that waits for "100 Continue" is told of these without
    // sending it.
    body::refuse_file(headers, scope.limits().file_bytes)?;
    scope.refuse_protected(coordinates.package.as_str()).await?;
    let demands = Demands::of(project).await?;
    let length = body::content_length(headers);
    match fetch::exact(scope, coordinates, &coordinates.file).await? {
        Some(present) => demands.check(coordinates, &present.file, length)?,
        None => scope.refuse_over_quota(length.unwrap_or(0)).await?,
    }
    let (blob, nature) = Box::pin(receive(project.access(), scope, coordinates, body)).await?;
    let publication = Publication {
        coordinates,
        blob: &blob,
        nature: &nature,
        demands: &demands,
    };
    store::publish(scope, &publication).await
}

/// The digest in a checksum file: alone, or with the name of the file before or behind it.
fn digest_in(algorithm: Algorithm, sent: &[u8]) -> Result<Vec<u8>, ApiError> {
    let text = String::from_utf8_lossy(sent);
    let words = text.split(|character: char| character.is_whitespace() || character == '=');
    let mut digests = words.filter_map(|word| HEXLOWER_PERMISSIVE.decode(word.as_bytes()).ok());
    digests
        .find(|digest| digest.len() == algorithm.bytes())
        .ok_or_else(|| ApiError::bad_request(format!("the body holds no {} digest", algorithm.name())))
}

/// Compares a digest that a client sends with the file that it sent before.
async fn compare(
    scope: &Scope,
    coordinates: &Coordinates,
    algorithm: Algorithm,
    sent: &[u8],
) -> Result<(), ApiError> {
    // It may come before its file, or without it.
    let Some(found) = fetch::exact(scope, coordinates, &coordinates.file).await? else {
        return Ok(());
    };
    match algorithm.of(&found.file.digests) {
        Some(digest) if digest != sent => Err(ApiError::bad_request(format!(
            "the {} that was sent is not the one of {}",
            algorithm.name(),
            coordinates.file
        ))),
        _ => Ok(()),
    }
}

/// The whole body, unless it is longer than anything that is looked at.
async fn beginning(scope: &Scope, body: Body) -> Result<Option<Vec<u8>>, ApiError> {
    let limit_bytes = scope.limits().file_bytes;
    let (mut pieces, mut kept, mut bytes) = (body::stream(body), Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        if bytes > limit_bytes {
            return Err(body::file_too_large(limit_bytes));
        }
        if kept.len() <= MAX_METADATA_BYTES {
            kept.extend_from_slice(&piece);
        }
    }
    Ok((kept.len() <= MAX_METADATA_BYTES).then_some(kept))
}

/// A client sends metadata when it has sent everything else. What they say of its version, which it adds at the end,
/// is that it is complete.
async fn note_complete(scope: &Scope, directory: &Directory, sent: &[u8]) -> Result<(), ApiError> {
    let (mut release, mut latest, mut last) = (None, None, None);
    let look = |path: &str, text: &str| match path {
        "metadata/versioning/release" => release = Some(text.to_owned()),
        "metadata/versioning/latest" => latest = Some(text.to_owned()),
        "metadata/versioning/versions/version" => last = Some(text.to_owned()),
        _ => {}
    };
    // What cannot be read is of no use, and does no harm.
    if xml::each_text(sent, look).is_err() {
        return Ok(());
    }
    match directory.as_version() {
        Some((package, version)) if is_snapshot(version) => {
            store::list_complete(scope, &package, &[version.to_owned()]).await
        }
        _ => match directory.as_package() {
            Some(package) => {
                let mut versions: Vec<_> = [release, latest, last].into_iter().flatten().collect();
                versions.dedup();
                store::list_complete(scope, &package, &versions).await
            }
            None => Ok(()),
        },
    }
}

async fn delete(
    project: Authorised<Project, Delete>,
    Path(RawPath { path }): Path<RawPath>,
) -> Result<StatusCode, ApiError> {
    let scope = project.scope(NAME);
    match path.parse()? {
        Target::File(coordinates) => {
            if fetch::exact(&scope, &coordinates, &coordinates.file)
                .await?
                .is_some()
            {
                store::delete_file(&scope, &coordinates).await?;
            } else {
                delete_directory(&project, &scope, &path.parse()?).await?;
            }
        }
        // They are made anew whenever they are asked for, which is what deleting them is for.
        Target::Document(_) | Target::Checksum(..) => {}
        Target::Directory(directory) | Target::Other(directory) => {
            delete_directory(&project, &scope, &directory).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a version, or a package and all packages below a directory.
async fn delete_directory(
    project: &Authorised<Project, Delete>,
    scope: &Scope,
    directory: &Directory,
) -> Result<(), ApiError> {
    let view = View::of(scope);
    if let Some((name, version)) = directory.as_version()
        && let Some(package) = view.package(name.as_str()).await?
        && view.version(&package, version).await?.is_some()
    {
        return store::delete_version_named(scope, &name, version).await;
    }
    let package = match directory.as_package() {
        Some(name) => view.package(name.as_str()).await?,
        None => None,
    };
    let below = directory.prefix();
    let mut names = view.packages_below(&below, None, PAGE).await?;
    if package.is_none() && names.is_empty() {
        return Err(missing(directory.as_str()));
    }
    if !names.is_empty() {
        // Everything below a path is more than a package, and so is the right to delete it.
        project.also::<Manage>().await?;
    }
    if let Some(package) = package {
        store::delete_package(scope, &package.name).await?;
    }
    while let Some(last) = names.last().map(|package| package.name.clone()) {
        for package in &names {
            store::delete_package(scope, &package.name).await?;
        }
        names = view.packages_below(&below, Some(&last), PAGE).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_every_form_of_checksum_files() {
        let hex = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        for text in [
            hex.to_owned(),
            hex.to_uppercase(),
            format!("{hex}\n"),
            format!("{hex}  lib-1.0.jar\n"),
            format!("{hex} *lib-1.0.jar"),
            format!("SHA1(lib-1.0.jar)= {hex}"),
            format!("lib-1.0.jar: {hex}"),
        ] {
            assert_eq!(
                digest_in(Algorithm::Sha1, text.as_bytes()).unwrap().len(),
                20,
                "{text}"
            );
            assert!(digest_in(Algorithm::Md5, text.as_bytes()).is_err(), "{text}");
        }
        for text in ["", "lib-1.0.jar", "da39a3ee", "\u{0}\u{1}"] {
            assert!(digest_in(Algorithm::Sha1, text.as_bytes()).is_err(), "{text}");
        }
        assert!(digest_in(Algorithm::Sha1, &[0xff; 40]).is_err());
    }
}
