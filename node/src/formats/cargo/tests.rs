//! Requests and answers on an in-memory node: every row of the contract, and what a wrong
//! request gets.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::artifact::tests::{crate_of, crate_with};
use super::document::tests::document;
use crate::http::settings::HttpSettings;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/cargo";
const GROUP: &str = "/api/v4/groups/acme/-/packages/cargo";

/// Publishes `hello` 1.0.0 to a project, for the matrix of routes.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let target = format!("/api/v4/projects/{project}/packages/cargo/api/v1/crates/new");
    let body = framed(
        &document("hello", "1.0.0", json!({"readme": "# hello"})),
        &crate_of("hello", "1.0.0"),
    );
    node.put(target).by("root").body(body).send().await.expect(200);
}

/// The body that cargo sends.
pub(super) fn framed(metadata: &Value, artifact: &[u8]) -> Vec<u8> {
    let metadata = metadata.to_string();
    let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
    [
        &length(metadata.as_bytes()),
        metadata.as_bytes(),
        &length(artifact),
        artifact,
    ]
    .concat()
}

async fn publish_to(node: &TestNode, project: u64, body: Vec<u8>) -> Answer {
    let target = format!("/api/v4/projects/{project}/packages/cargo/api/v1/crates/new");
    node.put(target).by("developer").body(body).send().await
}

async fn publish_with(node: &TestNode, name: &str, version: &str, more: Value) -> Answer {
    let body = framed(&document(name, version, more), &crate_of(name, version));
    publish_to(node, 1, body).await
}

async fn publish(node: &TestNode, name: &str, version: &str) {
    publish_with(node, name, version, json!({})).await.expect(200);
}

fn detail(answer: &Answer) -> String {
    answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned()
}

async fn index(node: &TestNode, path: &str) -> Answer {
    node.get(format!("{BASE}/index/{path}"))
        .by("reporter")
        .send()
        .await
}

async fn lines(node: &TestNode, path: &str) -> Vec<Value> {
    let answer = index(node, path).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_published_can_be_found_and_downloaded_from_every_node() {
    let node = TestNode::start().await;
    let artifact = crate_of("Acme-Util", "0.1.0");
    let metadata = document(
        "Acme-Util",
        "0.1.0",
        json!({"description": "util", "homepage": "x"}),
    );
    let answer = publish_to(&node, 1, framed(&metadata, &artifact))
        .await
        .expect(200);
    assert_eq!(
        answer.json(),
        json!({"warnings": {
            "invalid_categories": [], "invalid_badges": [],
            "other": ["homepage is not the URL of a web page, and is left out"],
        }})
    );
    let node = node.sibling();
    let lines = lines(&node, "ac/me/acme-util").await;
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["name"], &lines[0]["vers"]),
        (&json!("Acme-Util"), &json!("0.1.0"))
    );
    let cksum = data_encoding::HEXLOWER.encode(&Sha256::digest(&artifact));
    assert_eq!(
        (&lines[0]["cksum"], &lines[0]["yanked"]),
        (&json!(cksum), &json!(false))
    );
    // The case of the index, and others.
    for name in ["Acme-Util", "acme_util"] {
        let target = format!("{BASE}/api/v1/crates/{name}/0.1.0/download");
        let answer = node.get(target).by("deploy-read").send().await.expect(200);
        assert_eq!(answer.body, artifact);
        assert_eq!(answer.header("content-type"), "application/gzip");
        assert_eq!(answer.header("etag"), format!("\"{cksum}\""));
    }
    let part = node.get(format!("{BASE}/api/v1/crates/Acme-Util/0.1.0/download"));
    let part = part
        .by("deploy-read")
        .header("range", "bytes=1-2")
        .send()
        .await
        .expect(206);
    assert_eq!(part.body, artifact[1..3]);
}

