//! The client side of replication: openraft's calls as requests to a peer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::v1;
use cairn_proto::v1::raft_client::RaftClient;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend};

use super::exchange::{Exchange, Heartbeats};
use super::types::{Snapshot, TypeConfig, Vote};
use super::wire;
use crate::net::{Lane, MAX_MESSAGE_BYTES, Peers};
use crate::node_id::NodeId;

/// How long a peer that failed is left alone.
const RETRY_PEER_AFTER: Duration = Duration::from_millis(100);

type RpcError = RPCError<TypeConfig>;

/// Carries requests to one peer; made by a [`Dial`].
pub(crate) type Link = tower::util::BoxCloneSyncService<
    http::Request<tonic::body::Body>,
    http::Response<tonic::body::Body>,
    tonic::Status,
>;

/// A client of the consensus service of a peer.
pub(crate) type Client = RaftClient<Link>;

/// Reaches peers. The transport proves who they are.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A way to call `node`, which listens on `address`. Connects when it is used.
    fn link(&self, node: u64, address: &str, lane: Lane) -> Link;

    /// A client for calls of one lane.
    fn client(&self, node: u64, address: &str, lane: Lane) -> Client {
        RaftClient::new(self.link(node, address, lane))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

impl Dial for Peers {
    fn link(&self, node: u64, address: &str, lane: Lane) -> Link {
        let node = NodeId(node);
        // The records of the nodes are newer than the membership after a node has moved.
        self.introduce(node, address);
        Link::new(self.channel(node, lane))
    }
}

/// Makes a client for each peer that openraft talks to.
pub(crate) struct Network {
    pub(crate) id: u64,
    pub(crate) dial: Arc<dyn Dial>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        Peer {
            id: self.id,
            target,
            address: node.addr.clone(),
            dial: self.dial.clone(),
            heartbeats: None,
        }
    }
}

/// One peer as openraft sees it.
pub(crate) struct Peer {
    id: u64,
    target: u64,
    address: String,
    dial: Arc<dyn Dial>,
    /// Open while heartbeats are sent by this.
    heartbeats: Option<Exchange<Heartbeats>>,
}

impl Peer {
    fn client(&self) -> Client {
        self.dial.client(self.target, &self.address, Lane::Raft)
    }

    /// One request and its answer, within the time that openraft gives it.
    async fn call<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        request: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RpcError> {
        let timeout = option.hard_ttl();
        match tokio::time::timeout(timeout, request).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(rpc_error(&status)),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.id,
                target: self.target,
                timeout,
            })),
        }
    }

    /// Sends a request that comes alone; its answer is the only one of the stream.
    fn heartbeat(
        &mut self,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> BoxStream<'static, Result<StreamAppendResult<TypeConfig>, RpcError>> {
        let open = match self.heartbeats.take().filter(|open| open.leads_to(self.target)) {
            Some(open) => open,
            None => Exchange::open(self.target, self.client()),
        };
        let answered = self.heartbeats.insert(open).send(append_request_to(request));
        let answer = async move {
            match answered.await {
                Ok(answer) => append_result_from(answer),
                Err(status) => {
                    // Every question for the read index sends one.
                    tokio::time::sleep(RETRY_PEER_AFTER).await;
                    Err(rpc_error(&status))
                }
            }
        };
        futures::stream::once(answer).boxed()
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let request = v1::VoteRequest {
            vote: Some(wire::vote_to(&rpc.vote)),
            last: rpc.last_log_id.as_ref().map(wire::log_id_to),
            leadership_transfer: rpc.leadership_transfer,
            pre_vote,
        };
        let mut client = self.client();
        let answer = self.call(RPCTypes::Vote, option, client.vote(request)).await?;
        Ok(VoteResponse {
            vote: wire::vote_from(answer.vote.as_ref()).map_err(malformed)?,
            vote_granted: answer.granted,
            last_log_id: answer.last.as_ref().map(wire::log_id_from),
        })
    }
}

fn malformed(error: wire::Malformed) -> RpcError {
    RPCError::Network(NetworkError::from_string(error))
}

/// A peer that cannot be reached is left alone for a while; other failures are tried again at once.
fn rpc_error(status: &tonic::Status) -> RpcError {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => {
            RPCError::Unreachable(Unreachable::from_string(status.message()))
        }
        _ => RPCError::Network(NetworkError::from_string(status.message())),
    }
}

pub(crate) fn append_request_to(rpc: &AppendEntriesRequest<TypeConfig>) -> v1::AppendRequest {
    v1::AppendRequest {
        vote: Some(wire::vote_to(&rpc.vote)),
        previous: rpc.prev_log_id.as_ref().map(wire::log_id_to),
        entries: rpc.entries.iter().map(wire::entry_to).collect(),
        leader_commit: rpc.leader_commit.as_ref().map(wire::log_id_to),
    }
}

