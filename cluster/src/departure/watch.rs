//! What the leader does for nodes that are leaving: counts what they have, and removes those that
//! were replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::tally::{self, Tally};
use super::{DepartureError, Departures, Intent};
use crate::blob::Blobs;
use crate::kv::{CommitError, Txn};
use crate::membership::{Leaving, NodeRecord};
use crate::node_id::NodeId;

/// How often it is looked whether there is something to count.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Counting goes over all metadata: it rests so many times as long as it took, but no longer than
/// this.
const REST: u32 = 10;
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How soon a node that had nothing any more is counted again, if the layout stays.
const COUNT_AGAIN: Duration = Duration::from_secs(30);

impl Departures {
    /// Counts what nodes that are leaving have, while this node leads, until `shutdown`.
    pub(crate) async fn watch(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rest_until = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if !self.control.view().is_leader() || Instant::now() < rest_until {
                continue;
            }
            let looked = tokio::select! {
                () = shutdown.cancelled() => return,
                looked = self.look() => looked,
            };
            match looked {
                Ok(counted_for) => rest_until = Instant::now() + (counted_for * REST).min(LONGEST_REST),
                Err(error) => warn!(
                    error = format!("{error:#}"),
                    "count what nodes that are leaving have"
                ),
            }
        }
    }

    /// Says how long it took to count.
    async fn look(&self) -> anyhow::Result<Duration> {
        let local = self.kv.local();
        let records = NodeRecord::all(&local).await?;
        let present = records.into_iter().filter(|(_, record)| record.removed.is_none());
        let leaving: Vec<(NodeId, Leaving)> = present
            .filter_map(|(node, record)| Some((node, record.leaving?)))
            .collect();
        if leaving.is_empty() {
            return Ok(Duration::ZERO);
        }
        let Some(layout) = Blobs::layout(&local).await? else {
            return Ok(Duration::ZERO);
        };
        let tallies = tally::all(&local).await?;
        let now = self.seams.clock.now();
        let is_due = |(node, leaving): &&(NodeId, Leaving)| {
            tallies.get(node).is_none_or(|tally| {
                let rests = tally.holding.is_nothing() && now < tally.at.plus(COUNT_AGAIN);
                !rests || tally.since != leaving.since || tally.layout != layout.version
            })
        };
        let mut counted_for = Duration::ZERO;
        if leaving.iter().any(|of| is_due(&of)) {
            // All of them: what one has counts as needed if the others leave as well.
            let nodes: BTreeSet<NodeId> = leaving.iter().map(|(node, _)| *node).collect();
            let snapshot = self.kv.latest().await?;
            let version = Blobs::layout(&snapshot).await?.map_or(0, |layout| layout.version);
            let began = Instant::now();
            let holdings = self.upkeep.holdings(&snapshot, &nodes).await?;
            // Not how long the cluster took to take a note of it, as while it elects a leader.
            counted_for = began.elapsed();
            let now = self.seams.clock.now();
            let note = async |mut txn: Txn| {
                for (node, leaving) in &leaving {
                    let holding = holdings.get(node).copied().unwrap_or_default();
                    let before = tallies.get(node);
                    let tally = Tally::after(before, leaving.since, version, now, holding);
                    txn.put_record(&tally::key(*node), &tally);
                }
                Ok::<_, CommitError>((txn, ()))
            };
            self.kv.transact(note).await?;
        }
        for (node, _) in leaving.iter().filter(|(_, leaving)| leaving.successor.is_some()) {
            self.remove_if_replaced(*node).await?;
        }
        Ok(counted_for)
    }

    /// Removes a node that was replaced, once that costs nothing.
    async fn remove_if_replaced(&self, node: NodeId) -> anyhow::Result<()> {
        let tallies = tally::all(&self.kv.local()).await?;
        if tallies.get(&node).is_none_or(|tally| tally.holding.shards > 0) {
            return Ok(());
        }
        match self.remove(node, Intent::Do).await {
            Ok(_) => info!(%node, "node {node} was replaced"),
            // It is a matter of moments, or of more shards to be rebuilt.
            Err(DepartureError::Refused(refusal)) => info!(%node, %refusal, "node {node} is not removed yet"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
