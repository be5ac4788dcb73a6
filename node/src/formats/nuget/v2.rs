//! Handlers of the older protocol, below one path: what it names is in [`super::odata`].

use axum::body::Body;
use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::feed::{self, Entry};
use super::names::{PackageId, Range, Version};
use super::odata::{BadQuery, NoResource, Only, Query, Resource, Row};
use super::receive::What;
use super::records::{Head, Line, Wants};
use super::registration::Urls;
use super::routes;
use super::search::{self, MAX_SKIP, Order, Terms};
use super::source::{Found, Source};
use super::store::{self, missing};
use crate::auth::{Authorised, Publish, Pull};
use crate::formats::place::Place;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::{Served, serve_bytes};
use crate::registry::project::Project;
use crate::registry::time::iso;

const XML: &str = "application/xml;charset=utf-8";
const FEED: &str = "application/atom+xml;type=feed;charset=utf-8";
const ENTRY: &str = "application/atom+xml;type=entry;charset=utf-8";

/// The most packages that are asked about for updates at once.
const MAX_IDS: usize = 200;

#[derive(Deserialize)]
pub(super) struct RawPath {
    path: String,
}

impl From<BadQuery> for ApiError {
    fn from(error: BadQuery) -> Self {
        Self::bad_request(error.to_string())
    }
}

fn no_resource() -> ApiError {
    ApiError::not_found("there is no such resource here")
}

/// The URL of the protocol, with a slash at its end.
fn protocol(place: &Place<Pull>) -> String {
    format!("{}v2/", place.base())
}

fn answer(
    method: &Method,
    headers: &HeaderMap,
    content_type: &'static str,
    text: String,
) -> Result<Response, ApiError> {
    let served = Served::new(blake3::hash(text.as_bytes()).to_hex())
        .with_type(content_type)
        .with_header(header::CACHE_CONTROL, "private, no-cache");
    serve_bytes(method, headers, text.into(), served)
}

pub(super) async fn service(
    place: Place<Pull>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    answer(&method, &headers, XML, feed::service(&protocol(&place)))
}

pub(super) async fn fetch(
    place: Place<Pull>,
    Path(RawPath { path }): Path<RawPath>,
    uri: OriginalUri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let resource: Resource = path.parse().map_err(|NoResource| place.missing(no_resource()))?;
    let query = Query::read(uri.query().unwrap_or_default())?;
    let (list, is_count) = match resource {
        Resource::Metadata => return answer(&method, &headers, XML, feed::metadata()),
        Resource::Package(id, version) => return package(&place, &id, &version, &method, &headers).await,
        Resource::Download(id, version) => {
            return download(&place, &id, version, &method, &headers).await;
        }
        Resource::Count(list) => (*list, true),
        list => (list, false),
    };
    let listed = Listed::find(&place, &list, &query, is_count || query.counts).await?;
    if is_count {
        let count = listed.count.to_string();
        return answer(&method, &headers, "text/plain;charset=utf-8", count);
    }
    let title = match list {
        Resource::FindPackagesById => "FindPackagesById",
        Resource::Search => "Search",
        Resource::GetUpdates => "GetUpdates",
        _ => "Packages",
    };
    let next = listed.goes_on.then(|| next_page(&place, title, &query, &uri));
    let updated = iso(place.access().now());
    let base = protocol(&place);
    let about = feed::Head {
        base: &base,
        title,
        updated: &updated,
        count: query.counts.then_some(listed.count),
        next: next.as_deref(),
    };
    let mut out = feed::head(&about);
    for row in &listed.rows {
        out.push_str(&row.show(&place).await?);
    }
    out.push_str(&feed::end(&about));
    // It says when it was made, so its tag would be another each time.
    let headers = [
        (header::CONTENT_TYPE, FEED),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, out).into_response())
}

/// Where a feed goes on: the same query, with what was given skipped.
fn next_page(place: &Place<Pull>, title: &str, query: &Query, uri: &OriginalUri) -> String {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let taken = query.take();
    let mut next = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        match name.as_ref() {
            "$skip" => {}
            "$top" => {
                let left = query.top.unwrap_or(0).saturating_sub(taken);
                next.append_pair("$top", &left.to_string());
            }
            _ => {
                next.append_pair(&name, &value);
            }
        }
    }
    next.append_pair("$skip", &(query.skip + taken).to_string());
    format!("{}{title}()?{}", protocol(place), next.finish())
}

/// A version that is listed.
struct Shown {
    source: Source,
    head: Head,
    line: Line,
}

