//! The stored forms of what is set for tasks and of how they stand.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::TaskKind;
use crate::kv::{Collection, Key, Kv, ReadError, Scan, Snapshot, Txn};
use crate::node_id::NodeId;
use crate::record::{Record, number};
use crate::seams::Timestamp;

/// What an operator sets for one kind of task, on all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskSettings {
    /// Nothing is done, also not what is under way.
    pub paused: bool,
    /// Why, if it was not an operator who paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// What each node moves at most, in bytes per second; [`TaskKind::usual_rate`] if not set.
    pub bytes_per_second: Option<u64>,
    /// From the beginning of one round to that of the next, in seconds;
    /// [`TaskKind::usual_period`] if not set.
    pub period_seconds: Option<u64>,
    /// A round that began before this is followed by another at once.
    pub run_at: Option<Timestamp>,
}

impl Record for TaskSettings {}

impl TaskSettings {
    /// From the beginning of one round to that of the next.
    pub fn period(&self, kind: TaskKind) -> Duration {
        self.period_seconds
            .map_or_else(|| kind.usual_period(), Duration::from_secs)
    }

    /// What each node moves at most, in bytes per second.
    pub fn rate(&self, kind: TaskKind) -> Option<u64> {
        self.bytes_per_second.or_else(|| kind.usual_rate())
    }

    fn check(&self) -> Result<(), SettingsError> {
        if self.bytes_per_second == Some(0) {
            return Err(SettingsError::NoRate);
        }
        if self.period_seconds == Some(0) {
            return Err(SettingsError::NoPeriod);
        }
        Ok(())
    }
}

/// Why settings were not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nothing would ever be done.
    #[error("a rate of 0 bytes per second does nothing: pause the task instead")]
    NoRate,
    /// It would never rest.
    #[error("a period must be at least a second")]
    NoPeriod,
    /// They could not be written.
    #[error(transparent)]
    Commit(#[from] crate::kv::CommitError),
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "TaskPhase")]
pub enum Phase {
    /// It waits for its next round.
    #[default]
    Idle,
    /// A round is under way.
    Running,
    /// It was told to do nothing.
    Paused,
    /// The last round failed, and is tried again soon.
    Failed,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    /// When.
    pub at: Timestamp,
    /// What, in words for an operator.
    pub reason: String,
}

/// How a task stands on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// What it is doing.
    pub phase: Phase,
    /// When the last round began.
    pub started: Option<Timestamp>,
    /// When the last round that came to its end did.
    pub completed: Option<Timestamp>,
    /// How far the round is, in a unit of the task's own.
    pub done: u64,
    /// Of how many; 0 if it does not know.
    pub total: u64,
    /// Things dealt with in this round, or the last one.
    pub items: u64,
    /// Bytes moved in this round, or the last one.
    pub bytes: u64,
    /// Bytes moved per second, over the last few seconds.
    pub bytes_per_second: u64,
    /// How often it was started again after a failure or a panic.
    pub restarts: u64,
    /// What went wrong last. It may long be over.
    pub last_failure: Option<TaskFailure>,
}

/// A task, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// The kind.
    pub task: TaskKind,
    /// The node that it runs on.
    pub node: NodeId,
    /// How it stands there.
    pub state: TaskState,
}

/// [`TaskState`], and where to go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct StoredState {
    pub(super) state: TaskState,
    /// In the task's own form; empty at the beginning of a round.
    #[serde(with = "crate::record::byte_string")]
    pub(super) cursor: Bytes,
}

impl Record for StoredState {}

pub(super) fn all_settings() -> Collection {
    Collection::new("cluster").at("tasks")
}

fn states(kind: TaskKind) -> Collection {
    all_settings().at(kind)
}

pub(super) fn state(kind: TaskKind, node: NodeId) -> Key {
    states(kind).key(node)
}

/// What is set for a kind.
pub(super) async fn settings(snapshot: &Snapshot, kind: TaskKind) -> Result<TaskSettings, ReadError> {
    let stored = snapshot.record(&all_settings().key(kind)).await?;
    Ok(stored.unwrap_or_default())
}

/// What is set for the kinds for which anything is.
pub(crate) async fn all_that_is_set(snapshot: &Snapshot) -> Result<Vec<(TaskKind, TaskSettings)>, ReadError> {
    let mut set = Vec::new();
    for kind in TaskKind::ALL {
        if let Some(settings) = snapshot.record(&all_settings().key(kind)).await? {
            set.push((kind, settings));
        }
    }
    Ok(set)
}

/// Sets all that is set for a kind of task, as part of a transaction.
pub(crate) fn put_settings(txn: &mut Txn, kind: TaskKind, settings: &TaskSettings) {
    txn.put_record(&all_settings().key(kind), settings);
}

/// Sets something for a kind of task, on all nodes.
pub(super) async fn configure(
    kv: &Kv,
    kind: TaskKind,
    change: impl Fn(&mut TaskSettings) + Sync,
) -> Result<TaskSettings, SettingsError> {
    let work = async |mut txn: Txn| {
        let key = all_settings().key(kind);
        let stored = txn.record::<TaskSettings>(&key).await;
        let mut settings = stored.map_err(unreadable)?.unwrap_or_default();
        change(&mut settings);
        settings.check()?;
        txn.put_record(&key, &settings);
        Ok::<_, SettingsError>((txn, settings))
    };
    kv.transact(work).await
}

fn unreadable(error: ReadError) -> crate::kv::CommitError {
    crate::kv::Unavailable {
        reason: error.to_string(),
    }
    .into()
}

/// How the tasks of all kinds stand on all nodes that ever said so.
pub(super) async fn statuses(snapshot: &Snapshot) -> Result<Vec<TaskStatus>, ReadError> {
    let mut out = Vec::new();
    for task in TaskKind::ALL {
        for entry in snapshot.scan(Scan::of(&states(task))).await? {
            let node = NodeId(number(&entry.item)?);
            let StoredState { state, .. } = entry.record()?;
            out.push(TaskStatus { task, node, state });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::TaskSettings>("task-settings");
        samples::check::<super::StoredState>("stored-state");
    }
}
