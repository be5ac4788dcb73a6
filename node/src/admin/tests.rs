//! Requests and answers of the REST API.

mod audit;
mod cleanup;
mod deleted;
mod document;
mod downloads;
mod packages;
mod people;
mod protection;
mod quotas;
mod rights;
mod tokens;
mod tree;
mod usage;

use serde_json::{Value, json};

use crate::testing::{Answer, TestNode};

async fn publish(node: &TestNode, project: u64, path: &str) -> Answer {
    let target = format!("/api/v4/projects/{project}/packages/generic/{path}");
    node.put(target).by("root").body("bytes").send().await.expect(201)
}

fn ids(answer: &Answer) -> Vec<u64> {
    let rows = answer.json();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_u64().unwrap())
        .collect()
}

fn names(answer: &Answer, field: &str) -> Vec<String> {
    let rows = answer.json();
    let text = |row: &Value| row[field].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(text).collect()
}
