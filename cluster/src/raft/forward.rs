//! What became of transactions, as the leader tells it to the nodes that took them.
//!
//! A call for each transaction would cost both sides more than all else that they do for it. On a
//! stream, whatever is at hand when a message can be sent travels in one, and what the leader
//! committed together is answered together.

use cairn_proto::v1;
use cairn_proto::v1::submitted::Outcome;
use futures::{Stream, StreamExt};
use tonic::{Code, Status};

/// A failed submission as it is told to another node.
pub(super) fn refused(status: &Status) -> v1::Submitted {
    let outcome = match status.code() {
        Code::FailedPrecondition => Outcome::NotTakenOn,
        Code::InvalidArgument => Outcome::Refused,
        _ => Outcome::Unknown,
    };
    v1::Submitted {
        outcome: outcome.into(),
        index: 0,
        reason: status.message().to_owned(),
    }
}

/// The inverse of [`refused`], for what another node said.
pub(super) fn accepted(submitted: v1::Submitted) -> Result<v1::Submitted, Status> {
    match submitted.outcome() {
        Outcome::Applied | Outcome::Conflict | Outcome::Forgotten => Ok(submitted),
        Outcome::NotTakenOn => Err(Status::failed_precondition(submitted.reason)),
        Outcome::Refused => Err(Status::invalid_argument(submitted.reason)),
        Outcome::Unknown | Outcome::Unspecified => Err(Status::unavailable(submitted.reason)),
    }
}

/// Answers a stream of requests by what `submit` makes of each transaction. All that come go on
/// at once; the answers keep their order.
pub(super) fn answers<S, F>(
    requests: S,
    most_at_once: usize,
    submit: impl Fn(v1::Transaction) -> F + Clone,
) -> impl Stream<Item = Result<v1::SubmitResponse, Status>>
where
    S: Stream<Item = Result<v1::SubmitRequest, Status>>,
    F: Future<Output = Result<v1::Submitted, Status>>,
{
    let answer = move |request: Result<v1::SubmitRequest, Status>| {
        let submit = submit.clone();
        async move {
            let transactions = request?.transactions.into_iter();
            let submissions = transactions.map(|transaction| async {
                let outcome = submit(transaction).await;
                outcome.unwrap_or_else(|status| refused(&status))
            });
            Ok::<_, Status>(v1::SubmitResponse {
                submitted: futures::future::join_all(submissions).await,
            })
        }
    };
    requests.map(answer).buffered(most_at_once)
}
