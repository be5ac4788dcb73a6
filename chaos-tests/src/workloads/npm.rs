//! An npm package of a few versions, whose tags move.

use anyhow::{Context as _, ensure};
use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster::Cluster;

const NAME: &str = "chaos-npm";

fn url(cluster: &Cluster, node: usize, rest: &str) -> String {
    format!("{}/api/v4/projects/1/packages/npm/{rest}", cluster.url(node))
}

/// Publishes a version through a node.
pub async fn publish(cluster: &Cluster, node: usize, version: &str) -> anyhow::Result<()> {
    let file = format!("{NAME}-{version}.tgz");
    let tarball = tarball(version)?;
    let document = json!({
        "_id": NAME,
        "name": NAME,
        "dist-tags": {"latest": version},
        "versions": {version: {
            "name": NAME,
            "version": version,
            "dist": {"tarball": url(cluster, node, &format!("{NAME}/-/{file}"))},
        }},
        "_attachments": {file: {
            "content_type": "application/octet-stream",
            "data": BASE64.encode(&tarball),
            "length": tarball.len(),
        }},
    });
    let request = cluster.http().request(Method::PUT, &url(cluster, node, NAME));
    let published = cluster
        .http()
        .expect_of(request.json(&document), StatusCode::CREATED)
        .await;
    published.with_context(|| format!("publish {version}"))?;
    Ok(())
}

/// Reads the tarball of a version through a node: all of it, byte for byte, or an error.
pub async fn read(cluster: &Cluster, node: usize, version: &str) -> anyhow::Result<()> {
    let url = url(cluster, node, &format!("{NAME}/-/{NAME}-{version}.tgz"));
    let answer = cluster.http().expect(Method::GET, &url, StatusCode::OK).await?;
    ensure!(answer.body == tarball(version)?, "{version} is served wrong");
    Ok(())
}

/// Moves a tag through a node.
pub async fn set_tag(cluster: &Cluster, node: usize, tag: &str, version: &str) -> anyhow::Result<()> {
    let url = url(cluster, node, &format!("-/package/{NAME}/dist-tags/{tag}"));
    let request = cluster.http().request(Method::PUT, &url).json(&version);
    cluster.http().expect_of(request, StatusCode::CREATED).await?;
    Ok(())
}

/// The version a tag names, as a node lists tags.
pub async fn tag(cluster: &Cluster, node: usize, tag: &str) -> anyhow::Result<String> {
    let tags = get(cluster, node, &format!("-/package/{NAME}/dist-tags")).await?;
    text(&tags[tag])
}

/// The version a tag names, as a node's packument has it.
pub async fn tag_in_packument(cluster: &Cluster, node: usize, tag: &str) -> anyhow::Result<String> {
    let packument = get(cluster, node, NAME).await?;
    text(&packument["dist-tags"][tag])
}

async fn get(cluster: &Cluster, node: usize, rest: &str) -> anyhow::Result<Value> {
    let url = url(cluster, node, rest);
    let answer = cluster.http().expect(Method::GET, &url, StatusCode::OK).await?;
    Ok(serde_json::from_slice(&answer.body)?)
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().context("no such tag")?.to_owned())
}

fn tarball(version: &str) -> anyhow::Result<Vec<u8>> {
    let manifest = json!({"name": NAME, "version": version}).to_string();
    let mut header = tar::Header::new_ustar();
    header.set_size(manifest.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    archive.append_data(&mut header, "package/package.json", manifest.as_bytes())?;
    Ok(archive.into_inner()?.finish()?)
}
