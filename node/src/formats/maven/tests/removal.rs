//! Deleting, restoring, cleaning up.

use cairn_cluster::{Collection, Scan};
use serde_json::json;

use super::*;
use crate::formats::maven::NAME;
use crate::formats::maven::jar::tests::{descriptor, jar};
use crate::formats::maven::records::Keys;
use crate::registry::fixture;

#[tokio::test]
async fn what_is_deleted_leaves_the_metadata_whoever_deletes_it() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.1", "1.2", "1.3"] {
        release(&node, "lib", version).await;
    }
    let ids = ids(&node).await;
    // One version by the REST API, one by its directory, one file by file.
    node.delete(format!("{PACKAGES}/{}", ids[0].1))
        .by("maintainer")
        .send()
        .await
        .expect(204);
    let directory = format!("{BASE}/org/acme/lib/1.1/");
    node.delete(directory.clone())
        .by("developer")
        .send()
        .await
        .expect(403);
    node.delete(directory.clone())
        .by("maintainer")
        .send()
        .await
        .expect(204);
    node.delete(directory).by("maintainer").send().await.expect(404);
    delete(&node, "org/acme/lib/1.2/lib-1.2.jar").await.expect(204);
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.2", "1.3"]);
    delete(&node, "org/acme/lib/1.2/lib-1.2.pom").await.expect(204);
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.3"]);
    get(&node, "org/acme/lib/1.2/").await.expect(404);
    get(&node, "org/acme/lib/1.0/lib-1.0.jar").await.expect(404);
    delete(&node, "org/acme/lib/1.2/lib-1.2.jar").await.expect(404);
    // What is made here is made again.
    delete(&node, "org/acme/lib/maven-metadata.xml").await.expect(204);
    delete(&node, "org/acme/lib/1.3/lib-1.3.jar.sha1")
        .await
        .expect(204);
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.3"]);
    delete(&node, "org/acme/lib/1.3").await.expect(204);
    get(&node, "org/acme/lib/maven-metadata.xml").await.expect(404);
    get(&node, "org/acme/lib/").await.expect(404);
}

#[tokio::test]
async fn everything_below_a_directory_is_deleted_by_those_who_manage_the_project() {
    let node = TestNode::start().await;
    for name in ["lib", "tool"] {
        release(&node, name, "1.0").await;
    }
    put(&node, "com/acme/lib/1.0/lib-1.0.jar", "x").await.expect(201);
    delete(&node, "org/acme/").await.expect(204);
    for name in ["lib", "tool"] {
        get(&node, &format!("org/acme/{name}/1.0/{name}-1.0.jar"))
            .await
            .expect(404);
        assert!(
            versions(&node, BASE, &format!("org/acme/{name}"))
                .await
                .is_empty()
        );
    }
    get(&node, "com/acme/lib/1.0/lib-1.0.jar").await.expect(200);
    let own = collections(&node).await;
    fixture::purge(node.app()).await;
    delete(&node, "com/").await.expect(204);
    delete(&node, "org/acme/").await.expect(404);
    fixture::purge(node.app()).await;
    assert_eq!(count(&node, &own).await, 0);
}

/// Where the format keeps records now.
async fn collections(node: &TestNode) -> Vec<Collection> {
    let keys = Keys::new(fixture::format_collection(NAME));
    let mut found = vec![keys.packages(), keys.plugins(), keys.archetypes()];
    for entry in node.kv().local().scan(Scan::of(&keys.packages())).await.unwrap() {
        let package = u64::from_be_bytes(entry.item.as_ref().try_into().unwrap());
        found.extend([keys.lines(package), keys.builds(package)]);
    }
    found
}

async fn count(node: &TestNode, collections: &[Collection]) -> usize {
    let mut count = 0;
    for collection in collections {
        count += node.kv().local().scan(Scan::of(collection)).await.unwrap().len();
    }
    count
}

