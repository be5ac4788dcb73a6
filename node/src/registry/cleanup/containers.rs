//! What a project lets go of the tags of its container images. The turn itself is in
//! [`crate::formats::oci`].

use std::time::Duration;

use cairn_cluster::record::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Policy};
use crate::http::error::ApiError;
use crate::http::form;
use crate::registry::expression::{Span, compile};

/// The longest expression.
const MAX_PATTERN_BYTES: usize = 1024;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Which tags go, and how often; in GitLab's words and with its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPolicy {
    /// Whether any do.
    pub(crate) enabled: bool,
    /// How often: one of [`ContainerPolicy::CADENCES`].
    pub(crate) cadence: String,
    /// So many of the newest stay.
    pub(crate) keep_n: Option<u64>,
    /// Those that were pushed more recently stay: `90d`.
    pub(crate) older_than: Option<String>,
    /// Only those that this expression matches as a whole go.
    pub(crate) name_regex: Option<String>,
    /// Those that this one matches stay.
    pub(crate) name_regex_keep: Option<String>,
    /// Whether manifests go to which no tag leads, nor anything else, and blobs that none names.
    pub(crate) untagged: bool,
}

impl Record for ContainerPolicy {}

impl ContainerPolicy {
    /// How often a policy may have its turn.
    pub(crate) const CADENCES: [(&'static str, u32); 5] =
        [("1d", 1), ("7d", 7), ("14d", 14), ("1month", 30), ("3month", 90)];
    /// How many tags may be kept.
    pub(crate) const KEPT: [u64; 6] = [1, 5, 10, 25, 50, 100];
    /// How old tags may have to be.
    pub(crate) const AGES: [&'static str; 5] = ["7d", "14d", "30d", "60d", "90d"];
}

/// What is to change of a policy; what is absent stays, null takes it away.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContainerChange {
    #[serde(default, deserialize_with = "form::boolean")]
    enabled: Option<bool>,
    cadence: Option<String>,
    #[serde(default, deserialize_with = "form::nullable_number")]
    keep_n: Option<Option<u64>>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    older_than: Option<Option<String>>,
    #[serde(
        default,
        alias = "name_regex_delete",
        deserialize_with = "form::nullable_text"
    )]
    name_regex: Option<Option<String>>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    name_regex_keep: Option<Option<String>>,
    /// Ours.
    #[serde(default, deserialize_with = "form::boolean")]
    untagged: Option<bool>,
}

impl ContainerChange {
    /// Makes the change, if it leads to a policy that can be kept.
    pub(crate) fn apply(&self, policy: &mut ContainerPolicy) -> Result<(), ApiError> {
        let wrong = |field: &str| {
            let field = format!("container_expiration_policy_attributes[{field}]");
            ApiError::parameter(format!("{field} does not have a valid value"))
        };
        policy.enabled = self.enabled.unwrap_or(policy.enabled);
        policy.untagged = self.untagged.unwrap_or(policy.untagged);
        if let Some(cadence) = &self.cadence {
            let mut known = ContainerPolicy::CADENCES.iter();
            known
                .find(|(name, _)| name == cadence)
                .ok_or_else(|| wrong("cadence"))?;
            policy.cadence.clone_from(cadence);
        }
        if let Some(keep_n) = self.keep_n {
            match keep_n {
                Some(count) if !ContainerPolicy::KEPT.contains(&count) => return Err(wrong("keep_n")),
                _ => policy.keep_n = keep_n,
            }
        }
        if let Some(age) = &self.older_than {
            match age {
                Some(age) if !ContainerPolicy::AGES.contains(&age.as_str()) => {
                    return Err(wrong("older_than"));
                }
                _ => policy.older_than.clone_from(age),
            }
        }
        let patterns = [
            ("name_regex", &self.name_regex, &mut policy.name_regex),
            (
                "name_regex_keep",
                &self.name_regex_keep,
                &mut policy.name_regex_keep,
            ),
        ];
        for (field, sent, kept) in patterns {
            if let Some(pattern) = sent {
                let compiled = pattern
                    .as_ref()
                    .map(|pattern| compile(pattern, Span::Whole, MAX_PATTERN_BYTES));
                compiled.transpose().map_err(|_| wrong(field))?;
                kept.clone_from(pattern);
            }
        }
        match policy.enabled && policy.name_regex.is_none() {
            true => Err(ApiError::invalid_field(
                "container_expiration_policy.name_regex",
                "can't be blank",
            )),
            false => Ok(()),
        }
    }
}

impl Default for ContainerPolicy {
    fn default() -> Self {
        Self {
            enabled: false,
            cadence: "1d".into(),
            keep_n: Some(10),
            older_than: Some("90d".into()),
            name_regex: Some(".*".into()),
            name_regex_keep: None,
            untagged: true,
        }
    }
}

impl Policy for ContainerPolicy {
    const KIND: Kind = Kind::Containers;

    fn cadence(&self) -> Option<Duration> {
        let cadence = Self::CADENCES.iter().find(|(name, _)| *name == self.cadence);
        let days = cadence.map_or(1, |(_, days)| *days);
        self.enabled.then(|| DAY * days)
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::ContainerPolicy>("cleanup-containers");
    }
}
