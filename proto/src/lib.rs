//! What Cairn nodes say to each other and write to their logs, and nothing else.
//!
//! The messages are described in `cairn/v1/*.proto`, one file per service; this crate holds
//! the code generated from them. Fields are only ever added.

/// Version 1 of every message.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("cairn.v1");
}
