//! Shards to and from nodes: this one directly, the others over the wire.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::v1::blobs_client::BlobsClient;
use cairn_proto::v1::{self, get_shard_response};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::incoming::Incoming;
use super::peers::{BlobPeers, Wire};
use super::record::{Code, SegmentId};
use super::service::MAX_DELETED;
use super::shard_error::ShardError;
use super::shard_file::{Seal, ShardHeader, ShardName, checksum};
use super::small::SmallSegment;
use super::stores::Stores;
use super::tree::SEGMENT_BYTES;
use super::wire;
use crate::node_id::NodeId;

/// How long a node may take for an answer of a megabyte or two.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How many cells wait for one node.
const UNSENT_CELLS: usize = 2;

/// How long nothing more is sent to a node that said it was full.
const FULL_TIME: Duration = Duration::from_secs(5);

/// A node with less room than this is left alone: that of a few segments that are under way.
const LEAST_ROOM: u64 = 2 * SEGMENT_BYTES;

/// How much the last answer counts in what is expected of a node.
const SMOOTHING: f64 = 0.2;

/// Moves shards between nodes.
pub(super) struct Transfer {
    stores: Stores,
    peers: Arc<dyn BlobPeers>,
    answers: Mutex<HashMap<NodeId, Duration>>,
    full_since: Mutex<HashMap<NodeId, Instant>>,
}

/// A shard on its way to a node. Dropping it leaves nothing there.
pub(super) struct ShardWriter {
    parts: mpsc::Sender<Part>,
    done: AbortOnDropHandle<Result<(), ShardError>>,
}

enum Part {
    Cell(Bytes, u64),
    Seal(Seal),
}

impl Transfer {
    pub(super) fn new(stores: Stores, peers: Arc<dyn BlobPeers>) -> Self {
        Self {
            stores,
            peers,
            answers: Mutex::default(),
            full_since: Mutex::default(),
        }
    }

    /// This node.
    pub(super) fn me(&self) -> NodeId {
        self.peers.me()
    }

    /// Whether it is worth while to call a node.
    pub(super) fn is_up(&self, node: NodeId) -> bool {
        node == self.me() || !self.peers.is_down(node)
    }

    /// Whether a node has no room for much more, or said a moment ago that it has none.
    pub(super) fn is_full(&self, node: NodeId) -> bool {
        let room = match node == self.me() {
            true => Some(self.stores.shards.room()),
            false => self.peers.room(node),
        };
        if room.is_some_and(|room| room < LEAST_ROOM) {
            return true;
        }
        let full_since = self.full_since.lock().expect("no panic while held");
        full_since
            .get(&node)
            .is_some_and(|since| since.elapsed() < FULL_TIME)
    }

    /// Notes that a node says it is full.
    pub(super) fn note_full(&self, node: NodeId) {
        let mut full_since = self.full_since.lock().expect("no panic while held");
        full_since.insert(node, Instant::now());
    }

    /// How long a node takes to answer, smoothed; none if it was never asked.
    pub(super) fn expected(&self, node: NodeId) -> Option<Duration> {
        self.answers
            .lock()
            .expect("no panic while held")
            .get(&node)
            .copied()
    }

    fn answered(&self, node: NodeId, took: Duration) {
        let mut answers = self.answers.lock().expect("no panic while held");
        let expected = answers.entry(node).or_insert(took);
        *expected = expected.mul_f64(1.0 - SMOOTHING) + took.mul_f64(SMOOTHING);
    }

    fn client(&self, node: NodeId) -> BlobsClient<Wire> {
        BlobsClient::new(self.peers.wire(node))
    }

