//! Downloads are counted over all nodes, and who does what by month and format.

use super::*;
use crate::formats::oci;
use crate::registry::fixture;

async fn get(node: &TestNode, by: &str, path: &str) -> Answer {
    let target = format!("/api/v4/projects/1/packages/generic/{path}");
    node.get(target).by(by).send().await.expect(200)
}

async fn rows(node: &TestNode, by: &str, target: &str) -> Vec<Value> {
    let shown = node.get(target).by(by).send().await.expect(200).json();
    shown.as_array().unwrap().clone()
}

#[tokio::test]
async fn downloads_are_counted_over_all_nodes_and_outlive_their_version() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    for path in ["tool/1/a", "tool/2/a", "other/1/a"] {
        publish(&node, 1, path).await;
    }
    for _ in 0..3 {
        get(&node, "reporter", "tool/2/a").await;
        get(&sibling, "owner", "tool/1/a").await;
    }
    get(&sibling, "owner", "tool/2/a").await;
    // Neither a look at its head nor the rest of a file is another download.
    let target = "/api/v4/projects/1/packages/generic/tool/1/a";
    node.head(target).by("owner").send().await.expect(200);
    let rest = node.get(target).by("owner").header("range", "bytes=2-");
    rest.send().await.expect(206);
    fixture::write_usage(node.app()).await;
    fixture::write_usage(sibling.app()).await;

    let versions = rows(&node, "reporter", "/api/cairn/v1/projects/1/downloads").await;
    let shown = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (text("name"), text("version"), row["downloads"].as_u64().unwrap())
    };
    let shown: Vec<_> = versions.iter().map(shown).collect();
    let of = |name: &str, version: &str, count| (name.to_owned(), version.to_owned(), count);
    assert_eq!(shown, [of("tool", "2", 4), of("tool", "1", 3)]);
    assert!(versions[0]["last_downloaded_at"].is_string());

    // Deleted and restored, a version has been downloaded as often as before.
    let id = versions[0]["package_id"].as_u64().unwrap();
    let target = format!("/api/v4/projects/1/packages/{id}");
    node.delete(&target).by("maintainer").send().await.expect(204);
    let left = rows(&node, "reporter", "/api/cairn/v1/projects/1/downloads").await;
    assert_eq!(left.len(), 1);
    let deleted = rows(&node, "maintainer", "/api/cairn/v1/projects/1/deleted").await;
    let restore = format!("/api/cairn/v1/projects/1/deleted/{}/restore", deleted[0]["id"]);
    node.post(restore).by("maintainer").send().await.expect(200);
    let again = rows(&node, "reporter", "/api/cairn/v1/projects/1/downloads").await;
    assert_eq!(again, versions);
    node.delete(target + "?purge=true")
        .by("maintainer")
        .send()
        .await
        .expect(204);
    let packages = rows(&node, "reporter", "/api/cairn/v1/projects/1/downloads/packages").await;
    assert_eq!(packages.len(), 1);
    assert_eq!(
        (&packages[0]["name"], &packages[0]["downloads"]),
        (&json!("tool"), &json!(7))
    );
}

#[tokio::test]
async fn publishers_and_downloaders_are_counted_once_a_month_by_format() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    for (by, path) in [
        ("developer", "tool/1/a"),
        ("developer", "tool/1/b"),
        ("maintainer", "tool/2/a"),
    ] {
        let target = format!("/api/v4/projects/1/packages/generic/{path}");
        node.put(target).by(by).body("bytes").send().await.expect(201);
    }
    for by in ["reporter", "owner", "deploy-read", "reporter"] {
        get(&node, by, "tool/1/a").await;
        get(&sibling, by, "tool/1/b").await;
    }
    oci::tests::furnish(&node, "acme/demo/app").await;
    let manifest = node.get("/v2/acme/demo/app/manifests/one").by("developer");
    manifest.send().await.expect(200);
    fixture::write_usage(node.app()).await;
    fixture::write_usage(sibling.app()).await;
    let adoption = rows(&node, "root", "/api/cairn/v1/adoption?months=1").await;
    let of = |format: &str| {
        let row = adoption.iter().find(|row| row["package_type"] == format).unwrap();
        let number = |name: &str| row[name].as_u64().unwrap();
        (number("publishers"), number("downloaders"), number("downloads"))
    };
    assert_eq!(of("generic"), (2, 3, 8));
    assert_eq!(of("oci"), (1, 1, 1));
    assert_eq!(adoption.len(), 2);
    let packages = rows(&node, "reporter", "/api/cairn/v1/projects/1/downloads/packages").await;
    let image = packages.iter().find(|row| row["package_type"] == "oci").unwrap();
    assert_eq!((&image["name"], &image["downloads"]), (&json!("app"), &json!(1)));
}
