//! The charts of a channel where a request came in, and the documents that are made of them.
//!
//! Of several projects that have a chart of one name, it is the one's that was there first.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use cairn_cluster::{Scan, Timestamp};

use super::constraint::Constraint;
use super::index::{Form, Listing};
use super::names::{self, Channel, ChartName, TGZ, Version};
use super::records::{Entry, Keys, chart_end, chart_of, chart_prefix, file_in};
use super::store::no_chart;
use crate::auth::Pull;
use crate::formats::place::{Place, Precedence, precedence};
use crate::http::assembled::{Assemble, Assembled, Wanted, state_tag};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, File, Package, View};

/// Raised by one whenever indexes are written in another way, so that clients fetch them again.
const EDITION: u64 = 0;

/// How many entries are read at a time, of all projects together.
const PAGE: usize = 256;

/// The charts of one project in a channel, in their order, as far as they were read.
struct Source {
    scope: Scope,
    entries: VecDeque<(Bytes, Entry)>,
    /// Where to go on; none before the first.
    after: Option<Bytes>,
    is_read: bool,
}

/// The charts of all projects in a channel.
struct Charts {
    place: Arc<Place<Pull>>,
    channel: Channel,
    sources: Vec<Source>,
    /// What the items of what is wanted begin with.
    prefix: Vec<u8>,
    page: usize,
}

fn entries_of(scope: &Scope, channel: &Channel) -> cairn_cluster::Collection {
    Keys::new(scope.collection()).entries(channel.as_str())
}

impl Charts {
    fn new(place: Arc<Place<Pull>>, channel: Channel, scopes: Vec<Scope>, chart: Option<&str>) -> Self {
        let page = (PAGE / scopes.len().max(1)).max(4);
        let sources = scopes.into_iter().map(|scope| Source {
            scope,
            entries: VecDeque::new(),
            after: None,
            is_read: false,
        });
        Self {
            place,
            channel,
            sources: sources.collect(),
            prefix: chart.map(chart_prefix).unwrap_or_default(),
            page,
        }
    }

    /// Makes sure that something of a source is read, if there is anything more.
    async fn fill(&mut self, at: usize) -> Result<(), ApiError> {
        let source = &mut self.sources[at];
        if !source.entries.is_empty() || source.is_read {
            return Ok(());
        }
        let collection = entries_of(&source.scope, &self.channel);
        let mut scan = Scan::of(&collection).prefix(&self.prefix).limit(self.page);
        if let Some(after) = &source.after {
            scan = scan.after(after);
        }
        for found in source.scope.snapshot().scan(scan).await? {
            source.entries.push_back((found.item.clone(), found.record()?));
        }
        match source.entries.back() {
            Some((item, _)) => source.after = Some(item.clone()),
            None => source.is_read = true,
        }
        Ok(())
    }

    /// The canonical name of the next chart of any source.
    async fn next_chart(&mut self) -> Result<Option<String>, ApiError> {
        let mut least: Option<String> = None;
        for at in 0..self.sources.len() {
            self.fill(at).await?;
            let next = self.sources[at].entries.front().map(|(item, _)| chart_of(item));
            least = match (least, next) {
                (Some(least), Some(next)) => Some(least.min(next)),
                (least, next) => least.or(next),
            };
        }
        Ok(least)
    }

    /// The source whose chart of this name was there first.
    async fn owner(&self, chart: &str) -> Result<Option<usize>, ApiError> {
        let mut first: Option<(Precedence, usize)> = None;
        for scope in self.place.scopes_holding(chart).await? {
            let id = scope.project().id;
            let at = self
                .sources
                .iter()
                .position(|source| source.scope.project().id == id);
            // What is made here is the same for all who get it, so no other project counts.
            if let (Some(at), Some(package)) = (at, View::of(&scope).package(chart).await?) {
                let found = (precedence(&scope, &package), at);
                first = Some(first.map_or(found, |known| known.min(found)));
            }
        }
        Ok(first.map(|(_, at)| at))
    }

    /// Some of the next versions of a chart; none after the last.
    async fn versions(&mut self, at: usize, chart: &str) -> Result<Vec<Entry>, ApiError> {
        self.fill(at).await?;
        let entries = &mut self.sources[at].entries;
        let mut versions = Vec::new();
        while entries.front().is_some_and(|(item, _)| chart_of(item) == chart) {
            versions.extend(entries.pop_front().map(|(_, entry)| entry));
        }
        Ok(versions)
    }

