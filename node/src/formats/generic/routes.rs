//! Handlers of generic files.

use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use cairn_cluster::Txn;
use data_encoding::{BASE64, HEXLOWER};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Authorised, Delete, Publish, Pull, PullImmutable};
use crate::formats::generic::NAME;
use crate::formats::generic::browse::{self, Directory};
use crate::formats::generic::latest;
use crate::formats::generic::listing::{self, encoded, encoded_path};
use crate::formats::generic::names::{FileName, LATEST, PackageName, VersionName};
use crate::formats::generic::publish::{self, DEFAULT_DUPLICATES, Published, Wanted};
use crate::http::body::Params;
use crate::http::error::ApiError;
use crate::http::form::{self, Query};
use crate::http::{Served, media, serve_blob, serve_bytes};
use crate::registry::Scope;
use crate::registry::names::Visibility;
use crate::registry::package::{Edit, File, Package, Status, Version, View};
use crate::registry::project::Project;
use crate::registry::settings::{DuplicatePolicy, PackageAccess};
use crate::registry::time::iso;

/// Entries of a page of a listing, unless the client says how many.
const PAGE: usize = 1000;

/// The routes of a project.
pub(super) fn project() -> Router<App> {
    Router::new()
        .route("/", get(list_packages))
        .route("/{name}", delete(delete_package).get(to_directory))
        .route("/{name}/", get(list_versions))
        .route(
            "/{name}/{version}",
            delete(delete_version).patch(change_version).get(to_directory),
        )
        .route("/{name}/{version}/", get(list_files))
        .route(
            "/{name}/{version}/{*file}",
            get(download).put(upload).delete(delete_file),
        )
}

/// The names in the path of a request; each is checked before it is used.
#[derive(Debug, Deserialize)]
struct Target {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    file: String,
}

impl Target {
    fn package(&self) -> Result<PackageName, ApiError> {
        Ok(self.name.parse()?)
    }

    fn version(&self) -> Result<VersionName, ApiError> {
        Ok(self.version.parse()?)
    }

    fn file(&self) -> Result<FileName, ApiError> {
        Ok(self.file.parse()?)
    }
}

#[derive(Debug, Deserialize)]
struct UploadQuery {
    status: Option<Status>,
    select: Option<String>,
}

async fn upload(
    project: Authorised<Project, Publish>,
    Path(target): Path<Target>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if headers.contains_key("x-checksum-deploy") {
        // Content is never taken from elsewhere by its digest: the client sends it after this.
        return Err(ApiError::not_found("404 Not Found: send the file itself"));
    }
    if query.status == Some(Status::Deprecated) {
        return Err(ApiError::bad_request("status does not have a valid value"));
    }
    let wanted = Wanted {
        package: target.package()?,
        version: target.version()?,
        file: target.file()?,
        status: query.status,
    };
    let published = publish::publish(&project, &wanted, &headers, body).await?;
    let url = file_url(&project.scope(NAME), &wanted);
    let body = match query.select.as_deref() {
        Some("package_file") => file_object(&published, &url),
        _ => json!({ "message": "201 Created" }),
    };
    let sha256 = HEXLOWER.encode(&published.file.digests.sha256);
    let headers = [
        (header::ETAG.as_str(), format!("\"{sha256}\"")),
        ("x-checksum-sha256", sha256),
        (header::LOCATION.as_str(), url),
    ];
    Ok((StatusCode::CREATED, headers, Json(body)).into_response())
}

fn file_url(scope: &Scope, wanted: &Wanted) -> String {
    let file = encoded_path(wanted.file.as_str());
    let (name, version) = (encoded(wanted.package.as_str()), encoded(wanted.version.as_str()));
    format!("{}/{name}/{version}/{file}", scope.project_url())
}

