//! Deleting, and putting back.

use super::*;
use crate::registry::fixture;

async fn number(node: &TestNode, query: &str) -> u64 {
    let target = format!("/api/v4/projects/1/packages?package_type=composer&{query}");
    let listed = node.get(target).by("maintainer").send().await.expect(200).json();
    listed[0]["id"].as_u64().unwrap_or_else(|| panic!("{listed}"))
}

async fn delete_numbered(node: &TestNode, id: u64) -> u64 {
    let target = format!("/api/v4/projects/1/packages/{id}");
    node.delete(target).by("maintainer").send().await.expect(204);
    id
}

/// Deletes the version of this canonical name by the REST API; gives its number.
pub(super) async fn delete(node: &TestNode, version: &str) -> u64 {
    delete_numbered(node, number(node, &format!("package_version={version}")).await).await
}

/// Deletes a version of the package of this name.
pub(super) async fn delete_of(node: &TestNode, name: &str) {
    delete_numbered(node, number(node, &format!("package_name={name}")).await).await;
}

/// Restores what was deleted last.
pub(super) async fn restore(node: &TestNode) {
    let trash = node.get("/api/cairn/v1/projects/1/deleted").by("maintainer");
    let trash = trash.send().await.expect(200).json();
    let id = trash[0]["id"].as_u64().unwrap_or_else(|| panic!("{trash}"));
    let target = format!("/api/cairn/v1/projects/1/deleted/{id}/restore");
    node.post(target).by("maintainer").send().await.expect(200);
}

async fn latest(node: &TestNode) -> Value {
    get(node, "search.json?q=foo").await.expect(200).json()["results"][0]["url"].clone()
}

async fn publish_with_home(node: &TestNode, version: &str) -> Value {
    let archive = package_with("acme/foo", version, json!({"homepage": version}));
    send(node, "developer", "", &archive).await.expect(201).json()
}

#[tokio::test]
async fn a_deleted_version_leaves_the_documents_and_comes_back() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.1", "2.0-beta1"] {
        publish_with_home(&node, version).await;
    }
    let gone = dist(&shown(&node, "acme/foo").await[1]);
    assert_eq!(latest(&node).await, "1.1");
    delete(&node, "1.1.0").await;
    assert_eq!(versions(&node, "acme/foo").await, ["1.0", "2.0-beta1"]);
    assert_eq!(latest(&node).await, "1.0");
    node.get(&gone).by("reporter").send().await.expect(404);
    restore(&node).await;
    assert_eq!(versions(&node, "acme/foo").await, ["1.0", "1.1", "2.0-beta1"]);
    assert_eq!(latest(&node).await, "1.1");
    node.get(&gone).by("reporter").send().await.expect(200);
}

#[tokio::test]
async fn only_those_who_may_delete_bring_a_release_back() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "1.0").await;
    delete(&node, "1.0.0").await;
    get(&node, "p2/acme/foo.json").await.expect(404);
    let refused = send(&node, "developer", "", &package("acme/foo", "1.0"))
        .await
        .expect(409);
    assert!(message(&refused).contains("was deleted and cannot be published again"));
    send(&node, "maintainer", "", &other("acme/foo", "1.0"))
        .await
        .expect(201);
    // A branch comes and goes.
    publish(&node, "acme/foo", "dev-x").await;
    delete(&node, "dev-x").await;
    publish(&node, "acme/foo", "dev-x").await;
}

#[tokio::test]
async fn without_its_archive_a_version_is_not_there() {
    let node = TestNode::start().await;
    publish_with_home(&node, "1.0").await;
    publish_with_home(&node, "1.1").await;
    let id = number(&node, "package_version=1.1.0").await;
    let files = format!("/api/v4/projects/1/packages/{id}/package_files");
    let listed = node.get(&files).by("maintainer").send().await.expect(200).json();
    let file = listed[0]["id"].as_u64().unwrap();
    node.delete(format!("{files}/{file}"))
        .by("maintainer")
        .send()
        .await
        .expect(204);
    assert_eq!(versions(&node, "acme/foo").await, ["1.0"]);
    assert_eq!(latest(&node).await, "1.0");
    // Other content does not come under its name; the same does.
    send(&node, "developer", "", &other("acme/foo", "1.1"))
        .await
        .expect(409);
    restore(&node).await;
    assert_eq!(versions(&node, "acme/foo").await, ["1.0", "1.1"]);
    assert_eq!(latest(&node).await, "1.1");
    let file = node.get(&files).by("maintainer").send().await.json()[0]["id"]
        .as_u64()
        .unwrap();
    node.delete(format!("{files}/{file}"))
        .by("maintainer")
        .send()
        .await
        .expect(204);
    let archive = package_with("acme/foo", "1.1", json!({"homepage": "1.1"}));
    send(&node, "developer", "", &archive).await.expect(200);
    assert_eq!(versions(&node, "acme/foo").await, ["1.0", "1.1"]);
}

#[tokio::test]
async fn old_archives_of_a_branch_are_deleted_one_by_one() {
    let node = TestNode::start().await;
    let first = publish(&node, "acme/foo", "dev-main").await;
    let second = send(&node, "developer", "", &other("acme/foo", "dev-main"))
        .await
        .expect(200)
        .json();
    let id = number(&node, "package_version=dev-main").await;
    let files = format!("/api/v4/projects/1/packages/{id}/package_files");
    let listed = node.get(&files).by("maintainer").send().await.expect(200).json();
    let old = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["file_sha1"] == first["dist"]["shasum"])
        .unwrap();
    let target = format!("{files}/{}", old["id"]);
    node.delete(target).by("maintainer").send().await.expect(204);
    assert_eq!(shown(&node, "acme/foo~dev").await[0]["dist"], second["dist"]);
    node.get(dist(&first)).by("reporter").send().await.expect(404);
    node.get(dist(&second)).by("reporter").send().await.expect(200);
}

#[tokio::test]
async fn nothing_is_left_of_a_project_that_is_deleted() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    for vendor in 0..300 {
        let archive = package(&format!("v{vendor}/foo"), "1.0");
        send(&node, "developer", "", &archive).await.expect(201);
    }
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::keys_of_project(node.app(), 1).await, 0);
}
