//! Security advisories on packages that are published here: who publishes a package publishes them, and audits ask
//! for those on many packages at once.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::NAME;
use super::constraints::Constraint;
use super::index::{self, MALWARE};
use super::names::PackageName;
use super::records::Advisory;
use super::routes::{Here, PackagePath, asked};
use super::source::{Source, absent};
use super::store::{self, missing};
use crate::auth::{Authorised, Publish, Pull};
use crate::formats::advisories::{MAX_TOLD, Severity, check_id, check_link, check_text};
use crate::formats::place::Place;
use crate::http::body::{self, JsonBody};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::project::Project;
use crate::registry::time::parse_date;

/// The largest list of packages that is asked about.
const MAX_ASKED_BYTES: usize = 1 << 20;

/// The most packages that are asked about at once.
const MAX_ASKED: usize = 10_000;

/// What a package URL of Composer begins with.
const PACKAGE_URL: &str = "pkg://composer/";

#[derive(Deserialize)]
pub(super) struct AdvisoryPath {
    vendor: String,
    name: String,
    advisory: String,
}

/// What is said of a weakness.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewAdvisory {
    title: String,
    affected_versions: Constraint,
    link: Option<String>,
    cve: Option<String>,
    severity: Option<Severity>,
    /// When it was reported, if not now.
    reported_at: Option<String>,
    /// Whether these versions were made to do harm: then they are not installed, whatever a lock file says.
    #[serde(default)]
    malware: bool,
}

impl NewAdvisory {
    fn named(self, id: String, now: cairn_cluster::Timestamp) -> Result<Advisory, ApiError> {
        check_id(&id)?;
        check_text("title", &self.title)?;
        self.cve.as_deref().map_or(Ok(()), |cve| check_text("cve", cve))?;
        self.link.as_deref().map_or(Ok(()), check_link)?;
        let reported_at = match &self.reported_at {
            None => now,
            Some(text) => parse_date(text).ok_or_else(|| {
                ApiError::bad_request("reportedAt is a date as 2026-07-01, or a time as 2026-07-01T12:00:00Z")
            })?,
        };
        Ok(Advisory {
            id,
            title: self.title,
            affected: self.affected_versions,
            link: self.link,
            cve: self.cve,
            severity: self.severity,
            reported_at,
            malware: self.malware,
        })
    }
}

