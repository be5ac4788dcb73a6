//! What tasks count.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::kind::TaskKind;
use super::record::{Phase, TaskState};

const RUNNING: &str = "cairn_task_running";
const PAUSED: &str = "cairn_task_paused";
const FAILING: &str = "cairn_task_failing";
const ROUNDS: &str = "cairn_task_rounds_total";
const RESTARTS: &str = "cairn_task_restarts_total";
const ITEMS: &str = "cairn_task_items_total";
const BYTES: &str = "cairn_task_bytes_total";
const PROGRESS: &str = "cairn_task_progress_ratio";

/// Says what the metrics mean.
pub(super) fn describe() {
    describe_gauge!(RUNNING, "1 while a round of a background task is under way");
    describe_gauge!(PAUSED, "1 while a background task was told to do nothing");
    describe_gauge!(FAILING, "1 while the last round of a background task failed");
    describe_counter!(ROUNDS, "rounds of background tasks that came to their end");
    describe_counter!(
        RESTARTS,
        "rounds of background tasks that failed or panicked and were tried again"
    );
    describe_counter!(ITEMS, "things that background tasks dealt with");
    describe_counter!(BYTES, "bytes that background tasks moved");
    describe_gauge!(PROGRESS, "how far the round of a background task is, from 0 to 1");
}

/// How a task stands.
pub(super) fn state(kind: TaskKind, state: &TaskState) {
    let is = |phase| if state.phase == phase { 1.0 } else { 0.0 };
    gauge!(RUNNING, "task" => kind.name()).set(is(Phase::Running));
    gauge!(PAUSED, "task" => kind.name()).set(is(Phase::Paused));
    gauge!(FAILING, "task" => kind.name()).set(is(Phase::Failed));
    if state.total > 0 {
        gauge!(PROGRESS, "task" => kind.name()).set(state.done as f64 / state.total as f64);
    }
}

/// A round came to its end.
pub(super) fn round(kind: TaskKind) {
    counter!(ROUNDS, "task" => kind.name()).increment(1);
}

/// A round is tried again.
pub(super) fn restart(kind: TaskKind) {
    counter!(RESTARTS, "task" => kind.name()).increment(1);
}

/// Things were dealt with.
pub(super) fn moved(kind: TaskKind, items: u64, bytes: u64) {
    counter!(ITEMS, "task" => kind.name()).increment(items);
    counter!(BYTES, "task" => kind.name()).increment(bytes);
}
