//! Copying a shard from the node that has it to this one, as it is.

use super::{CodedSegments, shard_of};
use crate::blob::incoming::Incoming;
use crate::blob::record::Located;
use crate::blob::shard_error::ShardError;
use crate::blob::stores::Stores;
use crate::blob::verify::is_of;
use crate::node_id::NodeId;

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
        for some in header.chunks() {
            let (again, content) = transfer.get_cells(from, name, some.clone()).await?;
            if again.checksums != header.checksums {
                return Err(ShardError::Corrupt("it changed while it was copied".into()));
            }
            for (cell, checksum) in content.into_iter().zip(header.checksums_of(&some)) {
                shard.write(cell, *checksum).await?;
            }
        }
        shard.finish(header.seal).await
    }
}
