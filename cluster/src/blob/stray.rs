//! Blobs that lie where an older layout wanted them.
//!
//! Where a segment goes is decided when it begins to be stored; the layout may change before it is
//! named, and whoever goes over all segments to bring them to their places may have come by before
//! that. So whoever names a blob looks at the layout in the same transaction, and if any of its
//! segments would go elsewhere by now, the blob is noted here. What is noted is gone over in every
//! round of the rebalancing and the re-coding, until all of it is where it should be.

use super::collect::DecideError;
use super::id::{BlobId, Space};
use super::placement::Layout;
use super::record::{Located, Placement, Segmentation};
use super::walk::of_blob;
use super::writer::Nameable;
use super::{Blobs, keys, rebalance, recode};
use crate::kv::{ReadError, Txn};
use crate::record::decode;

/// Whether a segment is kept otherwise than a layout would have it.
pub(super) fn is_astray(layout: &Layout, placement: &Placement) -> bool {
    recode::is_due(layout, placement) || !rebalance::moves(layout, placement).is_empty()
}

impl Blobs {
    /// Notes a blob that is named now, if the layout has changed since it was stored.
    pub(super) async fn note_if_astray(&self, txn: &mut Txn, blob: &Nameable) -> Result<(), ReadError> {
        // With this the transaction depends on the layout: one that changes now is seen here, or
        // sees the blob.
        let Some(stored) = txn.get(&keys::layout()).await? else {
            return Ok(());
        };
        let astray = match &blob.segments {
            Segmentation::Inline(segments) => {
                let layout = self.segments().layout().await;
                let layout = match layout {
                    Some(layout) => layout,
                    None => std::sync::Arc::new(decode(&stored)?),
                };
                segments
                    .iter()
                    .any(|segment| is_astray(&layout, &segment.placement))
            }
            // There are too many to look at them all here.
            Segmentation::Apart(_) => true,
        };
        if astray {
            txn.put(&keys::stray(blob.space, &blob.id), "");
        }
        Ok(())
    }
}

/// Takes a blob from the list, if all of it is where it should be.
pub(super) async fn forget(blobs: &Blobs, space: Space, blob: &BlobId) -> Result<(), DecideError> {
    let forget = async |mut txn: Txn| {
        let key = keys::stray(space, blob);
        let (Some(_), Some(layout)) = (txn.get(&key).await?, txn.record::<Layout>(&keys::layout()).await?)
        else {
            return Ok((txn, ()));
        };
        let record = keys::record(space, blob);
        if let Some(record) = txn.record::<super::record::BlobRecord>(&record).await? {
            txn.depend_on(&keys::segments(space, &record.generation)).await?;
        }
        let astray = |segment: &Located| is_astray(&layout, &segment.record.placement);
        if of_blob(txn.snapshot(), space, *blob, astray).await?.is_empty() {
            txn.delete(&key);
        }
        Ok::<_, DecideError>((txn, ()))
    };
    blobs.kv().transact(forget).await
}
