//! Repair goes before rebalancing: what has lost redundancy is more urgent than what only lies in
//! the wrong place.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long a move waits for repair at most, so that a repair that is paused or stuck does not hold
/// up a drain for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How many rounds of repair have something to build on this node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Precedence {
    urgent: watch::Sender<usize>,
}

/// Urgent work that is under way, until this is dropped.
pub(super) struct Urgent(watch::Sender<usize>);

impl Default for Precedence {
    fn default() -> Self {
        let (urgent, _) = watch::channel(0);
        Self { urgent }
    }
}

impl Precedence {
    /// Notes that urgent work begins.
    pub(super) fn begin(&self) -> Urgent {
        self.urgent.send_modify(|urgent| *urgent += 1);
        Urgent(self.urgent.clone())
    }

    /// Waits until there is no urgent work, though not for ever.
    pub(super) async fn give_way(&self) {
        self.give_way_for(LONGEST_WAIT).await;
    }

    async fn give_way_for(&self, longest: Duration) {
        let mut urgent = self.urgent.subscribe();
        // It has a sender for as long as this exists.
        let _ = timeout(longest, urgent.wait_for(|urgent| *urgent == 0)).await;
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.send_modify(|urgent| *urgent -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_move_waits_for_repair_but_not_for_ever() {
        let precedence = Precedence::default();
        precedence.give_way().await;
        let repair = precedence.begin();
        let waiting = tokio::spawn({
            let precedence = precedence.clone();
            async move { precedence.give_way().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(repair);
        waiting.await.unwrap();
        let _stuck = precedence.begin();
        precedence.give_way_for(Duration::from_millis(1)).await;
    }
}
