//! Security advisories on packages that are published here: who publishes a package says what is wrong with which of its
//! versions, and audits ask for it ([`audit`](super::audit)).

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put as route_put};
use axum::{Json, Router};
use cairn_cluster::Timestamp;
use cairn_cluster::record::Record;
use nodejs_semver::Range;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::NAME;
use super::names::Version;
use super::routes::{PackagePath, asked, private_json, sources, written};
use super::store;
use crate::app::App;
use crate::auth::{Authorised, Publish, Pull};
use crate::formats::advisories::{check_id, check_link, check_text};
use crate::formats::place::Place;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::registry::project::Project;

/// The longest range of versions.
const MAX_RANGE_CHARS: usize = 500;

/// What is said of a package for which no version is sound, as advisories write it.
pub(super) const NOTHING: &str = "<0.0.0";

/// Which versions have a weakness, as a range of npm's: `<1.2.3 || >=2.0.0 <2.1.4`.
///
/// Grammar: <https://github.com/npm/node-semver#ranges>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Affected {
    text: String,
    range: Range,
}

/// A text that is no range of versions.
#[derive(Debug, thiserror::Error)]
#[error("affectedVersions is a range of versions as <1.2.3 || >=2.0.0 <2.1.4")]
pub(super) struct NoRange;

/// A version, as ranges are asked about it.
pub(super) struct Asked(Vec<nodejs_semver::Version>);

impl Asked {
    /// A prerelease is looked for as the version that it leads to as well: `1.x` has `1.0.0-beta.1`, and `*` has
    /// `0.0.0-1`. What the library cannot hold is in no form here.
    pub(super) fn of(version: &Version) -> Self {
        let text = version.to_string();
        let release = text.split('-').next().filter(|release| *release != text);
        let forms = std::iter::once(text.as_str()).chain(release);
        Self(
            forms
                .filter_map(|form| nodejs_semver::Version::parse(form).ok())
                .collect(),
        )
    }
}

/// Whether a text is comparators that all hold, each of which is one by itself: the library passes over what it does not
/// understand beside something that it does, and takes what cannot hold together for alternatives.
fn is_alternative(text: &str) -> bool {
    let is_comparator = |text: &str| Range::parse(text).is_ok();
    let Ok(range) = Range::parse(text) else {
        return false;
    };
    if range.to_string().contains("||") {
        return false;
    }
    if let Some((from, to)) = text.split_once(" - ") {
        let is_end = |end: &str| !end.trim().contains(char::is_whitespace) && is_comparator(end.trim());
        return is_end(from) && is_end(to);
    }
    // An operator may stand apart from its version.
    let mut comparators: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match comparators.last_mut() {
            Some(last) if last.ends_with(['<', '>', '=', '~', '^']) => last.push_str(word),
            _ => comparators.push(word.to_owned()),
        }
    }
    !comparators.is_empty() && comparators.iter().all(|comparator| is_comparator(comparator))
}

impl Affected {
    /// Whether a version is one of them, which one is that cannot be told.
    pub(super) fn includes(&self, version: &Asked) -> bool {
        let Asked(forms) = version;
        forms.is_empty()
            || forms
                .iter()
                .any(|form| self.range.satisfies_with_prerelease(form, true))
    }

    /// The range of all other versions.
    pub(super) fn patched(&self) -> String {
        // What is outside of all alternatives is outside of each: the library's difference of several at once is
        // what is outside of any.
        let mut alternatives = self.text.split("||").map(Range::parse);
        let outside = alternatives.try_fold(Range::any(), |left, alternative| {
            let outside = Range::any().difference(&alternative.ok()?)?;
            left.intersect(&outside)
        });
        outside.map_or_else(|| NOTHING.to_owned(), |range| range.to_string())
    }
}

impl TryFrom<String> for Affected {
    type Error = NoRange;

    fn try_from(text: String) -> Result<Self, NoRange> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" .*<>=~^+-|".contains(&byte);
        // An empty text would be all versions, which is said with an asterisk.
        if text.len() > MAX_RANGE_CHARS
            || !text.bytes().all(is_plain)
            || !text.split("||").all(is_alternative)
        {
            return Err(NoRange);
        }
        let range = Range::parse(&text).map_err(|_| NoRange)?;
        Ok(Self { text, range })
    }
}

impl From<Affected> for String {
    fn from(affected: Affected) -> Self {
        affected.text
    }
}

