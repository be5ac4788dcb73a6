//! Answers searches: how well a gem fits the words of one.

use super::records::{Top, version_key};
use super::source::Found;
use super::store::{head_of, version_of};
use crate::formats::place::{Precedence, precedence};
use crate::formats::ranking::{Best, Hit, each_package, keep_first_of_each};
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::Package;

/// How many results a page has.
const PAGE: usize = 30;

/// The furthest page.
const MAX_PAGE: usize = 100;

/// The most words of one search.
const MAX_WORDS: usize = 16;

/// A gem that was found.
struct Candidate {
    scope: Scope,
    package: Package,
    top: Top,
    /// Of several gems of one name, the least is the one that the indexes have.
    precedence: Precedence,
}

/// How well one word fits.
fn score(name: &str, summary: &str, word: &str) -> Option<f64> {
    if name == word {
        Some(1.0)
    } else if name.contains(word) {
        Some(0.75)
    } else if summary.contains(word) {
        Some(0.25)
    } else {
        None
    }
}

/// Searches the gems of these projects; a page of what fits, the best first.
pub(super) async fn search(scopes: &[Scope], query: &str, page: usize) -> Result<Vec<Found>, ApiError> {
    let words: Vec<String> = query
        .split_whitespace()
        .take(MAX_WORDS)
        .map(str::to_lowercase)
        .collect();
    let from = page.clamp(1, MAX_PAGE).saturating_sub(1) * PAGE;
    let mut best = Best::new(from + PAGE);
    for scope in scopes {
        each_package(scope, |package| {
            let Some(top) = head_of(package)?.top else {
                return Ok(());
            };
            let (name, summary) = (package.display_name.to_lowercase(), top.summary.to_lowercase());
            let scores: Option<Vec<f64>> = words.iter().map(|word| score(&name, &summary, word)).collect();
            if let Some(scores) = scores {
                best.add(Hit {
                    score: scores.iter().sum::<f64>() / scores.len().max(1) as f64,
                    name: package.name.clone(),
                    what: Candidate {
                        scope: scope.clone(),
                        package: package.clone(),
                        top,
                        precedence: precedence(scope, package),
                    },
                });
            }
            Ok(())
        })
        .await?;
    }
    let mut hits = best.into_hits();
    keep_first_of_each(&mut hits, |candidate| candidate.precedence);
    let mut found = Vec::new();
    for hit in hits.into_iter().skip(from).take(PAGE) {
        let Candidate {
            scope, package, top, ..
        } = hit.what;
        if let Some((version, notes)) = version_of(&scope, &package, &version_key(&top)).await? {
            found.push(Found {
                scope,
                version,
                notes,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_looked_for_in_the_name_first() {
        let check = |word: &str, expected: Option<f64>| {
            assert_eq!(score("left_pad", "pads a string", word), expected)
        };
        check("left_pad", Some(1.0));
        check("pad", Some(0.75));
        check("string", Some(0.25));
        check("right", None);
    }
}
