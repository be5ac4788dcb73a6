//! Documents about all packages of a place: what it is as a repository, the names that there are, searches, and what
//! stands for a virtual package.

use axum::http::HeaderMap;
use axum::response::Response;
use cairn_cluster::Scan;
use serde::Deserialize;
use serde_json::{Value, json};

use super::index;
use super::names::{PackageName, Pattern};
use super::records::{Head, Keys, Stamp};
use crate::auth::Pull;
use crate::formats::merged::Merged;
use crate::formats::place::{Place, Precedence, precedence};
use crate::formats::ranking::{Best, Hit, each_package, keep_first_of_each};
use crate::http::assembled::{Assemble, Assembled, Wanted, state_tag};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::View;

/// The most vendors that the document of a repository names. Of one with more, clients ask for every name.
const MAX_VENDORS: usize = 1000;

/// How many names are written at a time.
const PAGE: usize = 500;

/// How many results an answer has that was not asked for more or less.
const DEFAULT_SIZE: usize = 15;

/// The most results of one answer.
const MAX_SIZE: usize = 100;

/// The furthest that one can page.
const MAX_FROM: usize = 5_000;

/// The most words of one search.
const MAX_WORDS: usize = 16;

/// A document that is at hand, as one that is made.
struct Ready(Option<String>);

impl Assemble for Ready {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        Ok(self.0.take())
    }
}

/// Answers with what the place is as a repository.
pub(super) async fn root(
    documents: &Assembled,
    place: &Place<Pull>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    // A job may be let in for some packages alone, and must not learn of others.
    let is_told = place.access().caller().job().is_none();
    let scopes = if is_told {
        place.scopes().await?
    } else {
        Vec::new()
    };
    let mut state = Vec::with_capacity(scopes.len());
    for scope in &scopes {
        let vendors = Keys::new(scope.collection()).vendors();
        state.push((scope.project().id, View::of(scope).revision_of(&vendors).await?));
    }
    let base = place.base();
    let wanted = Wanted {
        etag: format!("r-{}", state_tag(if is_told { "" } else { "job" }, state)),
        base,
        content_type: "application/json",
        vary: "Accept-Encoding",
    };
    let begin = async || {
        let vendors = if is_told { vendors(&scopes).await? } else { None };
        let root = index::root(base, vendors.as_deref());
        Ok(Ready(Some(root.to_string())))
    };
    // Of several projects together, no second says whether anything has changed.
    let stamp = match (place.project(), scopes.as_slice()) {
        (Some(_), [scope]) => {
            let key = Keys::new(scope.collection()).vendors_changed();
            scope.snapshot().record::<Stamp>(&key).await?
        }
        _ => None,
    };
    match stamp {
        Some(stamp) => documents.answer_dated(wanted, stamp.date(), headers, begin).await,
        None => documents.answer(wanted, headers, begin).await,
    }
}

/// The vendors of all packages, in their order; none if there are too many to tell.
async fn vendors(scopes: &[Scope]) -> Result<Option<Vec<String>>, ApiError> {
    let mut names = Vec::new();
    for scope in scopes {
        let vendors = Keys::new(scope.collection()).vendors();
        let found = scope
            .snapshot()
            .scan(Scan::of(&vendors).limit(MAX_VENDORS + 1))
            .await?;
        names.extend(
            found
                .iter()
                .map(|found| String::from_utf8_lossy(&found.item).into_owned()),
        );
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_VENDORS {
            return Ok(None);
        }
    }
    Ok(Some(names))
}

/// Which names are asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct NamesQuery {
    filter: Option<String>,
    vendor: Option<String>,
}

impl NamesQuery {
    fn pattern(&self, text: Option<&String>) -> Result<Pattern, ApiError> {
        Ok(Pattern::read(text.map_or("*", String::as_str))?)
    }
}

/// The list of names in the making.
struct Names {
    merged: Merged,
    patterns: [Pattern; 2],
    is_first: bool,
    is_done: bool,
}

impl Assemble for Names {
    async fn next(&mut self) -> Result<Option<String>, ApiError> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = String::new();
        for _ in 0..PAGE {
            let Some(of_name) = self.merged.next().await? else {
                self.is_done = true;
                out.push_str(if self.is_first {
                    "{\"packageNames\":[]}"
                } else {
                    "]}"
                });
                break;
            };
            let Some(name) = of_name.first().map(|package| package.name.as_str()) else {
                continue;
            };
            let is_wanted = self.patterns.iter().all(|pattern| pattern.takes(name));
            let heads: Result<Vec<Head>, _> = of_name.iter().filter(|_| is_wanted).map(Head::of).collect();
            if heads?.iter().any(|head| head.latest.is_some()) {
                out.push_str(if self.is_first { "{\"packageNames\":[" } else { "," });
                out.push_str(&json!(name).to_string());
                self.is_first = false;
            }
        }
        Ok(Some(out))
    }
}

/// Answers with the names of packages.
pub(super) async fn names(
    documents: &Assembled,
    place: &Place<Pull>,
    query: &NamesQuery,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let of_vendor = query.vendor.as_ref().map(|vendor| format!("{vendor}/*"));
    let patterns = [
        query.pattern(query.filter.as_ref())?,
        query.pattern(of_vendor.as_ref())?,
    ];
    let scopes = place.scopes().await?;
    let mut state = Vec::with_capacity(scopes.len());
    for scope in &scopes {
        state.push((scope.project().id, View::of(scope).names_revision().await?));
    }
    let asked = patterns.each_ref().map(Pattern::text).join("\n");
    let wanted = Wanted {
        etag: format!("n-{}", state_tag(&asked, state)),
        base: "",
        content_type: "application/json",
        vary: "Accept-Encoding",
    };
    let begin = async || {
        Ok(Names {
            merged: Merged::of(&scopes),
            patterns: patterns.clone(),
            is_first: true,
            is_done: false,
        })
    };
    documents.answer(wanted, headers, begin).await
}

