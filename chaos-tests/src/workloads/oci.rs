//! An image repository: blobs pushed in chunks, each to any node, and tags that move.

use anyhow::{Context as _, bail, ensure};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::generic::Read;
use crate::cluster::Cluster;
use crate::invariants::{Violation, verified};
use crate::payload::Payload;

const REPOSITORY: &str = "/v2/acme/demo/chaos";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EMPTY_DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn url(cluster: &Cluster, node: usize, rest: &str) -> String {
    format!("{}{REPOSITORY}/{rest}", cluster.url(node))
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// After so many bytes.
    At(u64),
    /// There is no such upload, or no longer.
    Unknown,
}

/// An upload under way. Each step may go through another node.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The path on every node.
    path: String,
}

impl Upload {
    /// Begins an upload.
    pub async fn begin(cluster: &Cluster, node: usize) -> anyhow::Result<Self> {
        let url = url(cluster, node, "blobs/uploads/");
        let answer = cluster
            .http()
            .expect(Method::POST, &url, StatusCode::ACCEPTED)
            .await?;
        let path = answer.header("location")?.to_owned();
        ensure!(path.starts_with('/'), "the upload is bound to a node: {path}");
        Ok(Self { path })
    }

    fn url(&self, cluster: &Cluster, node: usize) -> String {
        format!("{}{}", cluster.url(node), self.path)
    }

    /// Sends the chunk at an offset. Gives the offset after it, if it was acknowledged.
    pub async fn append(
        &self,
        cluster: &Cluster,
        node: usize,
        blob: Payload,
        chunk: std::ops::Range<u64>,
    ) -> anyhow::Result<Option<u64>> {
        let request = cluster
            .http()
            .request(Method::PATCH, &self.url(cluster, node))
            .header("content-range", format!("{}-{}", chunk.start, chunk.end - 1))
            .header("content-length", chunk.end - chunk.start)
            .body(blob.body(chunk));
        match cluster.http().send(request).await {
            Some(answer) if answer.status == StatusCode::ACCEPTED => {
                Ok(Some(offset(answer.header("range")?)?))
            }
            _ => Ok(None),
        }
    }

    /// Where the upload stands, as a node sees it.
    pub async fn offset(&self, cluster: &Cluster, node: usize) -> anyhow::Result<u64> {
        match self.stands(cluster, node).await? {
            Stands::At(offset) => Ok(offset),
            Stands::Unknown => bail!("node {} does not know the upload", node + 1),
        }
    }

    /// Where the upload stands, as a node sees it, if it knows of the upload.
    pub async fn stands(&self, cluster: &Cluster, node: usize) -> anyhow::Result<Stands> {
        let request = cluster.http().request(Method::GET, &self.url(cluster, node));
        let answer = cluster.http().send(request).await.context("no answer")?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(Stands::At(offset(answer.header("range")?)?)),
            StatusCode::NOT_FOUND => Ok(Stands::Unknown),
            status => bail!("answered {status}"),
        }
    }

    /// Ends the upload: the repository holds the blob then.
    pub async fn finish(&self, cluster: &Cluster, node: usize, digest: &str) -> anyhow::Result<()> {
        let url = format!("{}?digest={digest}", self.url(cluster, node));
        let answer = cluster
            .http()
            .expect(Method::PUT, &url, StatusCode::CREATED)
            .await?;
        let told = answer.header("docker-content-digest")?;
        ensure!(told == digest, "the blob came to be {told}");
        Ok(())
    }
}

/// How many bytes there are, from the range of those that are. Nothing is written as 0-0, as a
/// single byte is; no chunk here is so short.
fn offset(range: &str) -> anyhow::Result<u64> {
    let last = range
        .strip_prefix("0-")
        .context("a range that does not begin at 0")?;
    Ok(match last.parse()? {
        0 => 0,
        last => last + 1,
    })
}

/// Reads a blob through a node: all of it, byte for byte, or an error.
pub async fn read(cluster: &Cluster, node: usize, blob: Payload, digest: &str) -> anyhow::Result<()> {
    let read = find(cluster, node, blob, digest).await?;
    ensure!(
        read == Read::Whole,
        "node {} says of blob {}: {read:?}",
        node + 1,
        blob.number
    );
    Ok(())
}

