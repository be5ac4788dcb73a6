//! Lists by pages, as GitLab's REST API gives them: by number with totals, or by cursor.
//!
//! A list is never held in memory: a [`Selection`] keeps the rows up to the end of the page that
//! was asked for, and counts the rest.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::credentials::TOKEN_PARAMETERS;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::host::BaseUrl;

const DEFAULT_PER_PAGE: u64 = 20;
const MAX_PER_PAGE: u64 = 100;

/// Beyond this, a client has to go by cursor.
const MAX_OFFSET: u64 = 50_000;

/// Beyond this, totals are left out.
const MAX_TOTAL: u64 = 10_000;

/// The longest key that rows are ordered by; what is longer is cut.
const MAX_KEY_BYTES: usize = 1024;

/// Which page of a list is asked for.
#[derive(Clone, Debug)]
pub struct Paging {
    at: At,
    per_page: u64,
    order_by: Option<String>,
    ascending: Option<bool>,
    url: String,
    parameters: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum At {
    /// The page of this number, from 1.
    Page(u64),
    /// The page after this row.
    After(Option<Position>),
}

/// Where a row stands: what it is ordered by, and its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position(Vec<u8>, u64);

#[derive(Debug, Deserialize, JsonSchema)]
struct Asked {
    /// The number of the page, from 1 on.
    #[serde(default, deserialize_with = "form::number")]
    page: Option<u64>,
    /// How many rows a page has: 20, unless this says; 100 at most.
    #[serde(default, deserialize_with = "form::number")]
    per_page: Option<u64>,
    /// Whether pages go by number or by cursor. Beyond row 50000, only cursors lead.
    #[schemars(extend("enum" = ["offset", "keyset"]))]
    pagination: Option<String>,
    /// Where the page begins, if pages go by cursor: from the header `Link` of the page before.
    cursor: Option<String>,
    /// By what the list is ordered; which names are known depends on the list.
    order_by: Option<String>,
    /// Whether the smallest comes first.
    #[schemars(extend("enum" = ["asc", "desc"]))]
    sort: Option<String>,
}

/// As it is asked for.
impl JsonSchema for Paging {
    fn schema_name() -> Cow<'static, str> {
        Asked::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Asked::json_schema(generator)
    }
}

impl FromRequestParts<App> for Paging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let asked: Asked = form::parse(query.as_bytes())?;
        let base_url = parts.extensions.get::<BaseUrl>().cloned().unwrap_or_default();
        let path = parts
            .extensions
            .get::<OriginalUri>()
            .map_or(parts.uri.path(), |uri| uri.path());
        let parameters = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .filter(|(name, _)| !["page", "per_page", "cursor"].contains(&name.as_str()))
            .filter(|(name, _)| !TOKEN_PARAMETERS.contains(&name.as_str()))
            .collect();
        Self::of(asked, format!("{base_url}{path}"), parameters)
    }
}

impl Paging {
    fn of(asked: Asked, url: String, parameters: Vec<(String, String)>) -> Result<Self, ApiError> {
        let wrong = |name: &str| ApiError::parameter(format!("{name} does not have a valid value"));
        let per_page = asked.per_page.unwrap_or(DEFAULT_PER_PAGE).clamp(1, MAX_PER_PAGE);
        let page = asked.page.unwrap_or(1).max(1);
        let at = match asked.pagination.as_deref() {
            Some("keyset") => {
                let cursor = asked.cursor.as_deref().map(Position::from_cursor);
                At::After(cursor.transpose().map_err(|()| wrong("cursor"))?)
            }
            None | Some("offset" | "legacy") if page > MAX_OFFSET / per_page => {
                return Err(ApiError::parameter(format!(
                    "pages end at row {MAX_OFFSET}; use pagination=keyset to go on"
                )));
            }
            None | Some("offset" | "legacy") => At::Page(page),
            Some(_) => return Err(wrong("pagination")),
        };
        let ascending = match asked.sort.as_deref() {
            None => None,
            Some("asc") => Some(true),
            Some("desc") => Some(false),
            Some(_) => return Err(wrong("sort")),
        };
        Ok(Self {
            at,
            per_page,
            order_by: asked.order_by,
            ascending,
            url,
            parameters,
        })
    }