#[tokio::test]
async fn a_private_registry_is_first_asked_without_a_token() {
    let node = TestNode::start().await;
    let target = format!("{BASE}/index/config.json");
    let answer = node.get(&target).send().await.expect(401);
    assert_eq!(
        answer.header("www-authenticate"),
        format!("Cargo login_url=\"http://cairn.example{BASE}/me\"")
    );
    let about_nothing = node.get("/api/v4/projects/99/packages/cargo/index/config.json");
    about_nothing.send().await.expect(401);
    let page = node.get(format!("{BASE}/me")).send().await.expect(200);
    assert!(page.text().contains("cargo login"));
    // The token alone, as cargo sends it, and what people paste.
    let token = node.token("reporter").to_owned();
    for value in [token.clone(), format!("Bearer {token}")] {
        let config = node
            .get(&target)
            .header("authorization", &value)
            .send()
            .await
            .expect(200);
        assert_eq!(
            config.json(),
            json!({
                "dl": format!("http://cairn.example{BASE}/api/v1/crates"),
                "api": format!("http://cairn.example{BASE}"),
                "auth-required": true,
            })
        );
    }
    node.get(&target)
        .header("authorization", "nonsense")
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn a_token_is_asked_for_wherever_something_is_not_public() {
    let node = TestNode::start().await;
    let config = async |base: &str| {
        let answer = node.get(format!("/api/v4/{base}/packages/cargo/index/config.json"));
        answer.by("owner").send().await.expect(200).json()["auth-required"].clone()
    };
    assert_eq!(config("projects/1").await, true);
    assert_eq!(config("projects/2").await, false);
    assert_eq!(config("projects/3").await, true);
    assert_eq!(config("groups/1/-").await, true);
    node.put("/api/v4/groups/1")
        .by("root")
        .json(&json!({"visibility": "public"}))
        .send()
        .await
        .expect(200);
    assert_eq!(
        config("groups/1/-").await,
        true,
        "private projects are left in it"
    );
    for project in ["1", "3"] {
        let request = node.put(format!("/api/v4/projects/{project}")).by("root");
        request
            .json(&json!({"visibility": "public"}))
            .send()
            .await
            .expect(200);
    }
    assert_eq!(config("groups/1/-").await, false);
}

#[tokio::test]
async fn an_index_is_not_sent_twice_and_changes_with_every_yank() {
    let node = TestNode::start().await;
    for version in ["0.1.0", "0.2.0"] {
        publish(&node, "left", version).await;
    }
    let first = index(&node, "le/ft/left").await.expect(200);
    let again = async |etag: &str| {
        let request = node.get(format!("{BASE}/index/le/ft/left")).by("reporter");
        request.header("if-none-match", etag).send().await
    };
    assert!(again(first.header("etag")).await.expect(304).body.is_empty());
    let yank = format!("{BASE}/api/v1/crates/left/0.1.0/yank");
    let done = node.delete(&yank).by("developer").send().await.expect(200);
    assert_eq!(done.json(), json!({"ok": true}));
    let second = again(first.header("etag")).await.expect(200);
    assert_ne!(second.header("etag"), first.header("etag"));
    let (before, after): (Vec<_>, Vec<_>) = (first.text().lines().collect(), second.text().lines().collect());
    assert_eq!(before[0].replace("\"yanked\":false", "\"yanked\":true"), after[0]);
    assert_eq!(before[1], after[1], "other lines stay as they are");
    // Yanked crates can be downloaded: lock files have them.
    let download = format!("{BASE}/api/v1/crates/left/0.1.0/download");
    node.get(download).by("reporter").send().await.expect(200);
    // What is so already is left alone.
    node.delete(&yank).by("developer").send().await.expect(200);
    assert_eq!(again(second.header("etag")).await.status, 304);
    node.put(format!("{BASE}/api/v1/crates/left/0.1.0/unyank"))
        .by("developer")
        .send()
        .await
        .expect(200);
    assert_eq!(index(&node, "le/ft/left").await.body, first.body);
}

#[tokio::test]
async fn an_index_is_compressed_for_those_who_take_it() {
    let node = TestNode::start().await;
    for patch in 0..20 {
        publish(&node, "left", &format!("1.0.{patch}")).await;
    }
    let plain = index(&node, "le/ft/left").await.expect(200);
    let request = node.get(format!("{BASE}/index/le/ft/left")).by("reporter");
    let packed = request.header("accept-encoding", "gzip").send().await.expect(200);
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut unpacked = Vec::new();
    GzDecoder::new(packed.body.as_ref())
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.body);
    assert_eq!(plain.text().lines().count(), 20);
}

