//! What each node clears away by itself: shards that were moved elsewhere or that the metadata does
//! not know, what has been in quarantine for long, and the space of small segments that were removed.

use std::sync::Mutex;
use std::time::Duration;

use tracing::warn;

use super::{Retention, metrics};
use crate::blob::inventory::{Inventory, Unknown};
use crate::blob::shard_error::ShardError;
use crate::blob::small::Reclaim;
use crate::blob::upkeep::Upkeep;
use crate::seams::Timestamp;
use crate::tasks::Work;

/// How often everything on the disks is looked up in the metadata, unless an operator asks for it.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The clearing away on this node.
#[derive(Default)]
pub(super) struct Local {
    looked: Mutex<Option<Timestamp>>,
}

impl Local {
    pub(super) async fn round(&self, upkeep: &Upkeep, work: &Work) -> anyhow::Result<()> {
        let snapshot = upkeep.blobs.kv().local();
        let retention = Retention::load(&snapshot).await?;
        let now = upkeep.blobs.seams().clock.now();
        self.empty_quarantine(upkeep, &retention, now).await?;
        upkeep.remove_leftovers(&retention, work).await?;
        if self.is_due(now, work) {
            self.clear_unknown(upkeep, &retention, now, work).await?;
            *self.looked.lock().expect("no panic while held") = Some(now);
        }
        let small = upkeep.stores.small.clone();
        match upkeep.stores.disk.run(move || small.reclaim()).await? {
            Reclaim::Nothing => {}
            Reclaim::Done(rotten) => {
                metrics::compacted();
                rotten.into_iter().for_each(|id| upkeep.suspects.add(id));
            }
        }
        Ok(())
    }

    fn is_due(&self, now: Timestamp, work: &Work) -> bool {
        let looked = *self.looked.lock().expect("no panic while held");
        let asked = work.settings().run_at;
        looked
            .is_none_or(|looked| now >= looked.plus(LOOK_EVERY) || asked.is_some_and(|asked| asked > looked))
    }

    async fn empty_quarantine(
        &self,
        upkeep: &Upkeep,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<(), ShardError> {
        let before = Timestamp(now.0.saturating_sub(retention.unknown().as_millis() as u64));
        let small = upkeep.stores.small.clone();
        let removed = upkeep.stores.shards.empty_quarantine(before).await?
            + upkeep
                .stores
                .disk
                .run(move || small.empty_quarantine(before))
                .await?;
        metrics::unknown_removed(removed);
        Ok(())
    }

    /// Sets aside what nobody knows, if it is old enough that nobody will.
    async fn clear_unknown(
        &self,
        upkeep: &Upkeep,
        retention: &Retention,
        now: Timestamp,
        work: &Work,
    ) -> anyhow::Result<()> {
        let mut inventory = Inventory::begin(upkeep).await?;
        let mut unknown = 0;
        while let Some(findings) = inventory.next(work).await? {
            for shard in findings.unknown {
                match set_aside_if_old(upkeep, retention, now, &shard).await {
                    Ok(true) => {
                        warn!(?shard, "a shard that no record names goes to quarantine");
                        work.moved(1, 0).await;
                    }
                    Ok(false) => unknown += 1,
                    // It was removed meanwhile.
                    Err(ShardError::Missing) => {}
                    Err(error) => work.failed(format!("set aside an unknown shard: {error}")),
                }
            }
            for missing in findings.missing {
                upkeep.suspects.add(missing.known.segment.id);
            }
        }
        metrics::unknown(unknown);
        Ok(())
    }
}

async fn set_aside_if_old(
    upkeep: &Upkeep,
    retention: &Retention,
    now: Timestamp,
    shard: &Unknown,
) -> Result<bool, ShardError> {
    let old = now >= shard.written(upkeep).await?.plus(retention.unknown());
    if old {
        shard.set_aside(upkeep).await?;
    }
    Ok(old)
}
