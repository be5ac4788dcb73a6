//! Documents that are made from what is kept of versions and files, for one project or for several.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use cairn_cluster::{Digests, Scan, Timestamp};
use data_encoding::HEXLOWER;

use super::metadata;
use super::names::{Directory, Document, PackageName, is_snapshot};
use super::order::Order;
use super::records::{Keys, Line, Newest, Plugin, prefixed};
use super::store::supersedes;
use crate::auth::Pull;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, Assembled, Wanted, state_tag};
use crate::http::checksum::{self, Algorithm};
use crate::http::error::ApiError;
use crate::http::{Served, serve_bytes};
use crate::registry::Scope;
use crate::registry::package::View;

/// How many lines are read at a time.
const PAGE: usize = 500;

/// The most plugins of a group, archetypes, or kinds of files of a snapshot that a document names.
const MAX_ITEMS: usize = 10_000;

const XML: &str = "text/xml; charset=utf-8";

/// A document that is there.
pub(super) enum Made {
    /// The metadata of an artifact, which may have very many versions.
    Artifact(Artifact),
    /// Another one, which is small.
    Small(Bytes),
}

/// What the metadata of an artifact are made from.
pub(super) struct Artifact {
    name: PackageName,
    sources: Arc<Vec<Source>>,
    plugins: Vec<Plugin>,
    etag: String,
}

/// A package in one project, as of the request's snapshot.
struct Source {
    scope: Scope,
    package: u64,
}

/// Finds a document here.
pub(super) async fn find(place: &Place<Pull>, document: &Document) -> Result<Option<Made>, ApiError> {
    let directory = match document {
        Document::Catalog => return catalog(place).await.map(Some),
        Document::Metadata(directory) => directory,
    };
    if let Some((package, version)) = directory.as_version()
        && is_snapshot(version)
    {
        let newest = newest_of(place, &package, version).await?;
        if !newest.is_empty() {
            return Ok(Some(Made::Small(
                metadata::snapshot(&package, version, &newest).into(),
            )));
        }
    }
    if let Some(package) = directory.as_package()
        && let Some(artifact) = Artifact::find(place, package).await?
    {
        return Ok(Some(Made::Artifact(artifact)));
    }
    let plugins = plugins_of(&place.scopes().await?, directory).await?;
    Ok((!plugins.is_empty()).then(|| Made::Small(metadata::plugins(&plugins).into())))
}

impl Made {
    /// Answers with it.
    pub(super) async fn answer(
        &self,
        documents: &Assembled,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        match self {
            Self::Small(text) => {
                let digests = checksum::of(text);
                let served = Served::new(tag(&digests))
                    .with_type(XML)
                    .with_digests(&digests)
                    .with_header(header::CACHE_CONTROL, "private, no-cache");
                serve_bytes(method, headers, text.clone(), served)
            }
            Self::Artifact(artifact) => artifact.answer(documents, headers).await,
        }
    }

    /// Its digests.
    pub(super) async fn digests(&self, documents: &Assembled) -> Result<Digests, ApiError> {
        match self {
            Self::Small(text) => Ok(checksum::of(text)),
            Self::Artifact(artifact) => {
                documents
                    .digests(&artifact.wanted(), async || artifact.begin().await)
                    .await
            }
        }
    }
}

/// An entity tag that some clients take the SHA-1 out of, and so need not ask for it.
pub(super) fn tag(digests: &Digests) -> String {
    match Algorithm::Sha1.of(digests) {
        Some(sha1) => format!("{{SHA1{{{}}}}}", HEXLOWER.encode(sha1)),
        None => HEXLOWER.encode(&digests.sha256),
    }
}

impl Source {
    fn keys(&self) -> Keys {
        Keys::new(self.scope.collection())
    }

