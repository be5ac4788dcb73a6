//! openraft's place in Cairn. None of its types leave this folder.

mod control;
mod exchange;
mod floor;
mod forward;
mod log_store;
mod network;
mod replica;
mod rounds;
mod service;
mod snapshot;
mod state_machine;
#[cfg(test)]
mod tests;
mod types;
mod wire;

pub(crate) use replica::Replica;
pub use replica::{MetadataHash, RaftConfig};
pub(crate) use service::Service;
