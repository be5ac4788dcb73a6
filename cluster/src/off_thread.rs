//! Work that may wait for a disk, on threads that are made for waiting.

use std::io;

/// Runs `work` where it may block. Fails if it panics, or if the runtime ends before.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    #[cfg(test)]
    if testing::is_inline() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
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
