//! Names of nodes and of clusters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kv::Segment;
use crate::seams::Seams;

/// A node of the cluster, for ever.
///
/// It is the log index of the entry that admitted the node, so it is never given twice: a node
/// whose disks were wiped joins again as a new one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The node that a cluster begins with. The entries that admit the others come later in
    /// the log, so none of them is given this number.
    pub const FOUNDER: Self = Self(1);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is not the name of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a node id: a positive number is needed")]
pub struct ParseNodeIdError {
    text: String,
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits_only = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits_only => Ok(Self(number)),
            _ => Err(ParseNodeIdError {
                text: text.chars().take(32).collect(),
            }),
        }
    }
}

impl Segment for NodeId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

/// A cluster, for ever: drawn at random when it is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(Uuid);

impl ClusterId {
    /// Draws a new one.
    pub fn random(seams: &Seams) -> Self {
        Self(uuid::Builder::from_random_bytes(seams.random()).into_uuid())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.to_string()
    }
}

/// Text that is not the name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a cluster id: a lower-case uuid is needed")]
pub struct ParseClusterIdError {
    text: String,
}

impl FromStr for ClusterId {
    type Err = ParseClusterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse().map(Self) {
            // One spelling only, so that text can be compared with text.
            Ok(id) if id.to_string() == text => Ok(id),
            _ => Err(ParseClusterIdError {
                text: text.chars().take(64).collect(),
            }),
        }
    }
}

impl TryFrom<String> for ClusterId {
    type Error = ParseClusterIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_one_spelling_of_a_node_id_is_read() {
        for wrong in ["", "0", "01", "+1", " 1", "1 ", "-1", "18446744073709551616", "x"] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_one_spelling_of_a_cluster_id_is_read() {
        let id = ClusterId::random(&Seams::system());
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for wrong in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}")] {
            if wrong != text {
                assert!(wrong.parse::<ClusterId>().is_err(), "{wrong:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn node_ids_read_as_they_are_written(number in 1..=u64::MAX) {
            prop_assert_eq!(NodeId(number).to_string().parse(), Ok(NodeId(number)));
        }
    }
}
