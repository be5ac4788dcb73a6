//! Hurts a cluster of real processes and checks Cairn's promises.
//!
//! A scenario in `tests/` starts a [`Cluster`] of real processes, lets clients work on it,
//! kills what it likes, and holds what every client was told ([`Oracle`]) against what every
//! node answers afterwards.

mod cluster;
mod oracle;

pub use cluster::{Cluster, Launch, program_beside};
pub use oracle::{Oracle, payload};
