//! Answers audits: which of the packages that somebody has installed have a weakness, of those that are published here.
//!
//! npm, pnpm 11, yarn berry and bun send the names with their versions; older ones send the tree of a lock file. Of what
//! is not here nothing is said, so every audit gets an answer of the right shape.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};
use struson::reader::ValueType;

use super::advisories::{Advisory, Asked, NOTHING, Severity};
use super::names::{PackageName, Version};
use super::packument::Source;
use super::routes::locate;
use super::store;
use crate::app::App;
use crate::auth::Pull;
use crate::formats::advisories::MAX_TOLD;
use crate::formats::json::{self, Budget, JsonError, Reader};
use crate::formats::place::Place;
use crate::http::body;
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::time::iso;

/// The largest body as it is sent.
const MAX_SENT_BYTES: usize = 4 << 20;

/// How the list of an audit is read, decompressed. A project with ten thousand dependencies
/// has about a megabyte.
const LIMITS: json::Limits = json::Limits {
    document_bytes: 32 << 20,
    string_bytes: 64 << 10,
    depth: 512,
};

/// How much memory what was read may take.
const MAX_READ_BYTES: usize = 64 << 20;

/// The most versions that are asked about at once, of all packages together.
const MAX_ASKED: usize = 20_000;

/// The longest name of a package: what is longer is none.
const MAX_NAME_BYTES: usize = 214;

/// How many ways to one version are told, and how long the longest is: a client shows a few.
const MAX_WAYS: usize = 20;
const MAX_WAY_BYTES: usize = 1_000;

/// How much the ways of one report may take.
const MAX_TOLD_WAYS_BYTES: usize = 4 << 20;

/// The routes of audits.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/-/npm/v1/security/advisories/bulk", post(bulk))
        .route("/-/npm/v1/security/audits/quick", post(report))
        .route("/-/npm/v1/security/audits", post(report))
        .route("/-/npm/v1/keys", get(keys))
}

/// Tells clients that packages are not signed by the registry.
async fn keys(_: Place<Pull>) -> ApiError {
    ApiError::not_found("packages are not signed by this registry")
}

/// The names of packages in, the advisories on them out.
async fn bulk(place: Place<Pull>, headers: HeaderMap, body: Body) -> Result<Json<Value>, ApiError> {
    let installed = read(&place, &headers, body, Installed::listed).await?;
    let mut told = Map::new();
    for (name, findings) in find(&place, &installed).await? {
        let shown = findings.iter().map(|finding| {
            let Finding { advisory, .. } = finding;
            json!({
                "id": finding.number(&name),
                "url": url_of(&place, &name, advisory),
                "title": advisory.title,
                "severity": advisory.severity,
                "vulnerable_versions": finding.range(),
                "cwe": [],
                "cvss": {"score": 0, "vectorString": null},
            })
        });
        told.insert(name.as_str().to_owned(), shown.collect());
    }
    Ok(Json(Value::Object(told)))
}

