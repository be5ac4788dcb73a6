//! Files published by plain HTTP: one version of the package `chaos` each. And names of the package
//! `contest`, under which several publish at the same time.

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::invariants::{Violation, verified};
use crate::payload::Payload;

const PACKAGES: &str = "/api/v4/projects/1/packages";

/// From this number on, a file has the content of the one whose number is so much smaller: the
/// same blob, under two names.
pub const TWINS: u64 = 1 << 40;

/// The content of a file.
fn content(file: Payload) -> Payload {
    Payload {
        number: file.number % TWINS,
        ..file
    }
}

/// What a node said when it was asked for a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// All of it, byte for byte.
    Whole,
    /// There is no such file.
    Absent,
    /// Something else than success, or an answer that broke off: the client knows that it has
    /// nothing.
    Failed(String),
}

fn version(number: u64) -> String {
    format!("1.0.{number}")
}

fn request(cluster: &Cluster, node: usize, method: Method, number: u64) -> RequestBuilder {
    request_of(cluster, node, method, "chaos", number)
}

fn request_of(cluster: &Cluster, node: usize, method: Method, package: &str, number: u64) -> RequestBuilder {
    let (base, version) = (cluster.url(node), version(number));
    let url = format!("{base}{PACKAGES}/generic/{package}/{version}/file.bin");
    cluster.http().request(method, &url)
}

/// Has other content under a name that is taken be refused, as few projects want it otherwise.
pub async fn refuse_duplicates(cluster: &Cluster) -> anyhow::Result<()> {
    let url = format!("{}/api/v4/projects/1/packages/settings", cluster.url(0));
    let settings = serde_json::json!({ "generic_duplicates": "forbid-same-content-ok" });
    let request = cluster.http().request(Method::PUT, &url).json(&settings);
    cluster.http().expect_of(request, StatusCode::OK).await?;
    Ok(())
}

/// Has what is deleted be gone at once, so that its space comes back while somebody looks.
pub async fn delete_finally(cluster: &Cluster) -> anyhow::Result<()> {
    let url = format!("{}/api/cairn/v1/undelete", cluster.url(0));
    let window = serde_json::json!({ "days": 0 });
    let request = cluster.http().request(Method::PUT, &url).json(&window);
    cluster.http().expect_of(request, StatusCode::OK).await?;
    Ok(())
}

/// Publishes under a name for which others contend. Says whether that was acknowledged.
pub async fn contend(cluster: &Cluster, node: usize, name: u64, content: Payload) -> bool {
    let request = request_of(cluster, node, Method::PUT, "contest", name);
    let request = request.body(content.part(0..content.size_bytes));
    let answer = cluster.http().send(request).await;
    answer.is_some_and(|answer| answer.status == StatusCode::CREATED)
}

/// What a node serves under a name for which several have contended: one of these contents, or
/// nothing. None if it does not tell.
pub async fn winner(
    cluster: &Cluster,
    node: usize,
    name: u64,
    contents: &[Payload],
) -> Result<Option<Option<Payload>>, Violation> {
    let request = request_of(cluster, node, Method::GET, "contest", name);
    let Some(answer) = cluster.http().send(request).await else {
        return Ok(None);
    };
    match answer.status {
        StatusCode::OK => {
            let is_served = |content: &&Payload| answer.body == content.part(0..content.size_bytes);
            match contents.iter().find(is_served) {
                Some(content) => Ok(Some(Some(*content))),
                None => Err(verified::wrong(
                    &format!("the name {name}"),
                    node,
                    "nobody published that",
                )),
            }
        }
        StatusCode::NOT_FOUND => Ok(Some(None)),
        _ => Ok(None),
    }
}