/// How bad a weakness is, in npm's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Low,
    Moderate,
    High,
    Critical,
}

/// What is known of a weakness in some versions of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advisory {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) affected: Affected,
    pub(super) severity: Severity,
    pub(super) link: Option<String>,
    pub(super) cve: Option<String>,
    pub(super) updated_at: Timestamp,
}

impl Record for Advisory {}

/// The routes that read.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/-/advisories/{package}", get(list))
}

/// The routes that only a project has.
pub(super) fn changes() -> Router<App> {
    Router::new().route(
        "/-/advisories/{package}/{advisory}",
        route_put(put).delete(delete),
    )
}

#[derive(Deserialize)]
struct AdvisoryPath {
    package: String,
    advisory: String,
}

/// What is said of a weakness.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewAdvisory {
    title: String,
    affected_versions: Affected,
    severity: Severity,
    link: Option<String>,
    cve: Option<String>,
}

impl NewAdvisory {
    fn named(self, id: String, now: Timestamp) -> Result<Advisory, ApiError> {
        check_id(&id)?;
        check_text("title", &self.title)?;
        if self
            .title
            .chars()
            .chain(self.cve.iter().flat_map(|cve| cve.chars()))
            .any(char::is_control)
        {
            // Clients print them as they are.
            return Err(ApiError::bad_request("title and cve have no control characters"));
        }
        self.link.as_deref().map_or(Ok(()), check_link)?;
        self.cve.as_deref().map_or(Ok(()), |cve| check_text("cve", cve))?;
        Ok(Advisory {
            id,
            title: self.title,
            affected: self.affected_versions,
            severity: self.severity,
            link: self.link,
            cve: self.cve,
            updated_at: now,
        })
    }
}

fn shown(advisory: &Advisory) -> Value {
    json!({
        "id": advisory.id,
        "title": advisory.title,
        "affectedVersions": advisory.affected,
        "severity": advisory.severity,
        "link": advisory.link,
        "cve": advisory.cve,
    })
}

/// Says it, in the place of what was said under this id.
async fn put(
    project: Authorised<Project, Publish>,
    Path(path): Path<AdvisoryPath>,
    JsonBody(new): JsonBody<NewAdvisory>,
) -> Result<Response, ApiError> {
    let name = written(&path.package)?;
    let scope = project.scope(NAME);
    let advisory = new.named(path.advisory, scope.now())?;
    let status = match store::advise(&scope, &name, &advisory).await? {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, Json(shown(&advisory))).into_response())
}

