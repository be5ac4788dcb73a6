//! What is said against versions: that they are deprecated, and which weaknesses they have; as it is kept, and as
//! clients read it.
//!
//! <https://learn.microsoft.com/nuget/api/registration-base-url-resource#package-deprecation>

use std::collections::HashMap;

use cairn_cluster::Timestamp;
use cairn_cluster::record::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::names::{PackageId, Range, Version};
use crate::formats::advisories::Severity;

/// Why a version should not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reason {
    Legacy,
    CriticalBugs,
    Other,
}

/// That a version should not be used any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deprecation {
    /// At least one.
    pub(super) reasons: Vec<Reason>,
    pub(super) message: Option<String>,
    pub(super) alternate: Option<Alternate>,
}

impl Record for Deprecation {}

/// What to use instead: from a version on, or whichever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Alternate {
    pub(super) id: PackageId,
    pub(super) version: Option<Version>,
}

/// A weakness of some versions of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advisory {
    pub(super) id: String,
    pub(super) affected: Range,
    pub(super) severity: Severity,
    /// Where it is described.
    pub(super) link: String,
}

impl Record for Advisory {}

/// When the advisories of a project changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advised(pub(super) Timestamp);

impl Record for Advised {}

/// How bad it is, as clients have it.
pub(super) fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
        Severity::Critical => 3,
    }
}

/// All that is said against versions of one package.
#[derive(Clone, Debug, Default)]
pub(super) struct Warnings {
    /// By the key of the version.
    pub(super) deprecations: HashMap<Vec<u8>, Deprecation>,
    pub(super) advisories: Vec<Advisory>,
}

impl Warnings {
    /// Adds what is said against a version to what is said of it, an object.
    pub(super) fn tell(&self, version: &Version, about: &mut Value) {
        if let Some(deprecation) = self.deprecations.get(&version.key()) {
            about["deprecation"] = deprecation.told();
        }
        let affecting = self
            .advisories
            .iter()
            .filter(|advisory| advisory.affected.takes(version));
        // Here the level is text.
        let told: Vec<Value> = affecting
            .map(|advisory| json!({"advisoryUrl": advisory.link, "severity": level(advisory.severity).to_string()}))
            .collect();
        if !told.is_empty() {
            about["vulnerabilities"] = Value::from(told);
        }
    }
}

impl Deprecation {
    fn told(&self) -> Value {
        let mut told = json!({"reasons": self.reasons});
        if let Some(message) = &self.message {
            told["message"] = json!(message);
        }
        if let Some(alternate) = &self.alternate {
            let range = alternate
                .version
                .as_ref()
                .map_or("*".to_owned(), |version| format!("[{}, )", version.normalised()));
            told["alternatePackage"] = json!({"id": alternate.id, "range": range});
        }
        told
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Deprecation>("nuget-deprecation");
        samples::check::<super::Advisory>("nuget-advisory");
        samples::check::<super::Advised>("nuget-advised");
    }
}
