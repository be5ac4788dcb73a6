//! Deploying by checksum: a client asks whether the content is known before it sends it, by
//! `X-Checksum-Deploy: true` with the sha256 and without a body. If it is, that is the publish.
//!
//! Known is only what the caller may pull, and only where it is most likely: at the place itself,
//! and under the same name in other versions of the package. There is no index of contents, which
//! every publish would pay for; a client that hears 404 sends the file.

use axum::http::HeaderMap;
use cairn_cluster::Txn;

use crate::auth::{Authorised, Publish, Pull};
use crate::formats::generic::NAME;
use crate::formats::generic::claims::Claims;
use crate::formats::generic::copy::{self, Copy};
use crate::formats::generic::fetch::find_file;
use crate::formats::generic::place::Place;
use crate::formats::generic::publish::{self, Demands, Published, Wanted};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{File, Version, View};
use crate::registry::project::Project;

/// How many versions of a package are looked into.
const MAX_VERSIONS: usize = 100;

/// Whether a request asks for this.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    let asked = headers.get("x-checksum-deploy");
    asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Publishes content that is there already.
pub(super) async fn publish(
    project: &Authorised<Project, Publish>,
    wanted: &Wanted,
    headers: &HeaderMap,
) -> Result<Published, ApiError> {
    let unknown = || ApiError::not_found("404 Not Found: send the file itself");
    let scope = project.scope(NAME);
    let demands = Demands::of(project, headers).await?;
    publish::refuse_early(&scope, wanted, headers, &demands).await?;
    if !project.may::<Pull>().await? {
        return Err(unknown());
    }
    let claims = Claims::of(headers)?;
    let (version, file) = find(&scope, &wanted.place, &claims).await?.ok_or_else(unknown)?;
    let copy = Copy {
        version,
        file,
        wanted: wanted.clone(),
    };
    scope
        .transact(async |mut txn: Txn| {
            let published = copy::put(&scope, &scope, &mut txn, &copy, &demands).await?;
            Ok((txn, published))
        })
        .await
}

/// A file with what was claimed as its content.
async fn find(scope: &Scope, place: &Place, claims: &Claims) -> Result<Option<(Version, File)>, ApiError> {
    if let Ok((version, file)) = find_file(scope, place).await
        && claims.identify(&file.digests, file.size)
    {
        return Ok(Some((version, file)));
    }
    let view = View::of(scope);
    let Some(package) = view.package(place.package()).await? else {
        return Ok(None);
    };
    for version in view.versions(&package, None, MAX_VERSIONS).await? {
        let file = view.file(&version, place.file()).await?;
        if let Some(file) = file.filter(|file| claims.identify(&file.digests, file.size)) {
            return Ok(Some((version, file)));
        }
    }
    Ok(None)
}
