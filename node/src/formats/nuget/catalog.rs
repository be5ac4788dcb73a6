//! The catalog of a project: every change of its packages, in the order of commits, for those who mirror it.
//!
//! <https://learn.microsoft.com/nuget/api/catalog-resource>: whoever follows it keeps the time of the last change that
//! they know as their cursor, and asks for what came later. Changes are links of a [`Chain`](cairn_cluster::Chain), so
//! publishing does not get dearer with their number, and all nodes have them in one order. The clocks of nodes differ,
//! so the time of a change is moved behind that of the one before where it has to be: a cursor passes nothing over.
//! A node remembers these times; they are the same on every node.
//!
//! A group has no catalog: its packages are those of several projects, whose changes have no order in common that would
//! stay as it is when a project joins.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use cairn_cluster::{Snapshot, Timestamp};
use moka::future::Cache;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::NAME;
use super::records::{Change, Changed, Keys, decode};
use super::registration::{Hive, Urls, details};
use super::routes::wanted;
use super::warnings::Warnings;
use crate::auth::Pull;
use crate::formats::place::Place;
use crate::http::assembled::{Assemble, Assembled, state_tag};
use crate::http::error::ApiError;
use crate::http::{Served, serve_bytes};
use crate::registry::Scope;
use crate::registry::time::iso;

/// How many changes a page has; as many as those of the public gallery.
const PAGE: usize = 550;

/// How many changes are read at a time: some have thousands of dependencies.
const STEP: usize = 32;

/// How many bytes of times are remembered: eight for each change.
const MAX_REMEMBERED_BYTES: u64 = 64 << 20;

/// A time as the protocol has it: in 100 ns since 1970.
type Ticks = u64;

const TICKS_PER_MS: u64 = 10_000;

/// What is remembered of the catalogs of projects. Cheap to clone.
#[derive(Clone)]
pub(super) struct Catalogs {
    kept: Cache<u64, Arc<Mutex<Times>>>,
}

impl Catalogs {
    pub(super) fn new() -> Self {
        let weigh = |_: &u64, times: &Arc<Mutex<Times>>| {
            // Of one that is being read the size is not known; it counts when it is looked for again.
            let count = times.try_lock().map_or(0, |times| times.0.len());
            u32::try_from(64 + 8 * count).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(MAX_REMEMBERED_BYTES).weigher(weigh);
        Self { kept: kept.build() }
    }

    /// The times of the changes of a project, of at least those that a view has.
    async fn times(
        &self,
        scope: &Scope,
        snapshot: &Snapshot,
        count: usize,
    ) -> Result<Arc<Vec<Ticks>>, ApiError> {
        let project = scope.project().id;
        let known = self.kept.get_with(project, async { Arc::default() }).await;
        let mut times = known.lock().await;
        let had = times.0.len();
        times.catch_up(scope, snapshot, count).await?;
        let read = times.0.clone();
        drop(times);
        if read.len() > had {
            // It has become larger.
            self.kept.insert(project, known).await;
        }
        Ok(read)
    }
}

/// When each change of a project was made, in their order: every time is later than the one before.
#[derive(Default)]
struct Times(Arc<Vec<Ticks>>);

impl Times {
    fn push(&mut self, at: Timestamp) {
        let at = at.0.saturating_mul(TICKS_PER_MS);
        let after = self.0.last().map_or(0, |last| last + 1);
        // Those who answer meanwhile keep what they have.
        Arc::make_mut(&mut self.0).push(at.max(after));
    }

    /// Reads on, up to this number.
    async fn catch_up(&mut self, scope: &Scope, snapshot: &Snapshot, count: usize) -> Result<(), ApiError> {
        while self.0.len() < count {
            let changes = read(scope, snapshot, self.0.len(), STEP.min(count - self.0.len())).await?;
            for change in changes {
                self.push(change.at);
            }
        }
        Ok(())
    }
}

/// The changes behind this number.
async fn read(
    scope: &Scope,
    snapshot: &Snapshot,
    behind: usize,
    limit: usize,
) -> Result<Vec<Change>, ApiError> {
    let chain = Keys::new(scope.collection()).changes();
    let links = snapshot.links_after(&chain, behind as u64, limit).await?;
    if links.is_empty() {
        let gone = std::io::Error::other("changes that were counted are not there");
        return Err(ApiError::internal(gone));
    }
    links.iter().map(|link| decode(&link.content)).collect()
}

/// A catalog, as of a request.
struct Catalog {
    scope: Scope,
    snapshot: Snapshot,
    base: String,
    /// How many changes there are.
    count: usize,
    times: Arc<Vec<Ticks>>,
}

impl Catalog {
    async fn of(place: &Place<Pull>, catalogs: &Catalogs) -> Result<Self, ApiError> {
        let Some(project) = place.project() else {
            return Err(place.missing(ApiError::not_found("only projects have a catalog")));
        };
        let scope = project.scope(NAME);
        let snapshot = scope.snapshot().clone();
        let links = snapshot.links(&Keys::new(scope.collection()).changes()).await?;
        let count = usize::try_from(links).unwrap_or(usize::MAX);
        Ok(Self {
            times: catalogs.times(&scope, &snapshot, count).await?,
            count,
            base: place.base().to_owned(),
            scope,
            snapshot,
        })
    }

