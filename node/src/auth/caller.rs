//! Who sends a request.

use std::sync::Arc;

use cairn_cluster::Timestamp;
use serde::{Deserialize, Serialize};

use crate::auth::derived::Grants;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::auth::session::SessionName;
use crate::auth::token::TokenId;
use crate::registry::place::Place;
use crate::registry::trust::Job;
use crate::registry::user::User;

/// Who sends a request, as its credentials say. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    scopes: Scopes,
    basis: Basis,
    grants: Option<Grants>,
}

/// What a caller is known by. When it does not hold any more, neither does what was decided on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nothing.
    Nothing,
    /// A token, or one that is derived from it.
    Token(TokenId),
    /// The session of a browser.
    #[allow(private_interfaces, reason = "its name is for the store alone")]
    Session(SessionName),
    /// A password.
    Password(PasswordUse),
}

/// That somebody showed a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordUse {
    /// Whose.
    pub user: u64,
    /// When it was set; never, where the directory has it.
    pub set_at: Option<Timestamp>,
}

/// Whom credentials stand for.
#[derive(Clone, Debug)]
pub enum Identity {
    /// No credentials were sent.
    Anonymous,
    /// A user, by a token of theirs, a session, or a password.
    User(User),
    /// A deploy token: nobody in particular, inside one group or project.
    Deploy {
        /// The username that belongs to the token.
        username: String,
        /// The group or project it was made for.
        place: Place,
    },
    /// A job of a continuous integration service.
    Job(Job),
}

/// The username that goes with the token of a job.
pub(crate) const JOB_USERNAME: &str = "gitlab-ci-token";

impl Caller {
    /// Somebody without credentials.
    pub(crate) fn anonymous() -> Self {
        Self::new(Identity::Anonymous, Scopes::default(), Basis::Nothing)
    }

    pub(crate) fn new(identity: Identity, scopes: Scopes, basis: Basis) -> Self {
        Self(Arc::new(Inner {
            identity,
            scopes,
            basis,
            grants: None,
        }))
    }

    /// The same caller, held to what a derived token grants.
    pub(crate) fn held_to(&self, grants: Grants) -> Self {
        Self(Arc::new(Inner {
            identity: self.0.identity.clone(),
            scopes: self.0.scopes,
            basis: self.0.basis.clone(),
            grants: Some(grants),
        }))
    }

    /// The same caller at the routes of a format.
    pub(crate) fn at(self, format: &'static str) -> Self {
        match &self.0.identity {
            Identity::Job(job) => Self(Arc::new(Inner {
                identity: Identity::Job(job.clone().at(format)),
                scopes: self.0.scopes,
                basis: self.0.basis.clone(),
                grants: self.0.grants.clone(),
            })),
            _ => self,
        }
    }

    /// The caller, narrowed to what a derived token and the routes of a format narrow another to.
    pub(crate) fn narrowed_like(self, other: &Self) -> Self {
        let narrowed = match other.job().and_then(Job::format) {
            Some(format) => self.at(format),
            None => self,
        };
        match other.grants() {
            Some(grants) => narrowed.held_to(grants.clone()),
            None => narrowed,
        }
    }

    /// Whom the credentials stand for.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// What the token may be used for.
    pub fn scopes(&self) -> Scopes {
        self.0.scopes
    }

    /// The token that was sent, or that the sent one is derived from.
    pub fn token(&self) -> Option<&TokenId> {
        match &self.0.basis {
            Basis::Token(id) => Some(id),
            _ => None,
        }
    }

    /// What the caller is known by.
    pub fn basis(&self) -> &Basis {
        &self.0.basis
    }

    /// What a derived token narrows the caller to.
    pub fn grants(&self) -> Option<&Grants> {
        self.0.grants.as_ref()
    }

    /// Whether no credentials were sent.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.0.identity, Identity::Anonymous)
    }

    /// The user, if it is one.
    pub fn user(&self) -> Option<&User> {
        match &self.0.identity {
            Identity::User(user) => Some(user),
            _ => None,
        }
    }

    /// The job, if it is one.
    pub fn job(&self) -> Option<&Job> {
        match &self.0.identity {
            Identity::Job(job) => Some(job),
            _ => None,
        }
    }

    /// The name that the caller signs in with; none for anonymous ones.
    pub fn username(&self) -> Option<&str> {
        match &self.0.identity {
            Identity::Anonymous => None,
            Identity::User(user) => Some(user.username.as_str()),
            Identity::Deploy { username, .. } => Some(username),
            Identity::Job(_) => Some(JOB_USERNAME),
        }
    }

    /// Whether the caller administers the instance and the token may be used for it.
    pub fn is_admin(&self) -> bool {
        self.user().is_some_and(|user| user.admin) && self.scopes().has(TokenScope::Api)
    }
}
