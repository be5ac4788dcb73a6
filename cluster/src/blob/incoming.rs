//! A shard being written to a disk of this node, off the async threads: for the node itself and
//! for its peers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::disks::{Manner, ShardDisk, ShardDisks};
use super::pipeline::{Pipeline, Stage};
use super::record::Code;
use super::shard_error::ShardError;
use super::shard_file::{Seal, ShardName};
use super::shard_store::IncomingShard;

/// How many cells wait for the disk.
const UNWRITTEN_CELLS: usize = 4;

/// A shard being written. Dropping it leaves nothing.
pub(super) struct Incoming {
    disks: ShardDisks,
    disk: Arc<ShardDisk>,
    name: ShardName,
    manner: Manner,
    shard: Pipeline<Writing>,
}

struct Writing {
    shard: IncomingShard,
    failed: Option<ShardError>,
}

impl Stage for Writing {
    type Item = (Bytes, u64);

    fn take(&mut self, (cell, checksum): (Bytes, u64)) {
        if self.failed.is_none() {
            self.failed = self.shard.write(&cell, checksum).err();
        }
    }
}

impl Incoming {
    /// Begins a shard.
    pub(super) async fn begin(
        disks: &ShardDisks,
        name: ShardName,
        code: Code,
        offset: u64,
    ) -> Result<Self, ShardError> {
        Self::begin_in(disks, name, code, offset, Manner::New).await
    }

    /// Begins a shard that takes the place of what may be there.
    pub(super) async fn begin_anew(
        disks: &ShardDisks,
        name: ShardName,
        code: Code,
        offset: u64,
    ) -> Result<Self, ShardError> {
        Self::begin_in(disks, name, code, offset, Manner::Anew).await
    }

    async fn begin_in(
        disks: &ShardDisks,
        name: ShardName,
        code: Code,
        offset: u64,
        manner: Manner,
    ) -> Result<Self, ShardError> {
        let (disk, shard) = disks.begin(name, code, offset, manner).await?;
        let writing = Writing { shard, failed: None };
        Ok(Self {
            disks: disks.clone(),
            name,
            manner,
            shard: Pipeline::new(disk.pool().clone(), writing, UNWRITTEN_CELLS),
            disk,
        })
    }

    /// Takes the next cell. A failure shows at a later call, after which there is none.
    pub(super) async fn write(&mut self, cell: Bytes, checksum: u64) -> Result<(), ShardError> {
        if let Some(Writing {
            failed: Some(error), ..
        }) = self.shard.idle()
        {
            return Err(error.clone());
        }
        let push = async {
            self.shard.push((cell, checksum)).await;
            Ok(())
        };
        self.disk.unless_failed(push).await
    }

    /// Makes the shard durable.
    pub(super) async fn finish(mut self, seal: Seal) -> Result<(), ShardError> {
        let disk = self.disk.clone();
        let Writing { shard, failed } = {
            let stage = async { Ok(self.shard.take_stage().await) };
            disk.unless_failed(stage).await?
        };
        disk.run(move |_| match failed {
            None => shard.finish(seal),
            Some(error) => Err(error),
        })
        .await?;
        if self.manner == Manner::Anew {
            self.disks.set_aside_elsewhere(&disk, self.name).await;
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Removing what there is may take long. A job that is under way does it itself.
        if let (Some(writing), Ok(runtime)) = (self.shard.take_idle(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(writing));
        }
    }
}
