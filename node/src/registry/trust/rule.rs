//! Trust rules: which jobs of which issuer are let in, and what they may do then.
//!
//! A rule is never changed: who wants another one makes it and removes the old one. So a token
//! that was made by a rule can name it, and means what the rule said when it was made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cairn_cluster::Timestamp;
use cairn_cluster::record::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::action::{Verb, deploy_scopes};
use crate::auth::scopes::Scopes;
use crate::oidc::Issuer;
use crate::registry::names::InvalidName;
use crate::registry::place::Place;
use crate::registry::project::Project;

/// The longest text that a claim or a name is compared with.
const MAX_EXPECTED_BYTES: usize = 512;

/// A rule of a group or project: whoever shows a token of this issuer, made for this audience,
/// with all of these claims, may act here for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRule {
    /// Its number.
    pub number: u64,
    /// Where it lets in: one project, or all projects of a group.
    pub place: Place,
    /// What its maker calls it.
    pub name: String,
    /// Who says what a job is.
    pub issuer: Issuer,
    /// For whom the issuer must have made the token.
    pub audience: String,
    /// What the issuer must say of the job.
    pub claims: BTreeMap<String, Expected>,
    /// What the job may do.
    pub scopes: Scopes,
    /// The one package format that it may do it in.
    pub format: Option<String>,
    /// The packages that it may do it to.
    pub package: Option<Expected>,
    /// How long a token lives, in seconds.
    pub lifetime_seconds: u32,
    /// The user who made the rule.
    pub creator: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Record for TrustRule {}

impl TrustRule {
    /// How long a token that is made by this rule lives.
    pub fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_seconds.into())
    }

    /// Whether a token that was made for this audience is meant for this rule. Clients of npm
    /// put the name of their protocol before the host.
    pub fn is_for(&self, audience: &str) -> bool {
        audience.strip_prefix("npm:").unwrap_or(audience) == self.audience || audience == self.audience
    }

    /// Whether the issuer says of a job what this rule asks for.
    pub fn matches(&self, said: &Map<String, Value>) -> bool {
        self.claims.iter().all(|(name, expected)| {
            let said = said.get(name).and_then(claim_text);
            said.is_some_and(|said| expected.is(&said))
        })
    }

    /// Whether it lets do `verb` to a package of a project. Without a name it is about all packages
    /// of the format, which only a rule for all of them lets do.
    pub(in crate::registry) fn lets(
        &self,
        verb: Verb,
        project: &Project,
        format: &str,
        name: Option<&str>,
    ) -> bool {
        let is_for_package = match (&self.package, name) {
            (None, _) => true,
            (Some(expected), Some(name)) => expected.is(name),
            (Some(_), None) => false,
        };
        project.is_inside(&self.place)
            && self.is_for_format(format)
            && is_for_package
            && self.scopes.has_any(deploy_scopes(verb))
    }

    /// Whether it lets do something in this format.
    pub(in crate::registry) fn is_for_format(&self, format: &str) -> bool {
        self.format.as_deref().is_none_or(|only| only == format)
    }
}

/// A claim as text; none of what is not one value.
pub(crate) fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a text must be: exactly this, or with a `*` at its end, whatever begins like this.
///
/// Invariant: 1 to 512 bytes without control characters, and no other `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expected(String);

impl Expected {
    /// Whether a text is as expected.
    pub fn is(&self, text: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => text.starts_with(beginning),
            None => text == self.0,
        }
    }

    /// Whether any text is as expected.
    pub fn is_anything(&self) -> bool {
        self.0 == "*"
    }

    /// The same in the one form of all spellings, which leaves a `*` what it is.
    pub(crate) fn spelled(&self, spell: impl FnOnce(&str) -> String) -> Self {
        Self(spell(&self.0))
    }
}

