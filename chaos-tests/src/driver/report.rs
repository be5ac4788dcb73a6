//! What a run has done and found.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::Run;
use crate::invariants::Violation;
use crate::invariants::covered::Count;

/// What was read at the end, from every node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    pub(super) acknowledged: usize,
    pub(super) unknown: usize,
    pub(super) deleted: usize,
    pub(super) reads: u64,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged files, {} unknown and {} deleted ones checked with {} reads",
            self.acknowledged, self.unknown, self.deleted, self.reads
        )
    }
}

/// What a run has done and found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What decided it.
    pub seed: u64,
    /// The version of the sources, if it was told.
    pub commit: Option<String>,
    /// The command that does the same again.
    pub replay: String,
    /// How many nodes there were.
    pub nodes: u8,
    /// How long it took.
    pub seconds: u64,
    /// Requests, by kind.
    pub requests: BTreeMap<String, Count>,
    /// How many requests there were in all.
    pub asked: u64,
    /// How many were acknowledged.
    pub acknowledged: u64,
    /// How often each kind of fault has happened.
    pub faults: BTreeMap<String, u64>,
    /// What was seen of each.
    pub evidence: Vec<String>,
    /// How long writes paused when the leader was lost, in milliseconds.
    pub failovers_ms: Vec<u64>,
    /// How long it took until all nodes served again after a fault, in milliseconds.
    pub recoveries_ms: Vec<u64>,
    /// How often the states of two nodes were compared at the same log index.
    pub compared_states: u64,
    /// How many requests about tags were judged to fit into one order.
    pub judged_tag_requests: u64,
    /// How many contests for a name there were.
    pub contests: u64,
    /// How many nodes have caught up by a snapshot, once or more.
    pub nodes_by_snapshot: u64,
    /// The most memory that a node had resident, in bytes.
    pub peak_memory_bytes: u64,
    /// The promise that did not hold, if one did not.
    pub violation: Option<String>,
    /// Where data and logs are kept, if one did not.
    pub kept: Option<String>,
}

impl Run {
    pub(super) fn report(&self, took: Duration, outcome: Result<(), Violation>) -> Report {
        let seen = self.seen().clone();
        let in_ms = |times: Vec<Duration>| times.iter().map(|time| time.as_millis() as u64).collect();
        let kept = self.cluster.folder().map(|folder| folder.display().to_string());
        Report {
            seed: self.seed,
            commit: self.options.commit.clone(),
            replay: self.options.replay(self.seed),
            nodes: self.options.nodes,
            seconds: took.as_secs(),
            asked: seen.requests.values().map(|count| count.asked).sum(),
            acknowledged: seen.requests.values().map(|count| count.acknowledged).sum(),
            requests: seen
                .requests
                .into_iter()
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            faults: seen
                .happened
                .into_iter()
                .map(|(kind, count)| (kind.to_string(), count))
                .collect(),
            evidence: seen.evidence,
            failovers_ms: in_ms(seen.failovers),
            recoveries_ms: in_ms(seen.recoveries),
            compared_states: seen.compared_states,
            judged_tag_requests: seen.judged_tag_requests,
            contests: self.contests.lock().expect("no panic while held").len() as u64,
            nodes_by_snapshot: seen.by_snapshot,
            peak_memory_bytes: seen.peak_memory_bytes,
            kept: outcome.is_err().then_some(kept).flatten(),
            violation: outcome.err().map(|violation| violation.to_string()),
        }
    }
}

impl Report {
    /// The report for people.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let median = |times: &[u64]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        let most = |times: &[u64]| times.iter().max().copied().unwrap_or_default();
        writeln!(
            out,
            "seed {}, {} nodes, {} s",
            self.seed, self.nodes, self.seconds
        )?;
        writeln!(
            out,
            "{} requests, {} of them acknowledged",
            self.asked, self.acknowledged
        )?;
        writeln!(out, "{} nodes caught up by a snapshot", self.nodes_by_snapshot)?;
        writeln!(
            out,
            "{} tag requests fit into one order, {} contests, {} states compared, at most {} MiB of memory",
            self.judged_tag_requests,
            self.contests,
            self.compared_states,
            self.peak_memory_bytes >> 20
        )?;
        writeln!(
            out,
            "writes paused {} ms at a loss of the leader (median), {} ms at most; all nodes served {} ms \
             after a fault, {} ms at most\n",
            median(&self.failovers_ms),
            most(&self.failovers_ms),
            median(&self.recoveries_ms),
            most(&self.recoveries_ms)
        )?;
        writeln!(out, "| request | asked | acknowledged |\n| --- | ---: | ---: |")?;
        for (kind, count) in &self.requests {
            writeln!(out, "| {kind} | {} | {} |", count.asked, count.acknowledged)?;
        }
        writeln!(out, "\n| fault | times |\n| --- | ---: |")?;
        for (kind, times) in &self.faults {
            writeln!(out, "| {kind} | {times} |")?;
        }
        match &self.violation {
            None => writeln!(out, "\nno violation"),
            Some(violation) => {
                writeln!(out, "\n{violation}")?;
                writeln!(out, "faults before it:")?;
                for evidence in &self.evidence {
                    writeln!(out, "- {evidence}")?;
                }
                if let Some(kept) = &self.kept {
                    writeln!(out, "data and logs: {kept}")?;
                }
                writeln!(out, "replay: {}", self.replay)
            }
        }
    }
}
