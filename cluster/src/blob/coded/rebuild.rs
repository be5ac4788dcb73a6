//! Building a shard again from the others of its segment.
//!
//! What is built is kept only if the segment that it was built from has the hash of its record:
//! cells may have their checksums and still be those of something else, and nothing spreads rot
//! like a repair. If the hash is wrong, one shard after the other is left out, to find the one that
//! lies.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{CodedSegments, read, shard_of};
use crate::blob::checked::Checked;
use crate::blob::erasure::Coder;
use crate::blob::id::BlobId;
use crate::blob::incoming::Incoming;
use crate::blob::pool::Pool;
use crate::blob::record::{Form, Located};
use crate::blob::segments::SegmentError;
use crate::blob::shard_error::ShardError;
use crate::blob::shard_file::{Seal, ShardHeader, ShardName, checksum};
use crate::blob::stores::Stores;
use crate::blob::writer::Cutter;
use crate::node_id::NodeId;

impl From<ShardError> for SegmentError {
    /// Of this node's own disk.
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::Full => Self::Full("the disk of this node is full".into()),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl CodedSegments {
    /// Builds a shard on this node, from whatever other shards there are; gives the shards that
    /// turned out to be other than they should.
    ///
    /// `offset` is where the segment begins in its blob, `blob` its blob if it is one's.
    pub(in crate::blob) async fn rebuild(
        &self,
        stores: &Stores,
        segment: &Located,
        offset: u64,
        blob: Option<BlobId>,
        index: u8,
    ) -> Result<BTreeSet<u8>, SegmentError> {
        if segment.record.placement.form == Form::Small {
            let small = read::fetch_small(&self.shared, segment).await?;
            stores.put_small(segment.id, small.encode()).await?;
            return Ok(BTreeSet::new());
        }
        let first = self.build(stores, segment, offset, blob, index, None).await;
        let Err(SegmentError::Damaged(_)) = first else {
            return first.map(|()| BTreeSet::new());
        };
        for liar in 0..segment.record.placement.homes.len() as u8 {
            if liar == index || segment.record.placement.missing.contains(&liar) {
                continue;
            }
            let built = self.build(stores, segment, offset, blob, index, Some(liar)).await;
            if built.is_ok() {
                return Ok(BTreeSet::from([liar]));
            }
        }
        first.map(|()| BTreeSet::new())
    }

    async fn build(
        &self,
        stores: &Stores,
        segment: &Located,
        offset: u64,
        blob: Option<BlobId>,
        index: u8,
        liar: Option<u8>,
    ) -> Result<(), SegmentError> {
        let code = segment.record.placement.code;
        let name = shard_of(segment, index);
        let mut shard = Incoming::begin_anew(&stores.shards, name, code, offset).await?;
        let barred = liar.into_iter().chain([index]).collect();
        let mut stripes = self.stripes(segment, offset, barred).await?;
        while let Some(cells) = stripes.next().await? {
            let (cell, checksum) = cells.into_iter().nth(index.into()).expect("one for each shard");
            shard.write(cell, checksum).await?;
        }
        let seal = Seal {
            len: segment.record.len,
            hash: segment.record.hash.chaining,
            blob,
        };
        // All of the content was given out, so its hash was found to be right.
        Ok(shard.finish(seal).await?)
    }

    /// The checksums of all cells of a segment, by shard index, from data that has its hash.
    pub(in crate::blob) async fn checksums(
        &self,
        segment: &Located,
        offset: u64,
    ) -> Result<Vec<Vec<u64>>, SegmentError> {
        let shards = segment.record.placement.code.shards();
        let mut checksums = vec![Vec::new(); shards];
        let mut stripes = self.stripes(segment, offset, BTreeSet::new()).await?;
        while let Some(cells) = stripes.next().await? {
            for (shard, (_, checksum)) in checksums.iter_mut().zip(cells) {
                shard.push(checksum);
            }
        }
        Ok(checksums)
    }

    /// Whether a segment can be read, and has its hash, without one of its shards.
    pub(in crate::blob) async fn is_whole_without(&self, segment: &Located, offset: u64, index: u8) -> bool {
        let read = async {
            let mut stripes = self.stripes(segment, offset, BTreeSet::from([index])).await?;
            while stripes.next().await?.is_some() {}
            Ok::<_, SegmentError>(())
        };
        read.await.is_ok()
    }

    /// What a shard says of itself.
    pub(in crate::blob) async fn header(
        &self,
        node: NodeId,
        name: ShardName,
    ) -> Result<ShardHeader, ShardError> {
        self.shared.transfer.header(node, name).await
    }

    /// Reads a segment whole, without the shards that are barred.
    async fn stripes(
        &self,
        segment: &Located,
        offset: u64,
        barred: BTreeSet<u8>,
    ) -> Result<Stripes, SegmentError> {
        let whole = 0..segment.record.len;
        let pieces = read::open_shards(&self.shared, segment, whole, read::Reader::Checker(barred)).await?;
        Ok(Stripes {
            content: Checked::whole(pieces, &self.shared.pool, segment, offset),
            coder: Arc::new(Coder::new(segment.record.placement.code)),
            pool: self.shared.pool.clone(),
            cutter: Cutter::default(),
            piece: Bytes::new(),
            cells: Vec::new(),
        })
    }
}

/// A segment being read, stripe by stripe. When it ends without an error, all of it had its hash.
struct Stripes {
    content: Checked,
    coder: Arc<Coder>,
    pool: Pool,
    cutter: Cutter,
    /// What came and was not cut yet.
    piece: Bytes,
    /// The data cells of the next stripe.
    cells: Vec<Bytes>,
}

impl Stripes {
    /// The cells of the next stripe, those with parity too, and their checksums.
    async fn next(&mut self) -> Result<Option<Vec<(Bytes, u64)>>, SegmentError> {
        while self.cells.len() < self.coder.data_shards() {
            if self.piece.is_empty() {
                match self.content.next().await? {
                    Some(piece) => self.piece = piece,
                    None => break,
                }
            }
            self.cells.extend(self.cutter.push(&mut self.piece));
        }
        if self.cells.len() < self.coder.data_shards() {
            self.cells.extend(self.cutter.rest());
        }
        if self.cells.is_empty() {
            return Ok(None);
        }
        let (coder, content) = (self.coder.clone(), std::mem::take(&mut self.cells));
        let encode = move || {
            let cells = coder.encode(coder.cut(content)).into_iter();
            let with_checksums = cells.map(|cell| {
                let checksum = checksum(&cell);
                (cell, checksum)
            });
            with_checksums.collect()
        };
        Ok(Some(self.pool.run(encode).await))
    }
}
