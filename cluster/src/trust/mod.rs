//! Who may speak to whom: the cluster's own certificate authority, the certificates of its
//! nodes, and the tokens that let a new node ask for one.
//!
//! - The authority is made when the cluster is founded. Its key lies in the metadata, so that
//!   any node can admit another, and never leaves the cluster.
//! - A certificate names one node of one cluster. Its key never leaves that node;
//!   only a signing request travels.
//! - A join token is used once, expires soon, and pins the authority, so that a joining node
//!   cannot be drawn into a foreign cluster.
//! - TLS 1.3 only, both sides proven, nothing resumed: an expired certificate or another
//!   authority ends the handshake.

mod authority;
mod credentials;
mod join_token;
mod name;
mod tls;

pub use authority::{Authority, AuthorityError, CertificateError, Fingerprint, ParseFingerprintError};
pub use credentials::{Credentials, NodeKey, SigningRequest};
pub use join_token::{DEFAULT_TOKEN_LIFETIME, JoinToken, JoinTokens, ParseJoinTokenError, TokenError};
pub use tls::Tls;

pub(crate) use credentials::pem_section;
pub(crate) use join_token::{TokenRecord, TokenSecret};
pub(crate) use name::NodeName;
pub(crate) use tls::{PeerRefused, pinned_client};
