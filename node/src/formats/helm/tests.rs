//! Requests and answers on an in-memory node: every row of the contract, and what a wrong
//! request gets.

mod lists;
mod publishing;
mod removal;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::artifact::tests::{chart_of, chart_with};
use super::provenance::tests::provenance;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/helm";
const GROUP: &str = "/api/v4/groups/1/-/packages/helm";
const INSTANCE: &str = "/api/v4/packages/helm";

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// A form of these fields, each a file.
fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, content) in fields {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--b--\r\n");
    form
}

async fn send_form(node: &TestNode, target: &str, caller: &str, fields: &[(&str, &[u8])]) -> Answer {
    let request = node.post(target).by(caller);
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    request.body(form(fields)).send().await
}

/// Publishes bytes to the channel `stable` of project 1.
async fn post(node: &TestNode, chart: &[u8]) -> Answer {
    post_to(node, &format!("{BASE}/api/stable/charts"), chart).await
}

async fn post_to(node: &TestNode, target: &str, chart: &[u8]) -> Answer {
    node.post(target)
        .by("developer")
        .body(chart.to_vec())
        .send()
        .await
}

async fn publish(node: &TestNode, name: &str, version: &str) {
    post(node, &chart_of(name, version)).await.expect(201);
}

/// Publishes `hello` 1.0.0 with its provenance to the channel `stable` of a project, for the table
/// of routes and callers.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let target = format!("/api/v4/projects/{project}/packages/helm/api/stable/charts");
    let chart = chart_of("hello", "1.0.0");
    let signed = provenance("hello", "1.0.0", &sha256(&chart));
    let fields = [("chart", chart.as_slice()), ("prov", signed.as_bytes())];
    send_form(node, &target, "root", &fields).await.expect(201);
}

async fn get(node: &TestNode, path: &str) -> Answer {
    node.get(format!("{BASE}/{path}")).by("reporter").send().await
}

async fn index(node: &TestNode, base: &str, channel: &str) -> Value {
    let answer = node.get(format!("{base}/{channel}/index.yaml")).by("reporter");
    answer.send().await.expect(200).json()
}

/// Chart and version of each entry of an index, in its order.
fn entries(index: &Value) -> Vec<String> {
    let charts = index["entries"].as_object().unwrap().iter();
    let versions = charts.flat_map(|(name, versions)| {
        let versions = versions.as_array().unwrap().iter();
        versions.map(move |entry| format!("{name} {}", entry["version"].as_str().unwrap()))
    });
    versions.collect()
}

fn error(answer: &Answer) -> String {
    answer.json()["error"].as_str().unwrap().to_owned()
}
