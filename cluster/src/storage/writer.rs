//! A thread that alone writes to a store, and a queue before it.

use std::io;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

/// The writing thread of a store. Dropping it has the thread write what is queued, and waits until
/// it has ended.
///
/// A store that is closed by a thread of its own may be closed while the process exits already,
/// when RocksDB's globals are gone: the process would abort.
pub(crate) struct WriterThread<T> {
    queue: Option<mpsc::Sender<T>>,
    thread: Option<JoinHandle<()>>,
}

/// The thread has ended, because a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

impl<T: Send + 'static> WriterThread<T> {
    /// Starts a thread that runs `write` until it returns: at the latest when there is nothing
    /// more to receive. At most `waiting` writes are queued.
    pub(crate) fn start(
        name: &str,
        waiting: usize,
        write: impl FnOnce(mpsc::Receiver<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, queued) = mpsc::channel(waiting);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write(queued))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Only the queue; a simulation takes from it.
    #[cfg(test)]
    pub(crate) fn without_thread(waiting: usize) -> (Self, mpsc::Receiver<T>) {
        let (queue, queued) = mpsc::channel(waiting);
        let writer = Self {
            queue: Some(queue),
            thread: None,
        };
        (writer, queued)
    }

    /// Queues a write; waits while too many are queued.
    pub(crate) async fn send(&self, write: T) -> Result<(), Stopped> {
        let queue = self.queue.as_ref().expect("it is there until this is dropped");
        queue.send(write).await.map_err(|_| Stopped)
    }
}

impl<T> Drop for WriterThread<T> {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was told already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn what_is_queued_is_written_before_the_thread_is_gone() {
        let written = Arc::<Mutex<Vec<u32>>>::default();
        let writes = written.clone();
        let writer = WriterThread::start("a-test", 10, move |mut queue| {
            while let Some(write) = queue.blocking_recv() {
                std::thread::yield_now();
                writes.lock().unwrap().push(write);
            }
        })
        .unwrap();
        for write in 0..10 {
            writer.send(write).await.unwrap();
        }
        drop(writer);
        assert_eq!(
            Arc::into_inner(written).unwrap().into_inner().unwrap(),
            (0..10).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn a_thread_that_has_ended_takes_nothing() {
        let writer = WriterThread::<u32>::start("a-test", 1, drop).unwrap();
        while writer.send(1).await.is_ok() {}
        assert_eq!(writer.send(2).await, Err(Stopped));
    }
}
