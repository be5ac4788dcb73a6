//! The stored form of what a node that is leaving still has.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::blob::Holding;
use crate::kv::{Collection, Key, ReadError, Scan, Snapshot};
use crate::node_id::NodeId;
use crate::record::{Record, number};
use crate::seams::Timestamp;

/// Over how long the pace is measured at least.
const MEASURED_OVER: Duration = Duration::from_secs(10);

/// What a node that is leaving had when it was counted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Since when it is leaving.
    pub(super) since: Timestamp,
    /// The version of the layout by which it was counted.
    pub(super) layout: u64,
    /// When.
    pub(super) at: Timestamp,
    pub(super) holding: Holding,
    /// What it had when it was counted first.
    pub(super) first: Holding,
    /// Where the pace is measured from.
    pub(super) measured_at: Timestamp,
    pub(super) measured_bytes: u64,
    /// How fast it gives up what it has.
    pub(super) bytes_per_second: u64,
}

impl Record for Tally {}

impl Tally {
    /// A count, after the one before it.
    pub(super) fn after(
        before: Option<&Self>,
        since: Timestamp,
        layout: u64,
        at: Timestamp,
        holding: Holding,
    ) -> Self {
        let first = Self {
            since,
            layout,
            at,
            holding,
            first: holding,
            measured_at: at,
            measured_bytes: holding.bytes,
            bytes_per_second: 0,
        };
        let Some(before) = before.filter(|before| before.since == since) else {
            return first;
        };
        let mut tally = Self {
            first: before.first,
            measured_at: before.measured_at,
            measured_bytes: before.measured_bytes,
            bytes_per_second: before.bytes_per_second,
            ..first
        };
        let passed = Duration::from_millis(at.0.saturating_sub(tally.measured_at.0));
        if passed >= MEASURED_OVER {
            let moved = tally.measured_bytes.saturating_sub(holding.bytes);
            tally.bytes_per_second = (moved as f64 / passed.as_secs_f64()) as u64;
            tally.measured_at = at;
            tally.measured_bytes = holding.bytes;
        }
        tally
    }

    /// How long it goes on like that, in seconds.
    pub(super) fn eta_seconds(&self) -> Option<u64> {
        (self.bytes_per_second > 0).then(|| self.holding.bytes.div_ceil(self.bytes_per_second))
    }
}

fn collection() -> Collection {
    Collection::new("cluster").at("departures")
}

pub(super) fn key(node: NodeId) -> Key {
    collection().key(node)
}

/// All that were counted.
pub(super) async fn all(snapshot: &Snapshot) -> Result<BTreeMap<NodeId, Tally>, ReadError> {
    let entries = snapshot.scan(Scan::of(&collection())).await?;
    let tallies = entries.iter().map(|entry| {
        let node = NodeId(number(&entry.item)?);
        Ok((node, entry.record()?))
    });
    tallies.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let holding = |bytes| Holding {
            shards: 1,
            bytes,
            uploads: 0,
        };
        let since = Timestamp(1000);
        let second = |seconds: u64| Timestamp(1_000_000 + seconds * 1000);
        let count = |before: Option<&Tally>, seconds, bytes| {
            Tally::after(before, since, 1, second(seconds), holding(bytes))
        };
        let first = count(None, 0, 10_000);
        assert_eq!((first.bytes_per_second, first.eta_seconds()), (0, None));
        let soon = count(Some(&first), 5, 9000);
        assert_eq!(soon.bytes_per_second, 0, "too soon to tell");
        let later = count(Some(&soon), 10, 8000);
        assert_eq!((later.bytes_per_second, later.eta_seconds()), (200, Some(40)));
        assert_eq!(later.first.bytes, 10_000);
        let stalled = count(Some(&later), 20, 8000);
        assert_eq!((stalled.bytes_per_second, stalled.eta_seconds()), (0, None));
        // Drained once more, it begins anew.
        let again = Tally::after(Some(&later), Timestamp(2000), 2, second(30), holding(500));
        assert_eq!((again.first.bytes, again.bytes_per_second), (500, 0));
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Tally>("tally");
    }
}
