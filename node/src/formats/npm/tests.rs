//! Requests and answers on an in-memory node: every row of the contract, and what a wrong
//! request gets.

mod accounts;
mod people;

use std::io::Read;
use std::time::Duration;

use axum::http::Method;
use data_encoding::BASE64;
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha512;

use super::artifact::tests::{tarball, tarball_with};
use super::provenance::tests::bundle;
use crate::http::settings::HttpSettings;
use crate::registry::time;
use crate::testing::clock::StoppedClock;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/1/packages/npm";
const DAY: Duration = Duration::from_secs(86_400);
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

/// Publishes `hello` 1.0.0 to a project.
pub(crate) async fn furnish(node: &TestNode, project: u64) {
    let target = format!("/api/v4/projects/{project}/packages/npm/hello");
    let document = Draft::new("hello", "1.0.0").document();
    node.put(target)
        .by("root")
        .json(&document)
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

#[tokio::test]
async fn a_published_version_is_there_on_every_node_at_once() {
    let (node, draft) = (TestNode::start().await, Draft::new("@acme/left", "1.0.0"));
    let draft = draft.with(json!({
        "description": "pads", "license": "MIT", "main": "x.js", "dependencies": {"right": "^1.0.0"},
        "scripts": {"postinstall": "true"},
    }));
    let sibling = node.sibling();
    let answer = draft.publish(&node).await.expect(201);
    assert_eq!(answer.json()["ok"], true);

    let tarball = draft.tarball();
    let url = "http://cairn.example/api/v4/projects/1/packages/npm/@acme/left/-/left-1.0.0.tgz";
    for node in [&node, &sibling] {
        let packument = full(node, "@acme/left").await;
        assert_eq!(packument["_id"], "@acme/left");
        assert_eq!(packument["dist-tags"], json!({"latest": "1.0.0"}));
        assert_eq!(packument["description"], "pads");
        assert_eq!(packument["maintainers"], json!([{"name": "developer"}]));
        let version = &packument["versions"]["1.0.0"];
        assert_eq!(version["main"], "x.js");
        assert_eq!(version["_npmUser"], json!({"name": "developer"}));
        assert_eq!(version["dist"]["tarball"], url);
        assert_eq!(version["dist"]["shasum"], hex(&Sha1::digest(&tarball)));
        let integrity = format!("sha512-{}", BASE64.encode(&Sha512::digest(&tarball)));
        assert_eq!(version["dist"]["integrity"], integrity);
        assert_eq!(version["dist"]["fileCount"], 2);

        let short = abbreviated(node, "@acme/left").await;
        let version = &short["versions"]["1.0.0"];
        assert_eq!(version["dependencies"], json!({"right": "^1.0.0"}));
        assert_eq!(version["hasInstallScript"], true);
        assert_eq!(version["dist"]["tarball"], url);
        assert!(version.get("main").is_none() && version.get("scripts").is_none());
        for packument in [&packument, &short] {
            for time in ["created", "modified", "1.0.0"] {
                let time = packument["time"][time].as_str().unwrap();
                assert!(
                    time.starts_with("20") && time.len() == 24 && time.ends_with('Z'),
                    "{time}"
                );
            }
        }
        let target = url.strip_prefix("http://cairn.example").unwrap();
        let got = node.get(target).by("reporter").send().await.expect(200);
        assert_eq!(got.body, tarball);
    }
}

#[tokio::test]
async fn a_scoped_name_is_found_in_every_spelling() {
    let node = TestNode::start().await;
    Draft::new("@acme/left", "1.0.0").publish(&node).await.expect(201);
    for spelling in [
        "@acme%2fleft",
        "@acme%2Fleft",
        "@acme/left",
        "%40acme%2fleft",
        "%40acme/left",
    ] {
        for tail in [
            "",
            "/1.0.0",
            "/latest",
            "/-/left-1.0.0.tgz",
            "/-/@acme/left-1.0.0.tgz",
            "/-/@acme%2fleft-1.0.0.tgz",
        ] {
            node.get(format!("{BASE}/{spelling}{tail}"))
                .by("reporter")
                .send()
                .await
                .expect(200);
        }
        let tags = format!("{BASE}/-/package/{spelling}/dist-tags");
        node.get(&tags).by("reporter").send().await.expect(200);
        node.put(format!("{tags}/next"))
            .by("developer")
            .json(&json!("1.0.0"))
            .send()
            .await
            .expect(201);
        node.delete(format!("{tags}/next"))
            .by("developer")
            .send()
            .await
            .expect(200);
        let document = Draft::new("@acme/left", "1.0.0").document();
        node.put(format!("{BASE}/{spelling}"))
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn documents_of_other_clients_are_taken() {
    let node = TestNode::start().await;
    // yarn berry: the attachment comes before the versions.
    let draft = Draft::new("berry", "1.0.0");
    let sent = draft.document();
    let mut document = Map::new();
    for key in ["_id", "_attachments", "name", "access", "dist-tags", "versions"] {
        document.insert(key.into(), sent[key].clone());
    }
    node.put(draft.path())
        .by("developer")
        .json(&Value::Object(document))
        .send()
        .await
        .expect(201);
    // yarn classic: a README at the top, and a tarball URL of another host.
    let draft = Draft::new("classic", "1.0.0");
    let mut document = draft.document();
    document["readme"] = json!("# classic");
    node.put(draft.path())
        .by("developer")
        .json(&document)
        .send()
        .await
        .expect(201);
    assert_eq!(full(&node, "classic").await["readme"], "# classic");
    // An old npm: all other versions and their tags come along, without tarballs.
    let draft = Draft::new("old", "1.1.0");
    let mut document = draft.document();
    document["versions"]["1.0.0"] = json!({"name": "old", "version": "1.0.0"});
    document["dist-tags"]["stable"] = json!("1.0.0");
    node.put(draft.path())
        .by("developer")
        .json(&document)
        .send()
        .await
        .expect(201);
    let packument = full(&node, "old").await;
    assert_eq!(versions(&packument), ["1.1.0"]);
    assert_eq!(packument["dist-tags"], json!({"latest": "1.1.0"}));
}

#[tokio::test]
async fn the_latest_version_tells_about_the_package() {
    let node = TestNode::start().await;
    let describe =
        |text: &str| json!({"description": text, "keywords": ["k"], "repository": {"url": "git:x"}});
    let with_readme = |draft: Draft, text: &str| {
        let mut document = draft.document();
        document["versions"][&draft.version]["readme"] = json!(text);
        (draft.path(), document)
    };
    for (version, tag) in [("1.0.0", "latest"), ("2.0.0-rc.1", "next")] {
        let draft = Draft::new("left", version).tag(tag).with(describe(version));
        let (path, document) = with_readme(draft, version);
        node.put(path)
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(201);
    }
    let packument = full(&node, "left").await;
    assert_eq!(
        (&packument["description"], &packument["readme"]),
        (&json!("1.0.0"), &json!("1.0.0"))
    );
    assert!(packument["versions"]["1.0.0"].get("readme").is_none());
    let tag = format!("{BASE}/-/package/left/dist-tags/latest");
    node.put(tag)
        .by("developer")
        .json(&json!("2.0.0-rc.1"))
        .send()
        .await
        .expect(201);
    let packument = full(&node, "left").await;
    assert_eq!(
        (&packument["description"], &packument["readme"]),
        (&json!("2.0.0-rc.1"), &json!("2.0.0-rc.1"))
    );
}

#[tokio::test]
async fn publishing_the_same_bytes_again_is_the_same_publish() {
    let (node, draft) = (TestNode::start().await, Draft::new("left", "1.0.0"));
    draft.publish(&node).await.expect(201);
    let before = revision(&node, "left").await;
    draft.publish(&node.sibling()).await.expect(200);
    assert_eq!(revision(&node, "left").await, before);
}

#[tokio::test]
async fn publishing_a_version_twice_is_refused_in_the_words_that_release_tools_look_for() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let refused = Draft::new("left", "1.0.0")
        .content(b"other")
        .publish(&node)
        .await
        .expect(403);
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("You cannot publish over the previously published versions"),
        "{error}"
    );
    // The same with build metadata is the same version.
    let built = Draft::new("left", "1.0.0+build.7").content(b"third");
    built.publish(&node).await.expect(403);
    assert_eq!(versions(&full(&node, "left").await), ["1.0.0"]);
}

#[tokio::test]
async fn versions_that_are_published_at_once_all_survive() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let drafts: Vec<Draft> = (0..8)
        .map(|n| Draft::new("left", &format!("1.0.{n}")).tag(&format!("tag-{n}")))
        .collect();
    let publishes = drafts.iter().enumerate().map(|(n, draft)| {
        let node = if n % 2 == 0 { &node } else { &sibling };
        draft.publish(node)
    });
    for answer in futures::future::join_all(publishes).await {
        answer.expect(201);
    }
    let packument = full(&node, "left").await;
    assert_eq!(versions(&packument).len(), 8);
    assert_eq!(packument["dist-tags"].as_object().unwrap().len(), 9);
}

