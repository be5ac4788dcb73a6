//! What is still on disks though nothing names it, and when it will be gone.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Pages, Retention};
use crate::blob::id::{BlobId, Space};
use crate::blob::record::{BlobRecord, BlobState, GarbageRecord};
use crate::blob::walk::fixed;
use crate::blob::{Blobs, keys};
use crate::kv::{ReadError, Snapshot};
use crate::record::number;
use crate::seams::Timestamp;

/// How far on its way out something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WasteStage {
    /// Nothing names it, but something may again.
    Orphan,
    /// It was decided to be removed.
    Quarantine,
}

/// Bytes that nothing names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// Whose they were.
    pub space: Space,
    /// Which blob they were, if they were one.
    #[serde(serialize_with = "shown")]
    pub blob: Option<BlobId>,
    /// How many.
    pub bytes: u64,
    /// How far on its way out it is.
    pub stage: WasteStage,
    /// From when on the next round of the collection gives their space back.
    pub freed_at: Timestamp,
}

fn shown<S: serde::Serializer>(blob: &Option<BlobId>, to: S) -> Result<S::Ok, S::Error> {
    match blob {
        Some(blob) => to.collect_str(blob),
        None => to.serialize_none(),
    }
}

/// Waste, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WasteSum {
    pub(super) items: u64,
    pub(super) bytes: u64,
}

impl Blobs {
    /// Up to `limit` things that nothing names, with when their space comes back.
    pub async fn waste(&self, limit: usize) -> Result<Vec<Waste>, ReadError> {
        let mut out = Vec::new();
        self.each_waste(|waste| {
            out.push(waste);
            out.len() < limit
        })
        .await?;
        Ok(out)
    }

    pub(super) async fn waste_in_sum(&self) -> Result<WasteSum, ReadError> {
        let mut sum = WasteSum::default();
        self.each_waste(|waste| {
            sum.items += 1;
            sum.bytes += waste.bytes;
            true
        })
        .await?;
        Ok(sum)
    }

    /// Visits all waste until `visit` says that it is enough.
    async fn each_waste(&self, mut visit: impl FnMut(Waste) -> bool) -> Result<(), ReadError> {
        let snapshot = self.kv().local();
        let retention = Retention::load(&snapshot).await?;
        let mut spaces = Pages::of(keys::spaces());
        while let Some(page) = spaces.next(self).await? {
            for entry in page {
                let space = Space(number(&entry.item)?);
                let mut orphans = Pages::of(keys::orphans(space));
                while let Some(page) = orphans.next(self).await? {
                    for entry in page {
                        let id = BlobId(fixed(&entry.item)?);
                        if let Some(waste) = orphaned(&snapshot, &retention, space, id).await?
                            && !visit(waste)
                        {
                            return Ok(());
                        }
                    }
                }
                let mut garbage = Pages::of(keys::all_garbage(space));
                while let Some(page) = garbage.next(self).await? {
                    for entry in page {
                        let garbage: GarbageRecord = entry.record()?;
                        let waste = Waste {
                            space,
                            blob: garbage.blob,
                            bytes: garbage.bytes,
                            stage: WasteStage::Quarantine,
                            freed_at: garbage.due(&retention),
                        };
                        if !garbage.removed && !visit(waste) {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

async fn orphaned(
    snapshot: &Snapshot,
    retention: &Retention,
    space: Space,
    id: BlobId,
) -> Result<Option<Waste>, ReadError> {
    let record = snapshot.record::<BlobRecord>(&keys::record(space, &id)).await?;
    let Some((bytes, since)) = record.and_then(|record| match record.state {
        BlobState::Live => None,
        BlobState::Orphan { since } => Some((record.size, since)),
    }) else {
        return Ok(None);
    };
    let leased_until = Timestamp(snapshot.number(&keys::lease(space, &id)).await?);
    let decided = since.plus(retention.orphans()).max(leased_until);
    Ok(Some(Waste {
        space,
        blob: Some(id),
        bytes,
        stage: WasteStage::Orphan,
        freed_at: decided.plus(retention.quarantine()),
    }))
}
