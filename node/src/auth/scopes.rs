//! Scopes of tokens: what the holder of a token lets it be used for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One scope, named as GitLab names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TokenScope {
    /// Everything the holder may do.
    Api,
    /// Everything the holder may read.
    ReadApi,
    /// Who the holder is.
    ReadUser,
    /// Taken for GitLab's sake: Cairn keeps no repositories of source code.
    ReadRepository,
    /// Pull container images.
    ReadRegistry,
    /// Push container images.
    WriteRegistry,
    /// Pull packages (deploy tokens).
    ReadPackageRegistry,
    /// Publish packages (deploy tokens).
    WritePackageRegistry,
    /// Pull through virtual registries.
    ReadVirtualRegistry,
    /// Publish through virtual registries.
    WriteVirtualRegistry,
    /// Taken for GitLab's sake: an administrator's `api` token always acts as administrator.
    AdminMode,
}

impl TokenScope {
    /// Every scope.
    pub const ALL: [TokenScope; 11] = [
        Self::Api,
        Self::ReadApi,
        Self::ReadUser,
        Self::ReadRepository,
        Self::ReadRegistry,
        Self::WriteRegistry,
        Self::ReadPackageRegistry,
        Self::WritePackageRegistry,
        Self::ReadVirtualRegistry,
        Self::WriteVirtualRegistry,
        Self::AdminMode,
    ];

    /// Those that a personal access token may have.
    pub const PERSONAL: &[TokenScope] = &[
        Self::Api,
        Self::ReadApi,
        Self::ReadUser,
        Self::ReadRegistry,
        Self::WriteRegistry,
        Self::ReadVirtualRegistry,
        Self::WriteVirtualRegistry,
        Self::AdminMode,
    ];

    /// Those that a deploy token may have.
    pub const DEPLOY: &[TokenScope] = &[
        Self::ReadRepository,
        Self::ReadRegistry,
        Self::WriteRegistry,
        Self::ReadPackageRegistry,
        Self::WritePackageRegistry,
        Self::ReadVirtualRegistry,
        Self::WriteVirtualRegistry,
    ];

    /// Those that a trust rule may give to a job.
    pub const JOB: &[TokenScope] = &[
        Self::ReadRegistry,
        Self::WriteRegistry,
        Self::ReadPackageRegistry,
        Self::WritePackageRegistry,
    ];

    /// Its name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ReadApi => "read_api",
            Self::ReadUser => "read_user",
            Self::ReadRepository => "read_repository",
            Self::ReadRegistry => "read_registry",
            Self::WriteRegistry => "write_registry",
            Self::ReadPackageRegistry => "read_package_registry",
            Self::WritePackageRegistry => "write_package_registry",
            Self::ReadVirtualRegistry => "read_virtual_registry",
            Self::WriteVirtualRegistry => "write_virtual_registry",
            Self::AdminMode => "admin_mode",
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<&'static str>")]
pub struct Scopes(u16);

/// A word that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope {0:?}")]
pub struct UnknownScope(pub String);

impl Scopes {
    /// The set of these scopes.
    pub fn of(scopes: &[TokenScope]) -> Self {
        scopes.iter().copied().collect()
    }

    /// Whether `scope` is in the set.
    pub fn has(self, scope: TokenScope) -> bool {
        self.0 & (1 << scope as u16) != 0
    }

    /// Whether any of `scopes` is in the set.
    pub fn has_any(self, scopes: &[TokenScope]) -> bool {
        scopes.iter().any(|scope| self.has(*scope))
    }

    /// The scopes that are in either set.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The scopes that are in both sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is no scope in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in the set.
    pub fn iter(self) -> impl Iterator<Item = TokenScope> {
        TokenScope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<TokenScope> for Scopes {
    fn from_iter<I: IntoIterator<Item = TokenScope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u16))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(TokenScope::name)).finish()
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = UnknownScope;

    fn try_from(names: Vec<String>) -> Result<Self, UnknownScope> {
        names
            .into_iter()
            .map(|name| {
                let known = TokenScope::ALL.into_iter().find(|scope| scope.name() == name);
                known.ok_or(UnknownScope(name))
            })
            .collect()
    }
}

impl From<Scopes> for Vec<&'static str> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().map(TokenScope::name).collect()
    }
}
