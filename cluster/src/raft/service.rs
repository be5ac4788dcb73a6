//! The server side of consensus: what peers ask of this node.
//!
//! A peer's claims about itself are held against its certificate: nobody votes, replicates or
//! offers snapshots in another node's name.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use cairn_proto::v1;
use cairn_proto::v1::raft_server;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest,
};
use tonic::{Request, Response, Status, Streaming};

use super::forward;
use super::network::{Client, Dial};
use super::replica::Replica;
use super::snapshot::{Incoming, clear_but};
use super::types::{Snapshot, SnapshotMeta, TypeConfig, Vote};
use super::wire;
use crate::net::{Lane, MAX_MESSAGE_BYTES, PeerIdentity, Standing};
use crate::node_id::NodeId;
use crate::off_thread::off_thread;

/// How many bytes of a snapshot file travel in one message.
const CHUNK_BYTES: usize = 1 << 20;

const RECEIVED_BYTES: &str = "cairn_raft_snapshot_received_bytes_total";

/// How many messages of one stream of a peer are being answered at once; further ones wait on the
/// connection.
const REQUESTS_PER_STREAM: usize = 1024;

/// The service of one node.
pub(crate) struct Service {
    replica: Arc<Replica>,
    dial: Arc<dyn Dial>,
}

impl Service {
    /// The service to mount, on every lane: callers choose the lane that fits the call.
    pub(crate) fn server(replica: Arc<Replica>, dial: Arc<dyn Dial>) -> raft_server::RaftServer<Self> {
        metrics::describe_counter!(
            RECEIVED_BYTES,
            "bytes of snapshots that this node received from others"
        );
        raft_server::RaftServer::new(Self { replica, dial })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Refuses a claim to be another node than the certificate says. Requests without a certificate
/// do not get here, except in tests that run without the transport.
fn check_claim(proven: Option<PeerIdentity>, claimed: u64) -> Result<(), Status> {
    proven.map_or(Ok(()), |proven| proven.require(NodeId(claimed)))
}

fn proven<T>(request: &Request<T>) -> Option<PeerIdentity> {
    PeerIdentity::of(request).ok()
}

fn fatal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node has stopped: {error}"))
}

fn append_request_from(
    request: v1::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, wire::Malformed> {
    Ok(AppendEntriesRequest {
        vote: wire::vote_from(request.vote.as_ref())?,
        prev_log_id: request.previous.as_ref().map(wire::log_id_from),
        entries: request
            .entries
            .into_iter()
            .map(wire::entry_from)
            .collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.as_ref().map(wire::log_id_from),
    })
}

fn append_result_to(result: StreamAppendResult<TypeConfig>) -> v1::AppendResponse {
    use v1::append_response::Result as Answer;
    let result = match result {
        Ok(id) => Answer::Flushed(v1::FlushedTo {
            id: id.as_ref().map(wire::log_id_to),
        }),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(wire::log_id_to(&id)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(wire::vote_to(&vote)),
    };
    v1::AppendResponse { result: Some(result) }
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl raft_server::Raft for Service {
    type AppendStream = BoxStream<v1::AppendResponse>;
    type ReadIndexStream = BoxStream<v1::ReadIndexResponse>;
    type SubmitStream = BoxStream<v1::SubmitResponse>;
    type PullSnapshotFileStream = BoxStream<v1::SnapshotChunk>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let peer = proven(&request);
        // openraft's stream has no place for a failed request: the first one ends it.
        let requests = self
            .until_stopping(request)
            .map(move |request| {
                let request = append_request_from(request?)?;
                check_claim(peer, request.vote.leader_id.node_id)?;
                Ok::<_, Status>(request)
            })
            .inspect_err(|status| tracing::warn!(%status, "replication from a peer ended"))
            .take_while(|request| std::future::ready(request.is_ok()))
            .filter_map(|request| std::future::ready(request.ok()));
        let results = self.replica.raft().stream_append(requests);
        let results = results.map(|result| result.map(append_result_to).map_err(fatal));
        // A leader whose stream just ends opens the next one at once; an error makes it wait.
        // A stream that the leader itself has ended just ends.
        let stopping = self.replica.stopping();
        let end = futures::stream::once(async { stopping.now_or_never() })
            .filter_map(async |stopped| stopped.map(|()| Err(Status::unavailable("this node is stopping"))));
        Ok(Response::new(Box::pin(results.chain(end))))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        let peer = proven(&request);
        let request = request.into_inner();
        let vote = wire::vote_from(request.vote.as_ref())?;
        check_claim(peer, vote.leader_id.node_id)?;
        let mut rpc = VoteRequest::new(vote, request.last.as_ref().map(wire::log_id_from));
        rpc.leadership_transfer = request.leadership_transfer;
        let raft = self.replica.raft();
        let answer = if request.pre_vote {
            raft.pre_vote(rpc).await
        } else {
            raft.vote(rpc).await
        };
        let answer = answer.map_err(fatal)?;
        Ok(Response::new(v1::VoteResponse {
            vote: Some(wire::vote_to(&answer.vote)),
            granted: answer.vote_granted,
            last: answer.last_log_id.as_ref().map(wire::log_id_to),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let peer = proven(&request);
        let request = request.into_inner();
        let from = wire::vote_from(request.from.as_ref())?;
        check_claim(peer, from.leader_id.node_id)?;
        let rpc = TransferLeaderRequest::new(from, request.to, request.last.as_ref().map(wire::log_id_from));
        let outcome = self
            .replica
            .raft()
            .handle_transfer_leader(rpc)
            .await
            .map_err(fatal)?;
        let refusal = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(v1::TransferLeaderResponse { refusal }))
    }

    async fn offer_snapshot(
        &self,
        request: Request<v1::SnapshotOffer>,
    ) -> Result<Response<v1::SnapshotAnswer>, Status> {
        let peer = proven(&request);
        let offer = request.into_inner();
        let vote = wire::vote_from(offer.vote.as_ref())?;
        let source = vote.leader_id.node_id;
        check_claim(peer, source)?;
        let vote = self.receive_snapshot(vote, source, offer).await?;
        Ok(Response::new(v1::SnapshotAnswer {
            vote: Some(wire::vote_to(&vote)),
        }))
    }

    async fn pull_snapshot_file(
        &self,
        request: Request<v1::SnapshotFileRequest>,
    ) -> Result<Response<Self::PullSnapshotFileStream>, Status> {
        let request = request.into_inner();
        let checkpoint = self
            .replica
            .state_machine()
            .checkpoint(&request.checkpoint)
            .ok_or_else(|| Status::not_found("that checkpoint is gone; a newer one will be offered"))?;
        if checkpoint.file(&request.name).is_none() {
            return Err(Status::not_found("no such file"));
        }
        let state = Some((checkpoint, request.name, request.offset));
        let chunks = futures::stream::try_unfold(state, |state| async move {
            let Some((checkpoint, name, offset)) = state else {
                return Ok(None);
            };
            off_thread(move || {
                let data = checkpoint.read(&name, offset, CHUNK_BYTES)?;
                let is_last = data.len() < CHUNK_BYTES;
                let blake3 = match is_last {
                    true => checkpoint.hash(&name)?.as_bytes().to_vec().into(),
                    false => Default::default(),
                };
                let next = offset + data.len() as u64;
                let chunk = v1::SnapshotChunk {
                    data: data.into(),
                    blake3,
                };
                Ok::<_, io::Error>(Some((chunk, (!is_last).then_some((checkpoint, name, next)))))
            })
            .await?
        });
        Ok(Response::new(Box::pin(
            chunks.map_err(|error: io::Error| Status::from(error)),
        )))
    }

    async fn read_index(
        &self,
        request: Request<Streaming<v1::ReadIndexRequest>>,
    ) -> Result<Response<Self::ReadIndexStream>, Status> {
        use v1::read_index_response::Result as Answer;
        let replica = self.replica.clone();
        let answer = move |question: Result<v1::ReadIndexRequest, Status>| {
            let replica = replica.clone();
            async move {
                question?;
                let result = match replica.confirm_read_index_as_leader().await {
                    Ok(index) => Answer::Index(index),
                    Err(refusal) => Answer::Refusal(refusal),
                };
                Ok::<_, Status>(v1::ReadIndexResponse { result: Some(result) })
            }
        };
        let answers = self
            .until_stopping(request)
            .map(answer)
            .buffered(REQUESTS_PER_STREAM);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn submit(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let requests = self.until_stopping(request);
        let replica = self.replica.clone();
        let submit = move |transaction| {
            let replica = replica.clone();
            async move { replica.submit_as_leader(transaction).await }
        };
        let answers = forward::answers(requests, REQUESTS_PER_STREAM, submit);
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Service {
    /// What comes on a stream while its caller counts, until this node stops: an idle one would
    /// hold up the end of its server.
    fn until_stopping<T>(
        &self,
        request: Request<Streaming<T>>,
    ) -> impl Stream<Item = Result<T, Status>> + use<T> {
        let standing = Standing::of(&request);
        let messages = request.into_inner().map(move |message| {
            standing.as_ref().map_or(Ok(()), Standing::check)?;
            message
        });
        messages.take_until(self.replica.stopping())
    }

    /// Pulls an offered checkpoint, installs it, and returns this node's vote.
    async fn receive_snapshot(
        &self,
        vote: Vote,
        source: u64,
        offer: v1::SnapshotOffer,
    ) -> Result<Vote, Status> {
        let meta = SnapshotMeta {
            last_log_id: offer.last.as_ref().map(wire::log_id_from),
            last_membership: wire::stored_membership_from(offer.membership.as_ref())?,
        };
        // One transfer at a time; a second offer waits and then finds most files in place.
        let _turn = self.replica.snapshot_turn().await;
        let address = self.replica.address_of(source).ok_or_else(|| {
            Status::failed_precondition(format!("node {source} is not a member that this node knows"))
        });
        // A node that has just joined knows nobody yet; the offer itself names the members.
        let address = match address {
            Ok(address) => address,
            Err(status) => meta
                .last_membership
                .get_node(&source)
                .map(|node| node.addr.clone())
                .ok_or(status)?,
        };
        let mut client = self.dial.client(source, &address, Lane::Bulk);
        let dir = self.replica.state_machine().incoming_dir(source);
        let total: u64 = offer.files.iter().map(|file| file.size_bytes).sum();
        tracing::info!(
            source,
            files = offer.files.len(),
            size_bytes = total,
            "receiving a snapshot"
        );
        {
            let (dir, files) = (dir.clone(), offer.files.clone());
            let is_listed = move |name: &std::ffi::OsStr| files.iter().any(|file| name == file.name.as_str());
            off_thread(move || clear_but(&dir, is_listed)).await??;
        }
        for file in &offer.files {
            pull(&mut client, &offer.checkpoint, file, &dir).await?;
        }
        let state_machine = self.replica.state_machine().clone();
        let snapshot = off_thread(move || state_machine.received(source)).await??;
        let answer = self
            .replica
            .raft()
            .install_full_snapshot(vote, Snapshot { meta, snapshot })
            .await;
        Ok(answer.map_err(fatal)?.vote)
    }
}

/// Whether a name can be of a file of RocksDB: it becomes a path on this node's disk.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Fetches what is missing of one file and checks the whole of it.
async fn pull(
    client: &mut Client,
    checkpoint: &str,
    file: &v1::SnapshotFile,
    dir: &std::path::Path,
) -> Result<(), Status> {
    if !is_plain_name(&file.name) {
        return Err(Status::invalid_argument(format!(
            "{:?} is not the name of a snapshot file",
            file.name
        )));
    }
    let (path, size_bytes) = (dir.join(&file.name), file.size_bytes);
    let mut incoming = off_thread(move || Incoming::open(path, size_bytes)).await??;
    let request = v1::SnapshotFileRequest {
        checkpoint: checkpoint.to_owned(),
        name: file.name.clone(),
        offset: incoming.len(),
    };
    let mut chunks = client.pull_snapshot_file(request).await?.into_inner();
    let mut expected = None;
    while let Some(chunk) = chunks.message().await? {
        if incoming.len() + chunk.data.len() as u64 > size_bytes {
            break;
        }
        metrics::counter!(RECEIVED_BYTES).increment(chunk.data.len() as u64);
        incoming = off_thread(move || incoming.append(&chunk.data).map(|()| incoming)).await??;
        if !chunk.blake3.is_empty() {
            expected = Some(chunk.blake3);
        }
    }
    if !off_thread(move || incoming.finish(expected.as_deref())).await?? {
        return Err(Status::data_loss(format!(
            "snapshot file {} arrived damaged",
            file.name
        )));
    }
    Ok(())
}
