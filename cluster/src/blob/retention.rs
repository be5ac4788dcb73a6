//! How long what nothing names any more is kept: set for the whole cluster.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys;
use crate::kv::{CommitError, Kv, ReadError, Snapshot, Txn};
use crate::record::Record;

/// Unknown shards must be left alone for at least so long: far longer than stored bytes may wait
/// to be named.
const LEAST_UNKNOWN: Duration = Duration::from_secs(48 * 3600);

/// How long what nothing names any more is kept. A blob is gone from the disks when the first two
/// of these have passed, and the collection has come by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// A blob that nothing names, in case something soon does again. Leases last on top of it.
    pub orphan_seconds: u64,
    /// What is decided to be removed, on its disks: for those who are reading it.
    pub quarantine_seconds: u64,
    /// Shards on a disk of which the metadata knows nothing, before they go to quarantine, and
    /// there. So long stays what was found corrupt, too.
    pub unknown_seconds: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            orphan_seconds: 3600,
            quarantine_seconds: 24 * 3600,
            unknown_seconds: 7 * 24 * 3600,
        }
    }
}

impl Record for Retention {}

/// Why a retention was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RetentionError {
    /// Bytes that are about to be named could be removed.
    #[error(
        "unknown shards must be kept for at least {} hours, because bytes may wait that long to be named",
        LEAST_UNKNOWN.as_secs() / 3600
    )]
    TooShort,
    /// It could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Retention {
    pub(super) fn orphans(&self) -> Duration {
        Duration::from_secs(self.orphan_seconds)
    }

    pub(super) fn quarantine(&self) -> Duration {
        Duration::from_secs(self.quarantine_seconds)
    }

    pub(super) fn unknown(&self) -> Duration {
        Duration::from_secs(self.unknown_seconds).max(LEAST_UNKNOWN)
    }

    /// What is set now.
    pub(crate) async fn load(snapshot: &Snapshot) -> Result<Self, ReadError> {
        Ok(snapshot.record(&keys::retention()).await?.unwrap_or_default())
    }

    /// Sets it as part of a transaction.
    pub(crate) fn put(&self, txn: &mut Txn) {
        txn.put_record(&keys::retention(), self);
    }

    /// Sets it for the cluster.
    pub(crate) async fn store(&self, kv: &Kv) -> Result<(), RetentionError> {
        if self.unknown() > Duration::from_secs(self.unknown_seconds) {
            return Err(RetentionError::TooShort);
        }
        let put = async |mut txn: Txn| {
            self.put(&mut txn);
            Ok((txn, ()))
        };
        kv.transact(put).await
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Retention>("retention");
    }
}
