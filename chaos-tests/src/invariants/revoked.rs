//! I10: a revoked token is refused at once, by every node.

use reqwest::StatusCode;

use super::{Invariant, Violation};

/// Judges what a node answered to a token after its revocation was acknowledged. No answer, and one
/// that says to try again, are as good as a refusal.
pub fn judge(node: usize, answered: Option<StatusCode>) -> Result<(), Violation> {
    match answered.is_some_and(|status| status.is_success()) {
        false => Ok(()),
        true => Err(Invariant::Revoked.violated(format!(
            "node {} takes a token whose revocation was acknowledged before",
            node + 1
        ))),
    }
}
