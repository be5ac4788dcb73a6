//! Finding out which shards this node should have and does not: by comparing its disks with the
//! metadata now and then, and by looking at what somebody wanted to read and could not.

use std::time::Duration;

use tracing::info;

use super::{RepairTask, record};
use crate::blob::inventory::{Inventory, MissingShard};
use crate::blob::shard_error::ShardError;
use crate::blob::walk::{Extent, Known, Owner, Walk};
use crate::seams::Timestamp;
use crate::tasks::Work;

/// How often the disks are compared with the metadata, unless an operator asks for it.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How often after a disk was lost: what was being uploaded then is named only later.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(3600);

/// How many shards are noted as missing in one transaction.
const NOTED_AT_ONCE: usize = 50;

impl RepairTask {
    /// Notes what is missing.
    pub(super) async fn find(&self, work: &Work) -> anyhow::Result<()> {
        let now = self.upkeep.blobs.seams().clock.now();
        let losses = self.upkeep.stores.shards.losses();
        if self.state().losses != losses {
            // Until it was compared, the old number tells that it was not.
            self.state().lost = Some(now);
            self.state().looked = None;
        }
        if self.state().looked.is_none() && self.upkeep.stores.shards.is_rebuilding() {
            // One was lost before this process began.
            self.state().lost = Some(now);
        }
        if self.is_due(now, work) {
            self.compare(work).await?;
            let mut state = self.state();
            state.looked = Some(now);
            state.losses = losses;
        }
        self.look_at_suspects(work).await
    }

    fn is_due(&self, now: Timestamp, work: &Work) -> bool {
        let (looked, lost) = {
            let state = self.state();
            (state.looked, state.lost)
        };
        let look_every = match lost.is_some_and(|lost| now < lost.plus(LOOK_EVERY)) {
            true => LOOK_AGAIN_EVERY,
            false => LOOK_EVERY,
        };
        let asked = work.settings().run_at;
        looked
            .is_none_or(|looked| now >= looked.plus(look_every) || asked.is_some_and(|asked| asked > looked))
    }

    async fn compare(&self, work: &Work) -> anyhow::Result<()> {
        let mut inventory = Inventory::begin(&self.upkeep).await?;
        while let Some(findings) = inventory.next(work).await? {
            let (blobs, unfinished): (Vec<_>, Vec<_>) = findings
                .missing
                .into_iter()
                .partition(|missing| matches!(missing.known.owner, Owner::Blob(_)));
            let missing: Vec<(Known, u8)> = blobs
                .into_iter()
                .map(|MissingShard { known, index }| (known, index))
                .collect();
            self.note(&missing).await?;
            for MissingShard { known, index } in unfinished {
                self.rebuild_unfinished(&known, index, work).await;
            }
        }
        Ok(())
    }

    /// What belongs to an upload has no record of its own to note anything in.
    async fn rebuild_unfinished(&self, known: &Known, index: u8, work: &Work) {
        let (coded, stores) = (&self.upkeep.coded, &self.upkeep.stores);
        match coded
            .rebuild(stores, &known.segment, known.offset, None, index)
            .await
        {
            Ok(_) => work.moved(1, known.segment.record.len).await,
            Err(error) => work.failed(format!("rebuild a shard of an upload: {error}")),
        }
    }

    async fn look_at_suspects(&self, work: &Work) -> anyhow::Result<()> {
        let suspects = self.upkeep.suspects.take();
        if suspects.is_empty() {
            return Ok(());
        }
        let me = self.upkeep.me();
        let mut missing = Vec::new();
        let mut walk = Walk::new(Extent::Blobs);
        while let Some(page) = walk.next(&self.upkeep.blobs.kv().local()).await? {
            for known in page
                .into_iter()
                .filter(|known| suspects.contains(&known.segment.id))
            {
                let placement = &known.segment.record.placement;
                let homes = (0..).zip(&placement.homes);
                let here = homes.filter(|(index, home)| **home == me && !placement.missing.contains(index));
                let here: Vec<u8> = here.map(|(index, _)| index).collect();
                for index in here {
                    match self.upkeep.check_here(&known.segment, index).await {
                        Ok(bytes) => work.moved(0, bytes).await,
                        Err(ShardError::Missing | ShardError::Corrupt(_)) => {
                            missing.push((known.clone(), index))
                        }
                        Err(error) => work.failed(format!("check a shard: {error}")),
                    }
                }
            }
        }
        self.note(&missing).await?;
        // Those were found by looking at them.
        for (known, _) in &missing {
            self.upkeep.suspects.forget(&known.segment.id);
        }
        Ok(())
    }

    async fn note(&self, missing: &[(Known, u8)]) -> anyhow::Result<()> {
        for some in missing.chunks(NOTED_AT_ONCE) {
            info!(
                shards = some.len(),
                "shards of this node are missing and will be rebuilt"
            );
            record::note_missing(&self.upkeep.blobs, some, self.upkeep.me()).await?;
        }
        Ok(())
    }
}