/// Takes it back.
async fn delete(
    project: Authorised<Project, Publish>,
    Path(path): Path<AdvisoryPath>,
) -> Result<StatusCode, ApiError> {
    let name = written(&path.package)?;
    store::withdraw(&project.scope(NAME), &name, &path.advisory).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The advisories on one package, of all projects that have one of its name.
async fn list(place: Place<Pull>, Path(path): Path<PackagePath>) -> Result<Response, ApiError> {
    let name = asked(&path.package).map_err(|error| place.missing(error))?;
    let mut found = Vec::new();
    for scope in place.scopes_named(name.as_str(), name.scope()).await? {
        found.extend(store::advisories(&scope, &name).await?);
    }
    // What is said of a package that was unpublished can still be read, and taken back.
    if found.is_empty() {
        sources(&place, &name).await?;
    }
    Ok(private_json(found.iter().map(shown).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn affected(text: &str) -> Affected {
        Affected::try_from(text.to_owned()).unwrap()
    }

    fn includes(range: &str, version: &str) -> bool {
        affected(range).includes(&Asked::of(&version.parse().unwrap()))
    }

    #[test]
    fn versions_are_affected_as_npm_reads_ranges() {
        for (range, inside, outside) in [
            ("<1.2.3", "1.2.2", "1.2.3"),
            ("<1.2.3", "1.2.3-rc.1", "1.3.0-rc.1"),
            ("<1.2.3 || >=2.0.0 <2.1.4", "2.1.3", "1.9.0"),
            ("^1.2.0", "1.9.9", "2.0.0"),
            ("1.x", "1.0.0", "0.9.0"),
            ("=1.0.1", "1.0.1", "1.0.2"),
            ("1.0.0 - 1.4.0", "1.4.0", "1.4.1"),
        ] {
            assert!(includes(range, inside), "{range}");
            assert!(!includes(range, outside), "{range}");
        }
        for (range, inside) in [
            ("*", "2.0.0-beta.1"),
            ("*", "0.0.0-20260101"),
            ("1.x", "1.0.0-beta.1"),
            ("> 1.0.0 <2", "1.5.0"),
            // More than the library can hold.
            ("<2", "9007199254740991.0.0"),
        ] {
            assert!(includes(range, inside), "{range}");
        }
    }

    #[test]
    fn what_is_not_affected_is_told_as_a_range() {
        for (range, patched) in [
            ("<1.2.3", ">=1.2.3"),
            (">=1.0.0 <1.2.3", "<1.0.0||>=1.2.3"),
            ("<1.2.3 || >=2.0.0 <2.1.4", ">=1.2.3 <2.0.0||>=2.1.4"),
            ("*", NOTHING),
            (">=1.0.0 || <2.0.0", NOTHING),
        ] {
            assert_eq!(affected(range).patched(), patched, "{range}");
        }
    }

    #[test]
    fn an_advisory_has_what_audits_tell() {
        let check = |id: &str, text: &str, expected: Result<(), &str>| {
            let read: Result<NewAdvisory, _> = serde_json::from_str(text);
            let made = read.map_err(|error| error.to_string()).and_then(|new| {
                new.named(id.into(), Timestamp(1))
                    .map_err(|error| error.to_string())
            });
            match (made, expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.contains(part), "{error} / {part}"),
                (outcome, _) => panic!("{text}: {outcome:?}"),
            }
        };
        let plain = r#"{"title":"x","affectedVersions":"<1.2","severity":"moderate","cve":"CVE-2026-1","link":"https://x"}"#;
        check("A-1.b_2", plain, Ok(()));
        check("A 1", plain, Err("the id"));
        for (members, part) in [
            (r#""severity":"low""#, "affectedVersions"),
            (r#""affectedVersions":"*""#, "severity"),
            (r#""affectedVersions":"*","severity":"medium""#, "medium"),
            (r#""affectedVersions":"","severity":"low""#, "is a range"),
            (r#""affectedVersions":"<1||","severity":"low""#, "is a range"),
            (r#""affectedVersions":"latest","severity":"low""#, "is a range"),
            (
                r#""affectedVersions":">=1.0.0, <2.0.0","severity":"low""#,
                "is a range",
            ),
            (
                r#""affectedVersions":"<1.2.3 and later","severity":"low""#,
                "is a range",
            ),
            (
                r#""affectedVersions":">=2.0.0 <1.0.0","severity":"low""#,
                "is a range",
            ),
            (
                r#""affectedVersions":"*","severity":"low","cve":"\u001b[2J""#,
                "control characters",
            ),
            (
                r#""affectedVersions":"*","severity":"low","link":"javascript:x""#,
                "link begins",
            ),
            (r#""affectedVersions":"*","severity":"low","cve":"""#, "cve has"),
            (r#""affectedVersions":"*","severity":"low","more":1"#, "more"),
        ] {
            check("A", &format!(r#"{{"title":"x",{members}}}"#), Err(part));
        }
        check(
            "A",
            r#"{"title":"","affectedVersions":"*","severity":"low"}"#,
            Err("title has"),
        );
    }

    proptest! {
        #[test]
        fn a_version_is_affected_or_patched(
            range in "(<|<=|>|>=|=|\\^|~)?[0-3]\\.[0-3]\\.[0-3]( ?\\|\\| ?(<|<=|>|>=|=|\\^|~)[0-3]\\.[0-3]\\.[0-3]){0,3}",
            version in "[0-3]\\.[0-3]\\.[0-3]",
        ) {
            let affected = affected(&range);
            let version = Asked::of(&version.parse().unwrap());
            let patched = Affected::try_from(affected.patched()).unwrap();
            prop_assert_ne!(affected.includes(&version), patched.includes(&version), "{} / {}", range, patched.text);
        }

        #[test]
        fn foreign_ranges_never_panic(text in "[0-9.x*<>=|^~v \\-a+]{0,40}|\\PC{0,40}") {
            if let Ok(affected) = Affected::try_from(text) {
                affected.includes(&Asked::of(&"1.2.3".parse().unwrap()));
                assert!(Range::parse(affected.patched()).is_ok());
            }
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Advisory>("npm-advisory");
    }
}
