//! Makes the package indexes piece by piece from what is kept of files.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use cairn_cluster::Scan;
use futures::TryStreamExt;
use serde_json::{Map, Value};

use super::index::{self, Form, Legacy, Names, Page};
use super::metadata::CoreMetadata;
use super::names::{FileName, ProjectName, Version};
use super::records::{Attached, Entry, Keys, version_prefix};
use super::store::missing;
use crate::auth::Action;
use crate::formats::merged::Merged;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, Assembled, Wanted, state_tag};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{Package, View};

/// How many lines are read at a time.
const PAGE: usize = 500;

/// By this, mirrors find out what they have missed.
const SERIAL: HeaderName = HeaderName::from_static("x-pypi-last-serial");

/// A package in one project, as of the request's snapshot.
pub(super) struct Source {
    scope: Scope,
    package: Package,
    revision: u64,
}

impl Source {
    /// Finds the package of this name.
    async fn find(scope: Scope, name: &ProjectName) -> Result<Option<Self>, ApiError> {
        let view = View::of(&scope);
        let Some(package) = view.package(name.as_str()).await? else {
            return Ok(None);
        };
        let revision = view.revision(&package).await?;
        let source = Self {
            package,
            revision,
            scope,
        };
        // What has no files any more is not there, so that clients look elsewhere.
        Ok((!source.page(b"", None, 1).await?.is_empty()).then_some(source))
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn package(&self) -> &Package {
        &self.package
    }

    fn keys(&self) -> Keys {
        Keys::new(self.scope.collection())
    }

    /// Lines of the index whose items begin with `prefix`, after the item `after`.
    async fn page(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Entry)>, ApiError> {
        let files = self.keys().files(&self.package.name);
        let mut scan = Scan::of(&files).prefix(prefix).limit(limit);
        if let Some(after) = after {
            scan = scan.after(after);
        }
        let found = self.scope.snapshot().scan(scan).await?;
        let lines = found
            .into_iter()
            .map(|found| Ok((found.item.clone(), found.record()?)));
        lines.collect()
    }

    /// The line of one file.
    pub(super) async fn entry(&self, file: &FileName) -> Result<Option<Entry>, ApiError> {
        let key = self.keys().file(&file.project, &file.version, file.as_str());
        Ok(self.scope.snapshot().record(&key).await?)
    }

    async fn has(&self, item: &Bytes) -> Result<bool, ApiError> {
        let key = self.keys().files(&self.package.name).key(item);
        Ok(self.scope.snapshot().get(&key).await?.is_some())
    }

    /// The bytes of a small document that belongs to a file; it was bounded when it was stored.
    pub(super) async fn read(&self, attached: &Attached) -> Result<Vec<u8>, ApiError> {
        let (snapshot, space) = (self.scope.snapshot(), self.scope.space());
        let blob = self
            .scope
            .blobs()
            .read(snapshot, space, &attached.blob, None)
            .await?;
        let pieces: Vec<Bytes> = blob.try_collect().await?;
        Ok(pieces.concat())
    }
}

/// The packages of this name in some projects; maybe none.
pub(super) async fn found_in(scopes: Vec<Scope>, name: &ProjectName) -> Result<Vec<Source>, ApiError> {
    let mut sources = Vec::new();
    for scope in scopes {
        sources.extend(Source::find(scope, name).await?);
    }
    Ok(sources)
}

/// The packages of this name here: at least one.
pub(super) async fn sources<A: Action>(
    place: &Place<A>,
    name: &ProjectName,
) -> Result<Vec<Source>, ApiError> {
    let scopes = place.scopes_named(name.as_str(), None).await?;
    let sources = found_in(scopes, name).await?;
    if sources.is_empty() {
        return Err(place.missing(missing(name)));
    }
    Ok(sources)
}

/// The lines of all sources. A file that several have counts once, for the first.
struct Lines {
    sources: Arc<Vec<Source>>,
    source: usize,
    after: Option<Bytes>,
}

impl Lines {
    fn of(sources: Arc<Vec<Source>>) -> Self {
        Self {
            sources,
            source: 0,
            after: None,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<Entry>>, ApiError> {
        while let Some(source) = self.sources.get(self.source) {
            let page = source.page(b"", self.after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                self.source += 1;
                self.after = None;
                continue;
            };
            self.after = Some(last.clone());
            let mut own = Vec::with_capacity(page.len());
            for (item, entry) in page {
                let mut is_own = true;
                for earlier in &self.sources[..self.source] {
                    is_own &= !earlier.has(&item).await?;
                }
                if is_own {
                    own.push(entry);
                }
            }
            if !own.is_empty() {
                return Ok(Some(own));
            }
        }
        Ok(None)
    }
}

/// The page of a project in the making.
struct PageInMaking {
    lines: Lines,
    page: Page,
    versions: Option<Vec<Version>>,
}

impl Assemble for PageInMaking {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        let Some(versions) = &mut self.versions else {
            return Ok(None);
        };
        match self.lines.next().await? {
            Some(entries) => {
                for entry in &entries {
                    self.page.file(entry);
                    versions.push(entry.version.parse()?);
                }
                // Lines of one version stand together.
                versions.dedup();
            }
            None => {
                let versions = self.versions.take().unwrap_or_default();
                self.page.end(versions);
            }
        }
        Ok(Some(self.page.take()))
    }
}

/// Names the state of everything that a document about `sources` is made from.
fn etag(kind: char, about: &str, sources: &[Source]) -> String {
    let state = sources
        .iter()
        .map(|source| (source.scope.project().id, source.revision));
    format!("{kind}-{}", state_tag(about, state))
}

/// What is asked for, where the answer depends on the form that the client takes.
fn wanted<'b>(etag: String, base: &'b str, content_type: &'static str) -> Wanted<'b> {
    Wanted {
        etag,
        base,
        content_type,
        vary: "Accept, Accept-Encoding",
    }
}

/// A number that grows with every change of what a document is made from.
fn serial(sources: &[Source]) -> u64 {
    sources.iter().map(|source| source.revision).max().unwrap_or(0)
}

fn with_serial(mut response: Response, serial: u64) -> Response {
    response.headers_mut().insert(SERIAL, HeaderValue::from(serial));
    response
}

/// Answers with the page of a project, of which there is at least one source. `base` is the URL
/// of the registry, with a slash at its end.
pub(super) async fn page(
    documents: &Assembled,
    name: &ProjectName,
    sources: Vec<Source>,
    form: Form,
    base: &str,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    let serial = serial(&sources);
    let etag = etag(form.letter(), name.as_str(), &sources);
    let wanted = wanted(etag, base, form.media_type());
    let sources = Arc::new(sources);
    let begin = async || {
        Ok(PageInMaking {
            lines: Lines::of(sources.clone()),
            page: Page::begin(form, base, name.as_str()),
            versions: Some(Vec::new()),
        })
    };
    Ok(with_serial(
        documents.answer(wanted, request, begin).await?,
        serial,
    ))
}

/// The list of all projects in the making.
struct NamesInMaking {
    merged: Merged,
    names: Names,
    done: bool,
}

impl Assemble for NamesInMaking {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.done {
            return Ok(None);
        }
        for _ in 0..PAGE {
            let Some(of_name) = self.merged.next().await? else {
                self.names.end();
                self.done = true;
                break;
            };
            if let Some(package) = of_name.first() {
                self.names.project(&package.name);
            }
        }
        Ok(Some(self.names.take()))
    }
}

/// Answers with the list of all projects in `scopes`.
pub(super) async fn names(
    documents: &Assembled,
    scopes: Vec<Scope>,
    form: Form,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    let mut state = Vec::new();
    for scope in &scopes {
        let revision = View::of(scope).names_revision().await?;
        state.push((scope.project().id, revision));
    }
    let serial = state.iter().map(|(_, revision)| *revision).max().unwrap_or(0);
    let etag = format!("{}l-{}", form.letter(), state_tag("", state));
    let wanted = wanted(etag, "", form.media_type());
    let begin = async || {
        Ok(NamesInMaking {
            merged: Merged::of(&scopes),
            names: Names::begin(form),
            done: false,
        })
    };
    Ok(with_serial(
        documents.answer(wanted, request, begin).await?,
        serial,
    ))
}

/// Answers with the older JSON document about a project, or about one version of it.
pub(super) async fn legacy(
    documents: &Assembled,
    name: &ProjectName,
    version: Option<&Version>,
    sources: Vec<Source>,
    base: &str,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    let serial = serial(&sources);
    let about = match version {
        Some(version) => format!("{name} {version}"),
        None => name.to_string(),
    };
    let wanted = wanted(etag('o', &about, &sources), base, "application/json");
    let sources = Arc::new(sources);
    let begin = || LegacyInMaking::begin(name, version, sources.clone(), base, serial);
    Ok(with_serial(
        documents.answer(wanted, request, begin).await?,
        serial,
    ))
}

/// An older JSON document in the making.
struct LegacyInMaking {
    base: String,
    /// What has been written and not taken.
    out: String,
    /// What is left to be written into `releases`; none when it is done or left out.
    lines: Option<Lines>,
    /// The version whose list is open.
    version: Option<String>,
    ended: bool,
}

impl LegacyInMaking {
    async fn begin(
        name: &ProjectName,
        version: Option<&Version>,
        sources: Arc<Vec<Source>>,
        base: &str,
        serial: u64,
    ) -> Result<Self, ApiError> {
        let not_found = || {
            missing(format_args!(
                "{name} {}",
                version.map_or(String::new(), Version::to_string)
            ))
        };
        let shown = match version {
            Some(version) => version.clone(),
            None => latest(&sources).await?.ok_or_else(not_found)?,
        };
        let (info, files) = release(&sources, &shown).await?.ok_or_else(not_found)?;
        let document = index::legacy(Legacy {
            info,
            base,
            project: name.as_str(),
            files: &files,
            serial,
        });
        let mut out = Value::Object(document).to_string();
        let lines = version.is_none().then(|| Lines::of(sources));
        if lines.is_some() {
            out.pop();
            out.push_str(",\"releases\":{");
        }
        Ok(Self {
            base: base.into(),
            out,
            lines,
            version: None,
            ended: false,
        })
    }

