//! `/projects/:id/packages`, `/groups/:id/packages`: what GitLab calls a package is one version.

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with};
use axum::Json;
use axum::http::{HeaderMap, Method, header};
use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::shown::time;
use crate::app::App;
use crate::auth::{Authorised, Delete, Pull};
use crate::formats;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::page::{Page, Paging, Selection};
use crate::http::rest::{FileBytes, Nothing, Path, about};
use crate::http::{Served, media, serve_blob};
use crate::registry::group::Group;
use crate::registry::package::{File, Filter, Listed, Status, Version};
use crate::registry::project::Project;
use crate::registry::time::{iso, parse_http_date};
use crate::registry::trust::Origin;

/// The most other versions that one package shows.
const MAX_VERSIONS: usize = 1000;

pub(super) fn routes() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/projects/{id}/packages",
            get_with(
                list,
                about("listProjectPackages", "Lists the packages of a project"),
            ),
        )
        .api_route(
            "/groups/{id}/packages",
            get_with(
                list_of_group,
                about(
                    "listGroupPackages",
                    "Lists the packages of all projects of a group",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/packages/{package_id}",
            get_with(
                show,
                about("getPackage", "Shows a package: one version, as GitLab calls it"),
            )
            .delete_with(remove, about("deletePackage", "Deletes a package")),
        )
        .api_route(
            "/projects/{id}/packages/{package_id}/pipelines",
            get_with(
                list_pipelines,
                about(
                    "listPackagePipelines",
                    "Lists the pipelines that published a package: none",
                ),
            ),
        )
        .api_route(
            "/projects/{id}/packages/{package_id}/package_files",
            get_with(
                list_files,
                about("listPackageFiles", "Lists the files of a package"),
            ),
        )
        .api_route(
            "/projects/{id}/packages/{package_id}/package_files/{file_id}",
            delete_with(
                remove_file,
                about("deletePackageFile", "Deletes a file of a package"),
            ),
        )
        .api_route(
            "/projects/{id}/packages/{package_id}/package_files/{file_id}/download",
            get_with(
                download,
                about("downloadPackageFile", "Gives the bytes of a file of a package"),
            ),
        )
        .with_path_items(|item| item.tag("Packages"))
}

#[derive(Debug, Deserialize)]
struct Target {
    #[serde(default)]
    package_id: u64,
    #[serde(default)]
    file_id: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
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

/// A package: one version, as GitLab calls it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Package")]
struct Shown {
    id: u64,
    name: String,
    version: String,
    package_type: String,
    status: &'static str,
    _links: Links,
    created_at: String,
    last_downloaded_at: Option<String>,
    creator_id: Option<u64>,
    /// The CI job that published it, as its issuer said.
    published_by: Option<Origin>,
    tags: Vec<ShownTag>,
    pipelines: [(); 0],
    /// The project, in a list of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<u64>,
    /// Its path, in a list of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_path: Option<String>,
    /// The other versions, of a package that is shown alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<Sibling>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageLinks")]
struct Links {
    web_path: String,
    /// Where it can be deleted, for those who may.
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_api_path: Option<String>,
}

/// Another version of a package.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageVersion")]
struct Sibling {
    id: u64,
    version: String,
    created_at: String,
    tags: Vec<ShownTag>,
    pipelines: [(); 0],
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageTag")]
struct ShownTag {
    id: u64,
    package_id: u64,
    name: String,
    created_at: String,
    updated_at: String,
}

async fn shown(row: &Row, of_group: bool) -> Result<Shown, ApiError> {
    let (project, listed) = (&row.project, &row.listed);
    let version = &listed.version;
    let (path, id) = (&project.project().path, project.project().id);
    let delete_api_path = project.may_delete(listed).await?.then(|| {
        let base_url = project.base_url();
        format!("{base_url}/api/v4/projects/{id}/packages/{}", version.id)
    });
    Ok(Shown {
        id: version.id,
        name: listed.package.display_name.clone(),
        version: version.version.clone(),
        package_type: listed.format.clone(),
        status: version.status.name(),
        _links: Links {
            web_path: format!("/{path}/-/packages/{}", version.id),
            delete_api_path,
        },
        created_at: iso(version.created_at),
        last_downloaded_at: time(project.downloaded_at(listed).await?),
        creator_id: version.creator,
        published_by: project.published_by(listed).await?,
        tags: shown_tags(listed, version)?,
        pipelines: [],
        project_id: of_group.then_some(id),
        project_path: of_group.then(|| path.as_str().to_owned()),
        versions: None,
    })
}

async fn answer(selection: Selection<Row>, of_group: bool) -> Result<Page<Shown>, ApiError> {
    let page = selection.finish();
    let mut shown_rows = Vec::with_capacity(page.rows.len());
    for row in &page.rows {
        shown_rows.push(shown(row, of_group).await?);
    }
    Ok(page.with(shown_rows))
}

async fn list(
    project: Authorised<Project, Pull>,
    Query(query): Query<ListQuery>,
    paging: Paging,
) -> Result<Page<Shown>, ApiError> {
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
) -> Result<Page<Shown>, ApiError> {
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
) -> Result<Json<Shown>, ApiError> {
    let listed = project.version(target.package_id).await?;
    let siblings = project.siblings(&listed, MAX_VERSIONS).await?;
    let versions = siblings.iter().map(|version| {
        Ok(Sibling {
            id: version.id,
            version: version.version.clone(),
            created_at: iso(version.created_at),
            tags: shown_tags(&listed, version)?,
            pipelines: [],
        })
    });
    let versions = versions.collect::<Result<Vec<_>, ApiError>>()?;
    let row = Row { project, listed };
    Ok(Json(Shown {
        versions: Some(versions),
        ..shown(&row, false).await?
    }))
}

/// The tags of a version of what is listed. They have no numbers and no times of their own: they
/// are shown with those of the version.
fn shown_tags(listed: &Listed, version: &Version) -> Result<Vec<ShownTag>, ApiError> {
    let Some(format) = formats::by_name(&listed.format) else {
        return Ok(Vec::new());
    };
    let tags = format.tags(&listed.package, version)?.into_iter();
    let shown = tags.map(|name| ShownTag {
        id: version.id,
        package_id: version.id,
        name,
        created_at: iso(version.created_at),
        updated_at: iso(version.created_at),
    });
    Ok(shown.collect())
}

/// A file of a package.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PackageFile")]
struct ShownFile {
    id: u64,
    package_id: u64,
    created_at: String,
    file_name: String,
    size: u64,
    file_md5: Option<String>,
    file_sha1: Option<String>,
    file_sha256: String,
    pipelines: [(); 0],
}

fn shown_file(file: &File, package: u64) -> ShownFile {
    ShownFile {
        id: file.id,
        package_id: package,
        created_at: iso(file.created_at),
        file_name: file.name.clone(),
        size: file.size,
        file_md5: file.digests.md5.map(|digest| HEXLOWER.encode(&digest)),
        file_sha1: file.digests.sha1.map(|digest| HEXLOWER.encode(&digest)),
        file_sha256: HEXLOWER.encode(&file.digests.sha256),
        pipelines: [],
    }
}

async fn list_files(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    paging: Paging,
) -> Result<Page<ShownFile>, ApiError> {
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
    Ok(selection.finish())
}

/// No package has been published by a pipeline: there are no job tokens.
async fn list_pipelines(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
) -> Result<Json<[(); 0]>, ApiError> {
    project.version(target.package_id).await?;
    Ok(Json([]))
}

async fn download(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    method: Method,
    headers: HeaderMap,
) -> Result<FileBytes, ApiError> {
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
    let answer = serve_blob(&scope, &method, &headers, &file.blob, file.size, served).await?;
    Ok(FileBytes(answer))
}

/// In place of a format's name, for what is read whatever its format.
const REST: &str = "rest";

/// How something is removed: ours.
#[derive(Debug, Deserialize, JsonSchema)]
struct How {
    /// It cannot be restored.
    #[serde(default, deserialize_with = "form::boolean")]
    purge: Option<bool>,
}

impl How {
    fn is_final(&self) -> bool {
        self.purge == Some(true)
    }
}

async fn remove(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
    Query(how): Query<How>,
    headers: HeaderMap,
) -> Result<Nothing<204>, ApiError> {
    let since = headers
        .get(header::IF_UNMODIFIED_SINCE)
        .and_then(|value| value.to_str().ok());
    project
        .delete_version(target.package_id, since.and_then(parse_http_date), how.is_final())
        .await?;
    Ok(Nothing)
}

async fn remove_file(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
    Query(how): Query<How>,
) -> Result<Nothing<204>, ApiError> {
    project
        .delete_file(target.package_id, target.file_id, how.is_final())
        .await?;
    Ok(Nothing)
}
