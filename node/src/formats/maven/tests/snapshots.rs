//! Versions that are still being worked on.

use std::collections::BTreeSet;

use super::*;

const SNAPSHOT: &str = "org/acme/lib/1.0-SNAPSHOT";

/// Publishes a file of a build.
async fn build(node: &TestNode, build: &str, end: &str) {
    let path = format!("{SNAPSHOT}/lib-1.0-{build}{end}");
    put(node, &path, format!("{build}{end}")).await.expect(201);
}

/// What the metadata of the snapshot say of each classifier and extension.
async fn said(node: &TestNode) -> Vec<String> {
    let metadata = get(node, &format!("{SNAPSHOT}/maven-metadata.xml"))
        .await
        .expect(200);
    let mut said = Vec::new();
    let mut line = String::new();
    xml::each_text(&metadata.body, |path, text| match path {
        "metadata/versioning/snapshotVersions/snapshotVersion/classifier" => line = format!("{text} "),
        "metadata/versioning/snapshotVersions/snapshotVersion/extension" => line += text,
        "metadata/versioning/snapshotVersions/snapshotVersion/value" => {
            said.push(format!("{} {text}", std::mem::take(&mut line)))
        }
        _ => {}
    })
    .unwrap();
    said
}

#[tokio::test]
async fn each_file_of_a_snapshot_has_its_own_newest_build() {
    let node = TestNode::start().await;
    for end in [".jar", "-sources.jar", ".pom"] {
        build(&node, "20260701.120000-1", end).await;
    }
    build(&node, "20260701.130000-2", ".jar").await;
    build(&node, "20260701.130001-2", ".pom").await;
    build(&node, "20260701.140000-3", "-extra.jar").await;
    assert_eq!(
        said(&node).await,
        [
            "jar 1.0-20260701.130000-2",
            "extra jar 1.0-20260701.140000-3",
            "sources jar 1.0-20260701.120000-1",
            "pom 1.0-20260701.130001-2",
        ]
    );
    let metadata = get(&node, &format!("{SNAPSHOT}/maven-metadata.xml")).await;
    assert_eq!(texts(&metadata, "version"), ["1.0-SNAPSHOT"]);
    assert_eq!(
        texts(&metadata, "versioning/snapshot/timestamp"),
        ["20260701.130001"]
    );
    assert_eq!(texts(&metadata, "versioning/snapshot/buildNumber"), ["2"]);
    assert_eq!(
        metadata.header("etag"),
        format!("\"{{SHA1{{{}}}}}\"", sha1(&metadata.body))
    );
    let digest = get(&node, &format!("{SNAPSHOT}/maven-metadata.xml.sha1"))
        .await
        .expect(200);
    assert_eq!(digest.text(), sha1(&metadata.body));
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.0-SNAPSHOT"]);
}

#[tokio::test]
async fn a_late_upload_of_an_earlier_build_does_not_take_the_place_of_a_later_one() {
    let node = TestNode::start().await;
    build(&node, "20260701.130000-2", ".jar").await;
    build(&node, "20260701.120000-1", ".jar").await;
    assert_eq!(said(&node).await, ["jar 1.0-20260701.130000-2"]);
}

#[tokio::test]
async fn the_name_of_the_snapshot_itself_is_the_newest_build() {
    let node = TestNode::start().await;
    build(&node, "20260701.120000-1", ".jar").await;
    build(&node, "20260701.120000-1", "-sources.jar").await;
    build(&node, "20260701.130000-2", ".jar").await;
    let sibling = node.sibling();
    let newest = get(&sibling, &format!("{SNAPSHOT}/lib-1.0-SNAPSHOT.jar"))
        .await
        .expect(200);
    assert_eq!(newest.text(), "20260701.130000-2.jar");
    assert_eq!(newest.header("cache-control"), "private, no-cache");
    let digest = get(&sibling, &format!("{SNAPSHOT}/lib-1.0-SNAPSHOT.jar.sha1"))
        .await
        .expect(200);
    assert_eq!(digest.text(), sha1(b"20260701.130000-2.jar"));
    let sources = get(&sibling, &format!("{SNAPSHOT}/lib-1.0-SNAPSHOT-sources.jar"))
        .await
        .expect(200);
    assert_eq!(sources.text(), "20260701.120000-1-sources.jar");
    get(&sibling, &format!("{SNAPSHOT}/lib-1.0-SNAPSHOT.war"))
        .await
        .expect(404);
    let immutable = get(&sibling, &format!("{SNAPSHOT}/lib-1.0-20260701.120000-1.jar"))
        .await
        .expect(200);
    assert!(immutable.header("cache-control").contains("immutable"));
}

