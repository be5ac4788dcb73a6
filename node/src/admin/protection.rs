//! `/projects/:id/packages/protection/rules` and `/projects/:id/registry/protection/…/rules`: which
//! names are protected, and against whom. For maintainers, as GitLab has it.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, patch_with};
use axum::Json;
use schemars::JsonSchema;
use serde::de::{self, DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};

use crate::admin::shown::required;
use crate::app::App;
use crate::auth::{Authorised, Manage};
use crate::formats::{self, oci};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::rest::{Created, Nothing, Path, about, about_new};
use crate::registry::pattern::Pattern;
use crate::registry::project::Project;
use crate::registry::protection::{Level, Levels, PackageRule, RepositoryRule, Rule, TagRule};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/projects/{id}/packages/protection/rules",
            get_with(
                list::<PackageRule>,
                about("listPackageRules", "Lists the rules that protect packages"),
            )
            .post_with(
                create::<PackageRule>,
                about_new(
                    "createPackageRule",
                    "Makes a rule that protects packages",
                    &["package_name_pattern", "package_type"],
                ),
            ),
        )
        .api_route(
            "/projects/{id}/packages/protection/rules/{rule_id}",
            patch_with(
                change::<PackageRule>,
                about("changePackageRule", "Changes a rule that protects packages"),
            )
            .delete_with(
                remove::<PackageRule>,
                about("removePackageRule", "Removes a rule that protects packages"),
            ),
        )
        .api_route(
            "/projects/{id}/registry/protection/repository/rules",
            get_with(
                list::<RepositoryRule>,
                about(
                    "listRepositoryRules",
                    "Lists the rules that protect image repositories",
                ),
            )
            .post_with(
                create::<RepositoryRule>,
                about_new(
                    "createRepositoryRule",
                    "Makes a rule that protects image repositories",
                    &["repository_path_pattern"],
                ),
            ),
        )
        .api_route(
            "/projects/{id}/registry/protection/repository/rules/{rule_id}",
            patch_with(
                change::<RepositoryRule>,
                about(
                    "changeRepositoryRule",
                    "Changes a rule that protects image repositories",
                ),
            )
            .delete_with(
                remove::<RepositoryRule>,
                about(
                    "removeRepositoryRule",
                    "Removes a rule that protects image repositories",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/registry/protection/tag/rules",
            get_with(
                list::<TagRule>,
                about("listTagRules", "Lists the rules that protect tags of images"),
            )
            .post_with(
                create::<TagRule>,
                about_new(
                    "createTagRule",
                    "Makes a rule that protects tags of images",
                    &["tag_name_pattern"],
                ),
            ),
        )
        .api_route(
            "/projects/{id}/registry/protection/tag/rules/{rule_id}",
            patch_with(
                change::<TagRule>,
                about("changeTagRule", "Changes a rule that protects tags of images"),
            )
            .delete_with(
                remove::<TagRule>,
                about("removeTagRule", "Removes a rule that protects tags of images"),
            ),
        )
        .with_path_items(|item| item.tag("Protection rules"))
}

/// A kind of rule as the API has it.
trait Shown: Rule + 'static {
    /// What may be said of a rule.
    type Fields: DeserializeOwned + JsonSchema + Sync + Send;

    /// A rule with these fields.
    fn made(fields: Self::Fields) -> Result<Self, ApiError>;
    /// How some of its fields change.
    fn changed(fields: Self::Fields) -> Result<impl Fn(&mut Self) + Send + Sync, ApiError>;
    /// How a rule is shown.
    type Shown: Serialize + JsonSchema;

    fn shown(&self, project: &Project) -> Self::Shown;
}

/// Who may do at least what in spite of a rule.
#[derive(Serialize, JsonSchema)]
struct ShownLevels {
    minimum_access_level_for_push: Option<&'static str>,
    minimum_access_level_for_delete: Option<&'static str>,
}