#[tokio::test]
async fn one_version_published_at_once_with_different_bytes_has_one_winner() {
    let node = TestNode::start().await;
    let drafts: Vec<Draft> = (0..4u8)
        .map(|n| Draft::new("left", "1.0.0").content(&[n]))
        .collect();
    let answers = futures::future::join_all(drafts.iter().map(|draft| draft.publish(&node))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403]);
}

#[tokio::test]
async fn both_forms_have_tags_of_their_own_and_vary() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let get = async |accept: &str, etag: &str| {
        let mut request = node.get(path("left")).by("reporter").header("accept", accept);
        if !etag.is_empty() {
            request = request.header("if-none-match", etag);
        }
        request.send().await
    };
    let (short, long) = (
        get(INSTALLING, "").await.expect(200),
        get("*/*", "").await.expect(200),
    );
    assert_eq!(
        (short.header("content-type"), long.header("content-type")),
        (ABBREVIATED, "application/json")
    );
    assert_ne!(short.header("etag"), long.header("etag"));
    for answer in [&short, &long] {
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
    }
    let unchanged = get(INSTALLING, short.header("etag")).await.expect(304);
    assert_eq!(unchanged.header("etag"), short.header("etag"));
    assert!(unchanged.body.is_empty() && unchanged.header("vary").contains("Accept"));
    get("*/*", long.header("etag")).await.expect(304);
    get("*/*", short.header("etag")).await.expect(200);
    get(INSTALLING, long.header("etag")).await.expect(200);
    // Every node has the same tags, and every change makes new ones.
    let request = node.sibling();
    let request = request
        .get(path("left"))
        .by("reporter")
        .header("accept", INSTALLING);
    request
        .header("if-none-match", short.header("etag"))
        .send()
        .await
        .expect(304);
    Draft::new("left", "1.1.0").publish(&node).await.expect(201);
    get(INSTALLING, short.header("etag")).await.expect(200);
    get("*/*", long.header("etag")).await.expect(200);
}

#[tokio::test]
async fn who_is_about_to_write_gets_everything() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let target = format!("{}?write=true", path("left"));
    let answer = node
        .get(target)
        .by("reporter")
        .header("accept", INSTALLING)
        .send()
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["_rev"], revision(&node, "left").await);
}

#[tokio::test]
async fn packuments_are_compressed_for_those_who_take_it() {
    let node = TestNode::start().await;
    let draft = Draft::new("left", "1.0.0").with(json!({"description": "x".repeat(5000)}));
    draft.publish(&node).await.expect(201);
    let plain = node.get(path("left")).by("reporter").send().await.expect(200);
    assert_eq!(plain.header("content-encoding"), "");
    for _ in 0..2 {
        let request = node
            .get(path("left"))
            .by("reporter")
            .header("accept-encoding", "br, gzip");
        let compressed = request.send().await.expect(200);
        assert_eq!(compressed.header("content-encoding"), "gzip");
        assert!(compressed.body.len() < 2000);
        let mut text = Vec::new();
        GzDecoder::new(compressed.body.as_ref())
            .read_to_end(&mut text)
            .unwrap();
        assert_eq!(text, plain.body);
    }
    let head = node.head(path("left")).by("reporter").send().await.expect(200);
    assert!(head.body.is_empty() && head.header("etag") == plain.header("etag"));
}

#[tokio::test]
async fn a_packument_too_large_to_keep_is_sent_in_pieces() {
    let node = TestNode::start().await;
    let filler = "x".repeat(100_000);
    for n in 0..90 {
        let draft = Draft::new("left", &format!("1.0.{n}"));
        let mut document = draft.document();
        document["versions"][&draft.version]["filler"] = json!(filler);
        node.put(draft.path())
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(201);
    }
    let plain = node.get(path("left")).by("reporter").send().await.expect(200);
    assert!(plain.body.len() > 8 << 20 && plain.header("content-length").is_empty());
    let packument = plain.json();
    assert_eq!(
        (
            versions(&packument).len(),
            packument["time"].as_object().unwrap().len()
        ),
        (90, 92)
    );
    let request = node
        .get(path("left"))
        .by("reporter")
        .header("accept-encoding", "gzip");
    let compressed = request.send().await.expect(200);
    let mut text = Vec::new();
    GzDecoder::new(compressed.body.as_ref())
        .read_to_end(&mut text)
        .unwrap();
    assert_eq!(text, plain.body);
    assert_eq!(versions(&abbreviated(&node, "left").await).len(), 90);
}

