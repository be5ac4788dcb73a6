//! How the disks are, for operators.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use metrics::gauge;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::DiskId;
use super::table::EntryState;
use super::{ShardDisk, ShardDisks, sum_of};

const ROOM: &str = "cairn_blob_disk_room_bytes";
const FAILED: &str = "cairn_blob_disk_failed";

/// What is done with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// It holds shards, and takes more.
    InUse,
    /// It takes nothing more, and what it holds goes to others.
    Retiring,
    /// It holds nothing any more, and may be taken out.
    Retired,
    /// It has failed. What it held is being rebuilt.
    Rebuilding,
    /// It has failed, and everything that it held is in full redundancy again.
    Failed,
}

impl DiskState {
    const ALL: [Self; 5] = [
        Self::InUse,
        Self::Retiring,
        Self::Retired,
        Self::Rebuilding,
        Self::Failed,
    ];
}

impl fmt::Display for DiskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "in-use",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Rebuilding => "rebuilding",
            Self::Failed => "failed",
        })
    }
}

impl FromStr for DiskState {
    /// The text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.to_string() == text)
            .ok_or_else(|| text.to_owned())
    }
}

/// One disk of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiskStatus {
    /// Which one.
    #[schemars(with = "String")]
    pub disk: DiskId,
    /// Where it is, or was, as it is shown.
    pub path: String,
    /// What is done with it.
    pub state: DiskState,
    /// Why it has failed.
    pub reason: Option<String>,
    /// Its size; of a disk that is not used, nothing is known.
    pub total_bytes: Option<u64>,
    /// What is used of it, whatever for.
    pub used_bytes: Option<u64>,
    /// How many shards lie on it; none as long as they have not been counted.
    pub shards: Option<u64>,
}

/// The disks of a node as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSummary {
    /// What is used of them.
    pub used_bytes: u64,
    /// Their size.
    pub total_bytes: u64,
    /// How many have failed.
    pub failed: u32,
    /// Whether what a failed one held may lack redundancy.
    pub rebuilding: bool,
}

impl ShardDisks {
    /// All disks. Waits for nothing but the record.
    pub(in crate::blob) fn statuses(&self) -> Vec<DiskStatus> {
        let in_service = self.with_failed();
        let out = match self.is_rebuilding() {
            true => DiskState::Rebuilding,
            false => DiskState::Failed,
        };
        let mut statuses: Vec<DiskStatus> = in_service
            .iter()
            .map(|disk| match disk.health.failure() {
                Some(failure) => DiskStatus {
                    reason: Some(failure.reason),
                    ..DiskStatus::without_numbers(disk.id, &disk.path, out)
                },
                None => disk.status(),
            })
            .collect();
        for entry in &self.table().disks {
            if in_service.iter().any(|disk| disk.id == entry.disk) {
                continue;
            }
            let (state, reason) = match &entry.state {
                EntryState::Failed { reason, .. } => (out, Some(reason.clone())),
                // Put in or taken out at this moment.
                EntryState::InUse | EntryState::Retiring => continue,
                EntryState::Retired => (DiskState::Retired, None),
            };
            statuses.push(DiskStatus {
                reason,
                ..DiskStatus::without_numbers(entry.disk, &entry.path, state)
            });
        }
        statuses
    }

    /// All disks as a whole.
    pub(in crate::blob) fn summary(&self) -> DiskSummary {
        let disks = self.in_service();
        let failed = self.statuses().iter().filter(|disk| disk.has_failed()).count();
        DiskSummary {
            used_bytes: sum_of(&disks, |disk| disk.used_bytes.load(Ordering::Relaxed)),
            total_bytes: sum_of(&disks, |disk| disk.total_bytes.load(Ordering::Relaxed)),
            failed: failed as u32,
            rebuilding: self.is_rebuilding(),
        }
    }
}

impl DiskStatus {
    fn without_numbers(disk: DiskId, path: &Path, state: DiskState) -> Self {
        Self {
            disk,
            path: path.to_string_lossy().into_owned(),
            state,
            reason: None,
            total_bytes: None,
            used_bytes: None,
            shards: None,
        }
    }

    /// Whether it has failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, DiskState::Rebuilding | DiskState::Failed)
    }
}

impl ShardDisk {
    fn status(&self) -> DiskStatus {
        let shards = self.store.shards();
        let state = match self.accepts() {
            true => DiskState::InUse,
            // What the data directory does not hold any more is nothing to be taken out.
            false if self.id == DiskId::DATA && shards == Some(0) => DiskState::Retired,
            false => DiskState::Retiring,
        };
        DiskStatus {
            disk: self.id,
            path: self.path.to_string_lossy().into_owned(),
            state,
            reason: None,
            total_bytes: Some(self.total_bytes.load(Ordering::Relaxed)),
            used_bytes: Some(self.used_bytes.load(Ordering::Relaxed)),
            shards,
        }
    }
}

/// Says what the metrics mean.
pub(in crate::blob) fn describe() {
    metrics::describe_gauge!(ROOM, "bytes that shards may still take, by disk");
    metrics::describe_gauge!(FAILED, "1 for a disk that has failed and was taken out, by disk");
}

/// Tells how much room there is on a disk.
pub(super) fn tell_room(disk: &ShardDisk) {
    let id = disk.id.to_string();
    gauge!(ROOM, "disk" => id.clone()).set(disk.room_bytes.load(Ordering::Relaxed) as f64);
    gauge!(FAILED, "disk" => id).set(0.0);
}

/// Tells that a disk has failed.
pub(super) fn tell_failed(disk: DiskId) {
    let id = disk.to_string();
    gauge!(ROOM, "disk" => id.clone()).set(0.0);
    gauge!(FAILED, "disk" => id).set(1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_in_one_way() {
        for state in DiskState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.to_string());
        }
        assert!("broken".parse::<DiskState>().is_err());
    }
}
