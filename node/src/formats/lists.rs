//! Answering with what is in a directory: as JSON by pages, or as HTML that mirror tools follow.

use axum::Json;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;

use crate::formats::listing::{self, Entry, encoded};
use crate::http::error::ApiError;
use crate::http::form;
use crate::http::host::BaseUrl;

/// Entries of a page, unless the client says how many.
const PAGE: usize = 1000;

/// Which entries a client asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default, deserialize_with = "form::number")]
    pub(crate) limit: Option<u64>,
    pub(crate) after: Option<String>,
}

/// Some entries, and where the next ones begin.
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) next: Option<String>,
}

impl Page {
    /// Up to `limit` of these, of which one more than that tells that there is another page.
    pub(crate) fn of(mut entries: Vec<Entry>, limit: usize) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(Entry::position);
        Self { entries, next }
    }
}

/// A directory that can be listed.
pub(crate) trait Listing: Clone + Send + Sync + 'static {
    /// Lists up to `limit` entries past the position `after`.
    fn page(&self, after: Option<&str>, limit: usize) -> impl Future<Output = Result<Page, ApiError>> + Send;
}

/// Lists a directory, whose path is for people to read.
pub(crate) async fn list(
    directory: impl Listing,
    path: String,
    query: ListQuery,
    base_url: &BaseUrl,
    uri: &OriginalUri,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if !prefers_json(headers) {
        return html(directory, path).await;
    }
    let limit = query
        .limit
        .map_or(PAGE, |limit| limit.clamp(1, PAGE as u64) as usize);
    let page = directory.page(query.after.as_deref(), limit).await?;
    let directory_path = uri.path().trim_end_matches('/');
    let base = format!("{base_url}{directory_path}/");
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
async fn html(directory: impl Listing, path: String) -> Result<Response, ApiError> {
    enum At {
        Head,
        Page(Option<String>),
        End,
        Done,
    }
    let lines = stream::try_unfold(At::Head, move |at| {
        let (directory, path) = (directory.clone(), path.clone());
        async move {
            Ok::<_, ApiError>(match at {
                At::Head => Some((listing::html_head(&path), At::Page(None))),
                At::Page(after) => {
                    let page = directory.page(after.as_deref(), PAGE).await?;
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
pub(crate) fn to_directory(uri: &OriginalUri) -> Response {
    let location = match uri.query() {
        Some(query) => format!("{}/?{query}", uri.path()),
        None => format!("{}/", uri.path()),
    };
    (axum::http::StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}
