//! Cleanup policies of projects: GitLab's for duplicate files of packages, ours for versions of
//! packages, and dry runs of both and of GitLab's for container images, which is an attribute of the
//! project.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::shown::{Words, time};
use crate::app::App;
use crate::auth::{Authorised, Manage};
use crate::formats::oci::expiry::{self, GoingImage};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::rest::{Accepted, about};
use crate::registry::cleanup::{ContainerChange, ContainerPolicy, Going, PackagePolicy, Schedule};
use crate::registry::project::Project;
use crate::registry::time::iso;

/// How much of what would go a dry run lists, unless it is asked for more.
const USUAL_LIMIT: u64 = 1000;
const LARGEST_LIMIT: u64 = 10_000;

/// The routes below `/api/v4`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/projects/{id}/packages/cleanup/policy",
            get_with(
                show_files_policy,
                about(
                    "getFilesPolicy",
                    "Shows GitLab's policy for duplicate files of packages",
                ),
            )
            .put_with(
                change_files_policy,
                about(
                    "changeFilesPolicy",
                    "Changes GitLab's policy for duplicate files of packages",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Cleanup policies"))
}

/// What GitLab does not have, below the host root.
pub(super) fn own_routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/projects/{id}/packages/cleanup_policy",
            get_with(show_policy, about("getPackagePolicy", "Shows the cleanup policy for packages")).put_with(change_policy, about("changePackagePolicy", "Changes the cleanup policy for packages")),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/packages/cleanup_policy/dry_run",
            post_with(dry_run, about("tryPackagePolicy", "Says which packages would go now, by the policy or by what a change would make of it")),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/packages/cleanup_policy/run",
            post_with(run, about("runPackagePolicy", "Gives the cleanup policy for packages its turn at once")),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/registry/cleanup_policy",
            get_with(show_images_policy, about("getImagePolicy", "Shows the cleanup policy for images")).put_with(change_images_policy, about("changeImagePolicy", "Changes the cleanup policy for images")),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/registry/cleanup_policy/dry_run",
            post_with(dry_run_of_images, about("tryImagePolicy", "Says which tags and manifests would go now, by the policy or by what a change would make of it")),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/registry/cleanup_policy/run",
            post_with(run_on_images, about("runImagePolicy", "Gives the cleanup policy for images its turn at once")),
        )
        .with_path_items(|item| item.tag("Cleanup policies"))
}

fn next_run(schedule: Option<&Schedule>) -> Option<String> {
    time(schedule.map(|schedule| schedule.next_run_at))
}