#[tokio::test]
async fn one_manifest_is_found_by_version_or_tag() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    Draft::new("left", "2.0.0-rc.1")
        .tag("next")
        .publish(&node)
        .await
        .expect(201);
    for (asked, version) in [
        ("1.0.0", "1.0.0"),
        ("latest", "1.0.0"),
        ("next", "2.0.0-rc.1"),
        ("1.0.0+x", "1.0.0"),
    ] {
        let manifest = node
            .get(format!("{}/{asked}", path("left")))
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(manifest.json()["version"], version);
    }
    for asked in ["3.0.0", "beta", "%5E1.0.0", "1.x"] {
        node.get(format!("{}/{asked}", path("left")))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn tarballs_are_served_as_they_are() {
    let (node, draft) = (
        TestNode::start().await,
        Draft::new("@acme/left", "1.0.0").content(&[7; 5000]),
    );
    draft.publish(&node).await.expect(201);
    let tarball = draft.tarball();
    let target = format!("{BASE}/@acme/left/-/left-1.0.0.tgz");
    let whole = node
        .get(&target)
        .by("reporter")
        .header("accept-encoding", "gzip")
        .send()
        .await
        .expect(200);
    assert_eq!(whole.body, tarball);
    assert_eq!(whole.header("content-encoding"), "");
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert_eq!(whole.header("content-length"), tarball.len().to_string());
    assert!(whole.header("cache-control").contains("immutable"));
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert!(whole.header("content-disposition").starts_with("attachment"));
    let head = node.head(&target).by("reporter").send().await.expect(200);
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (tarball.len().to_string().as_str(), 0)
    );
    assert_eq!(head.header("etag"), whole.header("etag"));
    let part = node
        .get(&target)
        .by("reporter")
        .header("range", "bytes=10-19")
        .send()
        .await
        .expect(206);
    assert_eq!(part.body, tarball[10..20]);
    let beyond = node
        .get(&target)
        .by("reporter")
        .header("range", "bytes=99999999-")
        .send()
        .await;
    beyond.expect(416);
    let known = node
        .get(&target)
        .by("reporter")
        .header("if-none-match", whole.header("etag"));
    known.send().await.expect(304);
    for missing in [
        "left-2.0.0.tgz",
        "right-1.0.0.tgz",
        "left-1.0.0.zip",
        "left-1.0.0.sigstore",
        "@evil/left-1.0.0.tgz",
    ] {
        node.get(format!("{BASE}/@acme/left/-/{missing}"))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn deprecating_changes_nothing_else() {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        Draft::new("left", version).publish(&node).await.expect(201);
    }
    let mut edited = full(&node, "left").await;
    for version in ["1.0.0", "1.1.0"] {
        edited["versions"][version]["deprecated"] = json!("use 2");
        edited["versions"][version]["dist"]["tarball"] = json!("http://evil.example/");
        edited["versions"][version]["dependencies"] = json!({"evil": "1"});
    }
    // A version that the document leaves out stays.
    edited["versions"].as_object_mut().unwrap().remove("2.0.0");
    edited["dist-tags"] = json!({"latest": "1.0.0"});
    let answer = node
        .put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    assert_eq!(answer.json()["ok"], true);
    let packument = full(&node, "left").await;
    assert_eq!(versions(&packument), ["1.0.0", "1.1.0", "2.0.0"]);
    assert_eq!(packument["dist-tags"], json!({"latest": "2.0.0"}));
    let version = &packument["versions"]["1.1.0"];
    assert_eq!(version["deprecated"], "use 2");
    assert!(
        version["dist"]["tarball"]
            .as_str()
            .unwrap()
            .starts_with("http://cairn.example/")
    );
    assert!(version.get("dependencies").is_none());
    assert_eq!(
        abbreviated(&node, "left").await["versions"]["1.0.0"]["deprecated"],
        "use 2"
    );
    // The document is now stale.
    node.put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(409);
    // An empty message takes it back.
    let mut edited = packument;
    edited["versions"]["1.0.0"]["deprecated"] = json!("");
    node.put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    let packument = full(&node, "left").await;
    assert!(packument["versions"]["1.0.0"].get("deprecated").is_none());
    assert_eq!(packument["versions"]["1.1.0"]["deprecated"], "use 2");
}

#[tokio::test]
async fn many_versions_are_deprecated_at_once() {
    let node = TestNode::start().await;
    let filler = "x".repeat(60_000);
    for n in 0..30 {
        let draft = Draft::new("left", &format!("1.0.{n}"));
        let mut document = draft.document();
        document["versions"][&draft.version]["filler"] = json!(filler);
        node.put(draft.path())
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(201);
    }
    let mut edited = full(&node, "left").await;
    for version in edited["versions"].as_object_mut().unwrap().values_mut() {
        version["deprecated"] = json!("gone");
    }
    node.put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    let packument = abbreviated(&node, "left").await;
    assert!(
        packument["versions"]
            .as_object()
            .unwrap()
            .values()
            .all(|version| version["deprecated"] == "gone")
    );
}

#[tokio::test]
async fn unpublishing_a_version_removes_its_tarball_and_moves_latest() {
    let node = TestNode::start().await;
    for (version, tag) in [("1.0.0", "latest"), ("1.1.0", "latest"), ("2.0.0-rc.1", "next")] {
        Draft::new("left", version)
            .tag(tag)
            .publish(&node)
            .await
            .expect(201);
    }
    let mut edited = full(&node, "left").await;
    let target = format!("{}/-rev/{}", path("left"), edited["_rev"].as_str().unwrap());
    edited["versions"].as_object_mut().unwrap().remove("1.1.0");
    node.put(&target)
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(403);
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    let packument = full(&node, "left").await;
    assert_eq!(versions(&packument), ["1.0.0", "2.0.0-rc.1"]);
    assert_eq!(
        packument["dist-tags"],
        json!({"latest": "1.0.0", "next": "2.0.0-rc.1"})
    );
    assert!(packument["time"].get("1.1.0").is_none());
    let tarball = format!("{}/-/left-1.1.0.tgz", path("left"));
    node.get(&tarball).by("reporter").send().await.expect(404);
    // The client's last step, whatever path it makes up.
    let revision = packument["_rev"].as_str().unwrap();
    node.delete(format!("{tarball}/-rev/{revision}"))
        .by("maintainer")
        .send()
        .await
        .expect(200);
    let other = format!("{}/-/left-1.0.0.tgz/-rev/{revision}", path("left"));
    node.delete(other).by("maintainer").send().await.expect(409);
    // The version is not free again, not even for the same bytes.
    let again = Draft::new("left", "1.1.0").publish(&node).await.expect(409);
    assert!(
        again
            .text()
            .contains("You cannot publish over the previously published versions")
    );
    Draft::new("left", "1.1.1").publish(&node).await.expect(201);
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(409);
}

#[tokio::test]
async fn a_document_that_was_cut_short_does_not_empty_a_package() {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        Draft::new("left", version).publish(&node).await.expect(201);
    }
    let mut edited = full(&node, "left").await;
    let target = format!("{}/-rev/{}", path("left"), edited["_rev"].as_str().unwrap());
    edited["versions"] = json!({});
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(400);
    assert_eq!(versions(&full(&node, "left").await).len(), 3);
    // One that removes nothing changes nothing.
    let whole = full(&node, "left").await;
    node.put(&target)
        .by("maintainer")
        .json(&whole)
        .send()
        .await
        .expect(200);
    assert_eq!(versions(&full(&node, "left").await).len(), 3);
}

