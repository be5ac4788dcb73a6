//! Requests to one peer and their answers, in order, on a stream that stays open.
//!
//! A call costs both sides many times what a message on an open stream does, and more than most
//! of what nodes ask each other while they agree on something.

use cairn_proto::v1;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tonic::{Response, Status, Streaming};

use super::network::Client;

/// What is exchanged.
pub(super) trait Protocol: 'static {
    /// What one caller asks.
    type Request: Send + 'static;
    /// What it is answered.
    type Answer: Send + 'static;
    /// Requests as they travel.
    type Message: Send + 'static;
    /// The answers to those of one message.
    type Reply: Send + 'static;

    /// A message takes in no more requests when they weigh so much.
    const FULL: usize;

    /// How much of [`Protocol::FULL`] a request is.
    fn weigh(request: &Self::Request) -> usize;

    /// One message of all of them.
    fn pack(requests: Vec<Self::Request>) -> Self::Message;

    /// An answer to each request of the message, in their order.
    fn unpack(reply: Self::Reply) -> Vec<Self::Answer>;

    /// Opens the stream.
    fn call(
        client: Client,
        messages: impl Stream<Item = Self::Message> + Send + 'static,
    ) -> Opening<Self::Reply>;
}

/// A stream that is being opened.
pub(super) type Opening<T> = BoxFuture<'static, Result<Response<Streaming<T>>, Status>>;

/// The stream to one peer. Dropping it ends the stream once everything on it is answered.
pub(super) struct Exchange<P: Protocol> {
    peer: u64,
    queue: mpsc::UnboundedSender<Asked<P>>,
}

struct Asked<P: Protocol> {
    request: P::Request,
    answer: oneshot::Sender<P::Answer>,
}

type Waiting<P> = Vec<oneshot::Sender<<P as Protocol>::Answer>>;

impl<P: Protocol> Exchange<P> {
    /// Opens a stream to `peer`.
    pub(super) fn open(peer: u64, client: Client) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            if let Err(status) = carry::<P>(client, queued).await {
                // Those who wait for an answer learn that there is none.
                tracing::debug!(peer, %status, "a stream to a peer ended");
            }
        });
        Self { peer, queue }
    }

    /// Whether it leads to `peer`, and still does.
    pub(super) fn leads_to(&self, peer: u64) -> bool {
        self.peer == peer && !self.queue.is_closed()
    }

    /// Sends a request. The answer comes by what is returned, unless the stream ends before: then
    /// the peer may or may not have got it.
    pub(super) fn send(&self, request: P::Request) -> oneshot::Receiver<P::Answer> {
        let (answer, answered) = oneshot::channel();
        // If the stream has ended, so has the wait for the answer.
        let _ = self.queue.send(Asked { request, answer });
        answered
    }
}

/// Carries requests there and answers back, until either side ends.
async fn carry<P: Protocol>(client: Client, queued: mpsc::UnboundedReceiver<Asked<P>>) -> Result<(), Status> {
    let (sent, mut unanswered) = mpsc::unbounded_channel();
    let mut replies = P::call(client, messages::<P>(queued, sent)).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        let waiting: Waiting<P> = unanswered.recv().await.unwrap_or_default();
        for (caller, answer) in waiting.into_iter().zip(P::unpack(reply)) {
            // A caller that has given up needs no answer.
            let _ = caller.send(answer);
        }
    }
    Ok(())
}

/// What is at hand when a message can be sent, in one; who waits for its answers goes to `sent`.
fn messages<P: Protocol>(
    queued: mpsc::UnboundedReceiver<Asked<P>>,
    sent: mpsc::UnboundedSender<Waiting<P>>,
) -> impl Stream<Item = P::Message> + Send + 'static {
    let next = async |(mut queued, sent): (mpsc::UnboundedReceiver<Asked<P>>, mpsc::UnboundedSender<_>)| {
        let mut next = Some(queued.recv().await?);
        let (mut requests, mut waiting, mut weight) = (Vec::new(), Vec::new(), 0);
        while let Some(Asked { request, answer }) = next.take() {
            weight += P::weigh(&request);
            requests.push(request);
            waiting.push(answer);
            if weight < P::FULL {
                next = queued.try_recv().ok();
            }
        }
        sent.send(waiting).ok()?;
        Some((P::pack(requests), (queued, sent)))
    };
    futures::stream::unfold((queued, sent), next)
}

/// Transactions for the leader.
pub(super) enum Submissions {}

impl Protocol for Submissions {
    type Request = v1::Transaction;
    type Answer = v1::Submitted;
    type Message = v1::SubmitRequest;
    type Reply = v1::SubmitResponse;

    const FULL: usize = 1 << 20;

    fn weigh(transaction: &v1::Transaction) -> usize {
        transaction.encoded_len()
    }

    fn pack(transactions: Vec<v1::Transaction>) -> v1::SubmitRequest {
        v1::SubmitRequest { transactions }
    }

    fn unpack(reply: v1::SubmitResponse) -> Vec<v1::Submitted> {
        reply.submitted
    }

    fn call(
        mut client: Client,
        messages: impl Stream<Item = v1::SubmitRequest> + Send + 'static,
    ) -> Opening<v1::SubmitResponse> {
        async move { client.submit(messages).await }.boxed()
    }
}

/// Questions for the leader's read index.
pub(super) enum Questions {}

impl Protocol for Questions {
    type Request = v1::ReadIndexRequest;
    type Answer = v1::ReadIndexResponse;
    type Message = v1::ReadIndexRequest;
    type Reply = v1::ReadIndexResponse;

    const FULL: usize = 1;

    fn weigh(_: &v1::ReadIndexRequest) -> usize {
        Self::FULL
    }

    fn pack(requests: Vec<v1::ReadIndexRequest>) -> v1::ReadIndexRequest {
        requests.into_iter().next().unwrap_or_default()
    }

    fn unpack(reply: v1::ReadIndexResponse) -> Vec<v1::ReadIndexResponse> {
        vec![reply]
    }

    fn call(
        mut client: Client,
        messages: impl Stream<Item = v1::ReadIndexRequest> + Send + 'static,
    ) -> Opening<v1::ReadIndexResponse> {
        async move { client.read_index(messages).await }.boxed()
    }
}

/// A leader's heartbeats, which also confirm that it leads.
pub(super) enum Heartbeats {}

impl Protocol for Heartbeats {
    type Request = v1::AppendRequest;
    type Answer = v1::AppendResponse;
    type Message = v1::AppendRequest;
    type Reply = v1::AppendResponse;

    const FULL: usize = 1;

    fn weigh(_: &v1::AppendRequest) -> usize {
        Self::FULL
    }

    fn pack(requests: Vec<v1::AppendRequest>) -> v1::AppendRequest {
        requests.into_iter().next().unwrap_or_default()
    }

    fn unpack(reply: v1::AppendResponse) -> Vec<v1::AppendResponse> {
        vec![reply]
    }

    fn call(
        mut client: Client,
        messages: impl Stream<Item = v1::AppendRequest> + Send + 'static,
    ) -> Opening<v1::AppendResponse> {
        async move { client.append(messages).await }.boxed()
    }
}
