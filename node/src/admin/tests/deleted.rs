//! What was deleted can be restored for a while, unless its name was taken.

use std::time::Duration;

use super::*;
use crate::formats::{cargo, npm, pypi};
use crate::registry::fixture;
use crate::testing::clock::StoppedClock;

const DELETED: &str = "/api/cairn/v1/projects/1/deleted";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn versions(node: &TestNode) -> Vec<u64> {
    let listed = node.get("/api/v4/projects/1/packages?per_page=100").by("owner");
    ids(&listed.send().await.expect(200))
}

async fn deleted(node: &TestNode) -> Value {
    node.get(DELETED).by("maintainer").send().await.expect(200).json()
}

async fn delete(node: &TestNode, version: u64) {
    let target = format!("/api/v4/projects/1/packages/{version}");
    node.delete(target).by("maintainer").send().await.expect(204);
}

async fn restore(node: &TestNode, of: &Value) -> Answer {
    let target = format!("{DELETED}/{}/restore", of["id"]);
    node.post(target).by("maintainer").send().await
}

async fn stored_bytes(node: &TestNode) -> u64 {
    let usage = node.get("/api/cairn/v1/projects/1/usage").by("root");
    usage.send().await.expect(200).json()["bytes"].as_u64().unwrap()
}

async fn get(node: &TestNode, path: &str) -> Answer {
    let target = format!("/api/v4/projects/1/packages/{path}");
    node.get(target).by("reporter").send().await
}

