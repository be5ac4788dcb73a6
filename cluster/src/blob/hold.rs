//! Holding the collection back: while a hold stands, no blob that is there becomes garbage.
//!
//! Whoever copies the blobs of one state places a hold first and takes the state afterwards: what
//! that state names can then be read until the hold ends, whatever is deleted meanwhile. Each
//! decision of the collection depends on all holds, so there is no gap between the two.
//!
//! A hold ends by itself unless it is renewed, so that nobody who dies holds up the collection
//! for long. One that has ended is never renewed: blobs may have been collected since.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::collect::CLOCK_TOLERANCE;
use super::id::BackupId;
use super::walk::fixed;
use super::{Blobs, keys};
use crate::kv::{CommitError, ReadError, Scan, Snapshot, Txn, Unavailable};
use crate::record::Record;
use crate::seams::Timestamp;

/// How long a hold stands without being renewed.
const LASTS: Duration = Duration::from_secs(30 * 60);

/// How many there may be at a time.
const MOST: usize = 16;

/// That the collection is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// For which backup.
    pub backup: BackupId,
    /// Who asked for it, in the caller's own terms.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, if it is not renewed.
    pub until: Timestamp,
}

/// The stored form of a [`Hold`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HoldRecord {
    by: String,
    since: Timestamp,
    until: Timestamp,
}

impl Record for HoldRecord {}

impl HoldRecord {
    fn named(self, backup: BackupId) -> Hold {
        Hold {
            backup,
            by: self.by,
            since: self.since,
            until: self.until,
        }
    }
}

/// Why the collection is not held back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoldError {
    /// There are enough already.
    #[error("the collection is held back for {MOST} backups already; one must end first")]
    TooMany,
    /// It has ended.
    #[error("backup {backup} is not known, or was idle for too long: begin again")]
    Over {
        /// Which.
        backup: BackupId,
    },
    /// It could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The others could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Unavailable> for HoldError {
    fn from(error: Unavailable) -> Self {
        Self::Commit(error.into())
    }
}

impl Blobs {
    /// Holds the collection back, from a moment before this returns.
    pub async fn hold(&self, by: &str) -> Result<Hold, HoldError> {
        let backup = BackupId(self.seams().random());
        let place = async |mut txn: Txn| {
            let now = self.seams().clock.now();
            let mut standing = 0;
            for entry in txn.scan(Scan::of(&keys::holds())).await? {
                let hold: HoldRecord = entry.record()?;
                if may_stand(hold.until, now) {
                    standing += 1;
                } else {
                    txn.delete(&keys::holds().key(&entry.item));
                }
            }
            if standing >= MOST {
                return Err(HoldError::TooMany);
            }
            let record = HoldRecord {
                by: by.to_owned(),
                since: now,
                until: now.plus(LASTS),
            };
            txn.put_record(&keys::hold(&backup), &record);
            Ok((txn, record.named(backup)))
        };
        self.kv().transact(place).await
    }

    /// Makes sure that a hold stands, and goes on standing while it is asked for.
    ///
    /// Writes only if less than half of its time is left, so that frequent questions cost nothing.
    pub async fn renew_hold(&self, backup: &BackupId) -> Result<Hold, HoldError> {
        let renew = async |mut txn: Txn| {
            let now = self.seams().clock.now();
            let key = keys::hold(backup);
            let found = txn.record::<HoldRecord>(&key).await?;
            let Some(mut hold) = found.filter(|hold| now < hold.until) else {
                return Err(HoldError::Over { backup: *backup });
            };
            if hold.until < now.plus(LASTS / 2) {
                hold.until = now.plus(LASTS);
                txn.put_record(&key, &hold);
            }
            Ok((txn, hold.named(*backup)))
        };
        self.kv().transact(renew).await
    }

    /// Ends a hold. Changes nothing if there is none.
    pub async fn end_hold(&self, backup: &BackupId) -> Result<(), CommitError> {
        let end = async |mut txn: Txn| {
            txn.delete(&keys::hold(backup));
            Ok((txn, ()))
        };
        self.kv().transact(end).await
    }

    /// What holds the collection back.
    pub async fn holds(&self) -> Result<Vec<Hold>, ReadError> {
        standing(&self.kv().local(), self.seams().clock.now()).await
    }
}

/// The holds that may stand in a view.
async fn standing(snapshot: &Snapshot, now: Timestamp) -> Result<Vec<Hold>, ReadError> {
    let mut holds = Vec::new();
    for entry in snapshot.scan(Scan::of(&keys::holds())).await? {
        let hold: HoldRecord = entry.record()?;
        if may_stand(hold.until, now) {
            holds.push(hold.named(BackupId(fixed(&entry.item)?)));
        }
    }
    Ok(holds)
}

/// Whether a node whose clock is behind could take a hold for one that stands.
fn may_stand(until: Timestamp, now: Timestamp) -> bool {
    now < until.plus(CLOCK_TOLERANCE)
}

/// Whether the collection is held back in a view.
pub(super) async fn is_held(snapshot: &Snapshot, now: Timestamp) -> Result<bool, ReadError> {
    Ok(!standing(snapshot, now).await?.is_empty())
}

/// The same, in a transaction that depends on it.
pub(super) async fn is_held_in(txn: &mut Txn, now: Timestamp) -> Result<bool, ReadError> {
    txn.depend_on(&keys::holds()).await?;
    is_held(txn.snapshot(), now).await
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::HoldRecord>("hold");
    }
}
