//! Shares of something that there is only so much of: everybody together has a bound, and
//! whoever asks has a smaller one, so that one of them cannot take all of it. Nobody is refused;
//! who finds nothing left waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many askers are remembered before those who hold and wait for nothing are forgotten.
const REMEMBERED: usize = 256;

/// So many units for all, and so many of them for each `K`.
pub(super) struct Shares<K> {
    all: Arc<Semaphore>,
    each: u32,
    /// Of those who hold something, or wait for it.
    by_key: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// What was taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Shares<K> {
    pub(super) fn new(all: u32, each: u32) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all as usize)),
            each: each.min(all),
            by_key: Mutex::default(),
        }
    }

    /// Takes so many units, as soon as they are there; no more than one can ever have.
    pub(super) async fn take(&self, key: K, units: u32) -> Share {
        let units = units.min(self.each);
        // The own share first: who waits for it must not hold what others could have.
        let own = taken(self.share_of(key), units).await;
        let of_all = taken(self.all.clone(), units).await;
        Share {
            _own: own,
            _of_all: of_all,
        }
    }

    fn share_of(&self, key: K) -> Arc<Semaphore> {
        let mut shares = self.by_key.lock().expect("no panic while held");
        if shares.len() > REMEMBERED {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let entry = shares.entry(key).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let share = Arc::new(Semaphore::new(self.each as usize));
            *entry = Arc::downgrade(&share);
            share
        })
    }
}

async fn taken(semaphore: Arc<Semaphore>, units: u32) -> OwnedSemaphorePermit {
    semaphore.acquire_many_owned(units).await.expect("never closed")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn one_waits_for_its_own_share_and_leaves_that_of_others() {
        let shares = Shares::new(10, 4);
        let take = |key, units| shares.take(key, units).now_or_never();
        let first = take("greedy", 3).unwrap();
        assert!(take("greedy", 2).is_none());
        let second = take("greedy", 1).unwrap();
        let other = take("modest", 4).unwrap();
        drop((first, second));
        // More than its share is never given, so that it does not wait for ever.
        let whole = take("greedy", 100).unwrap();
        assert!(take("greedy", 1).is_none());
        // Eight of ten are gone.
        assert!(take("late", 3).is_none());
        assert!(take("late", 2).is_some());
        drop((other, whole));
        assert!(take("late", 4).is_some());
    }

    #[test]
    fn those_who_hold_nothing_are_forgotten() {
        let shares = Shares::new(10, 4);
        for key in 0..10 * REMEMBERED {
            assert!(shares.take(key, 4).now_or_never().is_some());
        }
        assert!(shares.by_key.lock().unwrap().len() <= REMEMBERED + 1);
    }
}
