//! Jobs: whom a token stands for that was made by trust rules.

use std::collections::BTreeMap;

use cairn_cluster::record::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::action::{Verb, deploy_scopes};
use crate::auth::scopes::Scopes;
use crate::registry::place::PlaceKind;
use crate::registry::project::Project;
use crate::registry::trust::rule::{TrustRule, claim_text};

/// The most claims that are kept of a job, and the longest one.
const MAX_CLAIMS: usize = 64;
const MAX_CLAIM_BYTES: usize = 512;

/// What is about the token rather than the job.
const ABOUT_THE_TOKEN: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// A job of a continuous integration service, let in by trust rules.
#[derive(Clone, Debug)]
pub struct Job {
    /// By which rules.
    rules: Vec<TrustRule>,
    /// What its token may be used for.
    scopes: Scopes,
    within: Within,
    origin: Origin,
    /// The format by whose routes its request came in.
    format: Option<&'static str>,
}

/// What a token was asked for, out of all that its rules let do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// One project.
    pub project: Option<u64>,
    /// One package format.
    pub format: Option<String>,
    /// One package, by its normalised name.
    pub package: Option<String>,
}

/// Where a job comes from, as its issuer said: what tells later who published something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobOrigin")]
pub struct Origin {
    /// Who said it.
    pub issuer: String,
    /// Of whom.
    pub subject: String,
    /// What else.
    pub claims: BTreeMap<String, String>,
}

impl Record for Origin {}

impl Origin {
    /// What of an issuer's claims is kept.
    pub(in crate::registry) fn of(issuer: &str, said: &Map<String, Value>) -> Self {
        let text = |value: &Value| claim_text(value).filter(|text| text.len() <= MAX_CLAIM_BYTES);
        let claims = said
            .iter()
            .filter(|(name, _)| name.len() <= MAX_CLAIM_BYTES && !ABOUT_THE_TOKEN.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.clone(), text(value)?)));
        Self {
            issuer: issuer.into(),
            subject: said.get("sub").and_then(text).unwrap_or_default(),
            claims: claims.take(MAX_CLAIMS).collect(),
        }
    }
}

impl Within {
    /// Whether a package of a project is in it; without a name, whether all packages are.
    fn has(&self, project: &Project, format: &str, name: Option<&str>) -> bool {
        self.project.is_none_or(|only| only == project.id)
            && self.format.as_deref().is_none_or(|only| only == format)
            && self.package.as_deref().is_none_or(|only| name == Some(only))
    }
}

impl Job {
    pub(in crate::registry) fn new(
        rules: Vec<TrustRule>,
        scopes: Scopes,
        within: Within,
        origin: Origin,
    ) -> Self {
        Self {
            rules,
            scopes,
            within,
            origin,
            format: None,
        }
    }

    /// The same job at the routes of a format.
    pub(crate) fn at(self, format: &'static str) -> Self {
        Self {
            format: Some(format),
            ..self
        }
    }

    /// The format by whose routes its request came in, if any.
    pub(crate) fn format(&self) -> Option<&'static str> {
        self.format
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it is let into a project, be it for other formats alone.
    pub(in crate::registry) fn is_inside(&self, project: &Project) -> bool {
        self.within.project.is_none_or(|only| only == project.id)
            && self.rules.iter().any(|rule| project.is_inside(&rule.place))
    }

    /// Whether it is let into a group, whose chain from the root down this is.
    pub(in crate::registry) fn is_over(&self, chain: &[u64]) -> bool {
        let is_rule_over =
            |rule: &TrustRule| rule.place.kind == PlaceKind::Group && chain.contains(&rule.place.id);
        self.within.project.is_none() && self.rules.iter().any(is_rule_over)
    }

    /// What it may do in a project to some package at least.
    pub(in crate::registry) fn scopes_in(&self, project: &Project) -> Scopes {
        let Some(format) = self.format else {
            return Scopes::default();
        };
        let fits = self.is_inside(project) && self.within.format.as_deref().is_none_or(|only| only == format);
        self.rules
            .iter()
            .filter(|rule| fits && rule.is_for_format(format) && project.is_inside(&rule.place))
            .fold(Scopes::default(), |scopes, rule| scopes.or(rule.scopes))
            .and(self.scopes)
    }

    /// Whether it may do `verb` to a package of a project; without a name, to all of a format.
    pub(in crate::registry) fn may(
        &self,
        verb: Verb,
        project: &Project,
        format: &str,
        name: Option<&str>,
    ) -> bool {
        self.scopes.has_any(deploy_scopes(verb))
            && self.within.has(project, format, name)
            && self
                .rules
                .iter()
                .any(|rule| rule.lets(verb, project, format, name))
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Origin>("origin");
    }
}
