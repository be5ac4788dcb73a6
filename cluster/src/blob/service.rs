//! What this node does for its peers: keeps shards and gives them back.
//!
//! Who calls is proven by the connection. What is sent is bounded and checked all the same: a
//! shard that does not add up, or a small segment without its hash, leaves nothing.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::v1::blobs_server::{Blobs, BlobsServer};
use cairn_proto::v1::{self, get_shard_response, put_shard_request};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::incoming::Incoming;
use super::shard_error::ShardError;
use super::shard_file::MAX_CELLS;
use super::small::SmallSegment;
use super::stores::Stores;
use super::wire;

/// How long a peer may take to send the next part of a shard. Parts come at the pace of the
/// upload, so this is as long as the slowest client that is put up with (1 KiB/s) may take for
/// the largest stripe; a peer that is gone is noticed by its connection.
const IDLE_TIME: Duration = Duration::from_secs(3600);

/// The most segments that one call removes.
pub(super) const MAX_DELETED: usize = 1000;

/// The service, to be mounted where only peers can call it.
#[derive(Clone)]
pub struct BlobService {
    stores: Stores,
}

impl BlobService {
    pub(super) fn new(stores: Stores) -> Self {
        Self { stores }
    }

    #[cfg(test)]
    pub(super) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The tonic service.
    pub fn server(&self) -> BlobsServer<Self> {
        BlobsServer::new(self.clone())
    }

    async fn receive(&self, mut parts: Streaming<v1::PutShardRequest>) -> Result<(), Status> {
        let refused = |what: &str| Err(ShardError::Refused(what.into()).into());
        let Some(put_shard_request::Part::Begin(begin)) = next(&mut parts).await? else {
            return refused("a shard begins with its name");
        };
        let (name, code, offset) = wire::begin(begin)?;
        let mut shard = Incoming::begin(&self.stores.shards, name, code, offset).await?;
        loop {
            match next(&mut parts).await? {
                Some(put_shard_request::Part::Cell(cell)) => shard.write(cell.content, cell.checksum).await?,
                Some(put_shard_request::Part::Seal(seal)) => {
                    return Ok(shard.finish(wire::seal(seal)?).await?);
                }
                Some(put_shard_request::Part::Begin(_)) => return refused("a shard begins once"),
                None => return refused("a shard ended without a seal"),
            }
        }
    }
}

async fn next(parts: &mut Streaming<v1::PutShardRequest>) -> Result<Option<put_shard_request::Part>, Status> {
    let message = timeout(IDLE_TIME, parts.message());
    let message = message.await.map_err(|_| Status::from(ShardError::Timeout))??;
    Ok(message.and_then(|message| message.part))
}

#[tonic::async_trait]
impl Blobs for BlobService {
    async fn put_shard(
        &self,
        request: Request<Streaming<v1::PutShardRequest>>,
    ) -> Result<Response<v1::PutShardResponse>, Status> {
        self.receive(request.into_inner()).await?;
        Ok(Response::new(v1::PutShardResponse {}))
    }

    type GetShardStream = BoxStream<'static, Result<v1::GetShardResponse, Status>>;

    async fn get_shard(
        &self,
        request: Request<v1::GetShardRequest>,
    ) -> Result<Response<Self::GetShardStream>, Status> {
        let request = request.into_inner();
        let name = wire::shard(request.name)?;
        let end = request.first_cell.saturating_add(request.cells);
        if end as usize > MAX_CELLS {
            return Err(ShardError::Refused("there are no such cells".into()).into());
        }
        let (header, cells) = self.stores.read_shard(name, request.first_cell..end).await?;
        let header = get_shard_response::Part::Header(Bytes::copy_from_slice(&header.encode()));
        let cells = cells.into_iter().map(get_shard_response::Part::Cell);
        let parts = std::iter::once(header).chain(cells);
        let messages = parts.map(|part| Ok(v1::GetShardResponse { part: Some(part) }));
        Ok(Response::new(stream::iter(messages.collect::<Vec<_>>()).boxed()))
    }

    async fn put_small(
        &self,
        request: Request<v1::PutSmallRequest>,
    ) -> Result<Response<v1::PutSmallResponse>, Status> {
        let v1::PutSmallRequest { name, value } = request.into_inner();
        let id = wire::segment_id(name)?;
        if let Err(error) = SmallSegment::decode(value.clone()) {
            return Err(ShardError::Refused(error.to_string()).into());
        }
        self.stores.put_small(id, value).await?;
        Ok(Response::new(v1::PutSmallResponse {}))
    }

    async fn get_small(
        &self,
        request: Request<v1::GetSmallRequest>,
    ) -> Result<Response<v1::GetSmallResponse>, Status> {
        let id = wire::segment_id(request.into_inner().name)?;
        let (value, _) = self.stores.read_small(id).await?;
        Ok(Response::new(v1::GetSmallResponse { value }))
    }

    async fn stat_shard(
        &self,
        request: Request<v1::StatShardRequest>,
    ) -> Result<Response<v1::StatShardResponse>, Status> {
        let name = wire::shard(request.into_inner().name)?;
        let header = self.stores.stat_shard(name).await?;
        let header = Bytes::copy_from_slice(&header.encode());
        Ok(Response::new(v1::StatShardResponse { header }))
    }

    async fn delete_segments(
        &self,
        request: Request<v1::DeleteSegmentsRequest>,
    ) -> Result<Response<v1::DeleteSegmentsResponse>, Status> {
        let request = request.into_inner();
        if request.shards.len() + request.small.len() > MAX_DELETED {
            return Err(ShardError::Refused("these are too many".into()).into());
        }
        let shards = request.shards.into_iter().map(|name| wire::shard(Some(name)));
        let small = request.small.into_iter().map(|name| wire::segment_id(Some(name)));
        let (shards, small) = (
            shards.collect::<Result<_, _>>()?,
            small.collect::<Result<_, _>>()?,
        );
        self.stores.delete(shards, small).map_err(Status::from).await?;
        Ok(Response::new(v1::DeleteSegmentsResponse {}))
    }
}
