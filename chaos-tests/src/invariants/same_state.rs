//! I11: nodes that have applied as much of the log have the same state, down to the byte.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::{Invariant, Violation};
use crate::Cluster;

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What a node has made of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    applied_index: u64,
    hash: String,
}

/// Compares the states of all nodes until all were once seen at the same log index, which they
/// come to when hardly anything is written. Gives how many comparisons there were.
pub async fn check(cluster: &Cluster, within: Duration) -> Result<u64, Violation> {
    let begun = Instant::now();
    let mut known = BTreeMap::new();
    let mut compared = 0;
    loop {
        let asked = (0..cluster.size()).map(|node| ask(cluster, node));
        let states: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        for state in &states {
            compared += u64::from(judge(&mut known, state)?);
        }
        let first = states.first().map(|state| state.applied_index);
        let same = states.iter().all(|state| Some(state.applied_index) == first);
        if same && states.len() == cluster.size() {
            return Ok(compared);
        }
        if begun.elapsed() > within {
            return Err(Invariant::Lively.violated(format!(
                "the nodes are not at the same log index within {within:?}: {states:?}"
            )));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn ask(cluster: &Cluster, node: usize) -> Option<State> {
    let url = format!("{}/api/cairn/v1/cluster/metadata_hash", cluster.url(node));
    let asked = cluster.http().expect(Method::GET, &url, StatusCode::OK).await;
    serde_json::from_slice(&asked.ok()?.body).ok()
}

/// Holds a state against those that were seen before. Says whether there was one to compare.
fn judge(known: &mut BTreeMap<u64, String>, state: &State) -> Result<bool, Violation> {
    match known.get(&state.applied_index) {
        Some(hash) if *hash != state.hash => Err(Invariant::SameState.violated(format!(
            "at log index {} nodes have the states {hash} and {}",
            state.applied_index, state.hash
        ))),
        Some(_) => Ok(true),
        None => {
            known.insert(state.applied_index, state.hash.clone());
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_part_ways_are_seen_whatever_the_order() {
        let state = |applied_index, hash: &str| State {
            applied_index,
            hash: hash.into(),
        };
        let mut known = BTreeMap::new();
        assert_eq!(judge(&mut known, &state(1, "a")), Ok(false));
        assert_eq!(judge(&mut known, &state(2, "b")), Ok(false));
        assert_eq!(judge(&mut known, &state(1, "a")), Ok(true));
        judge(&mut known, &state(2, "c")).unwrap_err();
    }
}
