//! Files and their digests.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::testing::clock::StoppedClock;

#[tokio::test]
async fn a_release_is_published_and_fetched_through_every_node() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    let sibling = node.sibling();
    let jar = get(&sibling, "org/acme/lib/1.0/lib-1.0.jar").await.expect(200);
    assert_eq!(jar.text(), "lib 1.0");
    assert_eq!(jar.header("content-type"), "application/java-archive");
    assert_eq!(jar.header("x-checksum-sha1"), sha1(b"lib 1.0"));
    assert_eq!(
        jar.header("etag"),
        format!("\"{{SHA1{{{}}}}}\"", sha1(b"lib 1.0"))
    );
    for header in [
        "x-checksum-md5",
        "x-checksum-sha256",
        "x-checksum-sha512",
        "last-modified",
    ] {
        assert!(!jar.header(header).is_empty(), "{header}");
    }
    assert_eq!(
        jar.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    assert!(jar.header("content-security-policy").contains("sandbox"));
    let head = node
        .head(format!("{BASE}/org/acme/lib/1.0/lib-1.0.jar"))
        .by("reporter");
    let head = head.send().await.expect(200);
    assert_eq!(head.header("content-length"), "7");
    assert!(head.body.is_empty());

    let listed = node.get(PACKAGES).by("reporter").send().await.json();
    assert_eq!(listed[0]["name"], "org/acme/lib");
    assert_eq!(listed[0]["version"], "1.0");
    assert_eq!(listed[0]["package_type"], "maven");
    let id = listed[0]["id"].as_u64().unwrap();
    let files = node.get(format!("{PACKAGES}/{id}/package_files")).by("reporter");
    let files = files.send().await.json();
    let names: Vec<_> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["file_name"].clone())
        .collect();
    assert_eq!(
        names,
        ["lib-1.0.jar", "lib-1.0.pom"],
        "neither digests nor metadata are files"
    );
    assert_eq!(files[0]["file_sha1"], sha1(b"lib 1.0"));
}

#[tokio::test]
async fn digests_are_of_what_is_served() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    put(&node, "org/acme/lib/1.0/lib-1.0.jar.asc", "signature")
        .await
        .expect(201);
    let path = "org/acme/lib/1.0/lib-1.0.jar";
    for (end, expected) in [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128)] {
        let file = get(&node, path).await.expect(200);
        let digest = get(&node, &format!("{path}.{end}")).await.expect(200);
        assert_eq!(digest.text().len(), expected);
        assert_eq!(digest.text(), file.header(&format!("x-checksum-{end}")));
        assert!(digest.header("content-type").starts_with("text/plain"));
    }
    let signed = get(&node, &format!("{path}.asc.sha1")).await.expect(200);
    assert_eq!(signed.text(), sha1(b"signature"));
    get(&node, &format!("{path}.sha1.md5")).await.expect(404);
    get(&node, "org/acme/lib/1.0/lib-1.0.war.sha1").await.expect(404);
}

#[tokio::test]
async fn a_digest_that_does_not_fit_is_refused_and_the_file_stays() {
    let node = TestNode::start().await;
    let path = "org/acme/lib/1.0/lib-1.0.jar";
    put(&node, &format!("{path}.sha1"), sha1(b"bytes"))
        .await
        .expect(201);
    put(&node, path, "bytes").await.expect(201);
    let refused = put(&node, &format!("{path}.sha1"), sha1(b"other"))
        .await
        .expect(400);
    assert_eq!(
        refused.text(),
        "the sha1 that was sent is not the one of lib-1.0.jar\n"
    );
    put(&node, &format!("{path}.md5"), "no digest").await.expect(400);
    put(&node, &format!("{path}.sha512"), "x".repeat(5000))
        .await
        .expect(413);
    let with_name = format!("{}  lib-1.0.jar\n", sha1(b"bytes"));
    put(&node, &format!("{path}.sha1"), with_name).await.expect(201);
    assert_eq!(get(&node, path).await.expect(200).text(), "bytes");
    let digest = get(&node, &format!("{path}.sha1")).await.expect(200);
    assert_eq!(
        digest.text(),
        sha1(b"bytes"),
        "what clients send as a digest is not given out"
    );
}

