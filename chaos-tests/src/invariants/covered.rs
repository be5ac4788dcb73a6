//! I14: every fault took effect, and every kind of request succeeded often enough: else what was
//! seen to hold says nothing.

use std::collections::BTreeMap;

use super::{Invariant, Violation};
use crate::faults::Kind;

/// Each kind of request that a run makes must have succeeded so often.
const LEAST: u64 = 3;

/// How often something was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// How often it was asked for.
    pub asked: u64,
    /// How often it was answered with success.
    pub acknowledged: u64,
}

/// Judges which faults have happened.
pub fn judge_faults(promised: &[Kind], happened: &BTreeMap<Kind, u64>) -> Result<(), Violation> {
    let missing: Vec<_> = promised
        .iter()
        .filter(|kind| !happened.contains_key(kind))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Invariant::Covered.violated(format!("these faults never happened: {missing:?}"))),
    }
}

/// Judges which requests have succeeded.
pub fn judge_requests(
    wanted: &[&'static str],
    requests: &BTreeMap<&'static str, Count>,
) -> Result<(), Violation> {
    let rare: Vec<_> = wanted
        .iter()
        .map(|request| (request, requests.get(request).copied().unwrap_or_default()))
        .filter(|(_, count)| count.acknowledged < LEAST)
        .collect();
    match rare.is_empty() {
        true => Ok(()),
        false => Err(Invariant::Covered.violated(format!("these requests hardly ever succeeded: {rare:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_never_happened_and_a_request_that_never_succeeded_are_seen() {
        let happened = BTreeMap::from([(Kind::KillOne, 1)]);
        judge_faults(&[Kind::KillOne], &happened).unwrap();
        judge_faults(&[Kind::KillOne, Kind::KillAll], &happened).unwrap_err();
        let judge = |acknowledged| {
            let count = Count {
                asked: 9,
                acknowledged,
            };
            judge_requests(&["publish"], &BTreeMap::from([("publish", count)]))
        };
        judge(5).unwrap();
        judge(0).unwrap_err();
        judge_requests(&["publish"], &BTreeMap::new()).unwrap_err();
    }
}
