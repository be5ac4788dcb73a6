//! Finds packages: how well one fits the words of a search, and what is answered.

use serde_json::{Value, json};

use super::names::{PackageId, Version, spelled_alike};
use super::records::{Head, Shown, Wants};
use super::registration::{Hive, Urls, search_item};
use super::source::Source;
use crate::auth::Pull;
use crate::formats::place::{Place, Precedence, precedence};
use crate::formats::ranking::{Best, Hit, each_package, keep_first_of_each};
use crate::http::error::ApiError;

/// How many results an answer has that was not asked for more or less.
const DEFAULT_TAKE: u64 = 20;

/// The most results of one answer.
const MAX_TAKE: u64 = 1_000;

/// The furthest that one can page.
pub(super) const MAX_SKIP: u64 = 10_000;

/// The most words of one search.
const MAX_WORDS: usize = 16;

/// The most versions that are told of each result.
const MAX_VERSIONS: usize = 1_000;

/// What a package must be to be found.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    words: Vec<Word>,
    wants: Wants,
    /// Of this type, in lower case.
    kind: Option<String>,
}

/// One word of a search, in lower case, and where it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Anywhere(String),
    /// The whole name.
    Named(String),
    /// In the name.
    Id(String),
    Title(String),
    Tag(String),
    Author(String),
    Description(String),
}

impl Word {
    fn of(text: &str) -> Self {
        let text = text.to_lowercase();
        let Some((field, word)) = text.split_once(':') else {
            return Self::Anywhere(text);
        };
        let word = word.trim_matches('"').to_owned();
        match field {
            "packageid" => Self::Named(word),
            "id" => Self::Id(word),
            "title" => Self::Title(word),
            "tag" | "tags" => Self::Tag(word),
            "author" | "authors" => Self::Author(word),
            "description" | "summary" => Self::Description(word),
            _ => Self::Anywhere(text),
        }
    }

    /// How well a package fits; none if it does not.
    fn score(&self, id: &str, shown: &Shown) -> Option<f64> {
        let holds = |text: &str, word: &str| text.to_lowercase().contains(word);
        let is_tagged = |word: &str| shown.tags.iter().any(|tag| tag.to_lowercase() == word);
        let fits = |is_so: bool, score: f64| is_so.then_some(score);
        match self {
            Self::Named(word) => fits(id == word, 1.0),
            Self::Id(word) => fits(id.contains(word), 0.75),
            Self::Title(word) => fits(holds(&shown.title, word), 0.75),
            Self::Tag(word) => fits(is_tagged(word), 0.5),
            Self::Author(word) => fits(holds(&shown.authors, word), 0.5),
            Self::Description(word) => fits(holds(&shown.description, word), 0.25),
            Self::Anywhere(word) => fits(id == word, 1.0)
                .or(fits(id.starts_with(word), 0.875))
                .or(fits(id.contains(word), 0.75))
                .or(fits(holds(&shown.title, word), 0.625))
                .or(fits(is_tagged(word), 0.5))
                .or(fits(
                    holds(&shown.description, word) || holds(&shown.authors, word),
                    0.25,
                )),
        }
    }
}

impl Terms {
    pub(super) fn new(text: &str, wants: Wants, kind: Option<&str>) -> Self {
        let words = text.split_whitespace().take(MAX_WORDS).map(Word::of);
        let kind = kind.filter(|kind| !kind.is_empty());
        Self {
            words: words.collect(),
            wants,
            kind: kind.map(str::to_lowercase),
        }
    }

    fn score(&self, id: &str, shown: &Shown) -> Option<f64> {
        if let Some(kind) = &self.kind {
            let has_it = match shown.types.is_empty() {
                true => kind == "dependency",
                false => shown.types.iter().any(|own| own.to_lowercase() == *kind),
            };
            if !has_it {
                return None;
            }
        }
        let scores: Option<Vec<f64>> = self.words.iter().map(|word| word.score(id, shown)).collect();
        let scores = scores?;
        Some(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
    }
}

/// In which order what was found is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    ByFit,
    ByName,
}

/// A package that was found.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) source: Source,
    /// The newest version that the one who asks can use.
    pub(super) newest: Version,
    precedence: Precedence,
}

/// The packages that are found, of which `keep` are known; and how many there are.
pub(super) async fn search(
    place: &Place<Pull>,
    terms: &Terms,
    order: Order,
    keep: usize,
) -> Result<(Vec<Found>, u64), ApiError> {
    let scopes = place.scopes().await?;
    let mut best = Best::new(keep);
    for scope in &scopes {
        each_package(scope, |package| {
            let head = Head::read(&package.metadata)?;
            let (Some(newest), Some(shown)) = (head.newest(terms.wants), &head.shown) else {
                return Ok(());
            };
            if let Some(score) = terms.score(&package.name, shown) {
                best.add(Hit {
                    score: if order == Order::ByFit { score } else { 0.0 },
                    name: package.name.clone(),
                    what: Found {
                        source: Source::new(scope.clone(), package.clone()),
                        newest: newest.clone(),
                        precedence: precedence(scope, package),
                    },
                });
            }
            Ok(())
        })
        .await?;
    }
    let mut total = best.total();
    let mut hits = best.into_hits();
    if scopes.len() > 1 {
        let before = hits.len();
        keep_first_of_each(&mut hits, |hit| hit.precedence);
        total -= (before - hits.len()) as u64;
    }
    Ok((hits.into_iter().map(|hit| hit.what).collect(), total))
}

