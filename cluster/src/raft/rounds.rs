//! One round trip for many callers.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

/// Callers that arrive while a round is under way take part in one that begins later, together
/// with all others that wait by then.
///
/// So whatever a round learns was learnt after each of its callers asked.
pub(crate) struct Rounds<T> {
    callers: mpsc::UnboundedSender<oneshot::Sender<T>>,
}

impl<T: Clone + Send + 'static> Rounds<T> {
    /// Runs `round` for those who ask, at most `concurrent` at a time. The task behind it ends
    /// when this is dropped.
    pub(crate) fn start<F>(concurrent: usize, round: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (callers, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<T>>();
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(concurrent));
            while let Some(first) = asked.recv().await {
                let slot = slots.clone().acquire_owned().await.expect("never closed");
                let mut waiting = vec![first];
                while let Ok(next) = asked.try_recv() {
                    waiting.push(next);
                }
                let answer = round();
                tokio::spawn(async move {
                    let answer = answer.await;
                    drop(slot);
                    for caller in waiting {
                        // A caller that has given up needs no answer.
                        let _ = caller.send(answer.clone());
                    }
                });
            }
        });
        Self { callers }
    }

    /// Takes part in a round that begins after this call; `None` if there are no more rounds.
    pub(crate) async fn join(&self) -> Option<T> {
        let (caller, answer) = oneshot::channel();
        self.callers.send(caller).ok()?;
        answer.await.ok()
    }
}