/// A file as GitLab describes it to whoever publishes it.
fn file_object(published: &Published, url: &str) -> Value {
    let Published { version, file } = published;
    json!({
        "id": file.id,
        "package_id": version.id,
        "created_at": iso(file.created_at),
        "updated_at": iso(file.created_at),
        "size": file.size,
        "file_store": 1,
        "file_md5": file.digests.md5.map(|digest| HEXLOWER.encode(&digest)),
        "file_sha1": file.digests.sha1.map(|digest| HEXLOWER.encode(&digest)),
        "file_sha256": HEXLOWER.encode(&file.digests.sha256),
        "file_name": file.name,
        "file": { "url": url },
        "verification_retry_at": null,
        "verified_at": null,
        "verification_failure": null,
        "verification_retry_count": null,
        "verification_checksum": null,
        "verification_state": 0,
        "verification_started_at": null,
        "status": version.status.name(),
        "new_file_path": null,
    })
}

async fn download(
    project: Authorised<Project, PullImmutable>,
    Path(target): Path<Target>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    if target.version == LATEST {
        return to_latest(&scope.confirmed().await?, &target).await;
    }
    if target.file.ends_with('/') {
        let scope = scope.confirmed().await?;
        let (_, version) = find_version(&scope, &target).await?;
        let directory = Directory::Files(version, target.file.clone());
        let path = format!("{}/{}/{}", target.name, target.version, target.file);
        return list(scope, directory, path, query, &uri, &headers).await;
    }
    match find_file(&scope, &target).await {
        Ok(found) => give(&scope, found, &method, &headers).await,
        // What is not here may be elsewhere.
        Err(_) => {
            let scope = scope.confirmed().await?;
            match find_file(&scope, &target).await {
                Ok(found) => give(&scope, found, &method, &headers).await,
                Err(missing) => match generated(&scope, &target).await? {
                    Some((text, served)) => serve_bytes(&method, &headers, text, served),
                    None => Err(missing),
                },
            }
        }
    }
}

async fn find_version(scope: &Scope, target: &Target) -> Result<(Package, Version), ApiError> {
    let (name, version) = (target.package()?, target.version()?);
    let view = View::of(scope);
    if let Some(package) = view.package(name.as_str()).await?
        && let Some(version) = view.version(&package, version.as_str()).await?
    {
        return Ok((package, version));
    }
    Err(ApiError::not_found("404 Package Not Found"))
}

async fn find_file(scope: &Scope, target: &Target) -> Result<(Version, File), ApiError> {
    let name = target.file()?;
    let (_, version) = find_version(scope, target).await?;
    match View::of(scope).file(&version, name.as_str()).await? {
        Some(file) => Ok((version, file)),
        None => Err(ApiError::not_found("404 File Not Found")),
    }
}

/// Answers with a file.
async fn give(
    scope: &Scope,
    (version, file): (Version, File),
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let duplicates = scope.duplicates(DEFAULT_DUPLICATES).await?;
    let immutable = !matches!(duplicates, DuplicatePolicy::Allow | DuplicatePolicy::Replace);
    if !immutable {
        // The file may have been replaced where this node cannot see it.
        scope.confirmed().await?;
    }
    View::of(scope).note_download(&version);
    let digests = &file.digests;
    let base = file.name.rsplit('/').next().unwrap_or_default();
    let mut served = Served::new(HEXLOWER.encode(&digests.sha256))
        .with_type(media::type_of(base))
        .with_date(file.created_at)
        .with_header(header::CONTENT_DISPOSITION, &media::attachment(base))
        .with_header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
        .with_header(header::CACHE_CONTROL, &caching(scope.project(), immutable));
    let mut say = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            served.headers.insert(name, value);
        }
    };
    say("x-checksum-sha256", HEXLOWER.encode(&digests.sha256));
    say(
        "repr-digest",
        format!("sha-256=:{}:", BASE64.encode(&digests.sha256)),
    );
    if let Some(sha1) = &digests.sha1 {
        say("x-checksum-sha1", HEXLOWER.encode(sha1));
    }
    if let Some(sha512) = &digests.sha512 {
        say("x-checksum-sha512", HEXLOWER.encode(sha512));
    }
    if let Some(md5) = &digests.md5 {
        say("x-checksum-md5", HEXLOWER.encode(md5));
    }
    serve_blob(scope, method, headers, &file.blob, file.size, served).await
}

