//! The gems where a request came in, and the documents that are made of them.
//!
//! Of several projects that have a gem of one name, it is the one's that was there first.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use cairn_cluster::Scan;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::attestations;
use super::documents::Pieces;
use super::index::HEAD;
use super::marshal::Dump;
use super::names::{GEM, GemName, candidates, numbered};
use super::records::{Keys, Row, VersionNotes, rank, row_prefix};
use super::store::{head_of, no_gem, version_of};
use crate::auth::{Action, Pull};
use crate::formats::place::{Place, precedence};
use crate::http::assembled::state_tag;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{self, File, Package, View};

/// How many packages or rows are read at a time, of all projects together.
const PAGE: usize = 256;

/// How large pieces get.
const PIECE_BYTES: usize = 32 << 10;

/// A version of a gem that clients may have.
pub(super) struct Found {
    pub(super) scope: Scope,
    pub(super) version: package::Version,
    pub(super) notes: VersionNotes,
}

impl Found {
    /// Its file.
    pub(super) async fn file<A: Action>(&self, place: &Place<A>) -> Result<File, ApiError> {
        let name = self.notes.spec.file_name();
        let file = View::of(&self.scope).file(&self.version, &name).await?;
        file.ok_or_else(|| place.missing(no_gem()))
    }

    /// The file with its attestations.
    pub(super) async fn attestations(&self) -> Result<Option<File>, ApiError> {
        let name = attestations::file_of(&self.notes.spec.file_name());
        Ok(View::of(&self.scope).file(&self.version, &name).await?)
    }
}

/// The gem of this name.
pub(super) async fn gem<A: Action>(place: &Place<A>, name: &str) -> Result<(Scope, Package), ApiError> {
    named(place, name).await?.ok_or_else(|| place.missing(no_gem()))
}

/// The gem of this name, if there is one.
pub(super) async fn named<A: Action>(
    place: &Place<A>,
    name: &str,
) -> Result<Option<(Scope, Package)>, ApiError> {
    let Ok(name) = name.parse::<GemName>() else {
        return Ok(None);
    };
    let first = place.first_named(&name.canonical()).await?;
    Ok(first.filter(|(_, package)| package.display_name == name.as_str()))
}

/// The version that has this full name, unless it is in no index.
pub(super) async fn by_full_name<A: Action>(place: &Place<A>, full: &str) -> Result<Found, ApiError> {
    for (name, version, platform) in candidates(full) {
        let Some((scope, package)) = place.first_named(&name.canonical()).await? else {
            continue;
        };
        if package.display_name != name.as_str() {
            continue;
        }
        let found = version_of(&scope, &package, &numbered(&version, &platform)).await?;
        if let Some((version, notes)) = found.filter(|(_, notes)| notes.is_listed) {
            return Ok(Found {
                scope,
                version,
                notes,
            });
        }
    }
    Err(place.missing(no_gem()))
}

/// The version whose file has this name.
pub(super) async fn by_file<A: Action>(place: &Place<A>, file: &str) -> Result<Found, ApiError> {
    match file.strip_suffix(GEM) {
        Some(full) => by_full_name(place, full).await,
        None => Err(place.missing(no_gem())),
    }
}

/// The listed versions of a gem, in the order of their publication.
pub(super) async fn rows(scope: &Scope, package: &Package) -> Result<Vec<Row>, ApiError> {
    let mut rows = Rows::new(scope.clone(), package);
    let mut all = Vec::new();
    while let Some(page) = rows.next().await? {
        all.extend(page);
    }
    Ok(all)
}

/// The rows of a gem, page by page.
pub(super) struct Rows {
    scope: Scope,
    prefix: Vec<u8>,
    after: Option<Bytes>,
    is_done: bool,
}

