//! GitLab's REST API of the container registry: repositories and tags of a project, for its
//! clients and for people. Specified by GitLab's documentation.
//!
//! Deleting tags by rules is in [`super::cleanup`].

use std::collections::BTreeSet;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use cairn_cluster::{Entry, Scan, Snapshot, Txn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys::{ProjectKeys, RepositoryKeys};
use super::names::{Digest, Tag};
use super::records::{BlobLink, ManifestRecord, Repository, TagRecord};
use super::store::{Change, whole_path};
use super::{NAME, cleanup, number};
use crate::app::App;
use crate::auth::scopes::TokenScope;
use crate::auth::{Access, Action, Authorised, DeleteImage, Manage, PullImage, See};
use crate::http::error::{ApiError, ErrorKind};
use crate::http::form::{self, Query};
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::{Nothing, Path, about};
use crate::registry::Scope;
use crate::registry::audit::Act;
use crate::registry::group::Group;
use crate::registry::names::Reference;
use crate::registry::project::Project;
use crate::registry::protection::{ContainerGuard, Right};
use crate::registry::reader::next_entries;
use crate::registry::time::iso;
use crate::registry::trust::Origin;

/// Manifests that one answer adds up for the size of a tag.
const MAX_MANIFESTS: usize = 200;

/// Tags that are shown with their repository.
const MAX_SHOWN_TAGS: usize = 1000;

/// The routes, below `/api/v4`.
pub(crate) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/projects/{id}/registry/repositories",
            get_with(
                list,
                about(
                    "listProjectRepositories",
                    "Lists the image repositories of a project",
                ),
            ),
        )
        .api_route(
            "/groups/{id}/registry/repositories",
            get_with(
                list_of_group,
                about(
                    "listGroupRepositories",
                    "Lists the image repositories of all projects of a group",
                ),
            ),
        )
        .api_route(
            "/registry/repositories/{repository_id}",
            get_with(
                show_by_number,
                about(
                    "getRepositoryByNumber",
                    "Shows an image repository by its number alone",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/registry/repositories/{repository_id}",
            get_with(
                show,
                about("getRepository", "Shows an image repository of a project"),
            )
            .delete_with(remove, about("deleteRepository", "Deletes an image repository")),
        )
        .api_route(
            "/projects/{id}/registry/repositories/{repository_id}/tags",
            get_with(
                list_tags,
                about("listTags", "Lists the tags of an image repository"),
            )
            .delete_with(cleanup::remove_tags, about("deleteTags", "Deletes tags by rules")),
        )
        .api_route(
            "/projects/{id}/registry/repositories/{repository_id}/tags/{tag_name}",
            get_with(show_tag, about("getTag", "Shows a tag"))
                .delete_with(remove_tag, about("deleteTag", "Deletes a tag")),
        )
        .with_path_items(|item| item.tag("Image repositories"))
}

#[derive(Debug, Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    pub(super) repository_id: u64,
    #[serde(default)]
    tag_name: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Details {
    #[serde(default, deserialize_with = "form::boolean")]
    tags: Option<bool>,
    #[serde(default, deserialize_with = "form::boolean")]
    tags_count: Option<bool>,
    #[serde(default, deserialize_with = "form::boolean")]
    size: Option<bool>,
}

/// An image repository.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ImageRepository")]
struct Shown {
    id: u64,
    /// Its name below the project; may be empty.
    name: String,
    path: String,
    project_id: u64,
    /// What container clients call it.
    location: String,
    created_at: String,
    cleanup_policy_started_at: Option<String>,
    status: Option<String>,
    /// With `tags_count=true` or `tags=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    tags_count: Option<u64>,
    /// With `tags=true`: the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<ShownTag>>,
    /// With `size=true`, of one that is shown alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Where it can be deleted, for those who may.
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_api_path: Option<String>,
}

/// A tag, as lists show it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TagHead")]
struct ShownTag {
    name: String,
    path: String,
    /// What container clients call it.
    location: String,
}

/// A tag that is shown alone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tag")]
struct ShownTagWhole {
    #[serde(flatten)]
    head: ShownTag,
    /// The digest of the configuration, without its algorithm.
    revision: String,
    short_revision: String,
    digest: String,
    /// The CI job that pushed it, as its issuer said.
    published_by: Option<Origin>,
    created_at: String,
    total_size: u64,
}

/// A repository, and where its records lie.
pub(super) struct Found {
    pub(super) scope: Scope,
    pub(super) keys: RepositoryKeys,
    record: Repository,
    pub(super) image: String,
}

impl Found {
    /// A repository from the list of those of a project.
    pub(super) fn of_entry(scope: &Scope, entry: &Entry) -> Result<Self, ApiError> {
        let record: Repository = entry.record()?;
        Ok(Self {
            keys: ProjectKeys::new(scope.collection()).repository(record.id),
            scope: scope.clone(),
            image: String::from_utf8_lossy(&entry.item).into_owned(),
            record,
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.record.id
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        self.scope.snapshot()
    }

    /// Its whole name, as container clients write it without the host.
    pub(super) fn path(&self) -> String {
        whole_path(&self.scope, &self.image)
    }

    /// Whether no rule forbids the caller to delete it.
    async fn may_go(&self) -> Result<bool, ApiError> {
        let (project, caller) = (self.scope.project(), self.scope.caller());
        let reader = &mut self.snapshot().clone();
        let guard = ContainerGuard::of(reader, project, caller, self.scope.now()).await?;
        Ok(guard.allows(&self.path(), Right::Delete))
    }

    fn location(&self) -> String {
        format!("{}/{}", self.scope.base_url().authority(), self.path())
    }

    fn tag(&self, tag: &str) -> ShownTag {
        ShownTag {
            name: tag.into(),
            path: format!("{}:{tag}", self.path()),
            location: format!("{}:{tag}", self.location()),
        }
    }

    async fn shown(&self, details: &Details) -> Result<Shown, ApiError> {
        let mut shown = Shown {
            id: self.record.id,
            name: self.image.clone(),
            path: self.path(),
            project_id: self.scope.project().id,
            location: self.location(),
            created_at: iso(self.record.created_at),
            cleanup_policy_started_at: None,
            status: None,
            tags_count: None,
            tags: None,
            size: None,
            delete_api_path: None,
        };
        if details.tags_count == Some(true) || details.tags == Some(true) {
            shown.tags_count = Some(self.snapshot().number(&self.keys.tag_count()).await?);
        }
        if details.tags == Some(true) {
            let scan = Scan::of(&self.keys.tags()).limit(MAX_SHOWN_TAGS);
            let entries = self.snapshot().scan(scan).await?;
            let tags = entries
                .iter()
                .map(|entry| self.tag(&String::from_utf8_lossy(&entry.item)));
            shown.tags = Some(tags.collect());
        }
        Ok(shown)
    }

    /// The bytes of the blobs that it holds, each counted once however many images have it.
    async fn size(&self) -> Result<u64, ApiError> {
        let blobs = self.keys.blobs();
        let (mut total, mut after) = (0_u64, None);
        loop {
            let entries = next_entries(self.snapshot(), &blobs, &mut after).await?;
            if entries.is_empty() {
                return Ok(total);
            }
            for entry in &entries {
                total = total.saturating_add(entry.record::<BlobLink>()?.size);
            }
        }
    }
}

/// What a project keeps of its images, for a caller whose token is for the REST API too.
///
/// A token for container clients alone is not: its rights are those of the protocol.
async fn opened<A: Action>(project: &Authorised<Project, A>) -> Result<Scope, ApiError> {
    match project.may::<See>().await? {
        true => Ok(project.scope(NAME)),
        false => Err(ApiError::forbidden("403 Forbidden")),
    }
}

/// The same for changes.
fn opened_to_write<A: Action>(project: &Authorised<Project, A>) -> Result<Scope, ApiError> {
    match project.caller().scopes().has(TokenScope::Api) {
        true => Ok(project.scope(NAME)),
        false => Err(ApiError::forbidden("403 Forbidden")),
    }
}

/// The same for whoever may delete more than single tags: maintainers.
pub(super) async fn opened_to_manage(project: &Authorised<Project, DeleteImage>) -> Result<Scope, ApiError> {
    Ok(project.also::<Manage>().await?.scope(NAME))
}

pub(super) async fn find(scope: Scope, id: u64) -> Result<Found, ApiError> {
    let keys = ProjectKeys::new(scope.collection());
    let image = scope
        .snapshot()
        .get(&keys.image_of_id(id))
        .await?
        .ok_or_else(unknown)?;
    let image = String::from_utf8_lossy(&image.value).into_owned();
    let record: Repository = scope
        .snapshot()
        .record(&keys.image(&image))
        .await?
        .ok_or_else(unknown)?;
    Ok(Found {
        keys: keys.repository(record.id),
        scope,
        record,
        image,
    })
}

/// What repositories can be ordered by, the default first.
const ORDERS: [&str; 3] = ["id", "name", "created_at"];

/// Offers the repositories of one project to a list.
async fn offer(scope: &Scope, order_by: &str, selection: &mut Selection<Found>) -> Result<(), ApiError> {
    let keys = ProjectKeys::new(scope.collection());
    let mut after = None;
    loop {
        let entries = next_entries(scope.snapshot(), &keys.images(), &mut after).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            let found = Found::of_entry(scope, &entry)?;
            let key = match order_by {
                "name" => found.image.clone().into_bytes(),
                "created_at" => found.record.created_at.0.to_be_bytes().to_vec(),
                _ => Vec::new(),
            };
            selection.offer(key, found.record.id, found);
        }
    }
}

async fn page_of(selection: Selection<Found>, details: &Details) -> Result<Page<Shown>, ApiError> {
    let page = selection.finish();
    let mut shown = Vec::with_capacity(page.rows.len());
    for repository in &page.rows {
        shown.push(repository.shown(details).await?);
    }
    Ok(page.with(shown))
}

async fn list(
    project: Authorised<Project, PullImage>,
    Query(details): Query<Details>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let scope = opened(&project).await?;
    let order_by = paging.order_by(&ORDERS)?;
    let mut selection = paging.select(true);
    offer(&scope, order_by, &mut selection).await?;
    page_of(selection, &details).await
}

/// The repositories of a group and all below it, of the projects whose images the caller may pull.
async fn list_of_group(
    group: Authorised<Group, PullImage>,
    Query(details): Query<Details>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let order_by = paging.order_by(&ORDERS)?;
    let mut selection = paging.select(true);
    let mut projects = group.walk_projects(true);
    loop {
        let found = projects.next().await?;
        if found.is_empty() {
            return page_of(selection, &details).await;
        }
        for project in found {
            offer(&project.scope(NAME), order_by, &mut selection).await?;
        }
    }
}

async fn show(
    project: Authorised<Project, PullImage>,
    Path(target): Path<Target>,
    Query(details): Query<Details>,
) -> Result<Json<Shown>, ApiError> {
    shown_alone(&project, target.repository_id, &details).await
}

/// A repository by its number alone. What the caller may not know of is not there.
async fn show_by_number(
    access: Access,
    Path(target): Path<Target>,
    Query(details): Query<Details>,
) -> Result<Json<Shown>, ApiError> {
    let project = Reference::Id(number::project_of(target.repository_id));
    let project = match access.project::<PullImage>(&project).await {
        Err(error) if error.kind == ErrorKind::NotFound => return Err(unknown()),
        decided => decided?,
    };
    shown_alone(&project, target.repository_id, &details).await
}

async fn shown_alone(
    project: &Authorised<Project, PullImage>,
    id: u64,
    details: &Details,
) -> Result<Json<Shown>, ApiError> {
    let found = find(opened(project).await?, id).await?;
    let mut shown = found.shown(details).await?;
    if details.size == Some(true) {
        shown.size = Some(found.size().await?);
    }
    if project.may::<Manage>().await? && found.may_go().await? {
        let (base_url, project) = (project.base_url(), project.project().id);
        let url = format!("{base_url}/api/v4/projects/{project}/registry/repositories/{id}");
        shown.delete_api_path = Some(url);
    }
    Ok(Json(shown))
}

pub(super) fn unknown() -> ApiError {
    ApiError::not_found("404 Repository Not Found")
}

async fn remove(
    project: Authorised<Project, DeleteImage>,
    Path(target): Path<Target>,
) -> Result<Nothing<202>, ApiError> {
    let found = find(opened_to_manage(&project).await?, target.repository_id).await?;
    let work = async |mut txn: Txn| {
        let mut change = Change::new(&found.scope, &mut txn, &found.image);
        change.delete_repository().await?;
        let act = Act::new("image.repository_deleted").to(&found.image);
        found.scope.tell(&mut txn, act);
        Ok((txn, ()))
    };
    found.scope.transact(work).await?;
    Ok(Nothing)
}

async fn list_tags(
    project: Authorised<Project, PullImage>,
    Path(target): Path<Target>,
    paging: Paging,
) -> Result<Page<ShownTag>, ApiError> {
    let found = find(opened(&project).await?, target.repository_id).await?;
    paging.order_by(&["name"])?;
    let mut selection = paging.select(true);
    let (tags, mut after) = (found.keys.tags(), None);
    loop {
        let entries = next_entries(found.snapshot(), &tags, &mut after).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            let tag = String::from_utf8_lossy(&entry.item).into_owned();
            selection.offer(tag.clone(), 0, tag);
        }
    }
    Ok(selection.finish().map(|tag: String| found.tag(&tag)))
}

async fn show_tag(
    project: Authorised<Project, PullImage>,
    Path(target): Path<Target>,
) -> Result<Json<ShownTagWhole>, ApiError> {
    let found = find(opened(&project).await?, target.repository_id).await?;
    let unknown = || ApiError::not_found("404 Tag Not Found");
    let tag: Tag = target.tag_name.parse().map_err(|_| unknown())?;
    let record: TagRecord = found
        .snapshot()
        .record(&found.keys.tag(&tag))
        .await?
        .ok_or_else(unknown)?;
    let key = found.keys.manifest(&record.digest);
    let manifest: ManifestRecord = found.snapshot().record(&key).await?.ok_or_else(unknown)?;
    let revision = manifest.config.as_ref().map(|config| config.digest.to_string());
    let revision = revision.as_deref().and_then(|digest| digest.split_once(':'));
    let revision = revision.map_or("", |(_, hex)| hex);
    let pushed_by = found.keys.pushed_by(&record.digest);
    Ok(Json(ShownTagWhole {
        head: found.tag(tag.as_str()),
        revision: revision.into(),
        short_revision: revision.get(..9).unwrap_or_default().into(),
        digest: record.digest.to_string(),
        published_by: found.snapshot().record(&pushed_by).await?,
        created_at: iso(manifest.pushed_at),
        total_size: total_size(&found, record.digest).await?,
    }))
}

/// The bytes of all images that a manifest stands for, each manifest counted once.
async fn total_size(found: &Found, digest: Digest) -> Result<u64, ApiError> {
    let mut seen = BTreeSet::from([digest]);
    let mut left = vec![digest];
    let mut total: u64 = 0;
    // Indexes may hold indexes; nobody is made to follow them for ever.
    while let Some(digest) = left.pop() {
        let key = found.keys.manifest(&digest);
        let Some(manifest) = found.snapshot().record::<ManifestRecord>(&key).await? else {
            continue;
        };
        total = total.saturating_add(manifest.content_bytes);
        if manifest.kind.is_list() {
            let new = manifest
                .references
                .into_iter()
                .filter(|child| seen.len() < MAX_MANIFESTS && seen.insert(*child));
            left.extend(new);
        }
    }
    Ok(total)
}

async fn remove_tag(
    project: Authorised<Project, DeleteImage>,
    Path(target): Path<Target>,
) -> Result<Nothing<200>, ApiError> {
    let found = find(opened_to_write(&project)?, target.repository_id).await?;
    let unknown = || ApiError::not_found("404 Tag Not Found");
    let tag: Tag = target.tag_name.parse().map_err(|_| unknown())?;
    let work = async |mut txn: Txn| {
        let mut change = Change::new(&found.scope, &mut txn, &found.image);
        let removed = match change.repository().await? {
            Some(keys) => change.delete_tag(&keys, &tag).await?,
            None => false,
        };
        let act = Act::new("image.tag_deleted").to(format!("{}:{tag}", found.image));
        found.scope.tell(&mut txn, act);
        match removed {
            true => Ok((txn, ())),
            false => Err(unknown()),
        }
    };
    found.scope.transact(work).await?;
    Ok(Nothing)
}