#[tokio::test]
async fn only_the_spelling_of_the_publisher_is_in_the_index() {
    let node = TestNode::start().await;
    publish(&node, "Acme-Util", "0.1.0").await;
    index(&node, "ac/me/acme-util").await.expect(200);
    for path in [
        "ac/me/acme_util",
        "ac/me/Acme-Util",
        "ac/me/other",
        "2/ac",
        "x",
        "ac/xx/acme-util",
    ] {
        assert_eq!(index(&node, path).await.status, 404, "{path}");
    }
    let other = publish_with(&node, "acme_util", "0.2.0", json!({}))
        .await
        .expect(409);
    assert_eq!(
        detail(&other),
        "crate `acme_util` was previously named `Acme-Util`"
    );
}

#[tokio::test]
async fn a_version_is_published_once() {
    let node = TestNode::start().await;
    publish(&node, "left", "1.0.0").await;
    for version in ["1.0.0", "1.0.0+build"] {
        let again = publish_with(&node, "left", version, json!({})).await.expect(409);
        assert_eq!(detail(&again), "crate version `left 1.0.0` is already uploaded");
    }
    publish(&node, "left", "1.0.1+first").await;
    publish_with(&node, "left", "1.0.1+second", json!({}))
        .await
        .expect(409);
    let download = async |version: &str| {
        let target = format!("{BASE}/api/v1/crates/left/{version}/download");
        node.get(target).by("reporter").send().await.status
    };
    assert_eq!(
        (download("1.0.1%2Bfirst").await, download("1.0.1+first").await),
        (200, 200)
    );
    assert_eq!(
        (download("1.0.1").await, download("1.0.1+second").await),
        (200, 404)
    );
    assert_eq!(lines(&node, "le/ft/left").await[1]["vers"], "1.0.1+first");
}

