//! What is to be done so that everything is as declared.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::client::{Client, encode_path};
use super::super::failure::{Code, Failure};
use super::super::group::Visibility;
use super::super::place::Place;
use super::super::rows::cell;
use super::super::{group, member, project};
use super::declared::{Declared, DeployToken, User};
use crate::auth::role::Role;

/// One thing to do. Shown, it begins with `+` for what is made and `~` for what is changed.
pub(super) enum Step {
    MakeUser(User),
    MakeGroup(String, Visibility),
    MakeProject(String, Visibility),
    Change(Place, Vec<Difference>),
    SetMember {
        place: Place,
        username: String,
        before: Option<&'static str>,
        role: String,
    },
    MakeToken(Place, DeployToken),
}

/// A field that is not as declared.
pub(super) struct Difference {
    field: &'static str,
    before: Value,
    after: Value,
}

/// A token that was made.
#[derive(Serialize)]
pub(super) struct Secret {
    of: String,
    name: String,
    username: String,
    token: String,
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            name,
            username,
            token,
        } = self;
        write!(f, "token {name} of {of}, with the user name {username}: {token}")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeUser(user) => write!(f, "+ user {}", user.username),
            Self::MakeGroup(path, visibility) => write!(f, "+ group {path} ({})", visibility.name()),
            Self::MakeProject(path, visibility) => write!(f, "+ project {path} ({})", visibility.name()),
            Self::Change(place, differences) => {
                let differences = differences.iter().map(|Difference { field, before, after }| {
                    format!("{field} {} -> {}", cell(before), cell(after))
                });
                write!(f, "~ {place}: {}", differences.collect::<Vec<_>>().join(", "))
            }
            Self::SetMember {
                place,
                username,
                before: None,
                role,
            } => {
                write!(f, "+ member {username} of {place}: {role}")
            }
            Self::SetMember {
                place,
                username,
                before: Some(before),
                role,
            } => {
                write!(f, "~ member {username} of {place}: {before} -> {role}")
            }
            Self::MakeToken(place, token) => {
                write!(
                    f,
                    "+ deploy token {} of {place} ({})",
                    token.name,
                    token.scopes.join(", ")
                )
            }
        }
    }
}

impl Step {
    /// Does it.
    pub(super) async fn take(&self, client: &Client) -> Result<Option<Secret>, Failure> {
        match self {
            Self::MakeUser(user) => {
                let name = user.name.as_ref().unwrap_or(&user.username);
                let new = json!({
                    "username": user.username, "name": name, "email": user.email, "admin": user.admin,
                });
                client.post::<Value>("/api/v4/users", &new).await?;
            }
            Self::MakeGroup(path, visibility) => drop(group::create(client, path, *visibility).await?),
            Self::MakeProject(path, visibility) => drop(project::create(client, path, *visibility).await?),
            Self::Change(place, differences) => {
                let change = differences
                    .iter()
                    .map(|difference| (difference.field.to_owned(), difference.after.clone()));
                let change: Map<String, Value> = change.collect();
                client.put::<Value>(&place.api(""), &change).await?;
            }
            Self::SetMember {
                place,
                username,
                role,
                ..
            } => {
                member::set(client, place, username, role, None).await?;
            }
            Self::MakeToken(place, token) => {
                let DeployToken {
                    name,
                    scopes,
                    username,
                    expires,
                } = token;
                let new = json!({
                    "name": name, "scopes": scopes, "username": username, "expires_at": expires,
                });
                let made: Value = client.post(&place.api("deploy_tokens"), &new).await?;
                let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
                return Ok(Some(Secret {
                    of: place.to_string(),
                    name: name.clone(),
                    username: text("username"),
                    token: text("token"),
                }));
            }
        }
        Ok(None)
    }
}