impl From<Levels> for ShownLevels {
    fn from(levels: Levels) -> Self {
        Self {
            minimum_access_level_for_push: levels.push.map(Level::name),
            minimum_access_level_for_delete: levels.delete.map(Level::name),
        }
    }
}

/// The levels of a rule as they are sent. What is absent stays, null takes it away.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
struct SentLevels {
    #[serde(default, deserialize_with = "level")]
    #[schemars(with = "Option<String>", extend("enum" = ["maintainer", "owner", "admin", null]))]
    minimum_access_level_for_push: Option<Option<Level>>,
    #[serde(default, deserialize_with = "level")]
    #[schemars(with = "Option<String>", extend("enum" = ["maintainer", "owner", "admin", null]))]
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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

/// A rule that protects packages.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageProtectionRule")]
struct ShownPackageRule {
    id: u64,
    project_id: u64,
    package_name_pattern: String,
    package_type: String,
    #[serde(flatten)]
    levels: ShownLevels,
}

impl Shown for PackageRule {
    type Shown = ShownPackageRule;
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

    fn shown(&self, project: &Project) -> ShownPackageRule {
        ShownPackageRule {
            id: self.id,
            project_id: project.id,
            package_name_pattern: self.name_pattern.as_str().into(),
            package_type: self.format.clone(),
            levels: self.levels.into(),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RepositoryFields {
    repository_path_pattern: Option<String>,
    #[serde(flatten)]
    levels: SentLevels,
}

/// A rule that protects image repositories.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RepositoryProtectionRule")]
struct ShownRepositoryRule {
    id: u64,
    project_id: u64,
    repository_path_pattern: String,
    #[serde(flatten)]
    levels: ShownLevels,
}

impl Shown for RepositoryRule {
    type Shown = ShownRepositoryRule;
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

    fn shown(&self, project: &Project) -> ShownRepositoryRule {
        ShownRepositoryRule {
            id: self.id,
            project_id: project.id,
            repository_path_pattern: self.path_pattern.as_str().into(),
            levels: self.levels.into(),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TagFields {
    tag_name_pattern: Option<String>,
    #[serde(flatten)]
    levels: SentLevels,
}

/// A rule that protects tags of images.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TagProtectionRule")]
struct ShownTagRule {
    id: u64,
    project_id: u64,
    tag_name_pattern: String,
    #[serde(flatten)]
    levels: ShownLevels,
}

impl Shown for TagRule {
    type Shown = ShownTagRule;
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

    fn shown(&self, project: &Project) -> ShownTagRule {
        ShownTagRule {
            id: self.id,
            project_id: project.id,
            tag_name_pattern: self.name_pattern.clone(),
            levels: self.levels.into(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Target {
    rule_id: u64,
}

async fn list<R: Shown>(of: Authorised<Project, Manage>) -> Result<Json<Vec<R::Shown>>, ApiError> {
    let rules: Vec<R> = of.rules().await?;
    Ok(Json(rules.iter().map(|rule| rule.shown(of.project())).collect()))
}

async fn create<R: Shown>(
    of: Authorised<Project, Manage>,
    Params(fields): Params<R::Fields>,
) -> Result<Created<R::Shown>, ApiError> {
    let rule = of.add_rule(&R::made(fields)?).await?;
    Ok(Created(rule.shown(of.project())))
}

async fn change<R: Shown>(
    of: Authorised<Project, Manage>,
    Path(target): Path<Target>,
    Params(fields): Params<R::Fields>,
) -> Result<Json<R::Shown>, ApiError> {
    let rule: R = of.change_rule(target.rule_id, R::changed(fields)?).await?;
    Ok(Json(rule.shown(of.project())))
}

async fn remove<R: Shown>(
    of: Authorised<Project, Manage>,
    Path(target): Path<Target>,
) -> Result<Nothing<204>, ApiError> {
    of.remove_rule::<R>(target.rule_id).await?;
    Ok(Nothing)
}