impl FromStr for Expected {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("expected value", text, reason));
        if text.is_empty() {
            return wrong("is empty");
        }
        if text.len() > MAX_EXPECTED_BYTES {
            return wrong("is longer than 512 bytes");
        }
        if text.chars().any(char::is_control) {
            return wrong("has a control character");
        }
        if text.find('*').is_some_and(|at| at + 1 < text.len()) {
            return wrong("has a '*' that is not its last character");
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Expected {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Expected> for String {
    fn from(expected: Expected) -> Self {
        expected.0
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::scopes::TokenScope;
    use crate::registry::place::PlaceKind;

    fn rule(claims: &[(&str, &str)]) -> TrustRule {
        TrustRule {
            number: 1,
            place: Place {
                root: 1,
                kind: PlaceKind::Project,
                id: 1,
            },
            name: "release".into(),
            issuer: "https://ci.example".parse().unwrap(),
            audience: "cairn.example".into(),
            claims: claims
                .iter()
                .map(|(name, expected)| ((*name).to_owned(), expected.parse().unwrap()))
                .collect(),
            scopes: Scopes::of(&[TokenScope::WritePackageRegistry]),
            format: None,
            package: None,
            lifetime_seconds: 900,
            creator: None,
            created_at: Timestamp(0),
        }
    }

    #[test]
    fn every_claim_must_be_what_the_rule_says() {
        let check = |claims: &[(&str, &str)], said: Value, expected: bool| {
            let Value::Object(said) = said else {
                panic!("claims are an object")
            };
            assert_eq!(rule(claims).matches(&said), expected, "{claims:?} {said:?}");
        };
        let repository = [("repository", "acme/demo")];
        check(&repository, json!({"repository": "acme/demo", "ref": "x"}), true);
        check(&repository, json!({"repository": "acme/demo2"}), false);
        check(&repository, json!({"repository": "Acme/demo"}), false);
        check(&repository, json!({"repository": ["acme/demo"]}), false);
        check(&repository, json!({"repository": null}), false);
        check(&repository, json!({}), false);
        let tags = [("repository", "acme/demo"), ("ref", "refs/tags/v*")];
        check(
            &tags,
            json!({"repository": "acme/demo", "ref": "refs/tags/v1"}),
            true,
        );
        check(
            &tags,
            json!({"repository": "acme/demo", "ref": "refs/heads/v1"}),
            false,
        );
        check(&tags, json!({"ref": "refs/tags/v1"}), false);
        check(&[("repository_id", "17")], json!({"repository_id": 17}), true);
        check(&[("ref_protected", "true")], json!({"ref_protected": true}), true);
    }

    #[test]
    fn an_audience_is_the_host_with_or_without_the_name_of_a_protocol() {
        let rule = rule(&[("sub", "x")]);
        for (audience, expected) in [
            ("cairn.example", true),
            ("npm:cairn.example", true),
            ("npm:npm:cairn.example", false),
            ("pypi:cairn.example", false),
            ("cairn.example.evil", false),
            ("", false),
        ] {
            assert_eq!(rule.is_for(audience), expected, "{audience}");
        }
    }

    #[test]
    fn a_star_is_only_at_the_end() {
        for text in ["", "a*b", "*a", "a**", "**", "a\nb", &"x".repeat(513)] {
            assert!(text.parse::<Expected>().is_err(), "{text:?}");
        }
        let expected: Expected = "a*".parse().unwrap();
        assert!(expected.is("a") && expected.is("ab") && !expected.is("b"));
        assert!("*".parse::<Expected>().unwrap().is_anything());
        assert!("\u{e9}".parse::<Expected>().unwrap().is("\u{e9}"));
    }

    proptest! {
        #[test]
        fn what_is_expected_is_shown_as_it_was_written(text in "\\PC{0,20}[*]?") {
            if let Ok(expected) = text.parse::<Expected>() {
                prop_assert_eq!(expected.to_string(), text);
            }
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::TrustRule>("trust-rule");
    }
}
