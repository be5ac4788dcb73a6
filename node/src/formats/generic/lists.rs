//! Answering with what is in a directory.

use axum::Json;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;

use crate::formats::generic::browse::{self, Directory};
use crate::formats::generic::listing::{self, encoded};
use crate::formats::generic::parts::Listed;
use crate::http::error::ApiError;
use crate::http::form;
use crate::registry::Scope;

/// Entries of a page, unless the client says how many.
const PAGE: usize = 1000;

/// Which entries a client asks for.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default, deserialize_with = "form::number")]
    limit: Option<u64>,
    after: Option<String>,
}

impl ListQuery {
    /// The same of a list of numbered parts.
    pub(super) fn parts(&self) -> Result<Listed, ApiError> {
        let number = |after: &String| {
            let number = after.parse();
            number.map_err(|_| ApiError::bad_request("after is not the number of a part"))
        };
        Ok(Listed {
            limit: self.limit,
            after: self.after.as_ref().map(number).transpose()?,
        })
    }
}

/// Lists a directory, whose path is for people to read.
pub(super) async fn list(
    scope: Scope,
    directory: Directory,
    path: String,
    query: ListQuery,
    uri: &OriginalUri,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    // A directory is there as long as something lies in it.
    if let Directory::Files(_, below) = &directory
        && !below.is_empty()
        && browse::page(&scope, &directory, None, 1)
            .await?
            .entries
            .is_empty()
    {
        return Err(ApiError::not_found("404 Not Found"));
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