/// The tree of a lock file in, the report of the sixth npm out.
async fn report(place: Place<Pull>, headers: HeaderMap, body: Body) -> Result<Json<Value>, ApiError> {
    let installed = read(&place, &headers, body, Installed::locked).await?;
    let (mut advisories, mut actions) = (Map::new(), Vec::new());
    let mut budget = Budget(MAX_TOLD_WAYS_BYTES);
    let mut counts = BTreeMap::from(
        [
            Severity::Low,
            Severity::Moderate,
            Severity::High,
            Severity::Critical,
        ]
        .map(|severity| (severity, 0)),
    );
    for (name, findings) in find(&place, &installed).await? {
        let mut resolves = Vec::new();
        for finding in &findings {
            let (id, versions) = (finding.number(&name), &finding.versions);
            *counts.entry(finding.advisory.severity).or_default() += versions.len();
            let ways = versions.iter().flat_map(|(_, ways)| ways.iter());
            // Each comes twice.
            if !budget.charge(ways.map(|way| 2 * way.len() + 200).sum()) {
                return Err(ApiError::new(
                    ErrorKind::TooLarge,
                    "the report would be too large",
                ));
            }
            let shown = versions.iter().map(|(version, ways)| {
                json!({"version": version, "paths": ways, "dev": false, "optional": false, "bundled": false})
            });
            let ways = versions.iter().flat_map(|(_, ways)| ways.iter());
            resolves.extend(ways.map(
                |way| json!({"id": id, "path": way, "dev": false, "optional": false, "bundled": false}),
            ));
            let findings: Value = shown.collect();
            advisories.insert(id.to_string(), reported(&place, &name, finding, findings));
        }
        actions.push(json!({"action": "review", "module": name.as_str(), "resolves": resolves}));
    }
    let mut vulnerabilities = json!({"info": 0});
    for (severity, count) in counts {
        let word = serde_json::to_value(severity).map_err(ApiError::internal)?;
        vulnerabilities[word.as_str().unwrap_or_default()] = json!(count);
    }
    Ok(Json(json!({
        "actions": actions,
        "advisories": advisories,
        "muted": [],
        "metadata": {
            "vulnerabilities": vulnerabilities,
            "dependencies": installed.count,
            "devDependencies": 0,
            "optionalDependencies": 0,
            "totalDependencies": installed.count,
        },
    })))
}

/// An advisory in a report.
fn reported(place: &Place<Pull>, name: &PackageName, finding: &Finding<'_>, findings: Value) -> Value {
    let advisory = &finding.advisory;
    let url = url_of(place, name, advisory);
    let (patched, updated) = (advisory.affected.patched(), iso(advisory.updated_at));
    let recommendation = match patched.as_str() {
        NOTHING => "No version is sound".to_owned(),
        patched => format!("Use a version that is {patched}"),
    };
    json!({
        "id": finding.number(name),
        "findings": findings,
        "title": advisory.title,
        "module_name": name.as_str(),
        "vulnerable_versions": finding.range(),
        "patched_versions": patched,
        "severity": advisory.severity,
        "overview": advisory.title,
        "recommendation": recommendation,
        "cves": advisory.cve.iter().collect::<Vec<_>>(),
        "cwe": [],
        // pnpm leaves out by this id what its configuration says.
        "github_advisory_id": advisory.id,
        "access": "public",
        "references": url,
        "url": url,
        "created": updated,
        "updated": updated,
        "deleted": null,
        "found_by": {"name": ""},
        "reported_by": {"name": ""},
        "metadata": {},
    })
}

/// Where more is told of an advisory.
fn url_of(place: &Place<Pull>, name: &PackageName, advisory: &Advisory) -> String {
    advisory.link.clone().unwrap_or_else(|| {
        let name = name.as_str().replace('/', "%2f");
        format!("{}-/advisories/{name}", place.base())
    })
}

/// Which of the versions that are installed an advisory affects.
struct Finding<'i> {
    /// The number of the project that says so.
    project: u64,
    advisory: Advisory,
    /// Whether other projects here have a package of the same name.
    is_shared: bool,
    /// Each with the ways to it.
    versions: Vec<(&'i Version, &'i Vec<String>)>,
}

impl Finding<'_> {
    /// What clients know it by, among those on all packages: pnpm 12 passes over one whose id is no number. It is the
    /// same on every node, and of so many bits that JavaScript can hold.
    fn number(&self, name: &PackageName) -> u64 {
        let said = format!("{}\0{name}\0{}", self.project, self.advisory.id);
        let [a, b, c, d, e, f, ..] = *blake3::hash(said.as_bytes()).as_bytes();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The versions that it is about. Clients hold it against all that they have, so that where several projects have
    /// the name it tells of those that are this project's alone.
    fn range(&self) -> String {
        match self.is_shared {
            false => self.advisory.affected.clone().into(),
            true => {
                let versions = self.versions.iter().map(|(version, _)| version.to_string());
                versions.collect::<Vec<_>>().join(" || ")
            }
        }
    }
}

