//! Cleanup policies of projects: GitLab's for duplicate files of packages, ours for versions of
//! packages, and dry runs of both and of GitLab's for container images, which is an attribute of the
//! project.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::shown::{Words, time, with};
use crate::app::App;
use crate::auth::{Authorised, Manage};
use crate::formats::oci::expiry;
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::registry::cleanup::{ContainerChange, ContainerPolicy, PackagePolicy, Schedule};
use crate::registry::project::Project;
use crate::registry::time::iso;

/// How much of what would go a dry run lists, unless it is asked for more.
const USUAL_LIMIT: u64 = 1000;
const LARGEST_LIMIT: u64 = 10_000;

/// The routes below `/api/v4`.
pub(super) fn routes() -> Router<App> {
    Router::new().route(
        "/projects/{id}/packages/cleanup/policy",
        get(show_files_policy).put(change_files_policy),
    )
}

/// What GitLab does not have, below the host root.
pub(super) fn own_routes() -> Router<App> {
    Router::new()
        .route(
            "/api/cairn/v1/projects/{id}/packages/cleanup_policy",
            get(show_policy).put(change_policy),
        )
        .route(
            "/api/cairn/v1/projects/{id}/packages/cleanup_policy/dry_run",
            post(dry_run),
        )
        .route(
            "/api/cairn/v1/projects/{id}/packages/cleanup_policy/run",
            post(run),
        )
        .route(
            "/api/cairn/v1/projects/{id}/registry/cleanup_policy",
            get(show_images_policy).put(change_images_policy),
        )
        .route(
            "/api/cairn/v1/projects/{id}/registry/cleanup_policy/dry_run",
            post(dry_run_of_images),
        )
        .route(
            "/api/cairn/v1/projects/{id}/registry/cleanup_policy/run",
            post(run_on_images),
        )
}

fn next_run(schedule: Option<&Schedule>) -> Value {
    time(schedule.map(|schedule| schedule.next_run_at))
}

/// When a policy has its turns.
fn shown_schedule(schedule: Option<&Schedule>) -> Value {
    let last = schedule.and_then(|schedule| schedule.last.as_ref());
    json!({
        "next_run_at": next_run(schedule),
        "running": schedule.is_some_and(Schedule::is_running),
        "last_run": last.map(|last| json!({
            "started_at": iso(last.started_at),
            "ended_at": iso(last.ended_at),
            "removed": last.removed,
        })),
    })
}

/// The value by which GitLab keeps all files.
const ALL_FILES: &str = "ALL_PACKAGE_FILES";

/// How many files of one name may be kept.
const KEPT_FILES: [u64; 6] = [1, 10, 20, 30, 40, 50];

fn shown_files(policy: &PackagePolicy) -> Value {
    policy.keep_files.map_or_else(|| ALL_FILES.into(), Value::from)
}

