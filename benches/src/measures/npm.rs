//! How many packuments and tarballs a second.

use std::io::Write as _;

use anyhow::{Context as _, ensure};
use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::bench::{Bench, Get};
use crate::content::Content;
use crate::table::Aim;

const PACKAGE: &str = "/api/v4/projects/1/packages/npm/bench";

/// What clients accept when they install.
const INSTALLING: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*";

/// The size of what is in a tarball.
const CONTENT_BYTES: u64 = 20 << 10;

const CONNECTIONS: usize = 64;

/// Which part of what a bare handler does a hot packument should come to.
const AIM: Aim = Aim::Ratio(0.5);

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for version in 0..bench.scale.versions {
        publish(bench, version).await?;
    }
    let authorization = format!("Bearer {}", bench.cluster.token());
    let etag = etag(bench, &authorization).await?;
    let tarball = format!("{PACKAGE}/-/bench-1.0.0.tgz");
    let base = [("authorization", authorization.as_str()), ("accept", INSTALLING)];
    let with = |name, value| [base.as_slice(), &[(name, value)]].concat();
    let get = |what: &str, target, headers, expected, aim| Get {
        what: format!("npm {what}, {CONNECTIONS} connections"),
        target,
        headers,
        connections: CONNECTIONS,
        expected,
        aim,
    };
    let (ok, not_modified) = (StatusCode::OK, StatusCode::NOT_MODIFIED);
    let plain = get("packument, hot", PACKAGE, &base, ok, Some(AIM));
    bench.compare(plain).await?;
    let compressed = with("accept-encoding", "gzip");
    bench
        .compare(get("packument, hot, gzip", PACKAGE, &compressed, ok, Some(AIM)))
        .await?;
    let unchanged = with("if-none-match", &etag);
    bench
        .compare(get(
            "packument, not modified",
            PACKAGE,
            &unchanged,
            not_modified,
            None,
        ))
        .await?;
    bench
        .compare(get("tarball of 20 KiB", &tarball, &base, ok, None))
        .await
}

async fn etag(bench: &Bench, authorization: &str) -> anyhow::Result<String> {
    let request = bench.client.get(bench.url(PACKAGE)).header("accept", INSTALLING);
    let answer = request.header("authorization", authorization).send().await?;
    let etag = answer.error_for_status()?.headers().get("etag").cloned();
    Ok(etag
        .context("the packument has no entity tag")?
        .to_str()?
        .to_owned())
}

/// What `npm publish` sends for a package like many.
async fn publish(bench: &Bench, number: usize) -> anyhow::Result<()> {
    let version = format!("1.{number}.0");
    let dependencies: serde_json::Map<String, Value> = (0..12)
        .map(|at| {
            (
                format!("@acme/dependency-{at}"),
                json!(format!("^{at}.{number}.0")),
            )
        })
        .collect();
    let manifest = json!({
        "name": "bench", "version": version, "description": "what is measured", "main": "index.js",
        "license": "MIT", "engines": {"node": ">=18"}, "dependencies": dependencies,
        "scripts": {"test": "node test.js"},
    });
    let tarball = tarball(&manifest, number as u64)?;
    let document = json!({
        "_id": "bench", "name": "bench", "dist-tags": {"latest": version},
        "versions": {version.clone(): manifest},
        "_attachments": {format!("bench-{version}.tgz"): {
            "content_type": "application/octet-stream",
            "data": BASE64.encode(&tarball),
            "length": tarball.len(),
        }},
    });
    let request = bench.client.put(bench.url(PACKAGE)).json(&document);
    let answer = request.bearer_auth(bench.cluster.token()).send().await?;
    let status = answer.status();
    ensure!(
        status.is_success(),
        "a publish is answered with {status}: {}",
        answer.text().await?
    );
    Ok(())
}

/// A tarball of one package, that no other number gives.
pub(super) fn tarball(manifest: &Value, number: u64) -> anyhow::Result<Vec<u8>> {
    let content = Content {
        // Far from what others store.
        number: u64::MAX / 2 + number,
        size_bytes: CONTENT_BYTES,
    };
    let mut archive = tar::Builder::new(Vec::new());
    let files = [
        ("package/package.json", manifest.to_string().into_bytes()),
        ("package/index.js", content.bytes()),
    ];
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
    compressed.write_all(&archive.into_inner()?)?;
    Ok(compressed.finish()?)
}
