//! Roles of members, with GitLab's numbers.

use serde::{Deserialize, Serialize};

/// What a member of a group or project is; greater can do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub enum Role {
    /// Sees a private project, not its packages.
    Guest = 10,
    /// A guest who plans.
    Planner = 15,
    /// Pulls.
    Reporter = 20,
    /// Publishes.
    Developer = 30,
    /// Deletes, makes tokens, changes settings of a project.
    Maintainer = 40,
    /// Everything inside the group or project.
    Owner = 50,
}

/// A number that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access level {0} is not one of 10, 15, 20, 30, 40, 50")]
pub struct UnknownRole(pub u8);

impl Role {
    /// Every role, from the least to the greatest.
    pub const ALL: [Role; 6] = [
        Role::Guest,
        Role::Planner,
        Role::Reporter,
        Role::Developer,
        Role::Maintainer,
        Role::Owner,
    ];

    /// The role of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// GitLab's number for it.
    pub fn level(self) -> u8 {
        self as u8
    }

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Role::Guest => "guest",
            Role::Planner => "planner",
            Role::Reporter => "reporter",
            Role::Developer => "developer",
            Role::Maintainer => "maintainer",
            Role::Owner => "owner",
        }
    }
}

impl TryFrom<u8> for Role {
    type Error = UnknownRole;

    fn try_from(level: u8) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.level() == level)
            .ok_or(UnknownRole(level))
    }
}

impl From<Role> for u8 {
    fn from(role: Role) -> Self {
        role.level()
    }
}