/// Publishes a file through a node. Whatever else than success it is answered with, it may have
/// been published: a refusal may hide a commit whose answer was lost.
pub async fn publish(cluster: &Cluster, node: usize, file: Payload) -> bool {
    let request = request(cluster, node, Method::PUT, file.number)
        .header(reqwest::header::CONTENT_LENGTH, file.size_bytes)
        .body(content(file).body(0..file.size_bytes));
    let answer = cluster.http().send(request).await;
    answer.is_some_and(|answer| answer.status == StatusCode::CREATED)
}

/// Deletes the version that holds a file.
pub async fn delete_version(cluster: &Cluster, node: usize, number: u64) -> anyhow::Result<()> {
    let version = version(number);
    let base = format!("{}{PACKAGES}", cluster.url(node));
    let url = format!("{base}?package_name=chaos&package_version={version}");
    let http = cluster.http();
    let found = http.expect(Method::GET, &url, StatusCode::OK).await?;
    let found: Vec<Value> = serde_json::from_slice(&found.body)?;
    let id = &found.first().context("no such version")?["id"];
    http.expect(Method::DELETE, &format!("{base}/{id}"), StatusCode::NO_CONTENT)
        .await?;
    Ok(())
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It was acknowledged.
    Done,
    /// There is no such file.
    Absent,
    /// Nobody knows.
    Unknown,
}

/// Deletes a file through a node.
pub async fn delete(cluster: &Cluster, node: usize, file: Payload) -> Deletion {
    let request = request(cluster, node, Method::DELETE, file.number);
    match cluster.http().send(request).await.map(|answer| answer.status) {
        Some(StatusCode::NO_CONTENT) => Deletion::Done,
        Some(StatusCode::NOT_FOUND) => Deletion::Absent,
        _ => Deletion::Unknown,
    }
}

/// Reads a file through a node. A wrong byte is an error.
pub async fn read(cluster: &Cluster, node: usize, file: Payload) -> Result<Read, Violation> {
    let answer = match request(cluster, node, Method::GET, file.number).send().await {
        Ok(answer) => answer,
        Err(error) => return Ok(Read::Failed(error.to_string())),
    };
    match answer.status() {
        StatusCode::OK => match content(file).verify(Box::pin(answer.bytes_stream())).await {
            Ok(()) => Ok(Read::Whole),
            Err(difference) => {
                let what = format!("file {}", file.number);
                verified::judge(&what, node, difference).map(Read::Failed)
            }
        },
        StatusCode::NOT_FOUND => Ok(Read::Absent),
        status => Ok(Read::Failed(status.to_string())),
    }
}

/// Reads a range of a file through a node: the bytes and nothing else, or a failure.
pub async fn read_range(
    cluster: &Cluster,
    node: usize,
    file: Payload,
    range: std::ops::Range<u64>,
) -> Result<Read, Violation> {
    let request = request(cluster, node, Method::GET, file.number)
        .header("range", format!("bytes={}-{}", range.start, range.end - 1));
    let Some(answer) = cluster.http().send(request).await else {
        return Ok(Read::Failed("the answer broke off".into()));
    };
    match answer.status {
        StatusCode::PARTIAL_CONTENT if answer.body == content(file).part(range) => Ok(Read::Whole),
        StatusCode::PARTIAL_CONTENT => {
            let what = format!("a range of file {}", file.number);
            Err(verified::wrong(&what, node, "other bytes"))
        }
        StatusCode::NOT_FOUND => Ok(Read::Absent),
        status => Ok(Read::Failed(status.to_string())),
    }
}

/// The number of the file that was published last, as a node lists it.
pub async fn newest(cluster: &Cluster, node: usize) -> anyhow::Result<u64> {
    let url = format!(
        "{}{PACKAGES}?order_by=created_at&sort=desc&per_page=1&package_type=generic",
        cluster.url(node)
    );
    let answer = cluster.http().expect(Method::GET, &url, StatusCode::OK).await?;
    let list: Value = serde_json::from_slice(&answer.body)?;
    let version = list[0]["version"].as_str().context("an empty list")?;
    let number = version
        .strip_prefix("1.0.")
        .context("a version of somebody else")?;
    Ok(number.parse()?)
}
