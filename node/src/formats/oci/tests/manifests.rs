//! Manifests and tags.

use super::*;

#[tokio::test]
async fn a_manifest_is_there_with_all_that_it_names_or_not_at_all() {
    let node = TestNode::start().await;
    let manifest = image_of(b"{}", &[b"one", b"two"]);
    let missing = |answer: Answer, digest: &str| {
        let answer = answer.fails(404, "MANIFEST_BLOB_UNKNOWN");
        assert!(answer.text().contains(digest), "{}", answer.text());
    };
    missing(node.put_manifest(IMAGE, "1", &manifest).await, &sha256(b"{}"));
    node.push_blob(IMAGE, b"{}").await;
    node.push_blob(IMAGE, b"one").await;
    // In another repository is not here.
    node.push_blob("acme/demo/other", b"two").await;
    missing(node.put_manifest(IMAGE, "1", &manifest).await, &sha256(b"two"));
    node.get_manifest(IMAGE, "1").await.fails(404, "MANIFEST_UNKNOWN");
    node.push_blob(IMAGE, b"two").await;
    node.put_manifest(IMAGE, "1", &manifest).await.expect(201);

    let absent = image_of(b"{}", &[]);
    let index = index_of(&[&manifest, &absent]);
    missing(
        node.put_manifest(IMAGE, "all", &index).await,
        &sha256(absent.to_string().as_bytes()),
    );
    node.put_manifest(IMAGE, "none", &absent).await.expect(201);
    node.put_manifest(IMAGE, "all", &index).await.expect(201);
    let nested = index_of(&[&index]);
    node.put_manifest(IMAGE, "nested", &nested).await.expect(201);
    assert_eq!(
        node.get_manifest(IMAGE, "nested").await.expect(200).text(),
        nested.to_string()
    );
}

#[tokio::test]
async fn what_is_used_cannot_be_removed() {
    let node = TestNode::start().await;
    let manifest = node.push_image(IMAGE, "1", b"layer").await;
    let index = index_of(&[&manifest]);
    node.put_manifest(IMAGE, "all", &index).await.expect(201);
    let (manifest, index) = (
        sha256(manifest.to_string().as_bytes()),
        sha256(index.to_string().as_bytes()),
    );
    let delete = async |kind: &str, digest: &str| {
        let target = format!("/v2/{IMAGE}/{kind}/{digest}");
        node.delete(target).by("developer").send().await
    };
    let layer = sha256(b"layer");
    delete("blobs", &layer).await.fails(409, "DENIED");
    delete("manifests", &manifest)
        .await
        .fails(409, "MANIFEST_REFERENCED_IN_LIST");
    node.get_manifest(IMAGE, "1").await.expect(200);
    delete("manifests", &index).await.expect(202);
    delete("blobs", &layer).await.fails(409, "DENIED");
    delete("manifests", &manifest).await.expect(202);
    delete("blobs", &layer).await.expect(202);
    delete("blobs", &sha256(b"{}")).await.expect(202);
}

