//! Where what takes long is done: off the async threads, on a bounded number of others.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A bounded share of the blocking threads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    permits: Arc<Semaphore>,
}

/// Work that a pool does. It goes on if this is dropped, but nobody learns what came of it.
pub(crate) struct Working<T> {
    job: JoinHandle<T>,
}

impl Pool {
    /// For hashing and coding: as wide as this machine has cores, so that a burst of uploads
    /// does not keep the log's flusher from running.
    pub(crate) fn of_all_cores() -> Self {
        Self::of(std::thread::available_parallelism().map_or(1, |cores| cores.get()))
    }

    /// For waiting on something that so many may wait for.
    pub(crate) fn of(width: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(width)),
        }
    }

    /// Begins `work` on a thread that may be kept busy, as soon as there is one.
    pub(crate) async fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Working<T> {
        let permit = self.permits.clone().acquire_owned().await.expect("never closed");
        let job = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        Working { job }
    }

    /// Begins `work` if there is a thread for it now; otherwise it is not done.
    pub(crate) fn run_if_free(&self, work: impl FnOnce() + Send + 'static) {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            tokio::task::spawn_blocking(move || {
                work();
                drop(permit);
            });
        }
    }

    /// Runs `work` on a thread that may be kept busy.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.start(work).await.await
    }
}

impl<T> Working<T> {
    /// Whether the result is there.
    pub(crate) fn is_finished(&self) -> bool {
        self.job.is_finished()
    }
}

/// Gives the result; a panic in the work goes on here.
impl<T> Future for Working<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match ready!(Pin::new(&mut self.job).poll(context)) {
            Ok(result) => Poll::Ready(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Blocking work is only cancelled when the runtime stops.
                Err(_) => Poll::Pending,
            },
        }
    }
}
