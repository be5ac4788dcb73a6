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
use super::super::{group, member, project, trust};
use super::declared::{AccessToken, Declared, DeployToken, Site, User};
use crate::auth::role::Role;

/// One thing to do. Shown, it begins with `+` for what is made and `~` for what is changed.
pub(super) enum Step {
    MakeUser(User),
    MakeGroup(String, Visibility),
    MakeProject(String, Visibility),
    /// Changes some fields of what is at a path.
    Change(Change),
    /// Makes something below a path.
    Make {
        what: String,
        path: String,
        body: Value,
    },
    /// Makes something in the place of what is there, which nothing can change.
    Replace {
        change: Change,
        /// Where it is made.
        path: String,
        body: Value,
    },
    SetMember {
        place: Place,
        username: String,
        before: Option<&'static str>,
        role: String,
    },
    MakeToken {
        place: Place,
        /// What kind of token, and the list that it is added to.
        kind: (&'static str, &'static str),
        name: String,
        scopes: Vec<String>,
        body: Value,
    },
}

/// Fields that are not as declared, of what is at a path.
pub(super) struct Change {
    what: String,
    path: String,
    /// Whether the others are to be left out of what is sent in any case.
    is_patch: bool,
    differences: Vec<Difference>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differences = self.differences.iter();
        let differences = differences.map(|Difference { field, before, after }| {
            format!("{field} {} -> {}", cell(before), cell(after))
        });
        write!(
            f,
            "~ {}: {}",
            self.what,
            differences.collect::<Vec<_>>().join(", ")
        )
    }
}

/// A field that is not as declared.
pub(super) struct Difference {
    field: String,
    before: Value,
    after: Value,
}

