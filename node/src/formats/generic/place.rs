//! Where a file lies: in a version of a package, or in the raw view of a project.
//!
//! Both views are on one store. The raw view is one version of one package, whose names the
//! package view cannot have, and which no list shows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::formats::generic::names::{FileName, PackageName, RawPath, VersionName};
use crate::formats::listing::{encoded, encoded_path};
use crate::http::error::{ApiError, ErrorKind};
use crate::registry::Scope;
use crate::registry::names::InvalidName;
use crate::registry::settings::{DuplicatePolicy, Duplicates};

/// The package of the raw view, and its version. In URLs of the package view the same word begins
/// what is not a package.
pub(super) const RAW: &str = "-";

/// The code of an error for a file that is there already and may not be overwritten.
pub(super) const DUPLICATE: &str = "duplicate";

/// Where a file lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// What happens if there is a file already: exceptions name packages and versions, or paths
    /// of the raw view.
    pub(super) fn policy(&self, duplicates: &Duplicates) -> DuplicatePolicy {
        match self {
            Self::Package { package, version, .. } => duplicates.of(package.as_str(), version.as_str()),
            Self::Raw(path) => duplicates.of(path.as_str(), path.as_str()),
        }
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
        ApiError::new(kind, message).with_code(DUPLICATE)
    }
}

/// As it is in URLs, before it is encoded.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package {
                package,
                version,
                file,
            } => write!(f, "{package}/{version}/{file}"),
            Self::Raw(path) => write!(f, "-/raw/{path}"),
        }
    }
}

/// A place as documents name it: by `package`, `version` and `file`, or by `path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spot {
    pub(super) package: Option<String>,
    pub(super) version: Option<String>,
    pub(super) file: Option<String>,
    pub(super) path: Option<String>,
}

impl Spot {
    /// The file that it names.
    pub(super) fn place(&self) -> Result<Place, ApiError> {
        match (&self.path, &self.package, &self.version, &self.file) {
            (Some(path), None, None, None) => Ok(Place::Raw(path.parse()?)),
            (None, Some(package), Some(version), Some(file)) => Ok(Place::Package {
                package: package.parse()?,
                version: version.parse()?,
                file: file.parse()?,
            }),
            _ => Err(ApiError::bad_request(
                "a file is named either by path, or by package, version and file",
            )),
        }
    }

    /// Whether it names a version with all its files.
    pub(super) fn is_version(&self) -> bool {
        self.path.is_none() && self.file.is_none() && self.version.is_some()
    }

    /// The version that it names.
    pub(super) fn version(&self) -> Result<(PackageName, VersionName), ApiError> {
        match (&self.package, &self.version) {
            (Some(package), Some(version)) => Ok((package.parse()?, version.parse()?)),
            _ => Err(ApiError::bad_request("a version is named by package and version")),
        }
    }

    /// The file that it names, where what it leaves out is as in another place.
    pub(super) fn or(&self, place: &Place) -> Result<Place, ApiError> {
        match place {
            Place::Package {
                package,
                version,
                file,
            } if self.path.is_none() => Ok(Place::Package {
                package: parsed_or(self.package.as_deref(), package)?,
                version: parsed_or(self.version.as_deref(), version)?,
                file: parsed_or(self.file.as_deref(), file)?,
            }),
            Place::Raw(_) if *self == Self::default() => Ok(place.clone()),
            _ => self.place(),
        }
    }
}

fn parsed_or<T: Clone + FromStr<Err = InvalidName>>(text: Option<&str>, other: &T) -> Result<T, ApiError> {
    match text {
        Some(text) => Ok(text.parse()?),
        None => Ok(other.clone()),
    }
}
