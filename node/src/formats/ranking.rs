//! Answers searches by walking through the names: what is written for a search at publish would
//! cost every publish, and a walk reads one small record per package.

use std::collections::BTreeMap;

use crate::formats::place::Precedence;
use crate::http::error::ApiError;
use crate::registry::Scope;
use crate::registry::package::{Package, View};

/// How many packages are read at a time.
const PAGE: usize = 128;

/// Something that was found.
#[derive(Clone, Debug)]
pub(crate) struct Hit<T> {
    /// How well it fits; more is better.
    pub(crate) score: f64,
    /// Its name, which decides between equals.
    pub(crate) name: String,
    /// What it is.
    pub(crate) what: T,
}

/// The best hits, as many as are asked for; of all others only the number is known.
pub(crate) struct Best<T> {
    hits: Vec<Hit<T>>,
    keep: usize,
    total: u64,
}

impl<T> Best<T> {
    /// Keeps this many.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            hits: Vec::new(),
            keep,
            total: 0,
        }
    }

    /// Takes a hit into account.
    pub(crate) fn add(&mut self, hit: Hit<T>) {
        self.total += 1;
        self.hits.push(hit);
        if self.hits.len() >= 2 * self.keep + PAGE {
            self.prune();
        }
    }

    /// How many hits there were.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The best hits, the best first.
    pub(crate) fn into_hits(mut self) -> Vec<Hit<T>> {
        self.prune();
        self.hits
    }

    fn prune(&mut self) {
        self.hits.sort_by(|one, other| {
            other
                .score
                .total_cmp(&one.score)
                .then_with(|| one.name.cmp(&other.name))
        });
        self.hits.truncate(self.keep);
    }
}

/// Of several hits of one name, leaves the one that comes first.
pub(crate) fn keep_first_of_each<T>(hits: &mut Vec<Hit<T>>, precedence: impl Fn(&T) -> Precedence) {
    let mut least: BTreeMap<String, Precedence> = BTreeMap::new();
    for hit in hits.iter() {
        let own = precedence(&hit.what);
        let known = least.entry(hit.name.clone()).or_insert(own);
        *known = own.min(*known);
    }
    hits.retain(|hit| least.get(&hit.name) == Some(&precedence(&hit.what)));
}

/// Shows every package of a project and format to `visit`, in the order of their names.
pub(crate) async fn each_package(
    scope: &Scope,
    mut visit: impl FnMut(&Package) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let view = View::of(scope);
    let mut after = None;
    loop {
        let page = view.packages(after.as_deref(), PAGE).await?;
        page.iter().try_for_each(&mut visit)?;
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_hits_are_kept_and_all_are_counted() {
        let mut best = Best::new(3);
        for n in 0..1000u32 {
            best.add(Hit {
                score: f64::from(n % 100),
                name: format!("p{n}"),
                what: (),
            });
            assert!(best.hits.len() <= 2 * 3 + PAGE);
        }
        assert_eq!(best.total(), 1000);
        let names: Vec<String> = best.into_hits().into_iter().map(|hit| hit.name).collect();
        assert_eq!(names.join(" "), "p199 p299 p399");
    }
}