fn append_result_from(answer: v1::AppendResponse) -> Result<StreamAppendResult<TypeConfig>, RpcError> {
    match answer.result {
        Some(v1::append_response::Result::Flushed(flushed)) => {
            Ok(Ok(flushed.id.as_ref().map(wire::log_id_from)))
        }
        Some(v1::append_response::Result::Conflict(id)) => {
            Ok(Err(StreamAppendError::Conflict(wire::log_id_from(&id))))
        }
        Some(v1::append_response::Result::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(
            wire::vote_from(Some(&vote)).map_err(malformed)?,
        ))),
        None => Err(malformed(wire::Malformed("an append answer is empty"))),
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = super::snapshot::Checkpoint;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let request = append_request_to(&rpc);
        let mut client = self.client();
        let mut answers = self
            .call(
                RPCTypes::AppendEntries,
                &option,
                client.append(futures::stream::iter([request])),
            )
            .await?;
        let answer = match tokio::time::timeout(option.hard_ttl(), answers.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => return Err(malformed(wire::Malformed("no answer to an append"))),
            Ok(Err(status)) => return Err(rpc_error(&status)),
            Err(_) => {
                return Err(RPCError::Timeout(Timeout {
                    action: RPCTypes::AppendEntries,
                    id: self.id,
                    target: self.target,
                    timeout: option.hard_ttl(),
                }));
            }
        };
        Ok(match append_result_from(answer)? {
            Ok(flushed) if flushed == last => AppendEntriesResponse::Success,
            Ok(flushed) => AppendEntriesResponse::PartialSuccess(flushed),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    /// One stream for as long as replication goes on: requests are pipelined, answers come in order.
    /// Heartbeats, which openraft sends one by one, share another one.
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> futures::future::BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let Some(first) = input.next().await else {
                return Ok(futures::stream::empty().boxed());
            };
            let second = input.next().now_or_never();
            if let Some(None) = second {
                return Ok(self.heartbeat(&first));
            }
            let mut client = self.client();
            let begin = futures::stream::iter([Some(first), second.flatten()]);
            let requests = begin.filter_map(std::future::ready).chain(input);
            let requests = requests.map(|rpc| append_request_to(&rpc));
            let answers = self
                .call(RPCTypes::AppendEntries, &option, client.append(requests))
                .await;
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => {
                    // openraft waits in `input`, before it gives the first request. A peer that
                    // refuses the connection is never given any, so the wait is here.
                    tokio::time::sleep(RETRY_PEER_AFTER).await;
                    return Err(error);
                }
            };
            let results = answers.map(|answer| match answer {
                Ok(answer) => append_result_from(answer),
                Err(status) => Err(rpc_error(&status)),
            });
            Ok(results.boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(rpc, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_vote(rpc, true, &option).await
    }

    /// Offers the checkpoint and waits until the peer has pulled and installed it. There is no
    /// deadline: the transfer may take an hour, and ends when the connection or the leadership does.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let offer = v1::SnapshotOffer {
            vote: Some(wire::vote_to(&vote)),
            last: snapshot.meta.last_log_id.as_ref().map(wire::log_id_to),
            membership: Some(wire::stored_membership_to(&snapshot.meta.last_membership)),
            checkpoint: snapshot.snapshot.name().to_owned(),
            files: snapshot
                .snapshot
                .files()
                .iter()
                .map(|(name, size_bytes)| v1::SnapshotFile {
                    name: name.clone(),
                    size_bytes: *size_bytes,
                })
                .collect(),
        };
        let unreachable = |reason: String| StreamingError::Unreachable(Unreachable::from_string(reason));
        let mut client = self.dial.client(self.target, &self.address, Lane::Bulk);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = client.offer_snapshot(offer) => {
                let answer = answer.map_err(|status| unreachable(status.message().to_owned()))?.into_inner();
                let vote = wire::vote_from(answer.vote.as_ref())
                    .map_err(|error| StreamingError::Network(NetworkError::from_string(error)))?;
                Ok(SnapshotResponse::new(vote))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let request = v1::TransferLeaderRequest {
            from: Some(wire::vote_to(rpc.from_leader())),
            to: *rpc.to_node_id(),
            last: rpc.last_log_id().map(wire::log_id_to),
        };
        let mut client = self.client();
        let answer = self
            .call(RPCTypes::TransferLeader, &option, client.transfer_leader(request))
            .await?;
        if answer.refusal.is_empty() {
            return Ok(Ok(()));
        }
        tracing::info!(
            target_node = self.target,
            refusal = answer.refusal,
            "leadership was not taken on"
        );
        let expected = rpc.last_log_id().copied();
        Ok(Err(TransferLeaderError::LogNotFlushed {
            expected,
            actual: None,
        }))
    }

    fn backoff(&self) -> Option<openraft::network::Backoff> {
        // A peer that is back is caught up at once rather than after half a second.
        Some(openraft::network::Backoff::new(std::iter::repeat(
            RETRY_PEER_AFTER,
        )))
    }
}
