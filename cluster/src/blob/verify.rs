//! Whether what this node keeps is what it should be: read from the disk, to the last byte.

use super::coded::shard_of;
use super::collect::DecideError;
use super::id::BlobId;
use super::record::{Form, Located};
use super::segments::SegmentError;
use super::shard_error::ShardError;
use super::shard_file::ShardHeader;
use super::shard_store::ShardStore;
use super::upkeep::Upkeep;
use super::walk::{Known, current};
use crate::kv::Txn;

impl Upkeep {
    /// Reads a shard of this node to its end; gives the bytes that were read. One that is not what
    /// its record says is corrupt, and in quarantine when this returns.
    pub(super) async fn check_here(&self, segment: &Located, index: u8) -> Result<u64, ShardError> {
        let record = &segment.record;
        if record.placement.form == Form::Small {
            let (stored, small) = self.stores.read_small(segment.id).await?;
            return match small.hash == record.hash.chaining && small.bytes.len() as u64 == record.len {
                true => Ok(stored.len() as u64),
                false => Err(ShardError::Corrupt("it is of another segment".into())),
            };
        }
        let name = shard_of(segment, index);
        let header = self.stores.stat_shard(name).await?;
        if !is_of(&header, segment) {
            let set_aside = move |store: &ShardStore| store.set_aside(&name);
            self.stores.shards.everywhere(set_aside).await?;
            return Err(ShardError::Corrupt("it is of another segment".into()));
        }
        let mut bytes = 0;
        for some in header.chunks() {
            let (_, some) = self.stores.read_shard(name, some).await?;
            bytes += some.iter().map(|cell| cell.len() as u64).sum::<u64>();
        }
        Ok(bytes)
    }

    /// Whether a shard lies on this node and says of itself what its record does. Not finding it is
    /// nothing to be alarmed about.
    pub(super) async fn has_here(&self, segment: &Located, index: u8) -> Result<bool, ShardError> {
        if segment.record.placement.form == Form::Small {
            // It is as cheap to fetch as to look at.
            return Ok(false);
        }
        let name = shard_of(segment, index);
        match self
            .stores
            .shards
            .find(&name, move |store| store.header(&name))
            .await
        {
            Ok(header) => Ok(is_of(&header, segment)),
            Err(ShardError::Missing | ShardError::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a shard of this node, unless the record of its segment names it here after all. The
    /// segment is claimed.
    pub(super) async fn drop_unneeded(
        &self,
        known: &Known,
        blob: &BlobId,
        index: u8,
    ) -> Result<(), SegmentError> {
        let unavailable = |error: &dyn std::fmt::Display| SegmentError::Unavailable(error.to_string());
        let look = async |mut txn: Txn| {
            let now = current(&mut txn, known.space, blob, known.segment.id).await?;
            Ok::<_, DecideError>((txn, now))
        };
        let now = self.blobs.kv().transact(look).await;
        let now = now.map_err(|error| unavailable(&error))?;
        if now.is_some_and(|now| now.placement.is_kept_by(self.me(), index)) {
            return Ok(());
        }
        Ok(self.drop_here(&known.segment, index).await?)
    }

    /// Removes a shard of this node that nobody needs.
    pub(super) async fn drop_here(&self, segment: &Located, index: u8) -> Result<(), ShardError> {
        match segment.record.placement.form {
            Form::Small => self.stores.delete(Vec::new(), vec![segment.id]).await,
            Form::Shards => {
                self.stores
                    .delete(vec![shard_of(segment, index)], Vec::new())
                    .await
            }
        }
    }
}

/// Whether a shard says of itself what the record of its segment does.
pub(super) fn is_of(header: &ShardHeader, segment: &Located) -> bool {
    let record = &segment.record;
    header.code == record.placement.code
        && header.seal.len == record.len
        && header.seal.hash == record.hash.chaining
}
