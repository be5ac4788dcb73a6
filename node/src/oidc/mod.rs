//! OpenID Connect, as far as it lets jobs and people in: issuers, their keys, the tokens that they
//! sign, and the flow by which people sign in.
//!
//! Specifications: OpenID Connect Core and Discovery 1.0, JSON Web Token (RFC 7519), Signature
//! (RFC 7515) and Key (RFC 7517). Which issuers are asked for their keys is for
//! [`crate::registry::trust`] to say, only those that a rule names, and for the configuration.

mod id_token;
mod issuer;
mod issuers;
mod login;

pub(crate) use id_token::{IdToken, InvalidIdToken, Verified, audiences};
pub use issuer::Issuer;
pub(crate) use issuer::{is_this_machine, may_be_asked};
pub(crate) use issuers::{Issuers, KeyError};
pub use login::Provider;
pub(crate) use login::{LoginError, Secrets as ProviderSecrets};
