//! What a simulation must be able to replace: time and randomness.
//!
//! The network is a seam too ([`crate::net`]), and so is the disk under the shards
//! (`blob::disk`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_millis() as u64))
    }

    /// How much later this is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Tells wall time. Only expiry depends on it, never order.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes fit for secrets.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills the buffer.
    fn fill(&self, out: &mut [u8]);
}

/// The seams of one node.
#[derive(Clone, Debug)]
pub struct Seams {
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Seams {
    /// The machine's clock and its random number generator.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.entropy.fill(&mut out);
        out
    }
}

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(since_epoch.as_millis() as u64)
    }
}

#[derive(Debug)]
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        rand::Rng::fill_bytes(&mut rand::rng(), out);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A clock that a test moves.

    use std::sync::Mutex;

    use super::*;

    /// The machine's clock, moved forward.
    #[derive(Debug, Default)]
    pub(crate) struct MovedClock {
        ahead: Mutex<Duration>,
    }

    impl MovedClock {
        /// The machine's seams but for the clock.
        pub(crate) fn seams() -> (Seams, Arc<Self>) {
            let clock = Arc::<Self>::default();
            let seams = Seams {
                clock: clock.clone(),
                entropy: Arc::new(SystemEntropy),
            };
            (seams, clock)
        }

        /// Moves the clock on.
        pub(crate) fn advance(&self, by: Duration) {
            *self.ahead.lock().unwrap() += by;
        }

        /// The time now.
        pub(crate) fn at(&self) -> Timestamp {
            self.now()
        }
    }

    impl Clock for MovedClock {
        fn now(&self) -> Timestamp {
            SystemClock.now().plus(*self.ahead.lock().unwrap())
        }
    }
}
