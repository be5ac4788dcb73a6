//! The page that says where the modules of an import path are: `GET https://HOST/PATH?go-get=1`.
//!
//! The contract is in the Go Modules Reference, "Finding a repository for a module path". The go command asks for it
//! when it goes past proxies (`GOPROXY=direct`, `GOPRIVATE`), and takes from it the URL of a proxy for all modules below
//! a prefix of the path. That is the path of a project, so nobody else publishes modules under it: `HOST/GROUP/PROJECT`
//! is read from that project and from no other.
//!
//! Of a project that the caller may not read, as of one that is not there, the answer takes the first two names for its
//! path, as GitLab's does: it says nothing of what there is.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::NAME;
use crate::app::App;
use crate::auth::action::Freshness;
use crate::auth::{Access, Authorised, Pull};
use crate::formats::Level;
use crate::http::error::{ApiError, ErrorKind};
use crate::http::host::BaseUrl;
use crate::registry::names::{FullPath, MAX_DEPTH, Reference};
use crate::registry::project::Project;

/// Whether a request for something that no route has is one for such a page.
pub(crate) fn is_asked_by(request: &Request) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let query = request.uri().query().unwrap_or_default();
    is_read && form_urlencoded::parse(query.as_bytes()).any(|pair| pair == ("go-get".into(), "1".into()))
}

/// Answers with the page.
pub(super) async fn page(
    State(app): State<App>,
    Extension(base_url): Extension<BaseUrl>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let path = percent_decode_str(parts.uri.path().trim_matches('/')).decode_utf8();
    // With one name more than a project has, so that what is nested too deeply is no path of one.
    let names: Vec<&str> = match &path {
        Ok(path) => path.split('/').take(MAX_DEPTH + 2).collect(),
        Err(_) => Vec::new(),
    };
    let access = Access::of(&app, &parts, Freshness::Latest).await?;
    let project = project_of(&access, &names).await?;
    let (host, path) = (base_url.host(), project.as_str());
    let prefix = Level::Project
        .prefix(NAME)
        .replace("{id}", &path.replace('/', "%2F"));
    // Neither has a character that means anything in HTML.
    let page = format!(
        "<!DOCTYPE html>\n<html><head><meta name=\"go-import\" content=\"{host}/{path} mod {base_url}{prefix}\"></head>\
         <body>go get {host}/{path}</body></html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, page).into_response())
}

/// The path, as it is written there, of the project that an import path belongs to.
async fn project_of(access: &Access, names: &[&str]) -> Result<FullPath, ApiError> {
    let mut presumed = None;
    for depth in 2..=names.len() {
        let Ok(path) = names[..depth].join("/").parse::<FullPath>() else {
            break;
        };
        let found: Result<Authorised<Project, Pull>, _> =
            access.project(&Reference::Path(path.clone())).await;
        match found {
            Ok(_) => return Ok(path),
            Err(error) if is_unseen(&error) => presumed = presumed.or(Some(path)),
            Err(error) => return Err(error),
        }
    }
    presumed.ok_or_else(|| ApiError::not_found("404 Not Found: this is no import path of a module here"))
}

/// Whether an error says that there is nothing that the caller may read.
fn is_unseen(error: &ApiError) -> bool {
    use ErrorKind::{Forbidden, NotFound, Unauthorized};
    matches!(error.kind, NotFound | Forbidden | Unauthorized)
}
