//! Handlers of lists: tags, referrers, repositories.

use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cairn_cluster::Scan;
use serde_json::json;

use super::access::{Head, Image};
use super::error;
use super::keys::{ProjectKeys, RepositoryKeys};
use super::manifest::{Kind, Manifest};
use super::manifests::bytes_of;
use super::names::{Digest, Reference, RepositoryName};
use super::path::{Page, repository_path};
use super::records::Referrer;
use super::routes::check_catalog;
use super::store;
use crate::auth::action::Freshness;
use crate::auth::{Access, Authorised, PullImage};
use crate::http::error::ApiError;
use crate::registry::project::Project;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// A page of referrers is a manifest, which clients take up to 4 MiB; one entry may be nearly
/// as large.
const MAX_REFERRERS_BYTES: usize = 3 << 20;

/// Referrers that one request looks at.
const MAX_REFERRERS: usize = 1000;

/// Projects that are visited at a time for the catalog ...
const STRETCH: usize = 20;
/// ... and how often one request does so.
const MAX_STRETCHES: usize = 50;

/// The tags of a repository, in the order of their bytes.
pub(super) async fn tags(head: Head<'_>, name: &RepositoryName) -> Result<Response, ApiError> {
    let image = head.image::<PullImage>(name).await?;
    let page = Page::parse(&head.query())?;
    let Some(keys) = store::repository(&image.scope, &image.path).await? else {
        return Err(error::name_unknown(name));
    };
    let mut scan = Scan::of(&keys.tags()).limit(page.limit + 1);
    if let Some(last) = &page.last {
        scan = scan.after(last);
    }
    let entries = image.scope.snapshot().scan(scan).await?;
    let tags: Vec<String> = entries
        .iter()
        .take(page.limit)
        .map(|entry| String::from_utf8_lossy(&entry.item).into_owned())
        .collect();
    let last = tags.last().filter(|_| entries.len() > page.limit);
    let link = last.map(|last| page.link(&repository_path(name, "tags/list"), last, &[]));
    let body = json!({ "name": name.as_str(), "tags": tags });
    Ok((linked(link)?, axum::Json(body)).into_response())
}

fn linked(link: Option<String>) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    if let Some(link) = link {
        headers.insert(LINK, HeaderValue::try_from(link).map_err(ApiError::internal)?);
    }
    Ok(headers)
}

/// The manifests that refer to a subject, which need not exist.
pub(super) async fn referrers(
    head: Head<'_>,
    name: &RepositoryName,
    subject: &Digest,
) -> Result<Response, ApiError> {
    let image = head.image::<PullImage>(name).await?;
    let query = head.query();
    let page = Page::parse(&query)?;
    let wanted = query.get("artifactType").filter(|wanted| !wanted.is_empty());
    let keys = store::repository(&image.scope, &image.path).await?;
    let found = match &keys {
        Some(keys) => matching(&image, keys, subject, &page, wanted).await?,
        // Clients take 404 for a registry without this list, and keep one of their own.
        None => Found::default(),
    };
    let filter: Vec<(&str, &str)> = wanted
        .map(|wanted| ("artifactType", wanted))
        .into_iter()
        .collect();
    let path = repository_path(name, &format!("referrers/{subject}"));
    let link = found
        .next
        .map(|last| page.link(&path, &last.to_string(), &filter));
    let mut headers = linked(link)?;
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(Kind::OciIndex.media_type()),
    );
    if wanted.is_some() {
        headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    let body = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"manifests\":[{}]}}",
        Kind::OciIndex.media_type(),
        found.entries.join(",")
    );
    Ok((headers, body).into_response())
}

/// A page of referrers.
#[derive(Default)]
struct Found {
    /// Their entries, as JSON.
    entries: Vec<String>,
    /// Where the next page begins; none if there is none.
    next: Option<Digest>,
}

async fn matching(
    image: &Image<PullImage>,
    keys: &RepositoryKeys,
    subject: &Digest,
    page: &Page,
    wanted: Option<&str>,
) -> Result<Found, ApiError> {
    let mut scan = Scan::of(&keys.referrers(subject)).limit(MAX_REFERRERS);
    if let Some(last) = &page.last {
        let last: Digest = last.parse()?;
        scan = scan.after(last.to_key());
    }
    let scanned = image.scope.snapshot().scan(scan).await?;
    let mut found = Found::default();
    let mut size_bytes = 0;
    let mut last = None;
    for entry in &scanned {
        let Some(digest) = Digest::from_key(&entry.item) else {
            continue;
        };
        let referrer: Referrer = entry.record()?;
        if wanted.is_none_or(|wanted| referrer.artifact_type.as_deref() == Some(wanted)) {
            let text = entry_of(image, keys, &digest, referrer).await?;
            size_bytes += text.len();
            let is_full = found.entries.len() >= page.limit
                || (size_bytes > MAX_REFERRERS_BYTES && !found.entries.is_empty());
            if is_full {
                found.next = last;
                return Ok(found);
            }
            found.entries.push(text);
        }
        last = Some(digest);
    }
    if scanned.len() == MAX_REFERRERS {
        found.next = last;
    }
    Ok(found)
}

