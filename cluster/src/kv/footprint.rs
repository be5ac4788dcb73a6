//! What an answer was made from, so that it can be given again while none of that has changed.
//!
//! Whoever reads through [`Snapshot::traced`](super::Snapshot::traced) leaves a [`Footprint`]:
//! the version of each key and the revision of each collection that was looked at. It is the
//! read set of a transaction, kept for an answer rather than for a commit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::view::View;
use crate::seams::Timestamp;

/// An answer that depends on more than this is not worth remembering.
const MAX_READS: usize = 64;

/// What one of them takes besides its key, about.
const READ_BYTES: usize = 64;

/// No view has this index.
const NEVER: u64 = u64::MAX;

/// Collects what is read. Clones collect together.
#[derive(Clone, Debug, Default)]
pub struct Footprint(Arc<Mutex<Reads>>);

#[derive(Debug, Default)]
struct Reads {
    keys: Vec<(Bytes, u64)>,
    collections: Vec<(Bytes, u64)>,
    until: Option<Timestamp>,
    /// Something was read whose changes cannot be told, or too much.
    incomplete: bool,
}

/// All that was read, and until when what was made of it holds.
#[derive(Debug)]
pub struct Seen {
    keys: Box<[(Bytes, u64)]>,
    collections: Box<[(Bytes, u64)]>,
    until: Option<Timestamp>,
    /// The log index of the last view in which all of it was found unchanged, or [`NEVER`].
    unchanged_at: AtomicU64,
}

impl Footprint {
    /// What was read so far; none if that cannot be told.
    pub fn seen(&self) -> Option<Seen> {
        let reads = self.0.lock().expect("no panic while held");
        if reads.incomplete {
            return None;
        }
        Some(Seen {
            keys: reads.keys.clone().into(),
            collections: reads.collections.clone().into(),
            until: reads.until,
            unchanged_at: AtomicU64::new(NEVER),
        })
    }

    /// Notes the version of a key; 0 if it is absent.
    pub(super) fn key(&self, key: &Bytes, version: u64) {
        self.note(|reads| &mut reads.keys, key, version);
    }

    /// Notes the revision of a collection.
    pub(super) fn collection(&self, collection: &Bytes, revision: u64) {
        self.note(|reads| &mut reads.collections, collection, revision);
    }

    /// Notes that what is made of it changes by itself at this time.
    pub(super) fn until(&self, end: Timestamp) {
        let mut reads = self.0.lock().expect("no panic while held");
        reads.until = Some(reads.until.map_or(end, |earlier| earlier.min(end)));
    }

    /// Notes that something was read whose changes cannot be told.
    pub(super) fn give_up(&self) {
        *self.0.lock().expect("no panic while held") = Reads {
            incomplete: true,
            ..Reads::default()
        };
    }

    fn note(&self, part: impl Fn(&mut Reads) -> &mut Vec<(Bytes, u64)>, what: &Bytes, version: u64) {
        let mut reads = self.0.lock().expect("no panic while held");
        if reads.incomplete || part(&mut reads).contains(&(what.clone(), version)) {
            return;
        }
        if reads.keys.len() + reads.collections.len() >= MAX_READS {
            drop(reads);
            return self.give_up();
        }
        part(&mut reads).push((what.clone(), version));
    }
}

impl Seen {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let of = |reads: &[(Bytes, u64)]| reads.iter().map(|(key, _)| READ_BYTES + key.len()).sum::<usize>();
        of(&self.keys) + of(&self.collections)
    }

    /// When what was made of it ends to hold by itself, if it does.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether nothing of it is different in `view`, as far as can be told without a disk.
    pub(super) fn is_unchanged_in(&self, view: &dyn View) -> bool {
        let index = view.applied_index();
        if self.unchanged_at.load(Ordering::Relaxed) == index {
            return true;
        }
        let same_key = |(key, version): &(Bytes, u64)| match view.get_cached(key) {
            Some(Ok(found)) => found.map_or(0, |found| found.version) == *version,
            _ => false,
        };
        let same_collection = |(collection, revision): &(Bytes, u64)| matches!(view.revision_cached(collection), Some(Ok(now)) if now == *revision);
        let same = self.keys.iter().all(same_key) && self.collections.iter().all(same_collection);
        if same {
            self.unchanged_at.store(index, Ordering::Relaxed);
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Collection, Kv, Scan};
    use super::*;
    use crate::seams::Seams;

    async fn put(kv: &Kv, collection: &Collection, item: &str) {
        let mut txn = kv.begin().await.unwrap();
        txn.put(&collection.key(item), "value");
        txn.commit().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_seen_is_the_same_until_some_of_it_changes() {
        let [read, listed, other] = ["read", "listed", "other"].map(Collection::new);
        let kv = Kv::in_memory(Seams::system());
        put(&kv, &read, "there").await;
        let look = async || {
            let footprint = Footprint::default();
            let view = kv.local().traced(&footprint);
            view.get(&read.key("there")).await.unwrap();
            view.clone().get(&read.key("absent")).await.unwrap();
            view.scan(Scan::of(&listed).limit(1)).await.unwrap();
            footprint.seen().unwrap()
        };
        for (collection, item) in [(&read, "there"), (&read, "absent"), (&listed, "new")] {
            let seen = look().await;
            put(&kv, &other, "more").await;
            assert!(kv.local().still_shows(&seen), "something else has changed");
            put(&kv, collection, item).await;
            assert!(!kv.local().still_shows(&seen), "{item} has changed");
        }
    }

    #[tokio::test]
    async fn what_holds_for_a_time_holds_until_its_earliest_end() {
        let view = Kv::in_memory(Seams::system()).local();
        let footprint = Footprint::default();
        for end in [7, 5, 9] {
            view.traced(&footprint).holds_until(Timestamp(end));
        }
        assert_eq!(footprint.seen().unwrap().until(), Some(Timestamp(5)));
    }

    #[tokio::test]
    async fn too_much_is_not_remembered() {
        let view = Kv::in_memory(Seams::system()).local();
        let (footprint, collection) = (Footprint::default(), Collection::new("many"));
        for item in 0..=MAX_READS as u64 {
            for _ in 0..2 {
                let key = collection.key(item.to_be_bytes());
                view.traced(&footprint).get(&key).await.unwrap();
            }
            assert_eq!(footprint.seen().is_some(), item < MAX_READS as u64, "{item}");
        }
    }
}