impl Rows {
    pub(super) fn new(scope: Scope, package: &Package) -> Self {
        Self {
            scope,
            prefix: row_prefix(&package.name),
            after: None,
            is_done: false,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<Row>>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let rows = Keys::new(self.scope.collection()).rows();
        let mut scan = Scan::of(&rows).prefix(&self.prefix).limit(PAGE);
        if let Some(after) = &self.after {
            scan = scan.after(after);
        }
        let found = self.scope.snapshot().scan(scan).await?;
        self.is_done = found.len() < PAGE;
        self.after = found.last().map(|last| last.item.clone());
        let rows: Result<Vec<Row>, _> = found.iter().map(|found| found.record()).collect();
        let rows = rows?;
        Ok((!rows.is_empty()).then_some(rows))
    }
}

/// Names the state of the document about a gem.
pub(super) async fn info_state(scope: &Scope, package: &Package) -> Result<String, ApiError> {
    let revision = View::of(scope).revision(package).await?;
    let tag = state_tag(&package.name, [(scope.project().id, revision)]);
    Ok(format!("info {tag}"))
}

/// The document about a gem.
pub(super) struct Info {
    head: Option<&'static str>,
    rows: Rows,
}

impl Info {
    pub(super) fn of(scope: &Scope, package: &Package) -> Self {
        Self {
            head: Some(HEAD),
            rows: Rows::new(scope.clone(), package),
        }
    }
}

impl Pieces for Info {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(Bytes::from_static(head.as_bytes())));
        }
        let Some(rows) = self.rows.next().await? else {
            return Ok(None);
        };
        let mut piece = String::new();
        for row in rows {
            piece.push_str(&row.line);
            piece.push('\n');
        }
        Ok(Some(piece.into()))
    }
}

/// Names the state of a document about all gems of these projects.
pub(super) async fn state(what: &str, scopes: &[Scope]) -> Result<String, ApiError> {
    let mut state = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let rows = Keys::new(scope.collection()).rows();
        state.push((scope.project().id, View::of(scope).revision_of(&rows).await?));
    }
    Ok(format!("{what} {}", state_tag(what, state)))
}

/// The gems of some projects in the order of their names, one of each name.
#[derive(Clone)]
struct Gems {
    scopes: Arc<Vec<Scope>>,
    sources: Vec<Packages>,
}

/// The packages of one project, as far as they were read.
#[derive(Clone, Default)]
struct Packages {
    ahead: VecDeque<Package>,
    after: Option<String>,
    is_read: bool,
}

impl Gems {
    fn of(scopes: Arc<Vec<Scope>>) -> Self {
        Self {
            sources: vec![Packages::default(); scopes.len()],
            scopes,
        }
    }

    async fn fill(&mut self, at: usize) -> Result<(), ApiError> {
        let source = &mut self.sources[at];
        if !source.ahead.is_empty() || source.is_read {
            return Ok(());
        }
        let page = (PAGE / self.scopes.len()).max(4);
        let found = View::of(&self.scopes[at])
            .packages(source.after.as_deref(), page)
            .await?;
        source.is_read = found.len() < page;
        source.after = found.last().map(|last| last.name.clone());
        source.ahead.extend(found);
        Ok(())
    }

    /// The next gem; none after the last.
    async fn next(&mut self) -> Result<Option<(Scope, Package)>, ApiError> {
        let mut least: Option<String> = None;
        for at in 0..self.sources.len() {
            self.fill(at).await?;
            let next = self.sources[at].ahead.front().map(|package| &package.name);
            least = least.into_iter().chain(next.cloned()).min();
        }
        let Some(name) = least else {
            return Ok(None);
        };
        let named = self.sources.iter_mut().enumerate().filter_map(|(at, source)| {
            let package = source.ahead.pop_front_if(|package| package.name == name)?;
            Some((at, package))
        });
        let first = named.min_by_key(|(at, package)| precedence(&self.scopes[*at], package));
        Ok(first.map(|(at, package)| (self.scopes[at].clone(), package)))
    }
}

/// The names of all gems that have a version.
pub(super) struct Names {
    head: Option<&'static str>,
    gems: Gems,
}

impl Names {
    pub(super) fn of(scopes: Arc<Vec<Scope>>) -> Self {
        Self {
            head: Some(HEAD),
            gems: Gems::of(scopes),
        }
    }
}

impl Pieces for Names {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut piece = self.head.take().unwrap_or_default().to_owned();
        while piece.len() < PIECE_BYTES
            && let Some((_, package)) = self.gems.next().await?
        {
            if head_of(&package)?.rows > 0 {
                piece.push_str(&package.display_name);
                piece.push('\n');
            }
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

/// Which versions a Marshal index has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Releases,
    /// Of each gem, the highest release for each platform.
    Latest,
    Prereleases,
}

impl Which {
    /// What the name of the file begins with.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Releases => "specs",
            Self::Latest => "latest_specs",
            Self::Prereleases => "prerelease_specs",
        }
    }

    /// Those of one gem's versions, in their order.
    fn of(self, mut rows: Vec<Row>) -> Vec<Row> {
        rows.retain(|row| row.version.is_prerelease() == (self == Self::Prereleases));
        let order = |a: &Row, b: &Row| rank((&a.version, &a.platform), (&b.version, &b.platform));
        if self == Self::Latest {
            rows.sort_by(|a, b| a.platform.cmp(&b.platform).then_with(|| order(b, a)));
            rows.dedup_by(|next, kept| next.platform == kept.platform);
        }
        rows.sort_by(|a, b| {
            a.version
                .order(&b.version)
                .then_with(|| a.platform.cmp(&b.platform))
        });
        rows
    }
}