fn caching(project: &Project, immutable: bool) -> String {
    let open = project.package_access == PackageAccess::Public
        || project.visibility == Visibility::Public && project.package_access == PackageAccess::Enabled;
    let who = if open { "public" } else { "private" };
    match immutable {
        true => format!("{who}, max-age=31536000, immutable"),
        false => format!("{who}, no-cache"),
    }
}

/// `tool.tgz.sha256` and its like, made from what is known of `tool.tgz`.
async fn generated(scope: &Scope, target: &Target) -> Result<Option<(Bytes, Served)>, ApiError> {
    let Some((subject, algorithm)) = target.file.rsplit_once('.') else {
        return Ok(None);
    };
    let subject = Target {
        name: target.name.clone(),
        version: target.version.clone(),
        file: subject.into(),
    };
    let Ok((_, file)) = find_file(scope, &subject).await else {
        return Ok(None);
    };
    let digests = &file.digests;
    let digest = match algorithm {
        "sha256" => Some(digests.sha256.as_slice()),
        "sha512" => digests.sha512.as_ref().map(|digest| digest.as_slice()),
        "sha1" => digests.sha1.as_ref().map(|digest| digest.as_slice()),
        "md5" => digests.md5.as_ref().map(|digest| digest.as_slice()),
        _ => None,
    };
    let Some(digest) = digest.map(|digest| HEXLOWER.encode(digest)) else {
        return Ok(None);
    };
    let base = file.name.rsplit('/').next().unwrap_or_default();
    let served = Served::new(format_args!("{algorithm}-{digest}"))
        .with_type("text/plain; charset=utf-8")
        .with_date(file.created_at)
        .with_header(header::CACHE_CONTROL, "private, no-cache");
    Ok(Some((format!("{digest}  {base}\n").into(), served)))
}

/// Redirects to the file in the greatest version.
async fn to_latest(scope: &Scope, target: &Target) -> Result<Response, ApiError> {
    let (name, file) = (target.package()?, target.file()?);
    let view = View::of(scope);
    let missing = || ApiError::not_found("404 Package Not Found");
    let package = view.package(name.as_str()).await?.ok_or_else(missing)?;
    let version = latest::find(&view, &package).await?.ok_or_else(missing)?;
    let wanted = Wanted {
        package: name,
        version: version.parse()?,
        file,
        status: None,
    };
    let headers = [
        (header::LOCATION, file_url(scope, &wanted)),
        (header::CACHE_CONTROL, "no-cache".into()),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default, deserialize_with = "form::number")]
    limit: Option<u64>,
    after: Option<String>,
}

async fn list_packages(
    project: Authorised<Project, Pull>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    list(scope, Directory::Packages, String::new(), query, &uri, &headers).await
}

async fn list_versions(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let name = target.package()?;
    let package = View::of(&scope).package(name.as_str()).await?;
    let package = package.ok_or_else(|| ApiError::not_found("404 Package Not Found"))?;
    let directory = Directory::Versions(package);
    list(scope, directory, format!("{name}/"), query, &uri, &headers).await
}

async fn list_files(
    project: Authorised<Project, Pull>,
    Path(target): Path<Target>,
    Query(query): Query<ListQuery>,
    uri: OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = project.scope(NAME);
    let (_, version) = find_version(&scope, &target).await?;
    let path = format!("{}/{}/", target.name, target.version);
    list(
        scope,
        Directory::Files(version, String::new()),
        path,
        query,
        &uri,
        &headers,
    )
    .await
}

