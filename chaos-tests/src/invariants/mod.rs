//! What must hold whatever happens: one file for each promise, checked from outside by what the
//! nodes answer.

pub mod calm;
pub mod covered;
pub mod durable;
pub mod fresh;
pub mod halted;
pub mod linearizable;
pub mod lively;
pub mod one_winner;
pub mod reclaimed;
pub mod redundant;
pub mod resumable;
pub mod revoked;
pub mod same_state;
pub mod verified;
pub mod whole;

use std::fmt;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// See [`durable`].
    Durable,
    /// See [`whole`].
    Whole,
    /// See [`verified`].
    Verified,
    /// See [`linearizable`].
    Linearizable,
    /// See [`fresh`].
    Fresh,
    /// See [`reclaimed`].
    Reclaimed,
    /// See [`redundant`].
    Redundant,
    /// See [`resumable`].
    Resumable,
    /// See [`one_winner`].
    OneWinner,
    /// See [`revoked`].
    Revoked,
    /// See [`same_state`].
    SameState,
    /// See [`calm`].
    Calm,
    /// See [`lively`].
    Lively,
    /// See [`covered`].
    Covered,
    /// See [`halted`].
    Halted,
}

impl Invariant {
    /// All of them, in order.
    pub const ALL: [Self; 15] = [
        Self::Durable,
        Self::Whole,
        Self::Verified,
        Self::Linearizable,
        Self::Fresh,
        Self::Reclaimed,
        Self::Redundant,
        Self::Resumable,
        Self::OneWinner,
        Self::Revoked,
        Self::SameState,
        Self::Calm,
        Self::Lively,
        Self::Covered,
        Self::Halted,
    ];

    /// What it promises.
    pub fn promise(self) -> &'static str {
        match self {
            Self::Durable => "what was acknowledged is there, on every node",
            Self::Whole => "what was not acknowledged is absent or whole, and all nodes agree",
            Self::Verified => "no wrong byte is ever served",
            Self::Linearizable => "what clients saw of a tag fits into one order",
            Self::Fresh => "what was acknowledged is seen at once, through any node",
            Self::Reclaimed => "what nothing names goes, and nothing else",
            Self::Redundant => "full redundancy comes back by itself: any node may be away",
            Self::Resumable => "an upload goes on where it was acknowledged, through any node",
            Self::OneWinner => "of several publishes under one name, one wins",
            Self::Revoked => "a revoked token is refused at once, by every node",
            Self::SameState => "nodes that have applied as much have the same state",
            Self::Calm => "no panic, no error without a cause, bounded memory",
            Self::Lively => "when faults end, writes succeed and the nodes converge in time",
            Self::Covered => "every fault took effect, and every kind of request succeeded",
            Self::Halted => "who is without a majority acknowledges nothing",
        }
    }

    /// Says that it does not hold.
    pub fn violated(self, what: impl Into<String>) -> Violation {
        Violation {
            invariant: self,
            what: what.into(),
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}", *self as usize + 1)
    }
}

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} ({}) is violated: {what}", .invariant.promise())]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariants_are_numbered_in_their_order() {
        for (number, invariant) in (1..).zip(Invariant::ALL) {
            assert_eq!(invariant.to_string(), format!("I{number}"));
        }
    }
}