impl Shown {
    async fn show(&self, place: &Place<Pull>) -> Result<String, ApiError> {
        let Some(notes) = self.source.notes(&self.line).await? else {
            return Ok(String::new());
        };
        let urls = Urls::new(place.base(), &self.source.package().name);
        let downloads = (
            self.source.downloads().await?,
            self.source.downloads_of(&self.line).await?,
        );
        let entry = Entry {
            notes: &notes,
            is_latest: is_newest(&self.head, false, &self.line),
            is_absolute_latest: is_newest(&self.head, true, &self.line),
            downloads,
        };
        Ok(feed::in_feed(&protocol(place), &urls, &entry))
    }
}

/// Whether a version is the newest, for those who know as much of SemVer as is needed to see it.
fn is_newest(head: &Head, prereleases: bool, line: &Line) -> bool {
    let is_it = |semver2| head.newest(Wants::of(prereleases, semver2)) == Some(&line.version);
    line.is_listed && (is_it(true) || is_it(false))
}

/// What a list has, as far as it is asked for.
struct Listed {
    rows: Vec<Shown>,
    /// How many entities there are, as far as that was counted.
    count: u64,
    goes_on: bool,
}

impl Listed {
    async fn find(
        place: &Place<Pull>,
        list: &Resource,
        query: &Query,
        counts: bool,
    ) -> Result<Self, ApiError> {
        let mut taking = Taking {
            query,
            counts,
            listed: Self {
                rows: Vec::new(),
                count: 0,
                goes_on: false,
            },
        };
        match list {
            Resource::FindPackagesById => taking.versions_of(place, &query.id).await?,
            Resource::GetUpdates => taking.updates(place).await?,
            Resource::Packages if let Some(id) = query.only_id() => taking.versions_of(place, id).await?,
            _ => taking.found(place).await?,
        }
        Ok(taking.listed)
    }
}

/// Takes what a query asks for out of what there is.
struct Taking<'q> {
    query: &'q Query,
    counts: bool,
    listed: Listed,
}

