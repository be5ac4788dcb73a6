//! What projects, groups and the instance store: by format, by user, by project; and counting it anew.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::shown::time;
use crate::app::App;
use crate::auth::{Authorised, Instance, Manage, Own};
use crate::http::error::ApiError;
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::{Accepted, Message, about};
use crate::registry::group::Group;
use crate::registry::project::Project;
use crate::registry::storage::{Amount, OfUser, Usage};

/// The routes below `/api/cairn/v1`.
pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/api/cairn/v1/usage",
            get_with(show_all, about("getUsage", "Shows what is stored in all")),
        )
        .api_route(
            "/api/cairn/v1/usage/recount",
            get_with(
                show_recount,
                about("getRecount", "Shows whether what is stored is being counted anew"),
            )
            .post_with(
                recount,
                about(
                    "recountUsage",
                    "Has what is stored counted anew, in the background",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/groups/{id}/usage",
            get_with(show_group, about("getGroupUsage", "Shows what a group stores")),
        )
        .api_route(
            "/api/cairn/v1/groups/{id}/usage/users",
            get_with(
                list_users_of_group,
                about(
                    "listGroupUsageByUser",
                    "Lists what users store in a group, the most first",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/groups/{id}/usage/projects",
            get_with(
                list_projects,
                about(
                    "listGroupUsageByProject",
                    "Lists what the projects of a group store, the most first",
                ),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/usage",
            get_with(
                show_project,
                about("getProjectUsage", "Shows what a project stores"),
            ),
        )
        .api_route(
            "/api/cairn/v1/projects/{id}/usage/users",
            get_with(
                list_users_of_project,
                about(
                    "listProjectUsageByUser",
                    "Lists what users store in a project, the most first",
                ),
            ),
        )
        .with_path_items(|item| item.tag("Usage"))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageAmount")]
struct ShownAmount {
    bytes: i64,
    files: i64,
    /// Versions; of images, manifests.
    versions: i64,
}

impl From<&Amount> for ShownAmount {
    fn from(amount: &Amount) -> Self {
        Self {
            bytes: amount.bytes,
            files: amount.files,
            versions: amount.versions,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageOfFormat")]
struct OfFormat {
    package_type: String,
    #[serde(flatten)]
    amount: ShownAmount,
}

/// What is stored somewhere.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Usage")]
struct Shown {
    #[serde(flatten)]
    sum: ShownAmount,
    /// What it takes on the disks: its share in what the whole tree of groups takes.
    stored_bytes: u64,
    formats: Vec<OfFormat>,
}

impl From<&Usage> for Shown {
    fn from(usage: &Usage) -> Self {
        let formats = usage.formats.iter().map(|(format, amount)| OfFormat {
            package_type: format.clone(),
            amount: amount.into(),
        });
        Self {
            sum: (&usage.total()).into(),
            stored_bytes: usage.stored_bytes,
            formats: formats.collect(),
        }
    }
}

/// What GitLab shows of a project or group with `statistics=true`. What does not exist here is 0.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Statistics {
    storage_size: i64,
    repository_size: i64,
    wiki_size: i64,
    lfs_objects_size: i64,
    job_artifacts_size: i64,
    pipeline_artifacts_size: i64,
    packages_size: i64,
    container_registry_size: i64,
    snippets_size: i64,
    uploads_size: i64,
}

impl From<&Usage> for Statistics {
    fn from(usage: &Usage) -> Self {
        let (all, images) = (usage.total().bytes, usage.images().bytes);
        Self {
            storage_size: all,
            repository_size: 0,
            wiki_size: 0,
            lfs_objects_size: 0,
            job_artifacts_size: 0,
            pipeline_artifacts_size: 0,
            packages_size: all - images,
            container_registry_size: images,
            snippets_size: 0,
            uploads_size: 0,
        }
    }
}

async fn show_project(of: Authorised<Project, Manage>) -> Result<Json<Shown>, ApiError> {
    Ok(Json((&of.usage().await?).into()))
}

async fn show_group(of: Authorised<Group, Manage>) -> Result<Json<Shown>, ApiError> {
    Ok(Json((&of.usage().await?).into()))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WholeUsage")]
struct ShownAll {
    #[serde(flatten)]
    usage: Shown,
    /// What different contents have in bytes, each counted once in its tree of groups.
    content_bytes: u64,
}

async fn show_all(of: Authorised<Instance, Own>) -> Result<Json<ShownAll>, ApiError> {
    let (usage, content_bytes) = of.usage().await?;
    Ok(Json(ShownAll {
        usage: (&usage).into(),
        content_bytes,
    }))
}

/// A number as a key that sorts like it.
fn size_key(bytes: i64) -> [u8; 8] {
    bytes.max(0).cast_unsigned().to_be_bytes()
}

/// What a user stores; nobody stands for tokens that are no users, and for users that are gone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UsageOfUser")]
struct ShownOfUser {
    user: Option<Named>,
    #[serde(flatten)]
    amount: ShownAmount,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NamedUser")]
struct Named {
    id: u64,
    username: String,
    name: String,
}

impl From<OfUser> for ShownOfUser {
    fn from(of: OfUser) -> Self {
        Self {
            user: of.user.map(|user| Named {
                id: user.id,
                username: user.username.as_str().into(),
                name: user.name,
            }),
            amount: (&of.amount).into(),
        }
    }
}

/// Users, those with the most bytes first.
struct Users(Selection<OfUser>);

impl Users {
    fn new(paging: Paging) -> Result<Self, ApiError> {
        paging.order_by(&["bytes"])?;
        Ok(Self(paging.select(false)))
    }

    fn offer(&mut self, of: OfUser) {
        if of.amount != Amount::default() {
            let id = of.user.as_ref().map_or(0, |user| user.id);
            self.0.offer(size_key(of.amount.bytes), id, of);
        }
    }

    fn finish(self) -> Page<ShownOfUser> {
        self.0.finish().map(ShownOfUser::from)
    }
}

async fn list_users_of_project(
    of: Authorised<Project, Manage>,
    paging: Paging,
) -> Result<Page<ShownOfUser>, ApiError> {
    let mut users = Users::new(paging)?;
    of.each_user_of_storage(|row| users.offer(row)).await?;
    Ok(users.finish())
}

async fn list_users_of_group(
    of: Authorised<Group, Manage>,
    paging: Paging,
) -> Result<Page<ShownOfUser>, ApiError> {
    let mut users = Users::new(paging)?;
    of.each_user_of_storage(|row| users.offer(row)).await?;
    Ok(users.finish())
}

/// What a project stores.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageOfProject")]
struct OfProject {
    project_id: u64,
    project_path: String,
    #[serde(flatten)]
    usage: Shown,
}

async fn list_projects(of: Authorised<Group, Manage>, paging: Paging) -> Result<Page<OfProject>, ApiError> {
    paging.order_by(&["bytes"])?;
    let mut selection = paging.select(false);
    let mut walk = of.walk_projects(true);
    loop {
        let found = walk.next().await?;
        if found.is_empty() {
            break;
        }
        for project in found {
            let usage = project.usage().await?;
            let row = OfProject {
                project_id: project.project().id,
                project_path: project.project().path.as_str().into(),
                usage: (&usage).into(),
            };
            selection.offer(size_key(usage.total().bytes), row.project_id, row);
        }
    }
    Ok(selection.finish())
}

/// How a recount stands.
#[derive(Serialize, JsonSchema)]
struct Recount {
    under_way: bool,
    /// How many counters were wrong.
    corrected: u64,
    /// When the last one ended.
    done_at: Option<String>,
}

async fn show_recount(of: Authorised<Instance, Own>) -> Result<Json<Recount>, ApiError> {
    let standing = of.recounts().await?;
    Ok(Json(Recount {
        under_way: standing.under_way > 0,
        corrected: standing.corrected,
        done_at: time(standing.done_at),
    }))
}

async fn recount(of: Authorised<Instance, Own>) -> Result<Accepted<Message>, ApiError> {
    of.order_recount().await?;
    Ok(Accepted(Message::ACCEPTED))
}
