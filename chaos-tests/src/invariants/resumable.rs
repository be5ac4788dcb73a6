//! I8: an upload goes on where it was acknowledged, through any node, whatever became of others.

use super::{Invariant, Violation};

/// Judges where an upload stands, as a node says: not before what was acknowledged, and not after
/// what was sent.
pub fn judge(node: usize, acknowledged: u64, sent: u64, stands: u64) -> Result<(), Violation> {
    match (acknowledged..=sent).contains(&stands) {
        true => Ok(()),
        false => Err(Invariant::Resumable.violated(format!(
            "of an upload {acknowledged} bytes were acknowledged and {sent} sent, and node {} says that it \
             stands at {stands}",
            node + 1
        ))),
    }
}

/// An upload of which bytes were acknowledged, and which a node does not know.
pub fn forgotten(node: usize, acknowledged: u64) -> Violation {
    Invariant::Resumable.violated(format!(
        "node {} does not know an upload of which {acknowledged} bytes were acknowledged",
        node + 1
    ))
}