/// When a policy has its turns.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CleanupSchedule")]
struct ShownSchedule {
    next_run_at: Option<String>,
    running: bool,
    last_run: Option<LastRun>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CleanupRun")]
struct LastRun {
    started_at: String,
    ended_at: String,
    /// How much went.
    removed: u64,
}

fn shown_schedule(schedule: Option<&Schedule>) -> ShownSchedule {
    let last = schedule.and_then(|schedule| schedule.last.as_ref());
    ShownSchedule {
        next_run_at: next_run(schedule),
        running: schedule.is_some_and(Schedule::is_running),
        last_run: last.map(|last| LastRun {
            started_at: iso(last.started_at),
            ended_at: iso(last.ended_at),
            removed: last.removed,
        }),
    }
}

/// The value by which GitLab keeps all files.
const ALL_FILES: &str = "ALL_PACKAGE_FILES";

/// How many files of one name may be kept.
const KEPT_FILES: [u64; 6] = [1, 10, 20, 30, 40, 50];

fn shown_files(policy: &PackagePolicy) -> Value {
    policy.keep_files.map_or_else(|| ALL_FILES.into(), Value::from)
}

fn kept_files_schema(_: &mut SchemaGenerator) -> Schema {
    let counts = KEPT_FILES.map(Value::from).into_iter();
    json_schema!({ "enum": counts.chain([ALL_FILES.into()]).collect::<Vec<_>>() })
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

/// How many files of one name are kept.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageFilesPolicy")]
struct ShownFilesPolicy {
    #[schemars(schema_with = "kept_files_schema")]
    keep_n_duplicated_package_files: Value,
    next_run_at: Option<String>,
}

fn shown_files_policy((policy, schedule): &(PackagePolicy, Option<Schedule>)) -> Json<ShownFilesPolicy> {
    Json(ShownFilesPolicy {
        keep_n_duplicated_package_files: shown_files(policy),
        next_run_at: next_run(schedule.as_ref()),
    })
}

async fn show_files_policy(of: Authorised<Project, Manage>) -> Result<Json<ShownFilesPolicy>, ApiError> {
    Ok(shown_files_policy(&of.cleanup_policy().await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilesChange {
    #[schemars(schema_with = "kept_files_schema")]
    keep_n_duplicated_package_files: Value,
}

async fn change_files_policy(
    of: Authorised<Project, Manage>,
    Params(change): Params<FilesChange>,
) -> Result<Json<ShownFilesPolicy>, ApiError> {
    let keep_files = kept_files(&change.keep_n_duplicated_package_files)?;
    let changed = of.change_cleanup_policy(|policy: &mut PackagePolicy| {
        policy.keep_files = keep_files;
        Ok(())
    });
    Ok(shown_files_policy(&changed.await?))
}

/// A cleanup policy for packages.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageCleanupPolicy")]
struct Shown {
    enabled: bool,
    formats: Vec<String>,
    name_regex: Option<String>,
    name_regex_keep: Option<String>,
    version_regex: Option<String>,
    version_regex_keep: Option<String>,
    /// How many of the newest versions stay.
    keep_n: Option<u64>,
    /// Versions that were published more recently stay.
    older_than: Option<String>,
    /// Versions that were downloaded, or published, more recently stay.
    not_downloaded_for: Option<String>,
    #[schemars(schema_with = "kept_files_schema")]
    keep_n_duplicated_package_files: Value,
    #[serde(flatten)]
    schedule: ShownSchedule,
}

fn shown((policy, schedule): &(PackagePolicy, Option<Schedule>)) -> Json<Shown> {
    Json(Shown {
        enabled: policy.enabled,
        formats: policy.formats.clone(),
        name_regex: policy.name_regex.clone(),
        name_regex_keep: policy.name_regex_keep.clone(),
        version_regex: policy.version_regex.clone(),
        version_regex_keep: policy.version_regex_keep.clone(),
        keep_n: policy.keep_n,
        older_than: policy.older_than.clone(),
        not_downloaded_for: policy.not_downloaded_for.clone(),
        keep_n_duplicated_package_files: shown_files(policy),
        schedule: shown_schedule(schedule.as_ref()),
    })
}

/// What is to change of a policy; what is absent stays, null takes it away.
#[derive(Debug, Default, Deserialize, JsonSchema)]
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
    #[schemars(schema_with = "kept_files_schema")]
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

async fn show_policy(of: Authorised<Project, Manage>) -> Result<Json<Shown>, ApiError> {
    Ok(shown(&of.cleanup_policy().await?))
}

async fn change_policy(
    of: Authorised<Project, Manage>,
    Params(change): Params<Change>,
) -> Result<Json<Shown>, ApiError> {
    let now = of.access().now();
    let changed = of.change_cleanup_policy(|policy: &mut PackagePolicy| {
        change.apply(policy)?;
        policy.check(now)
    });
    Ok(shown(&changed.await?))
}

/// What would go now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageCleanupPlan")]
struct Plan {
    as_of: String,
    /// How many versions would go.
    versions: u64,
    /// How many files of versions that stay would go.
    files: u64,
    /// Whether all of it is listed.
    complete: bool,
    going: Vec<ShownGoing>,
}

/// A version that would go, or a file of one that stays.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GoingPackage")]
struct ShownGoing {
    package_type: &'static str,
    name: String,
    version: String,
    package_id: u64,
    file_id: Option<u64>,
    file_name: Option<String>,
    why: String,
}

impl From<Going> for ShownGoing {
    fn from(going: Going) -> Self {
        let (file_id, file_name) = going.file.unzip();
        Self {
            package_type: going.format,
            name: going.package,
            version: going.version,
            package_id: going.version_id,
            file_id,
            file_name,
            why: going.why,
        }
    }
}

/// Says what would go now, by the policy or by what a change would make of it; nothing goes.
async fn dry_run(
    of: Authorised<Project, Manage>,
    Params(change): Params<Change>,
) -> Result<Json<Plan>, ApiError> {
    let (mut policy, _): (PackagePolicy, _) = of.cleanup_policy().await?;
    change.apply(&mut policy)?;
    let now = of.access().now();
    policy.check(now)?;
    let plan = of.plan_cleanup(&policy, limit(change.limit)).await?;
    Ok(Json(Plan {
        as_of: iso(now),
        versions: plan.versions,
        files: plan.files,
        complete: plan.first.len() as u64 == plan.versions + plan.files,
        going: plan.first.into_iter().map(ShownGoing::from).collect(),
    }))
}

async fn run(of: Authorised<Project, Manage>) -> Result<Accepted<ShownSchedule>, ApiError> {
    let schedule = of.run_cleanup::<PackagePolicy>().await?;
    Ok(Accepted(shown_schedule(Some(&schedule))))
}

/// The policy for container images, as projects show it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ContainerExpirationPolicy")]
pub(super) struct ShownImages {
    enabled: bool,
    cadence: String,
    keep_n: Option<u64>,
    older_than: Option<String>,
    name_regex: Option<String>,
    name_regex_keep: Option<String>,
    next_run_at: Option<String>,
}

pub(super) fn shown_images((policy, schedule): &(ContainerPolicy, Option<Schedule>)) -> ShownImages {
    ShownImages {
        enabled: policy.enabled,
        cadence: policy.cadence.clone(),
        keep_n: policy.keep_n,
        older_than: policy.older_than.clone(),
        name_regex: policy.name_regex.clone(),
        name_regex_keep: policy.name_regex_keep.clone(),
        next_run_at: next_run(schedule.as_ref()),
    }
}

/// A cleanup policy for images.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ImageCleanupPolicy")]
struct ShownImagesWhole {
    enabled: bool,
    cadence: String,
    keep_n: Option<u64>,
    older_than: Option<String>,
    name_regex: Option<String>,
    name_regex_keep: Option<String>,
    /// Whether manifests that no tag leads to go too.
    untagged: bool,
    #[serde(flatten)]
    schedule: ShownSchedule,
}

fn shown_images_whole((policy, schedule): &(ContainerPolicy, Option<Schedule>)) -> Json<ShownImagesWhole> {
    Json(ShownImagesWhole {
        enabled: policy.enabled,
        cadence: policy.cadence.clone(),
        keep_n: policy.keep_n,
        older_than: policy.older_than.clone(),
        name_regex: policy.name_regex.clone(),
        name_regex_keep: policy.name_regex_keep.clone(),
        untagged: policy.untagged,
        schedule: shown_schedule(schedule.as_ref()),
    })
}

async fn show_images_policy(of: Authorised<Project, Manage>) -> Result<Json<ShownImagesWhole>, ApiError> {
    Ok(shown_images_whole(&of.cleanup_policy().await?))
}

async fn change_images_policy(
    of: Authorised<Project, Manage>,
    Params(change): Params<ContainerChange>,
) -> Result<Json<ShownImagesWhole>, ApiError> {
    let changed = of.change_cleanup_policy(|policy: &mut ContainerPolicy| change.apply(policy));
    Ok(shown_images_whole(&changed.await?))
}

/// Which images would go now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ImageCleanupPlan")]
struct ImagePlan {
    as_of: String,
    tags: u64,
    manifests: u64,
    blobs: u64,
    blob_bytes: u64,
    /// Whether all of it is listed.
    complete: bool,
    going: Vec<GoingImage>,
}

async fn dry_run_of_images(
    of: Authorised<Project, Manage>,
    Params(change): Params<ContainerChange>,
) -> Result<Json<ImagePlan>, ApiError> {
    let (mut policy, _): (ContainerPolicy, _) = of.cleanup_policy().await?;
    change.apply(&mut policy)?;
    let now = of.access().now();
    let plan = expiry::plan(&of, &policy, limit(None)).await?;
    Ok(Json(ImagePlan {
        as_of: iso(now),
        tags: plan.tags,
        manifests: plan.manifests,
        blobs: plan.blobs,
        blob_bytes: plan.blob_bytes,
        complete: plan.first.len() as u64 == plan.tags + plan.manifests,
        going: plan.first,
    }))
}

async fn run_on_images(of: Authorised<Project, Manage>) -> Result<Accepted<ShownSchedule>, ApiError> {
    let schedule = of.run_cleanup::<ContainerPolicy>().await?;
    Ok(Accepted(shown_schedule(Some(&schedule))))
}
