//! Answers searches: how well a crate fits the words of one.

use serde::Deserialize;
use serde_json::{Value, json};

use super::head::Top;
use super::store;
use crate::formats::place::{Precedence, precedence};
use crate::formats::ranking::{Best, Hit, each_package, keep_first_of_each};
use crate::http::error::ApiError;
use crate::registry::Scope;

/// How many results an answer has that was not asked for more or less.
const DEFAULT_SIZE: usize = 10;

/// The most results of one answer.
const MAX_SIZE: usize = 100;

/// The furthest that one can page.
const MAX_FROM: usize = 5_000;

/// The most words of one search.
const MAX_WORDS: usize = 16;

/// The query string of a search. What is no number is not there.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    q: String,
    #[serde(default)]
    per_page: String,
    #[serde(default)]
    page: String,
}

/// A crate that was found.
struct Found {
    name: String,
    top: Top,
    /// Of several crates of one name, the least is the one that the index has.
    precedence: Precedence,
}

/// A crate as a search looks at it: in lower case.
struct Candidate {
    name: String,
    description: String,
    keywords: Vec<String>,
}

impl Candidate {
    fn of(name: &str, top: &Top) -> Self {
        let description = top.about.description.as_deref().unwrap_or_default();
        Self {
            name: folded(name),
            description: description.to_lowercase(),
            keywords: top
                .about
                .keywords
                .iter()
                .map(|word| word.to_lowercase())
                .collect(),
        }
    }

    fn score(&self, word: &str) -> Option<f64> {
        let as_name = word.replace('-', "_");
        if self.name == as_name {
            Some(1.0)
        } else if self.name.contains(&as_name) {
            Some(0.75)
        } else if self.keywords.iter().any(|keyword| keyword == word) {
            Some(0.5)
        } else if self.description.contains(word) {
            Some(0.25)
        } else {
            None
        }
    }
}

fn folded(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// Searches the crates of these projects.
pub(super) async fn search(scopes: &[Scope], query: &Query) -> Result<Value, ApiError> {
    let words: Vec<String> = query
        .q
        .split_whitespace()
        .take(MAX_WORDS)
        .map(str::to_lowercase)
        .collect();
    let size = query.per_page.parse().unwrap_or(DEFAULT_SIZE).clamp(1, MAX_SIZE);
    let page: usize = query.page.parse().unwrap_or(1);
    let from = page.saturating_sub(1).saturating_mul(size).min(MAX_FROM);
    let mut best = Best::new(from + size);
    for scope in scopes {
        each_package(scope, |package| {
            let Some(top) = store::head_of(package)?.top else {
                return Ok(());
            };
            let candidate = Candidate::of(&package.display_name, &top);
            let scores: Option<Vec<f64>> = words.iter().map(|word| candidate.score(word)).collect();
            if let Some(scores) = scores {
                best.add(Hit {
                    score: scores.iter().sum::<f64>() / scores.len().max(1) as f64,
                    name: candidate.name,
                    what: Found {
                        name: package.display_name.clone(),
                        top,
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
    let crates: Vec<Value> = hits.iter().skip(from).map(entry).collect();
    Ok(json!({"crates": crates, "meta": {"total": total}}))
}

fn entry(hit: &Hit<Found>) -> Value {
    let Found { name, top, .. } = &hit.what;
    json!({
        "name": name,
        "max_version": top.version,
        "description": top.about.description,
    })
}

#[cfg(test)]
mod tests {
    use super::super::document::About;
    use super::*;

    #[test]
    fn words_are_looked_for_in_the_name_first() {
        let about = About {
            description: Some("Pads a String".into()),
            keywords: vec!["Text".into()],
            ..About::default()
        };
        let top = Top {
            version: "1.0.0".parse().unwrap(),
            yanked: false,
            about,
        };
        let candidate = Candidate::of("Left-Pad", &top);
        let check = |word: &str, expected: Option<f64>| assert_eq!(candidate.score(word), expected, "{word}");
        check("left-pad", Some(1.0));
        check("left_pad", Some(1.0));
        check("pad", Some(0.75));
        check("text", Some(0.5));
        check("string", Some(0.25));
        check("right", None);
    }
}