impl Taking<'_> {
    /// Takes a version into account; false if nothing more is needed.
    fn take(&mut self, source: &Source, head: &Head, line: Line) -> bool {
        let shown = head.shown.clone().unwrap_or_default();
        let row = Row {
            id: &source.package().name,
            version: &line.version,
            is_listed: line.is_listed,
            is_latest: is_newest(head, false, &line),
            is_absolute_latest: is_newest(head, true, &line),
            shown: &shown,
        };
        if self
            .query
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.takes(&row))
        {
            return true;
        }
        let at = self.listed.count;
        self.listed.count += 1;
        let end = self.query.skip.saturating_add(self.query.take());
        if at >= end {
            // A client that said how much it wants gets no more.
            self.listed.goes_on = self.query.top.is_none_or(|top| top > self.query.take());
            return self.counts;
        }
        if at >= self.query.skip {
            self.listed.rows.push(Shown {
                source: source.clone(),
                head: head.clone(),
                line,
            });
        }
        true
    }

    /// All versions of one package, those included that are not listed.
    async fn versions_of(&mut self, place: &Place<Pull>, id: &str) -> Result<(), ApiError> {
        let Ok(id) = id.parse::<PackageId>() else {
            return Ok(());
        };
        let Some((scope, package)) = place.first_named(&id.canonical()).await? else {
            return Ok(());
        };
        let head = Head::read(&package.metadata)?;
        let source = Source::new(scope, package);
        let wants = Wants::of(true, self.query.knows_semver2);
        let mut lines = source.lines(self.query.is_descending());
        while let Some(page) = lines.next_page().await? {
            for line in page.into_iter().filter(|line| wants.takes(line)) {
                if !self.take(&source, &head, line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The listed versions of what a search finds, or of everything.
    async fn found(&mut self, place: &Place<Pull>) -> Result<(), ApiError> {
        let query = self.query;
        let only = query.only();
        // Lists of all packages say by their filter whether they want prereleases.
        let is_search = query.include_prerelease || !query.search_term.is_empty();
        let prereleases = match only {
            Some(Only::AbsoluteLatest) => true,
            Some(Only::Latest) => false,
            None => query.include_prerelease || !is_search && query.filter.is_some(),
        };
        let wants = Wants::of(prereleases, query.knows_semver2);
        let order = match query.is_by_name() || query.search_term.is_empty() {
            true => Order::ByName,
            false => Order::ByFit,
        };
        let terms = Terms::new(&query.search_term, wants, None);
        let (found, _) = search::search(place, &terms, order, MAX_SKIP as usize).await?;
        for hit in found {
            let head = Head::read(&hit.source.package().metadata)?;
            if only.is_some() {
                if let Some(line) = hit.source.line(&hit.newest).await?
                    && !self.take(&hit.source, &head, line)
                {
                    return Ok(());
                }
                continue;
            }
            let mut lines = hit.source.lines(query.is_descending());
            while let Some(page) = lines.next_page().await? {
                for line in page
                    .into_iter()
                    .filter(|line| line.is_listed && wants.takes(line))
                {
                    if !self.take(&hit.source, &head, line) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The versions that are newer than those that somebody has.
    async fn updates(&mut self, place: &Place<Pull>) -> Result<(), ApiError> {
        let query = self.query;
        let wants = Wants::of(query.include_prerelease, query.knows_semver2);
        let constraints: Vec<&str> = query.version_constraints.split('|').collect();
        let asked = query.package_ids.split('|').zip(query.versions.split('|'));
        for (at, (id, version)) in asked.take(MAX_IDS).enumerate() {
            let (Ok(id), Ok(version)) = (id.trim().parse::<PackageId>(), version.trim().parse::<Version>())
            else {
                continue;
            };
            let range = constraints
                .get(at)
                .map_or(Ok(Range::default()), |text| text.parse())?;
            let Some((scope, package)) = place.first_named(&id.canonical()).await? else {
                continue;
            };
            let head = Head::read(&package.metadata)?;
            let source = Source::new(scope, package);
            let is_newer = |line: &Line| {
                line.is_listed && wants.takes(line) && line.version > version && range.takes(&line.version)
            };
            let mut newer = source.lines(false).all(is_newer).await?;
            if !query.include_all_versions {
                newer.drain(..newer.len().saturating_sub(1));
            }
            for line in newer {
                if !self.take(&source, &head, line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

async fn package(
    place: &Place<Pull>,
    id: &PackageId,
    version: &Version,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let source = Source::find(place, id).await?;
    let found = source.version(version).await?;
    let (record, notes) = found.ok_or_else(|| place.missing(missing(id, Some(version))))?;
    let line = notes.line(record.id);
    let head = Head::read(&source.package().metadata)?;
    let urls = Urls::new(place.base(), &source.package().name);
    let entry = Entry {
        notes: &notes,
        is_latest: is_newest(&head, false, &line),
        is_absolute_latest: is_newest(&head, true, &line),
        downloads: (source.downloads().await?, source.downloads_of(&line).await?),
    };
    let document = feed::document(&protocol(place), &urls, &entry);
    answer(method, headers, ENTRY, document)
}

async fn download(
    place: &Place<Pull>,
    id: &PackageId,
    version: Option<Version>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let version = match version {
        Some(version) => version,
        None => {
            let source = Source::find(place, id).await?;
            let head = Head::read(&source.package().metadata)?;
            let newest = head.newest(Wants::of(false, true));
            let newest = newest.or(head.newest(Wants::EVERYTHING)).cloned();
            newest.ok_or_else(|| place.missing(missing(id, None)))?
        }
    };
    let found = Found::find(place, id, &version).await?;
    found.answer(method, headers).await
}

/// A package is sent to the path of the protocol itself, or to `package` below it.
pub(super) async fn publish(
    project: Authorised<Project, Publish>,
    Path(RawPath { path }): Path<RawPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    match path.trim_end_matches('/').to_ascii_lowercase().as_str() {
        "package" => routes::take(&project, What::Package, &headers, body).await,
        "symbolpackage" => routes::take(&project, What::Symbols, &headers, body).await,
        _ => Err(method_not_allowed()),
    }
}

fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, "405 Method Not Allowed")
}

/// The version that a path is about: `package/{id}/{version}`, or the same without the first part.
fn version_in(path: &str) -> Result<(PackageId, Version), ApiError> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let (id, version) = match parts.as_slice() {
        ["package" | "Package", id, version] | [id, version] => (*id, *version),
        _ => return Err(method_not_allowed()),
    };
    routes::asked(id, version)
}

/// Takes a version from lists: clients call it deleting, and it stays where it is needed.
pub(super) async fn unlist(
    project: Authorised<Project, Publish>,
    Path(RawPath { path }): Path<RawPath>,
) -> Result<Response, ApiError> {
    let (id, version) = version_in(&path)?;
    store::set_listed(&project.scope(super::NAME), &id, &version, false).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lists a version again.
pub(super) async fn relist(
    project: Authorised<Project, Publish>,
    Path(RawPath { path }): Path<RawPath>,
) -> Result<Response, ApiError> {
    let (id, version) = version_in(&path)?;
    store::set_listed(&project.scope(super::NAME), &id, &version, true).await?;
    Ok(StatusCode::OK.into_response())
}
