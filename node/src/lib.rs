//! The server of Cairn: HTTP, users, projects, package formats.
//!
//! A request passes [`http::front`], comes to a project through [`registry::door`], and is
//! answered by one of [`formats`] or by the REST API in [`admin`]. All state lies in the cluster
//! (`cairn_cluster`): a node can be lost at any time, and any node answers any request.

pub mod admin;
pub mod app;
mod archive;
pub mod auth;
mod backup;
pub mod cli;
pub mod config;
pub mod formats;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod http;
pub mod ldap;
pub mod lock;
pub mod oidc;
pub mod registry;
#[cfg(test)]
#[path = "../../cluster/src/samples/mod.rs"]
mod samples;
pub mod start;
#[cfg(test)]
pub(crate) mod testing;
