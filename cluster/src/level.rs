//! What builds of cairn can read and write, as one number, so that two releases run together.
//!
//! A build has a [`Level`]. It is raised by a release that stores or sends what the release before
//! cannot read: a new version of a record, a new command in the log, a new call between nodes. A
//! build reads all that levels up to its own write, and takes part beside builds of the level
//! before and after.
//!
//! A cluster has a level too: the one that all its nodes have. **Whoever writes something that is
//! new at a level asks [`Level::of`] first, and writes the old form below it.** So nothing is ever
//! written that a node of the cluster cannot read. The leader raises it when the last node has
//! been upgraded, in a transaction that depends on the records of all nodes; it is never lowered.
//! From then on a build of the level before is refused: it cannot read what may be there.
//!
//! A view that is behind gives a lower level, which is safe: old forms are always read.

use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kv::{Collection, CommitError, Key, Kv, ReadError, Snapshot, Txn};
use crate::membership::{FollowMembers, NodeInfo, NodeRecord};
use crate::record::Record;
use crate::seams::{Seams, Timestamp};

/// What a build can read and write, or what all nodes of a cluster can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Level(pub u32);

/// Of what was written before there were levels.
impl Default for Level {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A build, as it shows itself to other nodes and to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// What it can read and write.
    pub level: Level,
}

/// Why a build cannot take part in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// Something may be there that it cannot read.
    #[error(
        "this cairn is of level {own} and cannot go back to a cluster of level {cluster}: all nodes \
         were upgraded, and what they write since cannot be read by it; start a version of level {cluster}"
    )]
    TooOld {
        /// Its level.
        own: Level,
        /// The cluster's.
        cluster: Level,
    },
    /// It may not be able to read what is there, and others cannot talk to it.
    #[error(
        "this cairn is of level {own} and the cluster is of level {cluster}: no level is left out; upgrade \
         all nodes to a version of level {} first", .cluster.next()
    )]
    TooNew {
        /// Its level.
        own: Level,
        /// The cluster's.
        cluster: Level,
    },
}

/// The level of a cluster, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterLevel {
    pub(crate) level: Level,
    /// Since when it has it.
    pub(crate) since: Timestamp,
}

impl Record for ClusterLevel {}

impl ClusterLevel {
    pub(crate) fn collection() -> Collection {
        Collection::new("cluster").at("level")
    }

    fn key() -> Key {
        Self::collection().key("")
    }
}

impl Level {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// What this build of cairn can read and write.
    pub const OWN: Self = Self(1);

    /// The one after it.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Whether builds of these levels understand each other.
    pub(crate) fn understands(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= 1
    }

    /// Refuses a build of this level that cannot take part in a cluster.
    pub(crate) fn check(self, cluster: Self) -> Result<(), LevelError> {
        if self > cluster.next() {
            return Err(LevelError::TooNew { own: self, cluster });
        }
        self.check_reads(cluster)
    }

    /// Refuses a build of this level that cannot read what a cluster writes. What is known of its
    /// level may be long past: it was never greater.
    pub(crate) fn check_reads(self, cluster: Self) -> Result<(), LevelError> {
        if self < cluster {
            return Err(LevelError::TooOld { own: self, cluster });
        }
        Ok(())
    }

    /// The level of the cluster on a view of its metadata.
    pub async fn of(snapshot: &Snapshot) -> Result<Self, ReadError> {
        let stored: Option<ClusterLevel> = snapshot.record(&ClusterLevel::key()).await?;
        Ok(stored.map_or(Self::FIRST, |stored| stored.level))
    }

    /// The same for a transaction, which then fails if it is raised meanwhile.
    pub async fn within(txn: &mut Txn) -> Result<Self, ReadError> {
        let stored: Option<ClusterLevel> = txn.record(&ClusterLevel::key()).await?;
        Ok(stored.map_or(Self::FIRST, |stored| stored.level))
    }

    /// Writes it as the level of the cluster.
    pub(crate) fn put(self, txn: &mut Txn, since: Timestamp) {
        txn.put_record(&ClusterLevel::key(), &ClusterLevel { level: self, since });
    }
}

/// Why the cluster's level was not raised.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RaiseError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Raises the level of the cluster when the last of its nodes has been upgraded.
pub(crate) struct FollowLevels {
    pub(crate) kv: Kv,
    pub(crate) seams: Seams,
}

#[async_trait]
impl FollowMembers for FollowLevels {
    async fn follow(&self, _: &[NodeInfo]) -> anyhow::Result<()> {
        if let Some(level) = raise(&self.kv, &self.seams).await? {
            tracing::info!(%level, "all nodes were upgraded: the cluster is of level {level} from now on");
        }
        Ok(())
    }
}

/// Raises the level of the cluster to the one that all its nodes have, if that is greater. Tells
/// the new level.
pub(crate) async fn raise(kv: &Kv, seams: &Seams) -> Result<Option<Level>, RaiseError> {
    // A look costs nothing, and most often there is nothing to do.
    let snapshot = kv.local();
    if least(NodeRecord::all(&snapshot).await?.into_values()) <= Some(Level::of(&snapshot).await?) {
        return Ok(None);
    }
    kv.transact(async |mut txn| {
        // Whoever joins, or is started with another version, meanwhile has this tried again.
        txn.depend_on(&NodeRecord::collection()).await?;
        let records = NodeRecord::all(txn.snapshot()).await?;
        let current = Level::within(&mut txn).await?;
        let raised = least(records.into_values()).filter(|least| *least > current);
        if let Some(raised) = raised {
            raised.put(&mut txn, seams.clock.now());
        }
        Ok((txn, raised))
    })
    .await
}

/// The least level among the members.
fn least(records: impl Iterator<Item = NodeRecord>) -> Option<Level> {
    let members = records.filter(|record| record.removed.is_none());
    members.map(|record| record.level).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_takes_part_at_its_own_level_and_the_one_before() {
        let check = |own: u32, cluster: u32| Level(own).check(Level(cluster)).is_ok();
        for cluster in 1..5 {
            let fits: Vec<u32> = (0..8).filter(|own| check(*own, cluster)).collect();
            assert_eq!(fits, [cluster, cluster + 1]);
        }
    }

    #[test]
    fn the_reasons_say_what_to_do() {
        let error = Level(2).check(Level(3)).unwrap_err().to_string();
        assert!(error.contains("start a version of level 3"), "{error}");
        let error = Level(5).check(Level(3)).unwrap_err().to_string();
        assert!(error.contains("to a version of level 4 first"), "{error}");
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::ClusterLevel>("cluster-level");
    }
}
