//! Notices a disk that is slow, and one that does not answer at all.
//!
//! A leader whose log takes seconds to become durable holds up everybody: it should give the
//! leadership away. A disk that has stalled gives not even an error; a node that waited for it would
//! keep its vote and its leadership for as long as it takes, so its process ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::gauge;
use tracing::{info, warn};

use super::FailStop;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A disk on which one wait of a hundred takes longer than this is slow.
const SLOW_WAIT: Duration = Duration::from_secs(1);

/// For so long a disk must be slow before anything follows from it: a burst of writes is not a
/// disk that fails.
const SLOW_FOR: Duration = Duration::from_secs(10);

/// A disk that has not answered for so long has stalled.
const STALLED: Duration = Duration::from_secs(20);

/// Watches how long writers wait for one disk. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct DiskWatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What is kept on the disk, in words.
    what: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each wait that is not over began, under a number of its own.
    under_way: BTreeMap<u64, Instant>,
    next: u64,
    /// Waits that ended since the last look, and how many of them were slow.
    ended: u32,
    ended_slow: u32,
    slow_since: Option<Instant>,
    is_slow: bool,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Sound,
    Slow,
    Stalled,
}

impl DiskWatch {
    /// Watches the disk on which `what` is kept.
    pub(crate) fn new(what: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Shared {
            what: what.into(),
            state: Mutex::default(),
        }))
    }

    /// Notes that somebody waits for the disk, until this is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.under_way.insert(number, Instant::now());
        Waiting { watch: self, number }
    }

    /// Whether the disk has been slow for a while.
    pub(crate) fn is_slow(&self) -> bool {
        self.state().is_slow
    }

    /// Looks until it is dropped, and tells each time whether the disk is slow; stops the node when
    /// the disk has stalled.
    pub(crate) async fn run(self, fail_stop: FailStop, tell: impl Fn(bool)) {
        let what = self.0.what.clone();
        let mut before = Seen::Sound;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let seen = self.state().look(Instant::now());
            match (before, seen) {
                (_, Seen::Stalled) => {
                    fail_stop.stop(&format!("the disk of {what} has not answered for {STALLED:?}"));
                    return;
                }
                (Seen::Sound, Seen::Slow) => warn!("the disk of {what} is slow"),
                (Seen::Slow, Seen::Sound) => info!("the disk of {what} is no longer slow"),
                _ => {}
            }
            let is_slow = seen == Seen::Slow;
            gauge!("cairn_storage_disk_slow", "disk" => what.to_string()).set(f64::from(u8::from(is_slow)));
            tell(is_slow);
            before = seen;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while held")
    }
}

impl State {
    fn end(&mut self, number: u64, now: Instant) {
        let Some(began) = self.under_way.remove(&number) else {
            return;
        };
        self.ended += 1;
        self.ended_slow += u32::from(now.duration_since(began) >= SLOW_WAIT);
    }

    fn look(&mut self, now: Instant) -> Seen {
        let longest = self
            .under_way
            .values()
            .map(|began| now.duration_since(*began))
            .max();
        let (ended, ended_slow) = (
            std::mem::take(&mut self.ended),
            std::mem::take(&mut self.ended_slow),
        );
        let one_in_a_hundred = u64::from(ended_slow) * 100 > u64::from(ended);
        if one_in_a_hundred || longest.is_some_and(|longest| longest >= SLOW_WAIT) {
            self.slow_since.get_or_insert(now);
        } else if ended > 0 {
            self.slow_since = None;
        }
        // Where nobody waits, nothing is learnt.
        self.is_slow = self
            .slow_since
            .is_some_and(|since| now.duration_since(since) >= SLOW_FOR);
        match longest {
            Some(longest) if longest >= STALLED => Seen::Stalled,
            _ if self.is_slow => Seen::Slow,
            _ => Seen::Sound,
        }
    }
}

/// Somebody waits for the disk.
#[must_use = "the wait ends when this is dropped"]
pub(crate) struct Waiting<'a> {
    watch: &'a DiskWatch,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.watch.state().end(self.number, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits that begin and end at given times, in milliseconds; looks each second.
    struct Disk {
        state: State,
        epoch: Instant,
    }

    impl Disk {
        fn new() -> Self {
            Self {
                state: State::default(),
                epoch: Instant::now(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.epoch + Duration::from_millis(ms)
        }

        fn begin(&mut self, number: u64, ms: u64) {
            let now = self.at(ms);
            self.state.under_way.insert(number, now);
        }

        fn end(&mut self, number: u64, ms: u64) {
            let now = self.at(ms);
            self.state.end(number, now);
        }

        fn look(&mut self, ms: u64) -> Seen {
            let now = self.at(ms);
            self.state.look(now)
        }
    }

    #[test]
    fn a_disk_is_slow_when_it_has_been_for_a_while() {
        let mut disk = Disk::new();
        for turn in 0..14 {
            // One after the other, 1.5 seconds each, so that not every look sees one end.
            disk.begin(turn, turn * 1500);
            disk.end(turn, turn * 1500 + 1500);
            let seen = disk.look(turn * 1500 + 1501);
            let expected = if turn * 1500 >= 10_000 {
                Seen::Slow
            } else {
                Seen::Sound
            };
            assert_eq!(seen, expected, "{turn}");
        }
        disk.begin(100, 30_000);
        disk.end(100, 30_010);
        assert_eq!(disk.look(30_020), Seen::Sound, "it has recovered");
        assert!(!disk.state.is_slow);
    }

    #[test]
    fn a_few_slow_waits_among_many_are_not_a_slow_disk() {
        let mut disk = Disk::new();
        for second in 0..30 {
            for number in 0..200 {
                disk.begin(number, second * 1000);
                let took = if number < 2 { 1200 } else { 3 };
                disk.end(number, second * 1000 + took);
            }
            assert_eq!(disk.look(second * 1000 + 1300), Seen::Sound);
        }
    }

    #[test]
    fn a_disk_that_nobody_waits_for_stays_as_it_was() {
        let mut disk = Disk::new();
        disk.begin(1, 0);
        disk.end(1, 2000);
        disk.look(2000);
        assert_eq!(disk.look(11_000), Seen::Sound);
        assert_eq!(disk.look(12_000), Seen::Slow);
    }

    #[test]
    fn a_disk_that_does_not_answer_has_stalled() {
        let mut disk = Disk::new();
        disk.begin(1, 0);
        assert_eq!(disk.look(19_000), Seen::Sound);
        assert_eq!(disk.look(20_000), Seen::Stalled);
        // Others may be answered meanwhile.
        disk.begin(2, 20_000);
        disk.end(2, 20_001);
        assert_eq!(disk.look(20_002), Seen::Stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_disk_stops_the_node() {
        let watch = DiskWatch::new("a test");
        let began = Instant::now().checked_sub(STALLED).unwrap();
        watch.state().under_way.insert(0, began);
        let (stopped, reason) = tokio::sync::oneshot::channel();
        let stopped = Mutex::new(Some(stopped));
        let fail_stop = FailStop::new(move |reason| {
            let stopped = stopped.lock().unwrap().take().unwrap();
            stopped.send(reason.to_owned()).unwrap();
        });
        watch.run(fail_stop, |_| {}).await;
        assert_eq!(
            reason.await.unwrap(),
            "the disk of a test has not answered for 20s"
        );
    }
}
