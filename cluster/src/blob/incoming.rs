//! A shard being written to this node's disk, off the async threads: for the node itself and
//! for its peers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::pipeline::{Pipeline, Stage};
use super::pool::Pool;
use super::record::Code;
use super::shard_error::ShardError;
use super::shard_file::{Seal, ShardName};
use super::shard_store::{IncomingShard, ShardStore};

/// How many cells wait for the disk.
const UNWRITTEN_CELLS: usize = 4;

/// A shard being written. Dropping it leaves nothing.
pub(super) struct Incoming {
    pool: Pool,
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
        pool: &Pool,
        store: &Arc<ShardStore>,
        name: ShardName,
        code: Code,
        offset: u64,
    ) -> Result<Self, ShardError> {
        let store = store.clone();
        let shard = pool.run(move || store.begin(name, code, offset)).await?;
        Ok(Self::of(pool, shard))
    }

    /// Begins a shard that takes the place of what may be there.
    pub(super) async fn begin_anew(
        pool: &Pool,
        store: &Arc<ShardStore>,
        name: ShardName,
        code: Code,
        offset: u64,
    ) -> Result<Self, ShardError> {
        let store = store.clone();
        let shard = pool.run(move || store.begin_anew(name, code, offset)).await?;
        Ok(Self::of(pool, shard))
    }

    fn of(pool: &Pool, shard: IncomingShard) -> Self {
        let writing = Writing { shard, failed: None };
        Self {
            pool: pool.clone(),
            shard: Pipeline::new(pool.clone(), writing, UNWRITTEN_CELLS),
        }
    }

    /// Takes the next cell. A failure shows at a later call.
    pub(super) async fn write(&mut self, cell: Bytes, checksum: u64) -> Result<(), ShardError> {
        if let Some(Writing {
            failed: Some(error), ..
        }) = self.shard.idle()
        {
            return Err(error.clone());
        }
        self.shard.push((cell, checksum)).await;
        Ok(())
    }

    /// Makes the shard durable.
    pub(super) async fn finish(mut self, seal: Seal) -> Result<(), ShardError> {
        let Writing { shard, failed } = self.shard.take_stage().await;
        let finish = move || match failed {
            None => shard.finish(seal),
            Some(error) => Err(error),
        };
        self.pool.run(finish).await
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
