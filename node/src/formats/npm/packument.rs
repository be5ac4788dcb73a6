//! Makes packuments from the records of one or more packages, piece by piece.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use cairn_cluster::Timestamp;

use super::artifact::Readme;
use super::head::{self, Head};
use super::index::{Form, Fragment, Heading, Writer};
use super::names::{DistTag, PackageName, Version};
use super::store::{self, PAGE, TarballNotes, VersionNotes};
use crate::http::assembled::{Assemble, Assembled, Wanted, state_tag};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, Package, View};

/// How much of what was asked for is kept in memory, at each level of URLs.
const CACHE_BYTES: u64 = 64 << 20;

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

impl Assemble for Assembly {
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
}

/// Names the state of everything that the packument is made from.
fn etag(name: &PackageName, sources: &[Source], form: Form) -> String {
    let state = sources
        .iter()
        .map(|source| (source.scope.project().id, source.revision));
    format!("{}-{}", form.letter(), state_tag(name.as_str(), state))
}

/// The packuments that are kept in memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct Packuments(Assembled);

impl Packuments {
    pub(super) fn new() -> Self {
        Self(Assembled::new(CACHE_BYTES))
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
        let wanted = Wanted {
            etag: etag(name, &sources, form),
            base,
            content_type: form.media_type(),
            vary: "Accept, Accept-Encoding",
        };
        let sources = Arc::new(sources);
        let begin = async || Assembly::begin(name, sources.clone(), form, base).await;
        self.0.answer(wanted, request, begin).await
    }
}
