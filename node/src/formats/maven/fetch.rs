//! Answering with a file, or with its digest.

use std::time::Duration;

use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use cairn_cluster::Digests;
use data_encoding::HEXLOWER;

use super::documents::tag;
use super::names::{Artifact, Coordinates, Kind};
use super::records::{Keys, Newest};
use super::store::{DEFAULT_DUPLICATES, policy, supersedes};
use crate::auth::Action;
use crate::auth::action::Freshness;
use crate::formats::place::Place;
use crate::http::checksum::Algorithm;
use crate::http::error::ApiError;
use crate::http::{Served, serve_blob, serve_bytes};
use crate::registry::Scope;
use crate::registry::package::{File, Version, View};

/// How long after an upload Ivy is told that there is no digest: it asks before it uploads one, and takes what is
/// there for a file that it must not overwrite.
const BEFORE_IVY_SEES_DIGESTS: Duration = Duration::from_secs(60);

/// A file that is there.
pub(super) struct Found {
    scope: Scope,
    version: Version,
    pub(super) file: File,
    /// Whether other content may come in its place.
    may_change: bool,
}

/// Finds a file here, or the newest build that it stands for.
pub(super) async fn find<A: Action>(
    place: &Place<A>,
    coordinates: &Coordinates,
) -> Result<Option<Found>, ApiError> {
    let scopes = place.scopes_holding(coordinates.package.as_str()).await?;
    let found = find_in(&scopes, coordinates).await?;
    if A::FRESHNESS == Freshness::Latest || found.as_ref().is_some_and(|found| !found.may_change) {
        return Ok(found);
    }
    // What is not here may be elsewhere, and what is here may have changed there.
    let mut confirmed = Vec::new();
    for scope in scopes {
        confirmed.push(scope.confirmed().await?);
    }
    find_in(&confirmed, coordinates).await
}

/// The same in some projects: the first that has it counts, or of a snapshot the one with the newest build.
pub(super) async fn find_in(scopes: &[Scope], coordinates: &Coordinates) -> Result<Option<Found>, ApiError> {
    let mut newest: Option<(&Scope, Newest)> = None;
    if coordinates.is_changing() {
        for scope in scopes {
            let Some(one) = newest_in(scope, coordinates).await? else {
                continue;
            };
            let is_newer = |(_, other): &(&Scope, Newest)| supersedes(&coordinates.version, &one, other);
            if newest.as_ref().is_none_or(is_newer) {
                newest = Some((scope, one));
            }
        }
    }
    if let Some((scope, newest)) = newest {
        return exact(scope, coordinates, &coordinates.of_build(&newest.value)).await;
    }
    for scope in scopes {
        if let Some(found) = exact(scope, coordinates, &coordinates.file).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// What metadata say of the classifier and extension of a file.
async fn newest_in(scope: &Scope, coordinates: &Coordinates) -> Result<Option<Newest>, ApiError> {
    let Kind::Maven(Artifact {
        classifier,
        extension,
        ..
    }) = &coordinates.kind
    else {
        return Ok(None);
    };
    let Some(package) = View::of(scope).package(coordinates.package.as_str()).await? else {
        return Ok(None);
    };
    let keys = Keys::new(scope.collection());
    let key = keys.build(
        package.key,
        &coordinates.version,
        extension,
        classifier.as_deref(),
    );
    Ok(scope.snapshot().record(&key).await?)
}

/// The file of this name in the version that `coordinates` are in.
pub(super) async fn exact(
    scope: &Scope,
    coordinates: &Coordinates,
    file: &str,
) -> Result<Option<Found>, ApiError> {
    let view = View::of(scope);
    let Some(package) = view.package(coordinates.package.as_str()).await? else {
        return Ok(None);
    };
    let Some(version) = view.version(&package, &coordinates.version).await? else {
        return Ok(None);
    };
    let Some(file) = view.file(&version, file).await? else {
        return Ok(None);
    };
    let duplicates = scope.duplicates(DEFAULT_DUPLICATES).await?;
    Ok(Some(Found {
        scope: scope.clone(),
        version,
        file,
        may_change: policy(coordinates, &duplicates).allows_other_content(),
    }))
}

impl Found {
    /// Answers with the file.
    pub(super) async fn answer(&self, method: &Method, headers: &HeaderMap) -> Result<Response, ApiError> {
        let (scope, file) = (&self.scope, &self.file);
        if *method == Method::GET {
            View::of(scope).note_download(&self.version, headers).await?;
        }
        let name = file.name.rsplit('/').next().unwrap_or_default();
        let served = Served::new(tag(&file.digests))
            .with_date(file.created_at)
            .with_digests(&file.digests)
            .downloaded_as(name)
            .kept_by_clients(scope.project(), !self.may_change);
        serve_blob(scope, method, headers, &file.blob, file.size, served).await
    }

    /// Whether a client is to be told that there is no digest of the file yet.
    pub(super) fn hides_digest(&self, method: &Method, headers: &HeaderMap) -> bool {
        let agent = headers
            .get(header::USER_AGENT)
            .and_then(|agent| agent.to_str().ok());
        let is_ivy = agent.is_some_and(|agent| agent.contains("Ivy"));
        let is_new = self.scope.now() < self.file.created_at.plus(BEFORE_IVY_SEES_DIGESTS);
        *method == Method::HEAD && is_ivy && is_new
    }
}

/// Answers with a digest, and nothing else.
pub(super) fn digest(
    algorithm: Algorithm,
    digests: &Digests,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Response>, ApiError> {
    let Some(digest) = algorithm.of(digests) else {
        return Ok(None);
    };
    let digest = HEXLOWER.encode(digest);
    let served = Served::new(format_args!("{}-{digest}", algorithm.name()))
        .with_type("text/plain; charset=utf-8")
        .with_header(header::CACHE_CONTROL, "private, no-cache");
    serve_bytes(method, headers, digest.into(), served).map(Some)
}
