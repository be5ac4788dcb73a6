//! What a file declares.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::failure::{Code, Failure, OrFail as _};
use super::super::group::Visibility;
use super::super::protect::{Kind, Level};
use crate::auth::role::Role;

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Declared {
    #[serde(rename = "user")]
    pub(super) users: Vec<User>,
    #[serde(rename = "group")]
    pub(super) groups: Vec<Site>,
    #[serde(rename = "project")]
    pub(super) projects: Vec<Site>,
}

/// A user that is to be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) username: String,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) email: String,
    #[serde(default)]
    pub(super) admin: bool,
}

/// A group or project that is to be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Site {
    pub(super) path: String,
    pub(super) visibility: Option<Visibility>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    /// Who may use a project's packages: `disabled`, `private`, `enabled`, `public`.
    pub(super) packages: Option<String>,
    /// Who may use its container images, likewise.
    pub(super) images: Option<String>,
    /// Roles by username.
    #[serde(default)]
    pub(super) members: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) deploy_tokens: Vec<DeployToken>,
    #[serde(default)]
    pub(super) access_tokens: Vec<AccessToken>,
    /// What happens to duplicates, and which versions are taken: the fields of `packages/settings`.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// What a project lets go.
    #[serde(default)]
    pub(super) cleanup: Cleanup,
    /// What is protected in a project.
    #[serde(default)]
    pub(super) protect: Vec<Protection>,
    /// Whose jobs are let in without a secret.
    #[serde(default)]
    pub(super) trust: Vec<TrustRule>,
}

/// Cleanup policies, each with the fields that its route has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cleanup {
    pub(super) packages: Map<String, Value>,
    pub(super) images: Map<String, Value>,
}

/// A protection rule. It is known by what it is about: `packages`, `repositories` or `tags`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Protection {
    pub(super) packages: Option<String>,
    pub(super) repositories: Option<String>,
    pub(super) tags: Option<String>,
    /// Of which format packages are.
    pub(super) format: Option<String>,
    /// Who may publish or push, at least.
    pub(super) push: Option<Level>,
    /// Who may delete, at least.
    pub(super) delete: Option<Level>,
}

impl Protection {
    /// What it is about, and the pattern.
    pub(super) fn target(&self) -> Option<(Kind, &str)> {
        let given = [
            (Kind::Packages, &self.packages),
            (Kind::Repositories, &self.repositories),
            (Kind::Tags, &self.tags),
        ];
        let mut given = given
            .into_iter()
            .filter_map(|(kind, pattern)| Some((kind, pattern.as_deref()?)));
        let target = given.next()?;
        given.next().is_none().then_some(target)
    }
}

/// A trust rule, with the fields of its route. It is known by its name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustRule {
    pub(super) name: String,
    issuer: String,
    claims: BTreeMap<String, String>,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_name_pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime_seconds: Option<u64>,
}

/// A deploy token of which one that holds is to be there. It is known by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployToken {
    pub(super) name: String,
    pub(super) scopes: Vec<String>,
    pub(super) username: Option<String>,
    /// Its last day, as in `2027-06-30`.
    pub(super) expires: Option<String>,
}

/// An access token of a bot, of which one that holds is to be there. It is known by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessToken {
    pub(super) name: String,
    pub(super) scopes: Vec<String>,
    /// What the bot may do.
    pub(super) role: String,
    /// Its last day, as in `2027-06-30`.
    pub(super) expires: Option<String>,
}

impl Declared {
    /// Reads a file, or standard input for `-`.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display();
        let text = match file.as_os_str() == "-" {
            true => std::io::read_to_string(std::io::stdin()),
            false => std::fs::read_to_string(file),
        };
        let text = text.or_fail(format_args!("read {shown}"))?;
        let is_json = file.extension().is_some_and(|extension| extension == "json");
        Self::parse(&text, is_json)
            .map_err(|wrong| Failure::new(Code::Usage, format!("{shown}: {}", wrong.trim_end())))
    }

    fn parse(text: &str, is_json: bool) -> Result<Self, String> {
        let declared: Self = match is_json {
            true => serde_json::from_str(text).map_err(|error| error.to_string())?,
            false => toml::from_str(text).map_err(|error| error.to_string())?,
        };
        declared.groups.iter().try_for_each(Site::check_group)?;
        declared
            .groups
            .iter()
            .chain(&declared.projects)
            .try_for_each(Site::check)?;
        Ok(declared)
    }
}

impl Site {
    /// Fails if it says what only projects have.
    fn check_group(&self) -> Result<(), String> {
        let of_projects = [
            ("packages", self.packages.is_some()),
            ("images", self.images.is_some()),
            (
                "cleanup",
                !self.cleanup.packages.is_empty() || !self.cleanup.images.is_empty(),
            ),
            ("protect", !self.protect.is_empty()),
        ];
        match of_projects.iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(format!("{field} is for projects; {} is a group", self.path)),
            None => Ok(()),
        }
    }

    /// Fails if it says what cannot be.
    fn check(&self) -> Result<(), String> {
        let path = &self.path;
        let members = self.members.iter();
        let bots = self.access_tokens.iter().map(|token| (&token.name, &token.role));
        for (who, role) in members.chain(bots) {
            if Role::named(role).is_none() {
                let known = Role::ALL.map(Role::name).join(", ");
                return Err(format!("{who} cannot be {role} of {path}; roles are {known}"));
            }
        }
        for rule in &self.protect {
            match rule.target() {
                None => {
                    return Err(format!(
                        "a rule of {path} is about one of packages, repositories and tags"
                    ));
                }
                Some((Kind::Packages, pattern)) if rule.format.is_none() => {
                    return Err(format!("the rule on packages {pattern} of {path} needs a format"));
                }
                Some((Kind::Repositories | Kind::Tags, pattern)) if rule.format.is_some() => {
                    return Err(format!(
                        "the rule on {pattern} of {path} is not about packages of a format"
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_named() {
        let wrong = |text: &str| Declared::parse(text, false).unwrap_err();
        assert!(wrong("[[group]]\npath = 'a'\ncolour = 'red'").contains("colour"));
        assert!(wrong("[[groups]]").contains("groups"));
        let role = wrong("[[project]]\npath = 'a/b'\nmembers = { ann = 'boss' }");
        assert_eq!(
            role,
            "ann cannot be boss of a/b; roles are guest, planner, reporter, developer, maintainer, owner"
        );
        let of_group = wrong("[[group]]\npath = 'a'\npackages = 'public'");
        assert_eq!(of_group, "packages is for projects; a is a group");
        let rule = |rule: &str| wrong(&format!("[[project]]\npath = 'a/b'\nprotect = [{rule}]"));
        assert!(rule("{ packages = 'x' }").contains("needs a format"));
        assert!(rule("{ tags = 'x', packages = 'y' }").contains("one of packages"));
        assert!(rule("{ tags = 'x', format = 'npm' }").contains("not about packages"));
        assert!(rule("{ tags = 'x', push = 'guest' }").contains("guest"));
        let json = r#"{"group":[{"path":"a","members":{"ann":"owner"}}]}"#;
        assert_eq!(
            Declared::parse(json, true).unwrap().groups[0].members["ann"],
            "owner"
        );
    }
}
