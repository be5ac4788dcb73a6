//! I3: no wrong byte is ever served: what breaks off was right up to there, what ends is all of it.

use super::{Invariant, Violation};
use crate::payload::Difference;

/// Judges how a body differs from what it should be. Gives why the client has nothing, if it knows
/// that.
pub fn judge(what: &str, node: usize, difference: Difference) -> Result<String, Violation> {
    match difference {
        Difference::BrokenOff { .. } => Ok(difference.to_string()),
        Difference::WrongByte { .. } => Err(wrong(what, node, &difference.to_string())),
    }
}

/// A wrong byte was served.
pub fn wrong(what: &str, node: usize, how: &str) -> Violation {
    Invariant::Verified.violated(format!("node {} serves {what} wrong: {how}", node + 1))
}