    fn url(&self, path: impl std::fmt::Display) -> String {
        format!("{}catalog/{path}", self.base)
    }

    /// What identifies the commit of a change, by its place, and when it was made.
    fn commit(&self, at: usize) -> (String, String) {
        let mut hasher = blake3::Hasher::new();
        for number in [self.scope.project().id, at as u64] {
            hasher.update(&number.to_be_bytes());
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        let ticks = self.times[at];
        let ms = iso(Timestamp(ticks / TICKS_PER_MS));
        let time = format!("{}{:04}Z", ms.trim_end_matches('Z'), ticks % TICKS_PER_MS);
        (uuid::Builder::from_random_bytes(id).into_uuid().to_string(), time)
    }

    /// The places of the changes of a page.
    fn of_page(&self, page: usize) -> std::ops::Range<usize> {
        let first = page.saturating_mul(PAGE).min(self.count);
        first..first.saturating_add(PAGE).min(self.count)
    }

    /// What is said of a page, where `last` is the place of its last change.
    fn page_head(&self, page: usize, last: usize) -> Value {
        let (id, time) = self.commit(last);
        json!({
            "@id": self.url(format_args!("page{page}.json")),
            "@type": "CatalogPage",
            "commitId": id,
            "commitTimeStamp": time,
            "count": last + 1 - page * PAGE,
        })
    }

    fn index(&self) -> Value {
        let pages = (0..self.count.div_ceil(PAGE))
            .map(|page| self.page_head(page, self.of_page(page).end - 1))
            .collect::<Vec<_>>();
        let mut index = json!({
            "@id": self.url("index.json"),
            "@type": ["CatalogRoot", "AppendOnlyCatalog", "Permalink"],
            "count": pages.len(),
            "items": pages,
        });
        let (id, time) = match self.count.checked_sub(1) {
            Some(last) => self.commit(last),
            // Nothing was ever changed.
            None => (Uuid::nil().to_string(), "0001-01-01T00:00:00.0000000Z".into()),
        };
        index["commitId"] = json!(id);
        index["commitTimeStamp"] = json!(time);
        index
    }

    /// What a page says of a change.
    fn item(&self, at: usize, change: &Change) -> Value {
        let (id, time) = self.commit(at);
        let (kind, package, version) = match &change.what {
            Changed::Details { notes, .. } => (
                "nuget:PackageDetails",
                notes.nuspec.id.to_string(),
                &notes.nuspec.version,
            ),
            Changed::Deleted { id, version } => ("nuget:PackageDelete", id.clone(), version),
        };
        json!({
            "@id": self.url(format_args!("data/{}.json", at + 1)),
            "@type": kind,
            "commitId": id,
            "commitTimeStamp": time,
            "nuget:id": package,
            "nuget:version": version.full(),
        })
    }

    /// All that is known of a change.
    fn leaf(&self, at: usize, change: &Change) -> Value {
        let mut leaf = match &change.what {
            Changed::Details { notes, deprecation } => {
                let mut warnings = Warnings::default();
                if let Some(deprecation) = deprecation {
                    let key = notes.nuspec.version.key();
                    warnings.deprecations.insert(key, deprecation.clone());
                }
                let urls = Urls::new(&self.base, notes.nuspec.id.as_str());
                details(&urls, Hive::Second, notes, &warnings)
            }
            Changed::Deleted { id, version } => json!({
                "@type": ["PackageDelete", "catalog:Permalink"],
                "id": id,
                "originalId": id,
                "version": version.full(),
                "published": iso(change.at),
            }),
        };
        let (id, time) = self.commit(at);
        leaf["@id"] = json!(self.url(format_args!("data/{}.json", at + 1)));
        leaf["catalog:commitId"] = json!(id);
        leaf["catalog:commitTimeStamp"] = json!(time);
        leaf
    }

    /// Names the state of a document with this name of which so much is there.
    fn tag(&self, name: &str, count: usize) -> String {
        let state = [(self.scope.project().id, count as u64)];
        format!("catalog-{}", state_tag(name, state))
    }
}

/// The pages of the catalog.
pub(super) async fn index(
    place: Place<Pull>,
    Extension(catalogs): Extension<Catalogs>,
    Extension(documents): Extension<Assembled>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let catalog = Catalog::of(&place, &catalogs).await?;
    let wanted = wanted(&place, catalog.tag("index", catalog.count));
    let made = async || {
        Ok(Page {
            head: Some(catalog.index().to_string()),
            rest: None,
        })
    };
    documents.answer(wanted, &headers, made).await
}

#[derive(Deserialize)]
pub(super) struct FilePath {
    file: String,
}

/// The number in the name of a file.
fn number(file: &str, before: &str) -> Option<usize> {
    let digits = file.strip_prefix(before)?.strip_suffix(".json")?;
    let is_plain = digits == "0" || !digits.starts_with('0');
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && is_number).then(|| digits.parse().ok()).flatten()
}

fn no_file(place: &Place<Pull>, file: &str) -> ApiError {
    place.missing(ApiError::not_found(format!("the catalog has no {file:.100}")))
}

/// The changes of a page.
pub(super) async fn page(
    place: Place<Pull>,
    Extension(catalogs): Extension<Catalogs>,
    Extension(documents): Extension<Assembled>,
    Path(path): Path<FilePath>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || no_file(&place, &path.file);
    let page = number(&path.file, "page").ok_or_else(missing)?;
    let catalog = Arc::new(Catalog::of(&place, &catalogs).await?);
    let changes = catalog.of_page(page);
    let last = changes.clone().next_back().ok_or_else(missing)?;
    let wanted = wanted(&place, catalog.tag(&path.file, changes.len()));
    let made = async || {
        let mut head = catalog.page_head(page, last);
        head["parent"] = json!(catalog.url("index.json"));
        let mut head = head.to_string();
        head.pop();
        Ok(Page {
            head: Some(head + ",\"items\":["),
            rest: Some((catalog.clone(), changes.clone())),
        })
    };
    documents.answer(wanted, &headers, made).await
}

/// A document of the catalog in the making.
struct Page {
    head: Option<String>,
    /// The changes that are still to come, if it has some.
    rest: Option<(Arc<Catalog>, std::ops::Range<usize>)>,
}

impl Assemble for Page {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let Some((catalog, rest)) = &mut self.rest else {
            return Ok(None);
        };
        let (mut out, limit) = (String::new(), rest.len().min(STEP));
        for change in read(&catalog.scope, &catalog.snapshot, rest.start, limit).await? {
            out.push_str(&catalog.item(rest.start, &change).to_string());
            rest.start += 1;
            out.push(',');
        }
        if rest.start == rest.end {
            self.rest = None;
            // The comma behind the last of them.
            out.pop();
            out.push_str("]}");
        }
        Ok(Some(out))
    }
}