    fn write(&mut self, entry: &Entry) {
        if self.version.as_ref() == Some(&entry.version) {
            self.out.push(',');
        } else {
            let before = if self.version.is_some() { "]," } else { "" };
            self.out.push_str(before);
            self.out
                .push_str(&Value::from(entry.version.as_str()).to_string());
            self.out.push_str(":[");
            self.version = Some(entry.version.clone());
        }
        let file = index::legacy_file(entry, &self.base);
        self.out.push_str(&file.to_string());
    }
}

impl Assemble for LegacyInMaking {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.ended {
            return Ok(None);
        }
        let page = match &mut self.lines {
            Some(lines) => lines.next().await?,
            None => None,
        };
        match page {
            Some(entries) => entries.iter().for_each(|entry| self.write(entry)),
            None => {
                self.ended = true;
                if self.lines.is_some() {
                    self.out
                        .push_str(if self.version.is_some() { "]}}" } else { "}}" });
                }
            }
        }
        Ok(Some(std::mem::take(&mut self.out)))
    }
}

/// The version that stands for the project: the highest that is neither yanked nor a
/// pre-release, if there is one.
async fn latest(sources: &Arc<Vec<Source>>) -> Result<Option<Version>, ApiError> {
    let mut lines = Lines::of(sources.clone());
    let mut best: Option<(bool, bool, Version)> = None;
    while let Some(entries) = lines.next().await? {
        for entry in entries {
            let version: Version = entry.version.parse()?;
            let rank = (entry.yanked.is_none(), !version.is_prerelease(), version);
            if best.as_ref().is_none_or(|best| rank > *best) {
                best = Some(rank);
            }
        }
    }
    Ok(best.map(|(_, _, version)| version))
}

/// What the metadata of a version says, and its files; from the first source that has it.
async fn release(
    sources: &[Source],
    version: &Version,
) -> Result<Option<(Map<String, Value>, Vec<Entry>)>, ApiError> {
    for source in sources {
        let prefix = version_prefix(version);
        // A version has no more files than fit on two pages.
        let mut files = source.page(&prefix, None, PAGE).await?;
        if let (PAGE, Some((last, _))) = (files.len(), files.last().cloned()) {
            files.extend(source.page(&prefix, Some(&last), PAGE).await?);
        }
        let files: Vec<Entry> = files.into_iter().map(|(_, entry)| entry).collect();
        let Some(told_by) = files.iter().find(|entry| entry.is_wheel).or(files.first()) else {
            continue;
        };
        let metadata = source.read(&told_by.metadata).await?;
        // It was parsed when it was published.
        let metadata = CoreMetadata::parse(&metadata).map_err(ApiError::internal)?;
        return Ok(Some((metadata.info(), files)));
    }
    Ok(None)
}
