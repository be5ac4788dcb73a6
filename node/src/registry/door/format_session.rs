//! Sessions of package clients that sign in once: a format gives them a token for its own routes, which
//! they keep in place of what they signed in with.
//!
//! Nothing is stored, so any node gives one and any takes it; it holds as long as what it was made of, and
//! no longer than it says.

use std::time::Duration;

use crate::auth::derived::{Grant, Grants};
use crate::http::error::ApiError;
use crate::registry::door::Access;

/// The protocol's service that sessions are for.
const AUDIENCE: &str = "format";

/// What a session is for, and what may be done by it: whatever the one may who began it.
const KIND: &str = "format";
const ACTION: &str = "*";

impl Access {
    /// A token that lets whoever has it do what the caller may at the routes of this format.
    pub(crate) async fn begin_session(&self, format: &str, lifetime: Duration) -> Result<String, ApiError> {
        // A token that was narrowed cannot be exchanged for another one, nor made to last.
        if self.caller.is_anonymous() || self.caller.grants().is_some() {
            return Err(ApiError::unauthorized());
        }
        let grants = Grants(vec![Grant {
            kind: KIND.into(),
            name: format.into(),
            actions: vec![ACTION.into()],
        }]);
        self.sign(AUDIENCE, grants, lifetime).await
    }

    /// Whether the caller came by such a token.
    pub(super) fn has_session_of(&self, format: &str) -> bool {
        let grants = self.caller.grants();
        grants.is_some_and(|grants| grants.allow(KIND, format, ACTION))
    }

    /// The name of the caller, who has signed in for this.
    pub(crate) fn username(&self) -> Result<&str, ApiError> {
        self.check_surface()?;
        self.caller.username().ok_or_else(ApiError::unauthorized)
    }
}
