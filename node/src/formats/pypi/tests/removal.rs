//! Yanking and deleting.

use serde_json::json;

use super::*;
use crate::registry::fixture;

#[tokio::test]
async fn a_release_is_yanked_and_taken_back() {
    let node = TestNode::start().await;
    let wheel = Dist::wheel("foo", "1.0");
    wheel.publish(&node).await.expect(200);
    Dist::sdist("foo", "1.0").publish(&node).await.expect(200);
    let yanked = async || {
        let page = page(&node, BASE, "foo").await;
        let files = page["files"].as_array().unwrap().clone();
        files
            .into_iter()
            .map(|file| file["yanked"].clone())
            .collect::<Vec<_>>()
    };
    let release = format!("{BASE}/releases/Foo/1.0.0/yank");
    let reason = json!({"reason": "breaks <things>"});
    node.post(release.clone())
        .by("reporter")
        .json(&reason)
        .send()
        .await
        .expect(403);
    node.post(release.clone())
        .by("developer")
        .json(&reason)
        .send()
        .await
        .expect(200);
    assert_eq!(yanked().await, ["breaks <things>", "breaks <things>"]);
    let html = get(&node, "simple/foo/").await;
    assert!(html.text().contains("data-yanked=\"breaks &lt;things&gt;\""));
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    assert_eq!(listed.json()[0]["status"], "deprecated");
    let legacy = get(&node, "pypi/foo/json").await.expect(200).json();
    assert_eq!(legacy["info"]["yanked_reason"], "breaks <things>");
    // It can still be had by those who ask for exactly this.
    get(&node, &wheel.path()).await.expect(200);

    node.delete(release.clone())
        .by("developer")
        .send()
        .await
        .expect(200);
    assert_eq!(yanked().await, [json!(false), json!(false)]);
    let file = format!("{BASE}/{}/yank", wheel.path());
    node.post(file.clone()).by("developer").send().await.expect(200);
    assert_eq!(yanked().await, [json!(true), json!(false)]);
    node.delete(file.clone()).by("developer").send().await.expect(200);
    assert_eq!(yanked().await, [json!(false), json!(false)]);
    let wrong = file.replace(&wheel.sha256(), "00");
    node.post(wrong).by("developer").send().await.expect(404);
    let target = format!("{BASE}/releases/foo/2.0/yank");
    node.post(target).by("developer").send().await.expect(404);
    let bad = json!({"reason": "\u{1b}[0m"});
    node.post(release)
        .by("developer")
        .json(&bad)
        .send()
        .await
        .expect(400);
}

#[tokio::test]
async fn what_is_deleted_leaves_the_page_whoever_deletes_it() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.1", "1.2"] {
        Dist::wheel("foo", version).publish(&node).await.expect(200);
        Dist::sdist("foo", version).publish(&node).await.expect(200);
    }
    let listed = node
        .get("/api/v4/projects/1/packages?order_by=version")
        .by("reporter");
    let listed = listed.send().await.json();
    let id = |version: &str| {
        let found = listed
            .as_array()
            .unwrap()
            .iter()
            .find(|package| package["version"] == version);
        found.unwrap()["id"].as_u64().unwrap()
    };
    // One version by the REST API, one by the format's own route, one file by the REST API.
    let target = format!("/api/v4/projects/1/packages/{}", id("1.0"));
    node.delete(target).by("maintainer").send().await.expect(204);
    let target = format!("{BASE}/releases/foo/1.1");
    node.delete(target.clone())
        .by("developer")
        .send()
        .await
        .expect(403);
    node.delete(target.clone())
        .by("maintainer")
        .send()
        .await
        .expect(204);
    node.delete(target).by("maintainer").send().await.expect(404);
    let target = format!("/api/v4/projects/1/packages/{}/package_files", id("1.2"));
    let listed_files = node.get(target.clone()).by("reporter").send().await.json();
    assert_eq!(
        listed_files.as_array().unwrap().len(),
        2,
        "metadata is not listed as a file"
    );
    let file = listed_files[1]["id"].as_u64().unwrap();
    node.delete(format!("{target}/{file}"))
        .by("maintainer")
        .send()
        .await
        .expect(204);
    let page = page(&node, BASE, "foo").await;
    assert_eq!(files(&page), ["foo-1.2-py3-none-any.whl"]);
    assert_eq!(page["versions"], json!(["1.2"]));
    for dist in [
        Dist::wheel("foo", "1.0"),
        Dist::sdist("foo", "1.1"),
        Dist::sdist("foo", "1.2"),
    ] {
        get(&node, &dist.path()).await.expect(404);
        assert!(dist.publish(&node).await.expect(400).text().contains("deleted"));
    }
    // The place of a source distribution is free again, for another name.
    Dist::sdist("foo", "1.2.0").publish(&node).await.expect(200);
}

#[tokio::test]
async fn a_deleted_project_takes_all_with_it() {
    let node = TestNode::start().await;
    Dist::wheel("foo", "1.0").publish(&node).await.expect(200);
    let gone = Dist::wheel("foo", "1.1");
    gone.publish(&node).await.expect(200);
    let target = format!("{BASE}/{}", gone.path());
    node.delete(target).by("maintainer").send().await.expect(204);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::format_records(node.app(), 1, "pypi").await, 0);
    get(&node, "simple/foo/").await.expect(404);
}

#[tokio::test]
async fn a_protected_project_is_known_by_every_spelling() {
    let node = TestNode::start().await;
    Dist::wheel("my-tool", "1.0").publish(&node).await.expect(200);
    let rule = json!({
        "package_name_pattern": "My_*",
        "package_type": "pypi",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    let two = Dist::wheel("my.tool", "2.0");
    let refused = two.publish(&node).await.expect(403);
    assert_eq!(refused.text(), "Package protected.\n");
    two.send_to(&node, BASE, "deploy-write").await.expect(403);
    two.send_to(&node, BASE, "maintainer").await.expect(200);
    Dist::wheel("other", "1.0").publish(&node).await.expect(200);
    let yank = |caller: &str| {
        let target = format!("{BASE}/releases/my_tool/2.0/yank");
        node.post(target)
            .by(caller)
            .json(&json!({ "reason": "x" }))
            .send()
    };
    yank("developer").await.expect(403);
    yank("maintainer").await.expect(200);
    let release = format!("{BASE}/releases/my-tool/2.0");
    node.delete(&release).by("maintainer").send().await.expect(403);
    node.delete(&release).by("owner").send().await.expect(204);
    assert_eq!(files(&page(&node, BASE, "my-tool").await).len(), 1);
}

#[tokio::test]
async fn a_cleanup_policy_removes_the_files_of_a_release() {
    let node = TestNode::start().await;
    for version in ["1.0", "2.0"] {
        Dist::wheel("foo", version).publish(&node).await.expect(200);
        Dist::sdist("foo", version).publish(&node).await.expect(200);
    }
    let base = "/api/cairn/v1/projects/1/packages/cleanup_policy";
    let policy = json!({ "enabled": true, "keep_n": 1, "formats": ["pypi"] });
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
    let page = page(&node, BASE, "foo").await;
    assert_eq!(files(&page), ["foo-2.0-py3-none-any.whl", "foo-2.0.tar.gz"]);
}
