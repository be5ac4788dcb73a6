//! `/projects`.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::cleanup::{ShownImages, shown_images};
use crate::admin::shown::{required, text};
use crate::admin::usage::Statistics;
use crate::app::App;
use crate::auth::role::Role;
use crate::auth::{Access, Authorised, Manage, Own, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::host::BaseUrl;
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::{Accepted, Created, Message, about};
use crate::registry::cleanup::ContainerChange;
use crate::registry::group::Group;
use crate::registry::names::{PathSegment, Reference, Visibility};
use crate::registry::project::{NewProject, Project, ProjectChange};
use crate::registry::settings::PackageAccess;
use crate::registry::time::iso;

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/projects",
            get_with(
                list,
                about("listProjects", "Lists the projects that the caller may see"),
            )
            .post_with(
                create,
                about("createProject", "Makes a project in a group, for its maintainers"),
            ),
        )
        .api_route(
            "/projects/{id}",
            get_with(show, about("getProject", "Shows a project"))
                .put_with(change, about("changeProject", "Changes a project"))
                .delete_with(
                    delete,
                    about("deleteProject", "Deletes a project with all that is in it"),
                ),
        )
        .with_path_items(|item| item.tag("Projects"))
}

/// A project; of those that are listed with `simple=true`, less is shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Project")]
pub(super) struct Shown {
    id: u64,
    description: String,
    name: String,
    name_with_namespace: String,
    /// Its part of the path.
    path: String,
    path_with_namespace: String,
    created_at: String,
    default_branch: Option<String>,
    web_url: String,
    namespace: Namespace,
    #[serde(flatten)]
    more: Option<More>,
    /// The cleanup policy for images, of a project that is shown alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    container_expiration_policy: Option<ShownImages>,
    /// What the caller is in it, of a project that is shown alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Permissions>,
    /// With `statistics=true`, of one that is shown alone, for those who may.
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Statistics>,
}

/// The group that a project is in.
#[derive(Serialize, JsonSchema)]
struct Namespace {
    id: u64,
    name: String,
    path: String,
    kind: &'static str,
    full_path: String,
    parent_id: Option<u64>,
    web_url: String,
}

