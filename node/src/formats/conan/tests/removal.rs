//! Deleting, and putting back.

use std::time::Duration;

use super::*;
use crate::testing::clock::StoppedClock;

const HELLO: &str = "hello/1.0/_/_";

fn hello() -> String {
    format!("{BASE}/v2/conans/{HELLO}")
}

async fn delete(node: &TestNode, target: &str) -> Answer {
    node.delete(target).by("maintainer").send().await
}

/// Restores everything, the recipe first.
async fn restore_all(node: &TestNode) {
    let deleted = node.get("/api/cairn/v1/projects/1/deleted").by("maintainer");
    let mut deleted = deleted.send().await.expect(200).json();
    let deleted = deleted.as_array_mut().unwrap();
    deleted.sort_by_key(|deleted| deleted.to_string().contains("/package/"));
    for deleted in deleted {
        let id = &deleted["id"];
        let target = format!("/api/cairn/v1/projects/1/deleted/{id}/restore");
        node.post(target).by("maintainer").send().await.expect(200);
    }
}

/// The number of the only version, and its files.
async fn listed(node: &TestNode) -> (u64, Value) {
    let listed = get(node, "/api/v4/projects/1/packages").await.expect(200).json();
    let id = listed[0]["id"].as_u64().unwrap();
    let target = format!("/api/v4/projects/1/packages/{id}/package_files");
    (id, get(node, &target).await.expect(200).json())
}

async fn furnished() -> TestNode {
    let node = TestNode::start().await;
    furnish_revisions(&node).await;
    node
}

async fn furnish_revisions(node: &TestNode) {
    for revision in ["aaa", "bbb"] {
        publish(node, HELLO, revision).await;
        for binary in ["ccc", "ddd"] {
            publish_package(node, HELLO, revision, binary).await;
        }
    }
}

/// All that clients see of the reference.
async fn seen(node: &TestNode) -> Vec<(u16, String)> {
    let mut seen = Vec::new();
    for target in [
        "latest".to_owned(),
        "revisions".into(),
        "search".into(),
        "revisions/aaa/search".into(),
        "revisions/aaa/files".into(),
        format!("revisions/aaa/packages/{ID}/latest"),
        format!("revisions/aaa/packages/{ID}/revisions"),
        format!("revisions/aaa/packages/{ID}/revisions/ddd/files"),
        format!("revisions/aaa/packages/{ID}/revisions/ddd/files/conaninfo.txt"),
    ] {
        let answer = get(node, &format!("{}/{target}", hello())).await;
        seen.push((answer.status, answer.text().to_owned()));
    }
    seen.push((0, results(node, BASE, "").await.join(" ")));
    seen
}

#[tokio::test]
async fn a_reference_is_deleted_with_all_that_it_has() {
    let node = furnished().await;
    let before = seen(&node).await;
    node.delete(hello()).by("developer").send().await.expect(403);
    let answer = delete(&node, &hello()).await.expect(200);
    assert!(answer.body.is_empty());
    delete(&node, &hello()).await.expect(404);
    assert!(
        seen(&node)
            .await
            .iter()
            .all(|(status, _)| [404, 0].contains(status))
    );
    assert!(results(&node, BASE, "").await.is_empty());
    restore_all(&node).await;
    assert_eq!(seen(&node).await, before);
    delete(&node, &hello()).await.expect(200);
    // What it stands for may be published again by everybody.
    publish(&node, HELLO, "aaa").await;
    assert_eq!(revisions(&node, &hello()).await, ["aaa"]);
    assert_eq!(json_of(&node, &format!("{}/search", hello())).await, json!({}));
    fixture::empty_trash(node.app()).await;
    fixture::purge(node.app()).await;
    assert_eq!(revisions(&node, &hello()).await, ["aaa"]);
    fixture::check_counters(node.app(), 1).await;
}

#[tokio::test]
async fn a_revision_of_the_recipe_is_deleted_with_its_binaries() {
    let node = furnished().await;
    let before = seen(&node).await;
    delete(&node, &at(HELLO, "aaa")).await.expect(200);
    delete(&node, &at(HELLO, "aaa")).await.expect(404);
    assert_eq!(revisions(&node, &hello()).await, ["bbb"]);
    get(&node, &format!("{}/files", at(HELLO, "aaa")))
        .await
        .expect(404);
    get(&node, &format!("{}/files", of(HELLO, "aaa", ID, "ccc")))
        .await
        .expect(404);
    let (_, files) = listed(&node).await;
    let names = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["file_name"].as_str().unwrap());
    assert!(names.clone().count() == 9 && names.into_iter().all(|name| name.starts_with("bbb/")));
    restore_all(&node).await;
    assert_eq!(seen(&node).await, before);
    for revision in ["bbb", "aaa"] {
        delete(&node, &at(HELLO, revision)).await.expect(200);
    }
    get(&node, &format!("{}/latest", hello())).await.expect(404);
    assert!(results(&node, BASE, "").await.is_empty());
    let packages = get(&node, "/api/v4/projects/1/packages").await.expect(200);
    assert_eq!(packages.json(), json!([]));
}

