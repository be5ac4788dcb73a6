//! Container images as their clients push them.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::content::Content;

/// The repository that everything is pushed to.
pub(super) const REPOSITORY: &str = "/v2/acme/demo/bench";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Layers of the image, which is about the usual.
const LAYERS: u64 = 8;

const LAYER_BYTES: u64 = 10 << 10;

/// An image that was pushed.
pub(super) struct Image {
    /// Its manifest, as pushed.
    pub(super) manifest: Bytes,
    /// The digest of that.
    pub(super) digest: String,
    /// The digest of one of its layers.
    pub(super) layer: String,
}

/// What its manifest says it is.
pub(super) fn media_type() -> &'static str {
    MANIFEST
}

/// The header with which a container client pushes and pulls, after it has signed in.
pub(super) async fn authorization(bench: &Bench) -> anyhow::Result<String> {
    let url = bench.url("/jwt/auth?service=container_registry&scope=repository:acme/demo/bench:pull,push");
    let request = bench
        .client
        .get(url)
        .basic_auth("root", Some(bench.cluster.token()));
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    let token = answer["token"].as_str().context("there is no token")?;
    Ok(format!("Bearer {token}"))
}

/// The path to push a blob to in one request.
pub(super) fn put_path(digest: &str) -> String {
    format!("{REPOSITORY}/blobs/uploads/?digest={digest}")
}

/// Pushes an image of small layers, under the tag `hot`.
pub(super) async fn push(bench: &Bench) -> anyhow::Result<Image> {
    let authorization = authorization(bench).await?;
    let mut layers = Vec::new();
    for number in 0..=LAYERS {
        let content = Content {
            // Far from what others push.
            number: u64::MAX - number,
            size_bytes: LAYER_BYTES,
        };
        let digest = content.digest();
        let body = reqwest::Body::wrap(content.body());
        let request = bench.client.post(bench.url(&put_path(&digest))).body(body);
        let answer = request.header("authorization", &authorization).send().await?;
        ensure!(
            answer.status() == StatusCode::CREATED,
            "a layer is answered with {}",
            answer.status()
        );
        layers.push(digest);
    }
    let layer = layers[0].clone();
    let descriptor = |kind: &str, digest: &String| {
        let media_type = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": media_type, "digest": digest, "size": LAYER_BYTES})
    };
    let config = layers.pop().context("there are layers")?;
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| descriptor("layer.v1.tar+gzip", layer))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("config.v1+json", &config),
        "layers": layers,
    });
    let manifest = Bytes::from(manifest.to_string());
    let url = bench.url(&format!("{REPOSITORY}/manifests/hot"));
    let request = bench
        .client
        .put(url)
        .header("content-type", MANIFEST)
        .body(manifest.clone());
    let answer = request.header("authorization", authorization).send().await?;
    ensure!(
        answer.status() == StatusCode::CREATED,
        "the manifest is answered with {}",
        answer.status()
    );
    let digest = answer.headers().get("docker-content-digest");
    let digest = digest.context("the manifest has no digest")?.to_str()?.to_owned();
    Ok(Image {
        manifest,
        digest,
        layer,
    })
}