/// What is known of the packages that are installed and here.
async fn find<'i>(
    place: &Place<Pull>,
    installed: &'i Installed,
) -> Result<Vec<(PackageName, Vec<Finding<'i>>)>, ApiError> {
    if installed.packages.values().map(BTreeMap::len).sum::<usize>() > MAX_ASKED {
        return Err(too_many("versions are asked about", MAX_ASKED));
    }
    let (mut all, mut left) = (Vec::new(), MAX_TOLD);
    for (name, versions) in &installed.packages {
        let findings = on(place, name, versions, &mut left).await?;
        if !findings.is_empty() {
            all.push((name.clone(), findings));
        }
    }
    Ok(all)
}

fn too_many(what: &str, limit: usize) -> ApiError {
    ApiError::new(ErrorKind::TooLarge, format!("more than {limit} {what} at once"))
}

/// What is known of these versions of a package; `left` is how much more is told.
async fn on<'i>(
    place: &Place<Pull>,
    name: &PackageName,
    versions: &'i BTreeMap<Version, Vec<String>>,
    left: &mut usize,
) -> Result<Vec<Finding<'i>>, ApiError> {
    let scopes = place.scopes_named(name.as_str(), name.scope()).await?;
    let (mut findings, mut sources) = (Vec::new(), Vec::new());
    for scope in &scopes {
        let project = scope.project().id;
        let advisories = store::advisories(scope, name).await?.into_iter();
        findings.extend(advisories.map(|advisory| Finding {
            project,
            advisory,
            is_shared: scopes.len() > 1,
            versions: Vec::new(),
        }));
    }
    if findings.is_empty() {
        return Ok(findings);
    }
    for scope in scopes {
        sources.extend(Source::find(scope, name).await?);
    }
    for installed in versions {
        let found = locate(&sources, installed.0).await?;
        // Whom it is installed from is heard. One that was unpublished is not sound for that: of it, all are.
        let publisher = found.map(|(source, _)| source.scope().project().id);
        let asked = Asked::of(installed.0);
        for finding in &mut findings {
            if publisher.is_none_or(|publisher| publisher == finding.project)
                && finding.advisory.affected.includes(&asked)
            {
                *left = left
                    .checked_sub(1)
                    .ok_or_else(|| too_many("weaknesses are found", MAX_TOLD))?;
                finding.versions.push(installed);
            }
        }
    }
    findings.retain(|finding| !finding.versions.is_empty());
    Ok(findings)
}

/// Reads what is installed from a body, which clients may compress.
async fn read(
    place: &Place<Pull>,
    headers: &HeaderMap,
    body: Body,
    form: Form,
) -> Result<Installed, ApiError> {
    let compressed = match headers
        .get(header::CONTENT_ENCODING)
        .map(|coding| coding.as_bytes())
    {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => {
            return Err(ApiError::new(
                ErrorKind::UnsupportedMediaType,
                "the body may be compressed with gzip only",
            ));
        }
    };
    let bytes = body::whole(body, MAX_SENT_BYTES).await?;
    let (threads, caller) = (place.access().app().parser_threads(), place.access().caller());
    let reading = threads
        .start(caller, move || Installed::read(&bytes, compressed, form))
        .await;
    reading
        .await
        .map_err(ApiError::internal)?
        .map_err(|error| match error {
            JsonError::TooLarge => ApiError::new(ErrorKind::TooLarge, error.to_string()),
            error => ApiError::bad_request(error.to_string()),
        })
}

/// A body, decompressed.
type Plain<'b> = Box<dyn Read + 'b>;