/// A Marshal index, which says first how much there is of it.
pub(super) struct Specs {
    which: Which,
    gems: Gems,
    dump: Dump,
    is_begun: bool,
}

impl Specs {
    pub(super) async fn of(scopes: Arc<Vec<Scope>>, which: Which) -> Result<Self, ApiError> {
        let gems = Gems::of(scopes);
        let (mut counted, mut count) = (gems.clone(), 0);
        while let Some((scope, package)) = counted.next().await? {
            count += which.of(rows(&scope, &package).await?).len();
        }
        Ok(Self {
            which,
            gems,
            dump: Dump::list(count),
            is_begun: false,
        })
    }
}

impl Pieces for Specs {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut piece = Vec::new();
        if !std::mem::replace(&mut self.is_begun, true) {
            piece = self.dump.take();
        }
        while piece.len() < PIECE_BYTES
            && let Some((scope, package)) = self.gems.next().await?
        {
            for row in self.which.of(rows(&scope, &package).await?) {
                self.dump
                    .tuple(&package.display_name, &row.version, &row.platform);
            }
            piece.append(&mut self.dump.take());
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

/// Another document, compressed.
pub(super) struct Gzipped<P> {
    pieces: P,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<P> Gzipped<P> {
    pub(super) fn new(pieces: P) -> Self {
        Self {
            pieces,
            encoder: Some(GzEncoder::new(Vec::new(), Compression::default())),
        }
    }
}

impl<P: Pieces> Pieces for Gzipped<P> {
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        while let Some(mut encoder) = self.encoder.take() {
            let piece = self.pieces.next().await?;
            let is_last = piece.is_none();
            let compressing = tokio::task::spawn_blocking(move || match piece {
                Some(piece) => {
                    encoder.write_all(&piece)?;
                    let written = std::mem::take(encoder.get_mut());
                    Ok::<_, std::io::Error>((written, Some(encoder)))
                }
                None => Ok((encoder.finish()?, None)),
            });
            let compressed = compressing.await.map_err(ApiError::internal)?;
            let (written, encoder) = compressed.map_err(ApiError::internal)?;
            self.encoder = encoder;
            if is_last || !written.is_empty() {
                return Ok(Some(written.into()));
            }
        }
        Ok(None)
    }
}

/// When an index of a project changed last; none where several projects are shown, of which some
/// could come or go.
pub(super) async fn changed_at(place: &Place<Pull>) -> Result<Option<cairn_cluster::Timestamp>, ApiError> {
    let Some(project) = place.project() else {
        return Ok(None);
    };
    let scope = project.scope(super::NAME);
    let key = Keys::new(scope.collection()).changed_at();
    let at = scope.snapshot().number(&key).await?;
    Ok((at > 0).then_some(cairn_cluster::Timestamp(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(which: Which) -> Vec<String> {
        let all = [
            ("1.10", "ruby"),
            ("1.9", "java"),
            ("1.9", "ruby"),
            ("2.0.rc1", "ruby"),
            ("1.10", "java"),
            ("0.9", "x86-mingw32"),
        ];
        let rows = all.map(|(version, platform)| Row {
            version: version.parse().unwrap(),
            platform: platform.parse().unwrap(),
            line: String::new(),
        });
        let chosen = which.of(rows.to_vec());
        chosen
            .iter()
            .map(|row| format!("{} {}", row.version, row.platform))
            .collect()
    }

    #[test]
    fn each_index_has_its_versions() {
        assert_eq!(
            chosen(Which::Releases),
            [
                "0.9 x86-mingw32",
                "1.9 java",
                "1.9 ruby",
                "1.10 java",
                "1.10 ruby"
            ]
        );
        assert_eq!(
            chosen(Which::Latest),
            ["0.9 x86-mingw32", "1.10 java", "1.10 ruby"]
        );
        assert_eq!(chosen(Which::Prereleases), ["2.0.rc1 ruby"]);
    }
}
