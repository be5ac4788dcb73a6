//! Serves packuments: from memory if they are asked for often, in pieces if they are large, and
//! not at all if the client has them.
//!
//! What is kept in memory is kept under the revision of everything it was made from, so it is
//! never stale: a request first reads that revision on the latest state, and only then looks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cairn_cluster::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use moka::future::Cache;
use tokio::sync::OnceCell;

use super::artifact::Readme;
use super::head::{self, Head};
use super::index::{Form, Fragment, Heading, Writer};
use super::names::{DistTag, PackageName, Version};
use super::store::{self, PAGE, TarballNotes, VersionNotes};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, Package, View};

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

/// Packuments larger than this are sent in pieces and not kept.
const MAX_KEPT_BYTES: usize = 8 << 20;

/// Smaller ones are not worth compressing.
const MIN_COMPRESSED_BYTES: usize = 1 << 10;

/// How many times of publication are remembered while versions are written; of packages with
/// more versions they are read again.
const MAX_REMEMBERED_TIMES: usize = 10_000;

/// A package in one project, as of the request's snapshot.
pub(super) struct Source {
    scope: Scope,
    package: Package,
    revision: u64,
}

impl Source {
    /// Finds the package of this name.
    pub(super) async fn find(scope: Scope, name: &PackageName) -> Result<Option<Self>, ApiError> {
        let view = View::of(&scope);
        let Some(package) = view.package(name.as_str()).await? else {
            return Ok(None);
        };
        let revision = view.revision(&package).await?;
        Ok(Some(Self {
            package,
            revision,
            scope,
        }))
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn head(&self) -> Result<Head, ApiError> {
        store::head_of(&self.package)
    }

    fn view(&self) -> View<'_> {
        View::of(&self.scope)
    }

    pub(super) async fn version(&self, version: &Version) -> Result<Option<package::Version>, ApiError> {
        Ok(self.view().version(&self.package, &version.to_string()).await?)
    }

    /// The tags whose versions are there. One that was deleted through the REST API, which knows
    /// nothing of tags, leaves its tags behind.
    pub(super) async fn tags(&self) -> Result<BTreeMap<DistTag, Version>, ApiError> {
        self.tags_of(&self.head()?).await
    }

    async fn tags_of(&self, head: &Head) -> Result<BTreeMap<DistTag, Version>, ApiError> {
        let mut gone = BTreeSet::new();
        for version in head.dist_tags.values().collect::<BTreeSet<_>>() {
            if self.version(version).await?.is_none() {
                gone.insert(version);
            }
        }
        let mut tags = head.dist_tags.clone();
        tags.retain(|_, version| !gone.contains(version));
        if !tags.contains_key(&DistTag::latest()) {
            let all = store::all_versions(&self.view(), &self.package).await?;
            tags.extend(head::successor(all).map(|version| (DistTag::latest(), version)));
        }
        Ok(tags)
    }

    async fn readme(&self, version: &Version) -> Result<Option<Readme>, ApiError> {
        let Some(found) = self.version(version).await? else {
            return Ok(None);
        };
        let name: PackageName = self.package.name.parse().map_err(ApiError::internal)?;
        let Some(file) = self.view().file(&found, &name.tarball_file(version)).await? else {
            return Ok(None);
        };
        Ok(store::decode::<TarballNotes>(&file.metadata)?.readme)
    }
}

/// Reads the parts of a packument that are not versions. Where several projects have a package
/// of this name, the first of them decides; the others add what it does not have.
async fn heading(name: &PackageName, sources: &[Source], form: Form) -> Result<Heading, ApiError> {
    let mut heading = Heading {
        name: name.clone(),
        revision: String::new(),
        dist_tags: BTreeMap::new(),
        created: Timestamp(u64::MAX),
        modified: Timestamp::default(),
        maintainers: Vec::new(),
        users: Vec::new(),
        hoisted: Default::default(),
        readme: None,
    };
    let mut users = BTreeSet::new();
    for (at, source) in sources.iter().enumerate() {
        let head = source.head()?;
        let mut tags = source.tags_of(&head).await?;
        if at == 0 {
            heading.revision = store::revision_text(source.scope.project().id, source.revision);
            heading.maintainers = head.maintainers.clone();
            heading.hoisted = head.hoisted();
            if form == Form::Full
                && let Some(latest) = tags.get(&DistTag::latest())
            {
                heading.readme = source.readme(latest).await?;
            }
        }
        tags.retain(|tag, _| !heading.dist_tags.contains_key(tag));
        heading.dist_tags.append(&mut tags);
        heading.created = heading.created.min(source.package.created_at);
        heading.modified = heading.modified.max(head.modified);
        users.extend(head.stars);
    }
    heading.users = users.into_iter().collect();
    Ok(heading)
}

