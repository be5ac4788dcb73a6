//! Names of disks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::seams::Seams;

/// A disk of a node: drawn at random when it is put in, and never given to another disk of the
/// node. [`DiskId::DATA`] is the one under the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskId(u32);

impl DiskId {
    /// The disk under the data directory of each node.
    pub const DATA: Self = Self(0);

    /// Draws one for a new disk.
    pub(super) fn draw(seams: &Seams) -> Self {
        loop {
            let drawn = Self(u32::from_be_bytes(seams.random()));
            if drawn != Self::DATA {
                return drawn;
            }
        }
    }

    /// What tells disks apart where a number is needed.
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DATA => f.write_str("data"),
            Self(number) => write!(f, "{number:08x}"),
        }
    }
}

/// Text that is not the name of a disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a disk: `data` or 8 hexadecimal digits are needed, as `cairn disk list` shows them")]
pub struct ParseDiskIdError {
    text: String,
}

impl FromStr for DiskId {
    type Err = ParseDiskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = match text {
            "data" => Some(Self::DATA),
            _ => u32::from_str_radix(text, 16).ok().map(Self),
        };
        // One spelling only.
        id.filter(|id| id.to_string() == text)
            .ok_or_else(|| ParseDiskIdError {
                text: text.chars().take(32).collect(),
            })
    }
}

impl TryFrom<String> for DiskId {
    type Error = ParseDiskIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DiskId> for String {
    fn from(id: DiskId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_of_a_disk_is_read() {
        for right in ["data", "00000001", "7f3a09c1"] {
            assert_eq!(right.parse::<DiskId>().unwrap().to_string(), right);
        }
        for wrong in [
            "",
            "0",
            "00000000",
            "7F3A09C1",
            "+7f3a09c",
            "7f3a09c1 ",
            "7f3a09c12",
        ] {
            assert!(wrong.parse::<DiskId>().is_err(), "{wrong:?}");
        }
    }
}
