//! Requests and answers on an in-memory node: every row of the contract, and what a wrong request gets.

pub(super) mod documents;
mod places;
mod publishing;
mod removal;
mod sessions;
mod unrevised;

use cairn_cluster::Scan;
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha1::Sha1;

use super::records::Keys;
use crate::registry::fixture;
use crate::testing::archives::tar_gz;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/conan";
const GROUP: &str = "/api/v4/groups/1/-/packages/conan";
const INSTANCE: &str = "/api/v4/packages/conan";

/// A package id.
const ID: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

const INFO: &str =
    "[settings]\narch=x86_64\nos=Linux\n[options]\nshared=False\n[requires]\nzlib/1.3\n[recipe_hash]\nabc\n";

fn md5(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Md5::digest(bytes))
}

fn sha1(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha1::digest(bytes))
}

fn manifest(time: u64, files: &[(&str, &[u8])]) -> String {
    let lines = files
        .iter()
        .map(|(path, content)| format!("{path}: {}\n", md5(content)));
    format!("{time}\n{}", lines.collect::<String>())
}

/// What of a reference is sent.
#[derive(Clone)]
struct Files(Vec<(String, Vec<u8>)>);

/// A recipe of this text.
fn recipe(text: &str) -> Files {
    let manifest = manifest(1, &[("conanfile.py", text.as_bytes())]);
    Files(vec![
        ("conan_export.tgz".into(), tar_gz(&[("conandata.yml", text)])),
        ("conanfile.py".into(), text.into()),
        ("conanmanifest.txt".into(), manifest.into()),
    ])
}

/// A binary that holds this text.
fn package(text: &str) -> Files {
    let files: [(&str, &[u8]); 2] = [("conaninfo.txt", INFO.as_bytes()), ("lib/a", text.as_bytes())];
    Files(vec![
        ("conan_package.tgz".into(), tar_gz(&[("lib/a", text)])),
        ("conaninfo.txt".into(), INFO.into()),
        ("conanmanifest.txt".into(), manifest(1, &files).into()),
    ])
}

async fn put(node: &TestNode, target: &str, caller: &str, bytes: &[u8]) -> Answer {
    let request = node
        .put(target)
        .by(caller)
        .header("x-checksum-sha1", &sha1(bytes));
    request.body(bytes.to_vec()).send().await
}

impl Files {
    /// Sends all of them, the last of which is the manifest.
    async fn send_to(&self, node: &TestNode, folder: &str, caller: &str) {
        for (path, bytes) in &self.0 {
            put(node, &format!("{folder}/files/{path}"), caller, bytes)
                .await
                .expect(201);
        }
    }
}

/// The URL of a revision of a recipe of project 1; a reference is `name/version/user/channel`.
fn at(reference: &str, revision: &str) -> String {
    format!("{BASE}/v2/conans/{reference}/revisions/{revision}")
}

/// That of a binary.
fn of(reference: &str, recipe: &str, id: &str, revision: &str) -> String {
    format!("{}/packages/{id}/revisions/{revision}", at(reference, recipe))
}

async fn publish(node: &TestNode, reference: &str, revision: &str) {
    recipe(revision)
        .send_to(node, &at(reference, revision), "developer")
        .await;
}

async fn publish_package(node: &TestNode, reference: &str, recipe: &str, revision: &str) {
    let folder = of(reference, recipe, ID, revision);
    package(revision).send_to(node, &folder, "developer").await;
}

/// Publishes `hello/1.0@acme+PROJECT/stable` with a binary, and without user and channel, for the table of
/// routes and callers; and the same where there are no revisions.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let base = format!("/api/v4/projects/{project}/packages/conan/v2/conans");
    let user = ["acme+demo", "acme+open", "acme+inside"][project as usize - 1];
    for reference in ["hello/1.0/_/_".to_owned(), format!("hello/1.0/{user}/stable")] {
        for (recipe_revision, revision) in [("aaa", "bbb"), ("0", "0")] {
            let folder = format!("{base}/{reference}/revisions/{recipe_revision}");
            recipe("hello").send_to(node, &folder, "root").await;
            let folder = format!("{folder}/packages/{ID}/revisions/{revision}");
            package("hello").send_to(node, &folder, "root").await;
        }
    }
}

async fn get(node: &TestNode, target: &str) -> Answer {
    node.get(target).by("reporter").send().await
}

async fn json_of(node: &TestNode, target: &str) -> Value {
    let answer = get(node, target).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

/// The revisions of a list, in its order.
async fn revisions(node: &TestNode, target: &str) -> Vec<String> {
    let listed = json_of(node, &format!("{target}/revisions")).await;
    let revisions = listed["revisions"].as_array().unwrap().iter();
    revisions
        .map(|revision| revision["revision"].as_str().unwrap().to_owned())
        .collect()
}

async fn results(node: &TestNode, base: &str, query: &str) -> Vec<String> {
    let found = json_of(node, &format!("{base}/v2/conans/search{query}")).await;
    let results = found["results"].as_array().unwrap().iter();
    results
        .map(|result| result.as_str().unwrap().to_owned())
        .collect()
}

/// How many records of its own the format keeps in project 1.
async fn records(node: &TestNode) -> usize {
    let (keys, snapshot) = (Keys::new(fixture::format_collection("conan")), node.kv().local());
    let mut collections = vec![
        keys.references(),
        keys.versions(),
        keys.all_under_way(),
        keys.uploads(),
    ];
    let number = |item: &[u8]| u64::from_be_bytes(item.try_into().unwrap());
    for entry in snapshot.scan(Scan::of(&keys.versions())).await.unwrap() {
        let version = number(&entry.item);
        collections.extend([keys.revisions(version), keys.order(version), keys.infos(version)]);
    }
    for entry in snapshot.scan(Scan::of(&keys.uploads())).await.unwrap() {
        collections.push(keys.all_staged(number(&entry.item)));
    }
    let mut records = 0;
    for collection in collections {
        records += snapshot.scan(Scan::of(&collection)).await.unwrap().len();
    }
    records
}
