//! Publishing one file: decide what can be decided before the body, store the bytes, then make
//! them visible in one transaction.

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use cairn_cluster::record::Record;
use cairn_cluster::{DigestSet, StoredBlob, Txn};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::auth::{Authorised, Delete, Publish};
use crate::formats::generic::NAME;
use crate::formats::generic::claims::Claims;
use crate::formats::generic::place::Place;
use crate::http::body;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::package::{Edit, File, FilePut, NewFile, NewVersion, Reuse, Status, Version, View};
use crate::registry::project::Project;
use crate::registry::settings::{DuplicatePolicy, Duplicates};

/// What a project does unless it or a group above it says otherwise: publishing is immutable,
/// and a client that repeats a publish whose answer was lost is not told off.
pub(super) const DEFAULT_DUPLICATES: DuplicatePolicy = DuplicatePolicy::ForbidSameContentOk;

/// The digests that downloads say, besides sha256.
pub(super) const DIGESTS: DigestSet = DigestSet {
    sha1: true,
    sha512: true,
    md5: true,
};

/// A file to be published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) place: Place,
    /// Who is to see the version; none leaves it as it is.
    pub(super) status: Option<Status>,
}

/// A file that is there.
pub(super) struct Published {
    pub(super) version: Version,
    pub(super) file: File,
    /// Whether there was one of its name before.
    pub(super) replaced: bool,
}

/// What is kept of an upload that ended, for a client that did not hear of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) username: Option<String>,
    pub(super) length: u64,
    /// What it published, if it came in parts.
    #[serde(default)]
    pub(super) wanted: Option<Wanted>,
}

impl Record for Finished {}

impl Finished {
    /// An upload of the caller's.
    pub(super) fn of(scope: &Scope, length: u64, wanted: Option<&Wanted>) -> Self {
        Self {
            username: scope.caller().username().map(str::to_owned),
            length,
            wanted: wanted.cloned(),
        }
    }
}

/// What must hold for a file to be published.
pub(super) struct Demands {
    claims: Claims,
    conditions: Conditions,
    duplicates: Duplicates,
    reuse: Reuse,
}

impl Demands {
    /// What the headers of the request demand.
    pub(super) async fn of(
        project: &Authorised<Project, Publish>,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        let demands = Self::claimed(project, Claims::of(headers)?).await?;
        let conditions = Conditions::of(headers)?;
        Ok(Self {
            conditions,
            ..demands
        })
    }

    /// Nothing but that the claims are true, and what the project demands of every file.
    pub(super) async fn claimed(
        project: &Authorised<Project, Publish>,
        claims: Claims,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            claims,
            conditions: Conditions::default(),
            duplicates: project.scope(NAME).duplicates(DEFAULT_DUPLICATES).await?,
            // Whoever may delete a version may also bring it back, with any content.
            reuse: match project.may::<Delete>().await? {
                true => Reuse::Allowed,
                false => Reuse::Refused,
            },
        })
    }
}

impl Demands {
    /// The same, with what was claimed before, and maybe a sha256 in hexadecimal digits.
    pub(super) fn and(mut self, before: &Claims, sha256: Option<&str>) -> Result<Self, ApiError> {
        self.claims.add_all(before);
        if let Some(sha256) = sha256 {
            self.claims.add_sha256(sha256)?;
        }
        Ok(self)
    }

    /// Makes sure that what was stored is what was claimed.
    pub(super) fn check(&self, blob: &StoredBlob) -> Result<(), ApiError> {
        self.claims.check(blob.digests(), blob.size())
    }
}

/// `If-Match` and `If-None-Match`, about the file that is there already.
#[derive(Clone, Debug, Default)]
struct Conditions {
    absent: bool,
    tags: Option<Vec<String>>,
}

impl Conditions {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let list = |name: &str| -> Vec<String> {
            let values = headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok());
            values
                .flat_map(|value| value.split(','))
                .map(|tag| tag.trim().to_owned())
                .collect()
        };
        let none_match = list("if-none-match");
        if none_match.iter().any(|tag| tag != "*") {
            return Err(ApiError::bad_request("If-None-Match of a publish can only be *"));
        }
        Ok(Self {
            absent: !none_match.is_empty(),
            tags: headers.contains_key("if-match").then(|| list("if-match")),
        })
    }

    fn check(&self, present: Option<&File>) -> Result<(), ApiError> {
        let matches = |file: &File| {
            let etag = format!("\"{}\"", HEXLOWER.encode(&file.digests.sha256));
            self.tags
                .as_ref()
                .is_none_or(|tags| tags.iter().any(|tag| tag == "*" || *tag == etag))
        };
        let holds = match present {
            Some(file) => !self.absent && matches(file),
            None => self.tags.is_none(),
        };
        if holds {
            Ok(())
        } else {
            Err(ApiError::new(
                ErrorKind::PreconditionFailed,
                "412 Precondition Failed",
            ))
        }
    }
}

