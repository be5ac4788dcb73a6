//! Requests and answers on an in-memory node.

mod access;
mod expiry;
mod lists;
mod manifests;
mod protection;
mod rest;
mod uploads;

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use cairn_cluster::{Key, Scan};
use serde_json::{Value, json};

use super::keys::{ProjectKeys, RepositoryKeys};
use super::manifest::Kind;
use super::names::{Algorithm, Digest};
use super::{NAME, store};
use crate::auth::action::Freshness;
use crate::auth::{Access, PullImage};
use crate::registry::names::Reference;
use crate::registry::{Scope, fixture};
use crate::testing::clock::StoppedClock;
use crate::testing::{Answer, TestNode};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A repository that developers may push to.
const IMAGE: &str = "acme/demo/app";

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn sha256(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

fn sha512(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha512, bytes).to_string()
}

fn oci_image() -> &'static str {
    Kind::OciImage.media_type()
}

fn oci_index() -> &'static str {
    Kind::OciIndex.media_type()
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(content), "size": content.len()})
}

/// A manifest of a config and layers.
fn image_of(config: &[u8], layers: &[&[u8]]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": oci_image(),
        "config": descriptor(CONFIG_TYPE, config),
        "layers": layers.iter().map(|layer| descriptor(LAYER_TYPE, layer)).collect::<Vec<_>>(),
    })
}

/// An index of manifests.
fn index_of(manifests: &[&Value]) -> Value {
    let entry = |manifest: &&Value| {
        descriptor(
            manifest["mediaType"].as_str().unwrap(),
            manifest.to_string().as_bytes(),
        )
    };
    json!({
        "schemaVersion": 2,
        "mediaType": oci_index(),
        "manifests": manifests.iter().map(entry).collect::<Vec<_>>(),
    })
}

/// Pushes an image with the tag `one` to a repository.
pub(crate) async fn furnish(node: &TestNode, image: &str) {
    node.push_image(image, "one", b"layer").await;
}

/// Pushes one of several images to a repository.
pub(crate) async fn push(node: &TestNode, image: &str, layer: u8) {
    node.push_image(image, "one", &[layer; 5]).await;
}

/// Pushes a blob in one request, whatever comes of it.
pub(crate) async fn try_push_blob(node: &TestNode, image: &str, content: &[u8]) -> Answer {
    let target = format!("/v2/{image}/blobs/uploads/?digest={}", sha256(content));
    let request = node.post(target).by("developer").body(content.to_vec());
    request.send().await
}

/// What a test does with a node, as a developer unless it says otherwise.
impl TestNode {
    /// Pushes a blob in one request.
    async fn push_blob(&self, image: &str, content: &[u8]) -> String {
        let digest = sha256(content);
        let target = format!("/v2/{image}/blobs/uploads/?digest={digest}");
        self.post(target)
            .by("developer")
            .body(content.to_vec())
            .send()
            .await
            .expect(201);
        digest
    }

    async fn put_manifest(&self, image: &str, reference: &str, manifest: &Value) -> Answer {
        let media_type = manifest["mediaType"].as_str().unwrap_or_default();
        let target = format!("/v2/{image}/manifests/{reference}");
        let request = self
            .put(target)
            .by("developer")
            .header("content-type", media_type);
        request.body(manifest.to_string()).send().await
    }

    /// Pushes an image of one layer and points a tag to it. Gives its manifest.
    async fn push_image(&self, image: &str, tag: &str, layer: &[u8]) -> Value {
        self.push_blob(image, b"{}").await;
        self.push_blob(image, layer).await;
        let manifest = image_of(b"{}", &[layer]);
        self.put_manifest(image, tag, &manifest).await.expect(201);
        manifest
    }

    async fn get_manifest(&self, image: &str, reference: &str) -> Answer {
        let target = format!("/v2/{image}/manifests/{reference}");
        self.get(target).by("reporter").send().await
    }

    async fn get_blob(&self, image: &str, digest: &str) -> Answer {
        let target = format!("/v2/{image}/blobs/{digest}");
        self.get(target).by("reporter").send().await
    }

    /// What a caller may touch of a project's images.
    async fn oci_scope(&self, caller: &str, project: &str) -> Scope {
        let token = format!("Bearer {}", self.token(caller));
        let request = Request::builder()
            .header("authorization", token)
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let access = Access::of(self.app(), &parts, Freshness::Latest).await.unwrap();
        let reference = Reference::Path(project.parse().unwrap());
        access.project::<PullImage>(&reference).await.unwrap().scope(NAME)
    }

    /// The records of a repository of `acme/demo`.
    async fn repository(&self, image: &str) -> RepositoryKeys {
        let scope = self.oci_scope("developer", "acme/demo").await;
        let path = image.strip_prefix("acme/demo/").unwrap();
        store::repository(&scope, path).await.unwrap().unwrap()
    }

    async fn kept_key(&self, image: &str, digest: &str) -> Key {
        self.repository(image).await.kept(&digest.parse().unwrap())
    }

    /// Until when something of a repository was promised to stay.
    async fn kept(&self, image: &str, digest: &str) -> u64 {
        let key = self.kept_key(image, digest).await;
        self.kv().local().number(&key).await.unwrap()
    }

    async fn tag_count(&self, image: &str) -> u64 {
        let key = self.repository(image).await.tag_count();
        self.kv().local().number(&key).await.unwrap()
    }

    /// How many uploads to `acme/demo` are under way.
    async fn upload_count(&self) -> u64 {
        let scope = self.oci_scope("root", "acme/demo").await;
        let keys = ProjectKeys::new(scope.collection());
        let snapshot = self.kv().local();
        let listed = snapshot
            .scan(Scan::of(&keys.sessions().uploading()))
            .await
            .unwrap()
            .len() as u64;
        let counted = snapshot.number(&keys.sessions().count()).await.unwrap();
        assert_eq!(listed, counted);
        counted
    }

