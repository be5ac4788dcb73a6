//! What was read lately, in memory beside RocksDB.
//!
//! Every request reads the same few records: of its token, its user, its project. RocksDB has
//! them in memory as well, but takes a microsecond or two for each, in a request that takes
//! twenty.
//!
//! What is kept is the newest state of a key, and it answers for every view in which that state
//! was already reached. This holds because of an order: whoever changes a key says so here
//! *before* anybody can see a view with the change in it, and whoever has read one says what only
//! if no change of that part of the keys came since its view.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use super::view::Versioned;

/// Parts with a lock of their own.
const SHARDS: usize = 16;

/// Larger values are left to RocksDB: reading them is not what takes the time.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// What an entry takes besides its key and value, about.
const ENTRY_BYTES: usize = 128;

/// Keys and what is known of them, up to about so many bytes.
pub(super) struct Hot {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    generation_bytes: usize,
}

/// A part of the keys: those used since the last turn, and those that were before. What is not
/// used for a whole turn is forgotten.
#[derive(Default)]
struct Shard {
    young: HashMap<Bytes, Known>,
    old: HashMap<Bytes, Known>,
    young_bytes: usize,
    /// The log index up to which changes were told of.
    changed: u64,
}

/// The newest state of one key.
#[derive(Clone)]
struct Known {
    found: Option<Versioned>,
    /// A log index at which it was so.
    at: u64,
}

impl Known {
    /// What a view at `index` shows of it, if that is known.
    fn as_of(&self, index: u64) -> Option<Option<Versioned>> {
        // What is there says since when; what is not could have been there before.
        let since = self.found.as_ref().map_or(self.at, |found| found.version);
        (since <= index).then(|| self.found.clone())
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let value_bytes = self.found.as_ref().map_or(0, |found| found.value.len());
        ENTRY_BYTES + key.len() + value_bytes
    }

    fn is_kept(&self) -> bool {
        self.found
            .as_ref()
            .is_none_or(|found| found.value.len() <= MAX_VALUE_BYTES)
    }
}

impl Hot {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            generation_bytes: capacity_bytes / SHARDS / 2,
        }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let number = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[number].lock().expect("no panic while held")
    }

    /// What a view at `index` shows under `key`; none if that is not known here.
    pub(super) fn look(&self, key: &[u8], index: u64) -> Option<Option<Versioned>> {
        let mut shard = self.shard(key);
        if let Some(known) = shard.young.get(key) {
            return known.as_of(index);
        }
        let (key, known) = shard.old.remove_entry(key)?;
        let found = known.as_of(index);
        shard.keep(key, known, self.generation_bytes);
        found
    }

    /// Notes what a view at `index` shows under `key`.
    pub(super) fn learn(&self, key: &[u8], index: u64, found: &Option<Versioned>) {
        let known = Known {
            found: found.clone(),
            at: index,
        };
        let mut shard = self.shard(key);
        // The key could be among what has changed.
        if shard.changed <= index && known.is_kept() {
            shard.keep(Bytes::copy_from_slice(key), known, self.generation_bytes);
        }
    }

    /// Notes that a key is changed in views from `index` on, before there is one.
    pub(super) fn change(&self, key: &[u8], index: u64, version: u64, value: Option<&[u8]>) {
        let mut shard = self.shard(key);
        shard.changed = shard.changed.max(index);
        let Some(kept) = shard.forget(key) else { return };
        let value = value.map(|value| match value.len() <= MAX_VALUE_BYTES {
            // A slice would keep the whole log entry in memory.
            true => Some(Bytes::copy_from_slice(value)),
            false => None,
        });
        let found = match value {
            Some(Some(value)) => Some(Versioned { version, value }),
            Some(None) => return,
            None => None,
        };
        shard.keep(kept, Known { found, at: index }, self.generation_bytes);
    }
}

impl Shard {
    /// Takes an entry out, and gives its key.
    fn forget(&mut self, key: &[u8]) -> Option<Bytes> {
        match self.young.remove_entry(key) {
            Some((key, known)) => {
                self.young_bytes -= known.bytes(&key);
                Some(key)
            }
            None => Some(self.old.remove_entry(key)?.0),
        }
    }

    fn keep(&mut self, key: Bytes, known: Known, generation_bytes: usize) {
        self.forget(&key);
        let bytes = known.bytes(&key);
        if self.young_bytes + bytes > generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(version: u64) -> Option<Versioned> {
        Some(Versioned {
            version,
            value: Bytes::from(version.to_string()),
        })
    }

    fn put(hot: &Hot, key: &[u8], index: u64, version: u64) {
        hot.change(key, index, version, Some(version.to_string().as_bytes()));
    }

    #[test]
    fn a_view_is_shown_what_was_reached_in_it() {
        let hot = Hot::new(1 << 20);
        assert_eq!(hot.look(b"key", 5), None, "nothing is known yet");
        hot.learn(b"key", 5, &there(3));
        for (index, expected) in [(2, None), (3, Some(there(3))), (9, Some(there(3)))] {
            assert_eq!(hot.look(b"key", index), expected, "as of {index}");
        }
        put(&hot, b"key", 12, 10);
        for (index, expected) in [(5, None), (9, None), (12, Some(there(10)))] {
            assert_eq!(
                hot.look(b"key", index),
                expected,
                "as of {index}, after the change"
            );
        }
    }

    #[test]
    fn what_is_absent_was_not_always() {
        let hot = Hot::new(1 << 20);
        hot.learn(b"key", 5, &None);
        assert_eq!(hot.look(b"key", 4), None);
        assert_eq!(hot.look(b"key", 5), Some(None));
        put(&hot, b"key", 7, 7);
        assert_eq!(hot.look(b"key", 6), None);
        assert_eq!(hot.look(b"key", 7), Some(there(7)));
        hot.change(b"key", 9, 9, None);
        assert_eq!(hot.look(b"key", 8), None);
        assert_eq!(hot.look(b"key", 9), Some(None));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_learnt_after_it() {
        let hot = Hot::new(1 << 20);
        put(&hot, b"key", 8, 8);
        hot.learn(b"key", 7, &there(3));
        assert_eq!(hot.look(b"key", 8), None);
        hot.learn(b"key", 8, &there(8));
        assert_eq!(hot.look(b"key", 8), Some(there(8)));
    }

    #[test]
    fn what_grows_too_large_is_forgotten_rather_than_kept_as_it_was() {
        let hot = Hot::new(1 << 20);
        hot.learn(b"key", 1, &there(1));
        hot.change(b"key", 2, 2, Some(&[0; MAX_VALUE_BYTES + 1]));
        assert_eq!(hot.look(b"key", 2), None);
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let capacity_bytes = 1 << 20;
        let hot = Hot::new(capacity_bytes);
        hot.learn(b"used", 1, &there(1));
        for number in 0..20_000u32 {
            hot.learn(&number.to_be_bytes(), 1, &there(1));
            assert_eq!(hot.look(b"used", 1), Some(there(1)), "after {number}");
        }
        let bytes: usize = hot
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                let entries = shard.young.iter().chain(&shard.old);
                entries.map(|(key, known)| known.bytes(key)).sum::<usize>()
            })
            .sum();
        assert!(bytes <= capacity_bytes, "{bytes}");
        assert_eq!(hot.look(&0u32.to_be_bytes(), 1), None);
    }
}
