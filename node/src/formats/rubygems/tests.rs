//! Requests and answers on an in-memory node: every row of the contract, and what a wrong request
//! gets.

mod api;
mod attested;
mod indexes;
mod publishing;
mod removal;

use std::io::Read;

use data_encoding::{BASE64, HEXLOWER};
use flate2::read::{GzDecoder, ZlibDecoder};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::artifact::tests::{gem_for, gem_of, gem_with};
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/rubygems";
const GROUP: &str = "/api/v4/groups/1/-/packages/rubygems";
const INSTANCE: &str = "/api/v4/packages/rubygems";

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn md5(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Md5::digest(bytes))
}

/// Pushes a gem to a project.
async fn push_to(node: &TestNode, project: u64, caller: &str, gem: &[u8]) -> Answer {
    let target = format!("/api/v4/projects/{project}/packages/rubygems/api/v1/gems");
    let request = node.post(target).by(caller);
    let request = request.header("content-type", "application/octet-stream");
    request.body(gem.to_vec()).send().await
}

/// Pushes a gem to project 1.
async fn push(node: &TestNode, gem: &[u8]) -> Answer {
    push_to(node, 1, "developer", gem).await
}

async fn publish(node: &TestNode, name: &str, version: &str) {
    push(node, &gem_of(name, version)).await.expect(200);
}

/// Pushes `hello` 1.0.0 to a project, for the table of routes and callers.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    push_to(node, project, "root", &gem_of("hello", "1.0.0"))
        .await
        .expect(200);
}

/// Pushes a gem to project 1 in a form, as Ruby's library for HTTP writes it: what is no file has no type.
async fn push_form(node: &TestNode, fields: &[(&str, &[u8])]) -> Answer {
    const BOUNDARY: &str = "Z6qYx0a-JtWm_Qm3pT1uYw0kZ0v2X8bRrN5eFh7LsCgDjPoKiVnMQw";
    let mut form = Vec::new();
    for (name, content) in fields {
        let more = match *name {
            "gem" => "; filename=\"pkg/acme-1.0.0.gem\"\r\nContent-Type: application/octet-stream",
            _ => "",
        };
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let request = node.post(format!("{BASE}/api/v1/gems")).by("developer");
    let request = request.header("content-type", &content_type);
    request.body(form).send().await
}

async fn get(node: &TestNode, path: &str) -> Answer {
    node.get(format!("{BASE}/{path}")).by("reporter").send().await
}

/// Yanks a version, or takes that back.
async fn yank(node: &TestNode, form: &str, caller: &str) -> Answer {
    let request = node.delete(format!("{BASE}/api/v1/gems/yank")).by(caller);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(form.to_owned()).send().await
}

async fn unyank(node: &TestNode, form: &str) -> Answer {
    let request = node.put(format!("{BASE}/api/v1/gems/unyank")).by("developer");
    request.body(form.to_owned()).send().await
}

/// What stands behind the head of a list.
async fn lines(node: &TestNode, target: String) -> Vec<String> {
    let answer = node.get(target).by("reporter").send().await.expect(200);
    let (_, lines) = answer.text().split_once("---\n").unwrap();
    lines.lines().map(str::to_owned).collect()
}

/// The versions that the document about a gem has.
async fn listed(node: &TestNode, name: &str) -> Vec<String> {
    let lines = lines(node, format!("{BASE}/info/{name}")).await;
    lines
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

/// Makes sure that the last line about each gem in `/versions` has the digest of its document, and
/// that answers say the digests of what they hold.
async fn check_digests(node: &TestNode, base: &str) {
    let versions = node
        .get(format!("{base}/versions"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    check_headers(&versions);
    let (_, lines) = versions.text().split_once("---\n").unwrap();
    let mut last = std::collections::BTreeMap::new();
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        last.insert(words[0], words[2]);
    }
    for (name, digest) in last {
        let info = node
            .get(format!("{base}/info/{name}"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        check_headers(&info);
        assert_eq!(md5(&info.body), digest, "{name}");
    }
}

fn check_headers(answer: &Answer) {
    assert_eq!(answer.header("etag"), format!("\"{}\"", md5(&answer.body)));
    let sha256 = BASE64.encode(&Sha256::digest(&answer.body));
    assert_eq!(answer.header("repr-digest"), format!("sha-256=:{sha256}:"));
    assert_eq!(answer.header("digest"), format!("sha-256={sha256}"));
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    ZlibDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

fn holds(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// Names and versions in a Marshal index.
async fn specs(node: &TestNode, base: &str, name: &str) -> Vec<u8> {
    let request = node.get(format!("{base}/{name}.4.8.gz")).by("reporter");
    let answer = request.send().await.expect(200);
    let plain = node.get(format!("{base}/{name}.4.8")).by("reporter").send().await;
    let unpacked = gunzipped(&answer.body);
    assert_eq!(unpacked, plain.expect(200).body);
    unpacked
}