    /// Lines after the item `after`, or before it, with their items.
    async fn lines(
        &self,
        after: Option<&Bytes>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(Bytes, Line)>, ApiError> {
        let lines = self.keys().lines(self.package);
        let mut scan = Scan::of(&lines).limit(limit);
        if backwards {
            scan = scan.backwards();
        }
        if let Some(after) = after {
            scan = scan.after(after);
        }
        let found = self.scope.snapshot().scan(scan).await?;
        let lines = found
            .into_iter()
            .map(|found| Ok((found.item.clone(), found.record()?)));
        lines.collect()
    }

    /// The greatest version that `fits`.
    async fn greatest(&self, fits: impl Fn(&str) -> bool) -> Result<Option<String>, ApiError> {
        let (mut before, mut limit) = (None, 1);
        loop {
            let page = self.lines(before.as_ref(), true, limit).await?;
            if let Some((_, line)) = page.iter().find(|(_, line)| fits(&line.version)) {
                return Ok(Some(line.version.clone()));
            }
            match page.last() {
                Some((item, _)) if page.len() == limit => before = Some(item.clone()),
                _ => return Ok(None),
            }
            // It is the first of all, most of the time.
            limit = PAGE;
        }
    }
}

/// The greatest version of all sources that `fits`.
async fn greatest(sources: &[Source], fits: impl Fn(&str) -> bool) -> Result<Option<String>, ApiError> {
    let mut found: Option<String> = None;
    for source in sources {
        let greatest = source.greatest(&fits).await?;
        let is_greater = |one: &String| {
            found
                .as_ref()
                .is_none_or(|other| Order::of(one) > Order::of(other))
        };
        if let Some(greatest) = greatest.filter(is_greater) {
            found = Some(greatest);
        }
    }
    Ok(found)
}

/// The packages of this name that have listed versions, in some projects.
async fn sources_in(scopes: Vec<Scope>, name: &str) -> Result<Vec<Source>, ApiError> {
    let mut sources = Vec::new();
    for scope in scopes {
        let Some(package) = View::of(&scope).package(name).await? else {
            continue;
        };
        let source = Source {
            package: package.key,
            scope,
        };
        if !source.lines(None, false, 1).await?.is_empty() {
            sources.push(source);
        }
    }
    Ok(sources)
}

impl Artifact {
    async fn find(place: &Place<Pull>, name: PackageName) -> Result<Option<Self>, ApiError> {
        let sources = sources_in(place.scopes_holding(name.as_str()).await?, name.as_str()).await?;
        if sources.is_empty() {
            return Ok(None);
        }
        let mut state = Vec::new();
        for source in &sources {
            let (view, keys) = (View::of(&source.scope), source.keys());
            let project = source.scope.project().id;
            state.push((project, view.revision_of(&keys.lines(source.package)).await?));
            state.push((project, view.revision_of(&keys.plugins()).await?));
        }
        let scopes: Vec<_> = sources.iter().map(|source| source.scope.clone()).collect();
        let plugins = plugins_of(&scopes, &name.as_str().parse()?).await?;
        Ok(Some(Self {
            etag: state_tag(name.as_str(), state),
            name,
            sources: Arc::new(sources),
            plugins,
        }))
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            etag: self.etag.clone(),
            base: "",
            content_type: XML,
            vary: "accept-encoding",
        }
    }

    async fn answer(&self, documents: &Assembled, request: &HeaderMap) -> Result<Response, ApiError> {
        let begin = async || self.begin().await;
        let mut response = documents.answer(self.wanted(), request, begin).await?;
        if response.status() == StatusCode::OK {
            let digests = documents.digests(&self.wanted(), begin).await?;
            let said = Served::new("").with_digests(&digests).headers;
            response.headers_mut().extend(said);
        }
        Ok(response)
    }

    async fn begin(&self) -> Result<ArtifactInMaking, ApiError> {
        let latest = greatest(&self.sources, |_| true).await?.unwrap_or_default();
        let release = greatest(&self.sources, |version| !is_snapshot(version)).await?;
        Ok(ArtifactInMaking {
            head: Some(metadata::artifact_head(&self.name, &latest, release.as_deref())),
            lists: Lists::of(self.sources.clone()),
            plugins: self.plugins.clone(),
            updated: Timestamp::default(),
            is_done: false,
        })
    }
}

/// The metadata of an artifact in the making.
struct ArtifactInMaking {
    head: Option<String>,
    lists: Lists,
    plugins: Vec<Plugin>,
    /// When the newest of the versions so far was listed.
    updated: Timestamp,
    is_done: bool,
}

impl Assemble for ArtifactInMaking {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = self.head.take().unwrap_or_default();
        for _ in 0..PAGE {
            let Some(line) = self.lists.next().await? else {
                self.is_done = true;
                out.push_str(&metadata::artifact_end(self.updated, &self.plugins));
                break;
            };
            self.updated = self.updated.max(line.at);
            metadata::version_line(&mut out, &line.version);
        }
        Ok(Some(out))
    }
}

/// The lines of several sources in one order. A version that several have counts once.
struct Lists {
    sources: Arc<Vec<Source>>,
    ahead: Vec<Ahead>,
}