#[tokio::test]
async fn unpublishing_a_package_removes_it_and_remembers_its_versions() {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.1.0"] {
        Draft::new("left", version).publish(&node).await.expect(201);
    }
    let stale = format!("{}/-rev/1-0", path("left"));
    node.delete(stale).by("maintainer").send().await.expect(409);
    let target = format!("{}/-rev/{}", path("left"), revision(&node, "left").await);
    node.delete(&target).by("developer").send().await.expect(403);
    node.delete(&target).by("maintainer").send().await.expect(200);
    node.get(path("left")).by("reporter").send().await.expect(404);
    node.get(format!("{}/-/left-1.0.0.tgz", path("left")))
        .by("reporter")
        .send()
        .await
        .expect(404);
    node.delete(&target).by("maintainer").send().await.expect(404);
    Draft::new("left", "1.1.0").publish(&node).await.expect(409);
    Draft::new("left", "1.2.0").publish(&node).await.expect(201);
    assert_eq!(versions(&full(&node, "left").await), ["1.2.0"]);
}

#[tokio::test]
async fn unpublishing_the_only_version_by_a_document_removes_the_package() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let mut edited = full(&node, "left").await;
    edited["versions"] = json!({});
    let target = format!("{}/-rev/{}", path("left"), edited["_rev"].as_str().unwrap());
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    node.get(path("left")).by("reporter").send().await.expect(404);
    Draft::new("left", "1.0.0").publish(&node).await.expect(409);
}

#[tokio::test]
async fn tags_are_listed_moved_and_removed() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    Draft::new("left", "1.1.0").publish(&node).await.expect(201);
    let tags = format!("{BASE}/-/package/left/dist-tags");
    let list = async || node.get(&tags).by("reporter").send().await.expect(200).json();
    assert_eq!(list().await, json!({"latest": "1.1.0"}));
    let put = async |tag: &str, version: Value, caller: &str| {
        node.put(format!("{tags}/{tag}"))
            .by(caller)
            .json(&version)
            .send()
            .await
    };
    put("stable", json!("1.0.0"), "developer").await.expect(201);
    node.post(format!("{tags}/beta"))
        .by("developer")
        .json(&json!("1.1.0"))
        .send()
        .await
        .expect(201);
    assert_eq!(
        list().await,
        json!({"latest": "1.1.0", "stable": "1.0.0", "beta": "1.1.0"})
    );
    assert_eq!(full(&node, "left").await["dist-tags"], list().await);
    put("stable", json!("1.1.0"), "developer").await.expect(201);
    put("stable", json!("9.9.9"), "developer").await.expect(404);
    put("stable", json!("^1"), "developer").await.expect(400);
    put("stable", json!({"version": "1.0.0"}), "developer")
        .await
        .expect(400);
    put("1.x", json!("1.0.0"), "developer").await.expect(400);
    put("stable", json!("1.0.0"), "reporter").await.expect(403);
    node.put(format!("{BASE}/-/package/right/dist-tags/beta"))
        .by("developer")
        .json(&json!("1.0.0"))
        .send()
        .await
        .expect(404);
    node.delete(format!("{tags}/stable"))
        .by("reporter")
        .send()
        .await
        .expect(403);
    node.delete(format!("{tags}/stable"))
        .by("developer")
        .send()
        .await
        .expect(200);
    node.delete(format!("{tags}/stable"))
        .by("developer")
        .send()
        .await
        .expect(404);
    node.delete(format!("{tags}/latest"))
        .by("developer")
        .send()
        .await
        .expect(403);
    assert_eq!(list().await, json!({"latest": "1.1.0", "beta": "1.1.0"}));
    node.get(format!("{BASE}/-/package/right/dist-tags"))
        .by("reporter")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn stars_and_owners_come_without_versions() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let star = async |caller: &str, users: Value| {
        let document = json!({"_id": "left", "_rev": revision(&node, "left").await, "users": users});
        node.put(path("left")).by(caller).json(&document).send().await
    };
    // A reporter may not publish, but star; only for itself.
    star("reporter", json!({"reporter": true, "owner": true}))
        .await
        .expect(200);
    star("developer", json!({"developer": true})).await.expect(200);
    assert_eq!(
        full(&node, "left").await["users"],
        json!({"developer": true, "reporter": true})
    );
    star("reporter", json!({"developer": true})).await.expect(200);
    assert_eq!(full(&node, "left").await["users"], json!({"developer": true}));
    star("anonymous", json!({"x": true})).await.expect(401);
    star("deploy-write", json!({"x": true})).await.expect(403);

    let rights = format!("{BASE}/-/package/left/collaborators");
    let owners = async |revision: &str, maintainers: Value| {
        let document = json!({"_id": "left", "_rev": revision, "maintainers": maintainers});
        let target = format!("{}/-rev/{revision}", path("left"));
        node.put(target).by("developer").json(&document).send().await
    };
    let current = revision(&node, "left").await;
    let two = json!([{"name": "developer", "email": ""}, {"name": "owner", "email": "o@cairn.example"}]);
    owners(&current, two.clone()).await.expect(200);
    assert_eq!(full(&node, "left").await["maintainers"], two);
    let listed = node.get(&rights).by("reporter").send().await.expect(200);
    assert_eq!(listed.json(), json!({"developer": "write", "owner": "write"}));
    owners(&current, two).await.expect(409);
    owners(&revision(&node, "left").await, json!([]))
        .await
        .expect(400);
}