#[tokio::test]
async fn of_two_publishes_at_once_one_wins() {
    let node = TestNode::start().await;
    let body = || framed(&document("left", "1.0.0", json!({})), &crate_of("left", "1.0.0"));
    let (one, other) = tokio::join!(publish_to(&node, 1, body()), publish_to(&node, 1, body()));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(lines(&node, "le/ft/left").await.len(), 1);
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_and_leaves_nothing() {
    let node = TestNode::start().await;
    let whole = framed(&document("left", "1.0.0", json!({})), &crate_of("left", "1.0.0"));
    let check = async |body: Vec<u8>, status: u16, part: &str| {
        let answer = publish_to(&node, 1, body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(detail(&answer).contains(part), "{} / {part}", detail(&answer));
    };
    check(Vec::new(), 400, "ends before the metadata").await;
    check(whole[..whole.len() - 1].to_vec(), 400, "ends before the crate").await;
    check([whole.as_slice(), b"x"].concat(), 400, "goes on after the crate").await;
    check(vec![0xff; 100], 413, "over the limit").await;
    let left = document("left", "1.0.0", json!({}));
    check(framed(&json!([]), b""), 400, "not as expected").await;
    check(
        framed(&document("std", "1.0.0", json!({})), b""),
        400,
        "is reserved",
    )
    .await;
    check(framed(&left, b"not a crate"), 422, "is damaged").await;
    check(
        framed(&left, &crate_of("right", "1.0.0")),
        422,
        "outside of left-1.0.0/",
    )
    .await;
    check(
        framed(&left, &crate_of("left", "2.0.0")),
        422,
        "outside of left-1.0.0/",
    )
    .await;
    let mismatch = crate_with("left-1.0.0", "[package]\nname = \"left\"\nversion = \"2.0.0\"\n");
    check(framed(&left, &mismatch), 422, "left 2.0.0 by its Cargo.toml").await;
    let mut corrupt = crate_of("left", "1.0.0");
    let crc_at = corrupt.len() - 6;
    corrupt[crc_at] ^= 1;
    check(framed(&left, &corrupt), 422, "is damaged").await;
    index(&node, "le/ft/left").await.expect(404);
    publish_to(&node, 1, whole).await.expect(200);
}

#[tokio::test]
async fn a_crate_over_the_limit_is_refused_by_its_length() {
    let mut settings = HttpSettings::default();
    settings.limits.file_bytes = 100;
    let node = TestNode::with(settings).await;
    let body = framed(&document("left", "1.0.0", json!({})), &[0; 101]);
    let answer = publish_to(&node, 1, body).await.expect(413);
    assert_eq!(detail(&answer), "the crate is over the limit of 100 bytes");
}

#[tokio::test]
async fn dependencies_in_the_same_registry_name_none() {
    let node = TestNode::start().await;
    let own = |project: &str| {
        format!("sparse+http://cairn.example/api/v4/projects/{project}/packages/cargo/index/")
    };
    let dependency =
        |name: &str, registry: &str| json!({"name": name, "version_req": "^1", "registry": registry});
    let deps = json!([
        dependency("one", &own("1")),
        dependency("two", &own("acme%2Fdemo")),
        dependency("three", &own("2")),
        dependency("four", "https://elsewhere.example/index"),
    ]);
    publish_with(&node, "left", "1.0.0", json!({"deps": deps}))
        .await
        .expect(200);
    let line = lines(&node, "le/ft/left").await.remove(0);
    let registries: Vec<&Value> = (0..4).map(|at| &line["deps"][at]["registry"]).collect();
    assert_eq!(
        registries,
        [
            &Value::Null,
            &Value::Null,
            &json!(own("2")),
            &json!("https://elsewhere.example/index")
        ]
    );
}

#[tokio::test]
async fn searches_find_by_name_and_description() {
    let node = TestNode::start().await;
    publish_with(
        &node,
        "left-pad",
        "0.1.0",
        json!({"description": "pads a string"}),
    )
    .await
    .expect(200);
    publish_with(&node, "left-pad", "0.2.0", json!({"description": "pads two"}))
        .await
        .expect(200);
    publish_with(&node, "left-pad", "0.3.0-rc.1", json!({}))
        .await
        .expect(200);
    publish_with(&node, "string-tools", "1.0.0", json!({"keywords": ["pad"]}))
        .await
        .expect(200);
    let search = async |base: &str, query: &str| {
        let request = node.get(format!("{base}/api/v1/crates?{query}")).by("reporter");
        request.send().await.expect(200).json()
    };
    let found = search(BASE, "q=pad&per_page=10").await;
    assert_eq!(
        found,
        json!({
            "crates": [
                {"name": "left-pad", "max_version": "0.2.0", "description": "pads two"},
                {"name": "string-tools", "max_version": "1.0.0", "description": null},
            ],
            "meta": {"total": 2},
        })
    );
    assert_eq!(search(GROUP, "q=LEFT_pad").await["meta"]["total"], 1);
    assert_eq!(
        search(BASE, "q=%25%22%27+nothing&per_page=x").await["crates"],
        json!([])
    );
    let second = search(BASE, "q=&per_page=1&page=2").await;
    assert_eq!(second["crates"][0]["name"], "string-tools");
    assert_eq!(second["meta"]["total"], 2);
    // What is yanked gives way.
    node.delete(format!("{BASE}/api/v1/crates/left-pad/0.2.0/yank"))
        .by("developer")
        .send()
        .await
        .expect(200);
    assert_eq!(
        search(BASE, "q=left-pad").await["crates"][0]["max_version"],
        "0.1.0"
    );
}

#[tokio::test]
async fn owners_are_users_whom_to_ask() {
    let node = TestNode::start().await;
    publish(&node, "left", "1.0.0").await;
    let target = format!("{BASE}/api/v1/crates/left/owners");
    let owners = async || {
        let users = node.get(&target).by("reporter").send().await.expect(200).json();
        let users = users["users"].as_array().unwrap().clone();
        users
            .iter()
            .map(|user| user["login"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(owners().await, ["developer"]);
    let named = |name: &str| json!({"users": [name]});
    let done = node
        .put(&target)
        .by("developer")
        .json(&named("guest"))
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(done["ok"], true);
    assert!(
        done["msg"]
            .as_str()
            .unwrap()
            .starts_with("guest is now an owner of left")
    );
    assert_eq!(owners().await, ["developer", "guest"]);
    let unknown = node
        .put(&target)
        .by("developer")
        .json(&named("nobody"))
        .send()
        .await
        .expect(404);
    assert_eq!(detail(&unknown), "there is no user `nobody`");
    node.delete(&target)
        .by("developer")
        .json(&named("developer"))
        .send()
        .await
        .expect(200);
    let last = node
        .delete(&target)
        .by("developer")
        .json(&named("guest"))
        .send()
        .await
        .expect(422);
    assert_eq!(detail(&last), "the last owner cannot be removed");
    assert_eq!(owners().await, ["guest"]);
    node.put(&target)
        .by("reporter")
        .json(&named("owner"))
        .send()
        .await
        .expect(403);
    node.put(&target)
        .by("deploy-write")
        .json(&named("owner"))
        .send()
        .await
        .expect(403);
}

#[tokio::test]
async fn bots_read_what_the_public_registry_shows() {
    let node = TestNode::start().await;
    let deps =
        json!([{"name": "util", "version_req": "^1", "explicit_name_in_toml": "tools", "kind": "dev"}]);
    let more = json!({"description": "left", "license": "MIT", "readme": "# <b>left</b>", "deps": deps});
    publish_with(&node, "left", "1.0.0", more).await.expect(200);
    publish(&node, "left", "1.1.0").await;
    let get = async |path: &str| {
        let request = node.get(format!("{BASE}/api/v1/crates/{path}")).by("reporter");
        request.send().await.expect(200)
    };
    let about = get("left").await.json();
    assert_eq!(
        (&about["crate"]["name"], &about["crate"]["max_version"]),
        (&json!("left"), &json!("1.1.0"))
    );
    let nums = |answer: &Value| -> Vec<Value> {
        answer["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["num"].clone())
            .collect()
    };
    assert_eq!(nums(&about), ["1.0.0", "1.1.0"]);
    let versions = get("left/versions").await.json();
    assert_eq!(
        (nums(&versions), &versions["meta"]["total"]),
        (nums(&about), &json!(2))
    );
    assert_eq!(versions["versions"][0]["license"], "MIT");
    assert_eq!(get("left/1.0.0").await.json()["version"]["num"], "1.0.0");
    let dependencies = get("left/1.0.0/dependencies").await.json();
    assert_eq!(dependencies["dependencies"][0]["crate_id"], "util");
    let readme = get("left/1.0.0/readme").await;
    assert_eq!(
        (readme.text(), readme.header("content-type")),
        ("# <b>left</b>", "text/plain; charset=utf-8")
    );
    for missing in [
        "right",
        "left/2.0.0",
        "left/x",
        "2x",
        "left/1.1.0/readme",
        "left/1.0.0/x",
    ] {
        let request = node.get(format!("{BASE}/api/v1/crates/{missing}")).by("reporter");
        let answer = request.send().await.expect(404);
        assert!(!detail(&answer).is_empty());
    }
}

#[tokio::test]
async fn a_group_shows_the_crate_that_was_there_first() {
    let node = TestNode::start().await;
    publish(&node, "left", "1.0.0").await;
    let body = framed(&document("left", "9.9.9", json!({})), &crate_of("left", "9.9.9"));
    publish_to(&node, 2, body).await.expect(200);
    let body = framed(
        &document("right", "2.0.0", json!({})),
        &crate_of("right", "2.0.0"),
    );
    publish_to(&node, 2, body).await.expect(200);
    let get = async |path: &str, caller: &str| node.get(format!("{GROUP}/{path}")).by(caller).send().await;
    let index = get("index/le/ft/left", "reporter").await.expect(200);
    assert!(index.text().contains("1.0.0") && !index.text().contains("9.9.9"));
    get("api/v1/crates/left/9.9.9/download", "reporter")
        .await
        .expect(404);
    get("api/v1/crates/left/1.0.0/download", "reporter")
        .await
        .expect(200);
    get("api/v1/crates/right/2.0.0/download", "reporter")
        .await
        .expect(200);
    let found = get("api/v1/crates?q=left", "reporter").await.expect(200).json();
    assert_eq!(
        found["crates"],
        json!([{"name": "left", "max_version": "1.0.0", "description": null}])
    );
    let config = get("index/config.json", "reporter").await.expect(200).json();
    assert_eq!(config["api"], format!("http://cairn.example{GROUP}"));
    let publish = node
        .put(format!("{GROUP}/api/v1/crates/new"))
        .by("owner")
        .send()
        .await
        .expect(405);
    assert_eq!(
        detail(&publish),
        "405 Method Not Allowed: crates are published to a project"
    );
}

#[tokio::test]
async fn a_version_that_was_deleted_is_gone_for_good() {
    let node = TestNode::start().await;
    publish(&node, "left", "1.0.0").await;
    publish(&node, "left", "1.1.0").await;
    let delete = async |version: &str| {
        let list = node.get(format!(
            "/api/v4/projects/1/packages?package_type=cargo&package_version={version}"
        ));
        let id = list.by("maintainer").send().await.expect(200).json()[0]["id"].clone();
        node.delete(format!("/api/v4/projects/1/packages/{id}"))
            .by("maintainer")
            .send()
            .await
            .expect(204);
    };
    delete("1.1.0").await;
    assert_eq!(lines(&node, "le/ft/left").await.len(), 1);
    let found = node
        .get(format!("{BASE}/api/v1/crates?q=left"))
        .by("reporter")
        .send()
        .await
        .json();
    assert_eq!(found["crates"][0]["max_version"], "1.0.0");
    node.get(format!("{BASE}/api/v1/crates/left/1.1.0/download"))
        .by("reporter")
        .send()
        .await
        .expect(404);
    let again = publish_with(&node, "left", "1.1.0", json!({})).await.expect(409);
    assert!(detail(&again).contains("was deleted"), "{}", detail(&again));
    delete("1.0.0").await;
    index(&node, "le/ft/left").await.expect(404);
    publish(&node, "left", "1.2.0").await;
    assert_eq!(lines(&node, "le/ft/left").await.len(), 1);
}

#[tokio::test]
async fn errors_are_in_the_words_of_cargo() {
    let node = TestNode::start().await;
    publish(&node, "left", "1.0.0").await;
    let yank = |caller: &'static str, path: &str| {
        node.delete(format!("{BASE}/api/v1/crates/{path}/yank"))
            .by(caller)
            .send()
    };
    let unknown = yank("developer", "right/1.0.0").await.expect(404);
    assert_eq!(detail(&unknown), "crate `right` does not exist");
    let unknown = yank("developer", "left/2.0.0").await.expect(404);
    assert_eq!(detail(&unknown), "crate `left` does not have a version `2.0.0`");
    assert_eq!(
        detail(&yank("reporter", "left/1.0.0").await.expect(403)),
        "403 Forbidden: this token may not publish here"
    );
    assert_eq!(
        detail(&yank("anonymous", "left/1.0.0").await.expect(401)),
        "401 Unauthorized"
    );
}

#[tokio::test]
async fn a_protected_crate_is_known_by_every_spelling() {
    let node = TestNode::start().await;
    publish(&node, "my-crate", "1.0.0").await;
    let rule = json!({
        "package_name_pattern": "My_*",
        "package_type": "cargo",
        "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    let refused = publish_with(&node, "my-crate", "2.0.0", json!({}))
        .await
        .expect(403);
    assert_eq!(detail(&refused), "Package protected.");
    publish(&node, "other", "1.0.0").await;
    let yank = |caller: &str| {
        let target = format!("{BASE}/api/v1/crates/my-crate/1.0.0/yank");
        node.delete(target).by(caller).send()
    };
    yank("developer").await.expect(403);
    yank("maintainer").await.expect(200);
    let body = framed(
        &document("my-crate", "2.0.0", json!({})),
        &crate_of("my-crate", "2.0.0"),
    );
    let target = format!("{BASE}/api/v1/crates/new");
    node.put(&target)
        .by("deploy-write")
        .body(body.clone())
        .send()
        .await
        .expect(403);
    node.put(&target)
        .by("maintainer")
        .body(body)
        .send()
        .await
        .expect(200);
}