    /// Passes over what is left of a chart.
    fn skip(&mut self, chart: &str) {
        let end = chart_end(chart);
        for source in &mut self.sources {
            source.entries.retain(|(item, _)| item.as_ref() > end.as_slice());
            if source.entries.is_empty()
                && source
                    .after
                    .as_ref()
                    .is_some_and(|after| after.as_ref() < end.as_slice())
            {
                source.after = Some(Bytes::from(end.clone()));
            }
        }
    }
}

/// Which charts of a list are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) offset: u64,
    pub(super) limit: u64,
}

impl Window {
    pub(super) const ALL: Self = Self {
        offset: 0,
        limit: u64::MAX,
    };
}

/// A document about the charts of a channel, in the making.
struct Document {
    charts: Charts,
    /// None when it is done.
    listing: Option<Listing>,
    current: Option<(usize, String)>,
    window: Window,
    seen: u64,
}

impl Document {
    /// Goes on to the next chart that is wanted; false if there is none.
    async fn advance(&mut self) -> Result<bool, ApiError> {
        while self.seen.saturating_sub(self.window.offset) < self.window.limit
            && let Some(chart) = self.charts.next_chart().await?
        {
            let owner = self.charts.owner(&chart).await?;
            // It may have nothing of it in this channel: then nobody has.
            let has_entries = match owner {
                Some(at) => {
                    let next = self.charts.sources[at].entries.front();
                    next.is_some_and(|(item, _)| chart_of(item) == chart)
                }
                None => false,
            };
            if let Some(at) = owner.filter(|_| has_entries) {
                self.seen += 1;
                if self.seen > self.window.offset {
                    self.current = Some((at, chart));
                    return Ok(true);
                }
            }
            self.charts.skip(&chart);
        }
        Ok(false)
    }
}

impl Assemble for Document {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        loop {
            let Some(listing) = &mut self.listing else {
                return Ok(None);
            };
            if let Some((at, chart)) = &self.current {
                let versions = self.charts.versions(*at, chart).await?;
                if !versions.is_empty() {
                    for entry in &versions {
                        listing.version(entry);
                    }
                    return Ok(Some(listing.take()));
                }
                self.charts.skip(chart);
                self.current = None;
            }
            if !self.advance().await? {
                let mut listing = self.listing.take();
                return Ok(listing.as_mut().map(|listing| {
                    listing.end();
                    listing.take()
                }));
            }
        }
    }
}

/// The projects here, each with what changes whenever the channel does.
async fn state(scopes: &[Scope], channel: &Channel) -> Result<Vec<(u64, u64)>, ApiError> {
    let mut state = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let snapshot = scope.snapshot();
        let revision = snapshot.revision(&entries_of(scope, channel)).await?;
        state.push((scope.project().id, snapshot.earlier_revisions().await? + revision));
    }
    Ok(state)
}

/// Answers with a document about the charts of a channel, or about one of them.
pub(super) async fn answer(
    documents: &Assembled,
    place: Place<Pull>,
    channel: Channel,
    form: Form,
    chart: Option<&ChartName>,
    window: Window,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let scopes = match chart {
        None => place.scopes().await?,
        Some(chart) => {
            let (scope, _) = owner(&place, chart).await?;
            vec![scope]
        }
    };
    let chart = chart.map(ChartName::canonical);
    if let (Some(chart), [scope]) = (&chart, scopes.as_slice()) {
        let entries = entries_of(scope, &channel);
        let scan = Scan::of(&entries).prefix(chart_prefix(chart)).limit(1);
        if scope.snapshot().scan(scan).await?.is_empty() {
            return Err(place.missing(no_chart()));
        }
    }
    let Window { offset, limit } = window;
    let letter = match form {
        Form::Index { .. } => 'i',
        Form::Charts => 'c',
        Form::Versions => 'v',
    };
    let named = format!(
        "{channel} {} {offset} {limit}",
        chart.as_deref().unwrap_or_default()
    );
    let base = place.base().to_owned();
    let wanted = Wanted {
        etag: format!("{letter}-{}", state_tag(&named, state(&scopes, &channel).await?)),
        base: &base,
        content_type: match form {
            Form::Index { .. } => "application/x-yaml",
            Form::Charts | Form::Versions => "application/json",
        },
        vary: "Accept-Encoding",
    };
    // Of several projects together, no second says whether anything has changed.
    let modified = match (&form, place.project(), scopes.as_slice()) {
        (Form::Index { .. }, Some(_), [scope]) => {
            let changed = Keys::new(scope.collection()).changed(channel.as_str());
            scope.snapshot().number(&changed).await?
        }
        _ => 0,
    };
    let place = Arc::new(place);
    let begin = async || {
        Ok(Document {
            charts: Charts::new(place.clone(), channel.clone(), scopes.clone(), chart.as_deref()),
            listing: Some(Listing::begin(form.clone())),
            current: None,
            window,
            seen: 0,
        })
    };
    match modified {
        // Nothing was ever in the channel.
        0 => documents.answer(wanted, headers, begin).await,
        seconds => {
            let modified = Timestamp(seconds.saturating_add(EDITION).saturating_mul(1000));
            documents.answer_dated(wanted, modified, headers, begin).await
        }
    }
}

