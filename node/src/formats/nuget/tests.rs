//! Requests and answers on an in-memory node: every row of the contract, and what a wrong
//! request gets.

mod catalog;
pub(super) mod documents;
mod older;
mod publishing;
mod removal;
mod symbols;
mod versions;
mod warnings;

use serde_json::{Value, json};

use super::artifact::tests::{package_of, package_with, packed, symbols_of};
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/nuget";
const GROUP: &str = "/api/v4/groups/1/-/packages/nuget";
/// What stands before that in documents.
const HOST: &str = "http://cairn.example";

/// The form in which clients send a package.
fn form(content: &[u8]) -> Vec<u8> {
    let head = "--b\r\nContent-Disposition: form-data; name=package; filename=package.nupkg\r\n\
        Content-Type: application/octet-stream\r\n\r\n";
    [head.as_bytes(), content, b"\r\n--b--\r\n"].concat()
}

async fn put_by(node: &TestNode, target: &str, caller: &str, content: &[u8]) -> Answer {
    let request = node.put(target).by(caller);
    let request = request.header("content-type", "multipart/form-data; boundary=\"b\"");
    request.body(form(content)).send().await
}

/// Sends a package to project 1.
async fn put(node: &TestNode, content: &[u8]) -> Answer {
    put_by(node, &format!("{BASE}/v2/package/"), "developer", content).await
}

async fn publish(node: &TestNode, id: &str, version: &str) {
    put(node, &package_of(id, version)).await.expect(201);
}

async fn publish_all(node: &TestNode, id: &str, versions: &[&str]) {
    for version in versions {
        publish(node, id, version).await;
    }
}

/// Publishes `Acme.Hello` 1.0.0 with its symbols to a project, for the table of routes and callers.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let base = format!("/api/v4/projects/{project}/packages/nuget");
    let more = "<icon>images/icon.png</icon><readme>docs/README.md</readme>";
    let package = package_with("Acme.Hello", "1.0.0", more);
    put_by(node, &base, "root", &package).await.expect(201);
    let symbols = symbols_of("Acme.Hello", "1.0.0", [7; 16]);
    let target = format!("{base}/symbolpackage");
    put_by(node, &target, "root", &symbols).await.expect(201);
    let target = format!("{base}/advisories/Acme.Hello/A-1");
    let advisory =
        json!({"affectedVersions": "[1.0,2.0)", "severity": "high", "link": "https://acme.example/1"});
    node.put(target)
        .by("root")
        .json(&advisory)
        .send()
        .await
        .expect(201);
}

async fn get(node: &TestNode, path: &str) -> Answer {
    node.get(format!("{BASE}/{path}")).by("reporter").send().await
}

async fn told(node: &TestNode, path: &str) -> Value {
    get(node, path).await.expect(200).json()
}

/// The texts in a list of JSON.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

/// What the flat container says that there is of a package.
async fn flat(node: &TestNode, id: &str) -> Vec<String> {
    let index = told(node, &format!("download/{id}/index.json")).await;
    texts(&index["versions"]).into_iter().map(Into::into).collect()
}

/// Name and version of each hit of a search.
async fn found(node: &TestNode, query: &str) -> Vec<String> {
    let answer = told(node, &format!("query?{query}")).await;
    let hits = answer["data"].as_array().unwrap().iter();
    hits.map(|hit| {
        format!(
            "{} {}",
            hit["id"].as_str().unwrap(),
            hit["version"].as_str().unwrap()
        )
    })
    .collect()
}

/// Asks for a feed of the older protocol: the versions in it, each with what the clients take for the newest.
async fn feed(node: &TestNode, path: &str) -> Vec<String> {
    let answer = get(node, &format!("v2/{path}")).await.expect(200);
    let mut entries: Vec<String> = Vec::new();
    super::super::xml::each_text(&answer.body, |path, text| {
        match path.strip_prefix("feed/entry/properties/") {
            Some("Id") => entries.push(text.into()),
            Some("Version") => entries.last_mut().unwrap().push_str(&format!(" {text}")),
            Some("IsLatestVersion") if text == "true" => entries.last_mut().unwrap().push_str(" latest"),
            Some("IsAbsoluteLatestVersion") if text == "true" => {
                entries.last_mut().unwrap().push_str(" newest")
            }
            _ => {}
        }
    })
    .unwrap();
    entries
}

/// The numbers of a version and of its files, as the REST API has them.
async fn numbers(node: &TestNode, version: &str) -> (u64, Vec<(u64, String)>) {
    let target = format!("/api/v4/projects/1/packages?package_version={version}");
    let listed = node.get(target).by("reporter").send().await.expect(200).json();
    let id = listed[0]["id"].as_u64().unwrap();
    let target = format!("/api/v4/projects/1/packages/{id}/package_files");
    let files = node.get(target).by("reporter").send().await.expect(200).json();
    let files = files.as_array().unwrap().iter().map(|file| {
        let name = file["file_name"].as_str().unwrap();
        (file["id"].as_u64().unwrap(), name.to_owned())
    });
    (id, files.collect())
}
