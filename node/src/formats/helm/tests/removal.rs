//! Deleting, and putting back.

use super::*;
use crate::registry::fixture;

async fn delete(node: &TestNode, path: &str, caller: &str) -> Answer {
    node.delete(format!("{BASE}/{path}")).by(caller).send().await
}

/// The numbers of the version and of its files, as the REST API has them.
async fn numbers(node: &TestNode, version: &str) -> (u64, Vec<(u64, String)>) {
    let target = format!("/api/v4/projects/1/packages?package_version={version}");
    let listed = node.get(target).by("reporter").send().await.expect(200).json();
    let id = listed[0]["id"].as_u64().unwrap();
    let target = format!("/api/v4/projects/1/packages/{id}/package_files");
    let files = node.get(target).by("reporter").send().await.expect(200).json();
    let files = files.as_array().unwrap().iter();
    let files = files.map(|file| {
        (
            file["id"].as_u64().unwrap(),
            file["file_name"].as_str().unwrap().to_owned(),
        )
    });
    (id, files.collect())
}

/// Restores everything: charts before what was signed about them.
async fn restore_all(node: &TestNode) {
    let deleted = node.get("/api/cairn/v1/projects/1/deleted").by("maintainer");
    let mut deleted = deleted.send().await.expect(200).json();
    let deleted = deleted.as_array_mut().unwrap();
    deleted.sort_by_key(|deleted| deleted.to_string().contains(".prov"));
    for deleted in deleted {
        let id = &deleted["id"];
        let target = format!("/api/cairn/v1/projects/1/deleted/{id}/restore");
        node.post(target).by("maintainer").send().await.expect(200);
    }
}

#[tokio::test]
async fn a_deleted_version_is_gone_with_its_provenance() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    publish(&node, "hello", "2.0.0").await;
    let path = "api/stable/charts/hello/1.0.0";
    delete(&node, path, "developer").await.expect(403);
    let answer = delete(&node, path, "maintainer").await.expect(200);
    assert_eq!(answer.json(), serde_json::json!({"deleted": true}));
    assert_eq!(
        error(&delete(&node, path, "maintainer").await.expect(404)),
        "chart not found"
    );
    for path in [
        "api/-/charts/a/1.0.0",
        "api/stable/charts/%20/1.0.0",
        "api/stable/charts/hello/x",
    ] {
        delete(&node, path, "maintainer").await.expect(404);
    }
    assert_eq!(entries(&index(&node, BASE, "stable").await), ["hello 2.0.0"]);
    get(&node, "stable/charts/hello-1.0.0.tgz").await.expect(404);
    get(&node, "stable/charts/hello-1.0.0.tgz.prov").await.expect(404);
    // Only those who may delete may bring it back.
    post(&node, &chart_of("hello", "1.0.0")).await.expect(409);
    let request = node.post(format!("{BASE}/api/stable/charts")).by("maintainer");
    request.body(chart_of("hello", "1.0.0")).send().await.expect(201);
}

#[tokio::test]
async fn a_version_leaves_one_channel_and_stays_in_others() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    let beta = format!("{BASE}/api/beta/charts");
    post_to(&node, &beta, &chart_of("hello", "1.0.0"))
        .await
        .expect(201);
    delete(&node, "stable/api/charts/hello/1.0.0", "maintainer")
        .await
        .expect(200);
    assert!(entries(&index(&node, BASE, "stable").await).is_empty());
    get(&node, "stable/charts/hello-1.0.0.tgz").await.expect(404);
    get(&node, "stable/charts/hello-1.0.0.tgz.prov").await.expect(404);
    get(&node, "beta/charts/hello-1.0.0.tgz").await.expect(200);
    let refused = post(&node, &chart_of("hello", "1.0.0")).await.expect(409);
    assert!(error(&refused).contains("was deleted from the channel stable"));
    delete(&node, "api/beta/charts/hello/1.0.0", "maintainer")
        .await
        .expect(200);
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    assert_eq!(listed.json(), serde_json::json!([]));
}

#[tokio::test]
async fn what_the_rest_api_deletes_leaves_the_index_and_comes_back() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    let before = get(&node, "stable/index.yaml").await.body;
    let (id, files) = numbers(&node, "1.0.0").await;
    assert_eq!(
        files.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(),
        ["stable/hello-1.0.0.tgz", "stable/hello-1.0.0.tgz.prov"]
    );
    let version = format!("/api/v4/projects/1/packages/{id}");
    node.delete(version.clone())
        .by("maintainer")
        .send()
        .await
        .expect(204);
    assert!(entries(&index(&node, BASE, "stable").await).is_empty());
    get(&node, "stable/charts/hello-1.0.0.tgz").await.expect(404);
    restore_all(&node).await;
    assert_eq!(get(&node, "stable/index.yaml").await.body, before);
    get(&node, "stable/charts/hello-1.0.0.tgz.prov").await.expect(200);

    let (id, files) = numbers(&node, "1.0.0").await;
    let file = |at: usize| format!("/api/v4/projects/1/packages/{id}/package_files/{}", files[at].0);
    node.delete(file(1)).by("maintainer").send().await.expect(204);
    get(&node, "stable/charts/hello-1.0.0.tgz.prov").await.expect(404);
    assert_eq!(get(&node, "stable/index.yaml").await.body, before);
    restore_all(&node).await;
    get(&node, "stable/charts/hello-1.0.0.tgz.prov").await.expect(200);

    node.delete(file(0)).by("maintainer").send().await.expect(204);
    assert!(entries(&index(&node, BASE, "stable").await).is_empty());
    get(&node, "stable/charts/hello-1.0.0.tgz.prov").await.expect(404);
    restore_all(&node).await;
    assert_eq!(get(&node, "stable/index.yaml").await.body, before);
    get(&node, "stable/charts/hello-1.0.0.tgz").await.expect(200);
    get(&node, "stable/charts/hello-1.0.0.tgz.prov").await.expect(200);
}

#[tokio::test]
async fn nothing_is_left_of_a_project_that_is_deleted() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    // More than one transaction takes apart, and another channel.
    for minor in 0..70 {
        publish(&node, "app", &format!("1.{minor}.0")).await;
    }
    let beta = format!("{BASE}/api/beta/charts");
    post_to(&node, &beta, &chart_of("app", "2.0.0-beta.1"))
        .await
        .expect(201);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::keys_of_project(node.app(), 1).await, 0);
}