/// The query string of a search. What is no number is not there.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct SearchQuery {
    #[serde(default)]
    q: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    page: String,
    #[serde(default)]
    per_page: String,
}

/// A package that was found. Of several of one name, that of the least precedence is the one that is served.
struct Found {
    head: Head,
    precedence: Precedence,
}

/// How well a package fits a word; none if it does not.
fn score(name: &str, head: &Head, word: &str) -> Option<f64> {
    let about = &head.latest.as_ref()?.about;
    if name == word || name.split('/').nth(1) == Some(word) {
        Some(1.0)
    } else if name.contains(word) {
        Some(0.75)
    } else if about.keywords.iter().any(|keyword| keyword == word) {
        Some(0.5)
    } else if about.description.to_lowercase().contains(word) {
        Some(0.25)
    } else {
        None
    }
}

/// The packages of these projects that `score` takes, the best first and each name once; and how many there are.
async fn best(
    scopes: &[Scope],
    keep: usize,
    score: impl Fn(&str, &Head) -> Option<f64>,
) -> Result<(Vec<Hit<Found>>, u64), ApiError> {
    let mut best = Best::new(keep);
    for scope in scopes {
        each_package(scope, |package| {
            let head = Head::of(package)?;
            if let (Some(score), Some(_)) = (score(&package.name, &head), &head.latest) {
                best.add(Hit {
                    score,
                    name: package.name.clone(),
                    what: Found {
                        head,
                        precedence: precedence(scope, package),
                    },
                });
            }
            Ok(())
        })
        .await?;
    }
    let total = best.total();
    let mut hits = best.into_hits();
    keep_first_of_each(&mut hits, |found| found.precedence);
    Ok((hits, total))
}

/// Answers a search.
pub(super) async fn search(place: &Place<Pull>, query: &SearchQuery) -> Result<Value, ApiError> {
    let words = query.q.split_whitespace().take(MAX_WORDS);
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    let kind = query.kind.to_lowercase();
    let size = query.per_page.parse().unwrap_or(DEFAULT_SIZE).clamp(1, MAX_SIZE);
    let page = query.page.parse::<usize>().unwrap_or(1).max(1);
    let from = (page - 1).saturating_mul(size).min(MAX_FROM);
    let fits = |name: &str, head: &Head| {
        let is_kind = |latest: &super::records::Latest| kind.is_empty() || latest.about.kind == kind;
        head.latest.as_ref().filter(|latest| is_kind(latest))?;
        let scores: Option<Vec<f64>> = words.iter().map(|word| score(name, head, word)).collect();
        scores.map(|scores| scores.iter().sum::<f64>() / scores.len().max(1) as f64)
    };
    let (hits, total) = best(&place.scopes().await?, from + size, fits).await?;
    let results: Vec<Value> = hits.iter().skip(from).map(result).collect();
    let mut answer = json!({"results": results, "total": total});
    if (from + size) as u64 <= total.saturating_sub(1) && from < MAX_FROM {
        let text = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let (words, kind, next) = (text(&query.q), text(&query.kind), page + 1);
        let url = format!(
            "{}search.json?q={words}&type={kind}&page={next}&per_page={size}",
            place.base()
        );
        answer["next"] = json!(url);
    }
    Ok(answer)
}

fn result(hit: &Hit<Found>) -> Value {
    let head = &hit.what.head;
    let about = head
        .latest
        .as_ref()
        .map(|latest| latest.about.clone())
        .unwrap_or_default();
    let mut result = json!({
        "name": hit.name,
        "description": about.description,
        "url": about.homepage,
        "repository": about.sources,
    });
    if let Some(abandoned) = head.abandoned() {
        result["abandoned"] = abandoned.value();
    }
    result
}

/// Answers with what stands for a virtual package.
pub(super) async fn providers(place: &Place<Pull>, name: &PackageName) -> Result<Value, ApiError> {
    let stands_for = |_: &str, head: &Head| {
        let provided = &head.latest.as_ref()?.about.provided;
        provided
            .iter()
            .any(|provided| provided == name.as_str())
            .then_some(1.0)
    };
    let (hits, _) = best(&place.scopes().await?, MAX_SIZE, stands_for).await?;
    let shown = hits.iter().filter_map(|hit| {
        let about = &hit.what.head.latest.as_ref()?.about;
        Some(json!({"name": hit.name, "description": about.description, "type": about.kind}))
    });
    Ok(json!({"providers": shown.collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use super::super::records::{About, Latest};
    use super::*;

    #[test]
    fn words_are_looked_for_in_the_name_first() {
        let head = Head {
            latest: Some(Latest {
                version: "1.0".parse().unwrap(),
                about: About {
                    description: "Pads a String".into(),
                    keywords: vec!["text".into()],
                    ..About::default()
                },
                abandoned: None,
            }),
            ..Head::default()
        };
        let check = |word: &str, expected: Option<f64>| {
            assert_eq!(score("acme/left-pad", &head, word), expected, "{word}");
        };
        check("acme/left-pad", Some(1.0));
        check("left-pad", Some(1.0));
        check("acme", Some(0.75));
        check("text", Some(0.5));
        check("string", Some(0.25));
        check("right", None);
        assert_eq!(score("acme/left-pad", &Head::default(), "acme"), None);
    }
}