#[derive(Serialize, JsonSchema)]
struct More {
    visibility: Visibility,
    creator_id: Option<u64>,
    archived: bool,
    empty_repo: bool,
    packages_enabled: bool,
    package_registry_access_level: PackageAccess,
    container_registry_enabled: bool,
    container_registry_access_level: PackageAccess,
    /// What the names of its images begin with.
    container_registry_image_prefix: String,
    _links: Links,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProjectLinks")]
struct Links {
    #[serde(rename = "self")]
    own: String,
    members: String,
}

#[derive(Serialize, JsonSchema)]
struct Permissions {
    project_access: Option<Permission>,
    group_access: Option<Permission>,
}

#[derive(Serialize, JsonSchema)]
struct Permission {
    access_level: u8,
    notification_level: u8,
}

impl From<Role> for Permission {
    fn from(role: Role) -> Self {
        Self {
            access_level: role.level(),
            notification_level: 3,
        }
    }
}

fn shown(project: &Project, access: &Access) -> Shown {
    let base_url = access.base_url();
    let api_url = format!("{base_url}/api/v4/projects/{}", project.id);
    let more = More {
        visibility: project.visibility,
        creator_id: project.creator,
        archived: false,
        empty_repo: true,
        packages_enabled: project.package_access != PackageAccess::Disabled,
        package_registry_access_level: project.package_access,
        container_registry_enabled: project.image_access() != PackageAccess::Disabled,
        container_registry_access_level: project.image_access(),
        container_registry_image_prefix: format!("{}/{}", base_url.authority(), project.path.folded()),
        _links: Links {
            members: format!("{api_url}/members"),
            own: api_url,
        },
    };
    Shown {
        more: Some(more),
        ..shown_simply(project, base_url)
    }
}

/// The same for `simple=true`.
fn shown_simply(project: &Project, base_url: &BaseUrl) -> Shown {
    let (group_path, segment) = project.path.split();
    let group_segment = group_path.rsplit('/').next().unwrap_or_default();
    Shown {
        id: project.id,
        description: project.description.clone(),
        name: project.name.clone(),
        name_with_namespace: project.path.as_str().replace('/', " / "),
        path: segment.into(),
        path_with_namespace: project.path.as_str().into(),
        created_at: iso(project.created_at),
        default_branch: None,
        web_url: format!("{base_url}/{}", project.path),
        namespace: Namespace {
            id: project.group(),
            name: group_segment.into(),
            path: group_segment.into(),
            kind: "group",
            full_path: group_path.into(),
            parent_id: project.ancestors.iter().rev().nth(1).copied(),
            web_url: format!("{base_url}/groups/{group_path}"),
        },
        more: None,
        container_expiration_policy: None,
        permissions: None,
        statistics: None,
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListQuery {
    search: Option<String>,
    visibility: Option<Visibility>,
    #[serde(default, deserialize_with = "form::boolean")]
    simple: Option<bool>,
    #[serde(default, deserialize_with = "form::boolean")]
    membership: Option<bool>,
    #[serde(default, deserialize_with = "form::boolean")]
    owned: Option<bool>,
}

/// A list of projects in the making.
pub(super) struct Listing {
    query: ListQuery,
    order_by: &'static str,
    selection: Selection<Project>,
}

impl Listing {
    pub(super) fn new(query: ListQuery, paging: Paging) -> Result<Self, ApiError> {
        let order_by = paging.order_by(&[
            "created_at",
            "id",
            "name",
            "path",
            "updated_at",
            "last_activity_at",
        ])?;
        Ok(Self {
            query,
            order_by,
            selection: paging.select(false),
        })
    }

    pub(super) fn offer(&mut self, project: Project) {
        let wanted = self.query.search.as_deref().unwrap_or_default().to_lowercase();
        let found = project.name.to_lowercase().contains(&wanted) || project.path.folded().contains(&wanted);
        if !found
            || self
                .query
                .visibility
                .is_some_and(|wanted| wanted != project.visibility)
        {
            return;
        }
        let key = match self.order_by {
            "name" => project.name.to_lowercase().into_bytes(),
            "path" => project.path.folded().into_bytes(),
            "id" => Vec::new(),
            _ => project.created_at.0.to_be_bytes().to_vec(),
        };
        self.selection.offer(key, project.id, project);
    }

    pub(super) fn finish(self, access: &Access) -> Page<Shown> {
        let simple = self.query.simple.unwrap_or(false);
        self.selection.finish().map(|project| match simple {
            true => shown_simply(&project, access.base_url()),
            false => shown(&project, access),
        })
    }
}

async fn list(
    access: Access,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let only_own = query.membership == Some(true) || query.owned == Some(true);
    let owned = query.owned == Some(true);
    let mut list = Listing::new(query, paging)?;
    if only_own {
        let user = access.signed_in()?.id;
        for project in access.projects_of_member(user, owned).await? {
            list.offer(project);
        }
    } else {
        access
            .each_project(|project| {
                list.offer(project);
                true
            })
            .await?;
    }
    Ok(list.finish(&access))
}

/// What is to be shown beside what is always shown.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Detail {
    /// How much is stored.
    #[serde(default, deserialize_with = "form::boolean")]
    pub(super) statistics: Option<bool>,
}

async fn show(of: Authorised<Project, See>, Query(detail): Query<Detail>) -> Result<Json<Shown>, ApiError> {
    let statistics = match detail.statistics {
        Some(true) => of.statistics().await?,
        _ => None,
    };
    let permissions = match of.caller().user() {
        Some(_) => {
            let (project, group) = of.own_roles().await?;
            Some(Permissions {
                project_access: project.map(Permission::from),
                group_access: group.map(Permission::from),
            })
        }
        None => None,
    };
    Ok(Json(Shown {
        container_expiration_policy: Some(shown_images(&of.cleanup_policy().await?)),
        permissions,
        statistics: statistics.as_ref().map(Statistics::from),
        ..shown(of.project(), of.access())
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["path"] }, { "required": ["name"] }]))]
struct Create {
    name: Option<String>,
    path: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    #[schemars(required)]
    namespace_id: Option<u64>,
    description: Option<String>,
    visibility: Option<Visibility>,
    package_registry_access_level: Option<PackageAccess>,
    container_registry_access_level: Option<PackageAccess>,
}

async fn create(access: Access, Params(create): Params<Create>) -> Result<Created<Shown>, ApiError> {
    access.signed_in()?;
    let path = match (&create.path, &create.name) {
        (Some(path), _) => path.clone(),
        (None, Some(name)) => name.to_lowercase().replace(' ', "-"),
        (None, None) => {
            return Err(ApiError::parameter(
                "name, path are missing, at least one parameter must be provided",
            ));
        }
    };
    let path: PathSegment = path
        .parse()
        .map_err(|_| ApiError::invalid_field("path", "can contain only letters, digits, '_', '-' and '.'"))?;
    let parent = Reference::Id(required("namespace_id", create.namespace_id)?);
    let new = NewProject {
        name: text("name", &create.name.unwrap_or_else(|| path.as_str().to_owned()))?,
        description: text("description", &create.description.unwrap_or_default())?,
        visibility: create.visibility.unwrap_or_default(),
        package_access: create.package_registry_access_level.unwrap_or_default(),
        image_access: create.container_registry_access_level.unwrap_or_default(),
        path,
    };
    let parent: Authorised<Group, Manage> = access.group(&parent).await?;
    let project = parent.create_project(new).await?;
    Ok(Created(shown(&project, &access)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    description: Option<String>,
    visibility: Option<Visibility>,
    package_registry_access_level: Option<PackageAccess>,
    container_registry_access_level: Option<PackageAccess>,
    container_expiration_policy_attributes: Option<ContainerChange>,
}

async fn change(
    of: Authorised<Project, Manage>,
    Params(change): Params<Change>,
) -> Result<Json<Shown>, ApiError> {
    let change = ProjectChange {
        name: change.name.map(|name| text("name", &name)).transpose()?,
        description: change
            .description
            .map(|value| text("description", &value))
            .transpose()?,
        visibility: change.visibility,
        package_access: change.package_registry_access_level,
        image_access: change.container_registry_access_level,
        packages: None,
        containers: change.container_expiration_policy_attributes,
    };
    let project = of.change(&change).await?;
    Ok(Json(Shown {
        container_expiration_policy: Some(shown_images(&of.cleanup_policy_now().await?)),
        ..shown(&project, of.access())
    }))
}

async fn delete(of: Authorised<Project, Own>) -> Result<Accepted<Message>, ApiError> {
    of.delete().await?;
    Ok(Accepted(Message::ACCEPTED))
}
