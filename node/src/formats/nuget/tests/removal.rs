//! Deleting by the REST API, and putting back.

use super::*;
use crate::registry::fixture;

pub(super) async fn delete(node: &TestNode, path: &str) {
    let target = format!("/api/v4/projects/1/packages/{path}");
    node.delete(target).by("maintainer").send().await.expect(204);
}

pub(super) async fn restore_all(node: &TestNode) {
    let deleted = node.get("/api/cairn/v1/projects/1/deleted").by("maintainer");
    for deleted in deleted.send().await.expect(200).json().as_array().unwrap() {
        let id = &deleted["id"];
        let target = format!("/api/cairn/v1/projects/1/deleted/{id}/restore");
        node.post(target).by("maintainer").send().await.expect(200);
    }
}

const PDB: &str = "symbols/acme.hello.pdb/07070707070707070707070707070707ffffffff/acme.hello.pdb";

#[tokio::test]
async fn a_deleted_version_is_gone_from_everything_and_comes_back() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    publish(&node, "Acme.Hello", "0.9").await;
    let before = get(&node, "metadata/acme.hello/index.json").await.body;
    let (id, _) = numbers(&node, "1.0.0").await;
    delete(&node, &id.to_string()).await;
    assert_eq!(flat(&node, "acme.hello").await, ["0.9.0"]);
    assert_eq!(found(&node, "q=hello").await, ["Acme.Hello 0.9.0"]);
    assert_eq!(
        feed(&node, "FindPackagesById()?id='Acme.Hello'").await,
        ["Acme.Hello 0.9 latest newest"]
    );
    get(&node, "download/acme.hello/1.0.0/acme.hello.1.0.0.nupkg")
        .await
        .expect(404);
    get(&node, PDB).await.expect(404);
    // Only those who may delete may bring it back.
    let refused = put(&node, &package_of("Acme.Hello", "1.0.0")).await.expect(409);
    assert!(refused.reason.contains("was deleted"));
    restore_all(&node).await;
    assert_eq!(get(&node, "metadata/acme.hello/index.json").await.body, before);
    assert_eq!(found(&node, "q=hello").await, ["Acme.Hello 1.0.0"]);
    get(&node, "download/acme.hello/1.0.0/acme.hello.1.0.0.nupkg")
        .await
        .expect(200);
    get(&node, PDB).await.expect(200);
}

#[tokio::test]
async fn an_unlisted_version_that_comes_back_is_unlisted() {
    let node = TestNode::start().await;
    publish_all(&node, "a", &["1.0", "2.0"]).await;
    let target = format!("{BASE}/a/2.0");
    node.delete(target).by("developer").send().await.expect(204);
    let (id, _) = numbers(&node, "2.0.0").await;
    delete(&node, &id.to_string()).await;
    restore_all(&node).await;
    assert_eq!(flat(&node, "a").await, ["1.0.0", "2.0.0"]);
    assert_eq!(found(&node, "q=a").await, ["a 1.0.0"]);
}

#[tokio::test]
async fn a_version_without_its_package_is_not_listed() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    let (id, files) = numbers(&node, "1.0.0").await;
    let file = |end: &str| {
        let (number, _) = files.iter().find(|(_, name)| name.ends_with(end)).unwrap();
        format!("{id}/package_files/{number}")
    };
    delete(&node, &file(".pdb")).await;
    get(&node, PDB).await.expect(404);
    restore_all(&node).await;
    get(&node, PDB).await.expect(200);
    delete(&node, &file(".nupkg")).await;
    get(&node, "download/acme.hello/index.json").await.expect(404);
    get(&node, "metadata/acme.hello/1.0.0.json").await.expect(404);
    assert_eq!(found(&node, "q=hello").await, [""; 0]);
    let unlist = node.delete(format!("{BASE}/acme.hello/1.0.0")).by("developer");
    unlist.send().await.expect(404);
    restore_all(&node).await;
    assert_eq!(flat(&node, "acme.hello").await, ["1.0.0"]);
    assert_eq!(found(&node, "q=hello").await, ["Acme.Hello 1.0.0"]);
    // Or it is published anew.
    delete(&node, &file(".nupkg")).await;
    publish(&node, "Acme.Hello", "1.0.0").await;
    assert_eq!(flat(&node, "acme.hello").await, ["1.0.0"]);
}

#[tokio::test]
async fn nothing_is_left_of_a_project_that_is_deleted() {
    let node = TestNode::start().await;
    furnish(&node, 1).await;
    // More than one transaction takes apart.
    for minor in 0..70 {
        publish(&node, "Acme.Hello", &format!("2.{minor}")).await;
    }
    publish(&node, "Other", "1.0").await;
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::keys_of_project(node.app(), 1).await, 0);
}
