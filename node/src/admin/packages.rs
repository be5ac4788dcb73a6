//! `/projects/:id/packages`, `/groups/:id/packages`: what GitLab calls a package is one version.

use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::shown::{time, with};
use crate::app::App;
use crate::auth::{Authorised, Delete, Pull};
use crate::formats;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Paging, Selection};
use crate::http::{Served, media, serve_blob};
use crate::registry::group::Group;
use crate::registry::package::{File, Filter, Listed, Status, Version};
use crate::registry::project::Project;
use crate::registry::time::{iso, parse_http_date};

/// The most other versions that one package shows.
const MAX_VERSIONS: usize = 1000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/projects/{id}/packages", get(list))
        .route("/groups/{id}/packages", get(list_of_group))
        .route("/projects/{id}/packages/{package_id}", get(show).delete(remove))
        .route(
            "/projects/{id}/packages/{package_id}/pipelines",
            get(list_pipelines),
        )
        .route(
            "/projects/{id}/packages/{package_id}/package_files",
            get(list_files),
        )
        .route(
            "/projects/{id}/packages/{package_id}/package_files/{file_id}",
            delete(remove_file),
        )
        .route(
            "/projects/{id}/packages/{package_id}/package_files/{file_id}/download",
            get(download),
        )
}

#[derive(Debug, Deserialize)]
struct Target {
    #[serde(default)]
    package_id: u64,
    #[serde(default)]
    file_id: u64,
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    package_type: Option<String>,
    package_name: Option<String>,
    package_version: Option<String>,
    status: Option<String>,
    #[serde(default, deserialize_with = "form::boolean")]
    exclude_subgroups: Option<bool>,
}

/// Formats that GitLab knows. Of those that are not spoken here there are no packages.
const GITLAB_TYPES: [&str; 14] = [
    "composer",
    "conan",
    "debian",
    "generic",
    "golang",
    "helm",
    "maven",
    "ml_model",
    "npm",
    "nuget",
    "pypi",
    "rpm",
    "rubygems",
    "terraform_module",
];

/// States of GitLab's packages that none has here.
const OTHER_STATES: [&str; 3] = ["error", "pending_destruction", "processing"];

impl ListQuery {
    /// What is to be shown; none if nothing can be that.
    fn filter(&self) -> Result<Option<Filter>, ApiError> {
        let wrong = |name: &str| ApiError::parameter(format!("{name} does not have a valid value"));
        if let Some(format) = self.package_type.as_deref()
            && formats::by_name(format).is_none()
        {
            return match GITLAB_TYPES.contains(&format) {
                true => Ok(None),
                false => Err(wrong("package_type")),
            };
        }
        let status = match self.status.as_deref() {
            None => None,
            Some(other) if OTHER_STATES.contains(&other) => return Ok(None),
            Some(name) => Some(Status::named(name).ok_or_else(|| wrong("status"))?),
        };
        Ok(Some(Filter {
            format: self.package_type.clone(),
            name: self.package_name.as_ref().map(|name| name.to_lowercase()),
            version: self.package_version.clone(),
            status,
        }))
    }
}

/// A row of a list, with the project it is in.
struct Row {
    project: Authorised<Project, Pull>,
    listed: Listed,
}

fn key(order_by: &str, row: &Row) -> Vec<u8> {
    match order_by {
        "name" => row.listed.package.name.clone().into_bytes(),
        "version" => row.listed.version.version.clone().into_bytes(),
        "type" => row.listed.format.clone().into_bytes(),
        "project_path" => row.project.project().path.folded().into_bytes(),
        _ => row.listed.version.created_at.0.to_be_bytes().to_vec(),
    }
}

async fn shown(row: &Row, of_group: bool) -> Result<Value, ApiError> {
    let (project, listed) = (&row.project, &row.listed);
    let version = &listed.version;
    let path = &project.project().path;
    let mut links = json!({ "web_path": format!("/{path}/-/packages/{}", version.id) });
    if project.may_delete(listed).await? {
        let (base_url, id) = (project.base_url(), project.project().id);
        let url = format!("{base_url}/api/v4/projects/{id}/packages/{}", version.id);
        links = with(links, json!({ "delete_api_path": url }));
    }
    let package = json!({
        "id": version.id,
        "name": listed.package.display_name,
        "version": version.version,
        "package_type": listed.format,
        "status": version.status.name(),
        "_links": links,
        "created_at": iso(version.created_at),
        "last_downloaded_at": time(project.downloaded_at(listed).await?),
        "creator_id": version.creator,
        "published_by": project.published_by(listed).await?,
        "tags": shown_tags(listed, version)?,
        "pipelines": [],
    });
    Ok(match of_group {
        true => with(
            package,
            json!({ "project_id": project.project().id, "project_path": path.as_str() }),
        ),
        false => package,
    })
}

async fn answer(selection: Selection<Row>, of_group: bool) -> Result<Response, ApiError> {
    let (rows, headers) = selection.finish().split();
    let mut shown_rows = Vec::with_capacity(rows.len());
    for row in &rows {
        shown_rows.push(shown(row, of_group).await?);
    }
    Ok((headers, Json(shown_rows)).into_response())
}

