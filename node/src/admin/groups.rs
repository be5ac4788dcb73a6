//! `/groups`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::projects::{self, ListQuery as ProjectQuery};
use crate::admin::shown::{required, text, with};
use crate::admin::usage;
use crate::app::App;
use crate::auth::{Access, Authorised, Instance, Own, See};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::host::BaseUrl;
use crate::http::page::{Paging, Selection};
use crate::registry::group::{Group, GroupChange, NewGroup};
use crate::registry::names::{PathSegment, Reference, Visibility};
use crate::registry::time::iso;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/groups", get(list).post(create))
        .route("/groups/{id}", get(show).put(change).delete(delete))
        .route("/groups/{id}/subgroups", get(list_subgroups))
        .route("/groups/{id}/projects", get(list_projects))
}

fn shown(group: &Group, base_url: &BaseUrl) -> Value {
    json!({
        "id": group.id,
        "web_url": format!("{base_url}/groups/{}", group.path),
        "name": group.name,
        "path": group.path.last(),
        "description": group.description,
        "visibility": group.visibility,
        "full_name": group.path.as_str().replace('/', " / "),
        "full_path": group.path.as_str(),
        "parent_id": group.parent(),
        "created_at": iso(group.created_at),
    })
}

#[derive(Debug, Deserialize)]
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

async fn list(access: Access, Query(query): Query<ListQuery>, paging: Paging) -> Result<Response, ApiError> {
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
    Ok(selection
        .finish()
        .into_json(|group| shown(&group, access.base_url())))
}

async fn list_subgroups(
    of: Authorised<Group, See>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError> {
    let order_by = paging.order_by(&["name", "path", "id"])?;
    let mut selection = paging.select(true);
    of.each_subgroup(|group| {
        if query.takes(&group) {
            offer(&mut selection, order_by, group);
        }
    })
    .await?;
    Ok(selection.finish().into_json(|group| shown(&group, of.base_url())))
}

#[derive(Debug, Deserialize)]
struct Below {
    #[serde(default, deserialize_with = "form::boolean")]
    include_subgroups: Option<bool>,
}

async fn list_projects(
    of: Authorised<Group, See>,
    Query(query): Query<ProjectQuery>,
    Query(below): Query<Below>,
    paging: Paging,
) -> Result<Response, ApiError> {
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
) -> Result<Json<Value>, ApiError> {
    let mut answer = shown(of.group(), of.base_url());
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
    description: Option<String>,
    visibility: Option<Visibility>,
    #[serde(default, deserialize_with = "form::number")]
    parent_id: Option<u64>,
}

async fn create(access: Access, Params(create): Params<Create>) -> Result<Response, ApiError> {
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
    Ok((StatusCode::CREATED, Json(shown(&group, access.base_url()))).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    description: Option<String>,
    visibility: Option<Visibility>,
}

async fn change(of: Authorised<Group, Own>, Params(change): Params<Change>) -> Result<Json<Value>, ApiError> {
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

async fn delete(of: Authorised<Group, Own>) -> Result<Response, ApiError> {
    of.delete().await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": "202 Accepted" }))).into_response())
}
