//! Handlers that say something against versions, for those who publish them.
//!
//! Deprecation has the URL and the form of the public gallery's API; no client has a command for it.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::NAME;
use super::names::{PackageId, Range, Version};
use super::routes::{asked_id, private_json};
use super::source::Source;
use super::store;
use super::warnings::{Advisory, Alternate, Deprecation, Reason};
use crate::auth::{Authorised, Publish, Pull};
use crate::formats::advisories::{Severity, check_id, check_link, check_text};
use crate::formats::place::Place;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::registry::project::Project;

/// How many versions are deprecated at once.
const MAX_VERSIONS: usize = 100;

#[derive(Deserialize)]
pub(super) struct PackagePath {
    package: String,
}

#[derive(Deserialize)]
pub(super) struct AdvisoryPath {
    package: String,
    advisory: String,
}

/// Why versions should not be used any more; without a reason they may be used again.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewDeprecation {
    versions: Vec<Version>,
    #[serde(default)]
    is_legacy: bool,
    #[serde(default)]
    has_critical_bugs: bool,
    #[serde(default)]
    is_other: bool,
    message: Option<String>,
    alternate_package_id: Option<PackageId>,
    alternate_package_version: Option<Version>,
}

impl NewDeprecation {
    /// The versions, and what is said of them.
    fn checked(self) -> Result<(Vec<Version>, Option<Deprecation>), ApiError> {
        if self.versions.is_empty() || self.versions.len() > MAX_VERSIONS {
            return Err(ApiError::bad_request(format!(
                "versions has 1 to {MAX_VERSIONS} versions"
            )));
        }
        let message = self.message.filter(|message| !message.is_empty());
        if let Some(message) = &message {
            check_text("message", message)?;
        }
        if self.is_other && message.is_none() {
            return Err(ApiError::bad_request("another reason needs a message"));
        }
        let alternate = match (self.alternate_package_id, self.alternate_package_version) {
            (Some(id), version) => Some(Alternate { id, version }),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(ApiError::bad_request(
                    "alternatePackageVersion goes with alternatePackageId",
                ));
            }
        };
        let reasons = [
            (self.is_legacy, Reason::Legacy),
            (self.has_critical_bugs, Reason::CriticalBugs),
            (self.is_other, Reason::Other),
        ];
        let reasons: Vec<Reason> = reasons
            .into_iter()
            .filter_map(|(holds, reason)| holds.then_some(reason))
            .collect();
        if reasons.is_empty() && (message.is_some() || alternate.is_some()) {
            return Err(ApiError::bad_request(
                "a deprecation needs a reason: isLegacy, hasCriticalBugs or isOther",
            ));
        }
        let deprecation = (!reasons.is_empty()).then_some(Deprecation {
            reasons,
            message,
            alternate,
        });
        Ok((self.versions, deprecation))
    }
}

pub(super) async fn deprecate(
    project: Authorised<Project, Publish>,
    Path(path): Path<PackagePath>,
    JsonBody(new): JsonBody<NewDeprecation>,
) -> Result<StatusCode, ApiError> {
    let id = asked_id(&path.package)?;
    let (versions, deprecation) = new.checked()?;
    store::deprecate(&project.scope(NAME), &id, &versions, deprecation.as_ref()).await?;
    Ok(StatusCode::OK)
}

/// What is said of a weakness.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewAdvisory {
    affected_versions: Range,
    severity: Severity,
    link: String,
}

fn shown(advisory: &Advisory) -> Value {
    json!({
        "id": advisory.id,
        "affectedVersions": advisory.affected,
        "severity": advisory.severity,
        "link": advisory.link,
    })
}

pub(super) async fn put(
    project: Authorised<Project, Publish>,
    Path(path): Path<AdvisoryPath>,
    JsonBody(new): JsonBody<NewAdvisory>,
) -> Result<Response, ApiError> {
    let id = asked_id(&path.package)?;
    check_id(&path.advisory)?;
    check_link(&new.link)?;
    let advisory = Advisory {
        id: path.advisory,
        affected: new.affected_versions,
        severity: new.severity,
        link: new.link,
    };
    let status = match store::advise(&project.scope(NAME), &id, &advisory).await? {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, Json(shown(&advisory))).into_response())
}

pub(super) async fn delete(
    project: Authorised<Project, Publish>,
    Path(path): Path<AdvisoryPath>,
) -> Result<StatusCode, ApiError> {
    let id = asked_id(&path.package)?;
    store::withdraw(&project.scope(NAME), &id, &path.advisory).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The advisories on one package.
pub(super) async fn list(place: Place<Pull>, Path(path): Path<PackagePath>) -> Result<Response, ApiError> {
    let id = asked_id(&path.package).map_err(|error| place.missing(error))?;
    let source = Source::find(&place, &id).await?;
    let advisories = source.advisories().await?;
    Ok(private_json(advisories.iter().map(shown).collect::<Vec<_>>()))
}