#[tokio::test]
async fn access_follows_the_project() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let seen = node
        .get(format!("{BASE}/-/package/left/visibility"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(seen.json(), json!({"public": false}));
    let set = async |body: Value| {
        node.post(format!("{BASE}/-/package/left/access"))
            .by("developer")
            .json(&body)
            .send()
            .await
    };
    set(json!({"access": "restricted"})).await.expect(200);
    set(json!({"access": "public"})).await.expect(403);
    set(json!({"access": "secret"})).await.expect(400);
    set(json!({"publish_requires_tfa": false})).await.expect(200);
    set(json!({"publish_requires_tfa": true})).await.expect(403);
    node.post(format!("{BASE}/-/package/right/access"))
        .by("developer")
        .json(&json!({}))
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn searches_find_by_name_keyword_and_description() {
    let node = TestNode::start().await;
    let publish = async |name: &str, about: Value| {
        Draft::new(name, "1.0.0")
            .with(about)
            .publish(&node)
            .await
            .expect(201);
    };
    publish(
        "@acme/left-pad",
        json!({"description": "pads a string", "keywords": ["text"]}),
    )
    .await;
    publish("pad", json!({"description": "for writing"})).await;
    publish("other", json!({"description": "nothing", "keywords": ["pad"]})).await;
    let search = async |query: &str| {
        let answer = node
            .get(format!("{BASE}/-/v1/search?{query}"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        let found = answer.json();
        let names = found["objects"].as_array().unwrap().iter();
        let names: Vec<String> = names
            .map(|object| object["package"]["name"].as_str().unwrap().into())
            .collect();
        (names.join(" "), found["total"].as_u64().unwrap())
    };
    assert_eq!(search("text=pad").await, ("pad @acme/left-pad other".into(), 3));
    assert_eq!(
        search("text=pad&size=1&from=1").await,
        ("@acme/left-pad".into(), 3)
    );
    assert_eq!(search("text=pad+string").await, ("@acme/left-pad".into(), 1));
    assert_eq!(search("text=keywords:text").await, ("@acme/left-pad".into(), 1));
    assert_eq!(search("text=nobody").await, (String::new(), 0));
    assert_eq!(search("").await.1, 3);
    assert_eq!(search("text=pad&size=4294967295&from=4294967295").await.1, 3);
    let wrong = format!("{BASE}/-/v1/search?size=-1");
    node.get(wrong).by("reporter").send().await.expect(400);
}

#[tokio::test]
async fn audits_are_clean() {
    let node = TestNode::start().await;
    let post = async |path: &str, body: Vec<u8>, coding: &str| {
        let request = node
            .post(format!("{BASE}/-/npm/v1/security/{path}"))
            .by("reporter");
        let request = if coding.is_empty() {
            request
        } else {
            request.header("content-encoding", coding)
        };
        request.body(body).send().await
    };
    let gzip = |text: &str| {
        let mut encoder = flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast());
        let mut out = Vec::new();
        encoder.read_to_end(&mut out).unwrap();
        out
    };
    let list = r#"{"left":["1.0.0"]}"#;
    assert_eq!(
        post("advisories/bulk", list.into(), "").await.expect(200).json(),
        json!({})
    );
    assert_eq!(
        post("advisories/bulk", gzip(list), "gzip")
            .await
            .expect(200)
            .json(),
        json!({})
    );
    let tree = r#"{"name":"app","version":"1.0.0","dependencies":{"a":{"version":"1.0.0"}}}"#;
    for path in ["audits/quick", "audits"] {
        let report = post(path, gzip(tree), "gzip").await.expect(200).json();
        assert_eq!(report["metadata"]["vulnerabilities"]["critical"], 0);
        assert_eq!(report["metadata"]["totalDependencies"], 1);
        assert_eq!(
            (&report["advisories"], &report["actions"]),
            (&json!({}), &json!([]))
        );
    }
    post("advisories/bulk", list.into(), "br").await.expect(415);
    post("advisories/bulk", list.into(), "gzip").await.expect(400);
    post("advisories/bulk", "[]".into(), "").await.expect(400);
    post(
        "advisories/bulk",
        gzip(&format!("{{\"a\":\"{}\"}}", "x".repeat(50 << 20))),
        "gzip",
    )
    .await
    .expect(413);
    post("advisories/bulk", vec![b' '; 5 << 20], "").await.expect(413);
    node.get(format!("{BASE}/-/npm/v1/keys"))
        .by("reporter")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn provenance_is_kept_with_its_version() {
    let (node, draft) = (TestNode::start().await, Draft::new("@acme/left", "1.0.0"));
    let sha512 = hex(&Sha512::digest(draft.tarball()));
    let attach = |bundle: String| {
        let mut document = draft.document();
        document["_attachments"]["@acme/left-1.0.0.sigstore"] = json!({
            "content_type": "application/vnd.dev.sigstore.bundle.v0.3+json", "data": bundle, "length": bundle.len(),
        });
        document
    };
    let put = async |document: Value| {
        node.put(draft.path())
            .by("developer")
            .json(&document)
            .send()
            .await
    };
    put(attach(bundle("pkg:npm/%40acme/left@1.0.0", "00")))
        .await
        .expect(422);
    put(attach(bundle("pkg:npm/right@1.0.0", &sha512)))
        .await
        .expect(422);
    put(attach("{}".into())).await.expect(422);
    put(attach(bundle("pkg:npm/%40acme/left@1.0.0", &sha512)))
        .await
        .expect(201);
    let dist = full(&node, "@acme/left").await["versions"]["1.0.0"]["dist"].clone();
    let url = dist["attestations"]["url"].as_str().unwrap();
    assert_eq!(
        dist["attestations"]["provenance"]["predicateType"],
        "https://slsa.dev/provenance/v1"
    );
    let target = url.strip_prefix("http://cairn.example").unwrap();
    let found = node.get(target).by("reporter").send().await.expect(200).json();
    let attestation = &found["attestations"][0];
    assert_eq!(attestation["predicateType"], "https://slsa.dev/provenance/v1");
    assert!(attestation["bundle"]["dsseEnvelope"]["payload"].is_string());
    Draft::new("plain", "1.0.0").publish(&node).await.expect(201);
    for spec in ["plain@1.0.0", "@acme%2fleft@2.0.0", "nothing", "none@1.0.0"] {
        node.get(format!("{BASE}/-/npm/v1/attestations/{spec}"))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn groups_and_the_instance_show_what_the_caller_may_see() {
    let node = TestNode::start().await;
    let publish = async |project: u64, draft: Draft| {
        let target = format!(
            "/api/v4/projects/{project}/packages/npm/{}",
            draft.name.replace('/', "%2f")
        );
        node.put(target)
            .by("developer")
            .json(&draft.document())
            .send()
            .await
            .expect(201);
    };
    publish(1, Draft::new("@acme/left", "1.0.0")).await;
    publish(1, Draft::new("@acme/left", "1.1.0").content(b"of project 1")).await;
    publish(2, Draft::new("@acme/left", "1.1.0").content(b"of project 2")).await;
    publish(2, Draft::new("@acme/left", "2.0.0").tag("next")).await;
    publish(1, Draft::new("only-private", "1.0.0")).await;
    let bases = ["/api/v4/groups/acme/-/packages/npm", "/api/v4/packages/npm"];
    for base in bases {
        let target = format!("{base}/@acme%2fleft");
        let merged = node.get(&target).by("reporter").send().await.expect(200).json();
        assert_eq!(versions(&merged).len(), 3);
        // The newest project comes first.
        assert_eq!(merged["dist-tags"], json!({"latest": "1.1.0", "next": "2.0.0"}));
        assert_eq!(merged["time"].as_object().unwrap().len(), 5);
        let url = merged["versions"]["1.1.0"]["dist"]["tarball"].as_str().unwrap();
        assert_eq!(
            url,
            format!("http://cairn.example{base}/@acme/left/-/left-1.1.0.tgz")
        );
        let tarball = node
            .get(url.strip_prefix("http://cairn.example").unwrap())
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(
            tarball.body,
            Draft::new("@acme/left", "1.1.0")
                .content(b"of project 2")
                .tarball()
        );
        assert_eq!(
            merged["versions"]["1.1.0"]["dist"]["shasum"],
            hex(&Sha1::digest(&tarball.body))
        );
        node.get(format!("{target}/1.0.0"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        node.get(format!("{base}/-/package/@acme%2fleft/dist-tags"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        node.get(format!("{base}/@acme%2fright"))
            .by("reporter")
            .send()
            .await
            .expect(404);
        node.get(format!("{base}/@acme%2fright")).send().await.expect(401);
        // A stranger sees the public project alone, with other entity tags.
        let public = node.get(&target).by("stranger").send().await;
        if base.contains("packages/npm") && !base.contains("groups") {
            let public = public.expect(200).json();
            assert_eq!(versions(&public), ["1.1.0", "2.0.0"]);
        } else {
            public.expect(404);
        }
        let found = node
            .get(format!("{base}/-/v1/search?text=left"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(found.json()["total"], 2);
        // Packages are published to projects.
        let document = Draft::new("@acme/new", "1.0.0").document();
        node.put(format!("{base}/@acme%2fnew"))
            .by("owner")
            .json(&document)
            .send()
            .await
            .expect(405);
        node.get(format!("{base}/-/ping"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        node.get(format!("{base}/-/whoami"))
            .by("reporter")
            .send()
            .await
            .expect(200);
    }
    // A name without a scope does not say which root group it belongs to.
    node.get("/api/v4/packages/npm/only-private")
        .by("reporter")
        .send()
        .await
        .expect(404);
    node.get("/api/v4/groups/acme/-/packages/npm/only-private")
        .by("reporter")
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn urls_follow_how_the_project_is_named() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    for (id, shown) in [
        ("1", "1"),
        ("acme%2Fdemo", "acme%2Fdemo"),
        ("acme%2fdemo", "acme%2Fdemo"),
    ] {
        let target = format!("/api/v4/projects/{id}/packages/npm/left");
        let packument = node.get(target).by("reporter").send().await.expect(200).json();
        let url = format!("http://cairn.example/api/v4/projects/{shown}/packages/npm/left/-/left-1.0.0.tgz");
        assert_eq!(packument["versions"]["1.0.0"]["dist"]["tarball"], url);
        node.get(url.strip_prefix("http://cairn.example").unwrap())
            .by("reporter")
            .send()
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_version_that_the_rest_api_deleted_leaves_no_tag_behind() {
    use crate::registry::package::Edit;
    let node = TestNode::start().await;
    for (version, tag) in [("1.0.0", "latest"), ("1.1.0", "latest"), ("1.2.0-rc.1", "next")] {
        Draft::new("left", version)
            .tag(tag)
            .publish(&node)
            .await
            .expect(201);
    }
    let delete = async |version: &str| {
        let mut parts = axum::http::Request::get("/").body(()).unwrap().into_parts().0;
        let bearer = format!("Bearer {}", node.token("maintainer"));
        parts.headers.insert("authorization", bearer.parse().unwrap());
        let access = crate::auth::Access::of(node.app(), &parts, crate::auth::action::Freshness::Latest)
            .await
            .unwrap();
        let scope = access
            .project::<crate::auth::Delete>(&"1".parse().unwrap())
            .await
            .unwrap()
            .scope(super::NAME);
        scope
            .transact(async |mut txn| {
                let mut edit = Edit::new(&scope, &mut txn);
                let package = edit.package("left").await?.unwrap();
                let found = edit.version(&package, version).await?.unwrap();
                edit.delete_version(&package, &found).await?;
                Ok((txn, ()))
            })
            .await
            .unwrap();
    };
    let before = node.get(path("left")).by("reporter").send().await.expect(200);
    delete("1.1.0").await;
    let request = node
        .get(path("left"))
        .by("reporter")
        .header("if-none-match", before.header("etag"));
    let packument = request.send().await.expect(200).json();
    assert_eq!(
        packument["dist-tags"],
        json!({"latest": "1.0.0", "next": "1.2.0-rc.1"})
    );
    Draft::new("left", "1.1.1")
        .tag("patch")
        .publish(&node)
        .await
        .expect(201);
    let tags = full(&node, "left").await["dist-tags"].clone();
    assert_eq!(
        tags,
        json!({"latest": "1.1.1", "next": "1.2.0-rc.1", "patch": "1.1.1"})
    );
}

#[tokio::test]
async fn nobody_learns_what_is_not_theirs() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let reads = [
        "/left",
        "/unknown",
        "/left/1.0.0",
        "/left/-/left-1.0.0.tgz",
        "/-/package/left/dist-tags",
        "/-/package/left/collaborators",
        "/-/package/left/visibility",
        "/-/v1/search?text=left",
        "/-/ping",
        "/-/npm/v1/attestations/left@1.0.0",
        "/-/npm/v1/keys",
    ];
    for tail in reads {
        for project in ["1", "999", "acme%2Fnothing"] {
            let target = format!("/api/v4/projects/{project}/packages/npm{tail}");
            let anonymous = node.get(&target).send().await.expect(401);
            assert_eq!(
                anonymous.header("www-authenticate"),
                "Bearer realm=\"cairn\"",
                "{target}"
            );
            assert!(anonymous.json()["error"].is_string());
            node.get(&target).by("stranger").send().await.expect(404);
        }
        node.get(format!("{BASE}{tail}"))
            .by("guest")
            .send()
            .await
            .expect(403);
        let wrong = node
            .get(format!("/api/v4/projects/2/packages/npm{tail}"))
            .bearer("wrong")
            .send()
            .await;
        wrong.expect(401);
    }
    let rev = revision(&node, "left").await;
    let document = Draft::new("left", "1.1.0").document();
    let writes = [
        (Method::PUT, "/left".to_owned()),
        (Method::PUT, format!("/left/-rev/{rev}")),
        (Method::DELETE, format!("/left/-rev/{rev}")),
        (Method::DELETE, format!("/left/-/left-1.0.0.tgz/-rev/{rev}")),
        (Method::PUT, "/-/package/left/dist-tags/x".to_owned()),
        (Method::DELETE, "/-/package/left/dist-tags/x".to_owned()),
        (Method::POST, "/-/package/left/access".to_owned()),
    ];
    for (method, tail) in writes {
        let target = format!("{BASE}{tail}");
        for (caller, status) in [
            ("anonymous", 401),
            ("stranger", 404),
            ("guest", 403),
            ("reporter", 403),
            ("deploy-read", 403),
        ] {
            let answer = node
                .request(method.clone(), &target)
                .by(caller)
                .json(&document)
                .send()
                .await;
            assert_eq!(
                answer.status,
                status,
                "{method} {target} by {caller}: {}",
                answer.text()
            );
        }
    }
    assert_eq!(versions(&full(&node, "left").await), ["1.0.0"]);
    // The public project is for everyone to read.
    let open = "/api/v4/projects/2/packages/npm";
    let draft = Draft::new("open", "1.0.0");
    node.put(format!("{open}/open"))
        .by("developer")
        .json(&draft.document())
        .send()
        .await
        .expect(201);
    node.get(format!("{open}/open")).send().await.expect(200);
    node.get(format!("{open}/open/-/open-1.0.0.tgz"))
        .send()
        .await
        .expect(200);
    node.get(format!("{open}/unknown")).send().await.expect(404);
    node.put(format!("{open}/open"))
        .json(&draft.document())
        .send()
        .await
        .expect(401);
    node.put(format!("{open}/open"))
        .by("stranger")
        .json(&draft.document())
        .send()
        .await
        .expect(403);
    // Deploy tokens do what their scopes say.
    Draft::new("deployed", "1.0.0")
        .publish_by(&node, "deploy-write")
        .await
        .expect(201);
    node.get(path("deployed"))
        .by("deploy-read")
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn wrong_documents_are_refused_and_leave_nothing() {
    let node = TestNode::start().await;
    let draft = || Draft::new("left", "1.0.0").document();
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut document = draft();
        edit(&mut document);
        document.to_string()
    };
    let attached = |tarball: &[u8]| {
        edited(&|document| {
            document["_attachments"]["left-1.0.0.tgz"] = json!({"data": BASE64.encode(tarball)});
            document["versions"]["1.0.0"]
                .as_object_mut()
                .unwrap()
                .remove("dist");
        })
    };
    let packed = |manifest: &str| attached(&tarball(manifest));
    let cases: Vec<(&str, u16, String)> = vec![
        ("no JSON", 400, "not json".into()),
        ("an array", 400, "[]".into()),
        ("half a document", 400, draft().to_string()[..200].into()),
        (
            "a key twice",
            400,
            draft()
                .to_string()
                .replacen("{\"_id\"", "{\"name\":\"right\",\"_id\"", 1),
        ),
        ("deep nesting", 400, format!("{{\"x\":{}}}", "[".repeat(200))),
        (
            "a zero character",
            400,
            edited(&|document| document["name"] = json!("left\0")),
        ),
        (
            "a huge number",
            400,
            draft()
                .to_string()
                .replacen("\"access\":null", "\"maintainers\":1e999", 1),
        ),
        (
            "another _id",
            422,
            edited(&|document| document["_id"] = json!("right")),
        ),
        (
            "another name",
            422,
            edited(&|document| document["name"] = json!("right")),
        ),
        (
            "no tarball",
            400,
            edited(&|document| {
                document.as_object_mut().unwrap().remove("_attachments");
            }),
        ),
        (
            "an empty attachment list",
            400,
            edited(&|document| document["_attachments"] = json!({})),
        ),
        (
            "no data",
            400,
            edited(&|document| document["_attachments"] = json!({"left-1.0.0.tgz": {}})),
        ),
        (
            "no base64",
            400,
            edited(&|document| document["_attachments"]["left-1.0.0.tgz"]["data"] = json!("%%%%")),
        ),
        (
            "a wrong length",
            400,
            edited(&|document| document["_attachments"]["left-1.0.0.tgz"]["length"] = json!(1)),
        ),
        (
            "another file name",
            422,
            edited(&|document| {
                let attachment = document["_attachments"]["left-1.0.0.tgz"].take();
                document["_attachments"] = json!({"right-1.0.0.tgz": attachment});
            }),
        ),
        (
            "another kind of file",
            400,
            edited(&|document| document["_attachments"] = json!({"left.zip": {"data": ""}})),
        ),
        (
            "no manifest",
            400,
            edited(&|document| document["versions"] = json!({})),
        ),
        (
            "a manifest of another version",
            400,
            edited(&|document| {
                let manifest = document["versions"]["1.0.0"].take();
                document["versions"] = json!({"2.0.0": manifest});
            }),
        ),
        (
            "another version in the manifest",
            422,
            edited(&|document| document["versions"]["1.0.0"]["version"] = json!("1.0.1")),
        ),
        (
            "a wrong shasum",
            422,
            edited(&|document| document["versions"]["1.0.0"]["dist"]["shasum"] = json!("00")),
        ),
        (
            "a wrong integrity",
            422,
            edited(&|document| document["versions"]["1.0.0"]["dist"]["integrity"] = json!("sha512-AAAA")),
        ),
        (
            "a tag that is a range",
            400,
            edited(&|document| document["dist-tags"] = json!({"1.x": "1.0.0"})),
        ),
        (
            "a tag with a slash",
            400,
            edited(&|document| document["dist-tags"] = json!({"a/b": "1.0.0"})),
        ),
        (
            "a terminal escape",
            422,
            edited(&|document| document["versions"]["1.0.0"]["description"] = json!("\u{1b}[31m")),
        ),
        (
            "too long a manifest",
            413,
            edited(&|document| document["versions"]["1.0.0"]["x"] = json!("y".repeat(200_000))),
        ),
        (
            "too long a string",
            413,
            edited(&|document| document["versions"]["1.0.0"]["x"] = json!("y".repeat(2_000_000))),
        ),
        ("not a tarball", 422, attached(b"garbage")),
        (
            "no package.json",
            422,
            attached(&{
                let mut whole = tarball("{}");
                whole.truncate(40);
                whole
            }),
        ),
        (
            "a package.json of another package",
            422,
            packed(r#"{"name":"right","version":"1.0.0"}"#),
        ),
        (
            "a package.json of another version",
            422,
            packed(r#"{"name":"left","version":"2.0.0"}"#),
        ),
        (
            "a package.json with a key twice",
            422,
            packed(r#"{"name":"left","name":"left","version":"1.0.0"}"#),
        ),
        (
            "dependencies that are a list",
            422,
            packed(r#"{"name":"left","version":"1.0.0","dependencies":["a"]}"#),
        ),
    ];
    for (what, status, document) in cases {
        let answer = node.put(path("left")).by("developer").body(document).send().await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(answer.json()["error"].as_str().unwrap().len() > 10, "{what}");
        node.get(path("left")).by("reporter").send().await.expect(404);
    }
    // The document is fine; the URL is not.
    for (name, status) in [
        ("right", 422),
        ("LEFT", 422),
        (".left", 400),
        ("_left", 400),
        ("node_modules", 400),
        ("le%23ft", 400),
    ] {
        let answer = node
            .put(format!("{BASE}/{name}"))
            .by("developer")
            .json(&draft())
            .send()
            .await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
    }
    let upper = Draft::new("JSONStream", "1.0.0").publish(&node).await.expect(400);
    assert!(upper.text().contains("upper-case"));
    let version = Draft::new("left", "1.0").publish(&node).await.expect(400);
    assert!(version.text().contains("semver"));
    let coded = node
        .put(path("left"))
        .by("developer")
        .header("content-encoding", "gzip")
        .json(&draft());
    coded.send().await.expect(415);
    for name in [".left", "%20left", "a%3Ab", "node_modules", "-"] {
        node.get(format!("{BASE}/{name}"))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
    for (method, tail) in [
        (Method::POST, "/left"),
        (Method::DELETE, "/left"),
        (Method::PATCH, "/left"),
        (Method::PUT, "/-/ping"),
    ] {
        node.request(method, format!("{BASE}{tail}"))
            .by("owner")
            .send()
            .await
            .expect(405);
    }
    for tail in [
        "/-/org/acme/package",
        "/-/team/acme/x/user",
        "/-/stage",
        "/-/package/left/trust",
        "/-/nothing",
    ] {
        node.get(format!("{BASE}{tail}"))
            .by("owner")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn changes_of_wrong_shape_are_refused() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let current = full(&node, "left").await;
    let put = async |tail: &str, document: Value| {
        node.put(format!("{}{tail}", path("left")))
            .by("maintainer")
            .json(&document)
            .send()
            .await
    };
    let rev = format!("/-rev/{}", current["_rev"].as_str().unwrap());
    put("", json!({"_id": "left"})).await.expect(400);
    put("", json!({"_id": "right", "users": {}})).await.expect(422);
    put("", json!({"_id": "left", "versions": {"9.9.9": {}}}))
        .await
        .expect(400);
    put(&rev, json!({"_id": "left"})).await.expect(400);
    put(&rev, json!({"_id": "right", "versions": {}}))
        .await
        .expect(422);
    put(&rev, json!({"versions": []})).await.expect(400);
    put("/-rev/nonsense", current.clone()).await.expect(409);
    let mut edited = current.clone();
    edited["versions"]["1.0.0"]["deprecated"] = json!("x".repeat(2000));
    put("", edited.clone()).await.expect(422);
    edited["versions"]["1.0.0"]["deprecated"] = json!("\u{1b}]0;");
    put("", edited.clone()).await.expect(422);
    edited["versions"]["1.0.0"]["deprecated"] = json!(["no"]);
    put("", edited).await.expect(400);
    assert_eq!(full(&node, "left").await, current);
    // A tarball where none belongs.
    put(&rev, Draft::new("left", "1.1.0").document())
        .await
        .expect(403);
}

#[tokio::test]
async fn a_document_over_the_limit_is_refused() {
    let mut settings = HttpSettings::default();
    settings.limits.npm_publish_bytes = 100_000;
    let node = TestNode::with(settings).await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let noise: Vec<u8> = (0..5000u32)
        .flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
        .collect();
    Draft::new("left", "1.1.0")
        .content(&noise)
        .publish(&node)
        .await
        .expect(413);
    let mut document = Draft::new("left", "1.2.0").document();
    document["filler"] = json!(vec!["x"; 60_000]);
    node.put(path("left"))
        .by("developer")
        .json(&document)
        .send()
        .await
        .expect(413);
    assert_eq!(versions(&full(&node, "left").await), ["1.0.0"]);
}

#[tokio::test]
async fn a_packument_from_memory_is_as_new_as_one_that_is_made() {
    let (node, clock) = StoppedClock::node().await;
    Draft::new("kept", "1.0.0").publish(&node).await.expect(201);
    let asked = async |caller: &str| node.get(format!("{BASE}/kept")).by(caller).send().await;
    let repeated = || node.front().answers().repeated();
    asked("developer").await.expect(200);
    assert_eq!(repeated(), 0);
    asked("developer").await.expect(200);
    assert_eq!(repeated(), 1, "nothing has changed");

    let sibling = node.sibling();
    Draft::new("elsewhere", "1.0.0")
        .publish(&sibling)
        .await
        .expect(201);
    asked("developer").await.expect(200);
    assert_eq!(repeated(), 2, "what has changed has nothing to do with it");

    Draft::new("kept", "1.1.0").publish(&sibling).await.expect(201);
    assert_eq!(versions(&asked("developer").await.json()), ["1.0.0", "1.1.0"]);
    assert_eq!(repeated(), 2, "a version was published through another node");

    let stranger = node.get("/api/v4/user").by("stranger").send().await.json()["id"].clone();
    asked("stranger").await.expect(404);
    let end = time::date(node.app().store().now().plus(2 * DAY));
    node.post("/api/v4/projects/1/members")
        .by("root")
        .json(&json!({"user_id": stranger, "access_level": 20, "expires_at": end}))
        .send()
        .await
        .expect(201);
    for _ in 0..3 {
        asked("stranger").await.expect(200);
    }
    let before = repeated();
    asked("stranger").await.expect(200);
    assert_eq!(repeated(), before + 1);
    clock.advance(3 * DAY);
    asked("stranger").await.expect(404);
    asked("developer").await.expect(200);
}

#[tokio::test]
async fn a_token_that_was_revoked_gets_nothing_from_memory() {
    let node = TestNode::start().await;
    Draft::new("kept", "1.0.0").publish(&node).await.expect(201);
    let made = node
        .post("/api/v4/users/1/personal_access_tokens")
        .by("root")
        .json(&json!({"name": "short", "scopes": ["read_api"]}))
        .send()
        .await
        .expect(201)
        .json();
    let token = made["token"].as_str().unwrap();
    let asked = async || node.get(format!("{BASE}/kept")).bearer(token).send().await;
    for _ in 0..4 {
        asked().await.expect(200);
    }
    assert!(node.front().answers().repeated() > 0);
    node.sibling()
        .delete(format!("/api/v4/personal_access_tokens/{}", made["id"]))
        .by("root")
        .send()
        .await
        .expect(204);
    asked().await.expect(401);
}