/// Publishes the body of a request.
pub(super) async fn publish(
    project: &Authorised<Project, Publish>,
    wanted: &Wanted,
    headers: &HeaderMap,
    body: Body,
) -> Result<Published, ApiError> {
    let scope = project.scope(NAME);
    let demands = Demands::of(project, headers).await?;
    // Nothing of the body has been asked for yet: a client that waits for "100 Continue" is
    // told of these without sending it.
    refuse_early(&scope, wanted, headers, &demands).await?;
    let blob = scope.put_file(DIGESTS, body).await?;
    demands.check(&blob)?;
    scope
        .transact(async |mut txn: Txn| {
            let content = Content::Stored(&blob);
            let published = name(&scope, &mut txn, wanted, &demands, content).await?;
            Ok((txn, published))
        })
        .await
}

/// Refuses what can be refused before the bytes are there.
pub(super) async fn refuse_early(
    scope: &Scope,
    wanted: &Wanted,
    headers: &HeaderMap,
    demands: &Demands,
) -> Result<(), ApiError> {
    body::refuse_file(headers, scope.limits().file_bytes)?;
    let view = View::of(scope);
    let place = &wanted.place;
    scope.refuse_protected(place.package()).await?;
    let mut present = None;
    if let Some(package) = view.package(place.package()).await?
        && let Some(version) = view.version(&package, place.version()).await?
    {
        present = view.file(&version, place.file()).await?;
    }
    demands.conditions.check(present.as_ref())?;
    // What replaces something, or is there already, may need less room than it has bytes.
    if present.is_none() {
        let bytes = body::content_length(headers).unwrap_or(0);
        scope.refuse_over_quota(bytes).await?;
    }
    match (present, place.policy(&demands.duplicates)) {
        (Some(_), DuplicatePolicy::Forbid) => Err(place.duplicate()),
        (Some(file), DuplicatePolicy::ForbidSameContentOk)
            if demands.claims.rule_out(&file.digests.sha256) =>
        {
            Err(place.duplicate())
        }
        _ => Ok(()),
    }
}

/// What is published.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    /// Bytes that were stored just now.
    Stored(&'a StoredBlob),
    /// Those of a file that is there.
    Kept(&'a File),
}

/// Makes content visible under the name that was wanted.
pub(super) async fn name(
    scope: &Scope,
    txn: &mut Txn,
    wanted: &Wanted,
    demands: &Demands,
    content: Content<'_>,
) -> Result<Published, ApiError> {
    let mut edit = Edit::new(scope, txn);
    let place = &wanted.place;
    let package = edit.claim(place.package(), place.package()).await?;
    let version = match edit.version(&package, place.version()).await? {
        Some(mut version) => {
            if let Some(status) = wanted.status.filter(|status| *status != version.status) {
                version.status = status;
                edit.put_version(&package, &version)?;
            }
            version
        }
        None => {
            let new = NewVersion {
                version: place.version().into(),
                status: wanted.status.unwrap_or_default(),
                metadata: Bytes::new(),
            };
            // The raw view has no versions that could come back with other content.
            let reuse = match place.is_raw() {
                true => Reuse::Allowed,
                false => demands.reuse,
            };
            edit.create_version(&package, new, reuse).await?
        }
    };
    let duplicates = place.policy(&demands.duplicates);
    let present = edit.file(&version, place.file()).await?;
    demands.conditions.check(present.as_ref())?;
    let put = match content {
        Content::Stored(blob) => {
            let new = NewFile {
                name: place.file(),
                blob,
                metadata: Bytes::new(),
            };
            edit.put_file(&version, new, duplicates).await?
        }
        Content::Kept(file) => edit.copy_file(&version, place.file(), file, duplicates).await?,
    };
    match put {
        FilePut::Added(file) | FilePut::Unchanged(file) => Ok(Published {
            version,
            file,
            replaced: present.is_some(),
        }),
        FilePut::Refused(_) => Err(place.duplicate()),
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Finished>("generic-finished");
    }
}