fn kept_files(value: &Value) -> Result<Option<u64>, ApiError> {
    let count = match value {
        Value::String(text) if text == ALL_FILES => return Ok(None),
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    match count.filter(|count| KEPT_FILES.contains(count)) {
        Some(count) => Ok(Some(count)),
        None => Err(ApiError::parameter(
            "keep_n_duplicated_package_files does not have a valid value",
        )),
    }
}

fn shown_files_policy((policy, schedule): &(PackagePolicy, Option<Schedule>)) -> Json<Value> {
    Json(json!({
        "keep_n_duplicated_package_files": shown_files(policy),
        "next_run_at": next_run(schedule.as_ref()),
    }))
}

async fn show_files_policy(of: Authorised<Project, Manage>) -> Result<Json<Value>, ApiError> {
    Ok(shown_files_policy(&of.cleanup_policy().await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesChange {
    keep_n_duplicated_package_files: Value,
}

async fn change_files_policy(
    of: Authorised<Project, Manage>,
    Params(change): Params<FilesChange>,
) -> Result<Json<Value>, ApiError> {
    let keep_files = kept_files(&change.keep_n_duplicated_package_files)?;
    let changed = of.change_cleanup_policy(|policy: &mut PackagePolicy| {
        policy.keep_files = keep_files;
        Ok(())
    });
    Ok(shown_files_policy(&changed.await?))
}

fn shown((policy, schedule): &(PackagePolicy, Option<Schedule>)) -> Json<Value> {
    let rules = json!({
        "enabled": policy.enabled,
        "formats": policy.formats,
        "name_regex": policy.name_regex,
        "name_regex_keep": policy.name_regex_keep,
        "version_regex": policy.version_regex,
        "version_regex_keep": policy.version_regex_keep,
        "keep_n": policy.keep_n,
        "older_than": policy.older_than,
        "not_downloaded_for": policy.not_downloaded_for,
        "keep_n_duplicated_package_files": shown_files(policy),
    });
    Json(with(rules, shown_schedule(schedule.as_ref())))
}

/// What is to change of a policy; what is absent stays, null takes it away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default, deserialize_with = "form::boolean")]
    enabled: Option<bool>,
    formats: Option<Words>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    name_regex: Option<Option<String>>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    name_regex_keep: Option<Option<String>>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    version_regex: Option<Option<String>>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    version_regex_keep: Option<Option<String>>,
    #[serde(default, deserialize_with = "form::nullable_number")]
    keep_n: Option<Option<u64>>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    older_than: Option<Option<String>>,
    #[serde(default, deserialize_with = "form::nullable_text")]
    not_downloaded_for: Option<Option<String>>,
    keep_n_duplicated_package_files: Option<Value>,
    /// Of a dry run: how much it lists.
    #[serde(default, deserialize_with = "form::number")]
    limit: Option<u64>,
}

impl Change {
    fn apply(&self, policy: &mut PackagePolicy) -> Result<(), ApiError> {
        policy.enabled = self.enabled.unwrap_or(policy.enabled);
        if let Some(formats) = &self.formats {
            let named = formats
                .clone()
                .into_vec()
                .into_iter()
                .filter(|name| !name.is_empty());
            policy.formats = named.collect();
        }
        if let Some(files) = &self.keep_n_duplicated_package_files {
            policy.keep_files = kept_files(files)?;
        }
        policy.keep_n = self.keep_n.unwrap_or(policy.keep_n);
        for (sent, kept) in [
            (&self.name_regex, &mut policy.name_regex),
            (&self.name_regex_keep, &mut policy.name_regex_keep),
            (&self.version_regex, &mut policy.version_regex),
            (&self.version_regex_keep, &mut policy.version_regex_keep),
            (&self.older_than, &mut policy.older_than),
            (&self.not_downloaded_for, &mut policy.not_downloaded_for),
        ] {
            if let Some(sent) = sent {
                kept.clone_from(sent);
            }
        }
        Ok(())
    }
}

fn limit(asked: Option<u64>) -> usize {
    usize::try_from(asked.unwrap_or(USUAL_LIMIT).min(LARGEST_LIMIT)).unwrap_or(usize::MAX)
}

async fn show_policy(of: Authorised<Project, Manage>) -> Result<Json<Value>, ApiError> {
    Ok(shown(&of.cleanup_policy().await?))
}

async fn change_policy(
    of: Authorised<Project, Manage>,
    Params(change): Params<Change>,
) -> Result<Json<Value>, ApiError> {
    let now = of.access().now();
    let changed = of.change_cleanup_policy(|policy: &mut PackagePolicy| {
        change.apply(policy)?;
        policy.check(now)
    });
    Ok(shown(&changed.await?))
}

/// Says what would go now, by the policy or by what a change would make of it; nothing goes.
async fn dry_run(
    of: Authorised<Project, Manage>,
    Params(change): Params<Change>,
) -> Result<Json<Value>, ApiError> {
    let (mut policy, _): (PackagePolicy, _) = of.cleanup_policy().await?;
    change.apply(&mut policy)?;
    let now = of.access().now();
    policy.check(now)?;
    let plan = of.plan_cleanup(&policy, limit(change.limit)).await?;
    let going = plan.first.iter().map(|going| {
        let file = going.file.as_ref();
        json!({
            "package_type": going.format,
            "name": going.package,
            "version": going.version,
            "package_id": going.version_id,
            "file_id": file.map(|(id, _)| id),
            "file_name": file.map(|(_, name)| name),
            "why": going.why,
        })
    });
    Ok(Json(json!({
        "as_of": iso(now),
        "versions": plan.versions,
        "files": plan.files,
        "complete": plan.first.len() as u64 == plan.versions + plan.files,
        "going": going.collect::<Vec<_>>(),
    })))
}

async fn run(of: Authorised<Project, Manage>) -> Result<Response, ApiError> {
    let schedule = of.run_cleanup::<PackagePolicy>().await?;
    Ok((StatusCode::ACCEPTED, Json(shown_schedule(Some(&schedule)))).into_response())
}

/// The policy for container images, as projects show it.
pub(super) fn shown_images((policy, schedule): &(ContainerPolicy, Option<Schedule>)) -> Value {
    json!({
        "enabled": policy.enabled,
        "cadence": policy.cadence,
        "keep_n": policy.keep_n,
        "older_than": policy.older_than,
        "name_regex": policy.name_regex,
        "name_regex_keep": policy.name_regex_keep,
        "next_run_at": next_run(schedule.as_ref()),
    })
}

fn shown_images_whole(of: &(ContainerPolicy, Option<Schedule>)) -> Json<Value> {
    let own = with(
        json!({ "untagged": of.0.untagged }),
        shown_schedule(of.1.as_ref()),
    );
    Json(with(shown_images(of), own))
}

async fn show_images_policy(of: Authorised<Project, Manage>) -> Result<Json<Value>, ApiError> {
    Ok(shown_images_whole(&of.cleanup_policy().await?))
}

async fn change_images_policy(
    of: Authorised<Project, Manage>,
    Params(change): Params<ContainerChange>,
) -> Result<Json<Value>, ApiError> {
    let changed = of.change_cleanup_policy(|policy: &mut ContainerPolicy| change.apply(policy));
    Ok(shown_images_whole(&changed.await?))
}

async fn dry_run_of_images(
    of: Authorised<Project, Manage>,
    Params(change): Params<ContainerChange>,
) -> Result<Json<Value>, ApiError> {
    let (mut policy, _): (ContainerPolicy, _) = of.cleanup_policy().await?;
    change.apply(&mut policy)?;
    let now = of.access().now();
    let plan = expiry::plan(&of, &policy, limit(None)).await?;
    Ok(Json(json!({
        "as_of": iso(now),
        "tags": plan.tags,
        "manifests": plan.manifests,
        "blobs": plan.blobs,
        "blob_bytes": plan.blob_bytes,
        "complete": plan.first.len() as u64 == plan.tags + plan.manifests,
        "going": plan.first,
    })))
}

async fn run_on_images(of: Authorised<Project, Manage>) -> Result<Response, ApiError> {
    let schedule = of.run_cleanup::<ContainerPolicy>().await?;
    Ok((StatusCode::ACCEPTED, Json(shown_schedule(Some(&schedule)))).into_response())
}
