//! Files published by plain HTTP: one version of the package `chaos` each.

use anyhow::{Context as _, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::payload::{Difference, Payload};

const PACKAGES: &str = "/api/v4/projects/1/packages";

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
    let (base, version) = (cluster.url(node), version(number));
    let url = format!("{base}{PACKAGES}/generic/chaos/{version}/file.bin");
    cluster.http().request(method, &url)
}

/// Publishes a file through a node. Whatever else than success it is answered with, it may have
/// been published: a refusal may hide a commit whose answer was lost.
pub async fn publish(cluster: &Cluster, node: usize, file: Payload) -> bool {
    let request = request(cluster, node, Method::PUT, file.number)
        .header(reqwest::header::CONTENT_LENGTH, file.size_bytes)
        .body(file.body(0..file.size_bytes));
    let answer = cluster.http().send(request).await;
    answer.is_some_and(|answer| answer.status == StatusCode::CREATED)
}

/// Deletes the version that holds a file.
pub async fn delete(cluster: &Cluster, node: usize, number: u64) -> anyhow::Result<()> {
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

/// Reads a file through a node. A wrong byte is an error.
pub async fn read(cluster: &Cluster, node: usize, file: Payload) -> anyhow::Result<Read> {
    let answer = match request(cluster, node, Method::GET, file.number).send().await {
        Ok(answer) => answer,
        Err(error) => return Ok(Read::Failed(error.to_string())),
    };
    match answer.status() {
        StatusCode::OK => match file.verify(Box::pin(answer.bytes_stream())).await {
            Ok(()) => Ok(Read::Whole),
            Err(broken @ Difference::BrokenOff { .. }) => Ok(Read::Failed(broken.to_string())),
            Err(wrong) => bail!("node {} serves file {} wrong: {wrong}", node + 1, file.number),
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
) -> anyhow::Result<Read> {
    let request = request(cluster, node, Method::GET, file.number)
        .header("range", format!("bytes={}-{}", range.start, range.end - 1));
    let Some(answer) = cluster.http().send(request).await else {
        return Ok(Read::Failed("the answer broke off".into()));
    };
    match answer.status {
        StatusCode::PARTIAL_CONTENT if answer.body == file.part(range) => Ok(Read::Whole),
        StatusCode::PARTIAL_CONTENT => {
            bail!("node {} serves a range of file {} wrong", node + 1, file.number)
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
