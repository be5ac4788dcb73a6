//! Whoever lost to others over what they all change waits for its turn, on this node.
//!
//! Transactions that change the same record at the same time refute each other: of thirty, one is
//! committed and the others have worked in vain, again and again. So who has lost once queues, and
//! who comes later queues behind them rather than being one more to lose to. What is left to
//! compete are the nodes, one transaction of each at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::txn::{Subject, Txn};

/// How long anybody waits for a turn. The queue goes on quickly, unless the cluster does not
/// answer: then nobody should wait for all before it to find that out.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The queues of one node, by the key or collection that is contended. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Queues>>);

type Queues = HashMap<Subject, Arc<tokio::sync::Mutex<()>>>;

impl Turns {
    /// The first subject of a transaction that somebody has the turn of.
    pub(super) fn taken(&self, worked: &Txn) -> Option<Subject> {
        let queues = self.lock();
        // It is rare that there is any.
        if queues.is_empty() {
            return None;
        }
        let mut subjects = worked.subjects().map(|(subject, _)| subject);
        subjects.find(|subject| queues.contains_key(subject))
    }

    /// Waits until all who came before have had their turn; none if that takes too long.
    pub(super) async fn wait(&self, subject: Subject) -> Option<Turn> {
        let queue = self.lock().entry(subject.clone()).or_default().clone();
        let mut place = Turn {
            turns: self.clone(),
            subject,
            held: None,
        };
        place.held = Some(tokio::time::timeout(MAX_WAIT, queue.lock_owned()).await.ok()?);
        Some(place)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().expect("no panic while held")
    }
}

/// A turn, or a place in the queue for it. The next one has it when this is dropped.
pub(super) struct Turn {
    turns: Turns,
    subject: Subject,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    /// What it is the turn of.
    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held.take();
        let mut queues = self.turns.lock();
        // Whoever waits or has it holds the queue as well.
        if queues
            .get(&self.subject)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::{Collection, CommitError, Kv};
    use super::*;
    use crate::seams::Seams;

    fn subject(name: &str) -> Subject {
        Subject::Collection(Collection::new(name))
    }

    #[tokio::test]
    async fn turns_are_taken_in_order_and_forgotten_after_the_last() {
        let turns = Turns::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = turns.wait(subject("a")).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..10 {
            let (turns, order) = (turns.clone(), order.clone());
            tasks.spawn(async move {
                let _turn = turns.wait(subject("a")).await.unwrap();
                order.lock().unwrap().push(number);
            });
            tokio::task::yield_now().await;
        }
        let other = turns.wait(subject("b")).await.unwrap();
        assert_eq!(other.subject(), &subject("b"));
        assert!(order.lock().unwrap().is_empty());
        drop((first, other));
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..10));
        assert!(turns.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_leaves_no_place_behind() {
        let turns = Turns::default();
        let first = turns.wait(subject("a")).await.unwrap();
        assert!(turns.wait(subject("a")).await.is_none(), "nobody waits for ever");
        {
            let waiting = turns.wait(subject("a"));
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        drop(first);
        assert!(turns.lock().is_empty());
    }

    #[tokio::test]
    async fn who_lost_works_again_once_and_so_does_who_comes_after() {
        let kv = Kv::in_memory(Seams::system());
        let key = Collection::new("test").key("sum");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let (kv, key) = (kv.clone(), key.clone());
            tasks.spawn(async move {
                let mut most = 0;
                for _ in 0..10 {
                    let worked = AtomicU32::new(0);
                    let add = async |mut txn: Txn| {
                        worked.fetch_add(1, Ordering::Relaxed);
                        let before = txn.get(&key).await.unwrap();
                        let sum: u64 =
                            before.map_or(0, |text| String::from_utf8_lossy(&text).parse().unwrap());
                        // The others begin meanwhile.
                        tokio::task::yield_now().await;
                        txn.put(&key, (sum + 1).to_string());
                        Ok::<_, CommitError>((txn, ()))
                    };
                    kv.transact(add).await.unwrap();
                    most = most.max(worked.into_inner());
                }
                most
            });
        }
        let most = tasks.join_all().await.into_iter().max();
        assert!(most <= Some(3), "{most:?}");
        let sum = kv.local().get(&key).await.unwrap().unwrap();
        assert_eq!(sum.value, "300");
        assert!(kv.turns.lock().is_empty());
    }
}
