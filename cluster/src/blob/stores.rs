//! What this node keeps, reached from async code.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::disks::ShardDisks;
use super::pool::Pool;
use super::record::SegmentId;
use super::shard_error::ShardError;
use super::shard_file::{ShardHeader, ShardName};
use super::shard_store::ShardStore;
use super::small::{SmallSegment, SmallStore};
use super::suspects::Suspects;

/// What a small segment takes of the disk for a while, in its own size: it is in the log, in a file,
/// and in another when that is compacted.
const SMALL_COSTS: u64 = 3;

/// This node's shards and small segments. Cheap to clone.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) shards: ShardDisks,
    pub(super) small: Arc<SmallStore>,
    /// The shards on the disk of the small segments, which tell how much room there is on it.
    pub(super) data: Arc<ShardStore>,
    /// Where that disk is waited for.
    pub(super) disk: Pool,
    /// What was asked for and is not there as it should be.
    pub(super) suspects: Suspects,
}

impl Stores {
    /// Cells of a shard, verified, with its header.
    pub(super) async fn read_shard(
        &self,
        name: ShardName,
        cells: Range<u32>,
    ) -> Result<(ShardHeader, Vec<Bytes>), ShardError> {
        let result = self
            .shards
            .find(&name, move |store| store.read(&name, cells.clone()))
            .await;
        self.note(&name.id, &result);
        result
    }

    fn note<T>(&self, id: &SegmentId, result: &Result<T, ShardError>) {
        if let Err(ShardError::Missing | ShardError::Corrupt(_)) = result {
            self.suspects.add(*id);
        }
    }

    /// What a shard says of itself.
    pub(super) async fn stat_shard(&self, name: ShardName) -> Result<ShardHeader, ShardError> {
        let result = self.shards.find(&name, move |store| store.header(&name)).await;
        self.note(&name.id, &result);
        result
    }

    /// Stores a small segment in its stored form.
    pub(super) async fn put_small(&self, id: SegmentId, value: Bytes) -> Result<(), ShardError> {
        let data = self.data.clone();
        let bytes = value.len() as u64 * SMALL_COSTS;
        self.disk.run(move || data.check_room(bytes)).await?;
        self.small.put(&id, value).await
    }

    /// A small segment, verified, with its stored form.
    pub(super) async fn read_small(&self, id: SegmentId) -> Result<(Bytes, SmallSegment), ShardError> {
        let small = self.small.clone();
        let result = self.disk.run(move || small.get(&id)).await;
        self.note(&id, &result);
        result
    }

    /// Removes shards and small segments.
    pub(super) async fn delete(
        &self,
        shards: Vec<ShardName>,
        small: Vec<SegmentId>,
    ) -> Result<(), ShardError> {
        if !shards.is_empty() {
            let shards: Arc<[ShardName]> = shards.into();
            self.shards
                .everywhere(move |store| shards.iter().try_for_each(|name| store.remove(name)))
                .await?;
        }
        for id in small {
            self.small.remove(&id).await?;
        }
        Ok(())
    }
}