#[tokio::test]
async fn a_version_is_restored_as_it_was_under_its_number() {
    let node = TestNode::start().await;
    publish(&node, 1, "tool/1/a").await;
    publish(&node, 1, "tool/1/b").await;
    let before = versions(&node).await;
    delete(&node, before[0]).await;
    assert_eq!(versions(&node).await, [] as [u64; 0]);
    get(&node, "generic/tool/1/a").await.expect(404);
    // It counts until it cannot be restored any more.
    assert_eq!(stored_bytes(&node).await, 10);
    fixture::check_counters(node.app(), 1).await;
    let listed = deleted(&node).await;
    assert_eq!(
        (&listed[0]["name"], &listed[0]["version"]),
        (&json!("tool"), &json!("1"))
    );
    let target = format!("{DELETED}/{}/restore", listed[0]["id"]);
    node.post(target).by("developer").send().await.expect(403);

    restore(&node.sibling(), &listed[0]).await.expect(200);
    assert_eq!(versions(&node).await, before);
    assert_eq!(get(&node, "generic/tool/1/b").await.expect(200).text(), "bytes");
    assert_eq!(deleted(&node).await, json!([]));
    restore(&node, &listed[0]).await.expect(404);
    fixture::check_counters(node.app(), 1).await;
    let events = node
        .get("/api/v4/audit_events?event_name=package.restored")
        .by("root");
    let events = events.send().await.expect(200).json();
    assert_eq!(events.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_published_anew_is_never_replaced() {
    let node = TestNode::start().await;
    publish(&node, 1, "tool/1/a").await;
    delete(&node, versions(&node).await[0]).await;
    fixture::set_duplicates(
        node.app(),
        1,
        "generic",
        crate::registry::settings::DuplicatePolicy::Replace,
    )
    .await;
    publish(&node, 1, "tool/1/a").await;
    let refused = restore(&node, &deleted(&node).await[0]).await.expect(409);
    assert!(refused.text().contains("version 1 of tool was published anew"));
    delete(&node, versions(&node).await[0]).await;
    let listed = deleted(&node).await;
    restore(&node, &listed[1]).await.expect(200);
    restore(&node, &listed[0]).await.expect(409);
}

#[tokio::test]
async fn after_the_window_it_is_gone_and_its_space_comes_back() {
    let (node, clock) = StoppedClock::node().await;
    publish(&node, 1, "tool/1/a").await;
    publish(&node, 1, "tool/2/a").await;
    delete(&node, versions(&node).await[0]).await;
    clock.advance(6 * DAY);
    fixture::empty_trash(node.app()).await;
    let listed = deleted(&node).await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    clock.advance(DAY);
    // Two nodes look at once.
    let sibling = node.sibling();
    tokio::join!(
        fixture::empty_trash(node.app()),
        fixture::empty_trash(sibling.app())
    );
    assert_eq!(deleted(&node).await, json!([]));
    restore(&node, &listed[0]).await.expect(404);
    assert_eq!(stored_bytes(&node).await, 5);

    // Without a window, or when it is asked for, at once.
    let target = format!(
        "/api/v4/projects/1/packages/{}?purge=true",
        versions(&node).await[0]
    );
    node.delete(target).by("maintainer").send().await.expect(204);
    assert_eq!((deleted(&node).await, stored_bytes(&node).await), (json!([]), 0));
    let window = json!({ "days": 0 });
    node.put("/api/cairn/v1/undelete")
        .by("owner")
        .json(&window)
        .send()
        .await
        .expect(403);
    node.put("/api/cairn/v1/undelete")
        .by("root")
        .json(&window)
        .send()
        .await
        .expect(200);
    let too_long = json!({ "days": 366 });
    node.put("/api/cairn/v1/undelete")
        .by("root")
        .json(&too_long)
        .send()
        .await
        .expect(400);
    publish(&node, 1, "tool/3/a").await;
    delete(&node, versions(&node).await[0]).await;
    assert_eq!((deleted(&node).await, stored_bytes(&node).await), (json!([]), 0));
}

#[tokio::test]
async fn a_file_and_a_whole_package_are_restored_too() {
    let node = TestNode::start().await;
    for path in ["tool/1/a", "tool/1/b", "tool/2/a"] {
        publish(&node, 1, path).await;
    }
    let target = "/api/v4/projects/1/packages/generic/tool/1/a";
    node.delete(target).by("maintainer").send().await.expect(204);
    get(&node, "generic/tool/1/a").await.expect(404);
    let file = deleted(&node).await[0].clone();
    assert_eq!(file["file_name"], "a");
    let package = "/api/v4/projects/1/packages/generic/tool";
    node.delete(package).by("maintainer").send().await.expect(204);
    fixture::purge(node.app()).await;
    fixture::check_counters(node.app(), 1).await;
    assert_eq!(stored_bytes(&node).await, 15);
    // A file needs its version.
    restore(&node, &file).await.expect(409);
    for of in deleted(&node).await.as_array().unwrap() {
        if of["file_name"].is_null() {
            restore(&node, of).await.expect(200);
        }
    }
    restore(&node, &file).await.expect(200);
    for path in ["tool/1/a", "tool/1/b", "tool/2/a"] {
        get(&node, &format!("generic/{path}")).await.expect(200);
    }
    fixture::check_counters(node.app(), 1).await;

    // What is given up comes back no more.
    node.delete(target).by("maintainer").send().await.expect(204);
    let target = format!("{DELETED}/{}", deleted(&node).await[0]["id"]);
    node.delete(&target).by("maintainer").send().await.expect(204);
    node.delete(&target).by("maintainer").send().await.expect(404);
    assert_eq!(stored_bytes(&node).await, 10);
    fixture::check_counters(node.app(), 1).await;
}

/// What clients of each format read is afterwards as it was before.
#[tokio::test]
async fn indexes_show_a_restored_version_as_before() {
    let node = TestNode::start().await;
    npm::tests::furnish(&node, 1).await;
    pypi::tests::furnish(&node, 1).await;
    cargo::tests::furnish(&node, 1).await;
    let indexes = async || {
        let npm = get(&node, "npm/hello").await;
        let npm = (npm.status == 200).then(|| npm.json()["versions"].clone());
        let pypi = get(&node, "pypi/simple/hello/").await;
        let pypi = (pypi.status == 200).then(|| pypi.text().to_owned());
        let cargo = get(&node, "cargo/index/he/ll/hello").await;
        let cargo = (cargo.status == 200).then(|| cargo.text().to_owned());
        (npm, pypi, cargo)
    };
    let before = indexes().await;
    assert!(
        before.0.is_some() && before.1.is_some() && before.2.is_some(),
        "{before:?}"
    );
    for version in versions(&node).await {
        delete(&node, version).await;
    }
    assert_ne!(indexes().await, before);
    for of in deleted(&node).await.as_array().unwrap() {
        restore(&node, of).await.expect(200);
    }
    assert_eq!(indexes().await, before);
    // A file of a Python package, and back.
    let listed = node
        .get("/api/v4/projects/1/packages?package_type=pypi")
        .by("owner");
    let version = ids(&listed.send().await.expect(200))[0];
    let target = format!("/api/v4/projects/1/packages/{version}/package_files");
    let file = ids(&node.get(&target).by("owner").send().await.expect(200))[0];
    node.delete(format!("{target}/{file}"))
        .by("owner")
        .send()
        .await
        .expect(204);
    assert_ne!(indexes().await.1, before.1);
    restore(&node, &deleted(&node).await[0]).await.expect(200);
    assert_eq!(indexes().await, before);
    fixture::check_counters(node.app(), 1).await;
}