#[tokio::test]
async fn snapshots_of_one_name_replace_themselves_and_have_metadata() {
    let node = TestNode::start().await;
    let path = format!("{SNAPSHOT}/lib-1.0-SNAPSHOT.jar");
    put(&node, &path, "first").await.expect(201);
    put(&node, &path, "second").await.expect(200);
    put(&node, &format!("{path}.sha1"), sha1(b"second"))
        .await
        .expect(201);
    put(&node, &format!("{SNAPSHOT}/lib-1.0-SNAPSHOT.pom"), "<project/>")
        .await
        .expect(201);
    assert_eq!(get(&node, &path).await.expect(200).text(), "second");
    assert_eq!(said(&node).await, ["jar 1.0-SNAPSHOT", "pom 1.0-SNAPSHOT"]);
    let metadata = get(&node, &format!("{SNAPSHOT}/maven-metadata.xml")).await;
    assert_eq!(texts(&metadata, "versioning/snapshot/localCopy"), ["true"]);
    // Builds that come later are newer.
    build(&node, "20260701.120000-1", ".jar").await;
    assert_eq!(get(&node, &path).await.text(), "20260701.120000-1.jar");
}

#[tokio::test]
async fn a_build_that_is_there_does_not_change() {
    let node = TestNode::start().await;
    build(&node, "20260701.120000-1", ".jar").await;
    let path = format!("{SNAPSHOT}/lib-1.0-20260701.120000-1.jar");
    put(&node, &path, "20260701.120000-1.jar").await.expect(200);
    put(&node, &path, "other").await.expect(409);
}

#[tokio::test]
async fn metadata_go_back_when_the_newest_build_is_deleted() {
    let node = TestNode::start().await;
    for (at, hour) in [11, 12, 13].iter().enumerate() {
        for end in [".jar", ".pom"] {
            build(&node, &format!("20260701.{hour}0000-{}", at + 1), end).await;
        }
    }
    delete(&node, &format!("{SNAPSHOT}/lib-1.0-20260701.130000-3.jar"))
        .await
        .expect(204);
    assert_eq!(
        said(&node).await,
        ["jar 1.0-20260701.120000-2", "pom 1.0-20260701.130000-3"]
    );
    delete(&node, &format!("{SNAPSHOT}/lib-1.0-20260701.110000-1.jar"))
        .await
        .expect(204);
    assert_eq!(
        said(&node).await,
        ["jar 1.0-20260701.120000-2", "pom 1.0-20260701.130000-3"]
    );
    delete(&node, &format!("{SNAPSHOT}/lib-1.0-20260701.120000-2.jar"))
        .await
        .expect(204);
    assert_eq!(said(&node).await, ["pom 1.0-20260701.130000-3"]);
    get(&node, &format!("{SNAPSHOT}/lib-1.0-SNAPSHOT.jar"))
        .await
        .expect(404);
    delete(&node, &format!("{SNAPSHOT}/")).await.expect(204);
    get(&node, &format!("{SNAPSHOT}/maven-metadata.xml"))
        .await
        .expect(404);
    assert!(versions(&node, BASE, "org/acme/lib").await.is_empty());
    // Nothing of it comes back with a new build.
    build(&node, "20260701.140000-1", ".jar").await;
    assert_eq!(said(&node).await, ["jar 1.0-20260701.140000-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_deploy_is_lost_among_many_at_the_same_time() {
    let first = TestNode::start().await;
    let nodes = [first.sibling(), first.sibling(), first];
    let (deploys, kinds) = (24, ["jar", "pom"]);
    let mut under_way = Vec::new();
    for deploy in 0..deploys {
        let node = &nodes[deploy % nodes.len()];
        // Each of an own classifier as well, and each of an own version.
        let paths = [
            format!(
                "{SNAPSHOT}/lib-1.0-20260701.1200{deploy:02}-{}.{}",
                deploy + 1,
                kinds[0]
            ),
            format!(
                "{SNAPSHOT}/lib-1.0-20260701.1200{deploy:02}-{}.{}",
                deploy + 1,
                kinds[1]
            ),
            format!(
                "{SNAPSHOT}/lib-1.0-20260701.1200{deploy:02}-{}-c{deploy}.jar",
                deploy + 1
            ),
            format!("org/acme/lib/2.{deploy}/lib-2.{deploy}.pom"),
        ];
        let uploads = paths.map(|path| {
            let request = node
                .put(format!("{BASE}/{path}"))
                .by("developer")
                .body(path.clone());
            request.answered()
        });
        under_way.push(tokio::spawn(async move {
            for upload in uploads {
                upload.await.expect(201);
            }
        }));
    }
    for deploy in under_way {
        deploy.await.unwrap();
    }
    for node in &nodes {
        let said: BTreeSet<_> = said(node).await.into_iter().collect();
        let last = format!("1.0-20260701.1200{:02}-{deploys}", deploys - 1);
        let mut expected: BTreeSet<_> = kinds.iter().map(|kind| format!("{kind} {last}")).collect();
        expected.extend(
            (0..deploys).map(|deploy| format!("c{deploy} jar 1.0-20260701.1200{deploy:02}-{}", deploy + 1)),
        );
        assert_eq!(said, expected);
        assert_eq!(versions(node, BASE, "org/acme/lib").await.len(), deploys + 1);
    }
}
