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
        let address = network(address?);
        // Those that fail at the same time count, too.
        let counted = self.failures.entry(address).and_upsert_with(|before| {
            let before = before.map_or(0, |before| before.into_value());
            before.saturating_add(1)
        });
        let failures = counted.into_value();
        (failures > FAILURES_PER_WINDOW).then_some(WINDOW)
    }
}

/// What is counted together: of IPv6, the network of 64 bits that one site or machine has for
/// itself, because whoever has it can send from any address in it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_of_the_same_network_does_not_help() {
        let throttle = Throttle::default();
        let guesser = |at: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, at]));
        for at in 0..FAILURES_PER_WINDOW as u16 {
            assert_eq!(throttle.failed(guesser(at)), None);
        }
        assert_eq!(throttle.failed(guesser(1000)), Some(WINDOW));
        let neighbour = IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]);
        assert_eq!(throttle.failed(Some(neighbour)), None);
    }

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
