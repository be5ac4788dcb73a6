//! Copying a shard from the node that has it to this one, as it is.

use super::{CodedSegments, shard_of};
use crate::blob::incoming::Incoming;
use crate::blob::record::Located;
use crate::blob::shard_error::ShardError;
use crate::blob::stores::Stores;
use crate::blob::verify::is_of;
use crate::node_id::NodeId;

/// How many cells are fetched at once: 2 MiB.
const CELLS_AT_ONCE: u32 = 8;

impl CodedSegments {
    /// Copies a shard file from its home to this node, each cell checked on the way; when this
    /// returns it is durable here.
    pub(in crate::blob) async fn copy(
        &self,
        stores: &Stores,
        segment: &Located,
        index: u8,
        from: NodeId,
    ) -> Result<(), ShardError> {
        let (name, transfer) = (shard_of(segment, index), &self.shared.transfer);
        let header = transfer.header(from, name).await?;
        if !is_of(&header, segment) {
            return Err(ShardError::Corrupt("it is of another segment".into()));
        }
        let code = segment.record.placement.code;
        let mut shard = Incoming::begin_anew(&stores.shards, name, code, header.offset).await?;
        let cells = header.checksums.len() as u32;
        for first in (0..cells).step_by(CELLS_AT_ONCE as usize) {
            let some = first..cells.min(first + CELLS_AT_ONCE);
            let (again, content) = transfer.get_cells(from, name, some.clone()).await?;
            if again.checksums != header.checksums {
                return Err(ShardError::Corrupt("it changed while it was copied".into()));
            }
            let checksums = &header.checksums[some.start as usize..some.end as usize];
            for (cell, checksum) in content.into_iter().zip(checksums) {
                shard.write(cell, *checksum).await?;
            }
        }
        shard.finish(header.seal).await
    }
}