    /// What to order by: one of `known`, the first unless the client says.
    pub fn order_by<'k>(&self, known: &[&'k str]) -> Result<&'k str, ApiError> {
        match &self.order_by {
            None => Ok(known[0]),
            Some(asked) => known
                .iter()
                .copied()
                .find(|name| name == asked)
                .ok_or_else(|| ApiError::parameter("order_by does not have a valid value")),
        }
    }

    /// Begins to select the rows of this page.
    pub fn select<T>(self, ascending_by_default: bool) -> Selection<T> {
        let ascending = self.ascending.unwrap_or(ascending_by_default);
        let keep = match &self.at {
            At::Page(page) => page * self.per_page,
            // One more tells whether there is another page.
            At::After(_) => self.per_page + 1,
        };
        Selection {
            paging: self,
            ascending,
            keep: keep as usize,
            rows: BTreeMap::new(),
            total: 0,
        }
    }
}

impl Position {
    fn new(key: impl AsRef<[u8]>, id: u64) -> Self {
        let key = key.as_ref();
        Self(key[..key.len().min(MAX_KEY_BYTES)].to_vec(), id)
    }

    fn cursor(&self) -> String {
        BASE64URL_NOPAD.encode(&[&self.1.to_be_bytes(), self.0.as_slice()].concat())
    }

    fn from_cursor(cursor: &str) -> Result<Self, ()> {
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| ())?;
        let (id, key) = bytes.split_first_chunk::<8>().ok_or(())?;
        if key.len() > MAX_KEY_BYTES {
            return Err(());
        }
        Ok(Self(key.to_vec(), u64::from_be_bytes(*id)))
    }
}

/// The rows of one page, out of all that are offered.
#[derive(Debug)]
pub struct Selection<T> {
    paging: Paging,
    ascending: bool,
    keep: usize,
    rows: BTreeMap<Position, T>,
    total: u64,
}

impl<T> Selection<T> {
    /// Whether the smallest key comes first.
    pub fn is_ascending(&self) -> bool {
        self.ascending
    }

    /// The number of the row behind which the page begins, if the client goes by cursor.
    pub fn begins_after(&self) -> Option<u64> {
        match &self.paging.at {
            At::After(after) => after.as_ref().map(|Position(_, id)| *id),
            At::Page(_) => None,
        }
    }

    /// Offers a row that is ordered by `key`, and by its number among equals.
    pub fn offer(&mut self, key: impl AsRef<[u8]>, id: u64, row: T) {
        self.total += 1;
        let position = Position::new(key, id);
        if let At::After(Some(after)) = &self.paging.at {
            let passed = if self.ascending {
                position <= *after
            } else {
                position >= *after
            };
            if passed {
                return;
            }
        }
        self.rows.insert(position, row);
        if self.rows.len() > self.keep {
            if self.ascending {
                self.rows.pop_last();
            } else {
                self.rows.pop_first();
            }
        }
    }

    /// Whether further rows would change nothing, if they come in the order of the list.
    pub fn is_settled(&self) -> bool {
        match self.paging.at {
            At::Page(_) => self.rows.len() >= self.keep && self.total > MAX_TOTAL,
            At::After(_) => self.rows.len() >= self.keep,
        }
    }

    /// The page: its rows in order, and the headers that say where it is in the list.
    pub fn finish(self) -> Page<T> {
        let per_page = self.paging.per_page as usize;
        let mut rows: Vec<(Position, T)> = self.rows.into_iter().collect();
        if !self.ascending {
            rows.reverse();
        }
        let mut headers = HeaderMap::new();
        match &self.paging.at {
            At::Page(page) => {
                rows.drain(..rows.len().min((page - 1) as usize * per_page));
                self.paging.describe_offset(&mut headers, *page, self.total);
            }
            At::After(_) => {
                let more = rows.len() > per_page;
                rows.truncate(per_page);
                if let Some((last, _)) = rows.last().filter(|_| more) {
                    let next = self.paging.link(
                        "next",
                        &[("per_page", per_page.to_string()), ("cursor", last.cursor())],
                    );
                    insert(&mut headers, header::LINK, &next);
                }
            }
        }
        Page {
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            headers,
        }
    }
}

impl Paging {
    fn describe_offset(&self, headers: &mut HeaderMap, page: u64, total: u64) {
        let pages = total.div_ceil(self.per_page).max(1);
        let next = (page < pages).then_some(page + 1);
        let previous = (page > 1).then(|| page - 1);
        let shown = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        for (name, value) in [
            ("x-page", page.to_string()),
            ("x-per-page", self.per_page.to_string()),
            ("x-next-page", shown(next)),
            ("x-prev-page", shown(previous)),
        ] {
            insert(headers, HeaderName::from_static(name), &value);
        }
        let mut links = vec![("prev", previous), ("next", next), ("first", Some(1))];
        if total <= MAX_TOTAL {
            insert(headers, HeaderName::from_static("x-total"), &total.to_string());
            insert(
                headers,
                HeaderName::from_static("x-total-pages"),
                &pages.to_string(),
            );
            links.push(("last", Some(pages)));
        }
        let links: Vec<_> = links
            .into_iter()
            .filter_map(|(relation, page)| {
                let parameters = [
                    ("page", page?.to_string()),
                    ("per_page", self.per_page.to_string()),
                ];
                Some(self.link(relation, &parameters))
            })
            .collect();
        insert(headers, header::LINK, &links.join(", "));
    }

