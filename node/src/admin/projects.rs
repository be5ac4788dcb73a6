//! `/projects`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::cleanup::shown_images;
use crate::admin::shown::{required, text, with};
use crate::admin::usage;
use crate::app::App;
use crate::auth::{Access, Authorised, Manage, Own, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Paging, Selection};
use crate::registry::cleanup::ContainerChange;
use crate::registry::group::Group;
use crate::registry::names::{PathSegment, Reference, Visibility};
use crate::registry::project::{NewProject, Project, ProjectChange};
use crate::registry::settings::PackageAccess;
use crate::registry::time::iso;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/projects", get(list).post(create))
        .route("/projects/{id}", get(show).put(change).delete(delete))
}

pub(super) fn shown(project: &Project, access: &Access) -> Value {
    let base_url = access.base_url();
    let (group_path, segment) = project.path.split();
    let web_url = format!("{base_url}/{}", project.path);
    let api_url = format!("{base_url}/api/v4/projects/{}", project.id);
    json!({
        "id": project.id,
        "description": project.description,
        "name": project.name,
        "name_with_namespace": project.path.as_str().replace('/', " / "),
        "path": segment,
        "path_with_namespace": project.path.as_str(),
        "created_at": iso(project.created_at),
        "default_branch": null,
        "visibility": project.visibility,
        "web_url": web_url,
        "namespace": {
            "id": project.group(),
            "name": group_path.rsplit('/').next(),
            "path": group_path.rsplit('/').next(),
            "kind": "group",
            "full_path": group_path,
            "parent_id": project.ancestors.iter().rev().nth(1),
            "web_url": format!("{base_url}/groups/{group_path}"),
        },
        "creator_id": project.creator,
        "archived": false,
        "empty_repo": true,
        "packages_enabled": project.package_access != PackageAccess::Disabled,
        "package_registry_access_level": project.package_access,
        "container_registry_enabled": project.image_access() != PackageAccess::Disabled,
        "container_registry_access_level": project.image_access(),
        "container_registry_image_prefix": format!("{}/{}", base_url.authority(), project.path.folded()),
        "_links": {
            "self": api_url,
            "members": format!("{api_url}/members"),
        },
    })
}

#[derive(Debug, Deserialize)]
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

    pub(super) fn finish(self, access: &Access) -> Response {
        let simple = self.query.simple.unwrap_or(false);
        self.selection
            .finish()
            .into_json(|project| match (shown(&project, access), simple) {
                (Value::Object(mut whole), true) => {
                    whole.retain(|name, _| SIMPLE.contains(&name.as_str()));
                    Value::Object(whole)
                }
                (whole, _) => whole,
            })
    }
}

/// The fields of `simple=true`.
const SIMPLE: &[&str] = &[
    "id",
    "description",
    "name",
    "name_with_namespace",
    "path",
    "path_with_namespace",
    "created_at",
    "default_branch",
    "web_url",
    "namespace",
];

async fn list(access: Access, Query(query): Query<ListQuery>, paging: Paging) -> Result<Response, ApiError> {
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
#[derive(Debug, Deserialize)]
pub(super) struct Detail {
    #[serde(default, deserialize_with = "form::boolean")]
    pub(super) statistics: Option<bool>,
}

async fn show(of: Authorised<Project, See>, Query(detail): Query<Detail>) -> Result<Json<Value>, ApiError> {
    let policy = shown_images(&of.cleanup_policy().await?);
    let mut answer = with(
        shown(of.project(), of.access()),
        json!({ "container_expiration_policy": policy }),
    );
    if of.caller().user().is_some() {
        let (project, group) = of.own_roles().await?;
        let level = |role: Option<crate::auth::role::Role>| {
            role.map(|role| json!({ "access_level": role.level(), "notification_level": 3 }))
        };
        let permissions = json!({ "project_access": level(project), "group_access": level(group) });
        answer = with(answer, json!({ "permissions": permissions }));
    }
    if detail.statistics == Some(true)
        && let Some(usage) = of.statistics().await?
    {
        answer = with(answer, json!({ "statistics": usage::statistics(&usage) }));
    }
    Ok(Json(answer))
}

#[derive(Debug, Deserialize)]
struct Create {
    name: Option<String>,
    path: Option<String>,
    #[serde(default, deserialize_with = "form::number")]
    namespace_id: Option<u64>,
    description: Option<String>,
    visibility: Option<Visibility>,
    package_registry_access_level: Option<PackageAccess>,
    container_registry_access_level: Option<PackageAccess>,
}

async fn create(access: Access, Params(create): Params<Create>) -> Result<Response, ApiError> {
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
    Ok((StatusCode::CREATED, Json(shown(&project, &access))).into_response())
}

#[derive(Debug, Deserialize)]
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
) -> Result<Json<Value>, ApiError> {
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
    let policy = shown_images(&of.cleanup_policy_now().await?);
    let answer = shown(&project, of.access());
    Ok(Json(with(
        answer,
        json!({ "container_expiration_policy": policy }),
    )))
}

async fn delete(of: Authorised<Project, Own>) -> Result<Response, ApiError> {
    of.delete().await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": "202 Accepted" }))).into_response())
}