/// Where the chart of this name is.
async fn owner(place: &Place<Pull>, name: &ChartName) -> Result<(Scope, Package), ApiError> {
    let first = place.first_named(&name.canonical()).await?;
    let first = first.filter(|(_, package)| package.display_name == name.as_str());
    first.ok_or_else(|| place.missing(no_chart()))
}

/// A version of a chart in a channel.
pub(super) struct Found {
    pub(super) scope: Scope,
    package: Package,
    channel: Channel,
    pub(super) entry: Entry,
}

impl Found {
    /// Its version's record, and its file, or what belongs to it by a name that ends so.
    pub(super) async fn file(&self, suffix: &str) -> Result<Option<(package::Version, File)>, ApiError> {
        let view = View::of(&self.scope);
        let Some(version) = view
            .version(&self.package, &self.entry.version.canonical())
            .await?
        else {
            return Ok(None);
        };
        let name = format!("{}{suffix}", file_in(self.channel.as_str(), &self.entry.file));
        Ok(view.file(&version, &name).await?.map(|file| (version, file)))
    }
}

/// Finds the chart that a file of this name holds.
pub(super) async fn by_file(place: &Place<Pull>, channel: &Channel, file: &str) -> Result<Found, ApiError> {
    if file.ends_with(TGZ) {
        for (name, version) in names::candidates(file) {
            let Some((scope, package)) = place.first_named(&name.canonical()).await? else {
                continue;
            };
            let entry = entry(&scope, channel, &package, &version).await?;
            if let Some(entry) = entry.filter(|entry| entry.file == file) {
                let channel = channel.clone();
                return Ok(Found {
                    scope,
                    package,
                    channel,
                    entry,
                });
            }
        }
    }
    Err(place.missing(ApiError::not_found(format!(
        "{file:.255} is not in the channel {channel}"
    ))))
}

async fn entry(
    scope: &Scope,
    channel: &Channel,
    package: &Package,
    version: &Version,
) -> Result<Option<Entry>, ApiError> {
    let key = Keys::new(scope.collection()).entry(channel.as_str(), &package.name, version);
    Ok(scope.snapshot().record(&key).await?)
}

/// Finds the version of a chart that somebody means who writes `asked`.
pub(super) async fn by_version(
    place: &Place<Pull>,
    channel: &Channel,
    name: &ChartName,
    asked: &str,
) -> Result<Found, ApiError> {
    let (scope, package) = owner(place, name).await?;
    let found = match Version::asked(asked) {
        Ok(version) => entry(&scope, channel, &package, &version).await?,
        Err(_) => {
            let constraint: Constraint = asked.parse()?;
            newest(&scope, channel, &package, &constraint).await?
        }
    };
    let channel = channel.clone();
    match found {
        Some(entry) => Ok(Found {
            scope,
            package,
            channel,
            entry,
        }),
        None => Err(place.missing(no_chart())),
    }
}

/// The newest version that a constraint admits.
async fn newest(
    scope: &Scope,
    channel: &Channel,
    package: &Package,
    constraint: &Constraint,
) -> Result<Option<Entry>, ApiError> {
    let entries = entries_of(scope, channel);
    let prefix = chart_prefix(&package.name);
    let mut after: Option<Bytes> = None;
    loop {
        let mut scan = Scan::of(&entries).prefix(&prefix).limit(PAGE);
        if let Some(after) = &after {
            scan = scan.after(after);
        }
        let page = scope.snapshot().scan(scan).await?;
        for found in &page {
            let entry: Entry = found.record()?;
            if constraint.admits(&entry.version) {
                return Ok(Some(entry));
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.item.clone()),
            _ => return Ok(None),
        }
    }
}