/// A token that was made.
#[derive(Serialize)]
pub(super) struct Secret {
    of: String,
    name: String,
    /// What goes with a deploy token.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
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
        write!(f, "token {name} of {of}")?;
        if let Some(username) = username {
            write!(f, ", with the user name {username}")?;
        }
        write!(f, ": {token}")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeUser(user) => write!(f, "+ user {}", user.username),
            Self::MakeGroup(path, visibility) => write!(f, "+ group {path} ({})", visibility.name()),
            Self::MakeProject(path, visibility) => write!(f, "+ project {path} ({})", visibility.name()),
            Self::Change(change) | Self::Replace { change, .. } => change.fmt(f),
            Self::Make { what, .. } => write!(f, "+ {what}"),
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
            Self::MakeToken {
                place,
                kind: (kind, _),
                name,
                scopes,
                ..
            } => write!(f, "+ {kind} {name} of {place} ({})", scopes.join(", ")),
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
            Self::Change(change) => {
                let after = |Difference { field, after, .. }: &Difference| (field.clone(), after.clone());
                let body: Map<String, Value> = change.differences.iter().map(after).collect();
                match change.is_patch {
                    true => client.patch::<Value>(&change.path, &body).await?,
                    false => client.put::<Value>(&change.path, &body).await?,
                };
            }
            Self::Make { path, body, .. } => drop(client.post::<Value>(path, body).await?),
            Self::Replace { change, path, body } => {
                // In this order, so that whom the old one lets in is let in all the time.
                client.post::<Value>(path, body).await?;
                client.give_up(&change.path).await?;
            }
            Self::SetMember {
                place,
                username,
                role,
                ..
            } => {
                member::set(client, place, username, role, None).await?;
            }
            Self::MakeToken {
                place,
                kind: (_, list),
                name,
                body,
                ..
            } => {
                let made: Value = client.post(&place.api(list), body).await?;
                let text = |field: &str| made[field].as_str().map(str::to_owned);
                return Ok(Some(Secret {
                    of: place.to_string(),
                    name: name.clone(),
                    username: text("username"),
                    token: text("token").unwrap_or_default(),
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
        let site = Present::look(client, Place::group(&group.path), group).await?;
        if !site.is_there() {
            let visibility = group.visibility.unwrap_or_default();
            steps.push(Step::MakeGroup(group.path.clone(), visibility));
        }
        site.inside(&mut steps).await?;
    }
    for project in &declared.projects {
        let site = Present::look(client, Place::project(&project.path), project).await?;
        if !site.is_there() {
            let visibility = project.visibility.unwrap_or_default();
            steps.push(Step::MakeProject(project.path.clone(), visibility));
        }
        site.inside(&mut steps).await?;
    }
    Ok(steps)
}

/// A declared group or project, and what there is of it.
struct Present<'a> {
    client: &'a Client,
    place: Place,
    declared: &'a Site,
    found: Option<Value>,
}

impl<'a> Present<'a> {
    async fn look(client: &'a Client, place: Place, declared: &'a Site) -> Result<Self, Failure> {
        let found = match client.get(&place.api("")).await {
            Ok(found) => Some(found),
            Err(failure) if failure.code == Code::NotFound => None,
            Err(failure) => return Err(failure.context(format_args!("look at {place}"))),
        };
        Ok(Self {
            client,
            place,
            declared,
            found,
        })
    }

    fn is_there(&self) -> bool {
        self.found.is_some()
    }

    /// What is not as declared of what there is or is about to be made.
    async fn inside(&self, steps: &mut Vec<Step>) -> Result<(), Failure> {
        self.fields(steps);
        self.members(steps).await?;
        self.tokens(steps).await?;
        let place = &self.place;
        let policies = &self.declared.cleanup;
        for (what, path, fields) in [
            (
                "package settings",
                place.api("packages/settings"),
                &self.declared.settings,
            ),
            (
                "cleanup of packages",
                place.own_api("packages/cleanup_policy"),
                &policies.packages,
            ),
            (
                "cleanup of images",
                place.own_api("registry/cleanup_policy"),
                &policies.images,
            ),
        ] {
            self.policy(what, path, fields, steps).await?;
        }
        self.protection(steps).await?;
        self.trust(steps).await
    }

    /// The fields of the place itself. What is about to be made has its visibility already, and its
    /// name is the end of its path.
    fn fields(&self, steps: &mut Vec<Step>) {
        let declared = self.declared;
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        let fields = [
            (
                "visibility",
                declared.visibility.map(|visibility| json!(visibility)),
            ),
            ("name", text(&declared.name)),
            ("description", text(&declared.description)),
            ("package_registry_access_level", text(&declared.packages)),
            ("container_registry_access_level", text(&declared.images)),
        ];
        let fields: Map<String, Value> = fields
            .into_iter()
            .filter_map(|(field, value)| Some((field.to_owned(), value?)))
            .collect();
        let made = json!({
            "visibility": fields.get("visibility"),
            "name": declared.path.rsplit('/').next(),
            "description": "",
            "package_registry_access_level": "enabled",
            "container_registry_access_level": "enabled",
        });
        let present = self.found.as_ref().unwrap_or(&made);
        steps.extend(self.change(None, self.place.api(""), differences(&fields, present)));
    }

    /// A change of what is at a path, if there is anything to change.
    fn change(&self, what: Option<&str>, path: String, differences: Vec<Difference>) -> Option<Step> {
        let what = match what {
            Some(what) => format!("{what} of {}", self.place),
            None => self.place.to_string(),
        };
        (!differences.is_empty()).then_some(Step::Change(Change {
            what,
            path,
            is_patch: false,
            differences,
        }))
    }

    /// All rows of a list, if there can be any and they are needed.
    async fn list(&self, is_needed: bool, path: &str) -> Result<Vec<Value>, Failure> {
        match self.is_there() && is_needed {
            true => self.client.all(path).await,
            false => Ok(Vec::new()),
        }
    }

    async fn members(&self, steps: &mut Vec<Step>) -> Result<(), Failure> {
        let (place, members) = (&self.place, &self.declared.members);
        let present = self.list(!members.is_empty(), &place.api("members")).await?;
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
        Ok(())
    }

    /// Tokens of which none of the name holds.
    async fn tokens(&self, steps: &mut Vec<Step>) -> Result<(), Failure> {
        let deploy = self.declared.deploy_tokens.iter().map(|token| {
            let DeployToken {
                name,
                scopes,
                username,
                expires,
            } = token;
            let body = json!({ "name": name, "scopes": scopes, "username": username, "expires_at": expires });
            (("deploy token", "deploy_tokens"), name, scopes, body)
        });
        let access = self.declared.access_tokens.iter().map(|token| {
            let AccessToken {
                name,
                scopes,
                role,
                expires,
            } = token;
            let level = Role::named(role).map(Role::level);
            let body =
                json!({ "name": name, "scopes": scopes, "access_level": level, "expires_at": expires });
            (("access token", "access_tokens"), name, scopes, body)
        });
        let mut known: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (kind, name, scopes, body) in deploy.chain(access) {
            let (_, list) = kind;
            if !known.contains_key(list) {
                known.insert(list, self.list(true, &self.place.api(list)).await?);
            }
            // Lists show what does not hold any more, too.
            let holds = |token: &Value| {
                token["active"] == true || (token["revoked"] == false && token["expired"] == false)
            };
            let present = known[list].iter().filter(|token| holds(token));
            if !present.into_iter().any(|known| known["name"] == name.as_str()) {
                steps.push(Step::MakeToken {
                    place: self.place.clone(),
                    kind,
                    name: name.clone(),
                    scopes: scopes.clone(),
                    body,
                });
            }
        }
        Ok(())
    }

    /// A policy or settings, of which what is not declared stays.
    async fn policy(
        &self,
        what: &str,
        path: String,
        fields: &Map<String, Value>,
        steps: &mut Vec<Step>,
    ) -> Result<(), Failure> {
        if fields.is_empty() {
            return Ok(());
        }
        let present = match self.is_there() {
            true => self.client.get(&path).await?,
            false => Value::Null,
        };
        steps.extend(self.change(Some(what), path, differences(fields, &present)));
        Ok(())
    }

    async fn protection(&self, steps: &mut Vec<Step>) -> Result<(), Failure> {
        for rule in &self.declared.protect {
            let Some((kind, pattern)) = rule.target() else {
                continue;
            };
            let path = kind.path(&self.declared.path);
            let mut body = json!({
                kind.field(): pattern,
                "minimum_access_level_for_push": rule.push,
                "minimum_access_level_for_delete": rule.delete,
            });
            if let Some(format) = &rule.format {
                body["package_type"] = format.as_str().into();
            }
            let present: Vec<Value> = match self.is_there() {
                true => self.client.get(&path).await?,
                false => Vec::new(),
            };
            let is_same = |known: &&Value| {
                known[kind.field()] == pattern
                    && (rule.format.is_none() || known["package_type"] == body["package_type"])
            };
            let what = format!("protection of {} {pattern} of {}", kind.name(), self.place);
            match (present.iter().find(is_same), &body) {
                (Some(known), Value::Object(fields)) => {
                    let differences = differences(fields, known);
                    if !differences.is_empty() {
                        steps.push(Step::Change(Change {
                            what,
                            path: format!("{path}/{}", known["id"]),
                            is_patch: true,
                            differences,
                        }));
                    }
                }
                _ => steps.push(Step::Make { what, path, body }),
            }
        }
        Ok(())
    }

    async fn trust(&self, steps: &mut Vec<Step>) -> Result<(), Failure> {
        let rules = &self.declared.trust;
        let path = self.place.own_api(trust::RULES);
        let present = self.list(!rules.is_empty(), &path).await?;
        for rule in rules {
            let body = json!(rule);
            let what = format!("trust rule {} of {}", rule.name, self.place);
            let known = present.iter().find(|known| known["name"] == rule.name.as_str());
            match (known, &body) {
                (Some(known), Value::Object(fields)) => {
                    let differences = differences(fields, known);
                    if !differences.is_empty() {
                        let change = Change {
                            what,
                            path: format!("{path}/{}", known["id"]),
                            is_patch: false,
                            differences,
                        };
                        let path = path.clone();
                        steps.push(Step::Replace { change, path, body });
                    }
                }
                _ => steps.push(Step::Make {
                    what,
                    path: path.clone(),
                    body,
                }),
            }
        }
        Ok(())
    }
}

/// The declared fields that are not so in what there is. Of lists, the order says nothing.
fn differences(declared: &Map<String, Value>, present: &Value) -> Vec<Difference> {
    let sorted = |value: &Value| match value {
        Value::Array(items) => {
            let mut items = items.clone();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    };
    let differences = declared.iter().filter_map(|(field, after)| {
        let before = present.get(field).cloned().unwrap_or_default();
        (sorted(&before) != sorted(after)).then(|| Difference {
            field: field.clone(),
            before,
            after: after.clone(),
        })
    });
    differences.collect()
}