/// One change.
pub(super) async fn leaf(
    place: Place<Pull>,
    Extension(catalogs): Extension<Catalogs>,
    Path(path): Path<FilePath>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || no_file(&place, &path.file);
    let number = number(&path.file, "").ok_or_else(missing)?;
    let catalog = Catalog::of(&place, &catalogs).await?;
    let at = number.checked_sub(1).filter(|at| *at < catalog.count);
    let at = at.ok_or_else(missing)?;
    let changes = read(&catalog.scope, &catalog.snapshot, at, 1).await?;
    let change = changes.first().ok_or_else(missing)?;
    let text = catalog.leaf(at, change).to_string();
    // It never becomes another.
    let served = Served::new(blake3::hash(text.as_bytes()).to_hex())
        .with_type("application/json")
        .kept_by_clients(catalog.scope.project(), true);
    serve_bytes(&method, &headers, text.into(), served)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_are_numbered_in_one_way() {
        for (file, before, expected) in [
            ("page0.json", "page", Some(0)),
            ("page12.json", "page", Some(12)),
            ("7.json", "", Some(7)),
            ("page012.json", "page", None),
            ("page+1.json", "page", None),
            ("page.json", "page", None),
            ("page1", "page", None),
            ("99999999999999999999999.json", "", None),
        ] {
            assert_eq!(number(file, before), expected, "{file}");
        }
    }

    proptest! {
        #[test]
        fn every_change_is_later_than_the_one_before(clocks in prop::collection::vec(0u64..50, 1..100)) {
            let mut times = Times::default();
            clocks.iter().for_each(|clock| times.push(Timestamp(*clock)));
            prop_assert!(times.0.is_sorted_by(|one, next| one < next));
            prop_assert!(times.0.iter().zip(&clocks).all(|(time, clock)| *time >= clock * TICKS_PER_MS));
        }
    }
}