pub(super) async fn put(
    project: Authorised<Project, Publish>,
    Path(path): Path<AdvisoryPath>,
    JsonBody(new): JsonBody<NewAdvisory>,
) -> Result<Response, ApiError> {
    let name: PackageName = format!("{}/{}", path.vendor, path.name).parse()?;
    let scope = project.scope(NAME);
    let advisory = new.named(path.advisory, scope.now())?;
    let status = match store::advise(&scope, &name, &advisory).await? {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let base = format!("{}/", scope.project_url());
    Ok((status, Json(index::advisory(&name, &advisory, &base))).into_response())
}

pub(super) async fn delete(
    project: Authorised<Project, Publish>,
    Path(path): Path<AdvisoryPath>,
) -> Result<StatusCode, ApiError> {
    let name: PackageName = format!("{}/{}", path.vendor, path.name).parse()?;
    store::withdraw(&project.scope(NAME), &name, &path.advisory).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The advisories on one package.
pub(super) async fn list(
    Here(place): Here<Pull>,
    Path(path): Path<PackagePath>,
) -> Result<Response, ApiError> {
    let name = asked(&place, &format!("{}/{}", path.vendor, path.name)).await?;
    match of(&place, &name).await? {
        Some(advisories) => {
            let shown = advisories
                .iter()
                .map(|advisory| index::advisory(&name, advisory, place.base()));
            Ok(Json(shown.collect::<Value>()).into_response())
        }
        None => Err(absent(&place, missing(&name)).await),
    }
}

/// The advisories on a package; none if it is not here.
async fn of(place: &Place<Pull>, name: &PackageName) -> Result<Option<Vec<Advisory>>, ApiError> {
    match Source::find(place, name).await? {
        Some(source) => Ok(Some(source.advisories(name).await?)),
        None => Ok(None),
    }
}

/// The advisories on each of these packages that has some.
async fn on(
    place: &Place<Pull>,
    names: BTreeSet<PackageName>,
) -> Result<Vec<(PackageName, Vec<Advisory>)>, ApiError> {
    let too_many = |what: &str, limit: usize| {
        ApiError::new(ErrorKind::TooLarge, format!("more than {limit} {what} at once"))
    };
    if names.len() > MAX_ASKED {
        return Err(too_many("packages are asked about", MAX_ASKED));
    }
    let (mut all, mut count) = (Vec::new(), 0);
    for name in names {
        let advisories = of(place, &name).await?.unwrap_or_default();
        count += advisories.len();
        if count > MAX_TOLD {
            return Err(too_many("advisories are asked for", MAX_TOLD));
        }
        if !advisories.is_empty() {
            all.push((name, advisories));
        }
    }
    Ok(all)
}

/// What an audit asks: a form with the names of packages. Only of these is anything said.
pub(super) async fn answer(
    Here(place): Here<Pull>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    body::refuse_coding(&headers)?;
    let body = body::whole(body, MAX_ASKED_BYTES).await?;
    let mut all = Map::new();
    for (name, advisories) in on(&place, names_in(&body)).await? {
        let shown = advisories
            .iter()
            .map(|advisory| index::advisory(&name, advisory, place.base()));
        all.insert(name.to_string(), shown.collect());
    }
    Ok(Json(json!({"advisories": all})))
}

/// Which packages, by their package URLs, and which lists are asked for.
#[derive(Deserialize)]
pub(super) struct Filter {
    packages: Vec<String>,
    lists: Vec<String>,
}

impl Filter {
    /// The names of the packages; what is not of Composer is not here.
    fn names(&self) -> BTreeSet<PackageName> {
        let names = self
            .packages
            .iter()
            .filter_map(|url| url.strip_prefix(PACKAGE_URL));
        names.filter_map(|name| name.parse().ok()).collect()
    }
}

/// What an installation asks: which versions of these packages are on lists of what is not to be installed.
///
/// The protocol is told in Composer's documentation, under `filter` of a repository.
pub(super) async fn filter(
    Here(place): Here<Pull>,
    JsonBody(asked): JsonBody<Filter>,
) -> Result<Json<Value>, ApiError> {
    if !asked.lists.iter().any(|list| list == MALWARE) {
        return Ok(Json(json!({"filter": {}})));
    }
    let mut entries = Vec::new();
    for (name, advisories) in on(&place, asked.names()).await? {
        for advisory in advisories.iter().filter(|advisory| advisory.malware) {
            let mut entry = index::filter_entry(advisory);
            entry["package"] = json!(name.as_str());
            entries.push(entry);
        }
    }
    Ok(Json(json!({"filter": { MALWARE: entries }})))
}

/// The names in `packages[0]=acme/foo&…`; what cannot be a name is not here.
fn names_in(form: &[u8]) -> BTreeSet<PackageName> {
    let fields = form_urlencoded::parse(form).filter(|(field, _)| field.starts_with("packages["));
    fields.filter_map(|(_, name)| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use cairn_cluster::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_names_of_a_form_are_found() {
        let names = names_in(
            b"packages%5B0%5D=acme%2Ffoo&packages[1]=Acme/Bar&packages[]=php&other=a/b&packages[2]=acme/foo",
        );
        let names: Vec<String> = names.iter().map(PackageName::to_string).collect();
        assert_eq!(names, ["acme/bar", "acme/foo"]);
    }

    #[test]
    fn an_advisory_has_what_clients_read() {
        let check = |id: &str, text: &str, expected: Result<(), &str>| {
            let read: Result<NewAdvisory, _> = serde_json::from_str(text);
            let made = read.map_err(|error| error.to_string());
            let made = made.and_then(|new| {
                new.named(id.into(), Timestamp(1))
                    .map_err(|error| error.to_string())
            });
            match (made, expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.contains(part), "{error} / {part}"),
                (outcome, _) => panic!("{text}: {outcome:?}"),
            }
        };
        let plain = r#"{"title":"x","affectedVersions":"<1.2|>=2,<2.1","severity":"high","cve":"CVE-2026-1","link":"https://x","reportedAt":"2026-07-01"}"#;
        check("A-1.b_2", plain, Ok(()));
        check("A 1", plain, Err("the id"));
        check("", plain, Err("the id"));
        check(
            "A",
            r#"{"title":"x","affectedVersions":"<<1"}"#,
            Err("constraint"),
        );
        check("A", r#"{"title":"x"}"#, Err("affectedVersions"));
        check(
            "A",
            r#"{"title":"","affectedVersions":"*"}"#,
            Err("1 to 500 characters"),
        );
        check(
            "A",
            r#"{"title":"x","affectedVersions":"*","severity":"bad"}"#,
            Err("bad"),
        );
        check(
            "A",
            r#"{"title":"x","affectedVersions":"*","link":"javascript:x"}"#,
            Err("link begins"),
        );
        check(
            "A",
            r#"{"title":"x","affectedVersions":"*","reportedAt":"today"}"#,
            Err("reportedAt"),
        );
        check(
            "A",
            r#"{"title":"x","affectedVersions":"*","more":1}"#,
            Err("more"),
        );
    }

    proptest! {
        #[test]
        fn foreign_forms_never_panic(form in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = names_in(&form);
        }
    }
}
