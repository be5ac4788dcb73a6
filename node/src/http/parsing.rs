//! Threads on which bodies are parsed while they come in.
//!
//! Such a thread waits for its client most of the time, and a client may be as slow as
//! [`super::pace`] lets it be. It comes from the same supply as the threads that read, write and
//! replicate metadata. So clients get a share of that supply that leaves enough for all else,
//! and every caller a share of the clients' part; whoever finds nothing free waits, and its
//! client is not read from meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::auth::caller::{Caller, Identity};
use crate::auth::token::TokenId;

/// A quarter of the threads that a runtime has for what blocks.
pub(crate) const FOR_ALL: usize = 128;

/// Enough for a build that publishes many packages at once.
pub(crate) const FOR_ONE_CALLER: usize = 16;

/// The threads of one node.
pub(crate) struct ParserThreads {
    all: Arc<Semaphore>,
    /// Of callers that have threads, or wait for them.
    by_caller: Mutex<HashMap<Key, Weak<Semaphore>>>,
}

/// Whose share it is: all tokens of a user have one together.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Anonymous,
    User(u64),
    Deploy(Option<TokenId>),
}

impl Key {
    fn of(caller: &Caller) -> Self {
        match caller.identity() {
            Identity::Anonymous => Self::Anonymous,
            Identity::User(user) => Self::User(user.id),
            Identity::Deploy { .. } => Self::Deploy(caller.token().cloned()),
        }
    }
}

impl Default for ParserThreads {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(FOR_ALL)),
            by_caller: Mutex::default(),
        }
    }
}

impl ParserThreads {
    /// Begins `work` for a caller on a thread that may wait, as soon as there is one.
    pub(crate) async fn start<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        // The own share first: who waits for it must not hold what others could have.
        let own = taken(self.share_of(caller)).await;
        let shared = taken(self.all.clone()).await;
        tokio::task::spawn_blocking(move || {
            let _held = (own, shared);
            work()
        })
    }

    fn share_of(&self, caller: &Caller) -> Arc<Semaphore> {
        let mut shares = self.by_caller.lock().expect("no panic while held");
        // Those whose callers have gone; looked at only when there are many.
        if shares.len() > 2 * FOR_ALL {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let entry = shares.entry(Key::of(caller)).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let share = Arc::new(Semaphore::new(FOR_ONE_CALLER));
            *entry = Arc::downgrade(&share);
            share
        })
    }
}

async fn taken(share: Arc<Semaphore>) -> OwnedSemaphorePermit {
    share.acquire_owned().await.expect("never closed")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt;

    use super::*;
    use crate::auth::scopes::Scopes;
    use crate::registry::place::{Place, PlaceKind};

    fn deploying(username: &str) -> Caller {
        let place = Place {
            root: 1,
            kind: PlaceKind::Project,
            id: 1,
        };
        let username = username.to_owned();
        let id = format!("{username:0>12}").try_into().unwrap();
        Caller::new(Identity::Deploy { username, place }, Scopes::default(), Some(id))
    }

    /// Work that waits until the returned end is dropped.
    fn waiting() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (end, ended) = mpsc::channel::<()>();
        (end, move || {
            let _ = ended.recv();
        })
    }

    #[tokio::test]
    async fn one_caller_waits_for_its_own_threads_and_leaves_those_of_others() {
        let threads = ParserThreads::default();
        let (greedy, modest) = (deploying("greedy"), deploying("modest"));
        let mut ends = Vec::new();
        for _ in 0..FOR_ONE_CALLER {
            let (end, work) = waiting();
            threads.start(&greedy, work).await;
            ends.push(end);
        }
        assert!(threads.start(&greedy, || ()).now_or_never().is_none());
        threads.start(&modest, || ()).await.await.unwrap();
        ends.pop();
        threads.start(&greedy, || ()).await.await.unwrap();
    }

    #[tokio::test]
    async fn all_callers_together_leave_threads_for_the_node() {
        let threads = ParserThreads::default();
        let mut ends = Vec::new();
        for at in 0..FOR_ALL {
            let (end, work) = waiting();
            threads.start(&deploying(&at.to_string()), work).await;
            ends.push(end);
        }
        assert!(threads.start(&deploying("late"), || ()).now_or_never().is_none());
        ends.pop();
        threads.start(&deploying("late"), || ()).await.await.unwrap();
    }
}