/// Finds out what differs from what is declared, in an order in which it can be done.
pub(super) async fn plan(client: &Client, declared: &Declared) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for user in &declared.users {
        let path = format!("/api/v4/users?username={}", encode_path(&user.username));
        if client.get::<Vec<Value>>(&path).await?.is_empty() {
            steps.push(Step::MakeUser(user.clone()));
        }
    }
    for group in &declared.groups {
        let place = Place::group(&group.path);
        let present = look(client, &place).await?;
        if present.is_none() {
            let visibility = group.visibility.unwrap_or_default();
            steps.push(Step::MakeGroup(group.path.clone(), visibility));
        }
        let fields = [
            ("visibility", group.visibility.map(|visibility| json!(visibility))),
            ("name", group.name.as_ref().map(|name| json!(name))),
            ("description", group.description.as_ref().map(|text| json!(text))),
        ];
        steps.extend(differences(&place, present.as_ref(), &group.path, fields));
        inside(
            client,
            &place,
            present.is_some(),
            &group.members,
            &group.deploy_tokens,
            &mut steps,
        )
        .await?;
    }
    for project in &declared.projects {
        let place = Place::project(&project.path);
        let present = look(client, &place).await?;
        if present.is_none() {
            let visibility = project.visibility.unwrap_or_default();
            steps.push(Step::MakeProject(project.path.clone(), visibility));
        }
        let fields = [
            (
                "visibility",
                project.visibility.map(|visibility| json!(visibility)),
            ),
            ("name", project.name.as_ref().map(|name| json!(name))),
            (
                "description",
                project.description.as_ref().map(|text| json!(text)),
            ),
            (
                "package_registry_access_level",
                project.packages.as_ref().map(|access| json!(access)),
            ),
        ];
        steps.extend(differences(&place, present.as_ref(), &project.path, fields));
        inside(
            client,
            &place,
            present.is_some(),
            &project.members,
            &project.deploy_tokens,
            &mut steps,
        )
        .await?;
    }
    Ok(steps)
}

/// What is there, if anything is.
async fn look(client: &Client, place: &Place) -> Result<Option<Value>, Failure> {
    match client.get(&place.api("")).await {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.code == Code::NotFound => Ok(None),
        Err(failure) => Err(failure.context(format_args!("look at {place}"))),
    }
}

/// The fields that are not as declared. What is about to be made has its visibility already, and its
/// name is the end of its path.
fn differences<const N: usize>(
    place: &Place,
    present: Option<&Value>,
    path: &str,
    declared: [(&'static str, Option<Value>); N],
) -> Option<Step> {
    let made = json!({
        "name": path.rsplit('/').next(),
        "description": "",
        "package_registry_access_level": "enabled",
    });
    let differences = declared.into_iter().filter_map(|(field, after)| {
        let after = after?;
        let before = match present {
            Some(present) => present[field].clone(),
            None if field == "visibility" => after.clone(),
            None => made[field].clone(),
        };
        (before != after).then_some(Difference { field, before, after })
    });
    let differences: Vec<_> = differences.collect();
    (!differences.is_empty()).then(|| Step::Change(place.clone(), differences))
}

/// Members and tokens that are not as declared.
async fn inside(
    client: &Client,
    place: &Place,
    is_there: bool,
    members: &BTreeMap<String, String>,
    tokens: &[DeployToken],
    steps: &mut Vec<Step>,
) -> Result<(), Failure> {
    let list = async |wanted: bool, what: &str| match is_there && wanted {
        true => client.all::<Value>(&place.api(what)).await,
        false => Ok(Vec::new()),
    };
    let present = list(!members.is_empty(), "members").await?;
    for (username, role) in members {
        let found = present
            .iter()
            .find(|member| member["username"] == username.as_str());
        let before = found.and_then(member::role_of).map(Role::name);
        if before != Some(role.as_str()) {
            steps.push(Step::SetMember {
                place: place.clone(),
                username: username.clone(),
                before,
                role: role.clone(),
            });
        }
    }
    let present = list(!tokens.is_empty(), "deploy_tokens?active=true").await?;
    for token in tokens {
        if !present.iter().any(|known| known["name"] == token.name.as_str()) {
            steps.push(Step::MakeToken(place.clone(), token.clone()));
        }
    }
    Ok(())
}