/// Reads a blob through a node. A wrong byte is an error.
pub async fn find(cluster: &Cluster, node: usize, blob: Payload, digest: &str) -> Result<Read, Violation> {
    let url = url(cluster, node, &format!("blobs/{digest}"));
    let answer = match cluster.http().request(Method::GET, &url).send().await {
        Ok(answer) => answer,
        Err(error) => return Ok(Read::Failed(error.to_string())),
    };
    match answer.status() {
        StatusCode::OK => match blob.verify(Box::pin(answer.bytes_stream())).await {
            Ok(()) => Ok(Read::Whole),
            Err(difference) => {
                let what = format!("blob {}", blob.number);
                verified::judge(&what, node, difference).map(Read::Failed)
            }
        },
        StatusCode::NOT_FOUND => Ok(Read::Absent),
        status => Ok(Read::Failed(status.to_string())),
    }
}

/// Deletes a blob through a node. Whatever comes of it, nobody asks for the blob any more.
pub async fn delete(cluster: &Cluster, node: usize, digest: &str) -> bool {
    let url = url(cluster, node, &format!("blobs/{digest}"));
    let request = cluster.http().request(Method::DELETE, &url);
    let answer = cluster.http().send(request).await;
    answer.is_some_and(|answer| answer.status == StatusCode::ACCEPTED)
}

/// Pushes what every manifest here names.
pub async fn push_config(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    let url = url(cluster, node, &format!("blobs/uploads/?digest={EMPTY_DIGEST}"));
    let request = cluster.http().request(Method::POST, &url).body("{}");
    cluster.http().expect_of(request, StatusCode::CREATED).await?;
    Ok(())
}

/// Pushes a manifest of its own for each number, and moves a tag to it.
pub async fn set_tag(cluster: &Cluster, node: usize, tag: &str, number: u64) -> anyhow::Result<()> {
    let url = url(cluster, node, &format!("manifests/{tag}"));
    let request = cluster.http().request(Method::PUT, &url);
    let request = request.header(CONTENT_TYPE, MANIFEST).body(manifest(number));
    cluster.http().expect_of(request, StatusCode::CREATED).await?;
    Ok(())
}

/// The number of the manifest that a tag names, if there is such a tag, as a node serves it. None
/// if it does not tell.
pub async fn find_tag(cluster: &Cluster, node: usize, tag: &str) -> Result<Option<Option<u64>>, Violation> {
    let url = url(cluster, node, &format!("manifests/{tag}"));
    let request = cluster
        .http()
        .request(Method::GET, &url)
        .header("accept", MANIFEST);
    let Some(answer) = cluster.http().send(request).await else {
        return Ok(None);
    };
    match answer.status {
        StatusCode::OK => match number(&answer.body) {
            Some(number) => Ok(Some(Some(number))),
            None => Err(verified::wrong(
                &format!("the manifest of {tag}"),
                node,
                "nobody pushed that",
            )),
        },
        StatusCode::NOT_FOUND => Ok(Some(None)),
        _ => Ok(None),
    }
}

/// The number of a manifest, if it is one of those here, byte for byte.
fn number(body: &[u8]) -> Option<u64> {
    let parsed: serde_json::Value = serde_json::from_slice(body).ok()?;
    let number = parsed["annotations"]["number"].as_str()?.parse().ok()?;
    (body == manifest(number).as_bytes()).then_some(number)
}

/// Fails unless the tag names the manifest with this number, as a node serves it.
pub async fn expect_tag(cluster: &Cluster, node: usize, tag: &str, number: u64) -> anyhow::Result<()> {
    let url = url(cluster, node, &format!("manifests/{tag}"));
    let request = cluster
        .http()
        .request(Method::GET, &url)
        .header("accept", MANIFEST);
    let answer = cluster.http().expect_of(request, StatusCode::OK).await?;
    ensure!(
        answer.body == manifest(number),
        "{tag} should be manifest {number} on node {}, and is {}",
        node + 1,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(())
}

fn manifest(number: u64) -> String {
    let empty = json!({"mediaType": EMPTY, "digest": EMPTY_DIGEST, "size": 2});
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.cairn.chaos",
        "config": empty,
        "layers": [empty],
        "annotations": {"number": number.to_string()},
    })
    .to_string()
}