/// Which part of the results is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) skip: u64,
    pub(super) take: u64,
}

impl Window {
    pub(super) fn new(skip: Option<u64>, take: Option<u64>) -> Self {
        Self {
            skip: skip.unwrap_or(0).min(MAX_SKIP),
            take: take.unwrap_or(DEFAULT_TAKE).min(MAX_TAKE),
        }
    }

    fn end(self) -> usize {
        (self.skip + self.take) as usize
    }
}

fn hive(wants: Wants) -> Hive {
    if wants.semver2 { Hive::Second } else { Hive::First }
}

/// Answers a search.
pub(super) async fn answer(place: &Place<Pull>, terms: &Terms, window: Window) -> Result<Value, ApiError> {
    let (found, total) = search(place, terms, Order::ByFit, window.end()).await?;
    let mut data = Vec::new();
    for hit in found.iter().skip(window.skip as usize) {
        let source = &hit.source;
        let Some((_, notes)) = source.version(&hit.newest).await? else {
            continue;
        };
        let mut versions = Vec::new();
        let mut lines = source.lines(true);
        'all: while let Some(page) = lines.next_page().await? {
            for line in page {
                if line.is_listed && terms.wants.takes(&line) {
                    let downloads = source.downloads_of(&line).await?;
                    versions.push((line, downloads));
                }
                if versions.len() >= MAX_VERSIONS {
                    break 'all;
                }
            }
        }
        versions.reverse();
        let urls = Urls::new(place.base(), &source.package().name);
        let downloads = source.downloads().await?;
        data.push(search_item(
            &urls,
            hive(terms.wants),
            &notes,
            &source.warnings().await?,
            downloads,
            &versions,
        ));
    }
    Ok(json!({"totalHits": total, "data": data}))
}

/// Completes the beginning of a name.
pub(super) async fn names(
    place: &Place<Pull>,
    text: &str,
    wants: Wants,
    kind: Option<&str>,
    window: Window,
) -> Result<Value, ApiError> {
    let terms = Terms {
        words: match spelled_alike(text.trim()) {
            text if text.is_empty() => Vec::new(),
            text => vec![Word::Id(text)],
        },
        ..Terms::new("", wants, kind)
    };
    let (found, total) = search(place, &terms, Order::ByName, window.end()).await?;
    let names = found.iter().skip(window.skip as usize);
    let names: Vec<_> = names
        .map(|hit| hit.source.package().display_name.clone())
        .collect();
    Ok(json!({"totalHits": total, "data": names}))
}

/// The listed versions of a package; none if it is not here.
pub(super) async fn versions(place: &Place<Pull>, id: &str, wants: Wants) -> Result<Value, ApiError> {
    let nothing = || json!({"totalHits": 0, "data": []});
    let Ok(id) = id.parse::<PackageId>() else {
        return Ok(nothing());
    };
    let Some((scope, package)) = place.first_named(&id.canonical()).await? else {
        return Ok(nothing());
    };
    let lines = Source::new(scope, package).lines(false);
    let lines = lines.all(|line| line.is_listed && wants.takes(line)).await?;
    let versions: Vec<_> = lines.iter().map(|line| line.version.full()).collect();
    Ok(json!({"totalHits": versions.len(), "data": versions}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        Shown {
            title: "Acme's Library".into(),
            tags: vec!["JSON".into(), "parser".into()],
            authors: "Ann, Bob".into(),
            description: "Reads things quickly".into(),
            types: Vec::new(),
        }
    }

    #[test]
    fn what_fits_better_comes_first() {
        let score = |text: &str| Terms::new(text, Wants::EVERYTHING, None).score("acme.lib", &shown());
        let ordered = ["Acme.Lib", "acme", "LIB", "library", "json", "quickly"];
        let scores: Vec<_> = ordered.iter().map(|text| score(text).unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
        assert_eq!(score("acme none"), None);
        assert_eq!(score(""), Some(0.0));
        for text in [
            "packageid:acme.lib",
            "id:Acme",
            "tags:json",
            "author:bob",
            "title:\"library\"",
        ] {
            assert!(score(text).is_some(), "{text}");
        }
        for text in [
            "packageid:acme",
            "tag:jso",
            "owner:bob",
            "id:json",
            "description:library",
        ] {
            assert_eq!(score(text), None, "{text}");
        }
    }

    #[test]
    fn packages_have_types() {
        let score = |kind: &str, types: &[&str]| {
            let shown = Shown {
                types: types.iter().map(|kind| (*kind).into()).collect(),
                ..shown()
            };
            Terms::new("", Wants::EVERYTHING, Some(kind))
                .score("acme.lib", &shown)
                .is_some()
        };
        assert!(score("DotnetTool", &["dotnettool"]));
        assert!(score("dependency", &[]) && score("", &["Template"]));
        assert!(!score("dependency", &["Template"]) && !score("Template", &[]));
    }
}
