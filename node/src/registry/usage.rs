//! When tokens and sessions were last used and packages last downloaded: noted in memory, written together.
//!
//! Writing each use would cost a commit per request. A note is lost if the node stops before it
//! is written; nothing depends on it but these dates, and when a session ends that is not used.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use cairn_cluster::{CommitError, Key, Kv, Timestamp};

/// How often notes are written.
pub(in crate::registry) const WRITE_EVERY: Duration = Duration::from_secs(60);

/// A note that is only so much later than the one before is not worth a write.
const RESOLUTION: Duration = Duration::from_secs(600);

/// More notes than this are dropped until the next write.
const MAX_NOTES: usize = 50_000;

/// One transaction stays well below its limit.
const KEYS_PER_TRANSACTION: usize = 1000;

/// Notes of one node.
#[derive(Debug, Default)]
pub(in crate::registry) struct Usage {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    fresh: HashMap<Key, Timestamp>,
    written: HashMap<Key, Timestamp>,
}

impl Usage {
    /// Notes that what `key` stands for was used.
    pub(in crate::registry) fn note(&self, key: &Key, now: Timestamp) {
        let mut notes = self.notes.lock().expect("no panic while held");
        let known = notes
            .written
            .get(key)
            .is_some_and(|at| now.since(*at) < RESOLUTION);
        if !known && notes.fresh.len() < MAX_NOTES {
            notes.fresh.insert(key.clone(), now);
        }
    }

    /// Writes what was noted since the last time.
    pub(in crate::registry) async fn write(&self, kv: &Kv) -> Result<(), CommitError> {
        let fresh: Vec<_> = {
            let mut notes = self.notes.lock().expect("no panic while held");
            let fresh = std::mem::take(&mut notes.fresh);
            if notes.written.len() + fresh.len() > MAX_NOTES {
                notes.written.clear();
            }
            notes.written.extend(fresh.clone());
            fresh.into_iter().collect()
        };
        for notes in fresh.chunks(KEYS_PER_TRANSACTION) {
            let mut txn = kv.begin().await?;
            for (key, at) in notes {
                txn.raise(key, at.0);
            }
            txn.commit().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cairn_cluster::{Collection, Seams};

    use super::*;

    #[tokio::test]
    async fn a_use_is_written_once_per_resolution() {
        let kv = Kv::in_memory(Seams::system());
        let usage = Usage::default();
        let key = Collection::new("used").key("token");
        let written = async |at: Timestamp| {
            usage.note(&key, at);
            usage.write(&kv).await.unwrap();
            kv.local().number(&key).await.unwrap()
        };
        let first = Timestamp(1_000_000);
        assert_eq!(written(first).await, first.0);
        assert_eq!(written(first.plus(Duration::from_secs(5))).await, first.0);
        let later = first.plus(RESOLUTION);
        assert_eq!(written(later).await, later.0);
    }
}
