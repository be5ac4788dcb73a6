//! I2: what was not acknowledged is absent or whole, and all nodes agree on which.
//!
//! That it is whole if it is there, [`generic::read`](crate::workloads::generic::read) sees.

use super::{Invariant, Violation};

/// Whether all nodes say the same of a file.
pub fn agreed(number: u64, seen: &[bool]) -> Result<(), Violation> {
    match seen.iter().all(|there| *there == seen[0]) {
        true => Ok(()),
        false => Err(Invariant::Whole.violated(format!(
            "the nodes do not agree on file {number}, of which nobody was told: {seen:?}"
        ))),
    }
}
