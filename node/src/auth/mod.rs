//! Who sends a request, and what they may do.
//!
//! Everything here is pure: the form of tokens, where a request carries them, roles, scopes,
//! and the table of who may do what. Records are read in [`crate::registry::door`], the only
//! way to a group or project; a handler names what it wants to do in its signature, as
//! `Authorised<Project, Publish>`.

pub mod action;
pub mod caller;
pub mod credentials;
pub mod derived;
pub(crate) mod password;
pub mod role;
pub mod scopes;
pub(crate) mod session;
pub(crate) mod sign_in;
pub(crate) mod throttle;
pub mod token;

pub use crate::registry::door::{Access, Authorised, Instance};
pub use action::{
    Action, Delete, DeleteImage, Manage, ManageSelf, Own, Publish, Pull, PullImage, PullImmutable,
    PullImmutableImage, PushImage, See, Verb,
};
pub use caller::{Basis, Caller, Identity};