/// How a body is read: as a list, or as a tree.
type Form = fn(&mut Reader<Plain<'_>>) -> Result<Installed, JsonError>;

/// What somebody has installed.
#[derive(Debug, Default, PartialEq)]
struct Installed {
    /// The ways to each version, from what depends on it: `a>b`; none where they are not said.
    packages: BTreeMap<PackageName, BTreeMap<Version, Vec<String>>>,
    /// How many dependencies there are, however often each comes.
    count: u64,
}

impl Installed {
    fn read(bytes: &Bytes, compressed: bool, form: Form) -> Result<Self, JsonError> {
        let source: Plain<'_> = if compressed {
            Box::new(GzDecoder::new(bytes.as_ref()))
        } else {
            Box::new(bytes.as_ref())
        };
        let mut reader = Reader::new(source, LIMITS);
        if reader.peek()? != ValueType::Object {
            return Err(JsonError::Syntax("it is not an object".into()));
        }
        let installed = form(&mut reader)?;
        reader.finish()?;
        Ok(installed)
    }

    /// Reads `{"name": ["1.0.0"]}`.
    fn listed(reader: &mut Reader<Plain<'_>>) -> Result<Self, JsonError> {
        let (mut installed, mut budget) = (Self::default(), Budget(MAX_READ_BYTES));
        let mut names = HashSet::new();
        reader.begin_object()?;
        while let Some(name) = reader.next_key(&mut names, &mut budget)? {
            let versions = reader.value(&mut budget)?.ok_or(JsonError::TooLarge)?;
            let Value::Array(versions) = versions else {
                return Err(JsonError::Syntax(format!("{name:.220} has no list of versions")));
            };
            for version in versions.iter().filter_map(Value::as_str) {
                installed.add(&name, version, None);
            }
        }
        Ok(installed)
    }

    /// Reads the `dependencies` of a tree, which have dependencies of their own.
    fn locked(reader: &mut Reader<Plain<'_>>) -> Result<Self, JsonError> {
        let mut installed = Self::default();
        installed.descend(reader, &mut Vec::new(), &mut Budget(MAX_READ_BYTES))?;
        Ok(installed)
    }

    /// Reads what the `trail` leads to. The depth of the document bounds that of the calls.
    fn descend(
        &mut self,
        reader: &mut Reader<Plain<'_>>,
        trail: &mut Vec<String>,
        budget: &mut Budget,
    ) -> Result<(), JsonError> {
        let (mut members, mut version) = (HashSet::new(), None);
        reader.begin_object()?;
        while let Some(member) = reader.next_key(&mut members, budget)? {
            match (member.as_str(), reader.peek()?) {
                ("version", ValueType::String) => version = reader.value(budget)?,
                ("dependencies", ValueType::Object) => {
                    let mut names = HashSet::new();
                    reader.begin_object()?;
                    while let Some(name) = reader.next_key(&mut names, budget)? {
                        if reader.peek()? != ValueType::Object || name.len() > MAX_NAME_BYTES {
                            reader.skip()?;
                            continue;
                        }
                        trail.push(name);
                        self.descend(reader, trail, budget)?;
                        trail.pop();
                    }
                }
                _ => reader.skip()?,
            }
        }
        if let (Some(name), Some(Value::String(version))) = (trail.last(), version) {
            let length: usize = trail.iter().map(|name| name.len() + 1).sum();
            let way = (length <= MAX_WAY_BYTES).then(|| trail.join(">"));
            if !budget.charge(way.as_ref().map_or(0, String::len)) {
                return Err(JsonError::TooLarge);
            }
            self.add(name, &version, way);
        }
        Ok(())
    }

    /// Counts a dependency; what has no name or version of npm's is not in a registry.
    fn add(&mut self, name: &str, version: &str, way: Option<String>) {
        self.count += 1;
        let (Ok(name), Ok(version)) = (name.parse(), version.parse()) else {
            return;
        };
        let ways = self.packages.entry(name).or_default().entry(version).or_default();
        if ways.len() < MAX_WAYS {
            ways.extend(way);
        }
    }
}

