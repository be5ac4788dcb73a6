//! What a file declares.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::super::failure::{Code, Failure, OrFail as _};
use super::super::group::Visibility;
use crate::auth::role::Role;

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Declared {
    #[serde(rename = "user")]
    pub(super) users: Vec<User>,
    #[serde(rename = "group")]
    pub(super) groups: Vec<Group>,
    #[serde(rename = "project")]
    pub(super) projects: Vec<Project>,
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

/// A group that is to be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) path: String,
    pub(super) visibility: Option<Visibility>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    /// Roles by username.
    #[serde(default)]
    pub(super) members: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) deploy_tokens: Vec<DeployToken>,
}

/// A project that is to be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    pub(super) path: String,
    pub(super) visibility: Option<Visibility>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    /// Who may use its packages: `disabled`, `private`, `enabled`, `public`.
    pub(super) packages: Option<String>,
    #[serde(default)]
    pub(super) members: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) deploy_tokens: Vec<DeployToken>,
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
        let of_groups = declared.groups.iter().map(|group| (&group.path, &group.members));
        let of_projects = declared
            .projects
            .iter()
            .map(|project| (&project.path, &project.members));
        for (path, members) in of_groups.chain(of_projects) {
            for (username, role) in members {
                if !Role::ALL.iter().any(|known| known.name() == role) {
                    let known = Role::ALL.map(Role::name).join(", ");
                    return Err(format!(
                        "{username} cannot be {role} of {path}; roles are {known}"
                    ));
                }
            }
        }
        Ok(declared)
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
        let json = r#"{"group":[{"path":"a","members":{"ann":"owner"}}]}"#;
        assert_eq!(
            Declared::parse(json, true).unwrap().groups[0].members["ann"],
            "owner"
        );
    }
}
