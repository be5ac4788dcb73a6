//! Requests and answers on an in-memory node: every row of the contract, and what a wrong
//! request gets.

mod accounts;
mod audits;
mod changes;
mod packuments;
mod people;
mod places;
mod publishing;

use axum::http::Method;
use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha512;

use super::artifact::tests::{tarball, tarball_with};
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/npm";
const ABBREVIATED: &str = "application/vnd.npm.install-v1+json";

/// What a client accepts when it installs.
const INSTALLING: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*";

/// A version to be published, and what is sent for it.
struct Draft {
    name: String,
    version: String,
    tag: String,
    manifest: Value,
    packed: Value,
    content: Vec<u8>,
}

impl Draft {
    fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            tag: "latest".into(),
            manifest: json!({}),
            packed: json!({}),
            content: version.as_bytes().to_vec(),
        }
    }

    fn tag(mut self, tag: &str) -> Self {
        self.tag = tag.into();
        self
    }

    /// Adds to the manifest and to the `package.json` in the tarball.
    fn with(mut self, members: Value) -> Self {
        for target in [&mut self.manifest, &mut self.packed] {
            target
                .as_object_mut()
                .unwrap()
                .extend(members.as_object().unwrap().clone());
        }
        self
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.content = content.to_vec();
        self
    }

    fn identity(&self, more: &Value) -> Value {
        let mut members = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("version".to_owned(), json!(self.version)),
        ]);
        members.extend(more.as_object().unwrap().clone());
        Value::Object(members)
    }

    fn tarball(&self) -> Vec<u8> {
        tarball_with(&self.identity(&self.packed).to_string(), &self.content)
    }

    /// The document that npm sends.
    fn document(&self) -> Value {
        let tarball = self.tarball();
        let mut manifest = self.identity(&self.manifest);
        manifest["dist"] = json!({
            "shasum": hex(&Sha1::digest(&tarball)),
            "integrity": format!("sha512-{}", BASE64.encode(&Sha512::digest(&tarball))),
            "tarball": format!("http://elsewhere.example/{}/-/{}", self.name, self.file()),
        });
        json!({
            "_id": self.name,
            "name": self.name,
            "description": "a package",
            "dist-tags": {self.tag.clone(): self.version},
            "versions": {self.version.clone(): manifest},
            "access": null,
            "_attachments": {self.file(): {
                "content_type": "application/octet-stream",
                "data": BASE64.encode(&tarball),
                "length": tarball.len(),
            }},
        })
    }

    /// The name of the attachment.
    fn file(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// Where the package is, as npm writes it.
    fn path(&self) -> String {
        path(&self.name)
    }

    async fn publish(&self, node: &TestNode) -> Answer {
        self.publish_by(node, "developer").await
    }

    async fn publish_by(&self, node: &TestNode, caller: &str) -> Answer {
        node.put(self.path())
            .by(caller)
            .json(&self.document())
            .send()
            .await
    }
}

/// The document that npm sends to publish a version.
pub(crate) fn document(name: &str, version: &str) -> Value {
    Draft::new(name, version).document()
}

/// Publishes `hello` 1.0.0 to a project, and the advisory `A-1` on it.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let target = format!("/api/v4/projects/{project}/packages/npm/hello");
    let document = Draft::new("hello", "1.0.0").document();
    node.put(target)
        .by("root")
        .json(&document)
        .send()
        .await
        .expect(201);
    let target = format!("/api/v4/projects/{project}/packages/npm/-/advisories/hello/A-1");
    let advisory = json!({"title": "x", "affectedVersions": "*", "severity": "low"});
    node.put(target)
        .by("root")
        .json(&advisory)
        .send()
        .await
        .expect(201);
}

fn path(name: &str) -> String {
    format!("{BASE}/{}", name.replace('/', "%2f"))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

async fn full(node: &TestNode, name: &str) -> Value {
    node.get(path(name))
        .by("reporter")
        .send()
        .await
        .expect(200)
        .json()
}

async fn abbreviated(node: &TestNode, name: &str) -> Value {
    let request = node.get(path(name)).by("reporter").header("accept", INSTALLING);
    request.send().await.expect(200).json()
}

async fn revision(node: &TestNode, name: &str) -> String {
    full(node, name).await["_rev"].as_str().unwrap().to_owned()
}

fn versions(packument: &Value) -> Vec<&String> {
    packument["versions"].as_object().unwrap().keys().collect()
}
