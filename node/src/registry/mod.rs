//! The domain: groups, projects, users, tokens, packages.
//!
//! [`door`] decides on every request and hands out [`scope::Scope`]s; [`keys`] draws what is
//! stored where; [`package`] is what formats build on.

pub(crate) mod adoption;
pub(crate) mod audit;
pub mod blob_names;
pub mod bootstrap;
pub(crate) mod cleanup;
pub mod door;
mod ending;
pub(crate) mod expression;
#[cfg(test)]
pub(crate) mod fixture;
pub mod group;
mod keys;
pub mod member;
pub mod names;
pub mod package;
pub(crate) mod pattern;
pub mod place;
pub mod project;
pub(crate) mod protection;
mod purge;
pub(crate) mod reader;
pub mod scope;
mod sequence;
pub(crate) mod sessions;
pub mod settings;
pub(crate) mod sign_in;
pub(crate) mod storage;
pub(crate) mod store;
pub mod tasks;
pub mod time;
pub mod token;
pub(crate) mod trash;
pub mod trust;
mod usage;
pub mod user;
pub(crate) mod walk;

pub(crate) use purge::PartRemovals;
pub use purge::Progress;
pub use scope::Scope;
