//! `/groups/:id/packages/settings`, and ours for projects: what happens to duplicates, in formats
//! whose clients leave the choice, and which versions are taken, in formats that have snapshots.
//!
//! GitLab's switch `generic_duplicates_allowed` has two positions; `generic_duplicates` has all
//! four. The names and versions that match `generic_duplicate_exception_regex` are handled the other
//! way round. `maven_version_policy`, which GitLab does not have, is `mixed`, `release` or `snapshot`.
//! Null takes a setting back, so that it is inherited again.

use std::borrow::Cow;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::App;
use crate::auth::{Authorised, Manage, Own, See};
use crate::formats::{FORMATS, Format};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::rest::about;
use crate::registry::group::{Group, GroupChange};
use crate::registry::project::{Project, ProjectChange};
use crate::registry::settings::{DuplicatePolicy, Duplicates, PackageSettings, VersionPolicy};

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/groups/{id}/packages/settings",
            get_with(
                of_group,
                about(
                    "getGroupPackageSettings",
                    "Shows which packages a group takes, and what it does with duplicates",
                ),
            )
            .put_with(
                change_group,
                about(
                    "changeGroupPackageSettings",
                    "Changes which packages a group takes, and what it does with duplicates",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/packages/settings",
            get_with(
                of_project,
                about(
                    "getProjectPackageSettings",
                    "Shows which packages a project takes, and what it does with duplicates",
                ),
            )
            .put_with(
                change_project,
                about(
                    "changeProjectPackageSettings",
                    "Changes which packages a project takes, and what it does with duplicates",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Package settings"))
}

/// The formats that leave the choice.
fn choosing() -> impl Iterator<Item = &'static str> {
    let choosing = |format: &&&dyn Format| format.default_duplicates().is_some();
    FORMATS.iter().filter(choosing).map(|format| format.name())
}

/// The formats that have snapshots.
fn with_snapshots() -> impl Iterator<Item = &'static str> {
    let has_snapshots = |format: &&&dyn Format| format.has_snapshots();
    FORMATS.iter().filter(has_snapshots).map(|format| format.name())
}

/// The one of some formats that a field is about, by what it ends with.
fn format_of(
    field: &str,
    suffix: &str,
    mut formats: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let name = field.strip_suffix(suffix)?;
    formats.find(|known| *known == name)
}

/// What is said of the formats that leave the choice.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Fields(Map<String, Value>);

/// The fields that [`shown`] gives and [`changed`] takes.
impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "PackageSettings".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut fields = Map::new();
        for name in choosing() {
            let allowed = generator.subschema_for::<Option<bool>>();
            fields.insert(format!("{name}_duplicates_allowed"), allowed.into());
            let policy = generator.subschema_for::<Option<DuplicatePolicy>>();
            fields.insert(format!("{name}_duplicates"), policy.into());
            let exceptions = generator.subschema_for::<Option<String>>();
            fields.insert(format!("{name}_duplicate_exception_regex"), exceptions.into());
        }
        for name in with_snapshots() {
            let policy = generator.subschema_for::<Option<VersionPolicy>>();
            fields.insert(format!("{name}_version_policy"), policy.into());
        }
        json_schema!({
            "type": "object",
            "description": "What happens to duplicates, and which versions are taken, by format; null is inherited.",
            "properties": fields,
            "additionalProperties": false,
        })
    }
}

fn shown(settings: &PackageSettings) -> Fields {
    let mut fields = Map::new();
    for name in choosing() {
        let policy = settings.duplicates.get(name);
        let allowed = policy.map(|policy| policy.allows_other_content());
        let exceptions = settings.duplicate_exceptions.get(name);
        fields.insert(format!("{name}_duplicates_allowed"), allowed.into());
        fields.insert(format!("{name}_duplicates"), serde_json::json!(policy));
        fields.insert(
            format!("{name}_duplicate_exception_regex"),
            exceptions.cloned().into(),
        );
    }
    for name in with_snapshots() {
        let policy = settings.versions.get(name);
        fields.insert(format!("{name}_version_policy"), serde_json::json!(policy));
    }
    Fields(fields)
}

/// An expression for exceptions; none takes them back.
fn exceptions(field: &str, value: &Value) -> Result<Option<String>, ApiError> {
    let wrong = |why: &str| ApiError::parameter(format!("{field} {why}"));
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => match Duplicates::new(DuplicatePolicy::Allow, Some(text)) {
            Ok(_) => Ok(Some(text.clone())),
            Err(error) => Err(wrong(&error.to_string())),
        },
        _ => Err(wrong("does not have a valid value")),
    }
}

/// The settings with some fields changed.
fn changed(settings: &PackageSettings, fields: Map<String, Value>) -> Result<PackageSettings, ApiError> {
    let mut settings = settings.clone();
    for (field, value) in fields {
        let wrong = || ApiError::parameter(format!("{field} does not have a valid value"));
        let known = |suffix: &str| format_of(&field, suffix, choosing());
        if let Some(format) = format_of(&field, "_version_policy", with_snapshots()) {
            match serde_json::from_value(value).map_err(|_| wrong())? {
                Some(policy) => settings.versions.insert(format.into(), policy),
                None => settings.versions.remove(format),
            };
            continue;
        }
        if let Some(format) = known("_duplicate_exception_regex") {
            match exceptions(&field, &value)? {
                Some(pattern) => settings.duplicate_exceptions.insert(format.into(), pattern),
                None => settings.duplicate_exceptions.remove(format),
            };
            continue;
        }
        let (format, policy) = if let Some(format) = known("_duplicates_allowed") {
            let policy = match &value {
                Value::Null => None,
                Value::Bool(true) => Some(DuplicatePolicy::Allow),
                Value::Bool(false) => Some(DuplicatePolicy::ForbidSameContentOk),
                Value::String(text) if text == "true" => Some(DuplicatePolicy::Allow),
                Value::String(text) if text == "false" => Some(DuplicatePolicy::ForbidSameContentOk),
                _ => return Err(wrong()),
            };
            (format, policy)
        } else if let Some(format) = known("_duplicates") {
            (format, serde_json::from_value(value).map_err(|_| wrong())?)
        } else {
            return Err(ApiError::parameter(format!("{field} is not known")));
        };
        match policy {
            Some(policy) => settings.duplicates.insert(format.into(), policy),
            None => settings.duplicates.remove(format),
        };
    }
    Ok(settings)
}

async fn of_group(of: Authorised<Group, See>) -> Result<Json<Fields>, ApiError> {
    of.access().signed_in()?;
    Ok(Json(shown(&of.group().packages)))
}

async fn change_group(
    of: Authorised<Group, Own>,
    Params(Fields(fields)): Params<Fields>,
) -> Result<Json<Fields>, ApiError> {
    let change = GroupChange {
        packages: Some(changed(&of.group().packages, fields)?),
        ..GroupChange::default()
    };
    Ok(Json(shown(&of.change(&change).await?.packages)))
}

async fn of_project(of: Authorised<Project, See>) -> Result<Json<Fields>, ApiError> {
    of.access().signed_in()?;
    Ok(Json(shown(&of.project().packages)))
}

async fn change_project(
    of: Authorised<Project, Manage>,
    Params(Fields(fields)): Params<Fields>,
) -> Result<Json<Fields>, ApiError> {
    let change = ProjectChange {
        packages: Some(changed(&of.project().packages, fields)?),
        ..ProjectChange::default()
    };
    Ok(Json(shown(&of.change(&change).await?.packages)))
}
