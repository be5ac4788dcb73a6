//! Requests and answers on an in-memory node: every row of the contract, and what a wrong request gets.

mod advisories;
mod documents;
mod lists;
mod places;
mod publishing;
mod removal;

use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::artifact::tests::{package, package_with, zip};
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/composer";
const GROUP: &str = "/api/v4/groups/acme/-/packages/composer";
const INSTANCE: &str = "/api/v4/packages/composer";

/// Publishes `acme/hello` 1.0.0, with an advisory on it, to a project, for the table of routes and callers.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let base = format!("/api/v4/projects/{project}/packages/composer");
    let request = node.put(&base).by("root").body(package("acme/hello", "1.0.0"));
    request.send().await.expect(201);
    let advisory = json!({"title": "x", "affectedVersions": "*"});
    let request = node.put(format!("{base}/advisories/acme/hello/A-1")).by("root");
    request.json(&advisory).send().await.expect(201);
}

fn sha1(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha1::digest(bytes))
}

/// Sends an archive to project 1, with a query.
async fn send(node: &TestNode, caller: &str, query: &str, archive: &[u8]) -> Answer {
    let request = node.put(format!("{BASE}{query}")).by(caller);
    request.body(archive.to_vec()).send().await
}

async fn publish(node: &TestNode, name: &str, version: &str) -> Value {
    send(node, "developer", "", &package(name, version))
        .await
        .expect(201)
        .json()
}

async fn get(node: &TestNode, path: &str) -> Answer {
    get_at(node, BASE, path).await
}

async fn get_at(node: &TestNode, base: &str, path: &str) -> Answer {
    node.get(format!("{base}/{path}")).by("reporter").send().await
}

/// The versions of a package in one of its documents, by what it says of each.
async fn shown(node: &TestNode, document: &str) -> Vec<Value> {
    let name = document.trim_end_matches("~dev").to_owned();
    let document = get(node, &format!("p2/{document}.json")).await.expect(200).json();
    document["packages"][&name].as_array().unwrap().clone()
}

async fn versions(node: &TestNode, document: &str) -> Vec<String> {
    let shown = shown(node, document).await;
    shown
        .iter()
        .map(|version| version["version"].as_str().unwrap().to_owned())
        .collect()
}

/// The path of the URL of a version's archive.
fn dist(version: &Value) -> String {
    let url = version["dist"]["url"]
        .as_str()
        .unwrap_or_else(|| panic!("{version}"));
    url.trim_start_matches("http://cairn.example").to_owned()
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap().to_owned()
}

/// A package with other content than [`package`] has.
fn other(name: &str, version: &str) -> Vec<u8> {
    package_with(name, version, json!({"homepage": "https://other.example"}))
}