#[tokio::test]
async fn content_that_may_lie_elsewhere_is_not_asked_for() {
    let node = TestNode::start().await;
    node.push_blob(IMAGE, b"{}").await;
    let mut manifest = image_of(b"{}", &[b"a", b"b"]);
    manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    // Cairn never asks there; nobody listens.
    manifest["layers"][1]["urls"] = json!(["http://127.0.0.1:1/layer"]);
    node.put_manifest(IMAGE, "1", &manifest).await.expect(201);
    node.get_blob(IMAGE, &sha256(b"a"))
        .await
        .fails(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn malformed_manifests_are_refused() {
    let node = TestNode::start().await;
    node.push_blob(IMAGE, b"{}").await;
    let put = async |reference: &str, media_type: &str, body: String| {
        let target = format!("/v2/{IMAGE}/manifests/{reference}");
        node.put(target)
            .by("developer")
            .header("content-type", media_type)
            .body(body)
            .send()
            .await
    };
    let good = image_of(b"{}", &[]).to_string();
    for (media_type, body) in [
        (oci_image(), String::new()),
        (oci_image(), "{".into()),
        (oci_image(), "[]".into()),
        (
            oci_image(),
            good.replace("\"schemaVersion\":2", "\"schemaVersion\":1"),
        ),
        (
            oci_image(),
            good.replace("\"layers\":[]", "\"layers\":[],\"manifests\":[]"),
        ),
        (
            oci_image(),
            good.replace("\"layers\":[]", "\"layers\":[],\"Manifests\":[]"),
        ),
        (
            oci_image(),
            good.replace("\"layers\":[]", "\"layers\":[],\"layers\":[]"),
        ),
        (oci_index(), good.clone()),
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            good.clone(),
        ),
        ("text/html", good.clone()),
        (
            oci_image(),
            format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        ),
    ] {
        put("1", media_type, body).await.fails(400, "MANIFEST_INVALID");
    }
    put("1", oci_image(), " ".repeat((4 << 20) + 1))
        .await
        .fails(413, "SIZE_INVALID");
    let layers: Vec<Value> = (0..3000u32)
        .map(|at| descriptor(LAYER_TYPE, &at.to_be_bytes()))
        .collect();
    let mut many = image_of(b"{}", &[]);
    many["layers"] = json!(layers);
    put("1", oci_image(), many.to_string())
        .await
        .fails(413, "SIZE_INVALID");
    put(&sha256(b"other"), oci_image(), good.clone())
        .await
        .fails(400, "DIGEST_INVALID");
    put("sha256:baddigeststring", oci_image(), good.clone())
        .await
        .fails(400, "DIGEST_INVALID");
    put(".tag", oci_image(), good.clone())
        .await
        .fails(400, "TAG_INVALID");
    put(&"t".repeat(129), oci_image(), good.clone())
        .await
        .fails(400, "TAG_INVALID");
    node.get_manifest(IMAGE, "1").await.fails(404, "MANIFEST_UNKNOWN");
    put("1", "", good.clone()).await.expect(201);
    put(
        "1",
        "application/json",
        good.replace(&format!("\"mediaType\":\"{}\",", oci_image()), ""),
    )
    .await
    .expect(201);
    put("1", &format!("{};charset=utf-8", oci_image()), good)
        .await
        .expect(201);
}

#[tokio::test]
async fn large_manifests_are_exact_too() {
    let node = TestNode::start().await;
    node.push_blob(IMAGE, b"{}").await;
    let mut manifest = image_of(b"{}", &[]);
    let annotations: serde_json::Map<_, _> = (0..390)
        .map(|at| (format!("annotation-{at}"), json!("A".repeat(10_000))))
        .collect();
    manifest["annotations"] = annotations.into();
    // Spaces and order are part of it.
    let text = format!(" {manifest}\n");
    for digest in [sha256(text.as_bytes()), sha512(text.as_bytes())] {
        let target = format!("/v2/{IMAGE}/manifests/{digest}");
        let request = node
            .put(&target)
            .by("developer")
            .header("content-type", oci_image());
        request.body(text.clone()).send().await.expect(201);
        for node in [&node, &node.sibling()] {
            let head = node.head(&target).by("reporter").send().await.expect(200);
            assert_eq!(head.header("content-length"), text.len().to_string());
            assert_eq!(head.header("content-type"), oci_image());
            assert_eq!(head.header("docker-content-digest"), digest);
            for _ in 0..2 {
                assert_eq!(node.get_manifest(IMAGE, &digest).await.expect(200).text(), text);
            }
        }
    }
}

#[tokio::test]
async fn a_tag_moves_from_one_manifest_to_another() {
    let node = TestNode::start().await;
    let other = node.sibling();
    let first = node.push_image(IMAGE, "latest", b"first").await;
    let digest = sha256(first.to_string().as_bytes());
    let second = node.push_image(IMAGE, "latest", b"second").await;
    assert_eq!(
        other.get_manifest(IMAGE, "latest").await.expect(200).text(),
        second.to_string()
    );
    assert_eq!(
        other.get_manifest(IMAGE, &digest).await.expect(200).text(),
        first.to_string()
    );
    // Back to one that is there already.
    let again = node.put_manifest(IMAGE, "latest", &first).await.expect(201);
    assert_eq!(
        again.header("location"),
        format!("/v2/{IMAGE}/manifests/{digest}")
    );
    assert_eq!(again.header("docker-content-digest"), digest);
    assert_eq!(
        other.get_manifest(IMAGE, "latest").await.expect(200).text(),
        first.to_string()
    );
    let (one, two) = tokio::join!(
        node.put_manifest(IMAGE, "latest", &first),
        other.put_manifest(IMAGE, "latest", &second),
    );
    one.expect(201);
    two.expect(201);
    node.get_manifest(IMAGE, "latest").await.expect(200);
    assert_eq!(node.tag_count(IMAGE).await, 1);
}

#[tokio::test]
async fn a_manifest_by_digest_may_bring_its_tags() {
    let node = TestNode::start().await;
    node.push_blob(IMAGE, b"{}").await;
    let manifest = image_of(b"{}", &[]);
    for digest in [
        sha256(manifest.to_string().as_bytes()),
        sha512(manifest.to_string().as_bytes()),
    ] {
        let reference = format!("{digest}?tag=one&tag=two&tag=one");
        let answer = node.put_manifest(IMAGE, &reference, &manifest).await.expect(201);
        let tags: Vec<_> = answer.headers.get_all("oci-tag").iter().collect();
        assert_eq!(tags, ["one", "two"]);
        for tag in ["one", "two"] {
            let found = node.get_manifest(IMAGE, tag).await.expect(200);
            assert_eq!(found.header("docker-content-digest"), digest);
        }
    }
    let reference = format!("{}?tag=ok&tag=.bad", sha256(manifest.to_string().as_bytes()));
    node.put_manifest(IMAGE, &reference, &manifest)
        .await
        .fails(400, "TAG_INVALID");
    node.get_manifest(IMAGE, "ok")
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    let many: String = (0..101).map(|at| format!("&tag=t{at}")).collect();
    let reference = format!("{}?{many}", sha256(manifest.to_string().as_bytes()));
    node.put_manifest(IMAGE, &reference, &manifest)
        .await
        .fails(400, "TAG_INVALID");
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest() {
    let node = TestNode::start().await;
    let manifest = node.push_image(IMAGE, "1", b"layer").await;
    node.put_manifest(IMAGE, "2", &manifest).await.expect(201);
    let digest = sha256(manifest.to_string().as_bytes());
    let target = format!("/v2/{IMAGE}/manifests/1");
    node.delete(&target).by("developer").send().await.expect(202);
    node.delete(&target)
        .by("developer")
        .send()
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    node.get_manifest(IMAGE, "1").await.fails(404, "MANIFEST_UNKNOWN");
    node.get_manifest(IMAGE, "2").await.expect(200);
    node.get_manifest(IMAGE, &digest).await.expect(200);
    assert_eq!(node.tag_count(IMAGE).await, 1);
    for reference in ["absent", ".malformed"] {
        let target = format!("/v2/{IMAGE}/manifests/{reference}");
        node.delete(target)
            .by("developer")
            .send()
            .await
            .fails(404, "MANIFEST_UNKNOWN");
    }
    let target = "/v2/acme/demo/absent/manifests/1";
    node.delete(target)
        .by("developer")
        .send()
        .await
        .fails(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn deleting_a_manifest_drops_all_its_tags() {
    let node = TestNode::start().await;
    let other = node.sibling();
    let manifest = node.push_image(IMAGE, "kept", b"layer").await;
    let doomed = node.push_image(IMAGE, "a", b"doomed").await;
    let digest = sha256(doomed.to_string().as_bytes());
    for round in 0..7 {
        let tags: String = (0..100).map(|at| format!("&tag=t{round}-{at}")).collect();
        node.put_manifest(IMAGE, &format!("{digest}?{tags}"), &doomed)
            .await
            .expect(201);
    }
    assert_eq!(node.tag_count(IMAGE).await, 702);
    let target = format!("/v2/{IMAGE}/manifests/{digest}");
    node.delete(&target).by("developer").send().await.expect(202);
    for reference in ["a", "t0-0", "t6-99", &digest] {
        other
            .get_manifest(IMAGE, reference)
            .await
            .fails(404, "MANIFEST_UNKNOWN");
    }
    let tags = node
        .get(format!("/v2/{IMAGE}/tags/list"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(tags.json()["tags"], json!(["kept"]));
    assert_eq!(node.tag_count(IMAGE).await, 1);
    assert_eq!(
        other.get_manifest(IMAGE, "kept").await.expect(200).text(),
        manifest.to_string()
    );
    node.delete(&target)
        .by("developer")
        .send()
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    // What is pushed again is there again.
    node.put_manifest(IMAGE, "again", &doomed).await.expect(201);
    node.get_manifest(IMAGE, &digest).await.expect(200);
}

#[tokio::test]
async fn a_fallback_tag_is_a_tag() {
    let node = TestNode::start().await;
    let manifest = node.push_image(IMAGE, "1", b"layer").await;
    let digest = sha256(manifest.to_string().as_bytes());
    let fallback = digest.replace(':', "-");
    node.get_manifest(IMAGE, &fallback)
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    let index = index_of(&[&manifest]);
    node.put_manifest(IMAGE, &fallback, &index).await.expect(201);
    assert_eq!(
        node.get_manifest(IMAGE, &fallback).await.expect(200).text(),
        index.to_string()
    );
}

#[tokio::test]
async fn conditions_and_what_clients_accept() {
    let node = TestNode::start().await;
    let manifest = node.push_image(IMAGE, "1", b"layer").await;
    let etag = format!("\"{}\"", sha256(manifest.to_string().as_bytes()));
    let target = format!("/v2/{IMAGE}/manifests/1");
    for value in [etag.clone(), format!("\"x\", {etag}"), "*".into()] {
        let answer = node
            .get(&target)
            .by("reporter")
            .header("if-none-match", &value)
            .send()
            .await
            .expect(304);
        assert_eq!(answer.header("etag"), etag);
        assert!(answer.body.is_empty());
    }
    node.get(&target)
        .by("reporter")
        .header("if-none-match", "\"x\"")
        .send()
        .await
        .expect(200);
    // Nothing is converted, so what is accepted does not matter, in one line or several.
    let request = node.get(&target).by("reporter");
    let request = request.header("accept", "application/vnd.docker.distribution.manifest.v2+json");
    let answer = request.header("accept", "text/html").send().await.expect(200);
    assert_eq!(answer.header("content-type"), oci_image());
}

#[tokio::test]
async fn what_was_promised_of_a_manifest_is_marked() {
    let node = TestNode::start().await;
    let manifest = node.push_image(IMAGE, "1", b"layer").await;
    let digest = sha256(manifest.to_string().as_bytes());
    let mut txn = node.kv().begin().await.unwrap();
    txn.delete(&node.kept_key(IMAGE, &digest).await);
    txn.commit().await.unwrap();
    let target = format!("/v2/{IMAGE}/manifests/{digest}");
    node.head(&target).by("reporter").send().await.expect(200);
    assert_eq!(node.kept(IMAGE, &digest).await, 0);
    node.head(&target).by("developer").send().await.expect(200);
    assert!(node.kept(IMAGE, &digest).await > 0);
}