    async fn revoke(&self, caller: &str) {
        fixture::revoke(self.app(), self.token(caller)).await;
    }

    /// Asks for a token, with the scopes that are named.
    async fn login(&self, caller: &str, scopes: &[&str]) -> String {
        let query: String = scopes.iter().map(|scope| format!("&scope={scope}")).collect();
        let target = format!("/jwt/auth?service=container_registry{query}");
        let request = match caller {
            "anonymous" => self.get(target),
            caller => self.get(target).basic(caller, self.token(caller)),
        };
        let answer = request.send().await.expect(200);
        answer.json()["token"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    /// Makes sure of status and code.
    #[track_caller]
    fn fails(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        let body = answer.json();
        assert_eq!(body["errors"][0]["code"], code, "{body}");
        assert!(body["errors"][0]["message"].is_string(), "{body}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
        answer
    }
}

/// Content that is too large for one piece of anything small.
fn large(seed: u8, len: usize) -> Bytes {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled() {
    let node = TestNode::start().await;
    let other = node.sibling();
    let layer = large(1, 100_000);
    let manifest = node.push_image(IMAGE, "1.0", &layer).await;
    let exact = manifest.to_string();
    let digest = sha256(exact.as_bytes());
    for reference in ["1.0", &digest] {
        let answer = other.get_manifest(IMAGE, reference).await.expect(200);
        assert_eq!(answer.text(), exact);
        assert_eq!(answer.header("content-type"), oci_image());
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        assert_eq!(answer.header("content-length"), exact.len().to_string());
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    }
    let blob = other.get_blob(IMAGE, &sha256(&layer)).await.expect(200);
    assert_eq!(blob.body, layer);
    assert_eq!(blob.header("content-type"), "application/octet-stream");
    assert_eq!(blob.header("docker-content-digest"), sha256(&layer));
    assert_eq!(blob.header("accept-ranges"), "bytes");
    assert!(blob.header("cache-control").contains("max-age"));
}

#[tokio::test]
async fn the_name_of_an_image_may_be_long_short_or_look_like_an_endpoint() {
    let node = TestNode::start().await;
    for image in [
        "acme/demo",
        "acme/demo/a/b/c/d",
        "acme/demo/manifests/latest",
        "acme/demo/blobs/uploads",
        "acme/demo/tags/list",
    ] {
        let layer = image.as_bytes();
        let manifest = node.push_image(image, "v1", layer).await;
        assert_eq!(
            node.get_manifest(image, "v1").await.expect(200).text(),
            manifest.to_string()
        );
        let tags = node
            .get(format!("/v2/{image}/tags/list"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(tags.json(), json!({"name": image, "tags": ["v1"]}));
    }
    // What one image holds, another one does not.
    let digest = sha256(b"acme/demo");
    node.get_blob("acme/demo", &digest).await.expect(200);
    node.get_blob("acme/demo/a/b/c/d", &digest)
        .await
        .fails(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn what_is_no_endpoint_or_method_is_refused_in_the_words_of_the_protocol() {
    let node = TestNode::start().await;
    let hex = "0".repeat(64);
    let check = async |method: &str, target: String, status: u16, code: &str| {
        let method = method.parse().unwrap();
        node.request(method, target.clone())
            .by("developer")
            .send()
            .await
            .fails(status, code);
    };
    check("GET", "/v2/acme/demo/unknown".into(), 404, "UNSUPPORTED").await;
    check("GET", "/v2/ACME/demo/tags/list".into(), 400, "NAME_INVALID").await;
    check("GET", "/v2/acme/demo_/tags/list".into(), 400, "NAME_INVALID").await;
    check(
        "GET",
        format!("/v2/{}/tags/list", "a/".repeat(130).trim_end_matches('/')),
        400,
        "NAME_INVALID",
    )
    .await;
    check("POST", "/v2/".into(), 405, "UNSUPPORTED").await;
    check("DELETE", "/v2/_catalog".into(), 405, "UNSUPPORTED").await;
    check("POST", format!("/v2/{IMAGE}/manifests/x"), 405, "UNSUPPORTED").await;
    check(
        "PUT",
        format!("/v2/{IMAGE}/blobs/sha256:{hex}"),
        405,
        "UNSUPPORTED",
    )
    .await;
    check("GET", format!("/v2/{IMAGE}/blobs/uploads/"), 405, "UNSUPPORTED").await;
    check("POST", format!("/v2/{IMAGE}/blobs/uploads/x"), 405, "UNSUPPORTED").await;
    check("PUT", format!("/v2/{IMAGE}/tags/list"), 405, "UNSUPPORTED").await;
    check(
        "DELETE",
        format!("/v2/{IMAGE}/referrers/sha256:{hex}"),
        405,
        "UNSUPPORTED",
    )
    .await;
    for digest in [
        "md5:00",
        "sha256:00",
        "sha256",
        &format!("SHA256:{hex}"),
        &format!("sha512:{hex}"),
    ] {
        check(
            "GET",
            format!("/v2/{IMAGE}/blobs/{digest}"),
            400,
            "DIGEST_INVALID",
        )
        .await;
        check(
            "GET",
            format!("/v2/{IMAGE}/referrers/{digest}"),
            400,
            "DIGEST_INVALID",
        )
        .await;
    }
    // Clients that search find nothing here and list the catalog instead.
    node.get("/v1/search?q=x")
        .by("developer")
        .send()
        .await
        .expect(404);
}