async fn list(
    scope: Scope,
    directory: Directory,
    path: String,
    query: ListQuery,
    uri: &OriginalUri,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if let Directory::Files(version, _) = &directory
        && version.status == Status::Hidden
    {
        return Err(ApiError::not_found("404 Package Not Found"));
    }
    if !prefers_json(headers) {
        return html(scope, directory, path).await;
    }
    let limit = query
        .limit
        .map_or(PAGE, |limit| limit.clamp(1, PAGE as u64) as usize);
    let page = browse::page(&scope, &directory, query.after.as_deref(), limit).await?;
    let directory_path = uri.path().trim_end_matches('/');
    let base = format!("{}{directory_path}/", scope.base_url());
    if page.entries.is_empty() && path.matches('/').count() > 2 {
        return Err(ApiError::not_found("404 Not Found"));
    }
    let body = listing::json_page(&path, &base, &page.entries, page.next.as_deref());
    let mut response = Json(body).into_response();
    if let Some(next) = &page.next {
        let link = format!("<{base}?limit={limit}&after={}>; rel=\"next\"", encoded(next));
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// The whole directory, a page of it in memory at a time: mirror tools do not turn pages.
async fn html(scope: Scope, directory: Directory, path: String) -> Result<Response, ApiError> {
    enum At {
        Head,
        Page(Option<String>),
        End,
        Done,
    }
    let lines = stream::try_unfold(At::Head, move |at| {
        let (scope, directory, path) = (scope.clone(), directory.clone(), path.clone());
        async move {
            Ok::<_, ApiError>(match at {
                At::Head => Some((listing::html_head(&path), At::Page(None))),
                At::Page(after) => {
                    let page = browse::page(&scope, &directory, after.as_deref(), PAGE).await?;
                    let next = match page.next {
                        Some(next) => At::Page(Some(next)),
                        None => At::End,
                    };
                    Some((listing::html_entries(&page.entries), next))
                }
                At::End => Some((listing::HTML_END, At::Done)),
                At::Done => None,
            })
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox allow-downloads",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::VARY, "accept"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn prefers_json(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut types = accepts.flat_map(|line| line.split(','));
    types.any(|media_type| media_type.trim().starts_with("application/json"))
}

/// A directory without its slash: links in its listing would lead astray.
async fn to_directory(_: Authorised<Project, Pull>, uri: OriginalUri) -> Response {
    let location = match uri.query() {
        Some(query) => format!("{}/?{query}", uri.path()),
        None => format!("{}/", uri.path()),
    };
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

async fn delete_file(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    let scope = project.scope(NAME);
    let (name, version, file) = (target.package()?, target.version()?, target.file()?);
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let (_, version) = existing(&mut edit, &name, &version).await?;
            let file = edit.file(&version, file.as_str()).await?;
            let file = file.ok_or_else(|| ApiError::not_found("404 File Not Found"))?;
            edit.delete_file(&version, &file).await?;
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

async fn delete_version(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    let scope = project.scope(NAME);
    let (name, version) = (target.package()?, target.version()?);
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let (package, version) = existing(&mut edit, &name, &version).await?;
            edit.delete_version(&package, &version).await?;
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

async fn delete_package(
    project: Authorised<Project, Delete>,
    Path(target): Path<Target>,
) -> Result<StatusCode, ApiError> {
    let scope = project.scope(NAME);
    let name = target.package()?;
    scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let package = edit.package(name.as_str()).await?;
            let package = package.ok_or_else(|| ApiError::not_found("404 Package Not Found"))?;
            edit.delete_package(package).await?;
            Ok((txn, StatusCode::NO_CONTENT))
        })
        .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    status: Status,
}

async fn change_version(
    project: Authorised<Project, Publish>,
    Path(target): Path<Target>,
    Params(change): Params<Change>,
) -> Result<Json<Value>, ApiError> {
    let scope = project.scope(NAME);
    let (name, version) = (target.package()?, target.version()?);
    let changed = scope
        .transact(async |mut txn: Txn| {
            let mut edit = Edit::new(&scope, &mut txn);
            let (package, mut version) = existing(&mut edit, &name, &version).await?;
            version.status = change.status;
            edit.put_version(&package, &version)?;
            Ok((txn, version))
        })
        .await?;
    Ok(Json(json!({
        "id": changed.id,
        "name": name.as_str(),
        "version": changed.version,
        "status": changed.status.name(),
    })))
}

async fn existing(
    edit: &mut Edit<'_>,
    name: &PackageName,
    version: &VersionName,
) -> Result<(Package, Version), ApiError> {
    if let Some(package) = edit.package(name.as_str()).await?
        && let Some(version) = edit.version(&package, version.as_str()).await?
    {
        return Ok((package, version));
    }
    Err(ApiError::not_found("404 Package Not Found"))
}
