//! Slows down guessing. An address whose credentials failed too often is told so, in place of
//! 401; a credential that holds is always let in, so nobody can lock out somebody else.
//!
//! Counted on each node by itself.

use std::net::IpAddr;
use std::time::Duration;

use moka::sync::Cache;

const WINDOW: Duration = Duration::from_secs(60);
const FAILURES_PER_WINDOW: u32 = 100;
const MAX_ADDRESSES: u64 = 10_000;

/// Failures by address.
pub(crate) struct Throttle {
    failures: Cache<IpAddr, u32>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            failures: Cache::builder()
                .max_capacity(MAX_ADDRESSES)
                .time_to_live(WINDOW)
                .build(),
        }
    }
}

impl Throttle {
    /// Counts a failure; says how long to wait if there were too many.
    pub(crate) fn failed(&self, address: Option<IpAddr>) -> Option<Duration> {
        let address = address?;
        let failures = self.failures.get(&address).unwrap_or(0) + 1;
        self.failures.insert(address, failures);
        (failures > FAILURES_PER_WINDOW).then_some(WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_slowed_down_and_others_are_not() {
        let throttle = Throttle::default();
        let guesser = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..FAILURES_PER_WINDOW {
            assert_eq!(throttle.failed(guesser), None);
        }
        assert_eq!(throttle.failed(guesser), Some(WINDOW));
        assert_eq!(throttle.failed(Some(IpAddr::from([192, 0, 2, 2]))), None);
        assert_eq!(throttle.failed(None), None);
    }
}