async fn list(
    project: Authorised<Project, Pull>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError> {
    let order_by = paging.order_by(&["created_at", "name", "version", "type"])?;
    let mut selection = paging.select(true);
    let Some(filter) = query.filter()? else {
        return answer(selection, false).await;
    };
    let oldest_first = order_by != "created_at" || selection.is_ascending();
    project
        .each_version(&filter, oldest_first, |listed| {
            let id = listed.version.id;
            let row = Row {
                project: project.clone(),
                listed,
            };
            selection.offer(key(order_by, &row), id, row);
            order_by != "created_at" || !selection.is_settled()
        })
        .await?;
    answer(selection, false).await
}

async fn list_of_group(
    group: Authorised<Group, Pull>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Response, ApiError> {
    let order_by = paging.order_by(&["created_at", "name", "version", "type", "project_path"])?;
    let mut selection = paging.select(true);
    let Some(filter) = query.filter()? else {
        return answer(selection, true).await;
    };
    let mut projects = group.walk_projects(!query.exclude_subgroups.unwrap_or(false));
    loop {
        let found = projects.next().await?;
        if found.is_empty() {
            return answer(selection, true).await;
        }
        for project in found {
            project
                .each_version(&filter, true, |listed| {
                    let id = listed.version.id;
                    let row = Row {
                        project: project.clone(),
                        listed,
                    };
                    selection.offer(key(order_by, &row), id, row);
                    true
                })
                .await?;
        }
    }
}

async fn show(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
) -> Result<Json<Value>, ApiError> {
    let listed = project.version(target.package_id).await?;
    let siblings = project.siblings(&listed, MAX_VERSIONS).await?;
    let versions = siblings.iter().map(|version| {
        Ok(json!({
            "id": version.id,
            "version": version.version,
            "created_at": iso(version.created_at),
            "tags": shown_tags(&listed, version)?,
            "pipelines": [],
        }))
    });
    let versions = versions.collect::<Result<Vec<Value>, ApiError>>()?;
    let row = Row { project, listed };
    Ok(Json(with(
        shown(&row, false).await?,
        json!({ "versions": versions }),
    )))
}

/// The tags of a version of what is listed. They have no numbers and no times of their own: they
/// are shown with those of the version.
fn shown_tags(listed: &Listed, version: &Version) -> Result<Vec<Value>, ApiError> {
    let Some(format) = formats::by_name(&listed.format) else {
        return Ok(Vec::new());
    };
    let tags = format.tags(&listed.package, version)?.into_iter();
    let shown = tags.map(|name| {
        json!({
            "id": version.id,
            "package_id": version.id,
            "name": name,
            "created_at": iso(version.created_at),
            "updated_at": iso(version.created_at),
        })
    });
    Ok(shown.collect())
}

fn shown_file(file: &File, package: u64) -> Value {
    json!({
        "id": file.id,
        "package_id": package,
        "created_at": iso(file.created_at),
        "file_name": file.name,
        "size": file.size,
        "file_md5": file.digests.md5.map(|digest| HEXLOWER.encode(&digest)),
        "file_sha1": file.digests.sha1.map(|digest| HEXLOWER.encode(&digest)),
        "file_sha256": HEXLOWER.encode(&file.digests.sha256),
        "pipelines": [],
    })
}

async fn list_files(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    paging: Paging,
) -> Result<Response, ApiError> {
    let order_by = paging.order_by(&["id", "created_at", "file_name"])?;
    let listed = project.version(target.package_id).await?;
    let mut selection = paging.select(true);
    project
        .each_file(&listed, |file| {
            let key = match order_by {
                "created_at" => file.created_at.0.to_be_bytes().to_vec(),
                "file_name" => file.name.clone().into_bytes(),
                _ => Vec::new(),
            };
            selection.offer(key, file.id, shown_file(&file, target.package_id));
        })
        .await?;
    Ok(selection.finish().into_json(|file| file))
}

/// No package has been published by a pipeline: there are no job tokens.
async fn list_pipelines(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
) -> Result<Json<Value>, ApiError> {
    project.version(target.package_id).await?;
    Ok(Json(json!([])))
}

async fn download(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let listed = project.version(target.package_id).await?;
    let file = project.file(&listed, target.file_id).await?;
    let base = file.name.rsplit('/').next().unwrap_or_default();
    let served = Served::new(HEXLOWER.encode(&file.digests.sha256))
        .with_type(media::type_of(base))
        .with_date(file.created_at)
        .with_header(header::CONTENT_DISPOSITION, &media::attachment(base))
        .with_header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
        .with_header(header::CACHE_CONTROL, "private, no-cache");
    let scope = project.scope(REST);
    serve_blob(&scope, &method, &headers, &file.blob, file.size, served).await
}

/// In place of a format's name, for what is read whatever its format.
const REST: &str = "rest";

async fn remove(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let since = headers
        .get(header::IF_UNMODIFIED_SINCE)
        .and_then(|value| value.to_str().ok());
    project
        .delete_version(target.package_id, since.and_then(parse_http_date))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_file(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    project.delete_file(target.package_id, target.file_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
