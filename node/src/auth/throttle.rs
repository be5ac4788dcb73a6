//! Slows down guessing. An address whose credentials failed too often is told so, in place of
//! 401; a token that holds is always let in, so nobody can lock out somebody else.
//!
//! Passwords can be guessed, and checking one is work. So an address that failed too often may try
//! none, and neither may anybody for a while an account for which too many were wrong, apart from
//! the addresses from which somebody signed in to it lately.
//!
//! Counted on each node by itself.

use std::net::IpAddr;
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;

const WINDOW: Duration = Duration::from_secs(60);
const FAILURES_PER_WINDOW: u32 = 100;
const MAX_ADDRESSES: u64 = 10_000;

/// Passwords that may be tried for one account, until none was for a minute.
const TRIES_PER_WINDOW: u32 = 20;
const MAX_ACCOUNTS: u64 = 100_000;

/// How long an address is known from which somebody signed in.
const FAMILIAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// The name of an account, whether there is one or not.
type Account = [u8; 32];

/// Failures by address, and tries by account.
pub(crate) struct Throttle {
    failures: Cache<IpAddr, u32>,
    /// From addresses that are familiar each by itself, from all others together.
    tries: Cache<(Account, Option<IpAddr>), u32>,
    familiar: Cache<(Account, IpAddr), ()>,
}

/// One try of a password.
#[must_use]
pub(crate) struct Try<'t> {
    throttle: &'t Throttle,
    account: Account,
    address: Option<IpAddr>,
    counted: (Account, Option<IpAddr>),
}

impl Default for Throttle {
    fn default() -> Self {
        let counts = |max| Cache::builder().max_capacity(max).time_to_live(WINDOW);
        Self {
            failures: counts(MAX_ADDRESSES).build(),
            tries: Cache::builder()
                .max_capacity(MAX_ACCOUNTS)
                .time_to_live(WINDOW)
                .build(),
            familiar: Cache::builder()
                .max_capacity(MAX_ACCOUNTS)
                .time_to_live(FAMILIAR)
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

    /// Says how long an address must wait from which too much failed.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let failed = address.and_then(|address| self.failures.get(&network(address)));
        match failed.is_some_and(|failures| failures > FAILURES_PER_WINDOW) {
            true => Err(WINDOW),
            false => Ok(()),
        }
    }

    /// Begins a try of a password for an account; says how long to wait if there were too many. One
    /// that was not right is to be counted by [`Throttle::failed`] as well.
    pub(crate) fn try_password(&self, address: Option<IpAddr>, username: &str) -> Result<Try<'_>, Duration> {
        self.check(address)?;
        let address = address.map(network);
        let account = *blake3::hash(username.to_ascii_lowercase().as_bytes()).as_bytes();
        let familiar = address.filter(|address| self.familiar.contains_key(&(account, *address)));
        let counted = (account, familiar);
        let mut is_refused = false;
        self.tries.entry(counted).and_compute_with(|before| {
            let before = before.map_or(0, |before| before.into_value());
            // What is refused does not count, or whoever goes on would keep others out for ever.
            is_refused = before >= TRIES_PER_WINDOW;
            match is_refused {
                true => Op::Nop,
                false => Op::Put(before + 1),
            }
        });
        match is_refused {
            true => Err(WINDOW),
            false => Ok(Try {
                throttle: self,
                account,
                address,
                counted,
            }),
        }
    }
}

impl Try<'_> {
    /// Takes the try back: it was right.
    pub(crate) fn succeeded(self) {
        self.throttle
            .tries
            .entry(self.counted)
            .and_compute_with(|before| match before.map(|before| before.into_value()) {
                Some(tries @ 2..) => Op::Put(tries - 1),
                _ => Op::Remove,
            });
        if let Some(address) = self.address {
            self.throttle.familiar.insert((self.account, address), ());
        }
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

    fn v4(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

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
        let guesser = v4(1);
        for _ in 0..FAILURES_PER_WINDOW {
            assert_eq!(throttle.failed(guesser), None);
        }
        assert_eq!(throttle.failed(guesser), Some(WINDOW));
        assert_eq!(throttle.failed(v4(2)), None);
        assert_eq!(throttle.failed(None), None);
        // It may not try passwords any more, whatever the account.
        assert_eq!(throttle.try_password(guesser, "ann").err(), Some(WINDOW));
        assert!(throttle.try_password(v4(2), "ann").is_ok());
    }

    #[test]
    fn many_addresses_together_may_not_try_more_and_the_owner_comes_in() {
        let throttle = Throttle::default();
        throttle.try_password(v4(1), "ann").ok().unwrap().succeeded();
        for at in 0..TRIES_PER_WINDOW as u8 {
            assert!(throttle.try_password(v4(100 + at), "Ann").is_ok());
        }
        assert_eq!(throttle.try_password(v4(99), "ann").err(), Some(WINDOW));
        assert_eq!(throttle.try_password(None, "ann").err(), Some(WINDOW));
        assert!(throttle.try_password(v4(99), "bob").is_ok());
        for _ in 0..TRIES_PER_WINDOW {
            assert!(throttle.try_password(v4(1), "ann").is_ok());
        }
        assert_eq!(throttle.try_password(v4(1), "ann").err(), Some(WINDOW));
    }

    #[test]
    fn right_passwords_do_not_count() {
        let throttle = Throttle::default();
        for _ in 0..3 * TRIES_PER_WINDOW {
            throttle.try_password(None, "ann").ok().unwrap().succeeded();
        }
    }
}