/// A packument in the making: each call of [`Assembly::next`] gives the next piece of it.
struct Assembly {
    sources: Arc<Vec<Source>>,
    form: Form,
    heading: Heading,
    writer: Writer,
    phase: Phase,
    at: Position,
    /// Times of publication, as long as there are not too many of them.
    times: Option<Vec<(String, Timestamp)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Versions,
    Times,
    Done,
}

/// Which version comes next.
#[derive(Default)]
struct Position {
    source: usize,
    after: Option<String>,
}

impl Assembly {
    async fn begin(
        name: &PackageName,
        sources: Arc<Vec<Source>>,
        form: Form,
        base: &str,
    ) -> Result<Self, ApiError> {
        let heading = heading(name, &sources, form).await?;
        Ok(Self {
            writer: Writer::begin(form, base, &heading),
            sources,
            form,
            heading,
            phase: Phase::Versions,
            at: Position::default(),
            times: Some(Vec::new()),
        })
    }

    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        match self.phase {
            Phase::Versions => match self.page().await? {
                Some(page) => self.write_versions(&page)?,
                None => {
                    self.writer.end_versions(&self.heading);
                    self.phase = Phase::Times;
                    self.at = Position::default();
                    if let Some(times) = self.times.take() {
                        for (version, time) in times {
                            self.writer.published(&version, time);
                        }
                        self.end();
                    }
                }
            },
            Phase::Times => match self.page().await? {
                Some(page) => {
                    for version in page {
                        self.writer.published(&version.version, version.created_at);
                    }
                }
                None => self.end(),
            },
            Phase::Done => return Ok(None),
        }
        Ok(Some(self.writer.take()))
    }

    fn end(&mut self) {
        self.writer.end(&self.heading);
        self.phase = Phase::Done;
    }

    fn write_versions(&mut self, page: &[package::Version]) -> Result<(), ApiError> {
        for version in page {
            let notes: VersionNotes = store::decode(&version.metadata)?;
            let fragment: &Fragment = match self.form {
                Form::Full => &notes.fragments.full,
                Form::Abbreviated => &notes.fragments.abbreviated,
            };
            self.writer.version(&version.version, fragment);
            if let Some(times) = &mut self.times {
                times.push((version.version.clone(), version.created_at));
            }
        }
        if self
            .times
            .as_ref()
            .is_some_and(|times| times.len() > MAX_REMEMBERED_TIMES)
        {
            self.times = None;
        }
        Ok(())
    }

    /// The next versions, of all sources; a version that several have counts once, for the first.
    async fn page(&mut self) -> Result<Option<Vec<package::Version>>, ApiError> {
        while let Some(source) = self.sources.get(self.at.source) {
            let view = source.view();
            let mut page = view
                .versions(&source.package, self.at.after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                self.at = Position {
                    source: self.at.source + 1,
                    after: None,
                };
                continue;
            };
            self.at.after = Some(last.version.clone());
            for earlier in &self.sources[..self.at.source] {
                let mut own = Vec::with_capacity(page.len());
                for version in page {
                    if earlier
                        .view()
                        .version(&earlier.package, &version.version)
                        .await?
                        .is_none()
                    {
                        own.push(version);
                    }
                }
                page = own;
            }
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }
}

/// The packuments that are kept in memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct Packuments {
    kept: Cache<Key, Entry>,
}

/// A packument, or nothing if it is too large to be kept.
type Entry = Option<Arc<Kept>>;

/// All that a packument depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    etag: String,
    base: String,
}

struct Kept {
    text: Bytes,
    compressed: OnceCell<Bytes>,
}

impl Packuments {
    pub(super) fn new() -> Self {
        let weigh = |key: &Key, entry: &Entry| {
            // The compressed form comes later; it is about a quarter.
            let text_bytes = entry.as_ref().map_or(0, |kept| kept.text.len());
            let bytes = text_bytes + text_bytes / 4 + key.etag.len() + key.base.len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            kept: Cache::builder().max_capacity(CACHE_BYTES).weigher(weigh).build(),
        }
    }

    /// Answers with the packument that is made from `sources`, of which there is at least one.
    /// `base` is the registry's URL, with a slash at its end.
    pub(super) async fn answer(
        &self,
        name: &PackageName,
        sources: Vec<Source>,
        form: Form,
        base: &str,
        request: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let etag = etag(name, &sources, form);
        if has_already(request, &etag) {
            return Ok(decorate(StatusCode::NOT_MODIFIED.into_response(), form, &etag));
        }
        let sources = Arc::new(sources);
        let key = Key {
            etag: etag.clone(),
            base: base.into(),
        };
        // Many who ask at once wait for one of them.
        let build = build(name, sources.clone(), form, base);
        let compress = accepts_gzip(request);
        let entry = self.kept.try_get_with(key, build).await;
        let response = match entry.map_err(|error: Arc<ApiError>| ApiError::clone(&error))? {
            Some(kept) => kept.answer(compress).await?,
            None => in_pieces(Assembly::begin(name, sources, form, base).await?, compress),
        };
        Ok(decorate(response, form, &etag))
    }
}

