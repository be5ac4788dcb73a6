//! I12: no panic, no error in a log without a fault that explains it, and bounded memory.

use super::{Invariant, Violation};
use crate::Cluster;
use crate::faults::Kind;

/// The most that a node may ever have resident.
const MAX_MEMORY_BYTES: u64 = 768 << 20;

/// What consensus may log as an error at any time: others still ask and send when a node is told to
/// stop.
const AT_ANY_TIME: [&str; 2] = ["raft stopped", "to RaftCore; when:"];

/// What a node may log as an error, and the faults that explain it.
const EXPLAINED: &[(&str, &[Kind])] = &[
    (
        "storage failed; stopping this node",
        &[
            Kind::PowerOne,
            Kind::PowerAll,
            Kind::DiskFull,
            Kind::SyncError,
            Kind::Descriptors,
        ],
    ),
    (
        "a shard is corrupt and goes to quarantine",
        &[Kind::RottenShards, Kind::ReadError],
    ),
    ("a small segment is corrupt", &[Kind::RottenSmall]),
    ("a segment does not have its hash", &[Kind::RottenShards]),
    // Consensus says so too of what it then could not write or open.
    ("Too many open files", &[Kind::Descriptors]),
    ("No space left on device", &[Kind::DiskFull]),
    // A disk without power answers so whatever is asked of it.
    (
        "Input/output error",
        &[Kind::PowerOne, Kind::PowerAll, Kind::SyncError, Kind::ReadError],
    ),
    // A leader that was changing who votes is one no more; the next one goes on with it.
    (
        "log entry discarded on leader change",
        &[Kind::Drain, Kind::Move, Kind::Replace],
    ),
    // A disk that is full is told to clients as 507, which is logged like any answer from 500 on.
    (" 507 ", &[Kind::DiskFull]),
    ("status=507", &[Kind::DiskFull]),
];

/// Judges a node's log by the faults that have happened.
pub fn judge_log(node: usize, log: &str, happened: impl Fn(Kind) -> bool) -> Result<(), Violation> {
    let explained = |line: &str| {
        if AT_ANY_TIME.iter().any(|what| line.contains(what)) {
            return true;
        }
        let mut causes = EXPLAINED.iter().filter(|(what, _)| line.contains(what));
        causes.any(|(_, kinds)| kinds.iter().any(|kind| happened(*kind)))
    };
    let worrying =
        |line: &&str| line.contains("panicked at") || (line.contains(" ERROR ") && !explained(line));
    match log.lines().find(worrying) {
        None => Ok(()),
        Some(line) => Err(Invariant::Calm.violated(format!("node {} logs: {line}", node + 1))),
    }
}

/// Judges how much memory the nodes that run have needed. Gives the most of them.
pub fn judge_memory(cluster: &Cluster) -> Result<u64, Violation> {
    let mut most = 0;
    for node in 0..cluster.size() {
        // One that does not run needs none.
        let Ok(peak) = cluster.node(node).peak_memory_bytes() else {
            continue;
        };
        if peak > MAX_MEMORY_BYTES {
            let (node, peak) = (node + 1, peak >> 20);
            return Err(Invariant::Calm.violated(format!("node {node} needed {peak} MiB of memory")));
        }
        most = most.max(peak);
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_needs_a_fault_that_explains_it() {
        let log = "2026-01-01T00:00:00Z  INFO ready\n\
             2026-01-01T00:00:01Z ERROR cairn: storage failed; stopping this node reason=\"x\"\n";
        judge_log(0, log, |kind| kind == Kind::PowerOne).unwrap();
        judge_log(0, log, |kind| kind == Kind::KillOne).unwrap_err();
        let log = "2026-01-01T00:00:00Z ERROR openraft: RaftCore::main error: Too many open files\n";
        judge_log(0, log, |kind| kind == Kind::Descriptors).unwrap();
        judge_log(0, log, |kind| kind == Kind::PowerOne).unwrap_err();
        let log = "2026-01-01T00:00:00Z ERROR openraft: RaftCore::main error: Input/output error\n";
        judge_log(0, log, |kind| kind == Kind::PowerOne).unwrap();
        judge_log(0, log, |kind| kind == Kind::KillOne).unwrap_err();
        let log = "2026-01-01T00:00:00Z ERROR openraft: the first step error: log entry discarded on leader \
             change; commit status unknown\n";
        judge_log(0, log, |kind| kind == Kind::Move).unwrap();
        judge_log(0, log, |kind| kind == Kind::KillLeader).unwrap_err();
        judge_log(0, "thread 'main' panicked at x.rs", |_| true).unwrap_err();
    }
}