#[tokio::test]
async fn a_release_does_not_change() {
    let node = TestNode::start().await;
    let path = "org/acme/lib/1.0/lib-1.0.jar";
    put(&node, path, "bytes").await.expect(201);
    put(&node, path, "bytes").await.expect(200);
    let refused = put(&node, path, "other").await.expect(409);
    assert_eq!(
        refused.text(),
        "lib-1.0.jar is published already, with other content; raise the version\n"
    );
    assert_eq!(
        refused.reason,
        refused.text().trim_end(),
        "mvn prints nothing else"
    );
    // By its length alone, before a byte of it was read.
    let early = node
        .put(format!("{BASE}/{path}"))
        .by("developer")
        .header("content-length", "99");
    early.send().await.expect(409);
    put(&node, "org/acme/lib/1.0/lib-1.0-sources.jar", "late")
        .await
        .expect(201);
    put(&node, "org/acme/lib/1.0/lib-1.0.jar.asc", "late")
        .await
        .expect(201);
    assert_eq!(get(&node, path).await.text(), "bytes");
}

#[tokio::test]
async fn duplicates_are_taken_where_a_setting_allows_them() {
    let node = TestNode::start().await;
    let path = "org/acme/lib/1.0/lib-1.0.jar";
    put(&node, path, "first").await.expect(201);
    let settings = "/api/v4/groups/1/packages/settings";
    let set = async |fields: serde_json::Value| {
        node.put(settings)
            .by("owner")
            .json(&fields)
            .send()
            .await
            .expect(200)
            .json()
    };
    assert_eq!(
        set(json!({"maven_duplicates_allowed": true})).await["maven_duplicates"],
        "allow"
    );
    put(&node, path, "second").await.expect(200);
    let changed = get(&node, path).await.expect(200);
    assert_eq!(changed.text(), "second");
    assert_eq!(changed.header("cache-control"), "private, no-cache");
    assert_eq!(get(&node, &format!("{path}.sha1")).await.text(), sha1(b"second"));
    set(json!({"maven_duplicates_allowed": false})).await;
    put(&node, path, "third").await.expect(409);
    set(json!({"maven_duplicate_exception_regex": "org/acme/.*"})).await;
    put(&node, path, "third").await.expect(200);
    set(json!({"maven_duplicate_exception_regex": "1\\.0"})).await;
    put(&node, path, "fourth").await.expect(200);
    put(&node, "org/acme/lib/1.1/lib-1.1.jar", "first")
        .await
        .expect(201);
    put(&node, "org/acme/lib/1.1/lib-1.1.jar", "other")
        .await
        .expect(409);
}

#[tokio::test]
async fn a_file_is_fetched_in_parts_and_only_if_it_is_another_one() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    let path = format!("{BASE}/org/acme/lib/1.0/lib-1.0.jar");
    let etag = get(&node, "org/acme/lib/1.0/lib-1.0.jar")
        .await
        .header("etag")
        .to_owned();
    let ask = |headers: &[(&str, &str)]| {
        let mut request = node.get(path.clone()).by("reporter");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send()
    };
    let part = ask(&[("range", "bytes=4-"), ("if-range", &etag)])
        .await
        .expect(206);
    assert_eq!(part.text(), "1.0");
    assert_eq!(part.header("content-range"), "bytes 4-6/7");
    ask(&[("range", "bytes=4-"), ("if-range", "\"{SHA1{00}}\"")])
        .await
        .expect(200);
    ask(&[("range", "bytes=9-")]).await.expect(416);
    ask(&[("if-none-match", &etag)]).await.expect(304);
    ask(&[("if-none-match", "\"{SHA1{00}}\"")]).await.expect(200);
    ask(&[("if-match", "\"{SHA1{00}}\"")]).await.expect(412);
}

#[tokio::test]
async fn ivy_sees_no_digest_of_what_it_has_just_uploaded() {
    let (node, clock) = StoppedClock::node().await;
    release(&node, "lib", "1.0").await;
    let path = format!("{BASE}/org/acme/lib/1.0/lib-1.0.jar.sha1");
    let ask = async |agent: &str| {
        let request = node.head(path.clone()).by("reporter").header("user-agent", agent);
        request.send().await.status
    };
    assert_eq!(ask("Apache Ivy/2.5.1").await, 404);
    assert_eq!(ask("Gradle/8.10").await, 200);
    let got = node
        .get(path.clone())
        .by("reporter")
        .header("user-agent", "Apache Ivy/2.5.1");
    got.send().await.expect(200);
    clock.advance(Duration::from_secs(61));
    assert_eq!(ask("Apache Ivy/2.5.1").await, 200);
}