    /// Runs a call with a deadline, and learns from how it went.
    async fn call<T>(
        &self,
        node: NodeId,
        call: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<T, ShardError> {
        let began = Instant::now();
        let result = timeout(ANSWER_TIME, call)
            .await
            .unwrap_or(Err(ShardError::Timeout));
        match &result {
            Ok(_) => self.answered(node, began.elapsed()),
            Err(ShardError::Timeout) => self.peers.suspect(node),
            Err(_) => {}
        }
        result
    }

    /// Begins to send a shard to a node.
    pub(super) fn put_shard(&self, node: NodeId, name: ShardName, code: Code, offset: u64) -> ShardWriter {
        let (parts, receiver) = mpsc::channel(UNSENT_CELLS);
        let done = if node == self.me() {
            tokio::spawn(write_here(self.stores.clone(), receiver, name, code, offset))
        } else {
            tokio::spawn(write_there(self.client(node), receiver, name, code, offset))
        };
        ShardWriter {
            parts,
            done: AbortOnDropHandle::new(done),
        }
    }

    /// Reads cells of a shard from a node, verified.
    pub(super) async fn get_cells(
        &self,
        node: NodeId,
        name: ShardName,
        cells: Range<u32>,
    ) -> Result<(ShardHeader, Vec<Bytes>), ShardError> {
        let call = async {
            if node == self.me() {
                self.stores.read_shard(name, cells).await
            } else {
                self.get_cells_there(node, name, cells).await
            }
        };
        self.call(node, call).await
    }

    async fn get_cells_there(
        &self,
        node: NodeId,
        name: ShardName,
        cells: Range<u32>,
    ) -> Result<(ShardHeader, Vec<Bytes>), ShardError> {
        let request = v1::GetShardRequest {
            name: Some(wire::shard_name(&name)),
            first_cell: cells.start,
            cells: cells.end - cells.start,
        };
        let mut parts = self.client(node).get_shard(request).await?.into_inner();
        let corrupt = |what: &str| Err(ShardError::Corrupt(what.into()));
        let header = match parts.message().await?.and_then(|message| message.part) {
            Some(get_shard_response::Part::Header(page)) => ShardHeader::decode(&page)?,
            _ => return corrupt("a peer sent no header"),
        };
        let geometry = header.geometry().expect("checked when it was decoded");
        if header.name != name || cells.end > geometry.stripes() {
            return corrupt("a peer sent the header of another shard");
        }
        let mut out = Vec::with_capacity(cells.len());
        for cell in cells {
            let Some(get_shard_response::Part::Cell(bytes)) =
                parts.message().await?.and_then(|message| message.part)
            else {
                return corrupt("a peer sent too few cells");
            };
            if bytes.len() != geometry.cell_bytes(cell) || checksum(&bytes) != header.checksums[cell as usize]
            {
                return corrupt("a peer sent a cell that does not have its checksum");
            }
            out.push(bytes);
        }
        Ok((header, out))
    }

    /// What a shard on a node says of itself.
    pub(super) async fn header(&self, node: NodeId, name: ShardName) -> Result<ShardHeader, ShardError> {
        let call = async {
            if node == self.me() {
                return self.stores.stat_shard(name).await;
            }
            let name = Some(wire::shard_name(&name));
            let answer = self
                .client(node)
                .stat_shard(v1::StatShardRequest { name })
                .await?;
            Ok(ShardHeader::decode(&answer.into_inner().header)?)
        };
        self.call(node, call).await
    }

    /// Stores a small segment on a node.
    pub(super) async fn put_small(
        &self,
        node: NodeId,
        id: SegmentId,
        value: Bytes,
    ) -> Result<(), ShardError> {
        let call = async {
            if node == self.me() {
                return self.stores.put_small(id, value).await;
            }
            let name = Some(wire::segment_name(&id));
            self.client(node)
                .put_small(v1::PutSmallRequest { name, value })
                .await?;
            Ok(())
        };
        // Writes wait for a sync and say little of how fast a node reads.
        let result = timeout(ANSWER_TIME, call)
            .await
            .unwrap_or(Err(ShardError::Timeout));
        if let Err(ShardError::Timeout) = result {
            self.peers.suspect(node);
        }
        result
    }

    /// Reads a small segment from a node, verified.
    pub(super) async fn get_small(&self, node: NodeId, id: SegmentId) -> Result<SmallSegment, ShardError> {
        let call = async {
            if node == self.me() {
                return Ok(self.stores.read_small(id).await?.1);
            }
            let name = Some(wire::segment_name(&id));
            let answer = self.client(node).get_small(v1::GetSmallRequest { name }).await?;
            SmallSegment::decode(answer.into_inner().value)
        };
        self.call(node, call).await
    }

    /// Removes shards and small segments from a node.
    pub(super) async fn delete(
        &self,
        node: NodeId,
        shards: Vec<ShardName>,
        small: Vec<SegmentId>,
    ) -> Result<(), ShardError> {
        if node == self.me() {
            return self.stores.delete(shards, small).await;
        }
        let mut client = self.client(node);
        let mut shards = shards.iter().map(wire::shard_name);
        let mut small = small.iter().map(wire::segment_name);
        loop {
            let request = v1::DeleteSegmentsRequest {
                shards: shards.by_ref().take(MAX_DELETED / 2).collect(),
                small: small.by_ref().take(MAX_DELETED / 2).collect(),
            };
            if request.shards.is_empty() && request.small.is_empty() {
                return Ok(());
            }
            let answer = timeout(ANSWER_TIME, client.delete_segments(request));
            answer.await.map_err(|_| ShardError::Timeout)??;
        }
    }
}

impl ShardWriter {
    /// Takes the next cell; waits while the node is behind.
    pub(super) async fn write(&mut self, cell: Bytes, checksum: u64) -> Result<(), ShardError> {
        self.send(Part::Cell(cell, checksum)).await
    }

    /// Ends the shard; when this returns it is durable.
    pub(super) async fn finish(mut self, seal: Seal) -> Result<(), ShardError> {
        self.send(Part::Seal(seal)).await?;
        self.outcome().await
    }

    async fn send(&mut self, part: Part) -> Result<(), ShardError> {
        if self.parts.send(part).await.is_ok() {
            return Ok(());
        }
        // Nobody listens any more: the node has answered, and not because it was done.
        self.outcome().await?;
        Err(ShardError::Unreachable("the node ended a shard early".into()))
    }

    async fn outcome(&mut self) -> Result<(), ShardError> {
        let ended = |gone: tokio::task::JoinError| ShardError::Unreachable(gone.to_string());
        (&mut self.done).await.map_err(ended)?
    }
}

async fn write_here(
    stores: Stores,
    mut parts: mpsc::Receiver<Part>,
    name: ShardName,
    code: Code,
    offset: u64,
) -> Result<(), ShardError> {
    let mut shard = Incoming::begin(&stores.shards, name, code, offset).await?;
    loop {
        match parts.recv().await {
            Some(Part::Cell(cell, checksum)) => shard.write(cell, checksum).await?,
            Some(Part::Seal(seal)) => return shard.finish(seal).await,
            None => return Err(ShardError::Refused("the shard was abandoned".into())),
        }
    }
}

async fn write_there(
    mut client: BlobsClient<Wire>,
    parts: mpsc::Receiver<Part>,
    name: ShardName,
    code: Code,
    offset: u64,
) -> Result<(), ShardError> {
    let begin = wire::put_begin(&name, code, offset);
    let rest = ReceiverStream::new(parts).map(|part| match part {
        Part::Cell(cell, checksum) => wire::put_cell(cell, checksum),
        Part::Seal(seal) => wire::put_seal(&seal),
    });
    client.put_shard(stream::iter([begin]).chain(rest)).await?;
    Ok(())
}
