//! HTTP: the server, what every request passes, errors, bodies, ranges.

pub(crate) mod answers;
pub(crate) mod assembled;
pub mod body;
pub(crate) mod buffers;
pub(crate) mod checksum;
pub mod entrance;
pub mod error;
pub mod form;
pub mod front;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod guard;
pub mod host;
mod linger;
pub mod media;
pub mod metrics;
pub(crate) mod multipart;
pub(crate) mod observe;
pub mod pace;
pub mod page;
pub(crate) mod parsing;
pub mod path;
mod probes;
pub mod range;
pub(crate) mod rates;
pub(crate) mod rest;
mod router;
pub mod serve;
pub mod server;
pub mod settings;
pub(crate) mod shares;
#[cfg(test)]
mod tests;
mod watch;

pub use serve::{Served, serve_blob, serve_bytes};
