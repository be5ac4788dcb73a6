//! Events as they are stored.

use std::net::IpAddr;

use cairn_cluster::Timestamp;
use cairn_cluster::record::Record;
use serde::{Deserialize, Serialize};

use crate::registry::place::{Place, PlaceKind};

/// Something that was done, or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When, by the clock of the node that was asked.
    pub(crate) at: Timestamp,
    /// Who.
    pub(crate) by: Author,
    /// From which address.
    pub(crate) from: Option<IpAddr>,
    /// The id of the request, as it is in the log of the node.
    pub(crate) request: Option<String>,
    /// What, as in `project.created`.
    pub(crate) name: String,
    /// In which group or project; none for the instance.
    pub(crate) place: Option<Whereabouts>,
    /// To what in it.
    pub(crate) target: String,
    /// What differs afterwards.
    pub(crate) changes: Vec<Change>,
    /// How it was refused; it was done if there is none.
    pub(crate) refused: Option<Refusal>,
}

impl Record for Event {}

/// Who did something, or tried to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Author {
    /// Without credentials, or with some that do not hold.
    Nobody,
    /// A user.
    User {
        /// Its number.
        id: u64,
        /// Its name at that time.
        name: String,
        /// The id of the token that it used: the part of it that is no secret.
        token: Option<String>,
    },
    /// A deploy token.
    Deploy {
        /// The username that goes with it.
        name: String,
        /// Its id.
        token: Option<String>,
    },
    /// Cairn itself, as a policy says.
    Cairn,
    /// A job of a CI service.
    Job {
        /// What its issuer calls it.
        name: String,
        /// The id of the token that it was given.
        token: Option<String>,
    },
}

impl Author {
    /// The name to show.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Nobody => "nobody",
            Self::Cairn => "cairn",
            Self::User { name, .. } | Self::Deploy { name, .. } | Self::Job { name, .. } => name,
        }
    }

    /// What GitLab calls what it is.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Nobody => "Gitlab::Audit::UnauthenticatedAuthor",
            Self::Cairn => "Gitlab::Audit::NullAuthor",
            Self::User { .. } => "User",
            Self::Deploy { .. } => "DeployToken",
            Self::Job { .. } => "Job",
        }
    }

    /// The id of the token that was used.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::Nobody | Self::Cairn => None,
            Self::User { token, .. } | Self::Deploy { token, .. } | Self::Job { token, .. } => {
                token.as_deref()
            }
        }
    }

    /// The number of the user.
    pub(crate) fn user(&self) -> Option<u64> {
        match self {
            Self::User { id, .. } => Some(*id),
            _ => None,
        }
    }
}

/// A group or project as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whereabouts {
    /// Its root group.
    pub(crate) root: u64,
    /// Which of the two.
    pub(crate) kind: PlaceKind,
    /// Its number.
    pub(crate) id: u64,
    /// Its path at that time.
    pub(crate) path: String,
}

impl Whereabouts {
    pub(crate) fn new(place: Place, path: &str) -> Self {
        Self {
            root: place.root,
            kind: place.kind,
            id: place.id,
            path: path.into(),
        }
    }
}

impl From<&Whereabouts> for Place {
    fn from(whereabouts: &Whereabouts) -> Self {
        Self {
            root: whereabouts.root,
            kind: whereabouts.kind,
            id: whereabouts.id,
        }
    }
}

/// Something that differs afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// What.
    pub(crate) what: String,
    /// What it was.
    pub(crate) before: Option<String>,
    /// What it is.
    pub(crate) after: Option<String>,
}

/// How something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: u16,
    /// How often within a few seconds.
    pub(crate) times: u32,
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Event>("audit-event");
    }
}
