//! The types that openraft is instantiated with. They stay inside `raft`.

use std::fmt;

use bytes::Bytes;

use crate::kv::Outcome;

/// What openraft runs on. In a simulation its draws come from the seed.
#[cfg(not(test))]
type Runtime = openraft::TokioRuntime;
#[cfg(test)]
type Runtime = super::simulated::Runtime;

openraft::declare_raft_types!(
    /// One Raft group: all of a cluster's metadata.
    pub(crate) TypeConfig:
        D = EncodedCommand,
        R = Answer,
        AsyncRuntime = Runtime,
);

pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type EntryPayload = openraft::EntryPayload<EncodedCommand, u64, openraft::BasicNode>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, openraft::BasicNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, super::snapshot::Checkpoint>;
pub(crate) type Raft = openraft::Raft<TypeConfig, super::state_machine::StateMachine>;

/// An encoded `cairn.v1.Command`. It is decoded once, when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EncodedCommand(pub(crate) Bytes);

impl fmt::Display for EncodedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// What applying an entry answers to its proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A blank entry or a membership change.
    None,
    /// See [`Outcome`].
    Applied(u64),
    Conflict,
    Forgotten,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied(index) => Self::Applied(index),
            Outcome::Conflict => Self::Conflict,
            Outcome::Forgotten => Self::Forgotten,
        }
    }
}
