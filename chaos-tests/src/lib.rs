//! Hurts a cluster of real processes and checks Cairn's promises.
//!
//! A scenario in `tests/` starts a [`Cluster`] of real processes, lets clients work on it
//! ([`workloads`]), does to it what it likes, and holds what every client was told ([`Oracle`])
//! against what every node answers afterwards.

mod cluster;
mod disk;
mod http;
mod node;
mod oracle;
pub mod payload;
pub mod rot;
pub mod workloads;

pub use cluster::{Blank, Cluster, Launch, program_beside};
pub use disk::{Disk, PowerCut};
pub use http::{Answer, Http};
pub use node::Node;
pub use oracle::Oracle;
pub use payload::Payload;
