//! How packages are handled in a group or project.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who may use the packages of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageAccess {
    /// Nobody.
    Disabled,
    /// Members alone, whatever the visibility of the project.
    Private,
    /// Those whom the visibility of the project lets in.
    #[default]
    Enabled,
    /// Everyone may pull.
    Public,
}

/// What happens when a file is published under a name that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicatePolicy {
    /// It is added; the newest is given out, the older ones stay listed.
    Allow,
    /// It takes the place of the old one.
    Replace,
    /// The same content is taken as the same publish; other content is refused.
    ForbidSameContentOk,
    /// It is refused.
    Forbid,
}

/// Settings of a group or project; what is not set is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSettings {
    /// What happens to duplicates, by format.
    #[serde(default)]
    pub duplicates: BTreeMap<String, DuplicatePolicy>,
}
