//! `/projects/:id/packages/protection/rules` and `/projects/:id/registry/protection/…/rules`: which
//! names are protected, and against whom. For maintainers, as GitLab has it.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer};
use serde_json::{Value, json};

use crate::admin::shown::{required, with};
use crate::app::App;
use crate::auth::{Authorised, Manage};
use crate::formats::{self, oci};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::registry::pattern::Pattern;
use crate::registry::project::Project;
use crate::registry::protection::{Level, Levels, PackageRule, RepositoryRule, Rule, TagRule};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/projects/{id}/packages/protection/rules",
            get(list::<PackageRule>).post(create::<PackageRule>),
        )
        .route(
            "/projects/{id}/packages/protection/rules/{rule_id}",
            patch(change::<PackageRule>).delete(remove::<PackageRule>),
        )
        .route(
            "/projects/{id}/registry/protection/repository/rules",
            get(list::<RepositoryRule>).post(create::<RepositoryRule>),
        )
        .route(
            "/projects/{id}/registry/protection/repository/rules/{rule_id}",
            patch(change::<RepositoryRule>).delete(remove::<RepositoryRule>),
        )
        .route(
            "/projects/{id}/registry/protection/tag/rules",
            get(list::<TagRule>).post(create::<TagRule>),
        )
        .route(
            "/projects/{id}/registry/protection/tag/rules/{rule_id}",
            patch(change::<TagRule>).delete(remove::<TagRule>),
        )
}

/// A kind of rule as the API has it.
trait Shown: Rule + 'static {
    /// What may be said of a rule.
    type Fields: DeserializeOwned + Sync + Send;

    /// A rule with these fields.
    fn made(fields: Self::Fields) -> Result<Self, ApiError>;
    /// How some of its fields change.
    fn changed(fields: Self::Fields) -> Result<impl Fn(&mut Self) + Send + Sync, ApiError>;
    /// What is shown of it, beside its number and its levels.
    fn shown(&self) -> Value;
    fn levels(&self) -> Levels;
}

/// The levels of a rule as they are sent. What is absent stays, null takes it away.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct SentLevels {
    #[serde(default, deserialize_with = "level")]
    minimum_access_level_for_push: Option<Option<Level>>,
    #[serde(default, deserialize_with = "level")]
    minimum_access_level_for_delete: Option<Option<Level>>,
}

impl SentLevels {
    fn apply(self, levels: &mut Levels) {
        if let Some(push) = self.minimum_access_level_for_push {
            levels.push = push;
        }
        if let Some(delete) = self.minimum_access_level_for_delete {
            levels.delete = delete;
        }
    }

    fn alone(self) -> Levels {
        let mut levels = Levels::default();
        self.apply(&mut levels);
        levels
    }
}

/// A level by its name; null, or in a form nothing, is none.
fn level<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Level>>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    match name.as_deref() {
        None | Some("") => Ok(Some(None)),
        Some(name) => match Level::named(name) {
            Some(level) => Ok(Some(Some(level))),
            None => Err(de::Error::invalid_value(
                de::Unexpected::Str(name),
                &"maintainer, owner or admin",
            )),
        },
    }
}

#[derive(Debug, Deserialize)]
struct PackageFields {
    package_name_pattern: Option<String>,
    package_type: Option<String>,
    #[serde(flatten)]
    levels: SentLevels,
}

fn package_type(name: &str) -> Result<String, ApiError> {
    match formats::by_name(name) {
        Some(format) if name != oci::NAME => Ok(format.name().to_owned()),
        _ => Err(ApiError::parameter("package_type does not have a valid value")),
    }
}

fn pattern(field: &str, text: &str) -> Result<Pattern, ApiError> {
    let pattern = text.parse();
    pattern.map_err(|error| ApiError::parameter(format!("{field} is invalid: {error}")))
}

impl PackageFields {
    fn check(&self) -> Result<(), ApiError> {
        // Maintainers may delete anyway.
        match self.levels.minimum_access_level_for_delete {
            Some(Some(Level::Maintainer)) => Err(ApiError::parameter(
                "minimum_access_level_for_delete does not have a valid value",
            )),
            _ => Ok(()),
        }
    }
}

impl Shown for PackageRule {
    type Fields = PackageFields;

    fn made(fields: PackageFields) -> Result<Self, ApiError> {
        fields.check()?;
        let name = required("package_name_pattern", fields.package_name_pattern)?;
        Ok(Self {
            id: 0,
            format: package_type(&required("package_type", fields.package_type)?)?,
            name_pattern: pattern("package_name_pattern", &name)?,
            levels: fields.levels.alone(),
        })
    }

