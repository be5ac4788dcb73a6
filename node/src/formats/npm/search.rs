//! Answers searches: what the words of one mean, and how well a package fits them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::head::Head;
use super::index::{self, iso_time, keywords, search_entry};
use super::names::{PackageName, Version};
use super::store;
use crate::formats::ranking::{Best, Hit, each_package};
use crate::http::error::ApiError;
use crate::registry::Scope;

/// The most results of one answer.
const MAX_SIZE: usize = 250;

/// The furthest that one can page.
const MAX_FROM: usize = 5_000;

/// The most words of one search.
const MAX_TERMS: usize = 16;

/// The query string of a search. The weights that clients send are not used.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    text: String,
    size: Option<usize>,
    from: Option<usize>,
}

/// One condition that a package must meet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    /// In the name, the description or the keywords.
    Word(String),
    /// One of the keywords.
    Keyword(Vec<String>),
    /// The scope.
    Scope(String),
    /// Somebody's name.
    Person(String),
}

impl Term {
    fn read(text: &str) -> Self {
        let folded = text.to_lowercase();
        match folded.split_once(':') {
            Some(("keywords" | "keyword", words)) => {
                Self::Keyword(words.split([',', '+']).map(String::from).collect())
            }
            Some(("scope", scope)) => Self::Scope(scope.trim_start_matches('@').into()),
            Some(("maintainer" | "author", person)) => Self::Person(person.into()),
            _ => Self::Word(folded),
        }
    }

    /// How well a package meets the condition; `None` if it does not.
    fn score(&self, package: &Candidate) -> Option<f64> {
        let is_met = match self {
            Self::Word(word) => return package.score_word(word),
            Self::Keyword(words) => words.iter().any(|word| package.keywords.contains(word)),
            Self::Scope(scope) => package.name.scope() == Some(scope),
            Self::Person(person) => package.people.contains(person),
        };
        is_met.then_some(1.0)
    }
}

/// A package as a search looks at it: in lower case.
struct Candidate {
    name: PackageName,
    description: String,
    keywords: Vec<String>,
    people: Vec<String>,
}

impl Candidate {
    fn of(name: PackageName, head: &Head) -> Self {
        let hoisted = head.hoisted();
        let description = hoisted
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let author = hoisted
            .get("author")
            .and_then(|author| author.get("name").unwrap_or(author).as_str());
        let people = head.maintainers.iter().map(|person| person.name.as_str());
        let people = people.chain(author).chain(head.latest.publisher.as_deref());
        Self {
            description: description.to_lowercase(),
            keywords: keywords(&hoisted)
                .iter()
                .map(|word| word.to_lowercase())
                .collect(),
            people: people.map(str::to_lowercase).collect(),
            name,
        }
    }

    fn score_word(&self, word: &str) -> Option<f64> {
        let name = self.name.as_str().to_lowercase();
        if name == word || self.name.base().eq_ignore_ascii_case(word) {
            Some(1.0)
        } else if name.contains(word) {
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

/// A package that was found.
struct Found {
    name: PackageName,
    version: Version,
    head: Head,
}

/// Searches the packages of these projects.
pub(super) async fn search(
    scopes: &[Scope],
    query: &Query,
    now: cairn_cluster::Timestamp,
) -> Result<Value, ApiError> {
    let terms: Vec<Term> = query
        .text
        .split_whitespace()
        .take(MAX_TERMS)
        .map(Term::read)
        .collect();
    let size = query.size.unwrap_or(20).min(MAX_SIZE);
    let from = query.from.unwrap_or(0).min(MAX_FROM);
    let mut best = Best::new(from + size);
    for scope in scopes {
        search_project(scope, &terms, &mut best).await?;
    }
    let total = best.total();
    let objects: Vec<Value> = best.into_hits().iter().skip(from).map(entry).collect();
    Ok(json!({"objects": objects, "total": total, "time": iso_time(now)}))
}

async fn search_project(scope: &Scope, terms: &[Term], best: &mut Best<Found>) -> Result<(), ApiError> {
    each_package(scope, |package| {
        let head = store::head_of(package)?;
        let (Ok(name), Some(version)) = (
            package.name.parse::<PackageName>(),
            head.latest_version().cloned(),
        ) else {
            return Ok(());
        };
        let candidate = Candidate::of(name, &head);
        let scores: Option<Vec<f64>> = terms.iter().map(|term| term.score(&candidate)).collect();
        if let Some(scores) = scores {
            best.add(Hit {
                score: scores.iter().sum::<f64>() / scores.len().max(1) as f64,
                name: candidate.name.to_string(),
                what: Found {
                    name: candidate.name,
                    version,
                    head,
                },
            });
        }
        Ok(())
    })
    .await
}

fn entry(hit: &Hit<Found>) -> Value {
    let found = &hit.what;
    search_entry(&index::Found {
        name: &found.name,
        version: &found.version,
        date: found.head.latest.published_at,
        publisher: found.head.latest.publisher.as_deref(),
        maintainers: &found.head.maintainers,
        hoisted: &found.head.hoisted(),
        score: hit.score,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::head::Release;
    use super::super::publication::tests::object;
    use super::*;

    fn candidate() -> Candidate {
        let mut head = Head::default();
        let release = Release {
            version: "1.0.0".parse().unwrap(),
            manifest: object(json!({
                "description": "Pads a string", "keywords": ["Pad", "text"], "author": {"name": "Alice"},
            })),
            published_at: cairn_cluster::Timestamp(1),
            publisher: Some("bob".into()),
        };
        head.publish(&release, &[], cairn_cluster::Timestamp(1)).unwrap();
        Candidate::of("@acme/left-pad".parse().unwrap(), &head)
    }

    #[test]
    fn terms_look_where_they_say() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(Term::read(text).score(&candidate()), expected, "{text}");
        };
        check("left-pad", Some(1.0));
        check("@acme/left-pad", Some(1.0));
        check("LEFT", Some(0.75));
        check("text", Some(0.5));
        check("string", Some(0.25));
        check("right", None);
        check("keywords:pad", Some(1.0));
        check("keywords:other,text", Some(1.0));
        check("keywords:left", None);
        check("scope:acme", Some(1.0));
        check("scope:@acme", Some(1.0));
        check("scope:other", None);
        check("author:alice", Some(1.0));
        check("maintainer:bob", Some(1.0));
        check("maintainer:carol", None);
    }
}
