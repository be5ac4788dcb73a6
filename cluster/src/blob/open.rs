//! Opening the blob store of a node, and the layout that it works by.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::cache::Cache;
use super::claims::Claims;
use super::coded::CodedSegments;
use super::disk::Disk;
use super::disks::{DiskError, DisksConfig, OpenedDisk, REQUESTS, ShardDisks};
use super::peers::BlobPeers;
use super::placement::{self, Layout, LayoutError, Member, Succession};
use super::pool::Pool;
use super::precedence::Precedence;
use super::record::Code;
use super::service::BlobService;
use super::shard_store::ShardStore;
use super::small::SmallStore;
use super::stores::Stores;
use super::suspects::Suspects;
use super::transfer::Transfer;
use super::upkeep::{USUAL_LOSS, Upkeep};
use super::{Blobs, Space, keys, metrics};
use crate::kv::{Kv, ReadError, Scan, Snapshot, Txn};
use crate::seams::Seams;
use crate::storage::{DiskWatch, FailStop};

/// What a node keeps blobs in.
#[derive(Clone)]
pub struct BlobConfig {
    /// The folder of the node's shards and small segments. It exists.
    pub folder: PathBuf,
    /// The disk under the shards: [`super::Folder`] at the same place, but for tests.
    pub disk: Arc<dyn Disk>,
    /// Room that is left free, for what has to be written when the disk is full.
    pub reserve_bytes: u64,
    /// Room for what is fetched from other zones; none keeps nothing of it.
    pub cache_bytes: u64,
    /// The disks beside it.
    pub disks: DisksConfig,
    /// What happens when it is not certain any more what the disk holds.
    pub fail_stop: FailStop,
}

/// Why the blob store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum BlobOpenError {
    /// The shards are not reachable.
    #[error("open the shards: {0}")]
    Shards(io::Error),
    /// The disks beside it cannot be used as they are.
    #[error(transparent)]
    Disks(#[from] DiskError),
    /// The cache of what other zones hold cannot be used.
    #[error("open the cache: {0}")]
    Cache(io::Error),
    /// The small segments are not readable.
    #[error("open the small segments: {0}")]
    Small(#[from] rocksdb::Error),
}

impl Blobs {
    /// Opens the blob store of this node. The service is what the node does for its peers, and
    /// is mounted where only they can call it; the upkeep is what its background work needs. Waits
    /// for the disk.
    ///
    /// Nothing can be stored before a layout was made: see [`Blobs::lay_out`].
    pub fn open(
        config: BlobConfig,
        kv: Kv,
        peers: Arc<dyn BlobPeers>,
        seams: Seams,
    ) -> Result<(Self, BlobService, Upkeep), BlobOpenError> {
        metrics::describe();
        let BlobConfig {
            folder,
            disk,
            reserve_bytes,
            cache_bytes,
            disks,
            fail_stop,
        } = config;
        let cache = match cache_bytes {
            0 => None,
            _ => Some(
                Cache::open(folder.join("cache"), disk.clone(), cache_bytes, reserve_bytes)
                    .map_err(BlobOpenError::Cache)?,
            ),
        };
        let watch = DiskWatch::new("the blobs");
        let shards = ShardStore::open(
            disk.clone(),
            seams.clone(),
            fail_stop.clone(),
            watch.clone(),
            reserve_bytes,
        );
        let data = OpenedDisk {
            path: disks.data.clone(),
            disk,
            store: Arc::new(shards.map_err(BlobOpenError::Shards)?),
            pool: Pool::of(REQUESTS),
            watch: watch.clone(),
        };
        let (on_data, disk) = (data.store.clone(), data.pool.clone());
        let shards = ShardDisks::open(
            disks,
            data,
            &folder,
            seams.clone(),
            fail_stop.clone(),
            reserve_bytes,
        )?;
        let small = SmallStore::open(&folder.join("small"), seams.clone(), fail_stop, watch.clone())?;
        let stores = Stores {
            shards,
            small: Arc::new(small),
            data: on_data,
            disk,
            suspects: Suspects::default(),
        };
        let pool = Pool::of_all_cores();
        let transfer = Transfer::new(stores.clone(), peers.clone());
        let coded = CodedSegments::new(transfer, cache, kv.clone(), seams.clone(), pool.clone());
        let blobs = Self::new(kv, seams, Arc::new(coded.clone()), pool);
        let service = BlobService::new(stores.clone());
        let upkeep = Upkeep {
            blobs: blobs.clone(),
            coded,
            suspects: stores.suspects.clone(),
            stores,
            peers,
            disk: watch,
            claims: Claims::default(),
            precedence: Precedence::default(),
            lost_after: USUAL_LOSS,
        };
        Ok((blobs, service, upkeep))
    }

    /// The layout of the cluster; none before the first was made.
    pub async fn layout(snapshot: &Snapshot) -> Result<Option<Layout>, ReadError> {
        snapshot.record(&keys::layout()).await
    }

    /// What changes whenever the layout does.
    pub(crate) async fn layout_version(snapshot: &Snapshot) -> Result<Option<u64>, ReadError> {
        let stored = snapshot.get(&keys::layout()).await?;
        Ok(stored.map(|stored| stored.version))
    }

    /// How many blobs still lack some of their redundancy; at most [`crate::MAX_SCAN`] of each
    /// space are counted.
    pub async fn debt(snapshot: &Snapshot) -> Result<u64, ReadError> {
        let mut blobs = 0;
        for space in snapshot.scan(Scan::of(&keys::spaces())).await? {
            let space = Space(crate::record::number(&space.item)?);
            blobs += snapshot.scan(Scan::of(&keys::debts(space))).await?.len() as u64;
        }
        Ok(blobs)
    }

    /// Makes the layout fit the members, in the caller's transaction. Without a code it is the
    /// one for so many nodes with a capacity. Whoever succeeds a node that is to hold nothing more
    /// takes its places. Changes nothing if it fits already.
    ///
    /// Only new segments follow the new layout; those that are there stay readable where they
    /// are, until they are moved.
    pub async fn lay_out(
        txn: &mut Txn,
        members: &[Member],
        successions: &[Succession],
        code: Option<Code>,
    ) -> Result<Layout, LayOutError> {
        let previous = txn.record::<Layout>(&keys::layout()).await?;
        let with_capacity = members.iter().filter(|member| member.capacity > 0).count();
        let code = code.unwrap_or_else(|| Code::for_nodes(with_capacity));
        let members = members.to_vec();
        let before = previous.clone().map(|previous| previous.handed_over(successions));
        let compute = move || placement::compute(&members, code, before.as_ref());
        let layout = Pool::of(1).run(compute).await?;
        match previous {
            Some(previous) if previous.is_same_as(&layout) => Ok(previous),
            _ => {
                txn.put_record(&keys::layout(), &layout);
                Ok(layout)
            }
        }
    }
}

/// Why a layout was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LayOutError {
    /// There is none for these members.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] ReadError),
}