/// How far one source is read.
#[derive(Default)]
struct Ahead {
    lines: VecDeque<(Bytes, Line)>,
    last: Option<Bytes>,
    has_ended: bool,
}

impl Lists {
    fn of(sources: Arc<Vec<Source>>) -> Self {
        let ahead = sources.iter().map(|_| Ahead::default()).collect();
        Self { sources, ahead }
    }

    async fn next(&mut self) -> Result<Option<Line>, ApiError> {
        for (source, ahead) in self.sources.iter().zip(&mut self.ahead) {
            if ahead.lines.is_empty() && !ahead.has_ended {
                let page = source.lines(ahead.last.as_ref(), false, PAGE).await?;
                ahead.has_ended = page.len() < PAGE;
                ahead.last = page.last().map(|(item, _)| item.clone());
                ahead.lines = page.into();
            }
        }
        let front = |ahead: &Ahead| ahead.lines.front().map(|(item, _)| item.clone());
        let Some(least) = self.ahead.iter().filter_map(front).min() else {
            return Ok(None);
        };
        let mut found = None;
        for ahead in &mut self.ahead {
            if ahead.lines.front().is_some_and(|(item, _)| *item == least) {
                found = found.or(ahead.lines.pop_front());
                // Of another source, it was not taken.
                while ahead.lines.front().is_some_and(|(item, _)| *item == least) {
                    ahead.lines.pop_front();
                }
            }
        }
        Ok(found.map(|(_, line)| line))
    }
}

/// The newest files of a snapshot, over all projects that have it.
async fn newest_of(
    place: &Place<Pull>,
    package: &PackageName,
    version: &str,
) -> Result<Vec<Newest>, ApiError> {
    let mut newest: BTreeMap<(String, Option<String>), Newest> = BTreeMap::new();
    for scope in place.scopes_holding(package.as_str()).await? {
        let Some(found) = View::of(&scope).package(package.as_str()).await? else {
            continue;
        };
        let builds = Keys::new(scope.collection()).builds(found.key);
        let of_version = Scan::of(&builds).prefix(prefixed(version, "")).limit(MAX_ITEMS);
        for entry in scope.snapshot().scan(of_version).await? {
            let one: Newest = entry.record()?;
            let kind = (one.extension.clone(), one.classifier.clone());
            if newest
                .get(&kind)
                .is_none_or(|other| supersedes(version, &one, other))
            {
                newest.insert(kind, one);
            }
        }
    }
    Ok(newest.into_values().collect())
}

/// The plugins of a group in some projects, as far as they have versions.
async fn plugins_of(scopes: &[Scope], group: &Directory) -> Result<Vec<Plugin>, ApiError> {
    let mut plugins = BTreeMap::new();
    for scope in scopes {
        let collection = Keys::new(scope.collection()).plugins();
        let of_group = Scan::of(&collection)
            .prefix(prefixed(group.as_str(), ""))
            .limit(MAX_ITEMS);
        for entry in scope.snapshot().scan(of_group).await? {
            let plugin: Plugin = entry.record()?;
            let name = format!("{}/{}", group.as_str(), plugin.artifact);
            if !sources_in(vec![scope.clone()], &name).await?.is_empty() {
                plugins.entry(plugin.artifact.clone()).or_insert(plugin);
            }
        }
    }
    Ok(plugins.into_values().collect())
}

/// The catalog of the archetypes that are here, each by its newest release.
async fn catalog(place: &Place<Pull>) -> Result<Made, ApiError> {
    let mut found: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for scope in place.scopes().await? {
        let archetypes = Keys::new(scope.collection()).archetypes();
        for entry in scope
            .snapshot()
            .scan(Scan::of(&archetypes).limit(MAX_ITEMS))
            .await?
        {
            let name = String::from_utf8_lossy(&entry.item).into_owned();
            let sources = sources_in(vec![scope.clone()], &name).await?;
            found.entry(name).or_default().extend(sources);
        }
    }
    let mut out = metadata::CATALOG_HEAD.to_owned();
    for (name, sources) in &found {
        let release = greatest(sources, |version| !is_snapshot(version)).await?;
        let version = match release {
            Some(release) => Some(release),
            None => greatest(sources, |_| true).await?,
        };
        if let Some(version) = version {
            metadata::archetype(&mut out, &name.parse()?, &version);
        }
    }
    out.push_str(metadata::CATALOG_END);
    Ok(Made::Small(out.into()))
}
