//! What is noted of requests without a commit for each: when tokens and sessions were last used, what
//! was downloaded how often, and by how many. Kept in memory, and written together, by operations that
//! merge what several nodes have noted.
//!
//! A note is written within [`WRITE_EVERY`], and before a node stops. Only what a node has noted since is
//! lost if it is killed; so at most the notes of one minute. As long as the cluster cannot write, notes are
//! kept, up to [`MAX_NOTES`] different ones. A note is never written twice: if it is not
//! known whether a write was committed, it counts as committed.
//! Nothing depends on a note but what it says, and when a session ends that is not used.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use cairn_cluster::{CommitError, Key, Kv, Timestamp};
use tokio::sync::Notify;

/// How often notes are written.
pub(in crate::registry) const WRITE_EVERY: Duration = Duration::from_secs(60);

/// A time that is only so much later than the one before is not worth a write.
const RESOLUTION: Duration = Duration::from_secs(600);

/// More different notes than this are dropped until the next write.
const MAX_NOTES: usize = 50_000;

/// So many are written at once, so that none is dropped.
const MANY_NOTES: usize = MAX_NOTES / 2;

/// One transaction stays well below its limit.
const KEYS_PER_TRANSACTION: usize = 1000;

/// Notes of one node.
#[derive(Debug, Default)]
pub(in crate::registry) struct Usage {
    notes: Mutex<Notes>,
    many: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    /// Times of last uses, and what else is to be raised.
    raised: HashMap<Key, u64>,
    /// What is to be added to.
    added: HashMap<Key, i64>,
    /// What has been raised so far.
    written: HashMap<Key, u64>,
}

/// Something that is to be written.
#[derive(Clone, Debug)]
enum Note {
    Raise(Key, u64),
    Add(Key, i64),
}

fn room<T>(notes: &HashMap<Key, T>, key: &Key) -> bool
where
    Key: Hash,
{
    notes.len() < MAX_NOTES || notes.contains_key(key)
}

impl Notes {
    fn raise(&mut self, key: &Key, least: u64) {
        if self.written.get(key).is_none_or(|written| *written < least) && room(&self.raised, key) {
            let noted = self.raised.entry(key.clone()).or_default();
            *noted = least.max(*noted);
        }
    }

    fn add(&mut self, key: &Key, count: i64) {
        if room(&self.added, key) {
            *self.added.entry(key.clone()).or_default() += count;
        }
    }

    fn put_back(&mut self, note: &Note) {
        match note {
            Note::Raise(key, least) => self.raise(key, *least),
            Note::Add(key, count) => self.add(key, *count),
        }
    }

    fn take(&mut self) -> Vec<Note> {
        let raised = std::mem::take(&mut self.raised).into_iter();
        let added = std::mem::take(&mut self.added).into_iter();
        let raised = raised.map(|(key, least)| Note::Raise(key, least));
        raised
            .chain(added.map(|(key, count)| Note::Add(key, count)))
            .collect()
    }

    fn is_written(&mut self, notes: &[Note]) {
        if self.written.len() + notes.len() > MAX_NOTES {
            self.written.clear();
        }
        for note in notes {
            if let Note::Raise(key, least) = note {
                self.written.insert(key.clone(), *least);
            }
        }
    }
}

impl Usage {
    /// Notes that what `key` stands for was used.
    pub(in crate::registry) fn note(&self, key: &Key, now: Timestamp) {
        self.noting(|notes| {
            let known = |at: &u64| now.since(Timestamp(*at)) < RESOLUTION;
            if !notes.written.get(key).is_some_and(known) {
                notes.raise(key, now.0);
            }
        });
    }

    /// Notes that a number is to be at least this.
    pub(in crate::registry) fn raise(&self, key: &Key, least: u64) {
        self.noting(|notes| notes.raise(key, least));
    }

    /// Notes that something happened once more.
    pub(in crate::registry) fn count(&self, key: &Key) {
        self.noting(|notes| notes.add(key, 1));
    }

    fn noting(&self, note: impl FnOnce(&mut Notes)) {
        let mut notes = self.notes.lock().expect("no panic while held");
        note(&mut notes);
        if notes.raised.len().max(notes.added.len()) >= MANY_NOTES {
            self.many.notify_one();
        }
    }

    /// Waits until there is much to write.
    pub(in crate::registry) async fn has_many(&self) {
        self.many.notified().await;
    }

    /// Writes what was noted since the last time. What was certainly not written is noted still.
    pub(in crate::registry) async fn write(&self, kv: &Kv) -> Result<(), CommitError> {
        let notes = self.notes.lock().expect("no panic while held").take();
        let mut chunks = notes.chunks(KEYS_PER_TRANSACTION);
        while let Some(chunk) = chunks.next() {
            let written = write(kv, chunk).await;
            let mut notes = self.notes.lock().expect("no panic while held");
            match written {
                Ok(()) => notes.is_written(chunk),
                Err(error) => {
                    if !matches!(error, CommitError::Unknown { .. }) {
                        chunk.iter().for_each(|note| notes.put_back(note));
                    }
                    chunks.flatten().for_each(|note| notes.put_back(note));
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

async fn write(kv: &Kv, notes: &[Note]) -> Result<(), CommitError> {
    let mut txn = kv.begin().await?;
    for note in notes {
        match note {
            Note::Raise(key, least) => txn.raise(key, *least),
            Note::Add(key, count) => txn.add(key, *count),
        }
    }
    txn.commit().await?;
    Ok(())
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

    #[tokio::test]
    async fn what_nodes_have_counted_is_merged_and_counted_once() {
        let kv = Kv::in_memory(Seams::system());
        let nodes = [Usage::default(), Usage::default()];
        let downloads = Collection::new("downloads");
        for round in 0..3000u64 {
            for node in &nodes {
                node.count(&downloads.key(round % 1500));
                node.raise(&downloads.key("most"), round);
            }
        }
        for _ in 0..2 {
            for node in &nodes {
                node.write(&kv).await.unwrap();
            }
        }
        let view = kv.local();
        for nth in [0, 1, 777, 1499u64] {
            assert_eq!(view.number(&downloads.key(nth)).await.unwrap(), 4);
        }
        assert_eq!(view.number(&downloads.key("most")).await.unwrap(), 2999);
    }
}