/// The entry of a referrer; a large one is not kept, but made from its manifest.
async fn entry_of(
    image: &Image<PullImage>,
    keys: &RepositoryKeys,
    digest: &Digest,
    referrer: Referrer,
) -> Result<String, ApiError> {
    if let Some(entry) = referrer.entry {
        return Ok(entry);
    }
    let reference = Reference::Digest(*digest);
    let found = store::manifest(&image.scope, keys, &reference).await?;
    let Some((_, record)) = found else {
        return Err(error::manifest_unknown(&reference));
    };
    let bytes: Bytes = bytes_of(&image.scope, &record).await?;
    let manifest = Manifest::of_stored(&bytes, record.kind)?;
    Ok(manifest.referrer_entry(digest, record.size))
}

/// The repositories of all projects that the caller may pull from, in the order of their bytes.
///
/// Projects are visited in the order of their paths. Their repositories sort a little
/// differently (`a/b-c` comes before `a/b/x`, but after `a/b`), so those of a project wait until
/// no project that is still to come can have one before them.
pub(super) async fn catalog(head: Head<'_>) -> Result<Response, ApiError> {
    let access = Access::of(head.app, head.parts, Freshness::Latest).await?;
    check_catalog(head, &access)?;
    let page = Page::parse(&head.query())?;
    let last = page.last.clone().unwrap_or_default();
    let mut names = Vec::new();
    for path in paths_before(&last) {
        if let Some(project) = access.at_path::<PullImage>(path).await? {
            names.extend(repositories(&project, path, &last, page.limit).await?);
        }
    }
    let mut end = Some(last.clone());
    for _ in 0..MAX_STRETCHES {
        let Some(after) = &end else {
            break;
        };
        let stretch = access.walk::<PullImage>(after, STRETCH).await?;
        for (path, project) in &stretch.projects {
            names.extend(repositories(project, path, &last, page.limit).await?);
        }
        end = stretch.end;
        names.sort_unstable();
        if complete(&names, end.as_deref()) > page.limit {
            break;
        }
    }
    let complete = complete(&names, end.as_deref());
    let shown = complete.min(page.limit);
    let next = match names[..shown].last() {
        _ if page.limit == 0 => None,
        Some(last) if shown < complete || (shown == page.limit && end.is_some()) => Some(last.clone()),
        // This request looked as far as it may, and found no more.
        _ => end,
    };
    names.truncate(shown);
    let link = next.map(|next| page.link("/v2/_catalog", &next, &[]));
    Ok((linked(link)?, axum::Json(json!({ "repositories": names }))).into_response())
}

/// How many of the sorted names no project after `end` can have one before.
fn complete(names: &[String], end: Option<&str>) -> usize {
    end.map_or(names.len(), |end| {
        names.partition_point(|name| name.as_str() <= end)
    })
}

/// The paths up to `last` of which a repository can come after it: those that it begins with,
/// up to a character that comes no later than the slash which the repository goes on with.
fn paths_before(last: &str) -> Vec<&str> {
    let ends = last.match_indices(['-', '.', '/']).map(|(end, _)| end);
    let paths = ends.chain([last.len()]).map(|end| &last[..end]);
    paths.filter(|path| path.contains('/')).collect()
}

/// The full names of some repositories of a project: the next `limit` ones after `last`.
async fn repositories(
    project: &Authorised<Project, PullImage>,
    path: &str,
    last: &str,
    limit: usize,
) -> Result<Vec<String>, ApiError> {
    let scope = project.scope(super::NAME);
    if !scope.covers_all() {
        return Ok(Vec::new());
    }
    // One more tells that there are more; and the name without an image may be left out.
    let mut scan = Scan::of(&ProjectKeys::new(scope.collection()).images()).limit(limit + 2);
    match last.strip_prefix(path) {
        Some("") => scan = scan.after(""),
        Some(rest) if rest.starts_with('/') => scan = scan.after(&rest[1..]),
        _ => {}
    }
    let entries = scope.snapshot().scan(scan).await?;
    let names = entries.iter().map(|entry| match entry.item.as_ref() {
        [] => path.to_owned(),
        image => format!("{path}/{}", String::from_utf8_lossy(image)),
    });
    Ok(names.filter(|name| name.as_str() > last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_can_still_have_names_after_a_position() {
        let check = |last: &str, expected: &[&str]| {
            assert_eq!(paths_before(last), expected, "{last}");
        };
        check("", &[]);
        check("acme", &[]);
        check("acme/demo", &["acme/demo"]);
        check("acme/demo/x", &["acme/demo", "acme/demo/x"]);
        check("acme/demo-2/x", &["acme/demo", "acme/demo-2", "acme/demo-2/x"]);
        check("a.b/c_d", &["a.b/c_d"]);
    }
}
