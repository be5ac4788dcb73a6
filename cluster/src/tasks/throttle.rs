//! Keeps a task to its rate.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How much of a rest is saved up: a task that was slow for a while may not catch up at once.
const BURST: Duration = Duration::from_millis(250);

/// Spreads bytes over time.
#[derive(Debug)]
pub(super) struct Throttle {
    /// When all that was taken so far has had its time.
    paid_until: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self {
            paid_until: Mutex::new(Instant::now()),
        }
    }

    /// Takes so many bytes at a rate per second; says until when whoever took them waits.
    pub(super) fn take(&self, now: Instant, bytes: u64, rate: Option<u64>) -> Instant {
        let mut paid_until = self.paid_until.lock().expect("no panic while held");
        let Some(rate) = rate else {
            *paid_until = now;
            return now;
        };
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *paid_until = (*paid_until).max(earliest) + cost;
        *paid_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_time_that_their_rate_gives_them() {
        let throttle = Throttle::new();
        let began = Instant::now();
        let end = (0..100).fold(began, |now, _| now.max(throttle.take(now, 1000, Some(10_000))));
        let took = end - began;
        assert!(
            (Duration::from_millis(9700)..Duration::from_millis(10_100)).contains(&took),
            "{took:?}"
        );
    }

    #[test]
    fn without_a_rate_nothing_waits_and_a_rest_is_not_saved_up() {
        let throttle = Throttle::new();
        let began = Instant::now();
        assert_eq!(throttle.take(began, 1 << 40, None), began);
        let rested = began + Duration::from_secs(3600);
        assert!(throttle.take(rested, 10_000, Some(1000)) >= rested + Duration::from_secs(9));
    }
}