#[tokio::test]
async fn a_deleted_project_takes_all_with_it() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    release(&node, "lib", "1.1-SNAPSHOT").await;
    let plugin = jar(&[("META-INF/maven/plugin.xml", &descriptor("x", "X"))]);
    put(&node, "org/acme/x-maven-plugin/1/x-maven-plugin-1.jar", plugin)
        .await
        .expect(201);
    let own = collections(&node).await;
    assert_eq!(count(&node, &own).await, 7);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(count(&node, &own).await, 0);
    get(&node, "org/acme/lib/1.0/lib-1.0.jar").await.expect(404);
}

/// Everything in the trash, by its number.
async fn trash(node: &TestNode) -> Vec<u64> {
    let deleted = node
        .get("/api/cairn/v1/projects/1/deleted")
        .by("maintainer")
        .send()
        .await;
    let deleted = deleted.expect(200).json();
    deleted
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_u64().unwrap())
        .collect()
}

async fn restore_all(node: &TestNode) {
    for id in trash(node).await {
        let target = format!("/api/cairn/v1/projects/1/deleted/{id}/restore");
        node.post(target).by("maintainer").send().await.expect(200);
    }
}

#[tokio::test]
async fn what_is_restored_is_in_the_metadata_again() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    let snapshot = "org/acme/lib/1.1-SNAPSHOT";
    for build in ["20260701.120000-1", "20260701.130000-2"] {
        put(&node, &format!("{snapshot}/lib-1.1-{build}.jar"), build)
            .await
            .expect(201);
    }
    let sent = "<metadata><version>1.1-SNAPSHOT</version></metadata>";
    put(&node, &format!("{snapshot}/maven-metadata.xml"), sent)
        .await
        .expect(201);
    let value = async || {
        let metadata = get(&node, &format!("{snapshot}/maven-metadata.xml")).await;
        texts(&metadata, "versioning/snapshotVersions/snapshotVersion/value")
    };
    let before = get(&node, "org/acme/lib/maven-metadata.xml").await.expect(200);
    // A file.
    delete(&node, &format!("{snapshot}/lib-1.1-20260701.130000-2.jar"))
        .await
        .expect(204);
    assert_eq!(value().await, ["1.1-20260701.120000-1"]);
    restore_all(&node).await;
    assert_eq!(value().await, ["1.1-20260701.130000-2"]);
    // Versions, of which one has nothing but JARs.
    delete(&node, "org/acme/lib/1.0/").await.expect(204);
    delete(&node, &format!("{snapshot}/")).await.expect(204);
    assert!(versions(&node, BASE, "org/acme/lib").await.is_empty());
    restore_all(&node).await;
    assert_eq!(value().await, ["1.1-20260701.130000-2"]);
    assert_eq!(
        versions(&node, BASE, "org/acme/lib").await,
        ["1.0", "1.1-SNAPSHOT"]
    );
    // The package.
    delete(&node, "org/acme/lib/").await.expect(204);
    fixture::purge(node.app()).await;
    assert!(versions(&node, BASE, "org/acme/lib").await.is_empty());
    restore_all(&node).await;
    assert_eq!(value().await, ["1.1-20260701.130000-2"]);
    let listed = versions(&node, BASE, "org/acme/lib").await;
    assert!(listed.contains(&"1.0".to_owned()), "{listed:?}");
    assert_eq!(texts(&before, "versioning/release"), ["1.0"]);
}

#[tokio::test]
async fn a_cleanup_policy_removes_versions_from_the_metadata() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.1", "1.2"] {
        release(&node, "lib", version).await;
    }
    let base = "/api/cairn/v1/projects/1/packages/cleanup_policy";
    let policy = json!({ "enabled": true, "keep_n": 1, "formats": ["maven"] });
    node.put(base)
        .by("maintainer")
        .json(&policy)
        .send()
        .await
        .expect(200);
    node.post(format!("{base}/run"))
        .by("maintainer")
        .send()
        .await
        .expect(202);
    fixture::clean_up(node.app()).await;
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.2"]);
    get(&node, "org/acme/lib/1.0/lib-1.0.jar").await.expect(404);
}