    fn link(&self, relation: &str, parameters: &[(&str, String)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        query.extend_pairs(parameters.iter().map(|(name, value)| (*name, value)));
        format!("<{}?{}>; rel=\"{relation}\"", self.url, query.finish())
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // URLs and numbers are ASCII; a host that were not would not have been let in.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// Its rows, in order.
    pub rows: Vec<T>,
    headers: HeaderMap,
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        (self.headers, Json(self.rows)).into_response()
    }
}

impl<T> Page<T> {
    /// The same page, with every row as it is shown.
    pub fn map<U>(self, show: impl FnMut(T) -> U) -> Page<U> {
        Page {
            rows: self.rows.into_iter().map(show).collect(),
            headers: self.headers,
        }
    }

    /// The same page, with these in place of its rows.
    pub fn with<U>(self, rows: Vec<U>) -> Page<U> {
        Page {
            rows,
            headers: self.headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paging(query: &str) -> Result<Paging, ApiError> {
        let asked = form::parse(query.as_bytes())?;
        Paging::of(asked, "http://c/list".into(), vec![("a".into(), "b c".into())])
    }

    fn page(query: &str, rows: u64) -> Page<u64> {
        let mut selection = paging(query).unwrap().select(true);
        for id in 1..=rows {
            selection.offer((id % 7).to_be_bytes(), id, id);
        }
        selection.finish()
    }

    #[test]
    fn pages_by_number_say_where_they_are() {
        let middle = page("page=2&per_page=3", 10);
        assert_eq!(middle.rows, [2, 9, 3]);
        let said = |name: &str| middle.headers[name].to_str().unwrap().to_owned();
        assert_eq!(said("x-total"), "10");
        assert_eq!(said("x-total-pages"), "4");
        assert_eq!((said("x-page"), said("x-per-page")), ("2".into(), "3".into()));
        assert_eq!(
            (said("x-prev-page"), said("x-next-page")),
            ("1".into(), "3".into())
        );
        assert_eq!(
            said("link"),
            "<http://c/list?a=b+c&page=1&per_page=3>; rel=\"prev\", \
             <http://c/list?a=b+c&page=3&per_page=3>; rel=\"next\", \
             <http://c/list?a=b+c&page=1&per_page=3>; rel=\"first\", \
             <http://c/list?a=b+c&page=4&per_page=3>; rel=\"last\""
        );
        let past = page("page=9", 10);
        assert_eq!(
            (past.rows.len(), past.headers["x-next-page"].to_str().unwrap()),
            (0, "")
        );
        let empty = page("", 0);
        assert_eq!(empty.headers["x-total-pages"], "1");
        let long = page("", MAX_TOTAL + 1);
        assert!(!long.headers.contains_key("x-total"));
        assert!(!long.headers["link"].to_str().unwrap().contains("last"));
    }

    #[test]
    fn odd_numbers_are_clamped_or_refused() {
        assert_eq!(page("per_page=4294967296", 200).rows.len(), 100);
        assert_eq!(page("per_page=0&page=0", 5).rows.len(), 1);
        for query in [
            "page=-1",
            "per_page=x",
            "page=600&per_page=100",
            "page=18446744073709551615",
            "pagination=none",
            "sort=up",
            "pagination=keyset&cursor=%21",
            "pagination=keyset&cursor=AAAA",
        ] {
            assert!(paging(query).is_err(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn cursors_lead_through_the_whole_list(
            rows in 0u64..60,
            per_page in 1u64..20,
            sort in prop::sample::select(vec!["asc", "desc"]),
        ) {
            let base = format!("pagination=keyset&per_page={per_page}&sort={sort}");
            let mut found = Vec::new();
            let mut query = base.clone();
            loop {
                let page = page(&query, rows);
                prop_assert!(page.rows.len() as u64 <= per_page);
                found.extend(page.rows);
                let Some(link) = page.headers.get("link") else { break };
                let cursor = link.to_str().unwrap().split("cursor=").nth(1).unwrap().split('>').next().unwrap();
                query = format!("{base}&cursor={cursor}");
            }
            let mut expected: Vec<u64> = (1..=rows).collect();
            expected.sort_by_key(|id| (id % 7, *id));
            if sort == "desc" {
                expected.reverse();
            }
            prop_assert_eq!(found, expected);
        }
    }
}