async fn build(
    name: &PackageName,
    sources: Arc<Vec<Source>>,
    form: Form,
    base: &str,
) -> Result<Entry, ApiError> {
    let mut assembly = Assembly::begin(name, sources, form, base).await?;
    let mut text = String::new();
    while let Some(piece) = assembly.next().await? {
        text.push_str(&piece);
        if text.len() > MAX_KEPT_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(Arc::new(Kept {
        text: text.into(),
        compressed: OnceCell::new(),
    })))
}

impl Kept {
    async fn answer(&self, compress: bool) -> Result<Response, ApiError> {
        if !compress || self.text.len() < MIN_COMPRESSED_BYTES {
            return Ok(Body::from(self.text.clone()).into_response());
        }
        let compressed = self.compressed.get_or_try_init(async || {
            let text = self.text.clone();
            tokio::task::spawn_blocking(move || gzip(&text))
                .await
                .map_err(ApiError::internal)?
                .map_err(ApiError::internal)
        });
        let mut response = Body::from(compressed.await?.clone()).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        Ok(response)
    }
}

fn gzip(text: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text)?;
    Ok(encoder.finish()?.into())
}

/// Answers piece by piece, with a few of them in memory at a time.
fn in_pieces(assembly: Assembly, compress: bool) -> Response {
    let mut response = if compress {
        Body::from_stream(compressed_pieces(assembly)).into_response()
    } else {
        Body::from_stream(pieces(assembly)).into_response()
    };
    if compress {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn pieces(assembly: Assembly) -> impl Stream<Item = Result<Bytes, ApiError>> {
    futures::stream::try_unfold(assembly, async |mut assembly| {
        let piece = assembly.next().await?;
        Ok(piece.map(|piece| (Bytes::from(piece), assembly)))
    })
}

fn compressed_pieces(assembly: Assembly) -> impl Stream<Item = Result<Bytes, ApiError>> {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    futures::stream::try_unfold(Some((assembly, encoder)), async |state| {
        let Some((mut assembly, encoder)) = state else {
            return Ok(None);
        };
        let piece = assembly.next().await?;
        let compressed = tokio::task::spawn_blocking(move || compress(encoder, piece)).await;
        let (bytes, encoder) = compressed
            .map_err(ApiError::internal)?
            .map_err(ApiError::internal)?;
        Ok(Some((bytes, encoder.map(|encoder| (assembly, encoder)))))
    })
}

type Encoder = GzEncoder<Vec<u8>>;

/// Compresses one more piece; after the last, ends the stream.
fn compress(mut encoder: Encoder, piece: Option<String>) -> io::Result<(Bytes, Option<Encoder>)> {
    match piece {
        Some(piece) => {
            encoder.write_all(piece.as_bytes())?;
            let written = std::mem::take(encoder.get_mut());
            Ok((written.into(), Some(encoder)))
        }
        None => Ok((encoder.finish()?.into(), None)),
    }
}

/// Names the state of everything that the packument is made from. It is a weak tag, because it
/// is the same for the compressed form.
fn etag(name: &PackageName, sources: &[Source], form: Form) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_str().as_bytes());
    for source in sources {
        hasher.update(&source.scope.project().id.to_be_bytes());
        hasher.update(&source.revision.to_be_bytes());
    }
    let hash = hasher.finalize();
    format!("W/\"{}-{}\"", form.letter(), &hash.to_hex()[..32])
}

fn has_already(request: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
            let quality = quality
                .trim()
                .strip_prefix("q=")
                .and_then(|quality| quality.parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case("gzip") && quality != Some(0.0)
        })
}

fn decorate(mut response: Response, form: Form, etag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    // Kept by the client, and asked about each time: a publish is seen at once.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_tag_is_compared_weakly() {
        let check = |sent: &str, expected: bool| {
            assert_eq!(
                has_already(&headers(header::IF_NONE_MATCH, sent), "W/\"a-1\""),
                expected,
                "{sent}"
            );
        };
        check("W/\"a-1\"", true);
        check("\"a-1\"", true);
        check("\"x\", W/\"a-1\"", true);
        check("*", true);
        check("W/\"f-1\"", false);
        check("", false);
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let check = |sent: &str, expected: bool| {
            assert_eq!(
                accepts_gzip(&headers(header::ACCEPT_ENCODING, sent)),
                expected,
                "{sent}"
            );
        };
        check("gzip", true);
        check("br, GZIP;q=0.5", true);
        check("deflate, gzip;q=1.0, *;q=0.5", true);
        check("gzip;q=0", false);
        check("identity", false);
        check("", false);
    }
}
