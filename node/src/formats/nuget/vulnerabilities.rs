//! All that is known of weaknesses of packages, for audits.
//!
//! <https://learn.microsoft.com/nuget/api/vulnerability-info>: a list of documents, and when each was changed last.
//! There is one here.

use std::collections::BTreeMap;

use axum::Extension;
use axum::http::HeaderMap;
use axum::response::Response;
use cairn_cluster::{Entry, Scan, Timestamp};
use serde_json::{Value, json};

use super::records::Keys;
use super::routes::{private_json, wanted};
use super::warnings::{Advised, Advisory, level};
use crate::auth::Pull;
use crate::formats::advisories::{self, MAX_TOLD};
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, Assembled, state_tag};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::package::View;
use crate::registry::time::iso;

/// How many advisories are read at a time.
const PAGE: usize = 500;

/// Where all that is known of weaknesses is, and since when: clients fetch it again when that is newer than theirs.
pub(super) async fn index(place: Place<Pull>) -> Result<Response, ApiError> {
    let mut updated = Timestamp(0);
    for scope in place.scopes().await? {
        let advised = Keys::new(scope.collection()).advised();
        let of_project: Option<Advised> = scope.snapshot().record(&advised).await?;
        updated = of_project.map_or(updated, |Advised(at)| updated.max(at));
    }
    Ok(private_json(json!([{
        "@name": "base",
        "@id": format!("{}vulnerabilities/base.json", place.base()),
        "@updated": iso(updated),
        "comment": "the advisories on packages that are published here",
    }])))
}

/// All that is known of weaknesses, by package.
pub(super) async fn all(
    place: Place<Pull>,
    Extension(documents): Extension<Assembled>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scopes = place.scopes().await?;
    let mut state = Vec::new();
    for scope in &scopes {
        let (view, project) = (View::of(scope), scope.project().id);
        let advisories = Keys::new(scope.collection()).advisories();
        state.push((project, view.revision_of(&advisories).await?));
        // Whose a package is, where several have one of its name.
        if scopes.len() > 1 {
            state.push((project, view.names_revision().await?));
        }
    }
    let wanted = wanted(&place, format!("vulnerabilities-{}", state_tag("", state)));
    documents
        .answer(wanted, &headers, async || {
            let told = told(&place, &scopes).await?;
            Ok(Whole(Some(json!(told).to_string())))
        })
        .await
}

/// A document that is made at once.
struct Whole(Option<String>);

impl Assemble for Whole {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        Ok(self.0.take())
    }
}

/// What is told of each package.
async fn told(place: &Place<Pull>, scopes: &[Scope]) -> Result<BTreeMap<String, Vec<Value>>, ApiError> {
    let mut told = BTreeMap::new();
    let mut left = MAX_TOLD;
    for scope in scopes {
        let mut by_package: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for entry in all_of(scope, &mut left).await? {
            let package = advisories::package_of(&entry.item).unwrap_or_default();
            let advisory: Advisory = entry.record()?;
            by_package.entry(package.to_owned()).or_default().push(json!({
                "severity": level(advisory.severity),
                "url": advisory.link,
                "versions": advisory.affected,
            }));
        }
        for (package, advisories) in by_package {
            if scopes.len() == 1 || is_first(place, scope, &package).await? {
                told.insert(package, advisories);
            }
        }
    }
    Ok(told)
}

/// The advisories of a project; `left` is how many more are told.
async fn all_of(scope: &Scope, left: &mut usize) -> Result<Vec<Entry>, ApiError> {
    let all = Keys::new(scope.collection()).advisories();
    let mut found: Vec<Entry> = Vec::new();
    loop {
        let mut scan = Scan::of(&all).limit(PAGE);
        if let Some(last) = found.last() {
            scan = scan.after(&last.item);
        }
        let page = scope.snapshot().scan(scan).await?;
        let is_last = page.len() < PAGE;
        *left = left.checked_sub(page.len()).ok_or_else(|| {
            let message = format!("there are more than {MAX_TOLD} advisories here");
            ApiError::new(ErrorKind::TooLarge, message)
        })?;
        found.extend(page);
        if is_last {
            return Ok(found);
        }
    }
}

/// Whether clients are given the package of this name that a project has. What is said of others does not count.
async fn is_first(place: &Place<Pull>, scope: &Scope, package: &str) -> Result<bool, ApiError> {
    let first = place.first_named(package).await?;
    Ok(first.is_some_and(|(first, _)| first.project().id == scope.project().id))
}
