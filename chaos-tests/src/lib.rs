//! Hurts a cluster of real processes and checks Cairn's promises.
//!
//! A scenario in `tests/` starts a [`Cluster`] of real processes, lets clients work on it
//! ([`workloads`]), does to it what it likes, and holds what every client was told ([`Oracle`])
//! against what every node answers afterwards.
//!
//! The [`driver`] does that for any length of time, by a seed: clients work ([`workloads`]),
//! [`faults`] happen, and [`invariants`] must hold.

mod clock;
mod cluster;
mod disk;
pub mod driver;
pub mod faults;
mod http;
pub mod invariants;
mod isolate;
mod memory;
mod network;
mod node;
mod oracle;
pub mod payload;
pub mod probe;
mod room;
pub mod rot;
pub mod workloads;

pub use clock::{Clock, Clocks};
pub use cluster::{Blank, Cluster, Launch, next_release, program_beside};
pub use disk::{Disk, PowerCut};
pub use http::{Answer, Http};
pub use isolate::isolate;
pub use network::{Cable, Trouble};
pub use node::Node;
pub use oracle::{Known, Oracle, Told};
pub use payload::Payload;