/// Whether an audit of either kind takes this body.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn is_read(body: &[u8]) -> bool {
    let body = Bytes::copy_from_slice(body);
    let listed = Installed::read(&body, false, Installed::listed);
    listed.is_ok() | Installed::read(&body, false, Installed::locked).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
    }

    /// What is installed, a line for each version.
    fn lines(installed: &Installed) -> Vec<String> {
        let versions = installed.packages.iter().flat_map(|(name, versions)| {
            versions
                .iter()
                .map(move |(version, ways)| format!("{name} {version} {}", ways.join(" ")))
        });
        versions.map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn a_list_is_read_compressed_or_not() {
        let bulk =
            br#"{"left":["1.0.0","file:x"],"@acme/right":["1.0.0","2.0.0"],"Not A Name":["1.0.0"],"none":[]}"#;
        for (bytes, compressed) in [(Bytes::from_static(bulk), false), (gzip(bulk), true)] {
            let installed = Installed::read(&bytes, compressed, Installed::listed).unwrap();
            assert_eq!(
                lines(&installed),
                ["@acme/right 1.0.0", "@acme/right 2.0.0", "left 1.0.0"]
            );
            assert_eq!(installed.count, 5);
        }
    }

    #[test]
    fn a_tree_is_read_with_the_ways_to_each_version() {
        let tree = br#"{"name":"app","requires":{"a":"1"},"dependencies":{
            "a":{"dependencies":{"b":{"version":"1.0.0"}},"version":"1.0.0","integrity":"x","requires":{"b":"1"}},
            "b":{"version":"1.0.0","dev":true},
            "c":{"version":"git+https://x"},
            "d":1}}"#;
        let installed = Installed::read(&gzip(tree), true, Installed::locked).unwrap();
        assert_eq!(lines(&installed), ["a 1.0.0 a", "b 1.0.0 a>b b"]);
        assert_eq!(installed.count, 4);
        let none = Installed::read(&Bytes::from_static(b"{}"), false, Installed::locked).unwrap();
        assert_eq!(none, Installed::default());
    }

    #[test]
    fn bad_bodies_are_refused() {
        let list = |bytes, compressed| Installed::read(&bytes, compressed, Installed::listed);
        let tree = |bytes, compressed| Installed::read(&bytes, compressed, Installed::locked);
        let refused = |result: Result<Installed, JsonError>| result.unwrap_err().to_string();
        assert!(refused(list(Bytes::from_static(b"[]"), false)).contains("not an object"));
        assert!(refused(list(Bytes::from_static(b"{"), false)).contains("malformed"));
        assert!(refused(list(Bytes::from_static(b"{} {}"), false)).contains("malformed"));
        assert!(refused(list(Bytes::from_static(br#"{"a":1}"#), false)).contains("a has no list"));
        assert!(refused(list(Bytes::from_static(b"{}"), true)).contains("read the document"));
        let bomb = format!("{{\"a\":[{}1]}}", "1,".repeat(20 << 20));
        assert!(refused(list(gzip(bomb.as_bytes()), true)).contains("larger than allowed"));
        let many = (0..1 << 20).map(|at| format!("\"{at}\":[],")).collect::<String>();
        let many = gzip(format!("{{{many}\"z\":[]}}").as_bytes());
        assert!(refused(list(many, true)).contains("larger than allowed"));
        let deep = "{\"dependencies\":{\"a\":".repeat(100_000);
        assert!(refused(tree(gzip(deep.as_bytes()), true)).contains("deeper than 512"));
    }

    proptest! {
        #[test]
        fn foreign_bodies_never_panic(
            text in "(\\{|\\}|\"dependencies\":|\"version\":|\"a\":|\"1.0.0\"|\\[|\\]|,){0,24}",
        ) {
            let bytes = Bytes::from(text);
            let _ = Installed::read(&bytes, false, Installed::listed);
            let _ = Installed::read(&bytes, false, Installed::locked);
        }
    }
}
