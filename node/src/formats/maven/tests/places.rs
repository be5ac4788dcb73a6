//! Projects, groups and the instance, and who may do what.

use serde_json::json;

use super::*;

/// Publishes a version of `org.acme:lib` to a project.
async fn publish_to(node: &TestNode, project: u64, version: &str, content: &str) {
    let base = format!("/api/v4/projects/{project}/packages/maven/org/acme/lib/{version}");
    for end in ["jar", "pom"] {
        let request = node.put(format!("{base}/lib-{version}.{end}")).by("root");
        request.body(format!("{content} {end}")).send().await.expect(201);
    }
}

#[tokio::test]
async fn a_group_shows_the_packages_of_all_its_projects() {
    let node = TestNode::start().await;
    publish_to(&node, 1, "1.0", "old").await;
    publish_to(&node, 2, "1.1", "new").await;
    publish_to(&node, 2, "1.0", "new").await;
    publish_to(&node, 3, "2.0-SNAPSHOT", "inside").await;
    for base in [GROUP, INSTANCE] {
        assert_eq!(
            versions(&node, base, "org/acme/lib").await,
            ["1.0", "1.1", "2.0-SNAPSHOT"],
            "{base}"
        );
        let metadata = node
            .get(format!("{base}/org/acme/lib/maven-metadata.xml"))
            .by("reporter");
        let metadata = metadata.send().await.expect(200);
        assert_eq!(texts(&metadata, "versioning/release"), ["1.1"]);
        assert_eq!(texts(&metadata, "versioning/latest"), ["2.0-SNAPSHOT"]);
        let digest = node
            .get(format!("{base}/org/acme/lib/maven-metadata.xml.sha1"))
            .by("reporter");
        assert_eq!(digest.send().await.expect(200).text(), sha1(&metadata.body));
        // Of two projects that have a version, the newer counts.
        let jar = node
            .get(format!("{base}/org/acme/lib/1.0/lib-1.0.jar"))
            .by("reporter");
        assert_eq!(jar.send().await.expect(200).text(), "new jar");
        node.put(format!("{base}/org/acme/lib/3/lib-3.jar"))
            .by("root")
            .send()
            .await
            .expect(405);
    }
    // Whoever may not see a project does not see its versions.
    assert_eq!(versions(&node, GROUP, "org/acme/lib").await.len(), 3);
    let open = node
        .get(format!("{INSTANCE}/org/acme/lib/maven-metadata.xml"))
        .by("stranger");
    let open = open.send().await.expect(200);
    assert_eq!(
        texts(&open, "versioning/versions/version"),
        ["1.0", "1.1", "2.0-SNAPSHOT"]
    );
}

#[tokio::test]
async fn a_snapshot_of_several_projects_is_the_newest_of_all() {
    let node = TestNode::start().await;
    for (project, build) in [(1, "20260701.130000-2"), (2, "20260701.120000-7")] {
        let base = format!("/api/v4/projects/{project}/packages/maven/org/acme/lib/1-SNAPSHOT");
        for end in ["jar", "pom"] {
            let request = node.put(format!("{base}/lib-1-{build}.{end}")).by("root");
            request.body(build).send().await.expect(201);
        }
    }
    let metadata = node
        .get(format!("{GROUP}/org/acme/lib/1-SNAPSHOT/maven-metadata.xml"))
        .by("developer");
    let metadata = metadata.send().await.expect(200);
    let values = texts(&metadata, "versioning/snapshotVersions/snapshotVersion/value");
    assert_eq!(values, ["1-20260701.130000-2"; 2]);
    let newest = node
        .get(format!("{GROUP}/org/acme/lib/1-SNAPSHOT/lib-1-SNAPSHOT.jar"))
        .by("developer");
    assert_eq!(newest.send().await.expect(200).text(), "20260701.130000-2");
}

#[tokio::test]
async fn whoever_has_not_signed_in_is_asked_to() {
    let node = TestNode::start().await;
    publish_to(&node, 1, "1.0", "x").await;
    for target in [
        format!("{BASE}/org/acme/lib/1.0/lib-1.0.jar"),
        format!("{BASE}/org/acme/lib/1.0/lib-1.0.jar.sha1"),
        format!("{BASE}/org/acme/lib/maven-metadata.xml"),
        format!("{BASE}/org/acme/"),
        format!("{BASE}/org/none/lib/1.0/lib-1.0.jar"),
        format!("{BASE}/.meta/prefixes.txt"),
        format!("{GROUP}/org/acme/lib/1.0/lib-1.0.jar"),
        format!("{INSTANCE}/org/acme/lib/1.0/lib-1.0.jar"),
        "/api/v4/projects/99/packages/maven/org/acme/lib/1.0/lib-1.0.jar".into(),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = node
                .request(method.parse().unwrap(), target.clone())
                .send()
                .await
                .expect(401);
            assert_eq!(
                answer.header("www-authenticate"),
                "Basic realm=\"cairn\"",
                "{target}"
            );
        }
    }
    let put = node
        .put(format!("{BASE}/org/acme/lib/1.1/lib-1.1.jar"))
        .body("x")
        .send()
        .await;
    assert_eq!(
        put.expect(401).header("www-authenticate"),
        "Basic realm=\"cairn\""
    );
    // With a login, what is not there is simply not there.
    get(&node, "org/none/lib/1.0/lib-1.0.jar").await.expect(404);
}

#[tokio::test]
async fn credentials_come_as_maven_and_gradle_send_them() {
    let node = TestNode::start().await;
    publish_to(&node, 1, "1.0", "x").await;
    let target = format!("{BASE}/org/acme/lib/1.0/lib-1.0.jar");
    let token = node.token("developer").to_owned();
    node.get(target.clone())
        .basic("anything", &token)
        .send()
        .await
        .expect(200);
    node.get(target.clone())
        .header("private-token", &token)
        .send()
        .await
        .expect(200);
    node.get(target.clone()).bearer(&token).send().await.expect(200);
    let deploy = node.token("deploy-read").to_owned();
    node.get(target.clone())
        .header("deploy-token", &deploy)
        .send()
        .await
        .expect(200);
    node.get(target.clone())
        .basic("anything", "cnp-wrong")
        .send()
        .await
        .expect(401);
    let publish = |caller: &str| {
        let request = node.put(format!("{BASE}/org/acme/lib/1.1/lib-1.1.jar"));
        request.basic("deploy", node.token(caller)).body("x").send()
    };
    publish("reading").await.expect(403);
}

#[tokio::test]
async fn a_quota_that_leaves_no_room_is_told_as_403() {
    let node = TestNode::start().await;
    let quota = json!({"bytes": 1000});
    let set = node.put("/api/cairn/v1/projects/1/quota").by("root").json(&quota);
    set.send().await.expect(200);
    let refused = put(&node, "org/acme/lib/1.0/lib-1.0.jar", "x".repeat(2000))
        .await
        .expect(403);
    assert!(refused.text().contains("quota"));
    put(&node, "org/acme/lib/1.0/lib-1.0.jar", "x".repeat(900))
        .await
        .expect(201);
}