    fn changed(fields: PackageFields) -> Result<impl Fn(&mut Self) + Send + Sync, ApiError> {
        fields.check()?;
        let format = fields.package_type.as_deref().map(package_type).transpose()?;
        let name = fields.package_name_pattern.as_deref();
        let name = name
            .map(|name| pattern("package_name_pattern", name))
            .transpose()?;
        Ok(move |rule: &mut Self| {
            if let Some(format) = &format {
                rule.format.clone_from(format);
            }
            if let Some(name) = &name {
                rule.name_pattern.clone_from(name);
            }
            fields.levels.apply(&mut rule.levels);
        })
    }

    fn shown(&self) -> Value {
        json!({ "package_name_pattern": self.name_pattern.as_str(), "package_type": self.format })
    }

    fn levels(&self) -> Levels {
        self.levels
    }
}

#[derive(Debug, Deserialize)]
struct RepositoryFields {
    repository_path_pattern: Option<String>,
    #[serde(flatten)]
    levels: SentLevels,
}

impl Shown for RepositoryRule {
    type Fields = RepositoryFields;

    fn made(fields: RepositoryFields) -> Result<Self, ApiError> {
        let path = required("repository_path_pattern", fields.repository_path_pattern)?;
        Ok(Self {
            id: 0,
            path_pattern: pattern("repository_path_pattern", &path)?,
            levels: fields.levels.alone(),
        })
    }

    fn changed(fields: RepositoryFields) -> Result<impl Fn(&mut Self) + Send + Sync, ApiError> {
        let path = fields.repository_path_pattern.as_deref();
        let path = path
            .map(|path| pattern("repository_path_pattern", path))
            .transpose()?;
        Ok(move |rule: &mut Self| {
            if let Some(path) = &path {
                rule.path_pattern.clone_from(path);
            }
            fields.levels.apply(&mut rule.levels);
        })
    }

    fn shown(&self) -> Value {
        json!({ "repository_path_pattern": self.path_pattern.as_str() })
    }

    fn levels(&self) -> Levels {
        self.levels
    }
}

#[derive(Debug, Deserialize)]
struct TagFields {
    tag_name_pattern: Option<String>,
    #[serde(flatten)]
    levels: SentLevels,
}

impl Shown for TagRule {
    type Fields = TagFields;

    fn made(fields: TagFields) -> Result<Self, ApiError> {
        Ok(Self {
            id: 0,
            name_pattern: required("tag_name_pattern", fields.tag_name_pattern)?,
            levels: fields.levels.alone(),
        })
    }

    fn changed(fields: TagFields) -> Result<impl Fn(&mut Self) + Send + Sync, ApiError> {
        Ok(move |rule: &mut Self| {
            if let Some(name) = &fields.tag_name_pattern {
                rule.name_pattern.clone_from(name);
            }
            fields.levels.apply(&mut rule.levels);
        })
    }

    fn shown(&self) -> Value {
        json!({ "tag_name_pattern": self.name_pattern })
    }

    fn levels(&self) -> Levels {
        self.levels
    }
}

fn shown<R: Shown>(rule: &R, project: &Project) -> Value {
    let name = |level: Option<Level>| level.map(Level::name);
    let levels = rule.levels();
    with(
        with(json!({ "id": rule.id(), "project_id": project.id }), rule.shown()),
        json!({
            "minimum_access_level_for_push": name(levels.push),
            "minimum_access_level_for_delete": name(levels.delete),
        }),
    )
}

#[derive(Debug, Deserialize)]
struct Target {
    rule_id: u64,
}

async fn list<R: Shown>(of: Authorised<Project, Manage>) -> Result<Json<Vec<Value>>, ApiError> {
    let rules: Vec<R> = of.rules().await?;
    Ok(Json(rules.iter().map(|rule| shown(rule, of.project())).collect()))
}

async fn create<R: Shown>(
    of: Authorised<Project, Manage>,
    Params(fields): Params<R::Fields>,
) -> Result<Response, ApiError> {
    let rule = of.add_rule(&R::made(fields)?).await?;
    Ok((StatusCode::CREATED, Json(shown(&rule, of.project()))).into_response())
}

async fn change<R: Shown>(
    of: Authorised<Project, Manage>,
    Path(target): Path<Target>,
    Params(fields): Params<R::Fields>,
) -> Result<Json<Value>, ApiError> {
    let rule: R = of.change_rule(target.rule_id, R::changed(fields)?).await?;
    Ok(Json(shown(&rule, of.project())))
}

async fn remove<R: Shown>(
    of: Authorised<Project, Manage>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    of.remove_rule::<R>(target.rule_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