#[tokio::test]
async fn paths_that_could_be_misread_are_refused() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    for (path, status) in [
        ("org/acme/lib/1.0/../../lib-1.0.jar", 400),
        ("org/acme/%2e%2e/1.0/lib-1.0.jar", 400),
        ("org//acme/lib/1.0/lib-1.0.jar", 400),
        ("org/acme/lib%00/1.0/lib-1.0.jar", 400),
        ("org/acme/lib%2f1.0/lib-1.0.jar", 400),
        ("org/acme/.hidden/1.0/.hidden-1.0.jar", 400),
        ("org/acme/a%20b/1.0/a%20b-1.0.jar", 400),
        ("org/acme/lib/1.0/", 400),
        ("org/acme/lib/1.0/lib-1.1.jar", 400),
        ("org/acme/lib/1.0/README", 400),
        ("lib-1.0.jar", 400),
        ("maven-metadata.xml", 400),
        (&format!("org/acme/lib/1.0/lib-1.0-{}.jar", "x".repeat(300)), 400),
    ] {
        put(&node, path, "x").await.expect(status);
        let got = get(&node, path).await.status;
        assert!([400, 404].contains(&got) || path.ends_with('/'), "{path} {got}");
    }
    assert_eq!(ids(&node).await.len(), 1);
    // A plus is a plus, however it is written.
    put(&node, "org/acme/lib/1.0+b/lib-1.0+b.jar", "x")
        .await
        .expect(201);
    assert_eq!(
        get(&node, "org/acme/lib/1.0%2Bb/lib-1.0%2bb.jar")
            .await
            .expect(200)
            .text(),
        "x"
    );
    assert!(ids(&node).await.iter().any(|(version, _)| version == "1.0+b"));
}

#[tokio::test]
async fn what_newer_gradles_send_is_taken() {
    let node = TestNode::start().await;
    let stem = "org/acme/lib/1.0/lib-1.0";
    for (end, content) in [
        ("jar", "jar"),
        ("module", "{\"formatVersion\":\"1.1\"}"),
        ("pom", "<project/>"),
    ] {
        put(&node, &format!("{stem}.{end}"), content).await.expect(201);
        let file = get(&node, &format!("{stem}.{end}")).await.expect(200);
        assert_eq!(
            file.text(),
            content,
            "modules are hashed by clients, so nothing of them may change"
        );
        for algorithm in ["md5", "sha1", "sha256", "sha512"] {
            let digest = file.header(&format!("x-checksum-{algorithm}")).to_owned();
            put(&node, &format!("{stem}.{end}.{algorithm}"), digest)
                .await
                .expect(201);
        }
        put(&node, &format!("{stem}.{end}.sha512"), "00".repeat(64))
            .await
            .expect(400);
    }
    put(&node, "org/acme/lib/maven-metadata.xml", "<metadata/>")
        .await
        .expect(201);
    put(&node, "org/acme/lib/maven-metadata.xml.sha256", "00".repeat(32))
        .await
        .expect(201);
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.0"]);
}

#[tokio::test]
async fn a_protected_package_is_known_by_either_spelling() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    let rule = json!({
        "package_name_pattern": "org.acme:l*",
        "package_type": "maven",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    let path = "org/acme/lib/1.1/lib-1.1.jar";
    let refused = put(&node, path, "x").await.expect(403);
    assert_eq!(refused.text(), "Package protected.\n");
    let by = |caller: &str| node.put(format!("{BASE}/{path}")).by(caller).body("x").send();
    by("deploy-write").await.expect(403);
    by("maintainer").await.expect(201);
    put(&node, "org/acme/other/1.0/other-1.0.jar", "x")
        .await
        .expect(201);
    delete(&node, "org/acme/lib/1.0/lib-1.0.jar").await.expect(403);
    delete(&node, "org/acme/lib/").await.expect(403);
}

#[tokio::test]
async fn a_version_that_was_deleted_comes_back_only_by_those_who_may_delete() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    delete(&node, "org/acme/lib/1.0/").await.expect(204);
    let path = "org/acme/lib/1.0/lib-1.0.jar";
    assert!(
        put(&node, path, "x")
            .await
            .expect(409)
            .text()
            .contains("was deleted")
    );
    let by_maintainer = node.put(format!("{BASE}/{path}")).by("maintainer").body("x");
    by_maintainer.send().await.expect(201);
}
