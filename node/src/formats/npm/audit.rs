//! Answers audits. Cairn knows of no advisories, so every audit is clean; clients fail without
//! an answer of the right shape.

use std::io::Read;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Pull;
use crate::formats::json::{self, JsonError};
use crate::formats::place::Place;
use crate::http::body;
use crate::http::error::{ApiError, ErrorKind};

/// The largest body as it is sent.
const MAX_SENT_BYTES: usize = 4 << 20;

/// How the list of an audit is read, decompressed. A project with ten thousand dependencies
/// has about a megabyte.
const LIMITS: json::Limits = json::Limits {
    document_bytes: 32 << 20,
    string_bytes: 64 << 10,
    depth: 512,
};

/// The routes of audits.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/-/npm/v1/security/advisories/bulk", post(bulk))
        .route("/-/npm/v1/security/audits/quick", post(report))
        .route("/-/npm/v1/security/audits", post(report))
        .route("/-/npm/v1/keys", get(keys))
}

/// The names of packages in, the advisories on them out.
async fn bulk(_: Place<Pull>, headers: HeaderMap, body: Body) -> Result<Json<Value>, ApiError> {
    let packages = count_members(&headers, body, &[]).await?;
    tracing::debug!(packages, "audit");
    Ok(Json(json!({})))
}

/// The tree of a lock file in, the report of the sixth npm out.
async fn report(_: Place<Pull>, headers: HeaderMap, body: Body) -> Result<Json<Value>, ApiError> {
    let dependencies = count_members(&headers, body, &["dependencies"]).await?;
    Ok(Json(json!({
        "actions": [],
        "advisories": {},
        "muted": [],
        "metadata": {
            "vulnerabilities": {"info": 0, "low": 0, "moderate": 0, "high": 0, "critical": 0},
            "dependencies": dependencies,
            "devDependencies": 0,
            "optionalDependencies": 0,
            "totalDependencies": dependencies,
        },
    })))
}

/// Tells clients that packages are not signed by the registry.
async fn keys(_: Place<Pull>) -> ApiError {
    ApiError::not_found("packages are not signed by this registry")
}

/// How many members the object at `path` in the body has. Clients may compress the body.
async fn count_members(
    headers: &HeaderMap,
    body: Body,
    path: &'static [&'static str],
) -> Result<u64, ApiError> {
    let compressed = match headers
        .get(header::CONTENT_ENCODING)
        .map(|coding| coding.as_bytes())
    {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => {
            return Err(ApiError::new(
                ErrorKind::UnsupportedMediaType,
                "the body may be compressed with gzip only",
            ));
        }
    };
    let bytes = body::whole(body, MAX_SENT_BYTES).await?;
    tokio::task::spawn_blocking(move || count_in(&bytes, compressed, path))
        .await
        .map_err(ApiError::internal)?
        .map_err(|error| match error {
            JsonError::TooLarge => ApiError::new(ErrorKind::TooLarge, error.to_string()),
            error => ApiError::bad_request(error.to_string()),
        })
}

fn count_in(bytes: &Bytes, compressed: bool, path: &[&str]) -> Result<u64, JsonError> {
    let source: Box<dyn Read + '_> = if compressed {
        Box::new(GzDecoder::new(bytes.as_ref()))
    } else {
        Box::new(bytes.as_ref())
    };
    json::count_members(source, LIMITS, path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn members_are_counted_compressed_or_not() {
        let bulk = br#"{"left":["1.0.0"],"@acme/right":["1.0.0","2.0.0"]}"#;
        assert_eq!(count_in(&Bytes::from_static(bulk), false, &[]).unwrap(), 2);
        assert_eq!(count_in(&gzip(bulk), true, &[]).unwrap(), 2);
        let tree = br#"{"name":"app","requires":{"a":"1"},"dependencies":{"a":{"dependencies":{}},"b":{}}}"#;
        assert_eq!(count_in(&gzip(tree), true, &["dependencies"]).unwrap(), 2);
        assert_eq!(
            count_in(&Bytes::from_static(b"{}"), false, &["dependencies"]).unwrap(),
            0
        );
    }

    #[test]
    fn bad_bodies_are_refused() {
        let refused = |bytes: Bytes, compressed| count_in(&bytes, compressed, &[]).unwrap_err().to_string();
        assert!(refused(Bytes::from_static(b"[]"), false).contains("not an object"));
        assert!(refused(Bytes::from_static(b"{"), false).contains("malformed"));
        assert!(refused(Bytes::from_static(b"{}"), true).contains("read the document"));
        let bomb = format!("{{\"a\":[{}1]}}", "1,".repeat(20 << 20));
        assert!(refused(gzip(bomb.as_bytes()), true).contains("larger than allowed"));
        assert!(refused(gzip("{\"a\":".repeat(100_000).as_bytes()), true).contains("deeper than 512"));
    }
}
