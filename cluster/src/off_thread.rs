//! Work that may wait for a disk, on threads that are made for waiting.

use std::io;

/// Runs `work` where it may block. Fails if it panics.
///
/// Where the runtime ends before, so does whoever waits: to tell them that it failed would have a node that is told to
/// stop report a failing disk.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    #[cfg(test)]
    if testing::is_inline() {
        return Ok(work());
    }
    match tokio::task::spawn_blocking(work).await {
        Err(error) if error.is_cancelled() => std::future::pending().await,
        done => done.map_err(io::Error::other),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Other threads have no place in a simulation: the order in which they run has no seed.

    use std::cell::Cell;

    thread_local! {
        static INLINE: Cell<bool> = const { Cell::new(false) };
    }

    /// From now on, this thread does such work itself and at once.
    pub(crate) fn work_inline() {
        INLINE.set(true);
    }

    pub(super) fn is_inline() -> bool {
        INLINE.get()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn who_waits_when_the_runtime_ends_hears_of_no_failure() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _within = handle.enter();
        assert!(off_thread(|| ()).now_or_never().is_none());
    }
}
