//! Where a file lies: in a version of a package, or in the raw view of a project.
//!
//! Both views are on one store. The raw view is one version of one package, whose names the
//! package view cannot have, and which no list shows.

use serde::{Deserialize, Serialize};

use crate::formats::generic::listing::{encoded, encoded_path};
use crate::formats::generic::names::{FileName, PackageName, RawPath, VersionName};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;

/// The package of the raw view, and its version. In URLs of the package view the same word begins
/// what is not a package.
pub(super) const RAW: &str = "-";

/// Where a file lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// The package view.
    Package {
        package: PackageName,
        version: VersionName,
        file: FileName,
    },
    /// The raw view.
    Raw(RawPath),
}

impl Place {
    pub(super) fn package(&self) -> &str {
        match self {
            Self::Package { package, .. } => package.as_str(),
            Self::Raw(_) => RAW,
        }
    }

    pub(super) fn version(&self) -> &str {
        match self {
            Self::Package { version, .. } => version.as_str(),
            Self::Raw(_) => RAW,
        }
    }

    /// The path of the file in its version.
    pub(super) fn file(&self) -> &str {
        match self {
            Self::Package { file, .. } => file.as_str(),
            Self::Raw(path) => path.as_str(),
        }
    }

    /// Another file of the same version.
    pub(super) fn beside(&self, file: &str) -> Result<Self, ApiError> {
        Ok(match self {
            Self::Package { package, version, .. } => Self::Package {
                package: package.clone(),
                version: version.clone(),
                file: file.parse()?,
            },
            Self::Raw(_) => Self::Raw(file.parse()?),
        })
    }

    pub(super) fn is_raw(&self) -> bool {
        matches!(self, Self::Raw(_))
    }

    /// The URL of the file.
    pub(super) fn url(&self, scope: &Scope) -> String {
        let file = encoded_path(self.file());
        match self {
            Self::Package { package, version, .. } => {
                let (package, version) = (encoded(package.as_str()), encoded(version.as_str()));
                format!("{}/{package}/{version}/{file}", scope.project_url())
            }
            Self::Raw(_) => format!("{}/-/raw/{file}", scope.project_url()),
        }
    }

    /// What a client is told that may not overwrite the file which is there.
    pub(super) fn duplicate(&self) -> ApiError {
        let (kind, message) = match self {
            Self::Package { .. } => (ErrorKind::BadRequest, "Duplicate package is not allowed"),
            Self::Raw(_) => (ErrorKind::Conflict, "409 Conflict: another file is there already"),
        };
        ApiError::new(kind, message).with_code("duplicate")
    }
}
