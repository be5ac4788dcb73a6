//! Requests and answers on an in-memory node: every row of the contract, and what a wrong request gets.

mod layouts;
mod metadata;
mod places;
mod policies;
mod publishing;
mod removal;
mod snapshots;

use data_encoding::HEXLOWER;
use sha1::{Digest, Sha1};

use crate::formats::xml;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/maven";
const GROUP: &str = "/api/v4/groups/1/-/packages/maven";
const INSTANCE: &str = "/api/v4/packages/maven";
const PACKAGES: &str = "/api/v4/projects/1/packages";

/// What the rows of the route matrix ask for.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let base = format!("/api/v4/projects/{project}/packages/maven/org/acme/lib/1.0");
    for (file, content) in [("lib-1.0.jar", "bytes"), ("lib-1.0.pom", "<project/>")] {
        let request = node.put(format!("{base}/{file}")).by("root");
        request.body(content).send().await.expect(201);
    }
}

async fn put(node: &TestNode, path: &str, body: impl Into<axum::body::Body>) -> Answer {
    let request = node.put(format!("{BASE}/{path}")).by("developer");
    request.body(body).send().await
}

async fn get(node: &TestNode, path: &str) -> Answer {
    node.get(format!("{BASE}/{path}")).by("reporter").send().await
}

async fn delete(node: &TestNode, path: &str) -> Answer {
    node.delete(format!("{BASE}/{path}"))
        .by("maintainer")
        .send()
        .await
}

/// Publishes a release of `org.acme:NAME` as mvn does: JAR, digests, POM, digests.
async fn release(node: &TestNode, name: &str, version: &str) {
    let stem = format!("org/acme/{name}/{version}/{name}-{version}");
    for (end, content) in [("jar", format!("{name} {version}")), ("pom", pom(name, version))] {
        put(node, &format!("{stem}.{end}"), content.clone())
            .await
            .expect(201);
        put(node, &format!("{stem}.{end}.sha1"), sha1(content.as_bytes()))
            .await
            .expect(201);
    }
}

fn pom(name: &str, version: &str) -> String {
    format!(
        "<project><groupId>org.acme</groupId><artifactId>{name}</artifactId><version>{version}</version></project>"
    )
}

fn sha1(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha1::digest(bytes))
}

/// The texts of a document at one path.
fn texts(document: &Answer, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    xml::each_text(&document.body, |at, text| {
        if at == format!("metadata/{path}") {
            found.push(text.to_owned());
        }
    })
    .unwrap();
    found
}

/// The versions that the metadata of an artifact list.
async fn versions(node: &TestNode, base: &str, artifact: &str) -> Vec<String> {
    let path = format!("{base}/{artifact}/maven-metadata.xml");
    let metadata = node.get(path).by("reporter").send().await;
    match metadata.status {
        404 => Vec::new(),
        _ => texts(&metadata.expect(200), "versioning/versions/version"),
    }
}

/// The numbers of the versions of a project in the REST API.
async fn ids(node: &TestNode) -> Vec<(String, u64)> {
    let listed = node
        .get(format!("{PACKAGES}?order_by=version"))
        .by("reporter")
        .send()
        .await
        .json();
    let listed = listed.as_array().unwrap().iter();
    listed
        .map(|package| {
            let version = package["version"].as_str().unwrap().to_owned();
            (version, package["id"].as_u64().unwrap())
        })
        .collect()
}

/// The names that a listing links to.
fn links(listing: &Answer) -> Vec<String> {
    let lines = listing
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("<a href=\""));
    let links = lines.filter_map(|line| Some(line.split_once('"')?.0.to_owned()));
    links.filter(|link| link != "../").collect()
}
