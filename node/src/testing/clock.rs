//! A clock for tests that stands until it is told to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_cluster::{Clock, Seams, Timestamp};

use crate::http::settings::HttpSettings;
use crate::testing::TestNode;

/// The clock of a node that a test gives the time.
#[derive(Debug)]
pub(crate) struct StoppedClock(AtomicU64);

impl StoppedClock {
    /// A node that lives by such a clock.
    pub(crate) async fn node() -> (TestNode, Arc<Self>) {
        Self::node_with(HttpSettings::default()).await
    }

    /// The same with other settings.
    pub(crate) async fn node_with(settings: HttpSettings) -> (TestNode, Arc<Self>) {
        Self::begin(settings, Seams::system().clock.now()).await
    }

    /// A node at a time that is the same in every run: noon of the first of July 2026.
    pub(crate) async fn noon() -> (TestNode, Arc<Self>) {
        Self::begin(HttpSettings::default(), Timestamp(1_782_907_200_123)).await
    }

    async fn begin(settings: HttpSettings, now: Timestamp) -> (TestNode, Arc<Self>) {
        let clock = Arc::new(Self(AtomicU64::new(now.0)));
        let seams = Seams {
            clock: clock.clone(),
            ..Seams::system()
        };
        (TestNode::with_seams(settings, seams).await, clock)
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
