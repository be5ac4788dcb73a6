//! `/groups`.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::projects::{self, ListQuery as ProjectQuery};
use crate::admin::shown::{required, text};
use crate::admin::usage::Statistics;
use crate::app::App;
use crate::auth::{Access, Authorised, Instance, Own, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::host::BaseUrl;
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::{Accepted, Created, Message, about};
use crate::registry::group::{Group, GroupChange, NewGroup};
use crate::registry::names::{PathSegment, Reference, Visibility};
use crate::registry::time::iso;

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/groups",
            get_with(
                list,
                about("listGroups", "Lists the groups that the caller may see"),
            )
            .post_with(
                create,
                about(
                    "createGroup",
                    "Makes a group: at the top, for administrators, or in another group, for its owners",
                ),
            ),
        )
        .api_route(
            "/groups/{id}",
            get_with(show, about("getGroup", "Shows a group"))
                .put_with(change, about("changeGroup", "Changes a group"))
                .delete_with(
                    delete,
                    about("deleteGroup", "Deletes a group that holds nothing any more"),
                ),
        )
        .api_route(
            "/groups/{id}/subgroups",
            get_with(
                list_subgroups,
                about("listSubgroups", "Lists the groups in a group"),
            ),
        )
        .api_route(
            "/groups/{id}/projects",
            get_with(
                list_projects,
                about("listGroupProjects", "Lists the projects of a group"),
            ),
        )
        .with_path_items(|item| item.tag("Groups"))
}

/// A group.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Group")]
struct Shown {
    id: u64,
    web_url: String,
    name: String,
    /// Its part of the path.
    path: String,
    description: String,
    visibility: Visibility,
    full_name: String,
    full_path: String,
    /// The group that it is in.
    parent_id: Option<u64>,
    created_at: String,
    /// With `statistics=true`, of one that is shown alone, for those who may.
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Statistics>,
}

fn shown(group: &Group, base_url: &BaseUrl) -> Shown {
    Shown {
        id: group.id,
        web_url: format!("{base_url}/groups/{}", group.path),
        name: group.name.clone(),
        path: group.path.last().into(),
        description: group.description.clone(),
        visibility: group.visibility,
        full_name: group.path.as_str().replace('/', " / "),
        full_path: group.path.as_str().into(),
        parent_id: group.parent(),
        created_at: iso(group.created_at),
        statistics: None,
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ListQuery {
    search: Option<String>,
    #[serde(default, deserialize_with = "form::boolean")]
    top_level_only: Option<bool>,
    visibility: Option<Visibility>,
}

impl ListQuery {
    fn takes(&self, group: &Group) -> bool {
        let wanted = self.search.as_deref().unwrap_or_default().to_lowercase();
        let found = group.name.to_lowercase().contains(&wanted) || group.path.folded().contains(&wanted);
        found
            && (self.top_level_only != Some(true) || group.ancestors.is_empty())
            && self.visibility.is_none_or(|wanted| wanted == group.visibility)
    }
}

fn offer(selection: &mut Selection<Group>, order_by: &str, group: Group) {
    let key = match order_by {
        "name" => group.name.to_lowercase(),
        "path" => group.path.folded(),
        _ => String::new(),
    };
    selection.offer(key, group.id, group);
}

async fn list(
    access: Access,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let order_by = paging.order_by(&["name", "path", "id"])?;
    let mut selection = paging.select(true);
    access
        .each_group(|group| {
            if query.takes(&group) {
                offer(&mut selection, order_by, group);
            }
            true
        })
        .await?;
    Ok(selection.finish().map(|group| shown(&group, access.base_url())))
}

async fn list_subgroups(
    of: Authorised<Group, See>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
    let order_by = paging.order_by(&["name", "path", "id"])?;
    let mut selection = paging.select(true);
    of.each_subgroup(|group| {
        if query.takes(&group) {
            offer(&mut selection, order_by, group);
        }
    })
    .await?;
    Ok(selection.finish().map(|group| shown(&group, of.base_url())))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Below {
    #[serde(default, deserialize_with = "form::boolean")]
    include_subgroups: Option<bool>,
}

async fn list_projects(
    of: Authorised<Group, See>,
    Query(query): Query<ProjectQuery>,
    Query(below): Query<Below>,
    paging: Paging,
) -> Result<Page<projects::Shown>, ApiError> {
    let mut list = projects::Listing::new(query, paging)?;
    let mut walk = of.walk_projects(below.include_subgroups.unwrap_or(false));
    loop {
        let found = walk.next().await?;
        if found.is_empty() {
            return Ok(list.finish(of.access()));
        }
        for project in found {
            list.offer(project.project().clone());
        }
    }
}

async fn show(
    of: Authorised<Group, See>,
    Query(detail): Query<projects::Detail>,
) -> Result<Json<Shown>, ApiError> {
    let statistics = match detail.statistics {
        Some(true) => of.statistics().await?,
        _ => None,
    };
    Ok(Json(Shown {
        statistics: statistics.as_ref().map(Statistics::from),
        ..shown(of.group(), of.base_url())
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    name: Option<String>,
    #[schemars(required)]
    path: Option<String>,
    description: Option<String>,
    visibility: Option<Visibility>,
    #[serde(default, deserialize_with = "form::number")]
    parent_id: Option<u64>,
}

async fn create(access: Access, Params(create): Params<Create>) -> Result<Created<Shown>, ApiError> {
    let signed_in = access.signed_in();
    signed_in?;
    let path: PathSegment = required("path", create.path)?
        .parse()
        .map_err(|_| ApiError::invalid_field("path", "can contain only letters, digits, '_', '-' and '.'"))?;
    let new = NewGroup {
        name: text("name", &create.name.unwrap_or_else(|| path.as_str().to_owned()))?,
        description: text("description", &create.description.unwrap_or_default())?,
        visibility: create.visibility.unwrap_or_default(),
        path,
    };
    let group = match create.parent_id {
        Some(parent) => {
            let parent: Authorised<Group, Own> = access.group(&Reference::Id(parent)).await?;
            parent.create_subgroup(new).await?
        }
        None => {
            let instance: Authorised<Instance, Own> = access.instance().await?;
            instance.create_group(new).await?
        }
    };
    Ok(Created(shown(&group, access.base_url())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    description: Option<String>,
    visibility: Option<Visibility>,
}

async fn change(of: Authorised<Group, Own>, Params(change): Params<Change>) -> Result<Json<Shown>, ApiError> {
    let change = GroupChange {
        name: change.name.map(|name| text("name", &name)).transpose()?,
        description: change
            .description
            .map(|value| text("description", &value))
            .transpose()?,
        visibility: change.visibility,
        packages: None,
    };
    Ok(Json(shown(&of.change(&change).await?, of.base_url())))
}

async fn delete(of: Authorised<Group, Own>) -> Result<Accepted<Message>, ApiError> {
    of.delete().await?;
    Ok(Accepted(Message::ACCEPTED))
}