#[tokio::test]
async fn binaries_are_deleted_one_by_one_or_all_at_once() {
    let node = furnished().await;
    let package = format!("{}/packages/{ID}", at(HELLO, "aaa"));
    delete(&node, &of(HELLO, "aaa", ID, "ddd")).await.expect(200);
    delete(&node, &of(HELLO, "aaa", ID, "ddd")).await.expect(404);
    assert_eq!(revisions(&node, &package).await, ["ccc"]);
    let found = json_of(&node, &format!("{}/search", at(HELLO, "aaa"))).await;
    assert_eq!(found[ID]["content"], INFO);
    delete(&node, &package).await.expect(200);
    delete(&node, &package).await.expect(404);
    get(&node, &format!("{package}/latest")).await.expect(404);
    assert_eq!(
        json_of(&node, &format!("{}/search", at(HELLO, "aaa"))).await,
        json!({})
    );
    let packages = format!("{}/packages", at(HELLO, "bbb"));
    delete(&node, &packages).await.expect(200);
    delete(&node, &packages).await.expect(404);
    assert_eq!(json_of(&node, &format!("{}/search", hello())).await, json!({}));
    assert_eq!(revisions(&node, &hello()).await, ["bbb", "aaa"]);
    fixture::check_counters(node.app(), 1).await;
}

#[tokio::test]
async fn many_files_are_deleted_with_their_revision() {
    let node = TestNode::start().await;
    publish(&node, HELLO, "aaa").await;
    publish(&node, HELLO, "bbb").await;
    for number in 0..150 {
        let target = format!("{}/files/metadata/{number}", at(HELLO, "aaa"));
        put(&node, &target, "developer", b"x").await.expect(201);
    }
    delete(&node, &at(HELLO, "aaa")).await.expect(200);
    let (_, files) = listed(&node).await;
    assert_eq!(files.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_the_rest_api_deletes_comes_back() {
    let node = furnished().await;
    let before = seen(&node).await;
    let (id, files) = listed(&node).await;
    let version = format!("/api/v4/projects/1/packages/{id}");
    node.delete(&version).by("maintainer").send().await.expect(204);
    assert!(results(&node, BASE, "").await.is_empty());
    restore_all(&node).await;
    assert_eq!(seen(&node).await, before);

    let file = |name: &str| {
        let files = files.as_array().unwrap();
        let file = files.iter().find(|file| file["file_name"] == name).unwrap();
        format!("{version}/package_files/{}", file["id"])
    };
    // Without its manifest a revision is not there; without its last one, neither is the reference.
    for (revision, left) in [("bbb", vec!["aaa"]), ("aaa", vec![])] {
        let target = file(&format!("{revision}/export/conanmanifest.txt"));
        node.delete(target).by("maintainer").send().await.expect(204);
        match left.is_empty() {
            true => _ = get(&node, &format!("{}/latest", hello())).await.expect(404),
            false => assert_eq!(revisions(&node, &hello()).await, left),
        }
        get(&node, &format!("{}/files", of(HELLO, revision, ID, "ddd")))
            .await
            .expect(404);
    }
    assert!(results(&node, BASE, "").await.is_empty());
    let packages = get(&node, "/api/v4/projects/1/packages").await.expect(200);
    assert_eq!(packages.json(), json!([]));
    restore_all(&node).await;
    assert_eq!(seen(&node).await, before);

    let (_, files) = listed(&node).await;
    let file = |name: &str| {
        let files = files.as_array().unwrap();
        let file = files.iter().find(|file| file["file_name"] == name).unwrap();
        format!("{version}/package_files/{}", file["id"])
    };
    for name in ["conaninfo.txt", "conanmanifest.txt"] {
        let target = file(&format!("aaa/package/{ID}/ddd/{name}"));
        node.delete(target).by("maintainer").send().await.expect(204);
    }
    let package = format!("{}/packages/{ID}", at(HELLO, "aaa"));
    assert_eq!(revisions(&node, &package).await, ["ccc"]);
    restore_all(&node).await;
    assert_eq!(seen(&node).await, before);
}

#[tokio::test]
async fn nothing_is_left_of_what_is_deleted_for_good() {
    let (node, clock) = StoppedClock::node().await;
    furnish_revisions(&node).await;
    delete(&node, &hello()).await.expect(200);
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    fixture::empty_trash(node.app()).await;
    assert_eq!(records(&node).await, 0);
    publish(&node, HELLO, "aaa").await;
    fixture::delete_finally(node.app()).await;
    delete(&node, &hello()).await.expect(200);
    fixture::purge(node.app()).await;
    assert_eq!(records(&node).await, 0);
}

#[tokio::test]
async fn nothing_is_left_of_a_project_that_is_deleted() {
    let node = furnished().await;
    for number in 0..70 {
        let target = format!("{}/files/extra{number}", at("other/1.0/_/_", "aaa"));
        put(&node, &target, "developer", b"x").await.expect(201);
    }
    publish(&node, "third/1.0/_/_", "aaa").await;
    delete(&node, &format!("{BASE}/v2/conans/third/1.0/_/_"))
        .await
        .expect(200);
    delete(&node, &at(HELLO, "aaa")).await.expect(200);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    fixture::purge(node.app()).await;
    assert_eq!(fixture::keys_of_project(node.app(), 1).await, 0);
}
