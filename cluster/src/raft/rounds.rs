//! One round trip for many callers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// When rounds begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// A round waits for the one before, so that more callers share it, but no longer than this
    /// from when that began: a majority that is far away must not make everybody wait twice.
    pub(crate) patience: Duration,
    /// The most rounds under way.
    pub(crate) concurrent: usize,
    /// A round into which no more fits does not wait for the one before.
    pub(crate) full: usize,
}

/// Callers that arrive while a round is under way take part in one that begins later, together
/// with all others that wait by then.
///
/// So whatever a round learns was learnt after each of its callers asked.
pub(crate) struct Rounds<I, T> {
    callers: mpsc::UnboundedSender<Caller<I, T>>,
}

/// What a caller brings, and where its answer goes.
struct Caller<I, T> {
    brought: I,
    answer: oneshot::Sender<T>,
}

impl<I: Send + 'static, T: Send + 'static> Rounds<I, T> {
    /// Runs `round` for those who ask, with what they bring; it answers each of them, in their
    /// order. How much of [`Pace::full`] somebody takes up is what `weigh` says. The task behind
    /// it ends when this is dropped.
    pub(crate) fn start<F>(
        pace: Pace,
        weigh: impl Fn(&I) -> usize + Send + 'static,
        round: impl Fn(Vec<I>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<T>> + Send + 'static,
    {
        let (callers, asked) = mpsc::unbounded_channel();
        let mut gathering = Gathering {
            asked,
            weigh,
            full: pace.full,
        };
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(pace.concurrent));
            let mut before: Option<(Instant, JoinHandle<()>)> = None;
            while let Some(mut party) = gathering.begin().await {
                if let Some((began, round)) = before.take() {
                    let over = timeout_at(began + pace.patience, round);
                    gathering.go_on(&mut party, over).await;
                }
                let slot = slots.clone().acquire_owned().await.expect("never closed");
                gathering.complete(&mut party);
                let answers = round(party.brought);
                let answering = async move {
                    let answers = answers.await;
                    drop(slot);
                    for (caller, answer) in party.waiting.into_iter().zip(answers) {
                        // A caller that has given up needs no answer.
                        let _ = caller.send(answer);
                    }
                };
                before = Some((Instant::now(), tokio::spawn(answering)));
            }
        });
        Self { callers }
    }

    /// Takes part in a round that begins after this call; `None` if there are no more rounds.
    pub(crate) async fn join(&self, brought: I) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.callers.send(Caller { brought, answer }).ok()?;
        answered.await.ok()
    }
}

/// Those who take part in one round.
struct Party<I, T> {
    brought: Vec<I>,
    waiting: Vec<oneshot::Sender<T>>,
    weight: usize,
}

/// Takes callers in.
struct Gathering<I, T, W> {
    asked: UnboundedReceiver<Caller<I, T>>,
    weigh: W,
    full: usize,
}

impl<I, T, W: Fn(&I) -> usize> Gathering<I, T, W> {
    /// Waits for the first caller; none if there will not be any.
    async fn begin(&mut self) -> Option<Party<I, T>> {
        let first = self.asked.recv().await?;
        let mut party = Party {
            brought: Vec::new(),
            waiting: Vec::new(),
            weight: 0,
        };
        self.take(&mut party, first);
        Some(party)
    }

    /// Takes callers in until the round before is `over`, or no more fit.
    async fn go_on(&mut self, party: &mut Party<I, T>, over: impl Future) {
        tokio::pin!(over);
        while party.weight < self.full {
            tokio::select! {
                biased;
                _ = &mut over => return,
                next = self.asked.recv() => match next {
                    Some(next) => self.take(party, next),
                    None => return,
                },
            }
        }
    }

    /// Takes in those who are there by now.
    fn complete(&mut self, party: &mut Party<I, T>) {
        while party.weight < self.full
            && let Ok(next) = self.asked.try_recv()
        {
            self.take(party, next);
        }
    }

    fn take(&self, party: &mut Party<I, T>, caller: Caller<I, T>) {
        party.weight += (self.weigh)(&caller.brought);
        party.brought.push(caller.brought);
        party.waiting.push(caller.answer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PACE: Pace = Pace {
        patience: Duration::from_secs(1),
        concurrent: 8,
        full: 100,
    };

    /// Rounds that note who took part, and end when they are let.
    struct Table {
        rounds: Rounds<usize, usize>,
        seen: Arc<Mutex<Vec<Vec<usize>>>>,
        /// As many may end.
        end: Arc<Semaphore>,
    }

    fn table(pace: Pace) -> Table {
        let (seen, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (noted, ended) = (seen.clone(), end.clone());
        let round = move |brought: Vec<usize>| {
            noted.lock().unwrap().push(brought.clone());
            let ended = ended.clone();
            async move {
                ended.acquire().await.unwrap().forget();
                brought.iter().map(|number| number * 2).collect()
            }
        };
        let rounds = Rounds::start(pace, |number| *number, round);
        Table { rounds, seen, end }
    }

    /// Lets everybody who can do something do it.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    impl Table {
        fn seen(&self) -> Vec<Vec<usize>> {
            self.seen.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_during_a_round_share_the_next() {
        let table = table(PACE);
        let joined = async { tokio::join!(table.rounds.join(1), table.rounds.join(2), table.rounds.join(3)) };
        let directed = async {
            settle().await;
            let late = async { tokio::join!(table.rounds.join(4), table.rounds.join(5)) };
            let ending = async {
                settle().await;
                assert_eq!(table.seen(), [vec![1, 2, 3]]);
                table.end.add_permits(1);
                settle().await;
                assert_eq!(table.seen(), [vec![1, 2, 3], vec![4, 5]]);
                table.end.add_permits(1);
            };
            tokio::join!(late, ending).0
        };
        let (first, second) = tokio::join!(joined, directed);
        assert_eq!(first, (Some(2), Some(4), Some(6)));
        assert_eq!(second, (Some(8), Some(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_round_holds_up_the_next_for_a_while_only() {
        let table = table(PACE);
        let begun = Instant::now();
        let first = async { table.rounds.join(1).await };
        let directed = async {
            settle().await;
            let second = async { table.rounds.join(2).await };
            let ending = async {
                while table.seen().len() < 2 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let waited = begun.elapsed();
                table.end.add_permits(2);
                waited
            };
            tokio::join!(second, ending).1
        };
        let (_, waited) = tokio::join!(first, directed);
        assert!(
            waited >= PACE.patience && waited < PACE.patience * 2,
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_round_does_not_wait() {
        let table = table(PACE);
        let begun = Instant::now();
        let first = async { table.rounds.join(1).await };
        let directed = async {
            settle().await;
            let late =
                async { tokio::join!(table.rounds.join(60), table.rounds.join(50), table.rounds.join(2)) };
            let ending = async {
                settle().await;
                assert_eq!(table.seen(), [vec![1], vec![60, 50]]);
                assert_eq!(begun.elapsed(), Duration::ZERO);
                table.end.add_permits(3);
            };
            tokio::join!(late, ending).0
        };
        let (_, late) = tokio::join!(first, directed);
        assert_eq!(late, (Some(120), Some(100), Some(4)));
    }
}
