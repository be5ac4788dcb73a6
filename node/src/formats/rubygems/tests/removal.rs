//! Yanking, deleting, and putting back.

use super::*;
use crate::registry::fixture;

#[tokio::test]
async fn a_yanked_version_is_nowhere_until_that_is_taken_back() {
    let node = TestNode::start().await;
    for (version, platform) in [("1.0", "ruby"), ("1.1", "ruby"), ("1.1", "java")] {
        push(&node, &gem_for("acme", version, platform)).await.expect(200);
    }
    yank(&node, "gem_name=acme&version=1.1", "reporter")
        .await
        .expect(403);
    let yanked = yank(&node, "gem_name=acme&version=1.1", "developer")
        .await
        .expect(200);
    assert_eq!(yanked.text(), "Successfully deleted gem: acme (1.1)");
    let node = node.sibling();
    assert_eq!(listed(&node, "acme").await, ["1.0", "1.1-java"]);
    get(&node, "gems/acme-1.1.gem").await.expect(404);
    get(&node, "quick/Marshal.4.8/acme-1.1.gemspec.rz")
        .await
        .expect(404);
    get(&node, "api/v2/rubygems/acme/versions/1.1.json")
        .await
        .expect(404);
    get(&node, "gems/acme-1.1-java.gem").await.expect(200);
    assert!(specs(&node, BASE, "specs").await.starts_with(b"\x04\x08[\x07"));
    check_digests(&node, BASE).await;
    let about = get(&node, "api/v1/gems/acme.json").await.expect(200).json();
    assert_eq!(
        (&about["version"], &about["platform"]),
        (&"1.1".into(), &"java".into())
    );

    let again = yank(&node, "gem_name=acme&version=1.1", "developer")
        .await
        .expect(422);
    assert_eq!(again.text(), "The version 1.1 of acme has already been yanked");
    for gem in [
        gem_of("acme", "1.1"),
        gem_with(
            &crate::formats::rubygems::gemspec::tests::yaml("acme", "1.1", "ruby", &[]),
            &[],
        ),
    ] {
        let refused = push(&node, &gem).await.expect(409);
        assert!(refused.text().contains("was yanked"), "{}", refused.text());
    }
    let back = unyank(&node, "gem_name=acme&version=1.1").await.expect(200);
    assert_eq!(back.text(), "Successfully restored gem: acme (1.1)");
    unyank(&node, "gem_name=acme&version=1.1").await.expect(422);
    assert_eq!(listed(&node, "acme").await, ["1.0", "1.1", "1.1-java"]);
    get(&node, "gems/acme-1.1.gem").await.expect(200);
    check_digests(&node, BASE).await;
    yank(&node, "gem_name=acme&version=1.1&platform=java", "developer")
        .await
        .expect(200);
    assert_eq!(listed(&node, "acme").await, ["1.0", "1.1"]);
    for (form, status) in [
        ("gem_name=acme&version=9", 404),
        ("gem_name=none&version=1", 404),
        ("gem_name=Acme&version=1.0", 404),
        ("gem_name=..&version=1", 404),
        ("gem_name=acme&version=x", 400),
        ("gem_name=acme", 400),
        ("", 404),
    ] {
        assert_eq!(yank(&node, form, "developer").await.status, status, "{form}");
    }
}

/// The numbers of a version and of its only file, as the REST API has them.
async fn numbers(node: &TestNode, version: &str) -> (u64, u64) {
    let target = format!("/api/v4/projects/1/packages?package_version={version}");
    let listed = node.get(target).by("reporter").send().await.expect(200).json();
    let id = listed[0]["id"].as_u64().unwrap();
    let target = format!("/api/v4/projects/1/packages/{id}/package_files");
    let files = node.get(target).by("reporter").send().await.expect(200).json();
    assert_eq!(files[0]["file_name"], format!("acme-{version}.gem"));
    (id, files[0]["id"].as_u64().unwrap())
}

pub(super) async fn restore_all(node: &TestNode) {
    let deleted = node.get("/api/cairn/v1/projects/1/deleted").by("maintainer");
    for deleted in deleted.send().await.expect(200).json().as_array().unwrap() {
        let target = format!("/api/cairn/v1/projects/1/deleted/{}/restore", deleted["id"]);
        node.post(target).by("maintainer").send().await.expect(200);
    }
}

#[tokio::test]
async fn what_the_rest_api_deletes_leaves_the_indexes_and_comes_back() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.1", "0.9"] {
        publish(&node, "acme", version).await;
    }
    let before = get(&node, "info/acme").await.body;
    let (id, file) = numbers(&node, "1.1").await;
    let version = format!("/api/v4/projects/1/packages/{id}");
    for target in [format!("{version}/package_files/{file}"), version] {
        node.delete(target).by("maintainer").send().await.expect(204);
        assert_eq!(listed(&node, "acme").await, ["1.0", "0.9"]);
        get(&node, "gems/acme-1.1.gem").await.expect(404);
        check_digests(&node, BASE).await;
        let about = get(&node, "api/v1/gems/acme.json").await.expect(200).json();
        assert_eq!(about["version"], "1.0");
        // With any content: lock files hold the digest.
        push(&node, &gem_of("acme", "1.1")).await.expect(409);
        restore_all(&node).await;
        assert_eq!(get(&node, "info/acme").await.body, before);
        get(&node, "gems/acme-1.1.gem").await.expect(200);
        check_digests(&node, BASE).await;
        let about = get(&node, "api/v1/gems/acme.json").await.expect(200).json();
        assert_eq!(about["version"], "1.1");
    }
}

#[tokio::test]
async fn what_was_yanked_stays_so_when_it_is_deleted_and_put_back() {
    let node = TestNode::start().await;
    publish(&node, "acme", "1.0").await;
    publish(&node, "acme", "1.1").await;
    yank(&node, "gem_name=acme&version=1.1", "developer")
        .await
        .expect(200);
    let before = get(&node, "versions").await.body;
    let (id, file) = numbers(&node, "1.1").await;
    let version = format!("/api/v4/projects/1/packages/{id}");
    for target in [format!("{version}/package_files/{file}"), version] {
        node.delete(target).by("maintainer").send().await.expect(204);
        restore_all(&node).await;
        assert_eq!(get(&node, "versions").await.body, before);
    }
    unyank(&node, "gem_name=acme&version=1.1").await.expect(200);
    assert_eq!(listed(&node, "acme").await, ["1.0", "1.1"]);
    check_digests(&node, BASE).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_project_that_is_deleted() {
    let node = TestNode::start().await;
    // More than one transaction takes apart.
    for minor in 0..70 {
        publish(&node, "acme", &format!("1.{minor}")).await;
    }
    yank(&node, "gem_name=acme&version=1.1", "developer")
        .await
        .expect(200);
    let deleted = node.delete("/api/v4/projects/1").by("owner");
    deleted.send().await.expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::keys_of_project(node.app(), 1).await, 0);
}
