//! openraft's place in Cairn. None of its types leave this folder.

mod control;
mod exchange;
mod floor;
mod forward;
mod log_store;
mod network;
mod replica;
mod rocks_log;
mod rocks_state;
mod rounds;
mod service;
#[cfg(test)]
pub(crate) mod simulated;
mod snapshot;
mod state_machine;
#[cfg(test)]
mod tests;
mod types;
mod wire;

pub(crate) use replica::Replica;
pub use replica::{MetadataHash, RaftConfig};
pub(crate) use service::Service;
