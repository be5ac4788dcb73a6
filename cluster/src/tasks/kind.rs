//! The kinds of background work.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kv::Segment;

/// A kind of background work. Each node runs one task of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Removes what nothing names any more.
    Collection,
    /// Brings shards to the nodes that the layout names.
    Rebalance,
    /// Stores segments again whose code is not the cluster's.
    Recoding,
    /// Rebuilds shards that are missing or corrupt.
    Repair,
    /// Reads everything, to find rot before it is too late.
    Scrub,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl TaskKind {
    /// All of them, by name.
    pub const ALL: [Self; 5] = [
        Self::Collection,
        Self::Rebalance,
        Self::Recoding,
        Self::Repair,
        Self::Scrub,
    ];

    /// The word for it in commands, URLs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Collection => "collection",
            Self::Rebalance => "rebalance",
            Self::Recoding => "recoding",
            Self::Repair => "repair",
            Self::Scrub => "scrub",
        }
    }

    /// From the beginning of one round to that of the next, if nothing else is set.
    pub fn usual_period(self) -> Duration {
        match self {
            Self::Collection => Duration::from_secs(10 * 60),
            // A round costs little when nothing has changed, and operators wait for it.
            Self::Rebalance => Duration::from_secs(5),
            Self::Recoding | Self::Repair => Duration::from_secs(60),
            Self::Scrub => 14 * DAY,
        }
    }

    /// How much it moves at most, in bytes per second on each node, if nothing else is set.
    ///
    /// A scrub at this speed reads 38 TB in its period. Repair has no limit: until it is done, the
    /// next loss may be one too many.
    pub fn usual_rate(self) -> Option<u64> {
        match self {
            Self::Collection | Self::Repair => None,
            Self::Rebalance => Some(64 << 20),
            Self::Recoding | Self::Scrub => Some(32 << 20),
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no kind of background work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a task: there are collection, rebalance, recoding, repair and scrub")]
pub struct ParseTaskKindError {
    text: String,
}

impl FromStr for TaskKind {
    type Err = ParseTaskKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| ParseTaskKindError {
            text: text.chars().take(80).collect(),
        })
    }
}

impl Segment for TaskKind {
    fn put(&self, out: &mut Vec<u8>) {
        self.name().put(out);
    }
}
